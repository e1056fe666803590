"""The tables of auth states in an SQLite database, and the numbered steps that make and change them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wwauth.errors import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

_VERSIONS = """
CREATE TABLE IF NOT EXISTS wwauth_auth_schema (
    version INTEGER PRIMARY KEY,
    applied INTEGER NOT NULL  -- microseconds since 1970, as all times here
)
"""

# Numbers of sessions never come again: keys that a program without foreign keys left behind must not become another's.
_SESSIONS = """
CREATE TABLE wwauth_auth_sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,  -- when the credentials were last written
    creds TEXT
)
"""

# With a rowid: a table without one puts each record over 1,000 bytes, as most sessions are, on a page of its own.
_KEYS = """
CREATE TABLE wwauth_auth_keys (
    number INTEGER PRIMARY KEY,
    session_id INTEGER NOT NULL REFERENCES wwauth_auth_sessions (id) ON DELETE CASCADE,
    type TEXT NOT NULL,
    id TEXT NOT NULL,
    value TEXT NOT NULL,
    UNIQUE (session_id, type, id)
)
"""

# What a step makes stays as it is once it was released: a change is a step of its own.
_STEPS: Sequence[Sequence[str]] = ((_SESSIONS, _KEYS),)

NEWEST = len(_STEPS)


def version_of(connection: sqlite3.Connection) -> int:
    """
    Return the number of the last step that was taken, 0 when there are no tables yet.

    Raises:
        StoreError: A newer wwauth was here.
    """
    if (
        connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'wwauth_auth_schema'").fetchone()
        is None
    ):
        return 0
    (version,) = connection.execute("SELECT max(version) FROM wwauth_auth_schema").fetchone()
    if version is not None and version > NEWEST:
        raise StoreError(
            f"the tables of auth states were made by a newer wwauth (schema {version}, this one knows {NEWEST}): "
            f"use that one here"
        )
    return version or 0


def upgrade(connection: sqlite3.Connection) -> None:
    """Take the steps that are missing, in one transaction; another process may be at it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(connection)
        connection.execute(_VERSIONS)
        for number, step in enumerate(_STEPS[version:], version + 1):
            for statement in step:
                connection.execute(statement)
            connection.execute("INSERT INTO wwauth_auth_schema VALUES (?, ?)", (number, now()))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def now() -> int:
    """Return microseconds since 1970."""
    return time.time_ns() // 1000
