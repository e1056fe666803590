"""`cdp_url`: a client in a browser that runs already, and goes on running."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from wwauth import AuthStrategy, Client, LocalAuth, NoAuth
from wwauth._processes import is_running
from wwauth.errors import AuthTimeout, BrowserClosed, ConfigurationError, SessionClosed
from wwauth.web.processes import kill_tree

from ..soaking import most_in_soak, soak
from .simulated import crash_page, debugging_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from playwright.async_api import BrowserContext

    from wwauth.testing import Simulator

    from .conftest import Recorded

pytestmark = pytest.mark.browser


class Running:
    """A browser that somebody else has started, with a page of its own."""

    def __init__(self, context: BrowserContext, url: str, pid: int) -> None:
        self.context = context
        self.url = url
        self.pid = pid

    async def pages(self) -> list[str]:
        """Ask the browser for its pages' addresses."""

        def read() -> list[dict[str, Any]]:
            with urllib.request.urlopen(f"{self.url}/json/list") as answer:
                targets: list[dict[str, Any]] = json.load(answer)
                return targets

        targets = await asyncio.to_thread(read)
        return [target["url"] for target in targets if target["type"] == "page"]

    async def is_alone(self) -> bool:
        """Wait until the browser has one page: its own; what is closed over HTTP is gone a moment later."""
        while len(await self.pages()) != 1:  # noqa: ASYNC110 - the browser tells nobody
            await asyncio.sleep(0.02)
        return is_running(self.pid)


@asynccontextmanager
async def running_browser(profile: Path, launch_options: dict[str, Any]) -> AsyncIterator[Running]:
    from playwright.async_api import async_playwright

    options = {**launch_options, "args": [*launch_options.get("args", []), "--remote-debugging-port=0"]}
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(profile, **options)
        assert context.browser is not None
        session = await context.browser.new_browser_cdp_session()
        info = await session.send("SystemInfo.getProcessInfo")
        pid = next(process["id"] for process in info["processInfo"] if process["type"] == "browser")
        yield Running(context, f"http://127.0.0.1:{await debugging_port(profile)}", pid)
        with contextlib.suppress(Exception):  # a test may have killed it
            await context.close()


@pytest.fixture
async def running(tmp_path: Path, launch_options: dict[str, Any]) -> AsyncIterator[Running]:
    async with running_browser(tmp_path / "running", launch_options) as browser:
        yield browser


async def test_a_login_in_a_browser_that_runs_and_goes_on_running(
    make_client: Callable[..., Recorded], simulator: Simulator, running: Running
) -> None:
    other = running.context.pages[0]
    await other.goto("data:text/html,<title>mine</title>")
    it = make_client(cdp_url=running.url, launch_options={"headless": True}, eval_on_new_doc="window.early = 1")
    await it.link(simulator)
    assert it.names == ["qr", "loading_screen", "authenticated", "ready"]
    assert it.client.browser_pid is None
    assert await it.client.get_state() == "CONNECTED"
    assert len(await running.pages()) == 2
    await it.client.page.reload()
    assert await it.client.page.evaluate("window.early") == 1
    await it.client.destroy()
    assert is_running(running.pid)
    assert await running.pages() == [other.url]
    assert await other.title() == "mine"
    # Nothing of the client's is left for other pages to run.
    await other.goto(simulator.url)
    assert await other.evaluate("[window.early, window.__wwauth, window[Symbol.for('wwauth')]].every(one => one === undefined)")
    # The login is what that browser keeps, and the client comes back to it.
    await other.goto("about:blank")
    it.events.clear()
    await it.client.initialize()
    await it.client.wait_for("ready", timeout=30)
    assert "qr" not in it.names


async def test_the_real_sites_address(
    make_client: Callable[..., Recorded], simulator: Simulator, launch_options: dict[str, Any], tmp_path: Path
) -> None:
    options = {**launch_options, "args": list(simulator.host_resolver_args)}
    async with running_browser(tmp_path / "running", options) as running:
        it = make_client(cdp_url=running.url, web_url="https://web.whatsapp.com/", launch_options={})
        await it.link(simulator)
        assert it.client.page.url == "https://web.whatsapp.com/"
        await it.client.destroy()


async def test_logout_unlinks_and_closes_the_page(
    make_client: Callable[..., Recorded], simulator: Simulator, running: Running
) -> None:
    it = make_client(cdp_url=running.url, launch_options={})
    await it.link(simulator)
    await it.client.logout()
    assert it.events[-1] == ("disconnected", "LOGOUT")
    assert simulator.devices == {}
    assert len(await running.pages()) == 1


@soak
async def test_a_web_socket_address_is_one_too(make_client: Callable[..., Recorded], running: Running) -> None:
    def read() -> str:
        with urllib.request.urlopen(f"{running.url}/json/version") as answer:
            address: str = json.load(answer)["webSocketDebuggerUrl"]
            return address

    it = make_client(cdp_url=await asyncio.to_thread(read), launch_options={})
    await it.client.initialize()
    await it.client.destroy()
    assert len(await running.pages()) == 1


@soak
async def test_options_that_a_launch_gives_the_browser_reach_the_page_here(
    make_client: Callable[..., Recorded], running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    given = {"headless": False, "args": ["--lang=en"], "slow_mo": 5}
    with caplog.at_level(logging.WARNING, "wwauth"):
        it = make_client(cdp_url=running.url, user_agent="Mozilla/5.0 wwauth", bypass_csp=True, launch_options=given)
        await it.client.initialize()
    assert "launch_options have no effect on a browser that runs already: args, slow_mo" in caplog.text
    page = it.client.page
    assert await page.evaluate("navigator.userAgent") == "Mozilla/5.0 wwauth"
    await page.add_script_tag(content="window.forbidden = 1")
    assert await page.evaluate("window.forbidden") == 1
    assert "wwauth" not in await running.context.pages[0].evaluate("navigator.userAgent")


@soak
async def test_a_served_version_is_for_the_clients_page_alone(
    make_client: Callable[..., Recorded], simulator: Simulator, running: Running, tmp_path: Path
) -> None:
    def read() -> bytes:
        with urllib.request.urlopen(simulator.url) as answer:
            document: bytes = answer.read()
            return document

    document = (await asyncio.to_thread(read)).replace(b"2.3000.1034567890", b"2.3000.7")
    (tmp_path / "2.3000.7.html").write_bytes(document)
    cache = {"type": "local", "path": tmp_path, "strict": True}
    it = make_client(cdp_url=running.url, launch_options={}, web_version="2.3000.7", web_version_cache=cache)
    await it.link(simulator)
    assert await it.client.page.evaluate("window.Debug.VERSION") == "2.3000.7"
    other = running.context.pages[0]
    await other.goto(simulator.url)
    await other.wait_for_function("() => window.Debug")
    assert await other.evaluate("window.Debug.VERSION") == "2.3000.1034567890"
    await it.client.destroy()
    await other.reload()
    await other.wait_for_function("() => window.Debug")
    assert await other.evaluate("window.Debug.VERSION") == "2.3000.1034567890"


async def test_a_headless_browser_is_hidden_there_too(make_client: Callable[..., Recorded], running: Running) -> None:
    it = make_client(cdp_url=running.url, launch_options={})
    await it.client.initialize()
    assert "Headless" not in await it.client.page.evaluate("navigator.userAgent")


async def test_the_end_of_that_browser_is_told_once(
    make_client: Callable[..., Recorded], simulator: Simulator, running: Running
) -> None:
    it = make_client(cdp_url=running.url, launch_options={})
    await it.link(simulator)
    kill_tree(running.pid)
    assert await it.client.wait_for("disconnected", timeout=20) == "BROWSER_CLOSED"
    assert it.names.count("disconnected") == 1
    with pytest.raises(BrowserClosed, match=running.url):
        await it.client.initialize()


async def test_the_page_closed_by_somebody_is_an_end(make_client: Callable[..., Recorded], running: Running) -> None:
    it = make_client(cdp_url=running.url, launch_options={})
    await it.client.initialize()
    theirs = next(page for page in running.context.pages if page.url == it.client.page.url)
    # Before: the client may know of it, and have ended, before the other connection has its answer.
    ended = asyncio.create_task(it.client.wait_for("disconnected", timeout=60))
    await asyncio.sleep(0)
    await theirs.close()
    assert await ended == "BROWSER_CLOSED"
    assert is_running(running.pid)


async def test_a_killed_driver_leaves_no_page_behind(make_client: Callable[..., Recorded], running: Running) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    it = make_client(cdp_url=running.url, launch_options={})
    await it.client.initialize()
    (driver,) = [child for child in psutil.Process().children() if child.pid not in before]
    driver.kill()
    assert await it.client.wait_for("disconnected", timeout=20) == "BROWSER_CLOSED"
    assert await running.is_alone()


async def test_the_page_of_a_crash_is_replaced(
    make_client: Callable[..., Recorded], simulator: Simulator, running: Running
) -> None:
    it = make_client(cdp_url=running.url, launch_options={}, user_agent="Mozilla/5.0 wwauth")
    await it.link(simulator)
    await crash_page(it.client)
    assert await it.client.page.evaluate("navigator.userAgent") == "Mozilla/5.0 wwauth"
    await it.client.destroy()
    assert len(await running.pages()) == 1


async def test_two_clients_in_one_browser(make_client: Callable[..., Recorded], running: Running) -> None:
    clients = [make_client(cdp_url=running.url, launch_options={}, user_agent=f"agent {number}") for number in (1, 2)]
    await asyncio.gather(*(it.client.initialize() for it in clients))
    assert [await it.client.page.evaluate("navigator.userAgent") for it in clients] == ["agent 1", "agent 2"]
    await clients[0].client.destroy()
    assert await clients[1].client.get_state() == "UNPAIRED"
    assert len(await running.pages()) == 2


async def test_nobody_there(make_client: Callable[..., Recorded]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        it = make_client(cdp_url=f"http://me:hidden@127.0.0.1:{port}/?token=secret", launch_options={})
        where = f"no browser answers at http://127.0.0.1:{port}/ "
        with pytest.raises(BrowserClosed, match=f"{where}.*remote-debugging-port") as caught:
            await it.client.initialize()
        assert "secret" not in str(caught.value)
        assert "hidden" not in str(caught.value)
        assert caught.value.__suppress_context__  # Playwright's own error has the whole address
        assert "secret" not in repr(it.client.options)


async def test_something_else_there(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client(cdp_url=simulator.url, launch_options={})
    with pytest.raises(BrowserClosed, match=f"no browser answers at {simulator.url}"):
        await it.client.initialize()


async def test_a_start_that_hangs_is_ended_by_destroy(make_client: Callable[..., Recorded]) -> None:
    # It takes connections, and never answers.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        it = make_client(cdp_url=f"http://127.0.0.1:{silent.getsockname()[1]}", launch_options={})
        starting = asyncio.create_task(it.client.initialize())
        silent.setblocking(False)
        connection, _ = await asyncio.get_running_loop().sock_accept(silent)
        with connection:
            await it.client.destroy()
            with pytest.raises(SessionClosed):
                await starting


async def test_a_start_that_hangs_is_bounded(make_client: Callable[..., Recorded], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wwauth.web.attach._CONNECT_TIMEOUT", 1.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        it = make_client(cdp_url=f"http://127.0.0.1:{silent.getsockname()[1]}", launch_options={})
        with pytest.raises(AuthTimeout, match="did not answer within 1 s") as caught:
            await it.client.initialize()
        assert caught.value.phase == "the connection to the browser"


class LateProfile(AuthStrategy):
    """Says only in its first hook where its profile is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def before_browser_initialized(self) -> None:
        self.user_data_dir = self.folder


async def test_a_strategy_with_a_profile_is_refused(
    make_client: Callable[..., Recorded], running: Running, tmp_path: Path
) -> None:
    strategy = LocalAuth(data_path=tmp_path / "auth")
    with pytest.raises(ConfigurationError, match=r"LocalAuth keeps the login in a profile of its own .*NoAuth\(\)"):
        Client(cdp_url=running.url, auth_strategy=strategy)
    Client(auth_strategy=strategy)  # it was not taken by the client that was refused
    assert not (tmp_path / "auth").exists()
    it = make_client(cdp_url=running.url, launch_options={}, auth_strategy=LateProfile(tmp_path / "late"))
    with pytest.raises(ConfigurationError, match="profile of its own"):
        await it.client.initialize()
    assert len(await running.pages()) == 1
    make_client(cdp_url=running.url, launch_options={}, auth_strategy=NoAuth())


_SIGNALLED = """
import asyncio, sys
from wwauth import Client

async def main():
    client = Client(web_url=sys.argv[1], cdp_url=sys.argv[2])
    await client.initialize()
    print("initialized", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process could answer")
@pytest.mark.parametrize("group", most_in_soak([False, True]), ids=["process", "group"])
async def test_a_signal_closes_the_page_and_nothing_else(simulator: Simulator, running: Running, group: bool) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SIGNALLED, simulator.url, running.url, stdout=pipe, stderr=pipe, start_new_session=True
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"initialized\n"
    assert len(await running.pages()) == 2
    if group and sys.platform != "win32":  # as systemd sends it: Playwright's driver dies at once
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == -signal.SIGTERM, errors.decode()
    assert await running.is_alone()
