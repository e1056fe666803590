"""
Kills a process at a random moment of its work on backups, again and again, and checks after each what must be true.

The newest committed generation comes back, whole; the profile is the old one or the new one; after the next start nothing
temporary is left, and no pack that no index names.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wwauth.backup import validate_profile
from wwauth.backup.indexfile import read_index
from wwauth.errors import SessionNotFound

from ..unit.profiles import ORIGIN
from .killed import SESSION, change, contents, folders, new_engine

_TIMEOUT = 60.0

# What a worker is killed in, and how often beside the others.
_TARGETS = {"save": 40, "restore": 25, "prune": 12, "start": 8, "confirm": 5, "delete": 10}

# Phases that are short beside the others: a kill at any moment would rarely meet them.
_SHORT = {
    "save": ("save: commit", "save: sweep", "save: note", "save: announce", "save: upload"),
    "prune": ("save: commit", "save: sweep"),
    "restore": ("restore: swap", "restore: build"),
    "delete": ("delete: commit", "delete: sweep"),
}


class Nursery:
    """A process that has everything imported, and forks workers."""

    def __init__(self, root: Path) -> None:
        (root / "tmp").mkdir(parents=True)
        path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.faults.killed import nursery; nursery()"],
            env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(root / "tmp")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._rest = b""
        self._lines: list[bytes] = []
        self.worker = 0

    def send(self, job: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self._process.stdin.flush()

    def next(self, until: float) -> dict[str, Any] | None:
        """Return what was told next; None: nothing was until then."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while not self._lines:
            ready, _, _ = select.select([fd], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return None
            data = os.read(fd, 1 << 16)
            assert data, "the process that forks workers has ended"
            *self._lines, self._rest = (self._rest + data).split(b"\n")
        told: dict[str, Any] = json.loads(self._lines.pop(0))
        if told["kind"] in {"born", "dead"}:
            self.worker = told.get("pid", 0)
        return told

    def kill(self) -> None:
        """Kill the worker that lives."""
        os.kill(self.worker, signal.SIGKILL)

    def close(self) -> None:
        if self.worker:
            self.kill()
        self._process.kill()
        self._process.communicate()


@dataclass(slots=True)
class Kill:
    """When: so long after a work or a phase of it began; or before its n-th operation on files, then the worker kills itself."""

    how: str
    delay: float = 0.0
    phase: str | None = None
    fatal: int | None = None


@dataclass(slots=True)
class Truth:
    """
    What must be true, from what the workers told: digests of contents; None: none.

    Attributes:
        committed: What was committed last.
        pending: What is being committed.
        profiles: What the profile may be; `anything` when the kill came while its browser wrote to it.
        asides: What may lie beside it as the one that a restore replaced.
    """

    committed: str | None = None
    pending: tuple[str | None, ...] = ()
    profiles: set[str | None] = field(default_factory=set)
    anything: bool = False
    asides: set[str | None] = field(default_factory=lambda: {None})


class Kills:
    """A profile and a store that outlive their workers."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.moments = random.Random(seed)
        self.profile, self.store = folders(root)
        self.nursery = Nursery(root)
        self.truth = Truth()
        self.phases: Counter[str] = Counter()
        self.ways: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.missed = 0
        self.job: dict[str, Any] = {}
        self._took: dict[str, list[float]] = defaultdict(list)
        self._operations: dict[str, list[int]] = defaultdict(list)

        change(self.profile, self.moments)
        self.truth.profiles = {contents(self.profile)}

    @property
    def count(self) -> int:
        return sum(self.phases.values())

    def run(self, kills: int) -> None:
        """Kill so many workers in the midst of a work, and check after each."""
        while self.count < kills:
            if self.moments.random() < 0.1 and self.truth.committed is not None:
                shutil.rmtree(self.profile)
                self.truth.profiles = {None}
            self._kill_one()
            self.check_store()
            # Now and then, the next start is killed as well, with all that the last kill left.
            while self.count < kills and self.moments.random() < 0.15:
                self._kill_one(["start"])
                self.check_store()
            self.check_next_start()
        asyncio.run(new_engine(self.root).delete(self.profile))
        assert self._stored() == set(), "a deletion left packs"

    # The killing

    def _kill_one(self, verbs: list[str] | None = None) -> None:
        again = verbs is not None
        if verbs is None:
            target = self.moments.choices(list(_TARGETS), list(_TARGETS.values()))[0]
            before = self.moments.choice([["start"], ["start", "save"], ["start", "save", "save"]])
            verbs = [*before, *(["restore"] if target == "confirm" else []), target] if target != "start" else ["start"]
        self.job = {
            "root": str(self.root),
            "seed": self.moments.randrange(1 << 30),
            "keep": self.job["keep"] if again else self.moments.choice([2, 3]),
            # What is started again is started as it was: only so does it know where it left something.
            "work_dir": self.job["work_dir"] if again else self.moments.random() < 0.5,
            "verbs": verbs,
        }
        kill = self._plan(verbs[-1])
        self.nursery.send({**self.job, "fatal": kill.fatal})
        self._live_through(kill)

    def _plan(self, target: str) -> Kill:
        how = self.moments.choices(["moment", "phase", "operation"], [4, 3, 3])[0]
        verb = "save" if target == "prune" else target
        kill = Kill(how)
        if how == "phase" and target in _SHORT:
            kill.phase = self.moments.choice(_SHORT[target])
            kill.delay = self.moments.uniform(0, _mean(self._took[kill.phase], 0.004))
        elif how == "operation" and self._operations[verb]:
            kill.fatal = 1 + self.moments.randrange(max(self._operations[verb][-20:]) or 1)
        else:
            kill.how = "moment"
            kill.delay = self.moments.uniform(0, 1.05 * _mean(self._took[verb], 0.1))
        return kill

    def _live_through(self, kill: Kill) -> None:
        phase, at = "", time.monotonic() + _TIMEOUT
        killed, target, began, entered = False, False, 0.0, 0.0
        while True:
            told = self.nursery.next(at)
            now = time.monotonic()
            if told is None:
                assert self.nursery.worker and not killed, f"a worker hung: {self.job}"
                self.nursery.kill()
                killed, at = True, now + _TIMEOUT
                continue
            match told["kind"]:
                case "error":
                    raise AssertionError(f"a worker failed: {self.job}\n{told['text']}")
                case "begin":
                    began, phase = now, ""
                    self._begun(told)
                    target |= told["target"]
                    if told["target"] and kill.how == "moment":
                        at = now + kill.delay
                case "phase":
                    self._leave(phase, now - entered)
                    phase, entered = told["phase"], now
                    if target and phase == kill.phase and not killed:
                        at, kill.phase = now + kill.delay, None
                case "change":
                    phase, self.truth.anything = "", True
                case "done":
                    self._leave(phase, now - entered)
                    phase = ""
                    self._took[told["verb"]].append(now - began)
                    self._operations[told["verb"]].append(told["operations"])
                    self._done(told)
                case "end" if not killed:
                    at = now  # it was quicker than expected, or the phase did not come
                case "dead":
                    assert told["signal"] == signal.SIGKILL, told
                    break
        if phase:
            self.phases[phase] += 1
            self.ways[kill.how] += 1
        else:
            self.missed += 1

    def _leave(self, phase: str, seconds: float) -> None:
        if phase:
            self._took[phase].append(seconds)

    def _begun(self, told: dict[str, Any]) -> None:
        truth, now, aside = self.truth, told["profile"], told["previous"]
        assert aside in truth.asides, self._say(f"what a restore replaced is a mix: {aside}")
        truth.anything &= told["verb"] == "start"  # which cuts off what was half written
        truth.profiles, truth.asides, truth.pending = {now}, {aside}, ()
        match told["verb"]:
            case "save":
                truth.pending = (now,)
            case "delete":
                truth.pending = (None,)
            case "restore":
                truth.profiles |= {aside, truth.committed} - {None}
                truth.asides = {aside, now, None} if aside is None else {aside, None}
            case "start" if now is None:
                truth.profiles, truth.asides = {aside}, {aside, None}
            case "confirm":
                truth.asides = {aside, None}

    def _done(self, told: dict[str, Any]) -> None:
        truth = self.truth
        match told["verb"]:
            case "save" | "delete":
                (truth.committed,) = truth.pending
            case "restore" if told["generation"] is not None:
                truth.profiles = {truth.committed}
        truth.pending = ()

    # The checks

    def check_store(self) -> None:
        """Restore into an empty folder, by an engine that knows nothing: what is committed, or what was being committed."""
        asyncio.run(self._check_store())

    async def _check_store(self) -> None:
        truth = self.truth
        target = self.root / "elsewhere" / SESSION
        shutil.rmtree(target.parent, ignore_errors=True)
        target.parent.mkdir()
        found = None
        try:
            engine = new_engine(self.root)
            await engine.recover(target)
            report = await engine.restore(target)
        except SessionNotFound:
            pass
        else:
            assert report.notes == (), self._say(f"the newest generation is not whole: {report.notes}")
            validate_profile(target, origin=ORIGIN, strict=True)
            found = contents(target)
            assert {path.name for path in target.parent.iterdir()} == {SESSION}, self._say("a restore left something")
        if found == truth.committed:
            self.outcomes["old" if truth.pending else "committed"] += 1
        else:
            assert found in truth.pending, self._say(f"found {found}, which was never to be committed")
            self.outcomes["new"] += 1
            truth.committed = found
        needed = self._named(live=True)
        assert needed <= self._stored(), self._say(f"packs are missing: {needed - self._stored()}")

    def check_next_start(self) -> None:
        """Start as RemoteAuth does: the profile is old or new, and what the kills left is gone."""
        asyncio.run(self._check_next_start())

    async def _check_next_start(self) -> None:
        engine = new_engine(self.root, keep=self.job["keep"], work_dir=self.job["work_dir"])
        previous = engine.previous(self.profile)
        await engine.recover(self.profile)
        if self.profile.exists():
            validate_profile(self.profile, origin=ORIGIN)
        assert contents(previous) in self.truth.asides, self._say("what a restore replaced is a mix")
        now = contents(self.profile)
        assert self.truth.anything or now in self.truth.profiles, self._say(f"the profile is a mix: {now}")
        kept = {SESSION} if self.profile.exists() else set()
        kept |= {previous.name} if previous.exists() else set()
        self._check_clean(kept)
        if not self.profile.exists() or await engine.is_behind():
            if self.truth.committed is not None:
                await engine.restore(self.profile)
                assert contents(self.profile) == self.truth.committed
        # What a writer that died left in a store's folder goes when it has rested for an hour.
        for path in self.store.glob(".*") if self.store.exists() else ():
            os.utime(path, (1, 1))
        change(self.profile, self.moments)
        saved = contents(self.profile)
        report = await engine.save(self.profile)
        assert report.kind != "unchanged"
        await engine.confirm(self.profile)
        self.truth = Truth(committed=saved, profiles={saved}, anything=False)
        assert self._stored() == self._named(live=True), self._say("packs are left that no generation needs")
        assert not list(self.store.glob(".*")), self._say("temporary files are left in the store")
        self._check_clean({SESSION})

    def _check_clean(self, kept: set[str]) -> None:
        """Look at all places where something temporary may lie."""
        for folder, expected in (("data", kept), ("work", set()), ("tmp", set())):
            path = self.root / folder
            found = {entry.name for entry in path.iterdir()} if path.exists() else set()
            assert found == expected, self._say(f"{folder} has {sorted(found)}")
        inside = [path.name for path in self.profile.glob("**/.*")] if self.profile.exists() else []
        assert not inside, self._say(f"the profile has {inside}")

    def _stored(self) -> set[str]:
        names = {path.name.removesuffix(".zip") for path in self.store.glob("[!.]*")} if self.store.exists() else set()
        return names - {SESSION}

    def _named(self, *, live: bool) -> set[str]:
        path = self.store / f"{SESSION}.zip"
        if not path.exists():
            return set()
        index = read_index(path, session=SESSION)
        return {name.of(SESSION) for name in (index.live() if live else index.names())}

    def _say(self, what: str) -> str:
        return f"{what}\nafter {self.count} kills; {self.job}; {self.truth}; phases {dict(self.phases)}"

    def result(self) -> dict[str, Any]:
        """Return what happened, for a report."""
        return {
            "kills": self.count,
            "ways": dict(sorted(self.ways.items())),
            "phases": dict(sorted(self.phases.items())),
            "outcomes": dict(sorted(self.outcomes.items())),
            "ended_before_they_were_killed": self.missed,
        }


def _mean(times: list[float], otherwise: float) -> float:
    recent = times[-20:]
    return sum(recent) / len(recent) if recent else otherwise
