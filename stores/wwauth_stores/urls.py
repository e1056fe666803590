"""Any store from a URL, for command lines and configuration files."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from wwauth.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from wwauth.abc import Store

__all__ = ["open_store"]


def open_store(url: str) -> Store:
    """
    Return the store that a URL names, without touching it yet.

    - `file:backups`, `file:///var/lib/backups`, `file:///C:/backups`: a `FileSystemStore` on that folder, with
      percent-encoding as in every URL (a space is `%20`);
    - `memory:`: a new `MemoryStore`, empty and shared with nobody;
    - `mongodb://user:password@host/database`, `mongodb+srv://…`: a `MongoStore`;
    - `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`: an `ObjectStore`;
    - `redis://host:port/0`, `rediss://` (TLS), `unix:///path/of/redis.sock`: a `RedisStore`;
    - what else there is: what follows is for the `from_url` of the class, which says more.

    A scheme may name its driver after a plus sign. What the returned store opens, its `close()` closes.

    Raises:
        ConfigurationError: Not a URL of a store that this version has. Passwords in it do not reach the message.
        MissingDependency: A driver is not installed; the message names the extra.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"invalid store URL of type {type(url).__name__}: give text, such as 'file:backups'")
    scheme, colon, rest = url.partition(":")
    kind = scheme.lower().partition("+")[0]
    if colon and kind in _OPENERS:
        if kind != scheme.lower():
            raise ConfigurationError(f"invalid store URL {redact_url(url)!r}: {kind!r} has no drivers to choose from")
        return _OPENERS[kind](url, rest)
    if colon and kind in _CLASSES:
        module, name = _CLASSES[kind]
        opened: Store = getattr(importlib.import_module(module), name).from_url(url)
        return opened
    hint = "a folder is written file:backups or file:///var/lib/backups"
    if colon and len(scheme) == 1 and scheme.isalpha():
        hint = f"a folder is written file:///{scheme}:/backups"
    raise ConfigurationError(f"unknown store URL {redact_url(url)!r}: this version knows {_known()}; {hint}")


def redact_url(url: str) -> str:
    """Return a URL that may be shown: without user, password, query and fragment."""
    scheme, colon, rest = url.partition(":")
    if not colon:
        scheme, rest = "", url
    # From the right and before all else: a password may itself contain any of the other separators.
    if "@" in rest:
        slashes = "//" if rest.startswith("//") else ""
        rest = f"{slashes}***@{rest.rpartition('@')[2]}"
    for mark in "?#":
        head, found, _ = rest.partition(mark)
        rest = f"{head}{mark}***" if found else head
    return scheme + colon + rest


def folder_of_file_url(url: str, *, windows: bool = sys.platform == "win32") -> str:
    """Return the path that a `file:` URL names on this platform; `ConfigurationError` when it names none."""
    rest = url.partition(":")[2]
    if "?" in rest or "#" in rest:
        raise ConfigurationError(
            f"invalid store URL {redact_url(url)!r}: file: takes no options; in a folder's name write ? as %3F and # as %23"
        )
    host = ""
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        rest = slash + path
    if host.lower() == "localhost":
        host = ""
    if host and not windows:
        raise ConfigurationError(
            f"invalid store URL {redact_url(url)!r}: a host follows two slashes; write a folder after file: without any, "
            f"or an absolute path after three"
        )
    try:
        folder = os.fsdecode(unquote_to_bytes(rest))
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"invalid store URL {redact_url(url)!r}: its percent-encoding is not UTF-8") from error
    if windows and host:
        folder = f"//{host}{folder}"
    elif windows and folder[:1] == "/" and folder[2:3] in {":", "|"}:
        # file:///C:/backups, and the older file:///C|/backups
        folder = f"{folder[1]}:{folder[3:]}"
    if not folder or "\0" in folder:
        raise ConfigurationError(f"invalid store URL {redact_url(url)!r}: name a folder, as in file:backups")
    return folder


def _open_file(url: str, _rest: str) -> Store:
    from .filesystem import FileSystemStore  # noqa: PLC0415 - each store is loaded with its first use

    return FileSystemStore(folder_of_file_url(url))


def _open_memory(url: str, rest: str) -> Store:
    from .memory import MemoryStore  # noqa: PLC0415 - as above

    if rest not in {"", "//"}:
        raise ConfigurationError(f"invalid store URL {redact_url(url)!r}: memory: stands alone")
    return MemoryStore()


def _known() -> str:
    return ", ".join(f"{name}:" for name in (*_OPENERS, *_CLASSES))


_OPENERS: dict[str, Callable[[str, str], Store]] = {"file": _open_file, "memory": _open_memory}

# Where the class is whose `from_url` takes the rest; each is loaded with its first use.
_CLASSES: dict[str, tuple[str, str]] = {
    "sqlite": ("wwauth_stores.sql", "SQLStore"),
    "postgresql": ("wwauth_stores.sql", "SQLStore"),
    "postgres": ("wwauth_stores.sql", "SQLStore"),
    "mysql": ("wwauth_stores.sql", "SQLStore"),
    "mariadb": ("wwauth_stores.sql", "SQLStore"),
    "mongodb": ("wwauth_stores.mongo", "MongoStore"),
    "s3": ("wwauth_stores.object", "ObjectStore"),
    "gs": ("wwauth_stores.object", "ObjectStore"),
    "az": ("wwauth_stores.object", "ObjectStore"),
    "redis": ("wwauth_stores.redis", "RedisStore"),
    "rediss": ("wwauth_stores.redis", "RedisStore"),
    "unix": ("wwauth_stores.redis", "RedisStore"),
}
