"""Runs the unmodified Baileys in a process of its own, and speaks with it."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from wwauth.authstate.bufferjson import UNDEFINED

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).parent
VERSION = "7.0.0-rc14"

# A bound on each call, so that a test says what did not come; it measures nothing.
_TIMEOUT = 120.0


class BaileysError(Exception):
    """What Baileys threw, in its words."""


class Baileys:
    """The peer; `with` starts and ends it. It holds no folder open between two calls."""

    def __init__(self, node: str) -> None:
        # Not marked as a process of a test: it serves all of them, and is ended by who started it.
        environment = {name: value for name, value in os.environ.items() if name != "WWAUTH_TEST_RUN"}
        self._process = subprocess.Popen(
            [node, str(HERE / "baileys_peer.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self._calls = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=_TIMEOUT)

    def __call__(self, name: str, *args: object) -> Any:
        """Call a command of baileys_peer.mjs and return its value; raise `BaileysError` when it throws."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._calls += 1
        request = {"id": self._calls, "call": name, "args": [str(arg) if isinstance(arg, Path) else arg for arg in args]}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        guard = threading.Timer(_TIMEOUT, self._process.kill)
        guard.start()
        line = self._process.stdout.readline()
        guard.cancel()
        guard.join()
        assert line, f"Baileys has not answered {name}"
        reply = json.loads(line)
        assert reply["reply"] == self._calls
        if "error" in reply:
            raise BaileysError(reply["error"])
        return reply["value"]


def contents(folder: Path) -> dict[str, bytes]:
    """Return what Baileys' files of a folder hold, by name."""
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


def describe(value: object) -> list[Any]:
    """Say what a value is, so that no two values look alike, as `describe` in baileys_peer.mjs does."""
    match value:
        case None:
            return ["null"]
        case bool():
            return ["boolean", value]
        case int() | float():
            return ["number", struct.pack(">d", value).hex()]
        case str():
            return ["string", _units(value)]
        case bytes():
            return ["bytes", value.hex()]
        case list():
            return ["array", [describe(item) for item in value]]
        case dict():
            return ["object", [[_units(key), describe(item)] for key, item in value.items()]]
        case _:
            assert value is UNDEFINED, repr(value)
            return ["undefined"]


def _units(text: str) -> list[int]:
    """Return the UTF-16 units of which JavaScript's strings are made."""
    data = text.encode("utf-16-le", "surrogatepass")
    return list(struct.unpack(f"<{len(data) // 2}H", data))


def in_order(described: list[Any]) -> list[Any]:
    """Put an object's keys into JavaScript's order: those that are indexes of an array come first."""
    kind, *content = described
    if kind == "array":
        return [kind, [in_order(item) for item in content[0]]]
    if kind != "object":
        return described
    members = [(key, in_order(value)) for key, value in content[0]]
    indexes = sorted((member for member in members if _is_index(member[0])), key=lambda member: int(bytes(member[0])))
    return [kind, [[*member] for member in (*indexes, *(member for member in members if not _is_index(member[0])))]]


def _is_index(units: Iterable[int]) -> bool:
    text = "".join(map(chr, units))
    return text.isascii() and text.isdigit() and str(int(text)) == text and int(text) < 2**32 - 1
