"""A store in an SQL database."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from wwauth._disk import check_path
from wwauth._names import check_session_name, pack_name_parts
from wwauth.abc import SessionInfo, StoreFeatures
from wwauth.errors import ConfigurationError, SessionCorrupted, SessionNotFound

from ._driver import DriverStore, load
from ._lease import StoreLease
from ._local import check_prefix
from ._sqlurl import is_remote, new_engine, place
from ._transfer import reading, writing

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator
    from typing import Self

    from sqlalchemy.ext.asyncio import AsyncEngine

    from wwauth.errors import StoreError

    from ._sqldatabase import Transaction

__all__ = ["SQLStore"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_NAME_BEGINS = re.compile(r"[-_.A-Za-z0-9]*")


@dataclass(frozen=True, slots=True)
class _Content:
    """What was written of an archive."""

    key: str
    chunks: int
    size: int
    sha256: str


class SQLStore(DriverStore):
    """
    Keeps archives in tables of an SQL database: SQLite, PostgreSQL, MySQL or MariaDB, through SQLAlchemy.

    An archive is written in one transaction, in rows of 1 MiB, and takes the place of the old one with its commit; what a
    crash leaves of a save, the database itself takes back. Lengths and a SHA-256 are checked when it is read.

    The tables are made with the first save or lease, and brought up to date by later versions; their names begin with
    `table_prefix`. Reading from a database without them finds nothing, and makes nothing.

    SQLite is one file, made 0600, in a folder that is made 0700 when it is missing; it is used in WAL mode with full
    synchronisation, so that what was saved outlives a crash of the machine. A file that this store has seen and that is gone
    is `StoreUnavailable`. On a server a save needs a transaction as long as the upload takes, and a statement of 2 MiB
    on MySQL.

    Args:
        engine: SQLAlchemy's `AsyncEngine`, which stays the caller's. `from_url` makes one of the store's own.
        table_prefix: What the names of the tables begin with.
        timeout: For how many seconds a step may take: to connect, a statement, a chunk.

    Raises:
        ConfigurationError: An argument is wrong; the message names it.
        MissingDependency: SQLAlchemy is not installed.
    """

    features: ClassVar[StoreFeatures] = StoreFeatures(listing=True, leases=True, remote=True)

    def __init__(self, engine: AsyncEngine, *, table_prefix: str = "wwauth_", timeout: float = 30) -> None:
        sqlalchemy = load("sqlalchemy.ext.asyncio", extra="sqlite", needed_by="SQLStore")
        if not isinstance(engine, sqlalchemy.AsyncEngine):
            raise ConfigurationError(f"invalid engine of type {type(engine).__name__}: make one with create_async_engine()")
        super().__init__(place(engine.url), timeout=timeout)
        # Loaded here, so that the class can be imported where SQLAlchemy is not installed.
        from ._sqldatabase import Database  # noqa: PLC0415
        from ._sqllease import SQLLeases  # noqa: PLC0415
        from ._sqlschema import Schema  # noqa: PLC0415
        from ._sqlstatements import Statements  # noqa: PLC0415

        schema = Schema(table_prefix)
        self._engine = engine
        self._database = Database(engine, schema, step=self._step, timeout=timeout)
        self._leases = SQLLeases(self._database, schema.leases)
        self._statements = Statements(schema, self._database.flavor)
        self.features = replace(type(self).features, remote=is_remote(engine.url))  # type: ignore[misc]

    @classmethod
    def from_url(cls, url: str, *, table_prefix: str = "wwauth_", timeout: float = 30) -> Self:
        """
        Return a store with an engine of its own, which its `close()` closes; it connects with its first use.

        `sqlite:///wwauth.db`, `postgresql://user:password@host/database`, `mysql://…`, `mariadb://…`; a driver may be named
        after a plus sign (aiosqlite; asyncpg; aiomysql or asyncmy), its options stand after a `?`.

        Raises:
            ConfigurationError: It is no such URL; no password is in the message.
            MissingDependency: The driver is not installed; the message names the extra.
        """
        return cls(new_engine(url), table_prefix=table_prefix, timeout=timeout)._owning()

    async def session_exists(self, *, session: str) -> bool:
        """
        Tell whether an archive is stored under this name.

        Raises:
            StoreUnavailable, StoreDenied: The database does not answer.
        """
        name = check_session_name(session)
        async with self._database.reading(f"look for session {name!r}") as transaction:
            return transaction is not None and bool(await transaction.run(self._statements.archive, {"name": name}))

    async def save(self, *, session: str, path: str | os.PathLike[str], fence: int | None = None) -> None:
        """
        Store the archive that lies at `path`, all or nothing.

        Raises:
            ConfigurationError: `path` is no file that can be read.
            LeaseLost: `fence` is that of a holder who was overtaken.
            StoreFull, StoreDenied, StoreUnavailable: The database does not take it.
            StoreError: `path` could not be read to its end, or changed meanwhile.
        """
        name = check_session_name(session)

        async def save() -> None:
            async with (
                reading(path) as chunks,
                self._database.writing(f"save session {name!r}", bulk=True) as transaction,
            ):
                content = await self._upload(transaction, chunks)
                # Last of all, so that the lease can be renewed while the archive is on its way.
                await self._leases.check(transaction, name, fence)
                await self._switch(transaction, name, content)

        await self._database.repeated(save)

    async def extract(self, *, session: str, path: str | os.PathLike[str]) -> None:
        """
        Write the stored archive to the new file `path`.

        Raises:
            SessionNotFound: There is none.
            SessionCorrupted: What is stored is not what was saved.
            ConfigurationError: The folder of `path` is not there.
            StoreError: The archive could not be read, or `path` not be written; nothing is left there.
        """
        name = check_session_name(session)
        target = check_path(path, what="the file to write")
        async with self._database.reading(f"read session {name!r}", bulk=True) as transaction:
            rows = await transaction.run(self._statements.archive, {"name": name}) if transaction else []
            if not transaction or not rows:
                raise SessionNotFound(f"{self._place} holds no session {name!r}")
            async with writing(target) as write:
                size, digest = 0, hashlib.sha256()
                async for data in self._download(transaction, rows[0]):
                    size += len(data)
                    digest.update(data)
                    await write(data)
                if (size, digest.hexdigest()) != (rows[0].size, rows[0].sha256):
                    raise SessionCorrupted(
                        f"what {self._place} holds of session {name!r} is not what was saved ({size} of {rows[0].size} bytes, "
                        f"or others): restore an older backup"
                    )

    async def delete(self, *, session: str, fence: int | None = None) -> None:
        """
        Delete the archive; a name that is not there is no error.

        Raises:
            LeaseLost: `fence` is that of a holder who was overtaken.
            StoreUnavailable, StoreDenied: It could not be deleted.
        """
        name = check_session_name(session)
        doing = f"delete session {name!r}"

        async def delete() -> None:
            if fence is None and not await self._database.in_use(doing):
                return
            async with self._database.writing(doing) as transaction:
                await self._leases.check(transaction, name, fence)
                rows = await transaction.run(self._statements.locked, {"name": name})
                # The name of a pack never comes again; that of a session does, and goes on counting.
                forget = self._statements.forget if pack_name_parts(name) else self._statements.empty
                for row in rows:
                    await transaction.run(forget, {"name": name})
                    await transaction.run(self._statements.drop_chunks, {"key": row.content})

        await self._database.repeated(delete)

    def lease(self, *, session: str, holder: str, ttl: float) -> StoreLease:
        """Return a lease on a name, for `ttl` seconds unless it is renewed, by the database's clock."""
        return StoreLease(self._leases, session=session, holder=holder, ttl=ttl)

    async def list_sessions(self, *, prefix: str = "", packs: bool = False) -> AsyncIterator[SessionInfo]:
        """
        Iterate, in the order of their names, over what is stored under names that begin with `prefix`; `packs`: those, too.

        Raises:
            StoreUnavailable, StoreDenied: The database does not answer.
        """
        check_prefix(prefix)
        async with self._database.reading("list the sessions") as transaction:
            # What no name has is not for the database's collation to judge.
            possible = transaction is not None and _NAME_BEGINS.fullmatch(prefix) is not None
            rows = await transaction.run(self._statements.listing(prefix)) if transaction and possible else []
        for row in rows:
            if packs or not pack_name_parts(row.session):
                modified = _EPOCH + timedelta(microseconds=row.modified)
                yield SessionInfo(row.session, row.size, modified, row.revision)

    async def _upload(self, transaction: Transaction, chunks: AsyncIterator[bytes]) -> _Content:
        key, count, size, digest = secrets.token_hex(16), 0, 0, hashlib.sha256()
        flavor = self._database.flavor
        async for chunk in chunks:
            for begin in range(0, len(chunk), flavor.piece):
                data = flavor.packed(chunk[begin : begin + flavor.piece])
                await transaction.run(self._statements.add_chunk, {"key": key, "number": count, "bytes": data})
                count += 1
            size += len(chunk)
            digest.update(chunk)
        return _Content(key, count, size, digest.hexdigest())

    async def _switch(self, transaction: Transaction, name: str, content: _Content) -> None:
        values: dict[str, Any] = {
            "name": name,
            "key": content.key,
            "count": content.chunks,
            "length": content.size,
            "digest": content.sha256,
        }
        old = next(iter(await transaction.run(self._statements.locked, {"name": name})), None)
        if old is None:
            # Two who are the first at the same moment: one of them is refused here, and repeats its save.
            await transaction.run(self._statements.add_archive, values)
            return
        await transaction.run(self._statements.switch, values)
        await transaction.run(self._statements.drop_chunks, {"key": old.content})

    async def _download(self, transaction: Transaction, archive: Any) -> AsyncIterator[bytes]:
        for number in range(archive.chunks):
            # A query for each: what the drivers call streaming holds many rows at a time.
            rows = await transaction.run(self._statements.chunk, {"key": archive.content, "number": number})
            for row in rows:
                yield row.data

    async def _close_client(self) -> None:
        await self._engine.dispose()

    def _meaning(self, error: Exception) -> type[StoreError]:
        return self._database.flavor.meaning(error)
