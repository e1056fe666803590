"""Putting a session that was read elsewhere into a store: all of it, or nothing."""

from __future__ import annotations

import asyncio
import logging
import zipfile
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .._names import NUMBER_DIGITS
from .._threads import in_thread
from ..errors import LeaseLost, SessionCorrupted, StoreUnavailable, WWAuthError
from ._packed import new_token
from ._stored import look, read_back, save_index, sweep
from .archive import Stamp, file_digest, look_into_archive
from .index import Index, Pack, PackName
from .packs import verify_pack

if TYPE_CHECKING:
    from pathlib import Path

    from ._remote import Remote
    from ._stored import Stored
    from .index import Segment, StoredFile, StoredGeneration

_log = logging.getLogger(__name__)


class Publisher:
    """
    Publishes one session; what the store has under its name is replaced.

    Args:
        remote: The store.
        session: The name there.
        room: Where archives lie on their way.
    """

    def __init__(self, remote: Remote, session: str, room: Path) -> None:
        self._remote = remote
        self._session = session
        self._room = room

    async def packs(self, index: Index, source: Remote, *, recipients: str | None) -> tuple[int, ...]:
        """
        Publish what `index` tells, whose packs `source` gives; return the numbers of the generations.

        Packs get names of their own, so that none of those that are there is written over before the commit. As in a backup,
        the names stand in the index before the packs are there, and the new index is the commit.
        """
        before = await self._look()
        moved, names = self._renamed(index, before.generation, recipients)
        try:
            await self._announce(before, set(names.values()))
            for pack in sorted(index.packs(), key=lambda pack: pack.name):
                await self._copy(pack, names[pack.name], index.session, source, before)
            now = before if before.plain or before.damage else await self._look()
            self._refuse_moved(before, now)
        except BaseException:
            await self._withdraw(before, set(names.values()))
            raise
        old = now.index.names() - moved.live() if now.index is not None else set()
        since = datetime.now(UTC).replace(microsecond=0)
        fence = now.index.fence if now.index is not None else 0
        await save_index(self._remote, replace(moved, garbage=dict.fromkeys(old, since), fence=fence), self._room)
        await sweep(self._remote, self._session, old)
        return tuple(generation.number for generation in moved.generations)

    async def plain(self, path: Path) -> tuple[int, ...]:
        """Publish the plain zip at `path`; one that replaces a backup is given a later number."""
        before = await self._look()
        stamp = (await in_thread(lambda _: look_into_archive(path))).stamp
        if 0 < stamp.generation <= before.generation:
            stamp = Stamp(before.generation + 1, stamp.content)
            await in_thread(lambda _: _restamp(path, stamp))
        digest = await in_thread(lambda stop: file_digest(path, check=stop.check))
        await self._remote.save(self._session, path)
        await read_back(self._remote, self._session, self._room, size=path.stat().st_size, sha256=digest)
        if before.index is not None:
            await sweep(self._remote, self._session, before.index.names())
        return (stamp.generation,)

    async def _look(self) -> Stored:
        """Look at what is there; what is good and cannot be read here is never replaced."""
        stored = await look(self._remote, self._session, self._room)
        if stored.plain is not None:
            await asyncio.to_thread(stored.plain.path.unlink)
        return stored

    def _renamed(self, index: Index, floor: int, recipients: str | None) -> tuple[Index, dict[PackName, PackName]]:
        """Give generations later numbers than `floor`, and packs new names."""
        shift = max(0, floor + 1 - index.generations[-1].number)
        if index.generations[0].number + shift >= 10**NUMBER_DIGITS // 2:
            raise SessionCorrupted(f"generation {index.generations[0].number} of {index.session}: no backup has that number")
        packs = index.packs()
        names: dict[PackName, PackName] = {}
        for pack in packs:
            while (name := PackName(pack.name.generation + shift, new_token())) in names.values():
                pass
            names[pack.name] = name
        moved = {pack: replace(pack, name=names[pack.name]) for pack in packs}
        writer = new_token()
        generations = tuple(
            replace(
                generation,
                number=generation.number + shift,
                writer=writer,
                recipients=recipients,
                files=tuple(_moved_file(file, moved) for file in generation.files),
            )
            for generation in index.generations
        )
        return Index(self._session, generations), names

    async def _announce(self, before: Stored, names: set[PackName]) -> None:
        if before.plain is None and before.damage is None:
            index = before.index or Index(self._session)
            garbage = {**index.garbage, **dict.fromkeys(names)}
            await save_index(self._remote, replace(index, garbage=garbage), self._room)

    async def _copy(self, pack: Pack, name: PackName, session: str, source: Remote, before: Stored) -> None:
        path = self._room / "pack.zip"
        try:
            await source.extract(pack.name.of(session), path, most=pack.size)
            await in_thread(lambda stop: verify_pack(path, pack, check=stop.check))
            await self._remote.save(name.of(self._session), path)
            try:
                await read_back(self._remote, name.of(self._session), self._room, size=pack.size, sha256=pack.sha256)
            except StoreUnavailable:
                # Another writer that went on deletes what it finds announced.
                self._refuse_moved(before, await self._look())
                raise
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    def _refuse_moved(self, before: Stored, now: Stored) -> None:
        def generations(stored: Stored) -> tuple[StoredGeneration, ...]:
            return stored.index.generations if stored.index is not None else ()

        if generations(now) != generations(before) or (now.plain is None) != (before.plain is None):
            raise LeaseLost(f"{self._session} was saved by another writer meanwhile; nothing was overwritten: stop it first")

    async def _withdraw(self, before: Stored, names: set[PackName]) -> None:
        """Delete what was not committed, as far as the store lets it."""
        with suppress(WWAuthError):
            await sweep(self._remote, self._session, names)
            if before.index is None and before.plain is None and before.damage is None:
                now = (await look(self._remote, self._session, self._room)).index
                if now is not None and not now.generations:
                    await self._remote.delete(self._session)


def _moved_file(file: StoredFile, moved: dict[Pack, Pack]) -> StoredFile:
    def segment(old: Segment) -> Segment:
        return replace(old, pack=moved[old.pack])

    return replace(file, segments=tuple(map(segment, file.segments)))


def _restamp(path: Path, stamp: Stamp) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = stamp.to_bytes()
