"""The Client's options, each by what can be seen of it: in the page, at its server, at a proxy, on the phone."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from wwauth import LocalAuth
from wwauth.errors import AuthTimeout, ConfigurationError

from ..soaking import most_in_soak, soak
from .simulated import SITE, both_addresses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from wwauth.testing import Simulator

    from .conftest import Recorded

pytestmark = pytest.mark.browser

USER, PASSWORD = "me", "hunter2"
WRONG = {"username": USER, "password": "wrong"}


class Proxy:
    """A forwarding HTTP proxy that wants a password; all names lead to this machine."""

    def __init__(self, tls_port: int) -> None:
        self.url = ""
        self.asked: list[tuple[str, str, bool]] = []
        """Each request's method, target, and whether it brought the password."""
        self._tls_port = tls_port

    def let_through(self, part: str) -> bool:
        """Tell whether a request whose target has `part` in it was let through."""
        return any(part in target and allowed for _, target, allowed in self.asked)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._one(reader, writer):
                pass
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").rstrip().split("\r\n")
        method, target, _ = line.split()
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        allowed = headers.get("proxy-authorization") == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self.asked.append((method, target, allowed))
        if not allowed:
            writer.write(b'HTTP/1.1 407 -\r\nproxy-authenticate: Basic realm="proxy"\r\ncontent-length: 5\r\n\r\nnope\n')
            await writer.drain()
            return True
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            port = str(self._tls_port) if host == "web.whatsapp.com" else port
            opening = b""
            writer.write(b"HTTP/1.1 200 -\r\n\r\n")
        else:
            place, _, path = target.removeprefix("http://").partition("/")
            port = place.rpartition(":")[2]
            kept = [field for field in fields if not field.lower().startswith(("proxy-", "connection:"))]
            opening = "\r\n".join((f"{method} /{path} HTTP/1.1", *kept, "connection: close", "", "")).encode("latin-1") + body
        if not port.isdigit():
            return False
        there, back = await asyncio.open_connection("127.0.0.1", int(port))
        back.write(opening)
        await asyncio.gather(_pump(reader, back), _pump(there, writer))
        return False


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxy_to(simulator: Simulator) -> AsyncIterator[Proxy]:
    proxy = Proxy(simulator.tls_port)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def through(proxy: Proxy, how: str, launch_options: dict[str, Any]) -> dict[str, Any]:
    """Return launch options that name the proxy, in either way."""
    args = [*launch_options.get("args", []), "--ignore-certificate-errors"]
    if how == "args":
        return {**launch_options, "args": [*args, f"--proxy-server={proxy.url}", "--proxy-bypass-list=<-loopback>"]}
    return {**launch_options, "args": args, "proxy": {"server": proxy.url}}


@pytest.mark.parametrize(
    ("site", "how"),
    most_in_soak(
        itertools.product(["simulator", "whatsapp"], ["args", "proxy"]), usual=[("simulator", "args"), ("whatsapp", "proxy")]
    ),
)
async def test_a_proxy_gets_its_password(
    make_client: Callable[..., Recorded], simulator: Simulator, launch_options: dict[str, Any], how: str, site: str
) -> None:
    async with proxy_to(simulator) as proxy:
        given = through(proxy, how, launch_options)
        before = copy.deepcopy(given)
        it = make_client(
            web_url=SITE if site == "whatsapp" else simulator.url,
            launch_options=given,
            proxy_authentication={"username": USER, "password": PASSWORD},
        )
        await it.link(simulator)
        await it.client.destroy()
    assert proxy.let_through("web.whatsapp.com:443" if site == "whatsapp" else simulator.url)
    assert given == before


@pytest.mark.parametrize(
    ("site", "given"),
    most_in_soak([("simulator", None), ("whatsapp", WRONG), ("simulator", WRONG), ("whatsapp", None)], usual=2),
)
async def test_a_proxy_that_refuses_is_named(
    make_client: Callable[..., Recorded],
    simulator: Simulator,
    launch_options: dict[str, Any],
    given: dict[str, str] | None,
    site: str,
) -> None:
    async with proxy_to(simulator) as proxy:
        it = make_client(
            web_url=SITE if site == "whatsapp" else simulator.url,
            launch_options=through(proxy, "proxy", launch_options),
            proxy_authentication=given,
        )
        with pytest.raises(ConfigurationError, match="it answered 407") as caught:
            await it.client.initialize()
        assert "proxy_authentication" in str(caught.value)
        assert "wrong" not in str(caught.value)
        assert it.client.browser_pid is None
    assert it.events == []


@soak
async def test_a_version_is_fetched_and_served_through_the_proxy(
    make_client: Callable[..., Recorded], simulator: Simulator, launch_options: dict[str, Any]
) -> None:
    async with proxy_to(simulator) as proxy:
        it = make_client(
            launch_options=through(proxy, "args", launch_options),
            proxy_authentication={"username": USER, "password": PASSWORD},
            web_version="2.3000.1034567890",
            web_version_cache={"type": "remote", "remote_path": simulator.url + "?{version}", "strict": True},
        )
        await it.link(simulator)
        await it.client.destroy()
    asked = [(method, target) for method, target, allowed in proxy.asked if allowed]
    tunnel = ("CONNECT", simulator.url.removeprefix("http://").rstrip("/"))
    assert tunnel in asked[: asked.index(("GET", f"{simulator.url}page/main.js"))]  # the document comes first
    assert ("GET", simulator.url) not in asked  # it was served


class Site:
    """A server that takes note of the headers that it gets, with a page that asks for all kinds of things."""

    page = "<iframe src='/frame'></iframe><script src='/script.js'></script><script>new Worker('/worker.js')</script>"
    register = "<script>navigator.serviceWorker.register('/service.js')</script>"
    asked = "fetch('/from-' + self.constructor.name)"

    def __init__(self) -> None:
        self.url = ""
        self.requests: dict[str, dict[str, str]] = {}
        self._bodies = {"/": self.page + self.register, "/worker.js": self.asked, "/service.js": self.asked}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        path = line.split()[1]
        self.requests[path] = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        kind = "text/javascript" if path.endswith(".js") else "text/html"
        writer.write(
            f"HTTP/1.1 200 -\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n{self._bodies.get(path, '')}".encode()
        )
        await writer.drain()
        writer.close()

    async def visit(self, make_client: Callable[..., Recorded], *paths: str, **options: Any) -> None:
        """Let a client open the page, which is no WhatsApp Web, until these paths were asked for."""
        it = make_client(web_url=self.url, auth_timeout_ms=60_000, **options)
        starting = asyncio.create_task(it.client.initialize())
        while not set(paths) <= self.requests.keys():
            assert not starting.done()
            await asyncio.sleep(0.02)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    it = Site()
    server = await asyncio.start_server(it.answer, "127.0.0.1", 0)
    it.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        yield it


PAGES = ("/", "/frame", "/script.js", "/worker.js", "/from-DedicatedWorkerGlobalScope")
SERVICE = ("/service.js", "/from-ServiceWorkerGlobalScope")


async def test_the_user_agent_is_told_to_the_server_by_all(make_client: Callable[..., Recorded], site: Site) -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64) wwauth/1"
    await site.visit(make_client, *PAGES, *SERVICE, user_agent=agent)
    assert {site.requests[path]["user-agent"] for path in (*PAGES, *SERVICE)} == {agent}


async def test_a_headless_browser_is_told_to_nobody(make_client: Callable[..., Recorded], site: Site) -> None:
    await site.visit(make_client, *PAGES)
    for path in PAGES:
        headers = site.requests[path]
        assert "Chrome/" in headers["user-agent"]
        assert not [name for name, value in headers.items() if "headless" in value.lower()]
    # As with a browser that people use, which tells its brands.
    assert "Chromium" in site.requests["/"]["sec-ch-ua"]
    assert site.requests["/"]["sec-ch-ua-platform"].strip('"') in site.requests["/"]["user-agent"] + "macOS"


async def test_a_user_agent_among_the_launch_options_stays(
    make_client: Callable[..., Recorded], site: Site, launch_options: dict[str, Any]
) -> None:
    await site.visit(make_client, "/", launch_options={**launch_options, "user_agent": "theirs"})
    assert site.requests["/"]["user-agent"] == "theirs"


async def test_a_person_sees_no_sign_of_automation_in_the_page(make_client: Callable[..., Recorded]) -> None:
    it = make_client()
    await it.client.initialize()
    page = it.client.page
    assert "Headless" not in await page.evaluate("navigator.userAgent")
    assert await page.evaluate("navigator.webdriver") is not True
    hints = await page.evaluate("navigator.userAgentData.getHighEntropyValues(['fullVersionList', 'platform'])")
    assert hints["platform"]
    assert hints["fullVersionList"]
    assert "Headless" not in str(hints)


@both_addresses
async def test_the_phone_lists_the_device_by_its_names(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    clients = [
        make_client(device_name="My bot", browser_name="Firefox", user_agent="Mozilla/5.0 wwauth"),
        make_client(device_name="Another"),
    ]
    await asyncio.gather(*(it.link(simulator) for it in clients))
    names = {(device["name"]["os"], device["name"]["name"]) for device in simulator.devices.values()}
    assert names == {("My bot", "Firefox"), ("Another", "Chrome")}
    agents = {device["name"]["ua"] for device in simulator.devices.values()}
    assert "Mozilla/5.0 wwauth" in agents
    assert len(agents) == 2


async def test_a_script_of_the_users_runs_first_in_each_document(make_client: Callable[..., Recorded]) -> None:
    count = "sessionStorage.runs = window.runs = (Number(sessionStorage.runs) || 0) + 1"
    script = f"window.before = document.scripts.length; {count}"
    it = make_client(eval_on_new_doc=script)
    await it.client.initialize()
    page = it.client.page
    assert await page.evaluate("[window.before, window.runs]") == [0, 1]
    await page.reload()
    assert await page.evaluate("[window.before, window.runs]") == [0, 2]


@pytest.mark.parametrize("bypass", [True, False])
async def test_what_the_policy_of_the_page_forbids_works_only_without_it(
    make_client: Callable[..., Recorded], bypass: bool
) -> None:
    from playwright.async_api import Error

    it = make_client(bypass_csp=bypass)
    await it.client.initialize()
    page = it.client.page
    for _ in range(2):
        with contextlib.nullcontext() if bypass else pytest.raises(Error, match="Content Security Policy"):
            await page.add_script_tag(content="window.forbidden = 1")
        assert await page.evaluate("window.forbidden === 1") is bypass
        await page.reload()


async def test_the_callers_options_are_never_changed(
    make_client: Callable[..., Recorded], launch_options: dict[str, Any], tmp_path: Path
) -> None:
    given = {**launch_options, "args": ["--lang=en"], "ignore_default_args": ["--mute-audio"]}
    cache = {"type": "local", "path": tmp_path / "cache"}
    before = copy.deepcopy((given, cache))
    options = {"launch_options": given, "web_version_cache": cache, "user_agent": "agent"}
    clients = [make_client(auth_strategy=LocalAuth(client_id=name, data_path=tmp_path), **options) for name in "ab"]
    await asyncio.gather(*(it.client.initialize() for it in clients))
    for it in clients:
        await it.client.destroy()
    assert (given, cache) == before


async def test_a_network_that_is_away_is_no_proxy_that_refuses(
    make_client: Callable[..., Recorded], simulator: Simulator, launch_options: dict[str, Any]
) -> None:
    gone = {**launch_options, "proxy": {"server": "http://127.0.0.1:1"}}
    it = make_client(launch_options=gone, auth_timeout_ms=1_000)
    with pytest.raises(AuthTimeout):
        await it.client.initialize()
