"""A clock that nobody sets."""

from __future__ import annotations

import sys
import time


def clock() -> float:
    """Return seconds that only grow, and that go on while the machine sleeps, where it has such a clock."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
