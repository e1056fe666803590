"""Where the tests of a strategy play: a simulated WhatsApp Web, clients on it, and a record of what they ask of a strategy."""

# ruff: noqa: S101 - tests assert

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

from .._processes import is_running
from ..abc import AuthenticationNeeded
from ..client import Client
from ..errors import BrowserClosed, StrategyError
from ..events import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from ..abc import AuthStrategy
    from .simulator import Simulator

# A bound for each step of a login on a busy machine; how long one takes is nobody's promise.
_PATIENCE = 60.0

# Each hook, and whether a browser lives when it is called.
HOOKS = {
    "setup": False,
    "before_browser_initialized": False,
    "after_browser_initialized": True,
    "on_authentication_needed": True,
    "get_auth_event_payload": True,
    "after_auth_ready": True,
    "disconnect": True,
    "destroy": False,
    "logout": False,
}

_EVENTS = (Event.QR, Event.AUTH_FAILURE, Event.AUTHENTICATED, Event.READY, Event.DISCONNECTED, Event.ERROR)


class HookFailure(Exception):
    """What a hook is made to raise: no error of wwauth's."""


class Run:
    """
    A client whose strategy is watched.

    The hooks are wrapped on the strategy's object, so that its class is as it was. What a hook asks of another one itself is
    its own affair, and not recorded.

    Attributes:
        login: The login's name.
        strategy: The strategy.
        client: Its client, once `connect` was called.
        story: The hooks that the client called and the events that it emitted, in order.
        payloads: What the events carried, by their names.
        failing: The hooks that raise when their own work is done.
        failure: What they raise; each time a new `HookFailure` when it is None.
        faults: Where a call was not as documented.
    """

    client: Client

    def __init__(self, login: str, strategy: AuthStrategy, *, failing: Iterable[str] = (), failure: Exception | None = None):
        self.login = login
        self.strategy = strategy
        self.failing = set(failing)
        self.failure = failure
        self.story: list[str] = []
        self.payloads: dict[str, list[Any]] = {}
        self.faults: list[str] = []
        self._options_before: object = None
        self._pids: set[int] = set()
        self._inside: set[asyncio.Task[Any] | None] = set()
        self._finished: list[str] = []
        self._changed = asyncio.Event()
        for name in HOOKS:
            hook = getattr(strategy, name)
            setattr(strategy, name, self._watched_setup(hook) if name == "setup" else self._watched(name, hook))

    def connect(self, **options: Any) -> None:
        """Make the client; raises what its constructor raises."""
        self.client = Client(auth_strategy=self.strategy, handle_signals=False, **options)
        for event in _EVENTS:
            self.client.on(event, lambda *args, event=event: self._told(event, *args))

    # What a test does -----------------------------------------------------------------------------------------------

    async def log_in(self, scan: Callable[[str], Awaitable[object]]) -> None:
        """Initialize, scan the code if one is shown, and wait until `after_auth_ready` has ended."""
        begin = len(self.story)
        await self.client.initialize()
        await self.reach("qr", "ready", since=begin)
        if "ready" not in self.story[begin:]:
            await scan(self.payloads["qr"][-1])
        await self._until(lambda: self._finished[-1:] == ["after_auth_ready"], "the end of after_auth_ready")

    async def reach(self, *names: str, since: int = 0) -> None:
        """Wait for the first of these hooks and events, in the story from `since` on."""
        await self._until(lambda: any(name in names for name in self.story[since:]), " or ".join(names))

    def options_changed(self) -> bool:
        """Tell whether the client's options are other than they were before `setup`."""
        return self.client.options != self._options_before

    def is_closed(self) -> bool:
        """Tell whether nothing is left of the browsers there were."""
        try:
            _ = self.client.page
        except BrowserClosed:
            return self.client.browser_pid is None and not any(is_running(pid) for pid in self._pids)
        return False

    def failed_in(self, error: BaseException, hook: str) -> bool:
        """Tell whether this is what the failure of a hook must become, and says no more than where it was."""
        text = str(error)
        return (
            isinstance(error, StrategyError)
            and isinstance(error.__cause__, HookFailure)
            and all(word in text for word in (type(self.strategy).__name__, hook, HookFailure.__name__))
            and str(error.__cause__) not in text
        )

    # What is seen of it ---------------------------------------------------------------------------------------------

    async def _until(self, reached: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                while not reached():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what} did not come: {self.story}, {self.payloads.get('error')}") from None

    def _told(self, event: str, *args: Any) -> None:
        self.story.append(str(event))
        self.payloads.setdefault(str(event), []).append(*args or (None,))
        self._changed.set()

    def _called(self, name: str, args: tuple[Any, ...], pid: int | None = None) -> None:
        self.story.append(name)
        if args:
            self.faults.append(f"{name} got {len(args)} arguments too many")
        lives = pid is not None and is_running(pid)
        if pid is not None:
            self._pids.add(pid)
        if lives is not HOOKS[name]:
            self.faults.append(f"{name} was called {'with' if lives else 'without'} a browser")
        self._changed.set()

    def _fail(self, name: str) -> None:
        if name in self.failing:
            raise self.failure or HookFailure("words that may hold a secret")

    def _watched_setup(self, setup: Callable[..., None]) -> Callable[..., None]:
        def watched(client: Client, *args: Any) -> None:
            self._called("setup", args)
            self._options_before = copy.deepcopy(client.options)
            setup(client)
            if getattr(self.strategy, "client", None) is not client:
                self.faults.append("setup does not bind the strategy to its client: call super().setup(client)")
            self._fail("setup")

        return watched

    def _watched(self, name: str, hook: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def watched(*args: Any) -> Any:
            task = asyncio.current_task()
            if task in self._inside:
                return await hook(*args)
            self._inside.add(task)
            try:
                self._called(name, args, self.client.browser_pid)
                answer = await hook()
                if name == "on_authentication_needed" and not isinstance(answer, AuthenticationNeeded):
                    self.faults.append(f"{name} returned {type(answer).__name__}, no AuthenticationNeeded")
                self._fail(name)
                return answer
            finally:
                self._inside.discard(task)
                self._finished.append(name)
                self._changed.set()

        return watched


class Stage:
    """
    A simulated WhatsApp Web, and the clients on it.

    Attributes:
        simulator: The simulated WhatsApp Web.
        launch_options: Those that all its clients are given: the same object.
        runs: The clients there were.
    """

    def __init__(
        self,
        simulator: Simulator,
        make_strategy: Callable[[str], AuthStrategy],
        keep_payload: Callable[[str, object], None],
        options: Mapping[str, Any],
    ) -> None:
        self.simulator = simulator
        self.make_strategy = make_strategy
        self.runs: list[Run] = []
        self._keep_payload = keep_payload
        self._options = {"web_url": simulator.url, **options}
        given: dict[str, Any] = self._options.setdefault("launch_options", {"headless": True, "args": []})
        self.launch_options = given
        self._before = copy.deepcopy(given)

    def run(self, login: str = "one", **how: Any) -> Run:
        """Make a client with a strategy of its own, as a program does that starts; `how` says what is to fail."""
        run = Run(login, self.make_strategy(login), **how)
        run.connect(**self._options)
        run.client.on(Event.AUTHENTICATED, lambda payload: self._keep_payload(login, payload))
        self.runs.append(run)
        return run

    async def log_in(self, *runs: Run) -> None:
        """Bring clients to `ready`, side by side, and past it."""
        await asyncio.gather(*(run.log_in(self.simulator.phone.scan) for run in runs))

    async def assert_given_back(self, login: str = "one") -> None:
        """Take and give back what a launch takes, with a strategy as the next process has it."""
        strategy = self.make_strategy(login)
        Client(auth_strategy=strategy, handle_signals=False, **self._options)
        try:
            await strategy.before_browser_initialized()
        finally:
            await strategy.destroy()

    async def close(self) -> None:
        """End all clients."""
        for run in self.runs:
            run.failing.clear()
            await run.client.destroy()

    def check(self) -> None:
        """Assert that each call was as documented, and that the caller's options are as they were."""
        for run in self.runs:
            assert run.faults == [], f"{run.faults} in {run.story}"
            assert not run.options_changed(), "the client's options were changed: they are its caller's"
        assert self.launch_options == self._before, "the caller's launch_options were changed"
