"""The contract of auth states, for those that need no database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wwauth.authstate import MemoryAuthStateStore, use_auth_state, use_multi_file_auth_state
from wwauth.testing.auth_state_contract import AuthStateContract

if TYPE_CHECKING:
    from pathlib import Path


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
