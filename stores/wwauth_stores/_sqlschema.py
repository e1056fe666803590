"""The tables, and the numbered steps that make and change them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table, func, select
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from wwauth._names import MAX_SESSION
from wwauth.errors import ConfigurationError, StoreError

from ._lease import LONGEST_HOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.schema import ExecutableDDLElement
    from sqlalchemy.types import TypeEngine

    from ._sqldatabase import Transaction
    from ._sqlflavor import Flavor

# The shortest limit for a table's name is PostgreSQL's, 63 bytes.
_PREFIX = re.compile(r"[A-Za-z0-9_]{0,40}")

OPTIONS: dict[str, Any] = {
    f"{kind}_{word}": value for kind in ("mysql", "mariadb") for word, value in {"engine": "InnoDB"}.items()
}


def name_type(length: int) -> TypeEngine[str]:
    """Return the type of a session's name, or of another word of a name's characters."""
    # By their bytes everywhere: case counts, and the order is that of a range of names.
    plain = mysql.VARCHAR(length, charset="ascii", collation="ascii_bin")
    return String(length).with_variant(String(length, collation="C"), "postgresql").with_variant(plain, "mysql", "mariadb")


def words_type(length: int) -> TypeEngine[str]:
    """Return the type of a text for people."""
    return String(length).with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")


def lease_table(name: str, tables: MetaData) -> Table:
    """Return a table with the newest holder of each session."""
    return Table(
        name,
        tables,
        Column("session", name_type(MAX_SESSION), primary_key=True),
        Column("holder", words_type(LONGEST_HOLDER)),
        Column("fence", BigInteger, nullable=False),
        Column("renewed", BigInteger, nullable=False),
        Column("ttl", BigInteger, nullable=False),
        **OPTIONS,
    )


class Steps:
    """
    The numbered steps that make and change some tables, and a table with a row for each step that was taken.

    What a step makes stays as it is once it was released: a change is a step of its own, in words of its own. On MySQL each
    statement has to be harmless when it is run again, also by two at the same moment.
    """

    def __init__(self, versions: str, tables: MetaData) -> None:
        self.versions = Table(
            versions,
            tables,
            Column("version", Integer, primary_key=True, autoincrement=False),
            Column("applied", BigInteger, nullable=False),  # microseconds since 1970, as all times here
            **OPTIONS,
        )
        self._steps: Sequence[Sequence[ExecutableDDLElement]] = ()

    @property
    def newest(self) -> int:
        """Return the number of the last step."""
        return len(self._steps)

    async def version(self, transaction: Transaction) -> int:
        """
        Return the number of the last step that was taken, 0 when there are no tables yet.

        Raises:
            StoreError: A newer wwauth was here.
        """
        if not await transaction.has_table(self.versions.name):
            return 0
        ((version,),) = await transaction.run(select(func.max(self.versions.c.version)))
        if version is not None and version > self.newest:
            raise StoreError(
                f"the tables were made by a newer wwauth (schema {version}, this one knows {self.newest}): use that one here"
            )
        return version or 0

    async def upgrade(self, transaction: Transaction, flavor: Flavor) -> None:
        """Take the steps that are missing; another process may be at it."""
        await flavor.before_schema(transaction)
        await transaction.run(CreateTable(self.versions, if_not_exists=True))
        version = await self.version(transaction)
        for number, step in enumerate(self._steps[version:], version + 1):
            for statement in step:
                await transaction.run(statement)
            await transaction.run(flavor.insert_missing(self.versions).values(version=number, applied=flavor.now))


class Schema(Steps):
    """
    The tables of one prefix.

    `archives` has a row for each name: its archive, or none (`content` is NULL) when it was deleted and its revision lives
    on. `chunks` has the bytes, under a key that is new with every save. `leases` has the newest holder of each name; its rows
    stay, so that fences grow. `versions` has a row for each step that was taken.
    """

    def __init__(self, prefix: str) -> None:
        if not isinstance(prefix, str) or _PREFIX.fullmatch(prefix) is None:
            raise ConfigurationError(f"invalid table_prefix {prefix!r}: use up to 40 ASCII letters, digits and '_'")
        tables = MetaData()
        super().__init__(f"{prefix}versions", tables)
        self.archives = Table(
            f"{prefix}archives",
            tables,
            Column("session", name_type(MAX_SESSION), primary_key=True),
            Column("content", name_type(32)),
            Column("chunks", Integer, nullable=False),
            Column("size", BigInteger, nullable=False),
            Column("sha256", name_type(64), nullable=False),
            Column("modified", BigInteger, nullable=False),
            Column("revision", BigInteger, nullable=False),
            **OPTIONS,
        )
        self.chunks = Table(
            f"{prefix}chunks",
            tables,
            Column("content", name_type(32), primary_key=True),
            Column("n", Integer, primary_key=True, autoincrement=False),
            Column("data", LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"), nullable=False),
            **OPTIONS,
        )
        self.leases = lease_table(f"{prefix}leases", tables)
        self._steps = (
            [CreateTable(table, if_not_exists=True) for table in (self.archives, self.chunks)],
            [CreateTable(self.leases, if_not_exists=True)],
        )
