"""Handlers on the events of any socket library's emitter: run in order, kept alive, never failing unseen."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, WWAuthError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Handler = Callable[..., Awaitable[object] | object]

_log = logging.getLogger(__name__)


class Binding:
    """
    Handlers on some events of an emitter, until `unbind()`.

    Any object with `on(event, handler)` that calls its handlers will do: pyee's emitters, those of other libraries. A
    handler is called at the moment of its event; when it returns an awaitable (as an `async def` does), that becomes a
    task. Tasks begin in the order of the events and run beside each other. Events that are emitted in another thread are
    handed over to the event loop in which the binding was made.

    An exception in a handler does not reach the emitter's caller: it is emitted as `error` where somebody listens to that,
    and logged where nobody does, without its text unless it is one of wwauth's, in which no secret is.

    Raises:
        ConfigurationError: `emitter` has no `on`, or one that does not take a handler at once.
    """

    def __init__(self, emitter: Any, handlers: Mapping[str, Handler]) -> None:
        if not callable(getattr(emitter, "on", None)):
            raise _refused(emitter)
        self._emitter = emitter
        self._loop = _running_loop()
        self._bound = True
        self._tasks: set[asyncio.Future[object]] = set()
        self._crossing = 0
        self._lock = threading.Lock()
        self._listeners = {event: partial(self._on_event, event, handler) for event, handler in handlers.items()}
        for event, listener in self._listeners.items():
            _register(emitter, event, listener)

    def unbind(self) -> None:
        """Take the handlers off the emitter; what has begun goes on, see `drain`. Idempotent."""
        if not self._bound:
            return
        # Where the emitter cannot forget a listener, the listener forgets its handler.
        self._bound = False
        names = ("remove_listener", "off", "removeListener")
        remove = next((found for name in names if callable(found := getattr(self._emitter, name, None))), None)
        if remove is not None:
            for event, listener in self._listeners.items():
                try:
                    remove(event, listener)
                except (KeyError, ValueError):
                    continue  # the program has taken all of its listeners off

    async def drain(self) -> None:
        """Wait until everything that was begun by the events so far has ended; how it ended was reported already."""
        while self._tasks or self._crossing:
            if self._tasks:
                await asyncio.wait(set(self._tasks))
            else:
                await asyncio.sleep(0)

    def _on_event(self, event: str, handler: Handler, *args: object, **kwargs: object) -> None:
        if not self._bound:
            return
        running = _running_loop()
        if self._loop is None or self._loop.is_closed():
            self._loop = running
        call = partial(self._call, event, partial(handler, *args, **kwargs))
        if self._loop is None or self._loop is running:
            call()
            return
        with self._lock:
            self._crossing += 1
        try:
            self._loop.call_soon_threadsafe(self._cross, call)
        except RuntimeError as error:  # the loop was closed just now
            self._over()
            self._report(event, error)

    def _cross(self, call: Callable[[], None]) -> None:
        try:
            call()
        finally:
            self._over()

    def _over(self) -> None:
        with self._lock:
            self._crossing -= 1

    def _call(self, event: str, handler: Callable[[], Awaitable[object] | object]) -> None:
        try:
            begun = handler()
            if inspect.isawaitable(begun):
                self._begin(event, begun)
        except Exception as error:  # noqa: BLE001 - reported; the emitter's caller has nothing to do with it
            self._report(event, error)

    def _begin(self, event: str, begun: Awaitable[object]) -> None:
        if self._loop is None:
            if inspect.iscoroutine(begun):
                begun.close()
            raise ConfigurationError(f"cannot handle {event!r} without an event loop: call bind() where one is running")
        task = asyncio.ensure_future(begun)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, event))

    def _ended(self, event: str, task: asyncio.Future[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report(event, error)

    def _report(self, event: str, error: BaseException) -> None:
        if isinstance(error, Exception) and self._is_heard():
            try:
                self._emitter.emit("error", error)
            except Exception as another:  # noqa: BLE001 - a listener to errors that fails itself
                _log.error("a handler of 'error' failed: %s", type(another).__name__)
            else:
                return
        told = str(error) if isinstance(error, WWAuthError) else type(error).__name__
        _log.error("a handler of %r failed: %s", event, told)

    def _is_heard(self) -> bool:
        """Tell whether somebody listens to `error`: emitters raise what nobody listens to."""
        for name in ("listeners", "listener_count", "listenerCount"):
            if callable(ask := getattr(self._emitter, name, None)):
                return bool(ask("error")) and callable(getattr(self._emitter, "emit", None))
        return False


def _register(emitter: Any, event: str, listener: Callable[..., None]) -> None:
    try:
        registered = emitter.on(event, listener)
    except TypeError as error:
        raise _refused(emitter) from error  # one that decorates, for one
    if inspect.iscoroutine(registered):
        registered.close()
        raise _refused(emitter)


def _refused(emitter: object) -> ConfigurationError:
    return ConfigurationError(
        f"invalid emitter of type {type(emitter).__name__}: give an object whose on(event, handler) takes a handler at once, "
        "such as pyee's"
    )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
