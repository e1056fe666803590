"""One launch of Chromium on one profile: start it, tell when it ended, end it for certain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import sys
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from .._files import make_private_dir, remove_tree
from ..errors import AuthTimeout, BrowserClosed, BrowserNotFound, ConfigurationError, SessionInUse
from .find import find_chromium
from .processes import is_running, kill_tree, profile_owner, remove_socket_folder, socket_folder, wait_for_exit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from playwright.async_api import BrowserContext, Page, Playwright

    from ..options import ClientOptions, ProxyAuthentication

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

# The graceful close flushes localStorage, so it gets time; a browser that hangs is killed.
_CLOSE_TIMEOUT = 5.0
_KILL_TIMEOUT = 5.0

# For the browser to say that it is up, and then to answer; Playwright's own is three minutes.
_START_TIMEOUT = 30.0

_WATCH_INTERVAL = 1.0

# Puppeteer's and Playwright's browsers say that they are automated; whatsapp-web.js adds the same argument.
_NOT_AUTOMATED = "--disable-blink-features=AutomationControlled"

_NO_SANDBOX = ("No usable sandbox", "running as root without --no-sandbox", "SUID sandbox helper")
_PROFILE_IN_USE = ("ProcessSingleton", "profile appears to be in use", "exitCode=21")


@dataclass
class _Remains:
    """What must not outlive this process; apart from the Browser, for the finalizer that runs at interpreter exit."""

    pid: int | None = None
    profile: Path | None = None
    socket: Path | None = None
    throw_away: bool = False

    def clear(self) -> None:
        if self.pid is not None:
            if is_running(self.pid):
                kill_tree(self.pid)
            if self.socket is None and self.profile is not None:
                self.socket = socket_folder(self.profile, self.pid)
        if self.socket is not None:
            remove_socket_folder(self.socket)
        if self.profile is not None and self.throw_away:
            remove_tree(self.profile)
        self.pid = self.profile = self.socket = None


@dataclass(eq=False)
class Browser:
    """
    A running Chromium. `start` it once, `stop` it once; both leave nothing behind when they fail or are cancelled.

    Attributes:
        user_data_dir: The profile's folder; None before `start`.
        pid: The browser's main process; None before `start`.
    """

    options: ClientOptions
    on_closed: Callable[[], None]
    user_data_dir: Path | None = None
    pid: int | None = None
    _playwright: Playwright | None = None
    _context: BrowserContext | None = None
    _page: Page | None = None
    _remains: _Remains = field(default_factory=_Remains)
    _stopping: bool = False
    _watch: asyncio.Task[None] | None = None
    _owner_before: tuple[str, int] | None = None
    _user_agent: str = ""

    @property
    def context(self) -> BrowserContext:
        """Playwright's persistent context; `BrowserClosed` when there is none."""
        if self._context is None:
            raise BrowserClosed("the browser is not running: await client.initialize() first")
        return self._context

    @property
    def page(self) -> Page:
        """The page that WhatsApp Web is shown in; `BrowserClosed` when there is none."""
        if self._page is None:
            raise BrowserClosed("the browser is not running: await client.initialize() first")
        return self._page

    def is_current(self, page: Page) -> bool:
        """Tell whether this is the page that WhatsApp Web is shown in, in a browser that is meant to run."""
        return not self._stopping and page == self._page

    async def replace_page(self) -> None:
        """Put a new page in the place of one that crashed."""
        crashed, self._page = self.page, await self.context.new_page()
        await self._hide_headless(self._page)
        await _bounded(crashed.close(), _CLOSE_TIMEOUT, "the crashed page did not close")

    def is_gone(self, exc: Exception) -> bool:
        """Tell whether Playwright raised this because the browser has ended."""
        return "has been closed" in str(exc) or self._page is None or self._page.is_closed()

    async def start(self, user_data_dir: Path | None) -> None:
        """
        Launch Chromium on `user_data_dir`, or on a throw-away profile.

        Raises:
            BrowserNotFound: None is installed, or it cannot be started as it is.
            SessionInUse: Another browser runs on the profile.
            BrowserClosed: It ended while it started.
            AuthTimeout: It did not come up in time.
        """
        from playwright.async_api import Error, async_playwright  # noqa: PLC0415 - 0.3 s that only a launch needs

        weakref.finalize(self, _Remains.clear, self._remains)
        if user_data_dir is None:
            user_data_dir = Path(tempfile.mkdtemp(prefix="wwauth-"))
            self._remains.throw_away = True
        else:
            await asyncio.to_thread(make_private_dir, user_data_dir)
        self.user_data_dir = self._remains.profile = user_data_dir
        try:
            self._playwright = await _to_the_end(async_playwright().start(), lambda driver: driver.stop())
        except Exception as exc:
            # Playwright raises what has no type of its own when its driver dies so early.
            raise BrowserClosed(f"Playwright's driver did not start: {exc}") from exc
        arguments = self._arguments(bundled=self._playwright.chromium.executable_path)
        self._owner_before = profile_owner(user_data_dir)
        launch = self._playwright.chromium.launch_persistent_context(user_data_dir, **arguments)
        try:
            self._context = await _to_the_end(launch, lambda context: context.close(), hurry=self._kill_by_lock)
            self._context.on("close", lambda _: self._closed())
            async with asyncio.timeout(_START_TIMEOUT):
                self._page = self._context.pages[0] if self._context.pages else await self._context.new_page()
                await self._look_at_browser()
                # Known from now on, also when the profile is deleted before the browser's end.
                self._remains.socket = socket_folder(user_data_dir, self.pid) if self.pid is not None else None
        except (Error, TimeoutError) as exc:
            error = _launch_error(exc, user_data_dir)
            if not isinstance(error, SessionInUse):
                self._kill_by_lock()
            raise error from exc
        self._watch = asyncio.create_task(self._watch_process(), name="wwauth: browser watch")

    async def stop(self) -> None:
        """End the browser gracefully, else by force, and remove a throw-away profile; a dead browser is no error."""
        self._stopping = True
        try:
            if self._watch is not None:
                self._watch.cancel()
            closed = self._context is None or await self._close_context(self._context)
            await self._kill(patience=_CLOSE_TIMEOUT if closed else 0.0)
            if self._playwright is not None:
                await _bounded(self._playwright.stop(), _CLOSE_TIMEOUT, "Playwright's driver did not stop")
        finally:
            await asyncio.to_thread(self._remains.clear)
            self._context = self._page = self._playwright = self._watch = None

    def abandon(self) -> None:
        """Kill the browser and remove a throw-away profile, at once and blocking: the process is about to end."""
        self._remains.clear()

    async def _close_context(self, context: BrowserContext) -> bool:
        from playwright.async_api import Error  # noqa: PLC0415

        with contextlib.suppress(Error):  # it has closed already
            return await _bounded(context.close(), _CLOSE_TIMEOUT, "the browser did not close in time and is killed")
        return True

    async def _kill(self, *, patience: float) -> None:
        # Without a pid the launch itself failed or was cancelled; then the driver ends what it had started.
        if self.pid is None or await wait_for_exit(self.pid, timeout=patience):
            return
        kill_tree(self.pid)
        if not await wait_for_exit(self.pid, timeout=_KILL_TIMEOUT):
            _log.error("the browser (pid %d) does not end even when killed", self.pid)

    def _closed(self) -> None:
        if not self._stopping:
            self.on_closed()

    def _kill_by_lock(self) -> None:
        """Kill a browser that did not get as far as telling its pid, by the one that it wrote into the profile."""
        assert self.user_data_dir is not None  # noqa: S101 - there is none to kill before
        owner = profile_owner(self.user_data_dir)
        # What was there before the launch is another's.
        if self.pid is None and owner not in {None, self._owner_before} and owner[0] == platform.node():
            self.pid = self._remains.pid = owner[1]
            kill_tree(self.pid)

    async def _watch_process(self) -> None:
        """Notice the end that Playwright does not tell of: when its driver is killed, the browser goes with it."""
        while self.pid is not None and await asyncio.to_thread(is_running, self.pid):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(_WATCH_INTERVAL)
        self._closed()

    async def _look_at_browser(self) -> None:
        """Learn the main process's id, and the user agent of a browser that a person would use."""
        assert self.context.browser is not None  # noqa: S101 - a persistent context that was launched has one
        cdp = await self.context.browser.new_browser_cdp_session()
        try:
            info = await cdp.send("SystemInfo.getProcessInfo")
            self.pid = next(process["id"] for process in info["processInfo"] if process["type"] == "browser")
            self._remains.pid = self.pid
            version = await cdp.send("Browser.getVersion")
        finally:
            await cdp.detach()
        self._user_agent = version["userAgent"]
        await self._hide_headless(self.page)

    async def _hide_headless(self, page: Page) -> None:
        if self.options.user_agent is None and "Headless" in self._user_agent:
            # WhatsApp Web is made for browsers that people use; the headless one differs in this word alone.
            cdp = await self.context.new_cdp_session(page)
            plain = self._user_agent.replace("HeadlessChrome", "Chrome")
            await cdp.send("Emulation.setUserAgentOverride", {"userAgent": plain})

    def _arguments(self, *, bundled: str) -> dict[str, Any]:
        """Put Playwright's launch arguments together; the user's own come last and win, the lists are joined."""
        options = self.options
        given = dict(options.launch_options)
        args = list(given.pop("args", None) or [])
        if options.proxy_authentication is not None:
            given["proxy"] = _proxy(options.proxy_authentication, given.get("proxy"), args)
        if not any(arg.startswith("--disable-blink-features=") for arg in args):
            args.append(_NOT_AUTOMATED)
        arguments: dict[str, Any] = {
            "headless": True,
            # Playwright's default is off, Puppeteer's on; as root Chromium cannot have it.
            "chromium_sandbox": sys.platform == "win32" or os.geteuid() != 0,
            # wwauth ends the browser itself, after the last backup has begun; the driver must not be quicker.
            "handle_sigint": False,
            "handle_sigterm": False,
            "handle_sighup": False,
            "bypass_csp": options.bypass_csp,
            "timeout": _START_TIMEOUT * 1000,
            **given,
            "args": args,
        }
        if options.user_agent is not None:
            arguments["user_agent"] = options.user_agent
        if (executable := find_chromium(given, bundled=bundled)) is not None:
            arguments["executable_path"] = executable
        return arguments


def _proxy(authentication: ProxyAuthentication, given: dict[str, str] | None, args: list[str]) -> dict[str, str]:
    """Make Playwright's `proxy`, which can carry a password; a `--proxy-server` in `args` cannot, and moves in here."""
    proxy = dict(given or {})
    for arg in [arg for arg in args if arg.startswith("--proxy-server=")]:
        args.remove(arg)
        proxy["server"] = arg.partition("=")[2]
    if "server" not in proxy:
        raise ConfigurationError(
            "proxy_authentication needs a proxy: name it in launch_options, as "
            "{'proxy': {'server': 'http://host:port'}} or {'args': ['--proxy-server=http://host:port']}"
        )
    return {**proxy, "username": authentication.username, "password": authentication.password}


def _launch_error(exc: Exception, user_data_dir: Path) -> Exception:
    text = str(exc)
    if any(sign in text for sign in _NO_SANDBOX):
        return BrowserNotFound(
            "this system does not let Chromium use its sandbox: allow unprivileged user namespaces, or pass "
            "launch_options={'chromium_sandbox': False}"
        )
    if any(sign in text for sign in _PROFILE_IN_USE):
        owner = profile_owner(user_data_dir)
        holder = f"{owner[0]}, pid {owner[1]}" if owner else "unknown"
        return SessionInUse(
            f"another browser ({holder}) uses the profile {user_data_dir}: close it first",
            holder=holder,
            pid=owner[1] if owner else None,
        )
    first, *_ = text.strip().splitlines() or [""]
    if isinstance(exc, TimeoutError) or "Timeout" in first:
        return AuthTimeout(
            f"the browser did not start in time ({_START_TIMEOUT:g} s, or the `timeout` of launch_options, in milliseconds): "
            "is the machine overloaded?",
            phase="the browser's start",
        )
    return BrowserClosed(f"the browser ended while it started: {first}")


async def _to_the_end(
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
        _, late = await asyncio.wait([task], timeout=_CLOSE_TIMEOUT)
        if late and hurry is not None:
            hurry()
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            await undo(task.result())
        raise


async def _bounded(awaitable: Any, timeout: float, complaint: str) -> bool:
    try:
        await asyncio.wait_for(awaitable, timeout)
    except TimeoutError:
        _log.warning("%s (%g s)", complaint, timeout)
        return False
    return True


def without_query(url: str) -> str:
    """Return a page's address for messages: what follows `?` or `#` may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}" if parts.netloc else parts.path
