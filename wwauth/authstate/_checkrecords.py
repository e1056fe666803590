"""A look at one signal key: is it what its type says? Everything here computes; call it from a thread."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from ._checkcreds import pair_problem

if TYPE_CHECKING:
    from collections.abc import Callable

_PUBLIC = 33
_REVERSE = "_reverse"


def record_problem(type: str, value: Any) -> str | None:  # noqa: A002 - Baileys' word
    """Return what is wrong with a value of a known type, or None; nothing is said of the value itself."""
    if value is None:
        return "it is null"
    check = _CHECKS.get(type)
    return None if check is None else check(value)


def open_entries(value: Any) -> int:
    """Return how many open sessions a session record has; libsignal closes the others."""
    entries = value.get("_sessions", {}).values() if isinstance(value, dict) else ()
    return sum(entry.get("indexInfo", {}).get("closed") == -1 for entry in entries if isinstance(entry, dict))


def _session(value: Any) -> str | None:
    entries = value.get("_sessions") if isinstance(value, dict) else None
    if not isinstance(entries, dict):
        return "it has no sessions"
    for entry in entries.values():
        try:
            ratchet, info = entry["currentRatchet"], entry["indexInfo"]
            pair = ratchet["ephemeralKeyPair"]
            lengths = [
                (pair["pubKey"], _PUBLIC),
                (pair["privKey"], 32),
                (ratchet["lastRemoteEphemeralKey"], _PUBLIC),
                (ratchet["rootKey"], 32),
                (info["baseKey"], _PUBLIC),
                (info["remoteIdentityKey"], _PUBLIC),
            ]
            whole = all(len(_bytes(key)) == length for key, length in lengths) and isinstance(info["closed"], int)
            if not whole or not isinstance(entry["_chains"], dict):
                return "a session in it has keys of wrong lengths"
        except (KeyError, TypeError, ValueError):
            return "a session in it lacks a part"
    return None


def _sender_key(value: Any) -> str | None:
    if not isinstance(value, bytes):
        return "it is no bytes"
    try:
        states = json.loads(value)
        for state in states:
            chain, signing = state["senderChainKey"], state["senderSigningKey"]
            private = _bytes(signing.get("private") or b"")
            if len(_bytes(chain["seed"])) != 32 or len(_bytes(signing["public"])) != _PUBLIC or len(private) not in {0, 32}:
                return "a key in it has a wrong length"
    except (KeyError, TypeError, ValueError, AttributeError):
        return "it is no sender key"
    return None


def _bytes(value: Any) -> bytes:
    """Return the bytes of a key in a session or a sender key, in any of the forms it is written in there."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise ValueError("no base64") from error
    data = value["data"]
    return bytes(data) if isinstance(data, list) else _bytes(data)


def _app_state_key(value: Any) -> str | None:
    try:
        return None if len(_bytes(value["keyData"])) == 32 else "its keyData has not 32 bytes"
    except (KeyError, TypeError, ValueError):
        return "it has no keyData"


def _app_state_version(value: Any) -> str | None:
    if not isinstance(value, dict) or not isinstance(value.get("version"), int):
        return "it has no version"
    return None if isinstance(value.get("hash"), bytes) and len(value["hash"]) == 128 else "its hash has not 128 bytes"


def _identity(value: Any) -> str | None:
    return None if isinstance(value, bytes) and len(value) == _PUBLIC else f"it has not {_PUBLIC} bytes"


def _of(kind: type, what: str) -> Callable[[Any], str | None]:
    return lambda value: None if isinstance(value, kind) else f"it is no {what}"


def _device_list(value: Any) -> str | None:
    return None if isinstance(value, list) and all(isinstance(item, str) for item in value) else "it is no list of devices"


def _token(value: Any) -> str | None:
    return None if isinstance(value, dict) and isinstance(value.get("token", b""), bytes) else "it has no token"


_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "pre-key": pair_problem,
    "session": _session,
    "sender-key": _sender_key,
    "sender-key-memory": _of(dict, "object"),
    "app-state-sync-key": _app_state_key,
    "app-state-sync-version": _app_state_version,
    "lid-mapping": _of(str, "text"),
    "device-list": _device_list,
    "tctoken": _token,
    "identity-key": _identity,
}
