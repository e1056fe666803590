"""Dropping generations that are not wanted any more, and packs that nothing needs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..errors import LeaseLost, SessionCorrupted, SessionNotFound
from ._plan import retain
from ._stored import look, save_index, sweep
from .index import Index, referenced
from .reports import PruneReport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from ._remote import Remote
    from .index import PackName, StoredGeneration
    from .reports import VerifiedGeneration


async def prune(
    remote: Remote,
    session: str,
    room: Path,
    *,
    keep: int,
    dry_run: bool,
    verify: Callable[[Index, StoredGeneration], Awaitable[VerifiedGeneration | None]],
) -> PruneReport:
    """
    Keep `keep` generations by the rule of a backup; see `BackupEngine.prune`.

    The new index is the commit: packs are deleted when it has been read back.
    """
    stored = await look(remote, session, room)
    if stored.damage is not None:
        raise stored.damage
    if stored.plain is not None:
        return PruneReport(session, (stored.generation,), (), 0, 0, dry_run=dry_run)
    index = stored.index
    if index is None or index.newest is None:
        raise SessionNotFound(f"the store has no {session!r}")
    kept = retain(index.newest, index.generations[1:], keep)
    dropped = tuple(generation for generation in index.generations if generation not in kept)
    if dropped and not dry_run:
        await _check_newest(index, verify)
        index = await _unchanged(remote, session, room, index)
    garbage, upcoming = _garbage(index, referenced(kept))
    # What earlier saves deleted is still named there.
    there = {name for name in garbage if await remote.exists(name.of(session))}
    left: set[PackName] = set()
    if not dry_run:
        if dropped:
            now = datetime.now(UTC).replace(microsecond=0)
            names = {**dict.fromkeys(garbage, now), **dict.fromkeys(upcoming)}
            await save_index(remote, Index(session, kept, names, index.fence), room)
        left = await sweep(remote, session, there)
    sizes = {pack.name: pack.size for generation in dropped for pack in generation.packs()}
    freed = sum(sizes.get(name, 0) for name in there - left)
    return PruneReport(
        session=session,
        kept=tuple(generation.number for generation in kept),
        dropped=tuple(generation.number for generation in dropped),
        packs_deleted=len(there - left),
        bytes_freed=freed,
        dry_run=dry_run,
    )


async def _check_newest(
    index: Index, verify: Callable[[Index, StoredGeneration], Awaitable[VerifiedGeneration | None]]
) -> None:
    newest = index.generations[0]
    found = await verify(index, newest)
    if found is None:
        raise _moved_on(index.session)
    if found.problem is not None:
        raise SessionCorrupted(
            f"generation {newest.number} of {index.session}, the newest, is damaged ({found.problem}), so nothing was dropped: "
            "restore an older one, and take a backup of it first"
        )


async def _unchanged(remote: Remote, session: str, room: Path, index: Index) -> Index:
    """Read the index once more; what a live writer has announced since then stands in it."""
    now = (await look(remote, session, room)).index
    if now is None or now.generations != index.generations:
        raise _moved_on(session)
    return now


def _garbage(index: Index, live: set[PackName]) -> tuple[set[PackName], set[PackName]]:
    """Return the packs that nothing needs, and those that may be on their way to another writer's commit."""
    newest = index.generations[0].number
    upcoming = {name for name, since in index.garbage.items() if since is None and name.generation > newest}
    return index.names() - live - upcoming, upcoming


def _moved_on(session: str) -> LeaseLost:
    return LeaseLost(f"{session} was saved by another writer meanwhile, so nothing was dropped: try again")
