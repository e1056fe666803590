"""Blocking work in a thread that can be told to stop, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Stopped(Exception):
    """The work was told to stop; the task that awaits it sees its own CancelledError."""


class Stop:
    """Asked by the work now and then; raises `Stopped` once the awaiting task was cancelled."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Tell the work to stop."""
        self._event.set()

    def check(self) -> None:
        """Raise `Stopped` when the work is to end."""
        if self._event.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Wait; raise `Stopped` as soon as the work is to end."""
        if self._event.wait(seconds):
            raise Stopped


async def in_thread(work: Callable[[Stop], _T]) -> _T:
    """
    Run `work(stop)` in a thread and return what it returns.

    A cancellation tells the work to stop and waits until it has: once the caller goes on, no thread touches a file behind
    its back.
    """
    stop = Stop()
    # A future, not a task: the end of asyncio.run() cancels tasks, and the thread would go on unseen.
    future = asyncio.get_running_loop().run_in_executor(None, work, stop)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.set()
        await ended(future)
        _tell_of(future)
        raise
    finally:
        # It holds what the work raised, and that this frame: what its callers had open would stay so until a collection.
        del future


async def ended(future: asyncio.Future[_T]) -> None:
    """Wait until a future is done, however often the caller is cancelled meanwhile."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue


def _tell_of(future: asyncio.Future[_T]) -> None:
    error = future.exception()
    if error is not None and not isinstance(error, Stopped):
        _log.warning("work in a thread failed after its caller was cancelled: %s", error)
