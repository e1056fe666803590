"""What writes an auth state is killed at random moments, and its server; `make soak` does it more than a thousand times."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from .authstate_killed import step_of
from .authstate_kills import AuthStateKills

if TYPE_CHECKING:
    from pathlib import Path

    from ..servers.postgresql import PostgreSQL
    from .authstate_killed import Step

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="its workers are forked")


def test_what_a_folder_returned_as_saved_survives_kills(tmp_path: Path) -> None:
    with AuthStateKills(tmp_path, str(tmp_path / "auth_info_baileys"), seed=20) as kills:
        kills.run(15)
    assert {way.split()[0] for way in kills.ways} == {"moment", "operation"}


def test_a_batch_is_whole_wherever_it_is_cut_off(tmp_path: Path) -> None:
    """Keys with credentials, credentials alone, keys with credentials: cut off before each operation on files."""
    wanted = [(True, True), (False, True), (True, True)]
    seed = next(seed for seed in range(10_000) if [_shape(step_of(seed, number)) for number in (1, 2, 3)] == wanted)
    with AuthStateKills(tmp_path, "", seed) as kills:
        # From the second step to the end of the third.
        for operation in range(10, 22):
            kills.cut(str(tmp_path / str(operation)), operation)
    assert kills.outcomes.keys() == {"the step on its way is there", "nothing of the step on its way is there"}


def _shape(step: Step) -> tuple[bool, bool]:
    return bool(step.keys) and len(step.keys["pre-key"]) < 4 if step.creds else False, step.creds


def test_what_sqlite_returned_as_saved_survives_kills(tmp_path: Path) -> None:
    with AuthStateKills(tmp_path, f"sqlite:///{tmp_path / 'auth.db'}", seed=20) as kills:
        kills.run(15)
    assert kills.steps


def test_what_postgresql_returned_as_saved_survives_kills(postgresql: PostgreSQL, tmp_path: Path) -> None:
    with AuthStateKills(tmp_path, postgresql.url("kills"), seed=20, server=postgresql) as kills:
        kills.run(4)
    assert kills.ways["server"]
