"""The standard tool `age` and wwauth read each other's archives and keys."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from wwauth._age import new_identity
from wwauth.stores import EncryptedStore, FileSystemStore

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import RequireOptional


def run(*command: object, data: bytes = b"") -> bytes:
    return subprocess.run([str(part) for part in command], input=data, capture_output=True, check=True).stdout


@pytest.fixture(scope="module", autouse=True)
def _age(require_optional: RequireOptional) -> None:
    require_optional(shutil.which("age"), "age is not installed: apt install age")
    require_optional(shutil.which("age-keygen"), "age-keygen is not installed: apt install age")


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    path = tmp_path / "ours.key"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-m", "wwauth", "keygen", path], env=environment, capture_output=True, check=True)
    return path


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    run("age-keygen", "-o", tmp_path / "theirs.key")
    return tmp_path / "theirs.key"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "source.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("Default/IndexedDB/one", os.urandom(300_000))
    return path


async def test_age_turns_a_stored_archive_into_a_plain_zip(tmp_path: Path, archive: Path, ours: Path, theirs: Path) -> None:
    store = EncryptedStore(FileSystemStore(tmp_path / "backups"), recipients=[ours, theirs], identities=[ours])
    await store.save(session="one", path=archive)
    for key in (ours, theirs):
        plain = run("age", "-d", "-i", key, tmp_path / "backups" / "one.zip")
        assert plain == archive.read_bytes()
        with zipfile.ZipFile(io.BytesIO(plain)) as packed:
            assert packed.testzip() is None
    await store.extract(session="one", path=tmp_path / "out.zip")
    assert (tmp_path / "out.zip").read_bytes() == archive.read_bytes()


async def test_what_age_encrypted_is_read(tmp_path: Path, archive: Path, ours: Path, theirs: Path) -> None:
    inner = FileSystemStore(tmp_path / "backups")
    public = run("age-keygen", "-y", theirs).decode().strip()
    run("age", "-r", public, "-o", tmp_path / "sealed", archive)
    await inner.save(session="one", path=tmp_path / "sealed")
    store = EncryptedStore(inner, recipients=[public], identities=[ours, theirs])
    await store.extract(session="one", path=tmp_path / "out.zip")
    assert (tmp_path / "out.zip").read_bytes() == archive.read_bytes()


def test_age_keygen_reads_our_key(ours: Path) -> None:
    public = run("age-keygen", "-y", ours).decode().strip()
    assert f"# public key: {public}" in ours.read_text().splitlines()


def test_our_key_file_has_the_lines_of_theirs(theirs: Path) -> None:
    def beginnings(text: str) -> list[str]:
        return [line.partition(":")[0].partition("-1")[0] for line in text.splitlines()]

    assert beginnings(new_identity()[0]) == beginnings(theirs.read_text())
