"""
Each scenario, first with the unmodified whatsapp-web.js, then with wwauth: the same events with the same payloads in the same order.

What differs is a defect of the peer; each such difference is a row of docs/parity.md, and is written down here to the letter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.testing import Simulator

from .scenarios import SCENARIOS
from .sides import OurSide, PeerSide

if TYPE_CHECKING:
    from .conftest import MakeStarter
    from .sides import Side, Starter

pytestmark = [pytest.mark.browser, pytest.mark.interop, pytest.mark.timeout(300)]

PARITY = Path(__file__).parents[2] / "docs" / "parity.md"

Event = tuple[str, list[Any]]

QR: Event = ("qr", ["<qr>"])
CODE: Event = ("code", ["<code>"])
LINKED: list[Event] = []


@dataclass(frozen=True)
class Difference:
    """In one client of a scenario, wwauth has `ours` where the peer has `peer`; `row` names the row in docs/parity.md."""

    row: str
    client: int
    peer: list[Event]
    ours: list[Event]


DIFFERENCES: dict[str, list[Difference]] = {}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_events_are_those_of_the_peer(name: str, starter: MakeStarter) -> None:
    peer = await _play(name, "whatsapp-web.js", starter)
    ours = await _play(name, "wwauth", starter)
    print(peer)
    print(ours)


async def _play(name: str, kind: str, starter: MakeStarter) -> list[list[Event]]:
    async with Simulator() as simulator:
        start = starter(kind, simulator)
        await SCENARIOS[name](start, simulator)
        await start.close()
        return [_normalized(side) for side in start.sides]


def _normalized(side: Side) -> list[Event]:
    return [(event, _payload(event, args)) for event, args in side.events]


def _payload(event: str, args: list[Any]) -> list[Any]:
    if event == "qr":
        assert re.fullmatch(r"[^,]+(,[A-Za-z0-9+/=]+){3},[^,]+", args[0]), args
        return ["<qr>"]
    if event == "code":
        assert re.fullmatch(r"[A-Z0-9]{8}", args[0]), args
        return ["<code>"]
    return args
