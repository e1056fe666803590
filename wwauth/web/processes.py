"""The browser's own processes, and how they end when they do not end by themselves."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from .._processes import is_running

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)


def kill_tree(pid: int) -> None:
    """Kill a browser that Playwright launched with all its children; nothing there is no error."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(pid)], capture_output=True, check=False)  # noqa: S603, S607
        return
    # Playwright starts the browser as the leader of a process group of its own. Only then is the group ours to kill.
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


async def wait_for_exit(pid: int, *, timeout: float) -> bool:
    """Wait until a process has ended; False when it still runs after `timeout` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while is_running(pid):
        if loop.time() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def profile_owner(user_data_dir: Path) -> tuple[str, int] | None:
    """Return the host name and pid that Chromium wrote into the profile's `SingletonLock`, None when there is none."""
    try:
        target = (user_data_dir / "SingletonLock").readlink().name
    except OSError:
        return None
    host, _, pid = target.rpartition("-")
    return (host, int(pid)) if pid.isdigit() else None


def socket_folder(user_data_dir: Path, pid: int) -> Path | None:
    """Return the folder among the system's temporaries that this browser keeps its socket in; None when it has none."""
    owner = profile_owner(user_data_dir)
    if owner is None or owner[1] != pid:
        return None
    try:
        folder = (user_data_dir / "SingletonSocket").readlink().parent
    except OSError:
        return None
    return folder if folder.is_absolute() else None


def remove_socket_folder(folder: Path) -> None:
    """Delete what a killed browser could not; nothing there is no error, and anything else in there is spared."""
    try:
        for name in ("SingletonSocket", "SingletonCookie"):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    except FileNotFoundError:
        pass
    except OSError as exc:
        _log.debug("the folder %s of a browser's socket was not deleted: %s", folder, exc)
