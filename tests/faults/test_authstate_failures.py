"""What goes wrong around an auth state is a typed error, and nothing was changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wwauth.authstate import use_sql_auth_state
from wwauth.errors import SessionInUse

from . import authstate_failing as failing
from .authstate_failing import COUNT, WWAUTH, Outcome

FIXTURE = Path(__file__).parents[1] / "fixtures" / "baileys" / "03-full"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its limits and modes are POSIX's")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURE, tmp_path / "auth_info_baileys"))


def refused(outcome: Outcome, error: str) -> bool:
    """Whether the program was given this error, nothing was changed, and the next start has the login."""
    assert "\n" not in outcome.message
    return (outcome.error, outcome.changed, outcome.next_error, outcome.same_login) == (error, (), "", True)


@pytest.mark.parametrize("scenario", [failing.full_disk, failing.full_disk_set])
def test_a_full_disk_changes_nothing(scenario: failing.Scenario, folder: Path) -> None:
    outcome = scenario(WWAUTH, folder)
    assert refused(outcome, "StoreFull"), outcome


def test_a_low_limit_of_open_files_suffices(folder: Path) -> None:
    outcome = failing.few_files_set(WWAUTH, folder)
    assert (outcome.error, len(outcome.changed), outcome.lost) == ("", COUNT, ())
    outcome = failing.few_files_get(WWAUTH, folder)
    assert (outcome.error, outcome.found, outcome.changed) == ("", COUNT, ())


def test_a_folder_that_is_read_only_says_so(folder: Path) -> None:
    outcome = failing.read_only(WWAUTH, folder)
    assert refused(outcome, "StoreDenied"), outcome


@pytest.mark.parametrize("scenario", [failing.unreadable_creds, failing.unreadable_key])
def test_a_file_that_cannot_be_read_is_no_missing_one(scenario: failing.Scenario, folder: Path) -> None:
    outcome = scenario(WWAUTH, folder)
    assert refused(outcome, "StoreDenied"), outcome


def test_a_record_that_is_torn_counts_as_missing_and_keeps_its_bytes(folder: Path) -> None:
    outcome = failing.torn_key(WWAUTH, folder)
    assert refused(outcome, ""), outcome
    assert outcome.found == 9


@pytest.mark.parametrize("scenario", [failing.empty_creds, failing.torn_creds])
def test_damaged_credentials_never_become_a_new_identity(scenario: failing.Scenario, folder: Path) -> None:
    outcome = scenario(WWAUTH, folder)
    assert (outcome.error, outcome.changed, outcome.next_error) == ("CredsCorrupted", (), "CredsCorrupted"), outcome


def test_a_second_process_is_told_who_has_the_folder(folder: Path) -> None:
    program = [*WWAUTH, json.dumps({"do": "loop", "folder": str(folder)})]
    with subprocess.Popen(program, stdout=subprocess.PIPE, cwd=failing.ROOT, env=failing.environment()) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline()
            outcome = failing.look(WWAUTH, folder, {"do": "open"})
            assert (outcome.error, outcome.next_error) == ("SessionInUse", "SessionInUse")
            assert str(first.pid) in outcome.message
        finally:
            first.kill()
    assert failing.look(WWAUTH, folder, {"do": "open"}).same_login


async def test_a_second_state_is_told_who_has_the_session_in_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'auth.db'}"
    state, save_creds = await use_sql_auth_state(url, session="bot-1")
    async with state:
        await save_creds()
        with pytest.raises(SessionInUse, match=str(os.getpid())):
            await use_sql_auth_state(url, session="bot-1")
