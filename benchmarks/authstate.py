"""
Auth states measured: the operations of a bot on unmodified Baileys' folder, and the same on wwauth's folder and SQLite.

One run, one disk, the sides in turns; each operation is a process of its own, and its time that of the calls alone. Baileys
flushes nothing to the disk; all that wwauth has returned from is durable.

To run: npm ci --prefix tests/interop, then python benchmarks/authstate.py [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "stores")]  # what is measured is this checkout

from benchmarks._many_sessions import HEAD, in_postgresql, in_sqlite, rows  # noqa: E402
from benchmarks._report import Target, at_least, machine, write  # noqa: E402
from benchmarks._run import environment  # noqa: E402
from benchmarks._tables import size, table, target_lines  # noqa: E402
from tests.servers.postgresql import PostgreSQL  # noqa: E402
from wwauth.authstate import BufferJSON  # noqa: E402
from wwauth.authstate.curve import generate_key_pair  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable

BEGIN, END = "<!-- authstate: begin -->\n", "<!-- authstate: end -->"
FIXTURES = ROOT / "tests" / "fixtures" / "baileys"
BAILEYS_PACKAGE = ROOT / "tests" / "interop" / "node_modules" / "@whiskeysockets" / "baileys" / "package.json"

BAILEYS, FOLDER, SQLITE = "Baileys' folder", "wwauth's folder", "wwauth, SQLite"
PROGRAMS = {
    BAILEYS: ("node", str(ROOT / "benchmarks" / "_baileys.mjs")),
    FOLDER: (sys.executable, str(ROOT / "benchmarks" / "_authstate.py")),
    SQLITE: (sys.executable, str(ROOT / "benchmarks" / "_authstate.py")),
}
GUARANTEES = {
    BAILEYS: "nothing is flushed; a crash of the process leaves a file half written, one of the machine any of them",
    FOLDER: "durable at return: credentials flushed, a batch by one flush of a journal; no file is ever half there; 0600",
    SQLITE: "durable at return: WAL, `synchronous=FULL`, a batch and its credentials are one transaction; 0600",
}

WHERE = """\
Where the time of one record goes, in µs of the clock and of CPU; what is between them is waiting, for the disk and for whoever
else used the machine. To make 4 kB durable the disk took {flush:.0f} µs: whoever waits for that each time, one after the other,
does no more than {most:,.0f} in a second."""

# Where ext4 has no journal, making files is slow for a minute after others were deleted: nothing is, until the end.


@dataclass(frozen=True)
class Operation:
    """
    One row of the table.

    Attributes:
        program: What the programs call it.
        what: What the table calls it.
        count: How many records it reads or writes.
        anew: It begins with an empty place.
        wanted: By side, how many times as fast as Baileys it is to be.
    """

    program: str
    what: str
    count: int
    anew: bool
    wanted: dict[str, float]


MANY = 10_000
OPERATIONS = {
    "a0": Operation("a", "first upload: 812 pre-keys", 812, anew=True, wanted={SQLITE: 10, FOLDER: 1}),
    "a1000": Operation(
        "a", "… and 38 top-ups of 5, each with the credentials", 1000, anew=True, wanted={SQLITE: 10, FOLDER: 1}
    ),
    "a5000": Operation("a", "… and 838 top-ups", 5000, anew=True, wanted={SQLITE: 10, FOLDER: 1}),
    "b1": Operation("b1", "10,000 session updates, one after the other", MANY, anew=False, wanted={SQLITE: 5}),
    "b2": Operation("b2", "the same, each read and set in a transaction, cached", MANY, anew=False, wanted={SQLITE: 5}),
    "b3": Operation("b3", "the same, 64 transactions at a time, not cached", MANY, anew=False, wanted={SQLITE: 5}),
    "b4": Operation("b4", "1,000 saves of the credentials, one after the other", 1000, anew=False, wanted={}),
    "c1": Operation("c1", "10,000 sessions read one by one", MANY, anew=False, wanted={}),
    "c2": Operation("c2", "the same, cached", MANY, anew=False, wanted={SQLITE: 1, FOLDER: 1}),
    "c3": Operation("c3", "10,000 sessions read, 500 at a time", MANY, anew=False, wanted={}),
    "c4": Operation("c4", "the same, cached", MANY, anew=False, wanted={SQLITE: 1, FOLDER: 1}),
    "c5": Operation("c5", "10,000 reads of what is not there", MANY, anew=False, wanted={}),
    "c6": Operation("c6", "the same, cached", MANY, anew=False, wanted={SQLITE: 1, FOLDER: 1}),
    "d": Operation("d", "10,000 different sessions read, 500 at a time", MANY, anew=False, wanted={SQLITE: 1}),
}


@dataclass(frozen=True)
class Measured:
    """One operation by one side: `seconds` of the clock, `cpu` seconds, `opening` seconds before it."""

    seconds: float
    cpu: float
    count: int
    opening: float

    @property
    def rate(self) -> float:
        """Return records in a second."""
        return self.count / self.seconds


class Bench:
    """All measurements, in one folder."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._payload = work / "payload.json"
        self.rows: dict[tuple[str, str], list[Measured]] = {}
        self.flushes: list[float] = []
        self.disk: dict[tuple[str, str], int] = {}

    def prepare(self) -> None:
        """Write what is set: real sessions, new pre-keys; and the places that are read."""
        paths = [path for folder in ("03-full", "peer-bob") for path in sorted((FIXTURES / folder).glob("session-*.json"))]
        sessions = [BufferJSON.loads(path.read_text("utf-8")) for path in paths]
        pre_keys = [generate_key_pair() for _ in range(max(op.count for op in OPERATIONS.values() if op.program == "a"))]
        self._payload.write_text(BufferJSON.dumps({"preKeys": pre_keys, "sessions": sessions}), "utf-8")
        for side in PROGRAMS:
            for name, count in (("500", 500), ("10000", MANY)):
                self._run(side, "prepare", name, count)
            self.disk[side, "d"] = self._used(side, "10000")

    def measure(self, runs: int, names: Iterable[str]) -> None:
        """Let the sides take turns."""
        for name in names:
            operation = OPERATIONS[name]
            for turn in range(runs):
                self.flushes.append(self._flush())
                for side in PROGRAMS if turn % 2 else reversed(PROGRAMS):
                    place = f"{name}-{turn}" if operation.anew else "10000" if name == "d" else "500"
                    done = self._run(side, operation.program, place, operation.count)
                    self.rows.setdefault((name, side), []).append(done)
                    if operation.anew:
                        self.disk[side, name] = self._used(side, place)
            say(f"{name}: " + ", ".join(f"{side} {self.rate(name, side):,.0f}/s" for side in PROGRAMS))

    def rate(self, name: str, side: str) -> float:
        return statistics.median(done.rate for done in self.rows[name, side])

    def times(self, name: str, side: str) -> float:
        """Return how many times as fast as Baileys a side is: the median over the turns, since the machine has its moods."""
        pairs = zip(self.rows[name, side], self.rows[name, BAILEYS], strict=True)
        return statistics.median(ours.rate / peer.rate for ours, peer in pairs)

    def _run(self, side: str, operation: str, place: str, count: int) -> Measured:
        folder = self._folder(side, place)
        folder.parent.mkdir(parents=True, exist_ok=True)
        where = str(folder)
        if side == SQLITE:
            folder.mkdir(exist_ok=True)
            where = f"sqlite:///{folder}/auth.db"
        # What the side before has not flushed would be flushed by whoever asks the disk first.
        if sys.platform != "win32":
            os.sync()
        job = {"operation": operation, "place": where, "payload": str(self._payload), "count": count}
        done = subprocess.run([*PROGRAMS[side], json.dumps(job)], stdout=subprocess.PIPE, check=True, env=environment())
        return Measured(**json.loads(done.stdout))

    def _folder(self, side: str, place: str) -> Path:
        return self._work / str(list(PROGRAMS).index(side)) / place

    def _used(self, side: str, place: str) -> int:
        """Return how many bytes of the disk a side's files take."""
        if sys.platform == "win32":
            raise SystemExit("this benchmark asks how many blocks a file takes, which Windows does not tell")
        return sum(path.stat().st_blocks * 512 for path in self._folder(side, place).rglob("*") if path.is_file())

    def _flush(self) -> float:
        """Return how long the disk takes to make 4 kB durable: what no durable write is faster than."""
        times = []
        with (self._work / "flushes").open("ab", buffering=0) as file:
            for _ in range(30):
                file.write(bytes(4096))
                began = time.perf_counter()
                os.fsync(file.fileno())
                times.append(time.perf_counter() - began)
        return statistics.median(times)


def result(bench: Bench, names: list[str], runs: int) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    flush = 1e6 * statistics.median(bench.flushes)
    return "\n".join(
        [
            *table(["", "what is guaranteed"], [[side, words] for side, words in GUARANTEES.items()]),
            "",
            *table(["records in a second", BAILEYS, FOLDER, "times", SQLITE, "times"], [rates(bench, name) for name in names]),
            "",
            *target_lines(targets(bench, names)),
            "",
            *table(["on the disk", *PROGRAMS], [used(bench, name) for name in names if (SQLITE, name) in bench.disk]),
            "",
            WHERE.format(flush=flush, most=1e6 / flush),
            "",
            *table(["µs: clock, CPU", *PROGRAMS], [[OPERATIONS[name].what, *costs(bench, name)] for name in names]),
            "",
            f"Medians of {runs} runs, and of the runs' quotients, on {today}; {machine()}; {versions()}.",
        ]
    )


def rates(bench: Bench, name: str) -> list[str]:
    cells = [f"{name}: {OPERATIONS[name].what}", f"{bench.rate(name, BAILEYS):,.0f}"]
    for side in (FOLDER, SQLITE):
        cells += [f"{bench.rate(name, side):,.0f}", f"{bench.times(name, side):.1f}"]
    return cells


def used(bench: Bench, name: str) -> list[str]:
    return [OPERATIONS[name].what, *(size(bench.disk[side, name]) for side in PROGRAMS)]


def costs(bench: Bench, name: str) -> list[str]:
    def cost(side: str) -> str:
        done = bench.rows[name, side]
        clock = 1e6 * statistics.median(one.seconds / one.count for one in done)
        cpu = 1e6 * statistics.median(one.cpu / one.count for one in done)
        return f"{clock:,.0f}, {cpu:,.0f}"

    return [cost(side) for side in PROGRAMS]


def targets(bench: Bench, names: list[str]) -> list[Target]:
    found = []
    for name in names:
        operation = OPERATIONS[name]
        for side, times in operation.wanted.items():
            what = f"{name}, {side}: at least {'as fast as' if times == 1 else f'{times:g} times as fast as'} Baileys' folder"
            found.append(at_least(what, bench.times(name, side), times, "times"))
    if "a5000" in names:
        part = bench.disk[BAILEYS, "a5000"] / bench.disk[SQLITE, "a5000"]
        found.append(at_least("5,000 pre-keys in SQLite take at most 1/15 of the disk", part, 15, "times less"))
    return found


def versions() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip().removeprefix("v")
    baileys = json.loads(BAILEYS_PACKAGE.read_text("utf-8"))["version"]
    return (
        f"wwauth {project['version']}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"Baileys {baileys}, Node {node}"
    )


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="how often each side does each operation (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=list(OPERATIONS), choices=list(OPERATIONS), metavar="OPERATION")
    parser.add_argument("--without-many", action="store_true", help="leave out the databases of many sessions")
    parser.add_argument("--work", type=Path, help="a folder on the disk to measure (default: a temporary one)")
    parser.add_argument("--write", action="store_true", help="put the result into docs/benchmarks.md")
    options = parser.parse_args()
    if not BAILEYS_PACKAGE.is_file():
        raise SystemExit("Baileys is not installed: get Node 20 or newer, then npm ci --prefix tests/interop")
    names = [name for name in OPERATIONS if name in options.only]
    with tempfile.TemporaryDirectory(prefix="wwauth-bench-", dir=options.work) as work:
        bench = Bench(Path(work))
        say("preparing")
        await asyncio.to_thread(bench.prepare)
        await asyncio.to_thread(bench.measure, options.runs, names)
        text = result(bench, names, options.runs)
        if not options.without_many:
            text += await many_sessions(Path(work))
    if options.write:
        await asyncio.to_thread(write, text, ROOT / "docs" / "benchmarks.md", begin=BEGIN, end=END)
    print(text)
    return 0


async def many_sessions(work: Path) -> str:
    """Return tables of what a session costs, the more of them a database has; PostgreSQL's where it is installed."""
    found = {"SQLite": await in_sqlite(work, say)}
    if PostgreSQL.found():
        found["PostgreSQL"] = await in_postgresql(say)
    lines = ["", "", "### Many sessions, of 5,000 keys each, in one database"]
    for name, many in found.items():
        lines += ["", f"{name}, medians:", "", *table(HEAD, rows(many))]
    return "\n".join(lines)


def say(line: str) -> None:
    print(f"{datetime.datetime.now(datetime.UTC):%H:%M:%S} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
