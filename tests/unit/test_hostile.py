"""The corpus of hostile archives through the real door: each is refused, says what and where, and changes nothing."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
import tracemalloc
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.backup import BackupEngine
from wwauth.errors import ConfigurationError, SessionCorrupted
from wwauth.stores import FileSystemStore

from .profiles import make_profile, tree
from .rawzip import DEFLATED, STORED, Member, raw_zip
from .test_format import SAMPLE, SESSION, digests, expected

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    from collections.abc import Iterator

CORPUS = Path(__file__).parents[1] / "fixtures" / "hostile"
CASES: dict[str, dict[str, dict[str, str]]] = json.loads((CORPUS / "cases.json").read_text("utf-8"))

# No honest file of the corpus is as large, and no hostile one promises as much and keeps it.
LARGEST_FILE = 1 << 20
MOST_MEMORY = 40 << 20


def cases(kind: str) -> list[Any]:
    return [pytest.param(case["says"], CORPUS / kind / f"{name}.zip", id=name) for name, case in CASES[kind].items()]


@contextmanager
def bounded() -> Iterator[None]:
    """Let no file grow, and no memory be taken, beyond what an honest archive of this size needs."""
    if sys.platform != "win32":
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, before[1]))
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
        if sys.platform != "win32":
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def store(tmp_path: Path) -> FileSystemStore:
    return FileSystemStore(tmp_path / "store")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return make_profile(tmp_path / "data" / SESSION, log=[b"what is on the disk"])


def put(store: FileSystemStore, data: bytes, name: str = SESSION) -> None:
    store.folder.mkdir(exist_ok=True)
    (store.folder / f"{name}.zip").write_bytes(data)


def everything(root: Path) -> dict[str, bytes | None]:
    """Return all that lies under a folder: the content of files, None for folders."""
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


async def refuse(store: FileSystemStore, profile: Path, says: str, generation: int | None = None) -> None:
    engine = BackupEngine(store, session=SESSION)
    before = everything(profile.parents[1])
    with bounded(), pytest.raises(SessionCorrupted, match=re.compile(says, re.DOTALL)) as caught:
        await engine.restore(profile, generation)
    assert everything(profile.parents[1]) == before
    assert SESSION in str(caught.value)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(("says", "path"), cases("plain"))
async def test_a_hostile_plain_zip_is_refused(store: FileSystemStore, profile: Path, says: str, path: Path) -> None:
    put(store, path.read_bytes())
    await refuse(store, profile, says)


@pytest.mark.parametrize(("says", "path"), cases("index"))
async def test_a_hostile_index_is_refused(store: FileSystemStore, profile: Path, says: str, path: Path) -> None:
    shutil.copytree(SAMPLE, store.folder)
    put(store, path.read_bytes())
    await refuse(store, profile, says)


@pytest.mark.parametrize(("says", "path"), cases("pack"))
async def test_a_hostile_pack_is_refused_and_an_older_generation_used(
    store: FileSystemStore, profile: Path, says: str, path: Path
) -> None:
    shutil.copytree(SAMPLE, store.folder)
    put(store, path.with_suffix(".index.zip").read_bytes())
    if path.stem != "missing":
        put(store, path.read_bytes(), f"{SESSION}.4.0123abcd")
    await refuse(store, profile, f"generation 4 was not used: .*(?:{says})", 4)
    with bounded():
        report = await BackupEngine(store, session=SESSION).restore(profile)
    assert report.generation == 3
    assert len(report.notes) == 1
    assert re.search(f"generation 4 was not used: .*(?:{says})", report.notes[0])
    assert digests(tree(profile)) == expected("3")
    assert {path.name for path in profile.parent.iterdir()} == {SESSION, f"{SESSION}.previous"}


def test_the_corpus_and_its_table_are_the_same() -> None:
    there = {path.relative_to(CORPUS).as_posix() for path in CORPUS.rglob("*.zip")}
    listed = {f"{kind}/{name}.zip" for kind, found in CASES.items() for name in found}
    assert there == listed | {f"pack/{name}.index.zip" for name in CASES["pack"]}


def members(root: Path, **options: Any) -> list[Member]:
    files = {name: data for name, data in tree(root).items() if not name.endswith(("/LOG", "/LOCK", "/Preferences"))}
    return [Member(name, data, **options) for name, data in files.items()]


HONEST: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "deflated": ({}, {}),
    "stored": ({"method": STORED}, {}),
    "streamed": ({"descriptor": "4sLLL"}, {}),
    "streamed without a mark": ({"descriptor": "LLL"}, {}),
    "streamed with wide sizes": ({"descriptor": "4sLQQ"}, {}),
    "streamed, sizes known": ({"descriptor": "4sLLL", "local": {"extra": b""}}, {}),
    "of another time": (
        {"local": {"extra": b"UT\x09\x00\x03" + bytes(8)}, "central": {"extra": b"UT\x05\x00\x03" + bytes(4)}},
        {},
    ),
    "of Windows": ({"central": {"attributes": 0x20, "made": 20}}, {}),
    "of an old program": ({"flags": 0}, {}),
    "with a comment": ({}, {"comment": b"made by hand"}),
    "ZIP64": ({}, {"zip64": True}),
}


@pytest.mark.parametrize("form", HONEST)
async def test_an_honest_zip_is_restored(tmp_path: Path, store: FileSystemStore, profile: Path, form: str) -> None:
    source = make_profile(tmp_path / "source")
    per_entry, whole = HONEST[form]
    folders = [Member("Default/", method=STORED), Member("Default/IndexedDB/", method=STORED)]
    cookies = Member("Default/Cookies", b"no part of a login", method=DEFLATED)
    put(store, raw_zip(*folders, *members(source, **per_entry), cookies, **whole))
    report = await BackupEngine(store, session=SESSION).restore(profile)
    assert report.notes == ("1 files of the archive are no part of a login and were left out",)
    found = tree(profile)
    assert {member.name: member.data for member in members(source)}.items() <= found.items()
    assert "Default/Cookies" not in found


@pytest.mark.parametrize("path", sorted((CORPUS.parent / "honest").glob("*.zip")), ids=lambda path: path.stem)
async def test_what_other_programs_wrote_is_restored(store: FileSystemStore, profile: Path, path: Path) -> None:
    put(store, path.read_bytes())
    await BackupEngine(store, session=SESSION).restore(profile)
    with zipfile.ZipFile(path) as archive:
        files = {name.removeprefix("./"): archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    assert len(files) == 14
    left_out = files.keys() - tree(profile).keys()
    assert left_out == {"Default/Preferences"}
    assert all(content == files[name] for name, content in tree(profile).items() if name != "wwauth-backup.json")


async def test_zip64_of_single_entries_is_read(tmp_path: Path, store: FileSystemStore, profile: Path) -> None:
    source = make_profile(tmp_path / "source")
    path = store.folder / f"{SESSION}.zip"
    store.folder.mkdir()
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members(source):
            with archive.open(str(member.name), "w", force_zip64=True) as target:
                target.write(member.data)
    await BackupEngine(store, session=SESSION).restore(profile)
    assert {member.name: member.data for member in members(source)}.items() <= tree(profile).items()


async def test_folders_that_nobody_names_are_counted(
    store: FileSystemStore, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wwauth.backup._zipread.Limits.__init__.__defaults__", (100, *_limits_after_entries()))
    deep = [Member(f"Default/IndexedDB/{number}" + "/d" * 25 + "/x", b"x") for number in range(5)]
    put(store, raw_zip(*deep))
    await refuse(store, profile, "more than 100 files and folders")


def _limits_after_entries() -> tuple[Any, ...]:
    from wwauth.backup._zipread import Limits

    return tuple(Limits.__init__.__defaults__ or ())[1:]


@pytest.mark.parametrize("session", ["RemoteAuth-one.1.0123abcd", "a.b.9999999999.ffffffff"])
def test_a_session_with_a_packs_name_is_refused(tmp_path: Path, session: str) -> None:
    # The index of RemoteAuth-one could name it as garbage.
    with pytest.raises(ConfigurationError, match=re.escape(session)):
        BackupEngine(FileSystemStore(tmp_path), session=session)


@pytest.mark.parametrize("session", ["RemoteAuth-one.01.0123abcd", "one.1.0123ABCD", "one.1.0123abcd0", "1.0123abcd", "a.1"])
def test_a_session_with_dots_is_taken(tmp_path: Path, session: str) -> None:
    BackupEngine(FileSystemStore(tmp_path), session=session)


async def test_a_plain_zip_cannot_use_up_the_numbers(tmp_path: Path, store: FileSystemStore, profile: Path) -> None:
    stamp = b"wwauth generation=%d content=" + b"a" * 64
    put(store, raw_zip(*members(profile), comment=stamp % 10**17))
    engine = BackupEngine(store, session=SESSION)
    assert (await engine.restore(profile)).generation == 0
    assert (await engine.save(profile)).generation == 1


async def test_garbage_that_an_index_names_is_only_ever_of_its_session(store: FileSystemStore, profile: Path) -> None:
    shutil.copytree(SAMPLE, store.folder)
    with zipfile.ZipFile(store.folder / f"{SESSION}.zip") as archive:
        index = json.loads(archive.read("wwauth-index.json"))
    index["garbage"] = [{"generation": number, "writer": "0123abcd"} for number in range(1, 4)]
    put(store, raw_zip(Member("wwauth-index.json", json.dumps(index).encode())))
    for name in ("RemoteAuth-other", "RemoteAuth-other.1.0123abcd", "RemoteAuth.2.0123abcd", f"{SESSION}.3.0123abcd"):
        put(store, b"bytes of " + name.encode(), name)
    engine = BackupEngine(store, session=SESSION)
    await engine.restore(profile)
    await engine.delete(profile)
    left = {path.name for path in store.folder.glob("*.zip")}
    assert left == {"RemoteAuth-other.zip", "RemoteAuth-other.1.0123abcd.zip", "RemoteAuth.2.0123abcd.zip"}


class Endless(FileSystemStore):
    """Goes on writing what has no end, as a store does whose object is far larger than the index says."""

    async def extract(self, *, session: str, path: Path) -> None:  # type: ignore[override]
        if session == SESSION:
            return await super().extract(session=session, path=path)
        with path.with_name(f".{path.name}.part").open("wb") as file:
            while True:
                file.truncate(file.seek(0, 2) + (4 << 20))
                await asyncio.sleep(0.01)


async def test_a_download_that_goes_on_behind_its_promise_is_stopped(tmp_path: Path, profile: Path) -> None:
    shutil.copytree(SAMPLE, tmp_path / "store")
    before = everything(profile.parent)
    with pytest.raises(SessionCorrupted, match=rf"generation 3 was not used: what is stored as {SESSION}.1\S+ goes on behind"):
        await BackupEngine(Endless(tmp_path / "store"), session=SESSION).restore(profile)
    assert everything(profile.parent) == before
