"""Small file helpers: private from the first byte, whole writes, many descriptors. Everything here blocks."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import PRIVATE_DIR, PRIVATE_FILE, sync_dir, sync_file

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    from io import FileIO

CHUNK = 1 << 20

# A disk takes several flushes at a time.
_FLUSHES_AT_ONCE = 4

_COMMON = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def open_shared(path: Path) -> int:
    """Open a browser's file for reading, never through a symbolic link; the caller closes the descriptor."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | _COMMON
    try:
        return os.open(path, flags)
    except OSError as exc:
        if exc.errno != errno.EMFILE or not _raise_descriptor_limit():
            raise
        return os.open(path, flags)


def _raise_descriptor_limit() -> bool:
    """Allow this process all the descriptors it may have; False when it has them already."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            except (OSError, ValueError):
                return False
            return True
    return False


def create_private(path: Path) -> FileIO:
    """Create a new 0600 file for writing, unbuffered; the caller closes it."""
    return open_unbuffered(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _COMMON, PRIVATE_FILE))


def open_unbuffered(fd: int) -> FileIO:
    """Wrap a descriptor for writing; it is closed with the file."""
    return os.fdopen(fd, "wb", buffering=0)


def write_private(path: Path, data: bytes) -> None:
    """Write a new 0600 file."""
    with create_private(path) as file:
        write_all(file, data)


def write_all(file: FileIO, data: bytes) -> None:
    """Write all of `data`: an unbuffered file may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def make_dirs(path: Path) -> None:
    """Create a folder and its parents, each of them 0700."""
    if not path.is_dir():
        make_dirs(path.parent)
        path.mkdir(mode=PRIVATE_DIR, exist_ok=True)


def list_tree(root: Path) -> list[Path]:
    """
    Return all files and folders of a tree, sorted; links to folders are not followed.

    A folder that cannot be listed raises its `OSError`; `Path.rglob` would take it for an empty one, and a backup would lack
    what lies in it, without a word.
    """
    found: list[Path] = []
    for folder, folders, files in os.walk(root, onerror=_refuse):
        found += [root / folder / name for name in (*folders, *files)]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise error


def sync_tree(root: Path) -> None:
    """
    Flush all files and folders of a tree to the disk.

    Raises:
        OSError: Something could not be written.
    """
    if _reports_errors(root):
        # One flush of the device, where a thousand files take a thousand.
        fd = os.open(root, os.O_RDONLY)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.syncfs(fd):
                raise OSError(ctypes.get_errno(), "the file system could not be flushed", str(root))
        finally:
            os.close(fd)
        return
    with ThreadPoolExecutor(_FLUSHES_AT_ONCE, thread_name_prefix="wwauth-fsync") as pool:
        for folder, _, files in os.walk(root, onerror=_refuse):
            path = Path(folder)
            for _ in pool.map(sync_file, [path / name for name in files]):
                pass
            sync_dir(path)


def _reports_errors(path: Path) -> bool:
    """
    Tell whether `syncfs` reports what could not be written.

    Linux does so since 5.8, but not through a file system that is stacked on another.
    """
    if sys.platform != "linux":
        return False
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if version is None or (int(version[1]), int(version[2])) < (5, 8):
        return False
    device = path.stat().st_dev
    place = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return False
    # The device is the third field, the type follows a dash.
    found = {line.partition(" - ")[2].split(" ")[0] for line in mounts.splitlines() if line.split(" ")[2] == place}
    return bool(found) and found <= {"ext4", "xfs", "f2fs"}
