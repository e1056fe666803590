"""
Each scenario, first with unmodified whatsapp-web.js, then with wwauth: the same events, payloads and order.

Where they differ, a defect of the peer is the reason; each such scenario is a row of docs/parity.md.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.testing import Simulator

from ..soaking import most_in_soak, soak
from .peer import PeerError
from .scenarios import SCENARIOS, link
from .sides import OurSide

if TYPE_CHECKING:
    from .conftest import MakeStarter
    from .sides import Side, Starter

pytestmark = [pytest.mark.browser, pytest.mark.interop, pytest.mark.timeout(300)]

PEER, OURS = "whatsapp-web.js", "wwauth"
DOCUMENT = Path(__file__).parents[2] / "docs" / "parity.md"

Event = tuple[str, list[Any]]

QR: Event = ("qr", ["<qr>"])
CODE: Event = ("code", ["<code>"])
LOGIN: list[Event] = [
    *(("loading_screen", [percent, "WhatsApp"]) for percent in (20, 40, 60, 80, 100)),
    ("authenticated", [None]),
    ("ready", []),
]


def state(*states: str) -> list[Event]:
    return [("change_state", [state]) for state in states]


def disconnected(reason: str) -> Event:
    return ("disconnected", [reason])


# What each client of a scenario emits, in order; saves are counted apart.
EXPECTED: dict[str, list[list[Event]]] = {
    "qr": [[QR, *LOGIN]],
    "qr_renewed": [[QR, QR, *LOGIN]],
    "qr_retries": [[QR, QR, disconnected("Max qrcode retries reached")]],
    "qr_round_over": [[QR, QR]],
    "pairing_code": [[CODE, *LOGIN]],
    "pairing_code_on_request": [[QR, CODE, *LOGIN]],
    "pairing_code_cancelled": [[QR, CODE, QR, *LOGIN]],
    "pairing_code_from_the_start_cancelled": [[CODE]],
    "local_restart": [[QR, *LOGIN], LOGIN],
    "local_restart_in_a_flash": [[QR, *LOGIN], []],
    "remote_restore": [[QR, *LOGIN], LOGIN],
    "logout": [[QR, *LOGIN]],
    "logout_on_the_phone": [[QR, *LOGIN, disconnected("LOGOUT")]],
    "conflict": [[QR, *LOGIN, *state("CONFLICT"), disconnected("CONFLICT")]],
    "conflict_with_a_backup": [[QR, *LOGIN], [*LOGIN, *state("CONFLICT"), disconnected("CONFLICT")]],
    "proxy_blocked": [[QR, *LOGIN, *state("PROXYBLOCK"), disconnected("PROXYBLOCK")]],
    "takeover": [[QR, *LOGIN, *state("CONFLICT", "OPENING", "CONNECTED")]],
    "connection_lost": [[QR, *LOGIN, *state("TIMEOUT", "OPENING", "CONNECTED")]],
}

# What wwauth emits where it is not the same; docs/parity.md says why.
DIFFERENT: dict[str, list[list[Event]]] = {
    "qr_round_over": [[QR, QR, QR]],
    "pairing_code_from_the_start_cancelled": [[CODE, QR]],
    "local_restart_in_a_flash": [[QR, *LOGIN], LOGIN[-2:]],
    "logout": [[QR, *LOGIN, disconnected("LOGOUT")]],
}

# How often each client tells of a save to the store: the peer once for a new login, wwauth whenever there was something new.
SAVES: dict[str, list[int]] = {"remote_restore": [1, 0], "conflict_with_a_backup": [1, 0]}
WITH_SAVES = {"remote_restore", "conflict_with_a_backup"}

# The peer goes on in a browser whose profile it has deleted: a code may follow, or nothing ever.
OPEN_END = {"logout_on_the_phone"}

# Rows of the document whose tests stand below, or in the scenario itself.
OTHERS = {"unlinked_while_away", "conflict_with_a_backup", "remote_restore", "logout_on_the_phone"}

# Each is two browsers or more; the rest is played in the long tests.
USUAL = ["qr", "pairing_code", "remote_restore", "logout", "logout_on_the_phone"]


@pytest.mark.parametrize("name", most_in_soak(SCENARIOS, usual=USUAL))
async def test_events_are_those_of_the_peer(name: str, starter: MakeStarter) -> None:
    peer, saves = await _play(name, PEER, starter)
    if name in OPEN_END:
        peer[-1] = peer[-1][: len(EXPECTED[name][-1])]
    assert peer == EXPECTED[name]
    assert saves == SAVES.get(name, [0] * len(peer))

    ours, our_saves = await _play(name, OURS, starter)
    assert ours == DIFFERENT.get(name, peer)
    assert all(our_saves) if name in WITH_SAVES else not any(our_saves)


@soak
async def test_unlinked_while_away(starter: MakeStarter) -> None:
    """whatsapp-web.js is still at its injection when the page leaves for `post_logout`: it throws, or shows a code at best."""
    async with Simulator(qr_refresh=3600) as simulator:
        start = await _unlinked_while_away(starter, PEER, simulator)
        with suppress(PeerError):
            await (await start("LocalAuth")).event("qr")
        await start.close()
        assert "disconnected" not in dict(start.sides[-1].events)

    async with Simulator(qr_refresh=3600) as simulator:
        start = await _unlinked_while_away(starter, OURS, simulator)
        side = await start("LocalAuth")
        await side.event("disconnected")
        assert side.events == [disconnected("LOGOUT")]
        assert not (start.folder / "auth" / "session").exists()


async def _unlinked_while_away(starter: MakeStarter, kind: str, simulator: Simulator) -> Starter:
    start = starter(kind, simulator)
    side = await start("LocalAuth")
    await link(side, simulator)
    await side.destroy()
    await simulator.phone.unlink()
    return start


def test_each_difference_is_a_row_of_the_document() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted({*DIFFERENT, *OTHERS})


async def _play(name: str, kind: str, starter: MakeStarter) -> tuple[list[list[Event]], list[int]]:
    async with Simulator(qr_refresh=3600) as simulator:
        start = starter(kind, simulator)
        await SCENARIOS[name](start, simulator)
        await start.close()
    assert [error for side in start.sides if isinstance(side, OurSide) for error in side.errors] == []
    played = [_normalized(side) for side in start.sides]
    return [events for events, _ in played], [saves for _, saves in played]


def _normalized(side: Side) -> tuple[list[Event], int]:
    """Return a client's events with the codes' random text replaced, and how often it told of a save."""
    events = [(event, _payload(event, args)) for event, args in side.events]
    kept = [event for event in events if event[0] != "remote_session_saved"]
    return kept, len(events) - len(kept)


def _payload(event: str, args: list[Any]) -> list[Any]:
    if event == "qr":
        assert re.fullmatch(r"[^,]+(,[A-Za-z0-9+/=]+){3},[^,]+", args[0]), args
        return ["<qr>"]
    if event == "code":
        assert re.fullmatch(r"[A-Z0-9]{8}", args[0]), args
        return ["<code>"]
    return args
