"""Files that hold logins: private, durable, replaced whole. Everything here blocks; call it from a thread."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import sys
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

PRIVATE_DIR = 0o700
PRIVATE_FILE = 0o600

# A leading dot, which no client id and no session name has, and this ending mark what a sweep may delete.
_TEMPORARY = ".tmp"
_TOKEN_BYTES = 6
_TOKEN = "[0-9a-f]" * (2 * _TOKEN_BYTES)


def make_private_dir(path: Path) -> None:
    """Create a folder and its parents; the folder itself is 0700 even when it was there before."""
    path.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
    if os.name == "posix":
        path.chmod(PRIVATE_DIR)


def private_opener(path: str, flags: int) -> int:
    """Open a file for `open(…, opener=private_opener)`: one that is made is 0600 from its first byte on."""
    return os.open(path, flags, PRIVATE_FILE)


def temporary_sibling(path: Path) -> Path:
    """Return a hidden, unused name beside `path`, on the same file system, which `sweep_temporaries` recognises."""
    return path.with_name(f".{path.name}.{secrets.token_hex(_TOKEN_BYTES)}{_TEMPORARY}")


def unused_name(path: Path) -> Path:
    """Return `path`, or where that exists the first of `path.2`, `path.3`, … that does not."""
    number, unused = 1, path
    while os.path.lexists(unused):
        number += 1
        unused = path.with_name(f"{path.name}.{number}")
    return unused


def sweep_temporaries(folder: Path, *, name: str = "*", older_than: float = 0.0) -> None:
    """Delete what crashed writers left of `temporary_sibling(folder / name)`; `older_than` seconds spares live ones."""
    limit = time.time() - older_than
    for path in folder.glob(f".{name}.{_TOKEN}{_TEMPORARY}"):
        try:
            if path.lstat().st_mtime > limit:
                continue
        except FileNotFoundError:
            continue
        remove_tree(path)


@contextmanager
def replacing(path: Path, *, durable: bool = True, guard: AbstractContextManager[object] | None = None) -> Iterator[Path]:
    """
    Yield a temporary name; on success what was written there replaces `path` at once and durably, else it is deleted.

    The file is made 0600, flushed to the disk before the rename, and the folder after it, so that a crash at any moment
    leaves the old file or the new one. `durable=False` leaves out the flushing, for files that need not outlive a
    crash of the machine. `guard` is held around the rename alone; when entering it raises, the old file stands.
    """
    temporary = temporary_sibling(path)
    try:
        yield temporary
        if os.name == "posix":
            temporary.chmod(PRIVATE_FILE)
        if durable:
            sync_file(temporary)
        with guard or nullcontext():
            _rename(temporary, path)
        if durable:
            sync_dir(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: str) -> str:
    """Return what `temporary_sibling` does, for those who make thousands: a Path costs more than a call of the system."""
    folder, _, name = path.rpartition(os.sep)
    # Not the whole name, which may be as long as a file's name can be.
    return f"{folder}{os.sep}.{name[:50]}.{secrets.token_hex(_TOKEN_BYTES)}{_TEMPORARY}"


def write_temporary(path: str, data: bytes, *, durable: bool) -> str:
    """
    Write `data` to a new `temporary_sibling` of `path`, 0600, flushed to the disk when `durable`, and return its name.

    For those who replace many small files at a time, and rename them themselves; when it fails, nothing is left.
    """
    temporary = temporary_name(path)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), PRIVATE_FILE)
    try:
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(fd, left) :]
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException:
        os.unlink(temporary)  # noqa: PTH108 - as above: no Path is made for each of them
        raise
    return temporary


def _rename(source: Path, target: Path) -> None:
    if sys.platform == "win32":
        # Windows refuses to replace a file that somebody reads, a virus scanner for one: wait for the reader's end.
        for attempt in range(10):
            try:
                source.replace(target)
            except PermissionError:
                time.sleep(0.1 * (attempt + 1))
            else:
                return
    source.replace(target)


def sync_file(path: Path) -> None:
    """Flush a file's bytes to the disk."""
    # Windows flushes only through a descriptor that may write.
    fd = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_dir(path: Path) -> None:
    """Flush a folder's list of names to the disk, where the platform can open folders."""
    if os.name != "posix":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        # Samba and VirtualBox shares open folders and then cannot flush them, as borg found; the rename stands.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(fd)


def remove_tree(path: Path, *, max_retries: int = 4) -> None:
    """
    Delete a file or a folder with all that is in it; nothing there is no error.

    What is busy is tried again `max_retries` times, waiting 100 ms longer each time, as Node's `fs.rm` does.

    Raises:
        OSError: It could not be deleted.
    """
    for attempt in range(max_retries + 1):
        try:
            if path.is_dir() and not path.is_symlink():
                _remove_folder(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError) and not path.exists():
                return
            if attempt == max_retries:
                raise
            time.sleep(0.1 * (attempt + 1))
        else:
            return


def _remove_folder(path: Path) -> None:
    # What is gone when its turn comes was deleted by somebody else: before Python 3.13 that would end it.
    def failed(_: object, __: object, error: BaseException) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    if sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=failed)
    else:
        shutil.rmtree(path, onerror=lambda function, name, info: failed(function, name, info[1]))
