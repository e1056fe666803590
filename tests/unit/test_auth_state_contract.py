"""The contract of auth states, for those that need no database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wwauth.abc import AuthStateStore
from wwauth.authstate import MemoryAuthStateStore, use_auth_state, use_multi_file_auth_state
from wwauth.testing.auth_state_contract import AuthStateContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping
    from pathlib import Path

    from wwauth.abc import RecordName


class TestMemory(AuthStateContract):
    @pytest.fixture
    def open_state(self) -> Any:
        store = MemoryAuthStateStore()

        async def open_state(session: str) -> Any:
            return await use_auth_state(store, session=session)

        return open_state


class TestFolder(AuthStateContract):
    many_sessions = False
    exact_ids = False

    @pytest.fixture
    def open_state(self, tmp_path: Path) -> Any:
        async def open_state(session: str) -> Any:
            return await use_multi_file_auth_state(tmp_path / session)

        return open_state


class TestFourMethods(AuthStateContract):
    """A plug-in that has written what it must, and no more."""

    @pytest.fixture
    def open_state(self) -> Any:
        store = FourMethods()

        async def open_state(session: str) -> Any:
            return await use_auth_state(store, session=session)

        return open_state


class FourMethods(AuthStateStore):
    def __init__(self) -> None:
        self._kept = MemoryAuthStateStore()

    async def read(self, *, session: str, names: Collection[RecordName]) -> dict[RecordName, str]:
        return await self._kept.read(session=session, names=names)

    async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
        await self._kept.write(session=session, changes=changes)

    def records(self, *, session: str, type: str | None = None) -> AsyncIterator[tuple[RecordName, str]]:  # noqa: A002 - Baileys' word
        return self._kept.records(session=session, type=type)

    async def delete(self, *, session: str) -> None:
        await self._kept.delete(session=session)
