"""
A long random walk: hundreds of random actions against the invariants of a login.

`make soak` runs it. WWAUTH_SOAK_ACTIONS is how many actions each walk has (250), WWAUTH_SOAK_SEED where to begin (1).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.testing import Simulator

from ..soaking import soak
from .evidence import write_evidence
from .walk import QUICK, Walk

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.browser,
    soak,
]

WALKS: tuple[dict[str, Any], ...] = ({}, {"relaunch_on_logout": True, "restart_on_crash": 5})


@pytest.mark.timeout(3600)
async def test_a_login_is_lost_only_when_it_is_ended(tmp_path: Path, launch_options: dict[str, Any], chromium: str) -> None:
    actions = int(os.environ.get("WWAUTH_SOAK_ACTIONS", "250"))
    seed = int(os.environ.get("WWAUTH_SOAK_SEED", "1"))
    outcomes = []
    for number, options in enumerate(WALKS):
        folder, began, error = tmp_path / str(number), time.monotonic(), ""
        folder.mkdir()
        async with Simulator(**QUICK) as simulator:
            walk = Walk(folder, simulator, launch_options, seed + number, **options)
            try:
                await walk.run(actions)
            except Exception as exc:
                error = f"{type(exc).__name__}: {exc}"
        outcomes.append(
            {
                "options": options,
                "seed": seed + number,
                "actions": dict(walk.counts),
                "launches": len(walk.launches) - 1,
                "ready": sum(launch.count("ready") for launch in walk.launches),
                "seconds": round(time.monotonic() - began),
                "error": error,
            }
        )
    write_evidence(
        "random-walk",
        what="random actions on a client, a phone, a network and a disk; after each the invariants of a login are checked",
        command=f"WWAUTH_SOAK_ACTIONS={actions} WWAUTH_SOAK_SEED={seed} make soak",
        chromium=chromium,
        outcomes=outcomes,
    )
    assert [outcome["error"] for outcome in outcomes] == [""] * len(WALKS)
