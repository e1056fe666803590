"""The file of an SQLite database: private, watched, with one writer of this process at a time."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import sys
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakValueDictionary

from wwauth._disk import store_errors
from wwauth._files import PRIVATE_FILE, make_private_dir, sweep_temporaries, temporary_sibling
from wwauth.errors import ConfigurationError, StoreDenied, StoreError, StoreFull, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_KINDS: dict[int, type[StoreError]] = {
    sqlite3.SQLITE_BUSY: StoreUnavailable,
    sqlite3.SQLITE_LOCKED: StoreUnavailable,
    sqlite3.SQLITE_PROTOCOL: StoreUnavailable,
    sqlite3.SQLITE_IOERR: StoreUnavailable,
    sqlite3.SQLITE_NOMEM: StoreUnavailable,
    sqlite3.SQLITE_FULL: StoreFull,
    sqlite3.SQLITE_PERM: StoreDenied,
    sqlite3.SQLITE_AUTH: StoreDenied,
    sqlite3.SQLITE_READONLY: StoreDenied,
}

# What a process that was killed while it made a database left is swept away after so many seconds.
_STALE = 60

# What SQLite needs beside a database to open it, in bytes.
_LEAST_FREE = 64 * 1024


def sqlite_code(error: BaseException) -> int:
    """Return SQLite's number for an error, 0 when it is none of SQLite's."""
    # The lower byte is the kind, what is above it says more.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


class WriterQueue:
    """
    The writers of one database in one event loop, one at a time.

    SQLite has one writer; others would ask it again and again, and the unlucky one would give up. Whoever is quick, as the
    renewal of a lease is, waits for one archive at most, however many there are to be saved.
    """

    def __init__(self) -> None:
        self._archives = asyncio.Lock()
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def turn(self, *, bulk: bool) -> AsyncIterator[None]:
        """Wait for the turn, and have it; `bulk`: for an archive."""
        async with self._archives if bulk else nullcontext(), self._turn:
            yield


_QUEUES: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[Path, WriterQueue]] = WeakKeyDictionary()


def writer_queue(path: Path) -> WriterQueue:
    """Return the queue for the writers of a database in this event loop, whichever store they use."""
    queues = _QUEUES.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    queue = queues.get(path)
    if queue is None:
        queue = queues[path] = WriterQueue()
    return queue


class DatabaseFile:
    """
    Where a database lies.

    Attributes:
        identity: Which file was found there at last, or None. Another one was put in its place when this changes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identity: tuple[int, int] | None = None

    def find(self, *, create: bool) -> bool:
        """
        Tell whether it is there; with `create` it is made when it never was, 0600, and its folder 0700.

        Raises:
            ConfigurationError: It is a folder.
            StoreUnavailable: It was there and is gone: whoever has it open would write into nothing.
        """
        with store_errors(f"open {self.path}"):
            info = self._look()
            if info is None and create:
                self._make()
                info = self._look()
            if info is None:
                return False
            if stat.S_ISDIR(info.st_mode):
                raise ConfigurationError(f"invalid SQLite database {self.path}: it is a folder; name a file in it")
            identity = (info.st_dev, info.st_ino)
            if identity != self.identity:
                self._close_to_others()
                self.identity = identity
            return True

    def check_is(self, identity: object) -> None:
        """Raise `StoreUnavailable` when the file of this identity is there no longer: what was written went with it."""
        # Not found anew by this: whoever finds another file has yet to close the connections to the one before.
        with store_errors(f"open {self.path}"):
            info = self._look()
        if info is None or (info.st_dev, info.st_ino) != identity:
            raise StoreUnavailable(f"the database {self.path} was replaced while it was written: save once more")

    def meaning(self, error: BaseException) -> type[StoreError] | None:
        """Return which `StoreError` an error of SQLite's stands for, None for a kind of its own."""
        code = sqlite_code(error)
        if code == sqlite3.SQLITE_CANTOPEN:
            # Whether this process has the right to write it, and beside it.
            mine = all(os.access(path, os.R_OK | os.W_OK) for path in (self.path, self.path.parent))
            return StoreUnavailable if mine else StoreDenied
        if code == sqlite3.SQLITE_IOERR and self._is_full():
            return StoreFull
        return _KINDS.get(code)

    def _is_full(self) -> bool:
        # A full disk has other names where it is not the database itself that grows.
        with suppress(OSError):
            return shutil.disk_usage(self.path.parent).free < _LEAST_FREE
        return False

    def _look(self) -> os.stat_result | None:
        """Return the file's own data, None where it never was."""
        try:
            return self.path.stat()
        except FileNotFoundError as error:
            if self.identity is not None or self.path.is_symlink():
                raise StoreUnavailable(
                    f"the database {self.path} is gone: mount it or bring it back, or start anew to begin with an empty one"
                ) from error
            return None

    def _make(self) -> None:
        """Make the file, which has its name from the moment on at which it is a database: another user may look meanwhile."""
        folder = self.path.parent
        if not folder.is_dir():
            make_private_dir(folder)
        sweep_temporaries(folder, name=self.path.name, older_than=_STALE)
        temporary = temporary_sibling(self.path)
        os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
        try:
            connection = sqlite3.connect(temporary, isolation_level=None)
            try:
                # A crash leaves one file, no journal beside it; and a file of that name is no database yet.
                connection.execute("PRAGMA journal_mode = MEMORY")
                self._fill(connection)
            finally:
                connection.close()
            with suppress(FileExistsError):
                _link(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def _fill(self, connection: sqlite3.Connection) -> None:
        """Write the first page; the first commit flushes it to the disk."""
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA user_version = 0")

    def _close_to_others(self) -> None:
        # SQLite gives what it makes beside a database the database's own mode.
        if sys.platform == "win32":
            return
        for ending in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                beside = self.path.with_name(self.path.name + ending)
                info = beside.stat()
                # What was made beside a read-only one would keep it so after that was mended.
                unfit = info.st_mode & 0o077 or (ending and not info.st_mode & stat.S_IWUSR)
                if unfit and info.st_uid == os.geteuid():
                    beside.chmod(PRIVATE_FILE)


def _link(source: Path, target: Path) -> None:
    """Give a file its name; `FileExistsError`: another process was quicker."""
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links, as phones have them for their cards.
        if target.exists():
            raise FileExistsError(target) from None
        source.rename(target)
