"""Auth states in Redis: the contract, the layout of a Node program, and who holds a session."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import Redis as Client
from redis.asyncio import RedisCluster as ClusterClient

from wwauth.abc import CREDS, RecordName
from wwauth.authstate import use_auth_state, use_redis_auth_state
from wwauth.errors import ConfigurationError, CredsCorrupted, LeaseLost, SessionInUse, StoreFull, StoreUnavailable
from wwauth.testing.auth_state_contract import AuthStateContract
from wwauth_stores.authstate import redis as redis_store
from wwauth_stores.authstate.redis import RedisAuthStateStore, RedisLayout, redis_auth_state_store

from ..servers.fixtures import server_fixture
from ..servers.redis import ForgetfulRedis, RedisCluster
from .auth_logins import BATCH, KEY, SENDER, dead_holder, full_login, killed_writers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ..servers.redis import Redis

forgetful_redis = server_fixture(ForgetfulRedis)
redis_cluster = server_fixture(RedisCluster)

NOBODY = "redis://somebody:hunter2@127.0.0.1:9/0"


@pytest.fixture
def kept(redis: Redis) -> Iterator[Any]:
    """Give a database as another program sees it, empty at first."""
    with BlockingRedis(port=redis.port, db=1, decode_responses=True) as client:
        client.flushdb()
        yield client


@pytest.fixture
def url(redis: Redis, kept: Any) -> str:
    return f"redis://127.0.0.1:{redis.port}/1"


@pytest.fixture
async def store(url: str) -> AsyncIterator[RedisAuthStateStore]:
    async with redis_auth_state_store(url) as store:
        yield store


class TestRedis(AuthStateContract):
    @pytest.fixture
    def open_state(self, url: str) -> Any:
        return lambda session: use_redis_auth_state(url, session)


class TestLayoutOfBaileysRedisAuth(AuthStateContract):
    exact_ids = False

    @pytest.fixture
    async def open_state(self, redis: Redis, kept: Any) -> AsyncIterator[Any]:
        async with Client(port=redis.port, db=1) as client:
            yield lambda session: use_redis_auth_state(client, session, "baileys-redis-auth")


async def everything(store: RedisAuthStateStore, session: str = "one") -> dict[RecordName, str]:
    return dict([record async for record in store.records(session=session)])


# Layouts


async def test_names_are_exact_and_sessions_apart(store: RedisAuthStateStore, kept: Any) -> None:
    ids = ["a", "A", "a ", "é", "e\u0301", "\U0001f600", "a/b", "a:b", "a-b", "a__b", "", "x" * 3000, "nul\0x"]
    changes = {RecordName(kind, one): f"{kind} {one}" for kind in ("session", "ses/sion", "s*") for one in ids}
    await store.write(session="one", changes={**changes, CREDS: '{"a":1}'})
    await store.write(session="two", changes={KEY: "two"})
    assert await store.read(session="one", names=[*changes, CREDS, KEY]) == {**changes, CREDS: '{"a":1}'}
    assert await everything(store) == {**changes, CREDS: '{"a":1}'}
    assert {name.type async for name, _ in store.records(session="one", type="s*")} == {"s*"}
    assert [record async for record in store.records(session="one", type="creds")] == [(CREDS, '{"a":1}')]
    assert [name async for name in store.list_sessions()] == ["one", "two"]
    await store.delete(session="one")
    assert await everything(store) == {}
    assert await everything(store, "two") == {KEY: "two"}


async def test_a_large_write_is_one_write(store: RedisAuthStateStore) -> None:
    changes: dict[RecordName, str | None] = {RecordName("pre-key", str(number)): str(number) for number in range(9001)}
    await store.write(session="one", changes=changes)
    assert await everything(store) == changes
    await store.write(session="one", changes={**dict.fromkeys(changes), CREDS: "{}"})
    assert await everything(store) == {CREDS: "{}"}


async def test_more_reads_at_once_than_connections_wait_for_each_other(store: RedisAuthStateStore) -> None:
    await store.write(session="one", changes={KEY: "text"})
    found = await asyncio.gather(*(store.read(session="one", names=[KEY]) for _ in range(200)))
    assert found == [{KEY: "text"}] * 200


async def test_a_login_of_baileys_redis_auth_is_found_and_kept_as_it_is(store: RedisAuthStateStore, kept: Any) -> None:
    login = full_login()

    def field(name: RecordName) -> str:
        return "creds" if name == CREDS else f"{name.type}-{name.id}".replace("/", "__").replace(":", "-")

    kept.hset("bot:auth", mapping={field(name): text for name, text in login.items()})
    kept.hset("other:auth", mapping={"token": "x"})
    assert [name async for name in store.list_sessions()] == ["bot"]
    async with store.hold(session="bot"):
        assert await everything(store, "bot") == login
        assert await store.read(session="bot", names=list(login)) == login
        assert {name.type async for name, _ in store.records(session="bot", type="sender-key")} == {"sender-key"}
        await store.write(session="bot", changes={SENDER: '"new"', KEY: None})
    assert kept.hgetall("bot:auth") == {field(name): text for name, text in {**login, SENDER: '"new"'}.items()}
    await store.delete(session="bot")
    assert not kept.exists("bot:auth")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"one:creds": "{}"}, "another program's layout .*'one:creds'.*: import it .*migrate --peer"),
        ({"bot:prefix:one:creds": "{}"}, "'bot:prefix:one:creds'.*: import it"),
        ({"keyv:one:creds": '{"value":"{}"}'}, "'keyv:one:creds'.*: import it"),
        ({"app:one:auth": {"creds": "{}"}}, "'app:one:auth'.*: import it"),
        ({"one:auth": {"pre-key-1": "{}"}}, "no credentials: restore"),
        ({"one:auth": {"creds": "{}"}, "wwauth:auth:{one}": {"creds/": "{}"}}, "twice.*layout='wwauth' or"),
    ],
)
async def test_what_is_doubtful_is_refused_and_left_alone(
    url: str, kept: Any, keys: dict[str, str | dict[str, str]], told: str
) -> None:
    for key, value in keys.items():
        kept.set(key, value) if isinstance(value, str) else kept.hset(key, mapping=value)
    with pytest.raises(CredsCorrupted, match=told):
        await use_redis_auth_state(url, "one")
    assert sorted(kept.keys()) == sorted(keys)
    # Another one's login is no reason to refuse.
    state, _ = await use_redis_auth_state(url, "ne")
    await state.close()


async def test_a_cluster_keeps_all_keys_of_a_session_on_one_node(redis_cluster: RedisCluster) -> None:
    async with ClusterClient(host="127.0.0.1", port=redis_cluster.port) as client:
        for layout in ("wwauth", "baileys-redis-auth"):
            state, save_creds = await use_redis_auth_state(client, "one", layout)
            async with state:
                await save_creds()
                await state.keys.set({"session": {"1": {}}})
        async with redis_auth_state_store(client) as store:
            assert [name async for name in store.list_sessions()] == ["one"]


# Writes


async def test_a_writer_that_is_killed_leaves_all_of_a_write_or_nothing(store: RedisAuthStateStore, url: str) -> None:
    for returned in killed_writers(url, 2):
        async with store.hold(session="one"):
            found = await store.read(session="one", names=BATCH)
            assert len(found) == len(BATCH)
            (text,) = set(found.values())
            assert int(text) >= returned


async def test_a_full_server_is_full_and_changes_nothing(redis: Redis, store: RedisAuthStateStore) -> None:
    await store.write(session="one", changes={CREDS: "old", KEY: "old"})
    with redis.set_to(maxmemory="1"), pytest.raises(StoreFull, match="make room"):
        await store.write(session="one", changes={CREDS: "new", KEY: "new"})
    assert await everything(store) == {CREDS: "old", KEY: "old"}


async def test_a_server_that_keeps_nothing_is_warned_of_once(
    forgetful_redis: ForgetfulRedis, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis_auth_state_store(forgetful_redis.url("warned")) as store:
        for _ in range(2):
            await store.write(session="one", changes={CREDS: "{}"})
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["writes nothing to a disk" in warning for warning in warnings] == [True]


async def test_a_look_at_the_settings_that_failed_is_done_once_more(
    forgetful_redis: ForgetfulRedis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> list[str]:
        raise ConnectionError

    async with redis_auth_state_store(forgetful_redis.url("looked")) as store:
        with monkeypatch.context() as patched:
            patched.setattr(redis_store, "doubts", fail)
            with pytest.raises(StoreUnavailable):
                await store.write(session="one", changes={KEY: "1"})
        await store.write(session="one", changes={KEY: "1"})
    assert "writes nothing to a disk" in caplog.text


# Holds


async def test_whoever_was_overtaken_writes_nothing_more(store: RedisAuthStateStore, url: str, kept: Any) -> None:
    async with store.hold(session="one"):
        await store.write(session="one", changes={CREDS: "{}", KEY: "1"})
        with pytest.raises(SessionInUse, match="pid"):
            async with redis_auth_state_store(url) as other, other.hold(session="one"):
                pass
        (lease,) = kept.keys("*:lease")
        kept.hset(lease, mapping={"holder": "another", "fence": "1"})
        with pytest.raises(LeaseLost, match="another"):
            await store.write(session="one", changes={KEY: "late"})
        with pytest.raises(LeaseLost, match="another"):
            await store.delete(session="one")
        assert await everything(store) == {CREDS: "{}", KEY: "1"}


@pytest.mark.parametrize("layout", ["wwauth", "baileys-redis-auth"])
async def test_a_logout_leaves_nothing(url: str, kept: Any, layout: RedisLayout) -> None:
    fences = []
    async with redis_auth_state_store(url, layout) as store:
        for _ in range(2):
            state, save_creds = await use_auth_state(store, session="one")
            await save_creds()
            (lease,) = kept.keys("*lease")
            fences.append(int(kept.hget(lease, "fence")))
            await state.logout()
            assert kept.keys("*one*") == []
    assert fences[0] < fences[1], "whoever had the login before cannot be taken for the holder of the next one"


async def test_a_dead_holder_of_this_machine_is_followed_at_once(store: RedisAuthStateStore, kept: Any) -> None:
    async with store.hold(session="one"):
        pass
    (lease,) = kept.keys("*:lease")
    kept.hset(lease, mapping={"holder": dead_holder(), "ends": str(10**17)})
    async with store.hold(session="one"):
        await store.write(session="one", changes={CREDS: "{}"})
    kept.hset(lease, mapping={"holder": "elsewhere, pid 1 (00000000.1.00000000)", "ends": str(10**17)})
    with pytest.raises(SessionInUse, match="elsewhere"):
        async with store.hold(session="one"):
            pass


# Clients


_FORGETFUL = """
import asyncio, sys
from wwauth.authstate import use_redis_auth_state

async def main():
    state, save_creds = await use_redis_auth_state(sys.argv[1])
    await save_creds()
    globals()["kept"] = state

asyncio.run(main())
"""


async def test_a_program_that_never_closes_ends_quietly_and_gives_its_session_back(url: str) -> None:
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", _FORGETFUL, url], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    state, _ = await use_redis_auth_state(url)
    await state.close()


@pytest.mark.parametrize("given", ["mongodb://u:hunter2@host", "redis://host/0?ttl=5", "redis://host/0?timeout=0", {}, None])
async def test_what_is_no_client_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        redis_auth_state_store(given)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="invalid layout 'else'"):
        redis_auth_state_store(NOBODY, "else")  # type: ignore[arg-type]
