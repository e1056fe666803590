"""The store that asks again."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.abc import Store, StoreFeatures
from wwauth.backup._stored import recipients_digest
from wwauth.errors import (
    ConfigurationError,
    DecryptionFailed,
    LeaseLost,
    SessionCorrupted,
    SessionInUse,
    SessionNotFound,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from wwauth.stores import EncryptedStore, FileSystemStore, MemoryStore, RetryingStore
from wwauth.testing.store_contract import StoreContract

from .faulty import Faulty

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from wwauth.abc import SessionInfo

AWAY = StoreUnavailable("away")


class TestRetryingStore(StoreContract):
    """Over a store of which every third call fails, before or after it had its effect."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> RetryingStore:
        self.folder = tmp_path / "backups"
        faulty = Faulty(FileSystemStore(self.folder))
        # Tasks at the same time take them from each other, so that one may meet several.
        for _ in range(1000):
            faulty.faults += [None, None, StoreUnavailable("away"), None, None, ("after", StoreUnavailable("away"))]
        return RetryingStore(faulty, attempts=50, wait=0)

    async def reopen(self, store: Store) -> Store:
        return RetryingStore(FileSystemStore(self.folder))

    def open_elsewhere(self, store: Store) -> str:
        folder = str(self.folder)
        return f"from wwauth.stores import FileSystemStore, RetryingStore; store = RetryingStore(FileSystemStore({folder!r}))"

    async def unreachable(self) -> Store:
        return RetryingStore(FileSystemStore(self.folder / "not mounted", create=False), attempts=2, wait=0)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "source.zip"
    path.write_bytes(secrets.token_bytes(1000))
    return path


@pytest.fixture
def faulty() -> Faulty:
    return Faulty(MemoryStore())


@pytest.fixture
def store(faulty: Faulty) -> RetryingStore:
    return RetryingStore(faulty, attempts=3, wait=0)


def calls(store: Store, archive: Path) -> dict[str, Callable[[], Awaitable[Any]]]:
    return {
        "session_exists": lambda: store.session_exists(session="one"),
        "save": lambda: store.save(session="one", path=archive),
        "extract": lambda: store.extract(session="one", path=archive.with_name("out.zip")),
        "delete": lambda: store.delete(session="one"),
        "list_sessions": lambda: anext(store.list_sessions()),
    }


@pytest.mark.parametrize("error", [AWAY, OSError("a plug-in's own"), ("after", AWAY)], ids=["typed", "foreign", "after"])
async def test_what_a_retry_can_help_is_tried_again(store: RetryingStore, faulty: Faulty, archive: Path, error: Any) -> None:
    for verb, call in calls(store, archive).items():
        await store.save(session="one", path=archive)
        faulty.calls.clear()
        after = isinstance(error, tuple) and verb == "list_sessions"
        faulty.faults = [error, error] if not after else []
        await call()
        assert [said.partition(" ")[0] for said in faulty.calls] == [verb] * (1 if after else 3)


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("wrong"),
        DecryptionFailed("keys"),
        LeaseLost("lost"),
        SessionCorrupted("damaged"),
        SessionInUse("held", holder="somebody"),
        SessionNotFound("nothing"),
        StoreDenied("no"),
        StoreError("what"),
        StoreFull("full"),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_answer_comes_through_at_once(
    store: RetryingStore, faulty: Faulty, archive: Path, error: BaseException
) -> None:
    for call in calls(store, archive).values():
        faulty.calls.clear()
        faulty.faults = [error]
        with pytest.raises(type(error)) as caught:
            await call()
        assert caught.value is error
        assert len(faulty.calls) == 1


async def test_in_the_end_the_last_error_is_raised(store: RetryingStore, faulty: Faulty, archive: Path) -> None:
    for call in calls(store, archive).values():
        last = StoreUnavailable("still away")
        faulty.calls.clear()
        faulty.faults = [AWAY, OSError(), last]
        with pytest.raises(StoreUnavailable) as caught:
            await call()
        assert caught.value is last
        assert len(faulty.calls) == 3


async def test_no_retry_begins_too_late(faulty: Faulty) -> None:
    faulty.down = True
    with pytest.raises(StoreUnavailable):
        await RetryingStore(faulty, attempts=100, wait=0, within=0).session_exists(session="one")
    assert len(faulty.calls) == 1


async def test_what_it_waits_for_is_said_without_foreign_words(
    faulty: Faulty, store: RetryingStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    faulty.faults = [OSError("mongodb://user:hunter2@host"), AWAY]
    await store.session_exists(session="one")
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "cannot look for session 'one' yet, trying again in 0.0 s: OSError",
        "cannot look for session 'one' yet, trying again in 0.0 s: away",
    ]


async def test_a_lease_is_taken_and_kept_in_spite_of_errors(archive: Path) -> None:
    class Flaky(MemoryStore):
        """The lease of a store whose every second step fails, after it had its effect."""

        steps = 0

        def lease(self, *, session: str, holder: str, ttl: float) -> Any:
            made = super().lease(session=session, holder=holder, ttl=ttl)
            leases = made._leases

            class Leases:
                def __getattr__(self, name: str) -> Any:
                    async def step(*arguments: Any) -> Any:
                        answer = await getattr(leases, name)(*arguments)
                        Flaky.steps += 1
                        if Flaky.steps % 2:
                            raise AWAY
                        return answer

                    return step

            made._leases = Leases()
            return made

    inner = Flaky()
    store = RetryingStore(inner, wait=0)
    async with store.lease(session="one", holder="me", ttl=60) as lease:
        assert lease.fence == 2
        await lease.renew()
        with pytest.raises(SessionInUse):
            await store.lease(session="one", holder="other", ttl=60).__aenter__()
        await store.save(session="one", path=archive, fence=lease.fence)
    async with MemoryStore.lease(inner, session="one", holder="other", ttl=60) as later:
        with pytest.raises(LeaseLost):
            await store.save(session="one", path=archive, fence=lease.fence)
        assert later.fence == 3


async def test_a_listing_that_has_begun_is_not_begun_again(archive: Path) -> None:
    closed = False

    class Breaks(MemoryStore):
        async def list_sessions(self, *, prefix: str = "", packs: bool = False) -> AsyncIterator[SessionInfo]:
            nonlocal closed
            try:
                async for info in super().list_sessions(prefix=prefix, packs=packs):
                    yield info
                raise AWAY
            finally:
                closed = True

    inner = Breaks()
    await inner.save(session="one", path=archive)
    listing = RetryingStore(inner, wait=0).list_sessions()
    assert (await anext(listing)).session == "one"
    with pytest.raises(StoreUnavailable):
        await anext(listing)

    closed = False
    async with aclosing(RetryingStore(inner).list_sessions()) as begun:  # type: ignore[type-var]
        await anext(begun)
    assert closed


async def test_it_is_what_the_inner_store_is(archive: Path) -> None:
    class Plain(Store):
        async def session_exists(self, *, session: str) -> bool:
            return True

        async def save(self, *, session: str, path: Path) -> None:
            path.read_bytes()

        async def extract(self, *, session: str, path: Path) -> None: ...

        async def delete(self, *, session: str) -> None: ...

        async def close(self) -> None:
            raise AssertionError("the inner store belongs to its giver")

    inner = Plain()
    store = RetryingStore(inner)
    assert store.inner is inner
    assert store.features == StoreFeatures()
    assert repr(store).startswith("RetryingStore(<")
    await store.save(session="one", path=archive)
    await store.save(session="one", path=archive, fence=7)  # the inner store knows nothing of fences
    await store.close()
    assert await store.session_exists(session="one") is True
    with pytest.raises(ConfigurationError, match="Plain cannot list"):
        store.list_sessions()
    with pytest.raises(ConfigurationError, match="Plain has no leases"):
        store.lease(session="one", holder="me", ttl=60)
    assert recipients_digest(store) is None


def test_the_keys_of_an_encrypted_store_show_through(tmp_path: Path) -> None:
    from pyrage import x25519

    key = x25519.Identity.generate()
    sealed = EncryptedStore(MemoryStore(), recipients=[key.to_public()], identities=[key])
    assert recipients_digest(RetryingStore(sealed)) == recipients_digest(sealed)
    assert RetryingStore(sealed).features.encrypted


@pytest.mark.parametrize(
    "wrong",
    [
        {"inner": None},
        {"attempts": 0},
        {"attempts": True},
        {"attempts": 1.5},
        {"wait": -1},
        {"max_wait": float("nan")},
        {"within": "60"},
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="invalid"):
        RetryingStore(**{"inner": MemoryStore(), **wrong})
