"""
One document for each session of a `MongoStore`: which file is its archive, who holds its lease, what is to be tidied up.

So that a commit, with the check of its fence, is one conditional update of one document. A head has::

    _id       the session's name
    file      the `_id` of its archive in the bucket's files; None: it has none (any more)
    size, modified, revision            of that archive; the revision grows over deletions, too
    holder, fence, renewed, ttl                 the lease: it lasts for `ttl` milliseconds from `renewed` on
    pending   {file: since}: uploads that are under way, each touched now and then
    dead      {file: since}: what nobody reads any more, and may still have to be deleted
    open      how many entries `pending` and `dead` have together
    format    1

Each change of an entry is conditional on its being there, so that an upload is either committed or given up, whoever asks
first. All times are the server's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bson import Int64, ObjectId
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from wwauth._names import pack_name_parts
from wwauth.abc import SessionInfo
from wwauth.errors import StoreUnavailable

from ._lease import overtaken
from ._mongo_leases import FORMAT, OURS, MongoLeases, newer

if TYPE_CHECKING:
    from ._gridfs import Step

# An upload that was not touched for so long has no writer any more; should one have been paused that long, its save fails.
GRACE = timedelta(hours=1)
_TOUCH_EVERY = 60.0

# For how long a save that failed goes on to delete what it wrote.
LAST_WORD = 5.0

# Behind every character of a name.
_LAST = "\x7f"


@dataclass(frozen=True, slots=True)
class Head:
    """One of them, as far as the store asks."""

    session: str
    file: ObjectId | None
    size: int
    modified: datetime
    revision: int
    fence: int
    holder: str | None
    pending: dict[ObjectId, datetime]
    dead: dict[ObjectId, datetime]


class Upload:
    """A file on its way: what its writer awaits now and then, so that it is not taken for what a crash left."""

    def __init__(self, heads: Heads, session: str, file: ObjectId, doing: str) -> None:
        self.file = file
        self._heads = heads
        self._session = session
        self._doing = doing
        self._touched = time.monotonic()

    async def touch(self) -> None:
        if time.monotonic() - self._touched >= _TOUCH_EVERY:
            await self._heads.touch(self._session, self.file, self._doing)
            self._touched = time.monotonic()


class Heads(MongoLeases):
    """The heads of a bucket, and the leases that they hold."""

    def __init__(self, database: Any, name: str, step: Step) -> None:
        super().__init__(database[name], step)
        self._heads = self._leases
        self._prepared = False

    async def prepare(self, doing: str) -> None:
        """Make the collection and its index, once."""
        if not self._prepared:
            async with self._step(doing):
                await self._heads.create_index([("open", 1)], sparse=True)
            self._prepared = True

    async def find(self, session: str, doing: str) -> Head | None:
        """Return a session's head; one without an archive, too."""
        async with self._step(doing):
            document = await self._heads.find_one({"_id": session})
        return None if document is None else _head(document)

    async def all(self, prefix: str, doing: str) -> list[SessionInfo]:
        """Return what has an archive."""
        wanted = {"_id": {"$gte": prefix, "$lt": prefix + _LAST}, "file": {"$ne": None}}
        async with self._step(doing):
            found = [document async for document in self._heads.find(wanted)]
        return [SessionInfo(head.session, head.size, head.modified, head.revision) for head in map(_head, found)]

    # An archive's way ----------------------------------------------------------------------------------------------

    async def begin(self, session: str, file: ObjectId, fence: int | None, doing: str) -> Head:
        """Take note of an upload; `LeaseLost`: the fence is not the newest one."""
        # Not twice, when the driver asks again after a connection broke.
        found: dict[str, Any] = {"_id": session, f"pending.{file}": {"$exists": False}, **OURS}
        if fence is not None:
            found["fence"] = fence
        change = {"$currentDate": {f"pending.{file}": True}, "$inc": {"open": 1}, "$setOnInsert": {"format": FORMAT}}
        while True:
            async with self._step(doing):
                try:
                    document = await self._heads.find_one_and_update(
                        found, change, upsert=fence is None, return_document=ReturnDocument.AFTER
                    )
                except DuplicateKeyError:
                    document = None  # it is noted already, or two made the first head of this name at the same time
            if document is not None:
                return _head(document)
            head = await self.find(session, doing)
            if fence is not None and (head is None or head.fence != fence):
                raise overtaken(session, head.holder if head else None)
            if head is not None and file in head.pending:
                return head

    async def touch(self, session: str, file: ObjectId, doing: str) -> None:
        """Keep an upload from being taken for what a crash left; `StoreUnavailable`: it was."""
        async with self._step(doing):
            result = await self._heads.update_one(
                {"_id": session, f"pending.{file}": {"$exists": True}}, {"$currentDate": {f"pending.{file}": True}}
            )
        if not result.matched_count:
            raise _given_up(session)

    async def commit(self, head: Head, file: ObjectId, size: int, fence: int | None, doing: str) -> ObjectId | None:
        """
        Make an upload the session's archive, and return the file that it replaces, which is dead now.

        `head` is what `begin` returned.

        Raises:
            LeaseLost: The fence is not the newest one.
            StoreUnavailable: The upload was given up meanwhile, or the session deleted.
        """
        session = head.session
        while True:
            found: dict[str, Any] = {"_id": session, "file": head.file, f"pending.{file}": {"$exists": True}}
            change: dict[str, Any] = {
                "$set": {"file": file, "size": Int64(size)},
                "$unset": {f"pending.{file}": ""},
                "$inc": {"revision": 1},
                "$currentDate": {"modified": True},
            }
            if head.file is None:
                change["$inc"]["open"] = -1
            else:
                change["$currentDate"][f"dead.{head.file}"] = True
            if fence is not None:
                found["fence"] = fence
            async with self._step(doing):
                result = await self._heads.update_one(found, change)
            if result.matched_count:
                return head.file
            replaced = head.file
            head = await self._still_ours(session, file, fence, doing)
            if head.file == file:
                # The driver has asked again after a connection broke, and the first time was enough.
                return replaced

    async def delete(self, session: str, fence: int | None, doing: str) -> tuple[Head, ObjectId | None] | None:
        """
        Take a session's archive away and give up the uploads of it.

        Return its head afterwards, which tells what is dead, and the file that was the archive; None: there was no head.

        Raises:
            LeaseLost: The fence is not the newest one.
        """
        while True:
            head = await self.find(session, doing)
            if fence is not None and (head is None or head.fence != fence):
                raise overtaken(session, head.holder if head else None)
            if head is None:
                return None
            dying = {str(file) for file in head.pending}
            gone = {f"pending.{file}": "" for file in dying}
            found: dict[str, Any] = {"_id": session, "file": head.file, **{name: {"$exists": True} for name in gone}}
            if fence is not None:
                found["fence"] = fence
            change: dict[str, Any] = {
                "$set": {"file": None},
                "$currentDate": {"modified": True, **{f"dead.{file}": True for file in dying}},
            }
            if gone:
                change["$unset"] = gone
            if head.file is not None:
                change["$currentDate"][f"dead.{head.file}"] = True
                change["$inc"] = {"open": 1}
            async with self._step(doing):
                document = await self._heads.find_one_and_update(found, change, return_document=ReturnDocument.AFTER)
            if document is not None:
                return _head(document), head.file

    async def give_up(self, session: str, file: ObjectId, since: datetime | None, doing: str) -> bool:
        """Let an upload be dead, unless it was committed or, where `since` is given, touched after that."""
        found = {"_id": session, f"pending.{file}": {"$exists": True} if since is None else since}
        async with self._step(doing):
            result = await self._heads.update_one(
                found, {"$unset": {f"pending.{file}": ""}, "$currentDate": {f"dead.{file}": True}}
            )
        return bool(result.matched_count)

    async def bury(self, session: str, file: ObjectId, doing: str) -> None:
        """Forget a dead file that was deleted, and the head of a pack of which nothing is left."""
        async with self._step(doing):
            await self._heads.update_one(
                {"_id": session, f"dead.{file}": {"$exists": True}}, {"$unset": {f"dead.{file}": ""}, "$inc": {"open": -1}}
            )
        if pack_name_parts(session):
            # Every pack has a name of its own. Of other names the head stays: fence and revision go on growing.
            async with self._step(doing):
                await self._heads.delete_one({"_id": session, "file": None, "open": 0, "fence": None})

    async def untidy(self, doing: str) -> list[Head]:
        """Return the heads that have something pending or dead; not all at once, when there are many."""
        async with self._step(doing):
            found = [document async for document in self._heads.find({"open": {"$gt": 0}}).limit(100)]
        return [_head(document) for document in found]

    async def _still_ours(self, session: str, file: ObjectId, fence: int | None, doing: str) -> Head:
        head = await self.find(session, doing)
        if fence is not None and (head is None or head.fence != fence):
            raise overtaken(session, head.holder if head else None)
        if head is None or (file not in head.pending and head.file != file):
            raise _given_up(session)
        return head


def _head(document: dict[str, Any]) -> Head:
    if document.get("format", FORMAT) != FORMAT:
        raise newer(document)
    return Head(
        session=document["_id"],
        file=document.get("file"),
        size=int(document.get("size", 0)),
        modified=document.get("modified", datetime.fromtimestamp(0, UTC)),
        revision=int(document.get("revision", 0)),
        fence=int(document.get("fence", 0)),
        holder=document.get("holder"),
        pending=_entries(document.get("pending")),
        dead=_entries(document.get("dead")),
    )


def _entries(found: dict[str, datetime] | None) -> dict[ObjectId, datetime]:
    return {ObjectId(file): since for file, since in (found or {}).items()}


def _given_up(session: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"the save of session {session!r} was not committed: the session was deleted meanwhile, or the save rested for "
        f"more than {GRACE.total_seconds() / 3600:g} h; save it again"
    )
