"""SIGTERM and Ctrl-C end in `destroy()`; then the signal does what it would have done."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = logging.getLogger(__name__)

# Under the ten seconds that container runtimes and service managers grant between SIGTERM and SIGKILL.
_DEADLINE = 8.0

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class SignalGuard:
    """
    Runs the `destroy()` of every guarded client of one event loop when the process is told to end.

    Only in the main thread, and only where the default handler is still in place (asyncio's own for Ctrl-C counts as one):
    an application with handlers of its own keeps them, and calls `destroy()` itself.
    """

    def __init__(self) -> None:
        self._destroys: dict[object, Callable[[], Awaitable[None]]] = {}
        self._abandons: dict[object, Callable[[], None]] = {}
        self._previous: dict[signal.Signals, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Task[None] | None = None

    def add(self, client: object, destroy: Callable[[], Awaitable[None]], abandon: Callable[[], None]) -> None:
        """Guard a client from now on; `abandon` is called, and may block, when there is no time left for its `destroy`."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # another asyncio.run() of the same process
            self._destroys.clear()
            self._abandons.clear()
            self._previous.clear()
            self._loop = loop
        self._destroys[client], self._abandons[client] = destroy, abandon
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if number not in self._previous and _is_default(handler):
                self._previous[number] = handler
                signal.signal(number, self._received)

    def remove(self, client: object) -> None:
        """Guard a client no longer; after the last one the previous handlers are back."""
        self._destroys.pop(client, None)
        self._abandons.pop(client, None)
        if not self._destroys and self._ending is None:
            self._restore()

    def _received(self, number: int, _frame: object) -> None:
        # A signal handler runs between any two instructions of the main thread: it only wakes the loop.
        if self._loop is None or self._loop.is_closed():
            self._restore()
            signal.raise_signal(number)
            return
        self._loop.call_soon_threadsafe(self._end, number)

    def _end(self, number: int) -> None:
        if self._ending is not None:
            _log.warning("told to end a second time: not waiting for the last backup")
            self._raise(number)
            return
        self._ending = asyncio.get_running_loop().create_task(self._destroy_all(number))

    async def _destroy_all(self, number: int) -> None:
        _log.info("%s: closing %d client(s)", signal.Signals(number).name, len(self._destroys))
        tasks = [asyncio.ensure_future(destroy()) for destroy in list(self._destroys.values())]
        try:
            _, late = await asyncio.wait(tasks, timeout=_DEADLINE) if tasks else ((), ())
            if late:
                _log.error("%d client(s) did not close within %g s", len(late), _DEADLINE)
        finally:
            self._raise(number)

    def _raise(self, number: int) -> None:
        self._ending = None
        self._restore()
        for abandon in list(self._abandons.values()):
            try:
                abandon()
            except OSError as exc:
                _log.error("what a browser left could not be removed: %s", exc)
        # Not from within a task: what Ctrl-C raises would end there, and not in asyncio.run().
        asyncio.get_running_loop().call_soon(signal.raise_signal, number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            if signal.getsignal(number) == self._received:
                signal.signal(number, handler)
        self._previous.clear()


def _is_default(handler: object) -> bool:
    # asyncio.run() replaces Ctrl-C's default handler by one that cancels the main task.
    asyncio_own = getattr(getattr(handler, "func", None), "__qualname__", "") == "Runner._on_sigint"
    return handler in {signal.SIG_DFL, signal.default_int_handler} or asyncio_own


guard = SignalGuard()
