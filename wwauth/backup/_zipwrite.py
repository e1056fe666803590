"""
Writes a zip whose members are compressed already, to something that cannot seek.

`zipfile` compresses one member at a time, and so on one processor.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LOCAL = struct.Struct("<4s5H3I2H")
_DIRECTORY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")

# As APPNOTE.TXT, the format's description, has them: the version that knows method 93; a size that stands behind the
# data; 1980-01-01; regular file, 0600.
_VERSION, _SIZE_FOLLOWS, _DATE, _MODE = 63, 0x8, 0x21, 0o100600 << 16

# From here on a number stands in a ZIP64 field.
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF


@dataclass(slots=True)
class _Entry:
    name: bytes
    offset: int
    large: bool
    crc: int = 0
    packed: int = 0
    size: int = 0


class ZipWriter:
    """
    Writes members one after the other: `begin`, `write` what is compressed, `end`; at last `close`.

    Args:
        write: Takes all bytes that it is given.
        method: The number of the compression.
    """

    def __init__(self, write: Callable[[bytes], object], method: int) -> None:
        self._sink = write
        self._method = method
        self._offset = 0
        self._entries: list[_Entry] = []

    def begin(self, name: str, size: int) -> None:
        """Begin a member that will have about `size` bytes, unpacked."""
        # Compressed, it may be a little longer.
        entry = _Entry(name.encode("ascii"), self._offset, large=size > _MAX32 // 2)
        self._entries.append(entry)
        extra = struct.pack("<2H2Q", 1, 16, 0, 0) if entry.large else b""
        limit = _MAX32 if entry.large else 0
        head = (_VERSION, _SIZE_FOLLOWS, self._method, 0, _DATE, 0, limit, limit, len(entry.name), len(extra))
        self._put(_LOCAL.pack(b"PK\3\4", *head) + entry.name + extra)

    def write(self, packed: bytes) -> None:
        """Write compressed bytes of the member that was begun."""
        self._entries[-1].packed += len(packed)
        self._put(packed)

    def end(self, crc: int, size: int) -> None:
        """End the member: these are the checksum and the size of what was compressed."""
        entry = self._entries[-1]
        entry.crc, entry.size = crc, size
        if not entry.large and max(size, entry.packed) >= _MAX32:
            raise OverflowError(f"member {entry.name.decode()} has {size} bytes, more than it was begun with")
        self._put(struct.pack("<4sI2Q" if entry.large else "<4s3I", b"PK\7\x08", crc, entry.packed, size))

    def close(self) -> None:
        """Write the directory."""
        start, count = self._offset, len(self._entries)
        for entry in self._entries:
            self._put(self._listed(entry))
        size = self._offset - start
        if count >= _MAX16 or self._offset >= _MAX32:
            end64 = self._offset
            self._put(_END64.pack(b"PK\6\6", _END64.size - 12, _VERSION, _VERSION, 0, 0, count, count, size, start))
            self._put(_LOCATOR.pack(b"PK\6\7", 0, end64, 1))
        count, size, start = min(count, _MAX16), min(size, _MAX32), min(start, _MAX32)
        self._put(_END.pack(b"PK\5\6", 0, 0, count, count, size, start, 0))

    def _listed(self, entry: _Entry) -> bytes:
        numbers = (entry.size, entry.packed, entry.offset)
        beyond = [number for number in numbers if number >= _MAX32]
        extra = struct.pack(f"<2H{len(beyond)}Q", 1, 8 * len(beyond), *beyond) if beyond else b""
        size, packed, offset = (min(number, _MAX32) for number in numbers)
        made_by = 3 << 8 | _VERSION  # on Unix: then the mode counts
        head = (made_by, _VERSION, _SIZE_FOLLOWS, self._method, 0, _DATE, entry.crc, packed, size)
        tail = (len(entry.name), len(extra), 0, 0, 0, _MODE, offset)
        return _DIRECTORY.pack(b"PK\1\2", *head, *tail) + entry.name + extra

    def _put(self, data: bytes) -> None:
        self._sink(data)
        self._offset += len(data)
