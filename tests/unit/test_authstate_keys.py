"""Key stores: transactions that exclude each other where they must, and a cache that never knows better than the store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.abc import CREDS, RecordName
from wwauth.authstate import (
    AuthenticationState,
    BufferJSON,
    MemoryAuthStateStore,
    add_transaction_capability,
    make_cacheable_signal_key_store,
    use_auth_state,
)
from wwauth.errors import ConfigurationError, StoreUnavailable, TransactionConflict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping


class Watched(MemoryAuthStateStore):
    """Counts what it is asked for, can be held up, and can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[list[str]] = []
        self.writes: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failing = False
        self.second = asyncio.Event()

    async def read(self, *, session: str, names: Collection[RecordName]) -> dict[RecordName, str]:
        self.reads.append(sorted(name.id for name in names))
        found = await super().read(session=session, names=names)
        await self.gate.wait()
        return found

    async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
        self.writes.append(sorted(name.id for name in changes))
        if len(self.writes) == 2:
            self.second.set()
        await self.gate.wait()
        if self.failing:
            raise StoreUnavailable("the disk is gone")
        await super().write(session=session, changes=changes)


@pytest.fixture
def store() -> Watched:
    return Watched()


@pytest.fixture
async def state(store: Watched) -> AsyncIterator[AuthenticationState]:
    state, save_creds = await use_auth_state(store)
    await save_creds()
    store.reads.clear()
    store.writes.clear()
    yield state
    store.gate.set()
    await state.close()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def stored_creds(store: Watched, key: str) -> Any:
    return BufferJSON.loads((await store.read(session="default", names=[CREDS]))[CREDS])[key]


async def test_a_transaction_reads_once_and_writes_once(state: AuthenticationState, store: Watched) -> None:
    async with state.keys.transaction("k"):
        assert state.keys.is_in_transaction()
        for _ in range(3):
            await state.keys.get("session", ["1", "2"])
            await state.keys.set({"session": {"1": {"a": 1}}, "pre-key": {"7": {"a": 1}}})
        assert store.writes == []
    assert not state.keys.is_in_transaction()
    assert store.reads == [["1", "2"]]
    assert store.writes == [["1", "7"]]


async def test_a_nested_transaction_joins_whatever_its_key(state: AuthenticationState, store: Watched) -> None:
    async with state.keys.transaction("outer"):
        await state.keys.set({"session": {"1": {"a": 1}}})
        async with state.keys.transaction("inner"):
            assert await state.keys.get("session", ["1"]) == {"1": {"a": 1}}
            await state.keys.set({"session": {"2": {"a": 2}}})
    assert store.writes == [["1", "2"]]


async def test_a_nested_transaction_that_fails_takes_its_own_changes_back(state: AuthenticationState, store: Watched) -> None:
    async with state.keys.transaction("outer"):
        await state.keys.set({"session": {"1": {"a": 1}}})
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - a transaction has a beginning and an end
            async with state.keys.transaction("inner"):
                await state.keys.set({"session": {"1": None, "2": {"a": 2}}})
                state.creds["nextPreKeyId"] = 5
                await state.save_creds()
                raise ZeroDivisionError
        assert state.creds["nextPreKeyId"] == 1
    assert store.writes == [["1"]]
    assert await state.keys.get("session", ["1", "2"]) == {"1": {"a": 1}}


async def test_clear_deletes_what_its_transaction_has_set(state: AuthenticationState) -> None:
    await state.keys.set({"session": {"1": {"a": 1}}})
    async with state.keys.transaction("k"):
        await state.keys.set({"session": {"2": {"a": 2}}})
        await state.keys.clear()
        assert await state.keys.get("session", ["1", "2"]) == {}
        await state.keys.set({"session": {"3": {"a": 3}}})
    assert (await state.keys.get("session", ["1", "2", "3"])).keys() == {"3"}


async def test_a_nested_transaction_that_fails_takes_nothing_of_its_neighbours_back(
    state: AuthenticationState, store: Watched
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def failing() -> None:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - as above
            async with state.keys.transaction("inner"):
                await state.keys.set({"session": {"1": {"by": "inner"}, "2": {"by": "inner"}}})
                state.creds["nextPreKeyId"] = 5
                await state.save_creds()
                async with state.keys.transaction("innermost"):
                    await state.keys.set({"session": {"3": {"by": "innermost"}}})
                begun.set()
                await go.wait()
                raise ZeroDivisionError

    async def neighbour() -> None:
        await begun.wait()
        async with state.keys.transaction("another"):
            await state.keys.set({"session": {"2": {"by": "another"}, "4": {"by": "another"}}})
            state.creds["accountSyncCounter"] = 7
            await state.save_creds()
        go.set()

    async with state.keys.transaction("outer"):
        await state.keys.set({"session": {"1": {"by": "outer"}}})
        await asyncio.gather(failing(), neighbour())
    assert await state.keys.get("session", ["1", "2", "3", "4"]) == {
        "1": {"by": "outer"},
        "2": {"by": "another"},
        "4": {"by": "another"},
    }
    assert (state.creds["nextPreKeyId"], state.creds["accountSyncCounter"]) == (1, 7)
    assert await stored_creds(store, "accountSyncCounter") == 7


async def test_a_read_goes_on_when_what_it_saw_is_taken_back_meanwhile(state: AuthenticationState, store: Watched) -> None:
    await state.keys.set({"session": {"1": {"by": "before"}, "2": {"by": "before"}}})
    async with state.keys.transaction("outer"):
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - as above
            async with state.keys.transaction("inner"):
                await state.keys.set({"session": {"1": {"by": "inner"}}})
                store.gate.clear()
                reading = asyncio.create_task(state.keys.get("session", ["1", "2"]))
                await settle()
                raise ZeroDivisionError
        store.gate.set()
        assert await reading == {"1": {"by": "before"}, "2": {"by": "before"}}


async def test_a_nested_transaction_that_outlives_the_outer_one_takes_nothing_back(
    state: AuthenticationState, store: Watched
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def late() -> None:
        async with state.keys.transaction("inner"):
            state.creds["nextPreKeyId"] = 5
            await state.save_creds()
            begun.set()
            await go.wait()
            raise ZeroDivisionError

    async with state.keys.transaction("outer"):
        task = asyncio.create_task(late())
        await begun.wait()
    go.set()
    with pytest.raises(ZeroDivisionError):
        await task
    assert state.creds["nextPreKeyId"] == 5
    assert await stored_creds(store, "nextPreKeyId") == 5


async def test_tasks_that_a_transaction_starts_belong_to_it(state: AuthenticationState, store: Watched) -> None:
    async with state.keys.transaction("k"):
        await asyncio.gather(*(state.keys.set({"session": {str(n): {"n": n}}}) for n in range(5)))
        late = asyncio.create_task(asyncio.sleep(0.01))
    assert store.writes == [["0", "1", "2", "3", "4"]]
    await late


async def test_a_task_that_outlives_its_transaction_is_outside(state: AuthenticationState, store: Watched) -> None:
    go = asyncio.Event()

    async def late() -> None:
        await go.wait()
        await state.keys.set({"session": {"late": {"a": 1}}})

    async with state.keys.transaction("k"):
        task = asyncio.create_task(late())
        await state.keys.set({"session": {"in": {"a": 1}}})
    go.set()
    await task
    assert store.writes == [["in"], ["late"]]


async def test_a_set_that_comes_during_the_commit_is_a_commit_of_its_own(state: AuthenticationState, store: Watched) -> None:
    go = asyncio.Event()

    async def late() -> None:
        await go.wait()
        await state.keys.set({"session": {"1": {"by": "late"}}})
        state.creds["accountSyncCounter"] = 7
        await state.save_creds()

    async def work() -> asyncio.Task[None]:
        async with state.keys.transaction("k"):
            task = asyncio.create_task(late())
            await state.keys.set({"session": {"1": {"by": "transaction"}}})
            store.gate.clear()
        return task

    working = asyncio.create_task(work())
    await settle()
    go.set()
    await settle()
    store.gate.set()
    await (await working)
    assert store.writes == [["1"], ["1"], [""]]
    assert await state.keys.get("session", ["1"]) == {"1": {"by": "late"}}


async def test_transactions_under_one_key_take_turns(state: AuthenticationState) -> None:
    order = []

    async def work(name: str) -> None:
        async with state.keys.transaction("same"):
            order.append(f"{name} begins")
            await asyncio.sleep(0.002)
            order.append(f"{name} ends")

    await asyncio.gather(work("a"), work("b"), work("c"))
    assert order == ["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]


async def test_transactions_under_different_keys_run_together(state: AuthenticationState) -> None:
    both = asyncio.Barrier(2)

    async def work(name: str) -> None:
        async with state.keys.transaction(name):
            await state.keys.set({"session": {name: {"a": 1}}})
            await asyncio.wait_for(both.wait(), 60)

    await asyncio.gather(work("a"), work("b"))


async def test_a_set_outside_waits_for_the_transaction_that_has_read_the_record(state: AuthenticationState) -> None:
    await state.keys.set({"session": {"log": [0]}})
    started = asyncio.Event()

    async def inside() -> None:
        async with state.keys.transaction("k"):
            log = (await state.keys.get("session", ["log"]))["log"]
            started.set()
            await settle()
            await state.keys.set({"session": {"log": [*log, "inside"]}})

    async def outside() -> None:
        await started.wait()
        await state.keys.set({"session": {"log": ["outside"]}})

    await asyncio.gather(inside(), outside())
    assert await state.keys.get("session", ["log"]) == {"log": ["outside"]}


async def test_two_that_wait_for_each_other_are_told_apart(state: AuthenticationState) -> None:
    both = asyncio.Barrier(2)
    attempts = []

    async def move(key: str, first: str, second: str) -> None:
        for attempt in range(3):
            try:
                async with state.keys.transaction(key):
                    attempts.append(key)
                    await state.keys.get("session", [first])
                    if not attempt and len(attempts) <= 2:
                        await both.wait()
                    await state.keys.get("session", [second])
                    await state.keys.set({"session": {first: {"by": key}, second: {"by": key}}})
            except TransactionConflict:
                continue
            else:
                return

    await asyncio.wait_for(asyncio.gather(move("a", "1", "2"), move("b", "2", "1")), 60)
    assert len(attempts) == 3
    found = await state.keys.get("session", ["1", "2"])
    assert found["1"] == found["2"]


async def test_a_cancelled_wait_leaves_no_lock_behind(state: AuthenticationState) -> None:
    release = asyncio.Event()

    async def holder() -> None:
        async with state.keys.transaction("k"):
            await state.keys.get("session", ["1"])
            await release.wait()

    async def waiter() -> None:
        async with state.keys.transaction("k"):
            raise AssertionError("it was cancelled before its turn")

    first = asyncio.create_task(holder())
    await settle()
    waiters = [asyncio.create_task(waiter()), asyncio.create_task(state.keys.set({"session": {"1": {}}}))]
    await settle()
    for task in waiters:
        task.cancel()
    await settle()
    release.set()
    await first
    async with asyncio.timeout(60), state.keys.transaction("k"):
        await state.keys.set({"session": {"1": {"a": 1}}})


async def test_two_tasks_of_a_transaction_may_wait_for_one_record(state: AuthenticationState) -> None:
    release = asyncio.Event()

    async def holder() -> None:
        async with state.keys.transaction("first"):
            await state.keys.get("session", ["1"])
            await release.wait()

    async def pair() -> None:
        async with state.keys.transaction("second"):
            await asyncio.gather(*(state.keys.get("session", ["1"]) for _ in range(3)))

    tasks = [asyncio.create_task(holder()), asyncio.create_task(pair())]
    await settle()
    release.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("cancelled_at", range(6))
async def test_a_wait_that_outlives_its_transaction_and_is_cancelled_leaves_no_lock(
    state: AuthenticationState, cancelled_at: int
) -> None:
    release, ended = asyncio.Event(), asyncio.Event()

    async def holder() -> None:
        async with state.keys.transaction("first"):
            await state.keys.get("session", ["1"])
            await release.wait()
        ended.set()

    async def two() -> list[asyncio.Task[dict[str, Any]]]:
        async with state.keys.transaction("second"):
            waiting = [asyncio.create_task(state.keys.get("session", ["1"])) for _ in range(2)]
            await settle()
        return waiting

    first = asyncio.create_task(holder())
    await settle()
    waiting = await two()
    release.set()
    for _ in range(cancelled_at):
        await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(first, *waiting, return_exceptions=True)
    assert ended.is_set()
    async with asyncio.timeout(60):
        await state.keys.set({"session": {"1": {"a": 1}}})


async def test_a_cache_forgets_what_was_written_past_it_and_cancelled(state: AuthenticationState, store: Watched) -> None:
    cached = make_cacheable_signal_key_store(state.keys)
    await cached.set({"session": {"1": {"v": 1}}})

    class Kept(asyncio.Event):
        """A gate behind which the write has happened, when its caller is cancelled."""

        async def wait(self) -> Any:
            await MemoryAuthStateStore.write(store, session="default", changes={RecordName("session", "1"): '{"v":2}'})
            return await super().wait()

    store.gate = Kept()
    write = asyncio.create_task(state.keys.set({"session": {"1": {"v": 2}}}))
    await settle()
    write.cancel()
    await asyncio.wait([write])
    store.gate = asyncio.Event()
    store.gate.set()
    assert await cached.get("session", ["1"]) == {"1": {"v": 2}} == await state.keys.get("session", ["1"])


async def test_a_commit_that_fails_is_taken_back(state: AuthenticationState, store: Watched) -> None:
    store.failing = True
    with pytest.raises(StoreUnavailable):  # noqa: PT012 - a transaction has a beginning and an end
        async with state.keys.transaction("k"):
            state.creds["nextPreKeyId"] = 5
            await state.save_creds()
            await state.keys.set({"session": {"1": {"a": 1}}})
    store.failing = False
    assert state.creds["nextPreKeyId"] == 1
    assert await state.keys.get("session", ["1"]) == {}


async def test_a_commit_is_tried_again_when_that_was_asked_for(state: AuthenticationState, store: Watched) -> None:
    keys = add_transaction_capability(state.keys, max_commit_retries=2, delay_between_tries_ms=1)
    store.failing = True

    async def mend() -> None:
        await store.second.wait()
        store.failing = False

    mending = asyncio.create_task(mend())
    async with keys.transaction("k"):
        await keys.set({"session": {"1": {"a": 1}}})
    await mending
    assert await keys.get("session", ["1"]) == {"1": {"a": 1}}


# The cache


async def test_hits_and_misses_are_asked_for_once(state: AuthenticationState, store: Watched) -> None:
    keys = make_cacheable_signal_key_store(state.keys)
    await state.keys.set({"session": {"1": {"a": 1}}})
    store.reads.clear()
    for _ in range(3):
        assert await keys.get("session", ["1", "2"]) == {"1": {"a": 1}}
    assert store.reads == [["2"]]


async def test_the_same_miss_is_one_read_and_other_records_do_not_wait(state: AuthenticationState, store: Watched) -> None:
    keys = make_cacheable_signal_key_store(state.keys)
    await keys.set({"session": {"hit": {"a": 1}}})
    store.gate.clear()
    readers = [asyncio.create_task(keys.get("session", ["1", "2"])) for _ in range(3)]
    readers.append(asyncio.create_task(keys.get("session", ["2", "3"])))
    await settle()
    assert await asyncio.wait_for(keys.get("session", ["hit"]), 60) == {"hit": {"a": 1}}
    # The one who began the read goes, and the others get what it finds.
    readers[0].cancel()
    store.gate.set()
    done = await asyncio.gather(*readers, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert done[1:] == [{}, {}, {}]
    assert store.reads == [["1", "2"], ["3"]]


async def test_nothing_is_remembered_that_was_not_written(state: AuthenticationState, store: Watched) -> None:
    keys = make_cacheable_signal_key_store(state.keys)
    await keys.set({"session": {"1": {"v": 1}}})
    store.failing = True
    with pytest.raises(StoreUnavailable):
        await keys.set({"session": {"1": {"v": 2}}})
    store.failing = False
    assert await keys.get("session", ["1"]) == {"1": {"v": 1}}


async def test_a_read_that_a_write_overtook_is_not_remembered(state: AuthenticationState, store: Watched) -> None:
    keys = make_cacheable_signal_key_store(state.keys)
    store.gate.clear()
    reader = asyncio.create_task(keys.get("session", ["1"]))
    await settle()
    writer = asyncio.create_task(keys.set({"session": {"1": {"v": "new"}}}))
    await settle()
    store.gate.set()
    await asyncio.gather(reader, writer)
    assert await keys.get("session", ["1"]) == {"1": {"v": "new"}}


async def test_a_cancelled_write_is_asked_for_anew(state: AuthenticationState, store: Watched) -> None:
    keys = make_cacheable_signal_key_store(state.keys)
    await keys.set({"session": {"1": {"v": 1}}})
    store.gate.clear()
    writer = asyncio.create_task(keys.set({"session": {"1": {"v": 2}}}))
    await settle()
    writer.cancel()
    await asyncio.wait([writer])
    store.gate.set()
    store.reads.clear()
    await keys.get("session", ["1"])
    assert store.reads == [["1"]]


async def test_what_is_written_past_the_cache_is_seen(state: AuthenticationState) -> None:
    keys = make_cacheable_signal_key_store(state.keys)
    assert await keys.get("session", ["1"]) == {}
    await state.keys.set({"session": {"1": {"v": 1}}})
    assert await keys.get("session", ["1"]) == {"1": {"v": 1}}
    async with state.keys.transaction("k"):
        await keys.set({"session": {"1": {"v": 2}}})
        assert await state.keys.get("session", ["1"]) == {"1": {"v": 2}}
    assert await keys.get("session", ["1"]) == {"1": {"v": 2}}


async def test_the_cache_is_bounded(state: AuthenticationState, store: Watched) -> None:
    keys = make_cacheable_signal_key_store(state.keys, max_records=2)
    for name in ("1", "2", "1", "3"):
        await keys.get("session", [name])
    store.reads.clear()
    await keys.get("session", ["1"])
    await keys.get("session", ["3"])
    assert store.reads == []
    await keys.get("session", ["2"])
    assert store.reads == [["2"]]
    for wrong in (0, -1, True, 1.5, None):
        with pytest.raises(ConfigurationError, match="max_records"):
            make_cacheable_signal_key_store(state.keys, max_records=wrong)  # type: ignore[arg-type]


class Theirs:
    """A key store as a program writes one, after the guide."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.sets = 0

    async def get(self, kind: str, ids: list[str]) -> dict[str, Any]:
        return {id_: self.kept.get(f"{kind}-{id_}") for id_ in ids}

    async def set(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        self.sets += 1
        for kind, values in data.items():
            for id_, value in values.items():
                if value:
                    self.kept[f"{kind}-{id_}"] = value
                else:
                    self.kept.pop(f"{kind}-{id_}", None)


async def test_any_key_store_can_have_a_cache_and_transactions() -> None:
    theirs = Theirs()
    keys = make_cacheable_signal_key_store(add_transaction_capability(theirs))
    async with keys.transaction("k"):
        await keys.set({"session": {"1": {"b": b"\1"}}})
        await keys.set({"session": {"2": {"b": b"\2"}}})
    assert theirs.sets == 1
    theirs.kept.clear()
    assert await keys.get("session", ["1", "2"]) == {"1": {"b": b"\1"}, "2": {"b": b"\2"}}
    await keys.set({"session": {"1": None}})
    assert await keys.get("session", ["1"]) == {}
    with pytest.raises(ConfigurationError, match="listing"):
        await keys.list_ids("session")


@pytest.mark.parametrize("wrong", [None, object(), {}, "folder"])
def test_what_is_no_key_store_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="key store"):
        make_cacheable_signal_key_store(wrong)


@pytest.mark.parametrize(
    ("type_", "ids", "named"),
    [
        ("pre-key", "12", "list"),
        ("pre-key", [1], "'1'"),
        ("", ["1"], "type"),
        (5, ["1"], "type"),
        ("pre-key", [None], "id"),
        ("pre-key", None, "list"),
        ("session", ["\ud800"], "half a character"),
        ("creds", [""], "state.creds"),
    ],
)
async def test_wrong_names_are_refused(state: AuthenticationState, type_: Any, ids: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        await state.keys.get(type_, ids)


@pytest.mark.parametrize("data", [None, [], {"pre-key": None}, {"pre-key": ["1"]}, {"pre-key": "1"}])
async def test_wrong_data_is_refused(state: AuthenticationState, data: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"mapping, \{"):
        await state.keys.set(data)


async def test_credentials_are_no_keys(state: AuthenticationState) -> None:
    with pytest.raises(ConfigurationError, match="save_creds"):
        await state.keys.set({"creds": {"": {}}})


SECRET = "of a private key"


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [SECRET],
        {"session": SECRET},
        {"session": SECRET.encode()},
        {"session": [SECRET]},
        {"session": None},
        {"session": {SECRET.encode(): 1}},
        {SECRET.encode(): {}},
    ],
)
async def test_what_is_set_in_the_wrong_place_is_refused_and_not_shown(state: AuthenticationState, wrong: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await state.keys.set(wrong)
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("ids", [SECRET, SECRET.encode(), [SECRET.encode()], None, 5])
async def test_ids_in_the_wrong_form_are_refused_and_not_shown(state: AuthenticationState, ids: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await state.keys.get("session", ids)
    assert SECRET not in repr(caught.value)
