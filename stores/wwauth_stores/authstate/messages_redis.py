"""Messages of socket logins in Redis, or in what speaks its protocol, such as Valkey."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wwauth._messages import MessageBackend, MessageRow, RowKey
from wwauth.errors import ConfigurationError

from .._driver import DriverBase, load
from .._redis import meaning
from .._redisurl import check_client, open_client, place_of, split_url
from ._shared import Shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wwauth.errors import StoreError

_PREFIX = "wwauth:"
_TIMEOUT = 30.0

# Names have no spaces.
_BETWEEN = " "

# Rows and their places in the order of age, all or none. Each row's key is declared, as clusters want it.
_PUT = """
for n = 2, #KEYS do
  local at = (n - 2) * 4
  redis.call('HSET', KEYS[n], ARGV[at + 1], ARGV[at + 2])
  redis.call('ZADD', KEYS[1], ARGV[at + 3], ARGV[at + 4])
end
"""

# What was stored once more since it was looked at stays.
_DROP = """
local dropped = 0
for n = 2, #KEYS do
  local at = (n - 2) * 3
  if redis.call('ZSCORE', KEYS[1], ARGV[at + 3]) == ARGV[at + 2] then
    redis.call('HDEL', KEYS[n], ARGV[at + 1])
    redis.call('ZREM', KEYS[1], ARGV[at + 3])
    dropped = dropped + 1
  end
end
return dropped
"""


class RedisMessageBackend(DriverBase, MessageBackend):
    """
    Keeps messages in Redis 5 or newer: a hash for each id, and for each session a sorted set by age.

    They outlive a crash of the server as far as its settings say, see `RedisStore`. All keys of a session are on one node of
    a cluster.

    Args:
        client_or_url: A `redis.asyncio.Redis` or `RedisCluster` without `decode_responses`, which its owner closes; or a URL,
            whose query may have `key_prefix` and `timeout`.

    Raises:
        ConfigurationError: It is neither; no password is in the message.
        MissingDependency: redis is not installed.
    """

    def __init__(self, client_or_url: Any) -> None:
        load("redis.asyncio", extra="redis", needed_by="MessageStore")
        self._shared: Shared | None = None
        settings: dict[str, Any] = {}
        if isinstance(client_or_url, str):
            address, settings = split_url(client_or_url)
            if "ttl" in settings:
                raise ConfigurationError("invalid option ttl in the URL: a MessageStore has max_age; leave it out")
            self._shared = Shared(address, lambda: open_client(address))
        client: Any = client_or_url if self._shared is None else self._shared.client
        check_client(client, needed_by="MessageStore")
        super().__init__(place_of(client), timeout=settings.get("timeout", _TIMEOUT))
        self._owned = self._shared is not None
        self._client = client
        self._prefix = f"{settings.get('key_prefix', _PREFIX)}messages:"

    def __repr__(self) -> str:
        return self._place

    async def put_many(self, *, session: str, rows: Sequence[MessageRow]) -> None:
        """Store rows, by one script."""
        order = self._order(session)
        keys = [f"{order}:{row.key.id}" for row in rows]
        told = [part for row in rows for part in (_field(row.key), _packed(row), row.stored, f"{row.key.id} {_field(row.key)}")]
        async with self._step("save messages"):
            await self._client.eval(_PUT, 1 + len(keys), order, *keys, *told)

    async def get(self, *, session: str, id: str) -> list[MessageRow]:  # noqa: A002 - Baileys' word
        """Return the rows whose key has this id."""
        async with self._step("look for a message"):
            found = await self._client.hgetall(f"{self._order(session)}:{id}")
        return [_row(id, field.decode(), packed) for field, packed in found.items()]

    async def count(self, *, session: str) -> int:
        """Return how many rows a session has."""
        async with self._step("count messages"):
            return int(await self._client.zcard(self._order(session)))

    async def drop_oldest(self, *, session: str, limit: int, before: int | None = None) -> int:
        """Delete at most `limit` rows, the oldest ones."""
        order = self._order(session)
        last = "+inf" if before is None else f"({before}"
        async with self._step("delete old messages"):
            found = await self._client.zrangebyscore(order, "-inf", last, start=0, num=limit, withscores=True)
            if not found:
                return 0
            keys, told = [], []
            for member, score in found:
                id_, _, field = member.decode().partition(_BETWEEN)
                keys.append(f"{order}:{id_}")
                told += [field, f"{score:.0f}", member]
            return int(await self._client.eval(_DROP, 1 + len(keys), order, *keys, *told))

    async def delete_session(self, *, session: str) -> None:
        """Delete all rows of a session, in steps that do not hold the server up."""
        while await self.drop_oldest(session=session, limit=500):
            pass

    def _order(self, session: str) -> str:
        """Return the key of a session's sorted set, which all of its keys begin with."""
        return f"{self._prefix}{{{session}}}"

    async def _close_client(self) -> None:
        if self._shared is not None:
            await self._shared.close(lambda client: client.aclose())

    def _meaning(self, error: Exception) -> type[StoreError]:
        return meaning(error)


def _field(key: RowKey) -> str:
    return _BETWEEN.join((key.chat, str(int(key.from_me)), key.sender))


def _packed(row: MessageRow) -> bytes:
    secret = None if row.secret is None else row.secret.hex()
    return json.dumps([row.chat_alt, row.sender_alt, row.form, secret, row.stored]).encode() + b"\n" + row.body


def _row(id_: str, field: str, packed: bytes) -> MessageRow:
    chat, me, sender = field.split(_BETWEEN)
    head, _, body = packed.partition(b"\n")
    chat_alt, sender_alt, form, secret, stored = json.loads(head)
    return MessageRow(
        RowKey(id_, chat, me == "1", sender), chat_alt, sender_alt, form, body, secret and bytes.fromhex(secret), stored
    )
