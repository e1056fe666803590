"""A small profile with LevelDB databases that hold nothing a browser could read, but are whole in every form."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from wwauth.backup.leveldb import BLOCK, masked_crc32c

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN = "https://web.whatsapp.com/"
INDEXED_DB = "Default/IndexedDB/https_web.whatsapp.com_0.indexeddb.leveldb"
BLOBS = "Default/IndexedDB/https_web.whatsapp.com_0.indexeddb.blob"
LOCAL_STORAGE = "Default/Local Storage/leveldb"
FOOTER = bytes(40) + bytes.fromhex("57fb808b247547db")


def frame(records: list[bytes], *, offset: int = 0) -> bytes:
    """Write records as LevelDB's log writer does, from `offset` of the file on."""
    out = bytearray()
    for record in records:
        rest, first = record, True
        while True:
            left = BLOCK - (offset + len(out)) % BLOCK
            if left < 7:
                out += bytes(left)
                continue
            part, rest = rest[: left - 7], rest[left - 7 :]
            kind = (1 if first else 4) if not rest else (2 if first else 3)
            body = bytes([kind]) + part
            out += struct.pack("<IH", masked_crc32c(body), len(part)) + body
            first = False
            if not rest:
                break
    return bytes(out)


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def text(value: bytes) -> bytes:
    return varint(len(value)) + value


def edit(
    comparator: bytes | None = None, *, numbers: dict[int, int] | None = None, tables: dict[int, int] | None = None
) -> bytes:
    """Write one version edit: `numbers` by tag, new `tables` of level 0 with their sizes."""
    out = b"" if comparator is None else varint(1) + text(comparator)
    for tag, number in (numbers or {}).items():
        out += varint(tag) + varint(number)
    for number, size in (tables or {}).items():
        out += varint(7) + varint(0) + varint(number) + varint(size) + text(b"a") + text(b"z")
    return out


def make_database(path: Path, comparator: bytes, *, table: bytes = b"t" * 5000, log: list[bytes] | None = None) -> None:
    path.mkdir(parents=True)
    (path / "000005.ldb").write_bytes(table + FOOTER)
    (path / "000006.log").write_bytes(frame(log if log is not None else [b"x" * 100, b"y" * 40_000]))
    records = [edit(comparator), edit(numbers={2: 6, 9: 0, 3: 7, 4: 9}, tables={5: len(table) + len(FOOTER)})]
    (path / "MANIFEST-000001").write_bytes(frame(records))
    (path / "CURRENT").write_text("MANIFEST-000001\n")
    (path / "LOCK").touch()
    (path / "LOG").write_text("2026/01/01 Reusing MANIFEST\n")


def make_profile(root: Path, *, log: list[bytes] | None = None, table: bytes = b"t" * 5000) -> Path:
    """Make a closed profile with one IndexedDB, one blob, and localStorage."""
    make_database(root / INDEXED_DB, b"idb_cmp1", log=log, table=table)
    make_database(root / LOCAL_STORAGE, b"leveldb.BytewiseComparator")
    blob = root / BLOBS / "1" / "00" / "2"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"blob" * 1000)
    (root / "Default" / "Preferences").write_text("{}")
    return root


def tree(root: Path) -> dict[str, bytes]:
    """Return the content of every file under a folder, by its path."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
