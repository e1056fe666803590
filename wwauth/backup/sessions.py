"""What a store holds: its sessions, and the generations of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .._names import check_session_name
from .._store import check_store, list_stored
from ..abc import StoreFeatures
from ..errors import ConfigurationError, DecryptionFailed, SessionCorrupted, SessionNotFound, StoreUnavailable, WWAuthError
from ._remote import Remote
from ._room import room_for
from ._stored import LARGEST, is_encrypted, look, plain_generation
from .index import split_pack_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from ..abc import SessionInfo, Store
    from .index import StoredGeneration


@dataclass(frozen=True, slots=True)
class StoredSession:
    """
    One session in a store.

    Attributes:
        session: Its name.
        archive: "packs" or "whatsapp-web.js"; None when that cannot be told.
        generations: What can be restored, newest first, as far as the index tells.
        bytes_stored: What lies in the store for it, all packs included; as the index tells where the store cannot list.
        encrypted: It is encrypted before it is stored; None when that cannot be told.
        modified: When the store took its last archive; None where it cannot list.
        problem: Why its generations cannot be told: damaged, or no key for it; None when they can.
    """

    session: str
    archive: str | None
    generations: tuple[StoredGeneration, ...]
    bytes_stored: int
    encrypted: bool | None
    modified: datetime | None
    problem: str | None


async def list_backups(
    store: Store, sessions: Iterable[str] | None = None, *, work_dir: Path | None = None
) -> list[StoredSession]:
    """
    Return what a store holds: all sessions in the order of their names, or the named `sessions`.

    Of each session the index is read, and of one in a plain zip the whole zip, which lies in `work_dir` meanwhile (None: where
    the system keeps temporary files). What is damaged is in the list, and says so.

    Raises:
        ConfigurationError: The store cannot list its sessions, and none is named; or a name is none.
        SessionNotFound: A named session is not there.
        StoreError: The store did not answer.
    """
    check_store(store, needed_by="list_backups")
    names = None if sessions is None else [check_session_name(name) for name in sessions]
    listed = await _listed(store, names)
    found = [await _look(store, each, work_dir) for each in listed]
    if names is None:
        return [session for session in found if session is not None]
    there = {session.session: session for session in found if session is not None}
    for name in names:
        if name not in there:
            raise SessionNotFound(f"the store has no {name!r}")
    return [there[name] for name in names]


async def session_names(store: Store) -> list[str]:
    """Return the names of a store's sessions, without those of their packs; raises as `list_backups` does."""
    check_store(store, needed_by="session_names")
    return [listed.session for listed in await _listed(store, None)]


@dataclass(slots=True)
class _Listed:
    """What a listing tells of one session."""

    session: str
    own: SessionInfo | None = None
    packs: list[SessionInfo] = field(default_factory=list)


async def _listed(store: Store, names: list[str] | None) -> list[_Listed]:
    if not getattr(store, "features", StoreFeatures()).listing:
        if names is None:
            raise ConfigurationError(f"{type(store).__name__} cannot list its sessions: name them")
        return [_Listed(name) for name in dict.fromkeys(names)]
    infos: dict[str, SessionInfo] = {}
    # A prefix for one name alone: of several, the one listing tells more than many would cost.
    prefix = names[0] if names is not None and len(names) == 1 else ""
    try:
        async for info in list_stored(store, prefix=prefix, packs=True):
            infos[info.session] = info
    except WWAuthError:
        raise
    except Exception as exc:
        raise StoreUnavailable(f"{type(store).__name__}.list_sessions() failed: {type(exc).__name__}") from exc
    sessions: dict[str, _Listed] = {}
    for name in sorted(infos):
        if (split := split_pack_name(name)) is None:
            sessions.setdefault(name, _Listed(name)).own = infos[name]
        else:
            sessions.setdefault(split[0], _Listed(split[0])).packs.append(infos[name])
    wanted = sorted(sessions) if names is None else list(dict.fromkeys(names))
    return [sessions.get(name, _Listed(name)) for name in wanted]


async def _look(store: Store, listed: _Listed, work_dir: Path | None) -> StoredSession | None:
    name, problem = listed.session, None
    archive: str | None = None
    generations: tuple[StoredGeneration, ...] = ()
    size = 0
    encrypted: bool | None = getattr(store, "features", StoreFeatures()).encrypted
    async with room_for(name, work_dir) as room:
        try:
            stored = await look(Remote(store, name), name, room)
        except DecryptionFailed as exc:
            problem = str(exc)
            encrypted = await _is_encrypted(store, name, room)
        except SessionCorrupted as exc:
            problem = str(exc)
        else:
            problem = None if stored.damage is None else str(stored.damage)
            size = stored.size
            if stored.index is not None:
                archive, generations = "packs", stored.index.generations
                size += sum(pack.size for pack in stored.index.packs())
            elif stored.plain is not None:
                archive, generations = "whatsapp-web.js", (plain_generation(stored.plain.contents),)
            elif problem is None:
                if not listed.packs:
                    return None
                problem, encrypted = f"{len(listed.packs)} packs, and no index that tells what is in them", None
    infos = [*([listed.own] if listed.own else []), *listed.packs]
    return StoredSession(
        session=name,
        archive=archive,
        generations=generations,
        bytes_stored=sum(info.size for info in infos) if infos else size,
        encrypted=encrypted,
        modified=max((info.modified for info in infos), default=None),
        problem=problem,
    )


async def _is_encrypted(store: Store, name: str, room: Path) -> bool | None:
    """Look at the bytes as they are kept."""
    path = room / "as-it-is.zip"
    try:
        await Remote(getattr(store, "inner", store), name).extract(name, path, most=LARGEST)
        return is_encrypted(path)
    except WWAuthError:
        return None
