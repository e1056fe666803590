"""Auth states in an SQLite database."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from wwauth._closing import Closing
from wwauth._disk import check_path, store_errors
from wwauth._files import make_private_dir
from wwauth._lock import LoginLock
from wwauth._names import check_session_name
from wwauth._threads import in_thread
from wwauth.abc import CREDS, RecordName
from wwauth.errors import ConfigurationError

from .._driver import check_timeout
from ._besides import BesidesOthers
from ._sqlitefile import answered
from ._sqliteschema import now
from ._sqlitethreads import SharedDatabase

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import AsyncIterator, Awaitable, Collection, Iterator, Mapping, Sequence
    from typing import Self

    from wwauth._threads import Stop

_T = TypeVar("_T")

# A page of `records` and `list_sessions`, in rows.
_PAGE = 500

# How many ids a statement asks for.
_IDS = 512

_NEW = "INSERT INTO wwauth_auth_sessions (name, created, updated) VALUES (?, ?, ?)"

_PUT = """
INSERT INTO wwauth_auth_keys (session_id, type, id, value) VALUES (?, ?, ?, ?)
ON CONFLICT (session_id, type, id) DO UPDATE SET value = excluded.value
"""

_DROP = "DELETE FROM wwauth_auth_keys WHERE session_id = ? AND type = ? AND id = ?"

_ONE = """
SELECT value FROM wwauth_auth_keys
WHERE session_id = (SELECT id FROM wwauth_auth_sessions WHERE name = ?) AND type = ? AND id = ?
"""

_ALL = """
SELECT type, id, value FROM wwauth_auth_keys
WHERE session_id = (SELECT id FROM wwauth_auth_sessions WHERE name = ?)
"""

_LIST = """
SELECT name FROM wwauth_auth_sessions AS s
WHERE name > ? AND (creds IS NOT NULL OR EXISTS (SELECT 1 FROM wwauth_auth_keys WHERE session_id = s.id))
ORDER BY name LIMIT ?
"""


class SQLiteAuthStateStore(Closing, BesidesOthers):
    """
    Keeps auth states in an SQLite database: one file for any number of sessions, and for whatever else is in it.

    All states of a process that use the file share one thread that writes and one that reads. Writes that arrive during a
    commit go into the next one together, and each is durable when it returns: the log (WAL) is synced with each commit.

    The file is made 0600, in a folder that is made 0700 when it is missing. One that was open and is gone, or was replaced,
    is `StoreUnavailable`; an empty or a damaged one is `CredsCorrupted`, and its bytes stay. Who holds a session is told by
    OS locks in the hidden folder `.<file's name>.locks` beside it, which is to be on the same machine.

    Args:
        path: The database's file, an attribute, too. Nothing is opened before the first use.
        timeout: For how many seconds a write waits for another process's.

    Raises:
        ConfigurationError: An argument is wrong; the message names it.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 30) -> None:
        check_timeout(timeout)
        # Absolute from the start: a later chdir() must not move the logins.
        self.path = check_path(path, what="the database's file").absolute()
        self._timeout = timeout
        self._database: SharedDatabase | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"SQLiteAuthStateStore({str(self.path)!r})"

    async def read(self, *, session: str, names: Collection[RecordName]) -> dict[RecordName, str]:
        """
        Return those of the records that there are; what is not there is absent.

        Raises:
            CredsCorrupted: The database is damaged; its bytes stay.
            StoreUnavailable, StoreDenied: It cannot be read.
        """
        work = partial(_read, session=check_session_name(session), names=list(names))
        return await self._done(f"read session {session!r}", self._opened().read(work, timeout=self._timeout)) or {}

    async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
        """
        Replace records, and delete those whose new text is None, in one transaction, which is durable at the end.

        Raises:
            StoreFull, StoreDenied, StoreUnavailable: Nothing was changed; the message says why.
            CredsCorrupted: The database is damaged; its bytes stay.
        """
        work = _Changes.of(check_session_name(session), changes)
        await self._done(f"write session {session!r}", self._opened().write(work, timeout=self._timeout, create=work.add))

    async def records(
        self,
        *,
        session: str,
        type: str | None = None,  # noqa: A002 - Baileys' word
    ) -> AsyncIterator[tuple[RecordName, str]]:
        """Iterate over all records of a session, or those of one type, a page at a time."""
        doing, name = f"read session {session!r}", check_session_name(session)
        if type in {None, CREDS.type}:
            for record in (await self.read(session=name, names=[CREDS])).items():
                yield record
        last, more = None, True
        while more:
            work = partial(_page, session=name, kind=type, after=last)
            rows = await self._done(doing, self._opened().read(work, timeout=self._timeout)) or []
            for kind, which, text in rows:
                last = (kind, which)
                yield RecordName(kind, which), text
            more = len(rows) == _PAGE

    async def delete(self, *, session: str) -> None:
        """
        Delete all records of a session with one statement; one that is not there is no error.

        Raises:
            StoreUnavailable, StoreDenied: It could not be deleted.
        """
        work = partial(_delete, session=check_session_name(session))
        await self._done(f"delete session {session!r}", self._opened().write(work, timeout=self._timeout, create=False))

    async def list_sessions(self) -> AsyncIterator[str]:
        """Iterate over the names of all sessions that have a record, sorted."""
        last, more = "", True
        while more:
            work = partial(_names, after=last)
            names = await self._done("list the sessions", self._opened().read(work, timeout=self._timeout)) or []
            for last in names:
                yield last
            more = len(names) == _PAGE

    @asynccontextmanager
    async def hold(self, *, session: str) -> AsyncIterator[None]:
        """
        Be the session's one holder on this machine while it is entered; it ends with the process.

        Raises:
            SessionInUse: Another process, or another state of this one, holds it; the message names whom.
        """
        self._opened()
        # Beside the file itself, whichever link leads there.
        path = self.path.resolve()
        place = path.with_name(f".{path.name}.locks") / check_session_name(session)
        what = f"the session {session!r} of {self.path}"
        lock = LoginLock(place, what=what, cure="close the state that has it, or end that process")

        def acquire(_: Stop) -> None:
            with store_errors(f"hold session {session!r}"):
                if not path.parent.is_dir():
                    make_private_dir(path.parent)
                lock.acquire()

        try:
            await in_thread(acquire)
            yield
        finally:
            lock.release()

    async def close(self) -> None:
        """End the threads, when no other store of this process uses the file; idempotent. It is not to be used afterwards."""
        self._closed = True
        database, self._database = self._database, None
        if database is not None:
            await database.release()

    def _opened(self) -> SharedDatabase:
        if self._closed:
            raise ConfigurationError(f"this {self!r} was closed; make a new one")
        if self._database is None:
            self._database = SharedDatabase.shared(self.path)
        return self._database

    async def _done(self, doing: str, work: Awaitable[_T]) -> _T:
        return await answered(work, self.path, doing)


def _read(connection: sqlite3.Connection, session: str, names: Collection[RecordName]) -> dict[RecordName, str]:
    if len(names) == 1 and CREDS not in names:
        # What is asked for most: one statement does it.
        (name,) = names
        row = connection.execute(_ONE, (session, *name)).fetchone()
        return {} if row is None else {name: row[0]}
    found: dict[RecordName, str] = {}
    # One moment for all of the statements.
    connection.execute("BEGIN")
    row = connection.execute("SELECT id, creds FROM wwauth_auth_sessions WHERE name = ?", (session,)).fetchone()
    if row is not None:
        number, creds = row
        types: dict[str, list[str]] = {}
        for name in names:
            if name != CREDS:
                types.setdefault(name.type, []).append(name.id)
            elif creds is not None:
                found[CREDS] = creds
        for kind, ids in types.items():
            for which, text in _values(connection, number, kind, ids):
                found[RecordName(kind, which)] = text
    connection.execute("COMMIT")
    return found


def _values(connection: sqlite3.Connection, number: int, kind: str, ids: list[str]) -> Iterator[tuple[str, str]]:
    for begin in range(0, len(ids), _IDS):
        asked = ids[begin : begin + _IDS]
        # As many as the next power of two, the last one repeated: few statements, which stay prepared.
        asked += asked[-1:] * ((1 << (len(asked) - 1).bit_length()) - len(asked))
        which = ",".join("?" * len(asked))
        statement = f"SELECT id, value FROM wwauth_auth_keys WHERE session_id = ? AND type = ? AND id IN ({which})"  # noqa: S608
        yield from connection.execute(statement, (number, kind, *asked)).fetchall()


@dataclass(frozen=True, slots=True)
class _Changes:
    """What a write does to one session."""

    session: str
    creds: tuple[str | None, ...]
    texts: Sequence[tuple[str, str, str]]
    gone: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, session: str, changes: Mapping[RecordName, str | None]) -> Self:
        creds = (changes[CREDS],) if CREDS in changes else ()
        keys = [(name, text) for name, text in changes.items() if name != CREDS]
        texts = [(name.type, name.id, text) for name, text in keys if text is not None]
        return cls(session, creds, texts, [(name.type, name.id) for name, text in keys if text is None])

    @property
    def add(self) -> bool:
        """Tell whether there is a record afterwards."""
        return bool(self.texts) or any(text is not None for text in self.creds)

    def __call__(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT id FROM wwauth_auth_sessions WHERE name = ?", (self.session,)).fetchone()
        if row is not None:
            number = row[0]
        elif self.add:
            number = connection.execute(_NEW, (self.session, now(), now())).lastrowid
        else:
            return
        for creds in self.creds:
            connection.execute("UPDATE wwauth_auth_sessions SET creds = ?, updated = ? WHERE id = ?", (creds, now(), number))
        if self.texts:
            connection.executemany(_PUT, [(number, *text) for text in self.texts])
        if self.gone:
            connection.executemany(_DROP, [(number, *name) for name in self.gone])


def _page(
    connection: sqlite3.Connection, session: str, kind: str | None, after: tuple[str, str] | None
) -> list[tuple[str, str, str]]:
    statement, values = _ALL, [session]
    if kind is not None:
        statement += " AND type = ?"
        values.append(kind)
    if after is not None:
        statement += " AND (type, id) > (?, ?)"
        values.extend(after)
    return connection.execute(f"{statement} ORDER BY type, id LIMIT {_PAGE}", values).fetchall()


def _names(connection: sqlite3.Connection, after: str) -> list[str]:
    rows = connection.execute(_LIST, (after, _PAGE)).fetchall()
    return [name for (name,) in rows]


def _delete(connection: sqlite3.Connection, session: str) -> None:
    connection.execute("DELETE FROM wwauth_auth_sessions WHERE name = ?", (session,))
