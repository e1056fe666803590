"""Logins that other programs keep in Redis."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from wwauth.errors import CredsCorrupted

from .._redis import literal
from ._peers import CREDS_NAMES, PeerState, Value, session_label, told_apart, unwrapped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection
    from contextlib import AbstractAsyncContextManager

    Step = Callable[[str], AbstractAsyncContextManager[None]]

_AT_ONCE = 500

_CREDS = re.compile(rf"(?P<prefix>.*:)?(?:{'|'.join(map(re.escape, CREDS_NAMES))})", re.DOTALL)

_HASH = ":auth"


async def redis_peers(client: Any, step: Step) -> list[PeerState]:
    """
    Return the logins in a database that are laid out as one of the common programs does; `step(doing)` bounds a command.

    These are the hash of baileys-redis-auth (`<session>:auth`), its plain keys and those of many bots (`<session>:creds`,
    with or without a prefix), and Keyv's. All keys of the database are gone through.
    """
    # The server may tell a key twice.
    hashes: set[str] = set()
    prefixes: set[str] = set()
    async for key in _keys(client, None, step):
        if key.endswith(_HASH):
            async with step("look for logins of other programs"):
                is_login = await client.type(key) == b"hash" and await client.hexists(key, "creds")
            if is_login:
                hashes.add(key)
        elif (match := _CREDS.fullmatch(key)) is not None:
            async with step("look for logins of other programs"):
                is_login = await client.type(key) == b"string"
            if is_login:
                prefixes.add(match["prefix"] or "")
    found = [_hash_state(client, key, step) for key in sorted(hashes)]
    return told_apart(found + [_keys_state(client, prefix, step, prefixes) for prefix in sorted(prefixes)])


def _hash_state(client: Any, key: str, step: Step) -> PeerState:
    session = session_label(key.removesuffix(_HASH))

    async def values() -> AsyncIterator[Value]:
        cursor = 0
        while True:
            async with step(f"read the login {session!r}"):
                cursor, some = await client.hscan(key, cursor, count=_AT_ONCE)
            for field, text in some.items():
                yield Value(field.decode(), _text(text, session), is_text=True)
            if not cursor:
                return

    return PeerState("baileys-redis-auth", key.removesuffix(_HASH), values)


def _keys_state(client: Any, prefix: str, step: Step, prefixes: Collection[str]) -> PeerState:
    session = session_label(prefix)
    others = tuple(other for other in prefixes if other.startswith(prefix) and other != prefix)

    async def values() -> AsyncIterator[Value]:
        told: set[str] = set()
        async for key in _keys(client, literal(prefix) + "*", step):
            if key.startswith(others) or key in told:
                continue
            told.add(key)
            async with step(f"read the login {session!r}"):
                text = await client.get(key) if await client.type(key) == b"string" else None
            if text is not None:
                name = key.removeprefix(prefix)
                yield Value("creds" if name == "auth_creds" else name, unwrapped(_text(text, session)), is_text=True)

    return PeerState("a program with plain keys", prefix, values)


async def _keys(client: Any, pattern: str | None, step: Step) -> AsyncIterator[str]:
    found = client.scan_iter(match=pattern, count=2 * _AT_ONCE)
    while True:
        async with step("look for logins of other programs"):
            key = await anext(found, None)
        if key is None:
            return
        yield key.decode(errors="replace")


def _text(raw: bytes, session: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise CredsCorrupted(
            f"a record of the login {session!r} is no text: it is not kept as any known program does"
        ) from error
