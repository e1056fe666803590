"""The lock beside a profile: one holder on this host at a time."""

from __future__ import annotations

import json
import os
import platform
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from .._files import PRIVATE_FILE, make_private_dir, replacing
from ..errors import SessionInUse

if TYPE_CHECKING:
    from pathlib import Path

Holder = tuple[str | None, int | None]


class ProfileLock:
    """
    An OS lock on a file beside a profile, which ends with its process; a file beside it names the holder.

    Neither file is ever deleted, and neither lies in the profile: what is renamed or deleted with it would lock nothing.
    """

    def __init__(self, profile: Path) -> None:
        self._profile = profile
        self._lock = FileLock(profile.with_name(f".{profile.name}.lock"), timeout=0, mode=PRIVATE_FILE, thread_local=False)
        self._holder_path = profile.with_name(f".{profile.name}.holder")

    def acquire(self) -> None:
        """Take the lock, and make the folder that it lies in; `SessionInUse` names the holder."""
        # A folder of the caller's may hold other things, for others: what of it is ours is private by itself.
        if not self._profile.parent.is_dir():
            make_private_dir(self._profile.parent)
        try:
            self._lock.acquire()
        except Timeout:
            raise in_use(self._profile, self._holder()) from None
        try:
            with replacing(self._holder_path) as temporary:
                temporary.write_text(json.dumps({"pid": os.getpid(), "host": platform.node()}), "utf-8")
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """Give the lock back; one that is not held is no error."""
        self._lock.release()

    def _holder(self) -> Holder:
        try:
            holder = json.loads(self._holder_path.read_text("utf-8"))
            host, pid = str(holder["host"]), int(holder["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            return None, None
        return f"{host}, pid {pid}", pid if host == platform.node() else None


def in_use(profile: Path, holder: Holder) -> SessionInUse:
    """Say that a profile is in use, and by whom."""
    who, pid = holder
    return SessionInUse(
        f"the profile {profile} is in use ({who or 'by a holder that cannot be named'}): destroy() that client first, or "
        "give this one another client_id",
        holder=who,
        pid=pid,
    )
