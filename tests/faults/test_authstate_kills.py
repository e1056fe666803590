"""What writes an auth state is killed at random moments, and its server; `make soak` does it more than a thousand times."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from .authstate_kills import AuthStateKills

if TYPE_CHECKING:
    from pathlib import Path

    from ..servers.postgresql import PostgreSQL

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="its workers are forked")


def test_what_a_folder_returned_as_saved_survives_kills(tmp_path: Path) -> None:
    with AuthStateKills(tmp_path, str(tmp_path / "auth_info_baileys"), seed=20) as kills:
        kills.run(15)
    assert {way.split()[0] for way in kills.ways} == {"moment", "operation"}


def test_what_sqlite_returned_as_saved_survives_kills(tmp_path: Path) -> None:
    with AuthStateKills(tmp_path, f"sqlite:///{tmp_path / 'auth.db'}", seed=20) as kills:
        kills.run(15)
    assert kills.steps


def test_what_postgresql_returned_as_saved_survives_kills(postgresql: PostgreSQL, tmp_path: Path) -> None:
    with AuthStateKills(tmp_path, postgresql.url("kills"), seed=21, server=postgresql) as kills:
        kills.run(3)
    assert kills.ways["server"]
