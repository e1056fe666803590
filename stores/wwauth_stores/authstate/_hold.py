"""Being a session's one holder: a lease in the database, renewed until the end, and taken at once from a dead process."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from wwauth import _holder
from wwauth.errors import LeaseLost, SessionInUse, StoreError

if TYPE_CHECKING:
    from types import TracebackType

    from .._lease import Leases

_log = logging.getLogger(__name__)

# A process that hangs longer loses the session to who asks for it; one that died on this machine loses it at once.
TTL = 30.0

_RENEW = TTL / 3


class Holding:
    """
    Holds a session's lease in an `async with`, which gives its fence; each write has to show that.

    No generator, for one of a store's is around it: those that a program leaves open are closed at the same time, and each
    would wait for the other.

    Raises:
        SessionInUse: Another holder lives, or may: it is one of another machine, and its lease has not run out.
        StoreError: The database cannot tell.
    """

    def __init__(self, leases: Leases, session: str) -> None:
        self._leases, self._session = leases, session

    async def __aenter__(self) -> int:
        self._holder = _holder.new_holder()
        try:
            self._fence = await _claim(self._leases, self._session, self._holder)
        except BaseException:
            _holder.end(self._holder)
            raise
        self._keeper = asyncio.create_task(_keep(self._leases, self._session, self._fence))
        return self._fence

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            await _release(self._leases, self._session, self._fence)
        finally:
            _holder.end(self._holder)


async def _claim(leases: Leases, session: str, holder: str) -> int:
    while True:
        try:
            return await leases.claim(session, holder, TTL)
        except SessionInUse as error:
            dead = error.holder
            if dead is None or _holder.lives(dead) is not False:
                raise
        # In the dead one's name, which ends it for whoever comes first; who comes second is refused by the living.
        await leases.release(session, await leases.claim(session, dead, TTL))


async def _keep(leases: Leases, session: str, fence: int) -> None:
    while True:
        await asyncio.sleep(_RENEW)
        try:
            await leases.renew(session, fence, TTL)
        except LeaseLost as error:
            _log.error("%s", error)
            return
        except StoreError as error:
            # It may be renewed after its end, too, as long as nobody else took it; a write is refused by the fence alone.
            _log.warning("the lease on session %s is not renewed yet: %s", session, error)


async def _release(leases: Leases, session: str, fence: int) -> None:
    try:
        await leases.release(session, fence)
    except StoreError as error:
        _log.warning("the lease on session %s ends by itself in %g s: %s", session, TTL, error)
