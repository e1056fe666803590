"""An event loop whose clock is simulated: hours pass in no time, and a slow machine takes none that were not meant to pass."""

from __future__ import annotations

import asyncio
import functools
import selectors
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_P = ParamSpec("_P")
_T = TypeVar("_T")

# What tells the time without an event loop, and has to tell the same.
_CLOCKS = ("wwauth.backup.lease.clock", "wwauth_stores.memory.clock")


class Simulated(asyncio.SelectorEventLoop):
    """
    A loop whose clock goes on only when nothing is left to do, and then at once to the next timer.

    Attributes:
        threads: How much work is under way in threads. It takes real time, and none of the clock's.
        hung: Set to true, the clock goes on in spite of it: what is in threads waits for something that does not come.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.threads = 0
        self.hung = False
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        self.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _: object) -> None:
        self.threads -= 1


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: Simulated) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if (self._loop.threads and not self._loop.hung) or timeout is None:
            return super().select(1.0 if timeout is None else min(timeout, 1.0))
        events = super().select(0)
        if not events:
            self._loop.now += timeout
        return events


def simulated(main: Coroutine[Any, Any, _T]) -> _T:
    """Run `main` on a simulated clock, which is that of leases and of stores in memory, too."""
    with asyncio.Runner(loop_factory=Simulated) as runner, pytest.MonkeyPatch.context() as patch:
        for name in _CLOCKS:
            patch.setattr(name, runner.get_loop().time)
        return runner.run(main)


def on_simulated_clock(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """Make a coroutine function a test that runs on a simulated clock."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        simulated(test(*args, **kwargs))

    return run
