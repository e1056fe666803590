"""
The long run of live snapshots: 60 and more copies, each opened by two fresh browsers.

`make soak` runs it. WWAUTH_SOAK_SNAPSHOTS is how many copies to take (60), WWAUTH_SOAK_SEED where to begin (1). The result
is written to `docs/evidence/`, also when a copy is bad.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import shutil
import statistics
import time
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.backup import SnapshotReport, take_snapshot, validate_profile
from wwauth.errors import SnapshotFailed

from . import live
from .evidence import write_evidence

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(os.environ.get("WWAUTH_SOAK") != "1", reason="takes minutes: set WWAUTH_SOAK=1, or run make soak"),
]

# Most under the load that tears other copies.
SHARES = {"heavy": 0.6, "bursty": 0.25, "gentle": 0.15}

# So many copies are taken before they are opened: what lies on the disk stays bounded.
ROUND = 10

CONTROLS = 6


@pytest.mark.timeout(7200)
async def test_every_live_snapshot_is_whole(tmp_path: Path, launch_options: dict[str, Any], chromium: str) -> None:
    total = int(os.environ.get("WWAUTH_SOAK_SNAPSHOTS", "60"))
    seed = int(os.environ.get("WWAUTH_SOAK_SEED", "1"))
    began = time.monotonic()
    outcome = {}
    async with live.serve() as site:
        for load, share in SHARES.items():
            outcome[load] = await _load(site, tmp_path / load, launch_options, load, round(total * share), seed)
        control = await _control(site, tmp_path / "control", launch_options, seed)
    write_evidence(
        "live-snapshots",
        what="snapshots of a live Chromium, each opened by two fresh browsers",
        command=f"WWAUTH_SOAK_SNAPSHOTS={total} WWAUTH_SOAK_SEED={seed} make soak",
        chromium=chromium,
        seconds=round(time.monotonic() - began),
        loads=outcome,
        control=control,
    )
    bad = {load: found["bad"] + found["failed"] for load, found in outcome.items() if found["bad"] or found["failed"]}
    assert not bad
    # Else the check sees nothing, or the load was none.
    assert control["whole"] < control["copies"]


async def _control(site: live.Site, folder: Path, options: dict[str, Any], seed: int) -> dict[str, Any]:
    """Copy the same profile file by file, skipping what vanishes, and open the copies in the same way."""
    copies = []
    async with live.writing(site, folder / "profile", options, load="heavy", seed=seed) as page:
        # Those that lag behind are not to be taken for torn.
        await live.flush(page.context)
        await asyncio.sleep(1)
        for number in range(CONTROLS):
            await asyncio.sleep(0.5)
            before = await live.written(page)
            await asyncio.to_thread(_copy_plainly, folder / "profile", folder / f"copy-{number}")
            copies.append((folder / f"copy-{number}", before))
    found = [await live.check_twice(site, copy, options, at_least=before) for copy, before in copies]
    return {
        "what": "plain copies that skip vanished files, under the heavy load",
        "copies": CONTROLS,
        "whole": found.count(None),
        "bad": [wrong.splitlines()[0] for wrong in found if wrong is not None],
    }


def _copy_plainly(profile: Path, copy: Path) -> None:
    for part in ("IndexedDB", "Local Storage"):
        # It copies all it can, and raises only at its end.
        with contextlib.suppress(shutil.Error):
            shutil.copytree(profile / "Default" / part, copy / "Default" / part)


async def _load(site: live.Site, folder: Path, options: dict[str, Any], load: str, count: int, seed: int) -> dict[str, Any]:
    pauses = random.Random(f"{load} {seed}")
    reports: list[SnapshotReport] = []
    bad: list[str] = []
    failed: list[str] = []
    for start in range(0, count, ROUND):
        profile = folder / f"profile-{start}"
        copies = []
        async with live.writing(site, profile, options, load=load, seed=seed + start) as page:
            for number in range(start, min(start + ROUND, count)):
                await asyncio.sleep(pauses.uniform(0, 2))
                before = await live.written(page)
                # By turns: hard links or descriptors; with and without waiting for a quiet moment.
                try:
                    report = await take_snapshot(
                        profile,
                        folder / f"copy-{number}",
                        origin=site.url,
                        link=number % 2 == 0,
                        quiet_for=0.0 if number % 3 == 0 else 0.5,
                        flush=functools.partial(live.flush, page.context),
                    )
                except SnapshotFailed as exc:
                    failed.append(f"copy {number}: {exc}")
                    continue
                reports.append(report)
                copies.append((number, before))
        for number, before in copies:
            copy = folder / f"copy-{number}"
            validate_profile(copy, origin=site.url, strict=True)
            wrong = await live.check_twice(site, copy, options, at_least=before)
            if wrong is not None:
                bad.append(f"copy {number}: {wrong}")
            await asyncio.to_thread(shutil.rmtree, copy)
        await asyncio.to_thread(shutil.rmtree, profile)
    durations = [report.duration_s * 1000 for report in reports]
    return {
        "snapshots": count,
        "whole": len(reports) - len(bad),
        "bad": bad,
        "failed": failed,
        "quiet": sum(report.quiet for report in reports),
        "localstorage_flushed": sum(report.flushed for report in reports),
        "attempts": {"median": statistics.median(r.attempts for r in reports), "max": max(r.attempts for r in reports)},
        "ms_with_flush": {"median": round(statistics.median(durations)), "max": round(max(durations))},
        "mb_max": round(max(report.bytes_total for report in reports) / 1e6, 1),
    }
