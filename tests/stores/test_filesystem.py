"""The folder store: the contract, and what is its own on a healthy disk."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from wwauth.errors import ConfigurationError, StoreUnavailable
from wwauth.stores import FileSystemStore
from wwauth.testing.store_contract import StoreContract
from wwauth_stores.filesystem import same_but_for_case

if TYPE_CHECKING:
    from pathlib import Path

    from wwauth.abc import Store

posix = pytest.mark.skipif(sys.platform == "win32", reason="only POSIX systems have permission bits")


class TestFileSystemStore(StoreContract):
    largest = 64 * 1024 * 1024
    kills = 8

    @pytest.fixture
    def store(self, tmp_path: Path) -> FileSystemStore:
        self.folder = tmp_path / "backups"
        return FileSystemStore(self.folder)

    async def reopen(self, store: Store) -> Store:
        return FileSystemStore(self.folder)

    def open_elsewhere(self, store: Store) -> str:
        return f"from wwauth.stores import FileSystemStore; store = FileSystemStore({str(self.folder)!r})"

    async def unreachable(self) -> Store:
        return FileSystemStore(self.folder / "not mounted", create=False)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "source.zip"
    path.write_bytes(b"a login")
    return path


async def test_the_file_has_the_peers_name_and_nothing_lies_beside_it(tmp_path: Path, archive: Path) -> None:
    await FileSystemStore(tmp_path / "backups").save(session="RemoteAuth-one", path=archive)
    assert [path.name for path in (tmp_path / "backups").iterdir()] == ["RemoteAuth-one.zip"]
    assert (tmp_path / "backups" / "RemoteAuth-one.zip").read_bytes() == b"a login"


@posix
async def test_folder_and_files_are_private_under_any_umask(tmp_path: Path, archive: Path) -> None:
    store = FileSystemStore(tmp_path / "deep" / "backups")
    before = os.umask(0)
    try:
        await store.save(session="one", path=archive)
    finally:
        os.umask(before)
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert (store.folder / "one.zip").stat().st_mode & 0o777 == 0o600


@posix
async def test_a_folder_that_was_open_to_others_is_closed(tmp_path: Path, archive: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    folder.chmod(0o2755)
    await FileSystemStore(folder).save(session="one", path=archive)
    assert folder.stat().st_mode & 0o777 == 0o700


@posix
async def test_a_public_folder_stays_public_and_is_warned_of_once(
    tmp_path: Path, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "like-tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    store = FileSystemStore(folder)
    await store.save(session="one", path=archive)
    await store.save(session="two", path=archive)
    assert folder.stat().st_mode & 0o7777 == 0o1777
    assert (folder / "one.zip").stat().st_mode & 0o777 == 0o600
    assert [record.getMessage() for record in caplog.records if str(folder) in record.getMessage()] == [
        f"others can see which sessions {folder} holds; the archives themselves are private"
    ]


async def test_nothing_is_made_before_the_first_save(tmp_path: Path) -> None:
    store = FileSystemStore(tmp_path / "backups")
    assert await store.session_exists(session="one") is False
    await store.delete(session="one")
    assert [info async for info in store.list_sessions()] == []
    assert list(tmp_path.iterdir()) == []


async def test_a_relative_folder_stays_where_it_was(tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = FileSystemStore("backups")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await store.save(session="one", path=archive)
    assert (tmp_path / "backups" / "one.zip").exists()


async def test_what_is_not_an_archive_is_not_listed(tmp_path: Path, archive: Path) -> None:
    store = FileSystemStore(tmp_path / "backups")
    await store.save(session="one", path=archive)
    for name in ("notes.txt", ".hidden.zip", "two words.zip", ".zip", "zip"):
        (store.folder / name).write_bytes(b"")
    assert [info.session async for info in store.list_sessions()] == ["one"]


async def test_the_revision_grows_also_when_the_clock_does_not(tmp_path: Path, archive: Path) -> None:
    store = FileSystemStore(tmp_path / "backups")
    seen = []
    for _ in range(20):
        await store.save(session="one", path=archive)
        seen += [info.revision or 0 async for info in store.list_sessions()]
    ahead = 4_000_000_000_000_000_000
    os.utime(store.folder / "one.zip", ns=(ahead, ahead))
    await store.save(session="one", path=archive)
    seen += [info.revision or 0 async for info in store.list_sessions()]
    assert seen == sorted(set(seen))
    assert seen[-1] > ahead


async def test_a_folder_that_is_gone_is_not_an_empty_one(tmp_path: Path, archive: Path) -> None:
    store = FileSystemStore(tmp_path / "backups")
    await store.save(session="one", path=archive)
    store.folder.rename(tmp_path / "away")
    with pytest.raises(StoreUnavailable, match="is gone"):
        await store.session_exists(session="one")
    with pytest.raises(StoreUnavailable, match="is gone"):
        await store.extract(session="one", path=tmp_path / "out.zip")
    with pytest.raises(StoreUnavailable, match="is gone"):
        await store.save(session="one", path=archive)
    with pytest.raises(StoreUnavailable, match="is gone"):
        await store.delete(session="one")
    with pytest.raises(StoreUnavailable, match="is gone"):
        [info async for info in store.list_sessions()]
    assert not store.folder.exists(), "the store made a folder in the place of the one that is gone"

    (tmp_path / "away").rename(store.folder)
    assert await store.session_exists(session="one") is True


async def test_a_missing_folder_is_unavailable_when_it_should_be_there(tmp_path: Path, archive: Path) -> None:
    store = FileSystemStore(tmp_path / "backups", create=False)
    with pytest.raises(StoreUnavailable, match="is not there"):
        await store.session_exists(session="one")
    with pytest.raises(StoreUnavailable, match="is not there"):
        await store.save(session="one", path=archive)
    assert not store.folder.exists()


@posix
async def test_a_link_to_a_missing_folder_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "backups").symlink_to(tmp_path / "unmounted")
    with pytest.raises(StoreUnavailable):
        await FileSystemStore(tmp_path / "backups").session_exists(session="one")


async def test_a_file_in_the_folders_place_is_said(tmp_path: Path, archive: Path) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await FileSystemStore(archive).session_exists(session="one")
    assert str(archive) in str(caught.value)
    assert isinstance(caught.value.__cause__, NotADirectoryError)


@pytest.mark.parametrize("name", ["", "a b", "../a", "a/b", ".a", "a.", "a\n", "ä", "n" * 201, None, 7])
async def test_names_pass_the_gate(tmp_path: Path, archive: Path, name: str) -> None:
    store = FileSystemStore(tmp_path / "backups")
    with pytest.raises(ConfigurationError, match="invalid session"):
        await store.session_exists(session=name)
    with pytest.raises(ConfigurationError, match="invalid session"):
        await store.save(session=name, path=archive)
    with pytest.raises(ConfigurationError, match="invalid session"):
        await store.extract(session=name, path=tmp_path / "out.zip")
    with pytest.raises(ConfigurationError, match="invalid session"):
        await store.delete(session=name)


@pytest.mark.parametrize("folder", ["", None, 7, b"backups", "a\0b", "\ud800"])
def test_a_folder_that_is_none_is_refused(folder: str) -> None:
    with pytest.raises(ConfigurationError, match="invalid path"):
        FileSystemStore(folder)


async def test_the_callers_mistakes_are_told_from_the_stores(tmp_path: Path, archive: Path) -> None:
    store = FileSystemStore(tmp_path / "backups")
    with pytest.raises(ConfigurationError, match=r"missing\.zip: there is no such file"):
        await store.save(session="one", path=tmp_path / "missing.zip")
    with pytest.raises(ConfigurationError, match="it is not a file"):
        await store.save(session="one", path=tmp_path)
    await store.save(session="one", path=str(archive))
    with pytest.raises(ConfigurationError, match="make the folder"):
        await store.extract(session="one", path=tmp_path / "no" / "out.zip")
    with pytest.raises(ConfigurationError, match="it is a folder"):
        await store.extract(session="one", path=tmp_path)
    with pytest.raises(ConfigurationError, match="invalid prefix None"):
        [info async for info in store.list_sessions(prefix=None)]  # type: ignore[arg-type]


@posix
async def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="it is not a file"):
        await FileSystemStore(tmp_path / "backups").save(session="one", path=tmp_path / "pipe")


def test_a_name_found_under_another_case_is_told() -> None:
    # What a file system that ignores case answers is the one thing of it that a test can have everywhere.
    assert same_but_for_case("bob.zip", ["Bob.zip", "alice.zip"]) == "Bob.zip"
    assert same_but_for_case("bob.zip", ["Bob.zip", "bob.zip"]) is None
    assert same_but_for_case("bob.zip", ["bobby.zip"]) is None
