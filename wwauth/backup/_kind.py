"""What kind of login is backed up: how it is copied, checked and told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..errors import SessionCorrupted, SessionInUse
from ._state import STATE_FILE
from ._stored import chromium_version
from .layout import browser_lives, find_databases, find_sqlite, origin_directory
from .snapshot import take_snapshot
from .validate import cut_tails, validate_profile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from .index import Backend
    from .reports import SnapshotReport

# Baileys' file, which no browser's profile has.
_CREDS = "creds.json"


class Kind(Protocol):
    """A kind of login in a folder; all but `snapshot` block, and are called from a thread."""

    async def snapshot(
        self, folder: Path, destination: Path, *, flush: Callable[[], Awaitable[object]] | None
    ) -> SnapshotReport:
        """Make a consistent copy in the new folder `destination`; `SnapshotFailed`: there is none, or no login in it."""

    def check(self, target: Path) -> tuple[str, ...]:
        """Check an unpacked copy, and mend what can be: return notes; `SessionCorrupted` names what is wrong."""

    def refuse_used(self, folder: Path) -> None:
        """Raise `SessionInUse` while the folder must not be replaced."""

    def mend(self, folder: Path) -> tuple[str, ...]:
        """Bring a folder in order that nobody uses, before a start; return notes."""

    def state_path(self, folder: Path) -> Path:
        """Return the file in the folder that tells of its backups."""

    def backend(self, folder: Path) -> Backend | None:
        """Return how the login is kept there; None: nothing there tells."""

    def version(self, folder: Path) -> int | None:
        """Return the major version of the program that wrote it, where that matters."""


class BrowserProfile:
    """
    The profile of a browser; whole when its databases are, and those of `origin` among them.

    Raises:
        ConfigurationError: `origin` is no web address.
    """

    def __init__(self, origin: str | None) -> None:
        if origin is not None:
            origin_directory(origin)
        self._origin = origin

    async def snapshot(
        self, folder: Path, destination: Path, *, flush: Callable[[], Awaitable[object]] | None
    ) -> SnapshotReport:
        """Copy the databases, live or at rest."""
        return await take_snapshot(folder, destination, flush=flush, origin=self._origin, durable=False)

    def check(self, target: Path) -> tuple[str, ...]:
        """Check the databases, once half-written records were cut off."""
        notes = cut_tails(target)
        validate_profile(target, origin=self._origin)
        return notes

    def refuse_used(self, folder: Path) -> None:
        """Refuse while a browser lives."""
        if browser_lives(folder):
            raise SessionInUse(f"{folder}: a browser has this profile open; close it before a restore")

    def mend(self, folder: Path) -> tuple[str, ...]:
        """Cut off half-written records."""
        return cut_tails(folder)

    def state_path(self, folder: Path) -> Path:
        """Return the one file."""
        return folder / STATE_FILE

    def backend(self, folder: Path) -> Backend | None:
        """Return how the browser stores."""
        if find_sqlite(folder):
            return "sqlite"
        return "leveldb" if find_databases(folder) else None

    def version(self, folder: Path) -> int | None:
        """Return the browser's version."""
        return chromium_version(folder)


def check_any(target: Path, kind: Kind) -> tuple[str, ...]:
    """Check an unpacked copy of whatever kind it is, as `Kind.check` does; `kind` is for what does not tell."""
    if (target / _CREDS).is_file():
        from .authfolder import AuthStateFolder  # noqa: PLC0415 - for backups of these alone

        return AuthStateFolder().check(target)
    return kind.check(target)


def named(error: SessionCorrupted, target: Path, name: str) -> SessionCorrupted:
    """Return an error about an unpacked copy that names what it is a copy of."""
    return SessionCorrupted(str(error).replace(str(target), f"the archive of {name}"))
