"""The names that are promised, and what importing them must not load."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys

import pytest

import wwauth

PUBLIC = {
    "wwauth": [
        "AuthStrategy",
        "AuthenticationNeeded",
        "BackupStatus",
        "Client",
        "ClientInfo",
        "Event",
        "LegacySessionAuth",
        "LocalAuth",
        "NoAuth",
        "RemoteAuth",
        "Store",
        "WWAuthError",
        "__version__",
    ],
    "wwauth.abc": [
        "CREDS",
        "AuthStateStore",
        "AuthStrategy",
        "AuthenticationNeeded",
        "Lease",
        "RecordName",
        "SessionInfo",
        "Store",
        "StoreFeatures",
    ],
    "wwauth.errors": [
        "AuthTimeout",
        "AuthenticationFailed",
        "BrowserClosed",
        "BrowserNotFound",
        "ConfigurationError",
        "CredsCorrupted",
        "DecryptionFailed",
        "LeaseLost",
        "MissingDependency",
        "PairingRefused",
        "SessionClosed",
        "SessionCorrupted",
        "SessionInUse",
        "SessionNotFound",
        "SnapshotFailed",
        "StoreDenied",
        "StoreError",
        "StoreFull",
        "StoreUnavailable",
        "StrategyError",
        "TransactionConflict",
        "WWAuthError",
        "WebVersionUnavailable",
    ],
    "wwauth.qr": ["svg_qr", "terminal_qr"],
    "wwauth.stores": [
        "EncryptedStore",
        "FileSystemStore",
        "MemoryStore",
        "MirroredStore",
        "MongoStore",
        "ObjectStore",
        "RedisStore",
        "RetryingStore",
        "SQLStore",
        "SessionInfo",
        "Store",
        "StoreFeatures",
        "open_store",
    ],
}

# Command-line libraries, servers, browsers, drivers, and what is loaded with its first use.
HEAVY = {
    "aiosqlite",
    "asyncmy",
    "asyncpg",
    "bson",
    "click",
    "cryptography",
    "motor",
    "obstore",
    "playwright",
    "pymongo",
    "pyrage",
    "pytest",
    "redis",
    "rich",
    "segno",
    "sqlalchemy",
    "sqlite3",
    "starlette",
    "tenacity",
    "typer",
    "uvicorn",
    "websockets",
    "wwauth_stores",
}


@pytest.mark.parametrize("module", PUBLIC)
def test_the_promised_names_are_pinned_sorted_and_there(module: str) -> None:
    loaded = importlib.import_module(module)
    assert loaded.__all__ == PUBLIC[module]
    assert sorted(loaded.__all__, key=lambda name: (not name.isupper(), name)) == loaded.__all__
    for name in PUBLIC[module]:
        assert getattr(loaded, name) is not None
    assert set(PUBLIC[module]) - {"__version__"} <= set(dir(loaded))


@pytest.mark.parametrize("module", [*PUBLIC, "wwauth.testing", "wwauth.backup"])
def test_a_name_that_is_not_there_is_an_attribute_error(module: str) -> None:
    with pytest.raises(AttributeError, match="NoSuchThing"):
        importlib.import_module(module).NoSuchThing  # noqa: B018


def test_a_star_import_brings_the_promised_names() -> None:
    names: dict[str, object] = {}
    exec("from wwauth import *", names)
    assert set(PUBLIC["wwauth"]) <= set(names)


@pytest.mark.parametrize("module", PUBLIC)
def test_importing_loads_nothing_heavy(module: str) -> None:
    assert HEAVY & _loaded_by(f"import {module}") == set()


def test_a_store_loads_itself_and_no_other() -> None:
    loaded = _loaded_by("from wwauth.stores import MemoryStore", whole_names=True)
    assert "wwauth_stores.memory" in loaded
    assert not {"wwauth_stores.filesystem", "wwauth_stores.urls"} & loaded


def test_importing_the_testing_package_needs_no_pytest() -> None:
    assert "pytest" not in _loaded_by("import wwauth.testing")


def test_the_contracts_come_from_the_testing_package() -> None:
    from wwauth.testing import StoreContract, StrategyContract, store_contract, strategy_contract

    assert StoreContract is store_contract.StoreContract
    assert StrategyContract is strategy_contract.StrategyContract


def test_the_version_is_text() -> None:
    assert wwauth.__version__.count(".") >= 2


def _loaded_by(statement: str, *, whole_names: bool = False) -> set[str]:
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
    return {name if whole_names else name.partition(".")[0] for name in json.loads(out)}
