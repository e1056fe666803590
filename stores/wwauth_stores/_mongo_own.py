"""wwauth's own way to lay archives out in MongoDB: one bucket for all, and a head for each session."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from wwauth._names import pack_name_parts
from wwauth.errors import StoreError, StoreUnavailable

from ._gridfs import Bucket
from ._mongo_heads import GRACE, LAST_WORD, Heads, Upload
from ._mongo_peer import PeerLayout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wwauth.abc import SessionInfo

    from ._gridfs import Step, StoredFile
    from ._lease import Leases
    from ._mongo_heads import Head

_log = logging.getLogger(__name__)


class OwnLayout:
    """
    Archives in `<prefix>.files` and `<prefix>.chunks`, found through `<prefix>.sessions`.

    A name without an archive of its own is looked for where wwebjs-mongo keeps it; what is saved is saved here.
    """

    def __init__(self, database: Any, prefix: str, step: Step) -> None:
        self._bucket = Bucket(database, prefix, step)
        self._peer = PeerLayout(database, step)
        self._tidied: float | None = None
        self._heads = Heads(database, f"{prefix}.sessions", step)
        self.leases: Leases | None = self._heads

    async def exists(self, session: str, doing: str) -> bool:
        """Tell whether there is an archive."""
        head = await self._heads.find(session, doing)
        if head is not None and head.file is not None:
            return True
        return _may_be_peers(session) and await self._peer.exists(session, doing)

    async def save(self, session: str, data: AsyncIterator[bytes], fence: int | None, doing: str) -> None:
        """Store an archive: its bytes first, then one update makes it the session's."""
        await self._heads.prepare(doing)
        await self._bucket.prepare(doing)
        file = ObjectId()
        try:
            head = await self._heads.begin(session, file, fence, doing)
            upload = Upload(self._heads, session, file, doing)
            size, sha256 = await self._bucket.write_chunks(file, data, doing, upload.touch)
            await self._bucket.publish(file, f"{session}.zip", size, sha256, datetime.now(UTC), doing)
            old = await self._heads.commit(head, file, size, fence, doing)
        except BaseException as error:
            # What cannot be reached is not asked again: whoever comes after the grace finds what was left.
            if not isinstance(error, StoreUnavailable) or error.__cause__ is None:
                await self._give_up(session, file, doing)
            raise
        try:
            if old is not None:
                await self._bucket.remove([old], doing)
                await self._heads.bury(session, old, doing)
        except StoreError as error:
            _log.warning("session %s is saved, and what it replaces is not deleted yet: %s", session, error)
        await self._tidy(head, head.pending[file], doing)

    async def find(self, session: str, doing: str) -> tuple[Bucket, StoredFile] | None:
        """Return the archive, and the bucket it is in; `Torn`: it was just replaced, or is damaged."""
        head = await self._heads.find(session, doing)
        if head is not None and head.file is not None:
            return self._bucket, await self._bucket.get(head.file, doing)
        return await self._peer.find(session, doing) if _may_be_peers(session) else None

    async def delete(self, session: str, fence: int | None, doing: str) -> None:
        """Delete the archive, what crashed writers left of it, and the peer's, which would come to light."""
        done = await self._heads.delete(session, fence, doing)
        if done is not None:
            head, old = done
            await self._bucket.remove(head.dead, doing)
            if old is not None:
                await self._heads.bury(session, old, doing)
            await self._tidy(head, head.modified, doing)
        if _may_be_peers(session):
            await self._peer.delete(session, None, doing)

    async def list(self, prefix: str, doing: str) -> list[SessionInfo]:
        """Return what there is, the peer's too, in no order."""
        found = await self._heads.all(prefix, doing)
        return found + await self._peer.list(prefix, doing, known={info.session for info in found})

    async def _give_up(self, session: str, file: ObjectId, doing: str) -> None:
        """Delete what a save that failed has written, unless it was committed after all."""
        try:
            async with asyncio.timeout(LAST_WORD):
                if await self._heads.give_up(session, file, None, doing):
                    # It stays noted as dead: a driver's thread may still be writing.
                    await self._bucket.remove([file], doing)
        except (StoreError, TimeoutError) as error:
            _log.debug("a failed save is swept later: %s", error)

    async def _tidy(self, head: Head, now: datetime, doing: str) -> None:
        """Delete what crashed writers left: of this session, and now and then of all of them."""
        heads = [head]
        try:
            if self._tidied is None or time.monotonic() - self._tidied > GRACE.total_seconds():
                self._tidied = time.monotonic()
                heads += await self._heads.untidy(doing)
            for untidy in heads:
                await self._settle(untidy, now, doing)
        except StoreError as error:
            _log.warning("what crashed writers left is not deleted yet: %s", error)

    async def _settle(self, head: Head, now: datetime, doing: str) -> None:
        for file, since in head.pending.items():
            if now - since > GRACE and await self._heads.give_up(head.session, file, since, doing):
                await self._bucket.remove([file], doing)
        for file, since in head.dead.items():
            if now - since > GRACE:
                await self._bucket.remove([file], doing)
                await self._heads.bury(head.session, file, doing)


def _may_be_peers(session: str) -> bool:
    return pack_name_parts(session) is None
