"""Archives that were changed at random: restored as what was saved, or refused by a typed error, and nothing else happens."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wwauth.abc import Store
from wwauth.backup import BackupEngine
from wwauth.errors import SessionNotFound, StoreError, WWAuthError

from ..soaking import SOAK
from .mutations import changed, changed_json
from .profiles import INDEXED_DB, make_profile, tree
from .rawzip import Member, raw_zip
from .test_format import SAMPLE, SESSION, digests, expected
from .test_hostile import CORPUS, everything

if TYPE_CHECKING:
    from pathlib import Path

    from wwauth.backup import RestoreReport

PLACES = ["000006.log", "000009.log", "000005.sst", "MANIFEST-9", "corruption_info.json"]
INDEX = "wwauth-index.json"

# Under WWAUTH_SOAK=1, twenty thousand in all.
EXAMPLES = 4000 if SOAK else 60
often = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


class Shelf(Store):
    """Holds bytes under names; told apart from a session's own are those that a restore asked for."""

    def __init__(self, archives: dict[str, bytes]) -> None:
        self.archives = archives
        self.asked: set[str] = set()

    async def session_exists(self, *, session: str) -> bool:
        self.asked.add(session)
        return session in self.archives

    async def save(self, *, session: str, path: Path) -> None:
        raise AssertionError("a restore saves nothing")

    async def extract(self, *, session: str, path: Path) -> None:
        self.asked.add(session)
        if session not in self.archives:
            raise SessionNotFound(f"no {session!r}")
        path.write_bytes(self.archives[session])

    async def delete(self, *, session: str) -> None:
        raise AssertionError("a restore deletes nothing")


@pytest.fixture(scope="module")
def sample() -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in SAMPLE.glob("*.zip")}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Make a plain zip of wwauth's; one of the peer's, and one of another program, lie there."""
    from wwauth.backup.archive import Stamp, write_archive

    folder = tmp_path_factory.mktemp("plain")
    write_archive(make_profile(folder / "p"), folder / "a.zip", stamp=Stamp(7, "ab" * 32))
    others = [CORPUS.parent / "honest" / name for name in ("archiver.zip", "info-zip.zip")]
    return [path.read_bytes() for path in (folder / "a.zip", *others)]


def restore(root: Path, archives: dict[str, bytes]) -> tuple[RestoreReport, dict[str, bytes]] | WWAuthError:
    """Restore over a profile; check that all stays as it was when that is refused, and that nothing else changes when not."""
    profile = root / "data" / SESSION
    if not profile.exists():
        make_profile(profile, log=[b"what is on the disk"])
    before = everything(root)
    shelf = Shelf(archives)
    refusal: WWAuthError | None = None
    try:
        report = asyncio.run(BackupEngine(shelf, session=SESSION).restore(profile))
    except WWAuthError as exc:
        refusal = exc
    assert all(name == SESSION or name.startswith(f"{SESSION}.") for name in shelf.asked)
    if refusal is not None:
        assert not isinstance(refusal, StoreError), refusal
        assert everything(root) == before
        assert len(str(refusal)) < 5000
        return refusal
    assert {path.name for path in root.iterdir()} == {"data"}
    assert {path.name for path in profile.parent.iterdir()} == {SESSION, f"{SESSION}.previous"}
    found = tree(profile)
    note = found.pop("wwauth-backup.json")
    assert json.loads(note)["generation"] == report.generation
    assert all(name.startswith("Default/") for name in found)
    shutil.rmtree(profile.parent)
    return report, found


def contents(data: bytes) -> dict[str, bytes]:
    """Return the files of a login in a plain zip."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if name.startswith(("Default/IndexedDB/", "Default/Local Storage/"))]
        return {name: archive.read(name) for name in names if not name.endswith("/")}


@often
@given(data=st.data())
def test_a_plain_zip(tmp_path: Path, plain: list[bytes], data: st.DataObject) -> None:
    good = data.draw(st.sampled_from(plain))
    bad = changed(data.draw, good, data.draw(st.sampled_from(plain)))
    found = restore(tmp_path, {SESSION: bad})
    if not isinstance(found, WWAuthError):
        assert found[1] == contents(good)


@often
@given(data=st.data())
def test_a_plain_zip_of_databases_that_are_no_such(tmp_path: Path, plain: list[bytes], data: st.DataObject) -> None:
    files = contents(plain[0])
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(files)))
        kind = data.draw(st.sampled_from(["content", "content", "gone", "folder", "moved", "many"]))
        content = files.pop(name)
        if kind == "content":
            files[name] = changed(data.draw, content, files[data.draw(st.sampled_from(sorted(files)))] or b"\0")
        elif kind == "folder":
            files[f"{name}/x"] = content
        elif kind == "moved":
            files[f"{INDEXED_DB}/{data.draw(st.sampled_from(PLACES))}"] = content
        elif kind == "many":
            files[name] = content * 40
        if not files:
            break
    found = restore(tmp_path, {SESSION: raw_zip(*(Member(name, content) for name, content in files.items()))})
    if not isinstance(found, WWAuthError):
        # Tails are cut off, nothing else.
        assert found[1].keys() == files.keys()
        assert all(files[name].startswith(content) for name, content in found[1].items())


@often
@given(data=st.data())
def test_bytes_of_an_index_or_a_pack(tmp_path: Path, sample: dict[str, bytes], data: st.DataObject) -> None:
    archives = dict(sample)
    for name in data.draw(st.lists(st.sampled_from(sorted(sample)), min_size=1, max_size=3, unique=True)):
        archives[name] = changed(data.draw, sample[name], data.draw(st.sampled_from(sorted(sample.values()))))
    found = restore(tmp_path, archives)
    if not isinstance(found, WWAuthError):
        assert digests(found[1]) == expected(str(found[0].generation))
        assert len(found[0].notes) == 3 - found[0].generation


def index_of(archives: dict[str, bytes]) -> Any:
    with zipfile.ZipFile(io.BytesIO(archives[SESSION])) as archive:
        return json.loads(archive.read(INDEX))


@often
@given(data=st.data())
def test_values_of_an_index(tmp_path: Path, sample: dict[str, bytes], data: st.DataObject) -> None:
    text = json.dumps(changed_json(data.draw, index_of(sample))).encode()
    found = restore(tmp_path, {**sample, SESSION: raw_zip(Member(INDEX, text))})
    if not isinstance(found, WWAuthError):
        # Who writes the index chooses what is restored, out of what was saved.
        known = {digest for number in "123" for digest in expected(number).values()}
        assert set(digests(found[1]).values()) <= known | {hashlib.sha256().hexdigest()}


@often
@given(data=st.data())
def test_packs_that_the_index_vouches_for(tmp_path: Path, sample: dict[str, bytes], data: st.DataObject) -> None:
    index = index_of(sample)
    archives = dict(sample)
    for pack in data.draw(st.lists(st.sampled_from(index["packs"]), min_size=1, max_size=3, unique_by=str)):
        name = f"{SESSION}.{pack['generation']}.{pack['writer']}"
        bad = archives[name] = changed(data.draw, sample[name], data.draw(st.sampled_from(sorted(sample.values()))))
        pack.update(size=len(bad), sha256=hashlib.sha256(bad).hexdigest())
    archives[SESSION] = raw_zip(Member(INDEX, json.dumps(index).encode()))
    found = restore(tmp_path, archives)
    if not isinstance(found, WWAuthError):
        assert digests(found[1]) == expected(str(found[0].generation))
