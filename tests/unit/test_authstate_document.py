"""Each program of docs/authstate.md runs as it stands, with a stand-in for the socket library."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyee.asyncio import AsyncIOEventEmitter

from wwauth.authstate import AuthenticationState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.servers.mongodb import MongoDB

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "authstate.md").read_text("utf-8")
BLOCKS: list[str] = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


class Socket:
    """What a socket library makes, as far as the document goes: it pairs at once, restarts once, and is logged out then."""

    def __init__(
        self, auth: AuthenticationState | None = None, creds: Any = None, keys: Any = None, get_message: Any = None
    ) -> None:
        self.creds = auth.creds if auth is not None else creds
        self.keys = auth.keys if auth is not None else keys
        self.get_message = get_message
        self.ev = AsyncIOEventEmitter()
        self.connections = 0

    async def closed(self) -> dict[str, Any]:
        Socket.closings += 1
        self.ev.emit("connection.update", {"connection": "open"})
        self.creds["me"] = {"id": "15551234567:1@s.whatsapp.net"}
        self.ev.emit("creds.update", {"me": self.creds["me"]})
        await self.ev.wait_for_complete()
        code = 515 if Socket.closings == 1 else 401
        return {"connection": "close", "lastDisconnect": {"error": {"output": {"statusCode": code}}}}

    def end(self) -> None:
        self.ev.remove_all_listeners()

    closings = 0


@pytest.fixture
async def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[str], Awaitable[dict[str, Any]]]]:
    """Return `await run(source)`: the names that a program left; states that it left open are closed."""
    monkeypatch.chdir(tmp_path)
    library = types.ModuleType("my_socket_library")
    library.make_wa_socket = Socket  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_socket_library", library)
    Socket.closings = 0
    left: list[Any] = []

    async def run(source: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "program"}
        code = compile(source, "authstate.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.isawaitable(result):
            async with asyncio.timeout(60):
                await result
        left.extend(names.values())
        return names

    yield run
    for value in left:
        if isinstance(value, AuthenticationState):
            await value.close()


def program(needle: str) -> str:
    """Return the one program that has `needle`."""
    (source,) = [block for block in BLOCKS if needle in block]
    return source


@pytest.mark.parametrize("number", [number for number, block in enumerate(BLOCKS) if "MONGODB_URI" not in block])
async def test_a_program_runs(number: int, run: Callable[[str], Awaitable[dict[str, Any]]]) -> None:
    await run(BLOCKS[number])


async def test_the_guides_mongo_program_runs(
    run: Callable[[str], Awaitable[dict[str, Any]]], mongodb: MongoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGODB_URI", mongodb.url("document"))
    await run(program("MONGODB_URI"))


async def test_the_complete_example_reconnects_and_clears_the_session(
    run: Callable[[str], Awaitable[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    await run(program("reconnect_policy"))
    assert Socket.closings == 2
    assert "session cleared" in capsys.readouterr().out
    assert not Path("auth_info_baileys").exists()


async def test_get_message_finds_what_was_told(
    run: Callable[[str], Awaitable[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    await run(program("MessageStore("))
    assert capsys.readouterr().out == "{'conversation': 'hello'}\n"


async def test_the_in_memory_store_is_saved(run: Callable[[str], Awaitable[dict[str, Any]]]) -> None:
    await run(program("make_in_memory_store()"))
    assert "15551234567@s.whatsapp.net" in Path("baileys_store.json").read_text("utf-8")
