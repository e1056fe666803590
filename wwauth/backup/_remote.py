"""A session's side of a store: bounded calls, and errors of one kind."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ..errors import StoreUnavailable, WWAuthError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ..abc import Store

# A store that is silent for so long is one that cannot be reached; a large archive may take its time.
_ANSWER_TIMEOUT = 60.0
_TRANSFER_TIMEOUT = 3600.0


class Remote:
    """Calls a store; silence, and what wwauth does not know, are `StoreUnavailable`, never "no such session"."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def exists(self, name: str) -> bool:
        """Tell whether an archive is stored under this name."""
        async with self._call("session_exists", name, _ANSWER_TIMEOUT):
            return bool(await self._store.session_exists(session=name))

    async def save(self, name: str, path: Path) -> None:
        """Store the archive at `path`."""
        async with self._call("save", name, _TRANSFER_TIMEOUT):
            await self._store.save(session=name, path=path)

    async def extract(self, name: str, path: Path) -> None:
        """Write the archive to the new file `path`; `SessionNotFound`: there is none."""
        async with self._call("extract", name, _TRANSFER_TIMEOUT):
            await self._store.extract(session=name, path=path)
        if not await asyncio.to_thread(path.is_file):
            raise StoreUnavailable(f"{self._where('extract', name)} returned without writing the archive")

    async def delete(self, name: str) -> None:
        """Delete the archive, if there is one."""
        async with self._call("delete", name, _ANSWER_TIMEOUT):
            await self._store.delete(session=name)

    @asynccontextmanager
    async def _call(self, verb: str, name: str, timeout: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(timeout) as bound:
                yield
        except WWAuthError:
            raise
        except Exception as exc:
            if bound.expired():
                raise StoreUnavailable(f"{self._where(verb, name)} did not end within {timeout:g} s") from exc
            # Without the driver's own text, which may hold an address with a password; it is the cause.
            raise StoreUnavailable(f"{self._where(verb, name)} failed: {type(exc).__name__}") from exc

    def _where(self, verb: str, name: str) -> str:
        return f"{type(self._store).__name__}.{verb}({name!r})"
