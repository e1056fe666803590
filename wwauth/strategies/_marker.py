"""The note, beside a profile, that it holds a login."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .._files import replacing

if TYPE_CHECKING:
    from pathlib import Path


class LoginMarker:
    """
    Tells a profile in which `ready` was reached from one that only ever showed a code.

    Both look alike from outside, and the second must never be preferred to a backup. A file beside the profile, named after
    it; it is written when a login is known to work or was restored, and goes with the profile.
    """

    def __init__(self, profile: Path) -> None:
        self._profile = profile
        self._path = profile.with_name(f".{profile.name}.login")

    @property
    def holds_login(self) -> bool:
        """Whether the profile is there and held a login when it was last used."""
        return self._path.is_file() and self._profile.is_dir()

    def write(self, *, generation: int) -> None:
        """Note that the profile holds a login, whose newest backup has this generation (0: none yet)."""
        with replacing(self._path) as temporary:
            temporary.write_text(json.dumps({"generation": generation}), "utf-8")

    def remove(self) -> None:
        """Take the note away."""
        self._path.unlink(missing_ok=True)
