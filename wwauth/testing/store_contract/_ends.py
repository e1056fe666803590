"""What outlives a store, and what a store says that is closed or cannot be reached."""

# ruff: noqa: S101 - tests assert

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.errors import SessionNotFound, StoreUnavailable, WWAuthError

from ._base import Hooks, extracted, listed, new_archive, new_folder, same, some_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from wwauth.abc import Store

# So long a store may look for its server, in all calls together.
_PATIENCE = 120.0

# A server may take a moment to see that a connection was closed, and a busy one longer.
_LOOKS = 1000


class Ends(Hooks):
    """Opened again, closed, unreachable."""

    async def test_what_is_saved_outlives_the_store(self, store: Store, tmp_path: Path) -> None:
        """A store opened anew on the same data holds what the earlier one saved, and deletes it for both."""
        size = 1024 * 1024
        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path, size))
        other = await self.reopen(store)
        try:
            assert same(await extracted(other, "RemoteAuth-a", tmp_path), some_bytes(size))
            await other.delete(session="RemoteAuth-a")
            assert await store.session_exists(session="RemoteAuth-a") is False
        finally:
            await other.close()

    async def test_closing_one_store_leaves_others_open(self, store: Store, tmp_path: Path) -> None:
        """`close` closes what the store itself opened, never what it was given."""
        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path))
        other = await self.reopen(store)
        assert await other.session_exists(session="RemoteAuth-a") is True
        await other.close()
        assert same(await extracted(store, "RemoteAuth-a", tmp_path), some_bytes())

    async def test_close_may_be_repeated(self, store: Store, tmp_path: Path) -> None:
        """`close` is idempotent, whether the store was used or not."""
        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path))
        await store.close()
        await store.close()

    async def test_a_closed_store_says_nothing_wrong(self, store: Store, tmp_path: Path) -> None:
        """After `close` a store that opened something raises a `WWAuthError`; it never says "no such session"."""
        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path))
        await store.close()
        for verb, call in _calls(store, tmp_path).items():
            try:
                answer = await call()
            except SessionNotFound:
                pytest.fail(f"{verb} of a closed store says that there is no such session")
            except WWAuthError:
                continue
            # One that opened nothing has nothing to close, and goes on.
            assert answer is not False, f"{verb} of a closed store says False"

    async def test_a_store_that_cannot_be_reached_says_so(self, store: Store, tmp_path: Path) -> None:
        """What cannot be reached is `StoreUnavailable`, never `False` and never an empty answer."""
        _ = store  # so that the hook has what the fixture made
        lost = await self.unreachable()
        try:
            async with asyncio.timeout(_PATIENCE):
                for verb, call in _calls(lost, tmp_path).items():
                    try:
                        answer = await call()
                    except StoreUnavailable:
                        continue
                    except WWAuthError as error:
                        raise AssertionError(f"{verb} of an unreachable store is no {type(error).__name__}: {error}") from error
                    except Exception:  # noqa: BLE001, S112 - a plug-in's own counts as StoreUnavailable
                        continue
                    pytest.fail(f"{verb} of a store that cannot be reached answers {answer!r}")
        finally:
            await lost.close()
        left = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "source.bin"]
        assert left == [], "an extract that failed left a file"

    async def test_no_connection_is_left_open(self, store: Store, tmp_path: Path) -> None:
        """`close` closes what the store itself opened, also after calls that failed or were cancelled."""
        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path))
        before = await self.connections(store)
        other = await self.reopen(store)
        try:
            await _use_hard(other, tmp_path)
        finally:
            await other.close()
        for _ in range(_LOOKS):
            if (now := await self.connections(store)) <= before:
                break
            await asyncio.sleep(0.05)
        assert now <= before, f"{now - before} connections are open that were not before"


def _calls(store: Store, tmp_path: Path) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return each verb that the store has, as a call."""
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "session_exists": lambda: store.session_exists(session="RemoteAuth-a"),
        "extract": lambda: store.extract(session="RemoteAuth-a", path=new_folder(tmp_path) / "out.zip"),
        "save": lambda: store.save(session="RemoteAuth-a", path=new_archive(tmp_path)),
        "delete": lambda: store.delete(session="RemoteAuth-gone"),
    }
    if store.features.listing:

        async def list_() -> bool:
            return "RemoteAuth-a" in await listed(store)

        calls["list_sessions"] = list_
    if store.features.leases:

        async def lease() -> None:
            async with store.lease(session="RemoteAuth-b", holder="me", ttl=60):
                pass

        calls["lease"] = lease
    return calls


async def _use_hard(store: Store, tmp_path: Path) -> None:
    """Use a store from many sides at once, and leave much of it in the middle."""
    sources = [new_archive(tmp_path, 1_500_000, seed=seed) for seed in range(4)]
    for steps in (1, 20, 200):
        tasks: list[asyncio.Future[Any]] = [
            *(asyncio.ensure_future(store.save(session="RemoteAuth-a", path=path)) for path in sources),
            *(asyncio.ensure_future(extracted(store, "RemoteAuth-a", tmp_path)) for _ in range(4)),
        ]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(
        store.extract(session="RemoteAuth-gone", path=new_folder(tmp_path) / "out.zip"),
        store.save(session="RemoteAuth-a", path=tmp_path / "not there.zip"),
        return_exceptions=True,
    )
    if store.features.listing:
        async with aclosing(store.list_sessions()) as listing:  # type: ignore[type-var]
            await anext(listing)
