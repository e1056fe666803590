"""Logins that other programs keep in SQL databases."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from wwauth._threads import in_thread
from wwauth.abc import CREDS, RecordName
from wwauth.errors import CredsCorrupted, StoreUnavailable

from ._peers import PeerState, Value, session_label
from .sql import SQLAuthStateStore
from .sqlite import SQLiteAuthStateStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from wwauth._threads import Stop
    from wwauth.abc import AuthStateStore

    from .sql import Server

# Rows that are read at a time.
_PAGE = 500

# What `useSqliteAuthState` of Baileys' development line calls the credentials.
_BAILEYS_CREDS = "__creds__"

# How mysql-baileys limits names, which MySQL cuts off there where it is not strict.
_MYSQL_NAME = 80

_COLUMNS = "SELECT t.name, c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'"

_DOING = "look for logins of other programs"


async def sql_peers(store: AuthStateStore) -> list[PeerState]:
    """
    Return the logins of other programs in a store's database, which are read through the store while it is open.

    These are Baileys' own of its development line in SQLite (one login in a file), mysql-baileys, whatever its table is
    called, and postgres-baileys. Nothing is written.

    Raises:
        CredsCorrupted: The tables are not those of one program for sure.
        StoreUnavailable, StoreDenied: The database cannot be read.
    """
    if isinstance(store, SQLiteAuthStateStore):
        return await _sqlite_peers(store.path)
    if isinstance(store, SQLAuthStateStore):
        server = store.opened()
        return await (_postgresql_peers(server) if server.kind == "postgresql" else _mysql_peers(server))
    return []


async def _sqlite_peers(path: Path) -> list[PeerState]:
    rows = await _rows(path, _COLUMNS)
    tables: dict[str, set[str]] = {}
    for table, column in rows:
        tables.setdefault(table, set()).add(column)
    if tables.get("creds") != {"key", "value"} or tables.get("signal_keys") != {"type", "id", "value"}:
        return []
    creds = await _rows(path, "SELECT key FROM creds")
    if creds and creds != [(_BAILEYS_CREDS,)]:
        raise CredsCorrupted(
            f"{path} has tables as Baileys has them, with {len(creds)} credentials: it cannot be told which one"
        )
    return [PeerState("Baileys in SQLite", session_label(path.stem), partial(_sqlite_values, path))] if creds else []


async def _sqlite_values(path: Path) -> AsyncIterator[Value]:
    for (text,) in await _rows(path, "SELECT value FROM creds"):
        yield Value(CREDS, text, is_text=True)
    where, values = "", ()
    while rows := await _rows(path, f"SELECT type, id, value FROM signal_keys {where} ORDER BY type, id LIMIT {_PAGE}", values):  # noqa: S608
        for kind, which, text in rows:
            yield Value(RecordName(kind, which), text, is_text=True)
        where, values = "WHERE (type, id) > (?, ?)", rows[-1][:2]


async def _rows(path: Path, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
    def read(_: Stop) -> list[Any]:
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
                return connection.execute(statement, values).fetchall()
        except sqlite3.OperationalError as error:
            raise StoreUnavailable(f"cannot {_DOING} in {path}: {error}; try again when it answers") from error
        except sqlite3.DatabaseError as error:
            raise CredsCorrupted(f"the database {path} is damaged ({error}): bring back a copy of it") from error

    return await in_thread(read)


async def _mysql_peers(server: Server) -> list[PeerState]:
    columns = await server.query(
        _DOING,
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()",
    )
    tables: dict[str, set[str]] = {}
    for table, column in columns:
        tables.setdefault(table, set()).add(column.lower())
    found: list[PeerState] = []
    for table in sorted(name for name, has in tables.items() if has == {"session", "id", "value"}):
        quoted = "`{}`".format(table.replace("`", "``").replace(":", "\\:"))
        for row in await server.query(_DOING, f"SELECT DISTINCT session FROM {quoted} WHERE id = 'creds'"):  # noqa: S608
            values = partial(_mysql_values, server, quoted, row.session)
            found.append(_MySQLState("mysql-baileys", session_label(row.session), values))
    return found


async def _mysql_values(server: Server, table: str, session: str) -> AsyncIterator[Value]:
    statement = f"SELECT id, value FROM {table} WHERE session = :session AND id > :last ORDER BY id LIMIT {_PAGE}"  # noqa: S608
    last = ""
    while rows := await server.query(f"read the login {session!r}", statement, session=session, last=last):
        for name, text in rows:
            last = name
            # It reads what has no value as what is not there.
            if text:
                yield Value(name, _quoted(text), is_text=True)


def _quoted(text: str) -> str:
    """Return JSON: whatever is no object there was written as it is, without quotes, as the digits of a LID are."""
    return text if text.startswith(("{", "[")) else json.dumps(text, ensure_ascii=False)


class _MySQLState(PeerState):
    """One login of mysql-baileys, which damages some of what it keeps."""

    async def records(self) -> AsyncIterator[tuple[RecordName, str]]:
        """Iterate over all records; see `PeerState`."""
        cut = zeroed = 0
        async for name, text in super().records():
            if name.type == "app-state-sync-key" and _is_zeroed(text):
                zeroed += 1
                continue
            cut += len(name.type) + 1 + len(name.id) == _MYSQL_NAME
            yield name, text
        if zeroed:
            self.problems.append(
                f"{zeroed} app state sync keys have lost their bytes, and were left out: WhatsApp sends them again when asked"
            )
        if cut:
            self.problems.append(f"{cut} names are {_MYSQL_NAME} characters long, and may have been cut off there")


def _is_zeroed(text: str) -> bool:
    data = json.loads(text)
    data = data.get("keyData") if isinstance(data, dict) else None
    data = data.get("data") if isinstance(data, dict) else data
    return isinstance(data, str) and not data.strip("A=")


async def _postgresql_peers(server: Server) -> list[PeerState]:
    columns = await server.query(
        _DOING,
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'auth_data' AND table_schema = current_schema()",
    )
    if {row.column_name for row in columns} != {"session_key", "data"}:
        return []
    rows = await server.query(_DOING, "SELECT session_key FROM auth_data WHERE session_key LIKE '%\\:auth\\_creds'")
    prefixes = sorted(row.session_key.removesuffix("auth_creds") for row in rows)
    return [
        PeerState("postgres-baileys", session_label(prefix), partial(_postgresql_values, server, prefix, prefixes))
        for prefix in prefixes
    ]


async def _postgresql_values(server: Server, prefix: str, prefixes: list[str]) -> AsyncIterator[Value]:
    others = tuple(other for other in prefixes if other.startswith(prefix) and other != prefix)
    statement = (
        f"SELECT session_key, data FROM auth_data"  # noqa: S608
        f" WHERE left(session_key, :size) = :prefix AND session_key > :last ORDER BY session_key LIMIT {_PAGE}"
    )
    last = ""
    while rows := await server.query(
        f"read the login {session_label(prefix)!r}", statement, size=len(prefix), prefix=prefix, last=last
    ):
        for key, text in rows:
            last = key
            if not key.startswith(others):
                name = key.removeprefix(prefix)
                yield Value(CREDS if name == "auth_creds" else name, text, is_text=True)
