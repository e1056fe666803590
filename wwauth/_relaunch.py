"""What follows the end of a launch that nobody wanted to be the last one."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import TYPE_CHECKING

from ._login import LOGOUT
from .errors import SessionClosed, WWAuthError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._launch import Launch
    from .options import ClientOptions

_log = logging.getLogger(__name__)

BROWSER_CLOSED = "BROWSER_CLOSED"

# Before the first restart after a crash; twice as long before each that follows.
_PAUSE = 1.0
_LONGEST_PAUSE = 60.0

# After so many seconds of `ready` a crash is no longer one of a row.
_STABLE = 300.0


class Relaunch:
    """
    Starts a client again: after a logout, after a crash with growing pauses, or when `check` found no other cure.

    Args:
        options: The client's.
        start: Initializes the client.
        gave_up: Told why it could not be started.
    """

    def __init__(
        self, options: ClientOptions, start: Callable[[], Awaitable[None]], gave_up: Callable[[Exception], None]
    ) -> None:
        self._options = options
        self._start = start
        self._gave_up = gave_up
        self._task: asyncio.Task[None] | None = None
        self._pausing = False
        self._crashes = 0

    @property
    def active(self) -> asyncio.Task[None] | None:
        """The start that is under way, or will be; None: there is none."""
        return None if self._task is None or self._task.done() else self._task

    def is_wanted(self, launch: Launch, reason: str) -> bool:
        """Tell whether the options want the client to start again after this end."""
        if reason == LOGOUT:
            return self._options.relaunch_on_logout
        if reason != BROWSER_CLOSED:
            return False
        if launch.login.ready and time.monotonic() - launch.login.ready_at > _STABLE:
            self._crashes = 0
        return self._crashes < self._options.restart_on_crash

    def begin(self, reason: str | None) -> None:
        """Start the client again, in a task; without a reason it is tried until it works."""
        attempts = {BROWSER_CLOSED: self._options.restart_on_crash, None: sys.maxsize}.get(reason, 0)
        self._task = asyncio.create_task(self._run(attempts, crashed=reason == BROWSER_CLOSED), name="wwauth: relaunch")

    def forget(self) -> None:
        """Begin to count crashes anew: the next start is not ours."""
        self._crashes = 0

    async def cancel(self) -> bool:
        """Stop; return whether there was something to stop. A start that is under way is undone."""
        if (task := self.active) is None:
            return False
        task.cancel()
        await asyncio.wait([task])
        return True

    async def join(self) -> bool:
        """Wait for a start that is under way, end a pause; return False when the caller is to start the client."""
        if (task := self.active) is None or self._pausing:
            await self.cancel()
            return False
        await asyncio.wait([task])
        return True

    async def _run(self, attempts: int, *, crashed: bool) -> None:
        if crashed:
            await self._pause()
        while True:
            try:
                await self._start()
            except SessionClosed:
                return  # destroyed meanwhile
            except Exception as exc:  # noqa: BLE001 - nobody awaits this task: whatever it is, the client tells it
                if not (isinstance(exc, WWAuthError) and exc.retryable and self._crashes < attempts):
                    self._gave_up(exc)
                    return
                _log.warning("the client could not be started again: %s", exc)
                await self._pause()
            else:
                return

    async def _pause(self) -> None:
        seconds = min(_PAUSE * 2 ** min(self._crashes, 10), _LONGEST_PAUSE)
        self._crashes += 1
        _log.warning("starting the browser again in %g s", seconds)
        self._pausing = True
        try:
            await asyncio.sleep(seconds)
        finally:
            self._pausing = False
