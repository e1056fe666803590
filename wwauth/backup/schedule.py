"""The periodic backup: one supervised task that no failure ends."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from .._clock import clock
from ..errors import SessionClosed, StoreUnavailable, WWAuthError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .reports import BackupReport

_log = logging.getLogger(__name__)

# Many sessions that are started together shall not save together for ever.
_JITTER = 0.05

_FIRST_RETRY, _RETRY_FACTOR = 5.0, 2.0


class BackupSchedule:
    """
    Runs a backup at once and then at each interval, never two at a time.

    After a failure that a retry can mend (`WWAuthError.retryable`) the next run comes earlier than the interval: after
    5 s, then twice as long each time. Every outcome goes to a callback; a callback that raises is logged.

    Args:
        run: Makes one backup.
        interval: Seconds from the end of a run to the next, give or take 5 %.
        on_saved: Called with the report of each run that worked, whoever asked for it.
        on_failed: Called with the exception of each run that did not.
    """

    def __init__(
        self,
        run: Callable[[], Awaitable[BackupReport]],
        *,
        interval: float,
        on_saved: Callable[[BackupReport], object],
        on_failed: Callable[[Exception], object],
    ) -> None:
        self._run = run
        self._interval = interval
        self._on_saved = on_saved
        self._on_failed = on_failed
        self._task: asyncio.Task[None] | None = None
        self._running: asyncio.Task[BackupReport] | None = None
        self._following: asyncio.Task[BackupReport] | None = None
        self._next_run: datetime | None = None
        self._stopping = False
        self._failures = 0
        self._retryable = False
        self._saved_at = -math.inf
        self._wake = asyncio.Event()

    @property
    def next_run(self) -> datetime | None:
        """When the next run is due, with a time zone; None while one is under way and when none is scheduled."""
        return self._next_run

    def start(self) -> None:
        """Begin, with a run at once; when it has begun already, nothing."""
        if self._task is None:
            self._stopping = False
            self._task = asyncio.get_running_loop().create_task(self._supervise(), name="wwauth-backups")

    def catch_up(self) -> None:
        """Run at once when no run has worked for longer than the interval: after failures, or when the machine has slept."""
        if clock() - self._saved_at > self._interval:
            self._wake.set()

    async def run_now(self) -> BackupReport:
        """
        Make a backup of the state as it is now, and return its report.

        A run that is under way may have copied the profile before this call, so that one is waited for and another one
        follows; all calls that wait meanwhile share that one. Cancelling the call leaves the run alone.

        Raises:
            SessionClosed: `stop()` was called.
            Exception: Whatever the run raised; it went to `on_failed`, too.
        """
        if self._stopping:
            raise SessionClosed("the backups have been stopped: initialize the client again")
        if self._following is None:
            self._following = asyncio.get_running_loop().create_task(self._follow(), name="wwauth-backup-now")
            self._following.add_done_callback(_retrieve)
        following = self._following
        try:
            return await asyncio.shield(following)
        except asyncio.CancelledError:
            if _asked_to_end():
                raise
            raise SessionClosed("the backups were stopped before this one ended") from None

    async def stop(self, *, timeout: float = 10.0) -> None:
        """
        End the schedule: wait up to `timeout` seconds for a run that is under way, then cancel it.

        When it returns, nothing runs any more, and `run_now()` raises until `start()`.
        """
        self._stopping = True
        self._next_run = None
        if self._task is not None:
            await _cancelled(self._task)
            self._task = None
        if self._running is not None:
            await asyncio.wait({self._running}, timeout=timeout)
        for task in (self._following, self._running):
            if task is not None:
                await _cancelled(task)
        self._following = self._running = None

    async def _supervise(self) -> None:
        while True:
            self._next_run = None
            # Not after the run: one that has just failed leaves undone what is asked for at that moment.
            self._wake.clear()
            try:
                await asyncio.shield(self._single())
            except Exception:  # noqa: BLE001 - on_failed was told; the next run is what this task is for
                self._failures += 1
            else:
                self._failures = 0
                self._wake.clear()
            pause = self._pause()
            self._next_run = datetime.now(UTC) + timedelta(seconds=pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _pause(self) -> float:
        pause = self._interval
        if self._failures and self._retryable:
            pause = min(pause, _FIRST_RETRY * _RETRY_FACTOR ** min(self._failures - 1, 30))
        return pause * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - jitter

    def _single(self) -> asyncio.Task[BackupReport]:
        """Return the run that is under way, or begin one."""
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._once(), name="wwauth-backup")
            self._running.add_done_callback(_retrieve)
        return self._running

    async def _follow(self) -> BackupReport:
        if self._running is not None and not self._running.done():
            await asyncio.wait({self._running})
        # From here on a later call needs a run of its own again.
        self._following = None
        return await asyncio.shield(self._single())

    async def _run_to_an_end(self) -> BackupReport:
        try:
            return await self._run()
        except asyncio.CancelledError as exc:
            if _asked_to_end():
                raise
            # A store's own task was cancelled. That is a failure of this run, and must not end the schedule.
            raise StoreUnavailable("the backup was cancelled by something it waited for") from exc

    async def _once(self) -> BackupReport:
        try:
            report = await self._run_to_an_end()
        except Exception as exc:
            self._retryable = isinstance(exc, WWAuthError) and exc.retryable
            _tell(self._on_failed, exc)
            raise
        self._saved_at = clock()
        _tell(self._on_saved, report)
        return report


def _asked_to_end() -> bool:
    """Tell whether a CancelledError is meant for the task that sees it, not left over from one it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _tell(callback: Callable[..., object], outcome: object) -> None:
    try:
        callback(outcome)
    except Exception:  # noqa: BLE001 - a listener's fault is no fault of the backup
        _log.exception("a callback of the backup schedule failed")


def _retrieve(task: asyncio.Task[BackupReport]) -> None:
    """Take note of a failure that nobody awaited: it went to `on_failed`."""
    if not task.cancelled():
        task.exception()


async def _cancelled(task: asyncio.Task[object] | asyncio.Task[BackupReport] | asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    await asyncio.wait({task})
