"""How auth states lie in a MongoDB collection, and how it is told of an existing one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from wwauth.abc import CREDS, RecordName
from wwauth.authstate.names import KNOWN_TYPES, file_name, record_of
from wwauth.errors import CredsCorrupted

from ._keys import record_key, record_name, type_prefix
from ._peers_mongo import peers_creds

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Step = Callable[[str], AbstractAsyncContextManager[None]]

_DOING = "look at how auth states are kept"

# What a session's name has none of, and a collection's may.
_NO_SESSION = re.compile(r"[^-_A-Za-z0-9]+")


class Layout(Protocol):
    """What a layout has to tell; `session` is the caller's name for the login."""

    name: str

    def owner(self, session: str) -> str:
        """Return under which name the login has its lease and its journal."""

    def id(self, session: str, name: RecordName) -> str:
        """Return the `_id` of a record."""

    def record(self, identifier: str, wanted: str | None) -> RecordName | None:
        """Return which record has this `_id`, which one of `wanted`'s may be; None: one of another type."""

    def all(self, session: str, kind: str | None) -> dict[str, Any]:
        """Return the filter for all records of a session, or those of one type and perhaps some more."""

    def fields(self, session: str, text: str) -> dict[str, str]:
        """Return what a record's document has beside its `_id`."""

    def text(self, document: dict[str, Any]) -> str:
        """Return a record's text."""


class OwnLayout:
    """
    wwauth's own: many sessions, `{_id: "<session>/<type>/<id>", session: "<session>", data: "<BufferJSON text>"}`.

    Records are found by `_id`, and those of one session by the index of `session`, so that no step slows with their number.
    """

    name = "wwauth"

    def owner(self, session: str) -> str:
        return session

    def id(self, session: str, name: RecordName) -> str:
        return f"{session}/{record_key(name)}"

    def record(self, identifier: str, wanted: str | None) -> RecordName | None:
        del wanted
        return record_name(identifier.partition("/")[2])

    def all(self, session: str, kind: str | None) -> dict[str, Any]:
        # Either half is enough. Of another program's documents with such a field, none has such an `_id`.
        return {"session": session, **_beginning(f"{session}/{'' if kind is None else type_prefix(kind)}")}

    def fields(self, session: str, text: str) -> dict[str, str]:
        return {"session": session, "data": text}

    def text(self, document: dict[str, Any]) -> str:
        return _text(document, "data")


class GuideLayout:
    """
    The guide's: one login, `{_id: "creds" or "<type>-<id>", data: "<BufferJSON text>"}`.

    Args:
        label: What the one login is called, whatever name it is asked for by.
        field: In which field the text is: "data", and "value" in some programs.
        suffix: What ends each name: ".json" in programs that call records as `useMultiFileAuthState` calls its files.
        mangled: Names are those of files also in that `/` is `__` and `:` is `-`.
    """

    name = "guide"

    def __init__(self, label: str, *, field: str = "data", suffix: str = "", mangled: bool = False) -> None:
        self._label = label
        self._field = field
        self._suffix = suffix
        self._mangled = mangled

    def owner(self, session: str) -> str:
        del session
        return self._label

    def id(self, session: str, name: RecordName) -> str:
        del session
        if self._mangled:
            return file_name(name).removesuffix(".json") + self._suffix
        return ("creds" if name == CREDS else f"{name.type}-{name.id}") + self._suffix

    def record(self, identifier: str, wanted: str | None) -> RecordName | None:
        name = guide_name(identifier.removesuffix(self._suffix), mangled=self._mangled)
        if wanted is None or (name is not None and name.type == wanted):
            return name
        if name is not None and name.type not in KNOWN_TYPES and name != CREDS:
            # Of a type with a dash that this version does not know; who asks for it, does.
            return RecordName(wanted, identifier.removesuffix(self._suffix)[len(wanted) + 1 :])
        return None

    def all(self, session: str, kind: str | None) -> dict[str, Any]:
        del session
        if kind is None:
            return {}
        return {"_id": self.id("", CREDS)} if kind == CREDS.type else _beginning(f"{kind}-")

    def fields(self, session: str, text: str) -> dict[str, str]:
        del session
        return {self._field: text}

    def text(self, document: dict[str, Any]) -> str:
        return _text(document, self._field)


def guide_name(name: str, *, mangled: bool) -> RecordName | None:
    """Return the record that the guide calls so; None: it calls none so."""
    found = record_of(f"{name}.json")
    if found is None or found == CREDS or mangled:
        return found
    # The id stands there as it is: nothing is to be undone.
    return RecordName(found.type, name[len(found.type) + 1 :])


async def find_layout(collection: Any, wanted: str | None, step: Step, place: str) -> Layout:
    """
    Tell how auth states lie in a collection, without changing it; `wanted` is what the caller says of it.

    Raises:
        CredsCorrupted: It is none of the layouts that can be used where it is, or it cannot be told which; the message names
            what was found, and what to do.
    """
    label = _NO_SESSION.sub("_", collection.name).strip("_") or "auth"
    async with step(_DOING):
        some = await collection.find_one({})
        # By its index, where there is one of wwauth's.
        other = await collection.find_one({"session": None}, {"_id": 1})
    if some is None:
        return GuideLayout(label) if wanted == "guide" else OwnLayout()
    ours = _is_own(some)
    if ours and other is None:
        if wanted == "guide":
            raise _doubt(place, "auth states in wwauth's own layout, and layout='guide' was asked for", "say layout='wwauth'")
        return OwnLayout()
    if ours:
        raise _doubt(place, "auth states in wwauth's own layout and other documents beside them", _APART)
    if wanted == "wwauth":
        raise _doubt(place, f"other documents than wwauth's own ({_shape(some)})", _APART)
    return await _guide(collection, wanted, label, step, place)


_APART = "keep each in a collection of its own: move the ones that do not belong there, and delete nothing before that"
_IMPORT = "import it into an empty collection (wwauth authstate migrate --peer), it stays as it is"


async def _guide(collection: Any, wanted: str | None, label: str, step: Step, place: str) -> GuideLayout:
    async with step(_DOING):
        found = [document async for document in collection.find({"_id": {"$in": ["creds", "creds.json"]}})]
        some = found[0] if found else await collection.find_one({})
        fields = [field for field in ("data", "value") if isinstance(some.get(field), str)]
        known = None if found and fields else await peers_creds(collection)
    if known is not None:
        raise _doubt(place, f"an auth state as {known} keeps it", _IMPORT)
    identifier = some["_id"] if isinstance(some["_id"], str) else ""
    if not found and guide_name(identifier, mangled=False) is None:
        cure = "name the right collection, or an empty one; these do not become a new login"
        raise _doubt(place, f"documents of an unknown kind ({_shape(some)})", cure)
    if not found and wanted is None:
        cure = "restore the document 'creds' from a backup; they do not become a new login by themselves"
        raise _doubt(place, f"keys, but no credentials ({_shape(some)})", cure)
    if len(found) > 1:
        raise _doubt(place, "credentials twice, as 'creds' and as 'creds.json'", _APART)
    if len(fields) != 1:
        what = "its text in both data and value" if fields else "no text in data or value"
        raise _doubt(place, f"a record with {what} ({_shape(some)})", "restore it from a backup, or move it elsewhere")
    field = fields[0]
    suffix = ".json" if identifier.endswith(".json") else ""
    async with step(_DOING):
        odd = await collection.find_one(
            {
                "$or": [
                    {"_id": {"$not": {"$type": "string"}}},
                    {field: {"$not": {"$type": "string"}}},
                    {"session": {"$exists": True}},
                    {"_id": {"$not": {"$regex": rf"^(creds|.+-.*){re.escape(suffix)}$", "$options": "s"}}},
                ]
            }
        )
        if odd is not None:
            raise _doubt(place, f"an auth state in the guide's layout and documents of another kind ({_shape(odd)})", _APART)
        plain = await collection.find_one(
            {"_id": {"$regex": "^(sender-key-(?!memory-).*::|app-state-sync-key-.*/)"}}, {"_id": 1}
        )
        files = await collection.find_one(
            {"_id": {"$regex": rf"^(sender-key-(?!memory-).*--\d+{re.escape(suffix)}$|app-state-sync-key-.*__)"}}
        )
    if plain is not None and files is not None:
        raise _doubt(place, "names of records in two forms, as in memory and as names of files", _APART)
    return GuideLayout(label, field=field, suffix=suffix, mangled=files is not None or (suffix != "" and plain is None))


def _is_own(document: dict[str, Any]) -> bool:
    session, identifier = document.get("session"), document["_id"]
    named = isinstance(session, str) and isinstance(identifier, str) and identifier.startswith(f"{session}/")
    return named and isinstance(document.get("data"), str)


def _shape(document: dict[str, Any]) -> str:
    """Describe a document by its fields' names alone: what stands in them may be secret."""
    names = [name for name in document if name.isidentifier()][:8]
    return f"_id of type {type(document['_id']).__name__}, fields {', '.join(names)}"


def _doubt(place: str, found: str, cure: str) -> CredsCorrupted:
    return CredsCorrupted(f"{place} has {found}: {cure}")


def _text(document: dict[str, Any], field: str) -> str:
    text = document.get(field)
    if not isinstance(text, str):
        raise CredsCorrupted(f"a record's document has no text in {field} ({_shape(document)}): restore it from a backup")
    return text


def _beginning(prefix: str) -> dict[str, Any]:
    """Return the filter for every `_id` that begins so; a range, which every server answers from its index."""
    return {"_id": {"$gte": prefix, "$lt": prefix[:-1] + chr(ord(prefix[-1]) + 1)}}
