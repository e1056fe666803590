"""Clients on the simulator, and a record of what they emitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wwauth import Client

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
        qr = self.client.qr or await self.client.wait_for("qr", timeout=20)
        await simulator.phone.scan(qr)
        await self.client.wait_for("ready", timeout=30)


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
