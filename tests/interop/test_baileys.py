"""wwauth and the unmodified Baileys on one folder: what either writes, the other reads, verifies and encrypts with."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.abc import RecordName
from wwauth.authstate import BufferJSON, init_auth_creds, use_multi_file_auth_state
from wwauth.authstate.bufferjson import NotBufferJSON
from wwauth.authstate.curve import generate_key_pair, verify
from wwauth.authstate.names import file_name, record_of

from . import values
from .baileys import Baileys, contents, describe, in_order

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wwauth.authstate import AuthenticationState

TYPES = {
    *("pre-key", "session", "sender-key", "sender-key-memory", "app-state-sync-key", "app-state-sync-version"),
    *("lid-mapping", "device-list", "tctoken", "identity-key"),
}
KEY_TYPE = b"\x05"


@pytest.fixture(scope="session")
def baileys(node: str) -> Iterator[Baileys]:
    with Baileys(node) as running:
        yield running


@pytest.fixture
def alice(tmp_path: Path) -> Path:
    return tmp_path / "alice"


@pytest.fixture
def bob(tmp_path: Path) -> Path:
    return tmp_path / "bob"


def records(folder: Path) -> dict[str, list[str]]:
    """Return the ids of what is in a folder, by type."""
    found: dict[str, list[str]] = {}
    for name in sorted(contents(folder)):
        record = record_of(name)
        assert record is not None, name
        if record.type != "creds":
            found.setdefault(record.type, []).append(record.id)
    return found


def whole(baileys: Baileys, folder: Path) -> dict[str, int]:
    """Let Baileys and libsignal look at all that a folder holds; return how many records of each type there are."""
    found = baileys("verify", folder)
    types: dict[str, int] = found.pop("types")
    assert found.pop("unread") == []
    assert found
    assert all(found.values()), found
    return types


async def read_all(state: AuthenticationState, folder: Path) -> dict[str, dict[str, Any]]:
    return {type_: await state.keys.get(type_, ids) for type_, ids in records(folder).items()}


async def test_what_baileys_wrote_is_saved_as_it_was(baileys: Baileys, alice: Path, bob: Path, tmp_path: Path) -> None:
    baileys("make", alice, bob)
    assert whole(baileys, alice).keys() == TYPES
    for folder in (alice, bob):
        written = contents(folder)
        copy = tmp_path / f"{folder.name}-copy"
        copy.mkdir(0o700)
        (copy / "creds.json").write_bytes(written["creds.json"])

        source, _ = await use_multi_file_auth_state(folder)
        async with source:
            read = await read_all(source, folder)
        assert {type_: list(ids) for type_, ids in read.items()} == records(folder), "a record was not read"
        target, save_creds = await use_multi_file_auth_state(copy)
        async with target:
            await target.keys.set(read)
            # Something else and back, so that it is written for sure.
            target.creds["accountSyncCounter"] += 1
            await save_creds()
            target.creds["accountSyncCounter"] -= 1
            await save_creds()
        assert contents(copy) == written
        assert contents(folder) == written


async def test_fresh_credentials_keep_their_reserved_places(baileys: Baileys, alice: Path) -> None:
    baileys("fresh", alice)
    written = contents(alice)
    state, save_creds = await use_multi_file_auth_state(alice)
    async with state:
        await save_creds()
    assert contents(alice) == written


async def test_baileys_uses_a_login_that_wwauth_made(baileys: Baileys, alice: Path, bob: Path) -> None:
    """Two folders with all keys by wwauth: linked, verified, and used to speak with each other, by Baileys."""
    for folder in (alice, bob):
        state, save_creds = await use_multi_file_auth_state(folder)
        async with state:
            assert list(state.creds) == list(init_auth_creds())
            await state.keys.set({"pre-key": {str(n): generate_key_pair() for n in range(1, 6)}})
            state.creds["nextPreKeyId"] = state.creds["firstUnuploadedPreKeyId"] = 6
            await save_creds()
        assert whole(baileys, folder) == {"pre-key": 5}
    baileys("pair", alice, 0)
    baileys("pair", bob, 1)
    assert baileys("introduce", bob, alice, {"id": "3"}) == "3"
    assert baileys("send", bob, alice, ["one", "two"]) == [{"type": "pkmsg", "text": "one"}, {"type": "pkmsg", "text": "two"}]
    assert baileys("send", alice, bob, ["back"]) == [{"type": "msg", "text": "back"}]
    assert baileys("sendToGroup", alice, bob, "to all") == "to all"
    assert whole(baileys, alice) == {"pre-key": 4, "session": 1, "sender-key": 1, "identity-key": 1}
    state, _ = await use_multi_file_auth_state(alice)
    async with state:
        assert await state.keys.get("pre-key", ["3"]) == {}
        assert verify_creds(state)


async def test_a_signature_that_was_touched_is_not_taken_for_good(baileys: Baileys, alice: Path) -> None:
    """So that what the other tests call verified means something."""
    state, save_creds = await use_multi_file_auth_state(alice)
    async with state:
        await save_creds()
    text = (alice / "creds.json").read_text("utf-8")
    creds = BufferJSON.loads(text)
    signature = bytearray(creds["signedPreKey"]["signature"])
    signature[5] ^= 1
    creds["signedPreKey"]["signature"] = bytes(signature)
    (alice / "creds.json").write_text(BufferJSON.dumps(creds), "utf-8")
    assert baileys("verify", alice)["signedPreKey"] is False


def verify_creds(state: AuthenticationState) -> bool:
    """Verify by wwauth what a login has signed, and what was signed for it."""
    creds, own = state.creds, state.creds["signedIdentityKey"]["public"]
    account = {name: BufferJSON.loads(f'{{"type":"Buffer","data":"{text}"}}') for name, text in creds["account"].items()}
    key, details = account["accountSignatureKey"], account["details"]
    pre_key = creds["signedPreKey"]
    return (
        verify(own, KEY_TYPE + pre_key["keyPair"]["public"], pre_key["signature"])
        and verify(key, b"\x06\x00" + details + own, account["accountSignature"])
        and verify(own, b"\x06\x01" + details + own + key, account["deviceSignature"])
    )


class Turns:
    """Two devices; Baileys and wwauth change the first one in turns, each as a process that has just started."""

    def __init__(self, baileys: Baileys, alice: Path, bob: Path) -> None:
        self.baileys, self.alice, self.bob = baileys, alice, bob
        self.creds: dict[str, Any] = {}
        self.mine: list[str] = []

    async def of_baileys(self, number: int) -> None:
        """Messages both ways, a group's, pre-keys, credentials: and what wwauth wrote last is there."""
        if self.creds:
            assert BufferJSON.loads(self.baileys("creds", self.alice)) == self.creds
        if number % 5 == 0 and self.mine:
            # A new session, with a pre-key that wwauth made.
            self.baileys("introduce", self.bob, self.alice, {"id": self.mine.pop(0)})
        there, back = f"{number} there", f"{number} back"
        assert [got["text"] for got in self.baileys("send", self.bob, self.alice, [there, there])] == [there, there]
        assert [got["text"] for got in self.baileys("send", self.alice, self.bob, [back])] == [back]
        if number % 3 == 0:
            assert self.baileys("sendToGroup", self.alice, self.bob, there) == there
        if number % 4 == 0:
            self.baileys("mint", self.alice, 5)
        changes = {
            "accountSyncCounter": number,
            "routingInfo": random.Random(number).randbytes(4),
            f"own{number % 7}": [number],
        }
        self.baileys("change", self.alice, BufferJSON.dumps(changes), "")

    async def of_wwauth(self, number: int) -> None:
        """All read and some of it written, new pre-keys with their credentials, a record more and one less."""
        state, save_creds = await use_multi_file_auth_state(self.alice)
        async with state:
            creds = state.creds
            assert creds["accountSyncCounter"] == number
            assert creds["routingInfo"] == random.Random(number).randbytes(4)
            read = await read_all(state, self.alice)
            await state.keys.set({type_: read[type_] for type_ in ("session", "sender-key", "pre-key") if type_ in read})
            first = creds["nextPreKeyId"]
            self.mine += [str(first), str(first + 1)]
            async with state.keys.transaction("pre-keys"):
                await state.keys.set({"pre-key": {str(first + n): generate_key_pair() for n in range(2)}})
            creds["nextPreKeyId"] = creds["firstUnuploadedPreKeyId"] = first + 2
            creds["additionalData"] = {"turn": number, "bytes": bytes([number]), "10": None, "9": "é"}
            token: dict[str, Any] = {"token": bytes([number]), "timestamp": str(number)}
            gone = {f"{number - 1}@s.whatsapp.net": None}
            await state.keys.set(
                {"tctoken": {f"{number}@s.whatsapp.net": token, **gone}, "device-list": {"1": ["0", str(number)]}}
            )
            await save_creds()
            self.creds = BufferJSON.loads(BufferJSON.dumps(creds))
        got = self.baileys("get", self.alice, "tctoken", [f"{number}@s.whatsapp.net", f"{number - 1}@s.whatsapp.net"])
        assert BufferJSON.loads(got) == {f"{number}@s.whatsapp.net": token, f"{number - 1}@s.whatsapp.net": None}


async def test_fifty_turns_in_which_both_change_a_folder(baileys: Baileys, alice: Path, bob: Path) -> None:
    late = baileys("make", alice, bob)
    turns = Turns(baileys, alice, bob)
    for number in range(1, 26):
        await turns.of_baileys(number)
        await turns.of_wwauth(number)
    types = whole(baileys, alice)
    assert types.keys() == TYPES
    state, _ = await use_multi_file_auth_state(alice)
    async with state:
        assert verify_creds(state)
    assert baileys("send", alice, bob, ["at the end"]) == [{"type": "msg", "text": "at the end"}]
    assert baileys("send", bob, alice, ["and back"]) == [{"type": "msg", "text": "and back"}]
    # The last of all: libsignal takes up the old session with it, which is Baileys' own affair.
    assert baileys("late", alice, bob, late) == "lost", "a key that waited through all turns"


async def test_baileys_writes_what_wwauth_wrote_as_it_was(baileys: Baileys, alice: Path, bob: Path) -> None:
    """The other way round: records of each type as wwauth writes them are what Baileys writes when it has read them."""
    baileys("make", alice, bob)
    state, save_creds = await use_multi_file_auth_state(alice)
    async with state:
        read = await read_all(state, alice)
        await state.keys.set(read)
        await state.keys.set(
            {"pre-key": {"900": generate_key_pair()}, "device-list": {"x": []}, "lid-mapping": {"u": "é\u2028"}}
        )
        state.creds["additionalData"] = {"b": [1e21, -0.0, 0.1, "\ud800", b""], "2": 1, "1": "x"}
        await save_creds()
    written = contents(alice)
    baileys("rewrite", alice, records(alice))
    assert contents(alice) == written


async def test_file_names_are_those_of_baileys(baileys: Baileys, alice: Path, bob: Path) -> None:
    baileys("make", alice, bob)
    ids = {
        "sender-key": ["120363000000000001@g.us::99000000000001_1::7", "15550001111-1612345678@g.us::15550001111::0"],
        "app-state-sync-key": ["++++//8+", "AAAAAAob", "//////////8="],
        "session": ["15550003333.12", "99000000000002_1.0"],
        "tctoken": ["__index", "15550003333@s.whatsapp.net"],
        "lid-mapping": ["99_reverse"],
        "unknown-type": ["a:b/c"],
    }
    value = {"token": b"x", "keyData": "eA==", "10": "x"}
    new = {type_: dict.fromkeys(of_type, value) for type_, of_type in ids.items()}
    baileys("change", alice, "{}", BufferJSON.dumps(new))
    names = {file_name(RecordName(type_, id_)) for type_, of_type in ids.items() for id_ in of_type}
    assert names <= contents(alice).keys()
    state, _ = await use_multi_file_auth_state(alice)
    async with state:
        for type_, of_type in ids.items():
            assert (await state.keys.get(type_, of_type)).keys() == set(of_type)
        # And as they stand in the files' names.
        assert list(await state.keys.get("app-state-sync-key", ["++++____8+"])) == ["++++____8+"]


def test_the_codec_writes_what_baileys_writes(baileys: Baileys) -> None:
    dice = random.Random(1)
    made = [values.value(dice) for _ in range(600)]
    expected = baileys("dumps", [describe(value) for value in made])
    # What JSON has no text for at all, JavaScript answers with undefined.
    pairs = [(value, text) for value, text in zip(made, expected, strict=True) if text is not None]
    assert len(pairs) > 400
    assert [BufferJSON.dumps(value) for value, _ in pairs] == [text for _, text in pairs]


def test_the_codec_reads_what_baileys_reads(baileys: Baileys) -> None:
    dice = random.Random(2)
    made = [values.text(dice) for _ in range(900)]
    good = 0
    for text, expected in zip(made, baileys("loads", made), strict=True):
        if "error" in expected:
            with pytest.raises(NotBufferJSON):
                BufferJSON.loads(text)
            continue
        good += 1
        read = BufferJSON.loads(text)
        assert in_order(describe(read)) == expected["value"], text
        assert BufferJSON.dumps(read) == expected["text"], text
    assert 500 < good < 900
