"""The login is a browser profile whose backups lie in a store."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from .._files import remove_tree
from .._store import check_archive, check_store
from .._threads import in_thread
from ..abc import AuthenticationNeeded
from ..backup import BackupEngine, BackupSchedule
from ..backup.engine import check_generations
from ..backup.layout import has_origin
from ..backup.lease import LeaseKeeper, has_leases
from ..errors import ConfigurationError, LeaseLost, SessionClosed, SessionCorrupted, StoreUnavailable, WWAuthError
from ..events import Event
from ._marker import LoginMarker
from ._profile import ProfileStrategy

if TYPE_CHECKING:
    import os
    from datetime import datetime

    from ..abc import Store
    from ..backup import BackupReport
    from ..client import Client

__all__ = ["BackupStatus", "RemoteAuth"]

_log = logging.getLogger(__name__)

Archive = Literal["packs", "whatsapp-web.js"]
Restore = Literal["newest", "remote", "local"]

# Below a second there would be no pause between backups, or between renewals; above, a timer would overflow (the peer's clamps
# to 1 ms).
_MIN_INTERVAL_MS, _MAX_INTERVAL_MS = 1_000, 2**31 - 1

# destroy() must end even when the store hangs.
_LAST_BACKUP_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class BackupStatus:
    """
    How the backups of a session stand.

    Attributes:
        last_report: Of the last backup that was committed by this strategy, or None.
        last_error: Of the last backup, when it failed; None again after one that worked.
        next_run: When the next one is due; None while none is scheduled.
        holder: The name under which this strategy holds the session's lease; None: it holds none.
    """

    last_report: BackupReport | None
    last_error: Exception | None
    next_run: datetime | None
    holder: str | None


class RemoteAuth(ProfileStrategy):
    """
    Keep the login in a store, so that it survives the loss of the disk; named and laid out as in whatsapp-web.js.

    The profile is `<data_path>/RemoteAuth[-<client_id>]`, and the same name is the session's in the store. A consistent copy of
    the running profile is saved at once after `ready`, then at each interval, and a last time when `destroy()` has closed the
    browser. Every save that the store committed is followed by `remote_session_saved` and `backup_saved(report)`; one that
    failed by `backup_failed(exception)`, and the one before it stands. A profile that holds no login is never saved.

    At the start, a local profile that held a login and is whole is used, unless the store has a newer generation, which another
    host saved; else what the store has is restored: the newest generation that is whole, verified before the old profile is
    touched, and the old one is kept until the login works. One that is damaged is set aside as
    `RemoteAuth[-<client_id>].damaged-<time>`, and stays there. When the page finds no login in what looked whole, the browser
    starts again on the next older generation, until one works or none is left: only then a code is shown. A store that cannot
    be reached is an error, never "no session". Unlike the peer, a lost connection (CONFLICT, PROXYBLOCK, …) deletes nothing;
    only a logout does.

    Where the store has leases, one host at a time runs a login: the lease is taken before the profile is touched, for which
    up to `lease_ttl_ms` are waited, and `SessionInUse` names who holds it; it is renewed while the client runs, and given back
    after the last backup. A client whose lease was lost stops with `error(LeaseLost)`, `disconnected('STRATEGY_FAILED')`; its
    page leaves WhatsApp by itself when its process is frozen; and nothing that it still writes is taken. In a store without
    leases, a backup that finds a newer generation of another writer stops with `LeaseLost` and overwrites nothing.

    Args:
        store: Where the backups go: a `Store`, or any object with its four methods. Its owner closes it.
        client_id: Tells several logins apart: ASCII letters, digits, `_` and `-`.
        data_path: The folder of the profiles, and of archives on their way; created 0700 when it is not there.
        backup_sync_interval_ms: Time between backups, at least 1,000 ms.
        rm_max_retries: How often deleting the profile is tried again while files are busy.
        archive: "packs": a backup uploads what changed, and several generations are kept; "whatsapp-web.js": one plain zip, all
            of it each time, which whatsapp-web.js restores, too. Either is restored whatever is set here, and may be switched.
            A store that whatsapp-web.js reads, too (`MongoStore(layout="wwebjs-mongo")`), takes only the latter.
        generations: How many are kept in packs.
        restore: "newest": the local profile when it is whole, unless the store has a newer generation; "remote": the store
            whenever it has the session; "local": the local profile when it is whole, without asking the store.
        lease: False takes no lease, and leaves it to the caller that one host at a time runs the login.
        lease_ttl_ms: How long a lease lasts that is not renewed, at least 1,000 ms: the longest wait after the crash of a host.
        delete_on_logout: False keeps profile and backup after a logout. Generations that are newer than the one that was logged
            out stay in any case: they may hold a login that lives.

    Raises:
        ConfigurationError: An argument is wrong; the message names its value.
    """

    _prefix = "RemoteAuth"

    def __init__(
        self,
        *,
        store: Store,
        client_id: str | None = None,
        data_path: str | os.PathLike[str] = "./.wwebjs_auth",
        backup_sync_interval_ms: float = 60_000,
        rm_max_retries: int = 4,
        archive: Archive = "packs",
        generations: int = 3,
        restore: Restore = "newest",
        lease: bool = True,
        lease_ttl_ms: float = 60_000,
        delete_on_logout: bool = True,
    ) -> None:
        super().__init__(client_id, data_path, rm_max_retries)
        check_store(store, needed_by="RemoteAuth")
        _check_milliseconds("backup_sync_interval_ms", backup_sync_interval_ms)
        _check_milliseconds("lease_ttl_ms", lease_ttl_ms)
        _check_choice("archive", archive, get_args(Archive))
        check_archive(store, archive)
        check_generations(generations)
        _check_choice("restore", restore, get_args(Restore))
        self._store = store
        self._archive = archive
        self._generations = generations
        self._restore = restore
        self._wants_lease = lease
        self._lease_ttl = lease_ttl_ms / 1000
        self._keeper: LeaseKeeper | None = None
        self._delete_on_logout = delete_on_logout
        self._marker = LoginMarker(self._profile)
        self._last_error: Exception | None = None
        self._last_report: BackupReport | None = None
        # The generation in use, when it may still turn out to hold no login; infinity: the profile that was there.
        self._on_trial: float | None = None
        self._older: list[int] = []
        self._schedule = BackupSchedule(
            self._backup, interval=backup_sync_interval_ms / 1000, on_saved=self._saved, on_failed=self._failed
        )

    def setup(self, client: Client) -> None:
        """Bind this strategy to its client, whose address says which origin a profile must hold."""
        super().setup(client)
        client.on(Event.CHANGE_STATE, self._state_changed)
        self._engine = BackupEngine(
            self._store,
            session=self.session,
            archive=self._archive,
            generations=self._generations,
            origin=client.options.web_url,
            work_dir=self.data_path,
        )
        if self._wants_lease and has_leases(self._store):
            self._keeper = LeaseKeeper(self._store, self.session, ttl=self._lease_ttl, on_lost=client.fail)

    @property
    def status(self) -> BackupStatus:
        """How the backups stand now."""
        holder = self._keeper.holder if self._keeper else None
        return BackupStatus(self._last_report, self._last_error, self._schedule.next_run, holder)

    @property
    def lease_remaining(self) -> float | None:  # type: ignore[override]
        """For how many seconds from now this host holds the login without another renewal; None: there is no lease."""
        return self._keeper.remaining if self._keeper else None

    async def backup_now(self) -> BackupReport:
        """
        Save the profile now, and return what was done; a backup that is under way is waited for first.

        Raises:
            SessionClosed: There is no login to save: `ready` was not reached, or the device was unlinked.
            SnapshotFailed: No consistent copy could be taken.
            LeaseLost: Another writer has saved a newer generation.
            StoreError: The store did not take it; `StoreUnavailable`, `StoreDenied` and `StoreFull` say why.
        """
        return await self._schedule.run_now()

    async def before_browser_initialized(self) -> None:
        """Take the lock and the lease, and bring the profile that is to be used into its place; see the class."""
        with self._disk_errors():
            await self._take()
            await self._engine.recover(self._profile)
            damage = await asyncio.to_thread(self._damage)
            if self._older:
                await self._restore_older()
            elif await self._wants_restore(damaged=damage is not None):
                aside = await self._out_of_the_way(damage)
                await self._restore_from_store(None, *([str(aside)] if aside else []))
            elif damage is not None:
                self._on_trial = None
                self.client.emit(Event.ERROR, await self._out_of_the_way(damage))
            else:
                self._on_trial = math.inf if await asyncio.to_thread(lambda: self._marker.holds_login) else None
            await in_thread(lambda _: self._prepare())

    async def _restore_from_store(self, generation: int | None, *notes: str) -> None:
        """Restore the newest generation that is whole, or the one that is named, and tell; `notes` go into the report."""
        self._engine.chromium = await self.client.browser_version()
        report = await self._engine.restore(self._profile, generation)
        self._on_trial = report.generation
        await in_thread(lambda _: self._marker.write(generation=report.generation))
        self.client.emit(Event.RESTORED, replace(report, notes=(*report.notes, *notes)))

    async def _restore_older(self) -> None:
        """Restore the next generation that is whole, after the page found no login in the one before; else go on with that."""
        notes = [f"{self._used}: the page found no login in it"]
        while self._older:
            number = self._older.pop(0)
            try:
                await self._restore_from_store(number, *notes)
            except SessionCorrupted as exc:
                notes.append(f"generation {number}: {exc}")
            else:
                return

    async def _older_generations(self) -> list[int]:
        if self._on_trial is None:
            return []
        try:
            return [generation.number for generation in await self._engine.generations() if generation.number < self._on_trial]
        except SessionCorrupted as exc:
            _log.warning("there is no older generation of %s: %s", self.session, exc)
            return []

    @property
    def _used(self) -> str:
        return "the local profile" if self._on_trial == math.inf else f"generation {self._on_trial}"

    async def _out_of_the_way(self, damage: SessionCorrupted | None) -> SessionCorrupted | None:
        return damage and await in_thread(lambda _: self._set_aside(damage))

    async def on_authentication_needed(self) -> AuthenticationNeeded:
        """Let the browser start again on an older generation; with none left, note that the profile holds no login."""
        self._older = await self._older_generations()
        if self._older:
            _log.warning("the page found no login in %s of %s: trying an older one", self._used, self.session)
            return AuthenticationNeeded(retry=True)
        self._on_trial = None
        await in_thread(lambda _: self._marker.remove())
        await self._engine.forget(self._profile)
        return await super().on_authentication_needed()

    async def after_auth_ready(self) -> None:
        """Note that the profile holds a login, drop the one that it replaced, and begin the backups."""
        self._on_trial = None
        await in_thread(lambda _: self._marker.write(generation=self._engine.generation))
        await self._engine.confirm(self._profile)
        self._schedule.start()

    async def destroy(self) -> None:
        """Take the last backup, now that the browser has closed; give lease and lock back."""
        try:
            await self._schedule.stop()
            if self.client.holds_login and not (self._keeper and self._keeper.lost):
                await self._last_backup()
        finally:
            await self._give_back()

    async def logout(self) -> None:
        """
        Delete the backup in the store and the profile (its browser has ended), unless `delete_on_logout` is False.

        Both are tried, whatever becomes of the other.
        """
        try:
            await self._schedule.stop()
            if self._delete_on_logout:
                await self._take()
                try:
                    await self._engine.delete(self._profile, keep_newer=True)
                finally:
                    await in_thread(lambda _: self._remove_all())
        finally:
            await self._give_back()

    async def _take(self) -> None:
        """Take lock and lease, unless they are held."""
        await in_thread(lambda _: self._hold())
        if self._keeper is not None:
            self._engine.lease = await self._keeper.take()

    async def _give_back(self) -> None:
        try:
            if self._keeper is not None:
                await self._keeper.release()
        finally:
            self._engine.lease = None
            self._release()

    async def _wants_restore(self, *, damaged: bool) -> bool:
        local = not damaged and await asyncio.to_thread(self._local_is_whole)
        if local and self._restore == "local":
            return False
        # Asked even when the local profile is whole: a store that is down should be known before the login depends on it.
        if not local or self._restore == "remote":
            return await self._engine.exists()
        try:
            return await self._engine.is_behind()
        except SessionCorrupted as exc:
            _log.warning("the local profile is used, and the backup in the store is damaged: %s", exc)
            return False

    def _local_is_whole(self) -> bool:
        """Tell whether the profile, whose databases were found in order, holds a login for this address."""
        return self._marker.holds_login and has_origin(self._profile, self.client.options.web_url)

    async def _backup(self) -> BackupReport:
        self._check_login()
        return await self._engine.save(self._profile, flush=self.client.flush_storage, before_commit=self._check_login)

    def _check_login(self) -> None:
        if self._keeper is not None and self._keeper.lost is not None:
            raise LeaseLost(str(self._keeper.lost)) from self._keeper.lost
        if not self.client.holds_login:
            raise SessionClosed(
                f"the profile of {self.session} holds no login to save: wait for `ready`; a stored backup stays as it is"
            )

    async def _last_backup(self) -> None:
        try:
            async with asyncio.timeout(_LAST_BACKUP_TIMEOUT):
                report = await self._engine.save(self._profile)  # the browser has closed: all is on the disk
        except TimeoutError as exc:
            error = StoreUnavailable(f"the last backup of {self.session} did not end within {_LAST_BACKUP_TIMEOUT:g} s")
            error.__cause__ = exc
            self._failed(error)
        except WWAuthError as exc:
            self._failed(exc)
        else:
            self._saved(report)

    def _state_changed(self, state: str) -> None:
        if state == "CONNECTED":
            self._schedule.catch_up()

    def _saved(self, report: BackupReport) -> None:
        self._last_report, self._last_error = report, None
        if report.kind != "unchanged":
            self.client.emit(Event.REMOTE_SESSION_SAVED)
        self.client.emit(Event.BACKUP_SAVED, report)

    def _failed(self, exc: Exception) -> None:
        self._last_error = exc
        _log.warning("the backup of %s failed, the one before it stands: %s", self.session, exc)
        self.client.emit(Event.BACKUP_FAILED, exc)

    def _remove_all(self) -> None:
        self._marker.remove()
        # First, so that a crash does not bring it back in the place of the one that was logged out.
        remove_tree(self._engine.previous(self._profile), max_retries=self._rm_max_retries)
        self._remove_profile()


def _check_milliseconds(name: str, value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not _MIN_INTERVAL_MS <= value <= _MAX_INTERVAL_MS:  # type: ignore[arg-type,operator]
        raise ConfigurationError(
            f"invalid {name} {value!r}: use a number of milliseconds from {_MIN_INTERVAL_MS} to {_MAX_INTERVAL_MS}"
        )


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigurationError(f"invalid {name} {value!r}: use one of {', '.join(map(repr, choices))}")
