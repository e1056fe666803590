"""One launch of a client's browser: how it starts, and what runs beside it."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ._hooks import HookFailed, call_hook
from ._login import Login
from ._relaunch import BROWSER_CLOSED
from ._urls import without_query
from .errors import AuthenticationFailed, AuthTimeout, BrowserClosed, WWAuthError
from .events import Event
from .web.attach import AttachedBrowser
from .web.bridge import Bridge
from .web.diagnostics import Diagnostics
from .web.launched import LaunchedBrowser
from .web.web_version import WebVersion

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from playwright.async_api import Page

    from .abc import AuthenticationNeeded
    from .client import Client
    from .web.bridge import PageReport
    from .web.browser import Browser

_log = logging.getLogger(__name__)

# whatsapp-web.js comes from here, too: its LegacySessionAuth tells the library's own navigation by it.
_REFERER = "https://whatsapp.com/"

STRATEGY_FAILED = "STRATEGY_FAILED"

# At most so many seconds between two words to the page.
_BEAT = 5.0

# A page that is lost this often within this many seconds is not opened again.
_MAX_PAGE_CRASHES = 3
_PAGE_CRASHES_WITHIN = 300.0


class Launch:
    """
    One launch of the browser, from `initialize()` to the end; also the `Host` of its login.

    Attributes:
        starting: Runs `start`.
        closing: Ends this launch, whoever began that; None while it lives.
        restart: Answers a refused login: closes, and initializes the client again where the strategy wants it.
        failure: Why this launch ends, when it is not for `destroy()` or a word of the page.
        unwanted: Set by `destroy()` and `logout()`: nothing follows this launch.
        logs_out: The end deletes what the strategy keeps; set while it is under way, too.
        restarts: Another one follows a refused login.
        end_errors: What went wrong on the way out.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.options = client.options
        self.auth_strategy = client.auth_strategy
        self.emit = client.emit
        self.login = Login(self)
        browser = LaunchedBrowser if client.options.cdp_url is None else AttachedBrowser
        self.browser: Browser = browser(client.options, self._browser_closed)
        self._web_version = WebVersion(client.options)
        self.starting: asyncio.Task[None] | None = None
        self.closing: asyncio.Task[None] | None = None
        self.restart: asyncio.Task[None] | None = None
        self.failure: Exception | None = None
        self.unwanted = False
        self.logs_out = False
        self.restarts = False
        self.end_errors: list[Exception] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._page_crashes: list[float] = []
        self._loading = True
        self._lost: Page | None = None
        self._diagnostics = Diagnostics.of(client.options, client.auth_strategy)

    async def start(self) -> None:
        """Start the browser and go to the page; return when the page's login state is known. See `Client.initialize`."""
        from playwright.async_api import Error  # noqa: PLC0415 - 0.3 s that only a launch needs

        try:
            await self._start()
        except HookFailed as failed:
            raise failed.error from failed.error.__cause__
        except Error as exc:
            if self.browser.is_gone(exc):
                raise BrowserClosed("the browser was closed or crashed while the client was initialized") from exc
            raise

    async def _start(self) -> None:
        strategy, login = self.auth_strategy, self.login
        await call_hook(strategy, "before_browser_initialized")
        await self.browser.start(strategy.user_data_dir)
        await self._web_version.load(self.browser)
        await self._prepare_page()
        self.task(login.run(), "login")
        self.task(self._beat(), "heartbeat")
        await self._load_page()
        await self._within_bound(asyncio.shield(login.known), "a known login state")

    async def _load_page(self) -> None:
        self._loading = True
        await self._within_bound(self._open(), "opening the page")
        await self._within_bound(self.login.alive.wait(), "the page's first sign of life")
        self._loading = False

    async def _beat(self) -> None:
        """Tell the page for how long it may go on, and replace one that left because it was not told in time."""
        while (left := self.auth_strategy.lease_remaining) is not None:
            if left > 0:
                with suppress(WWAuthError):  # a page that is being loaded has that time anew
                    await self.login.ask("beat", {"seconds": left, "at": time.time()})
                if not self._loading and self.browser.page.url == "about:blank":
                    self._page_lost(self.browser.page, "was not heard of in time and left WhatsApp")
            await asyncio.sleep(min(_BEAT, max(left, 0) / 8 + 0.05))

    async def _prepare_page(self) -> None:
        page = self.browser.page
        page.on("crash", self._page_crashed)
        page.on("close", self._page_closed)
        self._diagnostics.listen(page)
        bridge = Bridge(page, self._reported)
        await bridge.install(self.options, lease=self.auth_strategy.lease_remaining)
        self.login.bridge = bridge
        await call_hook(self.auth_strategy, "after_browser_initialized")
        await self._web_version.install(page)
        if self.options.eval_on_new_doc is not None:
            await page.add_init_script(self.options.eval_on_new_doc)

    def _reported(self, report: PageReport) -> None:
        if self._web_version.is_news(report):
            self.task(self._web_version.told(report.version or ""), "web version")
        self.login.report(report)

    def end(self, reason: str, *, logout: bool = False) -> None:
        """Begin to close the browser, then emit `disconnected`; what the options want follows."""
        self._client._close(self, reason=reason, logout=logout, relaunch=self._client._relaunch.is_wanted(self, reason))

    def authentication_failed(self, answer: AuthenticationNeeded) -> None:
        """Close the browser and start again, as the answer says; after a failure, `auth_failure` is emitted before."""
        self.restart = asyncio.create_task(self._fail_authentication(answer), name="wwauth: auth_failure")
        if self.starting is None or self.starting.done():  # else initialize() awaits it
            self.restart.add_done_callback(self._task_done)

    def failed(self, exc: WWAuthError) -> None:
        """Emit `error` and fail what waits, leaving the browser open for a look."""
        self.task(self._fail(exc), "failure")

    async def _fail(self, exc: WWAuthError) -> None:
        await self._diagnostics.save(exc)
        self.emit(Event.ERROR, exc)
        self._client._fail_waiters(exc)

    def strategy_failed(self, exc: WWAuthError) -> None:
        """Emit `error`, fail what waits, and begin to close the browser."""
        if self.closing is None:
            self.failure = exc
            self.end(STRATEGY_FAILED)
        self.emit(Event.ERROR, exc)

    def abort(self, exc: WWAuthError) -> None:
        """End this launch because its strategy cannot go on; an `initialize()` that is under way raises `exc`."""
        if self.closing is None and not self._end_start(exc):
            self.strategy_failed(exc)

    def _end_start(self, exc: WWAuthError) -> bool:
        """Let an `initialize()` that is under way raise `exc`; False: none is."""
        if self.starting is None or self.starting.done():
            return False
        self.failure = exc
        self.starting.cancel()
        return True

    def task(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a task that ends with this launch, and whose exception is emitted as `error`; none once that has ended."""
        task = asyncio.create_task(coroutine, name=f"wwauth: {name}")
        if self._stopped:
            task.cancel()
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    async def stop_tasks(self) -> None:
        """Cancel the tasks, those that are still to come, too, and wait for their end."""
        self._stopped = True
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
                self.browser.check_proxy()
                if page != self.browser.page or "crashed" in exc.message:
                    self._page_crashed(page)
                    return
                if page.is_closed():
                    raise BrowserClosed("the browser was closed while it opened the page") from exc
                moved = "net::ERR_ABORTED" in exc.message or "interrupted by another navigation" in exc.message
                if moved and page.url != "about:blank":
                    return  # the page itself went on to another address
                _log.warning("WhatsApp Web cannot be opened, trying again: %s", _first_line(exc.message))
                await asyncio.sleep(1)
            else:
                self.browser.check_proxy()
                return

    async def _within_bound(self, step: Awaitable[object], phase: str) -> None:
        bound = self.options.auth_timeout_ms / 1000
        try:
            async with asyncio.timeout(bound):
                await step
        except TimeoutError as exc:
            if isinstance(exc, WWAuthError):
                raise
            url, state = without_query(self.browser.page.url), self.login.level.state
            error = AuthTimeout(
                f"{phase} took more than {bound:g} s at {url} (state {state}): is the address right and the network there? "
                "auth_timeout_ms raises the bound",
                phase=phase,
                url=url,
                last_state=state,
            )
            await self._diagnostics.save(error)
            raise error from exc

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            self.emit(Event.ERROR, exc)

    async def _fail_authentication(self, answer: AuthenticationNeeded) -> None:
        self.restarts = answer.restart if answer.failed else answer.retry
        if answer.failed:
            self.failure = AuthenticationFailed("the page does not take the strategy's login: link the device anew")
            await self._diagnostics.save(self.failure)
            self.emit(Event.AUTH_FAILURE, answer.failure_event_payload)
        if self.starting is not None:
            await asyncio.wait([self.starting])
        await self._client._close(self)
        if self.restarts and not self.unwanted:
            await self._client._start()

    def _browser_closed(self) -> None:
        gone = BrowserClosed("the browser was closed or crashed while the client was initialized")
        if self.closing is None and not self._end_start(gone):
            self.end(BROWSER_CLOSED)

    def _page_closed(self, page: Page) -> None:
        # A headless browser lives on without its last page. The end of the whole browser closes its pages, too, and is told by
        # the browser itself; so is the closing of a crashed page that was replaced.
        if self.browser.is_current(page):
            self._browser_closed()

    def _page_crashed(self, page: Page) -> None:
        # Told by the page, and where one crashed before anybody listened to it, by `_open`.
        self._page_lost(page, "crashed")

    def _page_lost(self, page: Page, why: str) -> None:
        if self.closing is None and self.browser.is_current(page) and page != self._lost:
            self._lost = page
            self._loading = True
            _log.warning("the page %s: opening it anew", why)
            self.task(self._replace_page(), "page lost")

    async def _replace_page(self) -> None:
        """Open another page in place of one that is lost: Playwright's page object never recovers from a crash."""
        now = time.monotonic()
        self._page_crashes = [crash for crash in self._page_crashes if now - crash < _PAGE_CRASHES_WITHIN] + [now]
        if len(self._page_crashes) > _MAX_PAGE_CRASHES:
            _log.error("the page was lost %d times in a row: closing the browser", len(self._page_crashes))
            self._browser_closed()
            return
        try:
            async with asyncio.timeout(self.options.auth_timeout_ms / 1000):
                await self.browser.replace_page()
                await self._prepare_page()
            self.login.alive.clear()
            await self._load_page()
        except HookFailed as failure:
            self.strategy_failed(failure.error)
        except Exception as exc:
            _log.error("the page could not be opened anew: %s", exc)
            self._browser_closed()
            if not isinstance(exc, BrowserClosed | TimeoutError):
                raise


def _first_line(message: str) -> str:
    # What follows is Playwright's call log, with the whole address.
    return message.splitlines()[0].partition(" at http")[0]
