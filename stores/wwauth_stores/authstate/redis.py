"""Auth states in Redis, or in what speaks its protocol, such as Valkey."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, get_args

from wwauth._names import check_session_name, is_session_name
from wwauth.abc import AuthStateStore
from wwauth.errors import ConfigurationError, StoreError

from .._driver import DriverBase, load
from .._redis import RedisLeases, check_fence, meaning
from .._redisurl import check_client, doubts, open_client, place_of, split_url
from ._hold import Holding
from ._redis_layouts import DELETE, FORGET, WRITE, Layout, OwnKeys, PeerKeys, find_layout
from ._shared import Shared

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

    from redis.asyncio import Redis, RedisCluster

    from wwauth.abc import RecordName

    from ._peers import PeerState

__all__ = ["RedisAuthStateStore", "redis_auth_state_store"]

_log = logging.getLogger(__name__)

RedisLayout = Literal["wwauth", "baileys-redis-auth"]

_PREFIX = "wwauth:"
_TIMEOUT = 30.0

# How many records of a long answer are taken at a time, about.
_AT_ONCE = 500


def redis_auth_state_store(client_or_url: Redis | RedisCluster | str, layout: RedisLayout | None = None) -> RedisAuthStateStore:
    """Return a store of auth states in Redis; nothing is asked of the server before its first use. See the class."""
    return RedisAuthStateStore(client_or_url, layout)


class RedisAuthStateStore(DriverBase, AuthStateStore):
    """
    Keeps auth states in Redis 5 or newer, each session in one hash; a write is one script, which checks the hold, too.

    **Redis keeps what its settings say.** A login outlives a crash of the server only with an append-only file:
    `appendonly yes`, and `appendfsync always` so that a write that has returned is never lost; with `everysec`, the writes
    of the last second may be, and a login whose keys went back in time answers some messages with errors. And it must not
    delete logins to make room: `maxmemory-policy noeviction`. The first write logs a warning where the server says otherwise.

    **Layouts.** wwauth's own is `wwauth:auth:{<session>}` with the fields "<type>/<id>". The hash of baileys-redis-auth,
    `<session>:auth`, is found and used where it is, and the Node program can go on using it, though not at the same time. A
    session that lies in another program's plain keys (`<session>:creds`, or with a prefix, or Keyv's) raises
    `CredsCorrupted`, which says to import it: it never becomes a new login. `peers()` reads all of them.

    Holds last for 30 s by the server's clock and are renewed every 10 s; from a process of this machine that has died a hold
    is taken over at once. All keys of a session are on one node of a cluster.

    Args:
        client_or_url: A `redis.asyncio.Redis` or `RedisCluster` without `decode_responses`, which its owner closes (for many
            sessions with a BlockingConnectionPool: redis-py's own pool refuses what comes while all connections are in use);
            or a URL, `redis://[[user]:password@]host[:port][/database]`, `rediss://…` or `unix://…`, whose client is opened
            here, shared by the stores of one event loop that name the same URL, and closed by the last one's `close()`. Its
            query may have `key_prefix` ("wwauth:") and `timeout` (30 s for a command), and what redis-py takes there.
        layout: "wwauth" or "baileys-redis-auth", without a look at what there is; or None: each session's is found out.

    Raises:
        ConfigurationError: An argument is wrong; no password is in the message.
        MissingDependency: redis is not installed.
    """

    def __init__(self, client_or_url: Redis | RedisCluster | str, layout: RedisLayout | None = None) -> None:
        load("redis.asyncio", extra="redis", needed_by="RedisAuthStateStore")
        if layout is not None and layout not in get_args(RedisLayout):
            raise ConfigurationError(f"invalid layout {layout!r}: use None or one of {', '.join(get_args(RedisLayout))}")
        self._shared: Shared | None = None
        settings: dict[str, Any] = {}
        if isinstance(client_or_url, str):
            address, settings = split_url(client_or_url)
            if "ttl" in settings:
                raise ConfigurationError(
                    "invalid option ttl in the store URL: the records of a login have no end; leave it out"
                )
            self._shared = Shared(address, lambda: open_client(address))
        client: Any = client_or_url if self._shared is None else self._shared.client
        check_client(client, needed_by="RedisAuthStateStore")
        super().__init__(place_of(client), timeout=settings.get("timeout", _TIMEOUT))
        self._owned = self._shared is not None
        self._client = client
        self._wanted = layout
        self._own = OwnKeys(f"{settings.get('key_prefix', _PREFIX)}auth:")
        self._peer = PeerKeys("")
        self._leases = {keys.name: RedisLeases(client, keys, self._step) for keys in (self._own, self._peer)}
        self._layouts: dict[str, Layout] = {}
        self._fences: dict[str, int] = {}
        self._deleted: set[str] = set()
        self._settings_known = False

    async def read(self, *, session: str, names: Collection[RecordName]) -> dict[RecordName, str]:
        """
        Return those of the records that there are.

        Raises:
            CredsCorrupted: The session lies in a way that this store cannot use.
            StoreUnavailable, StoreDenied: The server does not answer.
        """
        layout = await self._found(session)
        wanted = list(names)
        if not wanted:
            return {}
        async with self._step(f"read from session {session!r}"):
            texts = await self._client.hmget(layout.hash(session), [layout.field(name) for name in wanted])
        return {name: text.decode() for name, text in zip(wanted, texts, strict=True) if text is not None}

    async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
        """
        Replace records, and delete those whose new text is None, all or nothing.

        Raises:
            LeaseLost: Another one has taken over what this store holds.
            CredsCorrupted: The session lies in a way that this store cannot use.
            StoreFull, StoreDenied, StoreUnavailable: The server does not take it.
        """
        layout = await self._found(session)
        if not changes:
            return
        doing = f"write to session {session!r}"
        await self._look_at_settings(doing)
        new = [part for name, text in changes.items() if text is not None for part in (layout.field(name), text)]
        gone = [layout.field(name) for name, text in changes.items() if text is None]
        await self._run(WRITE, layout, session, doing, len(new) // 2, *new, *gone)

    async def records(
        self,
        *,
        session: str,
        type: str | None = None,  # noqa: A002 - Baileys' word
    ) -> AsyncIterator[tuple[RecordName, str]]:
        """
        Iterate over all records of a session, or those of one type.

        Raises:
            CredsCorrupted: The session lies in a way that this store cannot use.
            StoreUnavailable, StoreDenied: The server does not answer.
        """
        layout = await self._found(session)
        pattern = None if type is None else layout.matching(type)
        cursor, told = 0, set[bytes]()
        while True:
            async with self._step(f"read session {session!r}"):
                cursor, some = await self._client.hscan(layout.hash(session), cursor, match=pattern, count=_AT_ONCE)
            for field, text in some.items():
                # The server may tell a field twice when the hash grows meanwhile.
                if field not in told:
                    told.add(field)
                    name = layout.record(field.decode())
                    if type in {None, name.type}:
                        yield name, text.decode()
            if not cursor:
                return

    async def delete(self, *, session: str) -> None:
        """
        Delete all records of a session; one that is not there is no error.

        Raises:
            LeaseLost: Another one has taken over what this store holds.
            CredsCorrupted: The session lies in a way that this store cannot use.
            StoreUnavailable, StoreDenied: It could not be deleted.
        """
        layout = await self._found(session)
        await self._run(DELETE, layout, session, f"delete session {session!r}")
        self._deleted.add(session)
        self._layouts.pop(session, None)

    async def list_sessions(self) -> AsyncIterator[str]:
        """
        Iterate over the names of all sessions, sorted.

        The server's keys are gone through, all of them, in steps that do not hold it up.

        Raises:
            StoreUnavailable, StoreDenied: The server does not answer.
        """
        names: set[str] = set()
        if self._wanted != self._peer.name:
            names.update([self._own.session_of(key) async for key in self._keys(self._own.hashes())])
        if self._wanted != self._own.name:
            async for key in self._keys("*:auth"):
                name = key.decode(errors="replace").removesuffix(":auth")
                if is_session_name(name):
                    async with self._step("list the sessions"):
                        # Other programs may have other hashes of such a name.
                        if await self._client.hexists(key, "creds"):
                            names.add(name)
        for session in sorted(names):
            yield session

    @asynccontextmanager
    async def hold(self, *, session: str) -> AsyncIterator[None]:
        """
        Be the session's one holder.

        Raises:
            SessionInUse: Another holder lives, or may.
            CredsCorrupted: The session lies in a way that this store cannot use.
            StoreUnavailable, StoreDenied: The server does not answer.
        """
        layout = await self._found(session)
        async with Holding(self._leases[layout.name], session) as fence:
            self._fences[session] = fence
            try:
                yield
            finally:
                del self._fences[session]
                self._layouts.pop(session, None)
        if session in self._deleted:
            self._deleted.discard(session)
            await self._forget(layout, session)

    async def peers(self) -> list[PeerState]:
        """
        Return the logins that other programs keep in the database, in whatever way; each has `records()` to import.

        The server's keys are gone through, all of them.

        Raises:
            StoreUnavailable, StoreDenied: The server does not answer.
        """
        from ._peers_redis import redis_peers  # noqa: PLC0415 - needed for imports alone

        return await redis_peers(self._client, self._step)

    async def _found(self, session: str) -> Layout:
        """Return how a session lies, or will; nothing of it is read or written before that is known."""
        check_session_name(session)
        if self._wanted is not None:
            return self._own if self._wanted == self._own.name else self._peer
        if session not in self._layouts:
            self._layouts[session] = await find_layout(self._client, session, self._own, self._peer, self._step, self._place)
        return self._layouts[session]

    async def _forget(self, layout: Layout, session: str) -> None:
        """Delete the record of the lease on a session that is not there any more, unless somebody has it by now."""
        try:
            async with self._step(f"delete the lease on session {session!r}"):
                await self._client.eval(FORGET, 2, layout.hash(session), layout.lease(session))
        except StoreError as error:
            _log.warning("the record of a lease stays, and does no harm: %s", error)

    async def _run(self, script: str, layout: Layout, session: str, doing: str, *arguments: object) -> None:
        keys = [layout.hash(session), layout.lease(session)]
        async with self._step(doing):
            answer = await self._client.eval(script, len(keys), *keys, self._fences.get(session, ""), *arguments)
        check_fence(answer, session)

    async def _keys(self, pattern: str) -> AsyncIterator[bytes]:
        found = self._client.scan_iter(match=pattern, count=2 * _AT_ONCE, _type="HASH")
        while True:
            async with self._step("list the sessions"):
                key = await anext(found, None)
            if key is None:
                return
            yield key

    async def _look_at_settings(self, doing: str) -> None:
        """Warn, once, when the server may lose logins; one that may not be asked is not doubted."""
        if self._settings_known:
            return
        async with self._step(doing):
            warnings = await doubts(self._client)
        if not self._settings_known:
            self._settings_known = True
            for warning in warnings:
                _log.warning(warning, self._place)

    async def _close_client(self) -> None:
        if self._shared is not None:
            await self._shared.close(lambda client: client.aclose())

    def _meaning(self, error: Exception) -> type[StoreError]:
        return meaning(error)
