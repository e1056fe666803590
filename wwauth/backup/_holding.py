"""A session's lease for the length of one call, for what writes without a client."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .lease import LeaseKeeper, has_leases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..abc import Lease, Store

# So long a client elsewhere waits after a crash of this call, and this call for one that may have crashed.
_TTL = 15.0


@asynccontextmanager
async def holding(store: Store, session: str) -> AsyncIterator[Lease | None]:
    """
    Hold the lease on a session's name, where the store has leases; what is written with a lost one is refused by the store.

    Raises:
        SessionInUse: A client, or another call, holds it.
    """
    if not has_leases(store):
        yield None
        return
    keeper = LeaseKeeper(store, session, ttl=_TTL, on_lost=lambda _: None)
    lease = await keeper.take()
    try:
        yield lease
    finally:
        await keeper.release()
