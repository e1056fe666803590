"""Two hosts that want one login, stopped and killed while they hold it; the long run is in the soak tests."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from .holders import Holders

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its workers are stopped with SIGSTOP")


async def test_a_holder_that_is_stopped_and_overtaken_writes_nothing_any_more(tmp_path: Path) -> None:
    async with Holders(tmp_path, 3) as holders:
        for phase in ("upload", "index read", "committing"):
            while not await holders.pause(phase):
                pass
        await holders.pause("commit")
        await holders.kill("committing")
    assert holders.found.rounds["killed"] == 1


async def test_on_one_machine_the_next_holder_need_not_wait(tmp_path: Path) -> None:
    async with Holders(tmp_path, 5, ttl=3600, machines=("0a", "0a")) as holders:
        for phase in ("committing", None):
            await holders.kill(phase)
    # Nobody has an hour for it.
    assert holders.found.rounds["killed"] == 2
