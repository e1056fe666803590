"""Group commit: what is asked for while a commit runs goes into the next one together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from ._threads import ended

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_T = TypeVar("_T")


class GroupCommit(Generic[_T]):
    """
    Collects items for `commit`, which runs once at a time.

    Whoever adds one waits for its commit. A caller that is cancelled takes its item back, or waits until the commit that has
    it has ended: once it goes on, nothing is written behind its back.
    """

    def __init__(self, commit: Callable[[list[_T]], Awaitable[None]]) -> None:
        self._commit = commit
        self._waiting: list[tuple[_T, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def add(self, item: _T) -> None:
        """Have an item committed; raises what its commit raises."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (item, done)
        self._waiting.append(entry)
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
            self._task.add_done_callback(self._never_began)
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            else:
                await ended(done)
            raise

    async def _run(self) -> None:
        batch: list[tuple[_T, asyncio.Future[None]]] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    await self._commit([item for item, _ in batch])
                except Exception as error:  # noqa: BLE001 - each of those who wait gets it
                    for _, done in batch:
                        done.set_exception(error)
                        done.exception()  # a cancelled caller does not ask
                else:
                    for _, done in batch:
                        done.set_result(None)
        finally:
            self._give_up(batch)

    def _never_began(self, task: asyncio.Task[None]) -> None:
        """See to the end of a task that was cancelled before its first step: nothing of it has run."""
        if self._task is task:
            self._give_up([])

    def _give_up(self, batch: list[tuple[_T, asyncio.Future[None]]]) -> None:
        self._task = None
        # Cancelled with all tasks, at the end of asyncio.run() for one: whoever waits would do so for ever.
        for _, done in batch + self._waiting:
            done.cancel()
        self._waiting = []
