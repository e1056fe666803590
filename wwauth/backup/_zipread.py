"""
Reads a zip from outside: its whole directory first, then one entry at a time, in bounded memory.

Names and sizes in an archive are claims of whoever wrote it. What is refused here would write outside the destination,
write one file twice, fill the disk or the memory, or be another archive to another reader: so every byte must belong to
one entry or to the directory, and what is said in two places must be the same. Everything here blocks.
"""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from ._inflate import DEFLATED, STORED, pieces
from ._paths import HostileArchive, check_collisions, check_path, shown
from ._zipend import find_directory, read_at

try:
    from isal.isal_zlib import crc32
except ImportError:  # there are no wheels of it for every platform
    from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator

_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_EXTRA = struct.Struct("<2H")

_ZIP64_EXTRA = 1

_ENCRYPTED, _SIZES_BEHIND, _UTF8 = 0x2041, 0x0008, 0x0800

_DOS_FOLDER, _DOS_DEVICE, _DOS_LINK = 0x10, 0x40, 0x400


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What an archive may claim to hold; beyond it, it is taken for a bomb.

    Attributes:
        entries: Files and folders, those counted too that are only part of a path.
        bytes_total: Bytes of all files, unpacked.
        ratio: Unpacked to packed bytes, of the whole archive; the first `free` bytes are not counted.
        free: See `ratio`.
        methods: The methods of compression, as numbers of the zip format.
    """

    entries: int = 200_000
    bytes_total: int = 8 << 30
    ratio: int = 200
    free: int = 64 << 20
    methods: frozenset[int] = frozenset({STORED, DEFLATED})

    def check(self, unpacked: int, packed: int) -> None:
        """Refuse more bytes than these limits allow for so many packed ones."""
        if unpacked > self.bytes_total:
            raise HostileArchive(f"{unpacked} bytes when unpacked, {self.bytes_total} are allowed")
        if unpacked > self.free + self.ratio * packed:
            raise HostileArchive(f"{packed} bytes that unpack to {unpacked}")


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One entry that may be unpacked.

    Attributes:
        path: Its path with `/`, checked.
        is_dir: It is a folder.
        method: How it is compressed, as a number of the zip format.
        size: Its bytes, unpacked.
        packed: Its bytes as they lie in the archive.
        crc: The checksum of its bytes.
        start: Where its bytes begin.
    """

    path: str
    is_dir: bool
    method: int
    size: int
    packed: int
    crc: int
    start: int


@dataclass(frozen=True, slots=True)
class Directory:
    """What an archive holds: its entries in their order, and the archive's comment."""

    entries: list[Entry]
    comment: bytes


@dataclass(slots=True)
class _Header:
    """An entry of the directory as it stands there."""

    raw_name: bytes
    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def read_directory(file: BinaryIO, limits: Limits) -> Directory:
    """Check a whole archive but for the bytes of its files; `HostileArchive` says what is wrong with it."""
    start, end, count, comment = find_directory(file)
    if count > limits.entries:
        raise HostileArchive(f"{count} entries, {limits.entries} are allowed")
    file.seek(start)
    headers: list[_Header] = []
    entries: list[Entry] = []
    for number in range(count):
        header, attributes = _read_header(file, number, end - file.tell())
        path, is_dir = _check_header(header, attributes, limits.methods)
        headers.append(header)
        entries.append(Entry(path, is_dir, header.method, header.size, header.packed, header.crc, 0))
    if file.tell() != end:
        raise HostileArchive(f"its directory goes on behind its {count} entries")
    check_collisions(((entry.path, entry.is_dir) for entry in entries), limits.entries)
    limits.check(sum(entry.size for entry in entries), sum(entry.packed for entry in entries))
    starts = _find_bytes(file, headers, start)
    return Directory(
        [Entry(e.path, e.is_dir, e.method, e.size, e.packed, e.crc, at) for e, at in zip(entries, starts, strict=True)], comment
    )


def read_entry(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    """Yield an entry's bytes in pieces, never more than its size; `HostileArchive`: they are not what the directory says."""
    size = crc = 0
    label = shown(entry.path)
    for piece in pieces(file, entry.start, entry.packed, entry.method, label):
        size += len(piece)
        if size > entry.size:
            break
        crc = crc32(piece, crc)
        yield piece
    if size != entry.size:
        how = "more" if size > entry.size else "fewer"
        raise HostileArchive(f"{label}: {how} than the {entry.size} bytes that the directory says")
    if crc != entry.crc:
        raise HostileArchive(f"{label}: its bytes do not have the CRC that the directory says")


def _read_header(file: BinaryIO, number: int, left: int) -> tuple[_Header, tuple[int, int]]:
    """Read the next entry of the directory, which has so many bytes `left`; return also its maker's system and attributes."""
    data = file.read(min(_CENTRAL.size, left))
    if len(data) < _CENTRAL.size or data[:4] != b"PK\1\2":
        raise HostileArchive(f"its directory is damaged at entry {number + 1}")
    _, made, _, flags, method, _, _, crc, packed, size, names, extras, comments, disk, _, attributes, offset = _CENTRAL.unpack(
        data
    )
    if left < _CENTRAL.size + names + extras + comments:
        raise HostileArchive(f"its directory is damaged at entry {number + 1}")
    raw_name = file.read(names)
    extra = file.read(extras)
    file.seek(comments, 1)
    try:
        name = raw_name.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError:
        raise HostileArchive(f"the name of entry {number + 1}, {raw_name[:80]!r}, is not the UTF-8 it is said to be") from None
    label = shown(name)
    size, packed, offset = _widen(extra, (size, packed, offset), label)
    if disk not in {0, 0xFFFF}:
        raise HostileArchive(f"{label} lies in another part of the archive")
    return _Header(raw_name, name, flags, method, crc, packed, size, offset), (made >> 8, attributes)


def _widen(extra: bytes, values: tuple[int, ...], label: str) -> list[int]:
    """Return the values of fields of 32 bits, or of their ZIP64 ones where those stand for them."""
    found = [data for kind, data in _extra_fields(extra, label) if kind == _ZIP64_EXTRA]
    if len(found) > 1:
        raise HostileArchive(f"{label} has its ZIP64 sizes twice")
    wide, at = [], 0
    for value in values:
        if value != 0xFFFFFFFF:
            wide.append(value)
            continue
        if not found or len(found[0]) < at + 8:
            raise HostileArchive(f"{label} says that it needs ZIP64, and its ZIP64 sizes are not there")
        wide.append(int.from_bytes(found[0][at : at + 8], "little"))
        at += 8
    return wide


def _extra_fields(extra: bytes, label: str) -> Iterator[tuple[int, bytes]]:
    at = 0
    while len(extra) - at >= _EXTRA.size:
        kind, size = _EXTRA.unpack_from(extra, at)
        at += _EXTRA.size + size
        if at > len(extra):
            raise HostileArchive(f"{label} has an extra field that does not end")
        yield kind, extra[at - size : at]


def _check_header(header: _Header, made: tuple[int, int], methods: frozenset[int]) -> tuple[str, bool]:
    """Return the path of an entry, and whether it is a folder."""
    label = shown(header.name)
    if header.flags & _ENCRYPTED:
        raise HostileArchive(f"{label} is encrypted")
    if header.method not in methods:
        allowed = " or ".join(map(str, sorted(methods)))
        raise HostileArchive(f"{label} is compressed by method {header.method}, not by {allowed}")
    # Old zips of Windows hosts have backslashes.
    path = header.name.replace("\\", "/")
    is_dir = path.endswith("/")
    system, attributes = made
    # Whatever system it says it is from: Python on Windows writes modes, too.
    mode = stat.S_IFMT(attributes >> 16)
    is_link = system != 3 and attributes & (_DOS_DEVICE | _DOS_LINK)
    says_folder = mode == stat.S_IFDIR or attributes & _DOS_FOLDER
    if mode not in {0, stat.S_IFREG, stat.S_IFDIR} or is_link or (says_folder and not is_dir):
        raise HostileArchive(f"{label} is a link or a device, or a folder by its mode alone: not a file or a folder")
    if is_dir and header.size:
        raise HostileArchive(f"{label} is a folder with content")
    if header.method == STORED and header.size != header.packed:
        raise HostileArchive(f"{label} is stored, but has two sizes")
    path = path.removesuffix("/")
    check_path(path, header.name)
    return path, is_dir


def _find_bytes(file: BinaryIO, headers: list[_Header], end: int) -> list[int]:
    """Check that the entries lie one behind the other, up to the directory; return where the bytes of each begin."""
    order = sorted(range(len(headers)), key=lambda number: headers[number].offset)
    starts = [0] * len(headers)
    expected = 0
    for number, following in zip(order, [*order[1:], None], strict=False):
        header = headers[number]
        label = shown(header.name)
        if header.offset < expected:
            raise HostileArchive(f"{label} lies over another entry")
        if header.offset > expected:
            raise HostileArchive(f"bytes before {label} that belong to no entry")
        start = _check_local(file, header, label)
        starts[number] = start
        expected = end if following is None else headers[following].offset
        behind = expected - start - header.packed
        if behind < 0:
            raise HostileArchive(f"{label} lies over another entry, or over the directory")
        if behind:
            _check_descriptor(file, header, start + header.packed, behind, label)
    if not headers and end:
        raise HostileArchive("bytes that belong to no entry")
    return starts


def _check_local(file: BinaryIO, header: _Header, label: str) -> int:
    """Check that an entry's own header agrees with the directory; return where its bytes begin."""
    found = read_at(file, header.offset, _LOCAL)
    if found is None or found[0] != b"PK\3\4":
        raise HostileArchive(f"{label} is not where the directory says")
    flags, method = found[2:4]
    crc, packed, size = found[6:9]
    names: int = found[9]
    extras: int = found[10]
    raw_name = file.read(names)
    extra = file.read(extras)
    size, packed = _widen(extra, (size, packed), label)
    says = [(crc, header.crc), (packed, header.packed), (size, header.size)]
    # What is written as a stream has its sizes behind it, and zeros here.
    behind = flags & _SIZES_BEHIND
    same = all(here == there or (behind and not here) for here, there in says)
    same_kind = (flags ^ header.flags) & (_ENCRYPTED | _SIZES_BEHIND) == 0 and method == header.method
    if not same or not same_kind or raw_name != header.raw_name:
        raise HostileArchive(f"{label}: its own header and the directory tell different things")
    return header.offset + _LOCAL.size + names + extras


def _check_descriptor(file: BinaryIO, header: _Header, at: int, length: int, label: str) -> None:
    """Check what lies between an entry's bytes and what follows: its sizes once more, with or without a mark, short or wide."""
    layouts = (f"{mark}L{width}{width}" for mark in ("4s", "") for width in "LQ")
    fits = [layout for layout in (struct.Struct(f"<{text}") for text in layouts) if layout.size == length]
    values = (header.crc, header.packed, header.size)
    for layout in fits if header.flags & _SIZES_BEHIND else ():
        found = read_at(file, at, layout)
        if found in {values, (b"PK\7\10", *values)}:
            return
    raise HostileArchive(f"bytes behind {label} that belong to no entry, or sizes there that are not those of the directory")
