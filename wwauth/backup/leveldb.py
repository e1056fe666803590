"""
As much of LevelDB as a backup needs: the framing of logs, the MANIFEST, the footer of tables. Never its keys or values.

The formats are those of LevelDB's own `doc/log_format.md`, `doc/table_format.md` and `db/version_edit.cc`. Everything
here blocks; call it from a thread.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import google_crc32c

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = 32768
_HEADER = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4

_FOOTER_BYTES = 48
_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")

_READ = 1 << 20

# A version edit has some hundred bytes for each table it names.
_LARGEST_EDIT = 16 << 20

MANIFEST_NAME = re.compile(r"MANIFEST-(\d+)")
LOG_NAME = re.compile(r"(\d+)\.log")
TABLE_NAME = re.compile(r"(\d+)\.(?:ldb|sst)")


class DamagedDatabase(ValueError):
    """A file is not what LevelDB writes; the message says what and where. Never leaves this package."""


def masked_crc32c(data: bytes | memoryview) -> int:
    """Return the checksum as LevelDB stores it, rotated and shifted so that checksums of checksums stay good."""
    crc: int = google_crc32c.value(bytes(data))
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


class RecordReader:
    """
    Reads the records of a log or a MANIFEST that may still be growing.

    `end` is the offset behind the last whole record: where a copy must be cut, since Chromium appends to the logs it
    finds, and what follows half a record is lost at the opening after that. A record of more bytes than `largest` is
    damage; 0: the bytes of records in several fragments are not kept, whatever their size.
    """

    def __init__(self, *, checksums: bool, largest: int | None = None) -> None:
        self.end = 0
        self.records = 0
        self._checksums = checksums
        self._largest = largest
        self._size = 0
        self._offset = 0
        self._pending = b""
        self._parts: list[bytes] | None = None
        self._zeros = False

    def feed(self, data: bytes) -> list[bytes]:
        """
        Take the bytes that follow those of the last call; return the records they complete.

        Raises:
            DamagedDatabase: What is there is neither a record nor the beginning of one.
        """
        buffer = self._pending + data
        records: list[bytes] = []
        position = 0
        while (fragment := self._fragment(buffer, position)) is not None:
            kind, payload, position = fragment
            record = self._join(kind, payload, self._offset + position)
            if record is not None:
                self.end = self._offset + position
                records.append(record)
        position = self._skip_filler(buffer, position)
        self._pending = buffer[position:]
        self._offset += position
        self.records += len(records)
        if self._zeros and self._pending.strip(b"\0"):
            raise DamagedDatabase(f"bytes behind the end of the records, after offset {self._offset}")
        return records

    def _skip_filler(self, buffer: bytes, position: int) -> int:
        # Fewer bytes than a header at the end of a block are filler; they come with the fragment that follows.
        left = BLOCK - (self._offset + position) % BLOCK
        return position + left if left < _HEADER.size and len(buffer) - position >= left else position

    def _fragment(self, buffer: bytes, position: int) -> tuple[int, bytes, int] | None:
        """Return kind, payload and end of the fragment at `position`; None when it is not whole yet."""
        position = self._skip_filler(buffer, position)
        if self._zeros or len(buffer) - position < _HEADER.size:
            return None
        crc, length, kind = _HEADER.unpack_from(buffer, position)
        at = self._offset + position
        if kind == 0 and length == 0:
            self._zeros = True
            return None
        if length > BLOCK - at % BLOCK - _HEADER.size:
            raise DamagedDatabase(f"a fragment of {length} bytes does not fit into its block, at offset {at}")
        end = position + _HEADER.size + length
        if len(buffer) < end:
            return None
        if self._checksums and masked_crc32c(memoryview(buffer)[position + 6 : end]) != crc:
            raise DamagedDatabase(f"checksum mismatch at offset {at}")
        return kind, buffer[position + _HEADER.size : end], end

    def _join(self, kind: int, payload: bytes, at: int) -> bytes | None:
        """Return the record that this fragment completes."""
        begins = kind in {_FULL, _FIRST}
        if kind not in {_FULL, _FIRST, _MIDDLE, _LAST} or begins != (self._parts is None):
            raise DamagedDatabase(f"a fragment of type {kind} out of place, before offset {at}")
        if kind == _FULL:
            return payload
        if self._parts is None:
            self._parts, self._size = [], 0
        self._size += len(payload)
        if self._largest and self._size > self._largest:
            raise DamagedDatabase(f"a record of more than {self._largest} bytes, before offset {at}")
        if self._largest != 0:
            self._parts.append(payload)
        if kind != _LAST:
            return None
        record = b"".join(self._parts)
        self._parts = None
        return record


def read_records(path: Path, *, checksums: bool) -> tuple[list[bytes], int]:
    """Return the whole records of a log or MANIFEST, and the offset behind the last one; `DamagedDatabase` names it."""
    reader = RecordReader(checksums=checksums)
    records: list[bytes] = []
    try:
        for data in _chunks(path):
            records += reader.feed(data)
    except DamagedDatabase as exc:
        raise DamagedDatabase(f"{path.name}: {exc}") from None
    return records, reader.end


def whole_end(path: Path, *, checksums: bool) -> int:
    """Return the offset behind the last whole record, as `read_records` does, without keeping the records."""
    reader = RecordReader(checksums=checksums, largest=0)
    try:
        for data in _chunks(path):
            reader.feed(data)
    except DamagedDatabase as exc:
        raise DamagedDatabase(f"{path.name}: {exc}") from None
    return reader.end


def _chunks(path: Path) -> Iterator[bytes]:
    if not path.is_file():
        raise DamagedDatabase("it is no file")
    with path.open("rb", buffering=0) as file:
        while data := file.read(_READ):
            yield data


@dataclass(slots=True)
class Version:
    """
    What the records of a MANIFEST add up to.

    Attributes:
        comparator: The name of the key order.
        log_number: The first log that holds what no table holds yet; 0 in a database that was never flushed.
        previous_log: A second such log, or 0.
        next_file: The next number to be given to a file.
        last_sequence: The sequence number of the last commit that tables hold.
        tables: Size of each live table, by number.
    """

    comparator: bytes | None = None
    log_number: int | None = None
    previous_log: int = 0
    next_file: int | None = None
    last_sequence: int | None = None
    tables: dict[int, int] = field(default_factory=dict)

    def needs_log(self, number: int) -> bool:
        """Tell whether the log of this number holds commits that no table holds."""
        return number >= (self.log_number or 0) or (number == self.previous_log and number != 0)


def read_manifest(path: Path, *, checksums: bool) -> tuple[Version, int]:
    """
    Return the version a MANIFEST describes, and the offset behind its last whole record.

    Raises:
        DamagedDatabase: A record is damaged, has an unknown field, or one that every MANIFEST has is missing.
    """
    reader = RecordReader(checksums=checksums, largest=_LARGEST_EDIT)
    version = Version()
    levels: dict[tuple[int, int], int] = {}
    try:
        for data in _chunks(path):
            for record in reader.feed(data):
                _apply(record, version, levels)
    except DamagedDatabase as exc:
        raise DamagedDatabase(f"{path.name}: {exc}") from None
    missing = [name for name in ("comparator", "log_number", "next_file", "last_sequence") if getattr(version, name) is None]
    if missing:
        raise DamagedDatabase(f"{path.name}: no {', '.join(missing)}")
    version.tables = {number: size for (_, number), size in levels.items()}
    return version, reader.end


def _apply(record: bytes, version: Version, levels: dict[tuple[int, int], int]) -> None:
    fields = _Fields(record)
    deleted: list[tuple[int, int]] = []
    added: dict[tuple[int, int], int] = {}
    simple = {2: "log_number", 3: "next_file", 4: "last_sequence", 9: "previous_log"}
    while fields.more():
        tag = fields.number()
        if tag == 1:
            version.comparator = fields.text()
        elif tag in simple:
            setattr(version, simple[tag], fields.number())
        elif tag == 5:  # where the next compaction of a level begins: no part of the state
            fields.number()
            fields.text()
        elif tag == 6:
            deleted.append((fields.number(), fields.number()))
        elif tag == 7:
            key = (fields.number(), fields.number())
            added[key] = fields.number()
            fields.text()
            fields.text()
        else:
            raise DamagedDatabase(f"unknown field {tag} in a version edit")
    # Deletions first: a table that moves between levels is in both lists.
    for key in deleted:
        levels.pop(key, None)
    levels.update(added)


class _Fields:
    """The varints and strings of one version edit."""

    def __init__(self, record: bytes) -> None:
        self._record = record
        self._position = 0

    def more(self) -> bool:
        return self._position < len(self._record)

    def number(self) -> int:
        value = shift = 0
        while self.more() and shift < 64:
            byte = self._record[self._position]
            self._position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise DamagedDatabase("a number in a version edit does not end")

    def text(self) -> bytes:
        length = self.number()
        begin, self._position = self._position, self._position + length
        if self._position > len(self._record):
            raise DamagedDatabase("a string in a version edit is longer than its record")
        return self._record[begin : self._position]


def check_table(path: Path, size: int) -> None:
    """
    Check that a table has the size its MANIFEST gives, and the footer that is written last.

    Raises:
        DamagedDatabase: It has not, or it is not there.
    """
    if path.is_dir():
        raise DamagedDatabase(f"{path.name}: the MANIFEST names this table, but it is a folder")
    try:
        with path.open("rb", buffering=0) as file:
            actual = file.seek(0, 2)
            file.seek(max(0, actual - _FOOTER_BYTES))
            footer = file.read(_FOOTER_BYTES)
    except FileNotFoundError:
        raise DamagedDatabase(f"{path.name}: the MANIFEST names this table, but it is missing") from None
    if actual != size:
        raise DamagedDatabase(f"{path.name}: {actual} bytes, the MANIFEST says {size}")
    if len(footer) < _FOOTER_BYTES or not footer.endswith(_TABLE_MAGIC):
        raise DamagedDatabase(f"{path.name}: the footer of a table is missing")
