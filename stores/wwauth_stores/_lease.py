"""What the leases of all stores share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from wwauth._names import check_session_name
from wwauth.abc import Lease
from wwauth.errors import ConfigurationError, LeaseLost, SessionInUse

if TYPE_CHECKING:
    from typing import Self

LONGEST_HOLDER = 200


class Leases(Protocol):
    """The three steps of a lease, each of them atomic, that a store has to do."""

    async def claim(self, session: str, holder: str, ttl: float) -> int:
        """Take the lease and return its fence; raises `in_use`."""

    async def renew(self, session: str, fence: int, ttl: float) -> None:
        """Begin the `ttl` anew; raises `overtaken` unless the fence is the newest one."""

    async def release(self, session: str, fence: int) -> None:
        """End it, where the fence is the newest one."""


class StoreLease(Lease):
    """
    A lease that a store keeps.

    Raises:
        ConfigurationError: An argument is wrong; the message names its value.
    """

    def __init__(self, leases: Leases, *, session: str, holder: str, ttl: float) -> None:
        self._session = check_session_name(session)
        if not isinstance(holder, str) or not 1 <= len(holder) <= LONGEST_HOLDER or not holder.isprintable():
            raise ConfigurationError(f"invalid holder {holder!r}: use 1 to {LONGEST_HOLDER} printable characters")
        number = isinstance(ttl, int | float) and not isinstance(ttl, bool)
        if not number or not math.isfinite(ttl) or ttl <= 0:
            raise ConfigurationError(f"invalid ttl {ttl!r}: use a number of seconds above 0")
        self._leases = leases
        self._holder = holder
        self._ttl = ttl
        self.fence = 0

    def __repr__(self) -> str:
        return f"<lease on {self._session!r} for {self._holder!r}, fence {self.fence or 'not taken'}>"

    async def __aenter__(self) -> Self:
        """Take the lease; see `wwauth.abc.Lease`."""
        self.fence = await self._leases.claim(self._session, self._holder, self._ttl)
        return self

    async def renew(self) -> None:
        """Keep it; `LeaseLost`: somebody else took it."""
        await self._leases.renew(self._session, self.fence, self._ttl)

    async def release(self) -> None:
        """Give it back."""
        if self.fence:
            await self._leases.release(self._session, self.fence)


def in_use(session: str, holder: str) -> SessionInUse:
    """Say who holds a lease."""
    return SessionInUse(f"session {session!r} is held by {holder}: stop it there first, or wait until it ends", holder=holder)


def overtaken(session: str, holder: str | None) -> LeaseLost:
    """Say that a fence is not the newest one any more; `holder` has the newest, None when that one has ended, too."""
    who = f"taken over by {holder}" if holder else "taken over by a holder that has ended since, or removed"
    return LeaseLost(f"the lease on session {session!r} was {who}: this process must not write it any more")
