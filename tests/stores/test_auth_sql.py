"""Auth states on PostgreSQL and MariaDB: exact names, leases, dying servers and processes; and which store a URL gets."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from wwauth.abc import CREDS, RecordName
from wwauth.authstate import use_sql_auth_state
from wwauth.errors import ConfigurationError, LeaseLost, SessionInUse, StoreError, StoreUnavailable
from wwauth.testing import AuthStateContract
from wwauth_stores.authstate.sql import SQLAuthStateStore, sql_auth_state_store
from wwauth_stores.authstate.sqlite import SQLiteAuthStateStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from wwauth.testing.auth_state_contract import OpenState

    from ..servers.mariadb import MariaDB
    from ..servers.postgresql import PostgreSQL

    SQLServer = MariaDB | PostgreSQL

KEY = RecordName("session", "15551234567.0")
BOTH = [CREDS, KEY]

_numbers = itertools.count(1)


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> SQLServer:
    found: SQLServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def store(server: SQLServer) -> AsyncIterator[SQLAuthStateStore]:
    async with SQLAuthStateStore(server.shared("authstate")) as store:
        yield store


@pytest.fixture
def session() -> str:
    return f"user-{next(_numbers)}"


async def records(store: SQLAuthStateStore, session: str) -> dict[RecordName, str]:
    return dict([record async for record in store.records(session=session)])


class TestContract(AuthStateContract):
    @pytest.fixture
    def open_state(self, server: SQLServer) -> OpenState:
        number = next(_numbers)
        return lambda session: use_sql_auth_state(server.shared("authstate"), f"contract-{number}-{session}")


async def test_keeps_exactly_what_was_written(store: SQLAuthStateStore, session: str) -> None:
    ids = ["a", "A", "a ", " a", "é", "e\u0301", "\U0001f600", "a/b", "a:b", "a-b", "", "x" * 1024]
    names = [RecordName(kind, one) for kind in ("session", "Session", "session ") for one in ids]
    changes: dict[RecordName, str | None] = {name: f"{name.type} {name.id} \U0001f600" for name in names}
    await store.write(session=session, changes={**changes, CREDS: '{"a":1}'})
    await store.write(session=f"{session}-two", changes={KEY: "another"})
    missing = [RecordName("session", "none"), RecordName("session", "y" * 5000), RecordName("x" * 500, "nul\0")]
    found = await store.read(session=session, names=[*names, *missing, CREDS, KEY])
    assert found == {**changes, CREDS: '{"a":1}'}
    assert await records(store, session) == found
    assert {name.type async for name, _ in store.records(session=session, type="Session")} == {"Session"}
    await store.write(session=session, changes={**dict.fromkeys(names[1:]), names[0]: "new", KEY: None})
    assert await records(store, session) == {names[0]: "new", CREDS: '{"a":1}'}
    assert {session, f"{session}-two"} <= {name async for name in store.list_sessions()}
    await store.delete(session=session)
    assert await store.read(session=session, names=[*names, CREDS]) == {}
    assert session not in [name async for name in store.list_sessions()]
    for long in (RecordName("session", "\U0001f600" * 257), RecordName("x" * 129, "1"), RecordName("session", "nul\0")):
        with pytest.raises(ConfigurationError, match="bytes"):
            await store.write(session=session, changes={long: "x"})


async def test_streams_more_than_a_page_and_reads_many_at_once(store: SQLAuthStateStore, session: str) -> None:
    changes: dict[RecordName, str | None] = {
        RecordName(kind, str(n)): f"text {n}" for kind in ("pre-key", "session") for n in range(1100)
    }
    await store.write(session=session, changes=changes)
    assert await records(store, session) == changes
    assert await store.read(session=session, names=list(changes)) == changes
    assert len([record async for record in store.records(session=session, type="pre-key")]) == 1100


async def test_a_write_that_fails_takes_none_of_its_neighbours_with_it(store: SQLAuthStateStore, session: str) -> None:
    names = [RecordName("session", str(n)) for n in range(30)]
    writes = [store.write(session=f"{session}-{n % 3}", changes={name: "new", KEY: name.id}) for n, name in enumerate(names)]
    bad = store.write(session=session, changes={KEY: "new", RecordName("session", "x"): "\ud800"})
    results = await asyncio.gather(*writes[:15], bad, *writes[15:], return_exceptions=True)
    assert isinstance(results.pop(15), StoreError)
    assert results == [None] * 30
    assert await records(store, session) == {}
    assert [len(await records(store, f"{session}-{n}")) for n in range(3)] == [11, 11, 11]


async def test_many_who_write_the_same_keys_do_not_lock_each_other_out(server: SQLServer, session: str) -> None:
    url = server.shared("authstate")
    engines = [
        create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:").replace("mariadb:", "mariadb+aiomysql:"))
        for _ in range(3)
    ]
    try:
        stores = [sql_auth_state_store(engine) for engine in engines]
        names = [RecordName("session", str(n)) for n in range(20)]
        writes = [
            store.write(session=f"{session}-{n % 2}", changes=dict.fromkeys(names[:: 1 if n % 2 else -1], str(n)))
            for n in range(12)
            for store in stores
        ]
        await asyncio.gather(*writes)
        for n in range(2):
            assert len({text async for _, text in stores[0].records(session=f"{session}-{n}")}) == 1
        for store in stores:
            await store.close()
    finally:
        for engine in engines:
            await engine.dispose()


async def test_a_cancelled_write_is_whole_or_none(store: SQLAuthStateStore, session: str) -> None:
    changes: dict[RecordName, str | None] = {RecordName("session", str(n)): "x" for n in range(300)}
    for wait in (0, 0.005, 0.02):
        write = asyncio.create_task(store.write(session=session, changes=changes))
        await asyncio.sleep(wait)
        write.cancel()
        await asyncio.gather(write, return_exceptions=True)
        assert len(await records(store, session)) in {0, 300}
        await store.delete(session=session)


async def test_a_holder_that_was_overtaken_writes_nothing(server: SQLServer, store: SQLAuthStateStore, session: str) -> None:
    url = server.shared("authstate")
    async with SQLAuthStateStore(url) as other:
        held, mine = store.hold(session=session), store.hold(session=f"{session}-mine")
        async with mine:
            async with held:
                await store.write(session=session, changes={CREDS: "1"})
                with pytest.raises(SessionInUse, match=f"pid {os.getpid()}"):
                    async with other.hold(session=session):
                        pass
                # As if it had been frozen for long, on another machine.
                server.run(
                    f"UPDATE wwauth_auth_leases SET renewed = 1000000, holder = 'far' WHERE session = '{session}'",
                    database="authstate",
                )
                async with other.hold(session=session):
                    await other.write(session=session, changes={CREDS: "2"})
                    writes = [
                        store.write(session=session, changes={CREDS: "3"}),
                        store.write(session=f"{session}-mine", changes={CREDS: "4"}),
                    ]
                    results = await asyncio.gather(*writes, return_exceptions=True)
                    assert isinstance(results[0], LeaseLost)
                    assert results[1] is None
                    with pytest.raises(LeaseLost):
                        await store.delete(session=session)
            assert await records(store, session) == {CREDS: "2"}
        async with store.hold(session=session):
            await store.write(session=session, changes={CREDS: "5"})


_HOLD = """
import asyncio, sys
from wwauth.abc import CREDS, RecordName
from wwauth_stores.authstate.sql import sql_auth_state_store

async def main():
    store, session = sql_auth_state_store(sys.argv[1]), sys.argv[2]
    async with store.hold(session=session):
        for n in range(1_000_000):
            keys = {RecordName("session", str(k)): str(n) for k in range(20)}
            await store.write(session=session, changes={**keys, CREDS: str(n)})
            print(n, flush=True)

asyncio.run(main())
"""


async def test_a_killed_holder_leaves_all_that_was_saved_and_frees_its_session(
    server: SQLServer, store: SQLAuthStateStore, session: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _HOLD, server.shared("authstate"), session),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    for _ in range(10):
        said = int(await process.stdout.readline())
    with pytest.raises(SessionInUse, match=f"pid {process.pid}"):
        async with store.hold(session=session):
            pass
    process.kill()
    rest, _ = await process.communicate()
    said = max([said, *(int(line) for line in rest.split(b"\n")[:-1])])
    async with store.hold(session=session):
        found = await records(store, session)
    # What was not said yet may be there; never a part of it.
    assert len(found) == 21
    assert len(set(found.values())) == 1
    assert set(found.values()) <= {str(said), str(said + 1)}


async def test_works_again_when_the_server_is_back(server: SQLServer, store: SQLAuthStateStore, session: str) -> None:
    async with store.hold(session=session):
        await store.write(session=session, changes={CREDS: "1", KEY: "1"})
        said = 1

        async def write() -> None:
            nonlocal said
            while True:
                await store.write(session=session, changes={CREDS: str(said + 1), KEY: str(said + 1)})
                said += 1

        task = asyncio.create_task(write())
        await asyncio.sleep(0.2)
        await asyncio.to_thread(server.kill)
        try:
            with pytest.raises(StoreUnavailable):
                await task
            with pytest.raises(StoreUnavailable):
                await store.read(session=session, names=BOTH)
            with pytest.raises(StoreUnavailable):
                await store.write(session=session, changes={CREDS: "lost"})
        finally:
            await asyncio.to_thread(server.start)
        found = await store.read(session=session, names=BOTH)
        assert found[CREDS] == found[KEY]
        assert found[CREDS] in {str(said), str(said + 1)}
        await store.write(session=session, changes={CREDS: "held still"})
    assert (await store.read(session=session, names=BOTH))[CREDS] == "held still"


async def test_a_newer_schema_is_left_alone_and_reading_makes_nothing(server: SQLServer) -> None:
    url = server.url("newer")
    async with SQLAuthStateStore(url) as store:
        assert await store.read(session="one", names=BOTH) == {}
        assert [name async for name in store.list_sessions()] == []
        await store.delete(session="one")
        await store.write(session="one", changes={KEY: None})
        with pytest.raises(Exception, match="wwauth_auth_schema"):
            server.run("SELECT * FROM wwauth_auth_schema", database="newer")
        await store.write(session="one", changes={CREDS: "{}"})
    server.run("INSERT INTO wwauth_auth_schema VALUES (99, 0)", database="newer")
    async with SQLAuthStateStore(url) as store:
        with pytest.raises(StoreError, match="newer wwauth"):
            await store.read(session="one", names=BOTH)
        with pytest.raises(StoreError, match="newer wwauth"):
            await store.write(session="one", changes={CREDS: "{1}"})
    assert server.run("SELECT creds FROM wwauth_auth_sessions", database="newer") == "{}"


async def test_stores_over_one_url_share_an_engine_until_the_last_is_closed(postgresql: PostgreSQL) -> None:
    url = postgresql.url("sharing")
    stores = [SQLAuthStateStore(url) for _ in range(40)]
    writes = [store.write(session=f"s{n}", changes={CREDS: "{}"}) for n, store in enumerate(stores)]
    await asyncio.gather(*writes)
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'sharing'"
    assert postgresql.run(count) == "1"
    for store in stores[1:]:
        await store.close()
    assert await stores[0].read(session="s1", names=[CREDS]) == {CREDS: "{}"}
    await stores[0].close()
    await stores[0].close()
    with pytest.raises(ConfigurationError, match="closed"):
        await stores[0].read(session="s1", names=[CREDS])
    # An ended connection is counted until its process at the server has ended, too.
    async with asyncio.timeout(60):
        while postgresql.run(count) != "0":  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)


async def test_sqlite_has_a_store_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "wwauth.db"
    engine = create_async_engine(f"sqlite+aiosqlite:///{file}")
    async with SQLiteAuthStateStore(file) as plain:
        await plain.write(session="one", changes={CREDS: "{}"})
        for store in (sql_auth_state_store(f"sqlite:///{file}"), sql_auth_state_store(engine)):
            assert isinstance(store, SQLiteAuthStateStore)
            assert await store.read(session="one", names=BOTH) == {CREDS: "{}"}
            await store.close()
        with pytest.raises(ConfigurationError, match="SQLite by its URL"):
            SQLAuthStateStore(engine)
    await engine.dispose()


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "sqlite:wwauth.db", "sqlite://host/wwauth.db", "oracle://me:hunter2@host/x", "x", 7],
)
async def test_what_is_no_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as info:
        sql_auth_state_store(url)
    assert "hunter2" not in str(info.value)
