"""The process is killed at random moments of its work on backups; `make soak` does it a thousand times."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from .kills import Kills

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="its workers are forked")


@pytest.mark.timeout(300)
def test_after_a_kill_the_newest_committed_generation_comes_back(tmp_path: Path) -> None:
    kills = Kills(tmp_path, seed=20)
    try:
        kills.run(30)
    finally:
        kills.nursery.close()
    assert kills.count >= 30
    assert kills.ways.keys() == {"moment", "phase", "operation"}
