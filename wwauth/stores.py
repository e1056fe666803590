"""
The stores: each is loaded with its first use, so that no database driver is loaded for another one's sake.

`open_store(url)` gives any of them from a URL. The classes live in `wwauth_stores`, which is not for importing from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._lazy import lazy
from .abc import SessionInfo, Store, StoreFeatures

if TYPE_CHECKING:
    from wwauth_stores.encrypted import EncryptedStore
    from wwauth_stores.filesystem import FileSystemStore
    from wwauth_stores.memory import MemoryStore
    from wwauth_stores.mirrored import MirroredStore
    from wwauth_stores.mongo import MongoStore
    from wwauth_stores.object import ObjectStore
    from wwauth_stores.redis import RedisStore
    from wwauth_stores.retrying import RetryingStore
    from wwauth_stores.sql import SQLStore
    from wwauth_stores.urls import open_store

__all__ = [
    "EncryptedStore",
    "FileSystemStore",
    "MemoryStore",
    "MirroredStore",
    "MongoStore",
    "ObjectStore",
    "RedisStore",
    "RetryingStore",
    "SQLStore",
    "SessionInfo",
    "Store",
    "StoreFeatures",
    "open_store",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "EncryptedStore": "wwauth_stores.encrypted",
        "FileSystemStore": "wwauth_stores.filesystem",
        "MemoryStore": "wwauth_stores.memory",
        "MirroredStore": "wwauth_stores.mirrored",
        "MongoStore": "wwauth_stores.mongo",
        "ObjectStore": "wwauth_stores.object",
        "RedisStore": "wwauth_stores.redis",
        "RetryingStore": "wwauth_stores.retrying",
        "SQLStore": "wwauth_stores.sql",
        "open_store": "wwauth_stores.urls",
    },
)
