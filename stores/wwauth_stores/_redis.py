"""What RedisStore runs on its server: the names of its keys, the scripts (each is one atomic step), and the leases."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wwauth.errors import StoreDenied, StoreError, StoreFull, StoreUnavailable

from ._lease import in_use, overtaken

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

# The beginning of an upload, which ends by itself unless it goes on: whatever a crashed writer has left is gone after that.
# The chunks follow as plain commands, never in a script. A server that dies while it writes a command of a transaction to its
# append-only file (large ones take their time) leaves the transaction's beginning there, and may refuse to start (7.0.15).
BEGIN = """
redis.call('HSET', KEYS[1], 'begun', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""

# The switch from the old archive to the new one. Each key is declared, as clusters want it, so the old chunks are those that
# the caller has last heard of: where others have come since, it is told `again` and which ones.
COMMIT = """
local head, lease, chunks, old = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local token, before, fence, size, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local now = redis.call('HGET', head, 'token') or ''
if now == token then return {'done'} end
if fence ~= '' and redis.call('HGET', lease, 'fence') ~= fence then
  return {'overtaken', redis.call('HGET', lease, 'holder') or ''}
end
if now ~= before then return {'again', now} end
local kept = 0
for number = 0, count - 1 do kept = kept + redis.call('HSTRLEN', chunks, number) end
if kept ~= size or redis.call('HLEN', chunks) ~= count + 1 then return {'incomplete'} end
local revision = redis.call('HGET', head, 'revision') or redis.call('HGET', lease, 'revision') or 0
local time = redis.call('TIME')
redis.call('HSET', head, 'token', token, 'size', ARGV[4], 'chunks', ARGV[5], 'sha256', ARGV[6],
  'modified', string.format('%.0f', time[1] * 1000000 + time[2]), 'revision', string.format('%.0f', revision + 1))
for _, key in ipairs({head, chunks}) do
  if ARGV[7] == '' then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, ARGV[7]) end
end
if before ~= '' then redis.call('PEXPIRE', old, ARGV[8]) end
return {'done'}
"""

# What is left of an upload that failed, unless it was committed and only the answer was lost.
DISCARD = """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then redis.call('UNLINK', KEYS[2]) end
"""

# The writes that were counted are remembered where a record of the session stays anyway.
DELETE = """
local head, lease, chunks = KEYS[1], KEYS[2], KEYS[3]
local before, fence = ARGV[1], ARGV[2]
if fence ~= '' and redis.call('HGET', lease, 'fence') ~= fence then
  return {'overtaken', redis.call('HGET', lease, 'holder') or ''}
end
local now = redis.call('HGET', head, 'token') or ''
if now ~= before then return {'again', now} end
if now ~= '' then
  if redis.call('EXISTS', lease) == 1 then
    redis.call('HSET', lease, 'revision', redis.call('HGET', head, 'revision'))
  end
  redis.call('UNLINK', head, chunks)
end
return {'done'}
"""

# A fence is also as large as the server's time in microseconds: a server that crashes and forgets the last writes (any but
# one with `appendfsync always`) does not give the same one twice.
_CLAIM = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local holder, ends, fence = unpack(redis.call('HMGET', KEYS[1], 'holder', 'ends', 'fence'))
if holder and holder ~= '' and holder ~= ARGV[1] and now < tonumber(ends) then return {'held', holder} end
fence = string.format('%.0f', math.max((tonumber(fence or '0')) + 1, now))
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'ends', string.format('%.0f', now + ARGV[2]), 'fence', fence)
return {'taken', fence}
"""

_RENEW = """
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then
  return {'overtaken', redis.call('HGET', KEYS[1], 'holder') or ''}
end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'ends', string.format('%.0f', time[1] * 1000000 + time[2] + ARGV[2]))
return {'done'}
"""

_RELEASE = """
if redis.call('HGET', KEYS[1], 'fence') == ARGV[1] then redis.call('HSET', KEYS[1], 'holder', '') end
"""

_HEAD = "}:head"
_GLOB = re.compile(r"([*?\[\]\\^])")


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of a session's keys; in a cluster all of them are on the same node, for what stands in braces is the same."""

    prefix: str

    def head(self, session: str) -> str:
        """Name what tells which archive is the session's; where it is, the session exists."""
        return f"{self.prefix}{{{session}{_HEAD}"

    def chunks(self, session: str, token: str) -> str:
        """Name the chunks of one save."""
        return f"{self.prefix}{{{session}}}:chunks:{token}"

    def lease(self, session: str) -> str:
        """Name the record of the lease, which stays when the session is deleted."""
        return f"{self.prefix}{{{session}}}:lease"

    def heads(self, beginning: str) -> str:
        """Return the pattern of the heads of all sessions whose names begin so."""
        return literal(f"{self.prefix}{{{beginning}") + f"*{_HEAD}"

    def session(self, head: bytes) -> str:
        """Return whose head this is."""
        return head.decode()[len(self.prefix) + 1 : -len(_HEAD)]


class RedisLeases:
    """
    The leases of one store, on the server's clock; `step(doing)` bounds a call and knows the driver's errors.

    The record of a lease stays when it was released, and when the session was deleted, so that its fence goes on growing.
    """

    def __init__(self, client: Any, keys: Keys, step: Callable[[str], AbstractAsyncContextManager[None]]) -> None:
        self._client = client
        self._keys = keys
        self._step = step

    async def claim(self, session: str, holder: str, ttl: float) -> int:
        """Take the lease and return its fence."""
        word, told = await self._run(_CLAIM, session, holder, _microseconds(ttl))
        if word == b"held":
            raise in_use(session, told.decode())
        return int(told)

    async def renew(self, session: str, fence: int, ttl: float) -> None:
        """Begin the `ttl` anew."""
        check_fence(await self._run(_RENEW, session, fence, _microseconds(ttl)), session)

    async def release(self, session: str, fence: int) -> None:
        """End it, where the fence is the newest one."""
        await self._run(_RELEASE, session, fence)

    async def _run(self, script: str, session: str, *arguments: object) -> Any:
        async with self._step(f"keep the lease of {session!r}"):
            return await self._client.eval(script, 1, self._keys.lease(session), *arguments)


def literal(text: str) -> str:
    """Return the pattern that matches this text alone."""
    return _GLOB.sub(r"\\\1", text)


def check_fence(answer: list[bytes], session: str) -> None:
    """Raise `LeaseLost` when a script has said so."""
    if answer[0] == b"overtaken":
        raise overtaken(session, answer[1].decode() or None)


def meaning(error: Exception) -> type[StoreError]:
    """Return what an error of redis-py stands for."""
    from redis import exceptions  # noqa: PLC0415 - the driver, which is loaded by whoever has its errors

    denied = (
        exceptions.AuthenticationError,
        exceptions.AuthenticationWrongNumberOfArgsError,
        exceptions.AuthorizationError,
        exceptions.NoPermissionError,
    )
    # In this order: who is not let in has a kind of ConnectionError.
    if isinstance(error, denied):
        return StoreDenied
    if isinstance(error, exceptions.OutOfMemoryError):
        return StoreFull
    away = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.RedisClusterException, OSError)
    if isinstance(error, (*away, exceptions.ReadOnlyError, exceptions.ClusterError)):
        return StoreUnavailable
    if isinstance(error, exceptions.ResponseError):
        # Within a script the server's word stands somewhere in the text, and redis-py does not look for it there.
        return next((kind for word, kind in _WORDS.items() if re.search(rf"\b{word}\b", str(error))), StoreError)
    return StoreError


_WORDS: dict[str, type[StoreError]] = {
    "OOM": StoreFull,
    "NOAUTH": StoreDenied,
    "NOPERM": StoreDenied,
    "WRONGPASS": StoreDenied,
    "user executing the script": StoreDenied,
    "BUSY": StoreUnavailable,
    "CLUSTERDOWN": StoreUnavailable,
    "LOADING": StoreUnavailable,
    "MASTERDOWN": StoreUnavailable,
    "MISCONF": StoreUnavailable,
    "NOREPLICAS": StoreUnavailable,
    "READONLY": StoreUnavailable,
    "TRYAGAIN": StoreUnavailable,
}


def _microseconds(seconds: float) -> int:
    return max(1, round(seconds * 1_000_000))
