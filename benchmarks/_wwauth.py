"""
One save or one restore by wwauth, measured: python _wwauth.py '{"verb", "profile", "store"}'.

Prints {"seconds", "extra_bytes"}: the time of the engine's call, and how far the process's resident memory rose above what it
was before the call.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from wwauth.backup import BackupEngine
from wwauth.stores import FileSystemStore

# /proc gives the peak since it was reset; elsewhere there is only the peak since the start.
_LINUX = sys.platform == "linux"
_STATUS = Path("/proc/self/status")


def status(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024


def peak() -> int:
    if _LINUX:
        return status("VmHWM")
    if sys.platform == "win32":
        raise SystemExit("memory is measured on Linux and macOS")
    import resource  # noqa: PLC0415 - Windows has none

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset() -> int:
    if not _LINUX:
        return peak()
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


async def main(verb: str, profile: str, store: str) -> None:
    path = Path(profile)
    engine = BackupEngine(
        FileSystemStore(store), session=path.name, archive="whatsapp-web.js", origin="https://web.whatsapp.com/"
    )
    before = reset()
    began = time.perf_counter()
    if verb == "save":
        await engine.save(path)
    else:
        await engine.restore(path)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "extra_bytes": peak() - before}))


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
