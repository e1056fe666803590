"""The simulator's web server: the page's files, its WebSocket, and the controls, over http and over https."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import mimetypes
import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from ...errors import ConfigurationError
from ...qr import svg_qr
from .control import control_routes
from .pages import Page

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from .simulator import Simulator

__all__ = ["Listener", "bind", "make_app", "read_page_files"]

# What the real site forbids, this one forbids, too: scripts of other origins, scripts in the page, eval.
_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; frame-ancestors 'self'"
)

# Seconds that connections get to end.
_GRACE = 3


def read_page_files() -> dict[str, bytes]:
    """Return the page's files by name; they are small and read once, so that serving them needs no thread. Blocks."""
    folder = importlib.resources.files(__package__) / "page"
    return {item.name: item.read_bytes() for item in folder.iterdir() if item.is_file()}


def make_app(simulator: Simulator, files: dict[str, bytes], *, csp: bool) -> Starlette:
    """Return the web application."""
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    if csp:
        headers["content-security-policy"] = _POLICY
    hub = simulator.hub

    async def page_file(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            return Response(f"there is no {name} here\n", 404, headers, "text/plain")
        kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]
        body = files[name]
        if name == "index.html":
            body = body.replace(b"{version}", hub.timings.web_version.encode())
        return Response(body, 200, headers, kind)

    async def config(_request: Request) -> Response:
        return JSONResponse(hub.timings.model_dump(), headers=headers)

    async def code(request: Request) -> Response:
        page = next((page for page in hub.pages if page.id == request.path_params["page"]), None)
        if page is None or page.qr is None:
            return Response("this page shows no code\n", 404, headers, "text/plain")
        return Response(svg_qr(page.qr), 200, headers, "image/svg+xml")

    async def connect(websocket: WebSocket) -> None:
        if hub.is_down or not _is_of_this_site(websocket):
            await websocket.close(1013)  # before it is accepted: the browser sees a refused connection
            return
        await websocket.accept()
        await Page(hub, websocket).run()

    return Starlette(
        routes=[
            Route("/", page_file),
            Route("/config.json", config),
            Route("/code/{page}.svg", code),
            Route("/page/{name}", page_file),
            WebSocketRoute("/ws", connect),
            *control_routes(simulator),
        ]
    )


def _is_of_this_site(websocket: WebSocket) -> bool:
    origin = websocket.headers.get("origin")
    return origin is None or origin.partition("://")[2] == websocket.headers.get("host")


def bind(host: str, port: int) -> socket.socket:
    """
    Return a listening socket.

    Raises:
        ConfigurationError: The address or the port cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as exc:
        raise ConfigurationError(
            f"invalid host {host!r} ({exc.strerror}): use an address of this machine, 127.0.0.1 for one"
        ) from exc
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows, where SO_REUSEADDR shares a port that is in use
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen()
        sock.setblocking(False)  # noqa: FBT003
    except OSError as exc:
        sock.close()
        raise ConfigurationError(
            f"cannot listen on port {port} of {host} ({exc.strerror}): stop what uses it, or choose another; 0 finds a free one"
        ) from exc
    return sock


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()

    def stop(self) -> None:
        """Begin to stop."""
        self.should_exit = True  # also when it has not started yet
        self._told.set()

    async def main_loop(self) -> None:
        """Wait to be told to stop, which uvicorn's own looks for ten times a second."""
        await self._told.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program that the simulator runs in."""
        yield


class Listener:
    """One port: an uvicorn in the running event loop, which touches neither signals nor logging."""

    def __init__(self, app: Starlette, sock: socket.socket, context: ssl.SSLContext | None = None) -> None:
        config = uvicorn.Config(
            app,
            loop="none",
            lifespan="off",
            ws="websockets-sansio",
            log_config=None,
            access_log=False,
            server_header=False,
            ws_ping_interval=None,
            timeout_graceful_shutdown=_GRACE,
        )
        config.load()
        config.ssl = context
        self._socket = sock
        self._server = _Uvicorn(config)
        self._task: asyncio.Task[Any] | None = None

    async def start(self) -> None:
        """Serve; returns when the port answers."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started:
            if self._task.done():
                await self._task
            await asyncio.sleep(0.005)

    def stop(self) -> None:
        """Begin to stop, as `close` does; returns at once."""
        self._server.stop()

    async def close(self) -> None:
        """Stop serving, and end what connections there are."""
        if self._task is not None:
            self.stop()
            await self._task
        self._socket.close()
