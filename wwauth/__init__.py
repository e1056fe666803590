"""
wwauth keeps WhatsApp logins alive.

whatsapp-web.js's authentication strategies in Python, on Playwright: link a device once, and the login survives restarts, moves
to another host, crashes and the loss of the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._lazy import lazy
from .abc import AuthenticationNeeded, AuthStrategy, Store
from .errors import WWAuthError
from .events import Event

if TYPE_CHECKING:
    from .client import Client, ClientInfo
    from .strategies.legacy_session_auth import LegacySessionAuth
    from .strategies.local_auth import LocalAuth
    from .strategies.no_auth import NoAuth
    from .strategies.remote_auth import BackupStatus, RemoteAuth

    __version__: str

__all__ = [
    "AuthStrategy",
    "AuthenticationNeeded",
    "BackupStatus",
    "Client",
    "ClientInfo",
    "Event",
    "LegacySessionAuth",
    "LocalAuth",
    "NoAuth",
    "RemoteAuth",
    "Store",
    "WWAuthError",
    "__version__",
]


# An auth state needs no browser's client, and a store neither.
_load, __dir__ = lazy(
    __name__,
    {
        "BackupStatus": ".strategies.remote_auth",
        "Client": ".client",
        "ClientInfo": ".client",
        "LegacySessionAuth": ".strategies.legacy_session_auth",
        "LocalAuth": ".strategies.local_auth",
        "NoAuth": ".strategies.no_auth",
        "RemoteAuth": ".strategies.remote_auth",
    },
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - one source, read when asked for

        return version("wwauth")
    return _load(name)
