"""Patience with any store."""

from __future__ import annotations

import logging
import math
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from wwauth._names import check_session_name
from wwauth._store import check_store, list_stored, takes_fence
from wwauth.abc import Lease, SessionInfo, Store, StoreFeatures
from wwauth.errors import ConfigurationError, StoreError, WWAuthError

from ._driver import load

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Self

__all__ = ["RetryingStore"]

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

# Whoever holds a lease has to know in time that it cannot be kept.
_OF_TTL = 0.25


class RetryingStore(Store):
    """
    Asks another store again when it could not be reached.

    What a retry can help is tried again: `StoreUnavailable`, and what is not a `WWAuthError`, which counts as that. Anything
    else is an answer and comes through at once: `SessionNotFound`, `SessionInUse`, `LeaseLost`, `StoreDenied`, `StoreFull`,
    `SessionCorrupted`, `ConfigurationError`. A call that fails in the end raises what the last try raised.

    Before each retry it waits, up to `wait` seconds before the first, twice as long before each further one, `max_wait` at
    most; how long of that is left to chance, so that many processes do not come back at the same moment. No retry begins
    later than `within` seconds after the call did; a try that is under way is never cut short, since the inner store has
    time limits of its own. For a lease, `within` is a quarter of its ttl at most.

    A save of which only the answer was lost is done twice, with the same archive; its fence is checked both times. A listing
    is retried until it has given its first session. The inner store belongs to its giver, who closes it.

    Raises:
        ConfigurationError: `inner` is no store, or a number is wrong; the message names its value.
        MissingDependency: tenacity is not installed.
    """

    def __init__(
        self, inner: Store, *, attempts: int = 5, wait: float = 0.2, max_wait: float = 10.0, within: float = 60.0
    ) -> None:
        check_store(inner, needed_by="RetryingStore")
        if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
            raise ConfigurationError(f"invalid attempts {attempts!r}: use a number of 1 or more")
        for name, value in (("wait", wait), ("max_wait", max_wait), ("within", within)):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value < 0:
                raise ConfigurationError(f"invalid {name} {value!r}: use a number of seconds, 0 or more")
        self._tenacity = load("tenacity", extra="retry", needed_by="RetryingStore")
        self._inner = inner
        self._attempts = attempts
        self._wait = wait
        self._max_wait = max_wait
        self._within = within
        self.features = getattr(inner, "features", StoreFeatures())  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"RetryingStore({self._inner!r}, attempts={self._attempts})"

    @property
    def inner(self) -> Store:
        """The store that is asked."""
        return self._inner

    @property
    def recipients(self) -> Any:
        """The public keys that the inner store encrypts for; `AttributeError` when it does not encrypt."""
        return self._inner.recipients  # type: ignore[attr-defined]

    async def session_exists(self, *, session: str) -> bool:
        """Tell whether an archive is stored under this name."""
        name = check_session_name(session)
        return await self._retry(f"look for session {name!r}", lambda: self._inner.session_exists(session=name))

    async def save(self, *, session: str, path: str | os.PathLike[str], fence: int | None = None) -> None:
        """Store the archive that lies at `path`, all or nothing; `fence` is the inner store's. Each try reads it anew."""
        name, given = check_session_name(session), self._given(fence)
        source: Any = path
        await self._retry(f"save session {name!r}", lambda: self._inner.save(session=name, path=source, **given))

    async def extract(self, *, session: str, path: str | os.PathLike[str]) -> None:
        """Write the stored archive to the new file `path`; a try that fails leaves nothing there."""
        name = check_session_name(session)
        target: Any = path
        await self._retry(f"read session {name!r}", lambda: self._inner.extract(session=name, path=target))

    async def delete(self, *, session: str, fence: int | None = None) -> None:
        """Delete the archive; a name that is not there is no error. `fence` is the inner store's."""
        name, given = check_session_name(session), self._given(fence)
        await self._retry(f"delete session {name!r}", lambda: self._inner.delete(session=name, **given))

    def lease(self, *, session: str, holder: str, ttl: float) -> Lease:
        """Return the inner store's lease, whose steps are retried."""
        if not self.features.leases:
            raise ConfigurationError(f"{type(self._inner).__name__} has no leases (session {session!r})")
        name = check_session_name(session)

        def make() -> Lease:
            return self._inner.lease(session=name, holder=holder, ttl=ttl)

        async def retry(doing: str, call: Callable[[], Awaitable[_T]]) -> _T:
            return await self._retry(f"{doing} the lease of {name!r}", call, within=_OF_TTL * ttl)

        return _RetryingLease(make, retry)

    def list_sessions(self, *, prefix: str = "", packs: bool = False) -> AsyncIterator[SessionInfo]:
        """Iterate over what the inner store keeps."""
        if not self.features.listing:
            raise ConfigurationError(f"{type(self._inner).__name__} cannot list its sessions (prefix {prefix!r})")
        return self._list(prefix, packs=packs)

    async def _list(self, prefix: str, *, packs: bool) -> AsyncIterator[SessionInfo]:
        async with AsyncExitStack() as stack:

            async def begin() -> tuple[AsyncIterator[SessionInfo], SessionInfo | None]:
                listing: Any = list_stored(self._inner, prefix=prefix, packs=packs)
                if hasattr(listing, "aclose"):
                    await stack.enter_async_context(aclosing(listing))
                return listing, await anext(listing, None)

            listing, info = await self._retry("list sessions", begin)
            while info is not None:
                yield info
                info = await anext(listing, None)

    def _given(self, fence: int | None) -> dict[str, Any]:
        # Only stores with leases know the word.
        return {} if fence is None or not takes_fence(self._inner) else {"fence": fence}

    async def _retry(self, doing: str, call: Callable[[], Awaitable[_T]], *, within: float = math.inf) -> _T:
        tools = self._tenacity

        def tell(state: Any) -> None:
            error = state.outcome.exception()
            # Of an error that is not ours the kind alone: its text may hold an address with a password.
            why = error if isinstance(error, WWAuthError) else type(error).__name__
            _log.info("cannot %s yet, trying again in %.1f s: %s", doing, state.next_action.sleep, why)

        retrying = tools.AsyncRetrying(
            retry=tools.retry_if_exception(_may_pass),
            wait=tools.wait_random_exponential(multiplier=self._wait, max=self._max_wait),
            stop=tools.stop_after_attempt(self._attempts) | tools.stop_before_delay(min(self._within, within)),
            before_sleep=tell,
            reraise=True,
        )
        result: _T = await retrying(_awaiting(call))
        return result


class _RetryingLease(Lease):
    """A lease whose steps are retried, by a new one each time it is to be taken: a lease is entered once."""

    def __init__(self, make: Callable[[], Lease], retry: Callable[..., Awaitable[Any]]) -> None:
        self._make = make
        self._retry = retry
        # Made at once, so that wrong words are refused by the call that has them.
        self._inner = make()
        self._fresh = True
        self.fence = 0

    def __repr__(self) -> str:
        return repr(self._inner)

    async def __aenter__(self) -> Self:
        """Take the lease; see `wwauth.abc.Lease`."""
        await self._retry("take", self._enter)
        self.fence = self._inner.fence
        return self

    async def _enter(self) -> None:
        if not self._fresh:
            self._inner = self._make()
        self._fresh = False
        await self._inner.__aenter__()

    async def renew(self) -> None:
        """Keep it; `LeaseLost`: somebody else took it."""
        await self._retry("keep", self._inner.renew)

    async def release(self) -> None:
        """Give it back."""
        await self._retry("give back", self._inner.release)


def _may_pass(error: BaseException) -> bool:
    """Tell whether the same call, made again, may succeed."""
    if isinstance(error, WWAuthError):
        # SessionInUse is retryable, too: by whoever has time to wait for its holder.
        return isinstance(error, StoreError) and error.retryable
    return isinstance(error, Exception)


def _awaiting(call: Callable[[], Awaitable[_T]]) -> Callable[[], Awaitable[_T]]:
    # tenacity awaits only what it knows for a coroutine function, which a lambda is not.
    async def awaiting() -> _T:
        return await call()

    return awaiting
