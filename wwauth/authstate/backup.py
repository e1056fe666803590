"""Backups of an auth state's folder, with `RemoteAuth`'s engine: generations, packs, leases, encryption."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from .._disk import check_path, store_errors
from .._files import remove_tree, temporary_sibling
from .._lock import LoginLock
from .._names import check_session_name
from .._threads import in_thread
from ..backup._holding import holding
from ..backup._state import read_state
from ..backup.authfolder import AuthStateFolder, folder_lock, login_of, read_creds
from ..backup.engine import BackupEngine
from ..backup.schedule import BackupSchedule
from ..errors import ConfigurationError, SnapshotFailed
from ._foreign import check_holds_a_login_alone, place_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from ..abc import Store
    from ..backup.index import StoredGeneration
    from ..backup.reports import BackupReport, RestoreReport, VerifyReport

__all__ = ["AuthStateBackup"]

_log = logging.getLogger(__name__)

# As RemoteAuth has it: less would wear out disks and stores for nothing.
_SHORTEST_MS = 60_000


class AuthStateBackup:
    """
    Backups of a folder of Baileys' files, to any `Store`.

    The folder may be in use, by wwauth or by Baileys itself, which knows no lock: what is saved was copied whole, file by
    file, and parsed. Only what changed is uploaded; the last `generations` are kept; a store's lease is held for each save.
    One process at a time saves a folder (a lock beside it sees to that), and a login that was restored and has gone on
    elsewhere is not overwritten from here (`LeaseLost`).

    Two machines must not use one login at the same time, and an old backup is a login whose sessions are old: some messages
    have to be sent again. So restore when the folder is lost, not to go back.

    Args:
        folder: The folder, or a link to it, which stays one; saving only reads its records, and writes a note of the backups
            (`.wwauth-backup-….json`).
        store: Where the backups go; its owner closes it. `EncryptedStore` encrypts them.
        session: The name there; the folder's own when None.
        generations: How many are kept.
        on_saved: Called with the report of each backup of the schedule that worked.
        on_failed: Called with the exception of each one that did not; logged when None.

    Raises:
        ConfigurationError: An argument is wrong.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        store: Store,
        *,
        session: str | None = None,
        generations: int = 3,
        on_saved: Callable[[BackupReport], object] = lambda _: None,
        on_failed: Callable[[Exception], object] | None = None,
    ) -> None:
        path = check_path(folder, what="a folder").absolute()
        self._folder = place_of(path)
        self._store = store
        self._session = check_session_name(path.name if session is None else session)
        self._generations = generations
        self._on_saved = on_saved
        self._on_failed = self._log_failure if on_failed is None else on_failed
        self._schedule: BackupSchedule | None = None
        self._login: str | None = None
        self._kind: AuthStateFolder
        self._last: BackupReport | None
        self._engine = self._new_engine()
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<AuthStateBackup of {str(self._folder)!r} as {self._session!r}>"

    async def save(self) -> BackupReport:
        """
        Back the folder up; when nothing changed since the last time, upload nothing.

        Raises:
            SnapshotFailed: The folder holds no login that can be read whole, or none that is linked where the store has one.
                What is stored stays.
            LeaseLost: The login was restored elsewhere, and saved from there.
            SessionInUse: Another process saves this session just now.
            StoreError: The store did not take it, or the disk failed; what the store held stands.
        """
        with store_errors(f"back up {self._folder}"):
            if not await in_thread(lambda _: self._folder.parent.is_dir()):
                raise self._no_folder()
        async with self._alone("back up"):
            if not await in_thread(lambda _: self._folder.exists()):
                # What an interrupted restore had moved away comes back.
                await self._engine.recover(self._folder)
            if not await in_thread(lambda _: self._folder.is_dir()):
                raise self._no_folder()
            began = time.monotonic()
            if (unchanged := await self._unchanged()) is not None:
                return replace(unchanged, duration_s=time.monotonic() - began)
            login = await in_thread(lambda _: login_of(self._folder))
            if login is not None and login != self._login:
                # Another login in the same folder is another line of backups.
                self._engine, self._login = self._new_engine(), login
            async with holding(self._store, self._session) as self._engine.lease:
                # Only now: until then somebody else may have saved a login.
                await self._refuse_unlinked()
                self._last = None
                self._last = await self._engine.save(self._folder)
                return self._last

    async def restore(self, generation: int | None = None) -> RestoreReport:
        """
        Put a backup in the folder's place: the newest that is whole, or the one that is named.

        It is unpacked and checked beside the folder, which is then replaced by two renames; what was there is kept beside it,
        as `FOLDER.previous`, until the next restore.

        Raises:
            ConfigurationError: The folder holds more than a login; nothing was changed.
            SessionInUse: A state of wwauth's has the folder. (Baileys knows no lock: stop it first.)
            SessionNotFound: The store has no such session, or not that generation.
            SessionCorrupted: What the store holds is damaged; the folder is as it was.
            StoreError: The store did not give it, or the disk did not take it.
        """
        async with self._alone("restore"), self._held():
            await self._engine.recover(self._folder)
            await in_thread(lambda _: check_holds_a_login_alone(self._folder))
            previous, aside = self._engine.previous(self._folder), temporary_sibling(self._folder)
            moved = await in_thread(lambda _: self._folder.exists() and _renamed(previous, aside))
            try:
                report = await self._engine.restore(self._folder, generation)
            except BaseException:
                if moved:
                    await in_thread(lambda _: _renamed(aside, previous))
                raise
            await in_thread(lambda _: remove_tree(aside))
            self._last = None
            self._login = await in_thread(lambda _: login_of(self._folder))
            return report

    async def list_generations(self) -> list[StoredGeneration]:
        """Return what the store has, newest first."""
        return await self._engine.generations()

    async def verify(self) -> VerifyReport:
        """Check every generation in the store as a restore would; nothing is changed."""
        return await self._engine.verify()

    def start(self, interval_ms: int = 300_000) -> None:
        """
        Save now and then at each interval, in the background, until `stop()`; after a failure that may pass, earlier.

        Raises:
            ConfigurationError: Less than a minute, or no number.
        """
        if isinstance(interval_ms, bool) or not isinstance(interval_ms, int) or interval_ms < _SHORTEST_MS:
            raise ConfigurationError(f"invalid interval_ms {interval_ms!r}: use a whole number from {_SHORTEST_MS}, a minute")
        if self._schedule is None:
            self._schedule = BackupSchedule(
                self.save, interval=interval_ms / 1000, on_saved=self._on_saved, on_failed=self._on_failed
            )
        self._schedule.start()

    async def stop(self) -> None:
        """End the schedule, once a backup that is under way has ended. Idempotent."""
        schedule, self._schedule = self._schedule, None
        if schedule is not None:
            await schedule.stop()

    def _new_engine(self) -> BackupEngine:
        self._kind, self._last = AuthStateFolder(), None
        return BackupEngine(self._store, session=self._session, kind=self._kind, generations=self._generations)

    async def _unchanged(self) -> BackupReport | None:
        """Return what is to be said when no file was written since the last save, and the store has that; None: save."""
        last = self._last
        if last is None or not await in_thread(lambda _: self._folder.is_dir() and self._kind.is_as_copied(self._folder)):
            return None
        there = await self._engine.generations()
        if not there or (there[0].number, there[0].content) != (last.generation, last.sha256):
            return None
        return replace(last, kind="unchanged", bytes_uploaded=0)

    def _no_folder(self) -> SnapshotFailed:
        return SnapshotFailed(f"there is no folder {self._folder}: name the one that Baileys' files are in")

    def _log_failure(self, error: Exception) -> None:
        _log.error("%s was not backed up: %s", self._folder, error)

    async def _refuse_unlinked(self) -> None:
        """Keep a new identity, which nobody has linked, from taking the place of a login."""
        creds = await in_thread(lambda _: read_creds(self._folder))
        if creds is None or (creds.get("me") and creds.get("account")):
            return
        path = await in_thread(lambda _: AuthStateFolder().state_path(self._folder))
        known = await in_thread(lambda _: read_state(path, self._session))
        if (known is None or not known.generation) and await self._engine.exists():
            raise SnapshotFailed(
                f"{self._folder} holds a new identity that no device is linked with, and the store has a login named "
                f"{self._session!r}: restore that, or link the device first"
            )

    @asynccontextmanager
    async def _alone(self, doing: str) -> AsyncIterator[None]:
        """Be the one who works on the folder's backups, and tell what its disk refuses meanwhile as a `StoreError`."""
        lock = LoginLock(
            self._folder.with_name(f"{self._folder.name}.backup"),
            what=f"the backup of {self._folder}",
            cure="wait for its end",
        )
        with store_errors(f"{doing} {self._folder}"):
            async with self._turn:
                try:
                    # In here: cancelled, it was taken all the same.
                    await in_thread(lambda _: lock.acquire())
                    yield
                finally:
                    await in_thread(lambda _: lock.release())

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[None]:
        if not await in_thread(lambda _: self._folder.is_dir()):
            yield
            return
        lock = folder_lock(self._folder)
        try:
            # In here, as above.
            await in_thread(lambda _: lock.acquire())
            if os.name == "nt":
                # A folder in which a file is open cannot be renamed there: the lock is looked at, and given back.
                lock.release()
            yield
        finally:
            await in_thread(lambda _: lock.release())


def _renamed(path: Path, to: Path) -> bool:
    """Rename what is there; say whether there was something."""
    try:
        path.rename(to)
    except FileNotFoundError:
        return False
    return True
