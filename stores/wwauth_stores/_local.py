"""Local files, for every store: the archive that a caller hands in or wants, its bytes, and what the system's errors mean."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from wwauth._disk import store_errors
from wwauth._files import private_opener, replacing
from wwauth.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from io import FileIO
    from pathlib import Path

CHUNK = 1024 * 1024


def check_prefix(prefix: str) -> None:
    """Refuse what is not text, with a `ConfigurationError`; any text may be a prefix, also one that no name has."""
    if not isinstance(prefix, str):
        raise ConfigurationError(f"invalid prefix {prefix!r}: give the beginning of a session's name, as text")


@contextmanager
def open_source(path: Path) -> Iterator[BinaryIO]:
    """Open the archive that a caller wants saved; `ConfigurationError` when it is not a file that can be read."""
    try:
        # Asked before opening: the opening of a pipe would wait for its writer for ever.
        regular = stat.S_ISREG(path.stat().st_mode)
        source = path.open("rb", buffering=0) if regular else None
    except FileNotFoundError as error:
        raise ConfigurationError(f"cannot save {path}: there is no such file") from error
    except OSError as error:
        raise ConfigurationError(f"cannot save {path}: it cannot be read ({error.strerror})") from error
    if source is None:
        raise ConfigurationError(f"cannot save {path}: it is not a file")
    with source:
        yield source


def read_source(source: BinaryIO, check: Callable[[], None]) -> Iterator[bytes]:
    """
    Yield a caller's archive in chunks, each of them bytes of its own.

    Raises:
        StoreError: It cannot be read to its end, or another process changed its length meanwhile.
    """
    total = 0
    try:
        size = os.fstat(source.fileno()).st_size
        while chunk := source.read(CHUNK):
            check()
            total += len(chunk)
            yield chunk
    except OSError as error:
        raise StoreError(f"cannot read the archive {source.name}: {error.strerror}") from error
    if total != size:
        raise StoreError(
            f"the archive {source.name} changed while it was saved ({size} bytes at first, {total} read): save it "
            f"once its writer has closed it"
        )


def write_private(target: Path, chunks: Iterable[bytes]) -> None:
    """Write the new file `target`, 0600 from its first moment, and check its length."""
    with new_private(target) as file:
        for chunk in chunks:
            file.write(chunk)


class PrivateFile:
    """A new file that is written, and counts what it takes; made by `new_private`."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.size = 0

    def write(self, data: bytes, /) -> int:
        """Write all of `data`: an unbuffered file may take less at a time."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.size += len(data)
        return len(data)


@contextmanager
def new_private(target: Path) -> Iterator[PrivateFile]:
    """Make the new file `target`, 0600 from its first moment; at the end `OSError`, unless it has all that was written."""
    # Path.open() takes no opener, and a file made before its chmod could be opened by others for a moment.
    with open(target, "xb", buffering=0, opener=private_opener) as file:
        written = PrivateFile(file)
        yield written
        size = os.fstat(file.fileno()).st_size
    if size != written.size:
        raise OSError(errno.EIO, f"{size} of {written.size} bytes were kept", str(target))


def write_target(path: Path, chunks: Iterable[bytes]) -> None:
    """
    Write an extracted archive to `path`, whole or not at all.

    Raises:
        ConfigurationError: `path` is a folder, or the folder that it should lie in is not there.
        StoreError: It cannot be written; the message names the place.
    """
    with new_target(path) as temporary:
        write_private(temporary, chunks)


@contextmanager
def new_target(path: Path) -> Iterator[Path]:
    """Yield the name to write an extracted archive to, and put it at `path` at the end; raises as `write_target` does."""
    with store_errors(f"write {path}"):
        check_target(path)
        # Not flushed to the disk: it is a copy of what the store holds.
        with replacing(path, durable=False) as temporary:
            yield temporary


def check_target(path: Path) -> None:
    """Refuse, with a `ConfigurationError`, a `path` to which no archive can be extracted."""
    if not path.parent.is_dir():
        raise ConfigurationError(f"cannot extract to {path}: make the folder {path.parent} first")
    if path.is_dir():
        raise ConfigurationError(f"cannot extract to {path}: it is a folder; name a new file")
