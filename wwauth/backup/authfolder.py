"""
A copy of an auth state's folder, which Baileys may be writing to: each file whole, all of one moment where there is one.

Baileys writes in place, and knows no lock: a reader meets empty and half-written files. So every file is parsed, what changed
meanwhile is copied again, and a moment is waited for in which nothing is written. The credentials come last, when the keys
that they name are there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import random
import time
from typing import TYPE_CHECKING

from .._lock import LoginLock
from .._threads import in_thread
from ..abc import CREDS
from ..authstate.bufferjson import BufferJSON
from ..authstate.creds import check_creds
from ..authstate.names import file_name, record_of
from ..errors import CredsCorrupted, SessionCorrupted, SnapshotFailed
from ._io import create_private, make_dirs, open_shared, write_all
from ._paths import HostileArchive, check_path
from .reports import SnapshotReport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from typing import Any

    from .._threads import Stop
    from .index import Backend

    Seen = dict[str, tuple[int, int, int]]

_log = logging.getLogger(__name__)

CREDS_FILE = file_name(CREDS)

# Seconds: for a moment in which nothing is written; until a torn file is taken for one that stays so; for everything.
_QUIET_FOR, _SETTLED, _TIMEOUT = 2.0, 1.0, 10.0

# A file system's clock ticks: what was written just now may be written once more with the same time.
_TICK_NS = 20_000_000

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25

_STATE = ".wwauth-backup-{}.json"


class AuthStateFolder:
    """
    A folder of Baileys' files, whole when its credentials are and every key can be parsed.

    What tells of its backups lies in a file that is named after the login, so that another one in the same folder begins anew.
    """

    def __init__(self) -> None:
        self._login = "unknown"
        self._copied: Seen | None = None

    async def snapshot(
        self, folder: Path, destination: Path, *, flush: Callable[[], Awaitable[object]] | None
    ) -> SnapshotReport:
        """
        Copy every record's file.

        A key that stays torn is left out, with a warning, as Baileys itself takes it for missing; credentials that stay torn
        refuse the copy.

        Raises:
            SnapshotFailed: There are no credentials, they cannot be read, or files were torn again and again.
        """
        del flush

        def take(stop: Stop) -> SnapshotReport:
            taker = _Taker(folder, destination, stop)
            self._copied = None
            report = taker.take()
            # Left out files are looked at anew.
            self._copied = taker.copied if report.quiet and report.files == len(taker.copied) else None
            return report

        return await in_thread(take)

    def is_as_copied(self, folder: Path) -> bool:
        """Tell whether no file was written since the last copy, which was of one moment."""
        return self._copied is not None and list_files(folder) == self._copied

    def check(self, target: Path) -> tuple[str, ...]:
        """Check an unpacked copy; files that were kept apart for their names come to the others."""
        for path in [path for path in target.iterdir() if path.is_dir()]:
            for file in path.iterdir():
                file.rename(target / file.name)
            path.rmdir()
        creds = target / CREDS_FILE
        if not creds.is_file():
            raise SessionCorrupted(f"{target}: there are no credentials, so it is no login")
        for path in target.iterdir():
            if record_of(path.name) is None:
                continue
            try:
                _check(path.name, path.read_bytes())
            except ValueError:
                raise SessionCorrupted(f"{path}: it is no JSON, or half of one") from None
        return ()

    def refuse_used(self, folder: Path) -> None:
        """Do nothing: whoever restores holds the folder."""

    def mend(self, folder: Path) -> tuple[str, ...]:
        """Do nothing: each file is whole, or it is not."""
        del folder
        return ()

    def state_path(self, folder: Path) -> Path:
        """Return the file of the login that is in the folder, or was when it could last be read."""
        self._login = login_of(folder) or self._login
        return folder / _STATE.format(self._login)

    def backend(self, folder: Path) -> Backend:
        """Return the one form there is."""
        del folder
        return "baileys"

    def version(self, folder: Path) -> None:
        """Return nothing: any version reads it."""
        del folder


def folder_lock(folder: Path) -> LoginLock:
    """Return the lock that wwauth's auth states take on a folder."""
    return LoginLock(folder / "wwauth", what=f"the auth state {folder}", cure="close() the state that has it before a restore")


def read_creds(folder: Path) -> Any:
    """Return the credentials in a folder; None: there are none, or they cannot be read just now."""
    with contextlib.suppress(OSError, ValueError, CredsCorrupted):
        creds = BufferJSON.loads((folder / CREDS_FILE).read_bytes())
        check_creds(creds)
        return creds
    return None


def login_of(folder: Path) -> str | None:
    """Return a token of the identity in a folder, the same for as long as it is; None: it cannot be read just now."""
    creds = read_creds(folder)
    return None if creds is None else hashlib.sha256(creds["signedIdentityKey"]["public"]).hexdigest()[:8]


def list_files(folder: Path) -> Seen:
    """Return what tells of each record's file whether it was written: its inode, size and time."""
    found: Seen = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if record_of(entry.name) is None or not entry.is_file(follow_symlinks=False):
                continue
            with contextlib.suppress(FileNotFoundError):
                # Through the name: on Windows, what a folder lists lags behind.
                info = os.stat(entry.path, follow_symlinks=False)  # noqa: PTH116 - there are thousands
                found[entry.name] = (info.st_ino, info.st_size, info.st_mtime_ns)
    return found


class _Taker:
    """The attempts at one copy; runs in a thread."""

    def __init__(self, source: Path, destination: Path, stop: Stop) -> None:
        self._source = source
        self._destination = destination
        self._stop = stop
        self.copied: Seen = {}
        self._torn: set[str] = set()
        self._bytes: dict[str, int] = {}

    def take(self) -> SnapshotReport:
        began = time.monotonic()
        try:
            make_dirs(self._destination)
            attempts, quiet = self._settle(began)
            self._keep_apart()
        except OSError as exc:
            raise SnapshotFailed(f"{self._source}: no copy could be taken: {exc.strerror or exc}") from exc
        return SnapshotReport(
            databases=(),
            files=len(self._bytes),
            bytes_total=sum(self._bytes.values()),
            attempts=attempts,
            quiet=quiet,
            flushed=False,
            backend="baileys",
            duration_s=time.monotonic() - began,
        )

    def _settle(self, began: float) -> tuple[int, bool]:
        """Copy until it will do; return how many attempts it took, and whether nothing was written meanwhile."""
        attempts, pause = 0, _FIRST_PAUSE
        while True:
            self._stop.check()
            attempts += 1
            seen, now = list_files(self._source), time.time_ns()
            if CREDS_FILE not in seen:
                raise SnapshotFailed(f"{self._source}: there are no credentials, so there is no login to save")
            self._copy(seen)
            waited = time.monotonic() - began
            quiet = list_files(self._source) == seen and all(
                not 0 <= now - written < _TICK_NS for _, _, written in seen.values()
            )
            if (quiet and not self._torn) or (waited > _QUIET_FOR and self._bearable(seen, now)):
                return attempts, quiet
            if waited > _TIMEOUT:
                raise SnapshotFailed(
                    f"{self._source}: {', '.join(sorted(self._torn)[:3]) or CREDS_FILE} could not be read whole in {attempts} "
                    f"attempts over {waited:.0f} s: stop what writes it, or mend its disk"
                )
            self._stop.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            pause = min(pause * 1.6, _LONGEST_PAUSE)

    def _copy(self, seen: Seen) -> None:
        """Copy what changed since it was copied last, and drop what is gone."""
        for name in self.copied.keys() - seen.keys():
            self._drop(name)
            del self.copied[name]
        # The credentials last: what they name was written before them, or is about to be.
        changed = [name for name, state in seen.items() if self.copied.get(name) != state or name in self._torn]
        for name in sorted(changed, key=lambda name: (name == CREDS_FILE, name)):
            self._stop.check()
            self._drop(name)
            try:
                check_path(name)
                with os.fdopen(open_shared(self._source / name), "rb") as file:
                    data = file.read()
                _check(name, data)
            except FileNotFoundError:
                continue
            except HostileArchive as exc:
                raise SnapshotFailed(f"{self._source}: no backup takes a file of this name: {exc}") from exc
            except (ValueError, CredsCorrupted):
                self._torn.add(name)
            else:
                with create_private(self._destination / name) as copy:
                    write_all(copy, data)
                self._bytes[name] = len(data)
            self.copied[name] = seen[name]

    def _drop(self, name: str) -> None:
        self._torn.discard(name)
        if self._bytes.pop(name, None) is not None:
            (self._destination / name).unlink()

    def _bearable(self, seen: Seen, now: int) -> bool:
        """Tell whether the copy will do: all that is torn is so for good, and is not the credentials."""
        if any(0 <= now - seen[name][2] < _SETTLED * 1e9 for name in self._torn if name in seen):
            return False
        if CREDS_FILE not in self._bytes:
            if CREDS_FILE in self._torn:
                raise SnapshotFailed(
                    f"{self._source}: {CREDS_FILE} cannot be read ({seen[CREDS_FILE][1]} bytes) and stays so: nothing was "
                    "saved; bring back a good copy of it"
                )
            return False
        for name in sorted(self._torn):
            _log.warning("%s: %s is torn (%d bytes) and was left out of the backup", self._source, name, seen[name][1])
        return True

    def _keep_apart(self) -> None:
        """Put names that some systems take for one into folders of their own."""
        taken: dict[str, int] = {}
        for name in sorted(self._bytes):
            number = taken[name.lower()] = taken.get(name.lower(), 0) + 1
            if number > 1:
                make_dirs(self._destination / str(number))
                (self._destination / name).rename(self._destination / str(number) / name)


def _check(name: str, data: bytes) -> None:
    """Parse a file; `ValueError`, or `CredsCorrupted`, when it is not whole."""
    if name == CREDS_FILE:
        check_creds(BufferJSON.loads(data))
    else:
        json.loads(data)
