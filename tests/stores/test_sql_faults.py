"""The SQL store when servers and processes die, hang, refuse, and run full."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine

from wwauth.errors import LeaseLost, StoreDenied, StoreFull, StoreUnavailable
from wwauth.stores import SQLStore

from ..servers.mariadb import GUEST, GUEST_PASSWORD
from ..soaking import most_in_soak
from .sql_writers import SESSION, Writers, content, held, kill_server, kill_writers, under_way, write

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from ..servers.mariadb import MariaDB
    from ..servers.postgresql import PostgreSQL

    SQLServer = MariaDB | PostgreSQL

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="its writers are forked")

# A source without end, as far as a save that is about to be cut off can tell; sparse, so that it costs no disk.
ENDLESS = 64 * 1024 * 1024 * 1024


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write(tmp_path / "source.zip", 1)


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    path = tmp_path / "endless.zip"
    with path.open("wb") as file:
        file.truncate(ENDLESS)
    return path


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> SQLServer:
    running: SQLServer = request.getfixturevalue(request.param)
    return running


@forks
async def test_a_writer_killed_at_any_moment_leaves_the_last_archive(tmp_path: Path) -> None:
    met = await kill_writers(f"sqlite:///{tmp_path / 'wwauth.db'}", tmp_path, kills=10, seed=1)
    assert met["kills"] == 10


@forks
async def test_processes_that_start_at_once_make_one_schema(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'wwauth.db'}"
    with Writers(url, tmp_path) as writers:
        await asyncio.to_thread(writers.start, 1, beside=4)
        firsts = 0
        while firsts < 4:
            firsts += await asyncio.to_thread(writers.wait, "saved") == 1
        await asyncio.to_thread(writers.kill)
    async with SQLStore.from_url(url) as store:
        (info,) = [info async for info in store.list_sessions()]
        assert info.revision is not None
        assert info.revision >= 4
        assert len(await held(store, tmp_path)) == info.size


async def test_a_server_killed_during_a_save_leaves_the_old_archive(server: SQLServer, tmp_path: Path, endless: Path) -> None:
    async with SQLStore.from_url(server.url("killed")) as store:
        await store.save(session=SESSION, path=write(tmp_path / "first.zip", 1))
        save = await under_way(store, endless)
        await asyncio.to_thread(server.kill)
        with pytest.raises(StoreUnavailable):
            await save
        with pytest.raises(StoreUnavailable):
            await store.session_exists(session=SESSION)
        await asyncio.to_thread(server.start)
        assert await held(store, tmp_path) == content(1)
        await store.save(session=SESSION, path=write(tmp_path / "second.zip", 2))
        assert await held(store, tmp_path) == content(2)


async def test_a_server_killed_at_any_moment_loses_nothing_that_was_saved(server: SQLServer, tmp_path: Path) -> None:
    async with SQLStore.from_url(server.url("killed")) as store:
        met = await kill_server(server, store, tmp_path, kills=1, seed=1)
    assert met["saves_that_failed"] == 1


async def test_a_server_that_hangs_is_given_up(server: SQLServer, tmp_path: Path, archive: Path, endless: Path) -> None:
    url = server.url("hangs")
    async with (
        SQLStore.from_url(url) as patient,
        SQLStore.from_url(url, timeout=3) as store,
        SQLStore.from_url(url, timeout=0.1) as hasty,
    ):
        await patient.save(session=SESSION, path=archive)
        save = await under_way(store, endless)
        with server.paused():
            with pytest.raises(StoreUnavailable, match=r"no answer within 0\.1 s"):
                await hasty.session_exists(session=SESSION)
            with pytest.raises(StoreUnavailable, match=r"no answer within 3 s"):
                await save
        await patient.save(session=SESSION, path=archive)
        assert await held(patient, tmp_path) == content(1)


async def test_a_connection_that_is_cut_leaves_the_old_archive(postgresql: PostgreSQL, tmp_path: Path, endless: Path) -> None:
    async with SQLStore.from_url(postgresql.url("cut")) as store:
        await store.save(session=SESSION, path=write(tmp_path / "first.zip", 1))
        save = await under_way(store, endless)
        postgresql.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'cut'")
        with pytest.raises(StoreUnavailable):
            await save
        # Also of the connections that lay in the pool.
        assert await held(store, tmp_path) == content(1)


async def test_a_cancelled_save_ends_at_once_and_leaves_nothing(server: SQLServer, tmp_path: Path, endless: Path) -> None:
    async with SQLStore.from_url(server.url("cancelled")) as store:
        await store.save(session=SESSION, path=write(tmp_path / "first.zip", 1))
        save = await under_way(store, endless)
        save.cancel()
        with pytest.raises(asyncio.CancelledError):
            await save
        assert await held(store, tmp_path) == content(1)
        await store.save(session=SESSION, path=write(tmp_path / "second.zip", 2))
        assert await held(store, tmp_path) == content(2)


async def test_a_lease_is_renewed_while_a_save_isunder_way(server: SQLServer, tmp_path: Path, endless: Path) -> None:
    async with (
        SQLStore.from_url(server.url("renewed")) as store,
        store.lease(session=SESSION, holder="me", ttl=60) as lease,
    ):
        save = await under_way(store, endless)
        await lease.renew()
        assert not save.done()
        save.cancel()
        await asyncio.wait([save])


async def test_a_holder_overtaken_in_the_middle_of_its_save_is_refused(
    server: SQLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SQLStore.from_url(server.url("overtaken")) as store:
        await store.save(session=SESSION, path=write(tmp_path / "first.zip", 1))
        lease = await store.lease(session=SESSION, holder="first", ttl=0.001).__aenter__()
        uploaded, goes_on = asyncio.Event(), asyncio.Event()
        upload = store._upload

        async def late(*arguments: Any) -> Any:
            content = await upload(*arguments)
            uploaded.set()
            await goes_on.wait()
            return content

        monkeypatch.setattr(store, "_upload", late)
        save = asyncio.create_task(store.save(session=SESSION, path=write(tmp_path / "late.zip", 2), fence=lease.fence))
        await uploaded.wait()
        async with store.lease(session=SESSION, holder="second", ttl=60):
            goes_on.set()
            with pytest.raises(LeaseLost):
                await save
            assert await held(store, tmp_path) == content(1)


async def test_a_wrong_password_is_denied_and_not_shown(server: SQLServer, archive: Path) -> None:
    server.url("denied")
    url = server.address("denied", user=f"{GUEST}:wrong-{GUEST_PASSWORD}")
    async with SQLStore.from_url(url) as store:
        with pytest.raises(StoreDenied) as caught:
            await store.save(session=SESSION, path=archive)
        error: BaseException | None = caught.value
        while error is not None:
            assert GUEST_PASSWORD not in f"{error} {error!r}"
            error = error.__cause__
        assert GUEST_PASSWORD not in repr(store)


async def test_a_user_without_rights_is_denied(server: SQLServer, archive: Path) -> None:
    server.url("denied")
    async with SQLStore.from_url(server.address("denied", user=f"{GUEST}:{GUEST_PASSWORD}")) as store:
        with pytest.raises(StoreDenied):
            await store.save(session=SESSION, path=archive)


async def test_nobody_at_the_address_is_unavailable(server: SQLServer, archive: Path) -> None:
    url = server.address("x").replace(str(server.port), "1")
    async with SQLStore.from_url(url) as store:
        with pytest.raises(StoreUnavailable):
            await store.session_exists(session=SESSION)
        with pytest.raises(StoreUnavailable):
            await store.save(session=SESSION, path=archive)


async def test_a_packet_that_is_too_small_is_said(mariadb: MariaDB, archive: Path) -> None:
    url = mariadb.url("packets")
    before = mariadb.run("SELECT @@global.max_allowed_packet")
    mariadb.run("SET GLOBAL max_allowed_packet = 1048576")
    try:
        async with SQLStore.from_url(url) as store:
            with pytest.raises(ValueError, match="max_allowed_packet"):
                await store.save(session=SESSION, path=archive)
    finally:
        mariadb.run(f"SET GLOBAL max_allowed_packet = {before}")


async def test_a_full_database_keeps_the_old_archive(tmp_path: Path, archive: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'small.db'}")

    @event.listens_for(engine.sync_engine, "connect")
    def limit(connection: Any, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 2000")

    try:
        store = SQLStore(engine)
        await store.save(session=SESSION, path=archive)
        large = tmp_path / "large.zip"
        large.write_bytes(bytes(12 * 1024 * 1024))
        with pytest.raises(StoreFull, match="make room there"):
            await store.save(session=SESSION, path=large)
        assert await held(store, tmp_path) == content(1)
        await store.save(session=SESSION, path=write(archive, 2))
        assert await held(store, tmp_path) == content(2)
    finally:
        await engine.dispose()


AS_NOBODY = """
import asyncio, os, sys
from wwauth.errors import WWAuthError
from wwauth.stores import SQLStore

async def main():
    store = SQLStore.from_url("sqlite:///" + sys.argv[1])
    # Loads all that it needs, before the right to read it is given up.
    async with SQLStore.from_url("sqlite:///" + sys.argv[2]) as other:
        await other.save(session="one", path="/etc/passwd")
    if os.geteuid() == 0:
        os.setuid(65534)
    tries = {
        "exists": store.session_exists(session="one"),
        "save": store.save(session="one", path="/etc/passwd"),
        "delete": store.delete(session="one"),
        "list": anext(store.list_sessions()),
    }
    for name, made in tries.items():
        try:
            print(f"{name}:{await made!r}")
        except WWAuthError as error:
            print(f"{name}:{type(error).__name__}")
    await store.close()

asyncio.run(main())
"""


def _said(program: str, *arguments: object) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.skipif(sys.platform == "win32", reason="only POSIX systems have permission bits")
async def test_a_file_without_permission_denies_and_never_says_no(tmp_path: Path, archive: Path) -> None:
    file = tmp_path / "data" / "wwauth.db"
    async with SQLStore.from_url(f"sqlite:///{file}") as store:
        await store.save(session="one", path=archive)
    file.chmod(0o400)
    for folder in (file.parent, tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    said = await asyncio.to_thread(_said, AS_NOBODY, file, tmp_path / "other.db")
    assert said.split() == [f"{name}:StoreDenied" for name in ("exists", "save", "delete", "list")]


MEMORY = """
import asyncio, os, sys
from pathlib import Path
from wwauth.stores import SQLStore
url, folder, size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
async def there_and_back(store, size):
    source = folder / "source"
    noise = os.urandom(1024 * 1024)
    with source.open("wb") as file:
        for _ in range(size):
            file.write(noise)
    await store.save(session="one", path=source)
    await store.extract(session="one", path=folder / "out")
    assert (folder / "out").stat().st_size == size * 1024 * 1024
    # Not getrusage(): that begins with what the parent had.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0])
async def main():
    async with SQLStore.from_url(url) as store:
        small = await there_and_back(store, 5)
        print(await there_and_back(store, size) - small)
asyncio.run(main())
"""


def memory_of(url: str, folder: Path, size: int) -> int:
    """Return by how many kB a process grows when it saves and extracts an archive of `size` MiB in place of one of 5."""
    return int(_said(MEMORY, url, folder, size))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("kind", most_in_soak(["postgresql", "sqlite", "mariadb"], usual=2))
async def test_memory_does_not_grow_with_the_archive(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path / 'wwauth.db'}" if kind == "sqlite" else request.getfixturevalue(kind).url("memory")
    assert await asyncio.to_thread(memory_of, url, tmp_path, 50) < 10_000, "kB more for 50 MB than for 5 MB"
