"""The devices linked to the simulated phone, and what the server knows of each."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

__all__ = ["LEGACY_KEYS", "Device", "new_legacy_session"]

_CHECKPOINT = 1024

LEGACY_KEYS = ("WABrowserId", "WASecretBundle", "WAToken1", "WAToken2")
"""What a page without multi-device keeps of its login in localStorage; all of it, and enough to log in anywhere."""


@dataclass
class Device:
    """
    A linked device.

    Attributes:
        id: Its name in `GET /control/state`.
        login: Which linking it comes from; the page's seals carry it.
        number: The account's phone number.
        name: What the page said of its browser and system.
        linked_at: Seconds since 1970.
        noise: The page's public key (P-256, uncompressed), which proofs are checked with.
        seed: Where its ratchet begins; any later value is a number of hashes away.
        index: The ratchet's newest index that the page told.
        behind: How far the last login was behind that: more than 0 after the restore of a backup.
        messages: How many message records the page last said that it has.
        logins: How many logins were accepted.
        waiting: Messages not yet delivered, as (count, size of each).
        legacy: The values of `LEGACY_KEYS` that it logs in with when it is not multi-device; else empty.
    """

    id: str
    login: str
    number: str
    noise: bytes
    seed: bytes
    name: dict[str, str] = field(default_factory=dict)
    linked_at: float = 0.0
    index: int = 0
    behind: int = 0
    messages: int = 0
    logins: int = 0
    waiting: list[tuple[int, int]] = field(default_factory=list)
    legacy: dict[str, str] = field(default_factory=dict, repr=False)
    _checkpoints: list[bytes] = field(default_factory=list, repr=False, compare=False)

    def __repr__(self) -> str:
        return f"Device(id={self.id!r}, login={self.login!r}, index={self.index})"

    @property
    def undelivered(self) -> int:
        """How many messages wait for the device."""
        return sum(count for count, _ in self.waiting)

    def ratchet_value(self, index: int) -> bytes:
        """Return the ratchet's value at an index; the first time that costs a hash a step."""
        block, rest = divmod(index, _CHECKPOINT)
        # Put into its place when it is whole: the proofs of several pages are checked at once, each in a thread.
        checkpoints = [*self._checkpoints] or [self.seed]
        while len(checkpoints) <= block:
            checkpoints.append(_hash(checkpoints[-1], _CHECKPOINT))
        self._checkpoints = checkpoints
        return _hash(checkpoints[block], rest)

    def check_proof(self, nonce: bytes, index: int, value: bytes, signature: bytes) -> str | None:
        """Return what is wrong with the proof of a login, or None."""
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.noise)
        half = len(signature) // 2
        # The browser's form is r and s beside each other, the library's is DER.
        der = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
        signed = b"|".join((b"wwauth-login", nonce, self.id.encode(), str(index).encode(), value))
        try:
            key.verify(der, signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return "the proof was not made with the device's noise key"
        if value != self.ratchet_value(index):
            return f"the ratchet's value at {index} is not this login's"
        return None

    def public(self) -> dict[str, Any]:
        """Return what anybody may see."""
        names = ("number", "name", "linked_at", "index", "behind", "messages", "logins")
        return {**{name: getattr(self, name) for name in names}, "waiting": self.undelivered}

    def dump(self) -> dict[str, Any]:
        """Return what a state file keeps."""
        names = ("id", "login", "number", "name", "linked_at", "index", "behind", "messages", "logins", "legacy")
        kept = {name: getattr(self, name) for name in names}
        # A copy: it is written in a thread, and messages are delivered meanwhile.
        return {**kept, "waiting": list(self.waiting), "noise": self.noise.hex(), "seed": self.seed.hex()}

    @classmethod
    def load(cls, data: dict[str, Any]) -> Device:
        """Return the device that `dump` wrote."""
        changed = {
            "noise": bytes.fromhex(data["noise"]),
            "seed": bytes.fromhex(data["seed"]),
            "waiting": [(int(count), int(size)) for count, size in data["waiting"]],
        }
        return cls(**{**data, **changed})


def new_legacy_session() -> dict[str, str]:
    """Return values for `LEGACY_KEYS` in the form of the real site's: JSON texts."""
    keys = {name: _random_text() for name in ("key", "encKey", "macKey")}
    return {name: json.dumps(keys if name == "WASecretBundle" else _random_text()) for name in LEGACY_KEYS}


def _random_text() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _hash(value: bytes, times: int) -> bytes:
    for _ in range(times):
        value = hashlib.sha256(value).digest()
    return value
