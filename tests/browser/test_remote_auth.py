"""RemoteAuth on real Chromium: what is saved, what is restored, and what is never lost."""

from __future__ import annotations

import asyncio
import re
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from wwauth import RemoteAuth, Store
from wwauth.backup import BackupEngine
from wwauth.errors import ConfigurationError, SessionClosed, SessionCorrupted, StoreUnavailable
from wwauth.stores import FileSystemStore, MemoryStore
from wwauth.web.processes import kill_tree

from .simulated import the_page

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from wwauth.backup import RestoreReport
    from wwauth.testing import Simulator

    from .conftest import Recorded

pytestmark = pytest.mark.browser


@pytest.fixture
def store(tmp_path: Path) -> FileSystemStore:
    return FileSystemStore(tmp_path / "store")


@pytest.fixture
def make_remote(make_client: Callable[..., Recorded], store: FileSystemStore, tmp_path: Path) -> Callable[..., Recorded]:
    def make(**options: Any) -> Recorded:
        return make_client(
            auth_strategy=RemoteAuth(**{"store": store, "client_id": "one", "data_path": tmp_path / "auth", **options})
        )

    return make


async def linked_and_saved(it: Recorded, simulator: Simulator) -> None:
    saved = asyncio.create_task(it.client.wait_for("remote_session_saved", timeout=90))
    await it.link(simulator)
    await saved


async def assert_comes_back(it: Recorded, simulator: Simulator) -> None:
    await it.client.initialize()
    await it.client.wait_for("ready", timeout=30)
    assert "qr" not in it.names
    page = await the_page(simulator, stage="ready")
    assert (page["diagnosis"], page["damaged"]) == ("ok", 0)


async def test_the_disk_is_lost_and_the_login_is_not(
    make_remote: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    first = make_remote()
    await linked_and_saved(first, simulator)
    await simulator.phone.send_messages(20, 2_000)
    ended = asyncio.create_task(first.client.wait_for("disconnected", timeout=20))
    await asyncio.sleep(0)
    assert first.client.browser_pid is not None
    kill_tree(first.client.browser_pid)
    shutil.rmtree(tmp_path / "auth", ignore_errors=True)
    assert await ended == "BROWSER_CLOSED"
    shutil.rmtree(tmp_path / "auth", ignore_errors=True)
    second = make_remote()
    await assert_comes_back(second, simulator)
    assert second.names[0] == "restored"


async def test_destroy_takes_a_last_backup_of_the_closed_profile(
    make_remote: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    it = make_remote(backup_sync_interval_ms=600_000)
    await linked_and_saved(it, simulator)
    await simulator.phone.send_messages(30, 2_000)
    messages = simulator.state()["pages"][-1]["messages"]
    await it.client.destroy()
    shutil.rmtree(tmp_path / "auth")
    it.events.clear()
    await assert_comes_back(it, simulator)
    assert simulator.state()["pages"][-1]["messages"] >= messages


async def test_backups_follow_each_other_and_are_told(make_remote: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_remote(backup_sync_interval_ms=1_000)
    strategy = it.client.auth_strategy
    assert isinstance(strategy, RemoteAuth)
    await linked_and_saved(it, simulator)
    # A page that had no turn meanwhile has written nothing.
    reports = [
        await it.client.wait_for("backup_saved", timeout=60, predicate=lambda report: report.kind != "unchanged")
        for _ in range(2)
    ]
    assert [report.generation for report in reports] == [2, 3]
    await simulator.phone.send_messages(1, 1_000)
    now = await strategy.backup_now()
    assert now.generation > 3
    assert strategy.status.last_report == now
    assert strategy.status.last_error is None


async def test_nothing_is_saved_before_ready(make_remote: Callable[..., Recorded], store: FileSystemStore) -> None:
    it = make_remote()
    await it.client.initialize()
    with pytest.raises(SessionClosed, match="ready"):
        await it.client.auth_strategy.backup_now()  # type: ignore[attr-defined]
    await it.client.destroy()
    assert not await store.session_exists(session="RemoteAuth-one")


async def test_a_profile_that_lost_its_login_does_not_replace_the_backup(
    make_remote: Callable[..., Recorded], simulator: Simulator, store: FileSystemStore, tmp_path: Path
) -> None:
    it = make_remote()
    await linked_and_saved(it, simulator)
    await it.client.destroy()
    before = (tmp_path / "store" / "RemoteAuth-one.zip").read_bytes()
    # A new profile with a code on the screen, where the old login was.
    shutil.rmtree(tmp_path / "auth")
    (tmp_path / "auth" / "RemoteAuth-one" / "Default").mkdir(parents=True)
    other = make_remote(restore="local", store=_Hidden(store))
    await other.client.initialize()
    assert other.client.qr or await other.client.wait_for("qr", timeout=20)
    await other.client.destroy()
    assert (tmp_path / "store" / "RemoteAuth-one.zip").read_bytes() == before
    # The next start takes the stored login, not the local profile that has none.
    await assert_comes_back(make_remote(), simulator)


async def test_unpaired_before_the_end_is_not_saved(
    make_remote: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    it = make_remote(backup_sync_interval_ms=600_000)
    await linked_and_saved(it, simulator)
    before = (tmp_path / "store" / "RemoteAuth-one.zip").read_bytes()
    await simulator.phone.push_state("UNPAIRED")
    assert await it.client.wait_for("disconnected", timeout=20) == "UNPAIRED"
    assert (tmp_path / "store" / "RemoteAuth-one.zip").read_bytes() == before


@pytest.mark.parametrize("how", ["phone", "client"])
async def test_logout_deletes_profile_and_backup(
    make_remote: Callable[..., Recorded], simulator: Simulator, store: FileSystemStore, tmp_path: Path, how: str
) -> None:
    it = make_remote()
    await linked_and_saved(it, simulator)
    if how == "phone":
        await simulator.phone.unlink()
        await it.client.wait_for("disconnected", timeout=20)
    else:
        await it.client.logout()
    assert it.events[-1] == ("disconnected", "LOGOUT")
    assert not await store.session_exists(session="RemoteAuth-one")
    assert not list((tmp_path / "auth").glob("RemoteAuth*"))


async def test_logout_keeps_what_it_is_told_to_keep(
    make_remote: Callable[..., Recorded], simulator: Simulator, store: FileSystemStore, tmp_path: Path
) -> None:
    it = make_remote(delete_on_logout=False)
    await linked_and_saved(it, simulator)
    await it.client.logout()
    assert await store.session_exists(session="RemoteAuth-one")
    assert (tmp_path / "auth" / "RemoteAuth-one").is_dir()


async def test_a_conflict_deletes_nothing(make_remote: Callable[..., Recorded], simulator: Simulator, tmp_path: Path) -> None:
    it = make_remote()
    await linked_and_saved(it, simulator)
    await simulator.phone.conflict()
    assert await it.client.wait_for("disconnected", timeout=20) == "CONFLICT"
    shutil.rmtree(tmp_path / "auth")
    await assert_comes_back(make_remote(), simulator)


class _Down(MemoryStore):
    """A store that can be switched off."""

    down = False

    async def session_exists(self, *, session: str) -> bool:
        self._check()
        return await super().session_exists(session=session)

    async def save(self, *, session: str, path: str | os.PathLike[str], fence: int | None = None) -> None:
        self._check()
        await super().save(session=session, path=path, fence=fence)

    def _check(self) -> None:
        if self.down:
            raise OSError("connection refused")


class _Hidden(Store):
    """A store that says it is empty, and takes nothing."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    async def session_exists(self, *, session: str) -> bool:
        return False

    async def save(self, *, session: str, path: Path) -> None:
        await self._inner.save(session=session, path=path)

    async def extract(self, *, session: str, path: Path) -> None:
        raise AssertionError

    async def delete(self, *, session: str, fence: int | None = None) -> None:
        raise AssertionError


async def test_a_store_that_is_down_is_no_new_login(make_remote: Callable[..., Recorded]) -> None:
    store = _Down()
    store.down = True
    it = make_remote(store=store)
    with pytest.raises(StoreUnavailable):
        await it.client.initialize()
    assert it.names == []
    assert await it.client.get_state() is None


async def test_a_backup_that_fails_is_told_and_the_client_lives(
    make_remote: Callable[..., Recorded], simulator: Simulator
) -> None:
    store = _Down()
    it = make_remote(store=store, backup_sync_interval_ms=1_000)
    await linked_and_saved(it, simulator)
    store.down = True
    error = await it.client.wait_for("backup_failed", timeout=60)
    assert isinstance(error, StoreUnavailable)
    assert it.client.auth_strategy.status.last_error is error  # type: ignore[attr-defined]
    store.down = False
    await it.client.wait_for("backup_saved", timeout=60)
    assert it.client.auth_strategy.status.last_error is None  # type: ignore[attr-defined]
    assert await it.client.get_state() == "CONNECTED"


async def test_a_damaged_backup_is_refused_and_the_profile_is_untouched(
    make_remote: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    it = make_remote()
    await linked_and_saved(it, simulator)
    await it.client.destroy()
    archive = tmp_path / "store" / "RemoteAuth-one.zip"
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SessionCorrupted):
        await make_remote(restore="remote").client.initialize()
    await assert_comes_back(make_remote(restore="local"), simulator)


async def test_a_damaged_local_profile_is_replaced_by_the_backup(
    make_remote: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    it = make_remote()
    await linked_and_saved(it, simulator)
    await it.client.destroy()
    database = next((tmp_path / "auth" / "RemoteAuth-one" / "Default" / "IndexedDB").glob("*.leveldb"))
    (database / "CURRENT").unlink()
    second = make_remote()
    await assert_comes_back(second, simulator)
    assert second.names[0] == "restored"


async def test_a_whole_local_profile_is_preferred(make_remote: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_remote()
    await linked_and_saved(it, simulator)
    await it.client.destroy()
    second = make_remote()
    await assert_comes_back(second, simulator)
    assert "restored" not in second.names
    await second.client.destroy()
    third = make_remote(restore="remote")
    await assert_comes_back(third, simulator)
    assert third.names[0] == "restored"


async def test_the_archive_is_the_guides(make_remote: Callable[..., Recorded], simulator: Simulator, tmp_path: Path) -> None:
    it = make_remote(archive="whatsapp-web.js")
    await linked_and_saved(it, simulator)
    await it.client.destroy()
    with zipfile.ZipFile(tmp_path / "store" / "RemoteAuth-one.zip") as archive:
        names = archive.namelist()
        assert {info.compress_type for info in archive.infolist()} <= {zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED}
    assert all(name.startswith("Default/") for name in names)
    assert {"Default/IndexedDB/", "Default/Local Storage/leveldb/"} <= set(names)


async def test_nothing_is_left_beside_the_profile(
    make_remote: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    it = make_remote()
    await linked_and_saved(it, simulator)
    await it.client.destroy()
    second = make_remote(restore="remote")
    saved = asyncio.create_task(second.client.wait_for("backup_saved", timeout=90))
    await assert_comes_back(second, simulator)
    await saved
    assert [path.name for path in (tmp_path / "auth").iterdir() if not path.name.startswith(".")] == ["RemoteAuth-one"]
    names = sorted(path.name for path in (tmp_path / "store").iterdir() if not path.name.startswith("."))
    assert names[-1] == "RemoteAuth-one.zip"
    assert all(re.fullmatch(r"RemoteAuth-one\.\d+\.[0-9a-f]{8}\.zip", name) for name in names[:-1])
    assert not list((tmp_path / "auth").glob(".*.tmp"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backup_sync_interval_ms", 999),
        ("backup_sync_interval_ms", float("nan")),
        ("backup_sync_interval_ms", float("inf")),
        ("backup_sync_interval_ms", True),
        ("backup_sync_interval_ms", "60000"),
        ("backup_sync_interval_ms", 2**31),
        ("store", None),
        ("store", object()),
        ("archive", "tar"),
        ("restore", "oldest"),
        ("client_id", "a/b"),
    ],
)
def test_wrong_arguments_are_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        RemoteAuth(**{"store": MemoryStore(), name: value})


async def save_torn(store: FileSystemStore, folder: Path) -> int:
    """Save a generation in which each database is whole, and one is of an earlier moment than the other."""
    engine = BackupEngine(store, session="RemoteAuth-one")
    newest, *_, oldest = [generation.number for generation in await engine.generations()]
    await engine.restore(folder / "old", oldest)
    await engine.restore(folder / "torn", newest)
    shutil.rmtree(folder / "torn/Default/IndexedDB")
    shutil.copytree(folder / "old/Default/IndexedDB", folder / "torn/Default/IndexedDB")
    return (await engine.save(folder / "torn")).generation


@pytest.mark.timeout(300)
async def test_what_the_page_finds_torn_is_followed_by_an_older_generation(
    make_remote: Callable[..., Recorded], simulator: Simulator, store: FileSystemStore, tmp_path: Path
) -> None:
    it = make_remote(backup_sync_interval_ms=600_000)
    await linked_and_saved(it, simulator)
    await simulator.phone.send_messages(5, 1_000)
    before = simulator.pages[-1]["index"]
    simulator.configure(ratchet_interval=0.1)
    await simulator.wait_for(lambda: simulator.pages[-1]["index"] > before + 5, timeout=30)
    simulator.configure(ratchet_interval=1)
    await it.client.destroy()
    torn = await save_torn(store, tmp_path)
    # All that is between the two, in the page's own time.
    simulator.configure(storage_lead=0.3)
    shutil.rmtree(tmp_path / "auth")
    reports: list[RestoreReport] = []
    it.client.on("restored", reports.append)
    it.events.clear()
    await assert_comes_back(it, simulator)
    assert not {"auth_failure", "disconnected", "error"} & set(it.names)
    assert [report.generation for report in reports] == [torn, torn - 1]
    assert reports[1].notes[0] == f"generation {torn}: the page found no login in it"
