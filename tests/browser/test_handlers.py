"""Handlers of events, on a client that lives: whatever they do, the login goes its way; and what hooks do besides raising."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import async_playwright

from wwauth import AuthStrategy, LocalAuth
from wwauth._launch import Launch
from wwauth._processes import is_running
from wwauth.errors import AuthTimeout, StrategyError

from ..soaking import soak
from .conftest import EVENTS
from .simulated import debugging_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wwauth import Client
    from wwauth.testing import Simulator

    from .conftest import Recorded

pytestmark = pytest.mark.browser

LIFE = ("qr", "loading_screen", "authenticated", "ready", "change_state", "disconnected")

RESTARTS = 50


async def test_handlers_that_raise_do_not_break_the_login(
    make_client: Callable[..., Recorded], simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    it = make_client()
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unhandled.append(context))

    def add(event: str) -> None:
        def sync_handler(*_args: object) -> None:
            raise LookupError(f"sync {event}")

        async def async_handler(*_args: object) -> None:
            await asyncio.sleep(0)
            raise LookupError(f"async {event}")

        def cancelled(*_args: object) -> None:
            raise asyncio.CancelledError(f"cancelled {event}")

        for handler in (sync_handler, async_handler, cancelled):
            it.client.on(event, handler)

    for event in (*LIFE, "error"):
        add(event)
    await it.link(simulator)
    await simulator.phone.push_state("TOS_BLOCK")
    assert await it.client.wait_for("disconnected", timeout=60) == "TOS_BLOCK"
    async with asyncio.timeout(60):
        while not any(str(event[1]) == "async disconnected" for event in it.events if event[0] == "error"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # the async ones of the last event
    told = [name for name in it.names if name not in {"error", "loading_screen"}]
    assert told == ["qr", "authenticated", "ready", "change_state", "disconnected"]
    errors = [str(event[1]) for event in it.events if event[0] == "error"]
    for event in set(LIFE) - {"loading_screen"}:
        for kind in ("sync", "async", "cancelled"):
            assert errors.count(f"{kind} {event}") == 1
            assert f"{kind} {event}" in caplog.text
        assert f"a handler of {event!r} failed" in caplog.text
    assert not [error for error in errors if error.endswith(" error")]
    assert "sync error" in caplog.text
    assert unhandled == []


async def test_a_handler_that_takes_its_time_delays_nothing(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client()
    gate, begun, ended = asyncio.Event(), [], []

    def add(event: str) -> None:
        async def slow(*_args: object) -> None:
            begun.append(event)
            await gate.wait()
            ended.append(event)

        it.client.on(event, slow)

    for event in LIFE:
        add(event)
    await it.link(simulator)
    for state in ("TIMEOUT", "CONNECTED"):
        changed = asyncio.ensure_future(it.client.wait_for("change_state", timeout=60))
        await simulator.phone.push_state(state)
        assert await changed == state
    await it.client.logout()
    assert [event for event in begun if event != "loading_screen"] == [
        "qr",
        "authenticated",
        "ready",
        "change_state",
        "change_state",
        "disconnected",
    ]
    assert ended == []
    gate.set()
    while len(ended) < len(begun):  # noqa: ASYNC110 - the handlers need a turn of the loop each
        await asyncio.sleep(0)
    assert ended == begun


async def test_handlers_come_and_go_during_events(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client()
    seen: list[tuple[str, str]] = []

    async def push(state: str) -> None:
        changed = asyncio.ensure_future(it.client.wait_for("change_state", timeout=60))
        await simulator.phone.push_state(state)
        await changed

    def late(state: str) -> None:
        seen.append(("late", state))

    def first(state: str) -> None:
        seen.append(("first", state))
        it.client.remove_listener("change_state", first)
        it.client.on("change_state", late)
        it.client.once("change_state", lambda state: seen.append(("once", state)))

    it.client.once("qr", lambda _qr: it.client.on("ready", lambda: seen.append(("ready", ""))))
    it.client.on("change_state", first)
    await it.link(simulator)
    for state in ("TIMEOUT", "CONNECTED", "TIMEOUT"):
        await push(state)
    assert seen == [
        ("ready", ""),
        ("first", "TIMEOUT"),
        ("late", "CONNECTED"),
        ("once", "CONNECTED"),
        ("late", "TIMEOUT"),
    ]


async def test_wait_for_takes_what_its_predicate_accepts(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client()
    half = asyncio.ensure_future(it.client.wait_for("loading_screen", predicate=lambda percent, _: percent >= 50))
    broken = asyncio.ensure_future(it.client.wait_for("loading_screen", predicate=lambda percent, _: percent / 0 > 1))
    never = asyncio.ensure_future(it.client.wait_for("qr", predicate=lambda _qr: False))
    await asyncio.sleep(0)
    await it.link(simulator)
    percent, text = await half
    assert percent >= 50
    assert text == "WhatsApp"
    with pytest.raises(ZeroDivisionError):
        await broken
    assert await it.client.wait_for("authenticated", predicate=lambda payload: payload is None) is None
    with pytest.raises(AuthTimeout):
        await it.client.wait_for("ready", predicate=lambda: False, timeout=0.01)
    connected = asyncio.ensure_future(it.client.wait_for("change_state", predicate=lambda state: state == "CONNECTED"))
    await asyncio.sleep(0)
    await simulator.phone.push_state("TIMEOUT")
    await simulator.phone.push_state("CONNECTED")
    assert await connected == "CONNECTED"
    assert not never.done()
    never.cancel()
    await asyncio.wait([never])
    assert it.client._waiters == []
    assert "error" not in it.names


async def test_handlers_may_end_the_client_and_start_it_again(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    it = make_client(auth_strategy=LocalAuth(data_path=tmp_path))
    over = asyncio.Event()

    @it.client.on("disconnected")
    async def again(reason: str) -> None:
        if reason != "LOGOUT":
            await it.client.initialize()

    @it.client.on("ready")
    async def enough() -> None:
        if it.names.count("ready") == 2:
            await it.client.logout()
            over.set()

    await it.link(simulator)
    await simulator.phone.push_state("TOS_BLOCK")
    await asyncio.wait_for(over.wait(), 60)
    told = [event for event in it.events if event[0] not in {"loading_screen", "qr"}]
    assert told == [
        ("authenticated", None),
        ("ready",),
        ("change_state", "TOS_BLOCK"),
        ("disconnected", "TOS_BLOCK"),
        ("authenticated", None),
        ("ready",),
        ("disconnected", "LOGOUT"),
    ]
    assert it.names.count("qr") == 1
    assert simulator.devices == {}


class Cancelled(AuthStrategy):
    """Awaits, in one of its hooks, what has been cancelled."""

    def __init__(self, hook: str) -> None:
        async def wait() -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        setattr(self, hook, wait)


async def test_a_cancellation_in_a_hook_is_the_hooks_own(make_client: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_client(auth_strategy=Cancelled("before_browser_initialized"))
    with pytest.raises(StrategyError, match=r"before_browser_initialized\(\) raised CancelledError"):
        await it.client.initialize()

    it = make_client(auth_strategy=Cancelled("get_auth_event_payload"))
    await it.client.initialize()
    ready = asyncio.ensure_future(it.client.wait_for("ready", timeout=60))
    await simulator.phone.scan(it.client.qr or await it.client.wait_for("qr", timeout=60))
    with pytest.raises(StrategyError):
        await ready
    assert it.events[-1] == ("disconnected", "STRATEGY_FAILED")

    it = make_client(auth_strategy=Cancelled("destroy"))
    await it.client.initialize()
    pid = it.client.browser_pid
    assert pid is not None
    with pytest.raises(StrategyError):
        await it.client.destroy()
    assert not is_running(pid)


def listeners(client: Client) -> dict[str, int]:
    return {name: len(client.listeners(name)) for name in sorted(client.event_names())}


@soak
async def test_restarts_leak_no_listener(
    make_client: Callable[..., Recorded], simulator: Simulator, launch_options: dict[str, Any], tmp_path: Path
) -> None:
    """
    In a browser that goes on running, which is quicker, and where what an earlier start left would still be there.

    Full restarts, each with a browser of its own, are in test_restarts.py.
    """
    simulator.configure(open_delay=0)
    options = {**launch_options, "args": ["--remote-debugging-port=0"]}
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(tmp_path, **options)
        port = await debugging_port(tmp_path)
        it = make_client(cdp_url=f"http://127.0.0.1:{port}", launch_options={"headless": True}, handle_signals=True)
        before = listeners(it.client)
        assert set(before) == set(EVENTS)
        for _ in range(RESTARTS):
            await it.client.initialize()
            waiting = asyncio.ensure_future(it.client.wait_for("ready"))
            await asyncio.sleep(0)
            await it.client.destroy()
            await asyncio.wait([waiting])
            assert waiting.exception() is not None
        assert listeners(it.client) == before
        assert it.client._waiters == []
        gc.collect()
        alive = [each for each in gc.get_objects() if isinstance(each, Launch) and each._client is it.client]
        assert len(alive) == 1, "launches that are over are kept alive"
        # Whatever still listened to an earlier launch would tell its codes twice.
        it.events.clear()
        await it.client.initialize()
        qr = it.client.qr or await it.client.wait_for("qr", timeout=60)
        await simulator.wait_for(lambda: len(simulator.pages) == 1)
        assert it.events == [("qr", qr)]
        await it.client.destroy()
        await context.close()
