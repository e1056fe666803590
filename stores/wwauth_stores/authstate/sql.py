"""Auth states on an SQL server, and in whatever database a URL names."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakValueDictionary

from wwauth._closing import Closing
from wwauth._names import check_session_name
from wwauth.abc import CREDS, RecordName
from wwauth.errors import ConfigurationError

from .._driver import DriverBase, load
from .._sqlurl import new_engine, place, sqlite_path
from ..urls import redact_url
from ._besides import BesidesOthers
from ._hold import Holding
from ._shared import Shared
from .sqlite import SQLiteAuthStateStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from wwauth.errors import StoreError

__all__ = ["SQLAuthStateStore", "sql_auth_state_store"]

# For how many seconds a step may take: to connect, a statement.
_TIMEOUT = 30.0

# A page of `records` and `list_sessions`, in rows.
_PAGE = 500


def sql_auth_state_store(url_or_engine: str | AsyncEngine) -> SQLAuthStateStore | SQLiteAuthStateStore:
    """
    Return the store of auth states in a database; nothing is opened, and nobody asked, before its first use.

    Args:
        url_or_engine: `sqlite:///wwauth.db`, `postgresql://user:password@host/database`, `mysql://…` or `mariadb://…`, or
            SQLAlchemy's `AsyncEngine` for one of them, which stays the caller's. An SQLite database is opened by its path,
            without SQLAlchemy, whose options after a `?` it does not use.

    Raises:
        ConfigurationError: It is neither; no password is in the message.
        MissingDependency: SQLAlchemy or the driver is not installed.
    """
    if isinstance(url_or_engine, str):
        path = sqlite_file(url_or_engine)
        return SQLAuthStateStore(url_or_engine) if path is None else SQLiteAuthStateStore(path)
    engine = _checked(url_or_engine)
    if engine.dialect.name == "sqlite":
        return SQLiteAuthStateStore(sqlite_path(engine.url))
    return SQLAuthStateStore(engine)


class SQLAuthStateStore(Closing, BesidesOthers):
    """
    Keeps auth states in tables on PostgreSQL, MySQL or MariaDB, through SQLAlchemy: any number of sessions in a database.

    All stores over one URL in an event loop share one engine, and those over one engine its writes: what arrives while a
    transaction runs goes into the next one together. The tables are made with the first write or hold; their names begin
    with `wwauth_auth_`. Types and ids are kept apart by their bytes; a type has up to 128 of them, an id up to 1,024.

    Who holds a session is told by a lease of 30 s, by the server's clock, which is renewed every 10 s, and is taken over at
    once from a process of this machine that has died. Each write of the holder checks it in its own transaction.

    Args:
        url_or_engine: A URL, or an engine, which stays the caller's; see `sql_auth_state_store`.

    Raises:
        ConfigurationError: It is neither, or for SQLite, which has a store of its own.
        MissingDependency: SQLAlchemy or the driver is not installed.
    """

    def __init__(self, url_or_engine: str | AsyncEngine) -> None:
        self._shared: Shared | None = None
        if isinstance(url_or_engine, str):
            self._shared = Shared(url_or_engine, lambda: Server.owned(url_or_engine))
            self._server: Server = self._shared.client
        else:
            self._server = Server.of(_checked(url_or_engine))
        self._fences: dict[str, int] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"SQLAuthStateStore({self._server.place!r})"

    async def read(self, *, session: str, names: Collection[RecordName]) -> dict[RecordName, str]:
        """
        Return those of the records that there are, by one statement.

        Raises:
            StoreUnavailable, StoreDenied: The server does not answer.
        """
        server, name = self.opened(), check_session_name(session)
        wanted = {record for record in names if record == CREDS or server.fits(record)}
        found: dict[RecordName, str] = {}
        async with server.database.reading(f"read session {name!r}") as transaction:
            if transaction is None or not wanted:
                return {}
            for statement in server.statements.records(name, wanted):
                found.update((server.statements.name(row), row.value) for row in await transaction.run(statement))
        return found

    async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
        """
        Replace records, and delete those whose new text is None, in one transaction, which is committed at the end.

        Raises:
            ConfigurationError: A type or an id is longer than the tables take.
            LeaseLost: Another holder took over what this store holds.
            StoreFull, StoreDenied, StoreUnavailable: The server does not take it.
        """
        server, name = self.opened(), check_session_name(session)
        for record in changes:
            server.check(record)
        if changes:
            await server.writes.write(name, dict(changes), fence=self._fences.get(name))

    async def records(
        self,
        *,
        session: str,
        type: str | None = None,  # noqa: A002 - Baileys' word
    ) -> AsyncIterator[tuple[RecordName, str]]:
        """Iterate over all records of a session, or those of one type, a page at a time."""
        server, name = self.opened(), check_session_name(session)
        if type in {None, CREDS.type}:
            for record in (await self.read(session=name, names=[CREDS])).items():
                yield record
        last, more = None, type is None or server.fits(RecordName(type, ""))
        while more:
            more = False
            async with server.database.reading(f"read session {name!r}") as transaction:
                rows = await transaction.run(server.statements.page(name, type, last, _PAGE)) if transaction else []
            for row in rows:
                last = server.statements.name(row)
                yield last, row.value
            more = len(rows) == _PAGE

    async def delete(self, *, session: str) -> None:
        """
        Delete all records of a session with one statement; one that is not there is no error.

        Raises:
            LeaseLost: Another holder took over what this store holds.
            StoreUnavailable, StoreDenied: It could not be deleted.
        """
        server, name = self.opened(), check_session_name(session)
        doing = f"delete session {name!r}"

        async def delete() -> None:
            async with server.database.writing(doing) as transaction:
                await server.leases.check(transaction, name, self._fences.get(name))
                await transaction.run(server.statements.delete(name))

        if await server.database.in_use(doing):
            await server.database.repeated(delete)

    async def list_sessions(self) -> AsyncIterator[str]:
        """Iterate over the names of all sessions that have a record, sorted."""
        server = self.opened()
        last, more = "", True
        while more:
            async with server.database.reading("list the sessions") as transaction:
                rows = await transaction.run(server.statements.names(last, _PAGE)) if transaction else []
            for row in rows:
                last = row.name
                yield last
            more = len(rows) == _PAGE

    @asynccontextmanager
    async def hold(self, *, session: str) -> AsyncIterator[None]:
        """
        Be the session's one holder, by a lease that is renewed until the end.

        Raises:
            SessionInUse: Somebody else holds it; the message names whom.
            StoreUnavailable, StoreDenied: The server cannot tell.
        """
        name = check_session_name(session)
        async with Holding(self.opened().leases, name) as fence:
            self._fences[name] = fence
            try:
                yield
            finally:
                del self._fences[name]

    async def close(self) -> None:
        """Close the engine that was opened here, when no other store uses it; idempotent. It is not to be used afterwards."""
        if not self._closed:
            self._closed = True
            if self._shared is not None:
                await self._shared.close(Server.close)

    def opened(self) -> Server:
        """Return what all stores over the engine share, while this one is open."""
        if self._closed:
            raise ConfigurationError(f"this {self!r} was closed; make a new one")
        return self._server


class Server(DriverBase):
    """What all stores over one engine share."""

    # By the engine's id, which is nobody else's as long as its server is there.
    _of: ClassVar[WeakValueDictionary[int, Server]] = WeakValueDictionary()

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(place(engine.url), timeout=_TIMEOUT)
        # Loaded here, so that this module can be imported where SQLAlchemy is not installed.
        from .._sqldatabase import Database  # noqa: PLC0415
        from .._sqllease import SQLLeases  # noqa: PLC0415
        from ._sqltables import AuthSchema, check, fits, statements_of  # noqa: PLC0415
        from ._sqlwrites import GroupedWrites  # noqa: PLC0415

        self.place, self.kind = self._place, engine.dialect.name
        self.check, self.fits = check, fits
        schema = AuthSchema()
        self._engine = engine
        self.database = Database(engine, schema, step=self._step, timeout=_TIMEOUT)
        self.leases = SQLLeases(self.database, schema.leases)
        self.statements = statements_of(engine, schema)
        self.writes = GroupedWrites(self.database, schema, self.statements)

    @classmethod
    def of(cls, engine: AsyncEngine) -> Server:
        """Return the one of a caller's engine."""
        found = cls._of.get(id(engine))
        if found is None:
            found = cls._of[id(engine)] = cls(engine)
        return found

    @classmethod
    def owned(cls, url: str) -> Server:
        """Return one with an engine of its own, which `close()` closes."""
        return cls(_checked(new_engine(url, needed_by="SQLAuthStateStore")))._owning()

    async def query(self, doing: str, statement: str, **values: object) -> Sequence[Any]:
        """Return the rows of a statement about tables that are not this store's; `doing` completes "cannot"."""
        from sqlalchemy import text  # noqa: PLC0415 - as above

        async with self._step(doing), self._engine.connect() as connection:
            return (await connection.execute(text(statement), values)).all()

    async def _close_client(self) -> None:
        await self._engine.dispose()

    def _meaning(self, error: Exception) -> type[StoreError]:
        return self.database.flavor.meaning(error)


def _checked(engine: Any) -> AsyncEngine:
    sqlalchemy = load("sqlalchemy.ext.asyncio", extra="postgresql", needed_by="SQLAuthStateStore")
    if not isinstance(engine, sqlalchemy.AsyncEngine):
        if isinstance(engine, os.PathLike):
            raise ConfigurationError(
                f"invalid database of type {type(engine).__name__}: give the URL of an SQLite file, 'sqlite:///{os.fspath(engine)}'"
            )
        raise ConfigurationError(
            f"invalid database of type {type(engine).__name__}: give a URL, or an engine made with create_async_engine()"
        )
    checked: AsyncEngine = engine
    return checked


def sqlite_file(url: str) -> str | None:
    """Return the path in a URL for SQLite, as SQLAlchemy reads it; None: it is for another database."""
    scheme, _, rest = url.partition(":")
    if scheme.lower().partition("+")[0] != "sqlite":
        return None
    name = rest.partition("?")[0]
    path = name.removeprefix("///")
    if not name.startswith("///") or path in {"", ":memory:"} or path.startswith("file:"):
        raise ConfigurationError(f"invalid SQLite URL {redact_url(url)!r}: name a file, as in sqlite:///wwauth.db")
    return path
