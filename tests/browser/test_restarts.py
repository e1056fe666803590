"""One client, started and destroyed again and again: what it takes, it gives back."""

from __future__ import annotations

import asyncio
import contextlib
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


async def settled(client: Client, simulator: Simulator, tasks: int) -> dict[str, Any]:
    """
    Count what this process holds when the browser's last process has ended, and with it its connections to the simulator.

    `tasks`: how many there were before the client was made. What never ends is counted, too.
    """
    process = psutil.Process()

    def is_over() -> bool:
        ports = {simulator.port, simulator.tls_port}
        connections = [each for each in process.net_connections("tcp") if each.laddr and each.laddr.port in ports]
        served = [each for each in connections if each.status != psutil.CONN_LISTEN]
        return not (served or process.children(recursive=True)) and len(asyncio.all_tasks()) <= tasks

    with contextlib.suppress(TimeoutError):
        await simulator.wait_for(is_over)
    return held(client)


@pytest.mark.timeout(240)
async def test_restarts_leave_everything_where_it_was(tmp_path: Path, launch_options: dict[str, Any]) -> None:
    strategy: AuthStrategy = RemoteAuth(store=MemoryStore(), data_path=tmp_path)
    ready = []
    async with Simulator(qr_refresh=3600, pair_delay=0.01, sync_delay=0.02, open_delay=0) as simulator:
        tasks = len(asyncio.all_tasks())
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
            if restart == 0:
                before = await settled(client, simulator, tasks)
        assert await settled(client, simulator, tasks) == before
    assert len(ready) == len(set(ready)) == RESTARTS + 2
