"""
What every strategy promises, as tests: the life of a login, and what may go wrong in it.

Subclass `StrategyContract` in a test module of yours and give it one fixture::

    class TestMyAuth(StrategyContract):
        @pytest.fixture
        def make_strategy(self, tmp_path):
            return lambda login: MyAuth(tmp_path / login)

It drives real browsers on a simulated WhatsApp Web of its own, so it needs a Chromium; and pytest with pytest-asyncio, in
either of its modes. What does not apply to a strategy is an override that skips and says why.
"""

# ruff: noqa: S101 - tests assert

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from wwauth.errors import ConfigurationError, MissingDependency, SessionClosed, SessionCorrupted, StrategyError

try:
    import pytest
    import pytest_asyncio
except ImportError as error:
    raise MissingDependency("StrategyContract needs pytest: pip install pytest pytest-asyncio") from error

from ._stage import Stage
from .simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from wwauth.abc import AuthStrategy

__all__ = ["StrategyContract"]

_QUICK: dict[str, Any] = {
    "qr_refresh": 600,
    "open_delay": 0,
    "pair_delay": 0.01,
    "listener_wait": 0,
    "sync_delay": 0.05,
    "retry_delay": 0.05,
    "logout_delay": 0.05,
}

_TO_THE_PAGE = ["before_browser_initialized", "after_browser_initialized"]
_TO_A_CODE = [*_TO_THE_PAGE, "on_authentication_needed", "qr"]
_TO_READY = ["get_auth_event_payload", "authenticated", "ready", "after_auth_ready"]


class StrategyContract:
    """
    The tests of a strategy; the module's docstring says how to use them.

    Attributes:
        keeps_login: Whether a login comes back at the next start, without a code.
        client_options: More options for the clients, such as `launch_options`.
        simulator_options: More options for the simulator.
    """

    pytestmark = [pytest.mark.asyncio]  # noqa: RUF012 - pytest wants a list

    keeps_login: ClassVar[bool] = True
    client_options: ClassVar[Mapping[str, Any]] = {}
    simulator_options: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def make_strategy(self) -> Callable[[str], AuthStrategy]:
        """
        Give `make(login)`, which returns a new strategy for the login of that name.

        It is called again for the same name, as a program does that starts again; the first time there is no login yet.
        """
        raise NotImplementedError("a subclass of StrategyContract has a fixture `make_strategy` that gives make(login)")

    def keep_payload(self, login: str, payload: object) -> None:
        """Keep what `authenticated` carried, for a strategy that leaves that to the program, as LegacySessionAuth does."""

    @property
    def _to_a_restored_login(self) -> list[str]:
        return _TO_THE_PAGE if self.keeps_login else _TO_A_CODE

    @pytest_asyncio.fixture
    async def stage(self, make_strategy: Callable[[str], AuthStrategy]) -> AsyncIterator[Stage]:
        """Give a simulator with clients on it, and check each call of a hook at the end."""
        async with self.staged(make_strategy) as stage:
            yield stage

    @asynccontextmanager
    async def staged(self, make_strategy: Callable[[str], AuthStrategy]) -> AsyncIterator[Stage]:
        """Run a simulator, end the clients that were made on it, and check each call of a hook."""
        async with Simulator(**{**_QUICK, **self.simulator_options}) as simulator:
            stage = Stage(simulator, make_strategy, self.keep_payload, self.client_options)
            try:
                yield stage
            finally:
                await stage.close()
            stage.check()

    # The life of a login --------------------------------------------------------------------------------------------

    async def test_the_hooks_follow_the_life_of_a_login(self, stage: Stage) -> None:
        """`setup` once, then those of a launch in their order; last `destroy`, or `logout` in its place."""
        run = stage.run()
        await stage.log_in(run)
        assert run.story == ["setup", *_TO_A_CODE, *_TO_READY]
        run.story.clear()
        await run.client.destroy()
        await run.client.destroy()
        assert run.story == ["destroy"]
        assert run.is_closed()

        run = stage.run()
        await stage.log_in(run)
        assert run.story == ["setup", *self._to_a_restored_login, *_TO_READY]
        run.story.clear()
        await run.client.logout()
        assert run.story == ["logout", "disconnected"]
        assert run.payloads["disconnected"] == ["LOGOUT"]
        assert run.is_closed()
        await stage.assert_given_back()

    async def test_only_a_logout_ends_a_login(self, stage: Stage) -> None:
        """
        `disconnect`, then `destroy`, when WhatsApp ends the connection: the login is kept, and the same client starts again.

        `logout` alone when the phone has unlinked the device: the next start asks for a code.
        """
        run = stage.run()
        await stage.log_in(run)
        run.story.clear()
        await stage.simulator.phone.push_state("TOS_BLOCK")
        await run.reach("disconnected")
        assert run.story == ["disconnect", "destroy", "disconnected"]
        assert run.is_closed()
        await stage.assert_given_back()

        run.story.clear()
        await stage.log_in(run)
        assert run.story == [*self._to_a_restored_login, *_TO_READY]
        run.story.clear()
        await stage.simulator.phone.unlink()
        await run.reach("disconnected")
        assert run.story == ["logout", "disconnected"]
        assert run.payloads["disconnected"] == ["TOS_BLOCK", "LOGOUT"]
        assert run.is_closed()
        await stage.assert_given_back()

        run.story.clear()
        await run.client.initialize()
        await run.reach("qr")
        assert run.story == _TO_A_CODE

    async def test_a_launch_that_is_given_up_gives_back_what_it_took(self, stage: Stage) -> None:
        """`destroy` is called after a launch that did not come to its end, too."""
        run = stage.run()
        starting = asyncio.ensure_future(run.client.initialize())
        await run.reach("after_browser_initialized")
        await run.client.destroy()
        with pytest.raises(SessionClosed):
            await starting
        assert run.story == ["setup", *_TO_THE_PAGE, "destroy"]
        assert run.is_closed()
        await stage.assert_given_back()

    async def test_two_clients_side_by_side(self, stage: Stage) -> None:
        """A strategy serves one login, beside others with the same options; their caller's objects are not changed."""
        one, two = stage.run("one"), stage.run("two")
        await stage.log_in(one, two)
        assert len(stage.simulator.devices) == 2
        assert one.strategy.user_data_dir is None or one.strategy.user_data_dir != two.strategy.user_data_dir
        await one.client.logout()
        assert await two.client.get_state() == "CONNECTED"
        assert len(stage.simulator.devices) == 1
        await two.client.destroy()
        if self.keeps_login:
            two = stage.run("two")
            await stage.log_in(two)
            assert two.story == ["setup", *_TO_THE_PAGE, *_TO_READY]

    async def test_a_strategy_serves_one_client(self, stage: Stage) -> None:
        """`setup` refuses a second client: a hook could not tell which of them it is called for."""
        with pytest.raises(ConfigurationError):
            stage.run().strategy.setup(stage.run().client)

    # What a hook raises ---------------------------------------------------------------------------------------------

    async def test_an_exception_in_setup_is_the_constructors(self, stage: Stage) -> None:
        """The client's constructor raises `StrategyError`, from what `setup` raised."""
        with pytest.raises(StrategyError, match=r"setup\(\) raised HookFailure"):
            stage.run(failing={"setup"})

    async def test_an_error_of_wwauth_passes_as_it_is(self, stage: Stage) -> None:
        """A `WWAuthError` that a hook raises is what the caller gets."""
        mine = SessionCorrupted("mine")
        run = stage.run(failing={"before_browser_initialized"}, failure=mine)
        with pytest.raises(SessionCorrupted) as caught:
            await run.client.initialize()
        assert caught.value is mine
        assert run.story == ["setup", "before_browser_initialized", "destroy"]

    async def test_an_exception_before_the_login_ends_initialize(self, stage: Stage) -> None:
        """`initialize()` raises `StrategyError`, the browser closed and what was taken given back; it can be called again."""
        run = stage.run()
        run.story.clear()
        for hook in ("before_browser_initialized", "after_browser_initialized", "on_authentication_needed"):
            run.failing = {hook}
            with pytest.raises(StrategyError) as caught:
                await run.client.initialize()
            assert run.failed_in(caught.value, hook)
            assert run.story == [*_TO_A_CODE[: _TO_A_CODE.index(hook) + 1], "destroy"]
            assert run.is_closed()
            await stage.assert_given_back()
            run.story.clear()

    @pytest.mark.parametrize("hook", ["get_auth_event_payload", "after_auth_ready"])
    async def test_an_exception_after_the_login_ends_the_launch(self, stage: Stage, hook: str) -> None:
        """`error`, and all who wait get the same; then the browser is closed, and `disconnected('STRATEGY_FAILED')`."""
        run = stage.run(failing={hook})
        await run.client.initialize()
        await run.reach("qr")
        waiting = asyncio.ensure_future(run.client.wait_for("change_state"))
        await stage.simulator.phone.scan(run.payloads["qr"][0])
        with pytest.raises(StrategyError) as caught:
            await waiting
        await run.reach("disconnected")
        assert run.failed_in(caught.value, hook)
        assert run.payloads["error"] == [caught.value]
        assert run.payloads["disconnected"] == ["STRATEGY_FAILED"]
        assert [name for name in run.story if name in {"disconnect", "destroy", "logout"}] == ["disconnect", "destroy"]
        assert run.is_closed()
        await stage.assert_given_back()

    @pytest.mark.parametrize("hook", ["disconnect", "destroy", "logout"])
    async def test_an_exception_at_the_end_does_not_stop_it(self, stage: Stage, hook: str) -> None:
        """The end goes on to its end, with an `error`; `destroy()` and `logout()` raise it when all else is done."""
        run = stage.run(failing={hook})
        await stage.log_in(run)
        run.story.clear()
        if hook == "disconnect":
            await stage.simulator.phone.push_state("TOS_BLOCK")
            await run.reach("disconnected")
        else:
            with pytest.raises(StrategyError) as caught:
                await getattr(run.client, hook)()
            assert run.payloads["error"] == [caught.value]
        assert (
            run.story
            == {
                "disconnect": ["disconnect", "error", "destroy", "disconnected"],
                "destroy": ["destroy", "error"],
                "logout": ["logout", "error", "disconnected"],
            }[hook]
        )
        (error,) = run.payloads["error"]
        assert run.failed_in(error, hook)
        assert run.is_closed()
        await stage.assert_given_back()
