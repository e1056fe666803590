"""Blocking work in a thread that can be told to stop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


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


async def in_thread(work: Callable[[Stop], T]) -> T:
    """
    Run `work(stop)` in a thread.

    A cancellation tells the work to stop and waits until it has, so that no thread touches a file any more once the
    caller goes on (and deletes its temporary folder).
    """
    stop = Stop()
    thread = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        stop.set()
        while not thread.done():
            try:
                await asyncio.wait({thread})
            except asyncio.CancelledError:
                continue  # the first one is raised below; the thread ends by itself
        if not thread.cancelled():
            thread.exception()  # taken note of: what is raised is the cancellation
        raise
