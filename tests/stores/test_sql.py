"""The SQL store: the contract on each database, and what is its own."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine

from wwauth.abc import CREDS
from wwauth.errors import ConfigurationError, MissingDependency, SessionCorrupted, StoreError, StoreUnavailable
from wwauth.stores import SQLStore, open_store
from wwauth.testing.store_contract import StoreContract
from wwauth_stores.authstate.sqlite import SQLiteAuthStateStore

from .sql_writers import under_way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from wwauth.abc import Store

    from ..servers.mariadb import MariaDB
    from ..servers.postgresql import PostgreSQL

posix = pytest.mark.skipif(sys.platform == "win32", reason="only POSIX systems have permission bits")

_numbers = itertools.count(1)


class TestSQLite(StoreContract):
    kills = 1  # test_sql_faults.py has more

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SQLStore]:
        self.url = f"sqlite:///{tmp_path / 'deep' / 'wwauth.db'}"
        async with SQLStore.from_url(self.url) as store:
            yield store

    async def reopen(self, store: Store) -> Store:
        return SQLStore.from_url(self.url)

    def open_elsewhere(self, store: Store) -> str:
        return f"from wwauth.stores import SQLStore; store = SQLStore.from_url({self.url!r})"

    async def unreachable(self) -> Store:
        return SQLStore.from_url(f"sqlite:///{os.devnull}/wwauth.db")

    async def connections(self, store: Store) -> int:
        # Each has a thread of aiosqlite's. SQLite itself keeps files open for as long as any connection of the process is.
        return sum("_connection_worker_thread" in thread.name for thread in threading.enumerate())


class _OnAServer(StoreContract):
    """Each test has tables of its own, under a prefix, which is quicker than a database of its own."""

    kills = 1

    @asynccontextmanager
    async def opened(self, url: str) -> AsyncIterator[SQLStore]:
        self.url, self.prefix = url, f"t{next(_numbers)}_"
        async with SQLStore.from_url(url, table_prefix=self.prefix) as store:
            yield store

    async def reopen(self, store: Store) -> Store:
        return SQLStore.from_url(self.url, table_prefix=self.prefix)

    def open_elsewhere(self, store: Store) -> str:
        opening = f"store = SQLStore.from_url({self.url!r}, table_prefix={self.prefix!r})"
        return f"from wwauth.stores import SQLStore; {opening}"

    async def unreachable(self) -> Store:
        return SQLStore.from_url(re.sub(r":[0-9]+/", ":1/", self.url))


class TestPostgreSQL(_OnAServer):
    @pytest.fixture
    async def store(self, postgresql: PostgreSQL) -> AsyncIterator[SQLStore]:
        self.server = postgresql
        async with self.opened(postgresql.shared("contract")) as store:
            yield store

    async def connections(self, store: Store) -> int:
        return int(self.server.run("SELECT count(*) FROM pg_stat_activity WHERE datname = 'contract'"))


class TestMariaDB(_OnAServer):
    @pytest.fixture
    async def store(self, mariadb: MariaDB) -> AsyncIterator[SQLStore]:
        self.server = mariadb
        async with self.opened(mariadb.shared("contract")) as store:
            yield store

    async def connections(self, store: Store) -> int:
        return int(self.server.run("SELECT count(*) FROM information_schema.processlist WHERE db = 'contract'"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "source.zip"
    path.write_bytes(os.urandom(2_500_000))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "wwauth.db"


@pytest.fixture
async def store(file: Path) -> AsyncIterator[SQLStore]:
    async with SQLStore.from_url(f"sqlite:///{file}") as store:
        yield store


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
async def any_url(request: pytest.FixtureRequest, file: Path) -> str:
    """Return the URL of a database of its own, on each kind of server."""
    if request.param == "sqlite":
        return f"sqlite:///{file}"
    url: str = request.getfixturevalue(request.param).url("own")
    return url


async def _extracted(store: SQLStore, folder: Path) -> bytes:
    out = folder / "out.zip"
    await store.extract(session="one", path=out)
    return out.read_bytes()


@posix
async def test_sqlite_is_private_under_any_umask(store: SQLStore, file: Path, archive: Path) -> None:
    before = os.umask(0)
    try:
        await store.save(session="one", path=archive)
        modes = {path.name: path.stat().st_mode & 0o777 for path in file.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"wwauth.db": 0o600, "wwauth.db-wal": 0o600, "wwauth.db-shm": 0o600}
    assert file.parent.stat().st_mode & 0o777 == 0o700


@posix
async def test_a_database_that_was_open_to_others_is_closed(store: SQLStore, file: Path, archive: Path) -> None:
    file.parent.mkdir(mode=0o755)
    file.touch(mode=0o644)
    await store.save(session="one", path=archive)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o755, "a folder that was there is its owner's"


async def test_sqlite_is_durable_and_has_a_log(store: SQLStore, file: Path, archive: Path) -> None:
    await store.save(session="one", path=archive)
    with sqlite3.connect(file) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    async with store._engine.connect() as connection:
        assert (await connection.exec_driver_sql("PRAGMA synchronous")).scalar() == 2, "FULL"


async def test_nothing_is_made_before_the_first_save(store: SQLStore, file: Path) -> None:
    assert await store.session_exists(session="one") is False
    await store.delete(session="one")
    assert [info async for info in store.list_sessions()] == []
    assert not file.parent.exists()


async def test_nothing_is_made_on_a_server_before_the_first_save(postgresql: PostgreSQL) -> None:
    async with SQLStore.from_url(postgresql.url("empty")) as store:
        assert await store.session_exists(session="one") is False
        await store.delete(session="one")
        assert [info async for info in store.list_sessions()] == []
    assert postgresql.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", database="empty") == "0"


async def test_a_database_that_is_gone_is_not_an_empty_one(store: SQLStore, file: Path, archive: Path, tmp_path: Path) -> None:
    await store.save(session="one", path=archive)
    away = tmp_path / "away"
    file.parent.rename(away)
    with pytest.raises(StoreUnavailable, match="is gone"):
        await store.session_exists(session="one")
    with pytest.raises(StoreUnavailable, match="is gone"):
        await store.save(session="one", path=archive)
    assert not file.parent.exists()
    away.rename(file.parent)
    assert await _extracted(store, tmp_path) == archive.read_bytes()


async def test_another_file_in_its_place_is_used(store: SQLStore, file: Path, archive: Path, tmp_path: Path) -> None:
    await store.save(session="one", path=archive)
    other = tmp_path / "other.db"
    async with SQLStore.from_url(f"sqlite:///{other}") as another:
        await another.save(session="two", path=archive)
    for left in file.parent.glob("wwauth.db-*"):
        left.unlink()
    other.replace(file)
    assert [info.session async for info in store.list_sessions()] == ["two"]
    await store.save(session="three", path=archive)
    assert [info.session async for info in store.list_sessions()] == ["three", "two"]


async def _replaced(file: Path, archive: Path) -> None:
    """Put another database, which holds "two", in the place of the one that a store has open."""
    other = file.with_name("other.db")
    async with SQLStore.from_url(f"sqlite:///{other}") as another:
        await another.save(session="two", path=archive)
    for left in file.parent.glob("wwauth.db-*"):
        left.unlink()
    other.replace(file)


async def test_closing_beside_a_call_leaves_no_connection(store: SQLStore, archive: Path) -> None:
    """A connection that is in use when the store is closed ends with its call."""

    async def write() -> None:
        async with store._database.writing("save") as transaction:
            await store.close()
            await transaction.run(text("SELECT 1"))

    await store.save(session="one", path=archive)
    with pytest.raises(ConfigurationError, match="was closed"):
        await write()
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 10)  # it may be about to end
            assert not thread.is_alive()


@pytest.mark.parametrize("beside", [True, False], ids=["found by another call", "found by the save"])
async def test_what_is_written_to_a_file_that_was_replaced_is_not_saved(
    store: SQLStore, file: Path, archive: Path, *, beside: bool
) -> None:
    """It went with that file, whoever found the other one; and what follows goes into the other one."""

    async def write() -> None:
        async with store._database.writing("save"):
            await _replaced(file, archive)
            if beside:
                await asyncio.create_task(store.session_exists(session="two"))

    await store.save(session="one", path=archive)
    with pytest.raises(StoreUnavailable, match="was replaced"):
        await write()
    await store.save(session="three", path=archive)
    async with SQLStore.from_url(f"sqlite:///{file}") as other:
        assert [info.session async for info in other.list_sessions()] == ["three", "two"]


async def test_no_call_gets_a_connection_to_the_file_before(store: SQLStore, file: Path, archive: Path) -> None:
    """Of several calls the first finds another file; while it closes the connections, the others open new ones."""
    used: list[object] = []
    event.listen(store._engine.sync_engine, "checkout", lambda connection, *_: used.append(connection))
    await store.save(session="one", path=archive)
    await asyncio.gather(*(store.session_exists(session="one") for _ in range(3)))
    await _replaced(file, archive)
    before, used[:] = list(used), []
    await asyncio.gather(*(store.session_exists(session="one") for _ in range(3)))
    assert used
    assert not [connection for connection in used if any(connection is one for one in before)]


async def test_a_file_is_not_taken_for_one_that_was_looked_at(store: SQLStore, file: Path, archive: Path) -> None:
    """A file that another call finds while one looks at the tables of the file before is looked at by itself."""
    schema = store._database._schema

    class Slow:
        newest = schema.newest

        async def version(self, transaction: Any) -> int:
            found = await schema.version(transaction)
            store._database._schema = schema
            for left in file.parent.glob("wwauth.db*"):
                left.unlink()
            file.touch()
            await asyncio.create_task(store._database._find("look", create=False))
            return found

    await store.save(session="one", path=archive)
    store._database._ready = None
    store._database._schema = Slow()  # type: ignore[assignment]
    assert await store.session_exists(session="one") is False


async def test_a_file_that_a_first_save_is_about_to_fill_is_a_database(store: SQLStore, file: Path, archive: Path) -> None:
    """Auth states in the same file, to which one without a byte is damaged, may look at it before it has tables."""
    async with SQLiteAuthStateStore(file) as states:
        assert await store._database.flavor.find(create=True)
        await states.write(session="one", changes={CREDS: "{}"})
        await store.save(session="one", path=archive)
        assert await states.read(session="one", names=[CREDS]) == {CREDS: "{}"}
    assert [path for path in file.parent.iterdir() if path.suffix == ".tmp"] == []


async def test_a_relative_file_stays_where_it_was(tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with SQLStore.from_url("sqlite:///here.db") as store:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        await store.save(session="one", path=archive)
    assert (tmp_path / "here.db").exists()


async def test_several_who_start_at_once_make_one_schema(any_url: str, archive: Path, tmp_path: Path) -> None:
    stores = [SQLStore.from_url(any_url) for _ in range(6)]
    try:
        await asyncio.gather(*(store.save(session="one", path=archive) for store in stores))
        assert [info.revision async for info in stores[0].list_sessions()] == [6]
        assert await _extracted(stores[0], tmp_path) == archive.read_bytes()
    finally:
        for store in stores:
            await store.close()


async def test_tables_of_an_older_version_are_brought_up_to_date(any_url: str, archive: Path, tmp_path: Path) -> None:
    async with SQLStore.from_url(any_url) as store:
        await store.save(session="one", path=archive)
        async with store._engine.begin() as connection:
            # As a first version left them, that had no leases.
            await connection.execute(text("DROP TABLE wwauth_leases"))
            await connection.execute(text("DELETE FROM wwauth_versions WHERE version > 1"))
    async with SQLStore.from_url(any_url) as store:
        assert await _extracted(store, tmp_path) == archive.read_bytes()
        async with store.lease(session="one", holder="me", ttl=60) as lease:
            assert lease.fence == 1
        async with store._engine.connect() as connection:
            versions = await connection.execute(text("SELECT version FROM wwauth_versions ORDER BY version"))
            assert list(versions.scalars()) == [1, 2]


async def test_tables_of_a_newer_version_are_left_alone(file: Path, archive: Path) -> None:
    url = f"sqlite:///{file}"
    async with SQLStore.from_url(url) as store:
        await store.save(session="one", path=archive)
        async with store._engine.begin() as connection:
            await connection.execute(text("INSERT INTO wwauth_versions VALUES (99, 0)"))
    async with SQLStore.from_url(url) as store:
        with pytest.raises(StoreError, match="newer wwauth"):
            await store.session_exists(session="one")
        with pytest.raises(StoreError, match="newer wwauth"):
            await store.save(session="one", path=archive)


async def test_a_renewal_does_not_wait_for_all_archives(file: Path, archive: Path) -> None:
    stores = [SQLStore.from_url(f"sqlite:///{file}") for _ in range(4)]
    try:
        async with stores[0].lease(session="one", holder="me", ttl=60) as lease:
            saves = [asyncio.ensure_future(store.save(session="one", path=archive)) for store in stores]
            while not any(store._engine.sync_engine.pool.checkedout() for store in stores):  # noqa: ASYNC110
                await asyncio.sleep(0)
            await lease.renew()
            assert sum(save.done() for save in saves) <= 2
            await asyncio.gather(*saves)
    finally:
        for store in stores:
            await store.close()


async def test_prefixes_keep_stores_apart(store: SQLStore, file: Path, archive: Path) -> None:
    await store.save(session="one", path=archive)
    async with SQLStore.from_url(f"sqlite:///{file}", table_prefix="other_") as other:
        assert await other.session_exists(session="one") is False
        await other.save(session="two", path=archive)
        assert [info.session async for info in other.list_sessions()] == ["two"]
    assert [info.session async for info in store.list_sessions()] == ["one"]


async def test_what_was_replaced_or_deleted_takes_no_room(any_url: str, archive: Path) -> None:
    async with SQLStore.from_url(any_url) as store:

        async def rows(table: str) -> int:
            async with store._engine.connect() as connection:
                return int((await connection.execute(text(f"SELECT count(*) FROM wwauth_{table}"))).scalar_one())

        for _ in range(3):
            await store.save(session="one", path=archive)
        assert await rows("chunks") == -(-archive.stat().st_size // store._database.flavor.piece)
        await store.save(session="one.7.0123abcd", path=archive)
        assert await rows("archives") == 2
        for name in ("one", "one.7.0123abcd"):
            await store.delete(session=name)
        assert await rows("chunks") == 0
        assert await rows("archives") == 1, "the name of a session goes on counting, that of a pack never comes again"


async def test_the_revision_grows_over_a_deletion(store: SQLStore, archive: Path) -> None:
    await store.save(session="one", path=archive)
    await store.save(session="one", path=archive)
    await store.delete(session="one")
    await store.save(session="one", path=archive)
    assert [info.revision async for info in store.list_sessions()] == [3]


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM wwauth_chunks WHERE n = 1",
        "DELETE FROM wwauth_chunks",
        "UPDATE wwauth_chunks SET data = substr(data, 2) WHERE n = 2",
        "UPDATE wwauth_chunks SET data = zeroblob(length(data)) WHERE n = 0",
        "UPDATE wwauth_archives SET chunks = 2",
    ],
)
async def test_what_is_not_what_was_saved_is_not_handed_out(
    store: SQLStore, file: Path, archive: Path, tmp_path: Path, damage: str
) -> None:
    await store.save(session="one", path=archive)
    with sqlite3.connect(file) as other:
        other.execute(damage)
    other.close()
    with pytest.raises(SessionCorrupted, match="restore an older backup"):
        await store.extract(session="one", path=tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()
    await store.save(session="one", path=archive)
    assert await _extracted(store, tmp_path) == archive.read_bytes()


async def test_a_borrowed_engine_stays_open(file: Path, archive: Path, tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{file}")
    try:
        async with SQLStore(engine) as store:
            await store.save(session="one", path=archive)
        async with SQLStore(engine) as store:
            assert await _extracted(store, tmp_path) == archive.read_bytes()
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM wwauth_archives"))).scalar() == 1
    finally:
        await engine.dispose()


async def test_a_borrowed_engines_isolation_does_not_matter(any_url: str, archive: Path, tmp_path: Path) -> None:
    own = SQLStore.from_url(any_url)
    engine = create_async_engine(own._engine.url, isolation_level="AUTOCOMMIT")
    try:
        store = SQLStore(engine)
        await store.save(session="one", path=archive)
        source = tmp_path / "other.zip"
        with source.open("wb") as large:
            large.truncate(2**40)
        save = await under_way(store, source)
        save.cancel()
        await asyncio.wait([save])
        assert await _extracted(store, tmp_path) == archive.read_bytes()
        async with engine.connect() as connection:
            left = (await connection.execute(text("SELECT count(DISTINCT content) FROM wwauth_chunks"))).scalar()
        assert left == 1, "half an archive was left"
    finally:
        await own.close()
        await engine.dispose()


async def test_no_connection_is_left(postgresql: PostgreSQL, mariadb: MariaDB, archive: Path, tmp_path: Path) -> None:
    postgres, maria = postgresql.url("leaks"), mariadb.url("leaks")
    for url in (postgres, maria):
        async with SQLStore.from_url(url) as store:
            saves = [asyncio.ensure_future(store.save(session="one", path=archive)) for _ in range(8)]
            await asyncio.sleep(0.05)
            for save in saves[::2]:
                save.cancel()
            await asyncio.wait(saves)
            with pytest.raises(ConfigurationError):
                await store.save(session="one", path=tmp_path / "missing")
            assert await _extracted(store, tmp_path) == archive.read_bytes()
            assert store._engine.sync_engine.pool.checkedout() == 0
    # An ended connection is counted until its process or thread at the server has ended, too.
    async with asyncio.timeout(60):
        while postgresql.run("SELECT count(*) FROM pg_stat_activity WHERE datname = 'leaks'") != "0":  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.02)
        while mariadb.run("SELECT count(*) FROM information_schema.processlist WHERE db = 'leaks'") != "0":  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("scheme", ["mysql", "mysql+asyncmy", "mariadb+asyncmy"])
async def test_the_other_driver_and_the_other_name(mariadb: MariaDB, scheme: str, archive: Path, tmp_path: Path) -> None:
    mariadb.url("drivers")
    async with SQLStore.from_url(mariadb.address("drivers", scheme=scheme)) as store:
        await store.save(session="one", path=archive)
        await store.save(session="ONE", path=tmp_path / "source.zip")
        assert await _extracted(store, tmp_path) == archive.read_bytes()
        async with store.lease(session="one", holder="me", ttl=60) as lease:
            await store.delete(session="one", fence=lease.fence)
        assert [info.session async for info in store.list_sessions()] == ["ONE"]


@pytest.mark.parametrize("word", ["disable", "prefer"])
async def test_the_word_of_hosting_services_for_tls(postgresql: PostgreSQL, word: str) -> None:
    async with SQLStore.from_url(f"{postgresql.shared('contract')}?sslmode={word}") as store:
        assert await store.session_exists(session="one") is False


async def test_a_closed_store_is_not_used(store: SQLStore, archive: Path) -> None:
    await store.save(session="one", path=archive)
    await store.close()
    with pytest.raises(ConfigurationError, match="was closed"):
        await store.session_exists(session="one")
    with pytest.raises(ConfigurationError, match="was closed"):
        await store.save(session="one", path=archive)


@pytest.mark.parametrize(
    ("url", "remote", "shown"),
    [
        ("sqlite:////var/lib/wwauth.db", False, "SQLStore('sqlite:////var/lib/wwauth.db')"),
        ("sqlite+aiosqlite:////var/lib/wwauth.db", False, "SQLStore('sqlite:////var/lib/wwauth.db')"),
        ("postgresql://me:hunter2@db.example:5433/x", True, "SQLStore('postgresql://db.example:5433/x')"),
        ("postgres://me:hunter2@db.example/x?sslmode=require", True, "SQLStore('postgresql://db.example/x')"),
        ("postgresql+asyncpg://me@localhost/x", False, "SQLStore('postgresql://localhost/x')"),
        ("postgresql://me@[::1]:5432/x", False, "SQLStore('postgresql://[::1]:5432/x')"),
        ("postgresql:///x?host=/run/postgresql", False, "SQLStore('postgresql:///x')"),
        ("postgresql:///x?host=db.example:5432", True, "SQLStore('postgresql:///x')"),
        ("mysql://me:hunter2@127.0.0.1/x", False, "SQLStore('mysql://127.0.0.1/x')"),
        ("mariadb://me:hunter2@10.0.0.1/x", True, "SQLStore('mariadb://10.0.0.1/x')"),
    ],
)
def test_urls(url: str, remote: bool, shown: str) -> None:
    store = open_store(url)
    assert isinstance(store, SQLStore)
    assert repr(store) == shown
    assert store.features.remote is remote
    assert SQLStore.features.remote is True, "that of the class was changed"


@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("sqlite://", "name a file"),
        ("sqlite:///:memory:", "is for memory:"),
        ("sqlite:///file:x?uri=true", "name a file"),
        ("postgresql://me:hunter2@host", "name a database after the host"),
        ("postgresql+psycopg2://me:hunter2@host/x", "name asyncpg, or none"),
        ("mysql+pymysql://me:hunter2@host/x", "name aiomysql or asyncmy, or none"),
        ("postgresql://me:hunter2@9@host:54/x", "percent-encoded"),
        ("postgresql://me:p@hunter2@host/x", "percent-encoded"),
        ("postgresql://me:p@hunter2:x@host/x", "percent-encoded"),
        ("mysql:x", "scheme://user:password@host/database"),
    ],
)
def test_a_wrong_url_is_named_with_the_cure(url: str, cure: str) -> None:
    with pytest.raises(ConfigurationError, match=cure) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("prefix", ["a-b", "a b", "ä", 'x"; DROP', None, "n" * 41])
def test_a_wrong_prefix_is_refused(prefix: str, file: Path) -> None:
    with pytest.raises(ConfigurationError, match="invalid table_prefix"):
        SQLStore.from_url(f"sqlite:///{file}", table_prefix=prefix)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "30", True])
def test_a_wrong_timeout_is_refused(timeout: Any, file: Path) -> None:
    with pytest.raises(ConfigurationError, match="invalid timeout"):
        SQLStore.from_url(f"sqlite:///{file}", timeout=timeout)


def test_an_engine_that_is_none_is_refused(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="create_async_engine"):
        SQLStore(create_engine(f"sqlite:///{file}"))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="of type NoneType"):
        SQLStore(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("missing", "url", "extra"),
    [
        ("sqlalchemy", "sqlite:///x.db", "sqlite"),
        ("aiosqlite", "sqlite:///x.db", "sqlite"),
        ("asyncpg", "postgres://host/x", "postgresql"),
        ("aiomysql", "mysql+aiomysql://host/x", "mysql"),
        ("asyncmy", "mariadb+asyncmy://host/x", "mysql"),
    ],
)
def test_a_missing_driver_names_the_extra(missing: str, url: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setitem(
        sys.modules, "sqlalchemy.ext.asyncio", None if missing == "sqlalchemy" else sys.modules["sqlalchemy.ext.asyncio"]
    )
    with pytest.raises(MissingDependency, match=rf"needs {missing}: pip install 'wwauth\[{extra}\]'"):
        open_store(url)


def test_the_class_can_be_had_without_sqlalchemy() -> None:
    code = (
        "import sys; sys.modules['sqlalchemy'] = None; from wwauth.stores import SQLStore; assert 'asyncpg' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
