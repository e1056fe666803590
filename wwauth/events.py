"""The events of a `Client`, and the emitter that carries them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pyee.asyncio import AsyncIOEventEmitter

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Event", "EventEmitter"]

_log = logging.getLogger(__name__)


class Event(StrEnum):
    """
    The names of whatsapp-web.js's authentication events, and four of wwauth's own.

    The plain strings work everywhere, too. Each line gives the handler's arguments.
    """

    QR = "qr"  # the code's text: str
    CODE = "code"  # the pairing code: str
    AUTHENTICATED = "authenticated"  # what the strategy's get_auth_event_payload() gave, or None
    AUTH_FAILURE = "auth_failure"  # the strategy's failure_event_payload
    LOADING_SCREEN = "loading_screen"  # percent: int, "WhatsApp"
    READY = "ready"
    CHANGE_STATE = "change_state"  # the new Socket.state: str
    # a Socket.state, "LOGOUT", "BROWSER_CLOSED", "STRATEGY_FAILED" or "Max qrcode retries reached": str
    DISCONNECTED = "disconnected"
    REMOTE_SESSION_SAVED = "remote_session_saved"

    ERROR = "error"  # the exception of a handler, a hook, or a wait that ended after initialize() had returned
    BACKUP_SAVED = "backup_saved"  # BackupReport
    BACKUP_FAILED = "backup_failed"  # the exception
    RESTORED = "restored"  # RestoreReport


class EventEmitter(AsyncIOEventEmitter):
    """
    An emitter whose handlers can neither break nor delay the one who emits.

    Handlers may be sync or async; an async one runs as a task of its own. As in JavaScript, a handler may take fewer
    arguments than the event has. An exception in a handler is logged and emitted as `error`; an `error` without a
    handler, and what a handler of `error` raises itself, is only logged. A handler that is added during an event is called
    from the next one on.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiters: list[_Waiter] = []

    def emit(self, event: str, *args: Any, **kwargs: Any) -> bool:
        """Call the handlers of `event` and wake those who wait for it; return whether there was a handler."""
        for waiter in list(self._waiters):
            if waiter.event == event:
                waiter.offer(args)
        return super().emit(event, *args, **kwargs)

    async def _wait(self, event: str, predicate: Callable[..., bool] | None, timeout: float | None) -> object:
        """
        Wait for an event that `predicate`, called with its arguments, accepts.

        Return its payload: the argument, None, or a tuple. `TimeoutError` after `timeout` seconds.
        """
        waiter = _Waiter(event, predicate, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                return await waiter.future
        finally:
            self._waiters.remove(waiter)

    def _fail_waiters(self, exc: Exception) -> None:
        """Raise `exc` in all who wait for an event that can no longer come."""
        for waiter in self._waiters:
            if not waiter.future.done():
                waiter.future.set_exception(exc)

    def _call_handlers(self, event: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        with self._lock:
            handlers = list(self._events.get(event, {}).items())
        for handler, call in handlers:  # they differ for `once`, whose call removes the handler first
            self._run(event, call, args[: _accepted(handler)], kwargs)
        return bool(handlers)

    def _run(self, event: str, handler: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            result = handler(*args, **kwargs)
        except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 - what a handler raises is its author's to see
            self._handler_failed(event, handler, exc)
            return
        if not inspect.isawaitable(result):
            return
        task = asyncio.ensure_future(result)
        self._waiting.add(task)

        def done(task: asyncio.Future[Any]) -> None:
            self._waiting.discard(task)
            if not task.cancelled() and (exc := task.exception()) is not None:
                self._handler_failed(event, handler, exc)

        task.add_done_callback(done)

    def _handler_failed(self, event: str, handler: object, exc: BaseException) -> None:
        _log.warning("a handler of %r failed: %r", str(event), handler, exc_info=exc)
        # An error in a handler of `error` would come back here for ever.
        if event != Event.ERROR and self.listeners(Event.ERROR):
            self.emit(Event.ERROR, exc)

    def _emit_handle_potential_error(self, event: str, error: Any) -> None:
        # pyee raises on an `error` that nobody listens to; that would end the client for want of a listener.
        if event == Event.ERROR:
            _log.error("%s: %s", type(error).__name__, error, exc_info=error)


@dataclass(eq=False, slots=True)
class _Waiter:
    event: str
    predicate: Callable[..., bool] | None
    future: asyncio.Future[object]

    def offer(self, args: tuple[Any, ...]) -> None:
        if self.future.done():
            return
        try:
            wanted = self.predicate is None or self.predicate(*args)
        except asyncio.CancelledError:
            self.future.cancel()
            return
        except Exception as exc:  # noqa: BLE001 - the predicate is the waiter's own, and so is its error
            self.future.set_exception(exc)
            return
        if wanted:
            self.future.set_result(payload(args))


def payload(args: tuple[Any, ...]) -> object:
    """Return what `wait_for` gives for an event's arguments: the argument, None for none, a tuple of several."""
    return args if len(args) > 1 else next(iter(args), None)


def _accepted(handler: Callable[..., Any]) -> int | None:
    """Return how many positional arguments a handler takes, None for any number or when that cannot be told."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional for parameter in parameters)
