"""
Stores measured: a full save, a restore and the backup of a minute of gentle traffic, on each store whose server is installed.

MongoStore is measured beside unmodified whatsapp-web.js with unmodified wwebjs-mongo, on the same server, in turns. All servers
run on this machine, each alone; what a network adds is not here.

To run: make servers, PUPPETEER_SKIP_DOWNLOAD=1 npm ci --prefix tests/interop, then python benchmarks/stores.py [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "stores")]  # what is measured is this checkout

from benchmarks._live import PER_MINUTE  # noqa: E402
from benchmarks._profile import KINDS, GrownProfile, notes  # noqa: E402
from benchmarks._report import MB, Target, at_least, at_most, machine, versions, write  # noqa: E402
from benchmarks._run import PACKS, PEER, Measured, Running, Saved, measure  # noqa: E402
from benchmarks._tables import size, table, target_lines  # noqa: E402
from tests.servers.azure import Azure  # noqa: E402
from tests.servers.gcs import GCS  # noqa: E402
from tests.servers.mariadb import MariaDB  # noqa: E402
from tests.servers.mongodb import MongoDB  # noqa: E402
from tests.servers.postgresql import PostgreSQL  # noqa: E402
from tests.servers.redis import Redis  # noqa: E402
from tests.servers.s3 import S3  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PEERS = ROOT / "tests" / "interop" / "node_modules"
BEGIN, END = "<!-- stores: begin -->\n", "<!-- stores: end -->"

FOLDER, SQLITE, MONGO = "a folder", "SQLite", "MongoDB's protocol"
SERVERS = {
    "PostgreSQL": PostgreSQL,
    "MariaDB": MariaDB,
    "Redis": Redis,
    MONGO: MongoDB,
    "S3 (moto)": S3,
    "Azure (Azurite)": Azure,
    "GCS (fake-gcs-server)": GCS,
}

MINUTES = 5


@dataclass
class Row:
    """What was measured on one store."""

    saves: list[Measured] = field(default_factory=list)
    restores: list[Measured] = field(default_factory=list)
    minutes: list[Saved] = field(default_factory=list)

    def cells(self) -> list[str]:
        uploaded = size(statistics.median(saved.uploaded for saved in self.minutes)) if self.minutes else "all of it"
        return [seconds(self.saves), seconds(self.restores), seconds(self.minutes), uploaded, f"{self.extra():.0f} MB"]

    def extra(self) -> float:
        return max(run.extra_bytes for run in (*self.saves, *self.restores)) / MB


def seconds(runs: list[Measured] | list[Saved]) -> str:
    return f"{median(runs):.2f} s" if runs else "not measured"


def median(runs: list[Measured] | list[Saved]) -> float:
    return statistics.median(run.seconds for run in runs)


@contextlib.contextmanager
def places(name: str, work: Path) -> Iterator[Callable[[str], str]]:
    """Give what makes URLs of new, empty stores of a kind, while its server runs."""
    if name == FOLDER:
        yield lambda part: str(work / f"folder-{part}")
    elif name == SQLITE:
        yield lambda part: f"sqlite:///{work / part}.db"
    else:
        with SERVERS[name]() as server:
            yield server.url


class Bench:
    """One profile, on one store after the other."""

    def __init__(self, profile: GrownProfile, work: Path, runs: int) -> None:
        self._profile = profile
        self._work = work
        self._runs = runs
        self._count = 0

    async def closed(self, sides: dict[str, Callable[[str], str]]) -> dict[str, Row]:
        """Let the sides save the closed profile and restore it, in turns."""
        rows = {side: Row() for side in sides}
        for turn in range(self._runs):
            for side, url in sides.items() if turn % 2 else reversed(sides.items()):
                place = url(f"turn{turn}")
                rows[side].saves.append(await self._measure(side, "save", self._profile.path, place))
                for path in notes(self._profile.path):
                    path.unlink()
                self._count += 1
                folder = self._work / f"restored-{self._count}"
                folder.mkdir()
                target = folder / self._profile.path.name
                rows[side].restores.append(await self._measure(side, "restore", target, place))
                if lost := self._profile.differences(target):
                    raise SystemExit(f"{side} did not bring back as it was: {', '.join(lost[:5])} ({len(lost)} files)")
                shutil.rmtree(folder)
        return rows

    async def live(self, row: Row, url: str, peer: tuple[Row, str] | None) -> None:
        """Back the profile up after minutes of traffic."""
        async with self._profile.opened() as (path, send), Running(path, url) as running:
            await running.save()
            for _ in range(MINUTES):
                await send(PER_MINUTE)
                row.minutes.append(await running.save())
                if peer is not None:
                    done = await self._measure(PEER, "save", path, peer[1])
                    peer[0].minutes.append(Saved(done.seconds, "full", self._profile.size(), 1, 0))

    async def _measure(self, side: str, verb: str, profile: Path, place: str) -> Measured:
        measured = await asyncio.to_thread(measure, side, verb, profile, place)
        say(f"{side} {verb}: {measured.seconds:.2f} s, {measured.extra_bytes / MB:.0f} MB")
        return measured


async def run(options: argparse.Namespace, work: Path) -> str:
    rows: dict[str, Row] = {}
    folder = work / "profile"
    folder.mkdir()
    names = [FOLDER, SQLITE, *(name for name, kind in SERVERS.items() if kind.found())]
    async with GrownProfile(folder / "RemoteAuth", KINDS[0]) as profile:
        say(f"building a profile of {options.megabytes} MB in a real Chromium")
        await profile.grow(at_least=options.megabytes * MB)
        about = f"A profile of {profile.kind.name}: {profile.files} files, {profile.bytes_total / MB:.1f} MB."
        bench = Bench(profile, work, options.runs)
        for name in names:
            say(name)
            with places(name, work) as url:
                sides = {PACKS: url, PEER: url} if name == MONGO else {PACKS: url}
                done = await bench.closed(sides)
                await bench.live(done[PACKS], url("live"), (done[PEER], url("peer")) if name == MONGO else None)
            rows[name] = done.pop(PACKS)
            rows |= {f"{name}: {PEER}, wwebjs-mongo": row for row in done.values()}
    header = ["store", "full save", "restore", "a backup after a minute: time", "uploaded", "extra memory (worst)"]
    used = ", ".join(f"{name} {number}" for name, number in versions(PEERS, "wwebjs-mongo", "mongoose").items())
    today = datetime.datetime.now(datetime.UTC).date()
    lines = [
        about,
        "",
        *table(header, [[name, *row.cells()] for name, row in rows.items()]),
        "",
        *target_lines(targets(rows)),
        "",
        f"Medians of {options.runs} runs, and of {MINUTES} minutes, on {today}; {machine()}; {used}.",
    ]
    return "\n".join(lines)


def targets(rows: dict[str, Row]) -> list[Target]:
    worst = max(row.extra() for name, row in rows.items() if PEER not in name)
    found = [at_most("extra memory at most 64 MB, on every store", worst, 64, "MB")]
    if MONGO in rows:
        ours, peer = rows[MONGO], rows[f"{MONGO}: {PEER}, wwebjs-mongo"]
        saves, minutes = median(peer.saves) / median(ours.saves), median(peer.minutes) / median(ours.minutes)
        found += [
            at_least("MongoStore: a full save at least as fast as the peer's", saves, 1, "times"),
            at_least("MongoStore: a periodic backup in at most 1/20 of the peer's time", minutes, 20, "times less"),
        ]
    return found


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="how often each side saves and restores (default: %(default)s)")
    parser.add_argument("--megabytes", type=int, default=80, help="the profile's least size (default: %(default)s)")
    parser.add_argument("--work", type=Path, help="a folder for the profile and what is restored (default: a temporary one)")
    parser.add_argument("--write", action="store_true", help="put the result into docs/benchmarks.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wwauth-bench-", dir=options.work) as work:
        text = await run(options, Path(work))
    if options.write:
        await asyncio.to_thread(write, text, ROOT / "docs" / "benchmarks.md", begin=BEGIN, end=END)
    print(text)
    return 0


def say(line: str) -> None:
    print(f"{datetime.datetime.now(datetime.UTC):%H:%M:%S} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
