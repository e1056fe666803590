"""Encryption of auth states before any store keeps them."""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.abc import CREDS, RecordName
from wwauth.authstate import FolderAuthStateStore, MemoryAuthStateStore, use_auth_state
from wwauth.authstate.databases import sql_auth_state_store
from wwauth.authstate.encrypted import EncryptedAuthState, new_key, rekey
from wwauth.authstate.transfer import export_auth_state, import_auth_state
from wwauth.authstate.verify import verify
from wwauth.errors import ConfigurationError, DecryptionFailed, SessionNotFound
from wwauth.testing.auth_state_contract import AuthStateContract

from .authfolders import FIXTURES, SECRETS, files, in_memory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY, OTHER = new_key(), new_key()
FIVE, SIX = RecordName("pre-key", "5"), RecordName("pre-key", "6")


class TestEncrypted(AuthStateContract):
    @pytest.fixture
    def open_state(self) -> Any:
        store = EncryptedAuthState(MemoryAuthStateStore(), keys=KEY)

        async def open_state(session: str) -> Any:
            return await use_auth_state(store, session=session)

        return open_state


async def encrypted(session: str = "one") -> tuple[MemoryAuthStateStore, EncryptedAuthState]:
    inner = MemoryAuthStateStore()
    store = EncryptedAuthState(inner, keys=KEY)
    await import_auth_state(FIXTURES / "03-full", store, session)
    return inner, store


async def raw(store: MemoryAuthStateStore, name: RecordName, session: str = "one") -> str:
    return (await store.read(session=session, names=[name]))[name]


async def test_nothing_is_in_the_clear_and_everything_comes_back(tmp_path: Path) -> None:
    inner, store = await encrypted()
    texts = [text async for _, text in inner.records(session="one")]
    assert len(texts) == 58
    assert not any(secret in text for secret in (*SECRETS, "15550001111", "Buffer") for text in texts)
    assert {name async for name, _ in store.records(session="one")} == {name async for name, _ in inner.records(session="one")}
    await export_auth_state(store, "one", tmp_path / "auth")
    assert files(tmp_path / "auth") == files(FIXTURES / "03-full")
    envelope = json.loads(texts[0])
    assert sorted(envelope) == ["data", "key", "wwauth-encrypted"]


async def test_in_a_folder_that_does_not_tell_all_names_apart(tmp_path: Path) -> None:
    store = EncryptedAuthState(FolderAuthStateStore(tmp_path / "auth"), keys=KEY)
    state, save_creds = await use_auth_state(store)
    await save_creds()
    values = {"a-type-to-come": {"1": {"a": 1}}, "session": {"a:b/c": {"a": 2}}}
    await state.keys.set(values)
    assert {kind: await state.keys.get(kind, ids) for kind, ids in values.items()} == values
    await state.close()
    assert sum((await verify(store)).records.values()) == 3
    assert (await rekey(EncryptedAuthState(FolderAuthStateStore(tmp_path / "auth"), keys=[OTHER, KEY]))).changed == 3
    (tmp_path / "auth" / "session-a-b__c.json").rename(tmp_path / "auth" / "session-a-b__d.json")
    with pytest.raises(DecryptionFailed, match="belongs to another"):
        await verify(EncryptedAuthState(FolderAuthStateStore(tmp_path / "auth"), keys=OTHER))


async def test_each_write_has_its_own_nonce() -> None:
    inner, store = await encrypted()
    before = await raw(inner, FIVE)
    await store.write(session="one", changes=await store.read(session="one", names=[FIVE]))
    assert await raw(inner, FIVE) != before


async def test_no_key_is_shown(tmp_path: Path) -> None:
    inner, store = await encrypted()
    assert KEY.removeprefix("wwauth-key-1:")[:12] not in repr(store) + str(vars(store).keys())
    assert KEY not in await raw(inner, CREDS)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(store)
    for keys in (None, [], ["nonsense"], [KEY, "wwauth-key-1:AAAA"], [b"x" * 32]):
        with pytest.raises(ConfigurationError) as caught:
            EncryptedAuthState(inner, keys=keys)  # type: ignore[arg-type]
        assert KEY[20:] not in str(caught.value)
    with pytest.raises(ConfigurationError):
        EncryptedAuthState(tmp_path, keys=KEY)  # type: ignore[arg-type]


async def test_what_is_encrypted_is_not_read_past_its_keys() -> None:
    """Neither as damaged credentials, in whose place a backup would go, nor as a key's value, when a rekey was cut short."""
    inner, store = await encrypted()
    with pytest.raises(DecryptionFailed, match="EncryptedAuthState"):
        await use_auth_state(inner, session="one")
    creds = (await store.read(session="one", names=[CREDS]))[CREDS]
    await inner.write(session="one", changes={CREDS: creds})
    state, _ = await use_auth_state(inner, session="one")
    async with state:
        with pytest.raises(DecryptionFailed, match="EncryptedAuthState"):
            await state.keys.get("pre-key", ["5"])


async def test_the_wrong_key_is_no_new_identity() -> None:
    inner, _ = await encrypted()
    for store in (EncryptedAuthState(inner, keys=OTHER), EncryptedAuthState(inner, keys=OTHER, allow_plaintext=True)):
        with pytest.raises(DecryptionFailed, match="none of those given"):
            await use_auth_state(store, session="one")
    # Nor is a look past the keys.
    with pytest.raises(DecryptionFailed, match="is encrypted"):
        await verify(inner, "one")
    with pytest.raises(DecryptionFailed, match="is encrypted"):
        await import_auth_state(inner, MemoryAuthStateStore(), "one")


async def damaged(text: str, how: str) -> str:
    envelope = json.loads(text)
    data = envelope["data"]
    changes: dict[str, dict[str, object]] = {
        "changed": {"data": data[:40] + ("A" if data[40] != "A" else "B") + data[41:]},
        "short": {"data": data[:8]},
        "no base64": {"data": "*" * 40},
        "no data": {"data": None},
        "no key": {"key": ""},
        "a later format": {"wwauth-encrypted": 2},
    }
    return text[:50] if how == "torn" else json.dumps({**envelope, **changes[how]}, separators=(",", ":"))


@pytest.mark.parametrize("how", ["changed", "short", "no base64", "no data", "no key", "a later format", "torn"])
async def test_a_changed_record_is_refused(how: str) -> None:
    inner, store = await encrypted()
    await inner.write(session="one", changes={CREDS: await damaged(await raw(inner, CREDS), how)})
    with pytest.raises(DecryptionFailed, match="was changed"):
        await use_auth_state(EncryptedAuthState(inner, keys=KEY, allow_plaintext=True), session="one")
    with pytest.raises(DecryptionFailed, match="was changed"):
        await verify(store, "one")


async def test_a_moved_record_is_refused() -> None:
    inner, store = await encrypted()
    await inner.write(session="one", changes={SIX: await raw(inner, FIVE)})
    with pytest.raises(DecryptionFailed, match="belongs to another record"):
        await store.read(session="one", names=[SIX])
    await inner.write(session="two", changes={FIVE: await raw(inner, FIVE)})
    with pytest.raises(DecryptionFailed, match="belongs to another record"):
        await store.read(session="two", names=[FIVE])


async def test_an_envelope_under_no_key_at_all_is_refused() -> None:
    import base64
    import hmac

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    inner, store = await encrypted()
    place = json.dumps(["wwauth-encrypted", 1, "one", "pre-key", "5"]).encode()
    data = bytes(12) + AESGCM(hmac.digest(b"", place, "sha256")).encrypt(bytes(12), b"{}", place)
    forged = {"wwauth-encrypted": 1, "key": "", "data": base64.b64encode(data).decode()}
    await inner.write(session="one", changes={FIVE: json.dumps(forged, separators=(",", ":"))})
    with pytest.raises(DecryptionFailed):
        await store.read(session="one", names=[FIVE])


async def test_plain_text_is_refused_until_it_is_allowed_and_gone_after_rekey() -> None:
    inner = await in_memory("03-full")
    store = EncryptedAuthState(inner, keys=KEY)
    with pytest.raises(DecryptionFailed, match="not encrypted"):
        await use_auth_state(store, session="one")
    with pytest.raises(DecryptionFailed, match="not encrypted"):
        await rekey(store, "one")
    report = await rekey(EncryptedAuthState(inner, keys=KEY, allow_plaintext=True), "one")
    assert (report.records, report.changed) == (58, 58)
    assert (await verify(store, "one")).ok


async def test_rekey_to_a_new_key() -> None:
    inner, _ = await encrypted()
    both = EncryptedAuthState(inner, keys=[OTHER, KEY])
    await both.write(session="one", changes=await both.read(session="one", names=[FIVE]))
    assert (await verify(both, "one")).ok, "all keys read"
    with pytest.raises(DecryptionFailed):
        await EncryptedAuthState(inner, keys=KEY).read(session="one", names=[FIVE])
    assert (await rekey(both, "one")).changed == 57
    assert (await rekey(both, "one")).changed == 0
    assert (await verify(EncryptedAuthState(inner, keys=OTHER), "one")).ok
    with pytest.raises(ConfigurationError):
        await rekey(inner, "one")  # type: ignore[arg-type]
    with pytest.raises(SessionNotFound, match="'on'"):
        await rekey(both, "on")


_REKEY = """
import asyncio, os, sys
from wwauth.authstate.databases import sql_auth_state_store
from wwauth.authstate import encrypted

encrypted.CHUNK = 7
path, keys, writes = sys.argv[1], sys.argv[2].split(), int(sys.argv[3])


async def main():
    store = encrypted.EncryptedAuthState(sql_auth_state_store(path), keys=keys)
    write, done = store.write, 0

    async def counted(*, session, changes):
        nonlocal done
        if done == writes:
            os.kill(os.getpid(), 9)
        done += 1
        await write(session=session, changes=changes)

    store.write = counted
    await encrypted.rekey(store, "one")


asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
async def test_a_rekey_that_is_killed_goes_on(tmp_path: Path) -> None:
    path = f"sqlite:///{tmp_path}/wwauth.db"
    inner = sql_auth_state_store(path)
    await import_auth_state(FIXTURES / "03-full", EncryptedAuthState(inner, keys=KEY), "one")
    await inner.close()
    command = [sys.executable, "-c", _REKEY, path, f"{OTHER} {KEY}", "3"]
    done = await asyncio.to_thread(subprocess.run, command, check=False)
    assert done.returncode == -9
    inner = sql_auth_state_store(path)
    try:
        both = EncryptedAuthState(inner, keys=[OTHER, KEY])
        assert (await verify(both, "one")).ok
        assert (await rekey(both, "one")).changed == 58 - 3 * 7
        assert (await verify(EncryptedAuthState(inner, keys=OTHER), "one")).ok
    finally:
        await inner.close()


async def test_a_large_batch_does_not_hold_the_event_loop() -> None:
    threads = set()

    class Watching(MemoryAuthStateStore):
        async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
            threads.add(len(changes))
            await super().write(session=session, changes=changes)

    store = EncryptedAuthState(Watching(), keys=KEY)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    await store.write(session="one", changes={RecordName("pre-key", str(n)): "x" * 200 for n in range(3_000)})
    ticking.cancel()
    assert threads == {3_000}
    assert ticks > 10, "others had their turn meanwhile"
