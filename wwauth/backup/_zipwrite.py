"""
Writes a plain zip fast: deflate on several threads, stored where that gains nothing, flat memory.

The standard library's `zipfile` compresses on one thread and cannot take data that is compressed already, so the few
headers are written here. Sizes stand in the local headers (no data descriptors), since streaming readers, such as the
unzipper that whatsapp-web.js uses, cannot find the end of a stored entry otherwise.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._io import open_shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from types import ModuleType
    from typing import BinaryIO, TypeVar

    T = TypeVar("T")

STORED, DEFLATED = 0, 8

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_CRC_AT = 14

# The limits of a zip without ZIP64, which streaming readers handle badly.
MAX_BYTES = 0xFFFFFFFF
MAX_ENTRIES = 0xFFFF

_UTF8 = 0x800
_VERSION = 20
_UNIX = 3 << 8
_DIRECTORY_ATTRIBUTES = (0o40700 << 16) | 0x10
_FILE_ATTRIBUTES = 0o100600 << 16

# Each piece is compressed for itself: big enough to lose nothing by it, small enough that a few of them are no memory.
_PIECE = 512 * 1024
_SAMPLE = 16 * 1024


def _fast_zlib() -> tuple[ModuleType, int]:
    """Return what compresses fastest, and the level: a low one, since Chromium's tables are compressed already."""
    try:
        from isal import isal_zlib  # noqa: PLC0415 - wheels of it do not exist for every platform
    except ImportError:
        return zlib, 1
    # Six times as fast as zlib's lowest level, and as small.
    return isal_zlib, 2


_deflate_library, _LEVEL = _fast_zlib()

# What a sample must shrink to for the whole to be compressed.
_WORTH_IT = 0.9


class TooLarge(ValueError):
    """What is to be written does not fit into a zip that streaming readers read."""


@dataclass(frozen=True, slots=True)
class _Begin:
    name: str
    modified: float
    method: int


@dataclass(frozen=True, slots=True)
class _End:
    crc: int
    size: int


_Item = _Begin | bytes | Future[bytes] | _End


def write_tree(root: Path, out: BinaryIO, *, comment: bytes, check: Callable[[], None]) -> None:
    """
    Write all folders and files under `root` into the empty, seekable file `out`; `check()` may raise to stop.

    Raises:
        TooLarge: More than a zip without ZIP64 holds.
        OSError: A file cannot be read, or `out` not written.
    """
    writer = _Writer(out)
    workers = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="wwauth-deflate") as pool:
        for item in _ahead(_items(root, pool), 2 * workers + 2):
            check()
            if isinstance(item, _Begin):
                writer.begin(item)
            elif isinstance(item, _End):
                writer.end(item)
            else:
                writer.write(item.result() if isinstance(item, Future) else item)
    writer.close(comment)


def _ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """Keep `count` items under way, so that the workers have something to do while one result is written."""
    queue: deque[T] = deque()
    for item in items:
        queue.append(item)
        if len(queue) > count:
            yield queue.popleft()
    yield from queue


def _items(root: Path, pool: ThreadPoolExecutor) -> Iterator[_Item]:
    for folder, folders, files in os.walk(root):
        folders.sort()
        path = root / folder
        if path != root:
            yield _Begin(f"{path.relative_to(root).as_posix()}/", path.stat().st_mtime, STORED)
            yield _End(0, 0)
        for name in sorted(files):
            yield from _file_items(path / name, (path / name).relative_to(root).as_posix(), pool)


def _file_items(path: Path, name: str, pool: ThreadPoolExecutor) -> Iterator[_Item]:
    with os.fdopen(open_shared(path), "rb", buffering=0) as file:
        stat = os.fstat(file.fileno())
        method = DEFLATED if _compressible(file, stat.st_size) else STORED
        yield _Begin(name, stat.st_mtime, method)
        crc = size = 0
        file.seek(0)
        piece = file.read(_PIECE)
        while piece:
            crc, size = zlib.crc32(piece, crc), size + len(piece)
            following = file.read(_PIECE)
            yield pool.submit(_deflate, piece, last=not following) if method == DEFLATED else piece
            piece = following
        yield _End(crc, size)


def _compressible(file: BinaryIO, size: int) -> bool:
    """Tell by samples from the beginning, the middle and the end whether deflate gains anything."""
    before = after = 0
    for offset in sorted({0, max(0, size // 2 - _SAMPLE), max(0, size - _SAMPLE)}):
        file.seek(offset)
        sample = file.read(_SAMPLE)
        before += len(sample)
        after += len(_deflate_library.compress(sample, _LEVEL))
    return after < before * _WORTH_IT


def _deflate(piece: bytes, *, last: bool) -> bytes:
    # Pieces end on a byte boundary, so that they can be put one behind the other into one deflate stream.
    compressor = _deflate_library.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    how = _deflate_library.Z_FINISH if last else _deflate_library.Z_SYNC_FLUSH
    data: bytes = compressor.compress(piece) + compressor.flush(how)
    return data


class _Writer:
    """The headers of a zip, and where they stand."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._position = 0
        self._central: list[bytes] = []
        self._entry: tuple[_Begin, int, int] | None = None

    def begin(self, entry: _Begin) -> None:
        name = entry.name.encode()
        header = _LOCAL.pack(b"PK\3\4", _VERSION, _flags(name), entry.method, *_dos(entry.modified), 0, 0, 0, len(name), 0)
        start = self._position
        self.write(header + name)
        self._entry = (entry, start, self._position)

    def write(self, data: bytes) -> None:
        self._out.write(data)
        self._position += len(data)
        if self._position > MAX_BYTES:
            raise TooLarge(f"more than {MAX_BYTES} bytes")

    def end(self, end: _End) -> None:
        assert self._entry is not None  # noqa: S101 - begin() came before
        entry, start, data = self._entry
        if end.size > MAX_BYTES or len(self._central) == MAX_ENTRIES - 1:
            raise TooLarge(f"{entry.name}: {end.size} bytes, entry {len(self._central) + 1}")
        sizes = (end.crc, self._position - data, end.size)
        if end.size:
            self._out.seek(start + _CRC_AT)
            self._out.write(struct.pack("<3I", *sizes))
            self._out.seek(self._position)
        name = entry.name.encode()
        attributes = _DIRECTORY_ATTRIBUTES if entry.name.endswith("/") else _FILE_ATTRIBUTES
        self._central.append(
            _CENTRAL.pack(
                b"PK\1\2", _UNIX | _VERSION, _VERSION, _flags(name), entry.method, *_dos(entry.modified), *sizes,
                len(name), 0, 0, 0, 0, attributes, start,
            ) + name
        )  # fmt: skip

    def close(self, comment: bytes) -> None:
        start = self._position
        for header in self._central:
            self.write(header)
        count = len(self._central)
        self.write(_END.pack(b"PK\5\6", 0, 0, count, count, self._position - start, start, len(comment)) + comment)


def _flags(name: bytes) -> int:
    return 0 if name.isascii() else _UTF8


def _dos(modified: float) -> tuple[int, int]:
    """Return time and date as MS-DOS wrote them: local, in steps of two seconds, from 1980 on."""
    t = time.localtime(modified)
    if t.tm_year < 1980:
        return 0, 1 << 5 | 1
    return t.tm_hour << 11 | t.tm_min << 5 | t.tm_sec // 2, (t.tm_year - 1980) << 9 | t.tm_mon << 5 | t.tm_mday
