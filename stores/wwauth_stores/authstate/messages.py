"""Where the messages of socket logins are kept, by what a caller names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wwauth._disk import check_path
from wwauth.errors import ConfigurationError

from .._mongoclient import is_client
from ..urls import redact_url
from .messages_sqlite import SQLiteMessageBackend

if TYPE_CHECKING:
    from wwauth._messages import MessageBackend

_SQL = {"postgresql", "postgres", "mysql", "mariadb"}
_MONGO = {"mongodb", "mongodb+srv"}
_REDIS = {"redis", "rediss", "unix"}


def open_messages(target: Any) -> MessageBackend:
    """
    Return what keeps messages in a database; nothing is opened, and nobody asked, before its first use.

    Args:
        target: A folder, a file, a URL, an `AsyncEngine`, a collection or a client: see `wwauth.authstate.MessageStore`.

    Raises:
        ConfigurationError: It is none of these; no password is in the message.
        MissingDependency: Its driver is not installed.
    """
    if isinstance(target, str) and (scheme := _scheme(target)):
        return _of_url(scheme, target)
    if isinstance(target, str | os.PathLike):
        return SQLiteMessageBackend(Path(check_path(target, what="a folder or an SQLite file")))
    if is_client(getattr(getattr(target, "database", None), "client", None)):
        return _mongo(target)
    kinds = {kind.__name__ for kind in type(target).__mro__}
    if "AsyncEngine" in kinds:
        return _of_engine(target)
    if kinds & {"Redis", "RedisCluster"}:
        return _redis(target)
    raise ConfigurationError(
        f"invalid target of type {type(target).__name__}: give a path, a URL, an AsyncEngine, a collection of MongoDB or "
        f"a Redis client"
    )


def _scheme(text: str) -> str:
    """Return what a URL begins with, "" for a path."""
    scheme, colon, rest = text.partition(":")
    named = scheme.lower().partition("+")[0] in _SQL | _MONGO | _REDIS | {"sqlite"}
    return scheme.lower() if colon and (named or rest.startswith("//")) else ""


def _of_url(scheme: str, url: str) -> MessageBackend:
    kind = scheme.partition("+")[0]
    if kind == "sqlite":
        from .sql import sqlite_file  # noqa: PLC0415 - each database is loaded with its first use

        return SQLiteMessageBackend(Path(sqlite_file(url) or ""), is_file=True)
    if kind in _SQL:
        from .messages_sql import SQLMessageBackend  # noqa: PLC0415 - as above

        return SQLMessageBackend(url)
    if scheme in _MONGO:
        return _mongo(url)
    if scheme in _REDIS:
        return _redis(url)
    raise ConfigurationError(
        f"unknown URL {redact_url(url)!r}: messages are kept in sqlite, postgresql, mysql, mariadb, mongodb or redis"
    )


def _of_engine(engine: Any) -> MessageBackend:
    from .._sqlurl import sqlite_path  # noqa: PLC0415 - as above
    from .messages_sql import SQLMessageBackend  # noqa: PLC0415 - as above

    if engine.dialect.name == "sqlite":
        return SQLiteMessageBackend(sqlite_path(engine.url), is_file=True)
    return SQLMessageBackend(engine)


def _mongo(collection_or_url: Any) -> MessageBackend:
    from .messages_mongo import MongoMessageBackend  # noqa: PLC0415 - as above

    return MongoMessageBackend(collection_or_url)


def _redis(client_or_url: Any) -> MessageBackend:
    from .messages_redis import RedisMessageBackend  # noqa: PLC0415 - as above

    return RedisMessageBackend(client_or_url)
