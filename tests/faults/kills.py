"""
Kills a process at a random moment of its work on backups, again and again, and checks after each what must be true.

The newest committed generation comes back, whole; the profile is the old one or the new one; after the next start nothing
temporary is left, and no pack that no index names.
"""

from __future__ import annotations

import json
import logging
import os
import select
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checks import Checks
from .killed import KILL

_log = logging.getLogger(__name__)

_TIMEOUT = 60.0

# What a worker is killed in, and how often beside the others.
_TARGETS = {"save": 40, "restore": 25, "prune": 12, "start": 8, "confirm": 5, "delete": 10}

# What `killed.Watch` calls the phases.
PHASES = (
    *(f"save: {phase}" for phase in ("copy", "pack", "announce", "upload", "commit", "sweep", "note", "clean up")),
    *(f"restore: {phase}" for phase in ("fetch", "build", "note", "swap", "clean up")),
    *(f"delete: {phase}" for phase in ("look", "commit", "sweep")),
    "start: recover",
    "confirm: clean up",
)

# Phases that are short beside the others: a kill at any moment would rarely meet them.
_SHORT = {
    "save": ("save: commit", "save: sweep", "save: note", "save: announce", "save: upload"),
    "prune": ("save: commit", "save: sweep"),
    "restore": ("restore: swap", "restore: swap", "restore: note", "restore: build", "restore: fetch"),
    "delete": ("delete: commit", "delete: sweep", "delete: look"),
}


class Nursery:
    """A process that has everything imported, and forks workers, as `nursery` of `module` says."""

    def __init__(self, root: Path, module: str = "tests.faults.killed") -> None:
        path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {module} import nursery; nursery()"],
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
        os.kill(self.worker, KILL)

    def close(self) -> None:
        if self.worker:
            self.kill()
        self._process.kill()
        self._process.communicate()


@dataclass(slots=True)
class Kill:
    """
    When to kill.

    Attributes:
        how: "moment": at any moment of a work; "phase": after the beginning of a short phase; "operation": by itself.
        delay: So many seconds after that beginning.
        phase: Of the short phase, its name.
        fatal: The operation on files before which the worker kills itself.
    """

    how: str
    delay: float = 0.0
    phase: str | None = None
    fatal: int | None = None


class Kills(Checks):
    """Workers that are killed, on a profile and a store that outlive them."""

    def __init__(self, root: Path, seed: int) -> None:
        super().__init__(root, seed)
        self.nursery = Nursery(root)
        self.phases: Counter[str] = Counter()
        self.ways: Counter[str] = Counter()
        self.missed = 0
        self._phase, self._target, self._killed = "", False, False
        self._at = self._began = self._entered = 0.0
        self._took: dict[str, list[float]] = defaultdict(list)
        self._operations: dict[str, list[int]] = defaultdict(list)

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
            _log.info("%s kills, %s", self.count, dict(self.outcomes))
        self.check_end()

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
        """Watch a worker until it is dead; it is killed at the moment `at`, or has hung."""
        self._phase, self._target, self._killed = "", False, False
        self._at = time.monotonic() + _TIMEOUT
        while (told := self.nursery.next(self._at)) is None or told["kind"] != "dead":
            now = time.monotonic()
            if told is not None:
                self._heard(told, kill, now)
                continue
            assert self.nursery.worker, f"no worker began: {self.job}"
            assert not self._killed, f"a worker that was killed lives: {self.job}"
            self.nursery.kill()
            self._killed, self._at = True, now + _TIMEOUT
        assert told["signal"] == KILL, told
        if self._phase:
            self.phases[self._phase] += 1
            self.ways[kill.how] += 1
        else:
            self.missed += 1

    def _heard(self, told: dict[str, Any], kill: Kill, now: float) -> None:
        match told["kind"]:
            case "error":
                raise AssertionError(f"a worker failed: {self.job}\n{told['text']}")
            case "begin":
                self._began, self._target = now, self._target or told["target"]
                self._begun(told)
                if told["target"] and kill.how == "moment":
                    self._at = now + kill.delay
            case "phase":
                self._enter(told["phase"], now)
                if self._target and told["phase"] == kill.phase and not self._killed:
                    self._at, kill.phase = now + kill.delay, None
            case "change":
                self.truth.anything = True
            case "done":
                self._enter("", now)
                self._took[told["verb"]].append(now - self._began)
                self._operations[told["verb"]].append(told["operations"])
                self._done(told)
            case "end" if not self._killed:
                self._at = now  # it was quicker than expected, or the phase did not come

    def _enter(self, phase: str, now: float) -> None:
        if self._phase:
            self._took[self._phase].append(now - self._entered)
        self._phase, self._entered = phase, now

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
