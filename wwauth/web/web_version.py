"""Which build of WhatsApp Web the page is: the live one, or one whose document was kept."""

from __future__ import annotations

import asyncio
import base64
import logging
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .._files import replacing
from .._threads import in_thread
from .._urls import without_query
from ..errors import WebVersionUnavailable
from ..options import is_version

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import CDPSession, Page, Response

    from .._threads import Stop
    from ..options import ClientOptions
    from .bridge import PageReport
    from .browser import Browser

_log = logging.getLogger(__name__)

_FETCH_TIMEOUT = 20.0

# A document that came from the cache may be told to be "not modified".
_COMPLETE = {200, 304}


# Chromium's names of the permission, in turn.
_LOCAL_NETWORK = ("loopback-network", "local-network", "local-network-access")


class WebVersion:
    """
    Serves the document of the version that the options ask for, and records that of the live page, as whatsapp-web.js does.

    Only the document itself is replaced, and only in the page's main frame: its scripts come from the site, and the origin
    stays, with all that is stored there. It is served without the live one's headers. Its Content-Security-Policy, above
    all, names the live document's nonces, which an older document does not have.
    """

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._cache = options.web_version_cache
        self._served: bytes | None = None
        self._live: Response | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def load(self, browser: Browser) -> None:
        """
        Get the document that is asked for, where one is.

        Raises:
            WebVersionUnavailable: It cannot be had, and the cache is `strict`.
        """
        version = self._options.web_version
        if version is None:
            return
        if self._cache.type == "none":
            _log.warning(
                "web_version %r has no effect without a place to get it from: pass web_version_cache={'type': 'local'}", version
            )
            return
        try:
            if self._cache.type == "local":
                self._served = await asyncio.to_thread(_read, self._cache.file_of(version), version)
            else:
                self._served = await self._fetch(browser, version)
        except WebVersionUnavailable as exc:
            if self._cache.strict:
                raise
            _log.warning("%s; using the live page", exc)

    async def install(self, page: Page) -> None:
        """Serve or record what this page loads from now on; call it before the first navigation."""
        if self._served is not None:
            await self._serve(page, self._served)
        elif self._cache.type == "local":
            page.on("response", self._answered)

    def is_news(self, report: PageReport) -> bool:
        """Tell whether a report is one that `told` wants."""
        return report.edge == "alive" and report.version is not None

    async def told(self, version: str) -> None:
        """Take note of the version that a new document tells: record a live one. It never raises."""
        asked, live, self._live = self._options.web_version, self._live, None
        if self._served is not None and asked is not None and version != asked.partition("-")[0]:
            _log.warning("the document of WhatsApp Web %s was served, and the page says that it is %s", asked, version)
        if live is None:
            return
        if not is_version(version):
            _log.warning("the live page is not recorded: it says that its version is %r", version[:80])
            return
        path = self._cache.file_of(version)
        try:
            body = await live.body()
            await in_thread(lambda stop: _write(path, body, stop))
        except Exception as exc:  # noqa: BLE001 - a cache that cannot be filled keeps no login from its life
            _log.warning("the live page was not recorded as %s: %s", path, str(exc).partition("\n")[0])

    # The live page --------------------------------------------------------------------------------------------------

    def _answered(self, response: Response) -> None:
        if not response.request.is_navigation_request() or response.status not in _COMPLETE:
            return
        if response.frame.parent_frame is None and self._is_document(response.url):
            self._live = response

    def _is_document(self, url: str) -> bool:
        """Tell whether this is the page's own address; what follows `?` or `#` does not matter."""
        return _place(url) == _place(self._options.web_url)

    # Another one ----------------------------------------------------------------------------------------------------

    async def _serve(self, page: Page, document: bytes) -> None:
        # Playwright's own routing takes all requests of a page and switches its HTTP cache off. The session, and what it
        # changes, lasts as long as the page.
        session = await page.context.new_cdp_session(page)
        main_frame = (await session.send("Target.getTargetInfo"))["targetInfo"]["targetId"]

        def paused(event: dict[str, Any]) -> None:
            ours = event["frameId"] == main_frame and self._is_document(event["request"]["url"])
            task = asyncio.create_task(_answer(session, event["requestId"], document if ours else None))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        session.on("Fetch.requestPaused", paused)
        if self._is_local():
            await self._allow_local_network(page)
        # A service worker would answer a navigation before this is asked.
        await session.send("Network.enable")
        await session.send("Network.setBypassServiceWorker", {"bypass": True})
        await session.send("Fetch.enable", {"patterns": [{"urlPattern": "*", "resourceType": "Document"}]})

    def _is_local(self) -> bool:
        """Tell whether the site is on this machine or in a local network, or may be: a resolver rule may lead anywhere."""
        host = urlsplit(self._options.web_url).hostname or ""
        with suppress(ValueError):
            return ip_address(host).is_private
        args = self._options.launch_options.get("args") or []
        return host == "localhost" or any(str(arg).startswith("--host-resolver-rules=") for arg in args)

    async def _allow_local_network(self, page: Page) -> None:
        """Let the document reach its own site: what came from no server counts as public, which may not reach a local one."""
        from playwright.async_api import Error  # noqa: PLC0415 - 0.3 s that only a launch needs

        browser = page.context.browser
        assert browser is not None  # noqa: S101 - a persistent context has one, and so has that of a browser that ran already
        session = await browser.new_browser_cdp_session()  # what it allows, it allows as long as it lives
        parts = urlsplit(self._options.web_url)
        for name in _LOCAL_NETWORK:
            with suppress(Error):  # another version of Chromium, which has another name for it, or none
                permission = {"permission": {"name": name}, "setting": "granted", "origin": f"{parts.scheme}://{parts.netloc}"}
                await session.send("Browser.setPermission", permission)

    async def _fetch(self, browser: Browser, version: str) -> bytes:
        from playwright.async_api import Error  # noqa: PLC0415 - 0.3 s that only a launch needs

        url = self._cache.address_of(version)
        requests = await browser.requests()
        try:
            async with asyncio.timeout(_FETCH_TIMEOUT):
                response = await requests.get(url, timeout=0)
                body = await response.body()
        except TimeoutError:
            raise _unavailable(version, url, f"no answer within {_FETCH_TIMEOUT:g} s") from None
        except Error as exc:
            # Without the original, which has the whole address.
            raise _unavailable(version, url, exc.message.partition("\n")[0].partition(" http")[0]) from None
        finally:
            await requests.dispose()
        if not response.ok:
            raise _unavailable(version, url, f"status {response.status}")
        if not body.strip():
            raise _unavailable(version, url, "an empty document")
        return body


async def _answer(session: CDPSession, request: str, document: bytes | None) -> None:
    from playwright.async_api import Error  # noqa: PLC0415

    with suppress(Error):  # the page has gone, and its request with it
        if document is None:
            await session.send("Fetch.continueRequest", {"requestId": request})
            return
        await session.send(
            "Fetch.fulfillRequest",
            {
                "requestId": request,
                "responseCode": 200,
                "responseHeaders": [{"name": "content-type", "value": "text/html; charset=utf-8"}],
                "body": base64.b64encode(document).decode("ascii"),
            },
        )


def _place(url: str) -> tuple[str, str | None, int | None, str]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, port, parts.path or "/"


def _read(path: Path, version: str) -> bytes:
    try:
        document = path.read_bytes()
        reason = None if document.strip() else "it is empty"
    except OSError as exc:
        reason = exc.strerror
    if reason is not None:
        raise WebVersionUnavailable(
            f"WhatsApp Web {version} cannot be had from {path} ({reason}): put its document there, or name one that is"
        )
    return document


def _write(path: Path, document: bytes, stop: Stop) -> None:
    """Record a document, all or nothing; one that is there already as it is stays."""
    if not document.strip():
        return
    with suppress(FileNotFoundError):
        if path.read_bytes() == document:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    stop.check()
    with replacing(path) as temporary:
        temporary.write_bytes(document)


def _unavailable(version: str, url: str, reason: str) -> WebVersionUnavailable:
    return WebVersionUnavailable(
        f"WhatsApp Web {version} cannot be had from {without_query(url)} ({reason}): name a version and a remote_path that "
        "lead to a document"
    )
