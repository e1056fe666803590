"""
The process that is killed: it changes a profile, saves, prunes, restores, deletes, and tells what it does.

What it tells goes into a pipe, line by line, with one write each: what was written before a SIGKILL arrives. It is forked
from a process that has everything imported, so that a thousand of them cost little.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wwauth.backup import BackupEngine
from wwauth.backup._state import STATE_FILE
from wwauth.backup.leveldb import read_manifest
from wwauth.errors import SessionNotFound
from wwauth.stores import FileSystemStore

from ..unit.profiles import BLOBS, FOOTER, INDEXED_DB, ORIGIN, edit, frame, make_profile, varint

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

SESSION = "RemoteAuth-one"
# SIGKILL, which Windows does not have.
KILL = 9

LOG = f"{INDEXED_DB}/000006.log"
MANIFEST = f"{INDEXED_DB}/MANIFEST-000001"

_LARGEST_LOG = 400_000
_MOST_TABLES, _MOST_BLOBS = 4, 6


def folders(root: Path) -> tuple[Path, Path]:
    """Return the profile and the store's folder."""
    return root / "data" / SESSION, root / "store"


def new_engine(root: Path, *, keep: int = 3, work_dir: bool = False) -> BackupEngine:
    store = FileSystemStore(folders(root)[1])
    work = root / "work" if work_dir else None
    return BackupEngine(store, session=SESSION, origin=ORIGIN, generations=keep, work_dir=work, grace=0)


def contents(profile: Path) -> str | None:
    """Return a digest over the names and the bytes of all files that are saved; None: there is no profile."""
    if not profile.is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(profile.rglob("*")):
        name = path.relative_to(profile).as_posix()
        if path.is_file() and name.startswith(("Default/IndexedDB", "Default/Local")) and path.name not in {"LOCK", "LOG"}:
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def change(profile: Path, moments: random.Random) -> None:
    """Write to a profile as a browser does, so that it is whole after each step: records, tables, blobs."""
    if not profile.is_dir():
        make_profile(profile, table=moments.randbytes(300_000))
        return
    version, _ = read_manifest(profile / MANIFEST, checksums=True)
    for path in (profile / INDEXED_DB).glob("*.ldb"):
        if int(path.stem) not in version.tables:
            path.unlink()  # as LevelDB does with what a crash left
    log, records = profile / LOG, [moments.randbytes(moments.choice([100, 5_000, 120_000])) for _ in range(2)]
    if log.stat().st_size > _LARGEST_LOG:
        log.write_bytes(frame(records))
    else:
        with log.open("ab") as file:
            file.write(frame(records, offset=file.tell()))
    if moments.random() < 0.3:
        _compact(profile, moments)
    if moments.random() < 0.4:
        folder = profile / BLOBS / "1" / "00"
        (folder / f"{moments.randrange(16, 1 << 30):x}").write_bytes(moments.randbytes(moments.choice([0, 3_000, 90_000])))
        for blob in sorted(folder.iterdir())[_MOST_BLOBS:]:
            blob.unlink()


def _compact(profile: Path, moments: random.Random) -> None:
    """Write a table, say so in the MANIFEST, and delete one that it says is gone."""
    tables = sorted(int(path.stem) for path in (profile / INDEXED_DB).glob("*.ldb"))
    table = moments.randbytes(150_000) + FOOTER
    number = tables[-1] + 1 if tables[-1] != 5 else 7
    (profile / INDEXED_DB / f"{number:06d}.ldb").write_bytes(table)
    gone = tables[0] if len(tables) >= _MOST_TABLES else None
    record = edit(numbers={3: number + 1}, tables={number: len(table)})
    if gone is not None:
        record += varint(6) + varint(0) + varint(gone)
    with (profile / MANIFEST).open("ab") as file:
        file.write(frame([record], offset=file.tell()))
    if gone is not None:
        (profile / INDEXED_DB / f"{gone:06d}.ldb").unlink()


def tell(kind: str, **what: Any) -> None:
    """Write one line, whole before the next kill."""
    line = json.dumps({"kind": kind, **what}) + "\n"
    os.write(1, line.encode())


class Watch:
    """
    Sees each operation on files before it is done: tells the phase that it begins, and dies at the one that is chosen.

    Args:
        root: Everything lies under it.
        fatal: The operation on files before which to die, counted from 1 once `armed`.
    """

    def __init__(self, root: Path, fatal: int | None) -> None:
        self._root = root
        self._profile, self._store = folders(root)
        self._fatal = fatal
        self._pack = re.compile(rf"\.?{re.escape(SESSION)}\.\d+\.[0-9a-f]{{8}}\.zip.*")
        self.verb, self.phase = "", ""
        self.operations = 0
        self.armed = False
        self._counted = 0
        self._uploaded = False

    def begin(self, verb: str, phase: str) -> None:
        self.verb, self.phase, self._uploaded, self.operations = verb, "", verb == "delete", 0
        self._enter(phase)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.verb or not _changes(event, args):
            return
        self.operations += 1
        self._counted += self.armed
        if self.armed and self._counted == self._fatal:
            os.kill(os.getpid(), KILL)
        phase = self._phase(event, *(Path(os.fsdecode(arg)) for arg in args[:2] if isinstance(arg, str | bytes | os.PathLike)))
        if phase is not None:
            self._enter(phase)

    def _enter(self, phase: str) -> None:
        phase = f"{self.verb}: {phase}"
        if phase != self.phase:
            self.phase = phase
            tell("phase", phase=phase)

    def _phase(self, event: str, path: Path, other: Path | None = None) -> str | None:
        if path.name.startswith(f".{STATE_FILE}"):
            return "note"
        if path.parent == self._store:
            return self._stored(event, path)
        if event == "os.rename":
            return "swap" if self._profile in {path, other} else None
        if event == "shutil.rmtree":
            return "clean up" if path.parent in {self._profile.parent, self._root / "work"} else None
        if self.verb == "save":
            return "pack" if path.name == "pack.zip" else None
        return "build" if self.verb == "restore" and "profile" in path.parts[len(self._root.parts) :] else None

    def _stored(self, event: str, path: Path) -> str | None:
        if event == "os.remove":
            return "sweep" if not path.name.startswith(".") else None
        if not self._pack.fullmatch(path.name):
            return "commit" if self._uploaded else "announce"
        self._uploaded = True
        return "upload"


def _changes(event: str, args: tuple[Any, ...]) -> bool:
    if event == "open":
        return isinstance(args[0], str | bytes | os.PathLike) and bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "shutil.rmtree"}


class Work:
    """What one process does, until it is killed."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.root = Path(job["root"])
        self.profile, _ = folders(self.root)
        self.job = job
        self.moments = random.Random(job["seed"])
        self.watch = Watch(self.root, job["fatal"])
        self.engine = self._engine()
        self.target = False

    def _engine(self, keep: int | None = None) -> BackupEngine:
        return new_engine(self.root, keep=keep or self.job["keep"], work_dir=self.job["work_dir"])

    async def run(self) -> None:
        sys.addaudithook(self.watch)
        *before, target = self.job["verbs"]
        for verb in before:
            await getattr(self, verb)()
        self.target = True
        await getattr(self, target)()
        tell("end")
        await asyncio.sleep(3600)

    def _change(self) -> None:
        tell("change")
        change(self.profile, self.moments)

    def _begin(self, verb: str, phase: str) -> None:
        now, aside = contents(self.profile), contents(self.engine.previous(self.profile))
        first = self.target and not self.watch.armed
        tell("begin", verb=verb, profile=now, previous=aside, target=first)
        self.watch.armed = self.target
        self.watch.begin(verb, phase)

    def _done(self, verb: str, **what: Any) -> None:
        self.watch.verb = ""
        tell("done", verb=verb, operations=self.watch.operations, **what)

    async def start(self) -> None:
        """As RemoteAuth does before it opens a browser."""
        self._begin("start", "recover")
        await self.engine.recover(self.profile)
        self._done("start")
        if not self.profile.exists() or await self.engine.is_behind():
            await self._restore()
        if self.profile.exists():
            await self.confirm()

    async def save(self) -> None:
        self._change()
        self._begin("save", "copy")
        report = await self.engine.save(self.profile)
        self._done("save", generation=report.generation, upload=report.kind)

    async def prune(self) -> None:
        """Keep one generation instead of several: all others are deleted."""
        self.engine = self._engine(keep=1)
        await self.save()
        self.engine = self._engine()

    async def restore(self) -> None:
        self._change()
        await self._restore()
        if self.moments.random() < 0.6:
            await self.confirm()

    async def _restore(self) -> None:
        self._begin("restore", "fetch")
        try:
            report = await self.engine.restore(self.profile)
        except SessionNotFound:
            self._done("restore", generation=None)
        else:
            self._done("restore", generation=report.generation)

    async def confirm(self) -> None:
        self._begin("confirm", "clean up")
        await self.engine.confirm(self.profile)
        self._done("confirm")

    async def delete(self) -> None:
        self._begin("delete", "look")
        await self.engine.delete(self.profile)
        self._done("delete")


def nursery() -> None:
    """Fork a worker on backups for each job that comes in."""
    fork_workers(lambda job: Work(job).run())


def fork_workers(work: Callable[[dict[str, Any]], Coroutine[Any, Any, None]]) -> None:
    """Fork a worker for each job that comes in, and say how it ended."""
    if sys.platform == "win32":
        return
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            _live(work, json.loads(line))
        _, status = os.waitpid(pid, 0)
        tell("dead", signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, at=time.monotonic())


def _live(work: Callable[[dict[str, Any]], Coroutine[Any, Any, None]], job: dict[str, Any]) -> None:
    tell("born", pid=os.getpid())
    try:
        asyncio.run(work(job))
    except BaseException:
        tell("error", text=traceback.format_exc()[-3000:])
    finally:
        os._exit(1)
