"""Writes of many auth states that go to a server together."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from wwauth.abc import CREDS
from wwauth.errors import StoreUnavailable

from .._lease import overtaken
from ._sqltables import Key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Update

    from wwauth.abc import RecordName

    from .._sqldatabase import Database, Transaction
    from ._sqltables import AuthSchema, Statements

# So many writes go into one transaction at most, so that the first of them does not wait for all.
_GROUP = 256


class _Write:
    """One write that waits for its transaction."""

    __slots__ = ("abandoned", "changes", "ended", "error", "fence", "future", "session")

    def __init__(self, session: str, fence: int | None, changes: Mapping[RecordName, str | None]) -> None:
        self.session, self.fence, self.changes = session, fence, changes
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.error: BaseException | None = None
        self.abandoned = self.ended = False

    @property
    def adds(self) -> bool:
        return any(text is not None for text in self.changes.values())

    def end(self) -> None:
        self.ended = True
        if not self.future.done():
            self.future.set_result(None)


class GroupedWrites:
    """
    Commits what arrives while a transaction runs with the next one, all of it together.

    Where that fails each is tried by itself, so that a write is all that its failure takes back.
    """

    def __init__(self, database: Database, schema: AuthSchema, statements: Statements) -> None:
        self._database, self._schema, self._statements = database, schema, statements
        self._waiting: list[_Write] = []
        self._task: asyncio.Task[None] | None = None

    async def write(self, session: str, changes: Mapping[RecordName, str | None], *, fence: int | None) -> None:
        """
        Make changes, which are committed when this returns.

        A cancellation takes back what did not begin, and waits for the end of what did.

        Raises:
            LeaseLost: `fence` is not the newest one of the session's lease.
            StoreError: The database did not take it.
        """
        write = _Write(session, fence, changes)
        self._waiting.append(write)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        try:
            await write.future
        except asyncio.CancelledError:
            write.abandoned = True
            while not write.ended:
                write.future = asyncio.get_running_loop().create_future()
                with suppress(asyncio.CancelledError):
                    await write.future
            raise
        if write.error is not None:
            raise write.error

    async def _run(self) -> None:
        group: list[_Write] = []
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:_GROUP], self._waiting[_GROUP:]
                await self._commit([write for write in group if not write.abandoned])
                for write in group:
                    write.end()
        except BaseException as error:
            for write in [*group, *self._waiting]:
                write.error = write.error or error
                write.end()
            self._waiting = []
            raise
        finally:
            self._task = None

    async def _commit(self, writes: Sequence[_Write]) -> None:
        if not writes:
            return
        try:
            await self._database.repeated(lambda: self._transaction(writes))
        except StoreUnavailable as error:
            for write in writes:
                write.error = error
        except Exception as error:  # noqa: BLE001 - it is the answer
            if len(writes) == 1:
                writes[0].error = error
                return
            for write in writes:
                await self._commit([write])

    async def _transaction(self, writes: Sequence[_Write]) -> None:
        if not any(write.adds for write in writes) and not await self._database.in_use("write auth states"):
            return
        doing = "write " + ", ".join(sorted({f"session {write.session!r}" for write in writes})[:3])
        async with self._database.writing(doing) as transaction:
            allowed = await self._allowed(transaction, writes)
            numbers = await self._numbers(transaction, allowed)
            # What later ones change takes the place of what earlier ones did: one transaction shows the end of it alone.
            keys: dict[Key, str | None] = {}
            creds: dict[int, str | None] = {}
            for write in allowed:
                number = numbers.get(write.session)
                if number is None:
                    continue
                for name, text in write.changes.items():
                    if name == CREDS:
                        creds[number] = text
                    else:
                        keys[Key(number, *name)] = text
            for number, text in sorted(creds.items()):
                await transaction.run(self._creds(number, text))
            for drop in self._statements.drops(key for key, text in keys.items() if text is None):
                await transaction.run(drop)
            for put, values in self._statements.puts({key: text for key, text in keys.items() if text is not None}):
                await transaction.run(put, values)

    async def _allowed(self, transaction: Transaction, writes: Sequence[_Write]) -> list[_Write]:
        """Return those whose fence is the newest one, until the transaction's end; the others have failed."""
        leases = self._schema.leases
        held = {write.session for write in writes if write.fence is not None}
        newest = {}
        if held:
            columns = leases.c.session, leases.c.holder, leases.c.fence
            look = select(*columns).where(leases.c.session.in_(sorted(held))).order_by(leases.c.session).with_for_update()
            newest = {row.session: row for row in await transaction.run(look)}
        allowed = []
        for write in writes:
            row = newest.get(write.session)
            lost = write.fence is not None and (row is None or row.fence != write.fence)
            write.error = overtaken(write.session, row.holder if row else None) if lost else None
            if not lost:
                allowed.append(write)
        return allowed

    async def _numbers(self, transaction: Transaction, writes: Sequence[_Write]) -> dict[str, int]:
        """Return the numbers of the sessions, and make those that get their first record."""
        sessions = self._schema.sessions
        names = sorted({write.session for write in writes})
        look = select(sessions.c.name, sessions.c.id).where(sessions.c.name.in_(names))
        found = {row.name: row.id for row in await transaction.run(look)}
        new = sorted({write.session for write in writes if write.adds} - found.keys())
        if new:
            flavor = self._database.flavor
            for name in new:
                await transaction.run(flavor.insert_missing(sessions).values(name=name, created=flavor.now, updated=flavor.now))
            found = {row.name: row.id for row in await transaction.run(look)}
        return found

    def _creds(self, number: int, text: str | None) -> Update:
        sessions = self._schema.sessions
        return update(sessions).where(sessions.c.id == number).values(creds=text, updated=self._database.flavor.now)
