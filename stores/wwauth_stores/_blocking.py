"""Blocking work in threads, so that the event loop never waits for a disk."""

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
    """Raised in the thread by `check()`; it never leaves `in_thread`."""


async def in_thread(work: Callable[[Callable[[], None]], _T]) -> _T:
    """
    Run `work(check)` in a thread and return what it returns.

    A thread cannot be cancelled, so the work calls `check()` between its steps. A cancelled caller gets its
    `CancelledError` only when the thread has ended: after it, nothing is written behind the caller's back.
    """
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Stopped

    # A future, not a task: the end of asyncio.run() cancels tasks, and the thread would go on unseen.
    future = asyncio.get_running_loop().run_in_executor(None, work, check)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.set()
        await _ended(future)
        raise


async def _ended(future: asyncio.Future[_T]) -> None:
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue  # cancelled again, and the thread still has to end first
    error = future.exception()
    if error is not None and not isinstance(error, Stopped):
        _log.warning("a store's work failed after its caller was cancelled: %s", error)
