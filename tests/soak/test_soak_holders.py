"""
Two holders of one login: stopped past the end of their lease, resumed and killed, in each phase of what they do.

`make soak` runs it. WWAUTH_SOAK_ROUNDS is how many rounds there are (200), WWAUTH_SOAK_SEED where to begin (1).
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from ..faults.holders import Holders, all_phases
from ..soaking import soak
from .evidence import write_evidence

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="its workers are stopped with SIGSTOP"),
    soak,
]

# What the machines of the hosts are, and how long a lease lasts: two hosts, three of them, and two processes of one host,
# where nobody waits for a lease that nobody holds any more.
_SETTINGS: tuple[tuple[str, tuple[str, ...], float, float], ...] = (
    ("two hosts", ("0a", "0b"), 1.0, 0.6),
    ("three hosts", ("0a", "0b", "0c"), 1.0, 0.3),
    ("two processes of one host, a lease of an hour", ("0a", "0a"), 3600.0, 0.1),
)

# Of five rounds among hosts, in one the holder is killed; on one machine nobody takes over from one that is stopped.
_KILLS = 0.2


@pytest.mark.timeout(7200)
async def test_there_is_never_a_second_writer(tmp_path: Path) -> None:
    wanted = int(os.environ.get("WWAUTH_SOAK_ROUNDS", "200"))
    seed = int(os.environ.get("WWAUTH_SOAK_SEED", "1"))
    began = time.monotonic()
    runs = []
    for number, (name, machines, ttl, share) in enumerate(_SETTINGS):
        folder = tmp_path / str(number)
        folder.mkdir()
        runs.append(_run(name, folder, seed + number, round(wanted * share), machines, ttl))
    # Beside each other: most of their time is that of leases which run out.
    outcomes = await asyncio.gather(*runs)
    write_evidence(
        "two-holders",
        what="processes that are hosts of their own want one login; the holder is stopped (SIGSTOP) past the end of its lease, "
        "or killed, in each phase of a save, a restore, a renewal; another one takes over and commits; the first one goes on. "
        "Each index and each lease that was put into the store is checked against the newest fence at that moment, and the "
        "newest content for a record of every commit before it",
        command=f"WWAUTH_SOAK_ROUNDS={wanted} WWAUTH_SOAK_SEED={seed} make soak",
        seconds=round(time.monotonic() - began),
        outcomes=outcomes,
    )
    assert [outcome["error"] for outcome in outcomes] == [""] * len(_SETTINGS)
    assert sum(sum(outcome["rounds"].values()) for outcome in outcomes) >= wanted


async def _run(name: str, folder: Path, seed: int, rounds: int, machines: tuple[str, ...], ttl: float) -> dict[str, Any]:
    moments, error, holders = random.Random(seed), "", Holders(folder, seed, ttl=ttl, machines=machines)
    try:
        async with holders:
            for phase in all_phases(moments, rounds):
                if len(set(machines)) == 1 or moments.random() < _KILLS:
                    await holders.kill(phase)
                else:
                    await holders.pause(phase)
    except Exception as exc:
        error = f"{type(exc).__name__}: {exc}"
    found = holders.found
    takeovers = {
        where: {"count": len(times), "median_s": round(median(times), 2), "max_s": max(times)}
        for where, times in found.takeovers.items()
    }
    return {
        "hosts": name,
        "ttl_s": ttl,
        "seed": seed,
        "rounds": dict(found.rounds),
        "phases": dict(sorted(found.phases.items())),
        "how_the_overtaken_found_out": dict(found.ends),
        "takeovers_after_a_kill": takeovers,
        "commits": found.commits,
        "indexes": found.indexes,
        "fences": found.fences,
        "packs_that_no_index_names": found.orphans,
        "error": error,
    }
