"""Leases in MongoDB, by the server's clock: one document for each name, which stays, so that its fence goes on growing."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bson import Int64
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from wwauth.errors import StoreError

from ._lease import in_use, overtaken

if TYPE_CHECKING:
    from ._gridfs import Step

FORMAT = 1

# A document that a newer version wrote is not touched.
OURS = {"format": {"$in": [None, FORMAT]}}

# When a lease has run out by the server's clock. Compared as numbers: not every server compares dates in expressions.
_RUN_OUT = {"$expr": {"$lt": [{"$add": [{"$toLong": "$renewed"}, "$ttl"]}, {"$toLong": "$$NOW"}]}}


class MongoLeases:
    """
    The leases in a collection (`wwauth_stores._lease.Leases`).

    A document has `_id`, the name, `holder`, `fence`, `renewed` and `ttl`: it lasts for `ttl` milliseconds from `renewed` on.
    """

    def __init__(self, collection: Any, step: Step) -> None:
        self._leases = collection
        self._step = step

    async def prepare(self, doing: str) -> None:
        """Make what the collection needs beside its documents."""

    async def claim(self, session: str, holder: str, ttl: float) -> int:
        """Take the lease and return its fence; raises `in_use`."""
        doing = f"take the lease on session {session!r}"
        await self.prepare(doing)
        free = free_for(session, holder)
        change = {
            "$set": {"holder": holder, "ttl": _milliseconds(ttl)},
            "$setOnInsert": {"format": FORMAT},
            "$currentDate": {"renewed": True},
            "$inc": {"fence": 1},
        }
        while True:
            async with self._step(doing):
                with suppress(DuplicateKeyError):
                    document = await self._leases.find_one_and_update(
                        free, change, upsert=True, return_document=ReturnDocument.AFTER
                    )
                    if document is not None:
                        return int(document["fence"])
            now = await self.holder(session, doing)
            if now not in {None, holder}:
                raise in_use(session, str(now))
            # It became free meanwhile, or this document's first writer was a save.

    async def renew(self, session: str, fence: int, ttl: float) -> None:
        """Begin the `ttl` anew; raises `overtaken` unless the fence is the newest one."""
        doing = f"renew the lease on session {session!r}"
        async with self._step(doing):
            result = await self._leases.update_one(
                {"_id": session, "fence": fence},
                {"$set": {"ttl": _milliseconds(ttl)}, "$currentDate": {"renewed": True}},
            )
        if not result.matched_count:
            raise overtaken(session, await self.holder(session, doing))

    async def release(self, session: str, fence: int) -> None:
        """End it, where the fence is the newest one."""
        async with self._step(f"release the lease on session {session!r}"):
            await self._leases.update_one({"_id": session, "fence": fence}, {"$set": {"holder": None}})

    async def holder(self, session: str, doing: str) -> str | None:
        """Return who holds it, as far as is noted; a newer version's document is left alone."""
        async with self._step(doing):
            document = await self._leases.find_one({"_id": session})
        if document is not None and document.get("format", FORMAT) != FORMAT:
            raise newer(document)
        return None if document is None else document.get("holder")


def free_for(session: str, holder: str) -> dict[str, Any]:
    """Return the filter for a lease that this holder may take."""
    return {"_id": session, **OURS, "$or": [{"holder": None}, {"holder": holder}, _RUN_OUT]}


def newer(document: dict[str, Any]) -> StoreError:
    """Say that a document is of a newer version."""
    return StoreError(
        f"session {document['_id']!r} was stored by a newer wwauth (format {document['format']!r}): update this one"
    )


def _milliseconds(ttl: float) -> Int64:
    return Int64(max(1, round(ttl * 1000)))
