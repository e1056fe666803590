"""Saves a profile to a store and restores it, so that a crash at any moment leaves the old state or the new one."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from .._files import make_private_dir, sweep_temporaries, temporary_sibling
from .._names import check_session_name
from .._store import check_archive, warn_of_readable_logins
from .._threads import in_thread
from ..errors import ConfigurationError, SessionCorrupted, SessionNotFound, SnapshotFailed
from . import _place
from ._fetch import Fetcher
from ._io import sync_tree
from ._kind import BrowserProfile, check_any, named
from ._packed import PackedSession
from ._plain import PlainSession
from ._prune import prune
from ._remote import Remote
from ._room import removed
from ._state import ProfileState, read_state, write_state
from ._stored import Facts, delete_session, is_newer, look, plain_generation, recipients_digest
from ._verify import Verifier
from .archive import read_archive
from .index import LONGEST_SESSION, MOST_GENERATIONS, Backend, split_pack_name
from .reports import BackupReport, RestoreReport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from .._threads import Stop
    from ..abc import Lease, Store
    from ._kind import Kind
    from ._stored import Plain, Saved
    from .index import Index, StoredGeneration
    from .reports import PruneReport, SnapshotReport, VerifyReport

_log = logging.getLogger(__name__)

ARCHIVES = ("packs", "whatsapp-web.js")


class BackupEngine:
    """
    Saves one session's profile to a store, and restores it from there.

    It needs no browser and takes no lock: the caller sees to it that one engine works on a profile. Calls on one engine
    follow each other. Temporary files lie in hidden 0700 folders beside the profile, and are gone when a call returns
    or raises; what a crash leaves, `recover` sweeps. Calls that name no profile, before any was named, have theirs in the
    system's folder for temporary files.

    Args:
        store: Where the archives go; its owner closes it.
        session: The name there, like "RemoteAuth-client-one".
        archive: "packs": a save uploads what changed since the last one, under names of its own, then an index under the
            session's; several generations are kept. "whatsapp-web.js": each save is one plain zip that whatsapp-web.js
            restores. A restore reads either.
        generations: How many are kept in packs, from 1 on; of two and more, one shares no pack with the newest.
        origin: Like "https://web.whatsapp.com/": a profile without its databases is neither saved nor restored.
        kind: What is backed up where it is not a browser's profile.
        work_dir: Where archives lie on their way; the profile's parent when None.
        backend: How the browser that opens a restored profile stores, "leveldb" or "sqlite": a backup of the other kind is
            refused, since the browser would delete it. None: as the profile that is there does, if one is.
        chromium: That browser's major version: a backup that a newer one wrote is refused. None: not compared.
        lease: The lease on the session's name, which its owner takes, renews and gives back: with its fence, what is written
            there is refused with `LeaseLost` once somebody else has it. None: there is none.
        grace: For how many seconds a pack that is not needed any more stays, for those who read just now; 0: for none.

    Attributes:
        chromium: As above; it may be set between two calls.

    Raises:
        ConfigurationError: An argument is wrong.
    """

    def __init__(
        self,
        store: Store,
        *,
        session: str,
        archive: str = "packs",
        generations: int = 3,
        origin: str | None = None,
        kind: Kind | None = None,
        work_dir: Path | None = None,
        backend: Backend | None = None,
        chromium: int | None = None,
        lease: Lease | None = None,
        grace: float = 600.0,
    ) -> None:
        if archive not in ARCHIVES:
            raise ConfigurationError(f"invalid archive {archive!r}: use 'packs' or 'whatsapp-web.js'")
        check_archive(store, archive)
        check_generations(generations)
        if backend is not None and backend not in get_args(Backend):
            raise ConfigurationError(f"invalid backend {backend!r}: use 'leveldb', 'sqlite' or None")
        self._kind = BrowserProfile(origin) if kind is None else kind
        self._session = check_session_name(session)
        if archive == "packs" and len(session) > LONGEST_SESSION:
            raise ConfigurationError(
                f"invalid session {session[:20]!r}…: {len(session)} characters, and packs need names of up to {LONGEST_SESSION}"
            )
        if split_pack_name(session) is not None:
            raise ConfigurationError(f"invalid session {session!r}: packs have such names; end it otherwise")
        warn_of_readable_logins(store)
        self._work_dir = work_dir
        self._backend = backend
        self.chromium = chromium
        self._store = store
        self._remote = Remote(store, self._session)
        self._remote.lease = lease
        self._state: ProfileState | None = None
        self._profile: Path | None = None
        self._packed = PackedSession(self._remote, self._session, keep=generations, grace=grace, note=self._note)
        self._plain = PlainSession(self._remote, self._session, note=self._note) if archive != "packs" else None
        self._one_at_a_time = asyncio.Lock()

    @property
    def lease(self) -> Lease | None:
        """The lease on the session's name, or None; it may be set between two calls."""
        return self._remote.lease

    @lease.setter
    def lease(self, lease: Lease | None) -> None:
        self._remote.lease = lease

    @property
    def generation(self) -> int:
        """The number of the backup the profile was last saved to or restored from; 0: none that is known."""
        return self._state.generation if self._state else 0

    @staticmethod
    def previous(user_data_dir: Path) -> Path:
        """Return where the profile that a restore replaced is kept until `confirm`."""
        return _place.previous(user_data_dir)

    async def exists(self) -> bool:
        """Tell whether the store has a backup of this session; `StoreError`: it cannot be told."""
        if self._plain is not None:
            return await self._remote.exists(self._session)
        try:
            return bool(await self.generations())
        except SessionCorrupted:
            return True

    async def generations(self) -> list[StoredGeneration]:
        """
        Return what the store holds, newest first; a plain zip is one generation, whose number is 0 when a peer wrote it.

        Raises:
            SessionCorrupted: What the store holds is damaged.
            StoreError: The store did not give it.
        """
        async with self._one_at_a_time, self._room(None) as room:
            stored = await look(self._remote, self._session, room)
            if stored.damage is not None:
                raise stored.damage
            if stored.index is not None:
                return list(stored.index.generations)
            return [] if stored.plain is None else [plain_generation(stored.plain.contents)]

    async def is_behind(self) -> bool:
        """
        Tell whether the store has a newer generation than the profile, as `recover` found it, has seen.

        A profile that tells of no backup is behind of none: it holds a login that was linked in it.

        Raises:
            SessionCorrupted: What the store holds is damaged.
            StoreError: It cannot be told.
        """
        generations = await self.generations()
        state = self._state or ProfileState()
        return bool(generations) and state.generation > 0 and is_newer(generations[0], state)

    async def forget(self, user_data_dir: Path) -> None:
        """
        Take note that another device is about to be linked in a profile: it is of no stored generation any more.

        Its next backup is a full one of a lineage of its own; what is stored stays until newer generations take its place.
        """
        async with self._one_at_a_time:
            state = await self._learn(user_data_dir)
            self._packed.forget()
            await in_thread(lambda _: self._note(ProfileState(garbage=state.garbage)))

    async def delete(self, user_data_dir: Path | None = None, *, keep_newer: bool = False) -> None:
        """
        Delete this session from the store, with all its packs; one that is not there is no error.

        What the profile `user_data_dir` tells of its backups is heeded, and forgotten. With `keep_newer`, generations stay
        that are newer than the one it was saved to or restored from: they may hold a login that lives.
        """
        async with self._one_at_a_time, self._room(user_data_dir) as room:
            state = self._state or ProfileState()
            if user_data_dir is not None:
                state = await self._learn(user_data_dir)
            limit = state.generation if keep_newer and state.generation else None
            # A commit of this profile's own whose answer was lost is not newer than it.
            own = state.writer if state.generation == state.seen else ""

            def keep(generation: StoredGeneration) -> bool:
                return limit is not None and generation.number > limit and generation.writer != own

            self._packed.forget()
            await delete_session(self._remote, self._session, room, known=state.garbage, keep=keep)
            self._state = ProfileState()
            if user_data_dir is not None:
                await in_thread(lambda _: self._kind.state_path(user_data_dir).unlink(missing_ok=True))

    async def save(
        self,
        user_data_dir: Path,
        *,
        flush: Callable[[], Awaitable[object]] | None = None,
        before_commit: Callable[[], None] | None = None,
    ) -> BackupReport:
        """
        Copy the profile, live or closed, and save what changed; when nothing changed since the last save, upload nothing.

        `flush` brings localStorage to the disk, see `take_snapshot`. `before_commit` is called when all but the upload
        is done, and again before the commit; it raises to keep it from happening.

        Raises:
            SnapshotFailed: There is no consistent copy, or no login in it. The store is untouched.
            LeaseLost: The store holds a newer generation that another writer saved. It is untouched.
            SessionCorrupted: What the store holds is good, and not to be replaced: another session's, or one of a newer format.
            StoreError: The store did not take it; what it held stands.
        """
        async with self._one_at_a_time:
            began = time.monotonic()
            work = temporary_sibling(user_data_dir)
            try:
                async with self._room(user_data_dir, work) as room:
                    state = await self._learn(user_data_dir)
                    snapshot = await self._kind.snapshot(user_data_dir, work / "profile", flush=flush)
                    chromium = await asyncio.to_thread(self._kind.version, user_data_dir)
                    facts = Facts(snapshot.backend, chromium, recipients_digest(self._store), before_commit or _go_on)
                    form = self._plain or self._packed
                    saved = await form.save(work / "profile", room, state, facts)
                    if saved.state != state:
                        await in_thread(lambda _: self._note(saved.state))
            except OSError as exc:
                raise SnapshotFailed(f"{user_data_dir} could not be packed for {self._session}: {exc}") from exc
            return self._backup_report(snapshot, saved, began)

    async def restore(self, user_data_dir: Path, generation: int | None = None) -> RestoreReport:
        """
        Put what the store holds in the profile's place: the newest generation that is whole, or the one that is named.

        It is unpacked and checked beside the profile, then swapped in by two renames; what was there before is kept
        under `previous(user_data_dir)` until `confirm`. After a failure the profile that was there is untouched. The
        report's notes say which newer generations were not used, and why.

        Raises:
            SessionNotFound: The store has no such session, or not that generation.
            SessionCorrupted: What the store holds is damaged, or no login of this origin.
            ConfigurationError: The browser is too old for it, or stores in another way.
            SessionInUse: A browser has the profile open.
            StoreError: The store did not give it.
            OSError: The disk is full, or a folder cannot be written.
        """
        async with self._one_at_a_time:
            began = time.monotonic()
            await asyncio.to_thread(self._kind.refuse_used, user_data_dir)
            work = temporary_sibling(user_data_dir)
            async with self._room(user_data_dir, work) as room:
                stored = await look(self._remote, self._session, room)
                if stored.damage is not None:
                    raise stored.damage
                if stored.index is not None:
                    report = await self._restore_packs(stored.index, user_data_dir, work, room, generation)
                elif stored.plain is not None and generation in {None, stored.plain.contents.stamp.generation}:
                    report = await self._restore_plain(stored.plain, user_data_dir, work)
                else:
                    raise self._not_found(generation)
            downloaded = stored.size + report.bytes_downloaded
            return replace(report, bytes_downloaded=downloaded, duration_s=time.monotonic() - began)

    async def verify(
        self, *, look_into: Callable[[Path, StoredGeneration], Awaitable[tuple[str, ...]]] | None = None
    ) -> VerifyReport:
        """
        Check every generation as a restore would, one at a time, in a temporary folder; the store is only read.

        What is damaged stands in the report, and is not raised. `look_into` is called with each unpacked profile that is
        whole, to look further into it, with a browser for one; it may change it, returns notes, and raises
        `SessionCorrupted` to refuse it.

        Raises:
            SessionNotFound: The store has no such session.
            StoreError: The store did not give it.
            OSError: The disk has no room for a generation.
        """
        async with self._one_at_a_time, self._room(None) as room:
            return await Verifier(self._remote, self._session, room, validate=self._check_any, look_into=look_into).run()

    async def prune(self, keep: int, *, dry_run: bool = False) -> PruneReport:
        """
        Drop all but the newest `keep` generations, as a backup would, and delete the packs that nothing needs.

        Of two and more, one stays that shares no pack with the newest, where there is one. Nothing is dropped before the newest
        was verified, nor deleted before the new index was read back. A plain zip is one generation, and stays. With `dry_run`
        the report says what would be done.

        No other writer may work on the session meanwhile, as a lease sees to: one that is about to commit on an older
        generation would lose it.

        Raises:
            ConfigurationError: `keep` is no number of generations.
            SessionNotFound: The store has no such session.
            SessionCorrupted: The index, or the newest generation, is damaged. Nothing was dropped.
            LeaseLost: Another writer saved a generation meanwhile. Nothing was dropped.
            StoreError: The store did not answer.
        """
        check_generations(keep)
        async with self._one_at_a_time, self._room(None) as room:
            verifier = Verifier(self._remote, self._session, room, validate=self._check_any)
            self._packed.forget()
            return await prune(self._remote, self._session, room, keep=keep, dry_run=dry_run, verify=verifier.generation)

    async def _restore_packs(
        self, index: Index, user_data_dir: Path, work: Path, room: Path, wanted: int | None
    ) -> RestoreReport:
        learned = await self._learn(user_data_dir)
        newest = index.newest

        def validate(target: Path, generation: StoredGeneration) -> tuple[str, ...]:
            state = ProfileState(
                generation=generation.number,
                content=generation.content,
                seen=max(generation.number, newest.number if newest else 0),
                lineage=generation.lineage,
                packs=True,
                garbage=learned.garbage,
            )
            return self._validate(target, state)

        backend = self._backend or await asyncio.to_thread(self._kind.backend, user_data_dir)
        fetcher = Fetcher(self._remote, self._session, room, validate=validate, backend=backend, chromium=self.chromium)
        got = await fetcher.fetch(index, work / "profile", wanted)
        # From here on it takes two renames: what is cancelled now is either not begun or done.
        await in_thread(lambda _: self._swap(work, user_data_dir))
        self._packed.restored(got.index, got.generation, got.damaged)
        return RestoreReport(
            session=self._session,
            generation=got.generation.number,
            source="remote",
            files=len(got.generation.files),
            bytes_total=got.generation.bytes_total,
            bytes_downloaded=got.downloaded,
            duration_s=0.0,
            notes=got.notes,
        )

    async def _restore_plain(self, stored: Plain, user_data_dir: Path, work: Path) -> RestoreReport:
        learned = await self._learn(user_data_dir)

        def unpack(stop: Stop) -> tuple[str, ...]:
            label = f"the archive of {self._session}"
            contents = read_archive(stored.path, work / "profile", label=label, check=stop.check)
            number = contents.stamp.generation
            state = ProfileState(number, contents.stamp.content, seen=number, garbage=learned.garbage)
            notes = self._validate(work / "profile", state)
            if contents.skipped:
                notes += (f"{contents.skipped} files of the archive are no part of a login and were left out",)
            return notes

        notes = await in_thread(unpack)
        await in_thread(lambda _: self._swap(work, user_data_dir))
        self._packed.forget()
        return RestoreReport(
            session=self._session,
            generation=stored.contents.stamp.generation,
            source="remote",
            files=stored.contents.files,
            bytes_total=stored.contents.bytes_total,
            bytes_downloaded=0,
            duration_s=0.0,
            notes=notes,
        )

    async def confirm(self, user_data_dir: Path) -> None:
        """Delete the profile that the last restore replaced: the browser has opened the new one."""
        await in_thread(lambda _: _place.drop_previous(user_data_dir))

    async def recover(self, user_data_dir: Path) -> None:
        """
        Bring a profile in order before a start, when no browser has it open and no other engine works on it.

        A crash between the two renames of a restore left no profile but the replaced one: that is put back. Temporary
        files of crashed calls are deleted. Half-written records that a killed browser left are cut off, see
        `cut_tails`.

        Raises:
            SessionInUse: A browser has the profile open.
        """
        # In its turn: another call's temporary files are no crashed one's.
        async with self._one_at_a_time:
            await in_thread(lambda _: self._recover(user_data_dir))

    def _recover(self, user_data_dir: Path) -> None:
        _place.put_back(user_data_dir)
        sweep_temporaries(user_data_dir.parent, name=user_data_dir.name)
        sweep_temporaries(self._work_dir or user_data_dir.parent, name=self._session)
        if user_data_dir.is_dir():
            sweep_temporaries(user_data_dir, name=self._kind.state_path(user_data_dir).name)
            for note in self._kind.mend(user_data_dir):
                _log.info("%s: %s", user_data_dir, note)
        self._profile = user_data_dir
        self._state = self._read_state(user_data_dir)
        self._packed.forget()

    async def _learn(self, user_data_dir: Path) -> ProfileState:
        """Return what the profile tells, which is read once."""
        self._profile = user_data_dir
        if self._state is None:
            self._state = await asyncio.to_thread(self._read_state, user_data_dir)
        return self._state

    def _read_state(self, user_data_dir: Path) -> ProfileState:
        return read_state(self._kind.state_path(user_data_dir), self._session) or ProfileState()

    def _note(self, state: ProfileState) -> None:
        self._state = state
        if self._profile is None:
            return
        path = self._kind.state_path(self._profile)
        try:
            write_state(path, self._session, state)
        except OSError as exc:
            # A backup is committed all the same; the next process learns its number from the store.
            _log.warning("%s could not be written: %s", path, exc)

    def _validate(self, target: Path, state: ProfileState) -> tuple[str, ...]:
        """Check an unpacked profile, and write down in it what it is."""
        try:
            notes = self._kind.check(target)
        except SessionCorrupted as exc:
            raise named(exc, target, self._session) from exc
        write_state(self._kind.state_path(target), self._session, state)
        sync_tree(target)
        return notes

    def _check_any(self, target: Path) -> tuple[str, ...]:
        """Check an unpacked profile, or what else was backed up; say what was mended in it."""
        try:
            return check_any(target, self._kind)
        except SessionCorrupted as exc:
            raise named(exc, target, self._session) from exc

    def _swap(self, work: Path, user_data_dir: Path) -> None:
        _place.swap_in(work / "profile", user_data_dir)
        self._state = self._read_state(user_data_dir)

    @asynccontextmanager
    async def _room(self, user_data_dir: Path | None, work: Path | None = None) -> AsyncIterator[Path]:
        """Make the folder `work`, and give one for archives on their way; both are gone afterwards."""
        parent = None if user_data_dir is None else user_data_dir.parent
        if work is not None and self._work_dir in {None, parent}:
            room = work / "archives"
        else:
            room = temporary_sibling((self._work_dir or parent or self._home()) / self._session)
        try:
            for folder in (work, room):
                if folder is not None:
                    await in_thread(lambda _, folder=folder: make_private_dir(folder))  # type: ignore[misc]
            yield room
        finally:
            await removed(*(folder for folder in (room, work) if folder is not None))

    def _home(self) -> Path:
        """Return the folder for archives of a call that names no profile: where `recover` sweeps, when that is known."""
        if self._profile is not None and self._profile.parent.is_dir():
            return self._profile.parent
        return Path(tempfile.gettempdir())

    def _backup_report(self, snapshot: SnapshotReport, saved: Saved, began: float) -> BackupReport:
        return BackupReport(
            session=self._session,
            generation=saved.state.generation,
            kind=saved.kind or "unchanged",
            files=snapshot.files,
            bytes_total=snapshot.bytes_total,
            bytes_uploaded=saved.uploaded,
            duration_s=time.monotonic() - began,
            sha256=saved.state.content,
        )

    def _not_found(self, generation: int | None) -> SessionNotFound:
        if generation is not None:
            return SessionNotFound(f"the store has no generation {generation} of {self._session!r}")
        return SessionNotFound(f"the store has no {self._session!r}: link the device first")


def check_generations(value: object) -> None:
    """Refuse what is no number of generations, with a `ConfigurationError`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_GENERATIONS:
        raise ConfigurationError(f"invalid generations {value!r}: use a whole number from 1 to {MOST_GENERATIONS}")


def _go_on() -> None:
    """Commit."""
