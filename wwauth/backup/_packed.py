"""Saving a session as packs and an index: only what changed is uploaded, and the index is the commit."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from .._threads import in_thread
from ..errors import LeaseLost, StoreUnavailable, WWAuthError
from ._plan import Digests, Plan, make_plan, mostly_dead, needs_independence, retain
from ._stored import Saved, Stored, lease_lost, look, read_back, refuse_foreign, refuse_other_kind, save_index, sweep
from .archive import content_digest
from .index import Index, Kind, PackName, StoredGeneration, referenced
from .packs import write_pack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ._remote import Remote
    from ._state import ProfileState
    from ._stored import Facts
    from .index import Pack, StoredFile

_log = logging.getLogger(__name__)


def new_token() -> str:
    """Return a token for a writer or a lineage."""
    return secrets.token_hex(4)


class _Gone(Exception):
    """The index that a save builds on was deleted meanwhile. Never leaves this module."""


class PackedSession:
    """
    One session's packs and index; calls must not overlap.

    The name of each pack stands in the index before the pack is written, and for as long as it may be there: what a crash
    leaves is deleted by the next save. Before there is an index, `note` tells the profile in its place.

    Args:
        remote: The store.
        session: The name there.
        keep: How many generations are kept.
        grace: For how many seconds a pack stays that no generation needs any more.
        note: Writes down what the profile is to tell; never raises.
    """

    def __init__(self, remote: Remote, session: str, *, keep: int, grace: float, note: Callable[[ProfileState], None]) -> None:
        self._remote = remote
        self._session = session
        self._keep = keep
        self._grace = timedelta(seconds=grace)
        self._note = note
        self._writer = new_token()
        self._digests = Digests()
        self._stored: Stored | None = None
        self._base: StoredGeneration | None = None
        self._damaged: frozenset[int] = frozenset()
        self._swept: set[PackName] = set()

    def restored(self, index: Index, generation: StoredGeneration, damaged: frozenset[int]) -> None:
        """Take note of a restore: the next save builds on that generation, and those found damaged are not kept."""
        self._stored, self._base, self._damaged = Stored(index=index), generation, damaged
        # The replaced profile tells of the writer until now. Should it come back, what follows must not be taken for its own.
        self._writer = new_token()

    def forget(self) -> None:
        """Look into the store before the next save."""
        self._stored = None

    async def save(self, tree: Path, room: Path, state: ProfileState, facts: Facts) -> Saved:
        """
        Save the snapshot `tree`; archives on their way lie in the folder `room`.

        Raises:
            LeaseLost: The store holds a newer generation of another writer; nothing was overwritten.
            SnapshotFailed: The pack could not be written.
            StoreError: The store did not take it; what it held stands.
        """
        try:
            with suppress(_Gone):
                return await self._save(tree, room, state, facts)
            self._stored = self._base = None
            return await self._save(tree, room, state, facts)
        except BaseException as exc:
            # What the store holds now is not known: a commit that failed may have been taken all the same.
            self._stored = None
            if isinstance(exc, _Gone):
                raise StoreUnavailable(f"{self._session} was deleted or replaced again and again while it was saved") from exc
            raise

    async def _save(self, tree: Path, room: Path, state: ProfileState, facts: Facts) -> Saved:
        if self._stored is None:
            self._stored = await look(self._remote, self._session, room)
        index = self._stored.index
        if index is not None:
            refuse_other_kind(index, facts, self._session)
            if index.newest is None or index.newest.writer != self._writer:
                refuse_foreign(index, state, self._session)
            state = self._own_commit(index, state)
        base = await self._find_base(index, state)
        plan = await in_thread(lambda stop: make_plan(tree, base, self._digests, check=stop.check))
        same_keys = base is not None and base.recipients == facts.recipients
        if index is not None and same_keys and base == index.newest and not plan.changed:
            if await self._remote.exists(self._session):
                return Saved(state, None)
            raise _Gone
        older = self._older(index, facts) if index is not None else []
        stale = base is not None and (not same_keys or mostly_dead(base))
        if stale or (base is not None and needs_independence(plan, older, self._keep)):
            plan = await in_thread(lambda stop: make_plan(tree, None, self._digests, check=stop.check))
        number = max(self._stored.generation, state.generation, state.seen) + 1
        # Noted before the commit: a profile whose note of it is lost knows its own writer.
        state = replace(state, writer=self._writer, lineage=state.lineage or new_token())
        try:
            uploaded, files = await self._store_pack(plan, PackName(number, self._writer), tree, room, state, facts)
            new = await in_thread(lambda _: self._generation(number, plan, files, state, facts))
            uploaded += await self._commit(new, room, state, facts)
        except LeaseLost:
            await self._take_back(PackName(number, self._writer), room)
            raise
        # What the note named is in the index's garbage by now, or deleted.
        state = replace(state, generation=number, seen=number, content=new.content, packs=True, garbage=())
        return Saved(state, new.kind, uploaded)

    async def _take_back(self, name: PackName, room: Path) -> None:
        """
        Delete the pack of a save that was overtaken.

        Its commit may have been taken after all, and its answer lost; then whoever went on builds on that pack. As nothing of
        this writer is taken any more, what the store holds now tells.
        """
        try:
            stored = await look(self._remote, self._session, room)
        except WWAuthError as exc:
            _log.warning("%s stays in the store, where the next writer sees to it: %s", name.of(self._session), exc)
            return
        if stored.damage is None and (stored.index is None or name not in stored.index.live()):
            await sweep(self._remote, self._session, {name})

    def _older(self, index: Index, facts: Facts) -> list[StoredGeneration]:
        """Return the generations that can be relied on, newest first: whole ones, for the keys of today."""
        return [g for g in index.generations if g.number not in self._damaged and g.recipients == facts.recipients]

    def _own_commit(self, index: Index, state: ProfileState) -> ProfileState:
        """Take over a commit of this profile whose note was lost."""
        newest = index.newest
        if newest is None or newest.number <= state.generation or newest.writer not in {self._writer, state.writer}:
            return state
        self._base = newest
        return replace(
            state, generation=newest.number, seen=newest.number, content=newest.content, lineage=newest.lineage, packs=True
        )

    async def _find_base(self, index: Index | None, state: ProfileState) -> StoredGeneration | None:
        """Return the generation that the profile was last equal to, when it can be built on."""
        base, self._base = self._base, None
        if index is None:
            return None
        if base is None or base not in index.generations:
            wanted = (state.generation, state.lineage)
            base = next((g for g in index.generations if (g.number, g.lineage) == wanted and state.packs), None)
            for pack in sorted(pack.name for pack in base.packs()) if base else ():
                # Asked once: a pack that somebody deleted must not be built on.
                if not await self._remote.exists(pack.of(self._session)):
                    _log.warning("%s: pack %s is gone; a full backup follows", self._session, pack.of(self._session))
                    return None
        self._base = base
        return base

    async def _store_pack(
        self, plan: Plan, name: PackName, tree: Path, room: Path, state: ProfileState, facts: Facts
    ) -> tuple[int, list[StoredFile]]:
        """Write the pack, announce it, upload it and read it back; return the bytes uploaded and the files it completes."""
        packed = room / "pack.zip"
        if plan.store:
            pack, files = await in_thread(lambda stop: write_pack(tree, packed, plan.store, name=name, check=stop.check))
        facts.before_commit()
        if not plan.store:
            await in_thread(lambda _: self._note(state))
            return 0, []
        uploaded = await self._announce(name, room, state)
        self._swept.discard(name)
        await self._remote.save(name.of(self._session), packed)
        # Not needed any more, and what is read back takes as much room.
        await asyncio.to_thread(packed.unlink)
        await self._read_back(pack, room, state)
        return uploaded + pack.size, files

    async def _announce(self, name: PackName, room: Path, state: ProfileState) -> int:
        """See to it that the pack's name is known before the pack is there; return the bytes this uploaded."""
        if self._stored is None or self._stored.index is None:
            noted = replace(state, garbage=(*set(state.garbage) - {name}, name))
            await in_thread(lambda _: self._note(noted))
            return 0
        await in_thread(lambda _: self._note(state))
        if name in self._stored.index.garbage:
            return 0
        index = await self._reread(room, state)
        if index is None:
            raise _Gone
        return await self._put(replace(index, garbage={**index.garbage, name: None}), room, state)

    async def _read_back(self, pack: Pack, room: Path, state: ProfileState) -> None:
        try:
            await read_back(self._remote, pack.name.of(self._session), room, size=pack.size, sha256=pack.sha256)
        except StoreUnavailable:
            await self._reread(room, state)  # another writer, who went on, deletes what was announced
            raise

    def _generation(
        self, number: int, plan: Plan, stored: list[StoredFile], state: ProfileState, facts: Facts
    ) -> StoredGeneration:
        files = tuple(sorted([*plan.keep, *stored], key=lambda file: file.path))
        kind: Kind = "incremental" if plan.packs() else "full"
        return StoredGeneration(
            number=number,
            writer=self._writer,
            lineage=state.lineage,
            created=datetime.now(UTC).replace(microsecond=0),
            kind=kind,
            backend=facts.backend,
            chromium=facts.chromium,
            recipients=facts.recipients,
            content=content_digest((file.path, file.size, file.sha256) for file in files),
            files=files,
            bytes_total=sum(file.size for file in files),
        )

    async def _commit(self, new: StoredGeneration, room: Path, state: ProfileState, facts: Facts) -> int:
        current = await self._reread(room, state) or Index(self._session)
        older = self._older(current, facts)
        # What is for other keys stays behind these, and goes as newer ones come.
        others = [g for g in current.generations if g.number not in self._damaged and g not in older]
        generations = retain(new, older, self._keep)
        generations += tuple(others[: self._keep - len(generations)])
        generations = tuple(sorted(generations, key=lambda generation: -generation.number))
        index = Index(self._session, generations, fence=current.fence)
        upcoming = PackName(new.number + 1, self._writer)
        own = {PackName(new.number, self._writer)}
        if not referenced([new]) - own <= current.live():
            raise _Gone
        left = (current.names() | set(state.garbage)) - self._swept - index.live()
        facts.before_commit()
        now = datetime.now(UTC).replace(microsecond=0)
        # A clock that is ahead of ours began the time that is still to pass.
        garbage = {name: min(current.garbage.get(name) or now, now) for name in left}
        uploaded = await self._put(replace(index, garbage={**garbage, upcoming: None}), room, state)
        self._base = new
        # Only now is anything deleted: the packs of the newest generation and its index have been read back.
        due = {name for name, since in garbage.items() if now - since >= self._grace}
        self._swept |= due - await sweep(self._remote, self._session, due)
        return uploaded

    async def _reread(self, room: Path, state: ProfileState) -> Index | None:
        """
        Read the index once more before it is replaced, and stop when another writer was faster.

        A store without an atomic check leaves a moment between this and the write: best effort.
        """
        before = self._stored or Stored()
        if before.index is None and not await self._remote.exists(self._session):
            return None
        if before.index is None and (before.plain is not None or before.damage is not None):
            return None  # too large to be read again; it is what this save replaces
        now = await look(self._remote, self._session, room, known=before)
        if before.index is not None and now.index is None and now.plain is None:
            raise _Gone
        if now.index is None:
            raise LeaseLost(f"{self._session} was replaced by another program's archive meanwhile; nothing was overwritten")
        ours = before.index.newest if before.index is not None else None
        newest = now.index.newest
        if newest != ours:
            if newest is None or newest.writer == self._writer:
                raise _Gone  # deleted; or a commit of this engine's own whose answer was lost
            raise lease_lost(newest, state, self._session)
        self._stored = now
        return now.index

    async def _put(self, index: Index, room: Path, state: ProfileState) -> int:
        """Save the index and read it back; return its size."""
        try:
            self._stored, size = await save_index(self._remote, index, room)
        except StoreUnavailable:
            # Another writer may have gone on in the meantime; a commit of this one's own is found by the next save.
            with suppress(_Gone):
                await self._reread(room, state)
            raise
        return size
