"""LevelDB's framing, MANIFEST and tables, against files written here after its own format documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wwauth.backup.leveldb import (
    BLOCK,
    DamagedDatabase,
    RecordReader,
    check_table,
    masked_crc32c,
    read_manifest,
    read_records,
)

from .profiles import FOOTER, edit, frame

if TYPE_CHECKING:
    from pathlib import Path


def test_the_checksum_is_crc32c_masked() -> None:
    crc = 0xE3069283
    assert masked_crc32c(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


sizes = st.lists(st.sampled_from([0, 1, 100, BLOCK - 14, BLOCK - 8, BLOCK - 7, BLOCK - 6, BLOCK, 3 * BLOCK + 5]), max_size=8)


@given(sizes=sizes, cut=st.integers(0, 300_000), step=st.sampled_from([1000, 32768, 10**6]))
def test_every_cut_ends_behind_the_last_whole_record(sizes: list[int], cut: int, step: int) -> None:
    records = [bytes([index]) * size for index, size in enumerate(sizes)]
    ends = [0]
    for record in records:
        ends.append(ends[-1] + len(frame([record], offset=ends[-1])))
    data = frame(records)[:cut]
    whole = max(index for index, end in enumerate(ends) if end <= len(data))
    reader = RecordReader(checksums=True)
    seen = [record for at in range(0, len(data), step) for record in reader.feed(data[at : at + step])]
    assert seen == records[:whole]
    assert reader.end == ends[whole]
    assert reader.records == whole


@given(at=st.integers(0, 40_106), bit=st.integers(0, 7))
def test_no_flipped_bit_passes(at: int, bit: int) -> None:
    data = bytearray(frame([b"a" * 90, b"b" * 40_000]))
    data[at % len(data)] ^= 1 << bit
    reader = RecordReader(checksums=True)
    try:
        assert reader.feed(bytes(data)) != [b"a" * 90, b"b" * 40_000]
        assert reader.end < len(data)
    except DamagedDatabase:
        pass


def test_zeros_end_the_records_and_nothing_may_follow_them() -> None:
    data = frame([b"one"])
    reader = RecordReader(checksums=True)
    reader.feed(data + bytes(100))
    assert reader.end == len(data)
    with pytest.raises(DamagedDatabase, match="behind the end of the records"):
        reader.feed(b"\0\0x")


@pytest.mark.parametrize("kind", [0, 2, 3, 4, 5, 255])
def test_a_fragment_out_of_place_is_damage(kind: int) -> None:
    body = bytes([kind]) + b"abc"
    fragment = masked_crc32c(body).to_bytes(4, "little") + (3).to_bytes(2, "little") + body
    with pytest.raises(DamagedDatabase):
        # A first fragment is damage only when another record begins behind it.
        RecordReader(checksums=True).feed(fragment + frame([b"next"], offset=len(fragment)))


def test_a_manifest_adds_up(tmp_path: Path) -> None:
    path = tmp_path / "MANIFEST-000001"
    moved = b"\x06\x00\x05" + b"\x07\x01\x05" + b"\x64" + b"\x01a\x01z"  # table 5 from level 0 to level 1, 100 bytes
    records = [
        edit(b"idb_cmp1"),
        edit(numbers={2: 3, 9: 0, 3: 4, 4: 0}, tables={5: 100, 6: 200}),
        moved,
        b"\x05\x01\x01k" + b"\x06\x00\x06" + edit(numbers={2: 8, 3: 10, 4: 77}, tables={9: 300}),
    ]
    path.write_bytes(frame(records) + frame([b"torn"])[:-1])
    version, end = read_manifest(path, checksums=True)
    assert version.tables == {5: 100, 9: 300}
    assert (version.comparator, version.log_number, version.next_file, version.last_sequence) == (b"idb_cmp1", 8, 10, 77)
    assert end == len(frame(records))
    assert [number for number in range(12) if version.needs_log(number)] == [8, 9, 10, 11]


@pytest.mark.parametrize(
    ("records", "complaint"),
    [
        ([edit(b"idb_cmp1")], "no log_number, next_file, last_sequence"),
        ([b"\x08\x01"], "unknown field 8"),
        ([b"\x02\xff"], "does not end"),
        ([b"\x01\x7fab"], "longer than its record"),
        ([b"\x02" + b"\xff" * 12], "does not end"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(tmp_path: Path, records: list[bytes], complaint: str) -> None:
    path = tmp_path / "MANIFEST-000001"
    path.write_bytes(frame(records))
    with pytest.raises(DamagedDatabase, match=f"MANIFEST-000001: .*{complaint}"):
        read_manifest(path, checksums=True)


def test_records_are_named_by_their_file(tmp_path: Path) -> None:
    path = tmp_path / "000003.log"
    data = bytearray(frame([b"abc"]))
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedDatabase, match=r"000003\.log: checksum mismatch at offset 0"):
        read_records(path, checksums=True)
    assert read_records(path, checksums=False) == ([b"abb"], len(data))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "missing"),
        (b"x" * 52 + FOOTER, "the MANIFEST says 148"),
        (b"x" * 148, "footer"),
    ],
)
def test_a_table_is_whole_or_named(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "000005.ldb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedDatabase, match=rf"000005\.ldb: .*{complaint}"):
        check_table(path, 148)
    path.write_bytes(b"x" * 100 + FOOTER)
    check_table(path, 148)
