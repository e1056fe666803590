"""One login on two hosts: a process that is frozen, overtaken, and goes on."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from filelock import FileLock

from wwauth import RemoteAuth, _holder
from wwauth.errors import LeaseLost, SessionInUse
from wwauth.stores import FileSystemStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from wwauth.testing import Simulator

    from .conftest import Recorded

pytestmark = pytest.mark.browser

# Another host, as far as the lease can tell: its holder is of no machine that is known here.
PROGRAM = """
import asyncio, sys
from wwauth import Client, RemoteAuth
from wwauth import _holder
from wwauth.stores import FileSystemStore
_holder._machine = lambda: "00000000"
url, store, data_path, chromium, *args = sys.argv[1:]
async def main():
    strategy = RemoteAuth(store=FileSystemStore(store), client_id="one", data_path=data_path, lease_ttl_ms=6000)
    client = Client(
        auth_strategy=strategy, web_url=url, launch_options={"executable_path": chromium, "args": args}, handle_signals=False
    )
    for name in ("qr", "ready", "error", "disconnected"):
        client.on(name, lambda *payload, name=name: print(name, *map(lambda p: type(p).__name__, payload), flush=True))
    await client.initialize()
    await client.wait_for("disconnected")
    await asyncio.sleep(0.1)
asyncio.run(main())
"""


@pytest.fixture
def store(tmp_path: Path) -> FileSystemStore:
    return FileSystemStore(tmp_path / "store")


@pytest.fixture
def make_remote(make_client: Callable[..., Recorded], store: FileSystemStore, tmp_path: Path) -> Callable[..., Recorded]:
    def make(name: str = "here", **options: Any) -> Recorded:
        return make_client(auth_strategy=RemoteAuth(store=store, client_id="one", data_path=tmp_path / name, **options))

    return make


@pytest.fixture
async def elsewhere(
    make_remote: Callable[..., Recorded], simulator: Simulator, store: FileSystemStore, tmp_path: Path, launch_options: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Link a device, and let another host go on with the login."""
    first = make_remote()
    saved = asyncio.create_task(first.client.wait_for("remote_session_saved", timeout=90))
    await first.link(simulator)
    await saved
    await first.client.destroy()
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, simulator.url, store.folder, tmp_path / "elsewhere"),
        *(launch_options["executable_path"], *launch_options.get("args", ())),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert await said(program) == "ready"
        yield program
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


def freeze(program: asyncio.subprocess.Process, store: FileSystemStore) -> None:
    """Stop a process, but not while it has the lock of the lease: then nobody else would get on until it does."""
    process = psutil.Process(program.pid)
    with FileLock(store.folder / ".RemoteAuth-one.lock"):
        process.suspend()
        while process.status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)


async def said(program: asyncio.subprocess.Process) -> str:
    assert program.stdout is not None
    return (await asyncio.wait_for(program.stdout.readline(), 120)).decode().strip()


def online(simulator: Simulator) -> list[dict[str, Any]]:
    return [page for page in simulator.pages if page["device"] is not None]


async def test_a_login_that_another_host_holds_is_refused(
    make_remote: Callable[..., Recorded], store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(_holder, "_machine", lambda: "00000000")
        holder = _holder.new_holder()
    # A minute, each time that it is looked at the clock.
    monkeypatch.setattr("wwauth.backup.lease.clock", itertools.count(step=60).__next__)
    async with store.lease(session="RemoteAuth-one", holder=holder, ttl=3600) as lease:
        with pytest.raises(SessionInUse, match=f"pid {os.getpid()}"):
            await make_remote().client.initialize()
        await lease.renew()
    _holder.end(holder)


async def test_a_frozen_process_leaves_no_live_login_and_overwrites_nothing(
    make_remote: Callable[..., Recorded], simulator: Simulator, store: FileSystemStore, elsewhere: asyncio.subprocess.Process
) -> None:
    freeze(elsewhere, store)
    # Its page knows nothing of the process, and leaves all the same.
    await simulator.wait_for(lambda: not online(simulator), timeout=30)
    second = make_remote("third")
    await second.client.initialize()
    await second.client.wait_for("ready", timeout=30)
    assert "qr" not in second.names
    strategy = second.client.auth_strategy
    assert isinstance(strategy, RemoteAuth)
    await simulator.phone.send_messages(3, 1_000)
    report = await strategy.backup_now()
    psutil.Process(elsewhere.pid).resume()
    assert [await said(elsewhere), await said(elsewhere)] == ["error LeaseLost", "disconnected str"]
    await asyncio.wait_for(elsewhere.wait(), 60)
    assert (await strategy.backup_now()).generation >= report.generation
    await simulator.wait_for(lambda: len(online(simulator)) == 1)
    assert "error" not in second.names


async def test_a_process_that_was_frozen_and_not_overtaken_goes_on(
    make_remote: Callable[..., Recorded], simulator: Simulator, store: FileSystemStore, elsewhere: asyncio.subprocess.Process
) -> None:
    freeze(elsewhere, store)
    await simulator.wait_for(lambda: not online(simulator), timeout=30)
    psutil.Process(elsewhere.pid).resume()
    await simulator.wait_for(lambda: [page for page in online(simulator) if page["stage"] == "ready"], timeout=30)
    assert online(simulator)[0]["diagnosis"] == "ok"


async def test_a_client_whose_lease_is_taken_stops(make_remote: Callable[..., Recorded], simulator: Simulator) -> None:
    it = make_remote(lease_ttl_ms=8000)
    await it.link(simulator)
    strategy = it.client.auth_strategy
    assert isinstance(strategy, RemoteAuth)
    assert strategy.status.holder is not None
    ended = asyncio.create_task(it.client.wait_for("disconnected", timeout=30))
    taken = await strategy._store.lease(session="RemoteAuth-one", holder=strategy.status.holder, ttl=60).__aenter__()
    assert await ended == "STRATEGY_FAILED"
    assert [type(event[1]) for event in it.events if event[0] == "error"] == [LeaseLost]
    await taken.release()
    it.events.clear()
    await it.client.initialize()
    await it.client.wait_for("ready", timeout=30)
    assert "qr" not in it.names
