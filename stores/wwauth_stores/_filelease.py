"""Leases in a folder that several processes, or hosts, share."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock, Timeout

from wwauth._disk import store_errors
from wwauth._files import PRIVATE_FILE, replacing, sweep_temporaries
from wwauth._threads import Stop, in_thread
from wwauth.errors import StoreUnavailable

from ._lease import in_use, overtaken
from ._local import write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

# Each step under the lock takes milliseconds; only a process that was stopped in the middle of one holds it for longer.
_LOCK_TIMEOUT = 10.0
_LOCK_POLL = 0.01

_T = TypeVar("_T")


@contextmanager
def locked(path: Path, stop: Stop, *, what: str) -> Iterator[None]:
    """
    Hold the OS lock on the file `path`, which stays; `what` says in messages what it guards.

    Raises:
        StoreUnavailable: Somebody else holds it, and does not go on.
        Stopped: While it waited.
    """
    lock = FileLock(path, timeout=0, mode=PRIVATE_FILE, thread_local=False)
    until = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            lock.acquire()
            break
        except Timeout:
            if time.monotonic() > until:
                raise StoreUnavailable(f"{what} is locked by a process that does not go on: end that one") from None
        # Whoever waits here has a lease to keep, and must not wait for longer than it lasts.
        stop.sleep(_LOCK_POLL)
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True, slots=True)
class _Record:
    """What the file of a lease says; when it was renewed is the file's own time."""

    holder: str | None
    fence: int
    ttl: float


class FileLeases:
    """
    The leases beside the archives in `folder`.

    `archive` tells where a session's archive lies, `prepare` sees to it that the folder is there.

    An OS lock for each session makes the steps atomic, the write that a fence allows included. Time is that of the file
    system, read from files that are touched, so that the clocks of two hosts need not agree.
    """

    def __init__(self, folder: Path, archive: Callable[[str], Path], prepare: Callable[[], object]) -> None:
        self._folder = folder
        self._archive = archive
        self._prepare = prepare

    async def claim(self, session: str, holder: str, ttl: float) -> int:
        """Take the lease and return its fence."""

        def step() -> int:
            # Nobody else writes while the lock is held: what is there was left by a crash.
            sweep_temporaries(self._folder, name=self._path(session, "lease").name)
            before = self._read(session)
            if before is None:
                # Larger than any that a holder may have of a session that was deleted meanwhile, with its record.
                before = _Record(None, time.time_ns() // 1000, ttl)
            elif before.holder not in {None, holder} and self._lasts(session, before):
                raise in_use(session, str(before.holder))
            self._write(session, _Record(holder, before.fence + 1, ttl))
            return before.fence + 1

        return await self._locked(session, step)

    async def renew(self, session: str, fence: int, ttl: float) -> None:
        """Begin the `ttl` anew."""

        def step() -> None:
            record = self._check(session, fence)
            if record.ttl != ttl:
                self._write(session, replace(record, ttl=ttl))
            os.utime(self._path(session, "lease"))

        await self._locked(session, step)

    async def release(self, session: str, fence: int) -> None:
        """End it, where the fence is the newest one, which stays as long as the session does."""

        def step() -> None:
            record = self._read(session)
            if record is None or record.fence != fence:
                return
            if self._archive(session).exists():
                self._write(session, replace(record, holder=None))
                return
            # Whoever waits for the lock sees that its file has gone, and makes a new one.
            with suppress(OSError):  # Windows deletes nothing that is open
                for ending in ("lease", "lock"):
                    self._path(session, ending).unlink(missing_ok=True)

        await self._locked(session, step)

    @contextmanager
    def guard(self, session: str, fence: int | None, stop: Stop) -> Iterator[None]:
        """
        Allow what is done within to the newest holder only; `fence` None: to everybody.

        Raises:
            LeaseLost: Somebody else is it.
            Stopped: While it waited for the lock.
        """
        if fence is None:
            yield
            return
        with self._lock(session, stop):
            self._check(session, fence)
            yield

    async def _locked(self, session: str, step: Callable[[], _T]) -> _T:
        def run(stop: Stop) -> _T:
            with store_errors(f"keep the lease of {session!r} in {self._folder}"):
                self._prepare()
                with self._lock(session, stop):
                    return step()

        return await in_thread(run)

    def _lock(self, session: str, stop: Stop) -> AbstractContextManager[None]:
        return locked(self._path(session, "lock"), stop, what=f"the lease of {session!r} in {self._folder}")

    def _path(self, session: str, ending: str) -> Path:
        return self._folder / f".{session}.{ending}"

    def _read(self, session: str) -> _Record | None:
        path = self._path(session, "lease")
        try:
            record = json.loads(path.read_text("utf-8"))
            holder = record["holder"]
            return _Record(None if holder is None else str(holder), int(record["fence"]), float(record["ttl"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OverflowError) as exc:
            raise StoreUnavailable(f"{path} is no lease: delete it when no process uses that session") from exc

    def _check(self, session: str, fence: int) -> _Record:
        record = self._read(session)
        if record is None or record.fence != fence:
            raise overtaken(session, record.holder if record else None)
        return record

    def _lasts(self, session: str, record: _Record) -> bool:
        clock = self._path(session, "lock")
        os.utime(clock)
        age = clock.stat().st_mtime - self._path(session, "lease").stat().st_mtime
        # A clock that was set back by more than a lease lasts must not make it last for ever.
        return abs(age) < record.ttl

    def _write(self, session: str, record: _Record) -> None:
        with replacing(self._path(session, "lease")) as temporary:
            write_private(temporary, [json.dumps(asdict(record)).encode()])
