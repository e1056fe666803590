"""Logins that other programs keep in MongoDB."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._peers import CREDS_NAMES, PeerState, Value, enveloped, session_label, told_apart, unwrapped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    Step = Callable[[str], AbstractAsyncContextManager[None]]

# Where programs have a record's name, its session, and its value.
_NAMES = ("_id", "id", "key", "fileName")
_SESSIONS = ("sessionId", "session")
_VALUES = ("data", "value", "creds")

_CREDS = re.compile(rf"(?:(?P<prefix>.*[-:/]))?(?P<name>{'|'.join(map(re.escape, CREDS_NAMES))})", re.DOTALL)

# What is not part of a value that lies spread over its document; in old credentials there is another `deviceId`.
_BESIDE = {"_id", "__v", *_SESSIONS}
_BESIDE_APART = {*_BESIDE, "deviceId"}

_DROPPED = (
    "it never kept sender keys, identity keys, LID mappings and device lists; until WhatsApp sends them again, some messages "
    "of groups cannot be read"
)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where one login's parts are."""

    program: str
    name_field: str
    value_field: str | None
    # A filter on a field, for where sessions are told apart by one.
    session: tuple[str, str] | None
    prefix: str
    # The credentials' document has another form than the others.
    apart: bool = False
    keyv: bool = False
    texts: bool = False

    def called(self) -> str:
        return self.session[1] if self.session else self.prefix


async def mongo_peers(collection: Any, step: Step) -> list[PeerState]:
    """
    Return the logins in a collection that are laid out as one of the common programs does; `step(doing)` bounds a query.

    These are `{_id, data}` in its variants (a field `value`; names of files; a prefix before each name; the session, or the
    name, in a field of its own), use-mongo-file-auth-state and what is like it (a value spread over its document, or in a
    field as an object), mongo-baileys, multi-mongo, and Keyv. A value that its program loses is not there; what it kept in
    pieces is put together again where that can be told, and `problems` says so.
    """
    async with step("look for logins of other programs"):
        documents = [document async for document in collection.find(_may_be_creds())]
    shapes = [shape for shape in map(_shape, documents) if shape is not None]
    return told_apart([_state(collection, shape, step, [other.prefix for other in shapes]) for shape in shapes])


async def peers_creds(collection: Any) -> str | None:
    """Return which program keeps a login in a collection; None: none that is known."""
    async for document in collection.find(_may_be_creds()):
        if (shape := _shape(document)) is not None:
            return shape.program
    return None


def _may_be_creds() -> dict[str, Any]:
    names = "|".join(map(re.escape, CREDS_NAMES))
    return {"$or": [{field: {"$regex": f"(^|[-:/])({names})$"}} for field in _NAMES]}


def _shape(document: dict[str, Any]) -> _Shape | None:
    """Tell how the login is kept whose credentials this document has; None: they are none of any known program."""
    for field in _NAMES:
        match = _CREDS.fullmatch(name) if isinstance(name := document.get(field), str) else None
        if match is not None:
            break
    else:
        return None
    prefix = match["prefix"] or ""
    session = next(((name, document[name]) for name in _SESSIONS if isinstance(document.get(name), str)), None)
    value_field = next((name for name in _VALUES if isinstance(document.get(name), str | dict)), None)
    value = document if value_field is None else document[value_field]
    if match["name"] == "auth_creds" and value_field == "creds":
        program = "multi-mongo" if prefix else "mongo-baileys"
        return _Shape(program, field, None, None, prefix, apart=True)
    if isinstance(value, str):
        keyv = "value" in enveloped(value)
        if keyv:
            program = "Keyv"
        elif field != "_id" or session is not None:
            program = f"a program with names in the field {field}"
        else:
            program = "a program with a prefix before each name" if prefix else "the guide"
        return _Shape(program, field, value_field, session, prefix, keyv=keyv, texts=True)
    if "noiseKey" in value:
        program = "use-mongo-file-auth-state" if value_field is None else "a program with objects"
        return _Shape(program, field, value_field, session, prefix)
    return None


def _state(collection: Any, shape: _Shape, step: Step, prefixes: list[str]) -> PeerState:
    # "user-" begins "user-2-", too, which is another login.
    others = tuple(prefix for prefix in prefixes if prefix.startswith(shape.prefix) and prefix != shape.prefix)

    async def values() -> AsyncIterator[Value]:
        which: dict[str, Any] = {} if shape.session is None else dict([shape.session])
        if shape.prefix:
            which[shape.name_field] = {"$gte": shape.prefix, "$lt": shape.prefix[:-1] + chr(ord(shape.prefix[-1]) + 1)}
        cursor = collection.find(which)
        try:
            while True:
                async with step(f"read the login {session_label(shape.called())!r}"):
                    document = await anext(cursor, None)
                if document is None:
                    return
                name = document.get(shape.name_field)
                if isinstance(name, str) and not name.startswith(others):
                    yield _value(document, name.removeprefix(shape.prefix), shape)
        finally:
            await cursor.close()

    # What is no object, multi-mongo makes one of: a copy of its pieces.
    dropped = shape.apart and not shape.prefix
    return PeerState(shape.program, shape.called(), values, problems=(_DROPPED,) if dropped else ())


def _value(document: dict[str, Any], name: str, shape: _Shape) -> Value:
    if shape.apart and name == "auth_creds":
        return Value("creds", _defined(document.get("creds")), is_text=False)
    if shape.value_field is None:
        beside = _BESIDE_APART if shape.apart else _BESIDE
        return Value(name, {field: value for field, value in document.items() if field not in beside}, is_text=False)
    value = document.get(shape.value_field)
    return Value(name, unwrapped(value) if shape.keyv and isinstance(value, str) else value, is_text=shape.texts)


def _defined(value: Any) -> Any:
    """Leave out what is undefined in JavaScript, for which Node's driver writes null."""
    if isinstance(value, dict):
        return {key: _defined(item) for key, item in value.items() if item is not None}
    return [_defined(item) for item in value] if isinstance(value, list) else value
