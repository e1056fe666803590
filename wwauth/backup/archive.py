"""
One plain zip of a profile, as unmodified whatsapp-web.js writes and reads it.

Inside lie `Default/IndexedDB/…` and `Default/Local Storage/…` with an entry for each folder, stored or deflated. The
zip's comment tells the generation and the digest of the content; whatsapp-web.js and other readers skip it. All
functions block: call them from a thread. `check()` is called between pieces of work and may raise to stop it.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._files import remove_tree
from .._names import NUMBER_DIGITS
from ..errors import ConfigurationError, SessionCorrupted, SnapshotFailed
from ._io import CHUNK, create_private, list_tree, make_dirs, write_all
from ._paths import HostileArchive, shown
from ._zipread import Limits, read_directory, read_entry
from .layout import INDEXED_DB, LOCAL_STORAGE, SQLITE_LOCAL_STORAGE

try:
    from isal import isal_zlib
except ImportError:  # there are no wheels of it for every platform
    isal_zlib = None  # type: ignore[assignment]

# ISA-L's is five times as fast.
crc32 = zlib.crc32 if isal_zlib is None else isal_zlib.crc32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from io import FileIO
    from pathlib import Path

    from ._zipread import Directory, Entry

# A number with more digits than an index takes would be in the way of every later backup.
_STAMP = re.compile(rb"wwauth generation=([0-9]{1,%d}) content=([0-9a-f]{64})" % NUMBER_DIGITS)

_AUTH_STATE_FILE = re.compile(r"(?:[0-9]{1,4}/)?[^/]+\.json")

# Chromium's tables are compressed already, and so is media: more work gains next to nothing.
_LEVEL = 1

# ISA-L's best: smaller than zlib's lowest, and six times as fast.
_ISAL_LEVEL = 2

# What a sample must shrink to for the whole to be compressed.
_WORTH_IT = 0.9
_SAMPLE, _LARGE = 4 * 1024, 256 * 1024


@dataclass(frozen=True, slots=True)
class Stamp:
    """
    What wwauth writes into a zip's comment.

    Attributes:
        generation: The number of the backup; 0: another program wrote the archive.
        content: `tree_digest` of what was packed; empty when another program wrote it.
    """

    generation: int = 0
    content: str = ""

    def to_bytes(self) -> bytes:
        """Return the comment."""
        return f"wwauth generation={self.generation} content={self.content}".encode()

    @staticmethod
    def from_bytes(comment: bytes) -> Stamp:
        """Read a comment; any other text is another program's."""
        match = _STAMP.fullmatch(comment)
        return Stamp(int(match[1]), match[2].decode()) if match else Stamp()


@dataclass(frozen=True, slots=True)
class Contents:
    """
    What an archive holds.

    Attributes:
        stamp: Generation and digest.
        files: How many files were unpacked (or, of a look only, would be).
        bytes_total: Their size together.
        skipped: How many files were left out, as no part of a login.
    """

    stamp: Stamp
    files: int
    bytes_total: int
    skipped: int


def go_on() -> None:
    """Never stop."""


def write_archive(source: Path, path: Path, *, stamp: Stamp | None = None, check: Callable[[], None] = go_on) -> Contents:
    """
    Pack the user-data folder `source` into the new file `path` (0600), and read its directory back.

    Raises:
        SnapshotFailed: It could not be packed: the disk is full, for one. No file is left at `path`.
    """
    try:
        # A seekable file, so that sizes stand in the local headers: streaming readers, such as the unzipper that
        # whatsapp-web.js uses, cannot find the end of a stored entry otherwise.
        with (
            io.BufferedWriter(create_private(path), CHUNK) as file,
            zipfile.ZipFile(file, "w", strict_timestamps=False) as archive,
        ):
            archive.comment = b"" if stamp is None else stamp.to_bytes()
            for entry in list_tree(source):
                check()
                _pack(archive, entry, entry.relative_to(source).as_posix(), check)
        contents = look_into_archive(path)
    except (OSError, SessionCorrupted) as exc:
        path.unlink(missing_ok=True)
        raise SnapshotFailed(f"{source} could not be packed into {path.name}: {exc}") from exc
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return contents


def _pack(archive: zipfile.ZipFile, path: Path, name: str, check: Callable[[], None]) -> None:
    compression = _compression(path)
    if compression == zipfile.ZIP_STORED or isal_zlib is None:
        archive.write(path, name, compress_type=compression, compresslevel=_LEVEL)
        return
    entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
    entry.compress_type = compression
    with path.open("rb", buffering=0) as source, archive.open(entry, "w") as target:
        # zipfile has no public way to choose who deflates; without the attribute, this is zlib, only slower.
        if hasattr(target, "_compressor"):
            target._compressor = isal_zlib.compressobj(_ISAL_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        while data := source.read(CHUNK):
            check()
            target.write(data)


def _compression(path: Path) -> int:
    """Tell by samples, of a large file more than one, whether deflate gains anything."""
    if path.is_dir():
        return zipfile.ZIP_STORED
    before = after = 0
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        for part in (1, 2, 3) if size > _LARGE else (2,):
            file.seek(max(0, size * part // 4 - _SAMPLE))
            sample = file.read(_SAMPLE)
            before += len(sample)
            after += len(zlib.compress(sample, _LEVEL))
    return zipfile.ZIP_DEFLATED if after < before * _WORTH_IT else zipfile.ZIP_STORED


def look_into_archive(path: Path, *, limits: Limits | None = None, label: str | None = None) -> Contents:
    """Check an archive's directory without unpacking it; `SessionCorrupted` names what is wrong with it, see `read_archive`."""
    try:
        with path.open("rb") as file:
            directory = read_directory(file, limits or Limits())
        return _contents(directory, _select(directory.entries))
    except HostileArchive as exc:
        raise SessionCorrupted(f"{label or path.name} is no whole archive of a profile: {exc}") from exc


def read_archive(
    path: Path,
    destination: Path,
    *,
    limits: Limits | None = None,
    label: str | None = None,
    check: Callable[[], None] = go_on,
) -> Contents:
    """
    Unpack an archive, wwauth's or whatsapp-web.js's, into the new user-data folder `destination` (0700, files 0600).

    The whole directory is checked first, every file's checksum on the way, and no more is written than the directory says.
    What is neither IndexedDB nor localStorage is skipped: it is no part of a login, and old programs packed caches, settings
    and locks of their own host. Messages call the archive `label`, or by its file's name.

    Raises:
        SessionCorrupted: The archive is damaged or made to harm: the message names what and where. `destination` is
            removed, as after any other failure.
        ConfigurationError: `destination` exists.
        OSError: The disk is full, or a folder cannot be written.
    """
    if os.path.lexists(destination):
        raise ConfigurationError(f"the destination of an archive must not exist: {str(destination)!r} does")
    try:
        make_dirs(destination)
        with path.open("rb") as file:
            directory = read_directory(file, limits or Limits())
        selected = _select(directory.entries)
        _unpack_all(path, selected[0], destination, check)
        return _contents(directory, selected)
    except HostileArchive as exc:
        remove_tree(destination)
        raise SessionCorrupted(f"{label or path.name} is no whole archive of a profile: {exc}") from exc
    except BaseException:
        remove_tree(destination)
        raise


def _select(entries: list[Entry]) -> tuple[list[Entry], int]:
    wanted = []
    skipped = 0
    for entry in entries:
        if holds_login(entry.path):
            wanted.append(entry)
        else:
            skipped += not entry.is_dir
    if not any(not entry.is_dir for entry in wanted):
        raise HostileArchive("it has no file of a login (Default/IndexedDB, Default/Local Storage)")
    return wanted, skipped


def holds_login(path: str) -> bool:
    """Tell whether a path under the user-data folder is one of a login's: IndexedDB or localStorage."""
    return f"{path}/".startswith((f"{INDEXED_DB}/", f"{LOCAL_STORAGE}/")) or path.startswith(SQLITE_LOCAL_STORAGE)


def is_auth_state_file(path: str) -> bool:
    """Tell whether a path is one of an auth state's folder: flat, but for names that collide on some systems (`authfolder`)."""
    return _AUTH_STATE_FILE.fullmatch(path) is not None


def _contents(directory: Directory, selected: tuple[list[Entry], int]) -> Contents:
    files = [entry for entry in selected[0] if not entry.is_dir]
    return Contents(Stamp.from_bytes(directory.comment), len(files), sum(entry.size for entry in files), skipped=selected[1])


def _unpack_all(path: Path, entries: list[Entry], destination: Path, check: Callable[[], None]) -> None:
    for entry in entries:
        with colliding(entry.path):
            target = destination / entry.path
            make_dirs(target if entry.is_dir else target.parent)
    files = [entry for entry in entries if not entry.is_dir]
    # Inflating and writing release the interpreter, so two files at a time take half as long.
    with ThreadPoolExecutor(2, thread_name_prefix="wwauth-inflate") as pool:
        try:
            for _ in pool.map(lambda entry: _unpack(path, entry, destination, check), files):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _unpack(path: Path, entry: Entry, destination: Path, check: Callable[[], None]) -> None:
    with colliding(entry.path):
        file = create_private(destination / entry.path)
    with file, path.open("rb", buffering=0) as source:
        for data in read_entry(source, entry):
            check()
            write_to(file, data, destination)


def write_to(file: FileIO, data: bytes, root: Path) -> None:
    """Write all of `data`; an `OSError` names the folder, since a failed write does not say where."""
    try:
        write_all(file, data)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, str(root)) from exc


@contextmanager
def colliding(path: str) -> Iterator[None]:
    """In a new folder, what is there already is another name of the archive that this file system takes for the same."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as exc:
        raise HostileArchive(f"{shown(path)} is another of its names on this file system") from exc


def tree_digest(root: Path, *, check: Callable[[], None] = go_on) -> str:
    """Return the SHA-256 over names, sizes and bytes of all files of a tree: the same for the same content."""
    files = []
    for path in list_tree(root):
        if path.is_file():
            digest = file_digest(path, check=check)
            files.append((path.relative_to(root).as_posix(), path.stat().st_size, digest))
    return content_digest(files)


def file_digest(path: Path, *, check: Callable[[], None] = go_on) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while data := file.read(CHUNK):
            check()
            digest.update(data)
    return digest.hexdigest()


def content_digest(files: Iterable[tuple[str, int, str]]) -> str:
    """Return the digest of a tree whose files have these paths, sizes and digests; see `tree_digest`."""
    whole = hashlib.sha256()
    for path, size, digest in sorted(files):
        whole.update(f"{path}\0{size}\0{digest}\n".encode())
    return whole.hexdigest()
