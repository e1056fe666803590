"""The life of one login: from the page's first sign of life to `ready`, and what ends it."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ._hooks import HookFailed, call_hook
from .errors import AuthTimeout, BrowserClosed, PairingRefused, WWAuthError
from .events import Event
from .web.bridge import NEEDS_LOGIN, STARTING, Bridge, PageReport

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .abc import AuthenticationNeeded, AuthStrategy
    from .options import ClientOptions

_log = logging.getLogger(__name__)

# The states in which a connection lives on, as in whatsapp-web.js; CONFLICT joins them with takeover_on_conflict.
_ACCEPTED = frozenset({"CONNECTED", "OPENING", "PAIRING", "TIMEOUT"})

# whatsapp-web.js waits as long for the navigation that follows the page's word of a logout.
_LOGOUT_NAVIGATION = 5.0

# A reload shows UNPAIRED for a moment; only what stays is believed.
_UNPAIRED_DEBOUNCE = 1.5

# So that two clients that both take over do not fight for ever: this often, unless one has held for so long.
_MAX_TAKEOVERS = 5
_TAKEOVER_HELD = 600.0

LOGOUT = "LOGOUT"
QR_RETRIES = "Max qrcode retries reached"


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """
    Who is logged in.

    Attributes:
        wid: The account's own id, such as "15551234567@c.us".
        pushname: The name that others see.
        platform: The phone's platform, as WhatsApp names it.
    """

    wid: str
    pushname: str | None
    platform: str | None


class Host(Protocol):
    """What a login asks of its client."""

    options: ClientOptions
    auth_strategy: AuthStrategy

    def emit(self, event: str, *args: Any) -> bool:
        """Emit an event."""

    def end(self, reason: str, *, logout: bool = False) -> None:
        """Begin to close the browser, then emit `disconnected`."""

    def authentication_failed(self, answer: AuthenticationNeeded) -> None:
        """Begin to close the browser after `auth_failure`."""

    def failed(self, exc: WWAuthError) -> None:
        """Emit `error` and fail what waits, leaving the browser open for a look."""

    def strategy_failed(self, exc: WWAuthError) -> None:
        """Emit `error`, fail what waits, and begin to close the browser."""

    def task(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a task that ends with this launch, and whose exception is emitted as `error`."""


class Login:
    """
    Turns the page's reports into events, one report after the other.

    Level-triggered: each report carries the whole state of the page, so that a sync which finished before anyone listened
    still leads to `ready`. `authenticated` and `ready` come once, however often the page says so.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._options = host.options
        self._strategy = host.auth_strategy
        self.bridge: Bridge | None = None
        self.known: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Resolved by the first login state: "authenticated", "needed", "failed" or "logged-out"."""
        self.alive = asyncio.Event()
        self.level = PageReport(None)
        self.info: ClientInfo | None = None
        self.qr: str | None = None
        self.authenticated: tuple[object] | None = None
        self.ready = False
        self.ready_at = 0.0
        """When `ready` was reached, by the monotonic clock."""
        self._told_state: str | None = None
        self._reports: asyncio.Queue[PageReport] = asyncio.Queue()
        self._asked = False
        self._over = asyncio.Event()
        self._logged_out = False
        self._percent: int | None = None
        self._qr_count = 0
        self._pairing: asyncio.Task[None] | None = None
        self._code_lost = False
        self._renew_now = asyncio.Event()
        self._logout_look: asyncio.Task[None] | None = None
        self._unpaired_look: asyncio.Task[None] | None = None
        self._ready_timer: asyncio.TimerHandle | None = None
        self._takeovers = 0
        self._taken_at = 0.0

    @property
    def holds_login(self) -> bool:
        """`ready` was reached in this launch, and the page's last word was not that it is unpaired."""
        unpaired = self._logged_out or self._logout_look is not None or self.level.state in NEEDS_LOGIN
        return self.ready and not unpaired

    def report(self, report: PageReport) -> None:
        """Take a report; it is handled by `run`, in order."""
        self._reports.put_nowait(report)

    async def run(self) -> None:
        """Handle reports until the login has ended; an exception of a hook ends `initialize()`, later it is an `error`."""
        while not self._over.is_set():
            report = await self._reports.get()
            try:
                await self._handle(report)
            except HookFailed as failure:
                self._hook_failed(failure.error)
                return
            except BrowserClosed as exc:
                # The document went away under a question; the next one reports anew, and so does the browser's end.
                _log.debug("%s", exc)
            except Exception as exc:  # noqa: BLE001 - whatever it is, it is for the caller, or for `error`
                if not self._fail_known(exc):
                    self._host.emit(Event.ERROR, exc)

    async def unlink(self) -> bool:
        """Let the page unlink the device; False when it could not be asked, or gave no sign of having done so."""
        try:
            async with asyncio.timeout(_LOGOUT_NAVIGATION):
                await self.ask("logout")
                return True
        except BrowserClosed:
            pass  # the page goes away when it has logged out, and also when it is dead
        except (WWAuthError, TimeoutError) as exc:
            _log.warning("logout: %s", exc or "the page does not answer")
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOGOUT_NAVIGATION):
                await self._over.wait()
        return self._logged_out

    def close(self) -> None:
        """Stop timers; called when the launch ends."""
        self._over.set()
        if self._ready_timer is not None:
            self._ready_timer.cancel()
        if self.known.done() and not self.known.cancelled():
            self.known.exception()  # seen: nobody may be left to await it

    # What the page says ---------------------------------------------------------------------------------------------

    async def _handle(self, report: PageReport) -> None:
        if report.edge in {"logged-out", "navigated"}:
            self._navigated(report)
            return
        before, self.level = self.level, report
        self.alive.set()
        self._bound_ready()
        if report.edge == "alive":
            self._code_lost = True  # a new document begins with QR codes
        if report.edge == "logout":
            self._logout_announced()
        if report.edge == "progress" and report.percent != self._percent:
            self._percent = report.percent
            self._host.emit(Event.LOADING_SCREEN, report.percent, "WhatsApp")
        if self.ready and report.state not in {self._told_state, None}:
            self._told_state = report.state
            self._host.emit(Event.CHANGE_STATE, report.state)
        if report.state in NEEDS_LOGIN:
            await self._unpaired(report)
        elif report.state not in STARTING or (self.ready and report.edge == "state"):
            await self._paired(report, changed=report.state != before.state)

    async def _unpaired(self, report: PageReport) -> None:
        if self.authenticated is not None:
            self._unpaired_look = self._unpaired_look or self._host.task(self._second_look(), "second look at UNPAIRED")
            return
        if not self._asked:
            answer = await call_hook(self._strategy, "on_authentication_needed")
            if answer.failed or answer.retry:
                self._end_known("failed")
                self._host.authentication_failed(answer)
                return
            if (pair := self._options.pair_with_phone_number) is not None:
                await self._start_pairing(pair.phone_number, pair.show_notification, pair.interval_ms / 1000)
            self._asked = True
            self._resolve("needed")
        if self._pairing is None:
            await self._offer_qr(report)
        elif self._code_lost:
            self._renew_now.set()

    async def _paired(self, report: PageReport, *, changed: bool) -> None:
        self.qr, self._qr_count = None, 0
        state = report.state or ""
        if state == "CONFLICT" and self._options.takeover_on_conflict and (not changed or self._may_take_over()):
            if changed:
                self._host.task(self._take_over(), "takeover")
        elif state not in _ACCEPTED:
            self._end_known("failed")
            self._host.end(state)
            return
        self._resolve("authenticated")
        if report.synced and not self.ready:
            await self._synced()

    async def _synced(self) -> None:
        if self.authenticated is None:
            self.authenticated = (await call_hook(self._strategy, "get_auth_event_payload"),)
            self._host.emit(Event.AUTHENTICATED, *self.authenticated)
        info = await self.ask("info")
        wid = info.get("wid")
        self.info = ClientInfo(
            wid=str(wid.get("_serialized", "") if isinstance(wid, dict) else wid),
            pushname=info.get("pushname"),
            platform=info.get("platform"),
        )
        self.ready, self.ready_at, self._told_state = True, time.monotonic(), self.level.state
        self._stop_pairing()
        self._bound_ready()
        self._host.emit(Event.READY)
        self._host.task(self._after_auth_ready(), "after_auth_ready")

    async def _after_auth_ready(self) -> None:
        # A task of its own: the first backup must not delay the reports.
        try:
            await call_hook(self._strategy, "after_auth_ready")
        except HookFailed as failure:
            self._hook_failed(failure.error)

    async def ask(self, command: str, args: object = None) -> Any:
        """Run a command in the page; see `Bridge.run`."""
        if self.bridge is None:
            raise BrowserClosed("the page is not there yet")
        return await self.bridge.run(command, args)

    # QR codes and pairing codes -------------------------------------------------------------------------------------

    async def _offer_qr(self, report: PageReport) -> None:
        if report.state == "UNPAIRED_IDLE" and report.edge in {"state", "alive"}:
            await self.ask("refreshQR")  # the page has given up; with qr_max_retries it is ours to say when
        if report.qr is None or report.qr == self.qr:
            return
        self.qr = report.qr
        self._host.emit(Event.QR, report.qr)
        self._qr_count += 1
        if 0 < self._options.qr_max_retries < self._qr_count:
            self._over.set()
            self._host.end(QR_RETRIES)

    async def request_pairing_code(self, phone_number: str, show_notification: bool, interval: float) -> str:  # noqa: FBT001
        """Ask for a code, emit it, renew it every `interval` seconds until the login leaves this state."""
        code = await self._pairing_code(phone_number, show_notification)
        self._stop_pairing()
        self.qr = None
        self._host.emit(Event.CODE, code)
        self._pairing = self._host.task(self._renew(phone_number, show_notification, interval), "pairing code")
        return code

    async def cancel_pairing_code(self) -> None:
        """Return to QR codes."""
        before = self.level.qr
        if self._pairing is not None:
            self._pairing.cancel()  # a code that it asked for meanwhile would take the QR code off the screen again
        try:
            renewed = await self.ask("cancelPairingCode")
        finally:
            self._stop_pairing()
        # When there is a new code no phone takes the one from before; its report may come after this answer, and offers it.
        if self.level.state in NEEDS_LOGIN and (self.level.qr != before or not renewed):
            await self._offer_qr(self.level)

    async def _start_pairing(self, phone_number: str, show_notification: bool, interval: float) -> None:  # noqa: FBT001
        try:
            await self.request_pairing_code(phone_number, show_notification, interval)
        except PairingRefused as exc:
            if self.known.done():
                self._host.emit(Event.ERROR, exc)
            else:
                raise

    async def _renew(self, phone_number: str, show_notification: bool, interval: float) -> None:  # noqa: FBT001
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._renew_now.wait()
            if self.level.state not in NEEDS_LOGIN:
                continue
            try:
                self._host.emit(Event.CODE, await self._pairing_code(phone_number, show_notification))
            except (PairingRefused, BrowserClosed) as exc:
                self._host.emit(Event.ERROR, exc)  # and tried again after the interval

    async def _pairing_code(self, phone_number: str, show_notification: bool) -> str:  # noqa: FBT001
        args = {"phoneNumber": phone_number, "showNotification": show_notification}
        self._code_lost = False
        self._renew_now.clear()
        try:
            return str(await self.ask("requestPairingCode", args))
        except BrowserClosed:
            raise
        except WWAuthError as exc:
            raise PairingRefused(f"WhatsApp gave no pairing code: {exc}") from exc

    def _stop_pairing(self) -> None:
        if self._pairing is not None:
            self._pairing.cancel()
            self._pairing = None

    # Ends -----------------------------------------------------------------------------------------------------------

    def _navigated(self, report: PageReport) -> None:
        if report.edge == "logged-out" or self._logout_look is not None:
            self._end_logged_out()

    def _logout_announced(self) -> None:
        if self._logout_look is None:
            self._logout_look = self._host.task(self._confirm_logout(), "second look at a logout")

    async def _confirm_logout(self) -> None:
        """Believe the page's word of a logout when it navigates, which `_navigated` sees, or when it is unpaired after."""
        try:
            await asyncio.sleep(_LOGOUT_NAVIGATION)
            if await self.state_now() in NEEDS_LOGIN:
                self._end_logged_out()
            else:
                _log.warning("the page spoke of a logout, but is still logged in: nothing is deleted")
        finally:
            self._logout_look = None  # whatever the page does from now on, it is not that logout

    async def _second_look(self) -> None:
        try:
            await asyncio.sleep(_UNPAIRED_DEBOUNCE)
            state = await self.state_now()
        finally:
            self._unpaired_look = None
        if state is not None and state in NEEDS_LOGIN and self._logout_look is None:
            self._over.set()
            self._host.end(state)

    async def state_now(self) -> str | None:
        """Ask for the state; None: it has none, or the page is gone, is being loaded or does not answer."""
        try:
            state: str | None = await self.ask("state")
        except (BrowserClosed, AuthTimeout):
            return None
        return state

    def _may_take_over(self) -> bool:
        now = time.monotonic()
        if now - self._taken_at > _TAKEOVER_HELD + 3 * self._options.takeover_timeout_ms / 1000:
            self._takeovers = 0
        if self._takeovers >= _MAX_TAKEOVERS:
            _log.warning("the connection was taken over %d times and lost again: another client wants it, too", _MAX_TAKEOVERS)
            return False
        self._takeovers, self._taken_at = self._takeovers + 1, now
        return True

    async def _take_over(self) -> None:
        await asyncio.sleep(self._options.takeover_timeout_ms / 1000)
        if self.level.state == "CONFLICT":
            await self.ask("takeover")

    def _end_logged_out(self) -> None:
        self._logged_out = True
        self._end_known("logged-out")
        self._host.end(LOGOUT, logout=True)

    def _end_known(self, outcome: str) -> None:
        self._over.set()
        self._resolve(outcome)

    def _hook_failed(self, exc: WWAuthError) -> None:
        if not self._fail_known(exc):
            self._host.strategy_failed(exc)

    def _fail_known(self, exc: Exception) -> bool:
        """Let `initialize()` raise this, if it has not returned yet."""
        if self.known.done():
            return False
        self._over.set()
        self.known.set_exception(exc)
        self.alive.set()
        return True

    def _resolve(self, outcome: str) -> None:
        self.alive.set()
        if not self.known.done():
            self.known.set_result(outcome)

    # Bounds ---------------------------------------------------------------------------------------------------------

    def _bound_ready(self) -> None:
        """Count `ready_timeout_ms` anew: each report is a sign of progress. A code on the screen may wait for ever."""
        if self._ready_timer is not None:
            self._ready_timer.cancel()
            self._ready_timer = None
        if self.ready or self.level.state in NEEDS_LOGIN:
            return
        bound = self._options.ready_timeout_ms / 1000
        self._ready_timer = asyncio.get_running_loop().call_later(bound, self._not_ready)

    def _not_ready(self) -> None:
        if self.known.done() and not self._over.is_set():
            bound, state = self._options.ready_timeout_ms, self.level.state
            self._host.failed(
                AuthTimeout(
                    f"the login made no progress towards ready for {bound:g} ms (state {state}): look at client.page, "
                    "then destroy() and initialize() again, or raise ready_timeout_ms",
                    phase="ready",
                    last_state=state,
                )
            )
