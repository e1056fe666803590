"""Other processes that work on a store by its URL: one that is killed in a save, and one that tells its peak of memory."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SAVE = """
import asyncio, sys
from wwauth.stores import open_store
asyncio.run(open_store(sys.argv[1]).save(session="one", path=sys.argv[2]))
"""

_MEASURE = """
import asyncio, sys
from pathlib import Path
from wwauth.stores import open_store

def peak():
    # Not resource.getrusage(): that of a new process begins with its parent's.
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

async def main():
    url, folder, size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    small, large, out = folder / "small", folder / "large", folder / "out"
    small.write_bytes(b"a login")
    with large.open("wb") as file:
        for number in range(size >> 20):
            file.write(number.to_bytes(1, "big") * (1 << 20) if number < 256 else bytes(1 << 20))
    async with open_store(url) as store:
        for each in (small, large):
            await store.save(session="one", path=each)
            await store.extract(session="one", path=out)
            if each is small:
                before = peak()
        assert out.stat().st_size == size
        print(peak() - before)
        await store.delete(session="one")

asyncio.run(main())
"""


async def grown(url: str, folder: Path, size: int) -> int:
    """Return by how much the peak of a process's memory grows when an archive of `size` bytes goes there and back."""
    command = [sys.executable, "-c", _MEASURE, url, str(folder), str(size)]
    process = await asyncio.create_subprocess_exec(*command, env=_environment(), stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return int(out)


def save_in_another_process(url: str, path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _SAVE, url, path], env=_environment())


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
