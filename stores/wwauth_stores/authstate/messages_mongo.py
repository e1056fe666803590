"""Messages of socket logins in MongoDB."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from wwauth._messages import MessageBackend, MessageRow, RowKey
from wwauth.errors import ConfigurationError

from .._driver import DriverBase, load
from .._mongoclient import hosts_of, meaning
from ._mongo_collection import collection_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wwauth.errors import StoreError

_COLLECTION = "auth_messages"
_TIMEOUT = 30.0

_KEY = ("session", *RowKey._fields)


class MongoMessageBackend(DriverBase, MessageBackend):
    """
    Keeps messages in a collection of MongoDB, one document each, found by an index on session and id.

    The collection is theirs alone: one in which auth states lie is refused.

    Args:
        collection_or_url: A collection of pymongo's `AsyncMongoClient` or motor's `AsyncIOMotorClient`, whose client its owner
            closes; or a URL, such as `mongodb://user:password@host:27017/database?collection=auth_messages`.

    Raises:
        ConfigurationError: It is neither; no password is in the message.
        MissingDependency: pymongo is not installed.
    """

    def __init__(self, collection_or_url: Any) -> None:
        load("pymongo", extra="mongodb", needed_by="MessageStore")
        collection, self._shared = collection_of(collection_or_url, name=_COLLECTION, timeout=_TIMEOUT)
        client = collection.database.client
        hosts = ",".join(hosts_of(client).values())
        super().__init__(f"mongodb://{hosts}/{collection.database.name}, collection {collection.name}", timeout=_TIMEOUT)
        self._owned = self._shared is not None
        self._client = client
        self._collection = collection
        self._preparing = asyncio.Lock()
        self._known_alone = self._indexed = False

    def __repr__(self) -> str:
        return self._place

    async def put_many(self, *, session: str, rows: Sequence[MessageRow]) -> None:
        """Store rows, acknowledged by a majority from its journals."""
        from pymongo import ReplaceOne  # noqa: PLC0415 - a driver

        collection = await self._prepared()
        changes = [
            ReplaceOne(
                {"session": session, **row.key._asdict()},
                {"session": session, **row.key._asdict(), **dict(zip(row._fields[1:], row[1:], strict=True))},
                upsert=True,
            )
            for row in rows
        ]
        async with self._step("save messages"):
            await collection.bulk_write(changes, ordered=False)

    async def get(self, *, session: str, id: str) -> list[MessageRow]:  # noqa: A002 - Baileys' word
        """Return the rows whose key has this id."""
        collection = await self._alone()
        async with self._step("look for a message"):
            found = [document async for document in collection.find({"session": session, "id": id})]
        return [_row(document) for document in found]

    async def count(self, *, session: str) -> int:
        """Return how many rows a session has."""
        collection = await self._alone()
        async with self._step("count messages"):
            return int(await collection.count_documents({"session": session}))

    async def drop_oldest(self, *, session: str, limit: int, before: int | None = None) -> int:
        """Delete at most `limit` rows, the oldest ones."""
        old: dict[str, Any] = {"session": session}
        if before is not None:
            old["stored"] = {"$lt": before}
        collection = await self._alone()
        async with self._step("delete old messages"):
            found = collection.find(old, {"stored": 1}).sort("stored", 1).limit(limit)
            some = {document["_id"]: document["stored"] async for document in found}
            if not some:
                return 0
            # One that was stored once more meanwhile is none of the oldest.
            which = {"_id": {"$in": list(some)}, "stored": {"$lte": max(some.values())}}
            return int((await collection.delete_many(which)).deleted_count)

    async def delete_session(self, *, session: str) -> None:
        """Delete all rows of a session."""
        collection = await self._alone()
        async with self._step("delete messages"):
            await collection.delete_many({"session": session})

    async def _alone(self) -> Any:
        """Return the collection; `ConfigurationError` when it is that of auth states, which other documents would damage."""
        async with self._preparing:
            if not self._known_alone:
                async with self._step("look at the collection"):
                    # Those have names for `_id`, and this is an index's question.
                    other = await self._collection.find_one({"_id": {"$type": "string"}}, {"_id": 1})
                if other is not None:
                    raise ConfigurationError(
                        f"the collection {self._collection.name!r} holds other documents: name one that is for messages alone"
                    )
                self._known_alone = True
        return self._collection

    async def _prepared(self) -> Any:
        collection = await self._alone()
        async with self._preparing:
            if not self._indexed:
                async with self._step("prepare the collection"):
                    await collection.create_index([(name, 1) for name in _KEY], unique=True, name="key")
                    await collection.create_index([("session", 1), ("stored", 1)], name="age")
                self._indexed = True
        return collection

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
