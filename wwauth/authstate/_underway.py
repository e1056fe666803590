"""What is under way, for an end that waits for it."""

from __future__ import annotations

import asyncio


class UnderWay:
    """Counts those who are in its `with` blocks."""

    def __init__(self) -> None:
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __enter__(self) -> None:
        self._running += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()

    async def ended(self) -> None:
        """Wait until nobody is in one."""
        await self._idle.wait()
