"""Who holds a session: the keeper of a lease, and the names of holders."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from wwauth import _processes
from wwauth._holder import end, lives, new_holder
from wwauth.backup import BackupEngine
from wwauth.backup import lease as lease_module
from wwauth.backup.lease import LeaseKeeper, has_leases
from wwauth.errors import LeaseLost, SessionInUse, StoreUnavailable
from wwauth.stores import FileSystemStore, MemoryStore

from ..simulatedclock import on_simulated_clock
from .profiles import ORIGIN, make_profile

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from wwauth.abc import Store

SESSION = "RemoteAuth-one"
TTL = 60.0


class Down(MemoryStore):
    """A store whose leases can be out of reach."""

    down = False

    def lease(self, *, session: str, holder: str, ttl: float) -> Any:
        lease = super().lease(session=session, holder=holder, ttl=ttl)
        renew = lease.renew

        async def renew_if_there() -> None:
            if self.down:
                raise ConnectionError("no route to host")
            await renew()

        lease.renew = renew_if_there  # type: ignore[method-assign]
        return lease


class Keepers:
    """Keepers, which give their leases back at the end, and what they were told."""

    def __init__(self) -> None:
        self.all: list[LeaseKeeper] = []
        self.lost: asyncio.Queue[LeaseLost] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for keeper in self.all:
            await keeper.release()

    def __call__(self, store: Store, ttl: float = TTL) -> LeaseKeeper:
        keeper = LeaseKeeper(store, SESSION, ttl=ttl, on_lost=self.lost.put_nowait)
        self.all.append(keeper)
        return keeper


@on_simulated_clock
async def test_a_lease_is_renewed_for_as_long_as_it_is_held() -> None:
    store = MemoryStore()
    async with Keepers() as keepers:
        keeper = keepers(store)
        assert (keeper.holder, keeper.remaining) == (None, 0)
        lease = await keeper.take()
        assert await keeper.take() is lease
        await asyncio.sleep(3.1 * TTL)
        with pytest.raises(SessionInUse) as caught:
            await store.lease(session=SESSION, holder="another", ttl=1).__aenter__()
        assert caught.value.holder == keeper.holder
        assert str(os.getpid()) in str(keeper.holder)
        assert 0.5 * TTL < keeper.remaining <= 0.8 * TTL
        await keeper.release()
        assert (keeper.holder, keeper.remaining) == (None, 0)
        async with store.lease(session=SESSION, holder="another", ttl=1) as other:
            assert other.fence > lease.fence
        await keeper.release()
        assert keepers.lost.empty()


@on_simulated_clock
async def test_of_two_in_one_process_the_second_is_refused_at_once() -> None:
    store = MemoryStore()
    async with Keepers() as keepers:
        first = keepers(store)
        await first.take()
        began = asyncio.get_running_loop().time()
        with pytest.raises(SessionInUse) as caught:
            await keepers(store).take()
        assert caught.value.holder == first.holder
        assert asyncio.get_running_loop().time() == began


@on_simulated_clock
async def test_another_host_is_waited_for_as_long_as_its_lease_may_last() -> None:
    store = MemoryStore()
    async with Keepers() as keepers:
        left = await store.lease(session=SESSION, holder="elsewhere, pid 7 (00000000.1.00000000)", ttl=TTL).__aenter__()
        assert (await keepers(store).take()).fence > left.fence

        keeper = keepers(held := MemoryStore())
        other = await held.lease(session=SESSION, holder="elsewhere", ttl=100 * TTL).__aenter__()
        with pytest.raises(SessionInUse, match="elsewhere"):
            await keeper.take()
        await other.release()
        await keeper.take()


@on_simulated_clock
async def test_a_lease_that_ended_while_this_process_was_stopped_is_asked_for_once_more() -> None:
    loop: Any = asyncio.get_running_loop()

    class Stopped(MemoryStore):
        def lease(self, *, session: str, holder: str, ttl: float) -> Any:
            lease: Any = super().lease(session=session, holder=holder, ttl=ttl)
            enter = type(lease).__aenter__

            class Entered(type(lease)):  # type: ignore[misc]
                async def __aenter__(self) -> Any:
                    try:
                        return await enter(self)
                    finally:
                        loop.now += 2 * TTL

            lease.__class__ = Entered
            return lease

    store = Stopped()
    await MemoryStore.lease(store, session=SESSION, holder="elsewhere", ttl=TTL).__aenter__()
    async with Keepers() as keepers:
        assert (await keepers(store).take()).fence == 2


async def test_what_a_dead_process_of_this_machine_left_is_not_waited_for(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, sys\n"
        "from wwauth.backup.lease import LeaseKeeper\n"
        "from wwauth.stores import FileSystemStore\n"
        "async def main():\n"
        f"    keeper = LeaseKeeper(FileSystemStore(sys.argv[1]), {SESSION!r}, ttl=3600, on_lost=print)\n"
        "    print((await keeper.take()).fence, flush=True)\n"
        "    os._exit(1)\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path / "store")]
    done = await asyncio.to_thread(lambda: subprocess.run(command, env=environment, capture_output=True, check=False))
    fence = int(done.stdout)
    async with Keepers() as keepers:
        lease = await asyncio.wait_for(keepers(FileSystemStore(tmp_path / "store"), 3600).take(), 60)
        assert lease.fence > fence


@on_simulated_clock
async def test_a_holder_that_is_gone_from_this_process_is_not_waited_for() -> None:
    store = MemoryStore()
    holder = new_holder()
    await store.lease(session=SESSION, holder=holder, ttl=TTL).__aenter__()
    assert lives(holder) is True
    end(holder)
    assert lives(holder) is False
    async with Keepers() as keepers:
        began = asyncio.get_running_loop().time()
        await keepers(store).take()
        assert asyncio.get_running_loop().time() == began


@on_simulated_clock
async def test_whoever_was_overtaken_is_told_once() -> None:
    store = MemoryStore()
    async with Keepers() as keepers:
        keeper = keepers(store)
        await keeper.take()
        assert keeper.holder is not None
        # Its own name is taken at once, as a process does that sees it dead.
        await store.lease(session=SESSION, holder=keeper.holder, ttl=TTL).__aenter__()
        lost = await keepers.lost.get()
        assert keeper.lost is lost
        assert keeper.remaining == 0
        await asyncio.sleep(2 * TTL)
        assert keepers.lost.empty()


@on_simulated_clock
async def test_a_lease_that_cannot_be_renewed_is_lost_before_its_end() -> None:
    store = Down()
    async with Keepers() as keepers:
        keeper = keepers(store)
        await keeper.take()
        store.down = True
        began = asyncio.get_running_loop().time()
        lost = await keepers.lost.get()
        assert asyncio.get_running_loop().time() - began < 0.9 * TTL
        assert "could not be renewed" in str(lost)
        assert isinstance(lost.__cause__, StoreUnavailable)
        assert "no route" not in str(lost)


@on_simulated_clock
async def test_a_store_that_comes_back_in_time_costs_nothing() -> None:
    store = Down()
    async with Keepers() as keepers:
        keeper = keepers(store)
        await keeper.take()
        store.down = True
        await asyncio.sleep(0.6 * TTL)
        assert 0 < keeper.remaining < 0.3 * TTL
        store.down = False
        await asyncio.sleep(0.1 * TTL)
        assert keeper.remaining > 0.5 * TTL
        assert keepers.lost.empty()


async def test_what_an_overtaken_engine_writes_is_refused(tmp_path: Path) -> None:
    store = FileSystemStore(tmp_path / "store")
    profile = make_profile(tmp_path / SESSION)
    first = await store.lease(session=SESSION, holder="first", ttl=60).__aenter__()
    engine = BackupEngine(store, session=SESSION, origin=ORIGIN, lease=first)
    assert engine.lease is first
    await engine.save(profile)
    await first.release()
    second = await store.lease(session=SESSION, holder="second", ttl=60).__aenter__()
    (profile / "Default" / "Local Storage" / "leveldb" / "LOG").touch()
    make_profile(tmp_path / "other", log=[b"other"])
    for archive in ("packs", "whatsapp-web.js"):
        late = BackupEngine(store, session=SESSION, origin=ORIGIN, archive=archive, lease=first)
        with pytest.raises(LeaseLost, match="second"):
            await late.save(tmp_path / "other")
    with pytest.raises(LeaseLost, match="second"):
        await engine.delete()
    (generation,) = await engine.generations()
    assert generation.number == 1
    engine.lease = second
    report = await engine.restore(tmp_path / "back")
    assert report.generation == 1
    assert not [path.name for path in (tmp_path / "store").iterdir() if ".2." in path.name]


async def test_a_kind_of_store_without_leases_is_warned_of_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plain:
        async def session_exists(self, *, session: str) -> bool:
            raise NotImplementedError

    monkeypatch.setattr(lease_module, "_warned", set())
    with caplog.at_level(logging.WARNING):
        assert [has_leases(Plain()) for _ in range(3)] == [False] * 3  # type: ignore[arg-type]
    assert len([r for r in caplog.records if "Plain has no leases" in r.getMessage()]) == 1
    assert has_leases(MemoryStore())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one question is enough to see whether a process lives")
def test_a_process_that_ends_while_it_is_looked_at_lives_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _processes.is_running(os.getpid())
    monkeypatch.setattr(_processes, "_stat", lambda _: None)
    assert not _processes.is_running(os.getpid())


def test_holders_are_told_apart() -> None:
    mine, other = new_holder(), new_holder()
    assert mine != other
    assert mine.isprintable()
    assert len(mine) <= 200
    end(other)
    assert (lives(mine), lives(other)) == (True, False)
    machine = mine.split("(")[1].split(".")[0]
    assert lives(f"here, pid {os.getpid()} ({machine}.1.00000000)") is (False if sys.platform == "linux" else lives(mine))
    assert lives(f"here, pid 2147483646 ({machine}.1.00000000)") is False
    assert lives("here, pid 1 (ffffffff.1.00000000)") is None
    assert lives("somebody") is None
    assert lives(None) is None
    end(mine)
