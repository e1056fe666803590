"""Leases in stores that hang, that are slow, whose answers are lost, and what a crash leaves of them."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from wwauth import _holder
from wwauth._holder import lives, new_holder
from wwauth.backup import BackupEngine
from wwauth.backup import lease as lease_module
from wwauth.backup.lease import LeaseKeeper
from wwauth.errors import LeaseLost, SessionCorrupted, StoreUnavailable
from wwauth.stores import FileSystemStore, MemoryStore
from wwauth_stores import _filelease

from ..simulatedclock import on_simulated_clock
from .profiles import ORIGIN, make_profile
from .test_generations import grow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from wwauth.abc import Store

SESSION = "RemoteAuth-one"
TTL = 60.0


class Leasing(MemoryStore):
    """A store, one step of whose leases is another one."""

    def __init__(self, **steps: Callable[[Any], Awaitable[Any]]) -> None:
        super().__init__()
        self.steps = steps
        self.calls: list[str] = []

    def lease(self, *, session: str, holder: str, ttl: float) -> Any:
        lease: Any = super().lease(session=session, holder=holder, ttl=ttl)
        for name in ("renew", "release"):
            setattr(lease, name, self._step(name, getattr(lease, name)))
        return lease

    def _step(self, name: str, whole: Any) -> Any:
        async def step() -> Any:
            self.calls.append(name)
            return await (self.steps[name](whole) if name in self.steps else whole())

        return step


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the OS lock of the lease, as a process does that was stopped in the middle of a step."""
    with FileLock(folder / f".{SESSION}.lock", thread_local=False):
        yield


async def lost(store: Store) -> tuple[LeaseKeeper, LeaseLost]:
    """Take a lease, and return with the error that its holder is told in the end."""
    told: asyncio.Queue[LeaseLost] = asyncio.Queue()
    keeper = LeaseKeeper(store, SESSION, ttl=TTL, on_lost=told.put_nowait)
    await keeper.take()
    return keeper, await told.get()


@on_simulated_clock
async def test_a_store_that_hangs_and_cannot_be_cancelled_is_not_waited_for() -> None:
    goes_on = asyncio.Event()

    async def hang(_: Any) -> None:
        while not goes_on.is_set():
            try:
                await goes_on.wait()
            except asyncio.CancelledError:
                continue

    keeper, error = await lost(Leasing(renew=hang))
    assert "could not be renewed in time" in str(error)
    assert keeper.lost is error
    await keeper.release()
    goes_on.set()


@on_simulated_clock
async def test_a_store_whose_own_task_was_cancelled_does_not_end_the_renewals() -> None:
    async def cancelled(_: Any) -> None:
        raise asyncio.CancelledError

    keeper, error = await lost(store := Leasing(renew=cancelled))
    assert isinstance(error.__cause__, StoreUnavailable)
    assert "renew" in store.calls
    await keeper.release()


@on_simulated_clock
async def test_whatever_a_store_answers_the_holder_is_told_in_time() -> None:
    async def refuse(_: Any) -> None:
        raise SessionCorrupted("what is that?")

    keeper, error = await lost(Leasing(renew=refuse))
    assert "what is that?" in str(error)
    await keeper.release()


@on_simulated_clock
async def test_a_lock_that_does_not_come_free_is_not_waited_for_longer_than_the_lease_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_filelease, "_LOCK_TIMEOUT", 3600)
    told: asyncio.Queue[LeaseLost] = asyncio.Queue()
    keeper = LeaseKeeper(FileSystemStore(tmp_path), SESSION, ttl=TTL, on_lost=told.put_nowait)
    await keeper.take()
    loop: Any = asyncio.get_running_loop()
    with locked(tmp_path):
        loop.hung = True
        error = await told.get()
        assert "in time" in str(error)
        waiting = LeaseKeeper(FileSystemStore(tmp_path), SESSION, ttl=TTL, on_lost=told.put_nowait)
        with pytest.raises(StoreUnavailable):
            await waiting.take()
        loop.hung = False
    await keeper.release()


async def test_a_release_that_is_cancelled_leaves_no_lease_that_nobody_renews() -> None:
    never = asyncio.Event()

    async def hang(_: Any) -> None:
        await never.wait()

    store = Leasing(release=hang)
    keeper = LeaseKeeper(store, SESSION, ttl=60, on_lost=lambda _: None)
    before = await keeper.take()
    releasing = asyncio.create_task(keeper.release())
    await asyncio.sleep(0)
    releasing.cancel()
    await asyncio.wait({releasing})
    assert (keeper.holder, keeper.remaining) == (None, 0)
    del store.steps["release"]
    assert (await keeper.take()).fence > before.fence
    await keeper.release()


@on_simulated_clock
async def test_a_holder_that_was_stopped_in_the_middle_of_a_renewal_asks_once_more() -> None:
    loop: Any = asyncio.get_running_loop()
    renewals = 0
    renewed = asyncio.Event()

    async def stopped(whole: Any) -> None:
        nonlocal renewals
        renewals += 1
        if renewals == 1:
            loop.now += 10 * TTL
            raise ConnectionResetError("the connection did not wait so long")
        await whole()
        renewed.set()

    keeper = LeaseKeeper(Leasing(renew=stopped), SESSION, ttl=TTL, on_lost=lambda _: None)
    await keeper.take()
    await renewed.wait()
    assert keeper.lost is None
    await keeper.release()


@on_simulated_clock
async def test_whoever_was_stopped_while_it_waited_for_a_lease_asks_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    loop: Any = asyncio.get_running_loop()
    store = MemoryStore()
    other = await store.lease(session=SESSION, holder="elsewhere", ttl=TTL).__aenter__()

    def stopped(_: str) -> None:
        loop.now += 10 * TTL
        asyncio.run_coroutine_threadsafe(other.release(), loop).result()

    monkeypatch.setattr(lease_module, "lives", stopped)
    keeper = LeaseKeeper(store, SESSION, ttl=TTL, on_lost=lambda _: None)
    assert (await keeper.take()).fence > other.fence
    await keeper.release()


@on_simulated_clock
async def test_a_lease_that_was_long_in_coming_is_renewed_before_it_is_used() -> None:
    class Slow(Leasing):
        def lease(self, *, session: str, holder: str, ttl: float) -> Any:
            lease = super().lease(session=session, holder=holder, ttl=ttl)
            enter = type(lease).__aenter__

            class Entered(type(lease)):  # type: ignore[misc]
                async def __aenter__(self) -> Any:
                    await enter(self)
                    await asyncio.sleep(0.6 * TTL)
                    return self

            lease.__class__ = Entered
            return lease

    keeper = LeaseKeeper(store := Slow(), SESSION, ttl=TTL, on_lost=lambda _: None)
    await keeper.take()
    assert store.calls == ["renew"]
    await keeper.release()


async def test_what_a_crash_left_of_a_lease_is_deleted_by_the_next_holder(tmp_path: Path) -> None:
    store = FileSystemStore(tmp_path / "store")
    async with store.lease(session=SESSION, holder="first", ttl=60):
        pass
    left = store.folder / f"..{SESSION}.lease.0123456789ab.tmp"
    left.touch()
    async with store.lease(session=SESSION, holder="second", ttl=60):
        assert not left.exists()


def test_a_holder_whose_start_is_hidden_is_taken_for_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = new_holder()
    monkeypatch.setattr(_holder, "started", lambda _: 0)
    assert lives(mine) is True
    pid = mine.partition(", pid ")[2].partition(" ")[0]
    assert lives(mine.replace(f"pid {pid} ", "pid 1 ")) is True
    _holder.end(mine)


@on_simulated_clock
async def test_of_two_who_find_a_dead_holder_the_slower_one_waits_for_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    store, loop = MemoryStore(), asyncio.get_running_loop()
    dead = new_holder()
    await store.lease(session=SESSION, holder=dead, ttl=3600).__aenter__()
    _holder.end(dead)

    def lives_and_is_overtaken(holder: str | None) -> bool | None:
        if holder != dead:
            return None
        # While this one looks, one of another host frees the lease and takes it, shortly.
        claims = store._leases._claims
        claims[SESSION] = type(claims[SESSION])("elsewhere", 7, loop.time() + TTL)
        return False

    monkeypatch.setattr("wwauth.backup.lease.lives", lives_and_is_overtaken)
    keeper = LeaseKeeper(store, SESSION, ttl=60, on_lost=lambda _: None)
    assert (await keeper.take()).fence == 8
    await keeper.release()


class LostAnswers(FileSystemStore):
    """A store that takes the commit, and answers when another holder has gone on: that the writer was overtaken."""

    def __init__(self, folder: Path, *, refuses: bool) -> None:
        super().__init__(folder)
        self.refuses = refuses
        self.then: Callable[[], Awaitable[object]] | None = None

    async def save(self, *, session: str, path: Any, fence: int | None = None) -> None:
        await super().save(session=session, path=path, fence=fence)
        # The first save of the index tells of the pack, the next one commits it.
        if session == SESSION and self.then is not None and any(self.folder.glob(f"{SESSION}.2.*.zip")):
            then, self.then = self.then, None
            await then()
            if self.refuses:
                raise LeaseLost("the lease was taken over")


@pytest.mark.parametrize("refuses", [True, False], ids=["refused when it was tried again", "overtaken before it was read back"])
async def test_a_commit_whose_answer_was_lost_keeps_its_pack(tmp_path: Path, *, refuses: bool) -> None:
    store, folder = FileSystemStore(tmp_path / "store"), tmp_path / "here"
    profile = make_profile(folder / SESSION)
    first = await store.lease(session=SESSION, holder="first", ttl=60).__aenter__()
    await BackupEngine(store, session=SESSION, origin=ORIGIN, lease=first, grace=0).save(profile)
    grow(profile)
    answers = LostAnswers(tmp_path / "store", refuses=refuses)

    async def overtake() -> None:
        await first.release()
        second = await store.lease(session=SESSION, holder="second", ttl=60).__aenter__()
        engine = BackupEngine(store, session=SESSION, origin=ORIGIN, lease=second, generations=1, grace=0)
        there = tmp_path / "there" / SESSION
        assert (await engine.restore(there)).generation == 2
        grow(there, b"from there")
        assert (await engine.save(there)).kind == "incremental"

    answers.then = overtake
    engine = BackupEngine(answers, session=SESSION, origin=ORIGIN, lease=first, grace=0)
    with pytest.raises(LeaseLost):
        await engine.save(profile)
    assert answers.then is None
    back = BackupEngine(store, session=SESSION, origin=ORIGIN)
    report = await back.restore(tmp_path / "back" / SESSION)
    assert (report.generation, report.notes) == (3, ())


class Late(FileSystemStore):
    """A store that another holder uses while an archive is on its way to it."""

    then: Callable[[], Awaitable[object]]

    async def save(self, *, session: str, path: Any, fence: int | None = None) -> None:
        await self.then()
        await super().save(session=session, path=path, fence=fence)


async def test_a_logout_leaves_the_packs_of_newer_generations_that_the_profile_notes_as_garbage(tmp_path: Path) -> None:
    store, late = FileSystemStore(tmp_path / "store"), Late(tmp_path / "store")
    profile = make_profile(tmp_path / "here" / SESSION)
    first = await store.lease(session=SESSION, holder="first", ttl=60).__aenter__()
    await BackupEngine(store, session=SESSION, origin=ORIGIN, lease=first).save(profile)

    async def overtake() -> None:
        await first.release()
        second = await store.lease(session=SESSION, holder="second", ttl=60).__aenter__()
        there = tmp_path / "there" / SESSION
        elsewhere = BackupEngine(store, session=SESSION, origin=ORIGIN, lease=second, generations=1)
        await elsewhere.restore(there)
        grow(there, b"from there")
        assert (await elsewhere.save(there)).kind == "incremental"

    late.then = overtake
    grow(profile)
    # A plain zip was to take the place of the packs, which are noted to be deleted; but it was overtaken.
    with pytest.raises(LeaseLost):
        await BackupEngine(late, session=SESSION, origin=ORIGIN, archive="whatsapp-web.js", lease=first).save(profile)
    await BackupEngine(store, session=SESSION, origin=ORIGIN).delete(profile, keep_newer=True)
    report = await BackupEngine(store, session=SESSION, origin=ORIGIN).restore(tmp_path / "back" / SESSION)
    assert (report.generation, report.notes) == (2, ())
