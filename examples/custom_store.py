"""
Write a store of your own: four coroutines, here over a table of SQLite, checked by wwauth's own contract for stores.

To run:
    python examples/custom_store.py

A store keeps archives under names and need know nothing else. In your tests, subclass `wwauth.testing.StoreContract`
with a fixture that returns your store, and each promise of `wwauth.Store` is checked.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from wwauth import Store
from wwauth.errors import SessionNotFound


class SQLiteStore(Store):
    """
    Keep archives in one SQLite file, whole in memory while they pass through: fit for small logins.

    An exception of the driver that leaves these methods is taken for `StoreUnavailable`, never for "no such session".
    """

    def __init__(self, database: Path) -> None:
        self._database = database

    async def session_exists(self, *, session: str) -> bool:
        """Tell whether a row has this name."""
        return bool(await self._execute("SELECT 1 FROM sessions WHERE name = ?", session))

    async def save(self, *, session: str, path: Path) -> None:
        """Replace the row; SQLite's transaction makes it all or nothing."""
        archive = await asyncio.to_thread(path.read_bytes)
        await self._execute("INSERT OR REPLACE INTO sessions VALUES (?, ?)", session, archive)

    async def extract(self, *, session: str, path: Path) -> None:
        """Write the row's bytes to `path`, a file for its owner's eyes alone."""
        rows = await self._execute("SELECT archive FROM sessions WHERE name = ?", session)
        if not rows:
            raise SessionNotFound(f"{self._database} has no session {session!r}: link the device first")
        await asyncio.to_thread(_write_private, path, rows[0][0])

    async def delete(self, *, session: str) -> None:
        """Delete the row, if there is one."""
        await self._execute("DELETE FROM sessions WHERE name = ?", session)

    async def _execute(self, statement: str, *values: object) -> list[tuple[bytes]]:
        # In a thread, since sqlite3 blocks; a connection for each statement, so that none is shared between threads.
        return await asyncio.to_thread(self._execute_blocking, statement, values)

    def _execute_blocking(self, statement: str, values: tuple[object, ...]) -> list[tuple[bytes]]:
        self._database.touch(mode=0o600)
        with closing(sqlite3.connect(self._database)) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS sessions (name TEXT PRIMARY KEY, archive BLOB NOT NULL)")
            return connection.execute(statement, values).fetchall()


def _write_private(path: Path, archive: bytes) -> None:
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode=0o600)) as file:
        file.write(archive)


async def main() -> None:
    """Send an archive there and back; `RemoteAuth(store=SQLiteStore(...))` does the same with a login."""
    with tempfile.TemporaryDirectory() as folder:
        store = SQLiteStore(Path(folder) / "sessions.db")
        archive, copy = Path(folder) / "archive.zip", Path(folder) / "copy.zip"
        archive.write_bytes(b"what RemoteAuth would save")
        await store.save(session="RemoteAuth-example", path=archive)
        await store.extract(session="RemoteAuth-example", path=copy)
        print("there and back:", copy.read_bytes() == archive.read_bytes())
        await store.delete(session="RemoteAuth-example")
        print("deleted:", not await store.session_exists(session="RemoteAuth-example"))


if __name__ == "__main__":
    asyncio.run(main())
