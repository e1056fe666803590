"""The commands on stored sessions, with profiles that no browser made; those of the document as processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wwauth._lock import profile_lock
from wwauth.strategies._marker import LoginMarker

from .profiles import INDEXED_DB, make_profile
from .test_backup_engine import login
from .test_generations import grow

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., subprocess.CompletedProcess[str]]

NAME = "RemoteAuth-client-one"
DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return `run(*arguments)`, which runs `wwauth` in `tmp_path`, where WWAUTH_STORE is file:backups; in this process."""
    from typer.testing import CliRunner

    from wwauth.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WWAUTH_IDENTITY_FILE", raising=False)

    def run_it(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"COLUMNS": "80", "WWAUTH_STORE": "file:backups", **variables}
        done = CliRunner().invoke(app, list(arguments), env=environment)
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return run_it


@pytest.fixture
def process(tmp_path: Path) -> Run:
    """Return what `run` returns, for a process of its own."""

    def run_it(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COLUMNS": "80", "WWAUTH_STORE": "file:backups", **variables}
        environment.pop("WWAUTH_IDENTITY_FILE", None) if "WWAUTH_IDENTITY_FILE" not in variables else None
        command = [sys.executable, "-W", "error", "-m", "wwauth", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
        )

    return run_it


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Make a profile that wwauth saw logged in."""
    profile = make_profile(tmp_path / ".wwebjs_auth" / NAME, log=[b"x" * 100], table=b"".join(b"%d." % n for n in range(9_000)))
    LoginMarker(profile).write(generation=0)
    return profile


def good(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    return done.stdout


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(good(done))


def sentence(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one sentence with which a command failed."""
    assert (done.returncode, done.stdout) == (code, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("wwauth: ")
    return line


def test_a_session_is_saved_listed_verified_pruned_and_restored(run: Run, profile: Path, tmp_path: Path) -> None:
    assert "generation 1 saved (full)" in good(run("backup", NAME))
    assert "nothing changed since generation 1" in good(run("backup", NAME))
    for number in (2, 3):
        grow(profile, b"%d" % number)
        report = answer(run("backup", NAME, "--json", "--generations", "4"))
        assert (report["generation"], report["kind"]) == (number, "incremental")
    listed = good(run("list"))
    assert max(map(len, listed.splitlines())) <= 80
    assert listed.startswith(f"{NAME}\n  packs, ")
    assert "not encrypted" in listed
    assert re.search(r"^  no +kind +age +stored +total +browser$", listed, flags=re.MULTILINE)
    assert re.search(r"^   3  incremental +\d+ s  .* kB  -, leveldb$", listed, flags=re.MULTILINE)
    (session,) = answer(run("list", "--json", NAME))
    assert [g["number"] for g in session["generations"]] == [3, 2, 1]
    assert session["encrypted"] is False
    assert session["bytes_stored"] == sum(path.stat().st_size for path in (tmp_path / "backups").glob("*.zip"))
    assert good(run("verify")).count(": ok\n") == 3

    saved = login(profile)
    (profile / INDEXED_DB / "CURRENT").write_text("lost")
    restored = good(run("restore", NAME))
    assert "generation 3 restored" in restored
    assert f"{NAME}.previous" in restored
    assert login(profile) == saved
    assert LoginMarker(profile).holds_login
    older = answer(run("restore", NAME, "--generation", "2", "--json"))
    assert (older["generation"], older["path"]) == (2, str(profile))
    assert login(profile) != saved

    assert "generations to drop: 2, 1; kept: 3" in good(run("prune", NAME, "--keep", "1", "--dry-run"))
    assert len(answer(run("list", "--json"))[0]["generations"]) == 3
    assert answer(run("prune", NAME, "--keep", "1", "--json"))["kept"] == [3]
    assert len(answer(run("list", "--json"))[0]["generations"]) == 1
    assert answer(run("verify", "--json"))[0]["ok"] is True
    # A restored older generation is not continued over the newer one that is kept.
    assert sorted(path.name for path in (tmp_path / ".wwebjs_auth").iterdir()) == [
        f".{NAME}.holder",
        f".{NAME}.lock",
        f".{NAME}.login",
        NAME,
        f"{NAME}.previous",
    ]


def test_a_damaged_generation_is_named_and_passed_over(run: Run, profile: Path, tmp_path: Path) -> None:
    good(run("backup", NAME))
    before = set((tmp_path / "backups").glob("*.zip"))
    grow(profile)
    good(run("backup", NAME))
    (pack,) = set((tmp_path / "backups").glob("*.zip")) - before
    pack.write_bytes(b"damaged")
    done = run("verify")
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(r"^  generation 2 .*: DAMAGED: pack 2\.", done.stdout, flags=re.MULTILINE)
    assert re.search(r"^  generation 1 .*: ok$", done.stdout, flags=re.MULTILINE)
    done = run("verify", NAME, "nobody", "--json")
    assert done.returncode == 1
    mine, nobody = json.loads(done.stdout)
    assert [generation["problem"] is None for generation in mine["generations"]] == [False, True]
    assert (mine["ok"], nobody["ok"], nobody["problem"]) == (False, False, "not in the store")
    restored = good(run("restore", NAME))
    assert "generation 1 restored" in restored
    assert "generation 2 was not used: pack 2." in restored
    assert "generation 2" in sentence(run("restore", NAME, "--generation", "2"), 1)
    assert "generation 9" in sentence(run("restore", NAME, "--generation", "9"), 1)
    assert "nothing was dropped" in sentence(run("prune", NAME, "--keep", "1"), 1)


def test_a_session_moves_between_stores_in_one_file(run: Run, profile: Path, tmp_path: Path) -> None:
    good(run("backup", NAME))
    grow(profile)
    good(run("backup", NAME))
    assert "generations 2, 1 exported" in good(run("export", NAME, "moving.zip"))
    assert "moving.zip is there already" in sentence(run("export", NAME, "moving.zip"), 2)
    good(run("export", NAME, "moving.zip", "--force"))
    assert answer(run("import", "moving.zip", "--store", "file:there", "--json"))["generations"] == [2, 1]
    assert "already" in sentence(run("import", "moving.zip", "--store", "file:there"), 2)
    assert "generations 4, 3 imported" in good(run("import", "moving.zip", "--store", "file:there", "--force"))
    good(run("import", "moving.zip", "--session", "two", "--store", "file:there"))
    assert good(run("verify", "--store", "file:there")).count(": ok\n") == 4
    good(run("export", NAME, f"{NAME}.zip", "--archive", "whatsapp-web.js"))
    assert answer(run("import", f"{NAME}.zip", "--store", "file:third", "--json"))["archive"] == "whatsapp-web.js"
    shutil.rmtree(tmp_path / ".wwebjs_auth")
    good(run("restore", NAME, "--store", "file:third"))
    assert login(profile)
    # What is stored in a form goes on in it.
    grow(profile)
    assert answer(run("backup", NAME, "--store", "file:third", "--json"))["kind"] == "full"
    assert answer(run("list", "--store", "file:third", "--json"))[0]["archive"] == "whatsapp-web.js"


def test_sessions_are_migrated(run: Run, profile: Path, tmp_path: Path) -> None:
    good(run("backup", NAME))
    grow(profile)
    good(run("backup", NAME))
    shutil.copytree(profile, tmp_path / ".wwebjs_auth" / "session-local")
    way = ("migrate", "file:backups", "file:there", "--all")
    assert f"{NAME}: generations 2, 1 (packs): to be copied, 3 archives" in good(run(*way, "--dry-run"))
    assert not (tmp_path / "there").exists()
    (report,) = answer(run(*way, "--json"))
    assert (report["outcome"], report["archives"], report["source_deleted"]) == ("copied", 3, False)
    assert "all there already; deleted from the source" in good(run(*way, "--delete-source"))
    assert good(run(*way)) == "FROM holds no session\n"
    assert good(run("verify", "--store", "file:there")).count(": ok\n") == 2
    run("keygen", "key")
    sealed = ("migrate", "file:there", "file:sealed", "--session", NAME, "--as", "RemoteAuth-two")
    assert f"{NAME} as RemoteAuth-two: generations 2, 1 (packs): copied" in good(run(*sealed, "--identity-file", "key"))
    assert good(run("verify", "--store", "file:sealed", "--identity-file", "key")).count(": ok\n") == 2
    again = ("migrate", "file:sealed", "file:third", "--all", "--from-identity-file", "key")
    assert answer(run(*again, "--json"))[0]["outcome"] == "copied"

    # A data path: what fails does not keep the others from their place.
    lock = profile_lock(tmp_path / ".wwebjs_auth" / "session-local")
    lock.acquire()
    try:
        done = run("migrate", ".wwebjs_auth", "file:fourth", "--all")
        assert done.returncode == 1
        assert f"{NAME}: generations 2 (whatsapp-web.js): copied, 1 archives" in done.stdout
        assert done.stderr.startswith("wwauth: session-local: a client works on ")
        assert f"pid {os.getpid()}" in done.stderr
    finally:
        lock.release()
    done = run("migrate", ".wwebjs_auth", "file:fourth", "--session", "session-local", "--delete-source", "--json")
    assert (answer(done)[0]["name"], answer(done)[0]["source_deleted"]) == ("RemoteAuth-local", True)
    assert not (tmp_path / ".wwebjs_auth" / "session-local").exists()
    done = run("migrate", "file:third", "file:fourth", "--all", "--json")
    assert (done.returncode, json.loads(done.stdout)[0]["outcome"]) == (0, "copied")
    shutil.rmtree(tmp_path / "fourth")
    good(run("migrate", ".wwebjs_auth", "file:fourth", "--session", NAME))
    done = run("migrate", "file:there", "file:fourth", "--all", "--json")
    assert done.returncode == 1
    (problem,) = json.loads(done.stdout)
    assert (problem["session"], "already, and not the same" in problem["problem"]) == (NAME, True)


def test_encrypted_stores_and_their_keys(run: Run, profile: Path, tmp_path: Path) -> None:
    public = run("keygen", "key").stdout.strip()
    run("keygen", "other")
    secret = (tmp_path / "key").read_text()
    secret = secret[secret.index("AGE-SECRET-KEY-") :].strip()
    keys = ("--identity-file", "key")
    outputs = [
        run("backup", NAME, *keys, "--recipient", public),
        run("list", *keys),
        run("verify", WWAUTH_IDENTITY_FILE="key"),
        run("verify", "--identity-file", "other", "--identity-file", "key", "--recipient", public),
        run("export", NAME, "moving.zip", *keys),
        run("import", "moving.zip", "--store", "file:there", "--recipient", public, *keys),
    ]
    for done in outputs:
        good(done)
    assert ", encrypted\n" in outputs[1].stdout
    for path in [*(tmp_path / "backups").glob("*.zip"), *(tmp_path / "there").glob("*.zip")]:
        assert path.read_bytes().startswith(b"age-encryption.org/v1\n")
    # The keys are those of the last time, so that only what changed goes.
    grow(profile)
    assert answer(run("backup", NAME, *keys, "--json"))["kind"] == "incremental"

    for arguments in (("list",), ("list", "--identity-file", "other")):
        done = run(*arguments)
        assert done.returncode == 1
        assert "encrypted" in done.stdout
        outputs.append(done)
    outputs.append(run("verify"))
    assert (outputs[-1].returncode, "encrypted" in outputs[-1].stdout) == (1, True)
    outputs.append(run("backup", NAME, "--recipient", public))
    assert "--identity-file" in sentence(outputs[-1], 2)
    outputs.append(run("backup", NAME, "--identity-file", secret))
    assert "takes the name of a file" in sentence(outputs[-1], 2)
    outputs.append(run("backup", NAME, "--identity-file", "nowhere"))
    assert "nowhere" in sentence(outputs[-1], 2)
    outputs.append(run("backup", NAME, "--recipient", secret, *keys))
    assert "is a secret key" in sentence(outputs[-1], 2)
    outputs.append(run("restore", NAME))
    assert "encrypted" in sentence(outputs[-1], 1)
    assert not any("AGE-SECRET-KEY-1" in done.stdout + done.stderr for done in outputs)
    # Without its keys, nothing of it is taken for damaged and replaced.
    done = run("backup", NAME)
    assert "encrypted" in sentence(done, 1)
    good(run("verify", *keys))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("list", "--store", "ftp://user:secret@host/x"), "ftp:"),
        (("list", "a/b"), "a/b"),
        (("verify", "a b"), "a b"),
        (("verify", "--web-url", "no address"), "no address"),
        (("backup", "../x"), "../x"),
        (("backup", NAME, "--generations", "0"), "generations 0"),
        (("backup", NAME, "--archive", "tar"), "'tar'"),
        (("restore", "x" * 300), "300 characters"),
        (("prune", NAME, "--keep", "0"), "generations 0"),
        (("export", NAME, "x.zip", "--archive", "tar"), "'tar'"),
        (("import", "nowhere.zip"), "nowhere.zip"),
        (("import", "nowhere.zip", "--session", ""), "invalid session ''"),
        (("migrate", "file:a", "file:b"), "--all"),
        (("migrate", "file:a", "file:b", "--all", "--session", "x"), "--all"),
        (("migrate", "file:a", "file:b", "--session", "../x"), "../x"),
        (("migrate", "file:a", "file:b", "--all", "--as", "x"), "--as"),
        (("migrate", "file:a", "file:a", "--all"), "the same store"),
        (("migrate", "ftp://user:secret@host/x", "file:b", "--all"), "ftp:"),
        (("migrate", ".wwebjs_auth", "file:b", "--all", "--from-identity-file", "key"), "--from-identity-file"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_exits_with_2(
    run: Run, profile: Path, tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    line = sentence(run(*arguments), 2)
    assert named in line
    assert "secret" not in line
    assert not (tmp_path / "backups").exists()


@pytest.mark.parametrize("arguments", [("list",), ("verify",)])
def test_without_a_store_the_call_is_wrong(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments, WWAUTH_STORE="")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--store" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "nobody"),
        ("verify", "nobody"),
        ("restore", "nobody"),
        ("prune", "nobody", "--keep", "1"),
        ("export", "nobody", "x.zip"),
        ("migrate", "file:backups", "file:there", "--session", "nobody"),
    ],
)
def test_a_session_that_is_not_there_exits_with_1(run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert "nobody" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.zip").exists()
    assert not (tmp_path / ".wwebjs_auth" / "nobody").exists()


def test_an_empty_store_is_no_error(run: Run) -> None:
    for command in ("list", "verify"):
        done = run(command)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "no sessions\n")
        assert answer(run(command, "--json")) == []


def test_a_profile_without_a_login_is_not_saved(run: Run, profile: Path, tmp_path: Path) -> None:
    assert "there is no profile" in sentence(run("backup", "nobody"), 1)
    LoginMarker(profile).remove()
    assert "--any-profile" in sentence(run("backup", NAME), 1)
    assert "no database of 'https://example.com/'" in sentence(
        run("backup", NAME, "--any-profile", "--web-url", "https://example.com/"), 1
    )
    assert list((tmp_path / "backups").glob("*.zip")) == []
    good(run("backup", NAME, "--any-profile"))


def test_a_profile_that_a_client_works_on_is_left_to_it(run: Run, profile: Path) -> None:
    lock = profile_lock(profile)
    lock.acquire()
    try:
        for command in ("backup", "restore"):
            line = sentence(run(command, NAME), 1)
            assert f"pid {os.getpid()}" in line
            assert "stop it first" in line
    finally:
        lock.release()
    good(run("backup", NAME))


def test_backup_keeps_as_many_generations_as_there_are(run: Run, profile: Path) -> None:
    for number in range(4):
        grow(profile, b"%d" % number)
        good(run("backup", NAME, "--generations", "4"))
    grow(profile)
    good(run("backup", NAME))
    assert len(answer(run("list", "--json"))[0]["generations"]) == 4
    grow(profile, b"again")
    good(run("backup", NAME, "--generations", "2"))
    assert len(answer(run("list", "--json"))[0]["generations"]) == 2


@pytest.mark.skipif(os.name != "posix", reason="needs a folder that cannot be written to")
def test_a_folder_that_cannot_be_used_is_named(run: Run, profile: Path, tmp_path: Path) -> None:
    good(run("backup", NAME))
    (tmp_path / "file").write_text("")
    assert "file" in sentence(run("restore", NAME, "--data-path", "file/below"), 1)
    assert "file" in sentence(run("verify", "--work-dir", "file"), 1)
    assert "file" in sentence(run("export", NAME, "file/x.zip"), 1)


def test_the_examples_of_the_document_run_in_their_order(run: Run, process: Run, profile: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    lines = [line.partition("  #")[0].split() for block in blocks for line in block.splitlines() if line.startswith("wwauth ")]
    lines = [line for line in lines if line[1] != "authstate"]  # test_cli_authstate.py
    for line in lines:
        if "--deep" in line:  # needs a profile that a browser made: tests/browser/test_stored_sessions.py
            continue
        # A process of its own takes half a second: one command shows that all is as it is in this one.
        done = (process if line[1] == "backup" else run)(*line[1:])
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
    assert {line[1] for line in lines} == {
        *("backup", "export", "import", "keygen", "list", "migrate", "prune", "restore", "verify"),
    }
    assert (tmp_path / "backups").is_dir()
