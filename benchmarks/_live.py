"""
A login that is in use: gentle traffic, and a backup after each minute of it.

The minutes are not waited for: what a minute brings is sent at once, then both sides save. Chromium writes as it always does;
but what it does by the clock, the writing of localStorage for one, it does less often here than in a real minute.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks._run import PEER, Measured, Running, Saved, measure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks._profile import GrownProfile

# An account in use all day: so many messages come each minute, and as many media as its kind of profile has.
PER_MINUTE = 10

# In the first hour, both sides are measured beside each other; later, the peer now and then.
HOUR, HOUR_SAMPLES, LATER = 60, 5, 240


@dataclass(frozen=True)
class PeerSaved:
    """A backup of the peer: after how many minutes, how long it took, what it uploaded."""

    minute: int
    seconds: float
    uploaded: int


@dataclass
class Traffic:
    """
    What a stretch of gentle traffic cost.

    Attributes:
        first: The first backup, of everything.
        minutes: The backup after each minute.
        peer: The peer's, of some of the minutes.
        before: The bytes of the profile at its beginning.
        after: The same at its end.
    """

    first: Saved
    minutes: list[Saved] = field(default_factory=list)
    peer: list[PeerSaved] = field(default_factory=list)
    before: int = 0
    after: int = 0


async def run_traffic(profile: GrownProfile, work: Path, minutes: int, say: Callable[[str], None]) -> Traffic:
    """Open the profile in its browser, and back it up after each minute; it is another one afterwards."""
    sampled = {*range(0, HOUR, HOUR // HOUR_SAMPLES), *range(HOUR, minutes, LATER), minutes - 1}
    async with profile.opened() as (path, send), Running(path, work / "traffic") as running:
        traffic = Traffic(await running.save(), before=await asyncio.to_thread(profile.size))
        for minute in range(minutes):
            await send(PER_MINUTE)
            traffic.minutes.append(await running.save())
            if minute in sampled:
                traffic.peer.append(await _peer(path, work, minute))
                say(f"minute {minute + 1}: {traffic.minutes[-1]}, {traffic.peer[-1]}")
        traffic.after = await asyncio.to_thread(profile.size)
    return traffic


async def _peer(path: Path, work: Path, minute: int) -> PeerSaved:
    store = work / "traffic-peer"
    measured: Measured = await asyncio.to_thread(measure, PEER, "save", path, store)
    uploaded = sum(archive.stat().st_size for archive in store.iterdir())
    await asyncio.to_thread(shutil.rmtree, store)
    return PeerSaved(minute, measured.seconds, uploaded)
