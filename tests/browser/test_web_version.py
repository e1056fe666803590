"""`web_version` and `web_version_cache`: which document the page is, where it comes from, where a live one goes."""

from __future__ import annotations

import asyncio
import logging
import os
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import async_playwright

from wwauth import Client, LocalAuth
from wwauth.errors import WebVersionUnavailable
from wwauth.web.web_version import WebVersion

from ..soaking import most_in_soak, soak
from .simulated import both_addresses, crash_page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from wwauth.testing import Simulator

    from .conftest import Recorded

pytestmark = pytest.mark.browser

LIVE = "2.3000.1034567890"
KEPT = "2.3000.7"


async def live_document(simulator: Simulator) -> bytes:
    def read() -> bytes:
        with urllib.request.urlopen(simulator.url) as answer:
            body: bytes = answer.read()
            return body

    return await asyncio.to_thread(read)


async def kept_document(simulator: Simulator, version: str = KEPT) -> bytes:
    """Another build's document; the inline script runs under no Content-Security-Policy of the live one's kind."""
    live = await live_document(simulator)
    assert LIVE.encode() in live
    return live.replace(LIVE.encode(), version.encode()).replace(b"</head>", b"<script>window.kept = true</script></head>")


async def kept(it: Recorded) -> bool:
    shown: bool = await it.client.page.evaluate("window.kept === true")
    return shown


async def version(it: Recorded) -> str:
    told: str = await it.client.page.evaluate("window.Debug.VERSION")
    return told


async def recorded(file: Path) -> bytes:
    """Wait until a document was recorded, which nothing else waits for; it appears whole."""
    while not file.exists():  # noqa: ASYNC110 - a file tells nobody
        await asyncio.sleep(0.02)
    return file.read_bytes()


@asynccontextmanager
async def archive(answers: dict[str, tuple[int, bytes]]) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve an archive of documents: path → (status, body); yield its address and the requests that came."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        asked.append(head)
        status, body = answers.get(path.partition("?")[0], (404, b"404: Not Found"))
        writer.write(f"HTTP/1.1 {status} -\r\nset-cookie: a=b\r\nconnection: close\r\n\r\n".encode() + body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def test_a_live_page_is_recorded_under_the_version_that_it_tells(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    cache = {"type": "local", "path": tmp_path / "cache"}
    it = make_client(web_version_cache=cache)
    await it.link(simulator)
    file = tmp_path / "cache" / f"{LIVE}.html"
    assert await recorded(file) == await live_document(simulator)
    assert list(file.parent.iterdir()) == [file]
    if os.name == "posix":
        assert file.stat().st_mode & 0o777 == 0o600
    # The site moves on, and the page with its next load.
    simulator.configure(web_version="2.3000.1034567999")
    await it.client.page.reload()
    assert b"2.3000.1034567999" in await recorded(tmp_path / "cache" / "2.3000.1034567999.html")
    await it.client.destroy()
    # The page is no longer the one that was recorded first, until it is asked for.
    again = make_client(web_version=LIVE, web_version_cache={**cache, "strict": True})
    await again.client.initialize()
    assert await version(again) == LIVE


@both_addresses
async def test_a_kept_document_is_served_in_place_of_the_live_one(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / f"{KEPT}.html").write_bytes(await kept_document(simulator))
    cache = {"type": "local", "path": str(tmp_path), "strict": True}
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path), web_version=KEPT, web_version_cache=cache)
    await it.link(simulator)
    assert await kept(it)
    assert await version(it) == KEPT
    assert await it.client.page.evaluate("isSecureContext && location.href") == it.client.options.web_url
    (device,) = simulator.devices.values()
    assert device["name"]["version"] == KEPT
    # A reload is served, too, and so is a restart: with the same storage, since the origin is the same.
    await it.client.page.reload()
    await it.client.page.wait_for_function("() => window.Debug")
    assert await kept(it)
    await it.client.destroy()
    it.events.clear()
    await it.client.initialize()
    await it.client.wait_for("ready", timeout=30)
    assert await kept(it)
    assert "qr" not in it.names
    assert [path.name for path in tmp_path.glob("*.html")] == [f"{KEPT}.html"]  # what was served is not recorded


@soak
async def test_a_page_that_replaces_a_crashed_one_is_served_the_same(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / f"{KEPT}.html").write_bytes(await kept_document(simulator))
    it = make_client(web_version=KEPT, web_version_cache={"type": "local", "path": tmp_path})
    await it.link(simulator)
    await crash_page(it.client)
    assert await kept(it)


@pytest.mark.parametrize("content", most_in_soak([None, b"", b" \n"]), ids=["missing", "empty", "blank"])
async def test_a_version_that_is_not_there(
    make_client: Callable[..., Recorded],
    simulator: Simulator,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    content: bytes | None,
) -> None:
    if content is not None:
        (tmp_path / f"{KEPT}.html").write_bytes(content)
    strict = make_client(web_version=KEPT, web_version_cache={"type": "local", "path": tmp_path, "strict": True})
    with pytest.raises(WebVersionUnavailable, match=rf"{KEPT} .*{KEPT}\.html .*put its document there"):
        await strict.client.initialize()
    assert strict.client.browser_pid is None
    lenient = make_client(web_version=KEPT, web_version_cache={"type": "local", "path": tmp_path})
    with caplog.at_level(logging.WARNING, "wwauth"):
        await lenient.link(simulator)
    assert "using the live page" in caplog.text
    assert await version(lenient) == LIVE
    assert await recorded(tmp_path / f"{LIVE}.html") == await live_document(simulator)


@soak
async def test_a_cache_that_cannot_be_written_keeps_nobody_from_logging_in(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    it = make_client(web_version_cache={"type": "local", "path": tmp_path / "file" / "cache"})
    with caplog.at_level(logging.WARNING, "wwauth"):
        await it.link(simulator)
        while "the live page was not recorded" not in caplog.text:  # noqa: ASYNC110 - nothing else waits for it
            await asyncio.sleep(0.02)
    assert "error" not in it.names


async def test_a_version_without_a_cache_is_warned_of(
    make_client: Callable[..., Recorded], caplog: pytest.LogCaptureFixture
) -> None:
    it = make_client(web_version=KEPT)
    with caplog.at_level(logging.WARNING, "wwauth"):
        await it.client.initialize()
    assert f"web_version '{KEPT}' has no effect" in caplog.text
    assert await version(it) == LIVE


async def test_a_document_of_another_version_is_warned_of(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "2.3000.8.html").write_bytes(await kept_document(simulator))
    it = make_client(web_version="2.3000.8", web_version_cache={"type": "local", "path": tmp_path})
    with caplog.at_level(logging.WARNING, "wwauth"):
        await it.client.initialize()
    assert f"2.3000.8 was served, and the page says that it is {KEPT}" in caplog.text


async def test_a_document_comes_from_a_remote_archive(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    documents = {f"/html/{KEPT}-alpha.html": (200, await kept_document(simulator))}
    async with archive(documents) as (url, asked):
        cache = {"type": "remote", "remotePath": url + "/html/{version}.html", "strict": True}
        it = make_client(web_version=f"{KEPT}-alpha", web_version_cache=cache)
        await it.link(simulator)
        assert await kept(it)
        assert len(asked) == 1
        assert "cookie" not in asked[0].lower()
        # What the archive says about cookies stays out of the profile.
        assert [cookie["name"] for cookie in await it.client.context.cookies()] == []


@pytest.mark.parametrize("trouble", most_in_soak(["broken", "missing", "empty", "refused"]))
async def test_an_archive_that_has_it_not(
    make_client: Callable[..., Recorded], caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    documents = {"broken": {f"/{KEPT}": (500, b"oh")}, "empty": {f"/{KEPT}": (200, b"")}}.get(trouble, {})
    async with archive(documents) as (there, _):
        url = "http://127.0.0.1:1" if trouble == "refused" else there
        cache = {"type": "remote", "remote_path": url + "/{version}?token=secret", "strict": True}
        strict = make_client(web_version=KEPT, web_version_cache=cache)
        with pytest.raises(WebVersionUnavailable, match=f"{KEPT} cannot be had from {url}/{KEPT} ") as caught:
            await strict.client.initialize()
        assert caught.value.retryable
        lenient = make_client(web_version=KEPT, web_version_cache={**cache, "strict": False})
        with caplog.at_level(logging.WARNING, "wwauth"):
            await lenient.client.initialize()
        assert await version(lenient) == LIVE
    assert f"{KEPT} cannot be had" in caplog.text
    assert "secret" not in str(caught.value) + caplog.text
    assert caught.value.__context__ is None or caught.value.__suppress_context__  # Playwright's own has the whole address


@soak
async def test_two_clients_with_two_versions_side_by_side(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    clients = []
    for number, agent in (("2.3000.1", "Mozilla/5.0 first"), ("2.3000.2", "Mozilla/5.0 second")):
        (tmp_path / f"{number}.html").write_bytes(await kept_document(simulator, number))
        clients.append(make_client(web_version=number, web_version_cache={"type": "local", "path": tmp_path}, user_agent=agent))
    await asyncio.gather(*(it.link(simulator) for it in clients))
    assert [await version(it) for it in clients] == ["2.3000.1", "2.3000.2"]
    assert {(device["name"]["version"], device["name"]["ua"]) for device in simulator.devices.values()} == {
        ("2.3000.1", "Mozilla/5.0 first"),
        ("2.3000.2", "Mozilla/5.0 second"),
    }


_WORKER = """
self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(clients.claim()));
self.addEventListener('fetch', (event) => {
  const headers = { 'content-type': 'text/html' };
  if (event.request.mode === 'navigate') event.respondWith(new Response('<title>of the worker</title>', { headers }));
});
"""


async def test_a_service_worker_does_not_answer_in_its_place(launch_options: dict[str, Any], tmp_path: Path) -> None:
    async def site(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).decode().split()[1]
        kind, body = ("text/javascript", _WORKER) if path == "/worker.js" else ("text/html", "<title>live</title>")
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n{body}".encode())
        writer.close()

    server = await asyncio.start_server(site, "127.0.0.1", 0)
    (tmp_path / f"{KEPT}.html").write_bytes(b"<title>kept</title>")
    async with server, async_playwright() as playwright:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        client = Client(web_url=url, web_version=KEPT, web_version_cache={"type": "local", "path": tmp_path})
        context = await playwright.chromium.launch_persistent_context(tmp_path / "profile", **launch_options)
        (page,) = context.pages
        await page.goto(url)
        await page.evaluate("navigator.serviceWorker.register('/worker.js').then(() => navigator.serviceWorker.ready)")
        await page.reload()
        assert await page.title() == "of the worker"
        web_version = WebVersion(client.options)
        await web_version.load(None)  # type: ignore[arg-type]  # only an archive needs the browser
        await web_version.install(page)
        for step in (page.reload(), page.goto(f"{url}?again#there")):
            await step
            assert await page.title() == "kept"
        # Only the document of that address is replaced, and only in the main frame.
        await page.goto(f"{url}elsewhere")
        assert await page.title() == "live"
        await page.evaluate("url => document.body.append(Object.assign(document.createElement('iframe'), { src: url }))", url)
        (inner,) = page.main_frame.child_frames
        await inner.wait_for_url(url)
        assert await inner.title() == "live"
        await context.close()
