"""
Saves or restores by wwauth, measured: python _wwauth.py '{"verb", "profile", "store", "archive", "watch"}'.

"store" is a folder, or the URL of a store.

"save" and "restore" print {"seconds", "extra_bytes"}: the time of the engine's call, and how far the process's resident memory
rose above what it was before the call. With "watch": "stall", also "stall" and "idle_stall": the longest time for which the
event loop was held up during the call, and during a second of idling before it. With "watch": "phases", also "phases", seconds
by step.

"serve" saves once for each line that it reads, as a program that runs does, and prints for each {"seconds", "kind", "uploaded",
"calls", "stored"}: the last two are the calls of the store, and the bytes that it holds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from wwauth import Store
from wwauth._store import list_stored
from wwauth.backup import BackupEngine
from wwauth.stores import FileSystemStore, open_store

# /proc gives the peak since it was reset; elsewhere there is only the peak since the start.
_LINUX = sys.platform == "linux"
_STATUS = Path("/proc/self/status")

_BEAT, _IDLE = 0.001, 1.0


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


class Heart:
    """Beats in the event loop, and notes the longest time by which a beat came late."""

    longest = 0.0

    async def beat(self) -> None:
        while True:
            due = time.perf_counter() + _BEAT
            await asyncio.sleep(_BEAT)
            self.longest = max(self.longest, time.perf_counter() - due)


class CountingStore(Store):
    """Counts the calls that a store gets."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.calls = 0

    async def session_exists(self, **words: Any) -> bool:
        self.calls += 1
        return await self._inner.session_exists(**words)

    async def save(self, **words: Any) -> None:
        self.calls += 1
        await self._inner.save(**words)

    async def extract(self, **words: Any) -> None:
        self.calls += 1
        await self._inner.extract(**words)

    async def delete(self, **words: Any) -> None:
        self.calls += 1
        await self._inner.delete(**words)

    async def close(self) -> None:
        await self._inner.close()

    async def stored(self) -> int:
        """Return the bytes that it holds."""
        return sum([info.size async for info in list_stored(self._inner, prefix="", packs=True)])


def store_of(where: str) -> Store:
    """Return the store at a folder's path, or at a URL."""
    return FileSystemStore(where) if Path(where).is_absolute() else open_store(where)


def engine_of(store: Store, profile: Path, archive: str) -> BackupEngine:
    return BackupEngine(store, session=profile.name, archive=archive, origin="https://web.whatsapp.com/")


async def call(verb: str, profile: Path, store: Store, archive: str, watch: str) -> dict[str, object]:
    engine = engine_of(store, profile, archive)
    result: dict[str, object] = {}
    heart, phases, beats = Heart(), None, None
    if watch == "stall":
        beats = asyncio.create_task(heart.beat())
        await asyncio.sleep(_IDLE)
        result["idle_stall"], heart.longest = heart.longest, 0.0
    if watch == "phases":
        from benchmarks._phases import Phases  # noqa: PLC0415 - only where it is asked for

        phases = Phases()
        phases.watch()
    before = reset()
    began = time.perf_counter()
    await (engine.save(profile) if verb == "save" else engine.restore(profile))
    result["seconds"] = time.perf_counter() - began
    result["extra_bytes"] = peak() - before
    if beats is not None:
        await asyncio.sleep(2 * _BEAT)  # the beat that is late last is counted, too
        beats.cancel()
        result["stall"] = heart.longest
    if phases is not None:
        result["phases"] = phases.seconds
    return result


async def serve(profile: Path, store: CountingStore) -> None:
    engine = engine_of(store, profile, "packs")
    while await asyncio.to_thread(sys.stdin.readline):
        calls = store.calls
        began = time.perf_counter()
        report = await engine.save(profile)
        seconds = time.perf_counter() - began
        line = {
            "seconds": seconds,
            "kind": report.kind,
            "uploaded": report.bytes_uploaded,
            "calls": store.calls - calls,
            "stored": await store.stored(),
        }
        print(json.dumps(line), flush=True)


async def main(verb: str, profile: str, store: str, archive: str = "packs", watch: str = "") -> None:
    opened = store_of(store)
    if verb == "serve":
        await serve(Path(profile), CountingStore(opened))
    else:
        print(json.dumps(await call(verb, Path(profile), opened, archive, watch)))
    await opened.close()


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
