"""Whether a process of this machine lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


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
    stat = _stat(pid)
    if stat is None:
        # It has ended just now, unless this system tells of no process there.
        return not Path("/proc/self/stat").exists()
    return stat[0] != b"Z"


def started(pid: int) -> int:
    """Return when a process was started, in ticks since the machine was; 0 where that cannot be told."""
    stat = _stat(pid)
    return int(stat[19]) if stat is not None else 0


def _stat(pid: int) -> list[bytes] | None:
    """Return what Linux tells of a process, from its state on; None where it does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # "pid (name) S …", where the name may hold spaces and parentheses.
    return stat.rpartition(b")")[2].split()
