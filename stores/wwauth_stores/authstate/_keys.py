"""How records are named in wwauth's own layouts: "<type>/<id>", with nothing in it changed but for a slash in a type."""

from __future__ import annotations

from urllib.parse import unquote

from wwauth.abc import RecordName


def record_key(name: RecordName) -> str:
    """Return the key of a record; no two have the same one."""
    return type_prefix(name.type) + name.id


def type_prefix(kind: str) -> str:
    """Return what the keys of all records of a type begin with, and no others."""
    return kind.replace("%", "%25").replace("/", "%2F") + "/"


def record_name(key: str) -> RecordName:
    """Return whose key it is; `ValueError`: it is none."""
    kind, slash, identifier = key.partition("/")
    if not slash:
        raise ValueError(key)
    return RecordName(unquote(kind), identifier)
