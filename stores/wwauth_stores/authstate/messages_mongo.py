"""Messages of socket logins in MongoDB."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from wwauth._messages import MessageBackend, MessageRow, RowKey
from wwauth.errors import ConfigurationError

from .._driver import DriverBase, load
from .._mongoclient import hosts_of, is_client, meaning, open_client, safe_database, safe_options, take_option
from ..urls import redact_url
from ._shared import Shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wwauth.errors import StoreError

_COLLECTION = "auth_messages"
_TIMEOUT = 30.0

_KEY = ("session", *RowKey._fields)


class MongoMessageBackend(DriverBase, MessageBackend):
    """
    Keeps messages in a collection of MongoDB, one document each, found by an index on session and id.

    Args:
        collection_or_url: A collection of pymongo's `AsyncMongoClient` or motor's `AsyncIOMotorClient`, whose client its owner
            closes; or a URL, such as `mongodb://user:password@host:27017/database?collection=auth_messages`.

    Raises:
        ConfigurationError: It is neither; no password is in the message.
        MissingDependency: pymongo is not installed.
    """

    def __init__(self, collection_or_url: Any) -> None:
        load("pymongo", extra="mongodb", needed_by="MessageStore")
        self._shared: Shared | None = None
        collection = self._collection_of(collection_or_url)
        client = collection.database.client
        hosts = ",".join(hosts_of(client).values())
        super().__init__(f"mongodb://{hosts}/{collection.database.name}, collection {collection.name}", timeout=_TIMEOUT)
        self._owned = self._shared is not None
        self._client = client
        self._collection = collection
        self._preparing = asyncio.Lock()
        self._prepared = False

    def __repr__(self) -> str:
        return self._place

    async def put_many(self, *, session: str, rows: Sequence[MessageRow]) -> None:
        """Store rows, acknowledged by a majority from its journals."""
        from pymongo import ReplaceOne  # noqa: PLC0415 - a driver

        await self._prepare()
        changes = [
            ReplaceOne(
                {"session": session, **row.key._asdict()},
                {"session": session, **row.key._asdict(), **dict(zip(row._fields[1:], row[1:], strict=True))},
                upsert=True,
            )
            for row in rows
        ]
        async with self._step("save messages"):
            await self._collection.bulk_write(changes, ordered=False)

    async def get(self, *, session: str, id: str) -> list[MessageRow]:  # noqa: A002 - Baileys' word
        """Return the rows whose key has this id."""
        async with self._step("look for a message"):
            found = [document async for document in self._collection.find({"session": session, "id": id})]
        return [_row(document) for document in found]

    async def count(self, *, session: str) -> int:
        """Return how many rows a session has."""
        async with self._step("count messages"):
            return int(await self._collection.count_documents({"session": session}))

    async def drop_oldest(self, *, session: str, limit: int, before: int | None = None) -> int:
        """Delete at most `limit` rows, the oldest ones."""
        old: dict[str, Any] = {"session": session}
        if before is not None:
            old["stored"] = {"$lt": before}
        async with self._step("delete old messages"):
            found = self._collection.find(old, {"stored": 1}).sort("stored", 1).limit(limit)
            some = {document["_id"]: document["stored"] async for document in found}
            if not some:
                return 0
            # One that was stored once more meanwhile is none of the oldest.
            which = {"_id": {"$in": list(some)}, "stored": {"$lte": max(some.values())}}
            return int((await self._collection.delete_many(which)).deleted_count)

    async def delete_session(self, *, session: str) -> None:
        """Delete all rows of a session."""
        async with self._step("delete messages"):
            await self._collection.delete_many({"session": session})

    async def _prepare(self) -> None:
        async with self._preparing:
            if not self._prepared:
                async with self._step("prepare the collection"):
                    await self._collection.create_index([(name, 1) for name in _KEY], unique=True, name="key")
                    await self._collection.create_index([("session", 1), ("stored", 1)], name="age")
                self._prepared = True

    def _collection_of(self, given: Any) -> Any:
        """Return a collection whose writes are safe and whose reads are true, whatever it was set to."""
        if isinstance(given, str):
            address, name = take_option(given, "collection")
            if not address.lower().startswith(("mongodb://", "mongodb+srv://")):
                raise ConfigurationError(
                    f"invalid URL {redact_url(given)!r}: write mongodb://user:password@host:27017/database?collection={_COLLECTION}"
                )
            self._shared = Shared(address, lambda: open_client(address, timeout=_TIMEOUT))
            return safe_database(self._shared.client, None)[name or _COLLECTION]
        if not is_client(getattr(getattr(given, "database", None), "client", None)):
            raise ConfigurationError(f"invalid collection of type {type(given).__name__}: give one of an asynchronous client, or a URL")
        return given.with_options(**safe_options())

    async def _close_client(self) -> None:
        if self._shared is not None:
            await self._shared.close(lambda client: client.close())

    def _meaning(self, error: Exception) -> type[StoreError]:
        return meaning(error, self._client)


def _row(document: dict[str, Any]) -> MessageRow:
    key = RowKey(*(document[name] for name in RowKey._fields))
    secret = document["secret"]
    return MessageRow(
        key,
        document["chat_alt"],
        document["sender_alt"],
        document["form"],
        bytes(document["body"]),
        None if secret is None else bytes(secret),
        document["stored"],
    )
