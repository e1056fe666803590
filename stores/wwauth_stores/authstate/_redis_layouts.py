"""How auth states lie in Redis, what the server does to them in one step, and how a layout is told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from wwauth.abc import CREDS, RecordName
from wwauth.authstate.names import file_name, record_of
from wwauth.errors import CredsCorrupted

from .._redis import Keys, literal
from ._keys import record_key, record_name, type_prefix

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Step = Callable[[str], AbstractAsyncContextManager[None]]

_CHECK = """
local hash, lease, fence = KEYS[1], KEYS[2], ARGV[1]
if fence ~= '' and redis.call('HGET', lease, 'fence') ~= fence then
  return {'overtaken', redis.call('HGET', lease, 'holder') or ''}
end
"""

# Few commands, since each of them is one in the append-only file; Lua passes some thousand arguments at a time.
WRITE = f"""
{_CHECK}
local count, most = tonumber(ARGV[2]), 4000
local last = 2 + 2 * count
for from = 3, last, most do redis.call('HSET', hash, unpack(ARGV, from, math.min(from + most - 1, last))) end
for from = last + 1, #ARGV, most do redis.call('HDEL', hash, unpack(ARGV, from, math.min(from + most - 1, #ARGV))) end
return {{'done'}}
"""

DELETE = f"""
{_CHECK}
redis.call('UNLINK', hash)
return {{'done'}}
"""

# A fence is no smaller than the server's clock in microseconds: one that is given out anew is another one than all before.
FORGET = """
if redis.call('EXISTS', KEYS[1]) == 0 and redis.call('HGET', KEYS[2], 'holder') == '' then redis.call('UNLINK', KEYS[2]) end
"""

_SCAN = 1000


class Layout(Protocol):
    """What a layout has to tell."""

    name: ClassVar[str]

    def hash(self, session: str) -> str:
        """Return the key of the hash that has a session's records."""

    def lease(self, session: str) -> str:
        """Return the key of the record of a session's lease; in a cluster it is on the same node."""

    def field(self, name: RecordName) -> str:
        """Return the field of a record."""

    def record(self, field: str) -> RecordName:
        """Return which record a field has; `CredsCorrupted`: none that can be told."""

    def matching(self, kind: str) -> str:
        """Return a pattern that the fields of a type match, and perhaps some more."""


@dataclass(frozen=True, slots=True)
class OwnKeys(Keys):
    """wwauth's own: `<prefix>{<session>}` has the fields "<type>/<id>"; in a cluster its lease is beside it."""

    name: ClassVar[str] = "wwauth"

    def hash(self, session: str) -> str:
        return f"{self.prefix}{{{session}}}"

    def hashes(self) -> str:
        """Return the pattern of the hashes of all sessions."""
        return literal(self.prefix) + "{*}"

    def session_of(self, key: bytes) -> str:
        """Return whose hash this is."""
        return key.decode()[len(self.prefix) + 1 : -1]

    def field(self, name: RecordName) -> str:
        return record_key(name)

    def record(self, field: str) -> RecordName:
        return record_name(field)

    def matching(self, kind: str) -> str:
        return literal(type_prefix(kind)) + "*"


@dataclass(frozen=True, slots=True)
class PeerKeys(Keys):
    """Those of baileys-redis-auth: `<session>:auth` has the fields "creds" and "<type>-<id>", named as files are."""

    name: ClassVar[str] = "baileys-redis-auth"

    def hash(self, session: str) -> str:
        return f"{session}:auth"

    def lease(self, session: str) -> str:
        # What stands in braces decides on the node of a cluster, and this is the whole of the other key.
        return f"{{{session}:auth}}:wwauth-lease"

    def field(self, name: RecordName) -> str:
        return file_name(name).removesuffix(".json")

    def record(self, field: str) -> RecordName:
        name = record_of(f"{field}.json")
        if name is None:
            raise CredsCorrupted(
                f"an auth state of baileys-redis-auth has a field of {len(field)} characters that names no record: move it "
                f"elsewhere"
            )
        return name

    def matching(self, kind: str) -> str:
        return "creds" if kind == CREDS.type else literal(kind) + "-*"


async def find_layout(client: Any, session: str, own: OwnKeys, peer: PeerKeys, step: Step, place: str) -> Layout:
    """
    Tell how a session lies in a database, without changing it; one that is nowhere will lie as wwauth's do.

    Raises:
        CredsCorrupted: It is there in a way that cannot be used in place, or twice; the message says how, and what to do.
    """
    doing = f"look at how session {session!r} is kept"
    async with step(doing):
        mine = await client.exists(own.hash(session))
        theirs = await client.type(peer.hash(session)) == b"hash"
    if mine and theirs:
        raise CredsCorrupted(
            f"{place} has session {session!r} twice, as {own.hash(session)!r} and as {peer.hash(session)!r}: say which one "
            f"with layout='wwauth' or layout='baileys-redis-auth'"
        )
    if theirs:
        async with step(doing):
            creds = await client.hexists(peer.hash(session), "creds")
        if not creds:
            raise CredsCorrupted(
                f"{place} has keys in {peer.hash(session)!r}, but no credentials: restore its field 'creds' from a backup, or "
                f"delete it; it does not become a new login by itself"
            )
        return peer
    if not mine and (key := await _elsewhere(client, session, step, doing)) is not None:
        raise CredsCorrupted(
            f"{place} has session {session!r} in another program's layout ({key!r}): import it into another database (wwauth "
            f"authstate migrate --peer), it stays as it is"
        )
    return own


async def _elsewhere(client: Any, session: str, step: Step, doing: str) -> str | None:
    """
    Return a key that looks like this session's credentials in a layout that is not used in place, or None.

    All keys of the database are gone through: which prefixes other programs set is not known. That happens when a session is
    new, so once.
    """
    wanted = re.compile(rf"(?:.*:)?{re.escape(session)}:(?:creds|creds\.json|auth_creds|auth)")
    keys = client.scan_iter(match=f"*{session}:*", count=_SCAN)
    while True:
        async with step(doing):
            key = await anext(keys, None)
        if key is None:
            return None
        name = key.decode(errors="replace")
        if wanted.fullmatch(name):
            return str(name)
