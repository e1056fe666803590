"""The Redis store, on a real server."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from wwauth.stores import RedisStore, open_store
from wwauth.testing.store_contract import StoreContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wwauth.abc import Store

    from ..servers.redis import Redis


@pytest.fixture
def url(redis: Redis) -> str:
    return redis.url(secrets.token_hex(4))


class TestRedisStore(StoreContract):
    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[Store]:
        self.url = url
        async with RedisStore.from_url(url) as store:
            yield store

    async def reopen(self, store: Store) -> Store:
        return open_store(self.url)
