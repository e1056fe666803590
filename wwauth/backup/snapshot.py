"""
A consistent copy of a profile's databases, while a browser writes to them or after it ended.

A plain recursive copy, as whatsapp-web.js's RemoteAuth makes, is torn under load: LevelDB deletes and replaces files
between the listing and the copying. The procedure here pins what never changes, reads what grows in the order LevelDB
writes it, and checks the outcome; `docs/snapshots.md` tells it step by step.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import shutil
import sys
import time
from typing import TYPE_CHECKING

from .._files import remove_tree, sync_dir, temporary_sibling
from .._threads import in_thread
from ..errors import ConfigurationError, SnapshotFailed
from ._copy import AttemptFailed, DatabaseCopy, look
from ._io import CHUNK, create_private, list_tree, make_dirs, open_shared, sync_tree
from .layout import LOCAL_STORAGE, browser_lives, find_databases, find_sqlite, has_origin, origin_directory, sqlite_in_use
from .leveldb import DamagedDatabase
from .reports import SnapshotReport
from .validate import check_database, check_sqlite

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from .._threads import Stop
    from ._copy import Look
    from .layout import Database

_log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.004, 0.25

# A profile that does not change fails in the same way each time: after `quiet_for`, so many equal failures are enough.
_SAME_FAILURES = 3

_FLUSH_TIMEOUT, _FLUSH_SEEN = 5.0, 1.0


async def take_snapshot(
    user_data_dir: Path,
    destination: Path,
    *,
    flush: Callable[[], Awaitable[object]] | None = None,
    origin: str | None = None,
    link: bool = True,
    durable: bool = True,
    quiet_for: float = 0.5,
    timeout: float = 10.0,
) -> SnapshotReport:
    """
    Copy the IndexedDB and localStorage of all origins into the new user-data folder `destination`.

    The profile may be open in a browser (not on Windows) or closed. The copy is made and checked under a temporary name
    beside `destination`, which appears complete or not at all. Folders are 0700, files 0600, but for tables and blobs
    on the profile's own file system: those are hard links to the browser's files (which never change), with the mode
    these have. `link=False` copies them.

    Args:
        user_data_dir: The profile, as handed to the browser.
        destination: Must not exist.
        flush: Makes the page write localStorage to the disk, which otherwise lags by up to a minute. Its errors are
            logged, and never stop the snapshot.
        origin: Like "https://web.whatsapp.com/": its databases must be among the copied.
        link: Use hard links where the file system has them.
        durable: Flush the copy to the disk before it appears; needless for a copy that is only read and dropped.
        quiet_for: Seconds to wait for a moment in which nothing is written; then each database is of its own moment.
        timeout: Seconds after which it is given up.

    Raises:
        SnapshotFailed: No consistent copy could be taken: the message says why. There is never a doubtful one.
        ConfigurationError: `destination` exists, or `origin` is no web address.
    """
    if os.path.lexists(destination):
        raise ConfigurationError(f"the destination of a snapshot must not exist: {str(destination)!r} does")
    if origin is not None:
        origin_directory(origin)
    began = time.monotonic()
    flushed = flush is not None and await _flush(user_data_dir, flush)
    taker = _Taker(user_data_dir, destination, origin=origin, link=link, durable=durable)
    taker.quiet_for, taker.timeout = quiet_for, timeout
    return await in_thread(lambda stop: taker.take(stop, began=began, flushed=flushed))


async def _flush(user_data_dir: Path, flush: Callable[[], Awaitable[object]]) -> bool:
    """Run the flush and wait until localStorage's files change; say whether they did."""
    before = await asyncio.to_thread(_look_at_local_storage, user_data_dir)
    try:
        await _within(_FLUSH_TIMEOUT, flush)
    except Exception as exc:  # noqa: BLE001 - a page in any state: a copy that lags beats none
        _log.warning("localStorage could not be flushed before the snapshot: %s: %s", type(exc).__name__, exc)
        return False
    until = time.monotonic() + _FLUSH_SEEN
    # Looked at once at least, and once more when the time is over: this process may have been stopped meanwhile.
    while True:
        last = time.monotonic() >= until
        if await asyncio.to_thread(_look_at_local_storage, user_data_dir) != before:
            return True
        if last:
            return False
        await asyncio.sleep(0.02)


async def _within(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do what may take for ever even when it is cancelled, as the closing of a tab may; then it is left behind."""
    task = asyncio.ensure_future(work())
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
    if not done:
        raise TimeoutError(f"not within {seconds:g} s")
    task.result()


def _look_at_local_storage(user_data_dir: Path) -> Look | None:
    for database in find_databases(user_data_dir):
        if database.name.startswith(LOCAL_STORAGE):
            with contextlib.suppress(AttemptFailed):
                return look(user_data_dir, database)
    return None


class _Taker:
    """The attempts at one snapshot; runs in a thread."""

    quiet_for = 0.5
    timeout = 10.0

    def __init__(self, source: Path, destination: Path, *, origin: str | None, link: bool, durable: bool) -> None:
        self._source = source
        self._destination = destination
        self._staging = temporary_sibling(destination)
        self._origin = origin
        # A file that is open cannot be linked freely on Windows.
        self._link = link and sys.platform != "win32"
        self._durable = durable
        self._attempts = 0

    def take(self, stop: Stop, *, began: float, flushed: bool) -> SnapshotReport:
        try:
            self._destination.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            databases, quiet = self._take(stop)
            stop.check()
            files, size = self._publish()
        except OSError as exc:
            raise SnapshotFailed(f"{self._source}: no consistent copy could be taken: {exc}") from exc
        finally:
            remove_tree(self._staging)
        return SnapshotReport(
            databases=tuple(database.name for database in databases) + tuple(find_sqlite(self._destination)),
            files=files,
            bytes_total=size,
            attempts=self._attempts,
            quiet=quiet,
            flushed=flushed,
            backend="sqlite" if find_sqlite(self._destination) else "leveldb",
            duration_s=time.monotonic() - began,
        )

    def _take(self, stop: Stop) -> tuple[list[Database], bool]:
        self._refuse_live()
        began = time.monotonic()
        pause = _FIRST_PAUSE
        failures: list[tuple[str, object]] = []
        while True:
            stop.check()
            self._attempts += 1
            databases = self._databases()
            try:
                quiet = self._attempt(databases, stop)
            except (AttemptFailed, DamagedDatabase, FileNotFoundError) as exc:
                failures.append((str(exc), self._look_or_none(databases)))
                waited = time.monotonic() - began
                if waited > self.timeout or (waited > self.quiet_for and _hopeless(failures)):
                    raise SnapshotFailed(
                        f"{self._source}: no consistent copy in {self._attempts} attempts over {waited:.1f} s, "
                        f"the last one because: {exc}"
                    ) from exc
            else:
                if quiet or time.monotonic() - began >= self.quiet_for:
                    return databases, quiet
            stop.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            pause = min(pause * 1.6, _LONGEST_PAUSE)

    def _refuse_live(self) -> None:
        if sys.platform == "win32" and browser_lives(self._source):
            raise SnapshotFailed(f"{self._source}: on Windows the files of a running browser cannot be copied: close it first")
        if (used := sqlite_in_use(self._source, self._origin)) and browser_lives(self._source):
            raise SnapshotFailed(
                f"{self._source}: this browser keeps its storage in SQLite ({used[0]}), which can be copied only when "
                "it is closed: close it first, or launch with "
                "--disable-features=IdbSqliteBackingStore,DomStorageSqlite,DomStorageSqliteMigration"
            )

    def _databases(self) -> list[Database]:
        databases = find_databases(self._source)
        if not any("/IndexedDB/" in name for name in [*(d.name for d in databases), *find_sqlite(self._source)]):
            raise SnapshotFailed(f"{self._source}: no IndexedDB database, so this profile holds no login to save")
        if self._origin is not None and not has_origin(self._source, self._origin):
            raise SnapshotFailed(f"{self._source}: no database of {self._origin!r}, so it holds no login there to save")
        return databases

    def _look_or_none(self, databases: list[Database]) -> list[Look] | None:
        try:
            return [look(self._source, database) for database in databases]
        except AttemptFailed:
            return None

    def _attempt(self, databases: list[Database], stop: Stop) -> bool:
        """Make one copy in the staging folder and check it; say whether nothing was written meanwhile."""
        remove_tree(self._staging)
        make_dirs(self._staging)
        before = [look(self._source, database) for database in databases]
        for database in databases:
            with DatabaseCopy(self._source, self._staging, database, link=self._link, stop=stop) as copy:
                copy.run()
        quiet = find_databases(self._source) == databases and [look(self._source, database) for database in databases] == before
        self._copy_sqlite(stop)
        for database in databases:
            check_database(self._staging, database, strict=True)
        return quiet

    def _copy_sqlite(self, stop: Stop) -> None:
        """Copy the files of Chromium's SQLite trials: at rest, a plain copy is right; while a browser runs none is."""
        names = find_sqlite(self._source)
        if not names or browser_lives(self._source):
            return
        before = [_identity(self._source / name) for name in names]
        for name in names:
            stop.check()
            target = self._staging / name
            make_dirs(target.parent)
            with os.fdopen(open_shared(self._source / name), "rb") as source, create_private(target) as file:
                shutil.copyfileobj(source, file, CHUNK)
            check_sqlite(target)
        if browser_lives(self._source) or [_identity(self._source / name) for name in names] != before:
            raise AttemptFailed("a browser was started during the copy")

    def _publish(self) -> tuple[int, int]:
        """Give the checked copy its name; return its count of files and their size."""
        paths = [path for path in list_tree(self._staging) if path.is_file()]
        size = sum(path.stat().st_size for path in paths)
        if self._durable:
            sync_tree(self._staging)
        self._staging.rename(self._destination)
        if self._durable:
            sync_dir(self._destination.parent)
        return len(paths), size


def _hopeless(failures: list[tuple[str, object]]) -> bool:
    """Tell whether a profile that does not change failed in the same way again and again."""
    latest = failures[-_SAME_FAILURES:]
    return len(latest) == _SAME_FAILURES and all(failure == latest[0] for failure in latest)


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
