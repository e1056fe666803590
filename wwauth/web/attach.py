"""A browser that runs already: a page in it is the client's, the browser is not."""

from __future__ import annotations

import asyncio
import http.client
import logging
import re
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .._urls import without_query
from ..errors import AuthTimeout, BrowserClosed, ConfigurationError
from .browser import CLOSE_TIMEOUT, Browser, to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.async_api import Browser as PlaywrightBrowser
    from playwright.async_api import CDPSession, Page

    from ..options import ClientOptions

_log = logging.getLogger(__name__)

_CONNECT_TIMEOUT = 15.0
_HTTP_TIMEOUT = 2.0
_WATCH_INTERVAL = 1.0

# What `headless` says of a browser that runs already is what it is.
_HARMLESS_OPTIONS = {"headless"}

# Playwright repeats the address in what it raises, and its query or user may be a secret.
_SECRETS = re.compile(r"(?<=//)[^/@\s]+@|\?\S*")


def refuse_profile(strategy: str, user_data_dir: Path | None) -> None:
    """
    Raise when a strategy has a profile of its own, since a browser that runs already has its own, too.

    Raises:
        ConfigurationError: It has.
    """
    if user_data_dir is not None:
        raise ConfigurationError(
            f"{strategy} keeps the login in a profile of its own ({user_data_dir}), and cdp_url is a browser that runs on "
            "another one already: use NoAuth() there, or leave out cdp_url and let wwauth start the browser"
        )


@dataclass
class _Tab:
    """What must not outlive this process; apart from the browser, for the finalizer that runs at interpreter exit."""

    cdp_url: str
    target: str | None = None

    def close(self) -> None:
        """Ask the browser over HTTP to close the page, for when Playwright's driver has gone. Blocks; never raises."""
        target, self.target = self.target, None
        if target is None:
            return
        parts = urlsplit(self.cdp_url)
        kind = http.client.HTTPSConnection if parts.scheme in {"https", "wss"} else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=_HTTP_TIMEOUT)
        try:
            connection.request("GET", f"/json/close/{target}" + (f"?{parts.query}" if parts.query else ""))
            connection.getresponse().read()
        except ConnectionRefusedError:
            pass  # the browser has gone, and the page with it
        except (OSError, http.client.HTTPException) as exc:
            _log.warning("the page in the browser at %s was not closed: %s", without_query(self.cdp_url), exc)
        finally:
            connection.close()


class AttachedBrowser(Browser):
    """A page of its own in a browser that runs already. Neither `stop` nor anything else ends that browser."""

    def __init__(self, options: ClientOptions, on_closed: Callable[[], None]) -> None:
        super().__init__(options, on_closed)
        self._url = options.cdp_url or ""
        self._session: CDPSession | None = None
        self._tab = _Tab(self._url)

    async def start(self, user_data_dir: Path | None) -> None:
        """
        Connect to the browser, and open a page in its default context.

        Raises:
            ConfigurationError: The strategy has a profile of its own.
            BrowserClosed: No browser answers there, or it ended meanwhile.
            AuthTimeout: It did not answer in time.
        """
        from playwright.async_api import Error  # noqa: PLC0415 - 0.3 s that only a launch needs

        refuse_profile("this strategy", user_data_dir)
        if ignored := sorted(set(self.options.launch_options) - _HARMLESS_OPTIONS):
            _log.warning("launch_options have no effect on a browser that runs already: %s", ", ".join(ignored))
        weakref.finalize(self, _Tab.close, self._tab)
        playwright = await self._start_driver()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                connection = await playwright.chromium.connect_over_cdp(self._url, timeout=0)
                connection.on("disconnected", lambda _: self._closed())
                self._context = connection.contexts[0]
                self._page = await to_the_end(self._context.new_page(), lambda page: page.close())
                await self._look_at_browser(connection)
        except (Error, TimeoutError) as exc:
            # Without the original, which has the whole address.
            raise self._connect_error(exc) from None
        self._watch = asyncio.create_task(self._watch_connection(), name="wwauth: browser watch")

    async def stop(self) -> None:
        """Close the page and disconnect, leaving the browser running; one that has gone is no error."""
        self._stopping = True
        try:
            self._end_watch()
            if self._page is not None and await self._close_page(self._page):
                self._tab.target = None
            await self._stop_driver()
        finally:
            await asyncio.to_thread(self._tab.close)
            self._context = self._page = self._session = None

    def abandon(self) -> None:
        """Close the page, at once and blocking: the process is about to end."""
        self._tab.close()

    async def _look_at_browser(self, connection: PlaywrightBrowser) -> None:
        self._session = await connection.new_browser_cdp_session()
        self._own_user_agent = (await self._session.send("Browser.getVersion"))["userAgent"]
        await self._set_up(self.page)

    async def _set_up(self, page: Page) -> None:
        # What a launch says to the browser once is said to each page here; the session lives as long as the page.
        session = await page.context.new_cdp_session(page)
        self._tab.target = (await session.send("Target.getTargetInfo"))["targetInfo"]["targetId"]
        if self.options.bypass_csp:
            await session.send("Page.setBypassCSP", {"enabled": True})
        if self.options.user_agent is not None:
            await self._override_user_agent(page, self.options.user_agent)
        await super()._set_up(page)

    async def _close_page(self, page: Page) -> bool:
        """Close the page; False when the browser was not there to be asked, or its driver was not."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await page.close()  # which is silent, too, when there is nobody to ask
                await self._say_something()
        except Exception as exc:  # noqa: BLE001 - what Playwright raises when its driver has gone has no type of its own
            _log.debug("the page was not closed by Playwright: %s", exc)
            return False
        return True

    async def _watch_connection(self) -> None:
        """Notice what Playwright does not tell of: the end of its driver."""
        try:
            while True:
                await self._say_something()
                await asyncio.sleep(_WATCH_INTERVAL)
        except Exception as exc:  # noqa: BLE001 - whatever it is, nobody answers any more
            _log.debug("the connection to the browser has ended: %s", exc)
            self._closed()

    async def _say_something(self) -> None:
        """Raise when nobody answers."""
        if self._session is None:
            raise BrowserClosed("the browser is not connected")
        await self._session.send("Browser.getVersion")

    def _connect_error(self, exc: Exception) -> Exception:
        shown = without_query(self._url)
        if isinstance(exc, TimeoutError):
            return AuthTimeout(
                f"the browser at {shown} did not answer within {_CONNECT_TIMEOUT:g} s: is that the address of its DevTools?",
                phase="the connection to the browser",
            )
        first = _SECRETS.sub("", (str(exc).strip().splitlines() or [""])[0])
        return BrowserClosed(
            f"no browser answers at {shown} ({first}): start it with --remote-debugging-port, and let cdp_url name that port"
        )
