"""Random walks over saves, deletions, outages and crashes of a mirror: the last acknowledged save is what is extracted."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from wwauth.errors import SessionNotFound, StoreUnavailable
from wwauth.stores import MemoryStore, MirroredStore

from ..soaking import SOAK
from .faulty import Crash, Faulty


class Walk:
    """
    A mirror over two stores that fail, and what must be in it.

    Attributes:
        last: What was saved last and acknowledged; None: nothing, or it was deleted.
        maybe: What was begun since and did not end: it may be there, or not.
        begun: All that was ever begun and did not end: a store that says that it has what the other one has is not read, so it
            may hold this until the next save.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sides = Faulty(MemoryStore()), Faulty(MemoryStore())
        self.mirror = MirroredStore(*self.sides)
        self.last: bytes | None = None
        self.maybe: set[bytes | None] = set()
        self.begun: set[bytes] = set()
        self.number = 0

    async def save(self) -> None:
        self.number += 1
        data = b"archive %d" % self.number
        path = self.folder / "source"
        path.write_bytes(data)
        await self._write(self.mirror.save(session="one", path=path), data)

    async def delete(self) -> None:
        # Half a deletion leaves what the other store has, which need not be the newest.
        before = {await self.inside(side) for side in self.sides}
        await self._write(self.mirror.delete(session="one"), None, *before)

    async def _write(self, call: Any, outcome: bytes | None, *others: bytes | None) -> None:
        try:
            await call
        except (Crash, StoreUnavailable) as error:
            self.maybe |= {outcome, *others}
            if outcome is not None:
                self.begun.add(outcome)
            if isinstance(error, Crash):
                self.restart()
        else:
            self.last, self.maybe = outcome, set()

    async def extract(self) -> None:
        with suppress(StoreUnavailable):
            try:
                got = await self.read()
            except Crash:
                self.restart()
                return
            if not any(side.down for side in self.sides):
                self.settle(got)

    async def repair(self) -> None:
        try:
            with suppress(StoreUnavailable):
                await self.mirror.repair()
        except Crash:
            self.restart()

    async def read(self) -> bytes | None:
        return await self.inside(self.mirror)

    async def inside(self, store: MirroredStore | Faulty) -> bytes | None:
        out = self.folder / "out"
        try:
            await (store.store if isinstance(store, Faulty) else store).extract(session="one", path=out)
        except SessionNotFound:
            return None
        data = out.read_bytes()
        out.unlink()
        return data

    def settle(self, got: bytes | None) -> None:
        assert got in {self.last, *self.maybe}, f"{got!r}, after {self.last!r} was acknowledged; unfinished: {self.maybe}"
        # Whoever has seen it sees nothing older afterwards.
        self.last, self.maybe = got, set()

    def restart(self) -> None:
        self.mirror = MirroredStore(*self.sides)
        self.arm(None)

    def arm(self, end: tuple[int, int, bool, bool] | None) -> None:
        """Let one of the two end in the middle of what comes next."""
        for side in self.sides:
            side.ends_in = -1
        if end is not None:
            which, calls, after, down = end
            side = self.sides[which]
            side.ends_in, side.ends_after, side.ends_down = calls, after, down

    def turn(self, which: int, *, down: bool) -> None:
        self.sides[which].down = down

    async def end(self) -> None:
        """With both up, it is there; each of them has it then; and it stays."""
        self.arm(None)
        for side in self.sides:
            side.down = False
        self.settle(got := await self.read())
        assert await self.mirror.session_exists(session="one") is (got is not None)
        assert await self.mirror.repair() == []
        for side in self.sides:
            there = await self.inside(side)
            assert there == got or (got is not None and there in self.begun)
            if got is None:
                assert [info async for info in side.store.list_sessions(packs=True)] == []
        await self.save()
        assert await self.read() == self.last


ENDS = st.none() | st.tuples(st.integers(0, 1), st.integers(0, 5), st.booleans(), st.booleans())
VERBS = st.sampled_from(["save", "save", "save", "delete", "extract", "repair"])
STEPS = st.lists(
    st.tuples(VERBS, ENDS) | st.tuples(st.integers(0, 1), st.booleans()) | st.just("restart"), min_size=3, max_size=12
)


@settings(max_examples=1000 if SOAK else 60, deadline=None)
@given(STEPS)
def test_the_last_acknowledged_save_is_what_is_extracted(steps: list[Any]) -> None:
    async def go(folder: Path) -> None:
        walk = Walk(folder)
        for step in steps:
            match step:
                case "restart":
                    walk.restart()
                case (int() as which, bool() as down):
                    walk.turn(which, down=down)
                case (verb, end):
                    walk.arm(end)
                    await getattr(walk, verb)()
        await walk.end()

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(go(Path(name)))
