"""Zips written field by field, so that each may lie; by default they are as honest as any program's."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from wwauth.backup._zstd import zstd

STORED, DEFLATED, ZSTD = 0, 8, 93


def compress(data: bytes, method: int) -> bytes:
    """Compress as the method says; one that is not known leaves the bytes as they are."""
    if method == DEFLATED:
        engine = zlib.compressobj(9, zlib.DEFLATED, -15)
        return engine.compress(data) + engine.flush()
    return zstd.compress(data) if method == ZSTD else data


@dataclass
class Member:
    """
    One entry. What is None is what it should be; `local` and `central` replace fields of either header by their names.

    The fields: flags, method, crc, packed, size, name, extra, and in the directory made, attributes, offset, disk.
    """

    name: str | bytes
    data: bytes = b""
    method: int = DEFLATED
    packed: bytes | None = None
    flags: int = 0x800
    descriptor: str | None = None  # as struct writes it behind "<": "4sLLL" is the usual one
    local: dict[str, Any] = field(default_factory=dict)
    central: dict[str, Any] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)  # what the descriptor says otherwise
    behind: bytes = b""

    def fields(self) -> dict[str, Any]:
        """Return the fields as they should be."""
        name = self.name if isinstance(self.name, bytes) else self.name.encode()
        packed = compress(self.data, self.method) if self.packed is None else self.packed
        values = {"flags": self.flags | (8 if self.descriptor else 0), "method": self.method, "crc": zlib.crc32(self.data)}
        attributes = 0o755 << 16 | 0x40000010 if name.endswith(b"/") else 0o100644 << 16
        rest = {"name": name, "extra": b"", "made": 3 << 8 | 20, "attributes": attributes, "disk": 0, "body": packed}
        return {**values, "packed": len(packed), "size": len(self.data), **rest}


def raw_zip(
    *members: Member, comment: bytes = b"", before: bytes = b"", behind: bytes = b"", zip64: bool = False, **end: int
) -> bytes:
    """Write a zip; `end` replaces fields of the end record: count, size, start, disk, length (of the comment)."""
    out = bytearray(before)
    directory = bytearray()
    for member in members:
        values = member.fields()
        offset = len(out)
        local = {**values, **member.local}
        if member.descriptor and not member.local:
            local.update(crc=0, packed=0, size=0)
        out += _local(local) + values["body"]
        if member.descriptor:
            told = {**values, **member.told}
            mark = [b"PK\7\10"] if "4s" in member.descriptor else []
            out += struct.pack(f"<{member.descriptor}", *mark, told["crc"], told["packed"], told["size"])
        out += member.behind
        directory += _central({**values, "offset": offset, **member.central})
    start = len(out)
    out += directory
    found = {"count": len(members), "size": len(directory), "start": start, "disk": 0, "length": len(comment), **end}
    if zip64:
        wide = (found["count"], found["count"], found["size"], found["start"])
        record = len(out)
        out += struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, *wide)
        out += struct.pack("<4sLQL", b"PK\6\7", 0, record, 1)
        found.update(count=0xFFFF, size=0xFFFFFFFF, start=0xFFFFFFFF)
    numbers = (found["disk"], 0, found["count"], found["count"], found["size"], found["start"], found["length"])
    return bytes(out) + struct.pack("<4s4H2LH", b"PK\5\6", *numbers) + comment + behind


def _local(v: dict[str, Any]) -> bytes:
    numbers = (20, v["flags"], v["method"], 0, 33, v["crc"], v["packed"], v["size"], len(v["name"]), len(v["extra"]))
    header = struct.pack("<4s5H3L2H", b"PK\3\4", *numbers)
    return header + bytes(v["name"]) + bytes(v["extra"])


def _central(v: dict[str, Any]) -> bytes:
    sizes = (v["crc"], v["packed"], v["size"], len(v["name"]), len(v["extra"]), 0, v["disk"], 0, v["attributes"], v["offset"])
    header = struct.pack("<4s6H3L5H2L", b"PK\1\2", v["made"], 20, v["flags"], v["method"], 0, 33, *sizes)
    return header + bytes(v["name"]) + bytes(v["extra"])
