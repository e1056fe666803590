"""What auth states on any server have in common: nobody answers, and many stores have one client."""

from __future__ import annotations

import pytest

from wwauth.abc import CREDS, RecordName
from wwauth.authstate import open_auth_state_store
from wwauth.authstate.encrypted import EncryptedAuthState, new_key, rekey
from wwauth.authstate.transfer import import_auth_state
from wwauth.authstate.verify import verify
from wwauth.errors import ConfigurationError, DecryptionFailed, StoreUnavailable

from ..unit.authfolders import FIXTURES
from .test_mongo import _collected, pytestmark  # noqa: F401 - a fixture, and what is ignored of the driver's

KEY = RecordName("pre-key", "1")

NOBODY = [
    "postgresql://somebody:hunter2@127.0.0.1:9/db",
    "mysql://somebody:hunter2@127.0.0.1:9/db",
    "mongodb://somebody:hunter2@127.0.0.1:9/db?serverSelectionTimeoutMS=100",
    "redis://somebody:hunter2@127.0.0.1:9/0",
]


@pytest.mark.parametrize("url", NOBODY)
async def test_an_unreachable_server_is_never_an_empty_answer(url: str) -> None:
    store = open_auth_state_store(url)
    for call in (
        store.read(session="one", names=[CREDS]),
        store.write(session="one", changes={CREDS: "{}"}),
        store.delete(session="one"),
        anext(store.records(session="one")),
        anext(store.list_sessions()),
        store.hold(session="one").__aenter__(),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            await call
        assert "127.0.0.1:9" in str(caught.value)
        assert "hunter2" not in f"{caught.value} {store!r}"
    await store.close()


@pytest.mark.parametrize("server", ["mongodb", "redis"])
async def test_stores_of_one_url_share_a_client_until_the_last_is_closed(request: pytest.FixtureRequest, server: str) -> None:
    url: str = request.getfixturevalue(server).url("shared-client")
    first, second, third = (open_auth_state_store(url) for _ in range(3))
    assert first._client is second._client is third._client  # type: ignore[attr-defined]
    for _ in range(2):
        await first.close()
    await second.write(session="one", changes={KEY: "text"})
    await second.close()
    assert await third.read(session="one", names=[KEY]) == {KEY: "text"}
    await third.delete(session="one")
    await third.close()
    async with open_auth_state_store(url) as fourth:  # type: ignore[attr-defined]
        assert fourth._client is not third._client  # type: ignore[attr-defined]
        assert await fourth.read(session="one", names=[KEY]) == {}
    for closed in (first, second, third):
        with pytest.raises(ConfigurationError, match="closed"):
            await closed.read(session="one", names=[KEY])


@pytest.mark.parametrize("server", ["postgresql", "mariadb", "mongodb", "redis"])
async def test_an_encrypted_session_gets_another_key(request: pytest.FixtureRequest, server: str) -> None:
    url: str = request.getfixturevalue(server).url("rekeyed")
    key, other = new_key(), new_key()
    store = open_auth_state_store(url)
    try:
        await import_auth_state(FIXTURES / "03-full", EncryptedAuthState(store, keys=key), "one")
        both = EncryptedAuthState(store, keys=[other, key])
        assert (await rekey(both, "one")).changed == 58
        assert (await rekey(both, "one")).changed == 0
        assert (await verify(EncryptedAuthState(store, keys=other), "one")).ok
        with pytest.raises(DecryptionFailed):
            await EncryptedAuthState(store, keys=key).read(session="one", names=[CREDS])
    finally:
        await store.close()
