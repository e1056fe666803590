"""The name under which a process holds a lease: readable, and others of the same machine see in it that it has ended."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import uuid
from pathlib import Path

from ._processes import is_running, started

# "web-1, pid 4711 (3f9a2c1d.81723.5e6f7a8b)": the machine, when the process was started, and a token of its own.
_HOLDER = re.compile(r"^.{1,100}, pid ([1-9][0-9]{0,9}) \(([0-9a-f]{8})\.([0-9]{1,20})\.[0-9a-f]{8}\)$")


_active: set[str] = set()


def new_holder() -> str:
    """Return a name for a holder in this process, unlike any other; it lives until `end`."""
    host = "".join(letter for letter in platform.node() if letter.isprintable())[:100] or "this host"
    name = f"{host}, pid {os.getpid()} ({_machine()}.{started(os.getpid())}.{secrets.token_hex(4)})"
    _active.add(name)
    return name


def end(holder: str) -> None:
    """Note that a holder of this process has ended."""
    _active.discard(holder)


def lives(holder: str | None) -> bool | None:
    """Tell whether a holder lives, as its process does; None: it is one of another machine, or cannot be told."""
    found = _HOLDER.match(holder or "")
    if found is None or found[2] != _machine():
        return None
    pid, ticks = int(found[1]), int(found[3])
    now = started(pid)
    # 0: that cannot be told, for one where /proc hides the processes of other users.
    same = now == ticks or 0 in {now, ticks}
    if pid == os.getpid() and same:
        return holder in _active
    return is_running(pid) and same


def _machine() -> str:
    """Return a token of what pids are numbers in: this machine since it was started, and on Linux this container."""
    try:
        parts = [Path("/proc/sys/kernel/random/boot_id").read_text("ascii"), str(Path("/proc/self/ns/pid").readlink())]
    except OSError:
        parts = [str(uuid.getnode())]
    return hashlib.sha256(" ".join([*parts, platform.node()]).encode()).hexdigest()[:8]
