"""The table of messages on an SQL server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Boolean, Column, Index, LargeBinary, MetaData, Table, UniqueConstraint
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from wwauth._messages import LONGEST_NAME, MessageRow, RowKey
from wwauth._names import MAX_SESSION

from .._sqlflavor import MySQL
from .._sqlschema import OPTIONS, Steps, name_type

if TYPE_CHECKING:
    from sqlalchemy import Insert

    from .._sqlflavor import Flavor


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
            # Part of the table's own statement on MySQL, where an index cannot be made "if it is not there".
            **OPTIONS,
        )
        by_age = Index("wwauth_messages_by_age", self.messages.c.session, self.messages.c.stored)
        self._steps = ([CreateTable(self.messages, if_not_exists=True), CreateIndex(by_age, if_not_exists=True)],)

    def put(self, flavor: Flavor) -> Insert:
        """Return an INSERT that replaces a row of the same key; its parameters are the columns, and `content` for the body."""
        kind = mysql if isinstance(flavor, MySQL) else postgresql
        statement = kind.insert(self.messages)
        new = {name: statement.excluded[name] for name in MessageRow._fields[1:]} if kind is postgresql else {}
        statement = statement.values(
            session=bindparam("session"),
            **{name: bindparam(name) for name in (*RowKey._fields, *MessageRow._fields[1:]) if name != "body"},
            body=flavor.data("content"),
        )
        return statement
