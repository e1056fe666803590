"""The Mongo store when the server hangs or dies, when the writing process dies, and how much memory it takes."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import AsyncMongoClient, MongoClient

from tests.servers.mongodb import MongoDB
from wwauth.errors import StoreDenied, StoreUnavailable
from wwauth.stores import MongoStore

from ..soaking import most_in_soak
from .children import grown, save_in_another_process
from .killing import kill_in_saves
from .test_mongo import _collected, database_of, motor, motors, pytestmark  # noqa: F401 - fixtures, and what is ignored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from motor.motor_asyncio import AsyncIOMotorClient

    from tests.conftest import RequireOptional

MIB = 1024 * 1024
SECRET = "hunter2"

# A source without end, as far as a writer that is about to be killed can tell; sparse, so that it costs no disk.
ENDLESS = 64 * 1024 * MIB


@pytest.fixture
def own_mongodb(mongodb: MongoDB) -> MongoDB:
    """Give a server that a test may pause and kill."""
    if mongodb.external is not None:
        pytest.skip("only a server that the tests have started is killed")
    return mongodb


@pytest.fixture
def over_motor(mongodb: MongoDB, motor: AsyncIOMotorClient[Any]) -> MongoStore:  # noqa: F811 - a fixture
    return MongoStore(motor, database=database_of(mongodb.url("faults")))


@pytest.fixture
async def over_pymongo(mongodb: MongoDB) -> AsyncIterator[MongoStore]:
    async with AsyncMongoClient[Any](mongodb.url("faults"), retryWrites=False) as client:
        yield MongoStore(client)


@pytest.fixture
async def retrying(mongodb: MongoDB) -> AsyncIterator[MongoStore]:
    async with MongoStore.from_url(mongodb.url("faults")) as store:
        yield store


@pytest.fixture(params=["pymongo", "motor"])
def store(request: pytest.FixtureRequest, over_pymongo: MongoStore, over_motor: MongoStore, retrying: MongoStore) -> MongoStore:
    """Give one over a driver that tells of each connection that breaks, or, in the soak, one that asks again by itself."""
    return {"pymongo": over_pymongo, "motor": over_motor, "pymongo-retrying": retrying}[request.param]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "source.zip"
    path.write_bytes(b"a login" * (MIB // 4))
    return path


async def test_a_server_that_dies_in_a_save_leaves_old_or_new(own_mongodb: MongoDB, store: MongoStore, tmp_path: Path) -> None:
    outcomes = await kill_in_saves(own_mongodb, store, tmp_path, kills=2, seed=1, size=6 * MIB)
    assert outcomes.total() == 2


async def test_a_server_that_hangs_is_unavailable_in_time(own_mongodb: MongoDB, mongodb: MongoDB, archive: Path) -> None:
    url = mongodb.url("hangs")
    async with MongoStore.from_url(url) as patient, MongoStore.from_url(url, timeout=0.3) as store:
        await patient.save(session="one", path=archive)
        calls: dict[str, Callable[[], Any]] = {
            "look for": lambda: store.session_exists(session="one"),
            "save": lambda: store.save(session="one", path=archive),
            "read": lambda: store.extract(session="one", path=archive.with_name("out.zip")),
            "delete": lambda: store.delete(session="one"),
            "list": lambda: anext(store.list_sessions()),
            "take": lambda: store.lease(session="one", holder="me", ttl=60).__aenter__(),
        }
        with own_mongodb.paused():
            for doing, call in calls.items():
                with pytest.raises(StoreUnavailable, match=rf"cannot {doing} .* in mongodb://127.0.0.1:\d+/hangs.*: no answer"):
                    await call()
        # It may be only just awake.
        assert await patient.session_exists(session="one") is True


@pytest.fixture(scope="module")
def guarded(require_optional: RequireOptional) -> Iterator[MongoDB]:
    """Start a server that asks for passwords; "writer" may write, "reader" may not."""
    require_optional(MongoDB.found(), f"MongoDB is not installed: {MongoDB.install}")
    with MongoDB() as server:
        if server.external is not None:
            pytest.skip("users are made on a server that the tests have started")
        with MongoClient[Any](server.url("users")) as client:
            for user, role in (("writer", "readWriteAnyDatabase"), ("reader", "readAnyDatabase")):
                client.admin.command("createUser", user, pwd=SECRET, roles=[{"role": role, "db": "admin"}])
        server.stop()
        server.options = ["--auth"]
        server.start()
        yield server


async def test_who_may_not_is_denied_and_told_no_password(guarded: MongoDB, archive: Path) -> None:
    # Whoever was refused is asked to wait for the driver's next look at the server.
    url = guarded.url("denied") + "&heartbeatFrequencyMS=500"

    def opened(user: str, password: str = SECRET) -> MongoStore:
        return MongoStore.from_url(url.replace("//", f"//{user}:{password}@") + "&authSource=admin")

    async with opened("writer") as store:
        await store.save(session="one", path=archive)
    for wrong in (opened("writer", "hunter3"), opened("nobody"), MongoStore.from_url(url)):
        async with wrong as store:
            for call in (
                store.session_exists(session="one"),
                store.save(session="one", path=archive),
                store.extract(session="one", path=archive.with_name("out.zip")),
                store.delete(session="one"),
                anext(store.list_sessions()),
                store.lease(session="one", holder="me", ttl=60).__aenter__(),
            ):
                with pytest.raises(StoreDenied, match="mend its user's credentials or rights") as caught:
                    await call
                assert "hunter" not in f"{caught.value} {store!r}"
    async with opened("reader") as store:
        await store.extract(session="one", path=archive.with_name("out.zip"))
        assert archive.with_name("out.zip").read_bytes() == archive.read_bytes()
        with pytest.raises(StoreDenied, match="cannot save"):
            await store.save(session="one", path=archive)


async def test_an_unreachable_server_is_named_without_its_password() -> None:
    async with MongoStore.from_url("mongodb://user:hunter2@127.0.0.1:9/db?serverSelectionTimeoutMS=100") as store:
        with pytest.raises(StoreUnavailable, match=r"cannot look .* in mongodb://127.0.0.1:9/db: .*; try again") as caught:
            await store.session_exists(session="one")
        assert "hunter2" not in f"{caught.value} {store!r}"


async def test_what_a_killed_writer_left_is_deleted_an_hour_later(mongodb: MongoDB, archive: Path, tmp_path: Path) -> None:
    url = mongodb.url("killed")
    endless, out = tmp_path / "endless.zip", tmp_path / "out.zip"
    with endless.open("wb") as file:
        file.truncate(ENDLESS)
    async with AsyncMongoClient[Any](url) as client:
        chunks, heads = (client.get_default_database()[f"wwauth.{name}"] for name in ("chunks", "sessions"))
        store = MongoStore(client)
        await store.save(session="one", path=archive)
        before = await chunks.count_documents({})
        writer = save_in_another_process(url, endless)
        try:
            while await chunks.count_documents({}) < before + 8:
                assert writer.poll() is None, "the writer ended by itself"
                await asyncio.sleep(0.01)
        finally:
            writer.kill()
            await asyncio.to_thread(writer.wait)

        await store.save(session="one", path=archive)
        assert await chunks.count_documents({}) > before, "what may belong to a live writer was deleted"
        (head,) = [head async for head in heads.find()]
        old = {f"pending.{file}": datetime.now(UTC) - timedelta(hours=2) for file in head["pending"]}
        await heads.update_one({"_id": "one"}, {"$set": old})
        await store.save(session="one", path=archive)
        assert await chunks.count_documents({}) == before
        await store.extract(session="one", path=out)
        assert out.read_bytes() == archive.read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its peak")
@pytest.mark.parametrize("layout", most_in_soak(["wwauth", "wwebjs-mongo"]))
async def test_a_large_archive_passes_in_little_memory(mongodb: MongoDB, tmp_path: Path, layout: str) -> None:
    assert 0 < await grown_in(mongodb, tmp_path, layout, 50 * MIB) < 40 * MIB


async def grown_in(mongodb: MongoDB, folder: Path, layout: str, size: int) -> int:
    url = mongodb.url("memory")
    return await grown(f"{url}{'&' if '?' in url else '?'}layout={layout}", folder, size)
