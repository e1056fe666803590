"""Logins that other programs keep in SQL databases."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from wwauth._threads import in_thread
from wwauth.abc import CREDS, RecordName
from wwauth.errors import CredsCorrupted, StoreUnavailable

from ._peers import PeerState, Value, enveloped, told_apart
from .sql import SQLAuthStateStore
from .sqlite import SQLiteAuthStateStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from wwauth._threads import Stop
    from wwauth.abc import AuthStateStore

    # Return the rows of a statement; what it is for completes "cannot".
    Query = Callable[..., Awaitable[Sequence[Any]]]

# Rows that are read at a time.
_PAGE = 500

# What `useSqliteAuthState` of Baileys' development line calls the credentials.
_BAILEYS_CREDS = "__creds__"

# How mysql-baileys limits names, which MySQL cuts off there where it is not strict.
_MYSQL_NAME = 80

_SQLITE_COLUMNS = "SELECT t.name, c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'"
_COLUMNS = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = {}"

_DOING = "look for logins of other programs"


async def sql_peers(store: AuthStateStore) -> list[PeerState]:
    """
    Return the logins of other programs in a store's database, which are read through the store while it is open.

    These are Baileys' own of its development line in SQLite (one login in a file), mysql-baileys, whatever its table is
    called, postgres-baileys, and Keyv's in any table of any of the databases. Nothing is written.

    Raises:
        CredsCorrupted: The tables are not those of one program for sure.
        StoreUnavailable, StoreDenied: The database cannot be read.
    """
    if isinstance(store, SQLiteAuthStateStore):
        query: Query = partial(_sqlite_rows, store.path)
        tables = await _tables(query, _SQLITE_COLUMNS)
        found = await _baileys_peers(store.path, query, tables)
        return told_apart(found + await _keyv_peers(query, tables, "key", '"'))
    if not isinstance(store, SQLAuthStateStore):
        return []
    server = store.opened()
    if server.kind == "postgresql":
        tables = await _tables(server.query, _COLUMNS.format("current_schema()"))
        found = []
        if tables.get("auth_data") == {"session_key", "data"}:
            found = await _Named(server.query, "auth_data", "session_key", "data", "auth_creds").peers("postgres-baileys")
        return told_apart(found + await _keyv_peers(server.query, tables, "key", '"'))
    tables = await _tables(server.query, _COLUMNS.format("DATABASE()"))
    found = await _mysql_peers(server.query, tables)
    return told_apart(found + await _keyv_peers(server.query, tables, "id", "`"))


async def check_is_new(store: AuthStateStore, session: str) -> None:
    """
    Refuse a new identity where another program's tables hold a login that may be this session.

    That is one of the same name; and any, where either has no name and no session was ever made or taken over.

    Raises:
        CredsCorrupted: The message says how to take it over.
    """
    if isinstance(store, SQLiteAuthStateStore) and not await in_thread(lambda _: store.path.exists()):
        return
    if not (peers := await sql_peers(store)):
        return
    is_used = await anext(aiter(store.list_sessions()), None) is not None
    for peer in peers:
        if peer.session == session or not (is_used or (peer.has_name and session != "default")):
            raise CredsCorrupted(
                f"the database has no session {session!r}, but the login {peer.called!r} as {peer.program} keeps it, and a new "
                "identity would not be that one: take it over with wwauth authstate migrate --peer (FROM and TO may be this "
                "database), or use another one"
            )


async def _tables(query: Query, statement: str) -> dict[str, set[str]]:
    """Return the columns of each table."""
    tables: dict[str, set[str]] = {}
    for table, column in await query(_DOING, statement):
        tables.setdefault(table, set()).add(column.lower())
    return tables


def _quoted(name: str, mark: str) -> str:
    """Return a name as a statement has it; a colon in it begins no parameter."""
    return f"{mark}{name.replace(mark, 2 * mark)}{mark}".replace(":", "\\:")


@dataclass(frozen=True, slots=True)
class _Named:
    """A table of texts by name, such as "<session>:creds"; `table` and its columns are quoted where they have to be."""

    query: Query
    table: str
    names: str
    texts: str
    creds: str
    keyv: bool = False

    async def peers(self, program: str) -> list[PeerState]:
        pattern = "%:" + self.creds.replace("_", "!_")
        statement = f"SELECT {self.names}, {self.texts} FROM {self.table} WHERE {self.names} LIKE :pattern ESCAPE '!'"  # noqa: S608
        rows = await self.query(_DOING, statement, pattern=pattern)
        prefixes = sorted(name.removesuffix(self.creds) for name, text in rows if self._is_login(name, text))
        return [PeerState(program, prefix, partial(self._values, prefix, prefixes)) for prefix in prefixes]

    def _is_login(self, name: str, text: str | None) -> bool:
        # MySQL compares without regard to case.
        return name.endswith(self.creds) and text is not None and (not self.keyv or "value" in enveloped(text))

    async def _values(self, prefix: str, prefixes: list[str]) -> AsyncIterator[Value]:
        others = tuple(other for other in prefixes if other.startswith(prefix) and other != prefix)
        statement = (
            f"SELECT {self.names}, {self.texts} FROM {self.table}"  # noqa: S608
            f" WHERE substr({self.names}, 1, :size) = :prefix AND {self.names} > :last ORDER BY {self.names} LIMIT {_PAGE}"
        )
        last = ""
        while rows := await self.query(f"read the login {prefix!r}", statement, size=len(prefix), prefix=prefix, last=last):
            for name, text in rows:
                last = name
                if name.startswith(prefix) and not name.startswith(others):
                    record = name.removeprefix(prefix)
                    text = enveloped(text).get("value") if self.keyv else text  # noqa: PLW2901 - unwrapped
                    if text is not None:
                        yield Value(CREDS if record == self.creds else record, text, is_text=True)


async def _keyv_peers(query: Query, tables: dict[str, set[str]], names: str, mark: str) -> list[PeerState]:
    found: list[PeerState] = []
    for table in sorted(table for table, columns in tables.items() if columns == {names, "value"}):
        named = _Named(query, _quoted(table, mark), _quoted(names, mark), "value", "creds", keyv=True)
        found += await named.peers("Keyv")
    return found


async def _baileys_peers(path: Path, query: Query, tables: dict[str, set[str]]) -> list[PeerState]:
    if tables.get("creds") != {"key", "value"} or tables.get("signal_keys") != {"type", "id", "value"}:
        return []
    creds = await query(_DOING, "SELECT key FROM creds")
    if creds and creds != [(_BAILEYS_CREDS,)]:
        raise CredsCorrupted(
            f"{path} has tables as Baileys has them, with {len(creds)} credentials: it cannot be told which one"
        )
    values = partial(_baileys_values, query)
    return [PeerState("Baileys in SQLite", path.stem, values, has_name=False)] if creds else []


async def _baileys_values(query: Query) -> AsyncIterator[Value]:
    for (text,) in await query(_DOING, "SELECT value FROM creds"):
        yield Value(CREDS, text, is_text=True)
    where, last = "", dict[str, Any]()
    while rows := await query(
        _DOING,
        f"SELECT type, id, value FROM signal_keys {where} ORDER BY type, id LIMIT {_PAGE}",  # noqa: S608
        **last,
    ):
        for kind, which, text in rows:
            yield Value(RecordName(kind, which), text, is_text=True)
        where, last = "WHERE (type, id) > (:type, :id)", {"type": rows[-1][0], "id": rows[-1][1]}


async def _sqlite_rows(path: Path, doing: str, statement: str, **values: object) -> list[Any]:
    def read(_: Stop) -> list[Any]:
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
                return connection.execute(statement.replace("\\:", ":"), values).fetchall()
        except sqlite3.OperationalError as error:
            raise StoreUnavailable(f"cannot {doing} in {path}: {error}; try again when it answers") from error
        except sqlite3.DatabaseError as error:
            raise CredsCorrupted(f"the database {path} is damaged ({error}): bring back a copy of it") from error

    return await in_thread(read)


async def _mysql_peers(query: Query, tables: dict[str, set[str]]) -> list[PeerState]:
    found: list[PeerState] = []
    for table in sorted(name for name, has in tables.items() if has == {"session", "id", "value"}):
        quoted = _quoted(table, "`")
        rows = await query(_DOING, f"SELECT DISTINCT session FROM {quoted} WHERE id = 'creds'")  # noqa: S608
        found += [_MySQLState("mysql-baileys", name, partial(_mysql_values, query, quoted, name)) for (name,) in rows]
    return found


async def _mysql_values(query: Query, table: str, session: str) -> AsyncIterator[Value]:
    statement = f"SELECT id, value FROM {table} WHERE session = :session AND id > :last ORDER BY id LIMIT {_PAGE}"  # noqa: S608
    last = ""
    while rows := await query(f"read the login {session!r}", statement, session=session, last=last):
        for name, text in rows:
            last = name
            # It reads what has no value as what is not there.
            if text:
                yield Value(name, _json(text), is_text=True)


def _json(text: str) -> str:
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
