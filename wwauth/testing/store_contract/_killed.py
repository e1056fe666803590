"""A process that saves until it is killed."""

# ruff: noqa: S101 - tests assert

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_PROGRAM = """
import asyncio, itertools, pathlib, sys

opening, session, *sources = sys.argv[1:]

async def main():
    names = {}
    exec(opening, names)
    store = names["store"]
    assert await store.session_exists(session=session), "it holds other data"
    print("ready", flush=True)
    sys.stdin.readline()
    print("saving", flush=True)
    for source in itertools.cycle(sources):
        await store.save(session=session, path=pathlib.Path(source))

asyncio.run(main())
"""


class Saver:
    """
    Another process, with the same paths to import from; `async with` starts it and ends it.

    Args:
        opening: The statements that open the store there.
        session: The name to save under, again and again.
        sources: What to save, by turns.
    """

    def __init__(self, opening: str, session: str, sources: list[Path]) -> None:
        self._arguments = [opening, session, *map(str, sources)]
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _PROGRAM, *self._arguments),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def begin(self) -> None:
        """Let it save, once it has opened the store."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        for word in ("ready", "saving"):
            if (await process.stdout.readline()).decode().strip() != word:
                raise AssertionError(f"the other process failed: {await self._end()}")
            if word == "ready":
                process.stdin.write(b"\n")
                await process.stdin.drain()

    async def kill(self) -> None:
        """Kill it, which must not have ended by itself."""
        assert self._process is not None
        ended = self._process.returncode
        problem = await self._end()
        assert ended is None, f"the other process failed: {problem}"

    async def _end(self) -> str:
        """End it, and return the last line of what it complained of."""
        process, self._process = self._process, None
        if process is None:
            return ""
        if process.returncode is None:
            process.kill()
        _, said = await process.communicate()
        return said.decode(errors="replace").strip().rpartition("\n")[2]
