"""
The Redis store over a long run: a server that is killed in the middle of saves, and archives of 500 MB.

`make soak` runs it. WWAUTH_SOAK_SERVER_KILLS is how many kills there are (20), WWAUTH_SOAK_SEED where to begin (1).
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ..soaking import soak
from ..stores.children import grown
from ..stores.killing import kill_in_saves
from ..stores.test_redis_faults import store, url  # noqa: F401 - fixtures
from .evidence import write_evidence

if TYPE_CHECKING:
    from pathlib import Path

    from wwauth.stores import RedisStore

    from ..servers.redis import Redis

pytestmark = soak

MIB = 1024 * 1024


@pytest.mark.timeout(1800)
async def test_after_each_kill_of_the_server_an_archive_that_was_saved_is_there(
    redis: Redis,
    store: RedisStore,  # noqa: F811 - as above
    tmp_path: Path,
) -> None:
    kills = int(os.environ.get("WWAUTH_SOAK_SERVER_KILLS", "20"))
    seed = int(os.environ.get("WWAUTH_SOAK_SEED", "1"))
    version = next(line for line in redis.ask("INFO", "server").splitlines() if line.startswith("redis_version:"))
    began, error = time.monotonic(), ""
    outcomes = {}
    try:
        # Of a large archive most moments are in its upload; of a small one, around the switch.
        for size in (12 * MIB, 1000):
            outcomes[f"{size} bytes"] = dict(await kill_in_saves(redis, store, tmp_path, kills=kills, seed=seed, size=size))
    except Exception as exc:
        error = f"{type(exc).__name__}: {exc}"
    write_evidence(
        "stores-redis",
        what="SIGKILL of the server at a random moment of a save; started again, it holds the old archive or the new one, "
        "whole, and the new one where the save said so; then a save with the same client works",
        command=f"WWAUTH_SOAK_SERVER_KILLS={kills} WWAUTH_SOAK_SEED={seed} make soak",
        seconds=round(time.monotonic() - began),
        server=f"Redis {version.partition(':')[2]}, appendonly yes, appendfsync always",
        kills=len(outcomes) * kills,
        saves=outcomes,
        error=error,
    )
    assert error == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the peak of a process's own memory")
@pytest.mark.timeout(600)
async def test_500_megabytes_pass_in_as_little_memory_as_50(url: str, tmp_path: Path) -> None:  # noqa: F811 - as above
    found = {f"{size} MiB": await grown(url, tmp_path, size * MIB) // MIB for size in (50, 500)}
    write_evidence(
        "stores-redis-memory",
        what="growth of a process's peak of memory, in MiB, when an archive is saved to Redis and extracted",
        command="make soak",
        grown=found,
    )
    assert max(found.values()) < 30
