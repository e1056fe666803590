"""Two stores as one, each with all of it."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from wwauth._disk import check_path
from wwauth._names import check_session_name, pack_name_parts
from wwauth._store import check_store
from wwauth.abc import Lease, SessionInfo, Store, StoreFeatures
from wwauth.errors import ConfigurationError, SessionNotFound

from ._local import check_prefix, new_target
from ._mirrorpair import Found, Pair
from ._mirrorside import Record, Side, digest_of, is_outage, is_sidecar, sidecar
from ._transfer import entered

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator

__all__ = ["MirroredStore"]

_log = logging.getLogger(__name__)

# How often an archive is read that does not fit its record, while another process saves; the last one is given as it is.
_MOST_READS = 3


class MirroredStore(Store):
    """
    Keeps every archive in two stores, so that a login outlives the loss of either.

    **What lies where.** Both stores hold the archive as it is, under its own name: either can be used without the mirror.
    Beside it lies a sidecar, `<session>.mirror`, a few bytes of JSON: the *version* of the archive and its SHA-256. It is
    written after the archive, so it never claims what is not there yet; an archive that does not fit its sidecar is newer:
    its save did not end. Versions are the mirror's own write counter: each is higher than any that
    was seen, and at least the time in microseconds, so that a save that can see only one store still counts higher than what
    the other was given before. What was stored before the mirror has no sidecar, and version 0.

    **A save** goes to the primary, archive and sidecar, then to the secondary. While one cannot be reached it succeeds with
    the other, and a warning is logged once. A crash between the two leaves the old archive or the new one to be read, and
    the next save replaces both. A save that fails on both leaves the old one, unless a store took it and could not say so.

    **An extract** reads the archive with the higher version; one that is gone or damaged gives way to the other store's, and
    so does one that does not fit where the other has the same version and does. Then the other store is brought up to
    date. With one store down the other's is given, with a warning: it may be an older one. What the one that answers has
    never held is not "not there" but `StoreUnavailable`.

    **A deletion** that a crash ends halfway leaves the archive, one that a store had not been given a newer one for, or
    none. With one store down it leaves a sidecar that says so, a tombstone, which beats the older archive when that
    store comes back; when both have deleted it, nothing is left.

    **Leases** are the primary's. With a fence the primary has to take the write first: an overtaken holder changes nothing,
    and while the primary is down nothing can be written with a fence, since nobody can tell who holds the lease
    (`RemoteAuth(lease=False)` writes on). Several writers at a time without a lease leave one of their archives, whole.

    What an outage left behind is repaired by the next save or extract of that session, and for all of them by `repair()`:
    packs are saved once, and read by a restore alone, so call it after an outage. A session's name cannot end with `.mirror`.
    `features` are what both have. The stores belong to their giver, who closes them.

    Args:
        primary: Where leases are, and what is read first.
        secondary: The other one, at another place.
        work_dir: Where sidecars, and archives that `repair()` copies, lie for a moment in a private folder; None: in the
            system's folder for temporary files.

    Raises:
        ConfigurationError: One is no store, or both are the same; also by a save that finds that both are one place.
    """

    def __init__(self, primary: Store, secondary: Store, *, work_dir: str | os.PathLike[str] | None = None) -> None:
        check_store(primary, needed_by="MirroredStore")
        check_store(secondary, needed_by="MirroredStore")
        if _innermost(primary) is _innermost(secondary):
            raise ConfigurationError(f"both stores of a MirroredStore are the same {type(primary).__name__}: name two places")
        work = None if work_dir is None else check_path(work_dir, what="the folder for archives on their way").absolute()
        self._pair = Pair(primary, secondary, work)
        self._apart = False
        self._last = 0
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        first, second = (getattr(store, "features", StoreFeatures()) for store in (primary, secondary))
        both = {
            name: getattr(first, name) and getattr(second, name) for name in (field.name for field in fields(StoreFeatures))
        }
        self.features = replace(  # type: ignore[misc]
            StoreFeatures(**both), leases=first.leases, remote=first.remote or second.remote
        )

    def __repr__(self) -> str:
        return repr(self._pair)

    @property
    def primary(self) -> Store:
        """The store that has the leases."""
        return self._pair.primary.store

    @property
    def secondary(self) -> Store:
        """The other store."""
        return self._pair.secondary.store

    @property
    def recipients(self) -> tuple[object, ...]:
        """The public keys that both stores encrypt for; `AttributeError` where one does not encrypt."""
        return (*self.primary.recipients, *self.secondary.recipients)  # type: ignore[attr-defined]

    async def session_exists(self, *, session: str) -> bool:
        """
        Tell whether an archive is stored under this name.

        Raises:
            StoreUnavailable: No store answers, or one does not and the other has never held it.
        """
        found = await self._pair.look(_check_name(session))
        if found.gone:
            return False
        if not found.holders and found.error is not None:
            raise found.error
        return True

    async def save(self, *, session: str, path: str | os.PathLike[str], fence: int | None = None) -> None:
        """
        Store the archive that lies at `path` in both stores; it succeeds when one of them has it.

        Raises:
            ConfigurationError: `path` is no file that can be read, or both stores are one place.
            LeaseLost: `fence` is that of a holder who was overtaken; nothing was changed.
            StoreError: Neither store takes it; with a fence, the primary does not.
        """
        name = _check_name(session)
        source = check_path(path, what="the archive to save")
        async with self._locked(name):
            sha256 = await digest_of(source)
            found = await self._pair.look(name, needed=self._needed(fence))
            record = Record(self._next(found), sha256=sha256)
            errors = 2 - len(found.looks)
            first = found.error
            for side in found.looks:
                kept = False
                try:
                    if side is self._pair.secondary and not errors:
                        await self._see_that_they_differ(name, record)
                    await side.save(name, source, fence if side is self._pair.primary else None)
                    kept = True
                    await side.tell(name, record)
                except Exception as error:
                    if not is_outage(error) or (side is self._needed(fence) and not kept):
                        raise
                    errors += 1
                    first = first or error
                    side.fails("writing", error)
                else:
                    side.works("writing")
            if first is not None and errors == len(self._pair.sides):
                raise first

    async def extract(self, *, session: str, path: str | os.PathLike[str]) -> None:
        """
        Write the newest archive to the new file `path`, and repair the store that did not have it.

        Raises:
            SessionNotFound: There is none, or it was deleted.
            SessionCorrupted: There is none that is whole.
            ConfigurationError: The folder of `path` is not there.
            StoreError: No store gave it, or `path` could not be written; nothing is left there.
        """
        name = _check_name(session)
        target = check_path(path, what="the file to write")
        async with self._locked(name), entered(new_target(target)) as temporary:
            for _ in range(_MOST_READS):
                found = await self._pair.look(name)
                if found.gone:
                    await self._pair.bury(name, found)
                    raise SessionNotFound(f"{self!r} holds no session {name!r}")
                got = await self._pair.read(name, found, temporary)
                # What does not fit may be a save of another process that is under way: it is not meddled with.
                if not got.bad or (await self._pair.look(name)).looks == found.looks:
                    await self._pair.spread(name, found, got, temporary)
                    break

    async def delete(self, *, session: str, fence: int | None = None) -> None:
        """
        Delete the archive; a name that is not there is no error. It succeeds when one store has deleted it.

        Raises:
            LeaseLost: `fence` is that of a holder who was overtaken; nothing was changed.
            StoreError: Neither store deletes it; with a fence, the primary does not.
        """
        name = _check_name(session)
        async with self._locked(name):
            found = await self._pair.look(name, needed=self._needed(fence))
            record = Record(self._next(found), deleted=True)
            error = found.error
            done: list[Side] = []
            for side in found.looks:
                try:
                    await side.delete(name, fence if side is self._pair.primary else None)
                except Exception as exc:
                    if not is_outage(exc) or side is self._needed(fence):
                        raise
                    error = side.fails("writing", exc)
                else:
                    done.append(side)
            if error is None:
                await self._pair.forget(name, found)
            elif not done:
                raise error
            for side in done if error is not None else []:
                await side.tell(name, record)

    def lease(self, *, session: str, holder: str, ttl: float) -> Lease:
        """Return the primary's lease."""
        if not self.features.leases:
            raise ConfigurationError(f"{type(self.primary).__name__} has no leases (session {session!r})")
        return self.primary.lease(session=_check_name(session), holder=holder, ttl=ttl)

    def list_sessions(self, *, prefix: str = "", packs: bool = False) -> AsyncIterator[SessionInfo]:
        """
        Iterate, in the order of their names, over what either store holds; `revision` is None.

        With one store down it is what the other holds, with a warning; where that is nothing, `StoreUnavailable`.
        """
        if not self.features.listing:
            raise ConfigurationError(f"one of {self!r} cannot list its sessions (prefix {prefix!r})")
        check_prefix(prefix)
        return self._list(prefix, packs=packs)

    async def repair(self, *, session: str | None = None) -> list[str]:
        """
        Bring both stores to the same state, for one session or for all of them, and return the names of those that were not.

        Both have to answer, and to list what they hold when no session is named. What both claim to hold is not read.

        Raises:
            StoreError: One does not answer, or does not take what it lacks.
            SessionCorrupted: No store holds an archive of a session that is whole.
        """
        names = await self._names() if session is None else [_check_name(session)]
        return [name for name in names if await self._repair(name)]

    async def _list(self, prefix: str, *, packs: bool) -> AsyncIterator[SessionInfo]:
        lists, error = await self._pair.ask([side.list(prefix) for side in self._pair.sides])
        names = {name for known in lists.values() for name in known if not is_sidecar(name)}
        if not names and error is not None:
            raise error
        for name in sorted(names):
            infos = {side: known[name] for side, known in lists.items() if name in known}
            if pack_name_parts(name) and not packs:
                continue
            if len(infos) < len(lists) or len({info.size for info in infos.values()}) > 1:
                # One of them is behind, or knows that the session was deleted.
                found = await self._pair.look(name)
                if found.newest.record.deleted:
                    continue
                infos = {side: infos[side] for side in found.holders[:1] if side in infos} or infos
            yield replace(max(infos.values(), key=lambda info: info.modified), revision=None)

    async def _names(self) -> list[str]:
        """List all sessions of which a store holds an archive or a record."""
        lists, error = await self._pair.ask([side.list("") for side in self._pair.sides])
        if error is not None:
            raise error
        names = {name for known in lists.values() for name in known if not is_sidecar(name)}
        of_names = {sidecar(name) for name in names}
        for side, known in lists.items():
            alone = [name for name in known if is_sidecar(name) and name not in of_names]
            names.update([session for name in alone if (session := await side.session_of(name)) is not None])
        return sorted(names)

    async def _repair(self, name: str) -> bool:
        async with self._locked(name):
            found = await self._pair.look(name)
            if found.error is not None:
                raise found.error
            if found.gone:
                return await self._pair.bury(name, found, strict=True)
            records = {look.record for look in found.looks.values()}
            if len(found.holders) == len(self._pair.sides) and len(records) == 1 and found.newest.record.version:
                return False
            async with self._pair.primary.scratch() as folder:
                got = await self._pair.read(name, found, folder / "archive")
                await self._pair.spread(name, found, got, folder / "archive", strict=True)
            return True

    def _needed(self, fence: int | None) -> Side | None:
        """Return the store that has to take a write: the one that can tell whether its writer still may."""
        return self._pair.primary if fence is not None and self._pair.primary.fenced else None

    @asynccontextmanager
    async def _locked(self, name: str) -> AsyncIterator[None]:
        # Within a process one at a time; the lock is there for as long as somebody holds it or waits.
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        async with lock:
            yield

    def _next(self, found: Found) -> int:
        self._last = max(self._last + 1, found.newest.record.version + 1, time.time_ns() // 1000)
        return self._last

    async def _see_that_they_differ(self, name: str, record: Record) -> None:
        if self._apart:
            return
        if await self._pair.are_one(name, record):
            raise ConfigurationError(f"both stores of {self!r} are one place: name two, or leave out the mirror")
        self._apart = True


def _check_name(session: str) -> str:
    name = check_session_name(session)
    if is_sidecar(name):
        raise ConfigurationError(f"invalid session {name!r}: names that end so are the mirror's own records")
    return name


def _innermost(store: object) -> object:
    while (inner := getattr(store, "inner", None)) is not None:
        store = inner
    return store
