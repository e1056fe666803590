"""
What every test has: a Chromium, a simulator, and a guard that fails a test which leaves something behind.

All temporary files of a run lie in one folder of its own, so that runs beside each other do not see each other's.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import secrets
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import psutil
import pytest

from wwauth.errors import BrowserNotFound
from wwauth.web.find import ENVIRONMENT_VARIABLE, find_chromium

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from wwauth.testing import Simulator

pytest_plugins = ["tests.servers.fixtures"]

# Every process that a test starts inherits this, also when its parent has died and it is nobody's child any more.
_MARK = "WWAUTH_TEST_RUN"

# What a test ended gets this long to be gone; what it left is there for ever.
_GRACE = 30.0

# And a process that has just begun, to have an environment.
_BIRTH = 30.0


class RequireOptional(Protocol):
    def __call__(self, found: object, how: str) -> None: ...


def pytest_configure(config: pytest.Config) -> None:
    # As a shell starts what is to run in the background: the processes that tests interrupt would inherit it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # pytest keeps the folders of failed tests for a look: those stay where it puts them.
    before = {name: os.environ.get(name) for name in ("PYTEST_DEBUG_TEMPROOT", "TMPDIR", "TMP", "TEMP", _MARK)}
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    # A short name, since Chromium puts a socket under it and a socket's path has 107 bytes.
    folder = tempfile.mkdtemp(prefix="wwtest-")
    os.environ.update(dict.fromkeys(("TMPDIR", "TMP", "TEMP"), folder))
    os.environ[_MARK] = secrets.token_hex(8)
    tempfile.tempdir = None

    def restore() -> None:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)

    config.add_cleanup(restore)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            # Behind the guard that looks last, when the event loop is closed; before all that runs in the loop.
            item.fixturenames.insert(item.fixturenames.index("_leaves_nothing_behind") + 1, "_leaves_no_task_behind")


def _skip_or_fail(reason: str) -> NoReturn:
    # CI has every optional part, so that there a missing one hides nothing.
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def require_optional() -> RequireOptional:
    """Return `require(found, how)`: unless `found` is true, skip and say `how` to get it; with CI=true fail instead."""

    def require(found: object, how: str) -> None:
        if not found:
            _skip_or_fail(how)

    return require


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of the Chromium that wwauth would start; skip (with CI=true: fail) when there is none."""
    try:
        return find_chromium({}, bundled="") or ""
    except BrowserNotFound as exc:
        # A variable that names nothing is a mistake, not a missing part.
        if os.environ.get(ENVIRONMENT_VARIABLE):
            raise
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            bundled = playwright.chromium.executable_path
        if not Path(bundled).exists():
            _skip_or_fail(str(exc))
        return bundled


@pytest.fixture
def launch_options(chromium: str) -> dict[str, Any]:
    """Return `launch_options` for a Client in a test: headless, and without the sandbox where root cannot have it."""
    options: dict[str, Any] = {"headless": True, "executable_path": chromium}
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options["chromium_sandbox"] = False
    return options


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """Run a simulator of WhatsApp Web, with waits that are shorter than its own, and codes that outlive any test."""
    from wwauth.testing import Simulator

    async with Simulator(qr_refresh=3600, pair_delay=0.05, sync_delay=0.2) as running:
        yield running


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """Fail a test that leaves a process, a thread, an asyncio task or a temporary folder of wwauth's."""
    pids, before = set(psutil.pids()), {**_threads(), **_folders()}
    yield

    def leftovers() -> dict[object, str]:
        now = {**_processes(set(psutil.pids()) - pids), **_threads(), **_folders()}
        return {key: name for key, name in now.items() if key not in before}

    deadline = time.monotonic() + _GRACE
    while (left := leftovers()) and time.monotonic() < deadline:
        time.sleep(0.02)
    for key in left:
        # So that the next test is not blamed.
        if isinstance(key, int):
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(key).kill()
        elif isinstance(key, Path):
            shutil.rmtree(key, ignore_errors=True)
    if left:
        pytest.fail("the test left behind: " + "; ".join(sorted(left.values())), pytrace=False)


@pytest.fixture
async def _leaves_no_task_behind() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    if not (left := asyncio.all_tasks() - before - {asyncio.current_task()}):
        return
    _, left = await asyncio.wait(left, timeout=_GRACE)
    if left:
        pytest.fail("the test left tasks behind: " + "; ".join(sorted(map(repr, left))), pytrace=False)


def _processes(pids: set[int]) -> dict[object, str]:
    """Find those that this run started, however deep, and that live."""
    found: dict[object, str] = {}
    for pid in pids:
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE and _environment(process).get(_MARK) == os.environ[_MARK]:
                found[pid] = f"process {pid} ({' '.join(process.cmdline())[:120]})"
    return found


def _environment(process: psutil.Process) -> dict[str, str]:
    """Return a process's environment, which it has none of for a moment while it begins."""
    deadline = time.monotonic() + _BIRTH
    # One that has begun has a command line, whatever it has made of its environment; what the kernel began never has.
    while not (found := process.environ()) and not process.cmdline() and process.ppid() not in {0, 2}:
        if process.status() == psutil.STATUS_ZOMBIE or time.monotonic() > deadline:
            break
        time.sleep(0.002)
    return found


def _threads() -> dict[object, str]:
    return {thread: f"thread {thread.name!r}" for thread in threading.enumerate()}


def _folders() -> dict[object, str]:
    return {path: f"temporary folder {path}" for path in Path(tempfile.gettempdir()).glob("wwauth*")}
