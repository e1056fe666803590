"""One measured call of a side, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

# The sides, as the tables name them.
PACKS, PLAIN, PEER, TAR = "wwauth", "wwauth, plain zip", "whatsapp-web.js", "tar, zstd -3, SHA-256"
_ARCHIVES = {PACKS: "packs", PLAIN: "whatsapp-web.js"}

# $1: the folder that holds what is saved, $2: the file to write.
_TAR = 'tar -C "$1" -cf - IndexedDB "Local Storage" | zstd -3 -T1 -q | tee "$2" | sha256sum >"$2.sha256"'

# Where ext4 has no journal, making files is slow for a minute after others were deleted.
_AFTER_DELETIONS = 61.0


@dataclass(frozen=True)
class Measured:
    """
    One call.

    Attributes:
        seconds: How long it took.
        extra_bytes: How far resident memory rose above what it was before.
        stall: The longest time for which the event loop was held up, where that was watched.
        idle_stall: The same, while nothing was done.
        phases: Seconds by step, where that was watched.
    """

    seconds: float
    extra_bytes: int = 0
    stall: float = 0.0
    idle_stall: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "stores")])}


def measure(side: str, verb: str, profile: Path, store: Path | str, *, watch: str = "") -> Measured:
    """Let one side save or restore once; `store` is a folder, or the URL of a store."""
    if side == TAR and isinstance(store, Path):
        return _tar(profile, store)
    argument = {"verb": verb, "profile": str(profile), "store": str(store)}
    if side == PEER:
        command = ["node", str(HERE / "_peer.js"), json.dumps(argument)]
    else:
        argument |= {"archive": _ARCHIVES[side], "watch": watch}
        command = [sys.executable, str(HERE / "_wwauth.py"), json.dumps(argument)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment())
    return Measured(**json.loads(done.stdout))


def has_tar() -> bool:
    """Tell whether the tools for the third side are there."""
    return all(shutil.which(tool) for tool in ("sh", "tar", "zstd", "tee", "sha256sum"))


def _tar(profile: Path, store: Path) -> Measured:
    store.mkdir()
    command = ["sh", "-ec", _TAR, "sh", str(profile / "Default"), str(store / "profile.tar.zst")]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return Measured(time.perf_counter() - began)


async def rest_after_deletions() -> None:
    """Wait until deleted files do not slow down those who make new ones."""
    await asyncio.sleep(_AFTER_DELETIONS)


@dataclass(frozen=True)
class Saved:
    """One backup of a program that runs: `calls` of the store, and the bytes that it holds afterwards."""

    seconds: float
    kind: str
    uploaded: int
    calls: int
    stored: int


class Running:
    """A program that keeps one profile backed up, in a process of its own."""

    def __init__(self, profile: Path, store: Path | str) -> None:
        self._argument = json.dumps({"verb": "serve", "profile": str(profile), "store": str(store)})
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE / "_wwauth.py"),
            self._argument,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()

    async def save(self) -> Saved:
        """Make one backup."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        if not line:
            raise SystemExit("a backup failed; the lines above say why")
        values: dict[str, Any] = json.loads(line)
        return Saved(**values)
