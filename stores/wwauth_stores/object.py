"""A store in a bucket: S3 and its kin, Google Cloud Storage, Azure, or a folder as one."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self

from wwauth._disk import check_path
from wwauth._names import check_session_name, is_session_name, pack_name_parts
from wwauth.abc import SessionInfo, StoreFeatures
from wwauth.errors import ConfigurationError, LeaseLost, SessionCorrupted, SessionNotFound, StoreError, StoreUnavailable

from ._bucket import Gone, meaning
from ._driver import DriverStore, load
from ._heads import Archive, Heads, archive_folder, head_key, head_session
from ._lease import StoreLease
from ._local import check_prefix
from ._objectclient import bucket_of, name_of, open_client

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator

    from ._heads import Head

__all__ = ["ObjectStore"]

_log = logging.getLogger(__name__)

_LAYOUTS = ("wwauth", "wwebjs-aws-s3")
_SUFFIX = ".zip"

# An archive that no head names belongs to a save that is under way, or crashed. What has lain for a day has crashed; and a save
# that took half of that does not commit, so that nobody names what another one deletes.
_STALE_AFTER = timedelta(days=1)
_LONGEST_SAVE = _STALE_AFTER.total_seconds() / 2

_READ_AT_ONCE = 16
_TRIES = 20


class ObjectStore(DriverStore):
    """
    Keeps archives in a bucket, through obstore: S3 and what speaks its language, Google Cloud Storage, Azure, a folder, memory.

    `ObjectStore(client)` borrows one of obstore's stores, `ObjectStore.from_url("s3://bucket/prefix")` opens one and closes it.

    A `save` uploads the archive in parts under a key of its own, `<prefix>/archives/<session>/<key>`, and then replaces the
    session's head, `<prefix>/sessions/<session>.json`, on the condition that nobody else has. The head names the archive, with
    its size and digest, and has the lease: so a commit, its fence and the lease are one atomic step. The earlier archive is
    deleted afterwards, and what a crashed writer left a day later, by a `save` or `delete` of that name. A head outlives its
    session (a few hundred bytes), so that its fence goes on growing.

    `<prefix>/<session>.zip`, where wwebjs-aws-s3 keeps archives, is read as long as there is no other archive under that name.
    With `layout="wwebjs-aws-s3"` it is what is written, too: one plain zip that wwebjs-aws-s3 reads; no packs, and no leases.

    Args:
        obstore_store: One of obstore's `S3Store`, `GCSStore`, `AzureStore`, `LocalStore`, `MemoryStore`.
        prefix: Stands before every key.
        layout: "wwauth" or "wwebjs-aws-s3".
        timeout: For how many seconds one step (a request, a part of 5 MiB) may take.

    Raises:
        ConfigurationError: An argument is wrong.
        MissingDependency: obstore is not installed.
    """

    features: ClassVar[StoreFeatures] = StoreFeatures(listing=True, leases=True, remote=True)

    def __init__(self, obstore_store: Any, *, prefix: str = "", layout: str = "wwauth", timeout: float = 30) -> None:
        obstore = load("obstore", extra="object", needed_by="ObjectStore")
        name, remote = name_of(obstore, obstore_store, prefix)
        super().__init__(name, timeout=timeout)
        if layout not in _LAYOUTS:
            raise ConfigurationError(f"invalid layout {layout!r}: use {' or '.join(map(repr, _LAYOUTS))}")
        self._plain = layout != "wwauth"
        self._obstore = obstore
        self._bucket = bucket_of(obstore, obstore_store, prefix=prefix, place=name, step=self._step, plain=self._plain)
        self._heads = Heads(self._bucket, name)
        features = replace(type(self).features, remote=remote, leases=not self._plain, packs=not self._plain)
        self.features = features  # type: ignore[misc]

    @classmethod
    def from_url(cls, url: str, *, layout: str = "wwauth", timeout: float = 30, **options: Any) -> Self:
        """
        Open a bucket by its URL, without touching it yet; `close()` closes it.

        `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, `file:///folder` (which is made), `memory://`.
        Options are obstore's: `endpoint`, `region`, `access_key_id`, …; they may also stand in the URL's query, as may
        `layout` and `timeout`. Credentials that are not given are looked for in the environment, as obstore does.

        Raises:
            ConfigurationError: No such URL, or options that obstore does not know; what is secret in them is not shown.
            MissingDependency: obstore is not installed.
        """
        obstore = load("obstore", extra="object", needed_by="ObjectStore")
        client, prefix, own = open_client(obstore, url, options, {"layout": layout, "timeout": timeout})
        return cls(client, prefix=prefix, **own)._owning()

    async def session_exists(self, *, session: str) -> bool:
        """
        Tell whether an archive is stored under this name.

        Raises:
            StoreUnavailable, StoreDenied: The bucket does not answer, or is not there.
        """
        name = check_session_name(session)
        doing = f"look for session {name!r}"
        if not self._plain and (await self._heads.read(name, doing)).archive is not None:
            return True
        if await self._bucket.look(name + _SUFFIX, doing) is not None:
            return True
        await self._bucket.check(doing)
        return False

    async def save(self, *, session: str, path: str | os.PathLike[str], fence: int | None = None) -> None:
        """
        Store the archive that lies at `path`, all or nothing.

        Raises:
            ConfigurationError: `path` is no file that can be read.
            LeaseLost: `fence` is that of a holder who was overtaken.
            StoreFull, StoreDenied, StoreUnavailable: The bucket does not take it.
            StoreError: `path` could not be read to its end, or changed meanwhile.
        """
        name = check_session_name(session)
        source = check_path(path, what="the archive to save")
        doing = f"save session {name!r}"
        self._check_fence(fence)
        if self._plain:
            await self._bucket.upload(name + _SUFFIX, source, doing)
            return
        began, key = (time.time(), time.monotonic()), secrets.token_hex(16)
        if fence is not None:
            # Asked before, too, so that whoever was overtaken uploads nothing.
            (await self._heads.read(name, doing)).check(fence)
        size, sha256 = await self._bucket.upload(f"{archive_folder(name)}/{key}", source, doing)
        kept = await self._bucket.look(f"{archive_folder(name)}/{key}", doing)
        if kept is None or kept.size != size:
            raise StoreUnavailable(f"cannot {doing} in {self._place}: the archive did not arrive whole; try again")
        archive = Archive(key, size, sha256, kept.modified)

        def commit(head: Head) -> Head | None:
            head.check(fence)
            if key in head.keys:
                return None  # it was committed: the answer was lost, and somebody else has written since
            if max(time.time() - began[0], time.monotonic() - began[1]) > _LONGEST_SAVE:
                raise StoreUnavailable(f"cannot {doing} in {self._place}: it took too long; save it again")
            return head.with_archive(archive)

        try:
            _, head = await self._heads.change(name, commit, doing)
        except LeaseLost:
            # A login that nobody will name; after any other error the commit may still have come to pass.
            with suppress(StoreError):
                await self._bucket.remove(f"{archive_folder(name)}/{key}", doing)
            raise
        try:
            await self._clear(head, kept.modified, doing)
        except StoreError as error:
            _log.warning("what is not needed any more of session %r stays in %s: %s", name, self._place, error)

    async def extract(self, *, session: str, path: str | os.PathLike[str]) -> None:
        """
        Write the stored archive to the new file `path`.

        Raises:
            SessionNotFound: There is none.
            SessionCorrupted: What is stored is not what was saved.
            ConfigurationError: The folder of `path` is not there.
            StoreError: The archive could not be read, or `path` not be written; nothing is left there.
        """
        name = check_session_name(session)
        target = check_path(path, what="the file to write")
        doing = f"read session {name!r}"
        gone: Archive | None = None
        for _ in range(_TRIES):
            archive = None if self._plain else (await self._heads.read(name, doing)).archive
            if archive is None:
                await self._extract_plain(name, target, doing)
                return
            try:
                key = f"{archive_folder(name)}/{archive.key}"
                await self._bucket.download(key, target, doing, size=archive.size, sha256=archive.sha256)
            except Gone as error:
                if archive == gone:
                    raise SessionCorrupted(
                        f"the archive of session {name!r} is not in {self._place} any more: restore an older backup"
                    ) from error
                # Most likely it was replaced by another one just now.
                gone = archive
                continue
            return
        raise StoreUnavailable(f"cannot {doing} in {self._place}: it is replaced faster than it can be read; try again")

    async def delete(self, *, session: str, fence: int | None = None) -> None:
        """
        Delete the archive, and what crashed writers left of it; a name that is not there is no error.

        Raises:
            LeaseLost: `fence` is that of a holder who was overtaken.
            StoreUnavailable, StoreDenied: It could not be deleted.
        """
        name = check_session_name(session)
        doing = f"delete session {name!r}"
        self._check_fence(fence)
        if not self._plain:

            def commit(head: Head) -> Head | None:
                head.check(fence)
                return None if head.archive is None else head.with_archive(None)

            before, after = await self._heads.change(name, commit, doing)
            # By the bucket's clock, where this just wrote there.
            written = None if after is before else await self._bucket.look(head_key(name), doing)
            await self._clear(after, written.modified if written else datetime.now(UTC), doing)
            if after.mark and not after.claim.fence and pack_name_parts(name):
                # Of packs there is no end, and none comes back under the same name.
                await self._heads.remove(name, doing)
        if await self._bucket.look(name + _SUFFIX, doing) is not None:
            await self._bucket.remove(name + _SUFFIX, doing)
        elif self._plain:
            await self._bucket.check(doing)

    def lease(self, *, session: str, holder: str, ttl: float) -> StoreLease:
        """Return a lease on a name, for `ttl` seconds unless it is renewed; the clocks of the holders' hosts tell the time."""
        if self._plain:
            raise ConfigurationError(f"the layout of wwebjs-aws-s3 has no leases (session {session!r}): use layout='wwauth'")
        return StoreLease(self._heads, session=session, holder=holder, ttl=ttl)

    async def list_sessions(self, *, prefix: str = "", packs: bool = False) -> AsyncIterator[SessionInfo]:
        """
        Iterate, in the order of their names, over what is stored under names that begin with `prefix`; `packs`: those, too.

        Raises:
            StoreUnavailable, StoreDenied: The bucket does not answer.
        """
        check_prefix(prefix)
        doing = "list the sessions"

        def wanted(name: str) -> bool:
            return name.startswith(prefix) and is_session_name(name) and (packs or not pack_name_parts(name))

        tops = [found for found in await self._bucket.list_top(doing) if found.key.endswith(_SUFFIX)]
        plain = {found.key.removesuffix(_SUFFIX): found for found in tops}
        heads = (
            set() if self._plain else {head_session(found.key) for found in await self._bucket.list_under("sessions", doing)}
        )
        names = sorted(filter(wanted, plain.keys() | heads))
        for first in range(0, len(names), _READ_AT_ONCE):
            some = names[first : first + _READ_AT_ONCE]
            for name, head in zip(some, await self._read_together(some, heads, doing), strict=True):
                if head is not None and head.archive is not None:
                    yield SessionInfo(name, head.archive.size, head.archive.modified, head.revision)
                elif name in plain:
                    revision = None if self._plain else 0
                    yield SessionInfo(name, plain[name].size, plain[name].modified, revision)

    async def _close_client(self) -> None:
        # obstore ends its connections with its store.
        self._bucket.forget()

    def _meaning(self, error: Exception) -> type[StoreError]:
        return meaning(self._obstore, error)

    async def _extract_plain(self, name: str, target: os.PathLike[str], doing: str) -> None:
        try:
            await self._bucket.download(name + _SUFFIX, target, doing)
        except Gone as error:
            await self._bucket.check(doing)
            raise SessionNotFound(f"{self._place} holds no session {name!r}") from error

    async def _read_together(self, names: list[str], heads: set[str], doing: str) -> list[Head | None]:
        reads = [self._heads.read(name, doing) for name in names if name in heads]
        found: dict[str, Head] = {}
        for answer in await asyncio.gather(*reads, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer
            found[answer.session] = answer
        return [found.get(name) for name in names]

    async def _clear(self, committed: Head, now: datetime, doing: str) -> None:
        """Delete what a commit made needless: the archive before it, and what crashed writers left by the time `now`."""
        name = committed.session
        folder = archive_folder(name)
        found = await self._bucket.list_under(folder, doing)
        if not found:
            return
        needed = (await self._heads.read(name, doing)).archive
        for each in found:
            key = each.key.removeprefix(f"{folder}/")
            if needed is not None and key == needed.key:
                continue
            if key in committed.last or each.modified < now - _STALE_AFTER:
                await self._bucket.remove(each.key, doing)
        await self._bucket.tidy(folder)

    def _check_fence(self, fence: int | None) -> None:
        if fence is not None and self._plain:
            raise ConfigurationError("the layout of wwebjs-aws-s3 has no leases, so there is no fence to check")
