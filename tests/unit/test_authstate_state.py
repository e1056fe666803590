"""The auth state of a login: when credentials are saved, who may, and what is never taken for a new identity."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from pyee.asyncio import AsyncIOEventEmitter

from wwauth.abc import CREDS, AuthStateStore, RecordName
from wwauth.authstate import (
    BufferJSON,
    EncryptedAuthState,
    MemoryAuthStateStore,
    export_auth_state,
    import_auth_state,
    init_auth_creds,
    prune,
    use_auth_state,
    verify,
)
from wwauth.errors import ConfigurationError, CredsCorrupted, SessionClosed, SessionInUse, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping
    from pathlib import Path

    from wwauth.authstate import AuthenticationState


class Slow(MemoryAuthStateStore):
    """Counts writes, each of which lets others run meanwhile, and can be stopped before the next."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[dict[RecordName, str | None]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.closed = False

    async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
        self.writes.append(dict(changes))
        await asyncio.sleep(0.001)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        await super().write(session=session, changes=changes)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def store() -> Slow:
    return Slow()


async def begun(store: Slow, writes: int) -> None:
    """Wait until so many writes have begun."""
    while len(store.writes) < writes:  # noqa: ASYNC110 - a turn or two of the loop
        await asyncio.sleep(0)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def counters(store: Slow) -> list[int]:
    """Return the accountSyncCounter of each write of the credentials."""
    return [BufferJSON.loads(text)["accountSyncCounter"] for write in store.writes if (text := write.get(CREDS)) is not None]


async def test_saves_that_come_during_a_write_share_the_next_one(store: Slow) -> None:
    state, save_creds = await use_auth_state(store)
    saves = []
    for number in range(100):
        state.creds["accountSyncCounter"] = number
        saves.append(asyncio.create_task(save_creds()))
        if not number % 10:
            await asyncio.sleep(0.001)
    await asyncio.gather(*saves)
    assert len(store.writes) < 25
    assert counters(store)[-1] == 99
    await state.close()


async def test_a_save_returns_when_what_it_saw_is_stored(store: Slow) -> None:
    state, save_creds = await use_auth_state(store)
    store.gate.clear()
    first = asyncio.create_task(save_creds())
    await begun(store, 1)
    state.creds["accountSyncCounter"] = 5
    second = asyncio.create_task(save_creds())
    await settle()
    assert not first.done()
    assert not second.done()
    store.gate.set()
    await first
    await second
    kept = await store.read(session="default", names=[CREDS])
    assert BufferJSON.loads(kept[CREDS])["accountSyncCounter"] == 5
    await state.close()


async def test_what_is_stored_is_not_written_again_unless_it_is_gone(store: Slow) -> None:
    state, save_creds = await use_auth_state(store)
    await save_creds()
    await save_creds()
    assert len(store.writes) == 1
    await store.delete(session="default")
    await save_creds()
    assert len(store.writes) == 2
    await state.close()


async def test_a_cancelled_save_is_the_others_save_too(store: Slow) -> None:
    state, save_creds = await use_auth_state(store)
    store.gate.clear()
    saves = [asyncio.create_task(save_creds()) for _ in range(3)]
    await begun(store, 1)
    saves[0].cancel()
    store.gate.set()
    await asyncio.gather(*saves[1:])
    with pytest.raises(asyncio.CancelledError):
        await saves[0]
    await state.close()


async def test_a_save_that_fails_says_so_to_all_who_share_it_and_the_next_one_works(store: Slow) -> None:
    state, save_creds = await use_auth_state(store)
    store.error = StoreUnavailable("the disk is gone")
    results = await asyncio.gather(*(save_creds() for _ in range(3)), return_exceptions=True)
    assert {type(result) for result in results} == {StoreUnavailable}
    store.error = None
    await save_creds()
    assert CREDS in await store.read(session="default", names=[CREDS])
    await state.close()


async def test_an_exception_of_a_plug_in_is_an_unavailable_store(store: Slow) -> None:
    state, save_creds = await use_auth_state(store)
    store.error = KeyError("its own")
    with pytest.raises(StoreUnavailable) as caught:
        await save_creds()
    assert isinstance(caught.value.__cause__, KeyError)
    assert "its own" not in str(caught.value)
    store.error = None
    await state.close()


async def test_close_waits_for_what_has_begun(store: Slow) -> None:
    state, save_creds = await use_auth_state(store)
    store.gate.clear()
    save, write = asyncio.create_task(save_creds()), asyncio.create_task(state.keys.set({"session": {"1": {"a": 1}}}))
    await begun(store, 1)
    await settle()
    closing = asyncio.create_task(state.close())
    await settle()
    assert not closing.done()
    store.gate.set()
    await asyncio.gather(save, write, closing)
    assert set(await store.read(session="default", names=[CREDS, RecordName("session", "1")])) == {
        CREDS,
        RecordName("session", "1"),
    }


async def test_after_logout_a_late_save_brings_nothing_back(store: Slow) -> None:
    state, save_creds = await use_auth_state(store)
    await save_creds()
    store.gate.clear()
    write = asyncio.create_task(state.keys.set({"session": {"1": {"a": 1}}}))
    await begun(store, 2)
    logout = asyncio.create_task(state.logout())
    await settle()
    with pytest.raises(SessionClosed):
        await save_creds()
    store.gate.set()
    await asyncio.gather(write, logout)
    assert [session async for session in store.list_sessions()] == []
    with pytest.raises(SessionClosed):
        await state.keys.set({"session": {"1": {}}})
    async with asyncio.timeout(60):
        await state.close()


async def test_a_logout_that_fails_can_be_called_again(store: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    state, save_creds = await use_auth_state(store)
    await save_creds()

    async def failing(*, session: str) -> None:
        raise StoreUnavailable(f"cannot delete {session}")

    with monkeypatch.context() as patch:
        patch.setattr(store, "delete", failing)
        with pytest.raises(StoreUnavailable):
            await state.logout()
    with pytest.raises(SessionInUse):
        await use_auth_state(store)
    await state.logout()
    assert [session async for session in store.list_sessions()] == []


async def test_a_borrowed_store_stays_open(store: Slow) -> None:
    state, _ = await use_auth_state(store)
    async with state:
        pass
    assert not store.closed


@pytest.mark.parametrize("kept", ["", "null", "{", "[1]", '{"noiseKey":1}', "[" * 100_000])
async def test_credentials_that_cannot_be_read_are_never_a_new_identity(store: Slow, kept: str) -> None:
    await store.write(session="one", changes={CREDS: kept})
    with pytest.raises(CredsCorrupted, match="'one'"):
        await use_auth_state(store, session="one")
    assert await store.read(session="one", names=[CREDS]) == {CREDS: kept}
    # And the session is free for whoever mends it.
    await store.write(session="one", changes={CREDS: BufferJSON.dumps(init_auth_creds())})
    state, _ = await use_auth_state(store, session="one")
    await state.close()


async def test_keys_without_credentials_are_never_a_new_identity(store: Slow) -> None:
    await store.write(session="one", changes={RecordName("session", "1"): "{}"})
    with pytest.raises(CredsCorrupted, match="session"):
        await use_auth_state(store, session="one")


@pytest.mark.parametrize("session", ["", "a/b", "../a", "a b", None, 5, "x" * 300])
async def test_a_session_has_a_name(store: Slow, session: Any) -> None:
    with pytest.raises(ConfigurationError, match="session"):
        await use_auth_state(store, session=session)


class Least(AuthStateStore):
    """What a plug-in must write, and no more."""

    def __init__(self) -> None:
        self.kept: dict[RecordName, str] = {}

    async def read(self, *, session: str, names: Collection[RecordName]) -> dict[RecordName, str]:
        return {name: self.kept[name] for name in names if name in self.kept}

    async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
        for name, text in changes.items():
            if text is None:
                self.kept.pop(name, None)
            else:
                self.kept[name] = text

    async def records(self, *, session: str, type: str | None = None) -> AsyncIterator[tuple[RecordName, str]]:  # noqa: A002
        for name, text in list(self.kept.items()):
            if type is None or name.type == type:
                yield name, text

    async def delete(self, *, session: str) -> None:
        self.kept.clear()


async def test_four_methods_are_a_store() -> None:
    store = Least()
    state, save_creds = await use_auth_state(store)
    await save_creds()
    await state.keys.set({"session": {"1": {"a": 1}}})
    await state.keys.clear()
    await state.logout()
    assert store.kept == {}
    with pytest.raises(ConfigurationError, match="list"):
        store.list_sessions()


# Events


@pytest.mark.parametrize("fails", [False, True])
async def test_a_save_elsewhere_leaves_what_a_transaction_changed_to_its_commit(store: Slow, fails: bool) -> None:
    """Or a crash between the two leaves credentials that count keys that are not there."""
    state, save_creds = await use_auth_state(store)
    await save_creds()
    go = asyncio.Event()

    async def elsewhere() -> None:
        await go.wait()
        state.creds["accountSyncCounter"] = 7
        await save_creds()

    def stored() -> tuple[int, int]:
        creds = BufferJSON.loads(store._sessions["default"][CREDS])
        return creds["nextPreKeyId"], creds["accountSyncCounter"]

    other = asyncio.create_task(elsewhere())
    with contextlib.suppress(ZeroDivisionError):
        async with state.keys.transaction("upload"):
            await state.keys.set({"pre-key": {"1": {"n": 1}}})
            state.creds["nextPreKeyId"] = 2
            await save_creds()
            go.set()
            await other
            assert stored() == (1, 7)
            if fails:
                raise ZeroDivisionError
    assert stored() == (1 if fails else 2, 7)
    assert state.creds["nextPreKeyId"] == stored()[0]
    await state.close()


async def test_a_save_that_is_written_before_a_commit_has_none_of_it(store: Slow) -> None:
    state, save_creds = await use_auth_state(store)
    await save_creds()
    store.gate.clear()
    state.creds["accountSyncCounter"] = 1
    saves = [asyncio.create_task(save_creds())]
    await begun(store, 2)

    async def upload(number: int) -> None:
        async with state.keys.transaction(str(number)):
            await state.keys.set({"pre-key": {str(number): {"n": number}}})
            state.creds[f"uploaded{number}"] = number
            await save_creds()

    uploads = [asyncio.create_task(upload(1))]
    await settle()
    saves.append(asyncio.create_task(save_creds()))
    uploads.append(asyncio.create_task(upload(2)))
    await settle()
    store.gate.set()
    await asyncio.gather(*saves, *uploads)
    seen: set[str] = set()
    for write in store.writes:
        seen |= {name.id for name in write if name.type == "pre-key"}
        if (text := write.get(CREDS)) is not None:
            assert {key[-1] for key in BufferJSON.loads(text) if key.startswith("uploaded")} == seen
    assert seen == {"1", "2"}
    await state.close()


@pytest.mark.parametrize("given", [None, b"{}"])
async def test_what_a_plug_in_gives_in_place_of_a_text_is_told(given: Any) -> None:
    class Wrong(MemoryAuthStateStore):
        async def read(self, *, session: str, names: Collection[RecordName]) -> dict[RecordName, str]:
            found = await super().read(session=session, names=names)
            return {name: found.get(name, given) for name in names if name in found or name != CREDS}

    state, _ = await use_auth_state(Wrong())
    with pytest.raises(ConfigurationError, match=f"as {type(given).__name__}: its read"):
        await state.keys.get("pre-key", ["1"])
    await state.close()


async def test_creds_update_may_carry_more_and_says_what_it_cannot_take(store: Slow, caplog: pytest.LogCaptureFixture) -> None:
    state, _ = await use_auth_state(store)
    emitter = AsyncIOEventEmitter()
    binding = state.bind(emitter)
    emitter.emit("creds.update", {"accountSyncCounter": 1}, "more")
    await binding.drain()
    assert state.creds["accountSyncCounter"] == 1
    assert not caplog.records
    emitter.emit("creds.update", "accountSyncCounter")
    await binding.drain()
    assert "creds.update came with a str" in caplog.text
    await state.close()


async def test_creds_update_is_merged_and_saved(store: Slow) -> None:
    state, _ = await use_auth_state(store)
    emitter = AsyncIOEventEmitter()
    binding = state.bind(emitter)
    emitter.emit("creds.update", {"accountSyncCounter": 1, "me": {"id": "1:1@s.whatsapp.net"}})
    emitter.emit("creds.update", {"accountSyncCounter": 2})
    emitter.emit("creds.update")
    await binding.drain()
    kept = BufferJSON.loads((await store.read(session="default", names=[CREDS]))[CREDS])
    assert kept["accountSyncCounter"] == 2
    assert kept["me"] == {"id": "1:1@s.whatsapp.net"}
    await state.close()
    emitter.emit("creds.update", {"accountSyncCounter": 3})
    await asyncio.sleep(0)
    assert state.creds["accountSyncCounter"] == 2


async def test_save_creds_is_a_handler_itself(store: Slow) -> None:
    state, save_creds = await use_auth_state(store)
    emitter = AsyncIOEventEmitter()
    emitter.on("creds.update", save_creds)
    state.creds["accountSyncCounter"] = 4
    emitter.emit("creds.update", {"accountSyncCounter": 4})
    await emitter.wait_for_complete()
    assert counters(store) == [4]
    await state.close()


async def test_a_save_that_fails_in_an_event_is_an_error_event(store: Slow, caplog: pytest.LogCaptureFixture) -> None:
    state, _ = await use_auth_state(store)
    emitter = AsyncIOEventEmitter()
    binding = state.bind(emitter)
    store.error = StoreUnavailable("the disk is gone")
    with caplog.at_level(logging.ERROR):
        emitter.emit("creds.update", {"accountSyncCounter": 1})
        await binding.drain()
    assert "the disk is gone" in caplog.text
    heard: list[Exception] = []
    emitter.on("error", heard.append)
    emitter.emit("creds.update", {"accountSyncCounter": 2})
    await binding.drain()
    assert [type(error) for error in heard] == [StoreUnavailable]
    store.error = None
    await state.close()


async def test_a_save_whose_task_was_cancelled_is_not_the_last(store: Slow) -> None:
    state, save_creds = await use_auth_state(store)
    await save_creds()
    state.creds["accountSyncCounter"] = 5
    before = asyncio.all_tasks()
    first = asyncio.create_task(save_creds())
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - before:
        task.cancel()
    await asyncio.wait([first])
    await save_creds()
    assert BufferJSON.loads((await store.read(session="default", names=[CREDS]))[CREDS])["accountSyncCounter"] == 5
    await state.close()


async def test_a_dead_state_does_not_delete_the_session_of_the_next(store: Slow) -> None:
    one, save_one = await use_auth_state(store)
    await save_one()
    await one.logout()
    two, save_two = await use_auth_state(store)
    await save_two()
    await one.logout()
    assert [session async for session in store.list_sessions()] == ["default"]
    await two.close()
    three, _ = await use_auth_state(store)
    with pytest.raises(SessionClosed):
        await two.logout()
    assert await store.read(session="default", names=[CREDS])
    await three.close()


async def test_a_new_identity_outlives_a_transaction_that_fails(store: Slow) -> None:
    state, save_creds = await use_auth_state(store)
    identity = dict(state.creds)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - a transaction has a beginning and an end
        async with state.keys.transaction("k"):
            state.creds["accountSyncCounter"] = 5
            await save_creds()
            raise ZeroDivisionError
    assert state.creds == identity
    await save_creds()
    await state.close()


async def test_a_transaction_that_fails_leaves_what_another_task_is_saving(store: Slow) -> None:
    state, save_creds = await use_auth_state(store)
    await save_creds()
    store.gate.clear()
    state.creds["platform"] = "of another task"
    saving = asyncio.create_task(save_creds())
    await asyncio.sleep(0)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - a transaction has a beginning and an end
        async with state.keys.transaction("k"):
            state.creds["accountSyncCounter"] = 5
            await save_creds()
            raise ZeroDivisionError
    assert state.creds["platform"] == "of another task"
    assert state.creds["accountSyncCounter"] == 0
    store.gate.set()
    await saving
    await state.close()


async def test_a_transaction_that_fails_leaves_what_another_one_has_changed(store: Slow) -> None:
    state, save_creds = await use_auth_state(store)
    await save_creds()
    changed, failed = asyncio.Event(), asyncio.Event()

    async def good() -> None:
        async with state.keys.transaction("good"):
            state.creds["nextPreKeyId"] = 31
            await save_creds()
            changed.set()
            await failed.wait()

    working = asyncio.create_task(good())
    await changed.wait()
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - a transaction has a beginning and an end
        async with state.keys.transaction("bad"):
            state.creds["accountSyncCounter"] = 5
            await save_creds()
            raise ZeroDivisionError
    failed.set()
    await working
    stored = BufferJSON.loads((await store.read(session="default", names=[CREDS]))[CREDS])
    assert (stored["nextPreKeyId"], stored["accountSyncCounter"]) == (31, 0)
    await state.close()


async def test_a_transaction_that_fails_leaves_what_was_committed_before_a_save_began(store: Slow) -> None:
    state, save_creds = await use_auth_state(store)
    await save_creds()
    saving = asyncio.create_task(save_creds())
    await asyncio.sleep(0)
    async with state.keys.transaction("good"):
        state.creds["nextPreKeyId"] = 31
        await save_creds()
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - a transaction has a beginning and an end
        async with state.keys.transaction("bad"):
            state.creds["accountSyncCounter"] = 5
            await save_creds()
            raise ZeroDivisionError
    await saving
    assert (state.creds["nextPreKeyId"], state.creds["accountSyncCounter"]) == (31, 0)
    await state.close()


def test_a_state_ends_with_its_event_loop(store: Slow) -> None:
    async def first() -> AuthenticationState:
        state, save_creds = await use_auth_state(store)
        await save_creds()
        return state

    async def second(old: AuthenticationState) -> None:
        for call in (old.save_creds, partial(old.keys.set, {"session": {"1": {}}}), old.logout):
            with pytest.raises(SessionClosed, match="event loop"):
                await call()
        await old.close()
        state, _ = await use_auth_state(store)
        await state.close()

    asyncio.run(second(asyncio.run(first())))


@pytest.mark.parametrize(
    "call",
    [
        lambda given, path: use_auth_state(given),
        lambda given, path: verify(given),
        lambda given, path: prune(given),
        lambda given, path: export_auth_state(given, "one", path),
        lambda given, path: import_auth_state(path, given, "one"),
    ],
)
async def test_what_is_no_store_is_told_and_how_to_make_one(call: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"type str: it is a path or a URL, of which open_auth_state_store\(\)"):
        await call("auth_info", tmp_path / "there")
    with pytest.raises(ConfigurationError, match=r"type dict: it lacks read, .*; subclass wwauth\.abc\.AuthStateStore"):
        await call({}, tmp_path / "there")
    with pytest.raises(ConfigurationError, match="type str"):
        EncryptedAuthState("auth_info", keys=[])  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
