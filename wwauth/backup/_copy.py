"""One attempt at copying one LevelDB database of a profile that a browser may be writing to."""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._io import CHUNK, create_private, make_dirs, open_shared, write_all, write_private
from .layout import CORRUPTION_NOTE
from .leveldb import LOG_NAME, MANIFEST_NAME, TABLE_NAME, RecordReader, read_manifest
from .validate import read_current

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from .._threads import Stop
    from .layout import Database
    from .leveldb import Version

_SETTLE_ROUNDS = 20

# What says "no hard link here": another file system, a protected file, too many links, no links at all.
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES, errno.ENOSYS}


class AttemptFailed(Exception):
    """The database changed in a way that this attempt cannot follow; another may. Never leaves this package."""


@dataclass(frozen=True, slots=True)
class Look:
    """
    What a database's folders list: names and sizes of its data files, and the paths of its blobs.

    Sizes tell every commit, since each makes a log grow; modification times are too coarse to.
    """

    files: dict[str, int]
    blobs: frozenset[str]


def look(user_data_dir: Path, database: Database) -> Look:
    """List a database; what vanishes while it is listed is left out."""
    files: dict[str, int] = {}
    try:
        with os.scandir(user_data_dir / database.name) as entries:
            for entry in entries:
                if _is_data(entry.name):
                    with contextlib.suppress(FileNotFoundError):
                        files[entry.name] = entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        raise AttemptFailed(f"{database.name}: the folder vanished") from None
    if CORRUPTION_NOTE in files:
        raise AttemptFailed(f"{database.name}: Chromium found this database corrupt and deleted it ({CORRUPTION_NOTE})")
    blobs: list[str] = []
    if database.blobs is not None:
        _list_blobs(user_data_dir / database.blobs, "", blobs)
    return Look(files, frozenset(blobs))


def _list_blobs(folder: Path, prefix: str, blobs: list[str]) -> None:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _list_blobs(folder / entry.name, f"{prefix}{entry.name}/", blobs)
            elif entry.is_file(follow_symlinks=False):
                blobs.append(prefix + entry.name)


def _is_data(name: str) -> bool:
    return name in {"CURRENT", CORRUPTION_NOTE} or any(
        pattern.fullmatch(name) for pattern in (MANIFEST_NAME, LOG_NAME, TABLE_NAME)
    )


class _Log:
    """A log that is read on as it grows; its bytes go to the copy at once."""

    def __init__(self, source: int, target: Path) -> None:
        self.source = source
        self.target = target
        self.reader = RecordReader(checksums=False)

    def read_on(self, stop: Stop) -> int:
        """Copy what is new; return how many records that completed."""
        before = self.reader.records
        with self.target.open("ab", buffering=0) as file:
            while data := os.read(self.source, CHUNK):
                stop.check()
                write_all(file, data)
                self.reader.feed(data)
        return self.reader.records - before


class DatabaseCopy:
    """
    Copies one database in the order that makes the copy one moment of it.

    Tables and blobs never change, so a hard link (or an open descriptor) keeps each as it is. The MANIFEST is read
    before the logs: what it calls flushed is in a table that was linked before, and everything else is in a log that is
    read after. When a round of looking and reading on completes no record, no commit lies between the end of the logs
    and the list of blobs. Use it as a context manager: it closes the descriptors; the caller drops the copy.
    """

    def __init__(self, source: Path, target: Path, database: Database, *, link: bool, stop: Stop) -> None:
        self._source = source / database.name
        self._target = target / database.name
        self._blob_source = None if database.blobs is None else source / database.blobs
        self._blob_target = None if database.blobs is None else target / database.blobs
        self._root = source
        self._database = database
        self._link = link
        self._stop = stop
        self._open = contextlib.ExitStack()
        self._logs: dict[int, _Log] = {}
        self._tables: dict[int, str] = {}
        self._blobs: set[str] = set()
        self._held: dict[Path, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    def run(self) -> None:
        """
        Make the copy.

        Raises:
            AttemptFailed: The database moved on under it.
            DamagedDatabase: What was read is not whole.
        """
        make_dirs(self._target)
        before = self._look()
        manifest = read_current(self._source)
        manifest_fd = self._descriptor(self._source / manifest)
        for number in sorted(_logs(before)):
            self._open_log(number)
        self._pin(before)
        self._copy_all(manifest_fd, self._target / manifest)
        self._read_logs()
        self._settle()
        if read_current(self._source) != manifest:
            raise AttemptFailed(f"{self._database.name}: another MANIFEST came into use")
        # Parsed only now: a MANIFEST has megabytes after minutes of heavy writing, and meanwhile logs would be switched.
        version, end = read_manifest(self._target / manifest, checksums=False)
        os.truncate(self._target / manifest, end)
        self._keep_logs(version)
        self._keep_tables(version)
        for target, fd in self._held.items():
            self._copy_all(fd, target)
        write_private(self._target / "CURRENT", f"{manifest}\n".encode())

    def _look(self) -> Look:
        self._stop.check()
        return look(self._root, self._database)

    def _descriptor(self, path: Path) -> int:
        fd = open_shared(path)
        self._open.callback(os.close, fd)
        return fd

    def _open_log(self, number: int) -> None:
        name = f"{number:06d}.log"
        self._logs[number] = _Log(self._descriptor(self._source / name), self._target / name)
        write_private(self._target / name, b"")

    def _pin(self, listing: Look) -> None:
        for name in listing.files:
            match = TABLE_NAME.fullmatch(name)
            if match and int(match[1]) not in self._tables and self._pin_file(self._source / name, self._target / name):
                self._tables[int(match[1])] = name
        if self._blob_source is None or self._blob_target is None:
            return
        for name in listing.blobs - self._blobs:
            target = self._blob_target / name
            make_dirs(target.parent)
            if self._pin_file(self._blob_source / name, target):
                self._blobs.add(name)

    def _pin_file(self, source: Path, target: Path) -> bool:
        """Keep a file that never changes; False when it vanished: then nothing that is read later names it."""
        try:
            if self._link:
                try:
                    # The link shares mode and owner with the browser's own file, so it is left as it is: what keeps
                    # others out of the copy are the 0700 folders above it.
                    os.link(source, target, follow_symlinks=False)
                except OSError as exc:
                    if exc.errno not in _NO_LINK:
                        raise
                    self._link = False
                else:
                    return True
            # Its bytes are copied at the end: a blob that is half written now is whole once a log names it.
            self._held[target] = self._descriptor(source)
        except FileNotFoundError:
            return False
        return True

    def _read_logs(self) -> int:
        # Ascending: when a later log exists the earlier one no longer grows, so what was read is a prefix of the order
        # of commits.
        return sum(self._logs[number].read_on(self._stop) for number in sorted(self._logs))

    def _settle(self) -> None:
        for _ in range(_SETTLE_ROUNDS):
            listing = self._look()
            self._pin(listing)
            there = _logs(listing)
            newest = max(self._logs, default=0)
            if newer := sorted(number for number in there if number > newest):
                if newest and newest not in there:
                    raise AttemptFailed(f"{self._database.name}: the logs were switched too fast to follow")
                for number in newer:
                    self._open_log(number)
            if self._read_logs() == 0:
                return
        raise AttemptFailed(f"{self._database.name}: written to without a pause")

    def _keep_logs(self, version: Version) -> None:
        if version.log_number and version.log_number not in self._logs:
            raise AttemptFailed(f"{self._database.name}: log {version.log_number} came and went")
        for number, log in self._logs.items():
            if version.needs_log(number):
                os.truncate(log.target, log.reader.end)
            else:
                log.target.unlink()

    def _keep_tables(self, version: Version) -> None:
        if missing := version.tables.keys() - self._tables.keys():
            raise AttemptFailed(f"{self._database.name}: table {min(missing)} came and went")
        for number in self._tables.keys() - version.tables.keys():
            target = self._target / self._tables[number]
            if self._held.pop(target, None) is None:
                target.unlink()

    def _copy_all(self, fd: int, target: Path) -> None:
        with create_private(target) as file:
            while data := os.read(fd, CHUNK):
                self._stop.check()
                write_all(file, data)


def _logs(listing: Look) -> set[int]:
    return {int(match[1]) for name in listing.files if (match := LOG_NAME.fullmatch(name))}
