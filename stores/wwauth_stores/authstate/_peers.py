"""Logins that other programs keep, read as records of an auth state; nothing of theirs is changed."""

from __future__ import annotations

import json
import re
from binascii import b2a_base64
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from wwauth._names import MAX_SESSION
from wwauth.abc import CREDS, RecordName
from wwauth.authstate.bufferjson import BufferJSON, NotBufferJSON
from wwauth.authstate.names import record_of
from wwauth.errors import ConfigurationError, CredsCorrupted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

__all__ = ["PeerState", "enveloped", "record_text", "session_label", "told_apart", "unwrapped"]

# What names a login's credentials in one of the common programs, and may have something before it.
CREDS_NAMES = ("creds", "creds.json", "auth_creds")

_NOT_IN_A_NAME = re.compile(r"[^-_A-Za-z0-9]+")

# One value each: what makes a spread one whole again is known by its type alone.
_STRINGS, _LISTS = {"lid-mapping"}, {"device-list"}

# The fields of protobuf's objects, in its order.
_ACCOUNT = ("details", "accountSignatureKey", "accountSignature", "deviceSignature")
_APP_STATE_SYNC_KEY = ("keyData", "fingerprint", "timestamp")
_FINGERPRINT = ("rawId", "currentIndex", "deviceIndexes")


class Value(NamedTuple):
    """One entry: how its program names the record, or which one it is, its value or text, and which of the two that is."""

    name: str | RecordName
    value: Any
    is_text: bool


class PeerState:
    """
    One login as another program keeps it; given out by `mongo_peers`, `redis_peers` and `sql_peers`.

    Attributes:
        program: How it is kept, in words.
        called: What stands for it there, such as "bot:user-1:".
        session: The same, made a session's name of; "default" where it has no name.
        has_name: Whether the program itself knows the login by a name.
        problems: What could not be read, or is not sure to be right, in sentences; known when `records()` has ended.
    """

    def __init__(
        self,
        program: str,
        called: str,
        values: Callable[[], AsyncIterator[Value]],
        *,
        problems: tuple[str, ...] = (),
        has_name: bool = True,
    ) -> None:
        self.program = program
        self.called = called
        self.session = session_label(called)
        self.has_name = has_name and bool(called)
        self.problems: list[str] = []
        self._values = values
        self._known_problems = problems

    def __repr__(self) -> str:
        return f"<PeerState {self.session!r} as {self.program} keeps it>"

    async def records(self) -> AsyncIterator[tuple[RecordName, str]]:
        """
        Iterate over all records, with the text that Baileys itself would have written of each.

        Only the order of fields may be another one, where the program's database has lost it: that means nothing to Baileys.

        Raises:
            CredsCorrupted: The credentials cannot be read.
            StoreError: The database failed.
        """
        self.problems = list(self._known_problems)
        doubts: Counter[str] = Counter()
        async for raw, value, is_text in self._values():
            name = raw if isinstance(raw, RecordName) else record_of(f"{raw.removesuffix('.json')}.json")
            if name is None:
                doubts["{} of its entries have names of no record, and were left out"] += 1
                continue
            try:
                text = record_text(name, value, is_text=is_text)
            except (ValueError, ConfigurationError) as error:
                if name == CREDS:
                    raise CredsCorrupted(
                        f"the credentials of {self!r} cannot be read ({type(error).__name__}): restore them there first"
                    ) from error
                doubts[f"{{}} of the type {name.type} cannot be read, and were left out"] += 1
                continue
            if isinstance(value, Mapping) and name.type in _STRINGS | _LISTS:
                doubts[
                    f"{{}} of the type {name.type} were kept in pieces and put together; pieces that were removed later may "
                    f"still be there"
                ] += 1
            yield name, text
        self.problems += [doubt.format(count) for doubt, count in doubts.items()]


def record_text(name: RecordName, value: Any, *, is_text: bool) -> str:
    """
    Return a record's BufferJSON text, as Baileys writes it, from a text of some program's, or from a value.

    Raises:
        ValueError, ConfigurationError: It is neither.
    """
    whole = BufferJSON.loads(value) if is_text else _whole(name, _plain(value), in_pieces=isinstance(value, Mapping))
    if whole is None or (name == CREDS and not isinstance(whole, Mapping)):
        raise NotBufferJSON("there is no value")
    return BufferJSON.dumps(_as_protobuf(name, whole))


def session_label(called: str) -> str:
    """Return the session's name from what stands before a record's name, such as "bot:user-1:"."""
    return _as_name(re.split(r"[:/]", called.rstrip(":-/"))[-1])


def told_apart(states: list[PeerState]) -> list[PeerState]:
    """Give those that would have one name the whole of what they are called, and a number where that is not enough."""
    shared = {name for name, count in Counter(state.session for state in states).items() if count > 1}
    taken = {state.session for state in states} - shared
    for state in states:
        if state.session in shared:
            name, number = _as_name(state.called), 1
            while (session := name if number == 1 else f"{name}_{number}") in taken:
                number += 1
            state.session = session
            taken.add(session)
    return states


def unwrapped(text: str) -> Any:
    """Return the text in what Keyv wraps it in."""
    return enveloped(text).get("value", text)


def enveloped(text: str) -> dict[str, Any]:
    """Return what Keyv wraps a value in, or nothing."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.keys() <= {"value", "expires"} else {}


def _as_name(called: str) -> str:
    return _NOT_IN_A_NAME.sub("_", called).strip("_-")[:MAX_SESSION] or "default"


def _whole(name: RecordName, value: Any, *, in_pieces: bool) -> Any:
    """Make one value again of what a program has spread over the fields of a document: `{"0": "9", "1": "1"}`."""
    if name.type == "sender-key" and in_pieces and isinstance(value, bytes):
        # Bytes of a longer one before it follow where this one, a list in JSON, ends.
        return value[: json.JSONDecoder().raw_decode(value.decode("latin-1"))[1]]
    if name.type == "sender-key-memory" and isinstance(value, dict):
        return dict(_dotted(value))
    if not isinstance(value, dict) or name.type not in _STRINGS | _LISTS:
        return value
    if list(value) != [str(place) for place in range(len(value))]:
        value = dict(sorted(value.items(), key=lambda item: item[0].zfill(10)))
        if list(value) != [str(place) for place in range(len(value))]:
            raise NotBufferJSON("pieces of it are missing")
    pieces = list(value.values())
    if name.type in _LISTS:
        return pieces
    if not pieces or not all(isinstance(piece, str) and len(piece) == 1 for piece in pieces):
        raise NotBufferJSON("it is in other pieces than characters")
    return "".join(pieces)


def _as_protobuf(name: RecordName, value: Any) -> Any:
    """
    Return a value as Baileys writes it where it is, or has, an object of protobuf's, which knows nothing of Buffers.

    Databases that take objects as they are keep its bytes as bytes, and its 64-bit numbers in two halves.
    """
    if name == CREDS and isinstance(value.get("account"), dict):
        return value | {"account": _protobuf_json(value["account"], _ACCOUNT)}
    if name.type == "app-state-sync-key" and isinstance(value, dict):
        key = _protobuf_json(value, _APP_STATE_SYNC_KEY)
        if isinstance(key.get("fingerprint"), dict):
            key["fingerprint"] = _protobuf_json(key["fingerprint"], _FINGERPRINT)
        return key
    return value


def _protobuf_json(value: dict[str, Any], order: tuple[str, ...]) -> dict[str, Any]:
    named = {field: value[field] for field in order if field in value} | value
    return {field: _protobuf_field(item) for field, item in named.items() if item is not None and item != []}


def _protobuf_field(value: Any) -> Any:
    if isinstance(value, bytes):
        return b2a_base64(value, newline=False).decode()
    if isinstance(value, dict) and value.keys() >= {"low", "high"}:
        return str(value["high"] * 2**32 + (value["low"] & 0xFFFFFFFF))
    return value


def _dotted(value: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Undo what MongoDB's `$set` makes of a dot in a name: the device `1@s.whatsapp.net` becomes three levels of objects."""
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _dotted(item, f"{before}{key}.")
        else:
            yield before + key, item


def _plain(value: Any) -> Any:
    """Return a value of a database's as Python's own; what is a form of bytes becomes bytes."""
    if isinstance(value, Mapping):
        return BufferJSON.object_hook({str(key): _plain(item) for key, item in value.items()})
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, bytes):
        return bytes(value)
    for kind in (str, int, float):
        if isinstance(value, kind):
            # Also of subclasses, as a driver has them.
            return kind(value)
    if hasattr(value, "isoformat"):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise NotBufferJSON(f"a value of type {type(value).__name__} stands for nothing that Baileys keeps")
