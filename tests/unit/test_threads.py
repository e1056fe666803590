"""Work in threads, and what is left of it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from wwauth._threads import in_thread
from wwauth.errors import ConfigurationError
from wwauth_stores._transfer import reading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path


class Connection:
    """What ends as soon as nobody has it."""


@pytest.fixture
def _no_collections() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def _fails(_: Path) -> None:
    await in_thread(lambda _: int("no number"))


async def _is_not_there(folder: Path) -> None:
    async with reading(folder / "gone.zip"):
        pass


async def _fails_within(folder: Path) -> None:
    (folder / "there.zip").touch()
    async with reading(folder / "there.zip"):
        raise ValueError


@pytest.mark.usefixtures("_no_collections")
@pytest.mark.parametrize("call", [_fails, _is_not_there, _fails_within])
async def test_what_failed_beside_a_thread_keeps_nothing_open(call: Callable[[Path], Awaitable[None]], tmp_path: Path) -> None:
    """An exception and the frames that it has come through do not hold each other."""

    loop, gone = asyncio.get_running_loop(), asyncio.Event()

    async def failing() -> None:
        connection = Connection()
        weakref.finalize(connection, loop.call_soon_threadsafe, gone.set)
        await call(tmp_path)

    with suppress(ValueError, ConfigurationError):
        await failing()
    async with asyncio.timeout(60):
        await gone.wait()  # the thread, too, lets go of what it raised
