"""One launch of a client's browser: how it starts, and what runs beside it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from ._login import Login
from .errors import AuthTimeout, BrowserClosed, WWAuthError
from .events import Event
from .web.bridge import Bridge
from .web.browser import Browser, without_query

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from .abc import AuthenticationNeeded
    from .client import Client

_log = logging.getLogger(__name__)

# whatsapp-web.js comes from here, too: its LegacySessionAuth tells the library's own navigation by it.
_REFERER = "https://whatsapp.com/"


class Launch:
    """
    One launch of the browser, from `initialize()` to the end; also the `Host` of its login.

    Attributes:
        starting: Runs `start`.
        closing: Ends this launch, whoever began that; None while it lives.
        restart: Answers a refused login: closes, and initializes the client again where the strategy wants it.
        failure: Why `starting` was cancelled, when it was not for `destroy()`.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.options = client.options
        self.auth_strategy = client.auth_strategy
        self.emit = client.emit
        self.login = Login(self)
        self.browser = Browser(client.options, on_closed=self._browser_closed)
        self.starting: asyncio.Task[None] | None = None
        self.closing: asyncio.Task[None] | None = None
        self.restart: asyncio.Task[None] | None = None
        self.failure: WWAuthError | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the browser and go to the page; return when the page's login state is known. See `Client.initialize`."""
        from playwright.async_api import Error  # noqa: PLC0415 - 0.3 s that only a launch needs

        try:
            await self._start()
        except Error as exc:
            if self.browser.is_gone(exc):
                raise BrowserClosed("the browser was closed or crashed while the client was initialized") from exc
            raise

    async def _start(self) -> None:
        strategy, options, login, browser = self.auth_strategy, self.options, self.login, self.browser
        await strategy.before_browser_initialized()
        await browser.start(strategy.user_data_dir)
        login.bridge = Bridge(browser.page, login.report)
        await login.bridge.install(options)
        await strategy.after_browser_initialized()
        if options.eval_on_new_doc is not None:
            await browser.page.add_init_script(options.eval_on_new_doc)
        self.task(login.run(), "login")
        await self._within_bound(self._open(), "opening the page")
        await self._within_bound(login.alive.wait(), "the page's first sign of life")
        await self._within_bound(asyncio.shield(login.known), "a known login state")

    def end(self, reason: str, *, logout: bool = False) -> None:
        """Begin to close the browser, then emit `disconnected`."""
        self._client._close(self, reason=reason, logout=logout)

    def authentication_failed(self, answer: AuthenticationNeeded) -> None:
        """Emit `auth_failure`, close the browser, and start again where the answer says so."""
        self.restart = asyncio.create_task(self._fail_authentication(answer), name="wwauth: auth_failure")
        if self.starting is None or self.starting.done():  # else initialize() awaits it
            self.restart.add_done_callback(self._task_done)

    def failed(self, exc: WWAuthError) -> None:
        """Emit `error` and fail what waits, leaving the browser open for a look."""
        self.emit(Event.ERROR, exc)
        self._client._fail_waiters(exc)

    def task(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a task that ends with this launch, and whose exception is emitted as `error`."""
        task = asyncio.create_task(coroutine, name=f"wwauth: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    async def stop_tasks(self) -> None:
        """Cancel the tasks and wait for their end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _open(self) -> None:
        """Go to WhatsApp Web; a network that is not there yet is tried again until the bound ends."""
        from playwright.async_api import Error  # noqa: PLC0415

        page = self.browser.page
        while True:
            try:
                await page.goto(self.options.web_url, wait_until="commit", timeout=0, referer=_REFERER)
            except Error as exc:
                if page.is_closed():
                    raise BrowserClosed("the browser was closed while it opened the page") from exc
                if "net::ERR_ABORTED" in exc.message or "interrupted by another navigation" in exc.message:
                    return  # the page itself went on to another address
                _log.warning("WhatsApp Web cannot be opened, trying again: %s", _first_line(exc.message))
                await asyncio.sleep(1)
            else:
                return

    async def _within_bound(self, step: Awaitable[object], phase: str) -> None:
        bound = self.options.auth_timeout_ms / 1000
        try:
            await asyncio.wait_for(step, bound)
        except TimeoutError as exc:
            if isinstance(exc, WWAuthError):
                raise
            url, state = without_query(self.browser.page.url), self.login.level.state
            raise AuthTimeout(
                f"no {phase} within {bound:g} s at {url} (state {state}): is the address right and the network there? "
                "auth_timeout_ms raises the bound",
                phase=phase,
                url=url,
                last_state=state,
            ) from exc

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            self.emit(Event.ERROR, exc)

    async def _fail_authentication(self, answer: AuthenticationNeeded) -> None:
        self.emit(Event.AUTH_FAILURE, answer.failure_event_payload)
        if self.starting is not None:
            await asyncio.wait([self.starting])
        await self._client._close(self)
        if answer.restart:
            await self._client.initialize()

    def _browser_closed(self) -> None:
        if self.starting is not None and not self.starting.done():
            self.failure = BrowserClosed("the browser was closed or crashed while the client was initialized")
            self.starting.cancel()
        else:
            self.end("BROWSER_CLOSED")


def _first_line(message: str) -> str:
    # What follows is Playwright's call log, with the whole address.
    return message.splitlines()[0].partition(" at http")[0]
