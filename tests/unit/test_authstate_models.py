"""Typed views over everything that Baileys wrote, and over nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from wwauth.abc import CREDS
from wwauth.authstate.bufferjson import UNDEFINED, BufferJSON
from wwauth.authstate.creds import init_auth_creds
from wwauth.authstate.models import (
    AppStateSyncKey,
    AppStateSyncVersion,
    KeyPair,
    SenderKeyState,
    Session,
    TcToken,
    typed,
    typed_creds,
)
from wwauth.authstate.names import KNOWN_TYPES, record_of
from wwauth.errors import CredsCorrupted, SessionCorrupted

FOLDERS = Path(__file__).parents[1] / "fixtures" / "baileys"
FULL = FOLDERS / "03-full"

KINDS: dict[str, type] = {
    "pre-key": KeyPair,
    "session": Session,
    "sender-key": tuple,
    "sender-key-memory": dict,
    "app-state-sync-key": AppStateSyncKey,
    "app-state-sync-version": AppStateSyncVersion,
    "lid-mapping": str,
    "device-list": tuple,
    "tctoken": TcToken,
    "identity-key": bytes,
}


def read(name: str) -> Any:
    return BufferJSON.loads((FULL / name).read_bytes())


def only(pattern: str) -> Any:
    return read(min(path.name for path in FULL.glob(pattern)))


def test_every_known_type_has_a_view() -> None:
    assert set(KINDS) == set(KNOWN_TYPES)


def test_everything_that_baileys_wrote_has_a_view_and_stays_as_it_is() -> None:
    seen = set()
    for path in sorted(FOLDERS.glob("*/*.json")):
        name, text = record_of(path.name), path.read_text("utf-8")
        if name is None or (path.parent.name == "06-legacy-encodings" and name.type != "pre-key"):
            continue
        value = BufferJSON.loads(text)
        before = copy.deepcopy(value)
        view = typed_creds(value) if name == CREDS else typed(name.type, value)
        if name != CREDS:
            assert type(view) is KINDS[name.type]
        assert value == before
        _has_no_unknown_field(view)
        seen.add(name.type)
    assert seen == {CREDS.type, *KNOWN_TYPES}


def _has_no_unknown_field(view: object) -> None:
    """Baileys' own fields are all known, except for what it takes over from a message's key."""
    if isinstance(view, BaseModel):
        assert not (view.__pydantic_extra__ or {}).keys() - {"addressingMode"}
        for name in type(view).model_fields:
            _has_no_unknown_field(getattr(view, name))
    elif isinstance(view, tuple | dict):
        for item in view.values() if isinstance(view, dict) else view:
            _has_no_unknown_field(item)


def test_credentials() -> None:
    raw = read("creds.json")

    creds = typed_creds(raw)

    assert creds.noise_key.private == raw["noiseKey"]["private"]
    assert creds.signed_pre_key.key_id == 1
    assert creds.signed_pre_key.timestamp_s is None
    assert len(creds.adv_secret_key) == 32
    assert creds.account is not None
    assert isinstance(creds.account.account_signature, bytes)
    assert len(creds.account.account_signature) == 64
    assert creds.me is not None
    assert creds.me.lid == "99000000000001:7@lid"
    assert [message.message_timestamp for message in creds.processed_history_messages] == [1735689650, 1735689655]
    assert len(creds.signal_identities[0].identifier_key) == 33
    assert creds.account_settings is not None
    assert creds.account_settings.default_disappearing_mode is not None
    assert creds.account_settings.default_disappearing_mode.ephemeral_expiration == 604800
    assert creds.my_app_state_key_id == "++++//8+"
    assert creds.is_linked


def test_new_credentials_are_linked_with_nothing() -> None:
    raw = init_auth_creds()
    raw.update(pairingCode=UNDEFINED, backupToken=b"legacy")

    creds = typed_creds(raw)

    assert not creds.is_linked
    assert creds.pairing_code is None
    assert creds.backupToken == b"legacy"  # type: ignore[attr-defined]


def test_an_account_of_bytes_is_the_same_as_one_of_base64() -> None:
    raw = read("creds.json")
    text = typed_creds(raw).account
    assert text is not None

    raw["account"] = {"details": text.details, "accountSignatureKey": bytearray(text.account_signature_key or b"")}

    other = typed_creds(raw).account
    assert other is not None
    assert (other.details, other.account_signature_key) == (text.details, text.account_signature_key)


def test_a_session() -> None:
    session = typed("session", read("session-15550003333.12.json"))

    closed, entry = session.sessions.values()
    assert (closed.is_open, entry.is_open) == (False, True)
    assert session.open_entry is entry
    assert list(session.sessions) == [closed.index_info.base_key, entry.index_info.base_key]
    assert len(entry.current_ratchet.root_key) == 32
    assert len(entry.current_ratchet.ephemeral_key_pair.pub_key) == 33
    (chain,) = entry.chains.values()
    assert (chain.chain_key.counter, chain.chain_type, chain.message_keys) == (-1, 1, {})
    assert entry.pending_pre_key is not None
    assert entry.pending_pre_key.pre_key_id == 78


def test_skipped_message_keys_have_their_numbers() -> None:
    keys: dict[int, bytes] = {}
    for path in FOLDERS.glob("*/session-*0.json"):
        if path.parent.name != "06-legacy-encodings":
            for entry in typed("session", BufferJSON.loads(path.read_bytes())).sessions.values():
                for chain in entry.chains.values():
                    keys.update(chain.message_keys)

    assert keys
    assert all(isinstance(number, int) and len(key) == 32 for number, key in keys.items())


def test_a_sender_key() -> None:
    name = "sender-key-120363000000000001@g.us--99000000000001_1--7.json"

    (state,) = typed("sender-key", read(name))

    assert isinstance(state, SenderKeyState)
    assert state.sender_key_id == 561811047
    assert (state.sender_chain_key.iteration, len(state.sender_chain_key.seed)) == (5, 32)
    assert (len(state.sender_signing_key.public), len(state.sender_signing_key.private)) == (33, 32)
    assert [key.iteration for key in state.sender_message_keys] == [1, 3]
    assert typed("sender-key", BufferJSON.loads(read(name))) == (state,)


def test_the_app_states_records() -> None:
    key = typed("app-state-sync-key", read("app-state-sync-key-AAAAAAob.json"))
    version = typed("app-state-sync-version", read("app-state-sync-version-regular_low.json"))

    assert key.key_data is not None
    assert len(key.key_data) == 32
    assert key.timestamp == 1735689600123
    assert key.fingerprint is not None
    assert key.fingerprint.device_indexes == (0, 1, 7)
    assert (version.version, len(version.hash), len(version.index_value_map)) == (3, 128, 3)
    for mac, entry in version.index_value_map.items():
        assert (len(mac), len(entry.value_mac)) == (32, 32)


def test_tokens_and_who_has_one() -> None:
    token = typed("tctoken", read("tctoken-99000000000002@lid.json"))
    index = typed("tctoken", read("tctoken-__index.json"))

    assert (token.timestamp, token.sender_timestamp, token.jids) == (1735689600, None, ())
    assert index.jids == ("99000000000002@lid", "15550003333@s.whatsapp.net")
    assert typed("tctoken", {"token": b"5"}).jids == ()


def test_the_plain_records() -> None:
    assert typed("device-list", read("device-list-15550002222.json")) == ("0", "3", "12")
    assert typed("lid-mapping", read("lid-mapping-15550001111.json")) == "99000000000001"
    assert typed("sender-key-memory", read("sender-key-memory-status@broadcast.json"))["99000000000002@lid"]
    assert len(typed("identity-key", only("identity-key-*"))) == 33


def test_a_type_that_is_not_known_is_left_alone() -> None:
    value = {"any": [b"thing"]}

    assert typed("later-kind", value) is value


@pytest.mark.parametrize(
    ("long", "number"),
    [
        ({"low": -1, "high": 0, "unsigned": True}, 2**32 - 1),
        ({"low": -1, "high": -1, "unsigned": False}, -1),
        ({"low": -1, "high": -1, "unsigned": True}, 2**64 - 1),
        ({"low": 5, "high": 2}, 2**33 + 5),
        ("1735689600123", 1735689600123),
        (7.0, 7),
    ],
)
def test_integers_have_been_written_in_many_ways(long: object, number: int) -> None:
    assert typed("app-state-sync-key", {"timestamp": long}).timestamp == number


@pytest.mark.parametrize("data", [b"\1\2", memoryview(b"\1\2"), "AQI=", {"type": "Buffer", "data": "AQI="}, {"0": 1, "1": 2}])
def test_bytes_have_been_written_in_many_ways(data: object) -> None:
    assert typed("identity-key", data) == b"\1\2"


def test_a_view_is_frozen() -> None:
    view = typed("pre-key", read("pre-key-1.json"))

    with pytest.raises(ValidationError, match="frozen"):
        view.private = b""


def test_no_repr_shows_a_secret() -> None:
    raw = read("creds.json")
    raw.update(pairingCode="SECRET12", backupToken="SECRET12", additionalData={"x": "SECRET12"})
    creds = typed_creds(raw)

    shown = "".join(f"{view!r}{view}" for view in (creds, typed("pre-key", read("pre-key-1.json")), *_views_of_a_session()))

    assert "KeyPair(private=<32 bytes>, public=<32 bytes>)" in shown
    assert "SECRET12" not in shown
    assert "b'" not in shown
    assert raw["advSecretKey"] not in shown
    assert creds.pairing_code == "SECRET12"


def _views_of_a_session() -> list[object]:
    session = typed("session", only("session-*"))
    (chain,) = next(iter(session.sessions.values())).chains.values()
    return [session, *session.sessions.values(), chain, *typed("sender-key", only("sender-key-1*"))]


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("pre-key", {"private": b"SECRET"}, "'pre-key' is damaged: public: Field required"),
        ("pre-key", {"private": "SECRET!", "public": b""}, "private: it is neither bytes nor base64"),
        ("pre-key", None, "'pre-key' is damaged: Input should be"),
        ("session", {"_sessions": {"AA==": {}}}, r"_sessions\.AA==\.currentRatchet: Field required"),
        ("sender-key", b"SECRET", "'sender-key' is damaged: no BufferJSON text"),
        ("app-state-sync-key", {"timestamp": "SECRET"}, "timestamp: Input should be a valid integer"),
        ("app-state-sync-key", {"timestamp": True}, "timestamp: it is no number"),
        ("lid-mapping", 5, "'lid-mapping' is damaged: Input should be a valid string"),
    ],
)
def test_a_damaged_record_is_refused_by_its_field(kind: str, value: object, message: str) -> None:
    with pytest.raises(SessionCorrupted, match=message) as caught:
        typed(kind, value)

    assert "SECRET" not in str(caught.value)
    assert caught.value.__context__ is None


def test_damaged_credentials_are_refused_by_their_field() -> None:
    creds = init_auth_creds()
    creds["me"] = {"id": 5}
    with pytest.raises(CredsCorrupted, match=r"me\.id: Input should be a valid string"):
        typed_creds(creds)

    creds["noiseKey"] = None
    with pytest.raises(CredsCorrupted, match="noiseKey is null"):
        typed_creds(creds)
