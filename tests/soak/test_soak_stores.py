"""
Stores whose servers and writers are killed at random moments, and large archives in little memory.

`make soak` runs it. WWAUTH_SOAK_SEED is where to begin (1), WWAUTH_SOAK_SERVER_KILLS how often each server is killed in the
middle of a save (20), WWAUTH_SOAK_WRITER_KILLS how often a process that writes to SQLite (300).
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.stores import SQLStore

from ..soaking import soak
from ..stores.sql_writers import kill_server, kill_writers
from ..stores.test_sql_faults import memory_of
from .evidence import write_evidence

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="its writers are forked"),
    soak,
    pytest.mark.timeout(3600),
]

SEED = int(os.environ.get("WWAUTH_SOAK_SEED", "1"))
SERVER_KILLS = int(os.environ.get("WWAUTH_SOAK_SERVER_KILLS", "20"))
WRITER_KILLS = int(os.environ.get("WWAUTH_SOAK_WRITER_KILLS", "300"))
COMMAND = f"WWAUTH_SOAK_SERVER_KILLS={SERVER_KILLS} WWAUTH_SOAK_WRITER_KILLS={WRITER_KILLS} WWAUTH_SOAK_SEED={SEED} make soak"


async def _record(name: str, what: str, run: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    began, error, met = time.monotonic(), "", {}
    try:
        met = await run
    except Exception as exc:
        error = f"{type(exc).__name__}: {exc}"
    write_evidence(
        f"store-{name}",
        what=what,
        command=COMMAND,
        seconds=round(time.monotonic() - began),
        **met,
        error=error,
    )
    assert error == ""
    return met


async def test_sqlite_survives_its_writers(tmp_path: Path) -> None:
    met = await _record(
        "sqlite-writer-kills",
        "SIGKILL of a process that saves one archive after the other into SQLite; after each, a client that was there before "
        "finds the archive that was saved last, or the one on its way, whole, and saves one itself",
        kill_writers(f"sqlite:///{tmp_path / 'wwauth.db'}", tmp_path, WRITER_KILLS, SEED),
    )
    assert met["kills"] >= WRITER_KILLS


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
async def test_an_sql_server_killed_during_saves_loses_nothing(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(kind)
    async with SQLStore.from_url(server.url("soak")) as store:
        met = await _record(
            f"{kind}-server-kills",
            "SIGKILL of all processes of the server at a random moment of a save; after its start the same client finds the "
            "archive that was saved last, or the one on its way, whole, and saves it once more",
            kill_server(server, store, tmp_path, SERVER_KILLS, SEED),
        )
    assert met["saves_that_failed"] >= SERVER_KILLS


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
async def test_an_sql_store_holds_no_archive_in_memory(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path / 'wwauth.db'}" if kind == "sqlite" else request.getfixturevalue(kind).url("memory")

    async def grown() -> dict[str, Any]:
        return {"growth_kb": {f"{size} MiB": await asyncio.to_thread(memory_of, url, tmp_path, size) for size in (50, 500)}}

    met = await _record(
        f"{kind}-memory", "growth of a process's peak memory over that for an archive of 5 MiB, saved and extracted", grown()
    )
    assert max(met["growth_kb"].values()) < 30_000
