"""The end of a zip, which tells where its directory is: found without a doubt, or refused. Everything here blocks."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO

from ._paths import HostileArchive

if TYPE_CHECKING:
    from collections.abc import Iterator

_END = struct.Struct("<4s4H2LH")
_LOCATOR64 = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")

# What stands in a field of 16 or 32 bits whose value is in the end record of ZIP64.
_IN_ZIP64 = frozenset({0xFFFF, 0xFFFFFFFF})


def find_directory(file: BinaryIO) -> tuple[int, int, int, bytes]:
    """Return where the directory begins and ends, how many entries it has, and the comment."""
    length = file.seek(0, 2)
    reach = min(length, _END.size + 0xFFFF)
    file.seek(length - reach)
    tail = file.read(reach)
    ends = [at for at in _occurrences(tail, b"PK\5\6") if _ends_archive(tail, at)]
    if not ends:
        raise HostileArchive("it is not a zip, or one that was cut short or has bytes behind its end")
    if len(ends) > 1:
        raise HostileArchive("it has two ends, so it is two archives to two readers")
    _, *found, _ = _END.unpack_from(tail, ends[0])
    at = end = length - reach + ends[0]
    if (locator := read_at(file, at - _LOCATOR64.size, _LOCATOR64)) is not None and locator[0] == b"PK\6\7":
        end = at - _LOCATOR64.size - _END64.size
        found = _check_zip64(file, found, locator, end)
    disk, first_disk, here, count, size, start = found
    if disk or first_disk or here != count:
        raise HostileArchive("it is one part of an archive in several")
    if start + size != end:
        raise HostileArchive("its directory is not where it says: bytes before the beginning of the archive, or some are gone")
    return start, end, count, tail[ends[0] + _END.size :]


def _occurrences(data: bytes, wanted: bytes) -> Iterator[int]:
    at = data.find(wanted)
    while at != -1:
        yield at
        at = data.find(wanted, at + 1)


def _ends_archive(tail: bytes, at: int) -> bool:
    """Tell whether an end record is the last thing there, but for the comment that it tells of."""
    return len(tail) - at >= _END.size and _END.unpack_from(tail, at)[-1] == len(tail) - at - _END.size


def read_at(file: BinaryIO, at: int, layout: struct.Struct) -> tuple[Any, ...] | None:
    """Return the fields of a record at an offset; None: it does not lie in the file."""
    if at < 0:
        return None
    file.seek(at)
    data = file.read(layout.size)
    return layout.unpack(data) if len(data) == layout.size else None


def _check_zip64(file: BinaryIO, found: list[int], locator: tuple[Any, ...], at: int) -> list[int]:
    record = read_at(file, at, _END64)
    if record is None or record[0] != b"PK\6\6" or record[1] != _END64.size - 12 or locator[2] != at or locator[1]:
        raise HostileArchive("its ZIP64 end record is not where its locator says")
    wide = list(record[4:])
    if any(short not in {long, *_IN_ZIP64} for short, long in zip(found, wide, strict=True)):
        raise HostileArchive("its two end records, the old one and that of ZIP64, tell different things")
    return wide
