"""What lies in a folder beside the login that it holds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._disk import store_errors
from ..errors import ConfigurationError
from .names import record_of

if TYPE_CHECKING:
    from pathlib import Path

# What desktops put into any folder that somebody looks at.
_OF_DESKTOPS = {".DS_Store", "Thumbs.db", "desktop.ini"}


def place_of(folder: Path) -> Path:
    """Return where a folder lies that is to be replaced: a link to it, such as one to a volume, goes on leading there."""
    return folder.resolve() if os.path.islink(folder) and os.path.isdir(folder) else folder  # noqa: PTH112, PTH114 - never raise


def foreign_entry(folder: Path) -> str | None:
    """Return the name of something that is neither Baileys' nor wwauth's, or None; blocks."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            ours = record_of(name) is not None or name.startswith(".wwauth") or ".json." in name or name in _OF_DESKTOPS
            if not ours or not entry.is_file(follow_symlinks=False):
                return name
    return None


def check_holds_a_login_alone(folder: Path) -> None:
    """
    Refuse a folder that is to be replaced, so that all of it would go; blocks. One that is not there is none.

    Raises:
        ConfigurationError: It holds more than a login; the message names one such thing.
    """
    with store_errors(f"look into {folder}"):
        foreign = foreign_entry(folder) if folder.exists() else None
    if foreign is not None:
        raise ConfigurationError(
            f"{folder} holds something else ({foreign!r:.60}), which would be deleted: name a folder for the login alone"
        )
