"""Keys and signatures against libsignal's: the vectors were made with it."""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wwauth.authstate import curve
from wwauth.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.conftest import RequireOptional

VECTORS = [
    {key: bytes.fromhex(value) for key, value in vector.items()}
    for vector in json.loads((Path(__file__).parents[1] / "fixtures" / "baileys" / "crypto-vectors.json").read_text("utf-8"))[
        "vectors"
    ]
]
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493


@pytest.fixture(params=["in Python", "XEdDSA"])
def signer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, require_optional: RequireOptional) -> None:
    """Sign with either of the two."""
    if request.param == "XEdDSA":
        if sys.platform != "linux":
            pytest.skip("the tests have the package XEdDSA on Linux alone")
        require_optional(find_spec("xeddsa"), "needs the package XEdDSA: pip install 'wwauth[signer]'")
        assert curve._signer() is not None
    else:
        monkeypatch.setattr(curve, "_signer", lambda: None)


@pytest.mark.parametrize("vector", VECTORS)
def test_libsignals_keys_and_signatures(vector: dict[str, bytes]) -> None:
    assert curve.public_key(vector["priv"]) == vector["pub"]
    assert curve.shared_key(vector["priv"], vector["peerPub"]) == vector["shared"]
    assert curve.shared_key(vector["peerPriv"], b"\5" + vector["pub"]) == vector["shared"]
    assert curve.verify(vector["pub"], vector["msg"], vector["sig"])
    assert curve.verify(b"\5" + vector["pub"], vector["msg"], vector["sig"])


def test_both_signs_of_a_key_are_among_the_vectors() -> None:
    assert {vector["sig"][63] >> 7 for vector in VECTORS} == {0, 1}


@pytest.mark.usefixtures("signer")
@pytest.mark.parametrize("vector", VECTORS[:8])
def test_signatures_are_verified_and_never_the_same(vector: dict[str, bytes]) -> None:
    first, second = (curve.sign(vector["priv"], vector["msg"]) for _ in range(2))

    assert first != second
    for signature in (first, second):
        assert curve.verify(vector["pub"], vector["msg"], signature)
        assert signature[63] & 0x80 == vector["sig"][63] & 0x80


def test_points_are_ed25519s() -> None:
    """The public key that RFC 8032 gives for its first secret key, and libsignal's own deterministic signature."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    scalar = int.from_bytes(curve._clamped(hashlib.sha512(seed).digest()[:32]), "little")
    assert curve._times_base(scalar).hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"

    vector = VECTORS[0]
    nonce = curve._scalar(vector["priv"] + vector["msg"])
    assert curve._times_base(nonce) == vector["sig"][:32]


@pytest.mark.parametrize("vector", VECTORS[:4])
def test_nothing_that_was_changed_is_verified(vector: dict[str, bytes]) -> None:
    for bit in range(0, 512, 3):
        changed = bytearray(vector["sig"])
        changed[bit // 8] ^= 1 << bit % 8
        assert not curve.verify(vector["pub"], vector["msg"], bytes(changed)), bit
    for bit in range(0, 256, 7):
        changed = bytearray(vector["pub"])
        changed[bit // 8] ^= 1 << bit % 8
        assert not curve.verify(bytes(changed), vector["msg"], vector["sig"]), bit
    assert not curve.verify(vector["pub"], vector["msg"] + b"\0", vector["sig"])
    assert not curve.verify(vector["pub"], b"", vector["sig"])
    assert not curve.verify(VECTORS[-1]["pub"], vector["msg"], vector["sig"])


def test_what_has_another_length_is_never_verified() -> None:
    vector = VECTORS[0]
    for public in (b"", vector["pub"][:31], b"\6" + vector["pub"], vector["pub"] + b"\5"):
        assert not curve.verify(public, vector["msg"], vector["sig"])
    for signature in (b"", vector["sig"][:63], vector["sig"] + b"\0"):
        assert not curve.verify(vector["pub"], vector["msg"], signature)


def test_a_second_form_of_a_signature_or_a_key_is_refused() -> None:
    """The same numbers, written with their modulus added."""
    vector = VECTORS[0]
    s = int.from_bytes(vector["sig"][32:63] + bytes([vector["sig"][63] & 0x7F]), "little")
    assert not curve.verify(vector["pub"], vector["msg"], vector["sig"][:32] + (s + L).to_bytes(32, "little"))

    high = bytearray(vector["pub"])
    high[31] |= 0x80
    assert not curve.verify(bytes(high), vector["msg"], vector["sig"])


@pytest.mark.parametrize("u", [0, 1, P - 1, P, P + 1, *sorted(curve._SMALL_ORDER)])
def test_points_of_small_order_are_refused(u: int) -> None:
    """With such a key, a signature of the point and number zero would do for one message in a few."""
    public = u.to_bytes(32, "little")
    for y in (1, P - 1, 0):
        for sign in (0, 0x80):
            signature = y.to_bytes(32, "little") + bytes(31) + bytes([sign])
            assert not any(curve.verify(public, bytes([number]), signature) for number in range(16))
    with pytest.raises(ConfigurationError, match="small order"):
        curve.shared_key(VECTORS[0]["priv"], public)


def test_the_points_of_small_order_are_all_of_them() -> None:
    """Those whose double, doubled and doubled, is infinity: 8 divides their order, the twist's included."""
    for u in curve._SMALL_ORDER:
        x, z = u, 1
        for _ in range(3):
            x, z = (x * x - z * z) ** 2 % P, 4 * x * z * (x * x + 486662 * x * z + z * z) % P
        assert z == 0


def test_new_keys_are_clamped_and_agree() -> None:
    mine, theirs = curve.generate_key_pair(), curve.generate_key_pair()

    assert list(mine) == ["private", "public"]
    assert mine != theirs
    for pair in (mine, theirs):
        assert pair["private"][0] & 7 == 0
        assert pair["private"][31] & 0xC0 == 0x40
        assert curve.public_key(pair["private"]) == pair["public"]
    assert curve.shared_key(mine["private"], theirs["public"]) == curve.shared_key(theirs["private"], mine["public"])


@pytest.mark.usefixtures("signer")
def test_a_signed_pre_key() -> None:
    identity = curve.generate_key_pair()

    signed = curve.signed_key_pair(identity, 7)

    assert list(signed) == ["keyPair", "signature", "keyId"]
    assert signed["keyId"] == 7
    assert curve.verify(identity["public"], curve.KEY_BUNDLE_TYPE + signed["keyPair"]["public"], signed["signature"])


def test_a_key_of_another_length_is_named_by_its_length() -> None:
    with pytest.raises(ConfigurationError, match="a private key of 31 bytes"):
        curve.sign(bytes(31), b"")
    with pytest.raises(ConfigurationError, match="a public key of 34 bytes"):
        curve.shared_key(VECTORS[0]["priv"], bytes(34))
