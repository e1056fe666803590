"""Leases: only for stores that have them."""

# ruff: noqa: S101 - tests assert

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.errors import ConfigurationError, LeaseLost, SessionInUse

from ._base import MIB, Hooks, extracted, listed, need, new_archive, same, some_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from wwauth.abc import Lease, Store

_CONTENDERS = 20

# A lease that is to end, and a time after which it has.
_SHORT, _AFTER = 0.3, 0.5

# By how much the store's clock, such as a file system's, may be behind: it ticks.
_TICK = 0.02


class Leases(Hooks):
    """At most one holder, and no write of an earlier one."""

    async def test_a_lease_has_one_holder(self, store: Store) -> None:
        """Entering raises `SessionInUse`, naming the holder, at once; after the release it is free."""
        need("leases", store)
        async with store.lease(session="RemoteAuth-a", holder="first", ttl=60) as lease:
            with pytest.raises(SessionInUse) as caught:
                await _take(store, "second")
            assert caught.value.holder == "first"
            async with store.lease(session="RemoteAuth-b", holder="second", ttl=60):
                pass  # another session's is another one
            await lease.renew()
        async with store.lease(session="RemoteAuth-a", holder="second", ttl=60) as later:
            assert later.fence > lease.fence, "the fence does not grow"
        await later.release()

    async def test_a_lease_that_is_not_renewed_ends(self, store: Store) -> None:
        """A lease ends `ttl` after it was taken or renewed; whoever was overtaken is told."""
        need("leases", store)
        first = await _take(store, "first", ttl=_SHORT)
        await asyncio.sleep(_AFTER)
        clock = asyncio.get_running_loop().time
        began = clock()
        await first.renew()  # it has run out, and nobody else took it
        try:
            await _take(store, "second", ttl=_SHORT)
        except SessionInUse:
            pass
        else:
            assert clock() - began >= _SHORT - _TICK, "a lease that was renewed has ended before its time"
        await asyncio.sleep(_AFTER)
        second = await _take(store, "second")
        assert second.fence > first.fence
        with pytest.raises(LeaseLost):
            await first.renew()
        await first.release()
        await second.renew()  # that release was not its own

    async def test_the_same_holder_takes_its_lease_again(self, store: Store) -> None:
        """A holder of the same name takes it at once, as after a restart; the fence grows all the same."""
        need("leases", store)
        before = await _take(store, "same")
        after = await _take(store, "same")
        assert after.fence > before.fence
        with pytest.raises(LeaseLost):
            await before.renew()

    async def test_of_many_who_want_a_lease_one_has_it(self, store: Store) -> None:
        """Taking a lease is atomic: of many who ask at the same time one gets it, when it is free and when it has run out."""
        need("leases", store)

        async def ask(number: int) -> Lease | None:
            try:
                return await _take(store, f"holder {number}")
            except SessionInUse:
                return None

        fence = 0
        for left in ("never held", "given back", "run out"):
            got = [lease for lease in await asyncio.gather(*map(ask, range(_CONTENDERS))) if lease is not None]
            assert len(got) == 1, f"{len(got)} hold it, which was {left}"
            assert got[0].fence > fence
            await got[0].release()
            if left == "given back":
                fence = (await _take(store, "crashed", ttl=_SHORT)).fence
                await asyncio.sleep(_AFTER)

    async def test_the_fence_keeps_overtaken_writers_out(self, store: Store, tmp_path: Path) -> None:
        """`save` and `delete` refuse a holder who was overtaken, and change nothing."""
        need("leases", store)
        old = await _take(store, "old")
        await _fenced(store).save(session="RemoteAuth-a", path=new_archive(tmp_path), fence=old.fence)
        await old.release()
        new = await _take(store, "new")
        with pytest.raises(LeaseLost):
            await _fenced(store).save(session="RemoteAuth-a", path=new_archive(tmp_path, seed=2), fence=old.fence)
        with pytest.raises(LeaseLost):
            await _fenced(store).delete(session="RemoteAuth-a", fence=old.fence)
        assert same(await extracted(store, "RemoteAuth-a", tmp_path), some_bytes()), (
            "a writer who was overtaken changed the archive"
        )
        await _fenced(store).save(session="RemoteAuth-a", path=new_archive(tmp_path, seed=3), fence=new.fence)
        await _fenced(store).delete(session="RemoteAuth-a", fence=new.fence)
        assert await store.session_exists(session="RemoteAuth-a") is False

    async def test_a_paused_holder_is_out(self, store: Store, tmp_path: Path) -> None:
        """Whoever is overtaken in the middle of a `save` does not write over what its successor saved."""
        need("leases", store)
        old = await _take(store, "paused", ttl=_SHORT)
        await asyncio.sleep(_AFTER)
        large = new_archive(tmp_path, 4 * MIB, seed=2)
        late = asyncio.ensure_future(_fenced(store).save(session="RemoteAuth-a", path=large, fence=old.fence))
        outcome: object = None
        try:
            await asyncio.sleep(0)
            new = await _take(store, "new")
            await _fenced(store).save(session="RemoteAuth-a", path=new_archive(tmp_path, seed=3), fence=new.fence)
        finally:
            (outcome,) = await asyncio.gather(late, return_exceptions=True)
        # It may have ended before the lease was taken.
        assert outcome is None or isinstance(outcome, LeaseLost), repr(outcome)
        assert same(await extracted(store, "RemoteAuth-a", tmp_path), some_bytes(seed=3)), (
            "a paused holder wrote over its successor"
        )

    async def test_fences_outlive_what_they_guard(self, store: Store, tmp_path: Path) -> None:
        """The fence goes on growing after the session was deleted and after the store was opened anew; no listing shows it."""
        need("leases", store)
        async with store.lease(session="RemoteAuth-a", holder="first", ttl=60) as first:
            await _fenced(store).save(session="RemoteAuth-a", path=new_archive(tmp_path), fence=first.fence)
            await _fenced(store).delete(session="RemoteAuth-a", fence=first.fence)
        if store.features.listing:
            assert await listed(store) == {}
        async with store.lease(session="RemoteAuth-a", holder="second", ttl=60) as second:
            assert second.fence > first.fence
        again = await self.reopen(store)
        try:
            async with again.lease(session="RemoteAuth-a", holder="third", ttl=60) as third:
                assert third.fence > second.fence
        finally:
            await again.close()

    async def test_wrong_words_for_a_lease_are_refused(self, store: Store) -> None:
        """A name that is none, a holder that cannot be shown, a time that is none: `ConfigurationError`."""
        need("leases", store)
        good: dict[str, Any] = {"session": "RemoteAuth-a", "holder": "me", "ttl": 60}
        for wrong in ({"holder": ""}, {"holder": "two\nlines"}, {"ttl": 0}, {"ttl": -1}, {"session": "../a"}):
            with pytest.raises(ConfigurationError):
                await store.lease(**{**good, **wrong}).__aenter__()


async def _take(store: Store, holder: str, *, ttl: float = 60) -> Lease:
    return await store.lease(session="RemoteAuth-a", holder=holder, ttl=ttl).__aenter__()


def _fenced(store: Store) -> Any:
    # Only stores with leases know the word.
    return store
