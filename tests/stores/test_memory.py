"""The memory store: the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wwauth.stores import MemoryStore
from wwauth.testing.store_contract import StoreContract

if TYPE_CHECKING:
    from wwauth.abc import Store


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    async def reopen(self, store: Store) -> Store:
        pytest.skip("a MemoryStore ends with its process, by design")

    async def unreachable(self) -> Store:
        pytest.skip("a MemoryStore is always there, by design")


def test_repr_shows_no_session_names() -> None:
    assert repr(MemoryStore()) == "MemoryStore(<0 sessions>)"
