"""The emitter: handlers neither break nor delay the one who emits."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from wwauth.events import Event, EventEmitter


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_sync_and_async_handlers_get_the_arguments_they_take() -> None:
    emitter = EventEmitter()
    seen: list[tuple[Any, ...]] = []

    @emitter.on("loading_screen")
    def both(percent: int, text: str) -> None:
        seen.append(("both", percent, text))

    @emitter.on("loading_screen")
    async def first(percent: int) -> None:
        seen.append(("first", percent))

    @emitter.on("loading_screen")
    def none() -> None:
        seen.append(("none",))

    emitter.on("loading_screen", lambda *args: seen.append(args))
    emitter.emit(Event.LOADING_SCREEN, 50, "WhatsApp")
    await settle()
    assert sorted(seen, key=str) == [("both", 50, "WhatsApp"), ("first", 50), ("none",), (50, "WhatsApp")]


async def test_a_handler_that_raises_is_emitted_as_error_and_the_others_run() -> None:
    emitter = EventEmitter()
    errors: list[Exception] = []
    seen: list[str] = []
    boom = ValueError("sync"), ValueError("async")

    @emitter.on("ready")
    def sync_handler() -> None:
        raise boom[0]

    @emitter.on("ready")
    async def async_handler() -> None:
        raise boom[1]

    emitter.on("ready", lambda: seen.append("ran"))
    emitter.on("error", errors.append)
    emitter.emit("ready")
    await settle()
    assert seen == ["ran"]
    assert errors == list(boom)


async def test_a_cancellation_in_a_handler_or_predicate_does_not_cancel_the_one_who_emits() -> None:
    emitter = EventEmitter()
    errors: list[BaseException] = []

    def cancelled() -> bool:
        raise asyncio.CancelledError

    emitter.on("ready", cancelled)
    emitter.on("error", errors.append)
    waiting = asyncio.create_task(emitter._wait("ready", cancelled, 60))
    await settle()
    emitter.emit("ready")
    await settle()
    assert [type(error) for error in errors] == [asyncio.CancelledError]
    assert waiting.cancelled()


async def test_an_error_without_a_handler_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    EventEmitter().emit("error", ValueError("nobody listens"))
    assert "nobody listens" in caplog.text


async def test_a_handler_of_error_that_raises_does_not_come_back_to_itself(caplog: pytest.LogCaptureFixture) -> None:
    emitter, calls = EventEmitter(), []

    @emitter.on("error")
    def bad(_exc: Exception) -> None:
        calls.append(1)
        raise ValueError("again")

    emitter.emit("error", RuntimeError("first"))
    assert calls == [1]
    assert "again" in caplog.text


async def test_a_slow_handler_does_not_delay_emit() -> None:
    emitter, gate, seen = EventEmitter(), asyncio.Event(), []

    @emitter.on("qr")
    async def slow(_qr: str) -> None:
        await gate.wait()
        seen.append("slow")

    emitter.on("qr", lambda _qr: seen.append("quick"))
    emitter.emit("qr", "x")
    assert seen == ["quick"]
    gate.set()
    await settle()
    assert seen == ["quick", "slow"]


async def test_once_and_remove_listener() -> None:
    emitter, seen = EventEmitter(), []

    def handler(value: int) -> None:
        seen.append(value)

    emitter.once("a", handler)
    emitter.emit("a", 1)
    emitter.emit("a", 2)
    emitter.on("b", handler)
    emitter.remove_listener("b", handler)
    emitter.emit("b", 3)
    assert seen == [1]


async def test_a_handler_added_during_an_event_waits_for_the_next() -> None:
    emitter, seen = EventEmitter(), []

    @emitter.on("a")
    def adds() -> None:
        if len(emitter.listeners("a")) == 1:
            emitter.on("a", lambda: seen.append("added"))

    emitter.emit("a")
    assert seen == []
    emitter.emit("a")
    assert seen == ["added"]


@pytest.mark.parametrize(("args", "expected"), [((), None), (("x",), "x"), ((1, 2), (1, 2))])
async def test_wait_gives_the_payload(args: tuple[Any, ...], expected: object) -> None:
    emitter = EventEmitter()
    waiting = asyncio.create_task(emitter._wait("a", None, 60))
    await settle()
    emitter.emit("a", *args)
    assert await waiting == expected


async def test_wait_takes_what_its_predicate_accepts_and_raises_what_it_raises() -> None:
    emitter = EventEmitter()
    even = asyncio.create_task(emitter._wait("n", lambda n: n % 2 == 0, 60))
    broken = asyncio.create_task(emitter._wait("n", lambda n: n / 0 > 1, 60))
    await settle()
    for number in (1, 3, 4):
        emitter.emit("n", number)
    assert await even == 4
    with pytest.raises(ZeroDivisionError):
        await broken


async def test_wait_leaves_nothing_behind_when_it_is_cancelled_or_over() -> None:
    emitter = EventEmitter()
    task = asyncio.create_task(emitter._wait("a", None, None))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError):
        await emitter._wait("a", None, 0.01)
    assert emitter._waiters == []


async def test_the_log_of_a_failed_handler_names_the_event(caplog: pytest.LogCaptureFixture) -> None:
    emitter = EventEmitter()
    emitter.on("qr", lambda: 1 / 0)
    with caplog.at_level(logging.WARNING, "wwauth.events"):
        emitter.emit(Event.QR)
    assert "a handler of 'qr' failed" in caplog.text
