"""The lock beside a folder or file that holds a login: one holder on this host at a time."""

from __future__ import annotations

import json
import os
import platform
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ._files import PRIVATE_FILE, make_private_dir, replacing
from .errors import SessionInUse

if TYPE_CHECKING:
    from pathlib import Path

Holder = tuple[str | None, int | None]


class LoginLock:
    """
    An OS lock on a file beside what it is for, which ends with its process; a file beside it names the holder.

    Neither file is deleted, or lies in what is renamed or deleted, as long as there is a login: it would lock nothing then.

    Args:
        path: The folder or file that holds the login.
        what: What it is called in the message of `SessionInUse`.
        cure: What to do about it, there.

    Attributes:
        files: The two files.
    """

    def __init__(self, path: Path, *, what: str, cure: str) -> None:
        self._folder, self._what, self._cure = path.parent, what, cure
        self._holder_path = path.with_name(f".{path.name}.holder")
        lock_path = path.with_name(f".{path.name}.lock")
        self._lock = FileLock(lock_path, timeout=0, mode=PRIVATE_FILE, thread_local=False)
        self.files = (lock_path, self._holder_path)

    def acquire(self) -> None:
        """Take the lock, and make the folder that it lies in; `SessionInUse` names the holder."""
        # A folder of the caller's may hold other things, for others: what of it is ours is private by itself.
        if not self._folder.is_dir():
            make_private_dir(self._folder)
        try:
            self._lock.acquire()
        except Timeout:
            raise self.in_use(self._holder()) from None
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

    def in_use(self, holder: Holder) -> SessionInUse:
        """Say that it is in use, and by whom."""
        who, pid = holder
        return SessionInUse(
            f"{self._what} is in use ({who or 'by a holder that cannot be named'}): {self._cure}",
            holder=who,
            pid=pid,
        )


def profile_lock(profile: Path) -> LoginLock:
    """Return the lock of a browser's profile."""
    return LoginLock(
        profile, what=f"the profile {profile}", cure="destroy() that client first, or give this one another client_id"
    )
