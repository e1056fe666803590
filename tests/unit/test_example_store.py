"""The store of examples/custom_store.py keeps what a store promises."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wwauth.testing.store_contract import StoreContract

if TYPE_CHECKING:
    from wwauth.abc import Store

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "custom_store.py"


def sqlite_store(database: Path) -> Store:
    spec = importlib.util.spec_from_file_location("custom_store", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    store: Store = module.SQLiteStore(database)
    return store


class TestExampleStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return sqlite_store(tmp_path / "sessions.db")

    async def reopen(self, store: Store) -> Store:
        return type(store)(store._database)  # type: ignore[call-arg,attr-defined]
