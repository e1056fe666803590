"""Clients that several stores of one process share: the first one opens it, the last one closes it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class _Key(NamedTuple):
    url: str
    # A driver's client belongs to the event loop of its first call.
    loop: object


class _Entry:
    def __init__(self, client: Any) -> None:
        self.client = client
        self.users = 0


_open: dict[_Key, _Entry] = {}


class Shared:
    """
    One user's share in the client for a URL; `close()` gives it back.

    Outside of an event loop nobody is there to share with, and the client is this user's alone.
    """

    def __init__(self, url: str, make: Callable[[], Any]) -> None:
        try:
            loop: object = asyncio.get_running_loop()
        except RuntimeError:
            loop = self
        self._key = _Key(url, loop)
        entry = _open.get(self._key)
        if entry is None:
            entry = _open[self._key] = _Entry(make())
        entry.users += 1
        self.client = entry.client

    async def close(self, end: Callable[[Any], Awaitable[object]]) -> None:
        """Give the share back; the last user of a client ends it with `end(client)`. To be called once."""
        entry = _open[self._key]
        entry.users -= 1
        if not entry.users:
            del _open[self._key]
            await end(entry.client)
