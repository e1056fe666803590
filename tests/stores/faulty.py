"""A store that fails when it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wwauth.abc import Store
from wwauth.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from wwauth.abc import Lease, SessionInfo
    from wwauth.stores import FileSystemStore, MemoryStore


class Crash(BaseException):
    """The process dies here: nothing that it would do afterwards is done."""


class Faulty(Store):
    """
    Wraps a store with leases and a listing, and fails before a call or after it had its effect.

    Attributes:
        down: Every call raises `error`.
        faults: What the next calls raise, one after the other: None for nothing, an exception to raise before the call, or a
            pair of "after" and the exception.
        ends_in: After how many calls from now it ends, by a `Crash` or, with `ends_down`, by being down from then on;
            `ends_after`: once that call had its effect.
        calls: The calls that were made, as `verb session`.
    """

    def __init__(self, inner: MemoryStore | FileSystemStore) -> None:
        self.store = inner
        self.features = inner.features  # type: ignore[misc]
        self.down = False
        self.error: Exception = StoreUnavailable("it is down")
        self.faults: list[Any] = []
        self.ends_in, self.ends_after, self.ends_down = -1, False, False
        self.calls: list[str] = []

    def __repr__(self) -> str:
        return "Faulty()"

    async def session_exists(self, *, session: str) -> bool:
        return bool(await self._call("session_exists", session=session))

    async def save(self, *, session: str, path: Path, fence: int | None = None) -> None:
        await self._call("save", session=session, path=path, fence=fence)

    async def extract(self, *, session: str, path: Path) -> None:
        await self._call("extract", session=session, path=path)

    async def delete(self, *, session: str, fence: int | None = None) -> None:
        await self._call("delete", session=session, fence=fence)

    async def list_sessions(self, *, prefix: str = "", packs: bool = False) -> AsyncIterator[SessionInfo]:
        self._begin("list_sessions", prefix)
        async for info in self.store.list_sessions(prefix=prefix, packs=packs):
            yield info

    def lease(self, *, session: str, holder: str, ttl: float) -> Lease:
        return self.store.lease(session=session, holder=holder, ttl=ttl)

    async def _call(self, verb: str, *, session: str, **words: Any) -> Any:
        after = self._begin(verb, session)
        answer = await getattr(self.store, verb)(session=session, **words)
        if after is not None:
            raise after
        return answer

    def _begin(self, verb: str, session: str) -> BaseException | None:
        """Fail before the call, or return what to raise after it."""
        self.calls.append(f"{verb} {session}")
        if self.down:
            raise self.error
        self.ends_in -= 1
        if self.ends_in == -1:
            self.down = self.ends_down
            end = self.error if self.ends_down else Crash()
            if self.ends_after:
                return end
            raise end
        match self.faults.pop(0) if self.faults else None:
            case None:
                return None
            case ("after", BaseException() as error):
                return error
            case BaseException() as error:
                raise error
            case other:
                raise AssertionError(other)
