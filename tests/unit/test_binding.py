"""Handlers on the events of emitters: their order, their failures, their threads and their end."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from pyee.asyncio import AsyncIOEventEmitter
from pyee.base import EventEmitter

from wwauth.authstate._binding import Binding
from wwauth.errors import ConfigurationError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Callable


class Own:
    """The least emitter there can be: it never forgets a handler, and does not tell who listens."""

    def __init__(self) -> None:
        self.handlers: list[Callable[..., object]] = []

    def on(self, event: str, handler: Callable[..., object]) -> None:
        self.handlers.append(handler)

    def emit(self, event: str, *told: object) -> None:
        for handler in self.handlers:
            handler(*told)


emitters = pytest.mark.parametrize("kind", [AsyncIOEventEmitter, EventEmitter, Own])


@emitters
async def test_handlers_begin_in_the_order_of_the_events_and_drain_waits_for_them(kind: Callable[[], Any]) -> None:
    emitter, seen, go = kind(), list[object](), asyncio.Event()

    async def handle(number: int) -> None:
        seen.append(number)
        await go.wait()
        seen.append(-number)

    binding = Binding(emitter, {"event": handle})
    for number in (1, 2, 3):
        emitter.emit("event", number)
    thread = threading.Thread(target=emitter.emit, args=("event", 4))
    thread.start()
    thread.join()
    asyncio.get_running_loop().call_soon(go.set)
    await binding.drain()
    assert [number for number in seen if number > 0] == [1, 2, 3, 4]  # type: ignore[operator]
    assert sorted(seen) == [-4, -3, -2, -1, 1, 2, 3, 4]  # type: ignore[type-var]
    for _ in range(2):
        binding.unbind()
    emitter.emit("event", 5)
    await binding.drain()
    assert 5 not in seen


@emitters
async def test_a_failure_is_told_and_holds_nothing_up(kind: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    emitter = kind()

    async def fail(error: Exception) -> None:
        raise error

    def fail_at_once(error: Exception) -> None:
        raise error

    for handler in (fail, fail_at_once):
        binding = Binding(emitter, {"event": handler})
        with caplog.at_level(logging.ERROR):
            emitter.emit("event", ValueError("hunter2"))
            emitter.emit("event", StoreFull("make room there"))
            await binding.drain()
        binding.unbind()
    assert caplog.text.count("ValueError") == caplog.text.count("make room there") == 2
    assert "hunter2" not in caplog.text


async def test_a_failure_goes_to_those_who_listen_to_errors(caplog: pytest.LogCaptureFixture) -> None:
    emitter, heard = EventEmitter(), list[object]()
    emitter.on("error", heard.append)
    error = ValueError("hunter2")

    def fail(_: object) -> None:
        raise error

    Binding(emitter, {"event": fail})
    emitter.emit("event", 1)
    assert heard == [error]
    assert not caplog.records
    emitter.remove_listener("error", heard.append)
    emitter.on("error", fail)
    emitter.emit("event", 1)
    assert "ValueError" in caplog.text
    assert "hunter2" not in caplog.text


def test_without_an_event_loop_plain_handlers_run_and_others_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    emitter, seen = EventEmitter(), list[object]()

    async def handle(told: object) -> None:
        seen.append(told)

    Binding(emitter, {"plain": seen.append, "event": handle})
    emitter.emit("plain", 1)
    emitter.emit("event", 2)
    assert seen == [1]
    assert "bind() where one is running" in caplog.text


class Decorating:
    def on(self, event: str) -> Callable[..., object]:
        raise NotImplementedError


class Awaited:
    async def on(self, event: str, handler: Callable[..., object]) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("emitter", [None, {}, Decorating(), Awaited()])
async def test_what_does_not_take_a_handler_at_once_is_refused(emitter: object) -> None:
    with pytest.raises(ConfigurationError, match="takes a handler at once"):
        Binding(emitter, {"event": print})
