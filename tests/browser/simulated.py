"""A Chromium of Playwright's alone on the simulator, and a profile with a login to do harm to."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from playwright.async_api import async_playwright

from wwauth.testing import Simulator

from ..soaking import most_in_soak, soak

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from playwright.async_api import BrowserContext, Page

    from wwauth import Client

SITE = "https://web.whatsapp.com/"

both_addresses = pytest.mark.parametrize("address", ["simulator", pytest.param("whatsapp", marks=soak)], indirect=True)
"""Runs a test of clients at the simulator's own address, and in the long tests at the real site's, as tests/interop does."""

real_address = pytest.mark.parametrize("address", ["whatsapp"], indirect=True)
"""Runs a test of clients at the real site's address alone: the other one is no different there, and each costs a browser."""


def by_turns(name: str, values: Sequence[object], *, usual: int = 2) -> pytest.MarkDecorator:
    """Run a test with each value, at one address and the other by turns; only the first `usual` ones each time."""
    pairs = [(("simulator", "whatsapp")[number % 2], value) for number, value in enumerate(values)]
    return pytest.mark.parametrize(("address", name), most_in_soak(pairs, usual=usual), indirect=["address"])


# An address of the same origin where no script of the page's runs: storage can be changed there with nobody looking.
NOWHERE = SITE + "config.json"

QUICK: dict[str, Any] = {
    "open_delay": 0,
    "pair_delay": 0.01,
    "listener_wait": 0,
    "sync_delay": 0.05,
    "retry_delay": 0.05,
    "logout_delay": 0.05,
    "ratchet_interval": 0.05,
}


STEPS = 30
"""How many steps of the ratchet the newer profile of a `Linked` is ahead, at least: 0.05 s of the page's life each, or more."""


@dataclass(frozen=True)
class Linked:
    """
    A login on the disk, at two moments.

    Attributes:
        old: The profile a while before.
        new: The profile, its browser closed.
        state: The simulator's state file.
    """

    old: Path
    new: Path
    state: Path


@asynccontextmanager
async def chromium_on(
    simulator: Simulator, profile: Path, launch_options: dict[str, Any]
) -> AsyncIterator[tuple[BrowserContext, Page]]:
    """Open a profile at the real site's address, not yet on the page; closed cleanly at the end, unless it is gone."""
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            profile, **launch_options, args=list(simulator.host_resolver_args)
        )
        try:
            yield context, context.pages[0]
        finally:
            await context.close()


async def the_page(simulator: Simulator, **wanted: object) -> dict[str, Any]:
    """Wait until the one page that is open is as wanted, and return what the simulator says of it."""

    def found() -> dict[str, Any] | None:
        pages = [page for page in simulator.pages if all(page[name] == value for name, value in wanted.items())]
        return pages[0] if len(pages) == len(simulator.pages) == 1 else None

    page = await simulator.wait_for(found, timeout=60)
    assert page is not None
    return page


async def the_document(simulator: Simulator, page: Page, **wanted: object) -> dict[str, Any]:
    """Do as `the_page`, and look at nothing but the document that is in `page` now: one before it may not have gone yet."""
    shown = await page.wait_for_function("() => document.documentElement.dataset.id", polling=20)
    return await the_page(simulator, id=await shown.json_value(), **wanted)


async def diagnosed(simulator: Simulator) -> dict[str, Any]:
    """Wait for the page's last word on its login, and return what the simulator says of it."""

    def found() -> dict[str, Any] | None:
        return next((page for page in simulator.pages if page["stage"] in {"qr", "ready"}), None)

    page = await simulator.wait_for(found, timeout=60)
    assert page is not None
    return page


async def scan(simulator: Simulator) -> str:
    """Scan the code on the one page's screen, and wait until it is ready."""
    page = await the_page(simulator, stage="qr")
    device = await simulator.phone.scan(page["qr"])
    await the_page(simulator, stage="ready")
    return device


async def debugging_port(profile: Path) -> int:
    """Wait until a browser with `--remote-debugging-port=0` has said which port it has chosen."""
    told = profile / "DevToolsActivePort"
    while not told.exists() or "\n" not in told.read_text():  # noqa: ASYNC110 - a file tells nobody
        await asyncio.sleep(0.02)
    return int(told.read_text().partition("\n")[0])


def family(pid: int | None) -> list[psutil.Process]:
    """Return a process and all that it has started; a browser's are in a session of their own."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def suspend(processes: Sequence[psutil.Process]) -> None:
    """Freeze those of the processes that live: a browser ends some of its own at any time."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()


def resume(processes: Sequence[psutil.Process]) -> None:
    """Let frozen processes go on."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()


async def crash_page(client: Client) -> None:
    """Crash the page's renderer, and wait until the client has put another page in its place."""
    page = client.page
    crash = asyncio.create_task(page.goto("chrome://crash"))
    await page.wait_for_event("crash")
    while client.page == page:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.02)
    await client.page.wait_for_function("() => window.Debug")
    await asyncio.gather(crash, return_exceptions=True)


async def make_linked(folder: Path, launch_options: dict[str, Any]) -> Linked:
    """Link a device and let it live for a while."""
    linked = Linked(folder / "old", folder / "new", folder / "state.json")
    async with Simulator(state_file=linked.state, **QUICK) as simulator:
        async with chromium_on(simulator, linked.new, launch_options) as (_, page):
            await page.goto(SITE)
            await scan(simulator)
            await simulator.phone.send_messages(20, 2_000)
        shutil.copytree(linked.new, linked.old, symlinks=True)
        async with chromium_on(simulator, linked.new, launch_options) as (_, page):
            await page.goto(SITE)
            before = (await the_page(simulator, stage="ready"))["index"]
            await simulator.phone.send_messages(3, 100_000)  # values that lie in files of their own
            # More than a second of the page's life, by whose ticks it counts, however long they take.
            await simulator.wait_for(lambda: simulator.pages[0]["index"] >= before + STEPS, timeout=60)
    return linked
