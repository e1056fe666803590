"""Auth states in this process's memory, for tests."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ..abc import AuthStateStore, RecordName
from ..errors import SessionInUse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping


class MemoryAuthStateStore(AuthStateStore):
    """Keeps auth states for as long as this object lives: what is lost with the process is the login."""

    def __init__(self) -> None:
        self._sessions: dict[str, dict[RecordName, str]] = {}
        self._held: set[str] = set()

    def __repr__(self) -> str:
        return f"MemoryAuthStateStore({len(self._sessions)} sessions)"

    async def read(self, *, session: str, names: Collection[RecordName]) -> dict[RecordName, str]:
        """Return those of the records that there are."""
        kept = self._sessions.get(session, {})
        return {name: kept[name] for name in names if name in kept}

    async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
        """Replace records, and delete those whose new text is None."""
        kept = self._sessions.setdefault(session, {})
        for name, text in changes.items():
            if text is None:
                kept.pop(name, None)
            else:
                kept[name] = text

    async def records(
        self,
        *,
        session: str,
        type: str | None = None,  # noqa: A002 - Baileys' word
    ) -> AsyncIterator[tuple[RecordName, str]]:
        """Iterate over all records of a session, or those of one type."""
        for name, text in list(self._sessions.get(session, {}).items()):
            if type is None or name.type == type:
                yield name, text

    async def delete(self, *, session: str) -> None:
        """Delete all records of a session."""
        self._sessions.pop(session, None)

    async def list_sessions(self) -> AsyncIterator[str]:
        """Iterate over the names of all sessions, sorted."""
        for session in sorted(self._sessions):
            yield session

    @asynccontextmanager
    async def hold(self, *, session: str) -> AsyncIterator[None]:
        """Be the session's one holder among those who use this object."""
        if session in self._held:
            raise SessionInUse(f"the session {session!r} is in use in this process: close() the state that has it first")
        self._held.add(session)
        try:
            yield
        finally:
            self._held.discard(session)
