"""The simulator as an object: started, asked, controlled, closed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ...errors import ConfigurationError
from .certificate import server_context
from .errors import ControlRefused
from .hub import Hub, Keeper
from .phone import Phone
from .server import Listener, bind, make_app, read_page_files
from .timings import Timings

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["Simulator"]

T = TypeVar("T")

_MAX_PORT = 65_535
_GOING_AWAY = 1001


class Simulator:
    """
    A simulated WhatsApp Web on this machine, with a phone to link its page with.

    ::

        async with Simulator() as simulator:
            client = Client(web_url=simulator.url)
            client.on("qr", simulator.phone.scan)
            await client.initialize()
            await client.wait_for("ready")

    It runs in the caller's event loop and closes what it opened. It may be started again after `close()`: it then has the
    same ports and knows the same devices. With a state file both outlive the process; the file is a credential of the
    simulated account, and of nothing else.

    Args:
        host: The address to listen on.
        port: The port of http; 0: a free one.
        tls_port: The port of https; 0: a free one.
        state_file: Where devices and ports are kept; None: nowhere.
        csp: Send a Content-Security-Policy of the real site's kind.
        phone_number: The number of the simulated account, digits alone.
        timings: `qr_refresh=20.0`, `qr_refs=6` and all else that `Timings` lists.

    Raises:
        ConfigurationError: An argument is wrong; the message names its value.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls_port: int = 0,
        state_file: str | os.PathLike[str] | None = None,
        csp: bool = True,
        phone_number: str = "15551234567",
        **timings: Any,
    ) -> None:
        for name, value in (("port", port), ("tls_port", tls_port)):
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_PORT:
                raise ConfigurationError(f"invalid {name} {value!r}: a number from 0 (a free one) to {_MAX_PORT}")
        if port and port == tls_port:
            raise ConfigurationError(f"port and tls_port are both {port}: give each its own")
        if not (isinstance(phone_number, str) and phone_number.isascii() and phone_number.isdecimal()):
            raise ConfigurationError(f"invalid phone_number {phone_number!r}: digits alone, country code first")
        self.hub = Hub(Timings().changed(timings))
        self.phone = Phone(self.hub, phone_number)
        self._host = host
        self._wanted = (port, tls_port)
        self._csp = csp
        self._state_file = Path(state_file).absolute() if state_file is not None else None
        self._running: AsyncExitStack | None = None
        self._loaded = False

    def __repr__(self) -> str:
        return f"Simulator({self.url!r})" if self._running else "Simulator(closed)"

    # -- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """
        Listen on both ports.

        Raises:
            ConfigurationError: It runs already, a port is taken, or the state file is not one.
        """
        if self._running is not None:
            raise ConfigurationError(f"the simulator runs already at {self.url}: close() it first")
        files, context = await asyncio.to_thread(self._prepare)
        app = make_app(self, files, csp=self._csp)
        async with AsyncExitStack() as stack:
            ports: list[int] = []
            listeners: list[Listener] = []
            for wanted, last, tls in zip(self._wanted, self.hub.ports, (None, context), strict=True):
                sock = bind(self._host, wanted or last)
                stack.callback(sock.close)
                ports.append(sock.getsockname()[1])
                listener = Listener(app, sock, tls)
                stack.push_async_callback(listener.close)
                await listener.start()
                listeners.append(listener)
            # Both at once, since each takes its time.
            for listener in listeners:
                stack.callback(listener.stop)
            self.hub.ports = (ports[0], ports[1])
            if self._state_file is not None:
                keeper = Keeper(self.hub, self._state_file)
                stack.push_async_callback(keeper.close)
                keeper.start()
            self._running = stack.pop_all()

    def _prepare(self) -> tuple[dict[str, bytes], Any]:
        if self._state_file is not None and not self._loaded and self._state_file.exists():
            Keeper.load(self.hub, self._state_file)
        self._loaded = True
        return read_page_files(), server_context(self._host)

    async def close(self) -> None:
        """End all connections and stop listening; idempotent."""
        running, self._running = self._running, None
        if running is None:
            return
        for page in list(self.hub.pages):
            await page.close(_GOING_AWAY)
        await running.aclose()
        self.hub.pages.clear()
        self.hub.changed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    # -- where it is -------------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port of http."""
        return self._ports()[0]

    @property
    def tls_port(self) -> int:
        """The port of https."""
        return self._ports()[1]

    @property
    def url(self) -> str:
        """The page over http: `Client(web_url=simulator.url)`."""
        return f"http://{self._address()}:{self.port}/"

    @property
    def tls_url(self) -> str:
        """The page over https; the certificate is self-signed."""
        return f"https://{self._address()}:{self.tls_port}/"

    @property
    def host_resolver_args(self) -> tuple[str, str]:
        """The arguments with which Chromium finds the simulator at https://web.whatsapp.com/."""
        return (
            f"--host-resolver-rules=MAP web.whatsapp.com {self._address()}:{self.tls_port}",
            "--ignore-certificate-errors",
        )

    def _ports(self) -> tuple[int, int]:
        if self._running is None:
            raise ConfigurationError(
                "the simulator does not run: await its start(), or use `async with Simulator() as simulator`"
            )
        return self.hub.ports

    def _address(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104
        return f"[{host}]" if ":" in host else host

    # -- what it knows -----------------------------------------------------------------------------------------------

    @property
    def devices(self) -> dict[str, dict[str, Any]]:
        """The linked devices by their ids."""
        return {name: device.public() for name, device in self.hub.devices.items()}

    @property
    def pages(self) -> list[dict[str, Any]]:
        """The pages that are open, the newest last; what each entry has is listed in docs/simulator.md."""
        return [page.public() for page in self.hub.pages]

    def state(self) -> dict[str, Any]:
        """Return what `GET /control/state` answers."""
        return {"devices": self.devices, "pages": self.pages}

    async def check(self, timeout: float = 60.0) -> list[dict[str, Any]]:
        """
        Have every page read all its message records anew, and return `pages`, with their counts up to date.

        Raises:
            TimeoutError: A page did not answer.
        """
        async with asyncio.timeout(timeout):
            await asyncio.gather(*(page.check() for page in self.hub.pages if not page.is_gone))
        return self.pages

    async def wait_for(self, predicate: Callable[[], T], timeout: float = 30.0) -> T:
        """
        Return the first true answer of `predicate`, asked at each change.

        Raises:
            TimeoutError: There was none in time; the message says how the pages stood.
        """
        return await self.hub.wait_for(predicate, timeout)

    def configure(self, **timings: Any) -> Timings:
        """
        Change timings or amounts and return them all; a code or a delay that is under way keeps its own.

        Raises:
            ControlRefused: There is no such timing, or its value is wrong.
        """
        if not timings:
            raise ControlRefused(f"nothing to configure: give one or more of {', '.join(Timings.model_fields)}")
        self.hub.timings = self.hub.timings.changed(timings)
        for page in self.hub.pages:
            page.send("config", config=self.hub.timings.model_dump())
        return self.hub.timings
