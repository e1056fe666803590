"""Runs the unmodified whatsapp-web.js in a process of its own, and speaks with it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent

# A bound on each wait, so that a test says what did not come; it measures nothing.
TIMEOUT = 60.0

# Inherited by all that the peer starts: Puppeteer puts Chromium into a process group of its own.
_MARK = "WWAUTH_PEER"


class PeerError(Exception):
    """What the peer threw, in its words."""


class Peer:
    """
    One Client of whatsapp-web.js; `close()` it in every case.

    Attributes:
        events: What it emitted so far, in order: (name, [arguments]).
        unhandled: Rejections that nobody handles in the peer; in a program of a user each would have ended the process.
    """

    def __init__(self, process: asyncio.subprocess.Process, mark: str, log: Path) -> None:
        self.events: list[tuple[str, list[Any]]] = []
        self.unhandled: list[str] = []
        self._process = process
        self._mark = mark
        self._log = log
        self._seen: dict[str, int] = {}
        self._replies: dict[int, dict[str, Any]] = {}
        self._initialized: dict[str, Any] | None = None
        self._commands = 0
        self._changed = asyncio.Condition()
        self._ended = False
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, node: str, options: dict[str, Any], folder: Path) -> Self:
        """Start a peer whose working directory is `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        mark, log = secrets.token_hex(8), folder / "peer.log"
        with log.open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                node,
                str(HERE / "peer.js"),
                json.dumps(options),
                cwd=folder,
                env={**os.environ, _MARK: mark},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=1 << 20,
                start_new_session=sys.platform != "win32",
            )
        return cls(process, mark, log)

    @property
    def names(self) -> list[str]:
        """The names of the events so far."""
        return [name for name, _ in self.events]

    async def event(self, name: str, *, after: int = 0) -> Any:
        """
        Return the payload of the next event of this name that was not returned before: None, the argument, or a list.

        Args:
            name: The event's name.
            after: Skip those among the first `after` events.
        """
        found: list[tuple[int, list[Any]]] = []

        def come() -> bool:
            first = max(self._seen.get(name, 0), after)
            found[:] = [(n, args) for n, (event, args) in enumerate(self.events) if event == name and n >= first]
            return bool(found)

        await self._until(come, f"the event {name!r}")
        self._seen[name] = found[0][0] + 1
        args = found[0][1]
        return args if len(args) > 1 else next(iter(args), None)

    async def initialized(self) -> None:
        """Wait until `initialize()` has settled; raise `PeerError` when it was rejected."""
        await self._until(lambda: self._initialized is not None, "the end of initialize()")
        if self._initialized is not None and self._initialized["initialized"] is not None:
            raise PeerError(self._initialized["initialized"])

    async def call(self, name: str, *args: object) -> Any:
        """Call a method of the peer and return its value; raise `PeerError` when it throws."""
        assert self._process.stdin is not None
        self._commands += 1
        number = self._commands
        self._process.stdin.write(json.dumps({"id": number, "call": name, "args": args}).encode() + b"\n")
        await self._process.stdin.drain()
        await self._until(lambda: number in self._replies, f"the reply to {name}")
        reply = self._replies.pop(number)
        if "error" in reply:
            raise PeerError(reply["error"])
        return reply["value"]

    async def close(self) -> None:
        """End the peer as a user would, with `destroy()`, then whatever is left of it by force; idempotent."""
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(TIMEOUT / 3):
                assert self._process.stdin is not None
                self._process.stdin.close()
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End the peer and its browser at once; idempotent."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        await self._process.wait()
        await self._reader

    def _processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get(_MARK) == self._mark:
                    found.append(process)
        return found

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        def over() -> bool:
            return condition() or self._ended

        try:
            async with asyncio.timeout(TIMEOUT), self._changed:
                await self._changed.wait_for(over)
        except TimeoutError:
            raise AssertionError(f"the peer did not bring {what} within {TIMEOUT:g} s: {self._story()}") from None
        if not condition():
            raise AssertionError(f"the peer ended before {what}: {self._story()}")

    def _story(self) -> str:
        log = self._log.read_text("utf-8", "replace")[-2000:]
        return f"events {self.events}, unhandled {self.unhandled}, initialized {self._initialized}, log {log!r}"

    async def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while line := await self._process.stdout.readline():
                message = json.loads(line)
                async with self._changed:
                    self._take(message)
                    self._changed.notify_all()
        finally:
            async with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self.events.append((message["event"], message["args"]))
        elif "reply" in message:
            self._replies[message["reply"]] = message
        elif "unhandled" in message:
            self.unhandled.append(message["unhandled"])
        else:
            self._initialized = message
