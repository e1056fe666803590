"""Encryption of an auth state before any store keeps it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .._names import check_session_name
from .._threads import in_thread
from ..abc import AuthStateStore, RecordName
from ..errors import ConfigurationError, DecryptionFailed, SessionNotFound
from ._findings import label
from ._streams import CHUNK, ENVELOPE, in_chunks
from .folder import FolderAuthStateStore
from .names import listed_name
from .records import check_store, plugin_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import TypeVar

    _T = TypeVar("_T")

__all__ = ["EncryptedAuthState", "RekeyedAuthState", "new_key", "rekey"]

_MARK = "wwauth-encrypted"
_PREFIX = "wwauth-key-1:"
_KEY_BYTES, _NONCE_BYTES = 32, 12

# Up to so many records, and so many characters, are done in the event loop: a fraction of a millisecond.
_FEW, _SHORT = 8, 16_384


def new_key() -> str:
    """Return a new secret key, as text; keep it where the store is not."""
    return _PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode().rstrip("=")


class EncryptedAuthState(AuthStateStore):
    """
    Encrypts records before another store keeps them: AES-256-GCM, a fresh nonce for each write, a key for each record.

    A record's key is derived from the secret key and the record's session, type and id, which are authenticated: a record
    that was moved or renamed, changed, or written under another key is refused with `DecryptionFailed`, and never taken for
    a missing one. Not hidden are the names of sessions and records (phone numbers and groups are among them), the length of
    a record and when it changed; an older copy of a record that somebody puts back is not told from a newer one.

    Args:
        inner: The store; its owner closes it.
        keys: Secret keys as `new_key()` makes them, one or several: the first one writes, all of them read.
        allow_plaintext: Read records that are not encrypted, too, for as long as it takes to `rekey` them. Without it they
            are refused: somebody may have put them there.

    Raises:
        ConfigurationError: `inner` is no store, or a key is none. No key is in the message.
    """

    def __init__(self, inner: AuthStateStore, *, keys: str | Iterable[str], allow_plaintext: bool = False) -> None:
        check_store(inner)
        if not isinstance(keys, Iterable):
            # None, for one: a variable of the environment that is not set.
            raise ConfigurationError(f"invalid keys of type {type(keys).__name__}: use keys that new_key() made")
        self._inner = inner
        self._keys: dict[str, bytes] = {}
        parsed = [_parsed(key) for key in ([keys] if isinstance(keys, str) else keys)]
        # So that no traceback shows them among this frame's variables.
        del keys
        if not parsed or None in parsed:
            wrong = f"key {parsed.index(None) + 1} is not one" if parsed else "none was given"
            raise ConfigurationError(f"invalid keys: {wrong}; use keys that new_key() made")
        self._keys = {_key_id(key): key for key in parsed if key is not None}
        self._allow_plaintext = allow_plaintext
        # A folder does not tell all names apart, and a record is to be what it is there under the name that was listed, too.
        self._known = listed_name if isinstance(inner, FolderAuthStateStore) else _same

    def __repr__(self) -> str:
        return f"EncryptedAuthState({self._inner!r}, <{len(self._keys)} keys>)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an EncryptedAuthState is not pickled: its keys would be in the clear")

    async def read(self, *, session: str, names: Collection[RecordName]) -> dict[RecordName, str]:
        """Return those of the records that there are, decrypted; `DecryptionFailed`: one cannot be."""
        found = await self._inner.read(session=session, names=names)
        return await _computed(found, lambda: {name: self._opened(session, name, text) for name, text in found.items()})

    async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
        """Encrypt records under the first key and replace them, and delete those whose new text is None."""
        sealed = await _computed(
            changes,
            lambda: {name: None if text is None else self._sealed(session, name, text) for name, text in changes.items()},
        )
        await self._inner.write(session=session, changes=sealed)

    async def records(
        self,
        *,
        session: str,
        type: str | None = None,  # noqa: A002 - Baileys' word
    ) -> AsyncIterator[tuple[RecordName, str]]:
        """Iterate over all records of a session, or those of one type, decrypted."""
        async with aclosing(in_chunks(self._inner, session, type)) as chunks:
            async for chunk in chunks:
                for record in await _computed(dict(chunk), lambda chunk=chunk: self._all_opened(session, chunk)):  # type: ignore[misc]
                    yield record

    async def delete(self, *, session: str) -> None:
        """Delete all records of a session at once; no key is needed for it."""
        await self._inner.delete(session=session)

    def list_sessions(self) -> AsyncIterator[str]:
        """Iterate over the names of all sessions, sorted; they are not encrypted."""
        return self._inner.list_sessions()

    def hold(self, *, session: str) -> AbstractAsyncContextManager[None]:
        """Return what makes the caller the session's one holder while it is entered."""
        return self._inner.hold(session=session)

    async def check_is_new(self, *, session: str) -> None:
        """Raise `CredsCorrupted` where another program may keep this session in the same storage."""
        await self._inner.check_is_new(session=session)

    # What follows computes.

    def _all_opened(self, session: str, chunk: Sequence[tuple[RecordName, str]]) -> list[tuple[RecordName, str]]:
        return [(name, self._opened(session, name, text)) for name, text in chunk]

    def _sealed(self, session: str, name: RecordName, text: str) -> str:
        key_id, key = next(iter(self._keys.items()))
        place = _place(session, self._known(name))
        nonce = os.urandom(_NONCE_BYTES)
        data = nonce + _cipher(key, place).encrypt(nonce, text.encode(), place)
        return json.dumps({_MARK: 1, "key": key_id, "data": base64.b64encode(data).decode()}, separators=(",", ":"))

    def _opened(self, session: str, name: RecordName, text: str) -> str:
        envelope = _envelope(text)
        if envelope is None:
            if self._allow_plaintext:
                return text
            raise DecryptionFailed(
                f"{label(name)} of {session!r} is not encrypted: rekey() the session with allow_plaintext=True "
                "(--allow-plaintext) if that is what you left there, else somebody else did"
            )
        damaged = f"{label(name)} of {session!r} was changed, or belongs to another record: restore a backup of it"
        if not envelope["key"]:
            raise DecryptionFailed(damaged)
        key = self._keys.get(envelope["key"])
        if key is None:
            raise DecryptionFailed(
                f"{label(name)} of {session!r} is encrypted with the key {envelope['key']!r:.20}, which is none of those given "
                f"({', '.join(self._keys)}): give that key, too"
            )
        place = _place(session, self._known(name))
        try:
            data = base64.b64decode(envelope["data"], validate=True)
            return _cipher(key, place).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], place).decode()
        except (InvalidTag, ValueError):
            raise DecryptionFailed(damaged) from None

    def _is_current(self, text: str) -> bool:
        """Tell whether a stored text is under the key that writes."""
        envelope = _envelope(text)
        return envelope is not None and envelope["key"] == next(iter(self._keys))


@dataclass(frozen=True, slots=True)
class RekeyedAuthState:
    """
    Everything of a session is under the first key.

    Attributes:
        session: Its name.
        records: How many records it has.
        changed: How many were under another key, or not encrypted.
        duration_s: Seconds.
    """

    session: str
    records: int
    changed: int
    duration_s: float


async def rekey(store: EncryptedAuthState, session: str = "default") -> RekeyedAuthState:
    """
    Encrypt every record of a session under the store's first key that is not: one under an older key, or in plain text.

    Some hundred records are written at a time, each time all or nothing; killed at any moment, it goes on when it is called
    again, with the same keys. When it has returned, the older keys (and `allow_plaintext`) can be left out. Backups, and what
    a database keeps of deleted rows, are as they were.

    Raises:
        SessionNotFound: There is no such session.
        DecryptionFailed: A record is under none of the keys, or changed, or in plain text that is not allowed.
        SessionInUse: A program has the session.
        StoreError: The store failed.
    """
    check_session_name(session)
    if not isinstance(store, EncryptedAuthState):
        raise ConfigurationError(f"invalid store {type(store).__name__}: rekey() needs an EncryptedAuthState, with both keys")
    began = time.monotonic()
    inner = store._inner
    with plugin_errors(f"rekey the session {session!r}"):
        async with store.hold(session=session):
            total, old = 0, []
            async with aclosing(in_chunks(inner, session)) as chunks:
                async for chunk in chunks:
                    total += len(chunk)
                    old += await in_thread(lambda _, chunk=chunk: [n for n, text in chunk if not store._is_current(text)])  # type: ignore[misc]
            if not total:
                raise SessionNotFound(f"there is no session {session!r}: check its name")
            for start in range(0, len(old), CHUNK):
                texts = await store.read(session=session, names=old[start : start + CHUNK])
                await store.write(session=session, changes=texts)
    return RekeyedAuthState(session, total, len(old), time.monotonic() - began)


async def _computed(texts: Mapping[RecordName, str | None], work: Callable[[], _T]) -> _T:
    """Do it here where it takes no time, and else in a thread."""
    if len(texts) <= _FEW and sum(map(len, filter(None, texts.values()))) <= _SHORT:
        return work()
    return await in_thread(lambda _: work())


def _same(name: RecordName) -> RecordName:
    return name


def _place(session: str, name: RecordName) -> bytes:
    """Return what names a record, for good: nothing that is read elsewhere has the same."""
    return json.dumps([_MARK, 1, session, name.type, name.id]).encode()


def _cipher(key: bytes, place: bytes) -> AESGCM:
    # A key for each record: random nonces under one key would run out after some billion writes.
    return AESGCM(hmac.digest(key, place, "sha256"))


def _envelope(text: str) -> dict[str, Any] | None:
    """Return the parts of an encrypted text, empty ones of a damaged text, or None when it is none."""
    if not text.startswith(ENVELOPE):
        return None
    try:
        envelope: dict[str, Any] = json.loads(text)
    except ValueError:
        envelope = {}
    if envelope.get(_MARK) != 1 or not isinstance(envelope.get("key"), str) or not isinstance(envelope.get("data"), str):
        return {"key": "", "data": ""}
    return envelope


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"wwauth key id\0" + key).hexdigest()[:8]


def _parsed(key: object) -> bytes | None:
    if not isinstance(key, str) or not key.strip().startswith(_PREFIX):
        return None
    text = key.strip().removeprefix(_PREFIX)
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == _KEY_BYTES else None
