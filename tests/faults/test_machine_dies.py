"""The whole process tree is killed at a random moment, as when a machine dies; the next start has the login."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from wwauth import Client, RemoteAuth
from wwauth.stores import FileSystemStore

from ..soaking import SOAK

if TYPE_CHECKING:
    from pathlib import Path

    from wwauth.testing import Simulator

pytestmark = pytest.mark.browser

# Says each code and each save, and backs up all the time.
_WORKER = """
import asyncio, sys
from wwauth import Client, RemoteAuth
from wwauth.stores import FileSystemStore

async def main(url, folder, executable, sandbox):
    strategy = RemoteAuth(store=FileSystemStore(folder + "/store"), data_path=folder + "/auth", backup_sync_interval_ms=1000)
    client = Client(auth_strategy=strategy, web_url=url,
                    launch_options={"executable_path": executable, "chromium_sandbox": sandbox == "True"})
    client.on("qr", lambda qr: print("qr", qr, flush=True))
    client.on("remote_session_saved", lambda: print("saved", flush=True))
    await client.initialize()
    await asyncio.sleep(3600)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.timeout(300)
async def test_the_login_survives_a_kill_at_any_moment(
    simulator: Simulator, tmp_path: Path, launch_options: dict[str, Any]
) -> None:
    moments = random.Random(7)
    codes = 0
    for number in range(8 if SOAK else 2):
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _WORKER,
            simulator.url,
            str(tmp_path),
            launch_options["executable_path"],
            str(launch_options.get("chromium_sandbox", True)),
            stdout=subprocess.PIPE,
        )
        try:
            codes += await _until_saved(worker, simulator)
            # From here on it saves, and writes, all the time.
            await simulator.phone.send_messages(20, 2_000)
            await asyncio.sleep(moments.uniform(0, 2.5))
        finally:
            _kill_tree(worker.pid)
            await worker.communicate()
        if number % 2:
            await asyncio.to_thread(shutil.rmtree, tmp_path / "auth")
    assert codes == 1
    # What was killed in the middle of an upload stays for an hour, in case that its writer lives.
    for path in (tmp_path / "store").glob(".*.tmp"):
        os.utime(path, (1, 1))
    strategy = RemoteAuth(store=FileSystemStore(tmp_path / "store"), data_path=tmp_path / "auth")
    async with Client(auth_strategy=strategy, web_url=simulator.url, launch_options=launch_options) as client:
        await client.wait_for("ready", timeout=60)
        page = (await simulator.check())[-1]
        assert (page["diagnosis"], page["damaged"]) == ("ok", 0)
    assert not list((tmp_path / "store").glob(".*.tmp"))
    assert not list((tmp_path / "auth").glob(".*.tmp"))


async def _until_saved(worker: asyncio.subprocess.Process, simulator: Simulator) -> int:
    """Scan the codes that are shown, and return their count once a backup was saved."""
    assert worker.stdout is not None
    codes = 0
    while (line := (await asyncio.wait_for(worker.stdout.readline(), 90)).decode()) != "saved\n":
        assert line.startswith("qr ")
        codes += 1
        await simulator.phone.scan(line.split()[1])
    return codes


def _kill_tree(pid: int) -> None:
    processes = [psutil.Process(pid)]
    processes += processes[0].children(recursive=True)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _, late = psutil.wait_procs(processes[1:], timeout=60)
    assert not late
