"""Saving a session as one plain zip, which whatsapp-web.js restores, too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .._threads import in_thread
from ._stored import Saved, look, refuse_foreign, sweep
from .archive import Stamp, tree_digest, write_archive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .._threads import Stop
    from ._remote import Remote
    from ._state import ProfileState
    from ._stored import Facts
    from .index import PackName


class PlainSession:
    """
    One session's plain zip; calls must not overlap.

    Args:
        remote: The store.
        session: The name there.
        note: Writes down what the profile is to tell; never raises.
    """

    def __init__(self, remote: Remote, session: str, *, note: Callable[[ProfileState], None]) -> None:
        self._remote = remote
        self._session = session
        self._note = note

    async def save(self, tree: Path, room: Path, state: ProfileState, facts: Facts) -> Saved:
        """
        Save the snapshot `tree`; the zip on its way lies in the folder `room`.

        Raises:
            LeaseLost: The store holds an index with a newer generation of another writer; nothing was overwritten.
            SnapshotFailed: The zip could not be written.
            StoreError: The store did not take it; what it held stands.
        """
        content = await in_thread(lambda stop: tree_digest(tree, check=stop.check))
        packs: set[PackName] = set(state.garbage)
        number = state.generation
        # A profile that tells of a plain zip is believed, since asking would download it.
        if state.generation == 0 or state.packs:
            stored = await look(self._remote, self._session, room)
            number = max(number, stored.generation, state.seen)
            if stored.index is not None:
                refuse_foreign(stored.index, state, self._session)
                packs |= stored.index.names()
        if content == state.content and not state.packs and await self._remote.exists(self._session):
            return Saved(replace(state, garbage=await self._sweep(packs)), None)
        stamp = Stamp(number + 1, content)
        path = room / f"{self._session}.zip"
        uploaded = await in_thread(lambda stop: _pack(tree, path, stamp, stop))
        facts.before_commit()
        if packs:
            # Nothing names them any more once the zip has replaced the index.
            noted = replace(state, garbage=tuple(sorted(packs)))
            await in_thread(lambda _: self._note(noted))
        await self._remote.save(self._session, path)
        state = replace(state, generation=number + 1, seen=number + 1, content=content, packs=False)
        return Saved(replace(state, garbage=await self._sweep(packs)), "full", uploaded)

    async def _sweep(self, names: set[PackName]) -> tuple[PackName, ...]:
        return tuple(sorted(await sweep(self._remote, self._session, names)))


def _pack(profile: Path, packed: Path, stamp: Stamp, stop: Stop) -> int:
    write_archive(profile, packed, stamp=stamp, check=stop.check)
    return packed.stat().st_size
