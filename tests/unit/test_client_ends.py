"""The ends of a client beside what else is asked of it at that moment; without a browser."""

from __future__ import annotations

import asyncio

from wwauth import AuthStrategy, Client
from wwauth._launch import Launch
from wwauth.errors import SessionClosed, SessionInUse


class Watched(AuthStrategy):
    """Counts how many of its hooks run at once, and starts no browser."""

    def __init__(self) -> None:
        self.inside = self.most = self.logouts = 0

    async def before_browser_initialized(self) -> None:
        self.most = max(self.most, self.inside + 1)
        raise SessionInUse("no browser here")

    async def logout(self) -> None:
        self.logouts += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        for _ in range(5):
            await asyncio.sleep(0)
        self.inside -= 1


async def test_logouts_of_a_client_that_is_not_initialized_take_turns_also_with_its_start() -> None:
    strategy = Watched()
    client = Client(auth_strategy=strategy, handle_signals=False)
    calls = (client.logout(), client.logout(), client.initialize(), client.logout())
    *logouts, started, last = await asyncio.gather(*calls, return_exceptions=True)
    assert [*logouts, last] == [None, None, None]
    assert isinstance(started, SessionInUse | SessionClosed)
    assert (strategy.logouts, strategy.most) == (3, 1)


async def test_a_task_that_comes_when_those_of_its_launch_have_ended_ends_at_once() -> None:
    """The renewal of a pairing code, for one, that the page gave at the last moment."""
    launch = Launch(Client(handle_signals=False))
    early = launch.task(asyncio.sleep(3600), "early")
    await launch.stop_tasks()
    late = launch.task(asyncio.sleep(3600), "late")
    try:
        for _ in range(3):
            await asyncio.sleep(0)
        assert early.cancelled()
        assert late.cancelled()
    finally:
        late.cancel()
