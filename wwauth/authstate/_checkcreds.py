"""A close look at credentials: do their parts belong together? Everything here computes; call it from a thread."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, TypeGuard

from ..errors import CredsCorrupted
from ._findings import Finding
from .creds import check_creds
from .curve import KEY_BUNDLE_TYPE, public_key, verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BACKUP = "Restore a backup of the credentials, or link the device anew."

# What stands before the signed bytes, for an account of a phone and for one that Meta hosts.
_BY_ACCOUNT = (b"\x06\x00", b"\x06\x05")
_BY_DEVICE = (b"\x06\x01", b"\x06\x06")

# 32 random bytes in base64.
_SECRET_BYTES = 32


def look_at_creds(creds: Any) -> Iterator[Finding]:
    """Yield what is wrong with, or worth knowing of, credentials; nothing of their values."""
    try:
        check_creds(creds)
    except CredsCorrupted as error:
        yield Finding("error", "creds", str(error), _BACKUP)
        return
    yield from _pairs(creds)
    yield from _counters(creds)
    yield from _login(creds)


def _pairs(creds: Mapping[str, Any]) -> Iterator[Finding]:
    signed = creds["signedPreKey"]
    pairs = {name: creds.get(name) for name in ("noiseKey", "pairingEphemeralKeyPair", "signedIdentityKey")}
    for name, pair in {**pairs, "signedPreKey.keyPair": signed["keyPair"]}.items():
        if pair is None and name == "pairingEphemeralKeyPair":
            continue  # needed for a pairing alone
        if (problem := pair_problem(pair)) is not None:
            yield Finding("error", "creds", f"{name}: {problem}; nothing that was agreed with it can be read", _BACKUP)
    identity = creds["signedIdentityKey"]["public"]
    if not verify(identity, KEY_BUNDLE_TYPE + signed["keyPair"]["public"], signed["signature"]):
        yield Finding(
            "error", "creds", "signedPreKey is not signed by the identity's key: others refuse to begin a session", _BACKUP
        )
    secret = _decoded(creds["advSecretKey"])
    if secret is None or len(secret) != _SECRET_BYTES:
        yield Finding("warning", "creds", "advSecretKey is not 32 bytes in base64: no device can be paired with it", _BACKUP)
    if creds["registrationId"] == 0:
        yield Finding(
            "note", "creds", "registrationId is 0, which Baileys makes, and which tests for truth miss", "None needed."
        )


def _counters(creds: Mapping[str, Any]) -> Iterator[Finding]:
    upcoming, unuploaded = creds.get("nextPreKeyId"), creds.get("firstUnuploadedPreKeyId")
    for name, value in (("nextPreKeyId", upcoming), ("firstUnuploadedPreKeyId", unuploaded)):
        if not is_count(value):
            yield Finding("error", "creds", f"{name} is not a whole number from 1: no pre-keys can be uploaded", _BACKUP)
    if is_count(upcoming) and is_count(unuploaded) and unuploaded > upcoming:
        yield Finding(
            "error",
            "creds",
            f"firstUnuploadedPreKeyId {unuploaded} is past nextPreKeyId {upcoming}: pre-keys between them are never uploaded",
            _BACKUP,
        )


def _login(creds: Mapping[str, Any]) -> Iterator[Finding]:
    me, account = creds.get("me"), creds.get("account")
    linked = isinstance(me, dict) and isinstance(me.get("id"), str)
    if not linked and not account:
        yield Finding(
            "note", "creds", "no device is linked yet (no me, no account)", "Scan a QR code, or enter a pairing code."
        )
    elif not account:
        meaning = "a pairing was begun and not ended (me is there, account is not)"
        yield Finding(
            "warning", "creds", meaning, "Link the device anew: delete the session first, since this one offers no QR."
        )
    elif not linked:
        yield Finding("error", "creds", "there is an account and no me.id: no program can log in with it", _BACKUP)
    if account:
        yield from _account(creds, account)
    if linked and account and creds.get("registered") is not True:
        yield Finding("note", "creds", "registered is false, as after each pairing with a QR code", "None needed.")


def _account(creds: Mapping[str, Any], account: Any) -> Iterator[Finding]:
    parts = account if isinstance(account, dict) else {}
    details, key, by_account, by_device = (
        _decoded(parts.get(name)) for name in ("details", "accountSignatureKey", "accountSignature", "deviceSignature")
    )
    if details is None or key is None or by_account is None:
        yield Finding("error", "creds", "account lacks details, accountSignatureKey or accountSignature", _BACKUP)
        return
    identity = creds["signedIdentityKey"]["public"]
    if not any(verify(key, prefix + details + identity, by_account) for prefix in _BY_ACCOUNT):
        meaning = "the account did not sign this identity key: the account's part and the keys are of two logins"
        yield Finding("error", "creds", meaning, _BACKUP)
    if by_device is not None and not any(
        verify(identity, prefix + details + identity + key, by_device) for prefix in _BY_DEVICE
    ):
        yield Finding("error", "creds", "deviceSignature is not of this identity key", _BACKUP)
    # Whoever is linked has the account's key among them.
    identities = creds.get("signalIdentities") or []
    listed = identities if isinstance(identities, list) else [{}]
    known = [item.get("identifierKey") for item in listed if isinstance(item, dict)]
    if known and KEY_BUNDLE_TYPE + key not in known:
        yield Finding(
            "warning", "creds", "signalIdentities does not hold the account's key", "Link the device anew if it fails."
        )


def pair_problem(pair: Any) -> str | None:
    """Return what is wrong with a key pair, or None."""
    if not isinstance(pair, dict):
        return "it is no key pair"
    for name in ("private", "public"):
        key = pair.get(name)
        if not isinstance(key, bytes):
            return f"its {name} key is no bytes"
        if len(key) != 32:
            return f"its {name} key has {len(key)} bytes and not 32"
    return None if public_key(pair["private"]) == pair["public"] else "its public key is not of its private one"


def pre_key_number(id: str) -> int | None:  # noqa: A002 - Baileys' word
    """Return the number that a pre-key's id is, or None: 24 bits are what the protocol has for it."""
    return int(id) if id.isascii() and id.isdigit() and len(id) <= len("16777215") else None


def is_count(value: object) -> TypeGuard[int]:
    """Tell whether a value can be a pre-key's number."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _decoded(value: object) -> bytes | None:
    """Return bytes, or what base64 gives, since a message of the protocol writes its bytes so."""
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        return None
