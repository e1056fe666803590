"""The folder store when processes die, disks fill up and callers give up."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.errors import SessionNotFound, StoreDenied, StoreFull, StoreUnavailable
from wwauth.stores import FileSystemStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1024 * 1024

# A source without end, as far as a writer that is about to be killed can tell; sparse, so that it costs no disk.
ENDLESS = 64 * 1024 * MIB

SAVE = """
import asyncio, sys
from wwauth.stores import FileSystemStore
asyncio.run(FileSystemStore(sys.argv[1]).save(session="one", path=sys.argv[2]))
"""

# Permissions do not bind root, so root becomes somebody else first.
AS_NOBODY = """
import asyncio, os, sys
import concurrent.futures.thread  # Python loads it late, and nobody may be barred from where it lies
from wwauth.errors import WWAuthError
from wwauth.stores import FileSystemStore

async def main():
    store = FileSystemStore(sys.argv[1])
    if os.geteuid() == 0:
        os.setuid(65534)
    tries = {
        "exists": store.session_exists(session="one"),
        "save": store.save(session="one", path="/etc/passwd"),
        "extract": store.extract(session="one", path="/tmp/never-written"),
        "delete": store.delete(session="one"),
        "list": anext(store.list_sessions()),
    }
    for name, made in tries.items():
        try:
            print(f"{name}:{await made!r}")
        except WWAuthError as error:
            print(f"{name}:{type(error).__name__}")

asyncio.run(main())
"""


@pytest.fixture
def store(tmp_path: Path) -> FileSystemStore:
    return FileSystemStore(tmp_path / "backups")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "source.zip"
    path.write_bytes(b"a login" * MIB)
    return path


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    path = tmp_path / "endless.zip"
    with path.open("wb") as file:
        file.truncate(ENDLESS)
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 16 MiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs Linux and root, to mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"needs the right to mount a small file system: {mounted.stderr.strip()}")
    yield disk
    if os.path.ismount(disk):
        _run("umount", str(disk))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _save_in_another_process(store: FileSystemStore, path: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", SAVE, str(store.folder), str(path)], env=environment)


def _said_by_another_process(program: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def _temporaries(store: FileSystemStore) -> list[Path]:
    return [path for path in store.folder.iterdir() if path.name.startswith(".")]


async def _holds(store: FileSystemStore, archive: Path) -> bool:
    out = archive.with_name("out.zip")
    await store.extract(session="one", path=out)
    return out.read_bytes() == archive.read_bytes()


async def test_a_writer_killed_in_the_middle_leaves_the_old_archive(
    store: FileSystemStore, archive: Path, endless: Path
) -> None:
    await store.save(session="one", path=archive)
    writer = _save_in_another_process(store, endless)
    try:
        while not any(path.stat().st_size > MIB for path in _temporaries(store)):
            assert writer.poll() is None, "the writer ended by itself"
            await asyncio.sleep(0.001)
    finally:
        writer.kill()
        await asyncio.to_thread(writer.wait)

    (left,) = _temporaries(store)
    assert await _holds(store, archive)
    assert [info.session async for info in store.list_sessions()] == ["one"]
    await store.save(session="two", path=archive)
    await FileSystemStore(store.folder).session_exists(session="one")
    assert left.exists(), "what may belong to a live writer was swept"

    old = time.time() - 3700
    os.utime(left, (old, old))
    await FileSystemStore(store.folder).session_exists(session="one")
    assert not left.exists(), "a new store's first use did not sweep what the dead writer left"
    assert await _holds(store, archive)


async def test_a_save_sweeps_what_grew_old_meanwhile(store: FileSystemStore, archive: Path) -> None:
    await store.save(session="one", path=archive)
    left = store.folder / ".one.zip.0123456789ab.tmp"
    foreign = store.folder / ".somebody.elses.tmp"
    for path in (left, foreign):
        path.write_bytes(b"half a login")
        os.utime(path, (1, 1))
    await store.save(session="one", path=archive)
    assert _temporaries(store) == [foreign]


async def test_delete_deletes_what_crashed_writers_left_of_that_session(store: FileSystemStore, archive: Path) -> None:
    await store.save(session="one", path=archive)
    mine, other = (store.folder / f".{name}.zip.0123456789ab.tmp" for name in ("one", "one.zip.b"))
    for path in (mine, other):
        path.write_bytes(b"half a login")
    await store.delete(session="one")
    assert _temporaries(store) == [other]


async def test_after_a_cancelled_save_nothing_writes_any_more(store: FileSystemStore, archive: Path, endless: Path) -> None:
    await store.save(session="one", path=archive)
    task = asyncio.create_task(store.save(session="one", path=endless))
    while not any(path.stat().st_size > MIB for path in _temporaries(store)):
        assert not task.done()
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _temporaries(store) == []
    assert await _holds(store, archive)


async def test_after_a_cancelled_extract_no_file_is_left(store: FileSystemStore, endless: Path, tmp_path: Path) -> None:
    store.folder.mkdir()
    endless.rename(store.folder / "one.zip")
    out = tmp_path / "out"
    out.mkdir()
    task = asyncio.create_task(store.extract(session="one", path=out / "one.zip"))
    while not any(path.stat().st_size > MIB for path in out.iterdir()):
        assert not task.done()
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(out.iterdir()) == []


async def test_a_full_disk_leaves_the_old_archive(small_disk: Path, archive: Path, endless: Path) -> None:
    store = FileSystemStore(small_disk / "backups")
    await store.save(session="one", path=archive)
    with pytest.raises(StoreFull, match=r"No space left on device; make room"):
        await store.save(session="one", path=endless)
    assert _temporaries(store) == []
    assert await _holds(store, archive)
    await store.save(session="one", path=archive)


async def test_a_full_disk_on_the_way_out_is_named(small_disk: Path, tmp_path: Path, endless: Path) -> None:
    store = FileSystemStore(tmp_path / "backups")
    store.folder.mkdir()
    endless.rename(store.folder / "one.zip")
    with pytest.raises(StoreFull) as caught:
        await store.extract(session="one", path=small_disk / "out.zip")
    assert f"cannot write {small_disk / 'out.zip'}" in str(caught.value)
    assert list(small_disk.iterdir()) == []


async def test_a_disk_that_became_read_only_is_read_and_denies_writing(small_disk: Path, archive: Path) -> None:
    store = FileSystemStore(small_disk / "backups")
    await store.save(session="one", path=archive)
    left = store.folder / ".one.zip.0123456789ab.tmp"
    left.write_bytes(b"half a login")
    os.utime(left, (1, 1))
    _run("mount", "-o", "remount,ro", str(small_disk))
    with pytest.raises(StoreDenied, match="Read-only file system; mount it writable"):
        await store.save(session="one", path=archive)
    with pytest.raises(StoreDenied):
        await store.delete(session="one")
    fresh = FileSystemStore(store.folder)
    assert await fresh.session_exists(session="one") is True
    assert await _holds(fresh, archive)


@pytest.mark.skipif(sys.platform == "win32", reason="only POSIX systems have permission bits")
async def test_a_folder_without_permission_denies_and_never_says_no(store: FileSystemStore, archive: Path) -> None:
    await store.save(session="one", path=archive)
    store.folder.chmod(0o000)
    try:
        said = _said_by_another_process(AS_NOBODY, str(store.folder))
    finally:
        store.folder.chmod(0o700)
    assert said.split() == [
        "exists:StoreDenied",
        "save:StoreDenied",
        "extract:StoreDenied",
        "delete:StoreDenied",
        "list:StoreDenied",
    ]
    assert await _holds(store, archive)


async def test_a_first_save_beside_another_takes_the_new_folder_for_no_loss(tmp_path: Path, archive: Path) -> None:
    """Where one thread is paused between its look and what it makes of it, the other's folder is there: not gone."""
    store = FileSystemStore(tmp_path / "new")
    looking, made = threading.Event(), threading.Event()

    class SlowPath(type(store.folder)):  # type: ignore[misc]
        """A folder whose first answer is heard late."""

        def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
            try:
                info: os.stat_result = super().stat(follow_symlinks=follow_symlinks)
            except FileNotFoundError:
                if not looking.is_set():
                    looking.set()
                    made.wait()
                raise
            return info

    store._folder = SlowPath(store.folder)
    async with asyncio.TaskGroup() as group:
        group.create_task(store.save(session="one", path=archive))
        await asyncio.to_thread(looking.wait)
        try:
            await store.save(session="two", path=archive)
        finally:
            made.set()
    assert [info.session async for info in store.list_sessions()] == ["one", "two"]


async def test_an_archive_that_is_deleted_while_it_is_opened_is_not_there(tmp_path: Path, archive: Path) -> None:
    store = FileSystemStore(tmp_path / "backups")
    await store.save(session="one", path=archive)

    class Deleted(type(store.folder)):  # type: ignore[misc]
        """A file that somebody deletes between the look at it and its opening."""

        def open(self, *arguments: Any, **options: Any) -> Any:
            self.unlink()
            return super().open(*arguments, **options)

    store._folder = Deleted(store.folder)
    with pytest.raises(SessionNotFound):
        await store.extract(session="one", path=tmp_path / "out.zip")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file systems ignore case")
async def test_an_archive_that_is_deleted_while_it_is_found_is_none_of_another_case(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileSystemStore(tmp_path / "backups")
    for name in ("one", "One"):
        await store.save(session=name, path=archive)

    def listdir(folder: Path) -> list[str]:
        (folder / "one.zip").unlink(missing_ok=True)
        return listed(folder)

    listed = os.listdir
    monkeypatch.setattr(os, "listdir", listdir)
    assert await store.session_exists(session="one") is False
    assert await store.session_exists(session="One") is True


async def test_what_is_not_mounted_any_more_is_unavailable(small_disk: Path, archive: Path) -> None:
    store = FileSystemStore(small_disk)
    await store.save(session="one", path=archive)
    _run("umount", str(small_disk))
    with pytest.raises(StoreUnavailable, match="nothing is mounted"):
        await store.session_exists(session="one")
    with pytest.raises(StoreUnavailable, match="nothing is mounted"):
        await store.save(session="one", path=archive)
    assert list(small_disk.iterdir()) == [], "the login was written beneath the missing disk"
