"""What RemoteAuth brings into the profile's place before a launch, told by generations; without a browser."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from wwauth import Client, RemoteAuth
from wwauth._clock import clock
from wwauth.abc import Store
from wwauth.backup import BackupEngine
from wwauth.errors import ConfigurationError, LeaseLost, SessionCorrupted, SessionInUse, StoreUnavailable
from wwauth.stores import FileSystemStore, MemoryStore

from ..simulatedclock import on_simulated_clock
from .profiles import ORIGIN, make_profile
from .test_backup_engine import change, login
from .test_generations import grow

if TYPE_CHECKING:
    from pathlib import Path

    from wwauth.backup import RestoreReport

SESSION = "RemoteAuth-one"


@pytest.fixture
def store(tmp_path: Path) -> FileSystemStore:
    return FileSystemStore(tmp_path / "store")


async def start(store: Any, data_path: Path, **options: Any) -> RestoreReport | None:
    """Run the hook of a start and the one of the end; return the report of the restore, if there was one."""
    strategy = RemoteAuth(store=store, client_id="one", data_path=data_path, **options)
    client = Client(auth_strategy=strategy, web_url=ORIGIN, handle_signals=False)
    reports: list[RestoreReport] = []
    client.on("restored", reports.append)
    try:
        await strategy.before_browser_initialized()
    finally:
        await strategy.destroy()
    return reports[0] if reports else None


def engine_on(store: Any) -> BackupEngine:
    return BackupEngine(store, session=SESSION, origin=ORIGIN)


@pytest.fixture
async def here(tmp_path: Path, store: FileSystemStore) -> Path:
    """Make a profile that was restored here, once, from its first generation."""
    first = make_profile(tmp_path / "first" / SESSION)
    await engine_on(store).save(first)
    assert await start(store, tmp_path / "here") is not None
    profile = tmp_path / "here" / SESSION
    assert login(profile) == login(first)
    return profile


@pytest.fixture
async def elsewhere(tmp_path: Path, store: FileSystemStore, here: Path) -> Path:
    """Go on with that session on another host."""
    profile = tmp_path / "elsewhere" / SESSION
    engine = engine_on(store)
    await engine.restore(profile)
    grow(profile, b"elsewhere")
    assert (await engine.save(profile)).generation == 2
    return profile


@pytest.mark.parametrize("restore", ["newest", "local"])
async def test_of_equal_generations_the_local_one_is_used(store: FileSystemStore, here: Path, restore: str) -> None:
    change(here, b"local")
    before = login(here)
    assert await start(store, here.parent, restore=restore) is None
    assert login(here) == before


async def test_a_newer_generation_in_the_store_wins(store: FileSystemStore, here: Path, elsewhere: Path) -> None:
    report = await start(store, here.parent)
    assert report is not None
    assert report.generation == 2
    assert login(here) == login(elsewhere)
    assert await start(store, here.parent) is None


async def test_local_is_local(store: FileSystemStore, here: Path, elsewhere: Path) -> None:
    before = login(here)
    assert await start(store, here.parent, restore="local") is None
    assert login(here) == before


async def test_remote_is_remote(store: FileSystemStore, here: Path) -> None:
    change(here, b"local")
    report = await start(store, here.parent, restore="remote")
    assert report is not None
    assert report.generation == 1


async def test_a_commit_of_its_own_whose_note_was_lost_is_not_newer(store: FileSystemStore, here: Path) -> None:
    engine = engine_on(store)
    grow(here, b"1")
    await engine.save(here)
    note = here / "wwauth-backup.json"
    before = note.read_bytes()
    grow(here, b"2")
    await engine.save(here)
    note.write_bytes(before)
    grow(here, b"3")
    assert await start(store, here.parent) is None
    assert (await engine_on(store).save(here)).generation == 4


async def test_an_older_generation_that_was_chosen_stays(store: FileSystemStore, here: Path) -> None:
    engine = engine_on(store)
    grow(here)
    await engine.save(here)
    await engine.restore(here, 1)
    assert await start(store, here.parent) is None
    assert engine.generation == 1


async def test_a_login_that_was_linked_here_and_never_saved_is_kept(
    store: FileSystemStore, here: Path, elsewhere: Path
) -> None:
    (here / "wwauth-backup.json").unlink()
    assert await start(store, here.parent) is None


async def test_a_damaged_index_does_not_keep_a_whole_profile_from_its_start(store: FileSystemStore, here: Path) -> None:
    index = store.folder / f"{SESSION}.zip"
    index.write_bytes(index.read_bytes()[:-10])
    assert await start(store, here.parent) is None
    shutil.rmtree(here)
    with pytest.raises(SessionCorrupted, match=SESSION):
        await start(store, here.parent)


async def test_a_store_that_is_down_is_an_error_also_when_the_profile_is_whole(here: Path) -> None:
    class Down(MemoryStore):
        async def session_exists(self, *, session: str) -> bool:
            raise OSError(session)

    with pytest.raises(StoreUnavailable):
        await start(Down(), here.parent)
    assert await start(Down(), here.parent, restore="local") is None


@pytest.mark.parametrize(("archive", "names"), [("packs", 2), ("whatsapp-web.js", 1)])
async def test_packs_are_the_default_and_the_peers_archive_is_chosen(tmp_path: Path, archive: str, names: int) -> None:
    store = FileSystemStore(tmp_path / "store")
    options: dict[str, Any] = {} if archive == "packs" else {"archive": archive}
    strategy = RemoteAuth(store=store, client_id="one", data_path=tmp_path, **options)
    Client(auth_strategy=strategy, web_url=ORIGIN, handle_signals=False)
    await strategy._engine.save(make_profile(tmp_path / SESSION))
    assert len(list(store.folder.iterdir())) == names


@pytest.mark.parametrize("value", [0, True, "3"])
def test_a_wrong_number_of_generations_is_named(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="generations"):
        RemoteAuth(store=MemoryStore(), generations=value)


@on_simulated_clock
async def test_another_host_that_holds_the_login_is_named(tmp_path: Path, store: FileSystemStore, here: Path) -> None:
    held = await store.lease(session=SESSION, holder="web-2, pid 7 (elsewhere)", ttl=3600).__aenter__()
    with pytest.raises(SessionInUse, match="web-2") as caught:
        await start(store, tmp_path / "here")
    assert caught.value.holder == "web-2, pid 7 (elsewhere)"
    assert await start(store, tmp_path / "here", lease=False) is None
    await held.release()
    assert await start(store, tmp_path / "here") is None


async def test_a_crashed_host_is_waited_for_for_one_lease(
    tmp_path: Path, store: FileSystemStore, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wwauth.backup.lease._LOOK_EVERY", 0.05)
    held = await store.lease(session=SESSION, holder="web-2, pid 7 (elsewhere)", ttl=0.2).__aenter__()
    assert await start(store, tmp_path / "here") is None
    with pytest.raises(LeaseLost):
        await held.renew()


async def test_the_lease_is_held_from_the_start_to_the_end(tmp_path: Path, store: FileSystemStore, here: Path) -> None:
    strategy = RemoteAuth(store=store, client_id="one", data_path=tmp_path / "here")
    assert strategy.lease_remaining is None or strategy.status.holder is None
    Client(auth_strategy=strategy, web_url=ORIGIN, handle_signals=False)
    began = clock()
    await strategy.before_browser_initialized()
    holder = strategy.status.holder
    assert holder is not None
    assert began + 48 - clock() <= (strategy.lease_remaining or 0) <= 48
    with pytest.raises(SessionInUse) as caught:
        await store.lease(session=SESSION, holder="another", ttl=60).__aenter__()
    assert caught.value.holder == holder
    await strategy.destroy()
    assert strategy.status.holder is None
    async with store.lease(session=SESSION, holder="another", ttl=60):
        pass


async def test_a_store_of_four_methods_is_used_with_a_warning(
    tmp_path: Path, here: Path, store: FileSystemStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Mine(Store):
        async def session_exists(self, *, session: str) -> bool:
            return await store.session_exists(session=session)

        async def save(self, *, session: str, path: Path) -> None:
            await store.save(session=session, path=path)

        async def extract(self, *, session: str, path: Path) -> None:
            await store.extract(session=session, path=path)

        async def delete(self, *, session: str) -> None:
            await store.delete(session=session)

    assert await start(Mine(), tmp_path / "there") is not None
    assert await start(Mine(), tmp_path / "there") is None
    assert len([record for record in caplog.records if "Mine has no leases" in record.getMessage()]) == 1


@pytest.mark.parametrize("ttl", [999, 0, -1, True, float("nan"), float("inf"), "60000", None])
def test_wrong_times_of_a_lease_are_refused(store: FileSystemStore, ttl: Any) -> None:
    with pytest.raises(ConfigurationError, match="lease_ttl_ms"):
        RemoteAuth(store=store, lease_ttl_ms=ttl)


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for a browser is a shell script")
async def test_what_a_newer_browser_wrote_is_refused(
    tmp_path: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = tmp_path / "chromium"
    browser.write_text("#!/bin/sh\necho 'Chromium 120.0.6099.1 built on a test'\n", "utf-8")
    browser.chmod(0o755)
    monkeypatch.setenv("WWAUTH_CHROMIUM", str(browser))
    profile = make_profile(tmp_path / SESSION)
    (profile / "Last Version").write_text("121.0.1.2", "utf-8")
    await engine_on(store).save(profile)
    with pytest.raises(ConfigurationError, match="121"):
        await start(store, tmp_path / "here")
    browser.write_text("#!/bin/sh\necho 'Google Chrome 121.0.1.2 '\n", "utf-8")
    assert await start(store, tmp_path / "here") is not None


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for a browser is a shell script")
@pytest.mark.parametrize("script", ["exit 1", "echo no version", "sleep 60"])
async def test_a_browser_that_does_not_tell_its_version_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr("wwauth.web.find._ANSWER", 0.2)
    browser = tmp_path / "chromium"
    browser.write_text(f"#!/bin/sh\nexec {script}\n" if script.startswith("sleep") else f"#!/bin/sh\n{script}\n", "utf-8")
    browser.chmod(0o755)
    client = Client(launch_options={"executable_path": str(browser)}, handle_signals=False)
    assert await client.browser_version() is None


@on_simulated_clock
async def test_a_logout_deletes_nothing_that_another_host_uses(tmp_path: Path, store: FileSystemStore, here: Path) -> None:
    held = await store.lease(session=SESSION, holder="web-2, pid 7 (elsewhere)", ttl=3600).__aenter__()
    strategy = RemoteAuth(store=store, client_id="one", data_path=tmp_path / "here")
    client = Client(auth_strategy=strategy, web_url=ORIGIN, handle_signals=False)
    with pytest.raises(SessionInUse, match="web-2"):
        await client.logout()
    assert len(await engine_on(store).generations()) == 1
    assert here.is_dir()
    await held.release()
    await client.logout()
    assert not await store.session_exists(session=SESSION)
    assert not here.exists()
