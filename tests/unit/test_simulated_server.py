"""The simulator's server where two things happen at once; without a browser."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, cast

from wwauth.testing.simulator import devices
from wwauth.testing.simulator.devices import Device
from wwauth.testing.simulator.hub import Hub
from wwauth.testing.simulator.pages import Page
from wwauth.testing.simulator.timings import Timings

if TYPE_CHECKING:
    import pytest
    from starlette.websockets import WebSocket


def new_device() -> Device:
    return Device(id="1:1", login="one", number="1", noise=b"", seed=b"seed")


async def test_two_proofs_of_one_device_at_once_spoil_none_that_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is checked in a thread of its own, and finds the checkpoints that the other one is about to make."""
    both, hash_quickly = threading.Barrier(2), devices._hash

    def hash_slowly(value: bytes, times: int) -> bytes:
        if times == devices._CHECKPOINT:
            both.wait()
        return hash_quickly(value, times)

    device, index = new_device(), devices._CHECKPOINT
    with monkeypatch.context() as patch:
        patch.setattr(devices, "_hash", hash_slowly)
        found = await asyncio.gather(*(asyncio.to_thread(device.ratchet_value, index) for _ in range(2)))
    found += [device.ratchet_value(at) for at in (index, 2 * index, 3 * index + 1)]
    other = new_device()
    assert found == [other.ratchet_value(at) for at in (index, index, index, 2 * index, 3 * index + 1)]


async def test_a_check_that_begins_when_its_page_has_just_gone_ends() -> None:
    page = Page(Hub(Timings()), cast("WebSocket", None))
    checking = asyncio.create_task(page.check())
    page._end()
    for _ in range(5):
        await asyncio.sleep(0)
    assert checking.done()
