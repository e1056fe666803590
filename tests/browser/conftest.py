"""Clients on the simulator, and a record of what they emitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wwauth import Client

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


@pytest.fixture
async def make_client(simulator: Simulator, launch_options: dict[str, Any]) -> AsyncIterator[Callable[..., Recorded]]:
    """Return `make(**options)`, which makes clients on the simulator that are destroyed at the end."""
    made: list[Client] = []

    def make(**options: Any) -> Recorded:
        client = Client(**{"web_url": simulator.url, "launch_options": launch_options, "handle_signals": False, **options})
        made.append(client)
        return Recorded(client)

    yield make
    for client in made:
        await client.destroy()
