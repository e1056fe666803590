"""The one gate for names: nothing reaches a file system or a store under a name that did not pass here."""

from __future__ import annotations

import re

from .errors import ConfigurationError

# Spelled out, since whatsapp-web.js's `\w` is ASCII and Python's is not; used with fullmatch, since `$` lets a newline
# through.
_CLIENT_ID = re.compile(r"[-_A-Za-z0-9]+")

# Session names add the dot, which no client id has: it separates what wwauth appends to a session's name.
_SESSION = re.compile(r"[-_A-Za-z0-9]+(?:\.[-_A-Za-z0-9]+)*")

# A client id grows by a prefix before it, a session's name by what a pack's adds (docs/format.md) and a temporary file's:
# 255 bytes is what file systems allow.
MAX_SESSION, _MAX_CLIENT_ID = 200, 160

# What a pack's name adds to the session's: two dots, the generation's number, its writer's token (docs/format.md).
WRITER_DIGITS, NUMBER_DIGITS = 8, 10
_PACK = re.compile(rf"(.+)\.([1-9][0-9]{{0,{NUMBER_DIGITS - 1}}})\.([0-9a-f]{{{WRITER_DIGITS}}})")


def check_client_id(value: object) -> str | None:
    """
    Return the client id, or None for "no id" (None or an empty string, as in whatsapp-web.js).

    Raises:
        ConfigurationError: Not a string, too long, or a character other than ASCII letters, digits, `_` and `-`.
    """
    if value is None or value == "":
        return None
    return _check(value, _CLIENT_ID, _MAX_CLIENT_ID, "client_id", "ASCII letters, digits, '_' and '-'")


def check_session_name(value: object) -> str:
    """
    Return the session's name unchanged.

    Raises:
        ConfigurationError: Not a string, empty, too long, a character outside the alphabet, or an empty part between
        dots.
    """
    return _check(value, _SESSION, MAX_SESSION, "session", "ASCII letters, digits, '_', '-' and single dots between them")


def is_session_name(value: str) -> bool:
    """Tell whether it is a session's name: what lies in a store beside them is somebody else's."""
    return len(value) <= MAX_SESSION and _SESSION.fullmatch(value) is not None


def pack_name_parts(name: str) -> tuple[str, str, str] | None:
    """Return the session, the number and the token that a pack's name is made of; None: it is no pack's name."""
    match = _PACK.fullmatch(name)
    return None if match is None else (match[1], match[2], match[3])


def _check(value: object, pattern: re.Pattern[str], longest: int, what: str, alphabet: str) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise ConfigurationError(f"invalid {what} {value!r}: use {alphabet} only")
    if len(value) > longest:
        raise ConfigurationError(f"invalid {what} {value[:20]!r}…: {len(value)} characters, {longest} are allowed")
    return value
