"""What a client needs of a browser, whether it was started for it or ran already."""

from __future__ import annotations

import abc
import asyncio
import logging
import platform
from typing import TYPE_CHECKING, Any, TypeVar

from .._proxy import proxy_of
from ..errors import BrowserClosed, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from playwright.async_api import APIRequestContext, BrowserContext, Page, Playwright, Response

    from ..options import ClientOptions

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

CLOSE_TIMEOUT = 5.0
"""Seconds for what closes gracefully: that flushes localStorage. What hangs is ended by force."""

_NEW_PAGES = 3
_NEW_PAGE_PAUSE = 0.5
_NEW_PAGE_TIMEOUT = 8.0

_PROXY_AUTHENTICATION_REQUIRED = 407

# As browsers call themselves in their user agent, and in `Sec-CH-UA-Platform`.
_PLATFORMS = {"Windows NT": "Windows", "Mac OS X": "macOS", "CrOS": "Chrome OS", "Android": "Android", "Linux": "Linux"}


class Browser(abc.ABC):
    """
    A browser with a page for WhatsApp Web. `start` it once, `stop` it once.

    Attributes:
        user_data_dir: The profile's folder; None before `start`, and in a browser that ran already.
        pid: The browser's main process; likewise.
        proxy_refused: The proxy has answered the page's request with its own: for a password, or for another one.
    """

    def __init__(self, options: ClientOptions, on_closed: Callable[[], None]) -> None:
        self.options = options
        self.on_closed = on_closed
        self.user_data_dir: Path | None = None
        self.pid: int | None = None
        self.proxy_refused = False
        self._playwright: Playwright | None = None
        self._context: BrowserContext | None = None
        self._page: Page | None = None
        self._own_user_agent = ""
        self._stopping = False
        self._watch: asyncio.Task[None] | None = None

    @abc.abstractmethod
    async def start(self, user_data_dir: Path | None) -> None:
        """Bring the browser and its page up; `user_data_dir` is the profile that the strategy wants, None: any."""

    @abc.abstractmethod
    async def stop(self) -> None:
        """End what `start` began; what has ended already is no error."""

    @abc.abstractmethod
    def abandon(self) -> None:
        """End it at once, and blocking: the process is about to end."""

    @property
    def context(self) -> BrowserContext:
        """Playwright's context that the page is in; `BrowserClosed` when there is none."""
        if self._context is None:
            raise BrowserClosed("the browser is not running: await client.initialize() first")
        return self._context

    @property
    def page(self) -> Page:
        """The page that WhatsApp Web is shown in; `BrowserClosed` when there is none."""
        if self._page is None:
            raise BrowserClosed("the browser is not running: await client.initialize() first")
        return self._page

    async def requests(self) -> APIRequestContext:
        """Return what sends requests of wwauth's own, through the proxy, without the profile's cookies; dispose of it."""
        if self._playwright is None:
            raise BrowserClosed("the browser is not running: await client.initialize() first")
        return await self._playwright.request.new_context(
            proxy=self._proxy(),  # type: ignore[arg-type]
            ignore_https_errors=bool(self.options.launch_options.get("ignore_https_errors")),
        )

    def _proxy(self) -> dict[str, str] | None:
        """Return the proxy of the launch options, with the password for it."""
        proxy, authentication = proxy_of(self.options.launch_options), self.options.proxy_authentication
        if proxy is None or authentication is None:
            return proxy
        return {**proxy, "username": authentication.username, "password": authentication.password}

    def is_current(self, page: Page) -> bool:
        """Tell whether this is the page that WhatsApp Web is shown in, in a browser that is meant to run."""
        return not self._stopping and page == self._page

    async def replace_page(self) -> None:
        """Put a new page in the place of one that crashed."""
        crashed, self._page = self.page, await self._new_page()
        await self._set_up(self._page)
        await bounded(crashed.close(), CLOSE_TIMEOUT, "the crashed page did not close")

    async def _new_page(self) -> Page:
        from playwright.async_api import Error  # noqa: PLC0415

        for _ in range(_NEW_PAGES):
            try:
                async with asyncio.timeout(_NEW_PAGE_TIMEOUT):
                    return await self.context.new_page()
            except (Error, TimeoutError) as exc:
                # What killed one renderer, the system's want of memory above all, may kill the next as it starts; then
                # Playwright says so, or waits for it for ever.
                _log.warning("no new page could be opened, trying again: %s", str(exc).partition("\n")[0] or "no answer")
                await asyncio.sleep(_NEW_PAGE_PAUSE)
        raise BrowserClosed("no new page could be opened in the place of one that crashed")

    def is_gone(self, exc: Exception) -> bool:
        """Tell whether Playwright raised this because the browser has ended."""
        return "has been closed" in str(exc) or self._page is None or self._page.is_closed()

    def check_proxy(self) -> None:
        """
        Raise when the proxy did not let the page through.

        Raises:
            ConfigurationError: It wants another user name or password.
        """
        if not self.proxy_refused:
            return
        if self.options.proxy_authentication is not None:
            raise ConfigurationError(
                "the proxy refuses the username and password of proxy_authentication: it answered 407. Give those that it takes"
            )
        raise ConfigurationError(
            "the proxy asks for a username and a password: it answered 407. Give them as "
            "proxy_authentication={'username': …, 'password': …}"
        )

    async def _start_driver(self) -> Playwright:
        from playwright.async_api import async_playwright  # noqa: PLC0415 - 0.3 s that only a launch needs

        try:
            self._playwright = await to_the_end(async_playwright().start(), lambda driver: driver.stop())
        except Exception as exc:
            # Playwright raises what has no type of its own when its driver dies so early.
            raise BrowserClosed(f"Playwright's driver did not start: {exc}") from exc
        return self._playwright

    async def _stop_driver(self) -> None:
        driver, self._playwright = self._playwright, None
        if driver is not None:
            await bounded(driver.stop(), CLOSE_TIMEOUT, "Playwright's driver did not stop")

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _closed(self) -> None:
        if not self._stopping:
            self.on_closed()

    async def _set_up(self, page: Page) -> None:
        """Prepare a page before it goes anywhere."""
        page.on("response", self._answered)
        chosen = self.options.user_agent is not None or "user_agent" in self.options.launch_options
        if not chosen and "Headless" in self._own_user_agent:
            # WhatsApp Web is made for browsers that people use; the headless one differs in this word alone.
            await self._override_user_agent(page, self._own_user_agent.replace("HeadlessChrome", "Chrome"))

    async def _override_user_agent(self, page: Page, user_agent: str) -> None:
        # Without metadata Chromium would send no `Sec-CH-UA` headers at all, which no browser of a person's does. What is not
        # named here, such as the brands, stays as it is. The session lives as long as the page, and the override with it.
        session = await page.context.new_cdp_session(page)
        arm = platform.machine().lower() in {"arm64", "aarch64"}
        metadata = {
            "platform": next((name for sign, name in _PLATFORMS.items() if sign in user_agent), ""),
            "platformVersion": "",
            "architecture": "arm" if arm else "x86",
            "model": "",
            "mobile": "Mobile" in user_agent,
        }
        await session.send("Emulation.setUserAgentOverride", {"userAgent": user_agent, "userAgentMetadata": metadata})

    def _answered(self, response: Response) -> None:
        # Of a tunnel, too: the page's own server never answers so.
        if response.status != _PROXY_AUTHENTICATION_REQUIRED or not response.request.is_navigation_request():
            return
        if response.frame.parent_frame is None:
            self.proxy_refused = True


async def to_the_end(
    starting: Coroutine[Any, Any, _T], undo: Callable[[_T], Awaitable[None]], hurry: Callable[[], None] | None = None
) -> _T:
    """
    Await a start that leaves processes and pipes behind when it is cancelled half-way.

    A cancellation waits for its end, calling `hurry` when that is long in coming, undoes it, and is raised then.
    """
    task = asyncio.ensure_future(starting)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        _, late = await asyncio.wait([task], timeout=CLOSE_TIMEOUT)
        if late and hurry is not None:
            hurry()
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            await undo(task.result())
        raise


async def bounded(awaitable: Awaitable[object], timeout: float, complaint: str) -> bool:
    """Await, for so many seconds at most; False, and a warning, when that was not enough."""
    try:
        async with asyncio.timeout(timeout):
            await awaitable
    except TimeoutError:
        _log.warning("%s (%g s)", complaint, timeout)
        return False
    return True
