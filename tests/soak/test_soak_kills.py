"""
A thousand SIGKILLs at random moments of saving, committing, pruning, restoring and swapping.

`make soak` runs it. WWAUTH_SOAK_KILLS is how many (1000), WWAUTH_SOAK_SEED where to begin (1).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from ..faults.kills import PHASES, Kills
from ..soaking import soak
from .evidence import write_evidence

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="its workers are forked"),
    soak,
]


@pytest.mark.timeout(7200)
def test_after_each_of_a_thousand_kills_the_newest_committed_generation_comes_back(tmp_path: Path) -> None:
    wanted = int(os.environ.get("WWAUTH_SOAK_KILLS", "1000"))
    seed = int(os.environ.get("WWAUTH_SOAK_SEED", "1"))
    began, error = time.monotonic(), ""
    kills = Kills(tmp_path, seed)
    try:
        kills.run(wanted)
    except Exception as exc:
        error = f"{type(exc).__name__}: {exc}"
    finally:
        kills.nursery.close()
    write_evidence(
        "kills",
        what="SIGKILL in the midst of a save, a prune, a restore, a deletion, a start; after each, an engine that knows "
        "nothing restores into an empty folder and the profile is looked at; after the next start and save, all places "
        "where something temporary may lie",
        command=f"WWAUTH_SOAK_KILLS={wanted} WWAUTH_SOAK_SEED={seed} make soak",
        seconds=round(time.monotonic() - began),
        **kills.result(),
        error=error,
    )
    assert error == ""
    assert kills.count >= wanted
    # Each of them often enough; which ones a hundred kills meet is a matter of chance.
    if wanted >= 1000:
        assert {phase: kills.phases[phase] for phase in PHASES if kills.phases[phase] < 5} == {}
