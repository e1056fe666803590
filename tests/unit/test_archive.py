"""Archives: whatsapp-web.js's format both ways, and what damaged and hostile ones do."""

from __future__ import annotations

import io
import random
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wwauth.backup._zipread import Limits
from wwauth.backup.archive import Stamp, look_into_archive, read_archive, tree_digest, write_archive
from wwauth.errors import ConfigurationError, SessionCorrupted

from .profiles import INDEXED_DB, make_profile, tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import RequireOptional

PEER = Path(__file__).parents[1] / "interop" / "node_modules"
STAMP = Stamp(7, "ab" * 32)
FILE = f"{INDEXED_DB}/CURRENT"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Make a profile with what compresses, what does not, what is empty, and what is longer than a piece."""
    source = make_profile(tmp_path / "source")
    shutil.rmtree(source / "Default" / "Local Storage" / "leveldb")
    (source / "Default" / "Preferences").unlink()
    noise = random.Random(1)
    for name, content in {
        "empty": b"",
        "one": b"x",
        "text": b"".join(b"line %d of a long text\n" % number for number in range(200_000)),
        "random": noise.randbytes(3_000_001),
        "mixed": noise.randbytes(600_000) + bytes(600_000),
    }.items():
        (source / "Default" / "Local Storage" / name).write_bytes(content)
    return source


def test_what_was_packed_comes_back(tmp_path: Path, source: Path) -> None:
    written = write_archive(source, tmp_path / "a.zip", stamp=STAMP)
    read = read_archive(tmp_path / "a.zip", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(source)
    assert written == read
    assert (read.stamp, read.files, read.skipped) == (STAMP, len(tree(source)), 0)
    assert read.bytes_total == sum(map(len, tree(source).values()))
    assert tree_digest(tmp_path / "back") == tree_digest(source)
    assert (tmp_path / "a.zip").stat().st_size < read.bytes_total / 1.5


def test_the_standard_library_reads_it(tmp_path: Path, source: Path) -> None:
    write_archive(source, tmp_path / "a.zip", stamp=STAMP)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names[:2] == ["Default/", "Default/IndexedDB/"]
        assert {name for name in names if not name.endswith("/")} == set(tree(source))
        for info in archive.infolist():
            assert info.flag_bits == 0
            assert stat.S_ISDIR(info.external_attr >> 16) == info.is_dir()
        methods = {info.filename.rpartition("/")[2]: info.compress_type for info in archive.infolist()}
    assert (methods["random"], methods["text"], methods["mixed"]) == (zipfile.ZIP_STORED, *[zipfile.ZIP_DEFLATED] * 2)


def test_it_is_the_same_format_without_the_fast_library(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wwauth.backup import archive

    monkeypatch.setattr(archive, "isal_zlib", None)
    write_archive(source, tmp_path / "a.zip")
    read_archive(tmp_path / "a.zip", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(source)


@pytest.mark.interop
def test_the_unmodified_peers_unzipper_reads_it(tmp_path: Path, source: Path, require_optional: RequireOptional) -> None:
    require_optional(
        shutil.which("node") and (PEER / "unzipper").is_dir(),
        "needs Node and the npm peers: PUPPETEER_SKIP_DOWNLOAD=1 npm ci --prefix tests/interop",
    )
    write_archive(source, tmp_path / "a.zip", stamp=STAMP)
    # As RemoteAuth.js calls it.
    script = """
        const [unzipper, zip, path] = process.argv.slice(1);
        require('fs').createReadStream(zip).pipe(require(unzipper).Extract({ path, concurrency: 10 }))
            .on('error', (error) => { throw error; }).on('finish', () => {});"""
    arguments = [str(PEER / "unzipper"), str(tmp_path / "a.zip"), str(tmp_path / "back")]
    subprocess.run(["node", "-e", script, *arguments], check=True, timeout=60)
    assert tree(tmp_path / "back") == tree(source)


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX's")
def test_all_is_private(tmp_path: Path, source: Path) -> None:
    write_archive(source, tmp_path / "a.zip")
    read_archive(tmp_path / "a.zip", tmp_path / "back")
    assert (tmp_path / "a.zip").stat().st_mode & 0o777 == 0o600
    for path in (tmp_path / "back", *(tmp_path / "back").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def make(path: Path, entries: dict[str, bytes] | list[tuple[Any, bytes]], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in entries.items() if isinstance(entries, dict) else entries:
            archive.writestr(name, content)
    return path


def test_an_old_windows_peers_archive_is_read(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(zipfile.ZipInfo("Default!IndexedDB!x!CURRENT"), b"c")
        archive.writestr(zipfile.ZipInfo("Default!Local Storage!"), b"")
    (tmp_path / "a.zip").write_bytes(data.getvalue().replace(b"!", b"\\"))
    read_archive(tmp_path / "a.zip", tmp_path / "back")
    assert tree(tmp_path / "back") == {"Default/IndexedDB/x/CURRENT": b"c"}
    assert (tmp_path / "back" / "Default" / "Local Storage").is_dir()


def test_what_is_no_login_is_skipped(tmp_path: Path) -> None:
    entries = {"Default/": b"", FILE: b"c", "Default/Cookies": b"k", "Local State": b"s", "Default/IndexedDBs/x": b""}
    contents = read_archive(make(tmp_path / "a.zip", entries), tmp_path / "back")
    assert tree(tmp_path / "back") == {FILE: b"c"}
    assert (contents.files, contents.skipped, contents.stamp) == (1, 3, Stamp(0, ""))


def link() -> list[tuple[Any, bytes]]:
    info = zipfile.ZipInfo("Default/IndexedDB/link")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return [(FILE, b"c"), (info, b"/etc/passwd")]


HOSTILE: dict[str, tuple[Any, str]] = {
    "zip-slip": ([("Default/IndexedDB/../../../evil", b"x")], "leads out"),
    "zip-slip backslash": ([("Default\\IndexedDB\\..\\..\\..\\evil", b"x")], "leads out"),
    "zip-slip among the skipped": ([(FILE, b"c"), ("../evil", b"x")], "leads out"),
    "dot": ([("Default/./IndexedDB/x", b"x")], "leads out"),
    "empty part": ([("Default//IndexedDB/x", b"x")], "leads out"),
    "absolute": ([("/Default/IndexedDB/x", b"x")], "absolute"),
    "unc": ([("\\\\host\\share\\x", b"x")], "absolute"),
    "drive": ([("C:/Default/IndexedDB/x", b"x")], "absolute"),
    "stream": ([("Default/IndexedDB/x:y", b"x")], "character"),
    "control": ([("Default/IndexedDB/x\ny", b"x")], "character"),
    "device": ([("Default/IndexedDB/nul.txt", b"x")], "some systems"),
    "trailing dot": ([("Default/IndexedDB/x.", b"x")], "some systems"),
    "long": ([("Default/IndexedDB/" + "x" * 300, b"x")], "some systems"),
    "link": (link(), "link or a device"),
    "case": ([(FILE, b"c"), (FILE.lower().replace("default/indexeddb", "Default/IndexedDB"), b"x")], "only in case"),
    "folder case": ([(FILE, b"c"), ("default/x", b"x")], "collides"),
    "composed": ([("Default/IndexedDB/\u00e9", b"c"), ("Default/IndexedDB/e\u0301", b"x")], "only in case"),
    "file is a folder": ([("Default/IndexedDB/x", b"c"), ("Default/IndexedDB/x/y", b"x")], "collides"),
    "no login": ([("Default/Cookies", b"c")], "no file of a login"),
    "empty": ([], "no file of a login"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_named_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    entries, complaint = HOSTILE[case]
    path = make(tmp_path / "a.zip", entries)
    with pytest.raises(SessionCorrupted, match=complaint):
        read_archive(path, tmp_path / "deep" / "back")
    assert tree(tmp_path) == {"a.zip": path.read_bytes()}
    assert not (tmp_path / "deep" / "back").exists()
    with pytest.raises(SessionCorrupted, match=complaint):
        look_into_archive(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SessionCorrupted, match="is there twice"):
        read_archive(make(tmp_path / "a.zip", [(FILE, b"c"), (FILE, b"d")]), tmp_path / "back")


@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        (Limits(entries=1), "2 entries, 1 are allowed"),
        (Limits(bytes_total=1_000_000), "1000001 bytes when unpacked"),
        (Limits(free=1000, ratio=100), "bytes that unpack to 1000001"),
    ],
)
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, limits: Limits, complaint: str) -> None:
    entries = {FILE: bytes(1_000_000), "Default/IndexedDB/x": b"x"}
    path = make(tmp_path / "a.zip", entries, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(SessionCorrupted, match=complaint):
        read_archive(path, tmp_path / "back", limits=limits)
    assert not (tmp_path / "back").exists()


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {FILE: b"c" * 100, "Default/IndexedDB/x": b"c" * 100})
    data = bytearray(path.read_bytes())
    second = data.rindex(b"PK\1\2")
    data[second + 42 : second + 46] = bytes(4)  # the second entry's header is the first one's
    path.write_bytes(data)
    with pytest.raises(SessionCorrupted, match="lies over another"):
        read_archive(path, tmp_path / "back")


def _patch(at: int, value: int, *, magic: bytes = b"PK\1\2") -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        start = data.index(magic) + at
        return data[:start] + bytes([value]) + data[start + 1 :]

    return change


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "not a zip": (lambda _: b"<html>502 Bad Gateway</html>", "not a zip"),
    "nothing": (lambda _: b"", "not a zip"),
    "truncated": (lambda b: b[:-30], "no whole archive"),
    "half": (lambda b: b[: len(b) // 2], "no whole archive"),
    "trailing": (lambda b: b + b"garbage", "no whole archive"),
    "leading": (lambda b: b"MZ garbage" + b, "before the beginning"),
    "content": (lambda b: b.replace(b"content", b"cOntent", 1), f"{FILE}.*CRC"),
    "encrypted": (_patch(8, 1), "is encrypted"),
    "method": (_patch(10, 93), "method 93"),
    "size": (_patch(24, 99), "two sizes"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_archive_is_named_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    change, complaint = DAMAGE[case]
    path = make(tmp_path / "a.zip", {FILE: b"the content of a file"})
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(SessionCorrupted, match=rf"a\.zip is no whole archive.*{complaint}|{complaint}"):
        read_archive(path, tmp_path / "back")
    assert not (tmp_path / "back").exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(data=st.data())
def test_no_change_of_bytes_gives_another_profile(tmp_path: Path, data: st.DataObject) -> None:
    good = tmp_path / "good.zip"
    if not good.exists():
        write_archive(make_profile(tmp_path / "source"), good, stamp=STAMP)
    content = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        if not content:
            break
        at = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["flip", "delete", "insert", "cut"]))
        if kind == "flip":
            content[at] ^= data.draw(st.integers(1, 255))
        elif kind == "delete":
            del content[at]
        elif kind == "insert":
            content.insert(at, data.draw(st.integers(0, 255)))
        else:
            del content[at:]
    bad, back = tmp_path / "bad.zip", tmp_path / "back"
    bad.write_bytes(content)
    try:
        read_archive(bad, back)
    except SessionCorrupted:
        assert not back.exists()
        return
    expected = tree(tmp_path / "source")
    got = tree(back)
    shutil.rmtree(back)
    assert set(got.values()) <= set(expected.values())
    assert all(got[name] == expected[name] for name in got.keys() & expected.keys())


def test_the_destination_is_never_overwritten(tmp_path: Path, source: Path) -> None:
    write_archive(source, tmp_path / "a.zip")
    (tmp_path / "back").mkdir()
    with pytest.raises(ConfigurationError, match="must not exist"):
        read_archive(tmp_path / "a.zip", tmp_path / "back")
    assert (tmp_path / "back").is_dir()


def test_work_that_is_told_to_stop_leaves_nothing(tmp_path: Path, source: Path) -> None:
    class Stop(Exception):
        pass

    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise Stop

    with pytest.raises(Stop):
        write_archive(source, tmp_path / "a.zip", check=check)
    assert not (tmp_path / "a.zip").exists()
    write_archive(source, tmp_path / "b.zip")
    calls = 0
    with pytest.raises(Stop):
        read_archive(tmp_path / "b.zip", tmp_path / "back", check=check)
    assert not (tmp_path / "back").exists()


def test_a_digest_tells_names_sizes_and_bytes_apart(tmp_path: Path) -> None:
    digests = set()
    for number, files in enumerate([{"a": b"xy"}, {"a": b"yx"}, {"b": b"xy"}, {"a": b"x", "b": b"y"}, {"a": b""}]):
        root = tmp_path / str(number)
        root.mkdir()
        for name, content in files.items():
            (root / name).write_bytes(content)
        digests.add(tree_digest(root))
    assert len(digests) == 5


def test_a_stamp_is_read_back_and_others_comments_are_none() -> None:
    assert Stamp.from_bytes(STAMP.to_bytes()) == STAMP
    for comment in (b"", b"made by zip", STAMP.to_bytes() + b" ", b"wwauth generation=-1 content=" + b"a" * 64):
        assert Stamp.from_bytes(comment) == Stamp()
