"""A login goes from unmodified wwebjs-aws-s3 to wwauth and the other way."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.errors import SessionNotFound
from wwauth.stores import ObjectStore

from .peer import HERE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.servers.s3 import S3

    Ask = Callable[..., Awaitable[Any]]

pytestmark = [pytest.mark.interop]

LAYOUTS = pytest.mark.parametrize("layout", ["wwauth", "wwebjs-aws-s3"])
SESSION = "RemoteAuth-client-one"


@pytest.fixture
def url(s3: S3, request: pytest.FixtureRequest) -> str:
    return s3.url(request.node.name)


@pytest.fixture
def ask(node: str, s3: S3, url: str, tmp_path: Path) -> Ask:
    """Return a coroutine function that runs a method of wwebjs-aws-s3 on the bucket of `url`, in `tmp_path`."""
    bucket = url.removeprefix("s3://").partition("/")[0]

    async def ask(call: str, **words: str) -> Any:
        said = {"endpoint": s3.endpoint, "bucket": bucket, "prefix": "logins", "call": call, "session": SESSION, **words}
        process = await asyncio.create_subprocess_exec(
            node, str(HERE / "s3_store.js"), json.dumps(said), cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        return json.loads(out)

    return ask


def _login(path: Path, seed: int = 1) -> bytes:
    data = random.Random(seed).randbytes(300_000)
    path.write_bytes(data)
    return data


async def _read(store: ObjectStore, folder: Path) -> bytes:
    path = folder / "restored.zip"
    await store.extract(session=SESSION, path=path)
    data = path.read_bytes()
    path.unlink()
    return data


@LAYOUTS
async def test_what_the_peer_saved_is_restored(layout: str, ask: Ask, url: str, tmp_path: Path) -> None:
    data = _login(tmp_path / f"{SESSION}.zip")
    await ask("save")
    async with ObjectStore.from_url(url, layout=layout) as store:
        assert await store.session_exists(session=SESSION)
        assert await _read(store, tmp_path) == data
        (info,) = [info async for info in store.list_sessions()]
        assert (info.session, info.size) == (SESSION, len(data))
        await store.delete(session=SESSION)
        with pytest.raises(SessionNotFound):
            await _read(store, tmp_path)
    assert not await ask("sessionExists")


async def test_the_peer_restores_what_was_saved_for_it(ask: Ask, url: str, tmp_path: Path) -> None:
    data = _login(tmp_path / "login.zip")
    async with ObjectStore.from_url(url, layout="wwebjs-aws-s3") as store:
        await store.save(session=SESSION, path=tmp_path / "login.zip")
        assert await ask("sessionExists")
        await ask("extract", path=str(tmp_path / "extracted.zip"))
        assert (tmp_path / "extracted.zip").read_bytes() == data
        await ask("delete")
        assert await store.session_exists(session=SESSION) is False


async def test_a_login_of_the_peer_moves_over_by_itself(ask: Ask, url: str, tmp_path: Path) -> None:
    _login(tmp_path / f"{SESSION}.zip")
    await ask("save")
    data = _login(tmp_path / "login.zip", seed=2)
    async with ObjectStore.from_url(url) as store:
        await store.save(session=SESSION, path=tmp_path / "login.zip")
        assert await _read(store, tmp_path) == data
        assert await ask("sessionExists"), "what the peer has is left to it"
        await store.delete(session=SESSION)
        assert await store.session_exists(session=SESSION) is False
    assert not await ask("sessionExists"), "the login that was deleted is still there"
