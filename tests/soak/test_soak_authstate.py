"""
More than a thousand SIGKILLs of what writes an auth state, at random moments, and of the database's server.

`make soak` runs it. WWAUTH_SOAK_KILLS is how many kills there are (1000), on a folder, on SQLite and on PostgreSQL together;
WWAUTH_SOAK_SEED is where to begin (1).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from ..faults.authstate_kills import AuthStateKills
from ..soaking import soak
from .evidence import write_evidence

if TYPE_CHECKING:
    from pathlib import Path

    from ..servers.base import Server

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="its workers are forked"),
    soak,
]

KILLS = int(os.environ.get("WWAUTH_SOAK_KILLS", "1000"))
SEED = int(os.environ.get("WWAUTH_SOAK_SEED", "1"))


@pytest.mark.timeout(7200)
def test_after_each_of_a_thousand_kills_an_auth_state_is_whole(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    began, error = time.monotonic(), ""
    found: dict[str, Any] = {}
    server: Server = request.getfixturevalue("postgresql")
    places = {
        "a folder": (str(tmp_path / "auth_info_baileys"), None, 0.45),
        "SQLite": (f"sqlite:///{tmp_path / 'auth.db'}", None, 0.4),
        "PostgreSQL": (server.url("authstate_kills"), server, 0.15),
    }
    try:
        for name, (place, killed, share) in places.items():
            with AuthStateKills(tmp_path, place, SEED, killed) as kills:
                try:
                    kills.run(round(share * KILLS))
                finally:
                    found[name] = kills.result()
    except Exception as exc:
        error = f"{type(exc).__name__}: {exc}"
    write_evidence(
        "authstate-kills",
        what="SIGKILL, at any moment, of a process that saves credentials, sets batches of keys and does both in one "
        "transaction, or only starts; on PostgreSQL of the server, too. After each the credentials load, all that was returned "
        "as saved is there, and of the step that was on its way all or nothing",
        command=f"WWAUTH_SOAK_KILLS={KILLS} WWAUTH_SOAK_SEED={SEED} make soak",
        seconds=round(time.monotonic() - began),
        kills=sum(result["kills"] for result in found.values()),
        **{name.removeprefix("a ").lower(): result for name, result in found.items()},
        error=error,
    )
    assert error == ""
    assert sum(result["kills"] for result in found.values()) >= KILLS
