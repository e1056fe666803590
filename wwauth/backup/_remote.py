"""A session's side of a store: bounded calls, and errors of one kind."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from .._store import takes_fence
from ..errors import SessionCorrupted, StoreUnavailable, WWAuthError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ..abc import Lease, Store

# A store that is silent for so long is one that cannot be reached; a large archive may take its time.
_ANSWER_TIMEOUT = 60.0
_TRANSFER_TIMEOUT = 3600.0

# How often a download's size is looked at, and what it may be larger by than was said: encryption adds to it on its way.
_LOOK_AGAIN = 0.25
_SLACK = 8 << 20


class Remote:
    """
    Calls a store; silence, and what wwauth does not know, are `StoreUnavailable`, never "no such session".

    Attributes:
        lease: The lease on the session's name; its fence goes with each write there. None: there is none. Packs need no
            fence: nobody but their writer has their names.
    """

    def __init__(self, store: Store, session: str) -> None:
        self.store = store
        self.lease: Lease | None = None
        self._session = session
        self._fenced = takes_fence(store)

    async def exists(self, name: str) -> bool:
        """Tell whether an archive is stored under this name."""
        async with self.call("session_exists", name, _ANSWER_TIMEOUT):
            return bool(await self.store.session_exists(session=name))

    async def save(self, name: str, path: Path) -> None:
        """Store the archive at `path`."""
        async with self.call("save", name, _TRANSFER_TIMEOUT):
            await self.store.save(session=name, path=path, **self._fence(name))

    async def extract(self, name: str, path: Path, *, most: int) -> None:
        """
        Write the archive, which should have `most` bytes at most, to the new file `path`.

        Raises:
            SessionNotFound: There is none.
            SessionCorrupted: It has far more bytes: it was stopped before it filled the disk.
        """
        async with self.call("extract", name, _TRANSFER_TIMEOUT), _bounded(name, path, most):
            await self.store.extract(session=name, path=path)
        if not await asyncio.to_thread(path.is_file):
            raise StoreUnavailable(f"{self._where('extract', name)} returned without writing the archive")

    async def delete(self, name: str) -> None:
        """Delete the archive, if there is one."""
        async with self.call("delete", name, _ANSWER_TIMEOUT):
            await self.store.delete(session=name, **self._fence(name))

    def _fence(self, name: str) -> dict[str, Any]:
        return {"fence": self.lease.fence} if self.lease is not None and name == self._session and self._fenced else {}

    @asynccontextmanager
    async def call(self, verb: str, name: str, timeout: float) -> AsyncIterator[None]:
        """Do what is within in `timeout` seconds, and know its errors; `verb` names it."""
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
        return f"{type(self.store).__name__}.{verb}({name!r})"


@asynccontextmanager
async def _bounded(name: str, path: Path, most: int) -> AsyncIterator[None]:
    """Stop what is within when it writes far more than `most` bytes to `path`, or to a temporary of its name beside it."""
    watch: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(None) as bound:
            watch = asyncio.create_task(_watch(path, most + most // 100 + _SLACK, bound))
            yield
    except TimeoutError:
        if not bound.expired():
            raise
        raise SessionCorrupted(f"what is stored as {name} goes on behind the {most} bytes that it may have") from None
    finally:
        if watch is not None:
            watch.cancel()


async def _watch(path: Path, most: int, bound: asyncio.Timeout) -> None:
    await asyncio.sleep(_LOOK_AGAIN)
    while await asyncio.to_thread(_largest, path) <= most:  # noqa: ASYNC110 - a file is looked at
        await asyncio.sleep(_LOOK_AGAIN)
    bound.reschedule(asyncio.get_running_loop().time())


def _largest(path: Path) -> int:
    """Return the size of the largest file that is being written for `path`."""
    largest = 0
    for entry in path.parent.glob(f"*{path.name}*"):
        try:
            largest = max(largest, entry.stat().st_size)
        except OSError:  # it was given its last name just now
            continue
    return largest
