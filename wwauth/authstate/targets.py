"""Any place of auth states by its name, for command lines and configuration files."""

from __future__ import annotations

import importlib
import os
import re
from typing import TYPE_CHECKING, cast

from ..errors import ConfigurationError
from .folder import FolderAuthStateStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..abc import AuthStateStore

__all__ = ["open_auth_state_store"]

# More letters than a drive of Windows has.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9.-]+)(?:\+[A-Za-z0-9_.+-]+)?:(?://|$|(?=[^\\/]))")

# The modules of wwauth_stores.authstate, each of which has a function named <module>_auth_state_store.
_MODULES = {
    "sqlite": "sql",
    "postgresql": "sql",
    "postgres": "sql",
    "mysql": "sql",
    "mariadb": "sql",
    "mongodb": "mongo",
    "redis": "redis",
    "rediss": "redis",
    "unix": "redis",
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
    if not isinstance(target, str) or (found := _SCHEME.match(target)) is None:
        return FolderAuthStateStore(target)
    scheme = found[1].lower()
    if scheme == "file":
        from wwauth_stores.urls import folder_of_file_url  # noqa: PLC0415 - as below

        return FolderAuthStateStore(folder_of_file_url(target))
    module = _MODULES.get(scheme)
    if module is None:
        if os.path.isdir(target):  # noqa: PTH112 - a folder whose name looks like a URL
            return FolderAuthStateStore(target)
        known = ", ".join(f"{name}:" for name in ("file", *_MODULES))
        raise ConfigurationError(f"unknown auth state URL ({scheme}:): this version knows {known}, and paths of folders")
    # Each is loaded with its first use.
    functions = importlib.import_module(f"wwauth_stores.authstate.{module}")
    opened = cast("Callable[[str], AuthStateStore]", getattr(functions, f"{module}_auth_state_store"))
    return opened(str(target))
