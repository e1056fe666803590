"""A bounded cache over records: misses are remembered, and nothing is remembered that is not durable."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from ..abc import RecordName
    from .records import Changes, Record, Records
    from .transactions import Undo


class CachedRecords:
    """
    Keeps the records that were used last, and which ones there are not.

    Several who miss the same record share one read, which the cancellation of one of them does not end. Nobody waits for a
    read of another record. A write goes to the layer below first; when it fails, or is cancelled, its records are
    forgotten.
    """

    def __init__(self, below: Records, *, max_records: int) -> None:
        if isinstance(max_records, bool) or not isinstance(max_records, int) or max_records < 1:
            raise ConfigurationError(f"invalid max_records {max_records!r}: use a whole number from 1")
        self._below = below
        self._room = max_records
        self._kept: OrderedDict[RecordName, Record | None] = OrderedDict()
        self._reading: dict[RecordName, asyncio.Task[dict[RecordName, Record]]] = {}
        # Also what is written past this cache, by other key stores of the same login.
        below.subscribe(self._written, self._forget)

    async def read(self, names: Collection[RecordName]) -> dict[RecordName, Record]:
        """Return those that there are."""
        found: dict[RecordName, Record] = {}
        missing = []
        kept, used = self._kept, self._kept.move_to_end
        for name in names:
            if name not in kept:
                missing.append(name)
                continue
            used(name)
            record = kept[name]
            if record is not None:
                found[name] = record
        if missing:
            found.update(await self._read(missing))
        return found

    async def write(self, changes: Changes, *, creds: Collection[Undo] = ()) -> None:
        """Write through; what a failed write left is asked for anew."""
        try:
            await self._below.write(changes, creds=creds)
        except BaseException:
            self._forget(changes)
            raise
        self._written(changes)

    async def names(self, type: str | None = None) -> list[RecordName]:  # noqa: A002 - Baileys' word
        """Return the names of all records: a cache does not know them all."""
        return await self._below.names(type)

    def subscribe(self, written: Callable[[Changes], None], in_doubt: Callable[[Changes], None]) -> None:
        """Have `written` called with each write once it is durable, and `in_doubt` with each that failed or was cancelled."""
        self._below.subscribe(written, in_doubt)

    async def _read(self, names: list[RecordName]) -> dict[RecordName, Record]:
        new = [name for name in names if name not in self._reading]
        if new:
            task = asyncio.ensure_future(self._below.read(new))
            self._reading.update(dict.fromkeys(new, task))
            task.add_done_callback(lambda task: self._arrived(new, task))
        shared = {name: self._reading[name] for name in names}
        for task in set(shared.values()):
            await asyncio.shield(task)
        results = {name: task.result().get(name) for name, task in shared.items()}
        return {name: record for name, record in results.items() if record is not None}

    def _arrived(self, names: list[RecordName], task: asyncio.Task[dict[RecordName, Record]]) -> None:
        failed = task.cancelled() or task.exception() is not None
        for name in names:
            # Whatever was written meanwhile is newer than what was read.
            if self._reading.get(name) is task:
                del self._reading[name]
                if not failed:
                    self._keep(name, task.result().get(name))

    def _written(self, changes: Changes) -> None:
        for name, record in changes.items():
            self._reading.pop(name, None)
            self._keep(name, record)

    def _forget(self, names: Iterable[RecordName]) -> None:
        for name in names:
            self._reading.pop(name, None)
            self._kept.pop(name, None)

    def _keep(self, name: RecordName, record: Record | None) -> None:
        self._kept[name] = record
        self._kept.move_to_end(name)
        if len(self._kept) > self._room:
            self._kept.popitem(last=False)
