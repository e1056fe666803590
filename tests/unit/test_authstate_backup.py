"""Backups of an auth state's folder, also while somebody tears its files as Baileys does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from wwauth._lock import LoginLock
from wwauth.authstate import AuthenticationState, FolderAuthStateStore, init_auth_creds, use_multi_file_auth_state
from wwauth.authstate.backup import AuthStateBackup
from wwauth.authstate.verify import verify
from wwauth.backup import BackupEngine
from wwauth.errors import (
    ConfigurationError,
    LeaseLost,
    SessionCorrupted,
    SessionInUse,
    SessionNotFound,
    SnapshotFailed,
    StoreUnavailable,
)
from wwauth.stores import FileSystemStore, MemoryStore

from .authfolders import FIXTURES, change_creds, copied, files
from .profiles import make_profile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wwauth.backup import BackupReport


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copied("03-full", tmp_path / "auth")


async def test_there_and_back(folder: Path, tmp_path: Path) -> None:
    store = FileSystemStore(tmp_path / "backups")
    first = await AuthStateBackup(folder, store).save()
    assert (first.session, first.generation, first.kind, first.files) == ("auth", 1, "full", 58)
    backup = AuthStateBackup(folder, store)
    assert (await backup.save()).kind == "unchanged"
    change_creds(folder, accountSyncCounter=9)
    (folder / "pre-key-3.json").unlink()
    second = await backup.save()
    assert (second.generation, second.kind, second.files) == (2, "incremental", 57)
    assert second.bytes_uploaded < first.bytes_uploaded
    before = files(folder)
    shutil.rmtree(folder)
    elsewhere = AuthStateBackup(folder, store)
    report = await elsewhere.restore()
    assert (report.generation, report.files) == (2, 57)
    assert files(folder) == before
    if os.name == "posix":
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert (await verify(FolderAuthStateStore(folder))).ok
    assert (await elsewhere.save()).kind == "unchanged", "what was restored is known"
    assert (await elsewhere.verify()).ok
    await elsewhere.restore(1)
    assert files(folder) == files(FIXTURES / "03-full")
    assert files(folder.with_name("auth.previous")) == before
    assert [generation.backend for generation in await elsewhere.list_generations()] == ["baileys", "baileys"]


async def test_a_folder_that_holds_more_than_a_login_is_not_restored_over(folder: Path) -> None:
    backup = AuthStateBackup(folder, MemoryStore())
    await backup.save()
    (folder / "program.py").write_text("mine")
    (folder / ".DS_Store").write_text("the desktop's")
    before = files(folder)
    with pytest.raises(ConfigurationError, match=r"'program\.py'"):
        await backup.restore()
    assert files(folder) == before
    (folder / "program.py").unlink()
    await backup.restore()


async def test_the_folder_restored_over_is_kept_until_the_next_restore(folder: Path) -> None:
    backup, previous = AuthStateBackup(folder, MemoryStore()), folder.with_name("auth.previous")
    await backup.save()
    for counter in (5, 6):
        change_creds(folder, accountSyncCounter=counter)
        replaced = files(folder)
        await backup.restore()
        assert files(previous) == replaced
    with pytest.raises(SessionNotFound):
        await backup.restore(7)
    assert files(previous) == replaced
    assert {path.name for path in folder.parent.iterdir() if path.is_dir()} == {"auth", "auth.previous"}


@pytest.mark.skipif(os.name == "nt", reason="links are for administrators there")
async def test_a_link_to_the_folder_stays_one(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "program" / "login"
    link.parent.mkdir()
    link.symlink_to(folder)
    backup = AuthStateBackup(link, MemoryStore())
    assert (await backup.save()).session == "login"
    before = files(folder)
    change_creds(folder, accountSyncCounter=5)
    await backup.restore()
    assert link.is_symlink()
    assert files(folder) == before
    assert list(link.parent.iterdir()) == [link]


@pytest.mark.parametrize("name", ["x" * 300, "file/auth"])
async def test_what_the_disk_refuses_is_a_typed_error(folder: Path, tmp_path: Path, name: str) -> None:
    store = MemoryStore()
    await AuthStateBackup(folder, store, session="one").save()
    (tmp_path / "file").touch()
    refused = AuthStateBackup(tmp_path / name, store, session="one")
    with pytest.raises(StoreUnavailable, match="cannot restore"):
        await refused.restore()
    with pytest.raises(StoreUnavailable if name[0] == "x" else SnapshotFailed):
        await refused.save()


async def test_never_over_a_held_folder(folder: Path) -> None:
    backup = AuthStateBackup(folder, MemoryStore())
    state, save_creds = await use_multi_file_auth_state(folder)
    async with state:
        state.creds["accountSyncCounter"] = 3
        await save_creds()
        assert (await backup.save()).kind == "full", "while the state works"
        with pytest.raises(SessionInUse):
            await backup.restore()
        assert (await state.keys.get("pre-key", ["5"])).keys() == {"5"}
    await backup.restore()
    reopened: AuthenticationState = (await use_multi_file_auth_state(folder))[0]
    async with reopened:
        assert reopened.creds["accountSyncCounter"] == 3
        assert await reopened.keys.list_ids("wwauth") == [], "the note of the backups is no record"


async def test_nothing_is_copied_while_nothing_changes(folder: Path) -> None:
    store = MemoryStore()
    backup = AuthStateBackup(folder, store)
    first = await backup.save()
    again = await backup.save()
    assert (again.kind, again.bytes_uploaded, again.sha256) == ("unchanged", 0, first.sha256)
    data = (folder / "lid-mapping-15550001111.json").read_bytes()
    (folder / "lid-mapping-15550001111.json").write_bytes(data.replace(b"1", b"2"))
    assert (await backup.save()).generation == 2, "as long as before, and another text"
    async for info in store.list_sessions(packs=True):
        await store.delete(session=info.session)
    assert (await backup.save()).kind == "full", "what somebody deleted from the store is saved again"


@pytest.mark.parametrize("text", [b"", b'{"noiseKey":', b"null", b"{}"])
async def test_torn_credentials_are_never_published(folder: Path, text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wwauth.backup.authfolder._QUIET_FOR", 0.1)
    monkeypatch.setattr("wwauth.backup.authfolder._SETTLED", 0.05)
    store = MemoryStore()
    backup = AuthStateBackup(folder, store)
    await backup.save()
    (folder / "creds.json").write_bytes(text)
    with pytest.raises(SnapshotFailed, match=r"creds\.json"):
        await backup.save()
    (folder / "creds.json").unlink()
    with pytest.raises(SnapshotFailed, match="no credentials"):
        await backup.save()
    assert [generation.number for generation in await backup.list_generations()] == [1]
    await backup.restore()
    assert files(folder) == files(FIXTURES / "03-full")


async def test_a_key_that_stays_torn_is_left_out_with_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("wwauth.backup.authfolder._QUIET_FOR", 0.1)
    monkeypatch.setattr("wwauth.backup.authfolder._SETTLED", 0.05)
    (folder / "session-15550003333.12.json").write_bytes(b"")
    backup = AuthStateBackup(folder, MemoryStore())
    assert (await backup.save()).files == 57
    assert "session-15550003333.12.json is torn" in caplog.text
    await backup.restore()
    assert "session-15550003333.12.json" not in files(folder)


async def test_a_new_identity_takes_no_logins_place(folder: Path) -> None:
    store = MemoryStore()
    await AuthStateBackup(folder, store).save()
    shutil.rmtree(folder)
    state, save_creds = await use_multi_file_auth_state(folder)
    async with state:
        await save_creds()
        with pytest.raises(SnapshotFailed, match="new identity"):
            await AuthStateBackup(folder, store).save()
        fresh = AuthStateBackup(folder, store, session="another")
        assert (await fresh.save()).generation == 1, "where there is no login, it is backed up"
        await state.keys.set({"pre-key": {"1": init_auth_creds()["noiseKey"]}})
        assert (await fresh.save()).generation == 2


async def test_a_new_identity_takes_no_place_that_a_login_has_got_meanwhile(folder: Path, tmp_path: Path) -> None:
    class Racing(MemoryStore):
        """Has somebody else save a login right after it has said that there is none."""

        racer: AuthStateBackup | None = None

        async def session_exists(self, *, session: str) -> bool:
            there = await super().session_exists(session=session)
            if not there and self.racer is not None:
                racer, self.racer = self.racer, None
                with contextlib.suppress(SessionInUse):
                    await racer.save()
            return there

    store = Racing()
    store.racer = AuthStateBackup(folder, store)
    state, save_creds = await use_multi_file_auth_state(tmp_path / "new" / "auth")
    async with state:
        await save_creds()
        with contextlib.suppress(SnapshotFailed):
            await AuthStateBackup(tmp_path / "new" / "auth", store).save()
    login = AuthStateBackup(folder, store)
    await login.save()
    await login.restore()
    assert files(folder)["creds.json"] == (FIXTURES / "03-full" / "creds.json").read_bytes()


@pytest.mark.parametrize("number", [1, 2])
async def test_a_restore_that_is_cancelled_while_it_takes_a_lock_holds_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    backup = AuthStateBackup(folder, MemoryStore())
    await backup.save()
    taken, go, count = threading.Event(), threading.Event(), iter(range(1, 9))

    def acquire_slowly(lock: LoginLock) -> None:
        acquire(lock)
        if next(count) == number:
            taken.set()
            go.wait()

    acquire = LoginLock.acquire
    with monkeypatch.context() as patch:
        patch.setattr(LoginLock, "acquire", acquire_slowly)
        restoring = asyncio.create_task(backup.restore())
        await asyncio.to_thread(taken.wait)
    restoring.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await restoring
    state, _ = await use_multi_file_auth_state(folder)
    await state.close()
    assert (await backup.save()).kind == "unchanged"
    # Kept until here: with its frames goes what they still hold.
    assert cancelled.tb is not None


async def test_a_check_beside_a_restore_is_left_its_files(folder: Path) -> None:
    class Slow(MemoryStore):
        async def extract(self, *, session: str, path: str | os.PathLike[str]) -> None:
            reading.set()
            await go.wait()
            await super().extract(session=session, path=path)

    reading, go = asyncio.Event(), asyncio.Event()
    go.set()
    backup = AuthStateBackup(folder, Slow())
    await backup.save()
    reading.clear()
    go.clear()
    # What is done in a thread is done in its turn.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    verifying = asyncio.create_task(backup.verify())
    await reading.wait()
    restoring = asyncio.create_task(backup.restore())
    for _ in range(20):
        await asyncio.to_thread(lambda: None)
    go.set()
    assert (await verifying).ok
    await restoring


async def test_another_login_in_the_folder_begins_a_line_of_its_own(folder: Path) -> None:
    backup = AuthStateBackup(folder, MemoryStore())
    await backup.save()
    for path in folder.glob("*.json"):
        path.unlink()
    shutil.copytree(FIXTURES / "peer-bob", folder, dirs_exist_ok=True)
    assert (await backup.save()).kind == "full"
    newest, older = await backup.list_generations()
    assert newest.lineage != older.lineage


async def test_a_login_that_went_on_elsewhere_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    store = MemoryStore()
    here, there = AuthStateBackup(folder, store), AuthStateBackup(tmp_path / "there" / "auth", store)
    await here.save()
    await there.restore()
    change_creds(tmp_path / "there" / "auth", accountSyncCounter=77)
    assert (await there.save()).generation == 2
    change_creds(folder, accountSyncCounter=5)
    with pytest.raises(LeaseLost):
        await here.save()
    await here.restore()
    assert b'"accountSyncCounter":77' in files(folder)["creds.json"]


async def test_two_kinds_of_logins_do_not_mix(folder: Path, tmp_path: Path) -> None:
    store = MemoryStore()
    profile = make_profile(tmp_path / "profile", log=[b"x"], table=b"y")
    await BackupEngine(store, session="browser").save(profile)
    backup = AuthStateBackup(folder, store, session="browser")
    with pytest.raises(SessionCorrupted, match="another kind"):
        await backup.save()
    with pytest.raises(ConfigurationError, match="another kind"):
        await backup.restore()
    assert files(folder) == files(FIXTURES / "03-full")
    await AuthStateBackup(folder, store, session="socket").save()
    with pytest.raises((SessionCorrupted, ConfigurationError)):
        await BackupEngine(store, session="socket").restore(profile)
    assert (await BackupEngine(store, session="socket").verify()).ok


async def test_names_that_some_systems_take_for_one(folder: Path) -> None:
    data = (folder / "app-state-sync-key-AAAAAAob.json").read_bytes()
    other = folder / "app-state-sync-key-AAAAAAOB.json"
    other.write_bytes(data)
    if len(list(folder.glob("app-state-sync-key-*"))) != 3:
        pytest.skip("this file system takes them for one")
    backup, before = AuthStateBackup(folder, MemoryStore()), files(folder)
    assert (await backup.save()).files == 59
    assert (await backup.verify()).ok
    shutil.rmtree(folder)
    await backup.restore()
    assert files(folder) == before


async def test_the_schedule(folder: Path) -> None:
    saved: asyncio.Queue[BackupReport] = asyncio.Queue()
    backup = AuthStateBackup(folder, MemoryStore(), on_saved=saved.put_nowait)
    for wrong in (0, 59_999, 1e6, True):
        with pytest.raises(ConfigurationError):
            backup.start(wrong)  # type: ignore[arg-type]
    backup.start(60_000)
    backup.start(60_000)
    assert (await saved.get()).generation == 1
    await backup.stop()
    await backup.stop()


async def test_a_failure_of_the_schedule_is_told(tmp_path: Path) -> None:
    failed: asyncio.Queue[Exception] = asyncio.Queue()
    backup = AuthStateBackup(tmp_path / "auth", MemoryStore(), on_failed=failed.put_nowait)
    backup.start()
    assert isinstance(await failed.get(), SnapshotFailed)
    await backup.stop()


# As Baileys writes: truncated and written in place, with a moment between the two. Each key says in which round it was
# written, and the credentials, last, which round is complete.
_WRITER = """
import json, sys, time
from pathlib import Path

folder, creds = Path(sys.argv[1]), json.loads(Path(sys.argv[1], "creds.json").read_bytes())


def write(name, value):
    text = json.dumps(value, separators=(",", ":"))
    with open(folder / name, "w") as file:
        file.write(text[: len(text) // 2])
        file.flush()
        time.sleep(0.0005)
        file.write(text[len(text) // 2 :])


round, pause = 0, float(sys.argv[2])
while True:
    round += 1
    for number in range(20):
        write(f"device-list-{number}.json", [str(round)] * 40)
    creds["accountSyncCounter"] = round
    write("creds.json", creds)
    print(round, flush=True)
    time.sleep(pause)
    pause *= 1.1  # there is a moment in which nothing is written for any machine, however slow
"""


@contextmanager
def writing(folder: Path, pause: float) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(folder), str(pause)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def rounds_in(folder: Path) -> set[int]:
    """Return the rounds that the files of a copy are of; each is whole."""
    creds = json.loads((folder / "creds.json").read_bytes())
    lists = [json.loads((folder / f"device-list-{number}.json").read_bytes()) for number in range(20)]
    assert all(len(set(devices)) == 1 for devices in lists)
    return {creds["accountSyncCounter"], *(int(devices[0]) for devices in lists)}


async def test_while_somebody_tears_the_files(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A moment in which nothing is written is waited for, however long it takes.
    for bound in ("_QUIET_FOR", "_SETTLED", "_TIMEOUT"):
        monkeypatch.setattr(f"wwauth.backup.authfolder.{bound}", 3600.0)
    store = FileSystemStore(tmp_path / "backups")
    backup = AuthStateBackup(folder, store, generations=4)
    with writing(folder, pause=0.2):
        numbers = [(await backup.save()).generation for _ in range(4)]
    for number in numbers:
        copy = tmp_path / str(number) / "auth"
        await AuthStateBackup(copy, store).restore(number)
        assert (await verify(FolderAuthStateStore(copy))).ok
        assert len(rounds_in(copy)) == 1, "of a moment in which nothing was written"


async def test_while_somebody_never_stops_writing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wwauth.backup.authfolder._QUIET_FOR", 0.2)
    # A writer that has not had its turn for a while has left no torn file for good.
    for bound in ("_SETTLED", "_TIMEOUT"):
        monkeypatch.setattr(f"wwauth.backup.authfolder.{bound}", 3600.0)
    backup = AuthStateBackup(folder, MemoryStore())
    with writing(folder, pause=0):
        await backup.save()
    shutil.rmtree(folder)
    await backup.restore()
    assert (await verify(FolderAuthStateStore(folder))).ok
    assert rounds_in(folder), "each file is whole, though not all are of one moment"


@pytest.mark.parametrize("name", ["none", "none/auth", "file"])
async def test_a_folder_that_is_not_there_is_said_and_not_made(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SnapshotFailed, match="there is no folder"):
        await AuthStateBackup(tmp_path / name, MemoryStore()).save()
    assert not (tmp_path / "none").exists()
