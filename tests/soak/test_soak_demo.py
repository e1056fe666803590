"""
The main job, over and over: the browser is killed at a random moment, the disk is lost, the login comes back.

`make soak` runs it. WWAUTH_SOAK_DEMOS is how often (10), WWAUTH_SOAK_SEED where to begin (1).
"""

from __future__ import annotations

import os
import random
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from wwauth.cli._console import Steps
from wwauth.cli.demo import Summary, run_demo

from ..soaking import soak
from .evidence import write_evidence

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.browser,
    soak,
]


@pytest.mark.timeout(3600)
async def test_the_login_always_comes_back(tmp_path: Path, chromium: str) -> None:
    total = int(os.environ.get("WWAUTH_SOAK_DEMOS", "10"))
    seed = int(os.environ.get("WWAUTH_SOAK_SEED", "1"))
    moments = random.Random(seed)
    outcomes = []
    for number in range(total):
        folder = tmp_path / str(number)
        folder.mkdir()
        summary, kill_after = Summary(), moments.uniform(0.01, 5)
        error = ""
        try:
            await run_demo(folder, Steps(quiet=True), summary, messages=100, kill_after=kill_after)
        except Exception as exc:
            error = f"{type(exc).__name__}: {exc}"
        outcomes.append({"killed_after_s": round(kill_after, 2), "error": error, **asdict(summary)})
    write_evidence(
        "demo-loop",
        what="link, back up, kill the browser at a random moment, delete the data path, restore; messages arrive meanwhile",
        command=f"WWAUTH_SOAK_DEMOS={total} WWAUTH_SOAK_SEED={seed} make soak",
        chromium=chromium,
        outcomes=outcomes,
    )
    assert [outcome["error"] for outcome in outcomes] == [""] * total
    assert all(outcome["diagnosis"] == "ok" and not outcome["qr_after_restore"] for outcome in outcomes)
