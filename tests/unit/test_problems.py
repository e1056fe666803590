"""Problems that users of browser clients report and that need no browser to show; docs/parity.md lists all of them."""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wwauth import Client, LocalAuth, RemoteAuth
from wwauth.backup import BackupEngine
from wwauth.errors import StoreUnavailable
from wwauth.stores import FileSystemStore, MemoryStore

from .profiles import BLOBS, ORIGIN, make_profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from wwauth.abc import AuthStrategy


class WatchedStore(FileSystemStore):
    """Notes what it is asked, and what lies where it is sent."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.names: set[str] = set()
        self.paths: list[Path] = []

    async def session_exists(self, *, session: str) -> bool:
        self.names.add(session)
        return await super().session_exists(session=session)

    async def save(self, *, session: str, path: str | os.PathLike[str], fence: int | None = None) -> None:
        self.names.add(session)
        self._note(Path(path))
        assert Path(path).is_file()
        await super().save(session=session, path=path, fence=fence)

    async def extract(self, *, session: str, path: str | os.PathLike[str]) -> None:
        self.names.add(session)
        self._note(Path(path))
        assert not Path(path).exists()
        await super().extract(session=session, path=path)

    async def delete(self, *, session: str, fence: int | None = None) -> None:
        self.names.add(session)
        await super().delete(session=session, fence=fence)

    def _note(self, path: Path) -> None:
        assert path.is_absolute()
        assert path.parent.is_dir()
        if os.name == "posix":
            assert path.parent.stat().st_mode & 0o777 == 0o700
        self.paths.append(path)


def engine_on(store: Any, session: str, **options: Any) -> BackupEngine:
    return BackupEngine(store, session=session, origin=ORIGIN, **options)


async def test_a_store_is_given_the_bare_name_and_a_whole_path_and_the_working_folder_stays_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    store = WatchedStore(tmp_path / "store")
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        # Two logins without an id, each in a data path of its own.
        await engine_on(store, "RemoteAuth", work_dir=folder).save(make_profile(folder / "RemoteAuth"))
        shutil.rmtree(folder)
        await engine_on(store, "RemoteAuth", work_dir=folder).restore(folder / "RemoteAuth")
    await engine_on(store, "RemoteAuth").delete()
    assert "RemoteAuth" in store.names
    assert all(re.fullmatch(r"RemoteAuth(\.[0-9]+\.[0-9a-f]{8})?", name) for name in store.names)
    assert await store.session_exists(session="RemoteAuth") is False
    assert list((tmp_path / "store").iterdir()) == []
    assert store.paths
    assert list(Path.cwd().iterdir()) == []


async def test_every_one_of_many_sessions_is_restored(tmp_path: Path) -> None:
    store = FileSystemStore(tmp_path / "store")
    names = [f"RemoteAuth-{number}" for number in range(34)]
    for name in names:
        profile = make_profile(tmp_path / "before" / name)
        (profile / BLOBS / "1" / "00" / "2").write_text(name)
        await engine_on(store, name).save(profile)
    listed = [info.session async for info in store.list_sessions(prefix="RemoteAuth-", packs=True)]
    assert sorted(name for name in listed if "." not in name) == sorted(names)
    for name in names:
        profile = tmp_path / "after" / name
        await engine_on(store, name).restore(profile)
        assert (profile / BLOBS / "1" / "00" / "2").read_text() == name


async def test_a_session_is_moved_from_one_store_to_another(tmp_path: Path) -> None:
    here, there = FileSystemStore(tmp_path / "store"), MemoryStore()
    profile = make_profile(tmp_path / "RemoteAuth")
    await engine_on(here, "RemoteAuth").save(profile)
    for name in [info.session async for info in here.list_sessions(prefix="RemoteAuth", packs=True)]:
        await here.extract(session=name, path=tmp_path / "moving.zip")
        await there.save(session=name, path=tmp_path / "moving.zip")
        await here.delete(session=name)
    shutil.rmtree(profile)
    report = await engine_on(there, "RemoteAuth").restore(profile)
    assert (report.generation, report.notes) == (1, ())
    assert (profile / BLOBS / "1" / "00" / "2").is_file()


def kept(strategy: AuthStrategy) -> bool:
    assert strategy.user_data_dir is not None
    return strategy.user_data_dir.is_dir()


@pytest.mark.parametrize("keep", [True, False])
async def test_logout_of_a_client_that_never_started(tmp_path: Path, *, keep: bool) -> None:
    make_profile(tmp_path / "session")
    strategy = LocalAuth(data_path=tmp_path, delete_on_logout=not keep)
    client = Client(auth_strategy=strategy, handle_signals=False)
    for _ in range(2):
        await client.logout()
        assert kept(strategy) is keep


class DownStore(MemoryStore):
    async def delete(self, *, session: str, fence: int | None = None) -> None:
        raise StoreUnavailable(f"{session} cannot be deleted now")


async def test_a_logout_that_the_store_does_not_take_is_told_and_the_profile_is_gone(tmp_path: Path) -> None:
    make_profile(tmp_path / "RemoteAuth")
    strategy = RemoteAuth(store=DownStore(), data_path=tmp_path)
    client = Client(auth_strategy=strategy, handle_signals=False)
    with pytest.raises(StoreUnavailable):
        await client.logout()
    assert not kept(strategy)


@pytest.mark.parametrize("make", [LocalAuth, lambda **options: RemoteAuth(store=MemoryStore(), **options)])
async def test_the_log_says_where_no_login_was_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[..., LocalAuth | RemoteAuth]
) -> None:
    caplog.set_level(logging.INFO, "wwauth")
    strategy = make(data_path=tmp_path, client_id="another-at-each-start")
    Client(auth_strategy=strategy, handle_signals=False)
    await strategy.on_authentication_needed()
    assert str(strategy.user_data_dir) in caplog.text
