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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._files import make_private_dir, remove_tree
from .._processes import is_running
from .._proxy import without_proxy
from ..errors import AuthTimeout, BrowserClosed, BrowserNotFound, SessionInUse
from .browser import CLOSE_TIMEOUT, Browser, bounded, to_the_end
from .find import find_chromium
from .processes import kill_tree, profile_owner, remove_socket_folder, socket_folder, wait_for_exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.async_api import BrowserContext

    from ..options import ClientOptions

_log = logging.getLogger(__name__)

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


class LaunchedBrowser(Browser):
    """A Chromium that is started here and ends here; nothing is left behind when either fails or is cancelled."""

    def __init__(self, options: ClientOptions, on_closed: Callable[[], None]) -> None:
        super().__init__(options, on_closed)
        self._remains = _Remains()
        self._owner_before: tuple[str, int] | None = None

    async def start(self, user_data_dir: Path | None) -> None:
        """
        Launch Chromium on `user_data_dir`, or on a throw-away profile.

        Raises:
            BrowserNotFound: None is installed, or it cannot be started as it is.
            SessionInUse: Another browser runs on the profile.
            BrowserClosed: It ended while it started.
            AuthTimeout: It did not come up in time.
        """
        from playwright.async_api import Error  # noqa: PLC0415 - 0.3 s that only a launch needs

        weakref.finalize(self, _Remains.clear, self._remains)
        if user_data_dir is None:
            user_data_dir = Path(tempfile.mkdtemp(prefix="wwauth-"))
            self._remains.throw_away = True
        else:
            await asyncio.to_thread(make_private_dir, user_data_dir)
        self.user_data_dir = self._remains.profile = user_data_dir
        playwright = await self._start_driver()
        arguments = self._arguments(bundled=playwright.chromium.executable_path)
        self._owner_before = profile_owner(user_data_dir)
        launch = playwright.chromium.launch_persistent_context(user_data_dir, **arguments)
        try:
            self._context = await to_the_end(launch, lambda context: context.close(), hurry=self._kill_by_lock)
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
            self._end_watch()
            closed = self._context is None or await self._close_context(self._context)
            await self._kill(patience=CLOSE_TIMEOUT if closed else 0.0)
            await self._stop_driver()
        finally:
            await asyncio.to_thread(self._remains.clear)
            self._context = self._page = None

    def abandon(self) -> None:
        """Kill the browser and remove a throw-away profile, at once and blocking: the process is about to end."""
        self._remains.clear()

    async def _close_context(self, context: BrowserContext) -> bool:
        from playwright.async_api import Error  # noqa: PLC0415

        with contextlib.suppress(Error):  # it has closed already
            return await bounded(context.close(), CLOSE_TIMEOUT, "the browser did not close in time and is killed")
        return True

    async def _kill(self, *, patience: float) -> None:
        # Without a pid the launch itself failed or was cancelled; then the driver ends what it had started.
        if self.pid is None or await wait_for_exit(self.pid, timeout=patience):
            return
        kill_tree(self.pid)
        if not await wait_for_exit(self.pid, timeout=_KILL_TIMEOUT):
            _log.error("the browser (pid %d) does not end even when killed", self.pid)

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
        """Learn the main process's id, and what the browser calls itself."""
        assert self.context.browser is not None  # noqa: S101 - a persistent context that was launched has one
        cdp = await self.context.browser.new_browser_cdp_session()
        try:
            info = await cdp.send("SystemInfo.getProcessInfo")
            self.pid = next(process["id"] for process in info["processInfo"] if process["type"] == "browser")
            self._remains.pid = self.pid
            version = await cdp.send("Browser.getVersion")
        finally:
            await cdp.detach()
        self._own_user_agent = version["userAgent"]
        await self._set_up(self.page)

    def _arguments(self, *, bundled: str) -> dict[str, Any]:
        """Put Playwright's launch arguments together; the user's own come last and win, the lists are joined."""
        options = self.options
        given = dict(options.launch_options)
        args = list(given.pop("args", None) or [])
        if options.proxy_authentication is not None:
            given["proxy"] = self._proxy()
            args = without_proxy(args)
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
            # Playwright's reaches pages and their workers; service workers go by the browser's.
            arguments["user_agent"] = options.user_agent
            args.append(f"--user-agent={options.user_agent}")
        if (executable := find_chromium(given, bundled=bundled)) is not None:
            arguments["executable_path"] = executable
        return arguments


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
