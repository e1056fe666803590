"""Holding a session's lease: taken before the browser starts, renewed while it runs, given back at the end."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from .._clock import clock
from .._holder import end, lives, new_holder
from ..abc import StoreFeatures
from ..errors import LeaseLost, SessionInUse, StoreUnavailable, WWAuthError
from ._remote import Remote

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..abc import Lease, Store

_log = logging.getLogger(__name__)

# As parts of the ttl. What holds the lease has ended well before somebody else may take it.
_RENEW_EVERY = 0.25
_TRY_AGAIN = 0.05
_GIVE_UP = 0.8

# A call that took so many times as long as it may was not the store's fault: this process was stopped.
_STOPPED = 4

# Where to look for a lease that another host holds.
_LOOK_EVERY = 1.0

_RELEASE_TIMEOUT = 10.0

_warned: set[str] = set()

# The event loop itself does not keep its tasks.
_under_way: set[asyncio.Task[None]] = set()


class LeaseKeeper:
    """
    Holds the lease of one session: at most one holder at a time, also among hosts.

    While it is held it is renewed each quarter of its `ttl`. When that has not worked for 0.8 of the `ttl`, or somebody else
    has taken it, `on_lost` is called with a `LeaseLost`, once, and the holder has to stop.

    Args:
        store: A store that has leases.
        session: The name there.
        ttl: For how many seconds a lease lasts that is not renewed: so long, at most, the next holder waits after a crash.
        on_lost: Called when it was lost.
    """

    def __init__(self, store: Store, session: str, *, ttl: float, on_lost: Callable[[LeaseLost], object]) -> None:
        self._remote = Remote(store, session)
        self._session = session
        self._ttl = ttl
        self._on_lost = on_lost
        self._lease: Lease | None = None
        self._renewed = 0.0
        self._task: asyncio.Task[None] | None = None
        self.holder: str | None = None
        self.lost: LeaseLost | None = None

    @property
    def remaining(self) -> float:
        """For how many seconds from now the holder may go on without another renewal; 0 and less: it has to stop."""
        if self._lease is None or self.lost is not None:
            return 0.0
        return self._renewed + _GIVE_UP * self._ttl - clock()

    async def take(self) -> Lease:
        """
        Take the lease, unless it is held already, and begin to renew it.

        A holder of this machine whose process has ended is not waited for; one of another machine for as long as its lease
        may last. The store's errors come through.

        Raises:
            SessionInUse: Somebody holds it, and goes on to.
        """
        if self._lease is not None:
            return self._lease
        self.lost = None
        holder = new_holder()
        try:
            self._lease = await self._claim(holder)
        except BaseException:
            # It may have been given all the same; the next one of this machine sees that nobody has it.
            end(holder)
            raise
        self.holder = holder
        self._task = asyncio.get_running_loop().create_task(self._keep(self._lease), name="wwauth: lease")
        return self._lease

    async def release(self) -> None:
        """Give the lease back; the store's errors are logged, since it ends by itself. Idempotent."""
        task, lease, holder = self._task, self._lease, self.holder
        # First of all: whatever becomes of the rest, this lease is not taken for one that is kept.
        self._lease = self._task = self.holder = None
        try:
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
            if lease is not None:
                await _bounded(self._call("lease.release", lease.release, _RELEASE_TIMEOUT), 1.5 * _RELEASE_TIMEOUT)
        except WWAuthError as exc:
            _log.warning("the lease of %s ends in %g s at most; it could not be given back: %s", self._session, self._ttl, exc)
        finally:
            if holder is not None:
                end(holder)

    async def _claim(self, holder: str) -> Lease:
        patience = clock() + self._ttl * 1.1
        while True:
            asked = clock()
            try:
                lease = await self._enter(holder)
                if clock() - asked > _GIVE_UP / 2 * self._ttl:
                    # Much of it has passed already: the answer was slow, or this process was stopped meanwhile.
                    asked = clock()
                    await self._call("lease.renew", lease.renew, self._ttl)
            except SessionInUse as exc:
                await self._wait(exc, patience - asked)
            except LeaseLost as exc:
                _log.info("the lease of %s was lost before it could be used: %s", self._session, exc)
            else:
                self._renewed = asked
                return lease

    async def _enter(self, holder: str) -> Lease:
        async with self._remote.call("lease", self._session, self._ttl):
            return await self._remote.store.lease(session=self._session, holder=holder, ttl=self._ttl).__aenter__()

    async def _wait(self, in_use: SessionInUse, patience: float) -> None:
        """
        Free a lease whose holder has ended, or wait; the error comes back when that makes no sense.

        `patience` is how long there was to wait when the store was asked: what it answers late, it may answer otherwise now.
        """
        alive = await asyncio.to_thread(lives, in_use.holder)
        if alive is False and in_use.holder is not None:
            _log.info("the lease of %s was left by %s, which has ended", self._session, in_use.holder)
            # In its own name, which is given at once. The fence grows, so that nothing of it can be written any more.
            with suppress(SessionInUse):  # somebody else was faster
                await self._call("lease.release", (await self._enter(in_use.holder)).release, self._ttl)
            return
        if alive or patience <= 0:
            raise in_use
        _log.info("waiting up to %.0f s for the lease of %s: %s", patience, self._session, in_use)
        await asyncio.sleep(min(_LOOK_EVERY, self._ttl / 10))

    async def _keep(self, lease: Lease) -> None:
        pause = _RENEW_EVERY
        while True:
            await asyncio.sleep(pause * self._ttl)
            asked = clock()
            bound = max(self.remaining / 2, _TRY_AGAIN * self._ttl)
            try:
                await _bounded(self._call("lease.renew", lease.renew, bound), 2 * bound)
            except LeaseLost as exc:
                self._give_up(exc)
                return
            except WWAuthError as exc:
                _log.warning("the lease of %s could not be renewed, trying again: %s", self._session, exc)
                pause = _TRY_AGAIN
                # Stopped in the middle of a renewal is as good as stopped between two: the store knows who holds it.
                if self.remaining <= 0 and clock() - asked < _STOPPED * bound:
                    lost = LeaseLost(f"the lease of {self._session} could not be renewed in time: {exc}")
                    lost.__cause__ = exc
                    self._give_up(lost)
                    return
            else:
                self._renewed, pause = asked, _RENEW_EVERY

    async def _call(self, verb: str, method: Callable[[], Coroutine[object, object, None]], timeout: float) -> None:
        async with self._remote.call(verb, self._session, timeout):
            await method()

    def _give_up(self, exc: LeaseLost) -> None:
        self.lost = exc
        self._on_lost(exc)


async def _bounded(work: Coroutine[object, object, None], timeout: float) -> None:
    """
    Await `work`; when it has not ended in time, go on without it.

    A store whose disk hangs does not end when it is cancelled, and the time of a lease goes on.

    Raises:
        StoreUnavailable: It has not ended, or was cancelled by something that it waited for.
    """
    task = asyncio.get_running_loop().create_task(work, name="wwauth: lease call")
    _under_way.add(task)
    task.add_done_callback(_ended)
    try:
        await asyncio.wait({task}, timeout=timeout)
    finally:
        if not task.done():
            task.cancel()
    if not task.done() or task.cancelled():
        raise StoreUnavailable(f"the store {'was cancelled' if task.done() else 'hangs'}")
    task.result()


def _ended(task: asyncio.Task[None]) -> None:
    _under_way.discard(task)
    if not task.cancelled():
        task.exception()  # taken note of, also when nobody waits for it any more


def has_leases(store: Store) -> bool:
    """Tell whether a store has leases; for a kind of store that has none, a warning, once."""
    if getattr(store, "features", StoreFeatures()).leases and callable(getattr(store, "lease", None)):
        return True
    name = type(store).__name__
    if name not in _warned:
        _warned.add(name)
        _log.warning(
            "%s has no leases: that two hosts run the same login is only seen when one of them saves. Run each login in one "
            "place at a time",
            name,
        )
    return False
