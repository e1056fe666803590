"""The commands on auth states, against each kind of database server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from wwauth.cli import app

from .auth_logins import FULL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Call = Callable[..., str]

# What is said of a wrong password, and of a database that is not there, which MongoDB makes with the first write.
REFUSED = {
    "postgresql": ("InvalidPasswordError; mend its user's", "InvalidCatalogNameError; make that database"),
    "mariadb": ("OperationalError 1045; mend its user's", "OperationalError 1049; make that database"),
    "mongodb": ("OperationFailure 18; mend its user's", None),
}


def call(*arguments: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["authstate", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert done.exit_code == code, done.output
    assert "s3cret" not in done.output
    if code:
        assert done.stderr.startswith("wwauth: ")
        assert len(done.stderr.splitlines()) == 1
    return done.stderr if code else done.stdout


@pytest.mark.parametrize("kind", REFUSED)
def test_a_server(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    server: Any = request.getfixturevalue(kind)
    url, folder = server.url("commands"), tmp_path / "given_back"
    for session in ("one", "two"):
        assert "29 pre-key" in call("import", FULL, url, "--session", session)
    assert [found["session"] for found in json.loads(call("inspect", url, "--json"))] == ["one", "two"]
    assert "there is no session 'nobody'" in call("verify", url, "--session", "nobody", code=1)
    assert "2 sessions are there (one, two)" in call("export", url, folder, code=2)
    assert "deleted: 25 pre-key" in call("prune", url, "--session", "two", "--keep-pre-keys", "3")
    assert "deleted from FROM" in call("migrate", url, folder, "--session", "one", "--delete-source")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {f.name: f.read_bytes() for f in FULL.iterdir()}

    scheme, _, place = url.partition("://")
    host = place.split("@")[-1].split("/")[0]
    password, database = REFUSED[kind]
    assert password in call("inspect", f"{scheme}://guest:s3cret@{host}/commands", code=1)
    if database is not None:
        assert database in call("inspect", url.replace("/commands", "/not_there"), code=1)
    assert f"{scheme}://…: that is a URL, and no path" in call("import", f"{scheme}://guest:s3cret@{host}/x", folder, code=2)
