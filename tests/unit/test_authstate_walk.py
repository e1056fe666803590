"""
A random walk of many tasks over one login: what returned is there, nothing is half, and the caches never know better.

WWAUTH_WALK_ROUNDS is how many rounds there are on each store (4), WWAUTH_WALK_SEED is where to begin (1).
"""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.abc import AuthStateStore
from wwauth.authstate import (
    FolderAuthStateStore,
    MemoryAuthStateStore,
    make_cacheable_signal_key_store,
    use_auth_state,
)
from wwauth.errors import StoreUnavailable, TransactionConflict
from wwauth_stores.authstate.sqlite import SQLiteAuthStateStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping
    from pathlib import Path

    from wwauth.abc import RecordName

ROUNDS = int(os.environ.get("WWAUTH_WALK_ROUNDS", "4"))
SEED = int(os.environ.get("WWAUTH_WALK_SEED", "1"))
WORKERS = 6
STEPS = 25

PLACES: dict[str, Callable[[Path], AuthStateStore]] = {
    "memory": lambda _: MemoryAuthStateStore(),
    "folder": lambda path: FolderAuthStateStore(path / "auth"),
    "sqlite": lambda path: SQLiteAuthStateStore(path / "auth.db"),
}


class Unsteady(AuthStateStore):
    """A store that takes its time, and fails now and then: before it has written, or after."""

    def __init__(self, below: AuthStateStore, chance: random.Random) -> None:
        self._below, self._chance = below, chance
        self.failing = 0.0

    async def _pause(self) -> None:
        for _ in range(self._chance.randrange(3)):
            await asyncio.sleep(0)
        if self._chance.random() < self.failing:
            raise StoreUnavailable("the store is away")

    async def read(self, *, session: str, names: Collection[RecordName]) -> dict[RecordName, str]:
        await self._pause()
        found = await self._below.read(session=session, names=names)
        await self._pause()
        return found

    async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
        await self._pause()
        await self._below.write(session=session, changes=changes)
        await self._pause()

    def records(self, *, session: str, type: str | None = None) -> AsyncIterator[tuple[RecordName, str]]:  # noqa: A002
        return self._below.records(session=session, type=type)

    async def delete(self, *, session: str) -> None:
        await self._below.delete(session=session)

    def hold(self, *, session: str) -> AbstractAsyncContextManager[None]:
        return self._below.hold(session=session)


class Walk:
    """
    The tasks and what they know.

    Each has a record and a member of the credentials of its own, and they share two records that are always changed together.
    """

    def __init__(self, place: AuthStateStore, seed: int) -> None:
        self.chance = random.Random(seed)
        self.store = Unsteady(place, self.chance)
        self.number = 0
        # What each one's record, and its credentials, may hold by now.
        self.own: dict[int, list[int | None]] = {worker: [None] for worker in range(WORKERS)}
        self.creds: dict[int, list[int | None]] = {worker: [None] for worker in range(WORKERS)}
        # How many increments of the shared records were returned, and how many may have happened.
        self.least = self.most = 0

    async def round(self) -> None:
        self.state, self.save_creds = await use_auth_state(self.store)
        keys = self.state.keys
        self.keys = [keys, make_cacheable_signal_key_store(keys), make_cacheable_signal_key_store(keys, max_records=3)]
        await self.check()
        tasks = asyncio.all_tasks()
        self.store.failing = self.chance.choice([0, 0.03])
        async with asyncio.timeout(60):
            await asyncio.gather(*(self._work(worker) for worker in range(WORKERS)))
        self.store.failing = 0
        # What the cancelled ones have begun goes on to its end.
        async with asyncio.timeout(60):
            while asyncio.all_tasks() != tasks:  # noqa: ASYNC110 - nobody tells of their end
                await asyncio.sleep(0.001)
        locks = keys._transactions._locks
        assert not locks._owners
        assert not locks._waiting
        assert not locks._wanted
        assert not locks._held
        await self.check()
        # Whatever is in doubt, it is saved from here on.
        await self.save_creds()
        self.creds = {worker: [self.state.creds.get(f"of{worker}")] for worker in range(WORKERS)}
        await self.state.close()

    async def check(self) -> None:
        """See that all key stores tell the same, and what it may be."""
        ids = ["left", "right", *map(str, range(WORKERS))]
        found, *others = [await keys.get("session", ids) for keys in self.keys]
        assert others == [found, found]
        left, right = (found.get(id_, {"n": 0})["n"] for id_ in ids[:2])
        assert left == right
        assert self.least <= left <= self.most
        self.least = self.most = left
        for worker in range(WORKERS):
            held = found.get(str(worker), {}).get("n")
            assert held in self.own[worker]
            self.own[worker] = [held]

    async def _work(self, worker: int) -> None:
        for _ in range(STEPS):
            step = asyncio.create_task(self.chance.choice([self._set, self._save, self._both, self._count, self._get])(worker))
            if self.chance.random() < 0.2:
                for _ in range(self.chance.randrange(12)):
                    await asyncio.sleep(0)
                step.cancel()
            with suppress(asyncio.CancelledError, StoreUnavailable, TransactionConflict, ZeroDivisionError):
                await step

    def _key_store(self) -> Any:
        return self.chance.choice(self.keys)

    async def _get(self, worker: int) -> None:
        found = await self._key_store().get("session", [str(worker)])
        assert found.get(str(worker), {}).get("n") in self.own[worker]

    async def _set(self, worker: int) -> None:
        self.number += 1
        number = self.chance.choice([self.number, None])
        self.own[worker].append(number)
        await self._key_store().set({"session": {str(worker): None if number is None else {"n": number}}})
        self.own[worker] = [number]

    async def _save(self, worker: int) -> None:
        self.number += 1
        self.state.creds[f"of{worker}"] = number = self.number
        await self.save_creds()
        assert self.state.creds[f"of{worker}"] == number

    async def _both(self, worker: int) -> None:
        self.number += 1
        number = self.number
        keys = self._key_store()
        before = list(self.own[worker])
        async with keys.transaction(self.chance.choice("abc")):
            await keys.set({"session": {str(worker): {"n": number}}})
            self.state.creds[f"of{worker}"] = number
            await self.save_creds()
            if self.chance.random() < 0.3:
                raise ZeroDivisionError
            self.own[worker] = [*before, number]
        self.own[worker] = [number]
        assert self.state.creds[f"of{worker}"] == number

    async def _count(self, worker: int) -> None:
        keys = self._key_store()
        async with keys.transaction(f"count {worker}"):
            # In any order: two that wait for each other are told.
            ids = self.chance.sample(["left", "right"], 2)
            one, two = await asyncio.gather(*(keys.get("session", [id_]) for id_ in ids))
            number = {**one, **two}.get("left", {"n": 0})["n"] + 1
            await asyncio.gather(*(keys.set({"session": {id_: {"n": number}}}) for id_ in ids))
            self.most += 1
        self.least += 1


@pytest.mark.parametrize("place", PLACES)
async def test_a_random_walk(place: str, tmp_path: Path) -> None:
    below = PLACES[place](tmp_path)
    walk = Walk(below, SEED)
    for _ in range(ROUNDS):
        await walk.round()
    await below.close()
