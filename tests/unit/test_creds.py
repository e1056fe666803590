"""Credentials: as Baileys makes them, in its order, and what is refused in their place."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wwauth.authstate import curve
from wwauth.authstate.bufferjson import UNDEFINED, BufferJSON
from wwauth.authstate.creds import RESERVED, AuthenticationCreds, _restored, check_creds, init_auth_creds
from wwauth.errors import CredsCorrupted

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDERS = Path(__file__).parents[1] / "fixtures" / "baileys"
FRESH = json.loads((FOLDERS / "01-fresh" / "creds.json").read_text("utf-8"))
IDENTITIES = [path for path in sorted(FOLDERS.glob("*/creds.json")) if path.stat().st_size]


@pytest.fixture(scope="module")
def new() -> AuthenticationCreds:
    return init_auth_creds()


def loaded(path: Path) -> AuthenticationCreds:
    return AuthenticationCreds(BufferJSON.loads(path.read_bytes()))


def test_new_credentials_are_baileys(new: AuthenticationCreds) -> None:
    written = json.loads(BufferJSON.dumps(new))

    check_creds(new)
    assert _shape(written) == _shape(FRESH)
    for name in FRESH.keys() - {"registrationId", "advSecretKey", "noiseKey", "pairingEphemeralKeyPair"}:
        if not name.startswith("signed"):
            assert written[name] == FRESH[name], name
    assert 0 < new["registrationId"] < 2**14
    assert len(base64.b64decode(new["advSecretKey"], validate=True)) == 32
    assert new["signedPreKey"]["keyId"] == 1


def _shape(value: Any) -> Any:
    """Return keys in their order, and what kind of value there is, base64 by its length."""
    if isinstance(value, dict):
        return [(key, _shape(item)) for key, item in value.items()]
    return (type(value).__name__, len(value)) if isinstance(value, str) else type(value).__name__


def test_new_keys_are_pairs_and_the_pre_key_is_signed(new: AuthenticationCreds) -> None:
    pairs = [new["noiseKey"], new["pairingEphemeralKeyPair"], new["signedIdentityKey"], new["signedPreKey"]["keyPair"]]

    for pair in pairs:
        assert curve.public_key(pair["private"]) == pair["public"]
    assert len({pair["private"] for pair in pairs}) == 4
    signed = new["signedPreKey"]
    assert curve.verify(new["signedIdentityKey"]["public"], b"\5" + signed["keyPair"]["public"], signed["signature"])


@pytest.mark.parametrize("path", IDENTITIES, ids=lambda path: path.parent.name)
def test_baileys_credentials_are_identities_that_sign(path: Path) -> None:
    creds = loaded(path)

    check_creds(creds)
    signed = creds["signedPreKey"]
    assert curve.verify(creds["signedIdentityKey"]["public"], b"\5" + signed["keyPair"]["public"], signed["signature"])


def test_two_logins_share_nothing(new: AuthenticationCreds) -> None:
    other = init_auth_creds()

    assert other["advSecretKey"] != new["advSecretKey"]
    assert other["signedIdentityKey"] != new["signedIdentityKey"]


def test_reserved_keys_are_not_there_before_they_are_set(new: AuthenticationCreds) -> None:
    assert not set(RESERVED) & set(new)
    assert new.get("pairingCode") is None
    with pytest.raises(KeyError):
        new["pairingCode"]
    assert "pairingCode" not in BufferJSON.dumps(new)


def _set_item(creds: AuthenticationCreds, name: str) -> None:
    creds[name] = name


def _merge(creds: AuthenticationCreds, name: str) -> None:
    creds |= {name: name}
    assert type(creds) is AuthenticationCreds


SETTERS: dict[str, Callable[[AuthenticationCreds, str], object]] = {
    "item": _set_item,
    "update": lambda creds, name: creds.update({name: name}),
    "keyword": lambda creds, name: creds.update(**{name: name}),
    "pairs": lambda creds, name: creds.update([(name, name)]),
    "setdefault": lambda creds, name: creds.setdefault(name, name),
    "|=": _merge,
}


@pytest.mark.parametrize("way", SETTERS)
def test_reserved_keys_take_their_places_in_whatever_order_they_come(new: AuthenticationCreds, way: str) -> None:
    creds, assign = new.copy(), SETTERS[way]

    for name in ("me", "routingInfo", "additionalData", "account", "pairingCode", "lastPropHash", "later"):
        assign(creds, name)

    assert list(creds) == [*FRESH, *RESERVED, "me", "account", "later"]
    assert all(creds[name] == name for name in RESERVED)


@pytest.mark.parametrize("way", SETTERS)
def test_after_a_reload_they_go_to_the_end(new: AuthenticationCreds, way: str) -> None:
    creds, assign = AuthenticationCreds(BufferJSON.loads(BufferJSON.dumps(new))), SETTERS[way]

    for name in ("me", "routingInfo", "pairingCode"):
        assign(creds, name)

    assert list(creds) == [*FRESH, "me", "routingInfo", "pairingCode"]


def test_the_pairing_codes_place_is_baileys(new: AuthenticationCreds) -> None:
    creds = new.copy()

    creds["me"] = {"id": "15550001111@s.whatsapp.net", "name": "~"}
    creds["pairingCode"] = "ABCD1234"

    assert list(creds) == list(loaded(FOLDERS / "02-pairing-code" / "creds.json"))


def test_a_key_that_is_there_keeps_its_place(new: AuthenticationCreds) -> None:
    creds = new.copy()
    creds.update(me=1, pairingCode="A", lastPropHash=UNDEFINED, registered=True)
    creds["pairingCode"] = "B"
    creds["lastPropHash"] = "C"

    assert list(creds) == [*FRESH, "pairingCode", "lastPropHash", "me"]
    assert creds.setdefault("pairingCode", "D") == "B"


NAMES = ("registrationId", "registered", *RESERVED, "me", "account")


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(NAMES)), max_size=25))
def test_the_order_is_that_of_a_javascript_object(steps: list[tuple[bool, str]]) -> None:
    """In JavaScript the reserved keys are there from the start, and undefined."""
    creds = _restored(AuthenticationCreds, dict.fromkeys(("registrationId", "registered"), 1), RESERVED, ())
    javascript: dict[str, object] = dict.fromkeys(("registrationId", "registered"), 1) | dict.fromkeys(RESERVED, UNDEFINED)

    for remove, name in steps:
        if not remove:
            creds[name] = javascript[name] = 2
        elif name in creds:
            del creds[name], javascript[name]

    assert list(creds) == [name for name, value in javascript.items() if value is not UNDEFINED]
    assert BufferJSON.dumps(creds) == BufferJSON.dumps(javascript)


@pytest.mark.parametrize("remove", ["del", "pop", "popitem"])
def test_what_was_removed_comes_back_at_the_end(new: AuthenticationCreds, remove: str) -> None:
    """As in JavaScript: who deletes a key gives up its place, a reserved one's too."""
    creds = new.copy()
    creds["pairingCode"] = "A"
    if remove == "del":
        del creds["pairingCode"], creds["registered"]
    elif remove == "pop":
        assert (creds.pop("pairingCode"), creds.pop("registered"), creds.pop("nothing", None)) == ("A", False, None)
    else:
        assert (creds.popitem(), creds.popitem()) == (("pairingCode", "A"), ("registered", False))

    creds.update(registered=True, pairingCode="B", routingInfo=b"")

    assert list(creds)[-3:] == ["routingInfo", "registered", "pairingCode"]


def test_cleared_credentials_have_no_places(new: AuthenticationCreds) -> None:
    creds = new.copy()
    creds.clear()
    creds.update(me=1, pairingCode="A")

    assert list(creds) == ["me", "pairingCode"]


@pytest.mark.parametrize(
    "copied", [AuthenticationCreds.copy, copy.copy, copy.deepcopy, lambda creds: pickle.loads(pickle.dumps(creds))]
)
def test_a_copy_has_the_same_places(new: AuthenticationCreds, copied: Callable[[AuthenticationCreds], Any]) -> None:
    original = new.copy()
    original["me"] = 1

    creds = copied(original)
    creds["pairingCode"] = "A"

    assert type(creds) is AuthenticationCreds
    assert list(creds) == [*FRESH, "pairingCode", "me"]
    assert list(original) == [*FRESH, "me"]


def test_they_are_a_dict_that_shows_no_secret(new: AuthenticationCreds) -> None:
    assert isinstance(new, dict)
    assert new == dict(new)
    assert repr(new).startswith("AuthenticationCreds('noiseKey', 'pairing")
    assert new["advSecretKey"] not in repr(new)
    assert BufferJSON.dumps(new) == BufferJSON.dumps(dict(new))


def _without(creds: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    *parents, last = path.split(".")
    for name in parents:
        creds = creds[name]
    return creds, last


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("noiseKey", None, "noiseKey is null"),
        ("noiseKey", UNDEFINED, "noiseKey is missing"),
        ("noiseKey.private", b"x" * 31, "noiseKey.private has 31 bytes and not 32"),
        ("noiseKey.public", "x" * 44, "noiseKey.public is of type str"),
        ("signedIdentityKey.private", b"", "signedIdentityKey.private has 0 bytes"),
        ("signedIdentityKey.public", b"\5" + b"x" * 32, "signedIdentityKey.public has 33 bytes"),
        ("signedPreKey", [], "signedPreKey is of type list"),
        ("signedPreKey.keyPair", UNDEFINED, "signedPreKey.keyPair is missing"),
        ("signedPreKey.keyPair.private", {"type": "Buffer"}, "signedPreKey.keyPair.private is of type dict"),
        ("signedPreKey.signature", b"x" * 63, "signedPreKey.signature has 63 bytes and not 64"),
        ("signedPreKey.keyId", "1", "signedPreKey.keyId is of type str"),
        ("registrationId", True, "registrationId is of type bool"),
        ("registrationId", 16384, "registrationId is not between 0 and 16383"),
        ("registrationId", -1, "registrationId is not between 0 and 16383"),
        ("registrationId", 1.5, "registrationId is of type float"),
        ("advSecretKey", b"x" * 32, "advSecretKey is of type bytes"),
        ("advSecretKey", UNDEFINED, "advSecretKey is missing"),
    ],
)
def test_damaged_credentials_are_refused_by_field_and_length(
    new: AuthenticationCreds, path: str, value: object, message: str
) -> None:
    creds = copy.deepcopy(new)
    holder, name = _without(creds, path)
    holder[name] = value

    with pytest.raises(CredsCorrupted, match=message):
        check_creds(creds)

    del holder[name]
    with pytest.raises(CredsCorrupted, match=f"{path} is missing"):
        check_creds(creds)


@pytest.mark.parametrize("creds", [None, UNDEFINED, [], "x", b"", {}, {"me": {"id": "1@s.whatsapp.net"}}])
def test_what_is_no_identity_is_refused(creds: object) -> None:
    with pytest.raises(CredsCorrupted, match="restore a backup"):
        check_creds(creds)


def test_legacy_and_unknown_fields_are_none_of_its_business(new: AuthenticationCreds) -> None:
    creds = copy.deepcopy(new)
    creds.update(registrationId=0, account={"details": b"\1"}, backupToken=b"", later=object())
    creds["signedPreKey"]["signature"] = bytearray(64)
    for name in set(creds) - {"noiseKey", "signedIdentityKey", "signedPreKey", "registrationId", "advSecretKey"}:
        del creds[name]

    check_creds(creds)
