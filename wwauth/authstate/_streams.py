"""Records of a session, some hundred at a time."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from ..errors import ConfigurationError, DecryptionFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..abc import AuthStateStore, RecordName

# How an encrypted record begins, and no other one.
ENVELOPE = '{"wwauth-encrypted":'

# Parsed or encrypted in one go: a few milliseconds of a thread, under a megabyte.
CHUNK = 400


async def in_chunks(
    store: AuthStateStore,
    session: str,
    type: str | None = None,  # noqa: A002 - Baileys' word
) -> AsyncGenerator[list[tuple[RecordName, str]], None]:
    """Give the records of a session, or those of one type, in lists; use it with `aclosing`."""
    async for chunk in chunked(store.records(session=session, type=type)):
        yield chunk


async def chunked(records: AsyncIterator[tuple[RecordName, str]]) -> AsyncGenerator[list[tuple[RecordName, str]], None]:
    """Give what an iterator gives in lists, and end it when this ends."""
    chunk: list[tuple[RecordName, str]] = []
    try:
        async for record in records:
            chunk.append(record)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk
    finally:
        # A generator may have a connection in its hands.
        if isinstance(records, AsyncGenerator):
            await records.aclose()


def refuse_encrypted(name: RecordName, text: str, session: str) -> None:
    """Refuse what is read past its keys (`DecryptionFailed`), and what a plug-in gives in place of a text."""
    if not isinstance(text, str):
        raise ConfigurationError(
            f"the store gave {name.id or name.type!r} of {session!r} as {type(text).__name__}: its read() gives texts, and "
            "leaves out what is not there"
        )
    if text.startswith(ENVELOPE):
        raise DecryptionFailed(
            f"the record {name.id or name.type!r} of {session!r} is encrypted: open the store with EncryptedAuthState and "
            "its keys (--key-file)"
        )


def digest(data: bytes) -> str:
    """Return what tells a text from any other one, in a few bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
