"""
Looks through a zip from outside before a byte of it is unpacked.

Names and sizes in an archive are claims of whoever wrote it. What is refused here would write outside the destination,
write one file twice, fill the disk, or not be the zip it seems to be.
"""

from __future__ import annotations

import re
import stat
import struct
import unicodedata
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_END = struct.Struct("<4s4H2IH")
_END64 = 56 + 20  # the end record of ZIP64 and its locator

_ENCRYPTED = 0x1
_DRIVE = re.compile(r"[A-Za-z]:")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)


class HostileArchive(ValueError):
    """The archive is damaged or made to harm; the message says what and where. Never leaves this package."""


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What an archive may claim to hold; beyond it, it is taken for a bomb.

    Attributes:
        entries: Files and folders.
        bytes_total: Bytes of all files, unpacked.
        ratio: Unpacked to packed bytes, of the whole archive; the first `free` bytes are not counted.
        free: See `ratio`.
        methods: The methods of compression, as numbers of the zip format.
    """

    entries: int = 200_000
    bytes_total: int = 8 << 30
    ratio: int = 200
    free: int = 64 << 20
    methods: frozenset[int] = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One entry that may be unpacked.

    Attributes:
        info: What `zipfile` reads it by.
        path: Its path with `/`, checked.
        is_dir: It is a folder.
    """

    info: zipfile.ZipInfo
    path: str
    is_dir: bool


def look_through(archive: zipfile.ZipFile, path: Path, limits: Limits) -> list[Entry]:
    """Return the entries of an archive, in its order; `HostileArchive` says what is wrong with one."""
    _check_end(path, archive)
    infos = archive.infolist()
    if len(infos) > limits.entries:
        raise HostileArchive(f"{len(infos)} entries, {limits.entries} are allowed")
    entries = [_check_entry(info, limits.methods) for info in infos]
    check_collisions((entry.path, entry.is_dir) for entry in entries)
    _check_sizes(infos, limits)
    _check_overlaps(infos, archive.start_dir)
    return entries


def _check_end(path: Path, archive: zipfile.ZipFile) -> None:
    """Check that the archive begins and ends where its directory says: `zipfile` reads it with anything around it."""
    tail = _END.size + len(archive.comment)
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - tail))
        end = file.read(_END.size)
    if len(end) < _END.size or not end.startswith(b"PK\5\6") or _END.unpack(end)[-1] != len(archive.comment):
        raise HostileArchive("bytes behind the end of the archive")
    _, _, _, _, _, directory_size, directory_start, _ = _END.unpack(end)
    gap = size - tail - archive.start_dir - directory_size
    if gap not in {0, _END64} and directory_size != 0xFFFFFFFF:
        raise HostileArchive("the directory of the archive does not end where it says")
    if directory_start not in {archive.start_dir, 0xFFFFFFFF}:
        raise HostileArchive("bytes before the beginning of the archive")


def _check_entry(info: zipfile.ZipInfo, methods: frozenset[int]) -> Entry:
    name = info.orig_filename
    if info.flag_bits & _ENCRYPTED:
        raise HostileArchive(f"{name!r} is encrypted")
    if info.compress_type not in methods:
        allowed = " or ".join(map(str, sorted(methods)))
        raise HostileArchive(f"{name!r} is compressed by method {info.compress_type}, not by {allowed}")
    # Old zips of Windows hosts have backslashes.
    path = name.replace("\\", "/")
    is_dir = path.endswith("/")
    mode = stat.S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0
    if mode not in {0, stat.S_IFREG, stat.S_IFDIR} or (mode == stat.S_IFDIR) > is_dir:
        raise HostileArchive(f"{name!r} is a link or a device, not a file or folder")
    if is_dir and info.file_size:
        raise HostileArchive(f"{name!r} is a folder with content")
    path = path.removesuffix("/")
    check_path(path, name)
    return Entry(info, path, is_dir)


def check_path(path: str, name: str) -> None:
    """Refuse a path (with `/`) that would not lie in the destination on every system; `name` is what the message says."""
    if path.startswith("/") or _DRIVE.match(path):
        raise HostileArchive(f"{name!r} is an absolute path")
    for part in path.split("/"):
        _check_part(part, name)


def _check_part(part: str, name: str) -> None:
    if part in {"", ".", ".."}:
        raise HostileArchive(f"{name!r} leads out of the destination")
    if any(unicodedata.category(c) in {"Cc", "Cs"} for c in part) or any(c in part for c in ':*?"<>|'):
        raise HostileArchive(f"{name!r} has a character that no file of a profile has")
    if part.endswith((".", " ")) or _DEVICE.fullmatch(part) or len(part.encode()) > 255:
        raise HostileArchive(f"{name!r} is a name that some systems take for another one")


def check_collisions(paths: Iterable[tuple[str, bool]]) -> None:
    """Refuse two paths (each with "it is a folder") that are one file on some system, and a file that is another's folder."""
    seen: dict[str, tuple[str, bool]] = {}
    explicit: set[str] = set()
    for whole, is_dir in paths:
        key = _fold(whole)
        if key in explicit:
            raise HostileArchive(f"{whole!r} is there twice, or differs from another only in case")
        explicit.add(key)
        parts = whole.split("/")
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            kind = (path, is_dir or count < len(parts))
            if seen.setdefault(_fold(path), kind) != kind:
                raise HostileArchive(f"{whole!r} collides with {seen[_fold(path)][0]!r}")


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _check_sizes(infos: list[zipfile.ZipInfo], limits: Limits) -> None:
    total = sum(info.file_size for info in infos)
    packed = sum(info.compress_size for info in infos)
    if total > limits.bytes_total:
        raise HostileArchive(f"{total} bytes when unpacked, {limits.bytes_total} are allowed")
    if total > limits.free + limits.ratio * packed:
        raise HostileArchive(f"{packed} bytes that unpack to {total}")
    for info in infos:
        if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
            raise HostileArchive(f"{info.orig_filename!r} is stored, but has two sizes")


def _check_overlaps(infos: list[zipfile.ZipInfo], end: int) -> None:
    """Refuse entries that share their bytes: the bombs that stay within every ratio of a single entry."""
    for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
        if info.header_offset < 0 or info.header_offset + 30 + info.compress_size > end:
            raise HostileArchive(f"{info.orig_filename!r} lies over another entry")
        end = info.header_offset
