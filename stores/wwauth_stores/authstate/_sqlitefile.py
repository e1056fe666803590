"""The file of an SQLite database with auth states: made whole, and watched while it is open."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from wwauth._disk import store_errors
from wwauth._files import sync_dir
from wwauth.errors import CredsCorrupted, SessionCorrupted, StoreError, StoreUnavailable, WWAuthError

from .._driver import CURES
from .._sqlite import DatabaseFile, sqlite_code
from ._sqliteschema import upgrade

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

_T = TypeVar("_T")

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class AuthDatabaseFile(DatabaseFile):
    """
    The database's file, which is made whole, and is not to be another one while it is open.

    A file without a byte is a damaged one: a database is given its name with its tables in it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._opened: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def find(self, *, create: bool) -> bool:
        """Tell whether it is there; see `DatabaseFile.find`."""
        with self._lock, store_errors(f"open {self.path}"):
            if not super().find(create=create):
                return False
            # SQLite takes one byte for none.
            if self.path.stat().st_size <= 1:
                raise CredsCorrupted(
                    f"the database {self.path} is an empty file: bring back a copy, or delete it if it never held anything"
                )
            self._compare()
            return True

    def check(self) -> None:
        """Raise `StoreUnavailable` when the file that was opened is not there any more."""
        with suppress(OSError):
            info = self.path.stat()
            if (info.st_dev, info.st_ino) == self._opened:
                return
        with self._lock:
            super().find(create=False)
            self._compare()

    def _compare(self) -> None:
        self._opened = self._opened or self.identity
        if self.identity != self._opened:
            raise StoreUnavailable(
                f"the database {self.path} was replaced while it was open: close all who use it, and open it again"
            )

    def _make(self) -> None:
        super()._make()
        sync_dir(self.path.parent)

    def _fill(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA synchronous = FULL")
        upgrade(connection)


async def answered(work: Awaitable[_T], path: Path, doing: str, *, damaged: type[SessionCorrupted] = CredsCorrupted) -> _T:
    """Await work on a database, and know SQLite's errors; `doing` completes "cannot"."""
    try:
        return await work
    except WWAuthError:
        raise
    except Exception as error:
        # What is no error of SQLite's may show a value.
        what = error if isinstance(error, sqlite3.Error) else type(error).__name__
        if sqlite_code(error) in _DAMAGED:
            raise damaged(
                f"cannot {doing}: the database {path} is damaged ({what}); its bytes stay, bring back a copy of it"
            ) from error
        kind = DatabaseFile(path).meaning(error) or StoreError
        raise kind(f"cannot {doing} in {path}: {what}; {CURES[kind]}") from error
