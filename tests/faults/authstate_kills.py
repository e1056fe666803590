"""
Kills a process that writes an auth state, or the database's server, and checks after each kill what must be true.

The credentials load. All that was returned as saved is there; of a step that was on its way, all or nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from .authstate_killed import IDS, Contents, open_state, step_of, written_by
from .killed import KILL
from .kills import Nursery

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from ..servers.base import Server

_TIMEOUT = 60.0


class AuthStateKills:
    """
    Workers that are killed, one after the other, on one auth state.

    Args:
        root: A folder for all that is made.
        place: The auth state: a folder, or a URL.
        seed: Where chance begins.
        server: What serves the URL; it is killed, too, in a fifth of the rounds.
    """

    def __init__(self, root: Path, place: str, seed: int, server: Server | None = None) -> None:
        (root / "tmp").mkdir(exist_ok=True)
        self._place, self._seed, self._server = place, seed, server
        self._dice = random.Random(seed)
        self._nursery = Nursery(root, "tests.faults.authstate_killed")
        self.ways: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.steps = 0
        # What may be there, oldest first, and the step that the next worker begins with.
        self._possible = [Contents()]
        self._next = 1
        self._identity: bytes | None = None
        self._job: dict[str, Any] = {}
        self._begun = self._done = 0
        self._at = self._began = self._step_began = 0.0
        self._due = ""
        self._span, self._opening = 0.02, 0.05

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._nursery.close()

    @property
    def count(self) -> int:
        return sum(self.ways.values())

    def run(self, kills: int) -> None:
        """Kill so many, and check after each."""
        while self.count < kills:
            self._kill_one(steps=True)
            # Now and then the next start is killed as well, with all that the last kill left.
            while self.count < kills and self._dice.random() < 0.2:
                self._kill_one(steps=False)
            asyncio.run(self._check())

    def cut(self, place: str, fatal: int) -> None:
        """Begin with another auth state that is not there yet, and kill before the operation on files of that number."""
        self._place, self._identity = place, None
        self._possible, self._next = [Contents()], 1
        self._kill("operation", steps=True, fatal=fatal)
        asyncio.run(self._check())

    def _kill_one(self, *, steps: bool) -> None:
        ways = {"moment": 5, "operation": 3 if "://" not in self._place else 0, "server": 2 if self._server and steps else 0}
        way = self._dice.choices(list(ways), list(ways.values()))[0]
        most = self._dice.choice([6, 60, 300]) if steps else 12
        self._kill(way, steps=steps, fatal=self._dice.randrange(1, most) if way == "operation" else None)

    def _kill(self, way: str, *, steps: bool, fatal: int | None) -> None:
        self._job = {"place": self._place, "seed": self._seed, "number": self._next, "steps": steps, "fatal": fatal}
        span = self._span * self._dice.choice([1, 1, 4, 15]) if steps else self._opening
        self._nursery.send(self._job)
        self._live_through(way, self._dice.uniform(0, span))
        self.ways[way if steps else f"{way} of a start"] += 1

    def _live_through(self, way: str, delay: float) -> None:
        """Watch a worker until it is dead; kill it, or the server, `delay` after it began to write, or to start."""
        self._began = time.monotonic()
        self._at, self._due = self._began + _TIMEOUT, ""
        if not self._job["steps"] and way == "moment":
            self._at, self._due = self._began + delay, way
        self._begun = self._done = 0
        while (told := self._nursery.next(self._at)) is None or told["kind"] != "dead":
            if told is not None:
                self._heard(told, way, delay)
            elif self._due and not self._nursery.worker:
                self._at += 0.001  # it is not born yet
            else:
                assert self._due, f"a worker hung: {self._job}"
                self._strike()
        assert told["signal"] == KILL, told
        if self._server is not None and way == "server":
            self._server.start()
        self._note()

    def _strike(self) -> None:
        if self._due == "server":
            assert self._server is not None
            self._server.kill()
        else:
            self._nursery.kill()
        self._at, self._due = time.monotonic() + _TIMEOUT, ""

    def _heard(self, told: dict[str, Any], way: str, delay: float) -> None:
        now = time.monotonic()
        match told["kind"]:
            case "error":
                raise AssertionError(f"a worker failed: {self._job}\n{told['text']}")
            case "opened":
                self._opening = 0.8 * self._opening + 0.2 * (now - self._began)
            case "begin":
                if not self._begun and way != "operation":
                    self._at, self._due = now + delay, way
                self._begun, self._step_began = told["number"], now
            case "done":
                self._done = told["number"]
                self._span = 0.9 * self._span + 0.1 * (now - self._step_began)
            case "refused" | "idle":
                # It waits to be killed: the server is gone, or it had only to start.
                self._strike()

    def _note(self) -> None:
        """Work out what may be there now."""
        for number in range(self._next, max(self._begun, self._done) + 1):
            following = [contents.after(step_of(self._seed, number)) for contents in self._possible[-1:]]
            self._possible = following if number <= self._done else [*self._possible[-1:], *following]
        self.steps += max(0, self._done - self._next + 1) if self._done else 0
        if not self.steps:
            self._span *= 1.5  # a slow machine: the next ones live for longer, until one of them brings a step to its end
        self._next = max(self._next, self._begun + 1)

    async def _check(self) -> None:
        state, _ = await open_state(self._place)
        async with state:
            keys = {type_: await state.keys.get(type_, ids) for type_, ids in IDS.items()}
            found = Contents(written_by(state), {type_: records for type_, records in keys.items() if records})
            if found.creds:
                assert state.creds["accountSyncCounter"] == found.creds
            identity = state.creds["signedIdentityKey"]["public"]
        # Before anything was saved each start makes one of its own.
        if found != Contents():
            assert self._identity in {None, identity}, "another identity"
            self._identity = identity
        assert found in self._possible, self._say(found)
        outcome = "nothing was on its way"
        if len(self._possible) > 1:
            outcome = (
                "the step on its way is there" if found == self._possible[-1] else "nothing of the step on its way is there"
            )
        self.outcomes[outcome] += 1
        self._possible = [found]

    def _say(self, found: Contents) -> str:
        lines = [f"{self._job}, begun {self._begun}, done {self._done}: after {dict(self.ways)} there is what was never saved"]
        for number, wanted in enumerate(self._possible):
            other = [
                f"{type_} {id_}"
                for type_, ids in IDS.items()
                for id_ in ids
                if found.keys.get(type_, {}).get(id_) != wanted.keys.get(type_, {}).get(id_)
            ]
            lines.append(
                f"beside possibility {number}: credentials {found.creds} for {wanted.creds}, other records {other[:20]}"
            )
        return "\n".join(lines)

    def result(self) -> dict[str, Any]:
        """Return what happened, for a report."""
        return {
            "kills": self.count,
            "ways": dict(sorted(self.ways.items())),
            "steps_returned_as_saved": self.steps,
            "outcomes": dict(sorted(self.outcomes.items())),
        }
