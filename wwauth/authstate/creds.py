"""Credentials of a socket login: new ones, what they look like in memory, and what may be kept as such."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import CredsCorrupted
from .bufferjson import UNDEFINED
from .curve import generate_key_pair, signed_key_pair

if TYPE_CHECKING:
    from typing import Self

__all__ = ["RESERVED", "AuthenticationCreds", "check_creds", "init_auth_creds"]

RESERVED: Final = ("pairingCode", "lastPropHash", "routingInfo", "additionalData")
"""The keys that new credentials have a place for from the start, though nothing is in it."""

# libsignal's own range; 0 is left out, since programs test ids for truth.
_MAX_REGISTRATION_ID = 0x3FFF

_C = TypeVar("_C", bound="AuthenticationCreds")


class AuthenticationCreds(dict[str, Any]):
    """
    Baileys' credentials: a `dict`, whose order is the order in the file.

    A key that is there keeps its place, a new one goes to the end, as in JavaScript. Those that `init_auth_creds` made have
    four places more, after `registered`: a key of `RESERVED` that is set for the first time takes its own. Credentials that
    were read have none, since a file does not keep an empty place.
    """

    __slots__ = ("_late", "_open")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._open: tuple[str, ...] = ()
        self._late: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        # Half of it is secret, and it is what a log would show.
        return f"AuthenticationCreds({', '.join(map(repr, self))})"

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self._open:
            self._fill(key, value)
            return
        if self._open and key not in self:
            self._late |= {key}
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._late -= {key}

    def __ior__(self, other: Any) -> Self:  # type: ignore[override,misc]  # `|` gives a plain dict, as of any subclass
        self.update(other)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), dict(self), self._open, self._late)

    def __copy__(self) -> Self:
        return self.copy()

    def copy(self) -> Self:
        """Return a copy with the same places."""
        return _restored(type(self), dict(self), self._open, self._late)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set keys, each in its place."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, which is set, in its place, when it is not there."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a key and return its value."""
        value = super().pop(key, *default)
        self._late -= {key}
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the last key and return it with its value."""
        key, value = super().popitem()
        self._late -= {key}
        return key, value

    def clear(self) -> None:
        """Remove all keys; what comes now comes in its own order."""
        super().clear()
        self._open, self._late = (), frozenset()

    def _fill(self, key: str, value: Any) -> None:
        """Set a reserved key in its own place: before the later ones of them, and before what was added."""
        later = {*self._late, *RESERVED[RESERVED.index(key) + 1 :]}
        behind = {name: super(AuthenticationCreds, self).pop(name) for name in list(self) if name in later}
        super().__setitem__(key, value)
        super().update(behind)
        self._open = tuple(name for name in self._open if name != key)


def _restored(kind: type[_C], members: dict[str, Any], open_places: tuple[str, ...], late: Iterable[str]) -> _C:
    creds = kind(members)
    creds._open, creds._late = open_places, frozenset(late)
    return creds


def init_auth_creds() -> AuthenticationCreds:
    """Return the credentials of a new identity, as Baileys makes them, in its order."""
    identity = generate_key_pair()
    creds = AuthenticationCreds(
        noiseKey=generate_key_pair(),
        pairingEphemeralKeyPair=generate_key_pair(),
        signedIdentityKey=identity,
        signedPreKey=signed_key_pair(identity, 1),
        registrationId=1 + secrets.randbelow(_MAX_REGISTRATION_ID),
        advSecretKey=base64.b64encode(secrets.token_bytes(32)).decode(),
        processedHistoryMessages=[],
        nextPreKeyId=1,
        firstUnuploadedPreKeyId=1,
        accountSyncCounter=0,
        accountSettings={"unarchiveChats": False},
        registered=False,
    )
    creds._open = RESERVED
    return creds


def check_creds(creds: object) -> None:
    """
    Refuse what is no identity: it must not replace one, nor be taken for one.

    Looked at are the noise key, the identity key and the signed pre-key (their lengths), the registration id and the secret
    of the pairing; everything else may be missing or unknown.

    Raises:
        CredsCorrupted: Names what is missing or has another length or type; never a value.
    """
    if not isinstance(creds, Mapping):
        raise _corrupted(f"they are {_kind(creds)} and no object")
    for name in ("noiseKey", "signedIdentityKey"):
        _check_pair(creds.get(name, UNDEFINED), name)
    signed = creds.get("signedPreKey", UNDEFINED)
    if not isinstance(signed, Mapping):
        raise _corrupted(f"signedPreKey is {_kind(signed)} and no object")
    _check_pair(signed.get("keyPair", UNDEFINED), "signedPreKey.keyPair")
    _check_bytes(signed.get("signature", UNDEFINED), "signedPreKey.signature", 64)
    _check_number(signed.get("keyId", UNDEFINED), "signedPreKey.keyId", 0xFFFFFF)
    _check_number(creds.get("registrationId", UNDEFINED), "registrationId", _MAX_REGISTRATION_ID)
    secret = creds.get("advSecretKey", UNDEFINED)
    if not isinstance(secret, str):
        raise _corrupted(f"advSecretKey is {_kind(secret)} and no string")


def _check_pair(pair: object, name: str) -> None:
    if not isinstance(pair, Mapping):
        raise _corrupted(f"{name} is {_kind(pair)} and no object")
    _check_bytes(pair.get("private", UNDEFINED), f"{name}.private", 32)
    _check_bytes(pair.get("public", UNDEFINED), f"{name}.public", 32)


def _check_bytes(value: object, name: str, length: int) -> None:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _corrupted(f"{name} is {_kind(value)} and no bytes")
    if len(value) != length:
        raise _corrupted(f"{name} has {len(value)} bytes and not {length}")


def _check_number(value: object, name: str, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _corrupted(f"{name} is {_kind(value)} and no whole number")
    if not 0 <= value <= most:
        raise _corrupted(f"{name} is not between 0 and {most}")


def _kind(value: object) -> str:
    if value is UNDEFINED:
        return "missing"
    return "null" if value is None else f"of type {type(value).__name__}"


def _corrupted(what: str) -> CredsCorrupted:
    return CredsCorrupted(f"these credentials are damaged: {what}; restore a backup of them, since no other identity will do")
