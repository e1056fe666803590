"""Where a RedisStore's server is, and how it is set up to keep what it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from wwauth.errors import ConfigurationError

from ._driver import is_loopback
from .urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable

_SCHEMES = ("redis", "rediss", "unix")

# The store's own settings, which a URL may have among redis-py's.
_OWN: dict[str, Callable[[str], object]] = {"key_prefix": str, "ttl": float, "timeout": float}


def split_url(url: str) -> tuple[str, dict[str, Any]]:
    """
    Return the URL that is for redis-py, and the store's own settings of its query.

    Raises:
        ConfigurationError: It is no Redis URL; no password is in the message.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"invalid store URL of type {type(url).__name__}: give text, such as 'redis://localhost/0'")
    own: dict[str, Any] = {}
    rest: list[tuple[str, str]] = []
    problem, parts = _split(url)
    for name, value in parse_qsl(parts.query, keep_blank_values=True) if parts is not None else []:
        if name not in _OWN:
            rest.append((name, value))
            continue
        try:
            own[name] = _OWN[name](value)
        except ValueError:
            problem = problem or f"{name} is a number of seconds"
    if problem or parts is None:
        # Outside of the handlers: what they caught may show the password.
        raise ConfigurationError(f"invalid store URL {redact_url(url)!r}: {problem}")
    return urlunsplit(parts._replace(query=urlencode(rest), fragment="")), own


def open_client(url: str, **options: Any) -> Any:
    """
    Return a client for a URL; nothing is connected yet. `options` are for redis-py's connections.

    Commands beyond those that its connections take (`max_connections` in the URL, 50) wait for their turn.

    Raises:
        ConfigurationError: redis-py does not take it; no password is in the message.
    """
    from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415 - a driver
    from redis.asyncio.retry import Retry  # noqa: PLC0415 - as above
    from redis.backoff import NoBackoff  # noqa: PLC0415 - as above

    class Pool(BlockingConnectionPool):
        """Connections that end with their client; for a command that is under way then, redis-py opens another one."""

        ended = False

        async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's own
            self.ended = self.ended or inuse_connections
            await super().disconnect(inuse_connections)

        async def release(self, connection: Any) -> None:
            await super().release(connection)
            if self.ended:
                await connection.disconnect()

    # For a connection that has gone stale; a RetryingStore does more. Each command may be done twice.
    once_more = Retry(NoBackoff(), 1)
    problem = None
    try:
        # Redis.from_url() has a pool that refuses what comes while all connections are in use.
        pool = Pool.from_url(url, **{"retry": once_more, **options})
        pool.connection_class(**pool.connection_kwargs)  # is every option known?
        client = Redis.from_pool(pool)
    except (TypeError, ValueError) as error:
        problem = type(error).__name__
    if problem is not None:
        # Outside of the handler: the driver's text, which may hold the password, is not even its context.
        raise ConfigurationError(
            f"invalid store URL {redact_url(url)!r}: redis-py does not take it ({problem}); look at its options"
        )
    return client


def check_client(client: Any, *, needed_by: str) -> None:
    """Refuse what is no client of redis-py's for bytes, with a `ConfigurationError`."""
    from redis.asyncio import Redis, RedisCluster  # noqa: PLC0415 - a driver

    if not isinstance(client, (Redis, RedisCluster)):
        raise ConfigurationError(
            f"invalid client {type(client).__name__}: {needed_by} takes a redis.asyncio.Redis or RedisCluster, "
            f"or make it from a URL"
        )
    if client.get_encoder().decode_responses:
        raise ConfigurationError(f"this client has decode_responses=True, and {needed_by} works on bytes: give one without it")


def place_of(client: Any) -> str:
    """Name a client's server for messages: without user and password."""
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        return "a Redis cluster"
    known = client.get_connection_kwargs()
    database = known.get("db") or 0
    if "path" in known:
        return f"unix://{known['path']}?db={database}"
    if hasattr(pool, "service_name"):
        return f"the Redis service {pool.service_name!r}, database {database}"
    host = known.get("host", "localhost")
    return f"redis://{f'[{host}]' if ':' in host else host}:{known.get('port', 6379)}/{database}"


def is_local(client: Any) -> bool:
    """Tell whether a client's server is on this machine."""
    pool = getattr(client, "connection_pool", None)
    if pool is None or hasattr(pool, "service_name"):
        return False
    known = client.get_connection_kwargs()
    if "path" in known:
        return True
    return is_loopback(known.get("host", "localhost"))


async def doubts(client: Any) -> list[str]:
    """Ask a server how it is set up, and return what endangers logins, as texts for a log with one `%s` for its name."""
    from redis.exceptions import ResponseError  # noqa: PLC0415 - loaded by whoever has a client

    async def ask(name: str) -> str | None:
        try:
            return _texts(await client.config_get(name)).get(name)
        except ResponseError:
            return None

    appendonly, save = await ask("appendonly"), await ask("save")
    memory, policy = await ask("maxmemory"), await ask("maxmemory-policy")
    if appendonly is None or policy is None:
        # Providers forbid CONFIG, and allow INFO, which does not tell when snapshots are taken.
        try:
            told = _texts(await client.info())
        except ResponseError:
            told = {}
        appendonly = appendonly or {"0": "no", "1": "yes"}.get(told.get("aof_enabled", ""))
        memory, policy = memory or told.get("maxmemory"), policy or told.get("maxmemory_policy")
    found = []
    if appendonly == "no" and save == "":
        found.append("%s writes nothing to a disk: its logins end with its process; set appendonly yes, appendfsync always")
    elif appendonly == "no":
        found.append(
            "%s has no append-only file: a crash loses all logins that were saved since its last snapshot; set appendonly "
            "yes, appendfsync always"
        )
    if memory not in {None, "0"} and policy is not None and policy.startswith("allkeys"):
        found.append(f"%s deletes logins when its memory is full (maxmemory-policy {policy}): set noeviction")
    return found


def _texts(answer: dict[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in answer.items()}


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _split(url: str) -> tuple[str, SplitResult | None]:
    """Return what is wrong with a URL, or nothing, and its parts."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "its host or port is none; write [::1] for an IPv6 address, and percent-encode :/?#[]@ in a password", None
    if parts.scheme not in _SCHEMES or not url.partition(":")[2].startswith("//"):
        return "use redis://host:port/database, rediss:// for TLS, or unix:///path/of/redis.sock", parts
    if parts.scheme == "unix":
        return "" if parts.path.strip("/") else "name the socket, as in unix:///run/redis/redis.sock", parts
    database = unquote(parts.path).strip("/")
    right = database == "" or (database.isascii() and database.isdigit())
    return "" if right else "its path is the database, a number", parts
