"""The logins of other programs, read as records: a real one's, laid out exactly as each of the programs does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient
from redis import Redis as BlockingRedis

from wwauth.abc import CREDS, RecordName
from wwauth.authstate import BufferJSON
from wwauth.errors import CredsCorrupted
from wwauth_stores.authstate.mongo import mongo_auth_state_store
from wwauth_stores.authstate.redis import redis_auth_state_store

from .auth_logins import full_login

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wwauth_stores.authstate._peers import PeerState

    from ..servers.mongodb import MongoDB
    from ..servers.redis import Redis

LOGIN = full_login()


def memory(name: RecordName) -> str:
    """Name a record as programs do that know nothing of files."""
    return "creds" if name == CREDS else f"{name.type}-{name.id}"


def file(name: RecordName) -> str:
    return memory(name).replace("/", "__").replace(":", "-")


def spread(value: Any) -> dict[str, Any]:
    """Return what `{...value}` is in JavaScript."""
    if isinstance(value, str):
        return {str(place): letter for place, letter in enumerate(value)}
    if isinstance(value, list):
        return {str(place): item for place, item in enumerate(value)}
    return dict(value)


def set_each(collection: Any, identifier: str, fields: dict[str, Any]) -> None:
    """Do what these programs do, dots in names and all."""
    collection.update_one({"_id": identifier}, {"$set": fields} if fields else {"$setOnInsert": {}}, upsert=True)


def as_spread(collection: Any, session: str) -> None:
    """use-mongo-file-auth-state and what is like it: JSON, spread over a document by `$set`."""
    for name, text in LOGIN.items():
        set_each(collection, f"{session}{memory(name)}", spread(json.loads(text)))


def as_objects(collection: Any, session: str) -> None:
    """A schema of mongoose's with `data: Object`."""
    collection.insert_many(
        {"_id": f"{session}{memory(name)}", "data": json.loads(text), "__v": 0} for name, text in LOGIN.items()
    )


def as_columns(collection: Any, session: str) -> None:
    collection.insert_many({"sessionId": session, "id": memory(name), "data": text} for name, text in LOGIN.items())


def as_objects_in_columns(collection: Any, session: str) -> None:
    collection.insert_many({"sessionId": session, "key": file(name), "value": json.loads(text)} for name, text in LOGIN.items())


def as_files(collection: Any, session: str) -> None:
    collection.insert_many({"fileName": f"{file(name)}.json", "data": text} for name, text in LOGIN.items())


def with_prefixes(collection: Any, session: str) -> None:
    collection.insert_many({"_id": f"{session}{file(name)}", "value": text} for name, text in LOGIN.items())


@pytest.fixture
def mongo(mongodb: MongoDB) -> Iterator[tuple[str, Any]]:
    url = mongodb.url("peers")
    with MongoClient[Any](url) as client:
        yield url, client.get_default_database()["auth"]


async def found_in(url: str) -> list[tuple[PeerState, dict[RecordName, str]]]:
    async with mongo_auth_state_store(f"{url}&collection=auth") as store:
        peers = await store.peers()
        return [(peer, dict([record async for record in peer.records()])) for peer in peers]


@pytest.mark.parametrize(
    ("write", "sessions", "program"),
    [
        (as_spread, [""], "use-mongo-file-auth-state"),
        (as_spread, ["one:", "two:"], "use-mongo-file-auth-state"),
        (as_objects, [""], "a program with objects"),
        (as_objects_in_columns, ["one", "two"], "a program with objects"),
        (as_columns, ["one", "two"], "a program with names in the field id"),
        (as_files, [""], "a program with names in the field fileName"),
        (with_prefixes, ["one:", "bot:two:"], "a program with a prefix before each name"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_what_another_program_kept_in_mongodb_is_what_baileys_would_have_written(
    mongo: tuple[str, Any], write: Callable[[Any, str], None], sessions: list[str], program: str
) -> None:
    url, collection = mongo
    for session in sessions:
        write(collection, session)
    collection.insert_one({"name": "something else"})
    found = await found_in(url)
    assert [peer.program for peer, _ in found] == [program] * len(sessions)
    named = ["default" if not session else session.rstrip(":-").split(":")[-1] for session in sessions]
    assert sorted(peer.session for peer, _ in found) == sorted(named)
    for peer, records in found:
        if write is as_spread:
            # The server sorts the fields that a `$set` adds.
            assert {name: BufferJSON.loads(text) for name, text in records.items()} == {
                name: BufferJSON.loads(text) for name, text in LOGIN.items()
            }
        else:
            assert records == LOGIN
        if write is as_spread:
            assert len(peer.problems) == 2
            assert all("kept in pieces and put together" in problem for problem in peer.problems)
        else:
            assert peer.problems == []


async def test_what_cannot_be_told_is_reported_and_left_out(mongo: tuple[str, Any]) -> None:
    url, collection = mongo
    collection.insert_many(
        [
            {"_id": "creds", **json.loads(LOGIN[CREDS])},
            {"_id": "lid-mapping-1", "0": "9", "2": "9"},
            {"_id": "lid-mapping-2"},
            {"_id": "device-list-1", "0": "7", "1": "12"},
            {"_id": "nonsense", "a": 1},
        ]
    )
    ((peer, records),) = await found_in(url)
    assert records == {CREDS: LOGIN[CREDS], RecordName("device-list", "1"): '["7","12"]'}
    assert sorted(peer.problems) == [
        "1 of its entries have names of no record, and were left out",
        "1 of the type device-list were kept in pieces and put together; pieces that were removed later may still be there",
        "2 of the type lid-mapping cannot be read, and were left out",
    ]


async def test_credentials_that_cannot_be_read_are_no_login(mongo: tuple[str, Any]) -> None:
    url, collection = mongo
    collection.insert_one({"_id": "one:creds", "data": '{"noiseKey": hunter2'})
    with pytest.raises(CredsCorrupted, match=r"credentials of .*'one'.* cannot be read") as caught:
        await found_in(url)
    assert "hunter2" not in str(caught.value)


async def test_what_other_programs_kept_in_redis_is_what_baileys_wrote(redis: Redis) -> None:
    with BlockingRedis(port=redis.port, db=2) as kept:
        kept.flushdb()
        kept.hset("one:auth", mapping={file(name): text for name, text in LOGIN.items()})
        kept.hset("none:auth", mapping={"token": "x"})
        kept.set("something", "else")
        for name, text in LOGIN.items():
            kept.set(f"two:{file(name)}", text)
            kept.set(f"bot:three:{memory(name)}", text)
        kept.set("a:bot:creds", LOGIN[CREDS])
        kept.set("b:bot:creds", LOGIN[CREDS])
    async with redis_auth_state_store(f"redis://127.0.0.1:{redis.port}/2") as store:
        found = {peer.session: peer for peer in await store.peers()}
        assert {name: peer.program for name, peer in found.items()} == {
            "one": "baileys-redis-auth",
            "two": "a program with plain keys",
            "three": "a program with plain keys",
            # What two would be called, neither is.
            "a_bot": "a program with plain keys",
            "b_bot": "a program with plain keys",
        }
        for peer in found.values():
            records = dict([record async for record in peer.records()])
            assert records == ({CREDS: LOGIN[CREDS]} if "bot" in peer.session else LOGIN)
            assert peer.problems == []
