"""
Hosts that want the same login, and are stopped and killed at every moment of holding it.

There is never a second writer, and what a holder has committed is in all that follows: the store's history has each index and
each lease in their true order, and each content has a record of every commit before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wwauth.backup import BackupEngine
from wwauth.backup._state import STATE_FILE
from wwauth.backup.archive import tree_digest
from wwauth.backup.indexfile import read_index
from wwauth.backup.leveldb import read_records

from ..unit.profiles import ORIGIN
from .holding import LOCKED, LOG, PHASES, SESSION, store_of

if sys.platform == "win32":
    STOP = GO_ON = KILL = signal.SIGTERM  # nothing here is run
else:
    STOP, GO_ON, KILL = signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from wwauth.backup.index import Index

# Nothing here is a matter of speed: on a machine that is busy with other things all of it takes its time.
_PATIENCE = 120.0

# Told by one that writes no archive, until it is told to go on.
_HARMLESS = {"", "taking", "idle", "refused", "lost", "failed", "releasing"}

_AT_THE_BEGINNING = {"claim", "restore", "announcing", "announce"}

_RECORD = re.compile(rb"<(\S+) (\d+) (\d+)>")


@dataclass(frozen=True, slots=True)
class Commit:
    """A save that a process told to be committed."""

    name: str
    fence: int
    count: int
    generation: int
    sha256: str


class Process:
    """One process of a host, and what it told."""

    def __init__(self, process: asyncio.subprocess.Process, name: str, host: str, changed: asyncio.Condition) -> None:
        self._process = process
        self.name, self.host = name, host
        self.told: list[dict[str, Any]] = []
        self.commits: list[Commit] = []
        self.state, self.phase = "", ""
        self.fence = 0
        self.holders: set[str] = set()
        self.sent = self.heard = 0
        self._changed = changed
        self.reading = asyncio.create_task(self._read())

    @property
    def lives(self) -> bool:
        return self._process.returncode is None

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            what = json.loads(line)
            async with self._changed:
                self._take_in(what)
                self._changed.notify_all()
        await self._process.wait()
        async with self._changed:
            self._changed.notify_all()

    def _take_in(self, what: dict[str, Any]) -> None:
        match what["kind"]:
            case "phase":
                self.phase = what["phase"]
                return
            case "heard":
                self.heard = what["number"]
                return
            case "committed":
                self.commits.append(Commit(self.name, *(what[key] for key in ("fence", "count", "generation", "sha256"))))
            case "taken":
                self.fence = what["fence"]
                self.holders.add(what["holder"])
        if what["kind"] != "stops":
            self.state = what["kind"]
        self.told.append(what)

    def send(self, **what: Any) -> None:
        assert self._process.stdin is not None
        self.sent += 1
        self._process.stdin.write(json.dumps({"number": self.sent, **what}).encode() + b"\n")

    def signal(self, number: int) -> None:
        if self.lives:
            self._process.send_signal(number)

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self.reading
        await self._process.wait()


@dataclass
class Found:
    """What happened, for a report."""

    rounds: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    takeovers: dict[str, list[float]] = field(default_factory=dict)
    commits: int = 0
    indexes: int = 0
    fences: int = 0
    orphans: int = 0


class Holders:
    """
    Several hosts on one session in one store.

    Args:
        root: An empty folder.
        seed: Of what is done when.
        ttl: Of their leases.
        machines: For each host, what its pids are numbers in: hosts of one machine see each other's processes.
    """

    def __init__(self, root: Path, seed: int, *, ttl: float = 1.0, machines: tuple[str, ...] = ("0a", "0b")) -> None:
        self.root = root
        self.moments = random.Random(seed)
        self.ttl = ttl
        self.machines = {f"host{number}": machine * 4 for number, machine in enumerate(machines)}
        self.changed = asyncio.Condition()
        self.processes: dict[str, Process] = {}
        self.dead: dict[str, Process] = {}
        self.found = Found()
        self.history = History()
        self._born = 0
        for folder in ("history", "store"):
            (root / folder).mkdir(mode=0o700)

    async def __aenter__(self) -> Self:
        for host in self.machines:
            await self._start(host)
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes.values():
            await process.end()

    async def _start(self, host: str) -> None:
        self._born += 1
        name = f"{host}.{self._born}"
        job = {
            "root": str(self.root),
            "name": name,
            "host": host,
            "machine": self.machines[host],
            "ttl": self.ttl,
            "keep": self.moments.choice([2, 3]),
            "seed": self.moments.randrange(1 << 30),
        }
        path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from tests.faults.holding import main; main()", json.dumps(job)),
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.processes[host] = Process(process, name, host, self.changed)

    # Rounds

    async def pause(self, phase: str | None = None) -> bool:
        """
        Stop the holder, let another one take over and commit, and let the first one go on: it writes nothing any more.

        Return False when nobody could take over: the one that was stopped had the lock of the lease, also where a renewal had
        it at that moment.
        """
        it = await self._victim(phase)
        at = await self._strike(it, phase, STOP)
        held = it.state not in _HARMLESS
        try:
            # Whoever is stopped with the lock in its hands keeps the others out for as long.
            overtaken = await self._overtaken(it, locked=at in LOCKED)
        finally:
            seen = len(it.told)
            it.signal(GO_ON)
        self.found.rounds["stopped and overtaken" if overtaken else "stopped with the lock of the lease"] += 1
        self.found.phases[at] += 1
        if overtaken and held:
            await self._until(lambda: any(told["kind"] == "releasing" for told in it.told[seen:]), f"the end of {it.name}")
            self._end_of(it, seen)
        elif not overtaken:
            commits = self._commits()
            await self._until(lambda: self._commits() > commits, "a commit after the stop")
        await self.check()
        return overtaken

    async def kill(self, phase: str | None = None) -> None:
        """Kill the holder; the next one takes over."""
        it = await self._victim(phase)
        at = await self._strike(it, phase, KILL)
        struck = time.monotonic()
        await it.reading
        self.dead[it.name] = it
        self.found.rounds["killed"] += 1
        self.found.phases[at] += 1
        others = [process for process in self.processes.values() if process is not it]
        if not any(process.fence > it.fence for process in others):
            await self._until(lambda: any(process.fence > it.fence for process in others), "the next holder")
            same = any(self.machines[process.host] == self.machines[it.host] for process in others)
            after = self.found.takeovers.setdefault("same machine" if same else "another machine", [])
            after.append(round(time.monotonic() - struck, 2))
        await self._start(it.host)
        commits = self._commits()
        await self._until(lambda: self._commits() > commits, "a commit after the kill")
        await self.check()

    async def _victim(self, phase: str | None) -> Process:
        """Return the process that committed last and goes on; for what is done at the beginning, the next one in turn."""

        def holding() -> list[Process]:
            return [p for p in self.processes.values() if p.lives and p.state in {"committed", "busy"} and _tenure(p)]

        while not (found := holding()):
            await self._until(lambda: bool(holding()), "a holder")
        holder = max(found, key=lambda process: process.fence)
        if phase not in _AT_THE_BEGINNING:
            return holder
        holder.send(release=True)
        return self.moments.choice([process for process in self.processes.values() if process is not holder])

    async def _strike(self, it: Process, phase: str | None, number: int) -> str:
        """Stop or kill a process in a phase, or at any moment; return where it was."""
        seen = len(it.told)

        def stopped() -> str:
            return next((str(told["phase"]) for told in it.told[seen:] if told["kind"] == "stops"), "")

        if phase is not None:
            it.send(stop_at=phase, signal=int(number), skip=self.moments.choice([0, 0, 1]))
            if await self._in_time(lambda: bool(stopped()), _PATIENCE / 4):
                return stopped()
            it.send(stop_at="", signal=int(number), skip=0)
            await self._until(lambda: bool(stopped()) or it.heard == it.sent, "an answer")
            if stopped():
                return stopped()
        await asyncio.sleep(self.moments.uniform(0, 0.4))
        it.signal(number)
        await asyncio.sleep(0.05)  # what it told before is still on its way
        return f"a moment after {it.phase}"

    async def _overtaken(self, it: Process, *, locked: bool) -> bool:
        """Wait for a commit of another holder; False: the stopped one has the lock, and nobody gets on."""
        others = [process for process in self.processes.values() if process is not it]
        seen = {process.name: len(process.told) for process in others}
        fence = max(process.fence for process in self.processes.values()) if locked else it.fence
        steps = self._steps()

        def overtaken() -> bool:
            return any(p.fence > fence and _tenure(p) for p in others)

        def stuck() -> bool:
            # Stopped at any moment, it may have the lock as well.
            return any(_stuck(process.told[seen[process.name] :]) for process in others) and (locked or self._steps() == steps)

        await self._until(lambda: overtaken() or stuck(), "the next holder")
        if locked:
            assert self._steps() == steps, f"{self._steps()[len(steps) :]} were written while {it.name} had the lock"
        return overtaken()

    def _steps(self) -> list[str]:
        return sorted(path.name for path in (self.root / "history").iterdir())

    def _end_of(self, it: Process, seen: int) -> None:
        """Note how a process that was overtaken found out."""
        end = next((told for told in it.told[seen:] if told["kind"] in {"lost", "failed"}), None)
        if end is None:
            how = "it was about to release"
        elif end["kind"] == "failed":
            how = end["text"].partition(":")[0]
        elif any(holder in end["text"] for process in self._all() if process is not it for holder in process.holders):
            how = "LeaseLost, naming the other"
        elif "continued elsewhere" in end["text"]:
            how = "LeaseLost, by another writer's generation"
        else:
            how = "LeaseLost, with the time run out" if "in time" in end["text"] else "LeaseLost, when the other had ended, too"
        self.found.ends[how] += 1

    # What must be true

    async def check(self) -> None:
        """While all hold still: the history, the newest content, the packs."""
        live = [process for process in self.processes.values() if process.lives]
        for process in live:
            process.send(idle=True)
        await self._until(lambda: all(p.heard == p.sent and p.state in _HARMLESS for p in live), "all to hold still")
        await asyncio.to_thread(self.history.read, self.root / "history", set(self.dead))
        await self._check_newest()
        self.found.commits = self._commits()
        self.found.indexes, self.found.fences = self.history.indexes, self.history.fence
        for process in live:
            process.send(idle=False)

    async def _check_newest(self) -> None:
        index = await asyncio.to_thread(read_index, self.root / "store" / f"{SESSION}.zip", session=SESSION)
        self.history.check_last(index, set(self.dead))
        for name in index.live():
            assert (self.root / "store" / f"{name.of(SESSION)}.zip").exists(), f"{name} is needed, and gone"
        packs = {path.name for path in (self.root / "store").glob(f"{SESSION}.*.*.zip")}
        self.found.orphans = len(packs - {f"{name.of(SESSION)}.zip" for name in index.names()})
        for generation in {index.generations[0], self.moments.choice(index.generations)}:
            back = self.root / "back" / SESSION
            engine = BackupEngine(store_of(self.root), session=SESSION, origin=ORIGIN)
            report = await engine.restore(back, generation.number)
            assert report.generation == generation.number, report
            (back / STATE_FILE).unlink()
            assert await asyncio.to_thread(tree_digest, back) == generation.content, "other bytes came back"
            if generation == index.newest:
                self._check_records(back, generation.number, generation.content)
            await asyncio.to_thread(shutil.rmtree, back.parent)

    def _check_records(self, back: Path, number: int, content: str) -> None:
        """Look for each commit that was told in the newest content, and at their order."""
        records = [match for record in read_records(back / LOG, checksums=True)[0] if (match := _RECORD.match(record))]
        found = [(match[1].decode(), int(match[2]), int(match[3])) for match in records]
        assert len(found) == len(set(found)), "a record is there twice"
        fences = [fence for _, fence, _ in found]
        assert fences == sorted(fences), f"an older holder's record follows a newer one's: {fences}"
        places = {key: place for place, key in enumerate(found)}
        told = [commit for process in self._all() for commit in process.commits]
        for commit in told:
            assert (commit.name, commit.fence, commit.count) in places, f"{commit} is lost"
            assert commit.generation != number or commit.sha256 == content, f"{commit} was replaced by other bytes"
        told.sort(key=lambda commit: places[commit.name, commit.fence, commit.count])
        numbers = [commit.generation for commit in told]
        assert numbers == sorted(set(numbers)), f"generations were committed twice, or out of their order: {numbers[-20:]}"

    def _all(self) -> list[Process]:
        return list({process.name: process for process in [*self.dead.values(), *self.processes.values()]}.values())

    def _commits(self) -> int:
        return sum(len(process.commits) for process in self._all())

    async def _in_time(self, true: Callable[[], bool], seconds: float) -> bool:
        def ended() -> list[Process]:
            return [p for p in self.processes.values() if not p.lives and p.name not in self.dead and not _struck(p)]

        async def wait() -> bool:
            async with self.changed:
                await self.changed.wait_for(lambda: true() or bool(ended()))
                # Looked at before anything else happens: what was true need not stay so.
                return true()

        try:
            found = await asyncio.wait_for(wait(), seconds)
        except TimeoutError:
            return true()
        assert found, f"{[process.name for process in ended()]} ended by itself"
        return True

    async def _until(self, true: Callable[[], bool], what: str) -> None:
        if not await self._in_time(true, _PATIENCE):
            states = {p.name: (p.state, p.phase, p.told[-3:]) for p in self.processes.values()}
            raise AssertionError(f"waited in vain for {what}: {states}")


class History:
    """Every index and every lease that was put into the store, in their order."""

    def __init__(self) -> None:
        self.fence = self.indexes = 0
        self._claimer = self._writer = ""
        self._index: Index | None = None
        self._before: Index | None = None

    def read(self, folder: Path, dead: set[str]) -> None:
        """Read on, and check each step; what a process that is `dead` did last may not have come to pass."""
        for path in sorted(folder.iterdir()):
            _, name, kind = re.fullmatch(r"(\d+)\.(.+)\.(lease|index)", path.name).groups()  # type: ignore[union-attr]
            if kind == "lease":
                self._lease(json.loads(path.read_bytes()), name, undone=self._claimer in dead)
            else:
                self._commit(read_index(path, session=SESSION), name, undone=self._writer in dead)
            path.unlink()

    def _lease(self, lease: dict[str, Any], name: str, *, undone: bool) -> None:
        fence = lease["fence"]
        if lease["holder"] is None:
            assert (fence, name) == (self.fence, self._claimer), f"{name} released fence {fence}, not its own"
            return
        assert not self.fence or fence == self.fence + 1 or (undone and fence == self.fence), (
            f"fence {fence} follows {self.fence}"
        )
        self.fence, self._claimer = fence, name

    def _commit(self, index: Index, name: str, *, undone: bool) -> None:
        self.indexes += 1
        assert index.fence == self.fence, f"{name} wrote with fence {index.fence}, and {self.fence} is the newest"
        assert name == self._claimer, f"{name} wrote with the fence of {self._claimer}"
        follows = _follows(index, self._index)
        if not follows and undone:
            # The one before was never renamed into its place.
            follows, self._index = _follows(index, self._before), self._before
        assert follows, f"{name} wrote {_numbers(index)} over {_numbers(self._index)}"
        self._before, self._index, self._writer = self._index, index, name

    def check_last(self, index: Index, dead: set[str]) -> None:
        """Compare what is in the store with the end of the history."""
        last = index == self._index or (self._writer in dead and index == self._before)
        assert last, f"the store has {_numbers(index)}, and {_numbers(self._index)} was written last"


def _follows(index: Index, before: Index | None) -> bool:
    """Tell whether an index goes on from the one before it: with the same newest generation, or the next one of that login."""
    if before is None or before.newest is None:
        return True
    new, old = index.newest, before.newest
    return new == old or (new is not None and new.number == old.number + 1 and new.lineage == old.lineage)


def _numbers(index: Index | None) -> str:
    return "nothing" if index is None else str([(g.number, g.writer) for g in index.generations])


def _tenure(process: Process) -> bool:
    return bool(process.commits) and process.commits[-1].fence == process.fence


def _struck(process: Process) -> bool:
    return bool(process.told) and process.told[-1]["kind"] == "stops"


def _stuck(told: list[dict[str, Any]]) -> bool:
    """Tell whether a process failed twice to take the lease because its lock did not come free."""
    waited = [what for what in told if what["kind"] == "failed" and what["fence"] == 0]
    return len([what for what in waited if "locked by" in what["text"] or "did not end within" in what["text"]]) >= 2


def all_phases(moments: random.Random, rounds: int) -> list[str | None]:
    """Return where to strike in each round: each phase in turn, and a fifth of them at any moment."""
    turns: list[str | None] = [*PHASES, *([None] * (len(PHASES) // 4))]
    wanted = [turns[number % len(turns)] for number in range(rounds)]
    moments.shuffle(wanted)
    return wanted
