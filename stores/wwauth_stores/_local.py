"""Local files, for every store: the archive that a caller hands in or wants, its bytes, and what the system's errors mean."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wwauth._files import PRIVATE_FILE, replacing
from wwauth.errors import ConfigurationError, StoreDenied, StoreError, StoreFull, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CHUNK = 1024 * 1024

_KINDS: dict[int | None, tuple[type[StoreError], str]] = {
    errno.ENOSPC: (StoreFull, "make room there"),
    errno.EDQUOT: (StoreFull, "make room there, or ask for a larger quota"),
    errno.EACCES: (StoreDenied, "mend its permissions"),
    errno.EPERM: (StoreDenied, "mend its permissions"),
    errno.EROFS: (StoreDenied, "mount it writable"),
}


@contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Turn an `OSError` into the `StoreError` that says what the caller can do about it; `doing` completes "cannot"."""
    try:
        yield
    except OSError as error:
        kind, cure = _KINDS.get(error.errno, (StoreUnavailable, "try again when it answers"))
        raise kind(f"cannot {doing}: {error.strerror or error}; {cure}") from error


def check_path(path: str | os.PathLike[str], *, what: str) -> Path:
    """Return a caller's path as a `Path`; `ConfigurationError`, naming `what` it should be, when it is none."""
    try:
        text = os.fspath(path)
        usable = isinstance(text, str) and text != "" and b"\0" not in os.fsencode(text)
    except (TypeError, UnicodeEncodeError):
        usable = False
    if not usable:
        raise ConfigurationError(f"invalid path {path!r}: name {what}, as text or a pathlib.Path")
    return Path(path)


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
    total = 0
    # Path.open() takes no opener, and a file made before its chmod could be opened by others for a moment.
    with open(target, "xb", buffering=0, opener=_open_private) as file:
        for chunk in chunks:
            total += len(chunk)
            rest = memoryview(chunk)
            while rest:
                rest = rest[file.write(rest) :]
        size = os.fstat(file.fileno()).st_size
    if size != total:
        raise OSError(errno.EIO, f"{size} of {total} bytes were kept", str(target))


def write_target(path: Path, chunks: Iterable[bytes]) -> None:
    """
    Write an extracted archive to `path`, whole or not at all.

    Raises:
        ConfigurationError: `path` is a folder, or the folder that it should lie in is not there.
        StoreError: It cannot be written; the message names the place.
    """
    # Not flushed to the disk: it is a copy of what the store holds.
    with store_errors(f"write {path}"):
        if not path.parent.is_dir():
            raise ConfigurationError(f"cannot extract to {path}: make the folder {path.parent} first")
        if path.is_dir():
            raise ConfigurationError(f"cannot extract to {path}: it is a folder; name a new file")
        with replacing(path, durable=False) as temporary:
            write_private(temporary, chunks)


def _open_private(name: str, flags: int) -> int:
    return os.open(name, flags, PRIVATE_FILE)
