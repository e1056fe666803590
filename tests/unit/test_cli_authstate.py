"""The commands on auth states."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from wwauth.abc import RecordName
from wwauth.authstate import MemoryAuthStateStore, use_multi_file_auth_state
from wwauth.authstate.encrypted import new_key
from wwauth.cli import app
from wwauth.cli.authstate_moves import _Migration
from wwauth.errors import LeaseLost

from .authfolders import FIXTURES, SECRETS, change_creds, copied, files, in_memory, pre_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result

    from ..servers.redis import Redis

    Call = Callable[..., Result]

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return `call(*arguments)`, which runs `wwauth authstate` in `tmp_path`, where auth_info_baileys is 03-full."""
    monkeypatch.chdir(tmp_path)
    copied("03-full", tmp_path / "auth_info_baileys")

    def call_it(*arguments: str) -> Result:
        done = CliRunner().invoke(app, ["authstate", *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit)
        assert not any(secret in done.output for secret in SECRETS)
        return done

    return call_it


def good(done: Result) -> str:
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


def refused(done: Result, code: int, *, match: str) -> None:
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("wwauth: ")
    assert match in line, line


def test_as_a_process(tmp_path: Path) -> None:
    copied("03-full", tmp_path / "auth")
    command = [sys.executable, "-W", "error", "-m", "wwauth", "authstate", "inspect", "auth"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "15550001111:7@s.whatsapp.net (android)" in done.stdout
    assert re.search(r"pre-key +29 +4756", done.stdout)
    assert not any(secret in done.stdout for secret in SECRETS)


def test_help_lists_every_command(call: Call) -> None:
    text = good(call("--help"))
    for name in ("inspect", "verify", "migrate", "prune", "export", "import", "backup", "restore", "keygen", "rekey"):
        assert re.search(rf"^│ {name} ", text, flags=re.MULTILINE)
    assert call("nonsense").exit_code == 2


def test_inspect_and_verify(call: Call, tmp_path: Path) -> None:
    (found,) = json.loads(good(call("inspect", "auth_info_baileys", "--json")))
    assert (found["me"], found["platform"]) == ("15550001111:7@s.whatsapp.net", "android")
    assert found["records"]["pre-key"] == 29
    assert good(call("verify", "auth_info_baileys")).startswith("auth_info_baileys: ok, 58 records")
    assert files(tmp_path / "auth_info_baileys") == files(FIXTURES / "03-full")
    assert len(list((tmp_path / "auth_info_baileys").iterdir())) == 58, "nothing was added either"
    shutil.copytree(FIXTURES / "06-legacy-encodings", tmp_path / "torn")
    done = call("verify", "torn", "--json")
    assert done.exit_code == 1
    (report,) = json.loads(done.stdout)
    assert not report["ok"]
    assert {"severity", "record", "meaning", "cure"} == set(report["findings"][0])
    refused(call("inspect", "nowhere"), 1, match="there is no auth state in nowhere")
    refused(call("inspect", "nonsense://user:secret@host/x"), 2, match="unknown auth state URL (nonsense:)")
    assert "secret" not in call("inspect", "nonsense://user:secret@host/x").output


def test_prune(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "auth_info_baileys"
    assert "to delete: 25 pre-key" in good(call("prune", "auth_info_baileys", "--keep-pre-keys", "3", "--dry-run"))
    assert len(pre_keys(folder)) == 29
    report = json.loads(good(call("prune", "auth_info_baileys", "--keep-pre-keys", "3", "--json")))
    assert report["deleted"] == {"pre-key": 25}
    assert pre_keys(folder) == {27, 28, 29, 30}
    assert call("prune", "auth_info_baileys", "--keep-pre-keys", "-1").exit_code == 2


def test_to_a_database_and_back(call: Call, tmp_path: Path) -> None:
    folder, url = tmp_path / "auth_info_baileys", "sqlite:///one.db"
    assert "imported from auth_info_baileys" in good(call("import", "auth_info_baileys", url, "--session", "a"))
    refused(call("import", "auth_info_baileys", url, "--session", "a"), 2, match="a login named 'a' already")
    good(call("import", "auth_info_baileys", url, "--session", "a", "--force"))
    good(call("migrate", url, "sqlite:///two.db", "--dry-run"))
    refused(call("inspect", "sqlite:///two.db"), 1, match="there is no auth state")
    good(call("migrate", "auth_info_baileys", url, "--as", "b"))
    refused(call("export", url, "back"), 2, match="2 sessions are there (a, b): name one (--session)")
    done = json.loads(good(call("migrate", url, "sqlite:///two.db", "--all", "--delete-source", "--json")))
    assert [report["session"] for report in done] == ["a", "b"]
    refused(call("inspect", url), 1, match="there is no auth state")
    good(call("export", "sqlite:///two.db", "back", "--session", "b"))
    assert files(tmp_path / "back") == files(folder)
    good(call("migrate", "sqlite:///two.db", "forth", "--session", "a"))
    assert files(tmp_path / "forth") == files(folder)
    refused(call("migrate", "back", "back"), 2, match="the same place")
    refused(call("migrate", "back", "forth"), 2, match="already")


def test_all_go_on_where_one_fails(call: Call) -> None:
    good(call("import", "auth_info_baileys", "sqlite:///one.db", "--session", "a"))
    good(call("import", "auth_info_baileys", "sqlite:///one.db", "--session", "b"))
    good(call("import", "auth_info_baileys", "sqlite:///two.db", "--session", "a"))
    done = call("migrate", "sqlite:///one.db", "sqlite:///two.db", "--all", "--json")
    assert done.exit_code == 1
    assert "a login named 'a' already" in done.stderr
    assert [item["session"] for item in json.loads(done.stdout)] == ["b", "a"]


def test_several_sessions_do_not_replace_each_other_in_one_folder(call: Call, tmp_path: Path) -> None:
    for name in ("a", "b"):
        good(call("import", "auth_info_baileys", "sqlite:///one.db", "--session", name))
    refused(call("migrate", "sqlite:///one.db", "back", "--all", "--force", "--delete-source"), 2, match="room for one login")
    assert not (tmp_path / "back").exists()
    assert len(json.loads(good(call("inspect", "sqlite:///one.db", "--json")))) == 2


def test_backup_and_restore(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "auth_info_baileys"
    before = files(folder)
    assert "generation 1 saved (full)" in good(call("backup", "auth_info_baileys", "--store", "file:backups"))
    change_creds(folder, accountSyncCounter=9)
    report = json.loads(good(call("backup", "auth_info_baileys", "--store", "file:backups", "--json")))
    assert (report["session"], report["generation"], report["kind"]) == ("auth_info_baileys", 2, "incremental")
    shutil.rmtree(folder)
    good(call("restore", "auth_info_baileys", "--store", "file:backups", "--generation", "1"))
    assert files(folder) == before
    refused(call("restore", "auth_info_baileys", "--store", "file:backups", "--generation", "9"), 1, match="no generation 9")
    (folder / "creds.json").unlink()
    refused(call("backup", "auth_info_baileys", "--store", "file:backups"), 1, match="no credentials")


def test_not_while_a_program_has_it(call: Call, tmp_path: Path) -> None:
    folder, done = "auth_info_baileys", []
    commands = [
        ["prune", folder],
        ["export", folder, "out"],
        ["restore", folder, "--store", "file:backups"],
        ["verify", folder],
        ["backup", folder, "--store", "file:backups"],
    ]

    async def hold() -> None:
        state, _ = await use_multi_file_auth_state(tmp_path / "auth_info_baileys")
        async with state:
            # In threads of their own: each command has its event loop.
            done.extend([await asyncio.to_thread(call, *command) for command in commands])

    asyncio.run(hold())
    for refusal in done[:3]:
        refused(refusal, 1, match=f"pid {os.getpid()}")
    for answer in done[3:]:
        good(answer)


def test_keys(call: Call, tmp_path: Path) -> None:
    url, key = "sqlite:///one.db", ("--key-file", "auth.key")
    good(call("import", "auth_info_baileys", url))
    assert call("keygen", "auth.key").exit_code == 0
    refused(call("keygen", "auth.key"), 1, match="there already")
    refused(call("rekey", url, *key), 1, match="is not encrypted")
    assert "58 of 58" in good(call("rekey", url, *key, "--allow-plaintext"))
    refused(call("verify", url), 1, match="is encrypted")
    assert "ok, 58 records" in good(call("verify", url, *key))
    good(call("export", url, "back", *key))
    assert files(tmp_path / "back") == files(tmp_path / "auth_info_baileys")
    refused(call("verify", url, "--key-file", "nowhere"), 2, match="cannot read nowhere")
    done = call("verify", url, "--key-file", new_key())
    refused(done, 2, match="takes the name of a file")


def test_the_commands_of_the_document(call: Call) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    lines = [line.partition("  #")[0].split() for block in blocks for line in block.splitlines() if "wwauth authstate" in line]
    for line in lines:
        done = call(*line[2:])
        assert done.exit_code == 0, (line, done.output)
    assert {line[2] for line in lines} == {
        *("backup", "export", "import", "inspect", "keygen", "migrate", "prune", "rekey", "restore", "verify"),
    }


def test_what_another_program_keeps(call: Call, redis: Redis, tmp_path: Path) -> None:
    from redis import Redis as Client

    folder, url = tmp_path / "auth_info_baileys", f"redis://127.0.0.1:{redis.port}/7"
    with Client(port=redis.port, db=7) as client:
        for name, data in files(folder).items():
            client.set(f"bot:{name.removesuffix('.json')}", data)
        kept = {key: client.get(key) for key in client.scan_iter()}
        good(call("migrate", url, "sqlite:///one.db", "--peer", "--as", "mine"))
        good(call("migrate", url, "back", "--peer", "--all"))
        assert {key: client.get(key) for key in client.scan_iter()} == kept
        client.flushdb()
    good(call("export", "sqlite:///one.db", "out"))
    assert files(tmp_path / "out") == files(tmp_path / "back") == files(folder)
    refused(call("migrate", "back", "forth", "--peer"), 2, match="without --peer")
    refused(call("migrate", url, "forth", "--peer", "--delete-source"), 2, match="only reads")


def test_where_it_is_written_and_redacted(call: Call) -> None:
    done = call("inspect", "redis://me:hunter2@127.0.0.1:9/0")
    assert done.exit_code == 1
    assert "hunter2" not in done.output


def test_torn_credentials_are_not_called_unlinked(call: Call, tmp_path: Path) -> None:
    (tmp_path / "auth_info_baileys" / "creds.json").write_text("")
    for command in ("inspect", "verify"):
        assert "missing or damaged" in call(command, "auth_info_baileys").stdout


def test_a_forced_export_deletes_nothing_but_a_login(call: Call, tmp_path: Path) -> None:
    good(call("import", "auth_info_baileys", "sqlite:///logins.db"))
    refused(call("export", "sqlite:///logins.db", ".", "--force"), 2, match="name a folder for the login alone")
    assert (tmp_path / "logins.db").exists()


async def test_a_source_that_was_changed_since_it_was_copied_is_not_deleted() -> None:
    class Changing(MemoryAuthStateStore):
        holds = 0

        def hold(self, *, session: str) -> Any:
            self.holds += 1
            # Of what is to be copied, of the copying, of the deletion.
            if self.holds == 3:
                self._sessions[session][RecordName("session", "1")] = "{}"
            return super().hold(session=session)

    source, target = Changing(), MemoryAuthStateStore()
    source._sessions = (await in_memory("01-fresh"))._sessions
    job = _Migration("from", "to", None, delete=True, force=False, dry_run=False, json=True, peer=False)
    with pytest.raises(LeaseLost, match="kept"):
        await job._one(source, target, "one")
    assert RecordName("session", "1") in await source.read(session="one", names=[RecordName("session", "1")])
    job = _Migration("from", "to", None, delete=True, force=True, dry_run=False, json=True, peer=False)
    await job._one(source, target, "one")
    assert [name async for name in source.list_sessions()] == []
