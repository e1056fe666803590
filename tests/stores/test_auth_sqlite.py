"""Auth states in an SQLite database: groups of writes, crashes, damage, and who holds a session."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING

import pytest

from wwauth.abc import CREDS, RecordName
from wwauth.authstate import use_sql_auth_state
from wwauth.errors import (
    ConfigurationError,
    CredsCorrupted,
    SessionInUse,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from wwauth.testing import AuthStateContract
from wwauth_stores.authstate._sqlitefile import AuthDatabaseFile
from wwauth_stores.authstate.sqlite import SQLiteAuthStateStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from wwauth.testing.auth_state_contract import OpenState

posix = pytest.mark.skipif(sys.platform == "win32", reason="only POSIX systems have it")

KEY = RecordName("session", "15551234567.0")
BOTH = [CREDS, KEY]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "wwauth.db"


@pytest.fixture
async def store(file: Path) -> AsyncIterator[SQLiteAuthStateStore]:
    async with SQLiteAuthStateStore(file) as store:
        yield store


class TestContract(AuthStateContract):
    @pytest.fixture
    def open_state(self, file: Path) -> OpenState:
        return lambda session: use_sql_auth_state(f"sqlite:///{file}", session)


@posix
async def test_a_folder_is_no_database_and_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "logins"
    folder.mkdir(0o755)
    with pytest.raises(ConfigurationError, match="it is a folder"):
        await use_sql_auth_state(f"sqlite:///{folder}")
    assert folder.stat().st_mode & 0o777 == 0o755


async def test_a_path_is_told_its_url(file: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"'sqlite:///{file}'"):
        await use_sql_auth_state(file)


async def test_keeps_exactly_what_was_written(store: SQLiteAuthStateStore, file: Path) -> None:
    ids = ["a", "A", "a ", " a", "é", "e\u0301", "\U0001f600", "a/b", "a:b", "a-b", "", "x" * 3000, "nul\0x"]
    changes: dict[RecordName, str | None] = {
        RecordName(kind, one): f"{kind} {one} \U0001f600" for kind in ("session", "Session") for one in ids
    }
    await store.write(session="one", changes={**changes, CREDS: '{"a":1}'})
    await store.write(session="two", changes={KEY: "another"})
    async with SQLiteAuthStateStore(file) as other:
        found = await other.read(session="one", names=[*changes, CREDS, RecordName("session", "none"), KEY])
        assert found == {**changes, CREDS: '{"a":1}'}
        assert dict([record async for record in other.records(session="one")]) == found
        assert {name.type async for name, _ in other.records(session="one", type="Session")} == {"Session"}
        assert [record async for record in other.records(session="one", type="creds")] == [(CREDS, '{"a":1}')]
    assert await store.read(session="two", names=BOTH) == {KEY: "another"}


async def test_streams_more_than_a_page_and_reads_many_at_once(store: SQLiteAuthStateStore) -> None:
    changes: dict[RecordName, str | None] = {RecordName("pre-key", str(n)): f"text {n}" for n in range(2500)}
    await store.write(session="one", changes=changes)
    assert dict([record async for record in store.records(session="one", type="pre-key")]) == changes
    assert await store.read(session="one", names=list(changes)) == changes


async def test_reading_makes_nothing_and_a_session_without_records_is_none(store: SQLiteAuthStateStore, file: Path) -> None:
    assert await store.read(session="one", names=BOTH) == {}
    assert [name async for name in store.list_sessions()] == []
    await store.write(session="one", changes={KEY: None})
    await store.delete(session="one")
    assert not file.parent.exists()
    for name in ("b", "a"):
        await store.write(session=name, changes={CREDS: "{}"} if name == "a" else {KEY: "x"})
    assert [name async for name in store.list_sessions()] == ["a", "b"]
    await store.write(session="a", changes={CREDS: None})
    await store.delete(session="b")
    assert [name async for name in store.list_sessions()] == []
    assert [record async for record in store.records(session="b")] == []


async def test_a_write_that_fails_takes_none_of_its_neighbours_with_it(store: SQLiteAuthStateStore) -> None:
    await store.write(session="one", changes={KEY: "old"})
    with closing(sqlite3.connect(store.path)) as other:
        # What waits for it is one group.
        other.execute("BEGIN IMMEDIATE")
        names = [RecordName("session", str(n)) for n in range(60)]
        tasks = [asyncio.create_task(store.write(session="one", changes={name: f"new {name.id}"})) for name in names]
        bad = asyncio.create_task(store.write(session="one", changes={KEY: "new", CREDS: "\ud800"}))
        await asyncio.sleep(0.05)
        gone = asyncio.create_task(store.write(session="one", changes={RecordName("session", "late"): "late"}))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0.05)
        other.execute("ROLLBACK")
        results = await asyncio.gather(*tasks, bad, gone, return_exceptions=True)
    assert results[:60] == [None] * 60
    assert isinstance(results[60], StoreError)
    assert isinstance(results[61], asyncio.CancelledError)
    found = dict([record async for record in store.records(session="one")])
    assert found == {KEY: "old", **{name: f"new {name.id}" for name in names}}


async def test_many_event_loops_write_one_file(store: SQLiteAuthStateStore, file: Path) -> None:
    async def write(who: int) -> None:
        async with SQLiteAuthStateStore(file) as mine:
            for n in range(20):
                await mine.write(session=f"s{who}", changes={RecordName("session", str(n)): "x"})
                assert len(await mine.read(session=f"s{who}", names=[RecordName("session", str(n))])) == 1

    threads = [threading.Thread(target=lambda who=who: asyncio.run(write(who))) for who in range(4)]
    for thread in threads:
        thread.start()
    await store.write(session="mine", changes={CREDS: "{}"})
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert [name async for name in store.list_sessions()] == ["mine", "s0", "s1", "s2", "s3"]


@posix
async def test_files_are_private(store: SQLiteAuthStateStore, file: Path) -> None:
    async with store.hold(session="one"):
        await store.write(session="one", changes={CREDS: "{}"})
        for path in file.parent.rglob("*"):
            assert path.stat().st_mode & 0o077 == 0, path
        assert file.parent.stat().st_mode & 0o777 == 0o700


@posix
async def test_what_a_read_only_file_left_beside_it_is_mended_with_it(file: Path) -> None:
    async with SQLiteAuthStateStore(file) as store:
        await store.write(session="one", changes={CREDS: "{}"})
    beside = [file.with_name(file.name + ending) for ending in ("-wal", "-shm")]
    for path in beside:
        path.touch(0o400)
    # Before SQLite opens them, which it cannot where it is not root.
    AuthDatabaseFile(file).find(create=False)
    assert [path.stat().st_mode & 0o777 for path in beside] == [0o600, 0o600]


async def test_after_close_it_says_so(file: Path) -> None:
    store = SQLiteAuthStateStore(file)
    await store.write(session="one", changes={CREDS: "{}"})
    await store.close()
    await store.close()
    with pytest.raises(ConfigurationError, match="closed"):
        await store.read(session="one", names=BOTH)
    with pytest.raises(ConfigurationError, match="closed"):
        async with store.hold(session="one"):
            pass


@posix
async def test_closing_leaves_one_file(file: Path) -> None:
    # SQLite's log stays behind where two connections close at the same moment: often enough to be seen in so many rounds.
    for _ in range(100):
        store = SQLiteAuthStateStore(file)
        await store.write(session="one", changes={CREDS: "{}"})
        await store.read(session="one", names=[CREDS])
        await store.close()
        assert list(file.parent.iterdir()) == [file]


async def test_a_file_that_is_gone_or_another_is_unavailable(store: SQLiteAuthStateStore, file: Path, tmp_path: Path) -> None:
    await store.write(session="one", changes={CREDS: "{}"})
    file.rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="gone"):
            await store.read(session="one", names=BOTH)
        with pytest.raises(StoreUnavailable, match="gone"):
            await store.write(session="one", changes={CREDS: "{1}"})
    assert not file.exists()
    async with SQLiteAuthStateStore(tmp_path / "new.db") as other:
        await other.write(session="one", changes={CREDS: "{other}"})
    shutil.copy(tmp_path / "new.db", file)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="replaced"):
            await store.write(session="one", changes={CREDS: "{2}"})
        with pytest.raises(StoreUnavailable, match="replaced"):
            await store.read(session="one", names=BOTH)
    (tmp_path / "away").replace(file)
    assert (await store.read(session="one", names=BOTH))[CREDS] in {"{}", "{1}", "{2}"}


@pytest.mark.parametrize("damage", ["empty", "one byte", "text", "torn", "cut off"])
async def test_a_damaged_file_is_no_new_identity(file: Path, damage: str) -> None:
    async with SQLiteAuthStateStore(file) as store:
        await store.write(session="one", changes={KEY: "x" * 20000, CREDS: "{}"})
    whole = file.read_bytes()
    bad = {
        "empty": b"",
        "one byte": b"\0",
        "text": b"{not a database at all}" * 300,
        "torn": whole[:4096] + b"\x55" * (len(whole) - 4096),
        "cut off": whole[:4096],
    }[damage]
    file.write_bytes(bad)
    async with SQLiteAuthStateStore(file) as store:
        for _ in range(2):
            with pytest.raises(CredsCorrupted, match="bring back a copy"):
                await store.read(session="one", names=BOTH)
            with pytest.raises(CredsCorrupted, match="bring back a copy"):
                await store.write(session="one", changes={CREDS: "{}"})
    assert file.read_bytes() == bad


async def test_a_newer_schema_is_left_alone(file: Path) -> None:
    async with SQLiteAuthStateStore(file) as store:
        await store.write(session="one", changes={CREDS: "{}"})
    with closing(sqlite3.connect(file)) as other:
        other.execute("INSERT INTO wwauth_auth_schema VALUES (99, 0)")
        other.commit()
    before = file.read_bytes()
    async with SQLiteAuthStateStore(file) as store:
        with pytest.raises(StoreError, match="newer wwauth"):
            await store.write(session="one", changes={CREDS: "{1}"})
        with pytest.raises(StoreError, match="newer wwauth"):
            await store.read(session="one", names=BOTH)
    assert file.read_bytes() == before


async def test_shares_a_database_with_other_tables(tmp_path: Path) -> None:
    file = tmp_path / "theirs.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE creds (key, value)")
        other.commit()
    async with SQLiteAuthStateStore(file) as store:
        assert await store.read(session="one", names=BOTH) == {}
        await store.write(session="one", changes={CREDS: "{}"})
        assert await store.read(session="one", names=BOTH) == {CREDS: "{}"}


async def test_another_writer_is_waited_for_and_not_for_ever(file: Path) -> None:
    async with SQLiteAuthStateStore(file) as first:
        await first.write(session="one", changes={CREDS: "{}"})
        async with SQLiteAuthStateStore(file, timeout=0.2) as store:
            with closing(sqlite3.connect(file, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(StoreUnavailable, match="locked"):
                    await store.write(session="one", changes={CREDS: "{1}"})
                assert await store.read(session="one", names=BOTH) == {CREDS: "{}"}
                patient = asyncio.create_task(first.write(session="one", changes={CREDS: "{2}"}))
                await asyncio.sleep(0.3)
                other.execute("ROLLBACK")
                await patient
            assert await store.read(session="one", names=BOTH) == {CREDS: "{2}"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("a small disk can be mounted by root alone")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


async def test_a_full_disk_changes_nothing(small_disk: Path) -> None:
    async with SQLiteAuthStateStore(small_disk / "full.db") as store:
        await store.write(session="one", changes={CREDS: "{}", KEY: "old"})
        large = {KEY: "new", **{RecordName("session", str(n)): "x" * 50_000 for n in range(60)}}
        small = store.write(session="two", changes={CREDS: "{}"})
        results = await asyncio.gather(store.write(session="one", changes=large), small, return_exceptions=True)
        assert isinstance(results[0], StoreFull)
        assert results[1] is None
        assert dict([record async for record in store.records(session="one")]) == {CREDS: "{}", KEY: "old"}
        await store.write(session="one", changes={KEY: "newer"})
        assert await store.read(session="one", names=BOTH) == {CREDS: "{}", KEY: "newer"}
    with pytest.raises(OSError, match="No space"):
        (small_disk / "filler").write_bytes(bytes(2 * 1024 * 1024))
    async with SQLiteAuthStateStore(small_disk / "full.db") as store:
        with pytest.raises(StoreFull, match="make room there"):
            await store.write(session="one", changes={CREDS: "{1}"})
        with pytest.raises(StoreFull, match="make room there"):
            async with store.hold(session="one"):
                pass
        (small_disk / "filler").unlink()
        assert await store.read(session="one", names=BOTH) == {CREDS: "{}", KEY: "newer"}


_AS_NOBODY = """
import asyncio, os, sys
from wwauth.abc import CREDS
from wwauth_stores.authstate.sqlite import SQLiteAuthStateStore

async def main():
    async with SQLiteAuthStateStore(sys.argv[2]) as other:  # loads all that it needs
        await other.write(session="one", changes={CREDS: "{}"})
    os.setuid(65534)
    async with SQLiteAuthStateStore(sys.argv[1]) as store:
        tries = [store.read(session="one", names=[CREDS]), store.write(session="one", changes={CREDS: "{1}"})]
        for error in await asyncio.gather(*tries, return_exceptions=True):
            print(type(error).__name__)
        try:
            async with store.hold(session="one"):
                print("held")
        except Exception as error:
            print(type(error).__name__)

asyncio.run(main())
"""


@posix
async def test_what_may_not_be_read_is_denied(tmp_path: Path, file: Path) -> None:
    if sys.platform == "win32" or os.geteuid():
        pytest.skip("only root may become somebody else")
    async with SQLiteAuthStateStore(file) as store:
        await store.write(session="one", changes={CREDS: "{}"})
    command = [sys.executable, "-c", _AS_NOBODY, str(file), str(tmp_path / "other.db")]
    assert (await _output(*command)).split() == [StoreDenied.__name__] * 3


_HOLD = """
import asyncio, sys
from wwauth.abc import CREDS, RecordName
from wwauth_stores.authstate.sqlite import SQLiteAuthStateStore

async def main():
    store = SQLiteAuthStateStore(sys.argv[1])
    async with store.hold(session="one"):
        for n in range(1_000_000):
            keys = {RecordName("session", str(k)): str(n) for k in range(20)}
            await store.write(session="one", changes={**keys, CREDS: str(n)})
            print(n, flush=True)

asyncio.run(main())
"""


async def test_a_killed_holder_leaves_all_that_was_saved_and_frees_its_session(file: Path) -> None:
    said = -1
    for _ in range(4):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _HOLD, str(file), env=_environment(), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        for _ in range(30):
            said = int(await process.stdout.readline())
        async with SQLiteAuthStateStore(file) as store:
            with pytest.raises(SessionInUse, match=f"pid {process.pid}"):
                async with store.hold(session="one"):
                    pass
            async with store.hold(session="two"):
                process.kill()
            rest, _ = await process.communicate()
            said = max([said, *(int(line) for line in rest.split(b"\n")[:-1])])
            async with store.hold(session="one"):
                found = dict([record async for record in store.records(session="one")])
        # What was not said yet may be there; never a part of it.
        assert len(found) == 21
        assert set(found.values()) <= {str(said), str(said + 1)}
        assert len(set(found.values())) == 1


async def test_two_states_of_one_process_do_not_hold_one_session(store: SQLiteAuthStateStore, file: Path) -> None:
    async with SQLiteAuthStateStore(file) as other, store.hold(session="one"):
        for one in (store, other):
            with pytest.raises(SessionInUse, match=f"'one' of .*pid {os.getpid()}") as info:
                async with one.hold(session="one"):
                    pass
            assert info.value.pid == os.getpid()
    async with store.hold(session="one"):
        pass


async def test_two_hundred_sessions_are_held_and_written_at_once(store: SQLiteAuthStateStore) -> None:
    async with AsyncExitStack() as held:
        for n in range(200):
            await held.enter_async_context(store.hold(session=f"user-{n:03}"))
        await asyncio.gather(*(store.write(session=f"user-{n:03}", changes={CREDS: str(n), KEY: str(n)}) for n in range(200)))
        assert [name async for name in store.list_sessions()] == [f"user-{n:03}" for n in range(200)]
        await store.delete(session="user-007")
        assert await store.read(session="user-007", names=BOTH) == {}
        assert await store.read(session="user-008", names=BOTH) == {CREDS: "8", KEY: "8"}


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, env=_environment(), stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()
