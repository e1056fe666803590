"""
Backups measured: wwauth beside unmodified whatsapp-web.js's RemoteAuth, in one run.

A simulated phone is linked to a real Chromium, messages and media are sent until the profile has its size, and the browser is
closed. Then each side saves that profile to a folder store and restores it to an empty disk, in turns, every time in a new
process. What each side restored is opened again: it must be the whole login. Then the browser is opened, and the login is
backed up after each minute of gentle traffic.

To run: PUPPETEER_SKIP_DOWNLOAD=1 npm ci --prefix tests/interop, then python benchmarks/backup.py [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import shutil
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "stores")]  # what is measured is this checkout

from benchmarks._live import HOUR, run_traffic  # noqa: E402
from benchmarks._profile import KINDS, GrownProfile, notes  # noqa: E402
from benchmarks._report import (  # noqa: E402
    MB,
    VERBS,
    Memory,
    Part,
    Result,
    Runs,
    day_of,
    machine,
    memory_of,
    part_of,
    versions,
    write,
)
from benchmarks._run import PACKS, PEER, PLAIN, TAR, Measured, has_tar, measure, rest_after_deletions  # noqa: E402
from benchmarks._tables import render  # noqa: E402

PEERS = ROOT / "tests" / "interop" / "node_modules"
BEGIN, END = "<!-- backup: begin -->\n", "<!-- backup: end -->"

# The sizes, in MB, between which memory must not grow, beside the profiles that are measured for their time.
SMALL, LARGE = 10, 500

# A stall, a step and a peak of memory are looked for so often.
WATCHED = 3


class Bench:
    """One run of everything in the folder `work`."""

    def __init__(self, work: Path, runs: int) -> None:
        self._work = work
        self._runs = runs
        self._count = 0
        self.sides = [PACKS, PEER, PLAIN, *([TAR] if has_tar() else [])]

    def new_folder(self) -> Path:
        self._count += 1
        folder = self._work / f"{self._count}"
        folder.mkdir()
        return folder

    async def save_all(self, profile: GrownProfile, stores: Path) -> Runs:
        """Let the sides save in turns, the one that begins changing from turn to turn."""
        runs: Runs = {}
        for turn in range(-1, self._runs):  # the first turn warms the disk's cache
            for side in self.sides if turn % 2 else reversed(self.sides):
                store = stores / side
                if store.exists():
                    shutil.rmtree(store)
                measured = await self._measure(side, "save", profile.path, store)
                for path in notes(profile.path):
                    path.unlink()
                if turn >= 0:
                    runs.setdefault((side, "save"), []).append(measured)
        return runs

    async def restore_all(self, profile: GrownProfile, stores: Path) -> Runs:
        """Let the sides restore in turns what they saved last; each outcome is compared, and the last one opened."""
        runs: Runs = {}
        for turn in range(-1, self._runs):
            sides = [side for side in self.sides if side != TAR]
            for side in sides if turn % 2 else reversed(sides):
                target = self.new_folder() / profile.path.name
                measured = await self._measure(side, "restore", target, stores / side)
                if turn >= 0:
                    runs.setdefault((side, "restore"), []).append(measured)
                if lost := profile.differences(target):
                    raise SystemExit(f"{side} did not bring back as it was: {', '.join(lost[:5])} ({len(lost)} files)")
                if turn == self._runs - 1:
                    await profile.check(target)
                empty(target.parent)
        return runs

    async def watch(self, profile: GrownProfile, watch: str) -> dict[tuple[str, str], list[Measured]]:
        """Let wwauth save and restore with a watch."""
        watched: dict[tuple[str, str], list[Measured]] = {}
        for _ in range(WATCHED):
            folder = self.new_folder()
            for verb, where in zip(VERBS, (profile.path, folder / profile.path.name), strict=True):
                measured = await self._measure(PACKS, verb, where, folder / "store", watch=watch)
                watched.setdefault((verb, watch), []).append(measured)
            for path in notes(profile.path):
                path.unlink()
            empty(folder)
        return watched

    async def memory(self, profiles: list[GrownProfile]) -> Memory:
        measured = []
        for profile in profiles:
            watched = await self.watch(profile, "")
            measured.append((profile.bytes_total / MB, watched["save", ""], watched["restore", ""]))
        return memory_of(measured)

    async def _measure(self, side: str, verb: str, profile: Path, store: Path, *, watch: str = "") -> Measured:
        measured = await asyncio.to_thread(measure, side, verb, profile, store, watch=watch)
        say(f"{side} {verb}: {measured.seconds:.2f} s, {measured.extra_bytes / MB:.0f} MB")
        return measured


async def run(options: argparse.Namespace, work: Path) -> Result:
    bench = Bench(work, options.runs)
    async with AsyncExitStack() as stack:
        profiles = [await build(stack, work, number, options.megabytes) for number in range(len(KINDS))]
        small = await build(stack, work, len(KINDS), min(SMALL, options.megabytes))
        stores = [bench.new_folder() for _ in profiles]
        runs = [await bench.save_all(profile, store) for profile, store in zip(profiles, stores, strict=True)]
        large = await asyncio.to_thread(enlarge, profiles[0], bench.new_folder(), options.megabytes * LARGE // 90)
        await rest_after_deletions()
        parts: list[Part] = []
        for profile, store, saved in zip(profiles, stores, runs, strict=True):
            restored = await bench.restore_all(profile, store)
            watched = {**await bench.watch(profile, "stall"), **await bench.watch(profile, "phases")}
            parts.append(part_of(profile, saved | restored, watched))
        memory = await bench.memory([small, large])
        days = []
        # A day of messages alone takes minutes; with hundreds of media more, it would take half an hour.
        for profile, minutes in zip(profiles, (min(options.minutes, HOUR), options.minutes), strict=True):
            say(f"{minutes} minutes of traffic")
            days.append(day_of(profile.kind.name, await run_traffic(profile, bench.new_folder(), minutes, say)))
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Result(date, machine(), versions(PEERS), options.runs, parts, days, memory)


async def build(stack: AsyncExitStack, work: Path, number: int, megabytes: int) -> GrownProfile:
    kind = KINDS[number % len(KINDS)]
    say(f"building a profile of {megabytes} MB of {kind.name} in a real Chromium")
    folder = work / f"profile-{number}"
    folder.mkdir()
    profile = await stack.enter_async_context(GrownProfile(folder / "RemoteAuth", kind))
    await profile.grow(at_least=megabytes * MB)
    say(f"{profile.files} files, {profile.bytes_total / MB:.1f} MB; deflate leaves {profile.deflated:.0%} of that")
    return profile


def enlarge(profile: GrownProfile, folder: Path, megabytes: int) -> GrownProfile:
    """Return a copy of a profile, filled up with media."""
    large = GrownProfile(folder / profile.path.name, profile.kind)
    shutil.copytree(profile.path, large.path)
    large.fill(at_least=megabytes * MB)
    return large


def empty(folder: Path) -> None:
    """Give back the room of all files; they stay, since to delete them would slow down the next turn."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


async def main() -> int:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="wwauth-bench-", dir=options.work) as work:
        result = await run(options, Path(work))
    text = render(result)
    if options.write:
        await asyncio.to_thread(write, text, ROOT / "docs" / "benchmarks.md", begin=BEGIN, end=END)
    print(json.dumps(asdict(result), indent=2) if options.json else text)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="how often each side saves and restores (default: %(default)s)")
    parser.add_argument("--megabytes", type=int, default=90, help="the profile's least size (default: %(default)s)")
    parser.add_argument("--minutes", type=int, default=1440, help="how many minutes of traffic (default: %(default)s)")
    parser.add_argument("--work", type=Path, help="a folder for the profiles and archives (default: a temporary one)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--write", action="store_true", help="put the result into docs/benchmarks.md")
    options = parser.parse_args()
    if min(options.runs, options.megabytes, options.minutes) < 1:
        parser.error("--runs, --megabytes and --minutes are whole numbers from 1")
    if shutil.which("node") is None or not PEERS.is_dir():
        parser.error(
            "the peer is not installed: get Node 20 or newer, then PUPPETEER_SKIP_DOWNLOAD=1 npm ci --prefix tests/interop"
        )
    if not has_tar():
        say(f"{TAR} is left out: install tar, zstd and coreutils (Debian: apt install zstd) to have it beside the others")
    return options


def say(line: str) -> None:
    print(f"{datetime.datetime.now(datetime.UTC):%H:%M:%S} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
