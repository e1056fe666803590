"""
wwebjs-mongo 1.1.0's way to lay archives out: a GridFS bucket `whatsapp-<session>` for each session.

The newest file `<session>.zip` in it is the archive. It counts from the moment its document is there, after all of its
chunks; only then are older ones deleted. Neither fences nor a head are known to the peer, so there are no leases here.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from wwauth._names import check_session_name
from wwauth.abc import SessionInfo
from wwauth.errors import ConfigurationError, StoreError, StoreUnavailable

from ._gridfs import Bucket, Torn
from ._mongo_heads import GRACE, LAST_WORD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Container

    from ._gridfs import Step, StoredFile
    from ._lease import Leases

_log = logging.getLogger(__name__)

_BEFORE, _BEHIND = "whatsapp-", ".files"

# Of database and collection together, in MongoDB's count.
_LONGEST_NAMESPACE = 255


class PeerLayout:
    """Archives as wwebjs-mongo reads and writes them."""

    leases: Leases | None = None

    def __init__(self, database: Any, step: Step) -> None:
        self._database = database
        self._step = step
        self._buckets: dict[str, Bucket] = {}

    async def exists(self, session: str, doing: str) -> bool:
        """Tell whether there is an archive."""
        return self.has_room(session) and bool(await self._bucket(session).ids(_filename(session), doing))

    async def save(self, session: str, data: AsyncIterator[bytes], fence: int | None, doing: str) -> None:
        """Store an archive, and delete the older ones once it is there."""
        if fence is not None:
            raise ConfigurationError(f"cannot {doing} with a fence: this layout has no leases")
        if not self.has_room(session):
            raise ConfigurationError(f"cannot {doing}: the name is too long for a collection of its own; use a shorter one")
        bucket, file = self._bucket(session), ObjectId()
        await bucket.prepare(doing)
        try:
            size, sha256 = await bucket.write_chunks(file, data, doing, _nothing)
        except BaseException as error:
            # Later no more: a document that arrives after all, behind a lost connection, must find its chunks.
            if not isinstance(error, StoreUnavailable):
                await self._give_up(bucket, file, doing)
            raise
        await bucket.publish(file, _filename(session), size, sha256, await self._now(bucket, session, doing), doing)
        try:
            # None at all, where somebody has deleted the session since.
            await bucket.remove((await bucket.ids(_filename(session), doing))[1:], doing)
            await self._sweep(bucket, doing)
        except StoreError as error:
            _log.warning("session %s is saved, and what it replaces is not deleted yet: %s", session, error)

    async def find(self, session: str, doing: str) -> tuple[Bucket, StoredFile] | None:
        """Return the archive, and the bucket it is in; `Torn`: it is damaged."""
        if not self.has_room(session):
            return None
        bucket = self._bucket(session)
        file = await bucket.newest(_filename(session), doing)
        return None if file is None else (bucket, file)

    async def delete(self, session: str, fence: int | None, doing: str) -> None:
        """Delete the archive with all its revisions; the collections stay, as a writer may be at them."""
        if fence is not None:
            raise ConfigurationError(f"cannot {doing} with a fence: this layout has no leases")
        if not self.has_room(session):
            return
        bucket = self._bucket(session)
        files = await bucket.ids(_filename(session), doing)
        await bucket.remove(files, doing)
        await self._sweep(bucket, doing)

    async def list(self, prefix: str, doing: str, *, known: Container[str] = ()) -> list[SessionInfo]:
        """Return what there is, in no order; not what is `known` already."""
        async with self._step(doing):
            # Those that the user may read: the right to list all of them is not needed.
            collections = await self._database.list_collection_names(authorizedCollections=True)
        found = []
        for session in filter(None, map(_session_of, collections)):
            if not session.startswith(prefix) or session in known:
                continue
            try:
                there = await self.find(session, doing)
            except Torn as torn:
                _log.warning("session %s is not listed, since it is damaged: %s", session, torn)
                continue
            if there is not None:
                found.append(SessionInfo(session, there[1].size, there[1].uploaded))
        return found

    def has_room(self, session: str) -> bool:
        """Tell whether a name is short enough for a bucket of its own."""
        return len(f"{self._database.name}.{_BEFORE}{session}.chunks") <= _LONGEST_NAMESPACE

    def _bucket(self, session: str) -> Bucket:
        return self._buckets.setdefault(session, Bucket(self._database, _BEFORE + session, self._step))

    async def _now(self, bucket: Bucket, session: str, doing: str) -> datetime:
        """Return the time of a new file: later than those that are there, whatever the clock of their writer said."""
        now = datetime.now(UTC)
        try:
            newest = await bucket.newest(_filename(session), doing)
        except Torn:
            newest = None
        # BSON's dates have milliseconds.
        return now if newest is None else max(now, newest.uploaded + timedelta(milliseconds=1))

    async def _sweep(self, bucket: Bucket, doing: str) -> None:
        """Delete what writers left that crashed, the peer's too; a file's id tells when its writer began."""
        before = datetime.now(UTC) - GRACE
        await bucket.remove([file for file in await bucket.orphans(doing) if file.generation_time < before], doing)

    async def _give_up(self, bucket: Bucket, file: ObjectId, doing: str) -> None:
        try:
            async with asyncio.timeout(LAST_WORD):
                await bucket.remove([file], doing)
        except (StoreError, TimeoutError) as error:
            _log.debug("a failed save is swept later: %s", error)


def _filename(session: str) -> str:
    return f"{session}.zip"


def _session_of(collection: str) -> str | None:
    if not collection.startswith(_BEFORE) or not collection.endswith(_BEHIND):
        return None
    try:
        return check_session_name(collection[len(_BEFORE) : -len(_BEHIND)])
    except ConfigurationError:
        return None


async def _nothing() -> None:
    return None
