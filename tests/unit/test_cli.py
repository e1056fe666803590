"""The frame of the command line: what it lists, how it ends, what it does not import."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from wwauth import __version__

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = (
    *(
        "authstate",
        "backup",
        "demo",
        "export",
        "import",
        "keygen",
        "list",
        "login",
        "migrate",
        "prune",
        "restore",
        "simulator",
        "verify",
    ),
)


def wwauth(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-m", "wwauth", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)


def test_version(tmp_path: Path) -> None:
    done = wwauth("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wwauth {__version__}\n", "")


def test_help_lists_every_command(tmp_path: Path) -> None:
    done = wwauth("--help", cwd=tmp_path)
    assert done.returncode == 0
    for name in COMMANDS:
        assert f" {name} " in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(name: str, tmp_path: Path) -> None:
    done = wwauth(name, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"Usage: wwauth {name} [OPTIONS]" in done.stdout


@pytest.mark.parametrize("arguments", [("unheard-of",), ("login", "--unheard-of")])
def test_a_wrong_call_exits_with_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = wwauth(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "unheard-of" in done.stderr


def test_an_error_of_wwauth_is_one_sentence_on_stderr(tmp_path: Path) -> None:
    done = wwauth("login", "--client-id", "no/slash", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("wwauth: ")
    assert "'no/slash'" in sentence
    assert list(tmp_path.iterdir()) == []


def test_verbose_adds_where_an_error_comes_from(tmp_path: Path) -> None:
    done = wwauth("--verbose", "login", "--client-id", "no/slash", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("wwauth: ")


def test_the_version_needs_no_browser_driver(tmp_path: Path) -> None:
    source = (
        "import sys; sys.argv[1:] = ['--version']\n"
        "from wwauth.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'playwright', 'starlette', 'uvicorn', 'wwauth.cli.demo'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", source], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
