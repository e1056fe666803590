"""Transactions: each step of one in its time, each connection given back or dropped, the tables there when they are needed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import inspect

from wwauth.errors import StoreError, WWAuthError

from ._sqlflavor import flavor_of, lost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import Executable
    from sqlalchemy.engine import CursorResult, Row
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from ._sqlschema import Steps

    Step = Callable[[str], AbstractAsyncContextManager[None]]

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

# So many archives are on their way at a time, each on a connection; the rest of a pool is for short questions, and for
# whoever else uses the engine.
_TRANSFERS = 4

_ATTEMPTS = 10


class Transaction:
    """A transaction that was begun; made by `Database`."""

    def __init__(self, connection: AsyncConnection, step: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self._connection = connection
        self._step = step

    async def run(
        self, statement: Executable, values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> Sequence[Row[Any]]:
        """Run a statement, for each of several `values`, and return its rows, none for one that has no rows."""
        async with self._step():
            result = await self._connection.execute(statement, values)
            return result.all() if result.returns_rows else []

    async def count(self, statement: Executable) -> int:
        """Run an UPDATE and return how many rows it was about."""
        async with self._step():
            result: CursorResult[Any] = await self._connection.execute(statement)
            return result.rowcount

    async def has_table(self, name: str) -> bool:
        """Tell whether there is a table of that name."""
        async with self._step():
            return await self._connection.run_sync(lambda connection: inspect(connection).has_table(name))


class Database:
    """The database behind an engine; `step` gives a statement its time and its errors a meaning."""

    def __init__(self, engine: AsyncEngine, schema: Steps, *, step: Step, timeout: float) -> None:
        self.flavor = flavor_of(engine, timeout)
        self._engine = engine
        self._schema = schema
        self._step = step
        self._timeout = timeout
        self._transfers = asyncio.Semaphore(_TRANSFERS)
        self._ready: object = None

    async def in_use(self, doing: str) -> bool:
        """Tell whether anything was ever kept here."""
        return await self._prepare(doing, create=False)

    @asynccontextmanager
    async def reading(self, doing: str, *, bulk: bool = False) -> AsyncIterator[Transaction | None]:
        """Yield a transaction that sees everything as it was at one moment; None: nothing was ever kept here."""
        if not await self._prepare(doing, create=False):
            yield None
            return
        async with self._transaction(doing, write=False, bulk=bulk) as transaction:
            yield transaction

    @asynccontextmanager
    async def writing(self, doing: str, *, bulk: bool = False) -> AsyncIterator[Transaction]:
        """Yield a transaction that is committed at the end, or has changed nothing."""
        await self._prepare(doing, create=True)
        async with self._transaction(doing, write=True, bulk=bulk) as transaction:
            yield transaction

    async def repeated(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do `work`, a transaction, and do it again when only another one at the same moment made it fail."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return await work()
            except StoreError as error:
                if not self.flavor.collided(error.__cause__):
                    raise
        return await work()

    async def _prepare(self, doing: str, *, create: bool) -> bool:
        """Tell whether the tables are there; `create`: make them. Tables of an older version are brought up to date."""
        if not await self._find(doing, create=create):
            return False
        # Once more where another task has found another file in its place meanwhile.
        while self._ready != (identity := self.flavor.identity):
            async with self._transaction(doing, write=False) as transaction:
                version = await self._schema.version(transaction)
            if version < self._schema.newest:
                if not version and not create:
                    return False
                await self.repeated(lambda: self._upgrade(doing))
            self._ready = identity
        return True

    async def _find(self, doing: str, *, create: bool) -> bool:
        async with self._step(doing):
            return await self.flavor.find(create=create)

    async def _upgrade(self, doing: str) -> None:
        async with self._transaction(doing, write=True) as transaction:
            await self._schema.upgrade(transaction, self.flavor)

    @asynccontextmanager
    async def _transaction(self, doing: str, *, write: bool, bulk: bool = False) -> AsyncIterator[Transaction]:
        async with AsyncExitStack() as held:
            # Without a limit of time: those who are ahead have theirs.
            if write:
                await held.enter_async_context(self.flavor.writing(bulk=bulk))
            if bulk:
                await held.enter_async_context(self._transfers)
            identity, pool = self.flavor.identity, self._engine.pool
            connection = await self._begun(doing, write=write)
            try:
                yield Transaction(connection, lambda: self._step(doing))
                async with self._step(doing):
                    if write:
                        await self.flavor.commit(connection)
            except BaseException as error:
                # What was said about the data says nothing against the connection.
                sound = isinstance(error, WWAuthError) and not isinstance(error, StoreError)
                if not sound:
                    self._ready = None
                await _finished(self._end(connection, sound=sound and pool is self._engine.pool))
                raise
            # Nobody closes one that goes back to a pool which was given up meanwhile.
            await _finished(self._end(connection, sound=pool is self._engine.pool))
            if write:
                self.flavor.check(identity)

    async def _begun(self, doing: str, *, write: bool) -> AsyncConnection:
        """Take a connection and begin; one that died while it lay in the pool is no reason to fail."""
        async with self._step(doing):
            try:
                return await self._begin(write=write)
            except Exception as error:
                if not lost(error):
                    raise
            return await self._begin(write=write)

    async def _begin(self, *, write: bool) -> AsyncConnection:
        connection = await self._engine.connect()
        try:
            await self.flavor.begin(connection, write=write)
        except BaseException:
            await _finished(self._end(connection, sound=False))
            raise
        return connection

    async def _end(self, connection: AsyncConnection, *, sound: bool) -> None:
        """Give a connection back; one that is not sound is closed, with which its transaction ends."""
        try:
            async with asyncio.timeout(self._timeout):
                if not sound:
                    await connection.invalidate()
                await connection.close()
        except Exception as error:  # noqa: BLE001 - the outcome is known, and a connection that does not end changes nothing
            _log.debug("a connection was not closed in order: %s", type(error).__name__)
            with contextlib.suppress(Exception):
                await connection.invalidate()


async def _finished(work: Coroutine[Any, Any, None]) -> None:
    """Await `work` to its end, also when the caller is cancelled meanwhile; the cancellation follows."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
