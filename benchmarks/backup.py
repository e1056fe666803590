"""
Save and restore of two profiles: wwauth beside unmodified whatsapp-web.js's RemoteAuth, in one run.

A simulated phone is linked to a real Chromium, messages and media are sent until the profile has its size, and the browser is
closed. Then each side saves that profile to a folder store and restores it to an empty disk, in turns, every time in a new
process. What each side restored is opened again: it must be the whole login.

To run: PUPPETEER_SKIP_DOWNLOAD=1 npm ci --prefix tests/interop, then python benchmarks/backup.py [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(ROOT / "stores")]  # what is measured is this checkout

from benchmarks._profile import KINDS, GrownProfile, notes  # noqa: E402
from benchmarks._report import MB, OURS, PEER, Measured, Result, part_of, render, result_of, write  # noqa: E402

PEERS = ROOT / "tests" / "interop" / "node_modules"

Runs = dict[tuple[str, str], list[Measured]]


async def main() -> int:
    options = parse()
    parts = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory(prefix="wwauth-bench-", dir=options.work) as work:
            say(f"building a profile of {options.megabytes} MB of {kind.name} in a real Chromium")
            async with GrownProfile(Path(work) / "RemoteAuth", kind) as profile:
                await profile.grow(at_least=options.megabytes * MB)
                say(f"{profile.files} files, {profile.bytes_total / MB:.1f} MB; deflate leaves {profile.deflated:.0%} of that")
                parts.append(part_of(await measure_all(profile, Path(work), options.runs), profile))
    result = result_of(parts, options.runs, PEERS)
    if options.write:
        await asyncio.to_thread(write, result, ROOT / "docs" / "benchmarks.md")
    show(result, as_json=options.json)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="how often each side saves and restores (default: %(default)s)")
    parser.add_argument("--megabytes", type=int, default=90, help="the profile's least size (default: %(default)s)")
    parser.add_argument("--work", type=Path, help="a folder for the profiles and archives (default: a temporary one)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--write", action="store_true", help="put the result into docs/benchmarks.md")
    options = parser.parse_args()
    if options.runs < 1 or options.megabytes < 1:
        parser.error("--runs and --megabytes are whole numbers from 1")
    if shutil.which("node") is None or not PEERS.is_dir():
        parser.error(
            "the peer is not installed: get Node 18 or newer, then PUPPETEER_SKIP_DOWNLOAD=1 npm ci --prefix tests/interop"
        )
    return options


async def measure_all(profile: GrownProfile, work: Path, count: int) -> Runs:
    """Let both sides save and restore in turns, the one that begins changing from turn to turn."""
    runs: Runs = {}
    for turn in range(-1, count):
        for side in (OURS, PEER) if turn % 2 else (PEER, OURS):
            store, target = work / "store", work / "restored" / profile.path.name
            target.parent.mkdir()
            for verb, where in (("save", profile.path), ("restore", target)):
                measured = await asyncio.to_thread(measure, side, verb, where, store)
                if turn >= 0:  # the first turn warms the disk's cache
                    runs.setdefault((side, verb), []).append(measured)
                say(f"{side} {verb}: {measured.seconds:.2f} s, {measured.extra_bytes / MB:.0f} MB")
            if lost := profile.differences(target):
                raise SystemExit(f"{side} did not bring back as it was: {', '.join(lost[:5])} ({len(lost)} files)")
            if turn == count - 1:
                await profile.check(target)
            shutil.rmtree(store)
            shutil.rmtree(target.parent)
            for path in notes(profile.path):
                path.unlink()
    return runs


def measure(side: str, verb: str, profile: Path, store: Path) -> Measured:
    """Run one verb of one side in a process of its own."""
    command = [sys.executable, str(HERE / "_wwauth.py")] if side == OURS else ["node", str(HERE / "_peer.js")]
    argument = json.dumps({"verb": verb, "profile": str(profile), "store": str(store)})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "stores")])}
    done = subprocess.run([*command, argument], stdout=subprocess.PIPE, check=True, env=environment)
    return Measured(**json.loads(done.stdout))


def say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def show(result: Result, *, as_json: bool) -> None:
    print(json.dumps(result, indent=2) if as_json else render(result))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
