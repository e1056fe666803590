"""Archives go from the unmodified wwebjs-mongo to wwauth and the other way, byte for byte."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.errors import ConfigurationError, SessionNotFound
from wwauth.stores import MongoStore

from .conftest import INSTALL
from .peer import HERE, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.conftest import RequireOptional
    from tests.servers.mongodb import MongoDB

    Peer = Callable[..., Awaitable[Any]]
    Open = Callable[..., MongoStore]

pytestmark = pytest.mark.interop

SESSION = "RemoteAuth-peer1"


@pytest.fixture
def url(mongodb: MongoDB) -> str:
    return mongodb.url("interop")


@pytest.fixture
async def peer(node: str, url: str, tmp_path: Path, require_optional: RequireOptional) -> AsyncIterator[Peer]:
    """Give `await peer(verb, path)`, which calls the peer's store; what it saves lies in `tmp_path`."""
    installed = HERE / "node_modules" / "wwebjs-mongo" / "package.json"
    require_optional(installed.is_file(), f"the interop tests need the npm peers: {INSTALL}")
    process = await asyncio.create_subprocess_exec(node, str(HERE / "mongo_store.js"), url, cwd=tmp_path, stdin=-1, stdout=-1)

    async def call(verb: str, path: Path | None = None) -> Any:
        assert process.stdin is not None
        assert process.stdout is not None
        line = {"verb": verb, "session": SESSION, "path": str(path)}
        process.stdin.write(json.dumps(line).encode() + b"\n")
        answer = json.loads(await asyncio.wait_for(process.stdout.readline(), TIMEOUT))
        assert "error" not in answer, answer["error"]
        return answer["value"]

    try:
        yield call
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), TIMEOUT)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def opened(url: str) -> AsyncIterator[Open]:
    """Return `opened(**options)`, a store in the peer's database that is closed when the test ends."""
    stores: list[MongoStore] = []

    def open_(**options: Any) -> MongoStore:
        stores.append(MongoStore.from_url(url, **options))
        return stores[-1]

    yield open_
    for store in stores:
        await store.close()


def archive(tmp_path: Path, seed: int, *, size: int = 700_000) -> bytes:
    """Write a zip where the peer looks for it; larger than two of its chunks."""
    data = b"PK\3\4" + random.Random(seed).randbytes(size)
    (tmp_path / f"{SESSION}.zip").write_bytes(data)
    return data


async def extracted(store: MongoStore, tmp_path: Path) -> bytes:
    await store.extract(session=SESSION, path=tmp_path / "ours.zip")
    return (tmp_path / "ours.zip").read_bytes()


layouts = pytest.mark.parametrize("layout", ["wwauth", "wwebjs-mongo"])


@layouts
async def test_what_the_peer_wrote_is_read_listed_and_deleted(peer: Peer, opened: Open, tmp_path: Path, layout: str) -> None:
    store = opened(layout=layout)
    assert await store.session_exists(session=SESSION) is False
    for seed in (1, 2):
        data = archive(tmp_path, seed)
        await peer("save")
        assert await store.session_exists(session=SESSION) is True
        assert await extracted(store, tmp_path) == data
    (info,) = [info async for info in store.list_sessions()]
    assert (info.session, info.size, info.revision) == (SESSION, len(data), None)
    await store.delete(session=SESSION)
    assert await peer("exists") is False
    assert await store.session_exists(session=SESSION) is False


async def test_the_peer_reads_what_was_written_for_it(peer: Peer, opened: Open, tmp_path: Path) -> None:
    store = opened(layout="wwebjs-mongo")
    for seed in (1, 2, 3):
        data = archive(tmp_path, seed, size=1024 * 1024 * seed)
        await store.save(session=SESSION, path=tmp_path / f"{SESSION}.zip")
        assert await peer("exists") is True
        await peer("extract", tmp_path / "theirs.zip")
        assert (tmp_path / "theirs.zip").read_bytes() == data
    await peer("delete")
    assert await store.session_exists(session=SESSION) is False
    with pytest.raises(SessionNotFound):
        await extracted(store, tmp_path)


async def test_both_write_in_turn_and_the_newest_counts(peer: Peer, opened: Open, tmp_path: Path) -> None:
    store = opened(layout="wwebjs-mongo")
    for seed in range(6):
        data = archive(tmp_path, seed)
        if seed % 2:
            await store.save(session=SESSION, path=tmp_path / f"{SESSION}.zip")
        else:
            await peer("save")
        await peer("extract", tmp_path / "theirs.zip")
        assert (tmp_path / "theirs.zip").read_bytes() == data
        assert await extracted(store, tmp_path) == data


async def test_a_login_moves_over_by_itself(peer: Peer, opened: Open, tmp_path: Path) -> None:
    store = opened()
    theirs = archive(tmp_path, 1)
    await peer("save")
    assert await extracted(store, tmp_path) == theirs
    ours = archive(tmp_path, 2)
    await store.save(session=SESSION, path=tmp_path / f"{SESSION}.zip")
    assert await extracted(store, tmp_path) == ours
    assert [info.size async for info in store.list_sessions()] == [len(ours)], "listed once, as it is restored"
    await peer("extract", tmp_path / "theirs.zip")
    assert (tmp_path / "theirs.zip").read_bytes() == theirs, "the peer's own archive was touched"
    await store.delete(session=SESSION)
    assert await store.session_exists(session=SESSION) is False, "the peer's older login came to light again"
    assert await peer("exists") is False


async def test_a_wrong_fence_for_the_peers_layout(opened: Open, tmp_path: Path) -> None:
    store = opened(layout="wwebjs-mongo")
    archive(tmp_path, 1)
    with pytest.raises(ConfigurationError, match="no leases"):
        await store.save(session=SESSION, path=tmp_path / f"{SESSION}.zip", fence=1)
    with pytest.raises(ConfigurationError, match="no leases"):
        store.lease(session=SESSION, holder="me", ttl=60)
