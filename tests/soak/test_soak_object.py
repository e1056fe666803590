"""
The store in a bucket over a long run: a server that is killed in the middle of saves, 500 MB, programs that end at once.

`make soak` runs it. WWAUTH_SOAK_SERVER_KILLS is how many kills there are (20), WWAUTH_SOAK_SEED where to begin (1).
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ..soaking import soak
from ..stores.killing import kill_in_saves
from ..stores.test_object import ENDINGS, MIB, growth, hasty, run
from .evidence import write_evidence

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.azure import Azure
    from tests.servers.gcs import GCS

pytestmark = soak


@pytest.mark.timeout(1800)
async def test_after_each_kill_of_the_server_an_archive_that_was_saved_is_there(gcs: GCS, tmp_path: Path) -> None:
    kills = int(os.environ.get("WWAUTH_SOAK_SERVER_KILLS", "20"))
    seed = int(os.environ.get("WWAUTH_SOAK_SEED", "1"))
    began, error, outcomes = time.monotonic(), "", None
    async with hasty(gcs.url("soak")) as store:
        try:
            outcomes = await kill_in_saves(gcs, store, tmp_path, kills=kills, seed=seed)
        except Exception as exc:
            error = f"{type(exc).__name__}: {exc}"
    write_evidence(
        "stores-object",
        what="SIGKILL of the server at a random moment of a save; started again, it holds the old archive or the new one, "
        "whole, and the new one where the save said so; then a save with the same client works",
        command=f"WWAUTH_SOAK_SERVER_KILLS={kills} WWAUTH_SOAK_SEED={seed} make soak",
        seconds=round(time.monotonic() - began),
        server="fake-gcs-server; moto and Azurite keep what they hold in memory",
        kills=kills,
        saves=dict(outcomes or {}),
        error=error,
    )
    assert error == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of one process")
@pytest.mark.timeout(600)
async def test_500_megabytes_pass_in_as_little_memory_as_50(azure: Azure, tmp_path: Path) -> None:
    source = tmp_path / "source.zip"
    found = {}
    for where, url in (("Azurite", azure.url("soak")), ("folder", (tmp_path / "bucket").as_uri())):
        for size in (50, 500):
            with source.open("wb") as file:
                file.truncate(size * MIB)
            grown = await growth(url, source)
            found[f"{where}, {size} MiB"] = {
                name: each // MIB for name, each in zip(("saved", "extracted"), grown, strict=True)
            }
    write_evidence(
        "stores-object-memory",
        what="growth of a process's peak of memory, in MiB, when an archive is saved, and when it is extracted afterwards",
        command="make soak",
        grown=found,
    )
    assert max(max(each.values()) for each in found.values()) < 40


@pytest.mark.timeout(600)
async def test_a_hundred_programs_end_right_after_their_last_call() -> None:
    assert await run(ENDINGS, "100") == "0 " * 100
