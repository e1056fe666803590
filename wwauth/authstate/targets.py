"""Any place of auth states by its name, for command lines and configuration files."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from .._disk import check_path
from ..errors import ConfigurationError
from .databases import mongo_auth_state_store, redis_auth_state_store, sql_auth_state_store
from .folder import FolderAuthStateStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..abc import AuthStateStore

__all__ = ["open_auth_state_store"]

# More letters than a drive of Windows has.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9.-]+)(?:\+[A-Za-z0-9_.+-]+)?:(?!\\)")

_OPENERS: dict[str, Callable[[str], AuthStateStore]] = {
    **dict.fromkeys(("sqlite", "postgresql", "postgres", "mysql", "mariadb"), sql_auth_state_store),
    "mongodb": mongo_auth_state_store,
    **dict.fromkeys(("redis", "rediss", "unix"), redis_auth_state_store),
}


def open_auth_state_store(target: str | os.PathLike[str]) -> AuthStateStore:
    """
    Return the store that a path or a URL names, without touching it yet; `close()` closes what it opens.

    - a path, or `file:` and a path: Baileys' folder, which is one session, whatever it is called;
    - `sqlite:///wwauth.db`, `postgresql://user:password@host/database`, `mysql://…`, `mariadb://…`: tables;
    - `mongodb://user:password@host/database?collection=auth_state`, `mongodb+srv://…`: a collection;
    - `redis://host:6379/0`, `rediss://…` (TLS), `unix:///path/of/redis.sock`.

    Raises:
        ConfigurationError: Not a URL of a store that this version has. Passwords in it do not reach the message.
        MissingDependency: A driver is not installed; the message names the extra.
    """
    folder = folder_of(target)
    if folder is not None:
        return FolderAuthStateStore(folder)
    url = os.fspath(target)
    return _OPENERS[_scheme(url)](url)


def folder_of(target: str | os.PathLike[str]) -> str | os.PathLike[str] | None:
    """Return the folder that a target names, there or not; None: it is the URL of a database."""
    if not isinstance(target, str) or not (scheme := _scheme(target)):
        return check_path(target, what="a folder, or the URL of a database")
    if scheme == "file":
        from wwauth_stores.urls import folder_of_file_url  # noqa: PLC0415 - as the databases': loaded with its first use

        return folder_of_file_url(target)
    if scheme in _OPENERS:
        return None
    if os.path.isdir(target):  # noqa: PTH112 - its name looks like a URL
        return target
    known = ", ".join(f"{name}:" for name in ("file", *_OPENERS))
    raise ConfigurationError(f"unknown auth state URL ({scheme}:): this version knows {known}, and paths of folders")


def _scheme(target: str) -> str:
    found = _SCHEME.match(target)
    return "" if found is None else found[1].lower()
