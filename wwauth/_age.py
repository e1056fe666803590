"""
age's keys, as users hand them in, and new ones.

Recipients are public keys, identities are secret ones. A secret key never gets into a message; what is wrong with keys is
returned and not raised, so that no traceback has a frame with a key among its locals.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import MissingDependency

try:
    import pyrage
    from pyrage import plugin, ssh, tag, tagpq, x25519
except ImportError as error:
    raise MissingDependency("encryption needs pyrage 1.4 or newer: pip install 'wwauth[encrypted]'") from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)

_RECIPIENTS = (x25519.Recipient, ssh.Recipient, tag.Recipient, tagpq.Recipient, plugin.RecipientPluginV1)
_IDENTITIES = (x25519.Identity, ssh.Identity, plugin.IdentityPluginV1)

_SECRET = "AGE-SECRET-KEY-"  # noqa: S105 - how every secret key begins
_PLUGIN = "AGE-PLUGIN-"
_PEM = "-----BEGIN"
_HYBRID = "a hybrid (post-quantum) key, which pyrage has not: use an X25519 key, as `wwauth keygen` makes"

# The kinds of public keys, by what stands before their data.
_PARSERS = {"age": x25519.Recipient.from_str, "age1tag": tag.Recipient.from_str, "age1tagpq": tagpq.Recipient.from_str}

# No list of keys is that long; what is, is not one.
_MAX_FILE = 256 * 1024


class _Refused(Exception):
    """Says what is wrong with a key; it never leaves this module."""


def load_recipients(given: object) -> tuple[list[Any], tuple[str, ...], str | None]:
    """
    Return pyrage's recipients, the public keys as text in a fixed order, and what is wrong with them, or None.

    Each is a public key as text, the path of a file of them or of an identity file, or an object of pyrage.
    """
    keys: list[Any] = []
    names: set[str] = set()
    try:
        for found in _find(given, "recipients", _RECIPIENTS):
            key, name = _recipient(found)
            if name not in names or not isinstance(found.key, str):
                keys.append(key)
            names.add(name)
    except _Refused as refused:
        return [], (), str(refused)
    return keys, tuple(sorted(names)), None


def load_identities(given: object) -> tuple[list[Any], str | None]:
    """
    Return pyrage's identities, and what is wrong with them, or None.

    Each is a secret key as text, the path of an identity file (age's, or OpenSSH's without a passphrase), or an object
    of pyrage.
    """
    try:
        return [_identity(found) for found in _find(given, "identities", _IDENTITIES)], None
    except _Refused as refused:
        return [], str(refused)


def new_identity() -> tuple[str, str]:
    """Make an X25519 identity; return the text of its file, as age-keygen writes it, and its public key."""
    identity = x25519.Identity.generate()
    public = str(identity.to_public())
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"# created: {created}\n# public key: {public}\n{identity}\n", public


@dataclass(frozen=True, slots=True)
class _Found:
    # What is in a file, or an object of pyrage; never shown, since it may be a secret.
    key: Any = field(repr=False)
    where: str
    in_file: bool = False


def _find(given: object, name: str, kinds: tuple[type, ...]) -> Iterator[_Found]:
    if isinstance(given, str | bytes | os.PathLike) or not isinstance(given, Iterable):
        raise _Refused(f"invalid {name} of type {type(given).__name__}: give a list of keys or of key files")
    count = 0
    for count, item in enumerate(given, start=1):
        where = f"{name}[{count - 1}]"
        if isinstance(item, kinds):
            yield _Found(item, where)
        elif isinstance(item, str) and _looks_like_a_key(item):
            yield from (_Found(line, where) for line in _lines(item, where))
        elif isinstance(item, str | os.PathLike):
            text = _read(item, where)
            where = f"{where} ({os.fspath(item)})"
            yield from (_Found(line, where, in_file=True) for line in _lines(text, where))
        else:
            raise _Refused(_wrong_object(item, where, name))
    if not count:
        raise _Refused(f"{name} is empty: give at least one key, such as `wwauth keygen` makes")


def _looks_like_a_key(text: str) -> bool:
    upper = text.strip().upper()
    return "\n" in text or upper.startswith((_SECRET, _PLUGIN, _PEM, "AGE1", "SSH-"))


def _lines(text: str, where: str) -> list[str]:
    """Return the keys in the text of a file, one a line; an SSH key is one text of many lines."""
    text = text.strip()
    if text.startswith(("age-encryption.org/", f"{_PEM} AGE ENCRYPTED")):
        raise _Refused(f"{where} is itself encrypted: decrypt it with `age -d` first")
    if text.startswith(_PEM):
        return [f"{text}\n"]
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    if not lines:
        raise _Refused(f"{where} holds no key")
    return lines


def _read(path: str | os.PathLike[str], where: str) -> str:
    # Text that is no path may be a key with a typing error: it is shown only when no key looks like that.
    shown = f" {os.fspath(path)!r}" if not isinstance(path, str) or any(c in path for c in "/\\.") else ""
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_FILE + 1)
        text = data.decode()
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not text"
        raise _Refused(f"{where}{shown} is no key and no file of keys that can be read ({reason})") from None
    if len(data) > _MAX_FILE:
        raise _Refused(f"{where}{shown} is no file of keys: it has more than {_MAX_FILE} bytes")
    if os.name == "posix" and stat.S_ISREG(mode) and mode & 0o077 and (_SECRET in text or "PRIVATE KEY" in text):
        _log.warning("others can read the secret key in %s: chmod 600 it", os.fspath(path))
    return text


def _recipient(found: _Found) -> tuple[Any, str]:
    """Return pyrage's recipient, and its public key as text, or its kind where the object does not tell it."""
    item, where = found.key, found.where
    if not isinstance(item, str):
        told = str(item)
        return item, f"<{type(item).__module__}>" if told.startswith("<") else told
    if found.in_file and item.upper().startswith(_SECRET):
        # An identity file stands for the public keys of its identities, as for `age -e -i`.
        key = _identity(found).to_public()
        return key, str(key)
    if item.upper().startswith((_SECRET, _PLUGIN, _PEM)):
        raise _Refused(f"{where} is a secret key: recipients are public keys, such as age1… or ssh-ed25519 …")
    if item.startswith("ssh-"):
        return _parsed(ssh.Recipient.from_str, item, where, "no SSH key that age knows"), " ".join(item.split()[:2])
    # Bech32: what stands before the last 1 is the kind.
    kind = item.lower().rpartition("1")[0]
    if kind == "age1pq":
        raise _Refused(f"{where} is {_HYBRID}")
    if kind.startswith("age1") and kind not in _PARSERS:
        raise _Refused(f"{where} is a key of the plugin {kind[4:]!r}: give a pyrage.plugin.RecipientPluginV1 object")
    parse = _PARSERS.get(kind, x25519.Recipient.from_str)
    return _parsed(parse, item, where, "no public key (age1… or ssh-ed25519 …)"), item.lower()


def _identity(found: _Found) -> Any:
    item, where = found.key, found.where
    if not isinstance(item, str):
        return item
    upper = item.upper()
    if upper.startswith(_PEM):
        return _parsed(lambda text: ssh.Identity.from_buffer(text.encode()), item, where, "no SSH key that age can use")
    if upper.startswith(f"{_SECRET}PQ-"):
        raise _Refused(f"{where} is {_HYBRID}")
    if upper.startswith(_PLUGIN):
        raise _Refused(f"{where} is a key of a plugin: give a pyrage.plugin.IdentityPluginV1 object")
    if upper.startswith(("AGE1", "SSH-")):
        raise _Refused(f"{where} is a public key: identities are secret keys (AGE-SECRET-KEY-1…)")
    return _parsed(x25519.Identity.from_str, item, where, "no secret key (AGE-SECRET-KEY-1…)")


def _parsed(parse: Callable[[str], Any], text: str, where: str, otherwise: str) -> Any:
    try:
        return parse(text)
    except (pyrage.RecipientError, pyrage.IdentityError) as exc:
        raise _Refused(f"{where} is {otherwise} ({exc}): check that it was copied whole, and has no passphrase") from None


def _wrong_object(item: object, where: str, name: str) -> str:
    if isinstance(item, _IDENTITIES):
        return f"{where} is a secret key: give its public one, as from identity.to_public()"
    if isinstance(item, _RECIPIENTS):
        return f"{where} is a public key: identities are secret keys"
    kind = "RecipientPluginV1" if name == "recipients" else "IdentityPluginV1"
    if isinstance(item, plugin.Recipient | plugin.Identity):
        return f"{where} is a plugin's key alone: give a pyrage.plugin.{kind} object"
    return f"invalid {where} of type {type(item).__name__}: give a key as text, the path of a key file, or an object of pyrage"
