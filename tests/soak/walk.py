"""A random walk through the life of one login, and what must hold after each step."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

from wwauth import Client, RemoteAuth
from wwauth.errors import BrowserClosed, SessionClosed, StoreError
from wwauth.stores import FileSystemStore
from wwauth.web.processes import kill_tree

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from wwauth.testing import Simulator

# What ends a launch with `disconnected`, whatever else happens.
_ENDS = {"kill", "conflict", "block", "unlink", "logout"}

# No single step may take longer, on a busy machine.
STEP = 60.0

QUICK: dict[str, Any] = {"pair_delay": 0.02, "sync_delay": 0.05, "retry_delay": 0.1, "logout_delay": 0.05, "open_delay": 0}


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class Launch:
    """What one launch of the browser emitted."""

    events: list[tuple[Any, ...]] = field(default_factory=list)

    def count(self, name: str) -> int:
        return sum(event[0] == name for event in self.events)


class Counted(RemoteAuth):
    """Tells where one launch ends and the next begins."""

    launches: list[Launch]

    async def before_browser_initialized(self) -> None:
        self.launches.append(Launch())
        await super().before_browser_initialized()


class Walk:
    """
    Performs random actions on a client, a phone, a network and a disk, and checks what must hold whenever things are calm.

    The model is one fact: whether the phone lists the device. While it does, a client that is started becomes `ready` without
    a code, whatever has happened; only an unlinking and `logout()` change it.
    """

    def __init__(self, folder: Path, simulator: Simulator, launch_options: dict[str, Any], seed: int, **options: Any) -> None:
        self.random = random.Random(seed)
        self.log: list[str] = []
        self.counts: Counter[str] = Counter()
        self._folder = folder
        self._simulator = simulator
        self._phone = simulator.phone
        self.launches: list[Launch] = [Launch()]
        strategy = Counted(
            store=FileSystemStore(folder / "store"), data_path=folder / "auth", backup_sync_interval_ms=1_000, rm_max_retries=4
        )
        strategy.launches = self.launches
        self._strategy = strategy
        self.client = Client(
            auth_strategy=strategy, web_url=simulator.url, launch_options=launch_options, handle_signals=False, **options
        )
        self.errors: list[BaseException] = []
        for name in ("qr", "authenticated", "ready", "disconnected", "restored", "backup_failed", "error"):
            self.client.on(name, lambda *args, name=name: self.launches[-1].events.append((name, *args)))
        asyncio.get_running_loop().set_exception_handler(self._unhandled)

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append(context.get("exception") or RuntimeError(context["message"]))

    @property
    def is_up(self) -> bool:
        return self.client.browser_pid is not None

    @property
    def is_linked(self) -> bool:
        return bool(self._simulator.state()["devices"])

    @property
    def _is_on_line(self) -> bool:
        return any(page["stage"] == "ready" for page in self._simulator.pages)

    # Actions --------------------------------------------------------------------------------------------------------

    async def run(self, actions: int) -> None:
        """Perform this many actions, and end with the client destroyed."""
        choices: dict[Callable[[], Awaitable[None]], int] = {
            self.initialize: 8,
            self.scan: 8,
            self.backup: 3,
            self.messages: 4,
            self.reload: 3,
            self.crash_page: 3,
            self.drop: 3,
            self.flap: 2,
            self.conflict: 2,
            self.block: 1,
            self.kill: 3,
            self.destroy: 3,
            self.lose_disk: 2,
            self.unlink: 1,
            self.logout: 1,
        }
        try:
            while sum(self.counts.values()) < actions:
                action = self.random.choices(list(choices), list(choices.values()))[0]
                name = action.__name__
                if not self._is_possible(name):
                    continue
                self.counts[name] += 1
                was_ready = self.is_up and self.client.info is not None and self._is_on_line
                launch = self.launches[-1]
                # Often the next thing happens before the last one has come to its end.
                in_a_hurry = self.random.random() < 0.35
                self.log.append(f"{name}{' …' if in_a_hurry else ''}")
                async with asyncio.timeout(STEP):
                    await action()
                if in_a_hurry:
                    await asyncio.sleep(self.random.uniform(0, 0.5))
                else:
                    await self.calm()
                    self.check()
                    ends = launch.count("disconnected")
                    if was_ready and name in _ENDS and ends != 1:
                        raise Broken(f"disconnected came {ends} times for one end; {self.story()}")
            await self.calm()
            self.check()
        finally:
            async with asyncio.timeout(STEP):
                await self.client.destroy()

    def _is_possible(self, name: str) -> bool:
        ready = bool(self.is_up and self.client.info)
        return {
            "initialize": not self.is_up,
            "scan": self.is_up and self.client.qr is not None,
            "lose_disk": not self.is_up and self._is_backed_up,
            "unlink": self.is_linked,
            "messages": ready,
            "backup": ready,
            "flap": ready,
            "conflict": ready,
            "block": ready,
            "drop": ready,
        }.get(name, self.is_up)

    @property
    def _is_backed_up(self) -> bool:
        return not self.is_linked or any((self._folder / "store").glob("*.zip"))

    async def initialize(self) -> None:
        with contextlib.suppress(SessionClosed):
            await self.client.initialize()

    async def destroy(self) -> None:
        await self.client.destroy()

    async def logout(self) -> None:
        await self.client.logout()
        # A page that could not be asked leaves the device on the phone's list; the person removes it there.
        if self.is_linked:
            await self._phone.unlink()

    async def scan(self) -> None:
        with contextlib.suppress(ValueError):  # it was renewed, or its page has gone, this very moment
            await self._phone.scan(self.client.qr or "")

    async def unlink(self) -> None:
        await self._phone.unlink()

    async def backup(self) -> None:
        with contextlib.suppress(SessionClosed, StoreError):
            await self._strategy.backup_now()

    async def messages(self) -> None:
        with contextlib.suppress(ValueError, TimeoutError):
            async with asyncio.timeout(5):
                await self._phone.send_messages(self.random.randint(1, 20), self.random.choice([200, 5_000]))

    async def reload(self) -> None:
        from playwright.async_api import Error

        with contextlib.suppress(Error, BrowserClosed):
            await self.client.page.reload(timeout=10_000)

    async def crash_page(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.client.browser_pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if "--type=renderer" in process.cmdline():
                        process.kill()

    async def drop(self) -> None:
        await self._phone.drop(self.random.uniform(0.05, 0.6))

    async def flap(self) -> None:
        with contextlib.suppress(ValueError):
            await self._phone.push_state("UNPAIRED")
            await asyncio.sleep(self.random.uniform(0, 0.8))
            await self._phone.push_state("CONNECTED")

    async def conflict(self) -> None:
        with contextlib.suppress(ValueError):
            await self._phone.conflict()

    async def block(self) -> None:
        with contextlib.suppress(ValueError):
            await self._phone.push_state(self.random.choice(["TOS_BLOCK", "PROXYBLOCK", "DEPRECATED_VERSION"]))

    async def kill(self) -> None:
        if self.client.browser_pid is not None:
            kill_tree(self.client.browser_pid)

    async def lose_disk(self) -> None:
        await asyncio.to_thread(shutil.rmtree, self._folder / "auth", ignore_errors=True)

    # What must hold -------------------------------------------------------------------------------------------------

    async def calm(self) -> None:
        """Wait until nothing is under way any more: the client has ended, is ready and on line, or shows a code."""
        # What was said to the pages has reached them, whose answer is no other one's: else they would be calm before it.
        await self._simulator.check()
        end, since = time.monotonic() + STEP, None
        while time.monotonic() < end:
            if not await self._is_calm():
                since = None
            elif since is None:
                since = time.monotonic()
            elif time.monotonic() - since > 0.4:
                return
            await asyncio.sleep(0.05)
        raise Broken(f"nothing settled within {STEP:g} s; {self.story()}")

    async def _is_calm(self) -> bool:
        launch = self.client._launch
        if launch is None:
            return self.client._relaunch.active is None
        if launch.closing is not None or (launch.starting is not None and not launch.starting.done()):
            return False
        if self.client.info is not None:
            return self.is_linked and await self.client.get_state() == "CONNECTED"
        return self.client.qr is not None and not self.is_linked

    def check(self) -> None:
        """Raise `Broken` for the first invariant that does not hold."""
        if self.errors:
            raise Broken(f"an exception that nobody handled: {self.errors[0]!r}; {self.story()}") from self.errors[0]
        for launch in self.launches:
            for name in ("ready", "authenticated", "disconnected"):
                if launch.count(name) > 1:
                    raise Broken(f"{name} came {launch.count(name)} times in one launch; {self.story()}")
            if failed := [event for event in launch.events if event[0] == "error"]:
                raise Broken(f"{failed[0][1]!r}; {self.story()}") from failed[0][1]
        last = self.launches[-1]
        if self.is_up and self.is_linked and not last.count("ready"):
            raise Broken(f"the phone lists the device, but the client is not ready; {self.story()}")
        for page in self._simulator.pages:
            if page["diagnosis"] in {"torn", "rejected"}:
                raise Broken(f"the login is {page['diagnosis']}: {page['problems']}; {self.story()}")

    def story(self) -> str:
        """What was done, and what the last launches emitted."""
        launches = "; ".join(", ".join(str(event[:2])[:60] for event in launch.events) for launch in self.launches[-3:])
        return f"after {self.log[-25:]}, launches {launches}"
