"""Disks and stores that fail, in each of their ways: the newest committed generation stands, and nothing is left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.abc import Store
from wwauth.backup import BackupEngine
from wwauth.errors import LeaseLost, SessionCorrupted, SnapshotFailed, StoreDenied, StoreError, StoreFull
from wwauth.stores import FileSystemStore

from ..soak.evidence import write_evidence
from ..soaking import SOAK
from ..unit.profiles import ORIGIN
from .checks import Checks
from .failing import Failing
from .killed import SESSION, change, contents, new_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Faults(Checks):
    """Calls that fail, each followed by the checks."""

    def prepare(self) -> None:
        """Save twice, so that there is something to lose, and change the profile."""
        for _ in range(2):
            asyncio.run(self._check_next_start())
        change(self.profile, self.moments)

    def before(self, verb: str) -> None:
        """Take note of what may come of a call."""
        change(self.profile, self.moments)
        now = contents(self.profile)
        self.truth.profiles, self.truth.asides = {now}, {None}
        if verb == "save":
            self.truth.pending = (now,)
        else:
            self.truth.pending = ()
            self.truth.profiles |= {self.truth.committed}
            self.truth.asides |= {now}

    def after(self, verb: str, *, failed: bool) -> None:
        """Take note of what came of it, and check."""
        if not failed and verb == "save":
            (self.truth.committed,) = self.truth.pending
        elif not failed:
            self.truth.profiles = {self.truth.committed}
        self.check_store()
        self.truth.pending = ()
        self.check_next_start()

    def call(self, verb: str, engine: BackupEngine) -> Exception | None:
        """Save or restore here; return what was raised."""
        self.before(verb)
        try:
            asyncio.run(getattr(engine, verb)(self.profile))
        except Exception as exc:
            return exc
        return None


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    made = Faults(tmp_path, seed=3)
    made.prepare()
    return made


@pytest.fixture
def failing(faults: Faults) -> Iterator[Failing]:
    process = Failing(faults.root)
    yield process
    process.close()


@pytest.mark.skipif(sys.platform == "win32", reason="hands a descriptor to a process")
@pytest.mark.timeout(3600 if SOAK else 300)
@pytest.mark.parametrize("verb", ["save", "restore"])
def test_each_operation_on_files_may_fail(faults: Faults, failing: Failing, verb: str) -> None:
    faults.before(verb)
    operations = failing.call(verb)["operations"]
    faults.after(verb, failed=False)
    assert operations > 40
    step = 1 if SOAK else operations // 7
    errors = [errno.EIO, errno.EPERM, errno.ENOSPC, errno.EROFS, errno.EACCES]
    outcomes: Counter[str] = Counter()
    for number in range(1 if SOAK else 1 + faults.moments.randrange(step), operations + 1, step):
        faults.before(verb)
        told = failing.call(verb, fatal=number, error=errors[number % len(errors)])
        outcomes[told["error"]] += 1
        # A restore says what the disk says; a save and a store have errors of their own.
        assert told["error"] == "" or told["typed"] or (verb == "restore" and told["system"]), told
        faults.after(verb, failed=told["error"] != "")
    if SOAK:
        write_evidence(
            f"faults-{verb}",
            what=f"each operation on files of a {verb} failed in turn, with EIO, EPERM, ENOSPC, EROFS or EACCES; after each, "
            "the newest committed generation is restored, and all places where something temporary may lie are looked at",
            command="make soak",
            operations=operations,
            outcomes={error or "succeeded all the same": count for error, count in sorted(outcomes.items())},
        )
    assert outcomes.keys() != {""}


@pytest.mark.skipif(sys.platform == "win32", reason="hands a descriptor to a process")
@pytest.mark.timeout(3600 if SOAK else 300)
def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(faults: Faults, failing: Failing) -> None:
    faults.before("save")
    count = failing.call("save", listings=True)["operations"]
    faults.after("save", failed=False)
    failed = 0
    for number in range(1, count + 1, 1 if SOAK else 3):
        faults.before("save")
        told = failing.call("save", fatal=number, error=errno.EACCES, listings=True)
        failed += told["error"] != ""
        if told["error"]:
            assert told["typed"], told
        else:
            # What was committed has all that the profile has.
            (faults.truth.committed,) = faults.truth.pending
        faults.check_store()
    assert failed > (3 if SOAK else 1)


TAMPERED = [
    "fsync:error=EIO",
    "write:error=EIO",
    "write:error=ENOSPC",
    "read:error=EIO",
    "rename:error=EPERM",
    "link:error=EPERM",
]


@pytest.mark.timeout(3600 if SOAK else 300)
@pytest.mark.parametrize("tampering", TAMPERED if SOAK else TAMPERED[:2])
def test_system_calls_that_fail_now_and_then(faults: Faults, failing: Failing, tampering: str) -> None:
    rounds = 12 if SOAK else 2
    for verb in ("save", "restore"):  # so that all is imported
        faults.before(verb)
        failing.call(verb)
        faults.after(verb, failed=False)
    failed = 0
    first = 2
    with tampered(failing.pid, f"{tampering}:when={first}+17"):
        for number in range(rounds):
            verb = ("save", "restore")[number % 2]
            faults.before(verb)
            told = failing.call(verb)
            failed += told["error"] != ""
            assert told["error"] == "" or told["typed"] or (verb == "restore" and told["system"]), told
            faults.after(verb, failed=told["error"] != "")
    # Without hard links, copies are made.
    assert failed > 0 or tampering.startswith("link")


class tampered:  # noqa: N801 - used as a function
    """Let system calls of a process, and of its threads, fail; by strace."""

    def __init__(self, pid: int, rule: str) -> None:
        strace = shutil.which("strace")
        if strace is None:
            pytest.skip("needs strace, which lets system calls fail")
        traced = rule.partition(":")[0]
        command = [strace, "-f", "-o", "/dev/null", "-e", f"trace={traced}", "-e", f"inject={rule}", "-p", str(pid)]
        self._strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> None:
        assert self._strace.stderr is not None
        said = self._strace.stderr.readline()
        if "attached" not in said:
            self._strace.communicate()
            pytest.skip(f"strace may not attach: {said.strip()}")

    def __exit__(self, *_: object) -> None:
        self._strace.send_signal(signal.SIGINT)
        self._strace.communicate()


@pytest.fixture(params=["store", "work", "data"])
def full(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, Callable[[int | None], None]]]:
    """Mount a small disk there; yield the place, and what leaves so many free KiB there (None: plenty)."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs Linux and root, to mount a small file system")
    disk = tmp_path / request.param
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs the right to mount a small file system: {mounted.stderr.strip()}")

    def leave(free: int | None) -> None:
        usage = os.statvfs(disk)
        used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize // 1024
        size = 65536 if free is None else max(4, used + free)
        subprocess.run(["mount", "-o", f"remount,size={size}k", str(disk)], check=True)

    yield request.param, leave
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.timeout(300)
def test_a_full_disk_at_each_place(tmp_path: Path, full: tuple[str, Callable[[int | None], None]]) -> None:
    place, leave = full
    faults = Faults(tmp_path, seed=4)
    faults.job["work_dir"] = place == "work"
    faults.prepare()
    outcomes: dict[str, list[Exception | None]] = {"save": [], "restore": []}
    for verb, found in outcomes.items():
        for free in (0, 60, 300, 900, 4000):
            faults.before(verb)
            leave(free)
            error: Exception | None = None
            try:
                asyncio.run(getattr(new_engine(tmp_path, work_dir=place == "work"), verb)(faults.profile))
            except Exception as exc:
                error = exc
            leave(None)
            found.append(error)
            faults.after(verb, failed=error is not None)
    full_store = StoreFull if place == "store" else (StoreFull, SnapshotFailed, OSError)
    for verb, found in outcomes.items():
        assert all(error is None or isinstance(error, full_store) for error in found), found
        assert found[-1] is None, f"there was room for a {verb}: {found[-1]}"
    assert outcomes["save"][0] is not None
    assert (outcomes["restore"][0] is None) == (place == "store")


def test_a_store_that_must_not_be_written_to_says_so(faults: Faults) -> None:
    chattr = shutil.which("chattr")
    if chattr is None or subprocess.run([chattr, "+i", str(faults.store)], capture_output=True, check=False).returncode:
        pytest.skip("needs chattr, the right to use it, and a file system that has it")
    try:
        error = faults.call("save", new_engine(faults.root))
    finally:
        subprocess.run([chattr, "-i", str(faults.store)], check=True)
    assert isinstance(error, StoreDenied)
    assert "mend its permissions" in str(error)
    faults.after("save", failed=True)


class Wrapped(Store):
    """Calls a store, and counts the calls; what is special is in the subclasses."""

    def __init__(self, folder: Path) -> None:
        self.inner = FileSystemStore(folder)
        self.calls = 0

    async def call(self, verb: str, session: str, path: Path | None = None) -> Any:
        self.calls += 1
        arguments = {} if path is None else {"path": path}
        return await getattr(self.inner, verb)(session=session, **arguments)

    async def session_exists(self, *, session: str) -> bool:
        return bool(await self.call("session_exists", session))

    async def save(self, *, session: str, path: Path) -> None:
        await self.call("save", session, path)

    async def extract(self, *, session: str, path: Path) -> None:
        await self.call("extract", session, path)

    async def delete(self, *, session: str) -> None:
        await self.call("delete", session)


class Lying(Wrapped):
    """Returns other bytes than it was given, at one of its extracts."""

    def __init__(self, folder: Path, turn: int, lie: Callable[[str, bytes], bytes]) -> None:
        super().__init__(folder)
        self.left, self.lie, self.lied = turn, lie, False

    async def call(self, verb: str, session: str, path: Path | None = None) -> Any:
        result = await super().call(verb, session, path)
        if verb == "extract" and path is not None:
            self.left -= 1
            if self.left == 0:
                self.lied = True
                path.write_bytes(self.lie(session, path.read_bytes()))
        return result


@pytest.mark.parametrize("kind", ["flipped", "truncated", "empty", "longer", "older", "another session's", "an error page"])
def test_a_store_that_lies_costs_nothing(faults: Faults, tmp_path: Path, kind: str) -> None:
    older = {path.name.removesuffix(".zip"): path.read_bytes() for path in faults.store.iterdir()}
    other = BackupEngine(FileSystemStore(tmp_path / "other"), session=f"{SESSION}-2", origin=ORIGIN)
    shutil.copytree(faults.profile, tmp_path / "theirs" / f"{SESSION}-2")
    asyncio.run(other.save(tmp_path / "theirs" / f"{SESSION}-2"))
    theirs = {path.name.count("."): path.read_bytes() for path in (tmp_path / "other").iterdir()}
    moments = random.Random(kind)

    def lie(name: str, data: bytes) -> bytes:
        at = moments.randrange(len(data))
        lies = {
            "flipped": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
            "truncated": data[:at],
            "empty": b"",
            "longer": data + b"more",
            "older": older.get(name, older[SESSION]),
            "another session's": theirs[name.count(".") + 1],
            "an error page": b"<html>503</html>",
        }
        return lies[kind]

    committed = {faults.truth.committed}
    for verb in ("save", "restore"):
        for turn in range(1, 10, 1 if SOAK else 2):
            lying = Lying(faults.store, turn, lie)
            engine = BackupEngine(lying, session=SESSION, origin=ORIGIN, generations=3, grace=0)
            error = faults.call(verb, engine)
            assert error is None or isinstance(error, StoreError | SessionCorrupted | LeaseLost), repr(error)
            if verb == "restore" and error is None:
                # An older generation that is whole: what the store says is all that is known here.
                faults.truth.profiles |= committed
            faults.after(verb, failed=verb == "restore" or error is not None)
            committed.add(faults.truth.committed)
            if not lying.lied:
                break
        assert turn > 2
