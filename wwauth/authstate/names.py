"""The names of Baileys' files, both ways: which record a file holds, and which file a record lies in."""

from __future__ import annotations

import os
from typing import Final

from ..abc import CREDS, RecordName
from ..errors import ConfigurationError

__all__ = ["KNOWN_TYPES", "canonical", "file_name", "listed_name", "record_of"]

KNOWN_TYPES: Final = (
    "pre-key",
    "session",
    "sender-key",
    "sender-key-memory",
    "app-state-sync-key",
    "app-state-sync-version",
    "lid-mapping",
    "device-list",
    "tctoken",
    "identity-key",
)
"""The types of Baileys 7, in its order. A record may have any other."""

# "sender-key-" begins "sender-key-memory-" also: the longest that fits is the type.
_BY_LENGTH = sorted(KNOWN_TYPES, key=len, reverse=True)

_CREDS_FILE = "creds.json"
_SUFFIX = ".json"

# What file systems allow for one name.
_MAX_BYTES = 255


def file_name(name: RecordName) -> str:
    """
    Return the name of the file in which Baileys keeps this record.

    Baileys writes `/` as `__` and `:` as `-` and nothing else, so two ids can have one name: `a:b` and `a-b`.

    Raises:
        ConfigurationError: No file can have that name: it is longer than 255 bytes, or has a character no file name has.
    """
    if name == CREDS:
        return _CREDS_FILE
    file = f"{name.type}-{name.id}{_SUFFIX}".replace("/", "__").replace(":", "-")
    try:
        size = len(file.encode())
    except UnicodeEncodeError:
        raise _refused(name, "has half a character (a lone surrogate)") from None
    if size > _MAX_BYTES:
        raise _refused(name, f"makes a file name of {size} bytes, {_MAX_BYTES} are possible")
    # A backslash separates folders on Windows alone, and Baileys leaves it as it is.
    if not name.type or "\0" in file or (os.name == "nt" and "\\" in file):
        raise _refused(name, "makes no possible file name")
    return file


def _refused(name: RecordName, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the record {name.type!r:.40} {name.id!r:.60} {why}: use another id, or keep this session in a database"
    )


def record_of(name: str) -> RecordName | None:
    """
    Return the record that a file of this name holds, or None when Baileys gives no record such a name.

    The id of a known type is the original one wherever that can be told (`canonical`). In the name of a type that this
    version does not know, the type's end cannot be seen: it is taken up to the first `-`, and the id as it stands, so that
    `file_name` gives the same name again.
    """
    if name == _CREDS_FILE:
        return CREDS
    if not name.endswith(_SUFFIX) or name.startswith("."):
        return None
    stem = name.removesuffix(_SUFFIX)
    for known in _BY_LENGTH:
        if stem.startswith(f"{known}-"):
            return RecordName(known, canonical(known, stem[len(known) + 1 :]))
    unknown, dash, rest = stem.partition("-")
    return RecordName(unknown, rest) if unknown and dash else None


def listed_name(name: RecordName) -> RecordName:
    """
    Return the name under which a folder lists a record: that of all records that would lie in the same file.

    Raises:
        ConfigurationError: No file can have its name.
    """
    return record_of(file_name(name)) or name


def canonical(type: str, id: str) -> str:  # noqa: A002 - Baileys' words
    """
    Return the id that Baileys has in memory for one that may be taken from a file's name.

    A sender key's id has `::` where its file's name has `--`; an app state sync key's id is base64, and its `/` is `__` in a
    file's name. No other type's ids have such characters: they are returned as they are.
    """
    if type == "sender-key":
        return id.replace("--", "::")
    if type == "app-state-sync-key":
        return id.replace("__", "/")
    return id
