"""The place of a profile on the disk: what a restore puts there by two renames, and what was there. Everything here blocks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .._files import remove_tree, sync_dir, temporary_sibling

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)


def previous(profile: Path) -> Path:
    """Return where the profile that a restore replaced is kept."""
    return profile.with_name(f"{profile.name}.previous")


def swap_in(new: Path, profile: Path) -> None:
    """Put `new` in a profile's place, and keep what was there; `new` lies in a folder that is deleted afterwards."""
    kept = previous(profile)
    # A previous one is still there when the last restore was never confirmed: then that one is what last worked,
    # and what is replaced now came from the store as well.
    aside = new.with_name("replaced") if kept.exists() else kept
    moved = profile.exists()
    if moved:
        profile.rename(aside)
    try:
        new.rename(profile)
    except OSError:
        if moved:
            aside.rename(profile)
        raise
    sync_dir(profile.parent)


def drop_previous(profile: Path) -> None:
    """Delete what a restore replaced; nothing there is no error."""
    # Renamed before it is deleted: half of it must never be taken for a profile that can be put back.
    gone = temporary_sibling(profile)
    try:
        previous(profile).rename(gone)
    except FileNotFoundError:
        return
    remove_tree(gone)


def put_back(profile: Path) -> None:
    """Put back what a restore had moved away when it was interrupted between its two renames."""
    kept = previous(profile)
    if kept.is_dir() and not profile.exists():
        _log.warning("%s: a restore was interrupted; the profile it was about to replace is back", profile)
        kept.rename(profile)
        sync_dir(profile.parent)
