"""Messages of socket logins on an SQL server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wwauth._messages import MessageBackend, MessageRow, RowKey

from .._driver import DriverBase, load
from .._sqlurl import new_engine, place
from ._shared import Shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Insert
    from sqlalchemy.ext.asyncio import AsyncEngine

    from wwauth.errors import StoreError

_TIMEOUT = 30.0


class SQLMessageBackend(MessageBackend):
    """
    Keeps messages in a table on PostgreSQL, MySQL or MariaDB, through SQLAlchemy.

    Args:
        url_or_engine: A URL, whose engine all backends of an event loop share that name it; or an engine, which stays the
            caller's.

    Raises:
        ConfigurationError: It is neither; no password is in the message.
        MissingDependency: SQLAlchemy or the driver is not installed.
    """

    def __init__(self, url_or_engine: str | AsyncEngine) -> None:
        self._shared: Shared | None = None
        if isinstance(url_or_engine, str):
            self._shared = Shared(f"messages {url_or_engine}", lambda: _Server.owned(url_or_engine))
            self._server: _Server = self._shared.client
        else:
            self._server = _Server(url_or_engine)

    def __repr__(self) -> str:
        return self._server.place

    async def put_many(self, *, session: str, rows: Sequence[MessageRow]) -> None:
        """Store rows, in one transaction."""
        server = self._server
        values = [server.values(session, row) for row in rows]

        async def put() -> None:
            async with server.database.writing("save messages") as transaction:
                await transaction.run(server.put, values)

        await server.database.repeated(put)

    async def get(self, *, session: str, id: str) -> list[MessageRow]:  # noqa: A002 - Baileys' word
        """Return the rows whose key has this id."""
        async with self._server.database.reading("look for a message") as transaction:
            rows = await transaction.run(self._server.get, {"of": session, "which": id}) if transaction else []
        return [_row(row) for row in rows]

    async def count(self, *, session: str) -> int:
        """Return how many rows a session has."""
        async with self._server.database.reading("count messages") as transaction:
            rows = await transaction.run(self._server.number, {"of": session}) if transaction else []
        return int(rows[0][0]) if rows else 0

    async def drop_oldest(self, *, session: str, limit: int, before: int | None = None) -> int:
        """Delete at most `limit` rows, the oldest ones."""
        doing, server, dropped = "delete old messages", self._server, 0

        async def drop() -> None:
            nonlocal dropped
            async with server.database.writing(doing) as transaction:
                old = await transaction.run(server.oldest(session, limit, before))
                if old:
                    # One that was stored once more meanwhile is none of the oldest.
                    dropped = await transaction.count(server.drop([row.number for row in old], max(row.stored for row in old)))

        if await server.database.in_use(doing):
            await server.database.repeated(drop)
        return dropped

    async def delete_session(self, *, session: str) -> None:
        """Delete all rows of a session."""
        doing, server = "delete messages", self._server

        async def delete() -> None:
            async with server.database.writing(doing) as transaction:
                await transaction.run(server.forget, {"of": session})

        if await server.database.in_use(doing):
            await server.database.repeated(delete)

    async def close(self) -> None:
        """Close the engine that was opened here, when nobody else uses it; idempotent."""
        shared, self._shared = self._shared, None
        if shared is not None:
            await shared.close(_Server.close)


class _Server(DriverBase):
    """What all backends over one engine share: the table, and the statements about it."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(place(engine.url), timeout=_TIMEOUT)
        load("sqlalchemy.ext.asyncio", extra="postgresql", needed_by="MessageStore")
        # Loaded here, so that this module can be imported where SQLAlchemy is not installed.
        from sqlalchemy import bindparam, delete, func, select  # noqa: PLC0415

        from .._sqldatabase import Database  # noqa: PLC0415
        from ._messagestable import MessageSchema  # noqa: PLC0415

        self.place = self._place
        schema = MessageSchema()
        self._engine = engine
        self.database = Database(engine, schema, step=self._step, timeout=_TIMEOUT)
        self._table = schema.messages
        columns = self._table.c
        of_session = columns.session == bindparam("of")
        self.put: Insert = schema.put(self.database.flavor)
        self.get = select(*(columns[name] for name in (*RowKey._fields, *MessageRow._fields[1:]))).where(
            of_session, columns.id == bindparam("which")
        )
        self.number = select(func.count()).select_from(self._table).where(of_session)
        self.forget = delete(self._table).where(of_session)

    @classmethod
    def owned(cls, url: str) -> _Server:
        """Return one with an engine of its own, which `close()` closes."""
        return cls(new_engine(url, needed_by="MessageStore"))._owning()

    def values(self, session: str, row: MessageRow) -> dict[str, Any]:
        """Return the parameters of `put`."""
        rest = dict(zip(row._fields[1:], row[1:], strict=True))
        return {"session": session, **row.key._asdict(), **rest, "content": self.database.flavor.packed(row.body)}

    def oldest(self, session: str, limit: int, before: int | None) -> Any:
        """Return a SELECT of the oldest rows of a session."""
        from sqlalchemy import select  # noqa: PLC0415 - as above

        columns = self._table.c
        found = select(columns.number, columns.stored).where(columns.session == session)
        if before is not None:
            found = found.where(columns.stored < before)
        return found.order_by(columns.stored).limit(limit)

    def drop(self, numbers: Sequence[int], stored: int) -> Any:
        """Return a DELETE of rows."""
        from sqlalchemy import delete  # noqa: PLC0415 - as above

        return delete(self._table).where(self._table.c.number.in_(numbers), self._table.c.stored <= stored)

    async def _close_client(self) -> None:
        await self._engine.dispose()

    def _meaning(self, error: Exception) -> type[StoreError]:
        return self.database.flavor.meaning(error)


def _row(row: Any) -> MessageRow:
    key = RowKey(row.id, row.chat, bool(row.from_me), row.sender)
    secret = None if row.secret is None else bytes(row.secret)
    return MessageRow(key, row.chat_alt, row.sender_alt, row.form, bytes(row.body), secret, row.stored)
