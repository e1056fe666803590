"""Messages of socket logins in an SQLite database."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from wwauth._messages import MessageBackend, MessageRow, RowKey
from wwauth.errors import SessionCorrupted

from ._sqlitefile import answered
from ._sqlitethreads import SharedDatabase

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Sequence
    from pathlib import Path

_T = TypeVar("_T")

_TIMEOUT = 30.0

# What a path ends with that is a database; any other one that is no file is a login's folder.
_ENDINGS = {".db", ".sqlite", ".sqlite3"}

# IF NOT EXISTS is all of their making: auth states, which may be in the same file, have steps of their own.
_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS wwauth_messages (
        number INTEGER PRIMARY KEY,
        session TEXT NOT NULL,
        id TEXT NOT NULL,
        chat TEXT NOT NULL,
        from_me INTEGER NOT NULL,
        sender TEXT NOT NULL,
        chat_alt TEXT NOT NULL,
        sender_alt TEXT NOT NULL,
        form TEXT NOT NULL,
        body BLOB NOT NULL,
        secret BLOB CHECK (length(secret) = 32),
        stored INTEGER NOT NULL,  -- microseconds since 1970
        UNIQUE (session, id, chat, from_me, sender)
    )
    """,
    "CREATE INDEX IF NOT EXISTS wwauth_messages_by_age ON wwauth_messages (session, stored)",
)

_HAS_TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'wwauth_messages'"

_PUT = """
INSERT INTO wwauth_messages (session, id, chat, from_me, sender, chat_alt, sender_alt, form, body, secret, stored)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (session, id, chat, from_me, sender) DO UPDATE SET
chat_alt = excluded.chat_alt, sender_alt = excluded.sender_alt, form = excluded.form, body = excluded.body,
secret = excluded.secret, stored = excluded.stored
"""

_GET = """
SELECT id, chat, from_me, sender, chat_alt, sender_alt, form, body, secret, stored FROM wwauth_messages
WHERE session = ? AND id = ?
"""

_DROP = """
DELETE FROM wwauth_messages WHERE number IN
(SELECT number FROM wwauth_messages WHERE session = ? AND stored < ? ORDER BY stored LIMIT ?)
"""

_EVER = 2**63 - 1


class SQLiteMessageBackend(MessageBackend):
    """
    Keeps messages in an SQLite file: the threads, and the commits, are those of the auth states in the same file.

    Args:
        path: The file; or a folder, beside which `<folder>.messages.db` is the file.
        is_file: Whether it is the file for sure.
    """

    def __init__(self, path: Path, *, is_file: bool = False) -> None:
        # Absolute from the start: a later chdir() must not move it.
        path = path.absolute()
        # A folder that may not be looked into is told of by the first use.
        if not is_file and path.suffix not in _ENDINGS and not os.path.isfile(path):  # noqa: PTH113 - Path's raises there
            path = path.with_name(f"{path.name}.messages.db")
        self._path = path
        self._database: SharedDatabase | None = None

    def __repr__(self) -> str:
        return f"sqlite:///{self._path}"

    async def put_many(self, *, session: str, rows: Sequence[MessageRow]) -> None:
        """Store rows, in one transaction."""
        values = [(session, *row.key, *row[1:]) for row in rows]
        await self._done("save messages", self._opened().write(partial(_put, values=values), timeout=_TIMEOUT, create=True))

    async def get(self, *, session: str, id: str) -> list[MessageRow]:  # noqa: A002 - Baileys' word
        """Return the rows whose key has this id."""
        work = partial(_rows, statement=_GET, values=(session, id))
        found = await self._done("look for a message", self._opened().read(work, timeout=_TIMEOUT))
        return [MessageRow(RowKey(id_, chat, bool(me), sender), *rest) for id_, chat, me, sender, *rest in found or []]

    async def count(self, *, session: str) -> int:
        """Return how many rows a session has."""
        work = partial(_rows, statement="SELECT count(*) FROM wwauth_messages WHERE session = ?", values=(session,))
        found = await self._done("count messages", self._opened().read(work, timeout=_TIMEOUT))
        return int(found[0][0]) if found else 0

    async def drop_oldest(self, *, session: str, limit: int, before: int | None = None) -> int:
        """Delete at most `limit` rows, the oldest ones."""
        values = (session, _EVER if before is None else before, limit)
        work = partial(_changed, statement=_DROP, values=values)
        return await self._done("delete old messages", self._opened().write(work, timeout=_TIMEOUT, create=False)) or 0

    async def delete_session(self, *, session: str) -> None:
        """Delete all rows of a session."""
        work = partial(_changed, statement="DELETE FROM wwauth_messages WHERE session = ?", values=(session,))
        await self._done("delete messages", self._opened().write(work, timeout=_TIMEOUT, create=False))

    async def close(self) -> None:
        """End the threads, when nobody else in this process uses the file."""
        database, self._database = self._database, None
        if database is not None:
            await database.release()

    def _opened(self) -> SharedDatabase:
        if self._database is None:
            self._database = SharedDatabase.shared(self._path)
        return self._database

    async def _done(self, doing: str, work: Awaitable[_T]) -> _T:
        return await answered(work, self._path, doing, damaged=SessionCorrupted)


def _put(connection: sqlite3.Connection, values: Sequence[Sequence[object]]) -> None:
    for statement in _TABLES:
        connection.execute(statement)
    connection.executemany(_PUT, values)


def _rows(connection: sqlite3.Connection, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
    if connection.execute(_HAS_TABLE).fetchone() is None:
        return []
    return connection.execute(statement, values).fetchall()


def _changed(connection: sqlite3.Connection, statement: str, values: Sequence[object]) -> int:
    return connection.execute(statement, values).rowcount if connection.execute(_HAS_TABLE).fetchone() else 0
