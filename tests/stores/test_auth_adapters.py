"""What real adapters of other programs left in their databases, read as what they were given; see the fixtures' README."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bson import json_util
from pymongo import MongoClient
from redis import Redis as BlockingRedis
from sqlalchemy import text

from wwauth.abc import CREDS, RecordName
from wwauth.authstate import BufferJSON, import_auth_state, open_auth_state_store, use_auth_state
from wwauth.authstate.creds import check_creds
from wwauth.errors import CredsCorrupted
from wwauth_stores._sqlurl import new_engine
from wwauth_stores.authstate.redis import redis_auth_state_store

if TYPE_CHECKING:
    from ..servers.mariadb import MariaDB
    from ..servers.mongodb import MongoDB
    from ..servers.postgresql import PostgreSQL
    from ..servers.redis import Redis

FOLDER = Path(__file__).parents[1] / "fixtures" / "adapters"

# What mongo-baileys is refused by the server; it logs that, and goes on.
NEVER = frozenset({"sender-key", "identity-key", "lid-mapping", "device-list"})


def fixture(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return loaded


def given(session: dict[str, str], without: frozenset[str] = frozenset()) -> dict[RecordName, str]:
    named = {CREDS if key == "creds" else RecordName(*key.split("/", 1)): value for key, value in session.items()}
    return {name: value for name, value in named.items() if name.type not in without}


async def check(
    url: str, kept: dict[str, Any], program: str, *, without: frozenset[str] = frozenset(), spread: bool = False
) -> None:
    opened: Any = open_auth_state_store(url)
    async with opened as store:
        peers = {peer.called.rstrip(":-"): peer for peer in await store.peers()}
        assert {peer.program for peer in peers.values()} == {program}
        for session, records in kept["given"].items():
            peer = peers.get(session) or peers.get(f"keyv:{session}") or peers.get(f"keyv::keyv:{session}") or peers[""]
            found = dict([record async for record in peer.records()])
            check_creds(BufferJSON.loads(found[CREDS]))
            expected = given(records, without)
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                # A server sorts the fields that a `$set` adds.
                assert found[name] == value or (spread and BufferJSON.loads(found[name]) == BufferJSON.loads(value)), name


async def check_never_new(url: str) -> None:
    """Check that a login of another program's becomes no new identity, and can be taken over where it is."""
    opened: Any = open_auth_state_store(url)
    async with opened as store:
        peer, *_ = await store.peers()
        for session in (peer.session, "default"):
            with pytest.raises(CredsCorrupted, match="take it over"):
                await use_auth_state(store, session=session)
        assert await anext(store.list_sessions(), None) is None
        await import_auth_state(peer, store, peer.session)
        state, _ = await use_auth_state(store, session=peer.session)
        await state.close()
        state, _ = await use_auth_state(store, session="another-user")
        await state.close()


@pytest.mark.parametrize(
    ("name", "program", "spread"),
    [
        ("mongo-baileys", "mongo-baileys", True),
        ("multi-mongo", "multi-mongo", True),
        ("use-mongo-file-auth-state", "use-mongo-file-auth-state", True),
        ("keyv-mongodb", "Keyv", False),
    ],
)
async def test_in_mongodb(mongodb: MongoDB, name: str, program: str, spread: bool) -> None:
    url, kept = mongodb.url("adapters"), fixture(name)
    with MongoClient[Any](url) as client:
        client.get_default_database()["auth"].insert_many(json_util.loads(json.dumps(kept["documents"])))
    without = NEVER if name == "mongo-baileys" else frozenset()
    await check(f"{url}&collection=auth", kept, program, without=without, spread=spread)


@pytest.mark.parametrize("name", ["baileys-redis-auth", "baileys-redis-auth-keys", "keyv-redis"])
async def test_in_redis(redis: Redis, name: str) -> None:
    kept = fixture(name)
    with BlockingRedis(port=redis.port, db=3) as client:
        client.flushdb()
        for key, value in kept["keys"].items():
            client.set(key, value) if isinstance(value, str) else client.hset(key, mapping=value)
    url = f"redis://127.0.0.1:{redis.port}/3"
    await check(url, kept, "baileys-redis-auth" if name == "baileys-redis-auth" else "a program with plain keys")
    if name == "baileys-redis-auth":
        async with redis_auth_state_store(url) as store:
            # Used where it is.
            assert dict([record async for record in store.records(session="bot")]) == given(kept["given"]["bot"])


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("postgres-baileys", "postgres-baileys"),
        ("keyv-postgresql", "Keyv"),
        ("mysql-baileys", "mysql-baileys"),
        ("keyv-mysql", "Keyv"),
    ],
)
async def test_on_an_sql_server(request: pytest.FixtureRequest, name: str, program: str) -> None:
    kept = fixture(name)
    kind = "postgresql" if "postgresql" in kept else "mariadb"
    server: PostgreSQL | MariaDB = request.getfixturevalue(kind)
    url, table = server.url("adapters"), kept[kind]
    engine = new_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text(table["table"]))
        into = "auth_data" if name == "postgres-baileys" else "auth"
        values = ", ".join(f":{column}" for column in table["columns"])
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
        await connection.execute(text(f"INSERT INTO {into} VALUES ({values})"), rows)
    await engine.dispose()
    await check(url, kept, program)
    await check_never_new(url)


@pytest.mark.parametrize(("name", "program"), [("baileys-sqlite", "Baileys in SQLite"), ("keyv-sqlite", "Keyv")])
async def test_in_sqlite(tmp_path: Path, name: str, program: str) -> None:
    kept = fixture(name)
    with closing(sqlite3.connect(tmp_path / "bot.db")) as made:
        for table in kept["sqlite"]:
            made.execute(table["table"])
            into, places = table["table"].split("(")[0].split()[-1], ", ".join("?" for _ in table["columns"])
            made.executemany(f"INSERT INTO {into} VALUES ({places})", table["rows"])
        made.commit()
    url = f"sqlite:///{tmp_path / 'bot.db'}"
    await check(url, kept, program)
    await check_never_new(url)
