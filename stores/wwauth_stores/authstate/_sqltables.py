"""The tables of auth states on a database server, and the statements about keys, which each server has in its own words."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ForeignKey,
    MetaData,
    Table,
    Text,
    and_,
    any_,
    delete,
    literal,
    null,
    or_,
    select,
    text,
    tuple_,
    union_all,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from wwauth._names import MAX_SESSION
from wwauth.abc import CREDS, RecordName
from wwauth.errors import ConfigurationError

from .._sqlschema import OPTIONS, Steps, lease_table, name_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, CompoundSelect, Delete, Select, TextClause
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.types import TypeEngine

    Values = Mapping[str, Any] | Sequence[Mapping[str, Any]]

# In bytes of UTF-8: what fits into InnoDB's keys together, and into PostgreSQL's.
LONGEST_TYPE, LONGEST_ID = 128, 1024

# So many keys are in one statement at most, since the drivers put it together on the event loop.
_AT_ONCE = 1000


class Key(NamedTuple):
    """A key in the table, by its session's number."""

    session: int
    type: str
    id: str


def _long_text() -> TypeEngine[str]:
    return Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")


def _exact(length: int) -> TypeEngine[Any]:
    # By its bytes: "a" is neither "A" nor "a ".
    return Text(collation="C").with_variant(mysql.VARBINARY(length), "mysql", "mariadb")


class AuthSchema(Steps):
    """
    The tables.

    `sessions` has a row for each session with its credentials, `keys` its keys, which go with it; `leases` has the newest
    holder of each session, and its rows stay, so that fences grow.
    """

    def __init__(self) -> None:
        tables = MetaData()
        super().__init__("wwauth_auth_schema", tables)
        self.sessions = Table(
            "wwauth_auth_sessions",
            tables,
            Column("id", BigInteger, primary_key=True, autoincrement=True),
            Column("name", name_type(MAX_SESSION), nullable=False, unique=True),
            Column("created", BigInteger, nullable=False),
            Column("updated", BigInteger, nullable=False),  # when the credentials were last written
            Column("creds", _long_text()),
            **OPTIONS,
        )
        self.keys = Table(
            "wwauth_auth_keys",
            tables,
            Column("session_id", BigInteger, ForeignKey(self.sessions.c.id, ondelete="CASCADE"), primary_key=True),
            Column("type", _exact(LONGEST_TYPE), primary_key=True),
            Column("id", _exact(LONGEST_ID), primary_key=True),
            Column("value", _long_text(), nullable=False),
            **OPTIONS,
        )
        self.leases = lease_table("wwauth_auth_leases", tables)
        self._steps = ([CreateTable(table, if_not_exists=True) for table in (self.sessions, self.keys, self.leases)],)


class Statements:
    """The statements about auth states; a subclass has those that differ."""

    # How many ids are asked for in one statement.
    _asked: ClassVar[int] = 100_000

    def __init__(self, schema: AuthSchema) -> None:
        self._sessions, self._keys = schema.sessions.c, schema.keys.c
        self._sessions_table, self._keys_table = schema.sessions, schema.keys

    def name(self, row: Any) -> RecordName:
        """Return which record a row is."""
        return CREDS if row.type is None else RecordName(row.type, row.id)

    def records(self, session: str, names: Iterable[RecordName]) -> Iterator[Select[Any] | CompoundSelect[Any]]:
        """Select the `type`, `id` and `value` of records; the credentials have no type."""
        names = set(names)
        wanted = sorted(names - {CREDS})
        creds = select(null().label("type"), null().label("id"), self._sessions.creds.label("value"))
        creds = creds.where(self._sessions.name == session, self._sessions.creds.is_not(None))
        number = select(self._sessions.id).where(self._sessions.name == session).scalar_subquery()
        keys = select(self._keys.type, self._keys.id, self._keys.value).where(self._keys.session_id == number)
        for at in range(0, len(wanted), self._asked):
            these = keys.where(self._among(wanted[at : at + self._asked]))
            # The credentials with the last of them: one round trip for all.
            yield union_all(these, creds) if CREDS in names and at + self._asked >= len(wanted) else these
        if not wanted:
            yield creds

    def page(self, session: str, kind: str | None, after: RecordName | None, rows: int) -> Select[Any]:
        """Select the keys that follow another one, in their order."""
        keys = self._keys
        page = select(keys.type, keys.id, keys.value).where(keys.session_id == self._number(session))
        if kind is not None:
            page = page.where(keys.type == self._word(kind))
        if after is not None:
            page = page.where(self._after(after))
        return page.order_by(keys.type, keys.id).limit(rows)

    def names(self, after: str, rows: int) -> Select[Any]:
        """Select the sessions that have a record and follow another one, in their order."""
        sessions = self._sessions
        kept = or_(sessions.creds.is_not(None), select(self._keys.id).where(self._keys.session_id == sessions.id).exists())
        return select(sessions.name).where(sessions.name > after, kept).order_by(sessions.name).limit(rows)

    def delete(self, session: str) -> Delete:
        """Delete a session with all that is in it."""
        return delete(self._sessions_table).where(self._sessions.name == session)

    def drops(self, keys: Iterable[Key]) -> Iterator[Delete]:
        """Delete keys."""
        sessions: dict[int, list[RecordName]] = {}
        for key in sorted(keys):
            sessions.setdefault(key.session, []).append(RecordName(key.type, key.id))
        for session, names in sessions.items():
            for at in range(0, len(names), self._asked):
                yield delete(self._keys_table).where(
                    self._keys.session_id == session, self._among(names[at : at + self._asked])
                )

    def puts(self, texts: Mapping[Key, str]) -> Iterator[tuple[TextClause, Values]]:
        """Add keys, or replace their values."""
        raise NotImplementedError

    def _number(self, session: str) -> ColumnElement[int]:
        return select(self._sessions.id).where(self._sessions.name == session).scalar_subquery()

    def _among(self, names: Sequence[RecordName]) -> ColumnElement[bool]:
        types: dict[str, list[str]] = {}
        for name in names:
            types.setdefault(name.type, []).append(name.id)
        return or_(*(and_(self._keys.type == self._word(kind), self._any(ids)) for kind, ids in types.items()))

    def _word(self, word: str) -> Any:
        """Return a type or an id as the driver takes it."""
        return word

    def _any(self, ids: Sequence[str]) -> ColumnElement[bool]:
        raise NotImplementedError

    def _after(self, name: RecordName) -> ColumnElement[bool]:
        raise NotImplementedError


class PostgreSQLStatements(Statements):
    """PostgreSQL takes whole lists as parameters: one statement for any number of ids."""

    _PUT: ClassVar = text(
        "INSERT INTO wwauth_auth_keys (session_id, type, id, value) SELECT * FROM unnest("
        "CAST(:sessions AS bigint[]), CAST(:types AS text[]), CAST(:ids AS text[]), CAST(:texts AS text[]))"
        " ON CONFLICT (session_id, type, id) DO UPDATE SET value = excluded.value"
    )

    def puts(self, texts: Mapping[Key, str]) -> Iterator[tuple[TextClause, Values]]:
        # In one order always, so that two who write the same keys do not wait for each other in a circle.
        keys = sorted(texts)
        for at in range(0, len(keys), _AT_ONCE):
            part = keys[at : at + _AT_ONCE]
            columns = {
                "sessions": [key.session for key in part],
                "types": [key.type for key in part],
                "ids": [key.id for key in part],
            }
            yield self._PUT, {**columns, "texts": [texts[key] for key in part]}

    def _any(self, ids: Sequence[str]) -> ColumnElement[bool]:
        return self._keys.id == any_(literal(list(ids), ARRAY(Text)))

    def _after(self, name: RecordName) -> ColumnElement[bool]:
        return tuple_(self._keys.type, self._keys.id) > tuple_(literal(name.type), literal(name.id))


class MySQLStatements(Statements):
    """MySQL has types and ids as bytes."""

    _asked: ClassVar[int] = _AT_ONCE

    _PUT: ClassVar = text(
        "INSERT INTO wwauth_auth_keys (session_id, type, id, value) VALUES (:session, :type, :id, :text)"
        " ON DUPLICATE KEY UPDATE value = VALUES(value)"
    )

    def name(self, row: Any) -> RecordName:
        return CREDS if row.type is None else RecordName(row.type.decode(), row.id.decode())

    def puts(self, texts: Mapping[Key, str]) -> Iterator[tuple[TextClause, Values]]:
        keys = sorted(texts)
        for at in range(0, len(keys), _AT_ONCE):
            # The drivers make one statement of them, or some when they are long.
            part = keys[at : at + _AT_ONCE]
            yield (
                self._PUT,
                [
                    {"session": key.session, "type": key.type.encode(), "id": key.id.encode(), "text": texts[key]}
                    for key in part
                ],
            )

    def _word(self, word: str) -> bytes:
        return word.encode()

    def _any(self, ids: Sequence[str]) -> ColumnElement[bool]:
        return self._keys.id.in_([one.encode() for one in ids])

    def _after(self, name: RecordName) -> ColumnElement[bool]:
        # Not as a pair: for those it does not use its index.
        kind, which = name.type.encode(), name.id.encode()
        return or_(self._keys.type > kind, and_(self._keys.type == kind, self._keys.id > which))


def fits(name: RecordName) -> bool:
    """Tell whether the tables can have a record of that name; what they cannot is not there."""
    with suppress(UnicodeEncodeError):
        sizes = len(name.type.encode()), len(name.id.encode())
        return sizes[0] <= LONGEST_TYPE and sizes[1] <= LONGEST_ID and "\0" not in name.type + name.id
    return False


def check(name: RecordName) -> None:
    """Raise `ConfigurationError` where the tables cannot have a record of that name."""
    if not fits(name):
        shown = f"{name.type[:40]!r}, {name.id[:40]!r}"
        raise ConfigurationError(
            f"invalid record name {shown}: here a type has up to {LONGEST_TYPE} bytes, an id up to {LONGEST_ID}, and no NUL"
        )


def statements_of(engine: AsyncEngine, schema: AuthSchema) -> Statements:
    """Return the statements for an engine's server; `ConfigurationError` when there are none."""
    kind = {"postgresql": PostgreSQLStatements, "mysql": MySQLStatements, "mariadb": MySQLStatements}.get(engine.dialect.name)
    if kind is None:
        raise ConfigurationError(
            f"invalid engine for {engine.dialect.name}: use PostgreSQL, MySQL or MariaDB, or SQLite by its URL"
        )
    return kind(schema)
