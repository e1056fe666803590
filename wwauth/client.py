"""The `Client`: the life of one browser login."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from . import _check
from ._hooks import HookFailed, as_error, call_hook
from ._launch import Launch
from ._login import LOGOUT, ClientInfo, Login
from ._relaunch import Relaunch
from ._signals import guard
from .errors import AuthTimeout, BrowserClosed, BrowserNotFound, ConfigurationError, SessionClosed
from .events import Event, EventEmitter, payload
from .options import ClientOptions, PairWithPhoneNumber, ProxyAuthentication, WebVersionCache
from .strategies.no_auth import NoAuth
from .web.attach import refuse_profile
from .web.find import find_chromium, major_version
from .web.flush import flush_local_storage

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from playwright.async_api import BrowserContext, Page

    from .abc import AuthStrategy
    from .errors import WWAuthError

__all__ = ["Client", "ClientInfo"]

_log = logging.getLogger(__name__)

_LAUNCH_OWNED = ("user_data_dir", "userDataDir")


class Client(EventEmitter):
    """
    Drives WhatsApp Web in a headless Chromium and keeps the login as its strategy says.

    One client is one login. `initialize()` starts it, `destroy()` ends it and keeps the login, `logout()` unlinks the device
    and deletes what is kept; after either, and after `disconnected`, `initialize()` starts it again.

    Args:
        auth_strategy: Where the login comes from and is kept; None: `NoAuth()`. A strategy serves one client.
        web_url: WhatsApp Web's address, or a simulator's.
        launch_options: Handed to Playwright's `launch_persistent_context`; copied, never changed. The profile's folder is
            the strategy's to say.
        cdp_url: Use a browser that runs already: the http(s) or ws(s) address of its DevTools. A new page in its default
            context is the client's; `destroy()` closes that page and leaves the browser running. Only for strategies without
            a profile of their own; what is kept of the login, that browser keeps.
        auth_timeout_ms: Bounds the wait for the page's first sign of life, and then for a known login state.
        ready_timeout_ms: Bounds the wait from login to `ready`, counted anew at each sign of progress.
        qr_max_retries: After this many more codes than one, `disconnected('Max qrcode retries reached')`; 0: no end.
        takeover_on_conflict: When the account is opened elsewhere, take the connection back.
        takeover_timeout_ms: How long to wait before that.
        user_agent: What the browser says of itself; None: its own, without the word "Headless".
        bypass_csp: Disable the page's Content-Security-Policy; wwauth does not need it.
        proxy_authentication: `{"username": …, "password": …}` for the http(s) proxy that `launch_options` name, as `proxy` or
            as `--proxy-server` in `args`. A proxy that refuses it ends `initialize()` with a `ConfigurationError`.
        device_name: The operating system shown in the phone's list of devices; effective only when linking.
        browser_name: The browser shown there; likewise.
        eval_on_new_doc: JavaScript to run in each document before its own scripts.
        web_version: The build of WhatsApp Web to use, such as "2.3000.1017054665"; None: the live one. Its document comes from
            `web_version_cache`, and without the live one's headers; service workers are bypassed, since one could answer in
            its place.
        web_version_cache: `{"type": "local", "path": "./.wwebjs_cache/", "strict": False}` or `{"type": "remote",
            "remote_path": "https://host/{version}.html", "strict": False}`; see `wwauth.options.WebVersionCache`. "local"
            records the live page for later, also without a `web_version`.
        pair_with_phone_number: Link by a code typed into the phone: `{"phone_number": …, "show_notification": True,
            "interval_ms": 180_000}`.
        relaunch_on_logout: After `disconnected('LOGOUT')`, when the phone has unlinked the device, start again with a new
            browser and a new `qr`.
        restart_on_crash: After `disconnected('BROWSER_CLOSED')`, start again on the same profile, so many times in a row, with
            a pause that grows from 1 s; five minutes of `ready` end the row.
        diagnostics: Keep a screenshot and the console's last lines of a start that fails: True: in `diagnostics` of the
            strategy's `data_path`; or the folder to use. They may show codes, and are for their owner's eyes alone (0600).
        handle_signals: On SIGTERM and Ctrl-C, `destroy()`, then let the signal do what it would have done. Only in the main
            thread, and only where the default handler is still in place.

    Raises:
        ConfigurationError: An option is wrong; the message names it, its value and what is allowed.
    """

    def __init__(
        self,
        *,
        auth_strategy: AuthStrategy | None = None,
        web_url: str = "https://web.whatsapp.com/",
        launch_options: Mapping[str, Any] | None = None,
        cdp_url: str | None = None,
        auth_timeout_ms: float = 30_000,
        ready_timeout_ms: float = 60_000,
        qr_max_retries: int = 0,
        takeover_on_conflict: bool = False,
        takeover_timeout_ms: float = 0,
        user_agent: str | None = None,
        bypass_csp: bool = False,
        proxy_authentication: Mapping[str, str] | ProxyAuthentication | None = None,
        device_name: str | None = None,
        browser_name: str | None = None,
        eval_on_new_doc: str | None = None,
        web_version: str | None = None,
        web_version_cache: Mapping[str, Any] | WebVersionCache | None = None,
        pair_with_phone_number: Mapping[str, Any] | PairWithPhoneNumber | None = None,
        relaunch_on_logout: bool = False,
        restart_on_crash: int = 0,
        diagnostics: bool | str | os.PathLike[str] = False,
        handle_signals: bool = True,
    ) -> None:
        super().__init__()
        self.options = ClientOptions.checked(
            web_url=web_url,
            launch_options={} if launch_options is None else launch_options,
            cdp_url=cdp_url,
            auth_timeout_ms=auth_timeout_ms,
            ready_timeout_ms=ready_timeout_ms,
            qr_max_retries=qr_max_retries,
            takeover_on_conflict=takeover_on_conflict,
            takeover_timeout_ms=takeover_timeout_ms,
            user_agent=user_agent,
            bypass_csp=bypass_csp,
            proxy_authentication=proxy_authentication,
            device_name=device_name,
            browser_name=browser_name,
            eval_on_new_doc=eval_on_new_doc,
            web_version=web_version,
            web_version_cache={"type": "none"} if web_version_cache is None else web_version_cache,
            pair_with_phone_number=pair_with_phone_number,
            relaunch_on_logout=relaunch_on_logout,
            restart_on_crash=restart_on_crash,
            diagnostics=diagnostics,
            handle_signals=handle_signals,
        )
        self.auth_strategy = NoAuth() if auth_strategy is None else auth_strategy
        _refuse_foreign_profile(self.options.launch_options, self.auth_strategy)
        if self.options.cdp_url is not None:
            refuse_profile(type(self.auth_strategy).__name__, self.auth_strategy.user_data_dir)
        try:
            self.auth_strategy.setup(self)
        except Exception as exc:  # noqa: BLE001 - a hook may raise anything
            error = as_error(self.auth_strategy, "setup", exc)
            raise error from error.__cause__
        self._launch: Launch | None = None
        self._last_login: Login | None = None
        self._over: Exception | None = None
        self._relaunch = Relaunch(self.options, start=self._start, gave_up=self._gave_up)
        self._checking = asyncio.Lock()
        # Held by a logout without a launch: neither another one nor a start comes in between.
        self._logging_out = asyncio.Lock()

    # Life -----------------------------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """
        Start the browser and the login: return when a code is on its way, or a kept login is being restored.

        When the strategy's login is refused (`auth_failure`), or the login ends meanwhile (`disconnected`, with 'LOGOUT' when
        the device was unlinked), it returns with the browser closed, as in whatsapp-web.js. When it raises, or is cancelled,
        the browser is closed.

        Raises:
            AuthTimeout: The page was not there, or told no login state, in time; `.phase` says which.
            BrowserNotFound: There is no Chromium, or it cannot be started as it is.
            BrowserClosed: The browser ended meanwhile.
            SessionInUse: Another client or process uses the profile.
            SessionClosed: `destroy()` was called meanwhile.
            StrategyError: A hook of the strategy raised an exception of its own.
            WebVersionUnavailable: `web_version` cannot be had, and its cache is `strict`.
            ConfigurationError: It is initialized already, or the proxy wants another name and password.
        """
        if self._launch is not None and self._launch.closing is not None:
            await _end_of(self._launch.closing)
        # What `relaunch_on_logout` and `restart_on_crash` have begun is this very start.
        if await self._relaunch.join():
            if self._launch is None and self._over is not None:
                raise self._over
            return
        self._relaunch.forget()
        async with self._logging_out:
            pass
        await self._start()

    async def _start(self) -> None:
        if self._launch is not None:
            raise ConfigurationError("this client is initialized already: destroy() it first")
        launch = self._launch = Launch(self)
        self._over = None
        self._last_login = launch.login
        if self.options.handle_signals:
            guard.add(self, self.destroy, launch.browser.abandon)
        launch.starting = asyncio.create_task(launch.start(), name="wwauth: initialize")
        try:
            await asyncio.shield(launch.starting)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            cancelled = not launch.starting.cancelled() or (task is not None and task.cancelling() > 0)
            await asyncio.shield(self._close(launch))
            if cancelled:
                raise
            if launch.failure is not None:
                raise launch.failure from None
            if launch.unwanted:
                raise SessionClosed("the client was destroyed while it was initialized") from None
            return  # the login has ended by itself, which `disconnected` tells
        except BaseException as exc:
            launch.failure = exc if isinstance(exc, Exception) else None
            await asyncio.shield(self._close(launch))
            raise
        if launch.restart is not None:
            await asyncio.shield(launch.restart)
        elif launch.closing is not None:
            await asyncio.shield(launch.closing)

    async def destroy(self) -> None:
        """
        Close the browser and keep the login; idempotent. A browser that does not close is killed.

        Returns when the strategy has done its last work (RemoteAuth: its last backup) and nothing of the browser is left;
        when a hook that belongs to that end calls it, at once. Ends a relaunch that is under way, too.

        Raises:
            WWAuthError: What a hook of the end raised, when all the rest was done; `StrategyError` where it was no error of
                wwauth's.
        """
        launch = self._launch
        if launch is not None:
            launch.unwanted = True
            await self._ended(launch, self._close(launch))
        await self._no_relaunch()

    async def logout(self) -> None:
        """
        Unlink the device, close the browser, and delete what the strategy keeps of the login; idempotent.

        Emits `disconnected('LOGOUT')` once all of that is done, when the client was initialized. When the page cannot be asked
        any more, the rest is done all the same, and a warning says that the device must be removed on the phone.

        Raises:
            WWAuthError: What is kept could not be deleted, or another hook of the end raised, when all the rest was done;
                `StrategyError` where it was no error of wwauth's.
        """
        await self._no_relaunch()
        async with self._logging_out:
            launch = self._launch
            if launch is None:
                try:
                    await call_hook(self.auth_strategy, "logout")
                except HookFailed as failed:
                    raise failed.error from failed.error.__cause__
                return
        launch.unwanted = True
        if not launch.logs_out and (launch.closing is not None or not await launch.login.unlink()):
            _log.warning("the page could not unlink the device: remove it in the phone's list of linked devices")
        launch.logs_out = True  # also when another end has begun, now or meanwhile
        await self._ended(launch, self._close(launch, reason=LOGOUT))

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.destroy()

    # What is known --------------------------------------------------------------------------------------------------

    @property
    def qr(self) -> str | None:
        """The text of the code on the screen now, or None."""
        return self._launch.login.qr if self._launch else None

    @property
    def info(self) -> ClientInfo | None:
        """Who is logged in; None before `ready`."""
        return self._launch.login.info if self._launch else None

    @property
    def page(self) -> Page:
        """Playwright's page, for everything else; `BrowserClosed` when there is none."""
        return self._running().browser.page

    @property
    def context(self) -> BrowserContext:
        """Playwright's browser context; `BrowserClosed` when there is none."""
        return self._running().browser.context

    @property
    def browser_pid(self) -> int | None:
        """The browser's main process; None when there is none."""
        return self._launch.browser.pid if self._launch else None

    @property
    def holds_login(self) -> bool:
        """
        Whether the profile of this launch, or of the last one, holds a login that is worth keeping.

        That is: `ready` was reached, and the page, while it was alive, did not end by saying that it is unpaired.
        """
        return self._last_login is not None and self._last_login.holds_login

    async def get_state(self) -> str | None:
        """Return the page's `Socket.state` ("CONNECTED", "UNPAIRED", …); None: it has none, or no page is there or answers."""
        return await self._launch.login.state_now() if self._launch else None

    async def wait_for(self, event: str, *, timeout: float | None = None, predicate: Callable[..., bool] | None = None) -> Any:
        """
        Wait for an event and return its payload: the argument, None for none, a tuple of several.

        `ready` and `authenticated` that this launch has reached return at once.

        Args:
            event: The event's name.
            timeout: Seconds; None waits until the event comes or the client ends.
            predicate: Called with the event's arguments; the wait goes on while it gives False.

        Raises:
            AuthTimeout: The time was over, or the login's own bound was.
            SessionClosed: The client was destroyed or disconnected first; `.reason` is the payload of `disconnected`.
        """
        login = self._launch.login if self._launch else None
        reached: tuple[object, ...] | None = None
        if login is not None and event == Event.AUTHENTICATED:
            reached = login.authenticated
        elif login is not None and event == Event.READY and login.ready:
            reached = ()
        if reached is not None and (predicate is None or predicate(*reached)):
            return payload(reached)
        if self._over is not None:
            raise self._over
        try:
            return await self._wait(event, predicate, timeout)
        except AuthTimeout:
            raise
        except TimeoutError:
            state = self._last_login.level.state if self._last_login else None
            raise AuthTimeout(
                f"no {str(event)!r} within {timeout:g} s (state {state})",
                phase=f"waiting for {event}",
                last_state=state,
            ) from None

    # Actions --------------------------------------------------------------------------------------------------------

    async def request_pairing_code(
        self, phone_number: str, *, show_notification: bool = True, interval_ms: float = 180_000
    ) -> str:
        """
        Link by a code typed into the phone, in place of QR codes; return the code, which is emitted as `code`, too.

        A new one is emitted every `interval_ms` until the phone has answered or `cancel_pairing_code()` is called.

        Raises:
            ConfigurationError: The number is not 6 to 15 digits (it is a `ValueError`); the page was not asked.
            PairingRefused: WhatsApp gave no code, in its words.
            BrowserClosed: The client is not initialized.
        """
        pair = PairWithPhoneNumber.checked(
            phone_number=phone_number, show_notification=show_notification, interval_ms=interval_ms
        )
        login = self._running().login
        return await login.request_pairing_code(pair.phone_number, pair.show_notification, pair.interval_ms / 1000)

    async def cancel_pairing_code(self) -> None:
        """Return to QR codes: the next one is emitted as `qr`."""
        await self._running().login.cancel_pairing_code()

    async def reset_state(self) -> None:
        """Let the page connect anew by its own means."""
        await self._running().login.ask("reconnect")

    async def check(self) -> bool:
        """
        Tell whether the connection is alive, and not only called so; repair it when it is not.

        The page may go on saying CONNECTED when its socket has gone, or when nobody is at the other end. So the server is asked
        a question that it must answer within 10 s. Without an answer, step by step until one helps: the page connects anew; the
        page is loaded anew; the browser is started anew on the same profile, after which `authenticated` and `ready` come once
        more.

        Return False when there is no login yet, and when the server cannot be reached at all: then nothing is repaired, and the
        page comes back by itself. Call it now and then, or before what must not fail; calls at the same time follow each other.

        Raises:
            BrowserClosed: The client is not initialized, or its browser ended meanwhile.
            SessionClosed: The client was destroyed or disconnected meanwhile.
            AuthTimeout: The new browser did not become `ready` in time; so may all that `initialize()` raises.
        """
        async with self._checking:
            launch = self._running()
            if not launch.login.ready:
                return False
            if await _check.is_alive(launch) or await _check.reconnect(launch):
                return True
            if not await _check.is_reachable(launch):
                return False
            if await _check.reload(launch):
                return True
            _log.warning("the connection is still dead: starting the browser anew")
            await _end_of(self._close(launch, relaunch=True))
            # Where it does not come up, it is tried until it does, also when this wait is over.
            await self.wait_for(Event.READY, timeout=self.options.ready_timeout_ms / 1000)
            return True

    async def flush_storage(self) -> None:
        """
        Bring the page's localStorage to the disk now, where Chromium may keep it back for up to a minute.

        Best effort: it never raises, and takes at most a few seconds. The files change some 0.3 s after it. A strategy calls
        it before it copies the profile.
        """
        if self._launch is not None and self._launch.closing is None:
            with suppress(BrowserClosed):
                await flush_local_storage(self._launch.browser.context)

    async def browser_version(self) -> int | None:
        """Return the major version of the browser that a launch starts; None: it cannot be told before."""
        if self.options.cdp_url is not None:
            return None
        try:
            path = find_chromium(self.options.launch_options, bundled="")
        except BrowserNotFound:
            return None
        return await major_version(path) if path else None

    def fail(self, exc: WWAuthError) -> None:
        """
        End this launch because its strategy cannot go on, from outside of a hook; nothing when none is under way.

        An `initialize()` that has not returned raises `exc`; later, `error(exc)` and `disconnected('STRATEGY_FAILED')` follow.
        """
        if self._launch is not None:
            self._launch.abort(exc)

    # What a login asks of its client --------------------------------------------------------------------------------

    def _running(self) -> Launch:
        if self._launch is None:
            raise BrowserClosed("the client is not initialized: await client.initialize() first")
        return self._launch

    def _close(
        self, launch: Launch, *, reason: str | None = None, logout: bool = False, relaunch: bool = False
    ) -> asyncio.Task[None]:
        """Begin to close a launch, once; all who ask wait for the same task."""
        if launch.closing is None:
            launch.logs_out |= logout
            shut = self._shut(launch, reason, relaunch=relaunch)
            launch.closing = asyncio.create_task(shut, name="wwauth: close")
        return launch.closing

    async def _shut(self, launch: Launch, reason: str | None, *, relaunch: bool) -> None:
        strategy = self.auth_strategy
        if launch.starting is not None and not launch.starting.done():
            launch.starting.cancel()
            await asyncio.wait([launch.starting])
        try:
            if reason is not None and not launch.logs_out:
                await self._guarded(launch, call_hook(strategy, "disconnect"))
            await launch.stop_tasks()
            launch.login.close()
            await self._guarded(launch, launch.browser.stop())
            if not launch.logs_out:
                await self._guarded(launch, call_hook(strategy, "destroy"))
            if launch.logs_out:
                await self._guarded(launch, call_hook(strategy, "logout"))
                reason = LOGOUT
        finally:
            self._launch = None
            guard.remove(self)
        if relaunch and not launch.unwanted:
            self._relaunch.begin(reason)
        elif not launch.restarts or launch.unwanted:
            self._over = launch.failure or _closed(reason)
        if reason is not None:
            self.emit(Event.DISCONNECTED, reason)
        if self._over is not None:
            self._fail_waiters(self._over)

    async def _guarded(self, launch: Launch, step: Awaitable[None]) -> None:
        try:
            await step
        except Exception as exc:  # noqa: BLE001 - whatever fails on the way out, the rest of the way is gone
            error = exc.error if isinstance(exc, HookFailed) else exc
            launch.end_errors.append(error)
            self.emit(Event.ERROR, error)

    async def _ended(self, launch: Launch, closing: asyncio.Task[None]) -> None:
        """Wait for the end of a launch, and raise what went wrong on the way."""
        if closing is not asyncio.current_task():
            await _end_of(closing)
            if launch.end_errors:
                raise launch.end_errors[0]

    async def _no_relaunch(self) -> None:
        if await self._relaunch.cancel():
            self._gave_up(_closed(None))

    def _gave_up(self, exc: Exception) -> None:
        """Take note that the client will not start again by itself."""
        if not isinstance(exc, SessionClosed):
            self.emit(Event.ERROR, exc)
        self._over = exc
        self._fail_waiters(exc)


def _closed(reason: str | None) -> SessionClosed:
    if reason is None:
        return SessionClosed("the client was destroyed: initialize() starts it again")
    return SessionClosed(f"the client was disconnected: {reason}", reason=reason)


async def _end_of(closing: asyncio.Task[None]) -> None:
    """Wait until a launch has ended, unless the caller is a hook of that very end, which would wait for itself."""
    if closing is not asyncio.current_task():
        await asyncio.shield(closing)


def _refuse_foreign_profile(launch_options: Mapping[str, Any], strategy: AuthStrategy) -> None:
    args = launch_options.get("args") or []
    if any(key in launch_options for key in _LAUNCH_OWNED) or any("--user-data-dir" in str(arg) for arg in args):
        raise ConfigurationError(
            f"{type(strategy).__name__} is not compatible with a user_data_dir in launch_options: the strategy says where the "
            "profile is, as LocalAuth(data_path=…) does"
        )
