"""What SQLite, PostgreSQL and MySQL each do in their own way; all else is one code."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import BigInteger, LargeBinary, String, bindparam, func, literal_column, text
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.util import greenlet_spawn

from wwauth.errors import ConfigurationError, StoreDenied, StoreError, StoreFull, StoreUnavailable

from ._local import CHUNK
from ._sqlite import DatabaseFile, sqlite_code, writer_queue
from ._sqlurl import sqlite_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from contextlib import AbstractAsyncContextManager
    from typing import Final

    from sqlalchemy import ColumnElement, Insert, Table
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from ._sqldatabase import Transaction


class Flavor:
    """
    One kind of database.

    Attributes:
        now: Microseconds since 1970, by the database's own clock.
        piece: How many bytes of an archive go into one row.
        identity: Which database answers: what was learnt about one holds as long as this is the same.
    """

    now: ClassVar[ColumnElement[int]]
    piece: ClassVar[int] = CHUNK

    def __init__(self, engine: AsyncEngine, timeout: float) -> None:
        self._engine = engine
        self._timeout = timeout

    @property
    def identity(self) -> object:
        return self._engine

    async def find(self, *, create: bool) -> bool:  # noqa: ARG002 - for files
        """Tell whether there is a database at all; `create`: see to it that there is."""
        return True

    def check(self, identity: object) -> None:
        """Look, after a commit, whether what was written to the database of this identity is where a reader looks."""

    def writing(self, *, bulk: bool) -> AbstractAsyncContextManager[object]:  # noqa: ARG002 - for files
        """Return what a writer holds while it writes, before it asks the database for anything; `bulk`: an archive."""
        return contextlib.nullcontext()

    async def begin(self, connection: AsyncConnection, *, write: bool) -> None:
        """Begin a transaction; one that only reads sees everything as it was at one moment."""
        raise NotImplementedError

    async def commit(self, connection: AsyncConnection) -> None:
        """Commit the transaction."""
        await connection.commit()

    async def before_schema(self, transaction: Transaction) -> None:
        """Let nobody else change the schema until the end of the transaction, and look at what else has to be right."""

    def insert_missing(self, table: Table) -> Insert:
        """Return an INSERT that does nothing when there is a row of that key."""
        raise NotImplementedError

    def data(self, name: str) -> ColumnElement[bytes]:
        """Return the expression for bytes that `packed` has prepared, as the parameter `name`."""
        return bindparam(name, type_=LargeBinary())

    def packed(self, chunk: bytes) -> bytes | str:
        """Prepare bytes for the driver."""
        return chunk

    def meaning(self, error: Exception) -> type[StoreError]:
        """Return which `StoreError` an error stands for."""
        chain = list(_chain(error))
        for one in chain:
            kind = self._meaning(one)
            if kind is not None:
                return kind
        if any(isinstance(one, PoolTimeoutError | OSError | EOFError) for one in chain) or lost(error):
            return StoreUnavailable
        return StoreError

    def collided(self, error: BaseException | None) -> bool:
        """Tell whether a transaction failed only because of another one at the same moment."""
        return any(isinstance(one, IntegrityError) or self._collision(one) for one in _chain(error))

    def _meaning(self, error: BaseException) -> type[StoreError] | None:
        raise NotImplementedError

    def _collision(self, error: BaseException) -> bool:
        raise NotImplementedError


class SQLite(Flavor):
    """SQLite: one file, one writer at a time."""

    now = literal_column("CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)", BigInteger)

    # How many bytes of the log of a large archive stay on the disk after it was worked off.
    _LOG_KEPT: Final = 16 * 1024 * 1024

    def __init__(self, engine: AsyncEngine, timeout: float) -> None:
        super().__init__(engine, timeout)
        self._file = DatabaseFile(sqlite_path(engine.url))

    @property
    def identity(self) -> object:
        return self._file.identity

    async def find(self, *, create: bool) -> bool:
        before = self._file.identity
        found = self._file.find(create=create)
        if before not in {None, self._file.identity}:
            # The open connections are those to the file that was there before. At once, without waiting for their end:
            # another one who finds the new file meanwhile must not get one of them.
            old = self._engine.pool
            await self._engine.dispose(close=False)
            await greenlet_spawn(old.dispose)
        return found

    def check(self, identity: object) -> None:
        self._file.check_is(identity)

    def writing(self, *, bulk: bool) -> AbstractAsyncContextManager[object]:
        return writer_queue(self._file.path).turn(bulk=bulk)

    async def begin(self, connection: AsyncConnection, *, write: bool) -> None:
        # Left to itself, Python's module begins a transaction with the first change only, when it is too late for either.
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        # It gives up by itself, and says why, before the time of the step is over.
        await connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(self._timeout * 900)}")
        if write:
            await connection.exec_driver_sql("PRAGMA synchronous = FULL")
            await connection.exec_driver_sql(f"PRAGMA journal_size_limit = {self._LOG_KEPT}")
            await self._use_log(connection)
        await connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    async def commit(self, connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("COMMIT")

    def insert_missing(self, table: Table) -> Insert:
        return sqlite.insert(table).on_conflict_do_nothing()

    async def _use_log(self, connection: AsyncConnection) -> None:
        if (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar() == "wal":
            return
        # Several who do this at the same moment are not made to wait for each other: all but one are told to go away.
        while True:
            try:
                await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            except DBAPIError as error:
                if sqlite_code(error.orig or error) != sqlite3.SQLITE_BUSY:
                    raise
                await asyncio.sleep(0.01)
            else:
                return

    def _meaning(self, error: BaseException) -> type[StoreError] | None:
        return self._file.meaning(error)

    def _collision(self, error: BaseException) -> bool:  # noqa: ARG002 - a writer has the whole database for itself
        return False


class PostgreSQL(Flavor):
    """PostgreSQL, and what speaks its protocol."""

    now = literal_column("CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)", BigInteger)

    # By the beginning of the SQLSTATE, the longest that fits.
    _KINDS: ClassVar[dict[str, type[StoreError]]] = {
        "08": StoreUnavailable,
        "25006": StoreDenied,  # read only
        "28": StoreDenied,
        "40": StoreUnavailable,
        "42501": StoreDenied,
        "53": StoreUnavailable,
        "53100": StoreFull,
        "55P03": StoreUnavailable,
        "57": StoreUnavailable,
        "58": StoreUnavailable,
    }

    async def begin(self, connection: AsyncConnection, *, write: bool) -> None:
        level = "READ COMMITTED" if write else "REPEATABLE READ"
        await connection.execution_options(isolation_level=level, postgresql_readonly=not write)
        await connection.execute(text("SELECT 1"))

    async def before_schema(self, transaction: Transaction) -> None:
        # IF NOT EXISTS alone does not help two who begin at the same moment.
        await transaction.run(text("SELECT pg_advisory_xact_lock(7303014620211)"))

    def insert_missing(self, table: Table) -> Insert:
        return postgresql.insert(table).on_conflict_do_nothing()

    def _meaning(self, error: BaseException) -> type[StoreError] | None:
        state = _sqlstate(error)
        return next((self._KINDS[state[:n]] for n in (5, 2) if state[:n] in self._KINDS), None)

    def _collision(self, error: BaseException) -> bool:
        return _sqlstate(error).startswith("40")


class MySQL(Flavor):
    """MySQL and MariaDB, on InnoDB."""

    # Not NOW() and its kin: they follow the connection's time zone, which repeats an hour each autumn.
    now = literal_column("TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6))", BigInteger)

    # The drivers put a statement together on the event loop, with some passes over all of its bytes.
    piece = CHUNK // 2

    # A piece is sent as text, which is twice as long; with room for the statement around it.
    _PACKET: Final = 4 * piece

    _DENIED: ClassVar[Collection[int]] = {1044, 1045, 1142, 1143, 1227, 1290, 1370, 1410, 1698, 1792, 1836, 3118, 3955, 4151}
    _FULL: ClassVar[Collection[int]] = {1021, 1114, 3675}
    _UNAVAILABLE: ClassVar[Collection[int]] = {
        *(1040, 1041, 1042, 1043, 1053, 1077, 1079, 1129, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1213, 1226),
        *(1317, 1637, 1873, 1927, 1969, 2002, 2003, 2006, 2012, 2013, 2014, 2026, 2055, 3024, 3169, 4031),
    }
    _COLLISIONS: ClassVar[Collection[int]] = {1020, 1213}

    async def begin(self, connection: AsyncConnection, *, write: bool) -> None:
        # READ COMMITTED locks the rows alone; with the gaps between them, savers of new names would lock each other out.
        # For the next transaction only, and begun by hand: a connection that is on loan is given back as it was.
        level = "READ COMMITTED" if write else "REPEATABLE READ, READ ONLY"
        await connection.exec_driver_sql(f"SET TRANSACTION ISOLATION LEVEL {level}")
        await connection.exec_driver_sql("START TRANSACTION")

    async def commit(self, connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("COMMIT")

    async def before_schema(self, transaction: Transaction) -> None:
        # No lock: each change of the schema commits by itself here, and is harmless when it is made once more.
        ((size,),) = await transaction.run(text("SELECT @@max_allowed_packet"))
        if int(size) < self._PACKET:
            raise ConfigurationError(
                f"the database takes statements of up to {size} bytes: set its max_allowed_packet to {self._PACKET} or more"
            )

    def insert_missing(self, table: Table) -> Insert:
        return mysql.insert(table).prefix_with("IGNORE")

    def data(self, name: str) -> ColumnElement[bytes]:
        # The drivers escape bytes one by one, which takes ten times as long and holds the event loop; digits need none.
        return func.unhex(bindparam(name, type_=String()))

    def packed(self, chunk: bytes) -> bytes | str:
        return chunk.hex()

    def _meaning(self, error: BaseException) -> type[StoreError] | None:
        code = _mysql_code(error)
        for kind, codes in ((StoreDenied, self._DENIED), (StoreFull, self._FULL), (StoreUnavailable, self._UNAVAILABLE)):
            if code in codes:
                return kind
        return None

    def _collision(self, error: BaseException) -> bool:
        return _mysql_code(error) in self._COLLISIONS


_FLAVORS: dict[str, type[Flavor]] = {"sqlite": SQLite, "postgresql": PostgreSQL, "mysql": MySQL, "mariadb": MySQL}


def flavor_of(engine: AsyncEngine, timeout: float) -> Flavor:
    """Return the flavor of an engine's database; `ConfigurationError` when it is none that this version knows."""
    kind = _FLAVORS.get(engine.dialect.name)
    if kind is None:
        raise ConfigurationError(f"invalid engine for {engine.dialect.name}: this version knows {', '.join(_FLAVORS)}")
    return kind(engine, timeout)


def lost(error: BaseException) -> bool:
    """Tell whether a connection was gone when it was used."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what the driver said: SQLAlchemy wraps most of what drivers raise, and not all."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = getattr(error, "orig", None) or error.__cause__


def _sqlstate(error: BaseException) -> str:
    return str(getattr(error, "sqlstate", None) or "")


def _mysql_code(error: BaseException) -> Any:
    # Both drivers have it as the first argument; an OSError's number is something else.
    return error.args[0] if error.args and not isinstance(error, OSError) else None
