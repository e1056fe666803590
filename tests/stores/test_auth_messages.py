"""The messages of a login in each database: one set of tests, and what only a file can do."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis as RedisClient
from sqlalchemy.ext.asyncio import create_async_engine

from wwauth.authstate.messages import MessageStore
from wwauth.errors import ConfigurationError, SessionCorrupted, StoreError, StoreUnavailable

from .test_mongo import _collected, pytestmark  # noqa: F401 - a fixture, and what is ignored of the driver's

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from ..servers.mariadb import MariaDB
    from ..servers.mongodb import MongoDB
    from ..servers.postgresql import PostgreSQL
    from ..servers.redis import Redis

    Open = Callable[..., MessageStore]

PHONE, LID, GROUP = "15551234567@s.whatsapp.net", "987654321@lid", "123456-789@g.us"
SECRET = bytes(range(32))
# Whatever a driver or a server might take for something else.
BODY = bytes(range(256)) * 300

_numbers = itertools.count(1)


def key(id_: str, chat: str = PHONE, **more: object) -> dict[str, object]:
    return {"remoteJid": chat, "id": id_, **more}


def text(words: str) -> dict[str, object]:
    return {"conversation": words}


def target(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> object:
    if kind == "sqlite":
        return tmp_path / "messages.db"
    if kind == "folder":
        return tmp_path / "auth_info"
    server: MariaDB | MongoDB | PostgreSQL | Redis = request.getfixturevalue(kind)
    if kind in {"postgresql", "mariadb"}:
        return server.shared("authstate")  # type: ignore[union-attr]
    return server.url("messages")


@pytest.fixture(params=["sqlite", "folder", "postgresql", "mariadb", "mongodb", "redis"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    place, session = target(request.param, request, tmp_path), f"login-{next(_numbers)}"
    stores: list[MessageStore] = []

    def open_(**options: Any) -> MessageStore:
        stores.append(MessageStore(place, **{"session": session, **options}))
        return stores[-1]

    yield open_
    for store in stores:
        await store.close()


async def test_messages_outlive_the_store(opened: Open) -> None:
    store = opened()
    assert await store.get_message(key("1")) is None
    await store.put(
        {"key": key("1", remoteJidAlt=LID), "message": BODY, "messageSecret": SECRET},
        {"key": key("1", fromMe=True), "message": {**text("\U0001f600 \0 '"), "messageContextInfo": {"messageSecret": SECRET}}},
        {"key": key("1", GROUP, participant=LID, participantAlt=PHONE), "message": text("group")},
        {"key": key("é \0" * 100, "odd \U0001f600 chat"), "message": text("odd names")},
    )
    await store.put({"key": key("1", GROUP, participant="2@lid"), "message": text("another's")})
    await store.close()
    again = opened()
    assert await again.get_message(key("1", LID)) == BODY
    assert await again.get_message_secret(key("1", LID)) == SECRET
    mine = await again.get_message(key("1", fromMe=True))
    assert mine == {"conversation": "\U0001f600 \0 '", "messageContextInfo": {"messageSecret": SECRET}}
    assert await again.get_message(key("1", GROUP, participant=PHONE)) == text("group")
    assert await again.get_message_secret(key("1", GROUP, participant=PHONE)) is None
    assert await again.get_message(key("1", GROUP, participant="2@lid")) == text("another's")
    assert await again.get_message(key("é \0" * 100, "odd \U0001f600 chat")) == text("odd names")
    await again.put({"key": key("1", remoteJidAlt=LID), "message": text("in its place")})
    assert await again.get_message(key("1")) == text("in its place")


async def test_the_oldest_go_and_other_sessions_stay(opened: Open) -> None:
    store, other = opened(max_messages=20), opened(session=f"other-{next(_numbers)}")
    await other.put({"key": key("1"), "message": text("other")})
    await store.put(*({"key": key(str(number)), "message": text("x")} for number in range(1, 601)))
    await store.put({"key": key("581"), "message": text("again")}, {"key": key("new"), "message": text("x")})
    kept = [number for number in range(570, 601) if await store.get_message(key(str(number)))]
    assert kept == [581, *range(583, 601)]
    aged = opened(max_age=1e-6)
    await aged.put({"key": key("aged"), "message": text("x")})
    assert await store.get_message(key("new")) is None
    await store.clear()
    assert await store.get_message(key("aged")) is None
    assert await other.get_message(key("1")) == text("other")


async def test_a_caller_keeps_what_it_brought(postgresql: PostgreSQL, mongodb: MongoDB, redis: Redis, tmp_path: Path) -> None:
    session, address = f"login-{next(_numbers)}", postgresql.shared("authstate").replace("postgresql:", "postgresql+asyncpg:")
    engine, files = create_async_engine(address), create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
    client, server = AsyncMongoClient[Any](mongodb.url("messages")), RedisClient(port=redis.port)
    try:
        for brought in (engine, files, client.get_default_database()["mine"], server):
            for _ in range(2):
                async with MessageStore(brought, session=session) as store:
                    await store.put({"key": key("1"), "message": text("x")})
                    assert await store.get_message(key("1")) == text("x")
        async with MessageStore(tmp_path / "a.db", session=session) as store:
            assert await store.get_message(key("1")) == text("x")
    finally:
        await engine.dispose()
        await files.dispose()
        await client.close()
        await server.aclose()


async def test_the_collection_of_auth_states_is_not_for_messages(mongodb: MongoDB) -> None:
    async with AsyncMongoClient[Any](mongodb.url("messages")) as client:
        collection = client.get_default_database()["states"]
        await collection.insert_one({"_id": "login/creds/", "session": "login", "data": "{}"})
        store = MessageStore(collection, session="login")
        with pytest.raises(ConfigurationError, match="states"):
            await store.put({"key": key("1"), "message": text("x")})
        with pytest.raises(ConfigurationError, match="states"):
            await store.clear()
        assert await collection.count_documents({}) == 1
        await store.close()


async def test_a_folders_messages_lie_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "sessions" / "user.1"
    folder.mkdir(parents=True)
    async with MessageStore(folder) as store:
        assert await store.get_message(key("1")) is None
        assert list(folder.parent.iterdir()) == [folder]
        await store.put({"key": key("1"), "message": text("x")})
    assert sorted(path.name for path in folder.parent.iterdir()) == ["user.1", "user.1.messages.db"]
    assert list(folder.iterdir()) == []
    if sys.platform != "win32":
        assert (folder.parent / "user.1.messages.db").stat().st_mode & 0o777 == 0o600
    async with MessageStore(f"sqlite:///{folder.parent / 'user.1.messages.db'}") as store:
        assert await store.get_message(key("1")) == text("x")


async def test_a_folder_that_the_system_refuses_to_look_for_is_a_typed_error(tmp_path: Path) -> None:
    store = MessageStore(tmp_path / ("x" * 300))
    with pytest.raises(StoreUnavailable, match="shorter"):
        await store.get_message(key("1"))
    await store.close()


async def test_a_damaged_file_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "messages.db"
    path.write_bytes(b"no database" * 1000)
    store = MessageStore(path)
    with pytest.raises(SessionCorrupted, match=r"messages\.db"):
        await store.put({"key": key("1"), "message": text("x")})
    with pytest.raises(SessionCorrupted):
        await store.close()
    assert path.read_bytes() == b"no database" * 1000


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@127.0.0.1:9/db",
        "mongodb://me:hunter2@127.0.0.1:9/db?serverSelectionTimeoutMS=100",
        "redis://me:hunter2@127.0.0.1:9/0",
    ],
)
async def test_a_server_out_of_reach_is_no_miss(url: str) -> None:
    store = MessageStore(url)
    assert "hunter2" not in repr(store)
    with pytest.raises(StoreUnavailable) as raised:
        await store.get_message(key("1"))
    assert "hunter2" not in str(raised.value)
    with pytest.raises(StoreUnavailable):
        await store.put({"key": key("1"), "message": text("x")})
    with pytest.raises(StoreError):
        await store.close()


@pytest.mark.parametrize("wrong", ["ftp://me:hunter2@host/db", "sqlite://", "redis://host/0?ttl=5", object(), 5, ""])
def test_what_is_no_place_for_messages_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigurationError) as raised:
        MessageStore(wrong)
    assert "hunter2" not in str(raised.value)
