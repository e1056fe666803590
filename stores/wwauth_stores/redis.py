"""A store in Redis, or in what speaks its protocol, such as Valkey."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wwauth._clock import clock
from wwauth._names import check_session_name, pack_name_parts
from wwauth.abc import SessionInfo, StoreFeatures
from wwauth.errors import ConfigurationError, SessionCorrupted, SessionNotFound, StoreError, StoreUnavailable

from ._driver import DriverStore, load
from ._lease import StoreLease
from ._local import check_prefix
from ._redis import BEGIN, COMMIT, DELETE, DISCARD, Keys, RedisLeases, check_fence, meaning
from ._redisurl import check_client, doubts, is_local, open_client, place_of, split_url
from ._transfer import reading, writing

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Self

    from redis.asyncio import Redis, RedisCluster

__all__ = ["RedisStore"]

_log = logging.getLogger(__name__)

# An upload that was not renewed for so long was left by a crash.
_UPLOAD, _RENEW = 600.0, 30.0

# For so long a replaced archive stays, for whoever reads it just then; who takes longer begins again with the new one.
_GRACE = 60.0
_MOST_READS = 5

# How long a failed save may try to take back what it has uploaded; what stays ends by itself.
_DISCARD = 2.0

_TOKEN_BYTES = 8
_SCAN = 1000

_FIELDS = ("token", "size", "chunks", "sha256", "modified", "revision")


@dataclass(frozen=True, slots=True)
class _Head:
    """Which archive is a session's."""

    token: str
    size: int
    chunks: int
    sha256: str
    modified: datetime
    revision: int


class _Replaced(Exception):
    """A chunk is gone, as when another archive has taken this one's place."""


class RedisStore(DriverStore):
    """
    Keeps archives in Redis 5 or newer, each as chunks of 1 MiB in a hash, and a small hash that says which chunks count.

    **Redis keeps what its settings say.** A login outlives a crash of the server only with an append-only file:
    `appendonly yes`, and `appendfsync always` so that a save that has returned is never lost (with `everysec`, the saves of
    the last second may be; the archive before them is there, whole). And it must not delete archives to make room:
    `maxmemory-policy noeviction`; a full server is then `StoreFull`. The first save logs a warning where the server, asked
    with CONFIG or INFO, says otherwise. All archives lie in its memory.

    Chunks are uploaded under a key that ends by itself ten minutes after its writer did, so that a crash leaves nothing; one
    script then checks the fence and the chunks, and switches. What was replaced stays for a minute, for its readers. A
    session's keys have its name in braces, so that a cluster keeps them on one node.

    Args:
        client: A `redis.asyncio.Redis` or `RedisCluster`, without `decode_responses`. It is borrowed: its owner closes it.
        key_prefix: What all keys begin with; two stores with different prefixes share nothing.
        ttl: For how many seconds after its save an archive is kept; None: until it is deleted. Mind that a backup in packs,
            `RemoteAuth`'s default, saves each pack once and goes on needing it: use a ttl with `archive="whatsapp-web.js"`.
        timeout: For how many seconds one step (a command, a chunk) may take.

    Raises:
        ConfigurationError: An argument is wrong; the message names its value.
        MissingDependency: redis is not installed.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        *,
        key_prefix: str = "wwauth:",
        ttl: float | None = None,
        timeout: float = 30.0,
    ) -> None:
        load("redis.asyncio", extra="redis", needed_by="RedisStore")
        check_client(client, needed_by="RedisStore")
        if not isinstance(key_prefix, str) or not key_prefix.isprintable() or "{" in key_prefix or "}" in key_prefix:
            raise ConfigurationError(f"invalid key_prefix {key_prefix!r}: use printable text without braces")
        super().__init__(place_of(client), timeout=timeout)
        self._client: Any = client
        self._keys = Keys(key_prefix)
        self._ttl = "" if ttl is None else str(round(_check_ttl(ttl) * 1000))
        self._lasts = round(1000 * max(_UPLOAD, 4 * timeout))
        self._leases = RedisLeases(client, self._keys, self._step)
        self._settings_known = False
        self.features = StoreFeatures(listing=True, leases=True, remote=not is_local(client))  # type: ignore[misc]

    @classmethod
    def from_url(
        cls, url: str, *, key_prefix: str = "wwauth:", ttl: float | None = None, timeout: float = 30.0, **options: Any
    ) -> Self:
        """
        Return a store with a client of its own, which `close()` closes; nothing is connected yet.

        `redis://[[user]:password@]host[:port][/database]`, `rediss://…` for TLS, or `unix://[[user]:password@]/path`. The
        query may have `key_prefix`, `ttl` and `timeout`, which then count, and what redis-py takes there (such as `db` and
        `ssl_ca_certs`); `options` are for redis-py's `Redis.from_url`.

        Raises:
            ConfigurationError: Not such a URL; no password is in the message.
            MissingDependency: redis is not installed.
        """
        load("redis.asyncio", extra="redis", needed_by="RedisStore")
        address, own = split_url(url)
        client = open_client(address, **options)
        settings: dict[str, Any] = {"key_prefix": key_prefix, "ttl": ttl, "timeout": timeout, **own}
        return cls(client, **settings)._owning()

    async def session_exists(self, *, session: str) -> bool:
        """
        Tell whether an archive is stored under this name.

        Raises:
            StoreUnavailable, StoreDenied: The server does not answer.
        """
        name = check_session_name(session)
        async with self._step(f"look for session {name!r}"):
            return bool(await self._client.exists(self._keys.head(name)))

    async def save(self, *, session: str, path: str | os.PathLike[str], fence: int | None = None) -> None:
        """
        Store the archive that lies at `path`, all or nothing.

        Raises:
            ConfigurationError: `path` is no file that can be read.
            LeaseLost: `fence` is that of a holder who was overtaken.
            StoreFull, StoreDenied, StoreUnavailable: The server does not take it.
            StoreError: `path` could not be read to its end, or changed meanwhile.
        """
        name = check_session_name(session)
        doing = f"save session {name!r}"
        token = secrets.token_hex(_TOKEN_BYTES)
        begun = False
        try:
            async with reading(path) as chunks:
                await self._look_at_settings(doing)
                begun = True
                size, number, sha256 = await self._upload(chunks, self._keys.chunks(name, token), doing)
            await self._switch(COMMIT, name, doing, token, fence, size, number, sha256, self._ttl, round(_GRACE * 1000))
        except BaseException as error:
            if begun and not isinstance(error, StoreUnavailable):
                await self._discard(name, token)
            raise

    async def extract(self, *, session: str, path: str | os.PathLike[str]) -> None:
        """
        Write the stored archive to the new file `path`.

        Raises:
            SessionNotFound: There is none.
            SessionCorrupted: Chunks of it are gone, or are not those that were saved.
            ConfigurationError: The folder of `path` is not there.
            StoreError: The server did not give it, or `path` could not be written; nothing is left there.
        """
        name = check_session_name(session)
        head: _Head | None = None
        for _ in range(_MOST_READS):
            before, head = head, await self._head(name)
            if head is None:
                raise SessionNotFound(f"{self._place} holds no session {name!r}")
            if before is not None and before.token == head.token:
                raise SessionCorrupted(
                    f"the stored session {name!r} is incomplete: {self._place} has deleted chunks of it, as a server does with "
                    f"another maxmemory-policy than noeviction"
                )
            with suppress(_Replaced):
                async with writing(path) as write:
                    await self._copy(name, head, write)
                return
        raise StoreUnavailable(f"session {name!r} in {self._place} is replaced faster than it can be read: try again")

    async def delete(self, *, session: str, fence: int | None = None) -> None:
        """
        Delete the archive; a name that is not there is no error.

        Raises:
            LeaseLost: `fence` is that of a holder who was overtaken.
            StoreUnavailable, StoreDenied: It could not be deleted.
        """
        name = check_session_name(session)
        await self._switch(DELETE, name, f"delete session {name!r}", None, fence)

    def lease(self, *, session: str, holder: str, ttl: float) -> StoreLease:
        """Return a lease on a name, for `ttl` seconds unless it is renewed; the clock is the server's."""
        return StoreLease(self._leases, session=session, holder=holder, ttl=ttl)

    async def list_sessions(self, *, prefix: str = "", packs: bool = False) -> AsyncIterator[SessionInfo]:
        """
        Iterate, in the order of their names, over what is stored under names that begin with `prefix`; `packs`: those, too.

        The server's keys are gone through, all of them, in steps that do not hold it up.

        Raises:
            StoreUnavailable, StoreDenied: The server does not answer.
        """
        check_prefix(prefix)
        found = self._client.scan_iter(match=self._keys.heads(prefix), count=_SCAN)
        names: set[str] = set()
        while True:
            async with self._step("list sessions"):
                key = await anext(found, None)
            if key is None:
                break
            names.add(self._keys.session(key))
        for name in sorted(names):
            if not packs and pack_name_parts(name):
                continue
            if (head := await self._head(name)) is not None:
                yield SessionInfo(name, head.size, head.modified, head.revision)

    async def _close_client(self) -> None:
        await self._client.aclose()

    def _meaning(self, error: Exception) -> type[StoreError]:
        return meaning(error)

    async def _head(self, name: str) -> _Head | None:
        async with self._step(f"read session {name!r}"):
            token, size, chunks, sha256, modified, revision = await self._client.hmget(self._keys.head(name), _FIELDS)
        if token is None:
            return None
        try:
            when = datetime.fromtimestamp(int(modified) / 1_000_000, UTC)
            return _Head(token.decode(), int(size), int(chunks), sha256.decode(), when, int(revision))
        except (TypeError, ValueError, AttributeError) as error:
            raise SessionCorrupted(f"the record of session {name!r} in {self._place} is none of wwauth's") from error

    async def _copy(self, name: str, head: _Head, write: Callable[[bytes], Awaitable[int]]) -> None:
        """Write an archive's chunks, and see that they are what was saved."""
        digest, key = hashlib.sha256(), self._keys.chunks(name, head.token)
        for number in range(head.chunks):
            async with self._step(f"read session {name!r}"):
                chunk = await self._client.hget(key, str(number))
            if chunk is None:
                raise _Replaced
            digest.update(chunk)
            await write(chunk)
        if digest.hexdigest() != head.sha256:
            raise SessionCorrupted(f"the stored session {name!r} is damaged: its SHA-256 is not that of what was saved")

    async def _upload(self, chunks: AsyncIterator[bytes], key: str, doing: str) -> tuple[int, int, str]:
        """Upload an archive; return its size, the number of its chunks, and its SHA-256."""
        digest, size, number, renewed = hashlib.sha256(), 0, 0, clock()
        async with self._step(doing):
            await self._client.eval(BEGIN, 1, key, self._lasts)
        async for chunk in chunks:
            async with self._step(doing):
                await self._client.hset(key, str(number), chunk)
                if clock() - renewed > _RENEW:
                    await self._client.pexpire(key, self._lasts)
                    renewed = clock()
            digest.update(chunk)
            size += len(chunk)
            number += 1
        return size, number, digest.hexdigest()

    async def _switch(
        self, script: str, name: str, doing: str, token: str | None, fence: int | None, *arguments: object
    ) -> None:
        """Run the script that puts another archive (`token`), or none, in the place of the one that is there."""
        new = [] if token is None else [self._keys.chunks(name, token)]
        told = [] if token is None else [token]
        before = ""
        while True:
            keys = [self._keys.head(name), self._keys.lease(name), *new, self._keys.chunks(name, before)]
            async with self._step(doing):
                answer = await self._client.eval(
                    script, len(keys), *keys, *told, before, "" if fence is None else fence, *arguments
                )
            check_fence(answer, name)
            if answer[0] == b"incomplete":
                raise StoreUnavailable(f"cannot {doing} in {self._place}: chunks of it are gone from there; save it again")
            if answer[0] == b"done":
                return
            before = answer[1].decode()  # each turn, somebody else's save has succeeded

    async def _discard(self, name: str, token: str) -> None:
        """Take back an upload that failed; where that fails, too, it ends by itself."""
        if self._closed:
            return  # the client would connect again
        with suppress(Exception):
            async with asyncio.timeout(_DISCARD):
                await self._client.eval(DISCARD, 2, self._keys.head(name), self._keys.chunks(name, token), token)

    async def _look_at_settings(self, doing: str) -> None:
        """Warn, once, when the server may lose archives; one that may not be asked is not doubted."""
        if self._settings_known:
            return
        async with self._step(doing):
            warnings = await doubts(self._client)
        if not self._settings_known:
            self._settings_known = True
            for warning in warnings:
                _log.warning(warning, self._place)


def _check_ttl(ttl: float) -> float:
    number = isinstance(ttl, int | float) and not isinstance(ttl, bool)
    if not number or not math.isfinite(ttl) or ttl < 1:
        raise ConfigurationError(f"invalid ttl {ttl!r}: use a number of seconds, 1 or more, or None")
    return ttl
