"""Clients on the simulator, and a record of what they emitted."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from wwauth import Client, RemoteAuth
from wwauth.errors import BrowserClosed

from .simulated import SITE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from wwauth.testing import Simulator

# Everything that the peer emits, too; the backups' own events come when they come.
EVENTS = (
    "qr",
    "code",
    "authenticated",
    "auth_failure",
    "loading_screen",
    "ready",
    "change_state",
    "disconnected",
    "error",
    "restored",
    "backup_failed",
)


class Recorded:
    """A client, and its events in order."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events: list[tuple[Any, ...]] = []
        for name in EVENTS:
            client.on(name, lambda *args, name=name: self.events.append((name, *args)))

    @property
    def names(self) -> list[str]:
        """The events' names, `loading_screen` once however often it came."""
        names = [str(event[0]) for event in self.events]
        return [name for index, name in enumerate(names) if name != "loading_screen" or names[index - 1] != name]

    async def link(self, simulator: Simulator) -> None:
        """Scan the code on the screen, and wait for `ready`."""
        await self.client.initialize()
        qr = self.client.qr or await self.client.wait_for("qr", timeout=60)
        await simulator.phone.scan(qr)
        await self.client.wait_for("ready", timeout=60)

    async def opens(self, url: str) -> None:
        """Wait until a start that is under way has opened this address, and waits for what is there."""
        async with asyncio.timeout(60):
            while True:
                with suppress(BrowserClosed):  # the page is not there yet
                    if self.client.page.url == url:
                        break
                await asyncio.sleep(0.02)
            for _ in range(2):  # the first answer may come with that which the start waits for, the second is later
                await self.client.page.evaluate("1")

    async def backed_up(self) -> None:
        """Wait for the end of the backup that follows `ready`; the next one is a long time away."""
        strategy = self.client.auth_strategy
        assert isinstance(strategy, RemoteAuth)
        async with asyncio.timeout(60):
            while strategy.status.next_run is None:  # noqa: ASYNC110 - the event may have been before
                await asyncio.sleep(0.02)
        assert strategy.status.last_report is not None


MakeClient = "Callable[..., Recorded]"


@pytest.fixture(params=["simulator"])
def address(request: pytest.FixtureRequest, simulator: Simulator, launch_options: dict[str, Any]) -> dict[str, Any]:
    """
    Return the options with which a client finds the simulator: at its own address, or at the real site's by host mapping.

    `both_addresses` runs a test with either.
    """
    if request.param == "simulator":
        return {"web_url": simulator.url, "launch_options": launch_options}
    args = [*launch_options.get("args", []), *simulator.host_resolver_args]
    return {"web_url": SITE, "launch_options": {**launch_options, "args": args}}


@pytest.fixture
async def skip_time() -> Callable[[float], None]:
    """
    Return `skip_time(seconds)`: all that the event loop is to do within so many seconds is due now.

    So a bound that nobody keeps ends a test at once, and may be one that everything else keeps on the slowest machine. The
    browser's clock goes on as ever; the loop's does not go back, and ends with the test.
    """
    loop = asyncio.get_running_loop()
    before, skipped = loop.time, 0.0

    def skip(seconds: float) -> None:
        nonlocal skipped
        skipped += seconds

    loop.time = lambda: before() + skipped  # type: ignore[method-assign]
    return skip


@pytest.fixture
async def make_client(address: dict[str, Any]) -> AsyncIterator[Callable[..., Recorded]]:
    """Return `make(**options)`, which makes clients on the simulator that are destroyed at the end."""
    made: list[Client] = []

    def make(**options: Any) -> Recorded:
        client = Client(**{**address, "handle_signals": False, **options})
        made.append(client)
        return Recorded(client)

    yield make
    for client in made:
        await client.destroy()
