"""Auth states in MongoDB: the contract over transactions and without, both layouts, and who holds a session."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import OperationFailure

from wwauth.abc import CREDS, RecordName
from wwauth.authstate import BufferJSON, use_mongo_auth_state
from wwauth.errors import ConfigurationError, CredsCorrupted, LeaseLost, SessionInUse, StoreUnavailable
from wwauth.testing.auth_state_contract import AuthStateContract
from wwauth_stores.authstate.mongo import MongoAuthStateStore, mongo_auth_state_store

from ..servers.fixtures import server_fixture
from ..servers.mongodb import MongoDB
from .auth_logins import BATCH, KEY, SENDER, dead_holder, full_login, killed_writers
from .test_mongo import _collected, motor, motors, pytestmark  # noqa: F401 - fixtures, and what is ignored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from motor.motor_asyncio import AsyncIOMotorClient

    from tests.conftest import RequireOptional

INTEROP = Path(__file__).parents[1] / "interop"

NOBODY = "mongodb://somebody:hunter2@127.0.0.1:9/db?serverSelectionTimeoutMS=100"


class SingleMongoDB(MongoDB):
    """A server that is no replica set, and has no transactions."""

    name = "single_mongodb"

    def __init__(self) -> None:
        super().__init__()
        self.external = None
        self.options = ["--standalone"]

    @classmethod
    def found(cls) -> bool:
        return (Path(__file__).parents[2] / ".servers" / "bin" / "secantusd-py").exists()


single_mongodb = server_fixture(SingleMongoDB)


BOTH = pytest.mark.parametrize("url", ["mongodb", "single_mongodb"], indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    server: MongoDB = request.getfixturevalue(getattr(request, "param", "single_mongodb"))
    return f"{server.url('auth')}&collection=auth"


@pytest.fixture
def kept(url: str) -> Iterator[Any]:
    """Give the collection as another program sees it."""
    with MongoClient[Any](url.replace("&collection=auth", "")) as client:
        yield client.get_default_database()["auth"]


@pytest.fixture
async def store(url: str) -> AsyncIterator[MongoAuthStateStore]:
    async with mongo_auth_state_store(url) as store:
        yield store


class TestMongo(AuthStateContract):
    @pytest.fixture
    def open_state(self, mongodb: MongoDB) -> Any:
        url = f"{mongodb.url('contract')}&collection=auth"
        return lambda session: use_mongo_auth_state(url, session)


class TestGuideOnASingleServer(AuthStateContract):
    many_sessions = False

    @pytest.fixture
    async def open_state(self, single_mongodb: MongoDB) -> AsyncIterator[Any]:
        async with AsyncMongoClient[Any](single_mongodb.url("contract")) as client:
            collection = client.get_default_database()["auth"]
            yield lambda session: use_mongo_auth_state(collection, session, layout="guide")


async def everything(store: MongoAuthStateStore, session: str = "one") -> dict[RecordName, str]:
    return dict([record async for record in store.records(session=session)])


# Layouts


async def test_names_are_exact_and_sessions_apart(store: MongoAuthStateStore, kept: Any) -> None:
    ids = ["a", "A", "a ", "é", "e\u0301", "\U0001f600", "a/b", "a:b", "a-b", "a__b", "", "x" * 3000, "nul\0x"]
    changes = {RecordName(kind, one): f"{kind} {one}" for kind in ("session", "ses/sion", "ses%2Fsion") for one in ids}
    await store.write(session="one", changes={**changes, CREDS: '{"a":1}'})
    for other in ("one.two", "on", "one-two"):
        await store.write(session=other, changes={KEY: other})
    assert await store.read(session="one", names=[*changes, CREDS, KEY]) == {**changes, CREDS: '{"a":1}'}
    assert await everything(store) == {**changes, CREDS: '{"a":1}'}
    assert {name.type async for name, _ in store.records(session="one", type="ses/sion")} == {"ses/sion"}
    assert [record async for record in store.records(session="one", type="creds")] == [(CREDS, '{"a":1}')]
    assert [name async for name in store.list_sessions()] == ["on", "one", "one-two", "one.two"]
    await store.delete(session="one")
    assert await everything(store) == {}
    assert await everything(store, "one-two") == {KEY: "one-two"}
    assert {document["_id"] for document in kept.find()} == {
        f"{name}/session/{KEY.id}" for name in ("on", "one.two", "one-two")
    }


def _file(name: RecordName) -> str:
    return "creds" if name == CREDS else f"{name.type}-{name.id}".replace("/", "__").replace(":", "-")


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ("data", lambda name: "creds" if name == CREDS else f"{name.type}-{name.id}"),
        ("value", lambda name: "creds" if name == CREDS else f"{name.type}-{name.id}"),
        ("data", _file),
        ("data", lambda name: _file(name) + ".json"),
    ],
    ids=["guide", "value", "file names", "file names with .json"],
)
async def test_an_existing_login_is_found_and_kept_as_it_is(
    mongodb: MongoDB, field: str, named: Callable[[RecordName], str]
) -> None:
    url, login = mongodb.url("existing"), full_login()
    with MongoClient[Any](url) as client:
        client.get_default_database()["auth"].insert_many({"_id": named(name), field: text} for name, text in login.items())
        async with MongoAuthStateStore(f"{url}&collection=auth") as store:
            assert await everything(store) == login
            assert await store.read(session="any", names=list(login)) == login
            assert [name async for name in store.list_sessions()] == ["auth"]
            assert {name.type async for name, _ in store.records(session="any", type="sender-key")} == {"sender-key"}
            await store.write(session="any", changes={SENDER: '"new"', CREDS: login[CREDS], KEY: None})
        kept = {document["_id"]: document for document in client.get_default_database()["auth"].find()}
        assert kept == {named(name): {"_id": named(name), field: text} for name, text in {**login, SENDER: '"new"'}.items()}


@pytest.mark.parametrize(
    ("documents", "told"),
    [
        ([{"_id": "pre-key-1", "data": "{}"}], "keys, but no credentials"),
        (
            [{"_id": "one/creds/", "session": "one", "data": "{}"}, {"_id": "creds", "data": "{}"}],
            "beside them|another kind",
        ),
        (
            [{"_id": "creds", "data": "{}"}, {"_id": "one/creds/", "session": "one", "data": "{}"}],
            "beside them|another kind",
        ),
        ([{"_id": "creds", "data": "{}"}, {"_id": "creds.json", "data": "{}"}], "credentials twice"),
        ([{"_id": "creds", "data": "{}", "value": "{}"}], "both data and value"),
        ([{"_id": "creds", "data": None}], "no text in data or value"),
        ([{"_id": "creds", "data": "{}"}, {"_id": 7, "data": "{}"}], "documents of another kind"),
        ([{"_id": "creds", "data": "{}"}, {"_id": "hello", "data": "{}"}], "documents of another kind"),
        ([{"_id": "creds", "data": "{}"}, {"_id": "pre-key-1", "_sessions": {}}], "documents of another kind"),
        (
            [{"_id": name, "data": "{}"} for name in ("creds", "sender-key-g::u::0", "sender-key-h--u--0")],
            "names of records in two forms",
        ),
        ([{"name": "Ann", "secret": "hunter2"}], "documents of an unknown kind .*fields _id, name, secret"),
        ([{"_id": "one:creds", "data": "{}"}], "a prefix before each name keeps it: import it .*migrate --peer"),
        ([{"sessionId": "one", "id": "creds", "data": "{}"}], "names in the field id keeps it: import it"),
        ([{"fileName": "creds.json", "data": "{}"}], "names in the field fileName keeps it: import it"),
        ([{"_id": "creds", "noiseKey": {}}], "use-mongo-file-auth-state keeps it: import it"),
        ([{"_id": "creds", "data": {"noiseKey": {}}}], "a program with objects keeps it: import it"),
        ([{"_id": "auth_creds", "creds": {"noiseKey": {}}}], "mongo-baileys keeps it: import it"),
        ([{"_id": "dev-auth_creds", "deviceId": "dev", "creds": {"noiseKey": {}}}], "multi-mongo keeps it: import it"),
        ([{"key": "keyv:one:creds", "value": '{"value":"{}","expires":1}'}], "Keyv keeps it: import it"),
    ],
)
async def test_what_is_doubtful_is_refused_and_left_alone(mongodb: MongoDB, documents: list[Any], told: str) -> None:
    url = mongodb.url("doubtful")
    with MongoClient[Any](url) as client:
        collection = client.get_default_database()["auth"]
        collection.insert_many(documents)
        before = list(collection.find())
        with pytest.raises(CredsCorrupted, match=told) as caught:
            await use_mongo_auth_state(f"{url}&collection=auth", "one")
        assert "hunter2" not in str(caught.value)
        with pytest.raises(CredsCorrupted):
            await use_mongo_auth_state(f"{url}&collection=auth", "one", "wwauth")
        assert list(collection.find()) == before
        assert client.get_default_database().list_collection_names() == ["auth"]


async def test_the_guides_code_and_wwauth_take_turns(mongodb: MongoDB, require_optional: RequireOptional) -> None:
    require_optional(shutil.which("node") and (INTEROP / "node_modules" / "mongodb").exists(), "npm ci in tests/interop")
    url, login = mongodb.url("guide"), full_login()
    node = await asyncio.create_subprocess_exec(
        *("node", "mongo_auth_state.js", url, "auth"),
        cwd=INTEROP,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )

    async def ask(verb: str, **rest: Any) -> Any:
        assert node.stdin is not None
        assert node.stdout is not None
        node.stdin.write(BufferJSON.dumps({"verb": verb, **rest}).encode() + b"\n")
        return BufferJSON.loads(await node.stdout.readline())["value"]

    try:
        async with MongoAuthStateStore(f"{url}&collection=auth", "guide") as store:
            await store.write(session="bot", changes=login)
        # All that was written is read, and written again byte for byte.
        for name, text in login.items():
            if name != CREDS:
                found = await ask("get", type=name.type, ids=[name.id])
                assert BufferJSON.dumps(found[name.id]) == text
                await ask("set", data={name.type: found})
        creds = await ask("creds")
        await ask("saveCreds", creds=creds)
        state, save_creds = await use_mongo_auth_state(f"{url}&collection=auth")
        async with state:
            assert BufferJSON.dumps(state.creds) == login[CREDS]
            assert await state.keys.get(SENDER.type, [SENDER.id]) == {SENDER.id: BufferJSON.loads(login[SENDER])}
            state.creds["accountSyncCounter"] = 77
            await state.keys.set({"pre-key": {"1": None}, "app-state-sync-key": {"a/b+": {"keyData": "AA=="}}})
            await save_creds()
        assert (await ask("creds"))["accountSyncCounter"] == 77
        assert await ask("get", type="pre-key", ids=["1", "3"]) == {"3": BufferJSON.loads(login[RecordName("pre-key", "3")])}
        assert await ask("get", type="app-state-sync-key", ids=["a/b+"]) == {"a/b+": {"keyData": "AA=="}}
        with MongoClient[Any](url) as client:
            texts = {document["_id"]: document["data"] for document in client.get_default_database()["auth"].find()}
        changed = {**login, CREDS: texts["creds"], RecordName("app-state-sync-key", "a/b+"): '{"keyData":"AA=="}'}
        del changed[RecordName("pre-key", "1")]
        assert texts == {"creds" if name == CREDS else f"{name.type}-{name.id}": text for name, text in changed.items()}
    finally:
        node._transport.close()  # type: ignore[attr-defined]
        await node.wait()


# Writes


@BOTH
async def test_a_writer_that_is_killed_leaves_all_of_a_write_or_nothing(store: MongoAuthStateStore, url: str) -> None:
    for returned in killed_writers(url, 2):
        # Its hold is taken over at once, and what it had begun is finished first.
        assert len(set((await store.read(session="one", names=BATCH)).values())) == 1
        async with store.hold(session="one"):
            found = await store.read(session="one", names=BATCH)
            assert len(found) == len(BATCH)
            (text,) = set(found.values())
            assert int(text) >= returned
            assert await everything(store) == found


async def test_a_write_that_was_noted_counts_and_is_applied_by_the_next_holder(single_mongodb: MongoDB) -> None:
    url = f"{single_mongodb.url('noted')}&collection=auth"
    note = {
        "token": "t",
        "changes": [["one/creds/", {"session": "one", "data": "new"}], ["one/session/1", None]],
        "parts": 1,
    }
    async with mongo_auth_state_store(url) as store:
        await store.write(session="one", changes={CREDS: "old", RecordName("session", "1"): "old"})
        leases = store._collection.database["auth.leases"]
        await leases.insert_one({"_id": "one/t/1", "changes": [["one/session/2", {"session": "one", "data": "new"}]]})
        await leases.update_one({"_id": "one"}, {"$set": {"noted": note}}, upsert=True)
        expected = {CREDS: "new", RecordName("session", "2"): "new"}
        assert await everything(store) == expected
        assert (
            await store.read(session="one", names=[CREDS, RecordName("session", "1"), RecordName("session", "2")]) == expected
        )
        async with store.hold(session="one"):
            assert "noted" not in await leases.find_one({"_id": "one"})
            assert await leases.count_documents({}) == 1
            assert await everything(store) == expected
            await store.delete(session="one")
        assert await everything(store) == {}


ONE, TWO = RecordName("session", "1"), RecordName("session", "2")


async def test_a_read_beside_a_write_sees_all_of_it_or_nothing(
    store: MongoAuthStateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read looks for a note before there is one, and then at the records when half of them are written."""
    writes = store._writes
    take_note, apply, not_applied = writes._take_note, writes._apply, writes.not_applied
    taking, looked, half, rest = (asyncio.Event() for _ in range(4))

    async def take_it_late(*arguments: Any) -> bool:
        taking.set()
        await looked.wait()
        return await take_note(*arguments)

    async def apply_in_halves(changes: Any, session: Any = None) -> None:
        await apply(changes[:1], session)
        half.set()
        await rest.wait()
        await apply(changes[1:], session)

    async def look_early(*arguments: Any, **options: Any) -> Any:
        noted = await not_applied(*arguments, **options)
        looked.set()
        await half.wait()
        return noted

    async with store.hold(session="one"):
        await store.write(session="one", changes={ONE: "old", TWO: "old"})
        for name, slow in (("_take_note", take_it_late), ("_apply", apply_in_halves), ("not_applied", look_early)):
            monkeypatch.setattr(writes, name, slow)
        async with asyncio.TaskGroup() as group:
            group.create_task(store.write(session="one", changes={ONE: "new", TWO: "new"}))
            await taking.wait()
            assert await store.read(session="one", names=[ONE, TWO]) == {ONE: "new", TWO: "new"}
            rest.set()


async def test_a_write_that_broke_off_beside_another_is_not_done_over_a_later_one(
    store: MongoAuthStateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a write has noted and not applied stays known when the one before it, which is under way as well, ends."""
    writes, take_note = store._writes, store._writes._take_note
    notes: list[Any] = []
    first_is_done = asyncio.Event()

    async def take_one_by_one(*arguments: Any) -> bool:
        notes.append(arguments)
        if len(notes) == 2:
            await first_is_done.wait()
        return await take_note(*arguments)

    async def fail(*_: Any) -> None:
        raise StoreUnavailable("the server is away")

    async with store.hold(session="one"):
        with monkeypatch.context() as patched:
            patched.setattr(writes, "_take_note", take_one_by_one)
            first, second = (
                asyncio.create_task(store.write(session="one", changes={ONE: text, TWO: text})) for text in ("1", "2")
            )
            await first
            patched.setattr(writes, "_finish", fail)
            first_is_done.set()
            with pytest.raises(StoreUnavailable):
                await second
        await store.write(session="one", changes={ONE: "3"})
    async with store.hold(session="one"):
        assert await store.read(session="one", names=[ONE, TWO]) == {ONE: "3", TWO: "2"}


async def test_a_write_larger_than_a_document_is_one_write(store: MongoAuthStateStore) -> None:
    changes = {RecordName("session", str(number)): "ä" * (1 << 19) for number in range(20)}
    async with store.hold(session="one"):
        await store.write(session="one", changes={**changes, CREDS: "x" * (5 << 20)})
        found = await store.read(session="one", names=[CREDS, *changes])
    assert found == {**changes, CREDS: "x" * (5 << 20)}
    assert await store._collection.database["auth.leases"].count_documents({}) == 1


# Holds


@BOTH
async def test_whoever_was_overtaken_writes_nothing_more(store: MongoAuthStateStore, url: str, kept: Any) -> None:
    async with store.hold(session="one"):
        await store.write(session="one", changes={CREDS: "{}", KEY: "1"})
        with pytest.raises(SessionInUse, match="pid"):
            async with mongo_auth_state_store(url) as other, other.hold(session="one"):
                pass
        kept.database["auth.leases"].update_one({}, {"$set": {"holder": "another"}, "$inc": {"fence": 1}})
        for late in (
            store.write(session="one", changes={CREDS: "late", KEY: "late"}),
            store.write(session="one", changes={KEY: "late"}),
            store.delete(session="one"),
        ):
            with pytest.raises(LeaseLost, match="another"):
                await late
        assert await everything(store) == {CREDS: "{}", KEY: "1"}


async def test_a_dead_holder_of_this_machine_is_followed_at_once(store: MongoAuthStateStore, kept: Any) -> None:
    async with store.hold(session="one"):
        pass
    leases = kept.database["auth.leases"]
    leases.update_one({}, {"$set": {"holder": dead_holder(), "ttl": 10**9}})
    async with store.hold(session="one"):
        await store.write(session="one", changes={CREDS: "{}"})
    leases.update_one({}, {"$set": {"holder": "elsewhere, pid 1 (00000000.1.00000000)", "ttl": 10**9}})
    with pytest.raises(SessionInUse, match="elsewhere"):
        async with store.hold(session="one"):
            pass


@pytest.mark.parametrize("url", ["mongodb"], indirect=True)
async def test_a_transaction_that_a_dead_holder_left_open_is_ended(store: MongoAuthStateStore, kept: Any) -> None:
    async with store.hold(session="one"):
        await store.write(session="one", changes={CREDS: "old", KEY: "old"})
    leases = kept.database["auth.leases"]
    with kept.database.client.start_session() as dead:
        leases.update_one({}, {"$set": {"holder": dead_holder(), "ttl": 10**9, "transactions": dead.session_id}})
        dead.start_transaction()
        kept.update_one({"_id": "one/creds/"}, {"$set": {"data": "half"}}, session=dead)
        leases.update_one({}, {"$currentDate": {"renewed": True}}, session=dead)
        async with store.hold(session="one"):
            assert await store.read(session="one", names=[CREDS]) == {CREDS: "old"}
            await store.write(session="one", changes={CREDS: "new", KEY: "new"})
        with pytest.raises(OperationFailure):
            dead.commit_transaction()
    assert await everything(store) == {CREDS: "new", KEY: "new"}


async def test_in_the_guides_layout_every_name_is_the_same_login(mongodb: MongoDB) -> None:
    url = f"{mongodb.url('label')}&collection=auth"
    async with mongo_auth_state_store(url, "guide") as store, store.hold(session="one"):
        with pytest.raises(SessionInUse):
            async with store.hold(session="two"):
                pass


# Clients


async def test_over_motor(motor: AsyncIOMotorClient[Any]) -> None:  # noqa: F811 - a fixture
    collection = motor["auth_over_motor"]["auth"]
    await collection.drop()
    state, save_creds = await use_mongo_auth_state(collection)
    async with state:
        await save_creds()
        await state.keys.set({"pre-key": {str(number): {"n": number} for number in range(600)}})
        assert len(await state.keys.get("pre-key", [str(number) for number in range(700)])) == 600
        assert len(await state.keys.list_ids("pre-key")) == 600
        await state.logout()
    assert await collection.count_documents({}) == 0
    await motor.drop_database("auth_over_motor")


async def test_what_is_given_is_borrowed(mongodb: MongoDB) -> None:
    async with AsyncMongoClient[Any](mongodb.url("borrowed")) as client:
        async with mongo_auth_state_store(client.get_default_database()["auth"]) as store:
            await store.write(session="one", changes={CREDS: "{}"})
        assert await client.get_default_database()["auth"].count_documents({}) == 1


@pytest.mark.parametrize("given", ["mysql://host", "mongodb://u:hunter2@[/db", {}, None, AsyncMongoClient])
async def test_what_is_no_collection_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        mongo_auth_state_store(given)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="invalid layout 'else'"):
        mongo_auth_state_store(NOBODY, "else")  # type: ignore[arg-type]
