"""
Curve25519 as libsignal uses it: X25519 key pairs and shared keys, and signatures with the same keys.

A public key is 32 bytes; where one is signed or sent, a byte 0x05 stands before it, and that form is accepted, too. A
signature is 64 bytes: XEdDSA, but with the sign of the signer's Edwards key in the last byte's top bit, where XEdDSA has none.

Key pairs, shared keys and verification are `cryptography`'s. Signatures are made by the package XEdDSA where it is installed
(`wwauth[signer]`), and else in Python, in a few milliseconds: Python's integers do not take the same time for all numbers, so
that who can time many signatures of one key on the same machine may learn of it. A login makes one at its birth and one for
each rotation of its signed pre-key.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["KEY_BUNDLE_TYPE", "generate_key_pair", "public_key", "shared_key", "sign", "signed_key_pair", "verify"]

KEY_BUNDLE_TYPE: Final = b"\x05"
"""What stands before a public key that is signed or sent."""

# The field, the order of the base point, and the curve's d, in their usual names.
_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_SQRT_MINUS_1 = pow(2, (_P - 1) // 4, _P)

_SIGN = 0x80

# The points whose order divides 8, as they appear here: with one of them as a public key, anybody can sign anything.
_SMALL_ORDER = frozenset({
    0,
    1,
    _P - 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
})  # fmt: skip

# XEdDSA's hash_1, which no other use of SHA-512 here begins with.
_NONCE = (2**256 - 2).to_bytes(32, "little")


def generate_key_pair() -> dict[str, bytes]:
    """Return a new `{"private": 32 bytes, "public": 32 bytes}`, in Baileys' order; the private key is clamped, as its are."""
    private = bytes(X25519PrivateKey.generate().private_bytes_raw())
    return {"private": _clamped(private), "public": public_key(private)}


def public_key(private: bytes) -> bytes:
    """Return the public key, 32 bytes, of a private one."""
    return X25519PrivateKey.from_private_bytes(_private(private)).public_key().public_bytes_raw()


def shared_key(private: bytes, public: bytes) -> bytes:
    """
    Return the 32 bytes that this private key shares with the owner of that public key.

    Raises:
        ConfigurationError: A key has not 32 bytes, or the public key is one that shares the same secret with everybody.
    """
    bare = _bare(public)
    if bare is None:
        raise ConfigurationError(f"a public key of {len(public)} bytes: give 32, or 33 of which the first is 5")
    try:
        return X25519PrivateKey.from_private_bytes(_private(private)).exchange(X25519PublicKey.from_public_bytes(bare))
    except ValueError:
        raise ConfigurationError("this public key is a point of small order: refuse who sent it") from None


def sign(private: bytes, message: bytes) -> bytes:
    """Return a signature of 64 bytes, another one each time."""
    private = _clamped(_private(private))
    signer = _signer()
    if signer is not None:
        signature = bytearray(signer.ed25519_priv_sign(private, message))
        signature[63] |= signer.priv_to_ed25519_pub(private)[31] & _SIGN
        return bytes(signature)
    secret = int.from_bytes(private, "little")
    public = _times_base(secret)
    nonce = _scalar(_NONCE + private + message + os.urandom(64))
    point = _times_base(nonce)
    challenge = _scalar(point + public + message)
    signature = bytearray(point + ((nonce + challenge * secret) % _L).to_bytes(32, "little"))
    signature[63] |= public[31] & _SIGN
    return bytes(signature)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """
    Tell whether the owner of this public key signed that message.

    False, too, for what is no key or no signature, for a point that is not written in its one way, and for points of small
    order. (libsignal, too, tells the truth here; what it tells, Baileys 7.0.0-rc14 does not look at.)
    """
    edwards = _edwards(public)
    if edwards is None or len(signature) != 64:
        return False
    edwards[31] |= signature[63] & _SIGN
    bare = bytearray(signature)
    bare[63] &= ~_SIGN & 0xFF
    try:
        Ed25519PublicKey.from_public_bytes(bytes(edwards)).verify(bytes(bare), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def signed_key_pair(identity: dict[str, bytes], key_id: int) -> dict[str, Any]:
    """Return a new signed pre-key, `{"keyPair", "signature", "keyId"}`, signed with the identity's private key."""
    pair = generate_key_pair()
    return {
        "keyPair": pair,
        "signature": sign(identity["private"], KEY_BUNDLE_TYPE + pair["public"]),
        "keyId": key_id,
    }


def _private(private: bytes) -> bytes:
    if len(private) != 32:
        raise ConfigurationError(f"a private key of {len(private)} bytes: give 32")
    return bytes(private)


def _clamped(private: bytes) -> bytes:
    """Return the number that X25519 makes of these bytes."""
    return bytes([private[0] & 248, *private[1:31], private[31] & 127 | 64])


def _bare(public: bytes) -> bytes | None:
    """Return a public key's 32 bytes, or None where it is none."""
    if len(public) == 33 and public[0] == KEY_BUNDLE_TYPE[0]:
        return bytes(public[1:])
    return bytes(public) if len(public) == 32 else None


def _edwards(public: bytes) -> bytearray | None:
    """Return the Edwards form, with the sign bit clear, of a public key that may sign, or None."""
    bare = _bare(public)
    if bare is None:
        return None
    u = int.from_bytes(bare, "little")
    if u >= _P or u in _SMALL_ORDER:
        return None
    return bytearray(((u - 1) * pow(u + 1, -1, _P) % _P).to_bytes(32, "little"))


@cache
def _signer() -> ModuleType | None:
    """Return the package that signs in constant time, if it is there."""
    try:
        import xeddsa  # noqa: PLC0415 - optional, and wanted for signing alone
    except ImportError:
        return None
    return xeddsa


def _scalar(data: bytes) -> int:
    return int.from_bytes(hashlib.sha512(data).digest(), "little") % _L


# Points in extended coordinates (X : Y : Z : T), with x = X/Z, y = Y/Z, xy = T/Z, added by the formula of Hisil, Wong, Carter
# and Dawson that holds for all points of this curve (RFC 8032, section 5.1.4).
_Point = tuple[int, int, int, int]
_NEUTRAL: _Point = (0, 1, 1, 0)


def _add(p: _Point, q: _Point) -> _Point:
    a = (p[1] - p[0]) * (q[1] - q[0]) % _P
    b = (p[1] + p[0]) * (q[1] + q[0]) % _P
    c = 2 * p[3] * q[3] * _D % _P
    d = 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


@cache
def _base_multiples() -> tuple[tuple[_Point, ...], ...]:
    """Return 0 to 15 times 16**i times the base point, for each of a scalar's 64 digits: then adding is all there is to do."""
    y = 4 * pow(5, -1, _P) % _P
    xx = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(xx, (_P + 3) // 8, _P)
    if (x * x - xx) % _P:
        x = x * _SQRT_MINUS_1 % _P
    if x & 1:
        x = _P - x
    step: _Point = (x, y, 1, x * y % _P)
    rows = []
    for _ in range(64):
        row = [_NEUTRAL]
        for _ in range(15):
            row.append(_add(row[-1], step))
        rows.append(tuple(row))
        step = _add(row[-1], step)
    return tuple(rows)


def _times_base(scalar: int) -> bytes:
    """Return a multiple of the base point as 32 bytes."""
    point = _NEUTRAL
    for digit, row in enumerate(_base_multiples()):
        point = _add(point, row[scalar >> 4 * digit & 15])
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")
