"""One client, started and destroyed again and again: what it takes, it gives back."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from wwauth import Client, RemoteAuth
from wwauth.stores import MemoryStore
from wwauth.testing import Simulator

from ..soaking import SOAK

if TYPE_CHECKING:
    from wwauth.abc import AuthStrategy

pytestmark = pytest.mark.browser

RESTARTS = 20 if SOAK else 3


def descriptors(process: psutil.Process) -> int:
    if sys.platform == "win32":
        return process.num_handles()
    return process.num_fds()


def held(client: Client) -> dict[str, Any]:
    """Count what this process holds."""
    gc.collect()
    process = psutil.Process()
    return {
        "processes": len(process.children(recursive=True)),
        "file descriptors": descriptors(process),
        # Without the event loop's own pool, which grows as it is needed, to a bound.
        "threads": [thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")],
        "tasks": len(asyncio.all_tasks()),
        "listeners": sum(len(client.listeners(name)) for name in client.event_names()),
        "waiters": len(client._waiters),
        "signal handlers": [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
        "temporary files": sorted(path.name for path in Path(tempfile.gettempdir()).iterdir()),
    }


@pytest.mark.timeout(240)
async def test_restarts_leave_everything_where_it_was(tmp_path: Path, launch_options: dict[str, Any]) -> None:
    strategy: AuthStrategy = RemoteAuth(store=MemoryStore(), data_path=tmp_path)
    ready = []
    async with Simulator(pair_delay=0.01, sync_delay=0.02, open_delay=0) as simulator:
        client = Client(auth_strategy=strategy, web_url=simulator.url, launch_options=launch_options)
        client.on("ready", lambda: ready.append(client.browser_pid))
        await client.initialize()
        await simulator.phone.scan(client.qr or await client.wait_for("qr", timeout=20))
        await client.wait_for("ready", timeout=30)
        await client.destroy()
        for restart in range(RESTARTS + 1):
            await client.initialize()
            await client.wait_for("ready", timeout=30)
            await client.destroy()
            await simulator.wait_for(lambda: not simulator.pages)
            if restart == 0:
                before = held(client)
        assert held(client) == before
    assert len(ready) == len(set(ready)) == RESTARTS + 2
