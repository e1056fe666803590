"""The events of a `Client`, and the emitter that carries them."""

from __future__ import annotations

import asyncio
import inspect
import logging
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
    AUTHENTICATED = "authenticated"  # what the strategy's get_auth_event_payload() gave; no argument when that is None
    AUTH_FAILURE = "auth_failure"  # the strategy's failure_event_payload
    LOADING_SCREEN = "loading_screen"  # percent: int, "WhatsApp"
    READY = "ready"
    CHANGE_STATE = "change_state"  # the new Socket.state: str
    DISCONNECTED = "disconnected"  # a Socket.state, "LOGOUT", "BROWSER_CLOSED" or "Max qrcode retries reached": str
    REMOTE_SESSION_SAVED = "remote_session_saved"

    ERROR = "error"  # the exception of a handler, a hook, or a wait that ended after initialize() had returned
    BACKUP_SAVED = "backup_saved"  # BackupReport
    BACKUP_FAILED = "backup_failed"  # the exception
    RESTORED = "restored"  # RestoreReport


class EventEmitter(AsyncIOEventEmitter):
    """
    An emitter whose handlers can neither break nor delay the one who emits.

    Handlers may be sync or async; an async one runs as a task of its own. An exception in either is logged and emitted
    as `error`; an `error` without a handler, and what a handler of `error` raises itself, is only logged.
    """

    def _call_handlers(self, event: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        with self._lock:
            handlers = list(self._events.get(event, {}).values())
        for handler in handlers:
            self._run(event, handler, args, kwargs)
        return bool(handlers)

    def _run(self, event: str, handler: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            result = handler(*args, **kwargs)
        except Exception as exc:  # noqa: BLE001 - whatever a handler raises is its author's to see as `error`
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
