"""The Redis store when the server hangs, dies, refuses or is full, when its writer dies, and how much memory it takes."""

from __future__ import annotations

import asyncio
import re
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.errors import StoreDenied, StoreFull, StoreUnavailable
from wwauth.stores import RedisStore

from .children import grown, save_in_another_process
from .killing import kill_in_saves

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ..servers.redis import Redis

README = Path(__file__).parents[2] / "stores" / "README.md"
SECRET = "hunter2"
MIB = 1024 * 1024

# A source without end, as far as a writer that is about to be killed can tell; sparse, so that it costs no disk.
ENDLESS = 64 * 1024 * MIB


@pytest.fixture
def url(redis: Redis) -> str:
    return redis.url(secrets.token_hex(4))


@pytest.fixture
async def store(url: str) -> AsyncIterator[RedisStore]:
    async with RedisStore.from_url(url) as store:
        yield store


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "source.zip"
    path.write_bytes(secrets.token_bytes(2 * MIB + 1))
    return path


def calls(store: RedisStore, archive: Path) -> dict[str, Callable[[], Awaitable[Any]]]:
    return {
        "look for": lambda: store.session_exists(session="one"),
        "save": lambda: store.save(session="one", path=archive),
        "read": lambda: store.extract(session="one", path=archive.with_name("out.zip")),
        "delete": lambda: store.delete(session="one"),
        "list": lambda: anext(store.list_sessions()),
        "keep the lease": lambda: store.lease(session="one", holder="me", ttl=60).__aenter__(),
    }


async def holds(store: RedisStore, archive: Path) -> bool:
    out = archive.with_name("out.zip")
    await store.extract(session="one", path=out)
    return out.read_bytes() == archive.read_bytes()


async def test_a_server_that_dies_in_a_save_leaves_old_or_new(redis: Redis, store: RedisStore, tmp_path: Path) -> None:
    outcomes = await kill_in_saves(redis, store, tmp_path, kills=3, seed=1)
    assert outcomes.total() == 3


async def test_a_server_that_hangs_is_unavailable_in_time(redis: Redis, url: str, archive: Path) -> None:
    async with RedisStore.from_url(url) as patient, RedisStore.from_url(url, timeout=0.3) as store:
        await patient.save(session="one", path=archive)
        with redis.paused():
            for doing, call in calls(store, archive).items():
                with pytest.raises(StoreUnavailable, match=rf"cannot {doing}.* in redis://127.0.0.1:{redis.port}/0: no answer"):
                    await call()
        # It may be only just awake.
        assert await holds(patient, archive)


async def test_no_server_is_unavailable(archive: Path) -> None:
    async with RedisStore.from_url(f"redis://somebody:{SECRET}@127.0.0.1:9/0") as store:
        for doing, call in calls(store, archive).items():
            with pytest.raises(StoreUnavailable, match=rf"cannot {doing}.* in redis://127.0.0.1:9/0: ConnectionE") as caught:
                await call()
            assert SECRET not in str(caught.value)


async def test_a_wrong_password_is_denied_and_not_shown(redis: Redis, archive: Path) -> None:
    with redis.user("+@all") as url:
        async with RedisStore.from_url(url.replace(SECRET, f"{SECRET}2")) as store:
            for doing, call in calls(store, archive).items():
                with pytest.raises(StoreDenied, match=rf"cannot {doing}.* in redis://127.0.0.1:{redis.port}/0: Auth") as caught:
                    await call()
                shown = repr((caught.value, caught.value.__cause__, caught.value.__context__, store))
                assert SECRET not in shown


@pytest.mark.parametrize("right", ["-eval", "-hset", "-@all"])
async def test_a_user_without_rights_is_denied(redis: Redis, archive: Path, right: str) -> None:
    with redis.user("+@all", right) as url:
        async with RedisStore.from_url(url) as store:
            with pytest.raises(StoreDenied, match="mend its user's credentials or rights"):
                await store.save(session="one", path=archive)


async def test_a_user_needs_no_more_rights_than_the_readme_says(
    redis: Redis, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (rights,) = re.findall(r"A user needs `(.*?)` on", README.read_text(encoding="utf-8"))
    with redis.user(*rights.split(), "+config|get") as url:
        async with RedisStore.from_url(url) as store:
            async with store.lease(session="one", holder="me", ttl=60) as lease:
                await lease.renew()
                await store.save(session="one", path=archive, fence=lease.fence)
                await store.save(session="one", path=archive, fence=lease.fence)
                assert await holds(store, archive)
                assert [info.session async for info in store.list_sessions()] == ["one"]
                await store.delete(session="one", fence=lease.fence)
            assert await store.session_exists(session="one") is False
    assert caplog.records == []


async def test_a_full_server_says_so_and_keeps_the_old_archive(redis: Redis, store: RedisStore, archive: Path) -> None:
    await store.save(session="one", path=archive)
    large = archive.with_name("large.zip")
    large.write_bytes(secrets.token_bytes(8 * MIB))
    used = int(dict(line.split(":") for line in redis.ask("INFO", "memory").split("\r\n") if ":" in line)["used_memory"])
    keys = redis.ask("DBSIZE")
    with redis.set_to(maxmemory=str(used + 4 * MIB)):
        with pytest.raises(StoreFull, match="make room there"):
            await store.save(session="one", path=large)
        assert redis.ask("DBSIZE") == keys, "what did not fit is in the way of what would"
        assert await holds(store, archive)
        await store.save(session="one", path=archive)


async def test_a_server_that_only_copies_another_one_is_unavailable(redis: Redis, store: RedisStore, archive: Path) -> None:
    await store.save(session="one", path=archive)
    assert redis.ask("REPLICAOF", "127.0.0.1", "9") == "OK"
    try:
        with pytest.raises(StoreUnavailable, match="try again"):
            await store.save(session="one", path=archive)
        assert await holds(store, archive)
    finally:
        assert redis.ask("REPLICAOF", "NO", "ONE") == "OK"
    await store.save(session="one", path=archive)


async def test_what_a_killed_writer_leaves_ends_by_itself(redis: Redis, store: RedisStore, url: str, archive: Path) -> None:
    await store.save(session="one", path=archive)
    keys = set(redis.ask("KEYS", "*"))
    endless = archive.with_name("endless.zip")
    with endless.open("wb") as file:
        file.truncate(ENDLESS)
    writer = save_in_another_process(url, endless)
    try:
        while not (left := set(redis.ask("KEYS", "*")) - keys) or int(redis.ask("HLEN", *left)) < 3:
            assert writer.poll() is None, "the writer ended by itself"
            await asyncio.sleep(0.001)
    finally:
        writer.kill()
        await asyncio.to_thread(writer.wait)
    assert 0 < int(redis.ask("TTL", *left)) <= 600
    assert await holds(store, archive)
    assert [info.session async for info in store.list_sessions()] == ["one"]
    await store.save(session="one", path=archive)
    redis.ask("DEL", *left)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the peak of a process's own memory")
async def test_a_large_archive_passes_in_little_memory(url: str, tmp_path: Path) -> None:
    assert await grown(url, tmp_path, 50 * MIB) < 30 * MIB
