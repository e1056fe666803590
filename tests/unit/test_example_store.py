"""The stores of examples/ keep what a store promises, and are as short as their readers hope."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.testing.store_contract import StoreContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wwauth.abc import Store

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestExampleStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        self.database = tmp_path / "sessions.db"
        return self.opened()

    def opened(self) -> Store:
        store: Store = example("custom_store").SQLiteStore(self.database)
        return store

    async def reopen(self, store: Store) -> Store:
        return self.opened()

    def open_elsewhere(self, store: Store) -> str:
        kind = f"runpy.run_path({str(EXAMPLES / 'custom_store.py')!r})['SQLiteStore']"
        return f"import pathlib, runpy; store = {kind}(pathlib.Path({str(self.database)!r}))"


class TestLMDBStore(StoreContract):
    largest = 64 * 1024 * 1024

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        lmdb = pytest.importorskip("lmdb")
        self.folder = str(tmp_path / "logins")
        with lmdb.open(self.folder, map_size=1 << 30) as environment:
            yield example("lmdb_store").LMDBStore(environment)

    async def reopen(self, store: Any) -> Store:
        again: Store = example("lmdb_store").LMDBStore(store._environment)  # LMDB opens a database once in a process
        return again

    def open_elsewhere(self, store: Store) -> str:
        kind = f"runpy.run_path({str(EXAMPLES / 'lmdb_store.py')!r})['LMDBStore']"
        return f"import lmdb, runpy; store = {kind}(lmdb.open({self.folder!r}, map_size=1 << 30))"


async def test_a_full_database_is_told(tmp_path: Path) -> None:
    lmdb, errors = pytest.importorskip("lmdb"), pytest.importorskip("wwauth.errors")
    (tmp_path / "archive").write_bytes(bytes(1 << 20))
    with lmdb.open(str(tmp_path / "logins"), map_size=1 << 18) as environment:
        store = example("lmdb_store").LMDBStore(environment)
        with pytest.raises(errors.StoreFull, match="larger map_size"):
            await store.save(session="one", path=tmp_path / "archive")
        assert await store.session_exists(session="one") is False


@pytest.mark.parametrize("name", ["custom_store", "lmdb_store"])
def test_a_store_takes_less_than_60_lines(name: str) -> None:
    source = (EXAMPLES / f"{name}.py").read_text("utf-8")
    lines = source[source.index("\nclass ") : source.index("\nasync def main")].splitlines()
    assert len([line for line in lines if line]) < 60
