"""
The Mongo store over a long run: servers that are killed in the middle of saves, and archives of 500 MB.

`make soak` runs it. WWAUTH_SOAK_SERVER_KILLS is how many kills there are for each driver (20), WWAUTH_SOAK_SEED where to
begin (1).
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ..soaking import soak
from ..stores.killing import kill_in_saves
from ..stores.test_mongo import _collected, motor, motors  # noqa: F401 - fixtures
from ..stores.test_mongo import pytestmark as ignored
from ..stores.test_mongo_faults import grown_in, over_motor, over_pymongo, own_mongodb, retrying, store  # noqa: F401 - fixtures
from .evidence import write_evidence

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.mongodb import MongoDB
    from wwauth.stores import MongoStore

pytestmark = [
    soak,
    ignored,
]

MIB = 1024 * 1024


@pytest.mark.parametrize("store", ["pymongo", "motor", "pymongo-retrying"], indirect=True)
@pytest.mark.timeout(1800)
async def test_after_each_kill_of_the_server_an_archive_that_was_saved_is_there(
    own_mongodb: MongoDB,  # noqa: F811 - as above
    store: MongoStore,  # noqa: F811 - as above
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    kills = int(os.environ.get("WWAUTH_SOAK_SERVER_KILLS", "20"))
    seed = int(os.environ.get("WWAUTH_SOAK_SEED", "1"))
    driver = request.node.callspec.params["store"]
    began, error, outcomes = time.monotonic(), "", None
    try:
        outcomes = await kill_in_saves(own_mongodb, store, tmp_path, kills=kills, seed=seed)
    except Exception as exc:
        error = f"{type(exc).__name__}: {exc}"
    write_evidence(
        f"store-mongodb-server-kills-{driver}",
        what="SIGKILL of the server at a random moment of a save; started again, it holds the old archive or the new one, "
        "whole, and the new one where the save said so; then a save with the same client works",
        command=f"WWAUTH_SOAK_SERVER_KILLS={kills} WWAUTH_SOAK_SEED={seed} make soak",
        seconds=round(time.monotonic() - began),
        server="secantusd-py (MongoDB's protocol)",
        kills=kills,
        saves=dict(outcomes or {}),
        error=error,
    )
    assert error == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its peak")
@pytest.mark.timeout(600)
async def test_500_megabytes_pass_in_as_little_memory_as_50(mongodb: MongoDB, tmp_path: Path) -> None:
    found = {layout: await grown_in(mongodb, tmp_path, layout, 500 * MIB) // MIB for layout in ("wwauth", "wwebjs-mongo")}
    write_evidence(
        "store-mongodb-memory",
        what="growth of a process's peak of memory, in MiB, when an archive of 500 MiB is saved and extracted",
        command="make soak",
        grown=found,
    )
    assert max(found.values()) < 40
