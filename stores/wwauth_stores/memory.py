"""A store in this process's memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, ClassVar

from wwauth._clock import clock
from wwauth._disk import check_path
from wwauth._names import check_session_name, pack_name_parts
from wwauth._threads import Stop, in_thread
from wwauth.abc import SessionInfo, Store, StoreFeatures
from wwauth.errors import SessionNotFound

from ._lease import StoreLease, in_use, overtaken
from ._local import check_prefix, open_source, read_source, write_target

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Iterator

__all__ = ["MemoryStore"]


@dataclass(frozen=True, slots=True)
class _Archive:
    # In the chunks in which it was read: joining them would hold it twice for a moment.
    chunks: tuple[bytes, ...]
    info: SessionInfo


@dataclass(frozen=True, slots=True)
class _Claim:
    holder: str | None
    fence: int
    until: float


class _Leases:
    """The leases of one store; no step awaits, so each is atomic."""

    def __init__(self) -> None:
        self._claims: dict[str, _Claim] = {}

    async def claim(self, session: str, holder: str, ttl: float) -> int:
        now = clock()
        before = self._claims.get(session, _Claim(None, 0, now))
        if before.holder not in {None, holder} and now < before.until:
            raise in_use(session, str(before.holder))
        self._claims[session] = _Claim(holder, before.fence + 1, now + ttl)
        return before.fence + 1

    async def renew(self, session: str, fence: int, ttl: float) -> None:
        self.check(session, fence)
        self._claims[session] = replace(self._claims[session], until=clock() + ttl)

    async def release(self, session: str, fence: int) -> None:
        claim = self._claims.get(session)
        if claim is not None and claim.fence == fence:
            # Its fence stays, so that the next one is a larger one.
            self._claims[session] = replace(claim, holder=None)

    def check(self, session: str, fence: int | None) -> None:
        claim = self._claims.get(session)
        if fence is not None and (claim is None or claim.fence != fence):
            raise overtaken(session, claim.holder if claim else None)


class MemoryStore(Store):
    """
    Keeps archives in memory, for tests and for programs that only move a login: they are gone with the process.

    Each archive is held whole, by design; on its way in and out it is streamed. Two stores share nothing.
    """

    features: ClassVar[StoreFeatures] = StoreFeatures(listing=True, leases=True)

    def __init__(self) -> None:
        self._archives: dict[str, _Archive] = {}
        self._leases = _Leases()
        # Of all names together, so that it goes on when one was deleted.
        self._writes = count(1)

    def __repr__(self) -> str:
        return f"MemoryStore(<{len(self._archives)} sessions>)"

    async def session_exists(self, *, session: str) -> bool:
        """Tell whether an archive is stored under this name."""
        return check_session_name(session) in self._archives

    async def save(self, *, session: str, path: str | os.PathLike[str], fence: int | None = None) -> None:
        """
        Store the archive that lies at `path`, all or nothing.

        Raises:
            ConfigurationError: `path` is no file that can be read.
            LeaseLost: `fence` is that of a holder who was overtaken.
            StoreError: It could not be read to its end, or changed meanwhile.
        """
        name = check_session_name(session)
        source_path = check_path(path, what="the archive to save")

        def read(stop: Stop) -> tuple[bytes, ...]:
            with open_source(source_path) as source:
                return tuple(read_source(source, stop.check))

        chunks = await in_thread(read)
        self._leases.check(name, fence)
        info = SessionInfo(name, sum(map(len, chunks)), datetime.now(UTC), next(self._writes))
        self._archives[name] = _Archive(chunks, info)

    async def extract(self, *, session: str, path: str | os.PathLike[str]) -> None:
        """
        Write the stored archive to the new file `path`.

        Raises:
            SessionNotFound: There is none.
            ConfigurationError: The folder of `path` is not there.
            StoreError: `path` could not be written; nothing is left there.
        """
        name = check_session_name(session)
        target = check_path(path, what="the file to write")
        archive = self._archives.get(name)
        if archive is None:
            raise SessionNotFound(f"this MemoryStore holds no session {name!r}")
        chunks = archive.chunks

        def checked(stop: Stop) -> Iterator[bytes]:
            for chunk in chunks:
                stop.check()
                yield chunk

        await in_thread(lambda stop: write_target(target, checked(stop)))

    async def delete(self, *, session: str, fence: int | None = None) -> None:
        """Delete the archive; a name that is not there is no error. `LeaseLost`: `fence` is that of an overtaken holder."""
        name = check_session_name(session)
        self._leases.check(name, fence)
        self._archives.pop(name, None)

    def lease(self, *, session: str, holder: str, ttl: float) -> StoreLease:
        """Return a lease on a name, for `ttl` seconds unless it is renewed."""
        return StoreLease(self._leases, session=session, holder=holder, ttl=ttl)

    async def list_sessions(self, *, prefix: str = "", packs: bool = False) -> AsyncIterator[SessionInfo]:
        """Iterate, in the order of their names, over what lies under names that begin with `prefix`; `packs`: those, too."""
        check_prefix(prefix)
        for name in sorted(self._archives):
            # Asked again: whoever iterates may delete as it goes.
            archive = self._archives.get(name)
            if archive is not None and name.startswith(prefix) and (packs or not pack_name_parts(name)):
                yield archive.info
