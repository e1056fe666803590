"""The table of messages on an SQL server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Boolean, Column, LargeBinary, MetaData, Table, UniqueConstraint, bindparam
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import CreateTable

from wwauth._messages import LONGEST_NAME, MessageRow, RowKey
from wwauth._names import MAX_SESSION

from .._sqlflavor import MySQL
from .._sqlschema import OPTIONS, Steps, name_type

if TYPE_CHECKING:
    from sqlalchemy import Insert

    from .._sqlflavor import Flavor


_CONTENT = MessageRow._fields[1:]


class MessageSchema(Steps):
    """The table: a row for each message, found by its session and id, and by its age within the session."""

    def __init__(self) -> None:
        tables = MetaData()
        super().__init__("wwauth_messages_schema", tables)
        self.messages = Table(
            "wwauth_messages",
            tables,
            Column("number", BigInteger, primary_key=True, autoincrement=True),
            Column("session", name_type(MAX_SESSION), nullable=False),
            Column("id", name_type(LONGEST_NAME), nullable=False),
            Column("chat", name_type(LONGEST_NAME), nullable=False),
            Column("from_me", Boolean, nullable=False),
            Column("sender", name_type(LONGEST_NAME), nullable=False),
            Column("chat_alt", name_type(LONGEST_NAME), nullable=False),
            Column("sender_alt", name_type(LONGEST_NAME), nullable=False),
            Column("form", name_type(16), nullable=False),
            Column("body", LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"), nullable=False),
            Column("secret", LargeBinary().with_variant(mysql.VARBINARY(32), "mysql", "mariadb")),
            Column("stored", BigInteger, nullable=False),
            UniqueConstraint("session", *RowKey._fields, name="wwauth_messages_key"),
            # An index by age, as a constraint: those are made with the table, and MySQL makes no index "if it is not there".
            UniqueConstraint("session", "stored", "number", name="wwauth_messages_by_age"),
            **OPTIONS,
        )
        self._steps = ([CreateTable(self.messages, if_not_exists=True)],)

    def put(self, flavor: Flavor) -> Insert:
        """Return an INSERT that replaces a row of the same key; its parameters are the columns, and `content` for the body."""
        written: dict[str, Any] = {name: bindparam(name) for name in ("session", *RowKey._fields, *_CONTENT) if name != "body"}
        written["body"] = flavor.data("content")
        if isinstance(flavor, MySQL):
            replacing = mysql.insert(self.messages).values(**written)
            return replacing.on_duplicate_key_update({name: replacing.inserted[name] for name in _CONTENT})
        adding = postgresql.insert(self.messages).values(**written)
        return adding.on_conflict_do_update(
            constraint="wwauth_messages_key", set_={name: adding.excluded[name] for name in _CONTENT}
        )
