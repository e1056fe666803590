"""
One of several hosts that want the same login: it takes the lease, restores, and changes and saves for as long as it holds it.

What it does it tells in lines on its standard output, with one write each: what was written before a SIGKILL arrives. Each
index and each lease that it puts into the store is linked into a history first, under the lock that makes it count, so that
the history has them in their true order. It can be told to stop, or to die, before a certain operation on a file.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wwauth import _holder
from wwauth.backup import BackupEngine
from wwauth.backup.lease import LeaseKeeper
from wwauth.errors import LeaseLost, SessionInUse, StoreError
from wwauth.stores import FileSystemStore

from ..unit.profiles import BLOBS, INDEXED_DB, ORIGIN, frame, make_profile

if sys.platform == "win32":
    _UNLOCK = -1

    def _kill_thread(*_: int) -> None:
        raise NotImplementedError
else:
    import fcntl

    _UNLOCK, _kill_thread = fcntl.LOCK_UN, signal.pthread_kill

if TYPE_CHECKING:
    from wwauth.abc import Lease

SESSION = "RemoteAuth-one"
LOG = f"{INDEXED_DB}/000006.log"

# What a holder can be stopped in, in the order of a save; those of the second line are done under the lock of the lease.
LOCKED = ("claim", "renew", "announce", "commit", "unlock")
PHASES = ("copy", "pack", "index read", "announcing", "upload", "read back", "committing", "swept", "restore", *LOCKED)

_WRITES = os.O_WRONLY | os.O_RDWR


def store_of(root: Path) -> FileSystemStore:
    return FileSystemStore(root / "store")


def record(name: str, fence: int, count: int, filler: int) -> bytes:
    return f"<{name} {fence} {count}>".encode() + b"." * filler


def tell(kind: str, **what: Any) -> None:
    """Write one line, whole before the next kill."""
    os.write(1, (json.dumps({"kind": kind, "at": time.monotonic(), **what}) + "\n").encode())


class Watch:
    """Sees each operation on files before it is done: keeps the history, and stops where it was told to."""

    def __init__(self, root: Path, name: str) -> None:
        self._name = name
        self._store, self._history = root / "store", root / "history"
        self._pack = re.compile(rf"\.?{re.escape(SESSION)}\.\d+\.[0-9a-f]{{8}}\.zip.*")
        self.stop_at, self.stop_by, self.skip = "", 0, 0
        self.uploaded = False

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "fcntl.flock":
            if args[1] == _UNLOCK:
                self.enter("unlock")
        elif event in {"open", "os.rename", "os.remove", "os.utime"} and isinstance(args[0], str | bytes | os.PathLike):
            target = Path(os.fsdecode(args[1] if event == "os.rename" else args[0]))
            if target.parent == self._store:
                self._stored(event, args, target)
            elif event == "open" and target.name == "pack.zip" and args[2] & _WRITES:
                self.uploaded = False
                self.enter("pack")

    def _stored(self, event: str, args: tuple[Any, ...], path: Path) -> None:
        if path.name == f".{SESSION}.lease":
            if event == "os.rename":
                self._keep(args[0], "lease")
            if event != "open":
                self.enter("claim" if event == "os.rename" else "renew")
        elif self._pack.fullmatch(path.name):
            if event == "open":
                self.uploaded = True
                self.enter("upload" if args[2] & _WRITES else "read back")
            elif event == "os.remove" and not path.name.startswith("."):
                self.enter("swept")
        elif path.name.lstrip(".").startswith(f"{SESSION}.zip"):
            self._index(event, args, path)

    def _index(self, event: str, args: tuple[Any, ...], path: Path) -> None:
        if event == "os.rename":
            self._keep(args[0], "index")
            self.enter("commit" if self.uploaded else "announce")
        elif event == "open" and path.name.startswith("."):
            self.enter("committing" if self.uploaded else "announcing")
        elif event == "open":
            self.enter("index read")

    def _keep(self, source: Any, kind: str) -> None:
        os.link(source, self._history / f"{time.monotonic_ns():020d}.{self._name}.{kind}")

    def enter(self, phase: str) -> None:
        tell("phase", phase=phase)
        if phase == self.stop_at:
            self.skip -= 1
            if self.skip < 0:
                self.stop_at = ""
                tell("stops", phase=phase)
                # To this thread: a signal to the process is seen by another one, and this one would go on for a while.
                _kill_thread(threading.get_ident(), self.stop_by)


class Host:
    """
    A host, until it is killed or its standard input ends.

    `job` says: root, name (of this process), host, machine (what its pids are numbers in), ttl, keep, seed.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.root = Path(job["root"])
        self.job = job
        self.moments = random.Random(job["seed"])
        self.store = store_of(self.root)
        self.profile = self.root / job["host"] / SESSION
        self.profile.parent.mkdir(exist_ok=True)
        self.watch = Watch(self.root, job["name"])
        self.idle = self.release = self.ended = False
        self.count = 0
        self.engine = self._new_engine()

    def _new_engine(self) -> BackupEngine:
        # Without a time of grace: whatever is deleted too early is missed at once.
        return BackupEngine(self.store, session=SESSION, origin=ORIGIN, generations=self.job["keep"], grace=0)

    async def run(self) -> None:
        _holder._machine = lambda: self.job["machine"]
        sys.addaudithook(self.watch)
        threading.Thread(target=self._listen, daemon=True).start()
        while not self.ended:
            await self._one_tenure()

    def _listen(self) -> None:
        for line in sys.stdin:
            told = json.loads(line)
            if "stop_at" in told:
                self.watch.stop_by, self.watch.skip = told["signal"], told["skip"]
                self.watch.stop_at = told["stop_at"]
            self.idle = told.get("idle", self.idle)
            self.release = told.get("release", self.release)
            tell("heard", number=told["number"])
        self.ended = True

    async def _one_tenure(self) -> None:
        keeper = LeaseKeeper(self.store, SESSION, ttl=self.job["ttl"], on_lost=lambda _: None)
        tell("taking")
        fence = 0
        try:
            lease = await keeper.take()
            fence = lease.fence
            tell("taken", fence=fence, holder=keeper.holder)
            await self._use(keeper, lease)
        except SessionInUse as exc:
            tell("refused", holder=exc.holder)
            await asyncio.sleep(self.moments.uniform(0, 0.1))
        except LeaseLost as exc:
            tell("lost", fence=fence, text=str(exc), renewal=keeper.lost is exc)
        except StoreError as exc:
            tell("failed", fence=fence, text=f"{type(exc).__name__}: {exc}")
            await asyncio.sleep(self.moments.uniform(0, 0.1))
        finally:
            tell("releasing", fence=fence)
            await keeper.release()
            if self.release:
                self.release = False
                await asyncio.sleep(1)

    async def _use(self, keeper: LeaseKeeper, lease: Lease) -> None:
        await self._gate(keeper)
        if self.moments.random() < 0.5:
            self.engine = self._new_engine()
        self.engine.lease = lease
        await self.engine.recover(self.profile)
        stored = await self.engine.exists()
        # What was never saved is a login of its own, which takes the place of a stored one; here there is one login only.
        fresh = self.engine.generation == 0 or self.moments.random() < 0.3
        if stored and (fresh or await self.engine.is_behind()):
            self.watch.enter("restore")
            restored = await self.engine.restore(self.profile)
            tell("restored", fence=lease.fence, generation=restored.generation)
        elif not self.profile.exists():
            make_profile(self.profile, log=[b"begin"])
        await self.engine.confirm(self.profile)
        while not self.ended:
            await self._gate(keeper)
            self._change(lease.fence)
            self.watch.uploaded = False
            self.watch.enter("copy")
            report = await self.engine.save(self.profile, before_commit=lambda: _check(keeper))
            tell("committed", fence=lease.fence, count=self.count, generation=report.generation, sha256=report.sha256)
            if self.release or self.moments.random() < 0.03:
                return
            await asyncio.sleep(self.moments.uniform(0, 0.1))

    async def _gate(self, keeper: LeaseKeeper) -> None:
        if self.idle:
            tell("idle")
        while self.idle and not self.ended:  # noqa: ASYNC110 - set in a thread
            await asyncio.sleep(0.01)
        tell("busy")
        _check(keeper)

    def _change(self, fence: int) -> None:
        self.count += 1
        with (self.profile / LOG).open("ab") as file:
            data = record(self.job["name"], fence, self.count, self.moments.choice([10, 300]))
            file.write(frame([data], offset=file.tell()))
        if self.moments.random() < 0.2:
            folder = self.profile / BLOBS / "1" / "00"
            (folder / f"{self.moments.randrange(16, 1 << 30):x}").write_bytes(self.moments.randbytes(3_000))
            for blob in sorted(folder.iterdir())[5:]:
                blob.unlink()


def _check(keeper: LeaseKeeper) -> None:
    if keeper.lost is not None:
        raise keeper.lost


def main() -> None:
    # Whoever started it ends it; Ctrl-C is for that one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(Host(json.loads(sys.argv[1])).run())
