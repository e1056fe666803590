"""Auth states in databases: one for many sessions. The drivers are loaded with the first use of each."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .state import open_state

if TYPE_CHECKING:
    from ..abc import AuthStateStore
    from .state import AuthenticationState, SaveCreds


async def use_sql_auth_state(url_or_engine: Any, session: str = "default") -> tuple[AuthenticationState, SaveCreds]:
    """
    Open a session in an SQL database, or make a new identity where there is none yet, and return `(state, save_creds)`.

    One `set` is one transaction, credentials and keys of one step together; what has returned is durable. SQLite goes through
    one thread of the standard library's sqlite3 for each file, whose commits are shared by all sessions of the process.

    Args:
        url_or_engine: A URL (sqlite:, postgresql:, mysql:, mariadb:, with or without a driver), whose connections are closed
            with the last state that uses them; or an AsyncEngine of SQLAlchemy, which is borrowed.
        session: Which login; any number of them lie in one database.

    Raises:
        CredsCorrupted: The credentials cannot be read, there are keys without them, or another program's tables may hold this
            login; nothing was changed.
        SessionInUse: Another process, or another state of this one, has the session.
        MissingDependency: The driver is not installed. StoreError: The database failed.
    """
    return await open_state(sql_auth_state_store(url_or_engine), session, owned=True)


async def use_mongo_auth_state(
    collection_or_url: Any, session: str = "default", layout: str | None = None
) -> tuple[AuthenticationState, SaveCreds]:
    """
    Open a session in a MongoDB collection, or make a new identity where there is none yet, and return `(state, save_creds)`.

    Args:
        collection_or_url: A collection of motor's or pymongo's asynchronous client, which is borrowed; or a URL.
        session: Which login.
        layout: "wwauth", many sessions in one collection; "guide", the one of Baileys' guide, `{_id, data}`, which its code
            reads and writes, too; None: that of the documents that are there, and "wwauth" for an empty collection.

    Raises:
        CredsCorrupted: The credentials cannot be read, or the collection's layout is not known for sure; nothing was changed.
        SessionInUse: Another process, or another state of this one, has the session.
        MissingDependency: The driver is not installed. StoreError: The database failed.
    """
    return await open_state(mongo_auth_state_store(collection_or_url, layout=layout), session, owned=True)


async def use_redis_auth_state(
    client_or_url: Any, session: str = "default", layout: str | None = None
) -> tuple[AuthenticationState, SaveCreds]:
    """
    Open a session in Redis, or make a new identity where there is none yet, and return `(state, save_creds)`.

    Args:
        client_or_url: A client of redis.asyncio, which is borrowed; or a URL.
        session: Which login.
        layout: None: that of the keys that are there, and wwauth's own where there are none.

    Raises:
        CredsCorrupted: The credentials cannot be read, or their layout is not known for sure; nothing was changed.
        SessionInUse: Another process, or another state of this one, has the session.
        MissingDependency: The driver is not installed. StoreError: The database failed.
    """
    return await open_state(redis_auth_state_store(client_or_url, layout=layout), session, owned=True)


def sql_auth_state_store(url_or_engine: Any) -> AuthStateStore:
    """Return the `AuthStateStore` over an SQL database; no I/O yet. `close()` ends what a URL opened."""
    store: AuthStateStore = _module("sql").sql_auth_state_store(url_or_engine)
    return store


def mongo_auth_state_store(collection_or_url: Any, *, layout: str | None = None) -> AuthStateStore:
    """Return the `AuthStateStore` over a MongoDB collection; no I/O yet. `close()` ends what a URL opened."""
    store: AuthStateStore = _module("mongo").mongo_auth_state_store(collection_or_url, layout=layout)
    return store


def redis_auth_state_store(client_or_url: Any, *, layout: str | None = None) -> AuthStateStore:
    """Return the `AuthStateStore` over Redis; no I/O yet. `close()` ends what a URL opened."""
    store: AuthStateStore = _module("redis").redis_auth_state_store(client_or_url, layout=layout)
    return store


def _module(name: str) -> Any:
    return importlib.import_module(f"wwauth_stores.authstate.{name}")
