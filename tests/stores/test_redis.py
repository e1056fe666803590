"""The Redis store, on a real server: the contract, and what is Redis's own."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import Redis as Client
from redis.asyncio import RedisCluster as ClusterClient

from wwauth.errors import ConfigurationError, LeaseLost, SessionCorrupted, SessionNotFound
from wwauth.stores import RedisStore, open_store
from wwauth.testing.store_contract import StoreContract

from ..servers.fixtures import server_fixture
from ..servers.redis import ForgetfulRedis, RedisCluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from wwauth.abc import Store

    from ..servers.redis import Redis

SECRET = "hunter2"
MIB = 1024 * 1024

forgetful_redis = server_fixture(ForgetfulRedis)
redis_cluster = server_fixture(RedisCluster)


@pytest.fixture
def prefix() -> str:
    return secrets.token_hex(4)


@pytest.fixture
def url(redis: Redis, prefix: str) -> str:
    return redis.url(prefix)


@pytest.fixture
async def store(url: str) -> AsyncIterator[RedisStore]:
    async with RedisStore.from_url(url) as store:
        yield store


@pytest.fixture
async def client(redis: Redis) -> AsyncIterator[Any]:
    async with Client(port=redis.port) as client:
        yield client


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "source.zip"
    path.write_bytes(secrets.token_bytes(2 * MIB + 1))
    return path


class TestRedisStore(StoreContract):
    @pytest.fixture
    async def store(self, redis: Redis, url: str) -> AsyncIterator[Store]:
        self.url, self.server = url, redis
        async with RedisStore.from_url(url) as store:
            yield store

    async def reopen(self, store: Store) -> Store:
        return open_store(self.url)

    def open_elsewhere(self, store: Store) -> str:
        return f"from wwauth.stores import open_store; store = open_store({self.url!r})"

    async def unreachable(self) -> Store:
        return RedisStore.from_url("redis://127.0.0.1:9/0", timeout=2)

    async def connections(self, store: Store) -> int:
        return self.server.clients()


async def holds(store: Store, archive: Path, session: str = "one") -> bool:
    out = archive.with_name("out.zip")
    await store.extract(session=session, path=out)
    return out.read_bytes() == archive.read_bytes()


async def keys(client: Any, prefix: str) -> dict[str, bytes]:
    """Return the keys of a store by what follows the prefix and the session's name, as `chunks`, `head`, `lease`."""
    found = [key async for key in client.scan_iter(match=f"{prefix}:*", count=1000)]
    return {key.decode().rpartition("}:")[2].partition(":")[0]: key for key in found}


async def test_in_a_cluster(redis_cluster: RedisCluster, archive: Path) -> None:
    async with ClusterClient(host="127.0.0.1", port=redis_cluster.port) as client:
        store = RedisStore(client)
        for name in ("one", "two", "two.7.0123abcd"):
            await store.save(session=name, path=archive)
            await store.save(session=name, path=archive)
        assert await holds(store, archive, "two")
        assert [(info.session, info.revision) async for info in store.list_sessions()] == [("one", 2), ("two", 2)]
        assert [info.session async for info in store.list_sessions(prefix="two.", packs=True)] == ["two.7.0123abcd"]
        async with store.lease(session="one", holder="me", ttl=60) as lease:
            await store.save(session="one", path=archive, fence=lease.fence)
            await store.delete(session="one", fence=lease.fence)
        assert await store.session_exists(session="one") is False
        assert repr(store) == "RedisStore('a Redis cluster')"
        assert store.features.remote is True
        await store.close()
        assert await client.ping()


async def test_a_borrowed_client_is_not_closed_and_an_owned_one_is(redis: Redis, client: Any, archive: Path, url: str) -> None:
    store = RedisStore(client, key_prefix=f"{secrets.token_hex(4)}:")
    await store.save(session="one", path=archive)
    await store.close()
    assert await client.ping()
    with pytest.raises(ConfigurationError, match="was closed"):
        await store.session_exists(session="one")

    before = redis.clients()
    async with RedisStore.from_url(url) as own:
        await asyncio.gather(*(own.save(session=f"s{n}", path=archive) for n in range(5)))
        assert redis.clients() > before
    with pytest.raises(ConfigurationError, match="was closed"):
        await own.save(session="one", path=archive)
    while redis.clients() > before:  # noqa: ASYNC110 - the server sees it in its own time
        await asyncio.sleep(0.01)


async def test_closing_beside_a_call_leaves_no_connection(redis: Redis, client: Any, url: str) -> None:
    """The driver asks once more, over a new connection, what was under way; that ends with its call."""
    await client.ping()
    before = redis.clients()
    key = secrets.token_hex(4)

    async def wait_for_the_server() -> None:
        while not (await client.info("clients"))["blocked_clients"]:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0)

    async with RedisStore.from_url(url) as own:
        asked = asyncio.create_task(own._client.blpop([key], 0))
        await wait_for_the_server()
    await wait_for_the_server()
    await client.rpush(key, "answer", "another")
    await asked
    await client.delete(key)
    async with asyncio.timeout(60):
        while redis.clients() > before:  # noqa: ASYNC110 - the server sees it in its own time
            await asyncio.sleep(0.01)


async def test_what_a_save_replaces_stays_for_its_readers_and_ends_by_itself(
    store: RedisStore, client: Any, prefix: str, archive: Path
) -> None:
    await store.save(session="one", path=archive)
    old = (await keys(client, prefix))["chunks"]
    assert await client.ttl(old) == -1
    await store.save(session="one", path=archive)
    assert 0 < await client.ttl(old) <= 60
    head, (new,) = (await keys(client, prefix))["head"], [k async for k in client.scan_iter(f"{prefix}:*chunks*") if k != old]
    assert await client.ttl(head) == await client.ttl(new) == -1

    await store.delete(session="one")
    assert await client.exists(head, new) == 0


async def test_a_ttl_is_that_of_the_archive_and_the_next_save_sets_it_anew(
    url: str, store: RedisStore, client: Any, prefix: str, archive: Path
) -> None:
    async with RedisStore.from_url(f"{url}&ttl=1000") as mortal:
        await mortal.save(session="one", path=archive)
    found = await keys(client, prefix)
    assert 900 < await client.ttl(found["head"]) <= 1000
    assert await client.pexpiretime(found["head"]) == await client.pexpiretime(found["chunks"])
    await store.save(session="one", path=archive)
    assert await client.ttl(found["head"]) == -1


async def test_a_reader_who_is_overtaken_begins_again(store: RedisStore, client: Any, prefix: str, archive: Path) -> None:
    await store.save(session="one", path=archive)
    newer = archive.with_name("newer.zip")
    newer.write_bytes(secrets.token_bytes(3 * MIB))
    old = (await keys(client, prefix))["chunks"]
    reads = 0

    class Overtaken(RedisStore):
        async def _head(self, name: str) -> Any:
            nonlocal reads
            head = await super()._head(name)
            reads += 1
            if reads == 1:
                await store.save(session="one", path=newer)
                await client.delete(old)
            return head

    assert await holds(Overtaken(client, key_prefix=f"{prefix}:"), newer)
    assert reads == 2


@pytest.mark.parametrize("damage", ["a chunk is gone", "all chunks are gone", "other bytes", "a strange head"])
async def test_what_is_damaged_is_not_handed_out(
    store: RedisStore, client: Any, prefix: str, archive: Path, damage: str
) -> None:
    await store.save(session="one", path=archive)
    found = await keys(client, prefix)
    match damage:
        case "a chunk is gone":
            await client.hdel(found["chunks"], "1")
        case "all chunks are gone":
            await client.delete(found["chunks"])
        case "other bytes":
            await client.hset(found["chunks"], "2", b"x")
        case "a strange head":
            await client.hset(found["head"], "size", "many")
    with pytest.raises(SessionCorrupted, match="one"):
        await store.extract(session="one", path=archive.with_name("out.zip"))
    assert list(archive.parent.iterdir()) == [archive]
    assert await store.session_exists(session="one") is True
    await store.save(session="one", path=archive)
    assert await holds(store, archive)


async def test_an_upload_whose_chunks_went_is_not_committed(
    store: RedisStore, client: Any, prefix: str, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.save(session="one", path=archive)
    old = (await keys(client, prefix))["chunks"]
    switch = RedisStore._switch

    async def late(self: RedisStore, *arguments: Any) -> None:
        (upload,) = [key async for key in client.scan_iter(f"{prefix}:*chunks*") if key != old]
        await client.hdel(upload, "0")
        await switch(self, *arguments)

    monkeypatch.setattr(RedisStore, "_switch", late)
    other = archive.with_name("other.zip")
    other.write_bytes(secrets.token_bytes(2 * MIB))
    with pytest.raises(Exception, match="chunks of it are gone"):
        await store.save(session="one", path=other)
    assert await holds(store, archive)


async def test_a_save_that_fails_takes_its_upload_back(store: RedisStore, client: Any, prefix: str, archive: Path) -> None:
    first = await store.lease(session="one", holder="first", ttl=60).__aenter__()
    await store.save(session="one", path=archive, fence=first.fence)
    await first.release()
    before = [key async for key in client.scan_iter(f"{prefix}:*")]
    async with store.lease(session="one", holder="second", ttl=60):
        with pytest.raises(LeaseLost, match="second"):
            await store.save(session="one", path=archive, fence=first.fence)
        assert sorted([key async for key in client.scan_iter(f"{prefix}:*")]) == sorted(before)
    assert await holds(store, archive)


async def test_the_answer_to_a_commit_may_be_lost(store: RedisStore, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver then sends it again, and the store may take back what it takes for a failed upload: neither does harm."""
    switch = RedisStore._switch

    async def twice(self: RedisStore, *arguments: Any) -> None:
        await switch(self, *arguments)
        await switch(self, *arguments)
        raise ConnectionResetError

    monkeypatch.setattr(RedisStore, "_switch", twice)
    with pytest.raises(ConnectionResetError):
        await store.save(session="one", path=archive)
    assert await holds(store, archive)
    assert [info.revision async for info in store.list_sessions()] == [1]


async def test_fences_grow_although_the_server_forgot_the_last_one(store: RedisStore, client: Any, prefix: str) -> None:
    async with store.lease(session="one", holder="first", ttl=60) as first:
        await client.delete((await keys(client, prefix))["lease"])
        async with store.lease(session="one", holder="second", ttl=60) as second:
            assert second.fence > first.fence
            with pytest.raises(LeaseLost):
                await first.renew()


async def test_revisions_grow_over_a_deletion_where_a_record_stays(store: RedisStore, archive: Path) -> None:
    async with store.lease(session="one", holder="me", ttl=60):
        for _ in range(2):
            await store.save(session="one", path=archive)
            await store.save(session="one", path=archive)
            await store.delete(session="one")
        await store.save(session="one", path=archive)
    assert [info.revision async for info in store.list_sessions()] == [5]


async def test_a_prefix_is_no_pattern_and_prefixes_share_nothing(client: Any, prefix: str, archive: Path) -> None:
    stores = [RedisStore(client, key_prefix=prefix + tail) for tail in ("", "a", "?", "[ab]", "*", "\\")]
    for number, store in enumerate(stores):
        await store.save(session=f"s{number}", path=archive)
    for number, store in enumerate(stores):
        assert [info.session async for info in store.list_sessions()] == [f"s{number}"]
        with pytest.raises(SessionNotFound):
            await store.extract(session=f"s{number - 1}", path=archive.with_name("out.zip"))


@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        ({}, "writes nothing to a disk"),
        ({"save": "60 1"}, "no append-only file"),
    ],
)
async def test_a_server_without_a_log_on_its_disk_is_warned_of_once(
    forgetful_redis: Redis, prefix: str, archive: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, str], warning: str
) -> None:
    with forgetful_redis.set_to(**settings):
        async with RedisStore.from_url(forgetful_redis.url(prefix)) as store:
            for _ in range(2):
                await store.save(session="one", path=archive)
    (message,) = warnings(caplog)
    assert message.startswith(f"redis://127.0.0.1:{forgetful_redis.port}/0 ")
    assert warning in message


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({"maxmemory": "1gb", "maxmemory_policy": "allkeys-lru"}, True),
        ({"maxmemory": "1gb", "maxmemory_policy": "volatile-lru"}, False),
        ({"maxmemory_policy": "allkeys-lru"}, False),
        ({}, False),
    ],
)
async def test_a_server_that_makes_room_by_deleting_is_warned_of(
    redis: Redis, url: str, archive: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, str], warned: bool
) -> None:
    with redis.set_to(**settings):
        async with RedisStore.from_url(url) as store:
            await store.save(session="one", path=archive)
    assert ["deletes logins when its memory is full" in message for message in warnings(caplog)] == [True] * warned


async def test_a_server_whose_settings_may_not_be_asked(
    forgetful_redis: Redis, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for rights in (["+@all", "-config"], ["+@all", "-config", "-info"]):
        with forgetful_redis.user(*rights) as url:
            async with RedisStore.from_url(url) as store:
                await store.save(session="one", path=archive)
    (message,) = warnings(caplog)
    assert "no append-only file" in message


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("url", "place", "remote"),
    [
        ("redis://", "redis://localhost:6379/0", False),
        ("redis://localhost/3", "redis://localhost:6379/3", False),
        ("redis://[::1]:1/", "redis://[::1]:1/0", False),
        (f"redis://somebody:{SECRET}@example.com:99?db=2", "redis://example.com:99/2", True),
        (f"rediss://:{SECRET}@example.com", "redis://example.com:6379/0", True),
        (f"redis://example.com?password={SECRET}&timeout=5", "redis://example.com:6379/0", True),
        (f"unix://somebody:{SECRET}@/run/redis.sock?db=1", "unix:///run/redis.sock?db=1", False),
    ],
)
async def test_a_url_names_a_server(url: str, place: str, remote: bool) -> None:
    async with RedisStore.from_url(url) as store:
        assert repr(store) == f"RedisStore({place!r})"
        assert store.features.remote is remote


@pytest.mark.parametrize(
    "url",
    [
        "redis:",
        "redis:host",
        "redis+x://host",
        "http://host",
        f"redis://:{SECRET}@host:port/0",
        f"redis://:{SECRET}/x@host",
        "redis://host/name",
        "redis://host/0?timeout=soon",
        "redis://host/0?db=x",
        f"redis://:{SECRET}@host/0?no_such_option=1",
        "unix://",
    ],
)
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"invalid store URL .*: ") as caught:
        RedisStore.from_url(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None, "what the driver said may show the password"


async def test_wrong_arguments_are_refused(client: Any) -> None:
    with pytest.raises(ConfigurationError, match="type bytes"):
        RedisStore.from_url(b"redis://")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"takes a redis\.asyncio\.Redis"):
        RedisStore(BlockingRedis())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="decode_responses"):
        RedisStore(Client(decode_responses=True))
    with pytest.raises(ConfigurationError, match="decode_responses"):
        RedisStore.from_url("redis://localhost?decode_responses=true")
    for wrong in ({"key_prefix": "{a}"}, {"key_prefix": None}, {"ttl": 0}, {"ttl": True}, {"timeout": 0}):
        with pytest.raises(ConfigurationError, match=f"invalid {next(iter(wrong))}"):
            RedisStore(client, **wrong)
