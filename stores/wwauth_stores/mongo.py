"""A store in MongoDB."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, get_args

from wwauth._disk import check_path
from wwauth._names import check_session_name, pack_name_parts
from wwauth.abc import StoreFeatures
from wwauth.errors import (
    ConfigurationError,
    SessionCorrupted,
    SessionNotFound,
    StoreError,
)

from ._driver import DriverStore, is_loopback, load
from ._lease import StoreLease
from ._local import check_prefix
from ._mongoclient import hosts_of, is_client, meaning, open_client, safe_database, take_option
from ._transfer import reading, writing

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator
    from typing import Self

    from motor.motor_asyncio import AsyncIOMotorClient
    from pymongo import AsyncMongoClient

    from wwauth.abc import SessionInfo

    from ._mongo_own import OwnLayout
    from ._mongo_peer import PeerLayout

    Client = AsyncMongoClient[Any] | AsyncIOMotorClient[Any]

__all__ = ["MongoStore"]

Layout = Literal["wwauth", "wwebjs-mongo"]

_PREFIX = re.compile(r"(?!system\.)[-_A-Za-z0-9]+(?:\.[-_A-Za-z0-9]+)*")


class MongoStore(DriverStore):
    """
    Keeps archives in MongoDB, over pymongo's `AsyncMongoClient` or motor's `AsyncIOMotorClient`.

    An archive lies in the GridFS bucket `bucket_prefix`, which GridFS's tools read, and is the session's from the moment
    its document in `<bucket_prefix>.sessions` points there: one update, which checks the fence, too. Only then the one
    before it is deleted. What crashed writers left is deleted by a later save or delete, an hour after it was last
    touched. Writes are acknowledged by a majority, from its journals; times are the server's.

    A name that has no archive here is looked for in the bucket in which wwebjs-mongo keeps it, so that a login of
    whatsapp-web.js moves over by itself: it is listed and restored from there, and saved here. The peer's archive stays
    as it was until `delete`, which deletes both.

    `layout="wwebjs-mongo"` reads and writes what wwebjs-mongo 1.1.0 does, for a login that both are to use: a bucket for
    each session, one plain zip. It has no leases, and takes no packs: `RemoteAuth(archive="whatsapp-web.js")`.

    Args:
        client: The caller's, who closes it; any number of stores may share it.
        database: Its name. None: the default database of the client's URL, else "wwauth".
        bucket_prefix: What the names of the collections begin with, in wwauth's layout.
        layout: "wwauth" or "wwebjs-mongo".
        timeout: For how many seconds one step (a query, a batch of chunks) may take.

    Raises:
        ConfigurationError: An argument is wrong.
        MissingDependency: pymongo is not installed.
    """

    def __init__(
        self,
        client: Client,
        *,
        database: str | None = None,
        bucket_prefix: str = "wwauth",
        layout: Layout = "wwauth",
        timeout: float = 30,
    ) -> None:
        load("pymongo", extra="mongodb", needed_by="MongoStore")
        if not is_client(client):
            raise ConfigurationError(
                f"invalid client of type {type(client).__name__}: give pymongo's AsyncMongoClient or motor's AsyncIOMotorClient"
            )
        if layout not in get_args(Layout):
            raise ConfigurationError(f"invalid layout {layout!r}: use one of {', '.join(map(repr, get_args(Layout)))}")
        if not isinstance(bucket_prefix, str) or not _PREFIX.fullmatch(bucket_prefix):
            raise ConfigurationError(
                f"invalid bucket_prefix {bucket_prefix!r}: use ASCII letters, digits, '_', '-' and dots between"
            )
        chosen = safe_database(client, database)
        hosts = hosts_of(client)
        super().__init__(f"mongodb://{','.join(hosts.values())}/{chosen.name}", timeout=timeout)
        self._client: Any = client
        self._layout = self._made(layout, chosen, bucket_prefix)
        own = layout == "wwauth"
        remote = not all(host.startswith("/") or is_loopback(host) for host in hosts)
        self.features = StoreFeatures(listing=True, leases=own, packs=own, remote=remote)  # type: ignore[misc]

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        database: str | None = None,
        bucket_prefix: str = "wwauth",
        layout: Layout = "wwauth",
        timeout: float = 30,
    ) -> Self:
        """
        Return a store with a client of its own, which `close()` closes; nothing is connected yet.

        Args:
            url: As MongoDB writes it: `mongodb://user:password@host:27017/database?options`, or `mongodb+srv://…`. `layout=`
                may be one of its options, too.
            database: As for the class, and so are the others.
            bucket_prefix: See there.
            layout: See there.
            timeout: See there.
        """
        load("pymongo", extra="mongodb", needed_by="MongoStore")
        address, named = take_option(str(url), "layout")
        client = open_client(address, timeout=timeout)
        return cls(client, database=database, bucket_prefix=bucket_prefix, layout=named or layout, timeout=timeout)._owning()

    async def session_exists(self, *, session: str) -> bool:
        """
        Tell whether an archive is stored under this name.

        Raises:
            StoreUnavailable, StoreDenied: The server does not answer.
        """
        name = check_session_name(session)
        return await self._layout.exists(name, f"look for session {name!r}")

    async def save(self, *, session: str, path: str | os.PathLike[str], fence: int | None = None) -> None:
        """
        Store the archive that lies at `path`, all or nothing.

        Raises:
            ConfigurationError: `path` is no file that can be read.
            LeaseLost: `fence` is that of a holder who was overtaken.
            StoreFull, StoreDenied, StoreUnavailable: The server does not take it.
            StoreError: `path` could not be read to its end, or changed meanwhile.
        """
        name = check_session_name(session)
        async with reading(path) as chunks:
            await self._layout.save(name, chunks, fence, f"save session {name!r}")

    async def extract(self, *, session: str, path: str | os.PathLike[str]) -> None:
        """
        Write the stored archive to the new file `path`.

        Raises:
            SessionNotFound: There is none.
            SessionCorrupted: A part of it is missing, or is not what was saved.
            ConfigurationError: The folder of `path` is not there.
            StoreError: The archive could not be read, or `path` not be written; nothing is left there.
        """
        from ._gridfs import Torn  # noqa: PLC0415 - loads the driver

        name = check_session_name(session)
        target = check_path(path, what="the file to write")
        doing = f"read session {name!r}"
        torn: object = None
        while True:
            try:
                found = await self._layout.find(name, doing)
                if found is None:
                    raise SessionNotFound(f"{self._place} holds no session {name!r}")
                bucket, file = found
                async with writing(target) as write:
                    await bucket.read(file, write, doing)
            except Torn as error:
                # Most often a save has replaced it meanwhile: then there is another one now.
                if error.file == torn:
                    raise SessionCorrupted(f"session {name!r} in {self._place} is damaged: {error}") from error
                torn = error.file
            else:
                return

    async def delete(self, *, session: str, fence: int | None = None) -> None:
        """
        Delete the archive, and what crashed writers left of it; a name that is not there is no error.

        In wwauth's layout a `save` of the same session that is under way elsewhere fails.

        Raises:
            LeaseLost: `fence` is that of a holder who was overtaken.
            StoreUnavailable, StoreDenied: It could not be deleted.
        """
        name = check_session_name(session)
        await self._layout.delete(name, fence, f"delete session {name!r}")

    def lease(self, *, session: str, holder: str, ttl: float) -> StoreLease:
        """Return a lease on a name, for `ttl` seconds unless it is renewed; not with `layout="wwebjs-mongo"`."""
        leases = self._layout.leases
        if leases is None:
            raise ConfigurationError(f"{self!r} has no leases: wwebjs-mongo's layout knows none (session {session!r})")
        return StoreLease(leases, session=session, holder=holder, ttl=ttl)

    async def list_sessions(self, *, prefix: str = "", packs: bool = False) -> AsyncIterator[SessionInfo]:
        """
        Iterate, in the order of their names, over what is stored under names that begin with `prefix`; `packs`: those, too.

        Archives of wwebjs-mongo have no revision.

        Raises:
            StoreUnavailable, StoreDenied: The server does not answer.
        """
        check_prefix(prefix)
        # No name has other characters, and BSON cannot take all of them.
        found = await self._layout.list(prefix, "list the sessions") if prefix.isascii() else []
        for info in sorted(found, key=lambda info: info.session):
            if packs or not pack_name_parts(info.session):
                yield info

    async def _close_client(self) -> None:
        await self._client.close()

    def _meaning(self, error: Exception) -> type[StoreError]:
        return meaning(error, self._client)

    def _made(self, layout: Layout, database: Any, prefix: str) -> OwnLayout | PeerLayout:
        from ._mongo_own import OwnLayout  # noqa: PLC0415 - loads the driver
        from ._mongo_peer import PeerLayout  # noqa: PLC0415 - as above

        return OwnLayout(database, prefix, self._step) if layout == "wwauth" else PeerLayout(database, self._step)
