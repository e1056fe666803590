"""What LocalAuth and RemoteAuth share: a named profile folder, held by one client at a time."""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import make_private_dir, remove_tree, sweep_temporaries, sync_dir, unused_name
from .._lock import LoginLock, profile_lock
from .._names import check_client_id
from .._threads import in_thread
from ..abc import AuthStrategy
from ..backup import check_databases
from ..backup.layout import browser_lives
from ..errors import ConfigurationError, SessionCorrupted, WWAuthError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..abc import AuthenticationNeeded

_log = logging.getLogger(__name__)

# What Chromium leaves in a profile to keep a second one out; a crash, or another container's host name, leaves it for good.
_SINGLETONS = ("SingletonLock", "SingletonSocket", "SingletonCookie")


class ProfileStrategy(AuthStrategy):
    """
    A strategy that keeps a Chromium profile in `<data_path>/<prefix>[-<client_id>]`.

    The folder is 0700. While the client is initialized an OS lock is held on a file beside it, which ends with the process;
    a second client, in this process or another one of this host, gets `SessionInUse` naming the holder.
    """

    _prefix: str

    def __init__(self, client_id: str | None, data_path: str | os.PathLike[str], rm_max_retries: int) -> None:
        if isinstance(rm_max_retries, bool) or not isinstance(rm_max_retries, int) or rm_max_retries < 0:
            raise ConfigurationError(f"invalid rm_max_retries {rm_max_retries!r}: use a whole number from 0")
        self.client_id = check_client_id(client_id)
        self.data_path = Path(data_path).absolute()
        self.session = f"{self._prefix}-{self.client_id}" if self.client_id else self._prefix
        self._profile = self.user_data_dir = self.data_path / self.session
        self._rm_max_retries = rm_max_retries
        self._lock: LoginLock | None = None

    async def before_browser_initialized(self) -> None:
        """Take the lock, clear away what a dead browser left, create the folder."""
        with self._disk_errors():
            await in_thread(lambda _: self._hold())
            await in_thread(lambda _: self._prepare())

    async def on_authentication_needed(self) -> AuthenticationNeeded:
        """Say where no login was found: another folder or `client_id` than last time is how most are missed."""
        _log.info("no login in %s: a code follows, which links a new device", self._profile)
        return await super().on_authentication_needed()

    async def destroy(self) -> None:
        """Release the lock; the profile stays."""
        self._release()

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Name the data path, and the cure, where the system says only what it refused."""
        try:
            yield
        except OSError as exc:
            if isinstance(exc, WWAuthError):
                raise
            raise ConfigurationError(
                f"the data_path {self.data_path} cannot be used ({exc.strerror or exc}): name a folder on a disk that can be "
                "written to and has room"
            ) from exc

    def _hold(self) -> None:
        """Take the lock; `destroy` and `logout` release it, which the client calls after a failed launch, too."""
        if self._lock is not None:
            return
        lock = profile_lock(self._profile)
        lock.acquire()
        self._lock = lock
        # What a crash left of the notes beside the profile: of the holder's file and of the login's.
        sweep_temporaries(self._profile.parent, name=f".{self.session}.*")
        _clear_singletons(self._profile)

    def _prepare(self) -> None:
        make_private_dir(self._profile)
        self._refuse_other_spelling()

    def _damage(self) -> SessionCorrupted | None:
        """Look for damage in the profile; one that was never used has none."""
        try:
            check_databases(self._profile)
        except SessionCorrupted as exc:
            return exc
        return None

    def _set_aside(self, damage: SessionCorrupted) -> SessionCorrupted:
        """
        Move a damaged profile out of Chromium's way, which would delete what it finds damaged; return what to tell.

        It lies beside its old place from then on, and is its owner's to delete.
        """
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = unused_name(self._profile.with_name(f"{self.session}.damaged-{now}"))
        self._profile.rename(aside)
        sync_dir(aside.parent)
        error = SessionCorrupted(f"{damage}; the profile was set aside as {aside.name}")
        _log.warning("%s", error)
        return error

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _refuse_other_spelling(self) -> None:
        # Where "Bot" and "bot" are one folder, two ids would share a login.
        if self.session not in os.listdir(self.data_path):  # noqa: PTH208 - exact names, as the disk has them
            raise ConfigurationError(
                f"client_id {self.client_id!r} differs only in case from one that is in use in {self.data_path}, and this "
                "file system does not tell them apart: choose another"
            )

    def _remove_profile(self) -> None:
        remove_tree(self._profile, max_retries=self._rm_max_retries)


def warn_of_ephemeral(path: Path) -> None:
    """Warn, once for each path, when what is written there will not outlive the machine's or the container's life."""
    if path in _warned or not sys.platform.startswith("linux"):
        return
    kind = _file_system(path)
    if kind in {"tmpfs", "ramfs", "overlay"}:
        _warned.add(path)
        what = "memory" if kind != "overlay" else "the container's own layer"
        _log.warning(
            "%s lies on %s (%s): a login kept there is gone after a restart of the machine or container. Mount a volume "
            "there, or use RemoteAuth",
            path,
            what,
            kind,
        )


_warned: set[Path] = set()


def _file_system(path: Path) -> str | None:
    """Return the type of the file system that holds a path, from the kernel's list of mounts."""
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    best, kind = -1, None
    for line in mounts.splitlines():
        _, point, name, *_ = line.split(" ")
        mounted = Path(point.encode("utf-8", "surrogateescape").decode("unicode_escape"))
        if path.is_relative_to(mounted) and len(mounted.parts) >= best:
            best, kind = len(mounted.parts), name
    return kind


def _clear_singletons(profile: Path) -> None:
    """
    Remove Chromium's own lock when no browser lives behind it.

    Chromium sees by itself that a pid of this host is dead. A lock of another host name it believes for ever, which is
    what a container leaves that was replaced by one of another name.

    Raises:
        SessionInUse: A browser that is not ours runs on the profile.
    """
    try:
        owner = (profile / "SingletonLock").readlink().name
    except OSError:
        return
    host, _, pid = owner.rpartition("-")
    if browser_lives(profile):
        here = host == platform.node() and pid.isdigit()
        raise profile_lock(profile).in_use((f"{host}, pid {pid}", int(pid) if here else None))
    _log.info("removing the lock that a browser of %s, pid %s, left in %s", host, pid, profile)
    for name in _SINGLETONS:
        (profile / name).unlink(missing_ok=True)
