"""A store in a folder."""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from wwauth._disk import check_path, store_errors
from wwauth._files import make_private_dir, replacing, sweep_temporaries, sync_dir
from wwauth._names import check_session_name, is_session_name, pack_name_parts
from wwauth._threads import Stop, in_thread
from wwauth.abc import SessionInfo, Store, StoreFeatures
from wwauth.errors import ConfigurationError, SessionNotFound, StoreUnavailable

from ._filelease import FileLeases
from ._lease import StoreLease
from ._local import CHUNK, check_prefix, open_source, read_source, write_private, write_target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from io import FileIO
    from pathlib import Path

__all__ = ["FileSystemStore"]

_log = logging.getLogger(__name__)

_SUFFIX = ".zip"

# A live writer touches its temporary file with every chunk, so one that has rested for an hour has none. Should a
# writer have been paused that long, its save fails and the old archive stands.
_STALE_AFTER = 3600.0

# Nanoseconds: file systems keep times in steps of 1 to 100.
_STEP = 1000


class FileSystemStore(Store):
    """
    Keeps each session's archive as `<folder>/<session>.zip`, under the names that whatsapp-web.js gives its zips.

    The folder is made 0700 with the first `save`, the archives are 0600. A folder of the caller's is closed to others,
    too, unless it belongs to somebody else or is a public one such as /tmp. An archive is written under a hidden
    temporary name, flushed to the disk and renamed, so that a crash at any moment leaves the old one or the new one;
    what a crashed writer left is deleted an hour later. The revision that a listing tells is the file's time, which grows
    with each save.

    A folder that this store has seen and that is gone, and a file system that is mounted there no longer, are
    `StoreUnavailable`: such a folder is never made anew. Only a folder that was never there holds no sessions; with
    `create=False` that is `StoreUnavailable` as well. Use it for a disk that may not be mounted when the program
    starts, and name a folder on that disk, not the place where it is mounted.

    Leases lie beside the archives as `.<session>.lease`, each with a lock file, for those who work on the same folder, also
    over a network file system that has locks. Both files stay for as long as the session does.
    """

    features: ClassVar[StoreFeatures] = StoreFeatures(listing=True, leases=True)

    def __init__(self, folder: str | os.PathLike[str], *, create: bool = True) -> None:
        # Absolute from the start: a later chdir() must not move the logins.
        self._folder = check_path(folder, what="the folder for the archives").absolute()
        self._create = create
        self._seen = False
        self._mounted = False
        self._warned = False
        self._leases = FileLeases(self._folder, self._archive, self._prepare)

    def __repr__(self) -> str:
        return f"FileSystemStore({str(self._folder)!r})"

    @property
    def folder(self) -> Path:
        """The folder of the archives, absolute."""
        return self._folder

    async def session_exists(self, *, session: str) -> bool:
        """
        Tell whether an archive is stored under this name.

        Raises:
            StoreUnavailable, StoreDenied: The folder does not answer.
        """
        archive = self._archive(session)

        def look(_: Stop) -> bool:
            with store_errors(f"look for session {session!r} in {self._folder}"):
                return self._find(archive)

        return await in_thread(look)

    async def save(self, *, session: str, path: str | os.PathLike[str], fence: int | None = None) -> None:
        """
        Store the archive that lies at `path`, all or nothing.

        Raises:
            ConfigurationError: `path` is no file that can be read.
            LeaseLost: `fence` is that of a holder who was overtaken.
            StoreFull, StoreDenied, StoreUnavailable: The folder does not take it.
            StoreError: `path` could not be read to its end, or changed meanwhile.
        """
        archive = self._archive(session)
        source_path = check_path(path, what="the archive to save")

        def write(stop: Stop) -> None:
            with open_source(source_path) as source, store_errors(f"save session {session!r} in {self._folder}"):
                self._prepare()
                self._find(archive)
                with replacing(archive, guard=self._leases.guard(session, fence, stop)) as temporary:
                    write_private(temporary, read_source(source, stop.check))
                    _stamp(temporary, archive)
                    stop.check()

        await in_thread(write)

    async def extract(self, *, session: str, path: str | os.PathLike[str]) -> None:
        """
        Write the stored archive to the new file `path`.

        Raises:
            SessionNotFound: There is none.
            ConfigurationError: The folder of `path` is not there.
            StoreError: The archive could not be read, or `path` not be written; nothing is left there.
        """
        archive = self._archive(session)
        target = check_path(path, what="the file to write")
        reading = f"read session {session!r} in {self._folder}"

        def copy(stop: Stop) -> None:
            with store_errors(reading):
                source = self._open(archive)
            if source is None:
                raise SessionNotFound(f"{self._folder} holds no session {session!r}")
            with source:
                write_target(target, read(lambda: source.read(CHUNK), stop.check))

        def read(next_chunk: Callable[[], bytes], check: Callable[[], None]) -> Iterator[bytes]:
            with store_errors(reading):
                while chunk := next_chunk():
                    check()
                    yield chunk

        await in_thread(copy)

    async def delete(self, *, session: str, fence: int | None = None) -> None:
        """
        Delete the archive, and what crashed writers left of it; a name that is not there is no error.

        A `save` of the same session that is under way elsewhere fails.

        Raises:
            LeaseLost: `fence` is that of a holder who was overtaken.
            StoreUnavailable, StoreDenied: It could not be deleted, or another writer has put it back.
        """
        archive = self._archive(session)

        def remove(stop: Stop) -> None:
            with store_errors(f"delete session {session!r} in {self._folder}"):
                if not self._look():
                    return
                with self._leases.guard(session, fence, stop):
                    if self._find(archive):
                        archive.unlink(missing_ok=True)
                sweep_temporaries(self._folder, name=archive.name)
                sync_dir(self._folder)
                if self._find(archive):
                    raise StoreUnavailable(
                        f"session {session!r} is in {self._folder} again: stop the one who saves it, then delete it"
                    )

        await in_thread(remove)

    def lease(self, *, session: str, holder: str, ttl: float) -> StoreLease:
        """Return a lease on a name, for `ttl` seconds unless it is renewed."""
        return StoreLease(self._leases, session=session, holder=holder, ttl=ttl)

    async def list_sessions(self, *, prefix: str = "", packs: bool = False) -> AsyncIterator[SessionInfo]:
        """
        Iterate, in the order of their names, over what is stored under names that begin with `prefix`; `packs`: those, too.

        Raises:
            StoreUnavailable, StoreDenied: The folder does not answer.
        """
        check_prefix(prefix)

        def scan(_: Stop) -> list[SessionInfo]:
            with store_errors(f"list {self._folder}"):
                return sorted(self._scan(prefix), key=lambda info: info.session) if self._look() else []

        for info in await in_thread(scan):
            if packs or not pack_name_parts(info.session):
                yield info

    def _archive(self, session: str) -> Path:
        return self._folder / f"{check_session_name(session)}{_SUFFIX}"

    def _open(self, archive: Path) -> FileIO | None:
        if not self._find(archive):
            return None
        try:
            # An open file stays what it was when a save puts another one under its name.
            return archive.open("rb", buffering=0)
        except FileNotFoundError:
            self._look()  # as in `_find`: it was deleted since
            return None

    def _find(self, archive: Path) -> bool:
        try:
            archive.stat()
        except FileNotFoundError:
            # Looked at afterwards, so that a folder that goes meanwhile is not taken for one without the archive.
            self._look()
            return False
        self._look()
        other = same_but_for_case(archive.name, os.listdir(self._folder))  # noqa: PTH208 - the names alone
        if other is None:
            return True
        if not archive.exists():
            return False  # where case counts, that is another session, and this one was deleted since
        raise ConfigurationError(
            f"session {archive.stem!r} cannot be told from {other.removesuffix(_SUFFIX)!r} in {self._folder}: its "
            f"file system ignores case, so use another name"
        )

    def _look(self) -> bool:
        """Tell whether the folder is there; one that is there no longer raises `StoreUnavailable`."""
        # What was known before this look: a first save in another thread may make the folder in the midst of it.
        seen, was_mounted = self._seen, self._mounted
        try:
            self._folder.stat()
        except FileNotFoundError as error:
            if seen or self._folder.is_symlink():
                raise StoreUnavailable(
                    f"the folder {self._folder} is gone: mount it or bring it back, or make an empty one to begin anew"
                ) from error
            if not self._create:
                raise StoreUnavailable(f"the folder {self._folder} is not there: mount it, or make it") from error
            return False
        mounted = os.path.ismount(self._folder)
        if was_mounted and not mounted:
            raise StoreUnavailable(f"nothing is mounted at {self._folder} any more: mount it again")
        if not seen:
            self._sweep()
        self._seen, self._mounted = True, mounted
        return True

    def _prepare(self) -> None:
        if self._look():
            self._close_to_others()
            self._sweep()
        else:
            make_private_dir(self._folder)
            sync_dir(self._folder.parent)
            self._look()

    def _close_to_others(self) -> None:
        if sys.platform == "win32":
            return
        info = self._folder.stat()
        if not info.st_mode & 0o077:
            return
        if info.st_uid == os.geteuid() and not info.st_mode & stat.S_ISVTX:
            self._folder.chmod(stat.S_IMODE(info.st_mode) & ~0o077)
        elif not self._warned:
            self._warned = True
            _log.warning("others can see which sessions %s holds; the archives themselves are private", self._folder)

    def _sweep(self) -> None:
        try:
            sweep_temporaries(self._folder, name=f"*{_SUFFIX}", older_than=_STALE_AFTER)
        except OSError as error:
            # A folder that is only read from is no reason to refuse a restore.
            _log.warning("cannot delete what a crashed writer left in %s: %s", self._folder, error)

    def _scan(self, prefix: str) -> Iterator[SessionInfo]:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                name = entry.name.removesuffix(_SUFFIX)
                if name == entry.name or not name.startswith(prefix) or not is_session_name(name):
                    continue
                try:
                    info = entry.stat()
                except FileNotFoundError:
                    continue
                yield SessionInfo(name, info.st_size, datetime.fromtimestamp(info.st_mtime, UTC), info.st_mtime_ns)


def _stamp(temporary: Path, archive: Path) -> None:
    """Give a new archive a later time than the one that it replaces, so that its time counts the saves."""
    try:
        before = archive.stat().st_mtime_ns
    except FileNotFoundError:
        before = 0
    # The clock may stand still for milliseconds, and may be set back.
    later = max(time.time_ns(), before + _STEP)
    os.utime(temporary, ns=(later, later))


def same_but_for_case(name: str, names: Iterable[str]) -> str | None:
    """Return the name in `names` by which a file system that ignores case has found `name`, or None."""
    others = set(names)
    if name in others:
        return None
    return next((other for other in others if other.casefold() == name.casefold()), None)
