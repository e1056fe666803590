"""
Packs: zips of new and grown files, each member one segment of a file, compressed by zstd (method 93 of the zip format).

A pack is written once, under a name of its own, and never changed. What belongs where stands in the index alone; in a pack the
members are only numbered. Everything here blocks: call it from a thread.
"""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import SessionCorrupted, SnapshotFailed
from ._inflate import ZSTD
from ._io import CHUNK, create_private, make_dirs, write_all
from ._paths import HostileArchive
from ._zipread import Limits, read_directory, read_entry
from ._zipwrite import ZipWriter
from ._zstd import zstd
from .archive import colliding, crc32, file_digest, go_on, write_to
from .index import Pack, Segment, StoredFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from io import FileIO
    from pathlib import Path

    from ._zipread import Entry
    from .index import PackName

# Chromium's tables are compressed already, and so is media: a higher level takes twice as long, and gains nothing there.
_LEVEL = 1

# What is read and compressed whole, and how many of these at a time; larger files go through in pieces.
_SMALL, _AT_ONCE = 4 << 20, 2


@dataclass(frozen=True, slots=True)
class ToStore:
    """
    A file of a snapshot whose bytes from `offset` on go into a pack.

    Attributes:
        path: Its path under the user-data folder, with `/`.
        offset: How many bytes are stored already, in `before`.
        before: The segments of those.
        prefix: The digest of those bytes so far (of hashlib's kind), to be carried on; None when `offset` is 0.
    """

    path: str
    offset: int = 0
    before: tuple[Segment, ...] = ()
    prefix: Any = None


def write_pack(
    root: Path, path: Path, wanted: list[ToStore], *, name: PackName, check: Callable[[], None] = go_on
) -> tuple[Pack, list[StoredFile]]:
    """
    Write the new pack `path` (0600) with what is `wanted` of the files under `root`; return it, and the files it completes.

    Raises:
        SnapshotFailed: It could not be written: the disk is full, for one. No file is left at `path`.
    """
    written: list[tuple[ToStore, _Sums]] = []
    try:
        # Reading, hashing and compressing release the interpreter.
        with create_private(path) as file, ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="wwauth-pack") as pool:
            hashed = _Hashed(file)
            archive = ZipWriter(hashed.write, ZSTD)
            for item, size, compressed in _ahead(root, wanted, pool, check):
                archive.begin(str(len(written)), size)
                if compressed is not None:
                    sums, data = compressed.result()
                    archive.write(data)
                else:
                    sums = _stream(root / item.path, item, archive, pool, check)
                archive.end(sums.crc, sums.size)
                written.append((item, sums))
            archive.close()
        pack = Pack(name, hashed.size, hashed.digest.hexdigest(), sum(sums.size for _, sums in written))
    except OSError as exc:
        path.unlink(missing_ok=True)
        raise SnapshotFailed(f"{root} could not be packed into {path.name}: {exc}") from exc
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    files = []
    for number, (item, sums) in enumerate(written):
        segment = Segment(pack, str(number), sums.size, sums.segment.hexdigest())
        files.append(StoredFile(item.path, item.offset + sums.size, sums.whole.hexdigest(), (*item.before, segment)))
    return pack, files


class _Hashed:
    """Writes to a file and hashes what goes there."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        write_all(self._file, data)
        self.digest.update(data)
        self.size += len(data)


class _Sums:
    """Size, checksum and digest of a segment, and the digest of the file up to its end."""

    def __init__(self, item: ToStore) -> None:
        self.size = self.crc = 0
        self.segment = self.whole = hashlib.sha256()
        if item.prefix is not None:
            self.whole = item.prefix.copy()

    def update(self, data: bytes) -> None:
        self.size += len(data)
        self.crc = crc32(data, self.crc)
        self.segment.update(data)
        if self.whole is not self.segment:
            self.whole.update(data)


def _ahead(
    root: Path, wanted: list[ToStore], pool: ThreadPoolExecutor, check: Callable[[], None]
) -> Iterator[tuple[ToStore, int, Future[tuple[_Sums, bytes]] | None]]:
    """Yield what is wanted, with sizes; small files are compressed by the time it is their turn, a few of them ahead."""
    waiting: deque[tuple[ToStore, int, Future[tuple[_Sums, bytes]] | None]] = deque()
    for item in wanted:
        check()
        size = (root / item.path).stat().st_size - item.offset
        waiting.append((item, size, pool.submit(_compress, root / item.path, item) if size <= _SMALL else None))
        if len(waiting) > _AT_ONCE:
            yield waiting.popleft()
    yield from waiting


def _compress(source: Path, item: ToStore) -> tuple[_Sums, bytes]:
    """Compress a small file."""
    sums = _Sums(item)
    with source.open("rb", buffering=0) as file:
        file.seek(item.offset)
        data = file.read()
    sums.update(data)
    return sums, zstd.compress(data, _LEVEL)


def _stream(source: Path, item: ToStore, archive: ZipWriter, pool: ThreadPoolExecutor, check: Callable[[], None]) -> _Sums:
    """Compress a file piece by piece."""
    sums = _Sums(item)
    engine = zstd.ZstdCompressor(_LEVEL)
    with source.open("rb", buffering=0) as file:
        file.seek(item.offset)
        while data := file.read(CHUNK):
            check()
            hashing = pool.submit(sums.update, data)
            archive.write(engine.compress(data))
            hashing.result()
    archive.write(engine.flush())
    return sums


def verify_pack(path: Path, pack: Pack, *, check: Callable[[], None] = go_on) -> None:
    """Check that a file is the pack that the index describes; `SessionCorrupted` when not."""
    label = f"pack {pack.name.generation}.{pack.name.writer}"
    if (size := path.stat().st_size) != pack.size:
        raise SessionCorrupted(f"{label} has {size} bytes, and the index says {pack.size}")
    if file_digest(path, check=check) != pack.sha256:
        raise SessionCorrupted(f"{label} is not what was stored: its digest is not that in the index")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a segment's bytes belong; `alone`: they are the whole file."""

    path: str
    offset: int
    segment: Segment
    alone: bool


def places(files: tuple[StoredFile, ...]) -> dict[Pack, list[Place]]:
    """Return what each pack has to give for these files."""
    found: dict[Pack, list[Place]] = {}
    for file in files:
        offset = 0
        for segment in file.segments:
            found.setdefault(segment.pack, []).append(Place(file.path, offset, segment, alone=len(file.segments) == 1))
            offset += segment.size
    return found


def prepare_files(root: Path, files: tuple[StoredFile, ...]) -> None:
    """
    Create, in the new folder `root`, all folders (0700), and the empty files (0600) that no single segment makes up.

    `unpack` creates the others as it writes them: with thousands of files, that they are created takes as long as the writing.
    """
    try:
        for folder in sorted({(root / file.path).parent for file in files}):
            make_dirs(folder)
        for file in files:
            with colliding(file.path):
                if len(file.segments) != 1:
                    create_private(root / file.path).close()
    except HostileArchive as exc:
        raise SessionCorrupted(f"the index: {exc}") from exc


def unpack(path: Path, pack: Pack, wanted: list[Place], root: Path, *, check: Callable[[], None] = go_on) -> None:
    """
    Write the wanted segments of a pack to their places under `root`, each with its size and digest checked.

    Raises:
        SessionCorrupted: The pack is not what the index says.
        OSError: The disk is full.
    """
    # Nothing that is written is used before both have ended; beside each other they take a fifth less time.
    with ThreadPoolExecutor(1, thread_name_prefix="wwauth-sha256") as pool:
        whole = pool.submit(verify_pack, path, pack, check=check)
        try:
            _unpack(path, pack, wanted, root, check)
        except Exception:
            whole.result()  # that it is not what was stored says more
            raise
        whole.result()


def _unpack(path: Path, pack: Pack, wanted: list[Place], root: Path, check: Callable[[], None]) -> None:
    label = f"pack {pack.name.generation}.{pack.name.writer}"
    # A member has at least one byte. How many bytes there may be for so many packed ones was looked at with the index.
    limits = Limits(bytes_total=pack.unpacked, free=pack.unpacked, methods=frozenset({ZSTD}))
    limits = replace(limits, entries=min(limits.entries, pack.unpacked))
    try:
        with path.open("rb") as file:
            members = {entry.path: entry for entry in read_directory(file, limits).entries}
        work = [(place, _member(members, place)) for place in wanted]
        # Decompressing and writing release the interpreter, so two at a time take half as long.
        with ThreadPoolExecutor(2, thread_name_prefix="wwauth-zstd") as pool:
            try:
                for _ in pool.map(lambda item: _write_segment(path, item[0], item[1], root, check), work):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    except HostileArchive as exc:
        raise SessionCorrupted(f"{label}: {exc}") from exc


def _member(members: dict[str, Entry], place: Place) -> Entry:
    entry = members.get(place.segment.member)
    if entry is None:
        raise HostileArchive(f"member {place.segment.member} of {place.path} is not in it")
    if entry.size != place.segment.size:
        raise HostileArchive(f"member {place.segment.member} has {entry.size} bytes, not {place.segment.size}")
    return entry


def _write_segment(path: Path, place: Place, entry: Entry, root: Path, check: Callable[[], None]) -> None:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as source, _open_place(root, place) as target:
        for data in read_entry(source, entry):
            check()
            digest.update(data)
            write_to(target, data, root)
    if digest.hexdigest() != place.segment.sha256:
        raise HostileArchive(f"member {entry.path} of {place.path} does not have the digest that the index says")


def _open_place(root: Path, place: Place) -> FileIO:
    if place.alone:
        with colliding(place.path):
            return create_private(root / place.path)
    target = (root / place.path).open("r+b", buffering=0)
    target.seek(place.offset)
    return target


def take_out(wanted: list[Place], root: Path) -> None:
    """Delete the files that `unpack` created."""
    for place in wanted:
        if place.alone:
            (root / place.path).unlink(missing_ok=True)


def check_digests(root: Path, files: tuple[StoredFile, ...], *, check: Callable[[], None] = go_on) -> None:
    """Check files of several segments as a whole; one of a single segment has that segment's digest."""
    for file in files:
        if len(file.segments) > 1 and file_digest(root / file.path, check=check) != file.sha256:
            raise SessionCorrupted(f"{file.path}: its segments do not make up the file that was stored")
        if not file.segments and file.sha256 != hashlib.sha256().hexdigest():
            raise SessionCorrupted(f"{file.path}: an empty file with another digest")
