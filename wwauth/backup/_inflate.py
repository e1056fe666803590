"""Decompresses what lies in a zip, a bounded piece at a time, whatever its bytes claim. Everything here blocks."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, BinaryIO, Protocol

from ._io import CHUNK
from ._paths import HostileArchive
from ._zstd import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator

STORED, DEFLATED, ZSTD = 0, 8, 93

# What a reader of zstd needs for its window: 8 MB. wwauth's packs use less; a frame that asks for more is refused.
_WINDOW_LOG = 23


class _Engine(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Inflater:
    """Deflate with the interface that zstd's decompressor has."""

    def __init__(self) -> None:
        self._engine = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._engine.eof

    @property
    def unused_data(self) -> bytes:
        return self._engine.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._engine.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._engine.decompress(data or self._engine.unconsumed_tail, max_length)


def _new_engine(method: int) -> _Engine:
    if method == DEFLATED:
        return _Inflater()
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})


def pieces(file: BinaryIO, start: int, packed: int, method: int, label: str) -> Iterator[bytes]:
    """
    Yield what `packed` bytes from `start` on decompress to, in pieces of at most `CHUNK`.

    Raises:
        HostileArchive: They are damaged, end too early, or too late.
    """
    file.seek(start)
    if method == STORED:
        yield from _read(file, packed, label)
        return
    source = _read(file, packed, label)
    engine = _new_engine(method)
    while not engine.eof:
        asked = engine.needs_input
        data = next(source, b"") if asked else b""
        try:
            piece = engine.decompress(data, CHUNK)
        except (zlib.error, zstd.ZstdError) as exc:
            raise HostileArchive(f"{label} cannot be decompressed: {exc}") from exc
        if piece:
            yield piece
        elif not data and not engine.eof and (asked or not engine.needs_input):
            raise HostileArchive(f"{label} is cut short")
    if engine.unused_data or next(source, b""):
        raise HostileArchive(f"{label}: more lies behind the end of its compressed bytes")


def _read(file: BinaryIO, left: int, label: str) -> Iterator[bytes]:
    while left:
        data = file.read(min(CHUNK, left))
        if not data:
            raise HostileArchive(f"{label} is cut short")
        left -= len(data)
        yield data
