"""Auth states in MongoDB."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, get_args

from wwauth._names import check_session_name
from wwauth.abc import AuthStateStore
from wwauth.errors import ConfigurationError, StoreError

from .._driver import DriverBase, load
from .._mongoclient import hosts_of, meaning
from ._hold import Holding
from ._mongo_collection import collection_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping

    from motor.motor_asyncio import AsyncIOMotorCollection
    from pymongo.asynchronous.collection import AsyncCollection

    from wwauth.abc import RecordName

    from ._mongo_layouts import Layout
    from ._mongo_writes import Noted, Writes
    from ._peers import PeerState

__all__ = ["MongoAuthStateStore", "mongo_auth_state_store"]

MongoLayout = Literal["wwauth", "guide"]

_COLLECTION = "auth_state"

# How many documents of a long answer are taken at a time.
_AT_ONCE = 500

_TIMEOUT = 30.0


def mongo_auth_state_store(
    collection_or_url: AsyncCollection[Any] | AsyncIOMotorCollection[Any] | str, layout: MongoLayout | None = None
) -> MongoAuthStateStore:
    """Return a store of auth states in MongoDB; nothing is asked of the server before its first use. See the class."""
    return MongoAuthStateStore(collection_or_url, layout)


class MongoAuthStateStore(DriverBase, AuthStateStore):
    """
    Keeps auth states in a collection of MongoDB, over pymongo's `AsyncMongoClient` or motor's `AsyncIOMotorClient`.

    **Layouts.** `layout="wwauth"` keeps many sessions in one collection, as `{_id: "<session>/<type>/<id>", session, data}`.
    `layout="guide"` is that of the common Node programs, `{_id: "creds" or "<type>-<id>", data}`: the collection is one
    login, whatever name it is asked for by, and the Node program can go on using it, though not at the same time. Its
    variants are found out and kept to: the text in a field `value`, and names as `useMultiFileAuthState` calls its files.
    With `layout=None` an existing collection tells, at the first use, and an empty one becomes "wwauth": where a Node program
    is to go on after a logout, say "guide".

    A collection that is none of these for sure is never written to, and never becomes a new login: `CredsCorrupted` says what
    was found. That includes what can be imported, and not be used in place: several logins apart by a prefix of `_id`
    (`<session>:creds`) or by a field (`{sessionId, id, data}`), names in a field (`{fileName, data}`), and the documents of
    use-mongo-file-auth-state, mongo-baileys, multi-mongo and Keyv: `peers()` reads them.

    **What a write promises.** It is acknowledged by a majority, from its journals. On a replica set or a sharded cluster it
    is one transaction with the check of the hold. A single server has no transactions: the changes are noted in one update
    that checks the hold, and applied from the note, by the next holder if this process dies; wwauth's readers count what is
    noted. There, a Node program may see a part of a write while it is applied, and a process that was paused in the middle of
    a write, until another one had taken over and written, writes its values over those.

    The holds, with the notes, are in the collection `<name>.leases`: the server's clock, 30 s, renewed every 10 s; from a
    process of this machine that has died a hold is taken over at once.

    Args:
        collection_or_url: A collection of either driver, whose client its owner closes; or a URL, such as
            `mongodb://user:password@host:27017/database?collection=auth_state`, whose client is opened here, shared by the
            stores of one event loop that name the same URL, and closed by the last one's `close()`.
        layout: "wwauth", "guide", or None.

    Raises:
        ConfigurationError: An argument is wrong; no password is in the message.
        MissingDependency: pymongo is not installed.
    """

    def __init__(
        self,
        collection_or_url: AsyncCollection[Any] | AsyncIOMotorCollection[Any] | str,
        layout: MongoLayout | None = None,
    ) -> None:
        load("pymongo", extra="mongodb", needed_by="MongoAuthStateStore")
        if layout is not None and layout not in get_args(MongoLayout):
            raise ConfigurationError(f"invalid layout {layout!r}: use None or one of {', '.join(get_args(MongoLayout))}")
        collection, self._shared = collection_of(collection_or_url, name=_COLLECTION, timeout=_TIMEOUT)
        client = collection.database.client
        hosts = ",".join(hosts_of(client).values())
        super().__init__(f"mongodb://{hosts}/{collection.database.name}, collection {collection.name}", timeout=_TIMEOUT)
        self._owned = self._shared is not None
        self._client = client
        self._collection = collection
        self._wanted = layout
        self._layout: Layout | None = None
        self._finding = asyncio.Lock()
        self._writes: Writes = self._made()
        self._fences: dict[str, int] = {}
        self._indexed = False

    async def read(self, *, session: str, names: Collection[RecordName]) -> dict[RecordName, str]:
        """
        Return those of the records that there are.

        Raises:
            CredsCorrupted: The collection is not laid out as this store could use it.
            StoreUnavailable, StoreDenied: The server does not answer.
        """
        doing = f"read from session {check_session_name(session)!r}"
        layout = await self._found()
        owner, wanted = layout.owner(session), {layout.id(session, name): name for name in names}
        while True:
            before = self._writes.begun(owner)
            noted = await self._noted(owner, doing)
            async with self._step(doing):
                found = {document["_id"]: document async for document in self._collection.find({"_id": {"$in": list(wanted)}})}
            if noted is not None:
                found = noted.over(found, wanted)
            # A write that began meanwhile may have been seen in part.
            if self._writes.begun(owner) == before:
                return {wanted[identifier]: layout.text(document) for identifier, document in found.items()}

    async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
        """
        Replace records, and delete those whose new text is None, all or nothing.

        Raises:
            LeaseLost: Another one has taken over what this store holds.
            SessionInUse: A single server: an interrupted write of the session's holder is to be applied by that one first.
            CredsCorrupted: The collection is not laid out as this store could use it.
            StoreFull, StoreDenied, StoreUnavailable: The server does not take it.
        """
        doing = f"write to session {check_session_name(session)!r}"
        layout = await self._found()
        if not changes:
            return
        if layout.name == "wwauth" and not self._indexed:
            # For the list of sessions, and for a look at whether other documents are among them.
            async with self._step(doing):
                await self._collection.create_index([("session", 1)])
            self._indexed = True
        owner = layout.owner(session)
        prepared = [
            (layout.id(session, name), None if text is None else layout.fields(session, text)) for name, text in changes.items()
        ]
        await self._writes.change(owner, prepared, self._fences.get(owner), doing)

    async def records(
        self,
        *,
        session: str,
        type: str | None = None,  # noqa: A002 - Baileys' word
    ) -> AsyncIterator[tuple[RecordName, str]]:
        """
        Iterate over all records of a session, or those of one type.

        Raises:
            CredsCorrupted: The collection is not laid out as this store could use it.
            StoreUnavailable, StoreDenied: The server does not answer.
        """
        doing = f"read session {check_session_name(session)!r}"
        layout = await self._found()
        noted = await self._noted(layout.owner(session), doing)
        if noted and noted.everything:
            return
        async with aclosing(self._documents(layout.all(session, type), doing)) as documents:
            async for document in documents:
                name = layout.record(document["_id"], type)
                if name is not None and not (noted and document["_id"] in noted.changes):
                    yield name, layout.text(document)
        for identifier, fields in noted.changes.items() if noted else ():
            name = layout.record(identifier, type)
            if fields is not None and name is not None and type in {None, name.type}:
                yield name, layout.text(fields)

    async def delete(self, *, session: str) -> None:
        """
        Delete all records of a session; one that is not there is no error. In the guide's layout the collection is emptied.

        Raises:
            LeaseLost: Another one has taken over what this store holds.
            CredsCorrupted: The collection is not laid out as this store could use it.
            StoreUnavailable, StoreDenied: It could not be deleted.
        """
        doing = f"delete session {check_session_name(session)!r}"
        layout = await self._found()
        owner = layout.owner(session)
        await self._writes.delete(owner, layout.all(session, None), self._fences.get(owner), doing)

    async def list_sessions(self) -> AsyncIterator[str]:
        """
        Iterate over the names of all sessions, sorted; in the guide's layout the collection's own name stands for its login.

        Raises:
            CredsCorrupted: The collection is not laid out as this store could use it.
            StoreUnavailable, StoreDenied: The server does not answer.
        """
        layout = await self._found()
        async with self._step("list the sessions"):
            if layout.name == "guide":
                found = [layout.owner("")] if await self._collection.find_one({}, {"_id": 1}) else []
            else:
                # By the index of this field: one step for each session, not for each record.
                found = sorted(await self._collection.distinct("session"))
        for session in found:
            yield session

    @asynccontextmanager
    async def hold(self, *, session: str) -> AsyncIterator[None]:
        """
        Be the session's one holder, and first apply what a holder that died has noted.

        Raises:
            SessionInUse: Another holder lives, or may.
            CredsCorrupted: The collection is not laid out as this store could use it.
            StoreUnavailable, StoreDenied: The server does not answer.
        """
        doing = f"hold session {check_session_name(session)!r}"
        owner = (await self._found()).owner(session)
        async with Holding(self._writes, owner) as fence:
            try:
                await self._writes.begin(owner, fence, doing)
                self._fences[owner] = fence
                yield
            finally:
                self._fences.pop(owner, None)
                await self._writes.end(owner)

    async def peers(self) -> list[PeerState]:
        """
        Return the logins that other programs keep in the collection, in whatever way; each has `records()` to import.

        Raises:
            StoreUnavailable, StoreDenied: The server does not answer.
        """
        from ._peers_mongo import mongo_peers  # noqa: PLC0415 - needed for imports alone

        return await mongo_peers(self._collection, self._step)

    async def _noted(self, owner: str, doing: str) -> Noted | None:
        return await self._writes.not_applied(owner, held=owner in self._fences, doing=doing)

    async def _found(self) -> Layout:
        """Return how the collection is laid out; nothing is read or written before that is known."""
        from ._mongo_layouts import find_layout  # noqa: PLC0415 - loads the driver

        async with self._finding:
            if self._layout is None:
                self._layout = await find_layout(self._collection, self._wanted, self._step, self._place)
            return self._layout

    async def _documents(self, which: dict[str, Any], doing: str) -> AsyncGenerator[dict[str, Any], None]:
        cursor = self._collection.find(which)
        try:
            while True:
                async with self._step(doing):
                    some = [document for _ in range(_AT_ONCE) if (document := await anext(cursor, None)) is not None]
                for document in some:
                    yield document
                if len(some) < _AT_ONCE:
                    return
        finally:
            await cursor.close()

    def _made(self) -> Writes:
        from ._mongo_writes import Writes  # noqa: PLC0415 - loads the driver

        return Writes(self._collection, self._step)

    async def _close_client(self) -> None:
        if self._shared is not None:
            await self._shared.close(lambda client: client.close())

    def _meaning(self, error: Exception) -> type[StoreError]:
        return meaning(error, self._client)
