"""
wwauth keeps WhatsApp logins alive.

whatsapp-web.js's authentication strategies in Python, on Playwright: link a device once, and the login survives restarts, moves
to another host, crashes and the loss of the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .abc import AuthenticationNeeded, AuthStrategy, Store
from .client import Client, ClientInfo
from .errors import WWAuthError
from .events import Event
from .strategies.legacy_session_auth import LegacySessionAuth
from .strategies.local_auth import LocalAuth
from .strategies.no_auth import NoAuth
from .strategies.remote_auth import BackupStatus, RemoteAuth

if TYPE_CHECKING:
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


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - one source, read when asked for

        return version("wwauth")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
