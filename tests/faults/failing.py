"""A process in which an operation on files fails: by an audit hook, or because its system calls are tampered with."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from wwauth.errors import WWAuthError

from .killed import folders, new_engine

_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "os.chmod"}
_LISTINGS = {"os.scandir", "os.listdir"}


class Hook:
    """Fails the n-th operation on files, as the system would; counts them when n is 0."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self.armed = self.listings = False
        self.count = self.fatal = self.error = 0

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.armed or not self._counts(event, args):
            return
        self.count += 1
        if self.count == self.fatal:
            raise OSError(self.error, os.strerror(self.error), str(args[0]))

    def _counts(self, event: str, args: tuple[Any, ...]) -> bool:
        if self.listings:
            return event in _LISTINGS
        return event in _EVENTS | _LISTINGS or (event == "open" and self._is_ours(args[0]))

    def _is_ours(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self._root)


class Failing:
    """The process, from its parent's side."""

    def __init__(self, root: Path) -> None:
        self._socket, theirs = socket.socketpair()
        path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
        program = "import sys; from tests.faults.failing import serve; serve(sys.argv[1], int(sys.argv[2]))"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, str(root), str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(root / "tmp")},
                pass_fds=[theirs.fileno()],
            )
        self._socket.settimeout(60)

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, verb: str, *, fatal: int = 0, error: int = 0, listings: bool = False) -> dict[str, Any]:
        """Save or restore there; tell what was raised, and how many operations on files (or `listings` alone) it took."""
        self._socket.send(json.dumps({"verb": verb, "fatal": fatal, "error": error, "listings": listings}).encode())
        reply: dict[str, Any] = json.loads(self._socket.recv(1 << 16))
        return reply

    def close(self) -> None:
        self._socket.close()
        self._process.wait(30)


def serve(root: str, fd: int) -> None:
    """Do what is asked until nobody asks any more; uses no system call that is tampered with, but for the work itself."""
    hook = Hook(Path(root))
    sys.addaudithook(hook)
    with socket.socket(fileno=fd) as commands:
        while data := commands.recv(1 << 16):
            commands.send(json.dumps(asyncio.run(_work(Path(root), json.loads(data), hook))).encode())


async def _work(root: Path, command: dict[str, Any], hook: Hook) -> dict[str, Any]:
    profile, _ = folders(root)
    engine = new_engine(root, keep=2)
    hook.listings = command["listings"]
    hook.count, hook.fatal, hook.error, hook.armed = 0, command["fatal"], command["error"], True
    try:
        await getattr(engine, command["verb"])(profile)
    except Exception as exc:
        told = {"error": type(exc).__name__, "typed": isinstance(exc, WWAuthError), "text": str(exc)[:500]}
        told["system"] = isinstance(exc, OSError) and not isinstance(exc, WWAuthError) and exc.errno in errno.errorcode
    else:
        told = {"error": ""}
    finally:
        hook.armed = False
    return {**told, "operations": hook.count}
