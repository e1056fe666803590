"""The Mongo store over both drivers: the contract in both layouts, and what is MongoDB's own."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import pytest
from bson import ObjectId
from gridfs import AsyncGridFSBucket
from motor.frameworks.asyncio import _EXECUTOR
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient, MongoClient
from pymongo.monitoring import CommandListener
from pyrage import x25519

from wwauth import RemoteAuth
from wwauth.backup import BackupEngine
from wwauth.errors import ConfigurationError, LeaseLost, SessionCorrupted, StoreError, StoreUnavailable
from wwauth.stores import EncryptedStore, MongoStore, open_store
from wwauth.testing.store_contract import StoreContract
from wwauth_stores._mongo_heads import Heads

from ..unit.profiles import ORIGIN, make_profile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.servers.mongodb import MongoDB
    from wwauth.abc import Store

MIB = 1024 * 1024
SECRET = "hunter2"
NOBODY = "mongodb://127.0.0.1:9/db?serverSelectionTimeoutMS=100"
PACK = "RemoteAuth-a.7.0123abcd"

# Long ago, for whatever a crash has left.
OLD = datetime.now(UTC) - timedelta(hours=2)


# pymongo leaves the closing of a socket to Python when a call is cancelled that is just connecting.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """Have such sockets closed before other modules' tests begin."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def motors(mongodb: MongoDB) -> Iterator[AsyncIOMotorClient[Any]]:
    """
    Give a client of motor's, whose threads are there before the tests are: they are no leaks, and slow to end.

    Those of its executor stay for as long as the process lives.
    """
    together = threading.Barrier(_EXECUTOR._max_workers + 1)
    for _ in range(_EXECUTOR._max_workers):
        _EXECUTOR.submit(together.wait)
    together.wait()
    # One driver repeats a write whose connection broke, the other one leaves that to its caller.
    client = AsyncIOMotorClient[Any](mongodb.url("motor"), retryWrites=False)
    client.delegate.admin.command("ping")
    yield client
    client.close()


@pytest.fixture
def motor(motors: AsyncIOMotorClient[Any]) -> AsyncIOMotorClient[Any]:
    """Give that client to the event loop of this test: it takes that of its first call."""
    motors._io_loop = None
    return motors


@pytest.fixture
def url(mongodb: MongoDB) -> str:
    return mongodb.url("stores")


@pytest.fixture
async def client(url: str) -> AsyncIterator[AsyncMongoClient[Any]]:
    async with AsyncMongoClient[Any](url, tz_aware=True) as client:
        yield client


@pytest.fixture
def store(client: AsyncMongoClient[Any]) -> MongoStore:
    return MongoStore(client)


@pytest.fixture
def database(client: AsyncMongoClient[Any]) -> Any:
    return client.get_default_database()


class TestOverPymongo(StoreContract):
    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[MongoStore]:
        self.url = url
        async with MongoStore.from_url(url) as store:
            yield store

    async def reopen(self, store: Store) -> Store:
        return MongoStore.from_url(self.url)

    def open_elsewhere(self, store: Store) -> str:
        return f"from wwauth.stores import open_store; store = open_store({self.url!r})"

    async def unreachable(self) -> Store:
        return MongoStore.from_url(NOBODY)

    async def connections(self, store: Store) -> int:
        return len([each for each in psutil.Process().net_connections("tcp") if each.status == psutil.CONN_ESTABLISHED])


class TestOverMotor(StoreContract):
    @pytest.fixture
    def store(self, motor: AsyncIOMotorClient[Any], url: str) -> MongoStore:
        self.client, self.url = motor, url
        return MongoStore(motor, database=database_of(url))

    async def reopen(self, store: Store) -> Store:
        return MongoStore(self.client, database=database_of(self.url))

    def open_elsewhere(self, store: Store) -> str:
        return (
            "from motor.motor_asyncio import AsyncIOMotorClient; from wwauth.stores import MongoStore; "
            f"store = MongoStore(AsyncIOMotorClient({self.url!r}))"
        )


class TestPeersLayout(StoreContract):
    @pytest.fixture
    def store(self, client: AsyncMongoClient[Any], url: str) -> MongoStore:
        self.client, self.url = client, url
        return MongoStore(client, layout="wwebjs-mongo")

    async def reopen(self, store: Store) -> Store:
        return MongoStore(self.client, layout="wwebjs-mongo")

    def open_elsewhere(self, store: Store) -> str:
        return f"from wwauth.stores import MongoStore; store = MongoStore.from_url({self.url!r}, layout='wwebjs-mongo')"

    async def unreachable(self) -> Store:
        return MongoStore.from_url(NOBODY, layout="wwebjs-mongo")


def database_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def made(tmp_path: Path, *, size: int = 1000, seed: int = 1, name: str = "source.zip") -> tuple[Path, bytes]:
    data = random.Random(seed).randbytes(size)
    (tmp_path / name).write_bytes(data)
    return tmp_path / name, data


async def back(store: MongoStore, tmp_path: Path, session: str = "one") -> bytes:
    await store.extract(session=session, path=tmp_path / "back.zip")
    return (tmp_path / "back.zip").read_bytes()


async def count(database: Any) -> tuple[int, int]:
    """Return how many files and how many chunks wwauth's bucket has."""
    return await database["wwauth.files"].count_documents({}), await database["wwauth.chunks"].count_documents({})


async def test_both_drivers_work_on_the_same_archives(
    store: MongoStore, motor: AsyncIOMotorClient[Any], database: Any, tmp_path: Path
) -> None:
    other = MongoStore(motor, database=database.name)
    path, data = made(tmp_path)
    await store.save(session="one", path=path)
    assert await back(other, tmp_path) == data
    async with other.lease(session="one", holder="motor", ttl=60) as lease:
        path, data = made(tmp_path, seed=2)
        await other.save(session="one", path=path, fence=lease.fence)
    assert await back(store, tmp_path) == data
    async with store.lease(session="one", holder="pymongo", ttl=60) as later:
        assert later.fence > lease.fence
        with pytest.raises(LeaseLost, match="taken over by pymongo"):
            await other.delete(session="one", fence=lease.fence)


async def test_a_borrowed_client_stays_open_and_a_closed_store_says_so(client: Any, url: str) -> None:
    first, second = MongoStore(client), MongoStore(client, bucket_prefix="other")
    await first.close()
    assert await second.session_exists(session="one") is False
    with pytest.raises(ConfigurationError, match=r"was closed; make a new one"):
        await first.session_exists(session="one")
    owned = MongoStore.from_url(url)
    assert await owned.session_exists(session="one") is False
    await owned.close()
    with pytest.raises(ConfigurationError, match=r"was closed; make a new one"):
        await owned.session_exists(session="one")


async def test_stores_on_one_client_share_nothing(client: Any, url: str, tmp_path: Path) -> None:
    database = client.get_default_database().name
    stores = [MongoStore(client), MongoStore(client, bucket_prefix="other"), MongoStore(client, database=f"{database}_2")]
    for seed, store in enumerate(stores):
        await store.save(session="one", path=made(tmp_path, seed=seed)[0])
    for seed, store in enumerate(stores):
        assert await back(store, tmp_path) == random.Random(seed).randbytes(1000)
    await client.drop_database(f"{database}_2")


async def test_the_tools_of_gridfs_read_an_archive(store: MongoStore, database: Any, tmp_path: Path) -> None:
    path, data = made(tmp_path, size=5 * MIB + 7)
    await store.save(session="one", path=path)
    stream = await AsyncGridFSBucket(database, bucket_name="wwauth").open_download_stream_by_name("one.zip")
    assert await stream.read() == data
    indexes = [await database[f"wwauth.{each}"].index_information() for each in ("files", "chunks")]
    assert {"filename_1_uploadDate_1", "files_id_1_n_1"} <= {name for each in indexes for name in each}


async def test_a_replaced_or_deleted_archive_leaves_nothing(store: MongoStore, database: Any, tmp_path: Path) -> None:
    for seed in range(3):
        await store.save(session="one", path=made(tmp_path, size=2 * MIB, seed=seed)[0])
    await store.save(session=PACK, path=made(tmp_path)[0])
    assert await count(database) == (2, 3)
    await store.delete(session=PACK)
    await store.delete(session="one")
    assert await count(database) == (0, 0)
    (head,) = [head async for head in database["wwauth.sessions"].find()]
    assert (head["_id"], head["open"], head["pending"], head["dead"]) == ("one", 0, {}, {}), "only a pack's head goes, too"
    await store.save(session="one", path=made(tmp_path)[0])
    assert [info.revision async for info in store.list_sessions()] == [4], "the revision began anew"


async def test_every_write_is_safe_and_every_read_is_true(url: str, tmp_path: Path) -> None:
    commands = []

    class Listener(CommandListener):
        def started(self, event: Any) -> None:
            commands.append(event.command)

        def succeeded(self, event: Any) -> None: ...
        def failed(self, event: Any) -> None: ...

    options: dict[str, Any] = {"w": 0, "readPreference": "secondary", "event_listeners": [Listener()]}
    async with AsyncMongoClient[Any](url, **options) as client:
        for layout in ("wwauth", "wwebjs-mongo"):
            store = MongoStore(client, layout=layout)
            for seed in (1, 2):
                await store.save(session="one", path=made(tmp_path, seed=seed)[0])
            await back(store, tmp_path)
            await store.delete(session="one")
        await MongoStore(client).lease(session="one", holder="me", ttl=60).__aenter__()
    seen = {name for command in commands for name in [next(iter(command))]}
    assert {"insert", "update", "delete", "find", "findAndModify"} <= seen
    for command in commands:
        if next(iter(command)) in {"insert", "update", "delete", "findAndModify"}:
            assert command["writeConcern"] == {"w": "majority", "j": True}, command
        if next(iter(command)) == "find":
            assert command["readConcern"] == {"level": "majority"}, command


async def uploading(database: Any, session: str, since: datetime, *, dead: bool = False) -> ObjectId:
    """Leave what a writer leaves that dies in the middle of a save, or between its commit and its deletions."""
    file = ObjectId()
    await database["wwauth.chunks"].insert_many([{"files_id": file, "n": n, "data": b"half a login"} for n in range(3)])
    if dead:
        await database["wwauth.files"].insert_one({"_id": file, "filename": f"{session}.zip", "uploadDate": since})
    change = {"$set": {f"{'dead' if dead else 'pending'}.{file}": since}, "$inc": {"open": 1}}
    await database["wwauth.sessions"].update_one({"_id": session}, change, upsert=True)
    return file


async def age(database: Any) -> None:
    """Let all that is dead have been so for long."""
    async for head in database["wwauth.sessions"].find():
        for file in head.get("dead", {}):
            await database["wwauth.sessions"].update_one({"_id": head["_id"]}, {"$set": {f"dead.{file}": OLD}})


@pytest.mark.parametrize("verb", ["save", "delete"])
async def test_what_crashed_writers_left_is_deleted_after_the_grace(
    client: Any, store: MongoStore, database: Any, tmp_path: Path, verb: str
) -> None:
    path, data = made(tmp_path)
    await store.save(session="one", path=path)
    for session in ("one", "another", PACK):
        await uploading(database, session, OLD)
        await uploading(database, session, OLD, dead=True)
    young = await uploading(database, "another", datetime.now(UTC))
    for _ in range(2):
        # A new store looks at its first write. What it gives up is noted as dead, and after another grace forgotten.
        again = MongoStore(client)
        if verb == "save":
            await again.save(session="one", path=path)
        else:
            await again.delete(session="one")
        left = [chunk["files_id"] async for chunk in database["wwauth.chunks"].find({"data": b"half a login"})]
        assert left == [young] * 3, "what a live writer may be at is not touched, and nothing else is left"
        await age(database)
    heads = {head["_id"]: head["open"] async for head in database["wwauth.sessions"].find()}
    assert heads == {"one": 0, "another": 1}
    if verb == "save":
        assert await back(store, tmp_path) == data


async def test_a_save_that_fails_leaves_nothing_but_a_note(store: MongoStore, database: Any, tmp_path: Path) -> None:
    path, data = made(tmp_path)
    await store.save(session="one", path=path)
    cut, _ = made(tmp_path, size=24 * MIB, name="cut.zip")
    save = asyncio.create_task(store.save(session="one", path=cut))
    while await database["wwauth.chunks"].count_documents({}) < 5:
        assert not save.done()
    os.truncate(cut, 5 * MIB)
    with pytest.raises(StoreError, match="changed while it was saved"):
        await save
    assert await count(database) == (1, 1)
    assert await back(store, tmp_path) == data


@pytest.mark.parametrize("how", ["deleted", "swept"])
async def test_an_upload_that_was_given_up_is_not_committed(store: MongoStore, database: Any, tmp_path: Path, how: str) -> None:
    heads, file = Heads(database, "wwauth.sessions", store._step), ObjectId()
    path, data = made(tmp_path)
    await store.save(session="one", path=path)
    head = await heads.begin("one", file, None, "save it")
    if how == "deleted":
        await store.delete(session="one")
    else:
        await database["wwauth.sessions"].update_one({"_id": "one"}, {"$set": {f"pending.{file}": OLD}})
        await store.save(session="one", path=path)
    with pytest.raises(StoreUnavailable, match="was not committed"):
        await heads.touch("one", file, "save it")
    with pytest.raises(StoreUnavailable, match="was not committed"):
        await heads.commit(head, file, 10, None, "save it")
    if how == "deleted":
        assert await store.session_exists(session="one") is False
    else:
        assert await back(store, tmp_path) == data


@pytest.mark.parametrize("damage", ["a chunk is gone", "a chunk is short", "a byte is another one", "the document is gone"])
async def test_a_damaged_archive_is_never_handed_out(store: MongoStore, database: Any, tmp_path: Path, damage: str) -> None:
    path, data = made(tmp_path, size=3 * MIB)
    await store.save(session="one", path=path)
    chunks, second = database["wwauth.chunks"], {"n": 1}
    if damage == "a chunk is gone":
        await chunks.delete_one(second)
    elif damage == "a chunk is short":
        await chunks.update_one(second, {"$set": {"data": data[MIB : 2 * MIB - 1]}})
    elif damage == "a byte is another one":
        await chunks.update_one(second, {"$set": {"data": bytes(MIB)}})
    else:
        await database["wwauth.files"].delete_many({})
    with pytest.raises(SessionCorrupted, match=r"session 'one' in mongodb://.* is damaged: "):
        await back(store, tmp_path)
    assert not (tmp_path / "back.zip").exists()
    await store.save(session="one", path=path)
    assert await back(store, tmp_path) == data


async def test_a_head_of_a_later_format_is_left_alone(store: MongoStore, database: Any, tmp_path: Path) -> None:
    await store.save(session="one", path=made(tmp_path)[0])
    await database["wwauth.sessions"].update_one({}, {"$set": {"format": 2}})
    with pytest.raises(StoreError, match="a newer wwauth"):
        await back(store, tmp_path)
    with pytest.raises(StoreError, match="a newer wwauth"):
        await store.delete(session="one")
    with pytest.raises(StoreError, match="a newer wwauth"):
        await store.save(session="one", path=tmp_path / "source.zip")
    with pytest.raises(StoreError, match="a newer wwauth"):
        await store.lease(session="one", holder="me", ttl=60).__aenter__()
    (head,) = [head async for head in database["wwauth.sessions"].find()]
    assert (head["format"], head["pending"], head["open"]) == (2, {}, 0)


# The peer's layout --------------------------------------------------------------------------------------------------


async def test_of_the_peers_revisions_the_newest_counts_and_a_save_leaves_one(
    client: Any, database: Any, tmp_path: Path
) -> None:
    store = MongoStore(client, layout="wwebjs-mongo")
    bucket = AsyncGridFSBucket(database, bucket_name="whatsapp-one")
    for data in (b"oldest", b"older", b"newest"):
        await bucket.upload_from_stream("one.zip", data)
    await bucket.upload_from_stream("other.zip", b"another file's")
    # Its writer's clock was an hour ahead.
    files = database["whatsapp-one.files"]
    await files.update_one(
        {"filename": "one.zip", "length": 6}, {"$set": {"uploadDate": datetime.now(UTC) + timedelta(hours=1)}}
    )
    assert await back(store, tmp_path) in {b"oldest", b"newest"}
    path, data = made(tmp_path)
    await store.save(session="one", path=path)
    assert await back(store, tmp_path) == data
    assert sorted([file["filename"] async for file in files.find()]) == ["one.zip", "other.zip"]
    await store.delete(session="one")
    assert [file["filename"] async for file in files.find()] == ["other.zip"]
    assert await store.session_exists(session="one") is False


async def test_a_save_in_the_peers_layout_beside_a_deletion_is_done(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive is there for a moment, and is gone when the save looks for older ones."""
    store = MongoStore(client, layout="wwebjs-mongo")
    layout: Any = store._layout
    bucket = layout._bucket("one")
    publish = bucket.publish

    async def published(*arguments: Any) -> None:
        await publish(*arguments)
        await store.delete(session="one")

    monkeypatch.setattr(bucket, "publish", published)
    await store.save(session="one", path=made(tmp_path)[0])
    assert await store.session_exists(session="one") is False


async def test_what_crashed_in_the_peers_layout_is_deleted_after_the_grace(client: Any, database: Any, tmp_path: Path) -> None:
    store = MongoStore(client, layout="wwebjs-mongo")
    chunks = database["whatsapp-one.chunks"]
    old, young = ObjectId.from_datetime(OLD), ObjectId()
    await chunks.insert_many([{"files_id": file, "n": 0, "data": b"half a login"} for file in (old, young)])
    path, data = made(tmp_path)
    await store.save(session="one", path=path)
    assert await chunks.distinct("files_id", {"data": b"half a login"}) == [young]
    assert await back(store, tmp_path) == data


async def test_packs_are_refused_where_the_peer_reads(client: Any, tmp_path: Path) -> None:
    store = MongoStore(client, layout="wwebjs-mongo")
    for each in (store, encrypted(store)):
        for kind in (RemoteAuth, lambda store: BackupEngine(store, session="one")):
            with pytest.raises(ConfigurationError, match=r'takes no packs.*archive="whatsapp-web.js"'):
                kind(store=each)
        RemoteAuth(store=each, archive="whatsapp-web.js", data_path=tmp_path)
        BackupEngine(each, session="one", archive="whatsapp-web.js")
    RemoteAuth(store=MongoStore(client), data_path=tmp_path)


async def test_a_login_of_the_peers_goes_on_in_packs(client: Any, tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "data" / "one")
    theirs = BackupEngine(MongoStore(client, layout="wwebjs-mongo"), session="one", archive="whatsapp-web.js", origin=ORIGIN)
    await theirs.save(profile)
    store = MongoStore(client)
    ours = BackupEngine(store, session="one", origin=ORIGIN)
    restored = tmp_path / "there" / "one"
    assert (await ours.restore(restored)).generation == 1
    assert (await ours.save(restored)).generation == 2
    assert (await ours.verify()).ok
    assert [info.session async for info in store.list_sessions()] == ["one"]
    assert len([info async for info in store.list_sessions(packs=True)]) == 2
    await ours.delete()
    assert [info async for info in store.list_sessions(packs=True)] == []
    assert not await theirs.exists()


def encrypted(store: MongoStore) -> EncryptedStore:
    key = x25519.Identity.generate()
    return EncryptedStore(store, recipients=[key.to_public()], identities=[key])


@pytest.mark.parametrize("layout", ["wwauth", "wwebjs-mongo"])
async def test_collections_of_others_are_not_listed(client: Any, database: Any, tmp_path: Path, layout: Any) -> None:
    for name in ("whatsapp-.files", "whatsapp-a b.files", "whatsapp-.hidden.files", "whatsapp-empty.files", "sms-one.files"):
        await database[name].insert_one({"filename": "other"})
    await database["whatsapp-odd.files"].insert_one({"filename": "odd.zip", "length": "long"})
    store = MongoStore(client, layout=layout)
    assert [info async for info in store.list_sessions()] == []
    assert await store.session_exists(session="empty") is False
    assert await store.session_exists(session="odd") is True
    with pytest.raises(SessionCorrupted, match="'odd'"):
        await back(store, tmp_path, "odd")


# Doors and words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("mongodb://localhost/db", False),
        ("mongodb://127.0.0.2:1234,[::1]:1234/db", False),
        ("mongodb://%2Ftmp%2Fmongodb-27017.sock/db", False),
        ("mongodb://db.example/db", True),
        ("mongodb://localhost,db.example/db", True),
        ("mongodb+srv://db.example/db", True),
    ],
)
def test_what_leaves_this_machine_is_remote(url: str, remote: bool) -> None:
    store = open_store(url)
    assert isinstance(store, MongoStore)
    assert store.features.remote is remote
    assert (store.features.leases, store.features.listing, store.features.packs) == (True, True, True)


@pytest.mark.parametrize("start", ["mongodb://", "MongoDB://"])
def test_no_secret_is_shown(start: str) -> None:
    store = open_store(f"{start}user:{SECRET}@db.example:27018/logins?authSource=admin")
    assert repr(store) == "MongoStore('mongodb://db.example:27018/logins')"
    assert repr(open_store("mongodb://db.example")) == "MongoStore('mongodb://db.example:27017/wwauth')"


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://",
        "mongodb:",
        f"mongodb://user:{SECRET}@",
        f"mongodb://user:{SECRET}@@host/db",
        f"mongodb://user:{SECRET}/@host/db",
        f"mongodb://user:{SECRET}@host:port/db",
        f"mongodb+motor://user:{SECRET}@host/db",
        f"mongodb+srv://user:{SECRET}@host:27017/db",
    ],
)
def test_a_wrong_url_is_named_without_its_secret(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"invalid store URL 'mongodb.*: write mongodb://user:password@host") as caught:
        open_store(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"database": "a/b"}, "'a/b'"),
        ({"database": ""}, "''"),
        ({"database": 3}, "3"),
        ({"bucket_prefix": ""}, "''"),
        ({"bucket_prefix": "$x"}, r"'\$x'"),
        ({"bucket_prefix": "system.x"}, "'system.x'"),
        ({"layout": "gridfs"}, "'gridfs'"),
        ({"timeout": 0}, "0"),
    ],
)
def test_wrong_options_are_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"invalid {next(iter(wrong))} {named}: "):
        MongoStore.from_url("mongodb://localhost", **wrong)


def test_what_is_no_client_is_refused() -> None:
    with MongoClient[Any]("mongodb://localhost", connect=False) as blocking:
        for wrong in (blocking, blocking["db"], "mongodb://localhost", None):
            with pytest.raises(ConfigurationError, match="give pymongo's AsyncMongoClient or motor's AsyncIOMotorClient"):
                MongoStore(wrong)  # type: ignore[arg-type]
