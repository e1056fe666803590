"""The zips that packs are: what is written by hand is what a common reader reads."""

from __future__ import annotations

import io
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wwauth.backup._zipwrite import ZipWriter


def write(members: list[tuple[str, bytes, int]]) -> io.BytesIO:
    """Write stored members; the number of each is the size that it was begun with."""
    file = io.BytesIO()
    archive = ZipWriter(file.write, zipfile.ZIP_STORED)
    for name, data, expected in members:
        archive.begin(name, expected)
        archive.write(data[: len(data) // 2])
        archive.write(data[len(data) // 2 :])
        archive.end(zlib.crc32(data), len(data))
    archive.close()
    return file


@given(st.lists(st.tuples(st.binary(max_size=200), st.sampled_from([0, 1, 5 << 30]))))
def test_what_was_written_is_read(members: list[tuple[bytes, int]]) -> None:
    file = write([(str(number), data, expected) for number, (data, expected) in enumerate(members)])
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert [archive.read(str(number)) for number in range(len(members))] == [data for data, _ in members]
        assert all(info.flag_bits & 0x8 and info.external_attr >> 16 == 0o100600 for info in archive.infolist())


def test_more_members_than_a_small_directory_counts() -> None:
    with zipfile.ZipFile(write([(str(number), b"", 0) for number in range(0x10000)])) as archive:
        assert len(archive.infolist()) == 0x10000
        assert archive.read("65535") == b""


def test_a_directory_beyond_four_gigabytes() -> None:
    """Nothing of that size is kept: a file with a hole is what the writer's bytes are put into."""

    class Sparse(io.BytesIO):
        hole = 0

        def put(self, data: bytes) -> None:
            if len(data) == len(hole):
                self.hole += len(data)
            else:
                self.write(data)

    hole = bytes(1 << 20)
    file = Sparse()
    archive = ZipWriter(file.put, zipfile.ZIP_STORED)
    archive.begin("large", 5 << 30)
    for _ in range(5 << 10):
        archive.write(hole)
    archive.end(7, 5 << 30)
    archive.begin("behind", 1)
    archive.write(b"x")
    archive.end(zlib.crc32(b"x"), 1)
    archive.close()
    end = file.getvalue()[-22:]
    assert end.startswith(b"PK\5\6")

    class Seen(io.RawIOBase):
        """The file as a reader sees it, zeros where the hole is."""

        at = 0
        start = 30 + 5 + 20

        def seekable(self) -> bool:
            return True

        def readable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = 0) -> int:
            length = len(file.getvalue()) + file.hole
            self.at = max(0, offset + (self.at if whence == 1 else length if whence == 2 else 0))
            return self.at

        def tell(self) -> int:
            return self.at

        def read(self, count: int = -1) -> bytes:
            data = file.getvalue()
            assert self.at < self.start or self.at >= self.start + file.hole
            position = self.at if self.at < self.start else self.at - file.hole
            got = data[position:] if count < 0 else data[position : position + count]
            self.at += len(got)
            return got

    with zipfile.ZipFile(Seen()) as seen:
        sizes = {info.filename: (info.file_size, info.compress_size) for info in seen.infolist()}
        assert sizes == {"large": (5 << 30, 5 << 30), "behind": (1, 1)}
        assert seen.getinfo("behind").header_offset > 5 << 30
        assert seen.read("behind") == b"x"


def test_a_member_that_outgrew_what_it_was_begun_with() -> None:
    archive = ZipWriter(lambda _: None, zipfile.ZIP_STORED)
    archive.begin("0", 1)
    with pytest.raises(OverflowError, match="more than it was begun with"):
        archive.end(0, 1 << 33)
