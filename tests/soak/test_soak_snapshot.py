"""
The long run of live snapshots: 60 and more copies, each opened by two fresh browsers.

`make soak` runs it. WWAUTH_SOAK_SNAPSHOTS is how many copies to take (60), WWAUTH_SOAK_CONTROLS how many by each of the two
other ways (9), WWAUTH_SOAK_SEED where to begin (1). The result is written to `docs/evidence/` after each round, so that a
bad copy is kept there, and what a run had found that was stopped.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import statistics
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.backup import validate_profile

from ..interop.peer import HERE as INTEROP
from . import live
from .copying import PEER, PLAIN, WWAUTH, Copies, CopyRefused, Source, keep_aside, peer, tables
from .evidence import write_evidence

if TYPE_CHECKING:
    from pathlib import Path

    from wwauth.backup import SnapshotReport

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(os.environ.get("WWAUTH_SOAK") != "1", reason="takes minutes: set WWAUTH_SOAK=1, or run make soak"),
]

# Most under the load that tears other copies.
SHARES = {"heavy": 0.6, "bursty": 0.25, "gentle": 0.15}

# The longest pause between two copies: long enough to meet each moment of a load.
PAUSES = {"heavy": 0.3, "bursty": 1.5, "gentle": 0.3}

# So many copies are taken before they are opened: what lies on the disk stays bounded.
ROUND = 26

# So many browsers check copies at a time.
OPENED_AT_ONCE = 3


@dataclass
class Found:
    """What became of the copies of one way under one load."""

    whole: int = 0
    torn: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    while_compacting: int = 0

    def report(self) -> dict[str, Any]:
        return {
            "copies": self.whole + len(self.torn) + len(self.refused),
            "whole": self.whole,
            "torn": len(self.torn),
            "refused": len(self.refused),
            "while_compacting": self.while_compacting,
            "how_torn": _kinds(self.torn),
            "how_refused": _kinds(self.refused),
        }


def _kinds(messages: list[str]) -> dict[str, int]:
    """Count messages that differ only in the names and numbers they tell."""
    return dict(Counter(re.sub(r"'/[^']*'|\b\d{2,}\b|(?<=record )\d", "…", message) for message in messages).most_common())


@dataclass
class Round:
    """What is copied while one browser writes."""

    load: str
    number: int
    ways: list[str]


def plan(moments: random.Random, total: int, controls: dict[str, int]) -> list[Round]:
    """Divide all copies into rounds of mixed ways, and mix the loads, so that a run that is stopped has done some of each."""
    rounds: list[tuple[float, Round]] = []
    for load, share in SHARES.items():
        ways = [way for way, count in {WWAUTH: total, **controls}.items() for _ in range(round(count * share))]
        moments.shuffle(ways)
        parts = [ways[start : start + ROUND] for start in range(0, len(ways), ROUND)]
        rounds += [((n + 0.5) / len(parts), Round(load, n, part)) for n, part in enumerate(parts)]
    return [part for _, part in sorted(rounds, key=lambda item: item[0])]


@dataclass
class Copy:
    """A copy that awaits its openings."""

    path: Path
    kept: Path
    way: str
    load: str
    at_least: int
    # A table was dropped between the beginning and the end of the copying, as only a compaction does.
    while_compacting: bool = False


class Run:
    """Takes the copies of one round, opens those of the round before, and counts."""

    def __init__(self, site: live.Site, folder: Path, options: dict[str, Any], moments: random.Random) -> None:
        self.found = {load: {way: Found() for way in (WWAUTH, PLAIN, PEER)} for load in SHARES}
        self.speeds: dict[str, list[float]] = {load: [] for load in SHARES}
        self.reports: dict[str, list[SnapshotReport]] = {load: [] for load in SHARES}
        self._site = site
        self._folder = folder
        self._options = options
        self._moments = moments
        self._turns = asyncio.Semaphore(OPENED_AT_ONCE)

    async def write(self, part: Round, process: asyncio.subprocess.Process | None) -> list[Copy]:
        """Copy a profile while a page writes to it."""
        folder = self._folder / f"{part.load}-{part.number}"
        seed = self._moments.randrange(1 << 31)
        taken = []
        async with live.writing(self._site, folder / "profile", self._options, load=part.load, seed=seed) as page:
            source, copies = Source(self._site, folder / "profile", page), Copies(process, self._moments)
            await copies.first(source, folder / "first")
            began, first = time.monotonic(), await live.written(page)
            for number, way in enumerate(part.ways):
                await asyncio.sleep(self._moments.uniform(0, PAUSES[part.load]))
                copy = Copy(folder / f"copy-{number}", folder / f"kept-{number}", way, part.load, await live.written(page))
                if await self._take(copies, copy, source):
                    taken.append(copy)
            self.speeds[part.load].append((await live.written(page) - first) / (time.monotonic() - began))
        self.reports[part.load] += copies.reports[1:]
        await asyncio.to_thread(shutil.rmtree, folder / "profile")
        await asyncio.to_thread(shutil.rmtree, folder / "first")
        return taken

    async def _take(self, copies: Copies, copy: Copy, source: Source) -> bool:
        before = tables(source.profile)
        try:
            await copies.take(copy.way, source, copy.path)
        except CopyRefused as exc:
            self.found[copy.load][copy.way].refused.append(str(exc))
            return False
        copy.while_compacting = bool(before - tables(source.profile))
        if copy.way == WWAUTH:
            await asyncio.to_thread(keep_aside, copy.path, copy.kept)
        return True

    async def open(self, copy: Copy) -> None:
        """Open a copy twice and count it; one that is bad stays, as it was before."""
        async with self._turns:
            wrong = await self._check(copy)
            await asyncio.to_thread(shutil.rmtree, copy.path)
        found = self.found[copy.load][copy.way]
        found.while_compacting += copy.while_compacting
        if wrong is None:
            found.whole += 1
            await asyncio.to_thread(shutil.rmtree, copy.kept, ignore_errors=True)
        else:
            found.torn.append(wrong.splitlines()[0])
            if copy.way == WWAUTH:
                print(f"{copy.kept}: {wrong}", flush=True)  # noqa: T201 - the way to the copy

    async def _check(self, copy: Copy) -> str | None:
        try:
            if copy.way == WWAUTH:
                await asyncio.to_thread(validate_profile, copy.path, origin=self._site.url, strict=True)
            return await live.check_twice(self._site, copy.path, self._options, at_least=copy.at_least)
        except Exception as exc:
            return f"{type(exc).__name__}: {exc}"

    def report(self) -> dict[str, Any]:
        """Say for each load how it was, and what became of the copies of each way."""
        return {load: {**self._load(load), **{way: f.report() for way, f in ways.items()}} for load, ways in self.found.items()}

    def _load(self, load: str) -> dict[str, Any]:
        reports = self.reports[load]
        if not reports:
            return {}
        durations = [report.duration_s * 1000 for report in reports]
        attempts = [report.attempts for report in reports]
        return {
            "transactions_per_s": round(statistics.mean(self.speeds[load])),
            "mb_max": round(max(report.bytes_total for report in reports) / 1e6, 1),
            "quiet": sum(report.quiet for report in reports),
            "attempts": {"median": statistics.median(attempts), "max": max(attempts)},
            "ms": {"median": round(statistics.median(durations)), "max": round(max(durations))},
        }


@pytest.mark.timeout(7200)
async def test_every_live_snapshot_is_whole(tmp_path: Path, launch_options: dict[str, Any], chromium: str) -> None:
    total = int(os.environ.get("WWAUTH_SOAK_SNAPSHOTS", "60"))
    controls = int(os.environ.get("WWAUTH_SOAK_CONTROLS", "9"))
    seed = int(os.environ.get("WWAUTH_SOAK_SEED", "1"))
    node = shutil.which("node") if (INTEROP / "node_modules" / "whatsapp-web.js").is_dir() else None
    moments = random.Random(seed)
    rounds = plan(moments, total, {PLAIN: controls, PEER: controls if node else 0})
    began = time.monotonic()

    def write(run: Run, done: int) -> None:
        write_evidence(
            "live-snapshots",
            what="copies of a live Chromium's profile, each opened by two fresh browsers, one after the other",
            command=f"WWAUTH_SOAK_SNAPSHOTS={total} WWAUTH_SOAK_CONTROLS={controls} WWAUTH_SOAK_SEED={seed} make soak",
            chromium=chromium,
            seconds=round(time.monotonic() - began),
            rounds={"done": done, "of": len(rounds)},
            loads=run.report(),
        )

    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(live.serve())
        process = await stack.enter_async_context(peer(node))
        run = Run(site, tmp_path, launch_options, moments)
        opening: list[asyncio.Task[None]] = []
        for number, part in enumerate(rounds):
            if part.load == "heavy":
                # It has the machine for itself; beside the others, which mostly wait, copies are opened.
                await asyncio.gather(*opening)
            copies = await run.write(part, process)
            await asyncio.gather(*opening)
            await asyncio.to_thread(write, run, number)
            opening = [asyncio.create_task(run.open(copy)) for copy in copies]
        await asyncio.gather(*opening)
        write(run, len(rounds))
    found = {way: [run.found[load][way] for load in SHARES] for way in (WWAUTH, PLAIN)}
    assert [each.torn + each.refused for each in found[WWAUTH]] == [[], [], []]
    # Else the check sees nothing, or the load was none.
    assert any(each.torn for each in found[PLAIN])
