"""The browser's own processes: whether they live, and how they end when they do not end by themselves."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

_log = logging.getLogger(__name__)


def is_running(pid: int) -> bool:
    """Tell whether a process lives; one that has ended and was not yet reaped by its parent does not."""
    if sys.platform == "win32":
        listing = subprocess.run(  # noqa: S603 - a fixed command, the pid is an int
            ["tasklist", "/FI", f"PID eq {pid}", "/NH"],  # noqa: S607
            capture_output=True,
            check=False,
        )
        return str(pid).encode() in listing.stdout
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


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


def _is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    # "pid (name) S …", where the name may hold spaces and parentheses.
    return stat.rpartition(b")")[2].split()[:1] == [b"Z"]
