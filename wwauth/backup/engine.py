"""Saves a profile to a store and restores it, so that a crash at any moment leaves the old state or the new one."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._files import PRIVATE_DIR, make_private_dir, remove_tree, replacing, sweep_temporaries, sync_dir, temporary_sibling
from .._names import check_session_name
from .._threads import in_thread
from ..errors import (
    ConfigurationError,
    DecryptionFailed,
    SessionCorrupted,
    SessionInUse,
    SessionNotFound,
    SnapshotFailed,
    StoreUnavailable,
    WWAuthError,
)
from ._io import sync_tree
from .archive import Contents, Stamp, look_into_archive, read_archive, tree_digest, write_archive
from .layout import browser_lives, origin_directory
from .reports import BackupReport, RestoreReport
from .snapshot import take_snapshot
from .validate import cut_tails, validate_profile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from .._threads import Stop
    from ..abc import Store
    from .reports import SnapshotReport

_log = logging.getLogger(__name__)

# Inside the profile, so that it comes and goes with it: which backup this profile was last equal to.
_STATE_FILE = "wwauth-backup.json"

# A store that is silent for so long is one that cannot be reached; a large archive may take its time.
_ANSWER_TIMEOUT = 60.0
_TRANSFER_TIMEOUT = 3600.0


@dataclass(frozen=True, slots=True)
class _Archived:
    contents: Contents
    size: int


class BackupEngine:
    """
    Saves one session's profile to a store, and restores it from there.

    It needs no browser and takes no lock: the caller sees to it that one engine works on a profile. Calls on one engine
    follow each other. Temporary files lie in hidden 0700 folders beside the profile, and are gone when a call returns
    or raises; what a crash leaves, `recover` sweeps.

    Args:
        store: Where the archives go; its owner closes it.
        session: The name there, like "RemoteAuth-client-one".
        archive: "whatsapp-web.js": each save is one plain zip that whatsapp-web.js restores.
        origin: Like "https://web.whatsapp.com/": a profile without its databases is neither saved nor restored.
        work_dir: Where archives lie on their way; the profile's parent when None.

    Raises:
        ConfigurationError: An argument is wrong.
    """

    def __init__(
        self,
        store: Store,
        *,
        session: str,
        archive: str = "whatsapp-web.js",
        origin: str | None = None,
        work_dir: Path | None = None,
    ) -> None:
        if archive != "whatsapp-web.js":
            raise ConfigurationError(f"invalid archive {archive!r}: use 'whatsapp-web.js'")
        if origin is not None:
            origin_directory(origin)
        self._store = store
        self._session = check_session_name(session)
        self._origin = origin
        self._work_dir = work_dir
        self._last = Stamp()
        self._known = False
        self._one_at_a_time = asyncio.Lock()

    @property
    def generation(self) -> int:
        """The number of the backup the profile was last saved to or restored from; 0: none that is known."""
        return self._last.generation

    @staticmethod
    def previous(user_data_dir: Path) -> Path:
        """Return where the profile that a restore replaced is kept until `confirm`."""
        return user_data_dir.with_name(f"{user_data_dir.name}.previous")

    async def exists(self) -> bool:
        """Tell whether the store has this session; `StoreError`: it cannot be told."""
        async with self._store_call("session_exists", _ANSWER_TIMEOUT):
            return bool(await self._store.session_exists(session=self._session))

    async def delete(self) -> None:
        """Delete this session from the store; one that is not there is no error."""
        async with self._one_at_a_time:
            async with self._store_call("delete", _ANSWER_TIMEOUT):
                await self._store.delete(session=self._session)
            self._last, self._known = Stamp(), True

    async def save(
        self,
        user_data_dir: Path,
        *,
        flush: Callable[[], Awaitable[object]] | None = None,
        before_commit: Callable[[], None] | None = None,
    ) -> BackupReport:
        """
        Copy the profile, live or closed, and save it; when nothing changed since the last save, upload nothing.

        `flush` brings localStorage to the disk, see `take_snapshot`. `before_commit` is called when all but the upload
        is done, and raises to keep it from happening.

        Raises:
            SnapshotFailed: There is no consistent copy, or no login in it. The store is untouched.
            StoreError: The store did not take it; what it held stands.
        """
        async with self._one_at_a_time:
            began = time.monotonic()
            await self._learn_generation(user_data_dir)
            work = temporary_sibling(user_data_dir)
            packed = self._archive_path(user_data_dir, work)
            try:
                await asyncio.to_thread(_make_room, work, packed)
                snapshot = await take_snapshot(user_data_dir, work / "profile", flush=flush, origin=self._origin, durable=False)
                content = await in_thread(lambda stop: tree_digest(work / "profile", check=stop.check))
                unchanged = content == self._last.content and await self.exists()
                stamp = self._last if unchanged else Stamp(self._last.generation + 1, content)
                uploaded = 0
                if not unchanged:
                    uploaded = await in_thread(lambda stop: _pack(work / "profile", packed, stamp, stop))
                    if before_commit is not None:
                        before_commit()
                    async with self._store_call("save", _TRANSFER_TIMEOUT):
                        await self._store.save(session=self._session, path=packed)
                    self._last = stamp
                    await asyncio.to_thread(self._write_state, user_data_dir)
            except OSError as exc:
                raise SnapshotFailed(f"{user_data_dir} could not be packed for {self._session}: {exc}") from exc
            finally:
                await _removed(work, packed)
            return self._backup_report(snapshot, unchanged=unchanged, uploaded=uploaded, began=began)

    async def restore(self, user_data_dir: Path) -> RestoreReport:
        """
        Put what the store holds in the profile's place.

        It is unpacked and checked beside the profile, then swapped in by two renames; what was there before is kept
        under `previous(user_data_dir)` until `confirm`. After a failure the profile that was there is untouched.

        Raises:
            SessionNotFound: The store has no such session.
            SessionCorrupted: What the store holds is damaged, or no login of this origin.
            SessionInUse: A browser has the profile open.
            StoreError: The store did not give it.
            OSError: The disk is full, or a folder cannot be written.
        """
        async with self._one_at_a_time:
            began = time.monotonic()
            if await asyncio.to_thread(browser_lives, user_data_dir):
                raise SessionInUse(f"{user_data_dir}: a browser has this profile open; close it before a restore")
            if not await self.exists():
                raise self._not_found()
            work = temporary_sibling(user_data_dir)
            packed = self._archive_path(user_data_dir, work)
            try:
                await asyncio.to_thread(_make_room, work, packed)
                await self._download(packed)
                archived, notes = await in_thread(lambda stop: self._unpack(packed, work / "profile", stop))
                # From here on it takes two renames: what is cancelled now is either not begun or done.
                await in_thread(lambda _: self._swap(work, user_data_dir, archived.contents.stamp))
            finally:
                await _removed(work, packed)
            return RestoreReport(
                session=self._session,
                generation=self._last.generation,
                source="remote",
                files=archived.contents.files,
                bytes_total=archived.contents.bytes_total,
                bytes_downloaded=archived.size,
                duration_s=time.monotonic() - began,
                notes=notes,
            )

    async def confirm(self, user_data_dir: Path) -> None:
        """Delete the profile that the last restore replaced: the browser has opened the new one."""
        await asyncio.to_thread(remove_tree, self.previous(user_data_dir))

    async def recover(self, user_data_dir: Path) -> None:
        """
        Bring a profile in order before a start, when no browser has it open and no other engine works on it.

        A crash between the two renames of a restore left no profile but the replaced one: that is put back. Temporary
        files of crashed calls are deleted. Half-written records that a killed browser left are cut off, see
        `cut_tails`.

        Raises:
            SessionInUse: A browser has the profile open.
        """
        await in_thread(lambda _: self._recover(user_data_dir))

    def _recover(self, user_data_dir: Path) -> None:
        previous = self.previous(user_data_dir)
        if previous.is_dir() and not user_data_dir.exists():
            _log.warning("%s: a restore was interrupted; the profile it was about to replace is back", user_data_dir)
            previous.rename(user_data_dir)
            sync_dir(user_data_dir.parent)
        sweep_temporaries(user_data_dir.parent, name=user_data_dir.name)
        sweep_temporaries(self._work_dir or user_data_dir.parent, name=f"{self._session}.zip")
        if user_data_dir.is_dir():
            for cut in cut_tails(user_data_dir):
                _log.info("%s: %s", user_data_dir, cut)
        self._last = self._read_state(user_data_dir) or Stamp()
        self._known = bool(self._last.generation)

    async def _learn_generation(self, user_data_dir: Path) -> None:
        """Find out which backup comes next: told by the profile, else by the archive in the store."""
        if self._known:
            return
        stamp = await asyncio.to_thread(self._read_state, user_data_dir)
        if stamp is None and await self.exists():
            work = temporary_sibling(user_data_dir)
            packed = self._archive_path(user_data_dir, work)
            try:
                await asyncio.to_thread(_make_room, work, packed)
                await self._download(packed)
                contents = await asyncio.to_thread(look_into_archive, packed)
                # Its content is no measure: it was not compared with this profile.
                stamp = Stamp(contents.stamp.generation)
            except DecryptionFailed:
                raise  # another key may read it: it is not ours to overwrite
            except (SessionNotFound, SessionCorrupted) as exc:
                _log.warning("the stored %s cannot tell its generation, which begins anew: %s", self._session, exc)
            finally:
                await _removed(work, packed)
        self._last, self._known = stamp or Stamp(), True

    def _archive_path(self, user_data_dir: Path, work: Path) -> Path:
        name = f"{self._session}.zip"
        if self._work_dir is None or self._work_dir == user_data_dir.parent:
            return work / name
        return temporary_sibling(self._work_dir / name)

    async def _download(self, path: Path) -> None:
        async with self._store_call("extract", _TRANSFER_TIMEOUT):
            await self._store.extract(session=self._session, path=path)
        if not await asyncio.to_thread(path.is_file):
            raise StoreUnavailable(f"{self._where('extract')} returned without writing the archive")

    def _unpack(self, packed: Path, target: Path, stop: Stop) -> tuple[_Archived, tuple[str, ...]]:
        contents = read_archive(packed, target, check=stop.check)
        notes = list(cut_tails(target))
        if contents.skipped:
            notes.append(f"{contents.skipped} files of the archive are no part of a login and were left out")
        try:
            validate_profile(target, origin=self._origin)
        except SessionCorrupted as exc:
            message = str(exc).replace(str(target), f"the archive of {self._session}")
            raise SessionCorrupted(message) from exc
        self._write(target, contents.stamp)
        sync_tree(target)
        return _Archived(contents, packed.stat().st_size), tuple(notes)

    def _swap(self, work: Path, user_data_dir: Path, stamp: Stamp) -> None:
        previous = self.previous(user_data_dir)
        # A previous one is still there when the last restore was never confirmed: then that one is what last worked,
        # and what is replaced now came from the store as well.
        aside = work / "replaced" if previous.exists() else previous
        moved = user_data_dir.exists()
        if moved:
            user_data_dir.rename(aside)
        try:
            (work / "profile").rename(user_data_dir)
        except OSError:
            if moved:
                aside.rename(user_data_dir)
            raise
        self._last, self._known = stamp, True
        sync_dir(user_data_dir.parent)

    def _write_state(self, user_data_dir: Path) -> None:
        try:
            self._write(user_data_dir, self._last)
        except OSError as exc:
            # The backup is committed all the same; the next process learns its number from the store.
            _log.warning("%s/%s could not be written: %s", user_data_dir, _STATE_FILE, exc)

    def _write(self, user_data_dir: Path, stamp: Stamp) -> None:
        state = {"session": self._session, "generation": stamp.generation, "content": stamp.content}
        with replacing(user_data_dir / _STATE_FILE) as temporary:
            temporary.write_text(json.dumps(state), "utf-8")

    def _read_state(self, user_data_dir: Path) -> Stamp | None:
        """Return what the profile tells of its last backup; None: nothing, or nothing of this session."""
        try:
            state = json.loads((user_data_dir / _STATE_FILE).read_text("utf-8"))
            stamp = Stamp(int(state["generation"]), str(state["content"]))
            return stamp if state["session"] == self._session and stamp.generation >= 0 else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as exc:
            _log.warning("%s/%s cannot be read and is not used: %s", user_data_dir, _STATE_FILE, exc)
            return None

    def _backup_report(self, snapshot: SnapshotReport, *, unchanged: bool, uploaded: int, began: float) -> BackupReport:
        return BackupReport(
            session=self._session,
            generation=self._last.generation,
            kind="unchanged" if unchanged else "full",
            files=snapshot.files,
            bytes_total=snapshot.bytes_total,
            bytes_uploaded=uploaded,
            duration_s=time.monotonic() - began,
            sha256=self._last.content,
        )

    @asynccontextmanager
    async def _store_call(self, verb: str, timeout: float) -> AsyncIterator[None]:
        """Turn silence, and what wwauth does not know, into `StoreUnavailable`: neither is "no such session"."""
        try:
            async with asyncio.timeout(timeout) as bound:
                yield
        except WWAuthError:
            raise
        except Exception as exc:
            if bound.expired():
                raise StoreUnavailable(f"{self._where(verb)} did not end within {timeout:g} s") from exc
            # Without the driver's own text, which may hold an address with a password; it is the cause.
            raise StoreUnavailable(f"{self._where(verb)} failed: {type(exc).__name__}") from exc

    def _where(self, verb: str) -> str:
        return f"{type(self._store).__name__}.{verb}({self._session!r})"

    def _not_found(self) -> SessionNotFound:
        return SessionNotFound(f"the store has no {self._session!r}: link the device first")


def _make_room(work: Path, packed: Path) -> None:
    make_private_dir(work)
    packed.parent.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)


def _pack(profile: Path, packed: Path, stamp: Stamp, stop: Stop) -> int:
    write_archive(profile, packed, stamp=stamp, check=stop.check)
    return packed.stat().st_size


async def _removed(work: Path, packed: Path) -> None:
    """Delete the temporaries of a call, to the end even when the call is being cancelled."""

    def remove(_: Stop) -> None:
        for path in (packed, work):
            try:
                remove_tree(path)
            except OSError as exc:
                # What the call did is done; `recover` sweeps this.
                _log.warning("the temporary %s could not be deleted: %s", path, exc)

    await in_thread(remove)
