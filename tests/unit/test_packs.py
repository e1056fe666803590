"""Packs and indexes as files: what was written comes back, and what is damaged or made to harm is refused."""

from __future__ import annotations

import hashlib
import json
import random
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wwauth.backup._paths import HostileArchive
from wwauth.backup._zstd import ZstdZipFile, zstd
from wwauth.backup.archive import content_digest, tree_digest
from wwauth.backup.index import Index, Pack, PackName, StoredFile, StoredGeneration, Unusable
from wwauth.backup.indexfile import is_index, parse_index, read_index, write_index
from wwauth.backup.packs import (
    Place,
    ToStore,
    check_digests,
    places,
    prepare_files,
    unpack,
    verify_pack,
    write_pack,
)
from wwauth.errors import SessionCorrupted, SnapshotFailed

from .profiles import make_profile, tree
from .rawzip import ZSTD, Member, raw_zip

if TYPE_CHECKING:
    from pathlib import Path

SESSION = "RemoteAuth-one"
NAME = PackName(1, "0123abcd")


def fill(root: Path) -> list[str]:
    """Write files that compress, that do not, that are empty, and that are longer than a piece; return their paths."""
    noise = random.Random(1)
    for name, content in {
        "empty": b"",
        "one": b"x",
        "text": b"".join(b"line %d\n" % number for number in range(300_000)),
        "random": noise.randbytes(2_500_001),
        "zeros": bytes(3_000_000),
    }.items():
        path = root / "Default" / "IndexedDB" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return sorted(tree(root))


def generation_of(files: tuple[StoredFile, ...], number: int = 1) -> StoredGeneration:
    return StoredGeneration(
        number=number,
        writer=NAME.writer,
        lineage="00000001",
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        kind="full",
        backend="leveldb",
        chromium=156,
        recipients=None,
        content=content_digest((file.path, file.size, file.sha256) for file in files),
        files=files,
        bytes_total=sum(file.size for file in files),
    )


@pytest.fixture
def packed(tmp_path: Path) -> tuple[Path, Pack, tuple[StoredFile, ...]]:
    names = fill(tmp_path / "source")
    wanted = [ToStore(name) for name in names if not name.endswith("/empty")]
    pack, files = write_pack(tmp_path / "source", tmp_path / "pack.zip", wanted, name=NAME)
    return tmp_path / "pack.zip", pack, tuple(files)


def test_what_was_packed_comes_back(tmp_path: Path, packed: tuple[Path, Pack, tuple[StoredFile, ...]]) -> None:
    path, pack, files = packed
    empty = StoredFile("Default/IndexedDB/empty", 0, hashlib.sha256().hexdigest(), ())
    files = tuple(sorted((*files, empty), key=lambda file: file.path))
    prepare_files(tmp_path / "back", files)
    unpack(path, pack, places(files)[pack], tmp_path / "back")
    check_digests(tmp_path / "back", files)
    assert tree(tmp_path / "back") == tree(tmp_path / "source")
    assert generation_of(files).content == tree_digest(tmp_path / "source")
    assert pack.size < pack.unpacked / 2
    with zipfile.ZipFile(path) as archive:
        assert {info.compress_type for info in archive.infolist()} == {93}


def test_a_suffix_is_stored_and_joined(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    name = "Default/IndexedDB/000001.log"
    (tmp_path / "source" / "Default" / "IndexedDB").mkdir(parents=True)
    (tmp_path / "source" / name).write_bytes(b"first")
    one, (file,) = write_pack(tmp_path / "source", tmp_path / "1.zip", [ToStore(name)], name=NAME)
    (tmp_path / "source" / name).write_bytes(b"first and second")
    grown = ToStore(name, 5, file.segments, hashlib.sha256(b"first"))
    two, (file,) = write_pack(tmp_path / "source", tmp_path / "2.zip", [grown], name=PackName(2, NAME.writer))
    assert file.sha256 == hashlib.sha256(b"first and second").hexdigest()
    assert two.unpacked == 11
    prepare_files(tmp_path / "back", (file,))
    for pack, path in ((two, "2.zip"), (one, "1.zip")):
        unpack(tmp_path / path, pack, places((file,))[pack], tmp_path / "back")
    check_digests(tmp_path / "back", (file,))
    assert (tmp_path / "back" / name).read_bytes() == b"first and second"
    (tmp_path / "back" / name).write_bytes(b"first and Second")
    with pytest.raises(SessionCorrupted, match=r"000001\.log"):
        check_digests(tmp_path / "back", (file,))


def test_a_pack_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    make_profile(tmp_path / "source")
    with pytest.raises(SnapshotFailed, match=r"pack\.zip"):
        write_pack(tmp_path / "source", tmp_path / "pack.zip", [ToStore("Default/not there")], name=NAME)
    assert not (tmp_path / "pack.zip").exists()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_change_of_bytes_is_taken_for_the_pack(
    tmp_path: Path, packed: tuple[Path, Pack, tuple[StoredFile, ...]], data: st.DataObject
) -> None:
    path, pack, _ = packed
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = data.draw(
        st.sampled_from(
            [whole[:at], whole + b"x", whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]]
        )
    )
    (tmp_path / "bad.zip").write_bytes(changed)
    with pytest.raises(SessionCorrupted, match=r"pack 1\.0123abcd"):
        verify_pack(tmp_path / "bad.zip", pack)


def hostile(tmp_path: Path, entries: list[tuple[str, bytes]], method: int = 93) -> tuple[Path, Pack]:
    """Make a pack whose digest is right, as somebody would who can write the index, too."""
    path = tmp_path / "hostile.zip"
    with ZstdZipFile(path, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    data = path.read_bytes()
    return path, Pack(NAME, len(data), hashlib.sha256(data).hexdigest(), sum(len(content) for _, content in entries))


HARM: dict[str, tuple[list[tuple[str, bytes]], int, str]] = {
    "member missing": ([("1", b"abc")], 93, "not in it"),
    "other size": ([("0", b"abcd")], 93, "4 bytes, not 3"),
    "other bytes": ([("0", b"xyz")], 93, "digest"),
    "other method": ([("0", b"abc")], zipfile.ZIP_DEFLATED, "method 8"),
    "path": ([("0", b"abc"), ("../0", b"x")], 93, "leads out"),
    "more than is said": ([("0", b"abc"), ("1", bytes(10_000))], 93, "bytes when unpacked"),
}


@pytest.mark.parametrize("kind", HARM)
def test_a_hostile_pack_is_refused(tmp_path: Path, kind: str) -> None:
    entries, method, message = HARM[kind]
    path, pack = hostile(tmp_path, entries, method)
    if kind == "more than is said":
        pack = replace(pack, unpacked=3)
    refuse(tmp_path, path, pack, message)


def refuse(tmp_path: Path, path: Path, pack: Pack, message: str) -> None:
    from wwauth.backup.index import Segment

    segment = Segment(pack, "0", 3, hashlib.sha256(b"abc").hexdigest())
    prepare_files(tmp_path / "back", (StoredFile("Default/IndexedDB/f", 3, segment.sha256, (segment,)),))
    with pytest.raises(SessionCorrupted, match=message):
        unpack(path, pack, [Place("Default/IndexedDB/f", 0, segment, alone=True)], tmp_path / "back")


def test_a_bomb_with_a_small_claim_is_stopped(tmp_path: Path) -> None:
    path, pack = hostile(tmp_path, [("0", bytes(50_000_000))])
    data = path.read_bytes().replace((50_000_000).to_bytes(4, "little"), (3).to_bytes(4, "little"))
    path.write_bytes(data)
    refuse(tmp_path, path, replace(pack, sha256=hashlib.sha256(data).hexdigest()), "3 bytes")
    assert (tmp_path / "back" / "Default" / "IndexedDB" / "f").stat().st_size <= 2 << 20


def test_a_frame_that_wants_a_large_window_is_refused(tmp_path: Path) -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    engine = zstd.ZstdCompressor(options=options)
    frame = engine.compress(b"abc") + engine.flush()
    path, pack = hostile(tmp_path, [("0", b"abc")])
    data = raw_zip(Member("0", b"abc", ZSTD, packed=frame))
    path.write_bytes(data)
    pack = replace(pack, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    refuse(tmp_path, path, pack, "too much memory|window")


@pytest.fixture
def index(packed: tuple[Path, Pack, tuple[StoredFile, ...]]) -> Index:
    _, _, files = packed
    newer = replace(generation_of(files[1:], 2), kind="incremental")
    return Index(SESSION, (newer, generation_of(files)), {PackName(3, "ffffffff"): None}, 7)


def document(index: Index, tmp_path: Path) -> Any:
    path = tmp_path / "index.zip"
    path.unlink(missing_ok=True)
    write_index(index, path)
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("wwauth-index.json"))


def test_an_index_comes_back(tmp_path: Path, index: Index) -> None:
    written = write_index(index, tmp_path / "index.zip")
    assert written == (tmp_path / "index.zip").read_bytes()
    assert is_index(tmp_path / "index.zip")
    assert read_index(tmp_path / "index.zip", session=SESSION) == index
    assert write_index(Index(SESSION), tmp_path / "empty.zip")
    assert read_index(tmp_path / "empty.zip", session=SESSION) == Index(SESSION)


WRONG: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "no format": (("format",), None, "format"),
    "format as text": (("format",), "1", "format"),
    "zip-slip": (("files", 0, "path"), "Default/IndexedDB/../../../x", "leads out"),
    "absolute": (("files", 0, "path"), "/etc/passwd", "absolute"),
    "drive": (("files", 0, "path"), "C:/Default/IndexedDB/x", "absolute"),
    "backslash": (("files", 0, "path"), "Default\\IndexedDB\\x", "character"),
    "device": (("files", 0, "path"), "Default/IndexedDB/NUL", "take for another"),
    "lone surrogate": (("files", 0, "path"), "Default/IndexedDB/\ud800", "character"),
    "no login": (("files", 0, "path"), "Default/Cookies", "no file of a login"),
    "case": (("files", 1, "path"), "Default/IndexedDB/ONE", "only in case"),
    "unknown pack": (("files", 0, "segments", 0, "pack"), 7, "names pack 7"),
    "negative pack": (("files", 0, "segments", 0, "pack"), -1, "pack"),
    "member": (("files", 0, "segments", 0, "member"), "../0", "member"),
    "member with a newline": (("files", 0, "segments", 0, "member"), "0\n", "member"),
    "size": (("files", 0, "size"), 2, "segments of"),
    "huge": (("files", 0, "size"), 1 << 70, "size"),
    "digest": (("files", 0, "sha256"), "0" * 64, "different digests"),
    "short digest": (("files", 0, "sha256"), "0" * 63, "sha256"),
    "pack too small": (("packs", 0, "unpacked"), 5, "fewer bytes"),
    "pack too large": (("packs", 0, "unpacked"), 1 << 40, "when unpacked"),
    "writer": (("packs", 0, "writer"), "../../xx", "writer"),
    "order": (("generations", 0, "number"), 1, "not in order"),
    "zero": (("generations", 1, "number"), 0, "number"),
    "unknown file": (("generations", 0, "files", 0), 99, "not listed"),
    "file twice": (("generations", 1, "files", 0), 1, "there twice"),
    "no time": (("generations", 0, "created"), "2026-13-02T03:04:05Z", "no time"),
    "backend": (("generations", 0, "backend"), "papyrus", "backend"),
    "needed and garbage": (("garbage", 0), {"generation": 1, "writer": "0123abcd"}, "needed and garbage"),
    "more": (("more",), 1, "more"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_index_is_refused_saying_what_and_where(tmp_path: Path, index: Index, kind: str) -> None:
    wrong = document(index, tmp_path)
    keys, value, message = WRONG[kind]
    place = wrong
    for key in keys[:-1]:
        place = place[key]
    if value is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    path = tmp_path / "wrong.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("wwauth-index.json", json.dumps(wrong))
    with pytest.raises(SessionCorrupted, match=message):
        read_index(path, session=SESSION)


def test_a_newer_format_and_another_session_are_told_from_damage(tmp_path: Path, index: Index) -> None:
    path = tmp_path / "index.zip"
    write_index(index, path)
    with pytest.raises(Unusable, match="RemoteAuth-one"):
        read_index(path, session="RemoteAuth-two")
    with pytest.raises(Unusable, match="format 2"):
        parse_index(json.dumps({**document(index, tmp_path), "format": 2}).encode(), session=SESSION)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b"1", b"\xff", b'"x"', b"[" * 100_000, b"{}", b'{"format": NaN}'])
def test_what_is_no_index_is_refused(text: bytes) -> None:
    with pytest.raises(HostileArchive):
        parse_index(text, session=SESSION)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_other_value_anywhere_is_refused_or_means_something(tmp_path: Path, index: Index, data: st.DataObject) -> None:
    wrong = place = document(index, tmp_path)
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = data.draw(JSON)
            break
        place = place[key]
    try:
        parsed = parse_index(json.dumps(wrong).encode(), session=SESSION)
    except (HostileArchive, Unusable):
        return
    # Whatever is taken can be written and read again, and stays inside.
    assert all(file.path.startswith("Default/") for generation in parsed.generations for file in generation.files)
    again = tmp_path / "again.zip"
    again.unlink(missing_ok=True)
    write_index(parsed, again)
    assert read_index(again, session=SESSION) == parsed
