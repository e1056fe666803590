"""What `verify` finds in auth states that real Baileys wrote, and in ones that were damaged."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from wwauth.abc import CREDS, RecordName
from wwauth.authstate import BufferJSON, FolderAuthStateStore, MemoryAuthStateStore
from wwauth.authstate.curve import generate_key_pair
from wwauth.authstate.prune import PrunePolicy, prune
from wwauth.authstate.verify import verify
from wwauth.errors import SessionNotFound

from .authfolders import FIXTURES, SECRETS, change_creds, copied, in_memory

if TYPE_CHECKING:
    from pathlib import Path

    from wwauth.authstate.verify import Finding, VerifiedAuthState


def found(report: VerifiedAuthState, record: str, severity: str = "error") -> Finding:
    """Return the one finding on a record."""
    (finding,) = [item for item in report.findings if item.record == record and item.severity == severity]
    assert finding.cure.endswith(".")
    return finding


@pytest.mark.parametrize(
    "name", ["01-fresh", "02-pairing-code", "03-full", "04-reloaded", "05-rewritten", "07-python-written", "peer-bob"]
)
async def test_what_baileys_wrote_is_whole(name: str) -> None:
    report = await verify(FolderAuthStateStore(FIXTURES / name), name)
    assert report.ok, report.findings
    assert sum(report.records.values()) == len(list((FIXTURES / name).iterdir()))
    assert sum(report.bytes.values()) == sum(path.stat().st_size for path in (FIXTURES / name).iterdir())


async def test_what_there_is_and_whose() -> None:
    report = await verify(FolderAuthStateStore(FIXTURES / "03-full"))
    assert (report.me, report.platform, report.registered) == ("15550001111:7@s.whatsapp.net", "android", False)
    assert report.records["pre-key"] == 29
    assert "2 is not there" in found(report, "pre-keys", "note").meaning
    assert not any(secret in repr(report) for secret in SECRETS)


async def test_a_pairing_that_was_not_ended() -> None:
    report = await verify(FolderAuthStateStore(FIXTURES / "02-pairing-code"))
    assert "not ended" in found(report, "creds", "warning").meaning


async def test_torn_and_legacy_files() -> None:
    report = await verify(FolderAuthStateStore(FIXTURES / "06-legacy-encodings"))
    assert not report.ok
    assert "empty" in found(report, "creds").meaning
    assert "torn" in found(report, "session-1.0").meaning
    # All legacy forms of bytes are read: what is wrong with these is that they are no pair.
    for number in range(1, 5):
        assert "not of its private" in found(report, f"pre-key-{number}").meaning


async def test_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(SessionNotFound):
        await verify(FolderAuthStateStore(tmp_path))
    with pytest.raises(SessionNotFound):
        await verify(MemoryAuthStateStore(), "one")


async def test_keys_without_credentials(tmp_path: Path) -> None:
    folder = copied("03-full", tmp_path / "auth")
    (folder / "creds.json").unlink()
    report = await verify(FolderAuthStateStore(folder))
    assert "links a new device" in found(report, "creds").meaning
    assert report.me is None


@pytest.mark.parametrize(
    ("change", "meaning"),
    [
        ({"noiseKey": {"private": b"\1" * 32, "public": b"\2" * 32}}, "noiseKey: its public key is not of its private one"),
        ({"signedIdentityKey": generate_key_pair()}, "not signed by the identity's key"),
        ({"signedIdentityKey": generate_key_pair()}, "the account did not sign this identity key"),
        ({"registrationId": 0x4000}, "registrationId"),
        ({"noiseKey": {"private": b"\1" * 31, "public": b"\2" * 32}}, "31 bytes"),
        ({"nextPreKeyId": 0}, "nextPreKeyId"),
        ({"firstUnuploadedPreKeyId": 99}, "past nextPreKeyId"),
        ({"me": None}, "no me.id"),
        ({"account": {"details": "AA=="}}, "account lacks"),
        ({"firstUnuploadedPreKeyId": 30, "nextPreKeyId": 34}, "31, 32, 33 are missing"),
        ({"firstUnuploadedPreKeyId": 29, "nextPreKeyId": 2**70}, f"37, 38 and {2**70 - 39} more are missing"),
        ({"firstUnuploadedPreKeyId": 29, "nextPreKeyId": 40}, "37, 38 and 1 more are missing"),
    ],
)
async def test_damaged_credentials(tmp_path: Path, change: dict[str, object], meaning: str) -> None:
    folder = copied("03-full", tmp_path / "auth")
    change_creds(folder, **change)
    report = await verify(FolderAuthStateStore(folder))
    assert not report.ok
    assert any(meaning in item.meaning for item in report.findings if item.severity == "error"), report.findings
    assert not any(secret in repr(report) for secret in SECRETS)


async def test_a_signature_that_baileys_itself_takes_for_good(tmp_path: Path) -> None:
    folder = copied("03-full", tmp_path / "auth")
    creds = BufferJSON.loads((folder / "creds.json").read_bytes())
    signature = bytearray(creds["signedPreKey"]["signature"])
    signature[10] ^= 1
    change_creds(folder, signedPreKey={**creds["signedPreKey"], "signature": bytes(signature)})
    assert "not signed" in found(await verify(FolderAuthStateStore(folder)), "creds").meaning


async def test_numbers_and_kinds_that_no_login_has(tmp_path: Path) -> None:
    folder = copied("03-full", tmp_path / "auth")
    change_creds(folder, firstUnuploadedPreKeyId=2**70, nextPreKeyId=2**70, signalIdentities=7)
    report = await verify(FolderAuthStateStore(folder))
    assert report.ok
    assert f"and {2**70 - 1 - 38} more are not there" in found(report, "pre-keys", "note").meaning
    assert "signalIdentities" in found(report, "creds", "warning").meaning


async def test_the_pre_key_that_baileys_looks_for(tmp_path: Path) -> None:
    folder = copied("03-full", tmp_path / "auth")
    (folder / "pre-key-30.json").unlink()
    report = await verify(FolderAuthStateStore(folder))
    assert report.ok
    assert "uploads new ones" in found(report, "pre-key-30", "warning").meaning
    change_creds(folder, nextPreKeyId=20, firstUnuploadedPreKeyId=20)
    report = await verify(FolderAuthStateStore(folder))
    assert "older than the keys" in found(report, "pre-keys", "warning").meaning


async def test_damaged_records() -> None:
    store = await in_memory("03-full")
    key = RecordName("pre-key", "5")
    (text,) = (await store.read(session="one", names=[key])).values()
    pair = BufferJSON.loads(text)
    await store.write(
        session="one",
        changes={
            key: BufferJSON.dumps({**pair, "public": b"\7" * 32}),
            RecordName("pre-key", "6"): text[:90],
            RecordName("pre-key", "seven"): text,
            RecordName("lid-mapping", "15550001111"): None,
            RecordName("lid-mapping", "15550002222"): '"99000000000009"',
            RecordName("identity-key", "15550005555.4"): BufferJSON.dumps(b"\5" * 32),
            RecordName("session", "15550003333.12"): '{"_sessions":{"BQ==":{}},"version":"v1"}',
            RecordName("sender-key", "a::b::1"): BufferJSON.dumps(b"[{}]"),
            RecordName("app-state-sync-key", "++++//8+"): None,
            RecordName("of-tomorrow", "1"): "[1]",
            RecordName("device-list", "1"): "null",
        },
    )
    report = await verify(store, "one")
    errors = {item.record for item in report.findings if item.severity == "error"}
    assert errors == {
        "pre-key-5",
        "pre-key-6",
        "identity-key-15550005555.4",
        "session-15550003333.12",
        "sender-key-a::b::1",
        "device-list-1",
    }
    warnings = {item.record for item in report.findings if item.severity == "warning"}
    assert {"pre-key-seven", "app-state-sync-key", "lid-mapping-99000000000001_reverse", "lid-mapping-15550002222"} <= warnings
    assert "does not know" in found(report, "of-tomorrow-*", "note").meaning
    assert [item.severity for item in report.findings] == sorted(
        (item.severity for item in report.findings), key=["error", "warning", "note"].index
    )


@pytest.mark.skipif(os.name != "posix", reason="names that Windows has not")
async def test_thousands_of_records_are_looked_at_in_parts(tmp_path: Path) -> None:
    folder = copied("03-full", tmp_path / "auth")
    text = (folder / "pre-key-3.json").read_bytes()
    for number in range(31, 1_031):
        (folder / f"pre-key-{number}.json").write_bytes(text)
    change_creds(folder, nextPreKeyId=1_031, firstUnuploadedPreKeyId=1_031)
    report = await verify(FolderAuthStateStore(folder))
    assert report.ok
    assert report.records["pre-key"] == 1_029


async def test_a_pre_key_of_more_digits_than_a_number_has() -> None:
    store, name = await in_memory("03-full"), RecordName("pre-key", "9" * 5000)
    await store.write(session="one", changes={name: "{}"})
    report = await verify(store, "one")
    assert "no pre-key has such an id" in found(report, f"pre-key-{name.id}", "warning").meaning
    await prune(store, "one", PrunePolicy(keep_pre_keys=0))
    assert name in [name async for name, _ in store.records(session="one")]


async def test_an_empty_text_in_a_database() -> None:
    store = await in_memory("03-full")
    await store.write(session="one", changes={CREDS: ""})
    assert not (await verify(store, "one")).ok
