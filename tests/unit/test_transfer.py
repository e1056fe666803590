"""Listing what a store holds, and moving sessions by way of one file."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyrage import x25519

from wwauth._files import sync_file
from wwauth.abc import StoreFeatures
from wwauth.backup import BackupEngine, export_session, import_session, list_backups
from wwauth.backup.archive import read_archive
from wwauth.errors import (
    ConfigurationError,
    DecryptionFailed,
    LeaseLost,
    SessionCorrupted,
    SessionInUse,
    SessionNotFound,
    StoreUnavailable,
)
from wwauth.stores import EncryptedStore, FileSystemStore, MemoryStore

from ..simulatedclock import on_simulated_clock
from .profiles import INDEXED_DB, ORIGIN, make_profile
from .test_backup_engine import SESSION, Faulty, change, login
from .test_generations import engine_on, grow, index_of, packs_of
from .test_verify_prune import archives, save_some, stored

if TYPE_CHECKING:
    from wwauth.abc import Store

SAMPLE = Path(__file__).parents[1] / "fixtures" / "format-1"


@pytest.fixture
def store(tmp_path: Path) -> FileSystemStore:
    return FileSystemStore(tmp_path / "store")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return make_profile(tmp_path / "data" / SESSION, table=b"".join(b"%d." % n for n in range(50_000)), log=[b"x" * 100])


async def names(store: FileSystemStore | MemoryStore) -> list[str]:
    return [info.session async for info in store.list_sessions(packs=True)]


async def back(store: Store, session: str, tmp_path: Path) -> dict[str, bytes]:
    """Restore a session; return its login."""
    profile = tmp_path / "back" / session
    await BackupEngine(store, session=session, origin=ORIGIN).restore(profile)
    found = login(profile)
    shutil.rmtree(tmp_path / "back")
    return found


async def test_sessions_are_listed_with_their_packs_hidden(store: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    assert await list_backups(store) == []
    await save_some(store, profile, 2)
    await BackupEngine(store, session="plain", archive="whatsapp-web.js").save(profile)
    one, plain = await list_backups(store, work_dir=tmp_path / "work")
    assert (one.session, one.archive, one.encrypted, one.problem) == (SESSION, "packs", False, None)
    assert [g.number for g in one.generations] == [2, 1]
    files = list(store.folder.glob(f"{SESSION}*"))
    assert one.bytes_stored == sum(path.stat().st_size for path in files)
    assert one.modified is not None
    assert (plain.session, plain.archive, [g.number for g in plain.generations]) == ("plain", "whatsapp-web.js", [1])
    assert list((tmp_path / "work").iterdir()) == []
    assert [each.session for each in await list_backups(store, ["plain"])] == ["plain"]
    with pytest.raises(SessionNotFound, match="nobody"):
        await list_backups(store, ["plain", "nobody"])
    with pytest.raises(ConfigurationError, match="a/b"):
        await list_backups(store, ["a/b"])


async def test_what_cannot_be_read_is_listed_and_says_so(store: FileSystemStore, profile: Path) -> None:
    key = x25519.Identity.generate()
    encrypted = EncryptedStore(store, recipients=[key.to_public()], identities=[key])
    await engine_on(encrypted).save(profile)
    await BackupEngine(store, session="clear").save(profile)
    (store.folder / "broken.zip").write_bytes(b"no zip")
    (store.folder / "lost.7.0123abcd.zip").write_bytes(b"a pack")
    by_name = {found.session: found for found in await list_backups(store)}
    assert sorted(by_name) == [SESSION, "broken", "clear", "lost"]
    assert (by_name[SESSION].encrypted, by_name["clear"].encrypted) == (True, False)
    assert "encrypted" in (by_name[SESSION].problem or "")
    assert by_name["broken"].problem is not None
    assert "1 packs" in (by_name["lost"].problem or "")
    assert by_name["clear"].problem is None
    by_name = {found.session: found for found in await list_backups(encrypted)}
    assert (by_name[SESSION].encrypted, by_name[SESSION].problem) == (True, None)
    assert by_name["clear"].encrypted is False
    assert "not encrypted" in (by_name["clear"].problem or "")


async def test_a_store_that_cannot_list_is_asked_by_name(profile: Path) -> None:
    class Silent(Faulty):
        features = StoreFeatures()

    silent = Silent(MemoryStore())
    await engine_on(silent).save(profile)
    with pytest.raises(ConfigurationError, match="Silent cannot list its sessions: name them"):
        await list_backups(silent)
    (found,) = await list_backups(silent, [SESSION])
    assert found.bytes_stored > 1000
    assert found.modified is None
    with pytest.raises(SessionNotFound):
        await list_backups(silent, ["nobody"])


@pytest.mark.parametrize("encrypted", [(False, False), (True, False), (False, True), (True, True)])
async def test_a_session_moves_between_any_two_stores(profile: Path, tmp_path: Path, encrypted: tuple[bool, bool]) -> None:
    def made(*, encrypt: bool) -> Store:
        key = x25519.Identity.generate()
        inner = MemoryStore()
        return EncryptedStore(inner, recipients=[key.to_public()], identities=[key]) if encrypt else inner

    here, there = (made(encrypt=each) for each in encrypted)
    await save_some(here, profile, 3)  # type: ignore[arg-type]
    file = tmp_path / "moving.zip"
    report = await export_session(here, session=SESSION, path=file)
    assert (report.session, report.path, report.archive, report.generations) == (SESSION, file, "packs", (3, 2, 1))
    assert (report.bytes, report.notes) == (file.stat().st_size, ())
    if os.name == "posix":
        assert file.stat().st_mode & 0o777 == 0o600
    arrived = await import_session(there, path=file, origin=ORIGIN)
    assert (arrived.session, arrived.archive, arrived.generations) == (SESSION, "packs", (3, 2, 1))
    assert (await engine_on(there).verify()).ok
    assert await back(there, SESSION, tmp_path) == login(profile)
    # The profile goes on there: what it saved here is known for its own.
    grow(profile)
    engine = engine_on(there)
    await engine.recover(profile)
    assert (await engine.save(profile)).generation == 4
    assert (await engine_on(there).verify()).ok
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "moving.zip"]


async def test_an_export_unpacked_is_the_folder_of_a_store(store: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    await save_some(store, profile, 2)
    await export_session(store, session=SESSION, path=tmp_path / "moving.zip")
    with zipfile.ZipFile(tmp_path / "moving.zip") as bundle:
        bundle.extractall(tmp_path / "unpacked")
    assert (await engine_on(FileSystemStore(tmp_path / "unpacked")).verify()).ok


async def test_an_import_may_have_another_name(store: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    await save_some(store, profile, 2)
    await export_session(store, session=SESSION, path=tmp_path / "moving.zip")
    report = await import_session(store, path=tmp_path / "moving.zip", session="two")
    assert report.session == "two"
    assert await back(store, "two", tmp_path) == login(profile)
    assert [found.session for found in await list_backups(store)] == [SESSION, "two"]


async def test_an_export_writes_over_nothing_unless_told(store: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    await save_some(store, profile, 1)
    file = tmp_path / "precious"
    file.write_text("precious")
    with pytest.raises(ConfigurationError, match="precious is there already"):
        await export_session(store, session=SESSION, path=file)
    assert file.read_text() == "precious"
    with pytest.raises(SessionNotFound, match="nobody"):
        await export_session(store, session="nobody", path=file, overwrite=True)
    assert file.read_text() == "precious"
    await export_session(store, session=SESSION, path=file, overwrite=True)
    assert zipfile.is_zipfile(file)
    with pytest.raises(ConfigurationError, match="archive 'tar'"):
        await export_session(store, session=SESSION, path=tmp_path / "x", archive="tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "precious", "store"]


async def test_an_export_leaves_damaged_generations_out(store: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    await save_some(store, profile, 3)
    index = index_of(store)
    (newest,) = packs_of(index, 3) - packs_of(index, 2)
    (store.folder / f"{newest}.zip").unlink()
    report = await export_session(store, session=SESSION, path=tmp_path / "moving.zip")
    assert report.generations == (2, 1)
    (note,) = report.notes
    assert note.startswith("generation 3 was left out: ")
    assert (await import_session(MemoryStore(), path=tmp_path / "moving.zip")).generations == (2, 1)
    for pack in packs_of(index, 1):
        (store.folder / f"{pack}.zip").write_bytes(b"damaged")
    with pytest.raises(SessionCorrupted, match="none of its generations is whole"):
        await export_session(store, session=SESSION, path=tmp_path / "none.zip")
    assert not (tmp_path / "none.zip").exists()


async def test_a_plain_zip_is_exported_and_imported_as_it_is(store: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    await engine_on(store, archive="whatsapp-web.js").save(profile)
    file = tmp_path / f"{SESSION}.zip"
    report = await export_session(store, session=SESSION, path=file)
    assert (report.archive, report.generations) == ("whatsapp-web.js", (1,))
    assert file.read_bytes() == (store.folder / f"{SESSION}.zip").read_bytes()
    there = MemoryStore()
    arrived = await import_session(there, path=file)
    assert (arrived.session, arrived.archive, arrived.generations) == (SESSION, "whatsapp-web.js", (1,))
    assert await back(there, SESSION, tmp_path) == login(profile)
    odd = file.rename(tmp_path / "my backup.zip")
    with pytest.raises(ConfigurationError, match="does not tell the name of its session"):
        await import_session(there, path=odd)
    assert (await import_session(there, path=odd, session="named")).session == "named"


async def test_the_newest_whole_generation_is_exported_for_the_peer(
    store: FileSystemStore, profile: Path, tmp_path: Path
) -> None:
    await save_some(store, profile, 2)
    second = login(profile)
    grow(profile, b"third")
    await engine_on(store, generations=10).save(profile)
    index = index_of(store)
    (newest,) = packs_of(index, 3) - packs_of(index, 2)
    (store.folder / f"{newest}.zip").unlink()
    file = tmp_path / f"{SESSION}.zip"
    report = await export_session(store, session=SESSION, path=file, archive="whatsapp-web.js")
    assert (report.archive, report.generations) == ("whatsapp-web.js", (2,))
    assert report.notes[0].startswith("generation 3 was not used")
    read_archive(file, tmp_path / "peer")
    assert login(tmp_path / "peer") == second


async def test_an_import_replaces_nothing_unless_told_and_then_is_the_newest(
    store: FileSystemStore, profile: Path, tmp_path: Path
) -> None:
    engine = await save_some(store, profile, 2)
    exported = login(profile)
    file = tmp_path / "moving.zip"
    await export_session(store, session=SESSION, path=file)
    change(profile, b"later")
    await engine.save(profile)
    before = archives(store)
    with pytest.raises(ConfigurationError, match=f"{SESSION!r} already"):
        await import_session(store, path=file)
    assert archives(store) == before
    report = await import_session(store, path=file, replace=True)
    assert report.generations == (5, 4)
    assert (await engine_on(store).verify()).ok
    assert stored(store) == {SESSION} | packs_of(index_of(store), 5) | packs_of(index_of(store), 4)
    # The profile that was saved to the one that was replaced does not write over it.
    grow(profile)
    for writer in (engine, engine_on(store)):
        with pytest.raises(LeaseLost):
            await writer.save(profile)
    assert await back(store, SESSION, tmp_path) == exported


async def test_an_import_of_a_plain_zip_replaces_packs_and_is_newer(
    store: FileSystemStore, profile: Path, tmp_path: Path
) -> None:
    await save_some(store, profile, 2)
    file = tmp_path / f"{SESSION}.zip"
    await export_session(store, session=SESSION, path=file, archive="whatsapp-web.js")
    before = file.read_bytes()
    report = await import_session(store, path=file, replace=True)
    assert report.generations == (3,)
    assert stored(store) == {SESSION}
    assert file.read_bytes() == before, "the file is only read"
    assert await back(store, SESSION, tmp_path) == login(profile)
    assert (await engine_on(store).verify()).ok


async def test_an_import_never_replaces_what_it_has_no_key_for(store: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    await save_some(store, profile, 1)
    await export_session(store, session=SESSION, path=tmp_path / "moving.zip")
    await store.delete(session=SESSION)
    key = x25519.Identity.generate()
    await engine_on(EncryptedStore(store, recipients=[key.to_public()], identities=[key])).save(profile)
    before = archives(store)
    with pytest.raises(DecryptionFailed):
        await import_session(store, path=tmp_path / "moving.zip", replace=True)
    assert archives(store) == before


async def test_a_damaged_file_is_refused_before_the_store_is_touched(
    store: FileSystemStore, profile: Path, tmp_path: Path
) -> None:
    await save_some(store, profile, 2)
    file = tmp_path / "moving.zip"
    await export_session(store, session=SESSION, path=file)
    whole = file.read_bytes()
    there = MemoryStore()
    for damaged in (b"", b"no zip", whole[:-30], whole[: len(whole) // 2] + b"!!" + whole[len(whole) // 2 + 2 :]):
        file.write_bytes(damaged)
        with pytest.raises(SessionCorrupted):
            await import_session(there, path=file)
    with pytest.raises(ConfigurationError, match="nowhere"):
        await import_session(there, path=tmp_path / "nowhere.zip")
    file.write_bytes(whole)
    with pytest.raises(SessionCorrupted, match=r"https://example\.com/"):
        await import_session(there, path=file, origin="https://example.com/")
    assert await names(there) == []


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return an export that is the same in each run."""
    folder = tmp_path_factory.mktemp("exported")
    shutil.copytree(SAMPLE, folder / "store")
    store = FileSystemStore(folder / "store")
    asyncio.run(export_session(store, session="RemoteAuth-sample", path=folder / "moving.zip"))
    return (folder / "moving.zip").read_bytes()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_change_of_bytes_imports_another_login(exported: bytes, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(exported)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "moving.zip").write_bytes(content)

    async def imported() -> dict[int, str] | None:
        there = MemoryStore()
        try:
            report = await import_session(there, path=tmp_path / "moving.zip")
        except (SessionCorrupted, ConfigurationError):
            assert await names(there) == []
            return None
        return {g.number: g.content for g in await BackupEngine(there, session=report.session).generations()}

    # A name or a date may be another one; what is restored is not.
    with zipfile.ZipFile(SAMPLE / "RemoteAuth-sample.zip") as archive:
        index = json.loads(archive.read("wwauth-index.json"))
    expected = {g["number"]: g["content"] for g in index["generations"]}
    assert asyncio.run(imported()) in (None, expected)


def bundle(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


async def test_a_file_that_is_made_to_harm_is_refused(store: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    await save_some(store, profile, 1)
    await BackupEngine(store, session="other").save(profile)
    everything = {f"{name}.zip": content for name, content in archives(store).items()}
    mine = {name: content for name, content in everything.items() if name.startswith(SESSION)}
    index = mine[f"{SESSION}.zip"]
    pack_name = next(name for name in mine if name != f"{SESSION}.zip")
    harmful: dict[str, dict[str, bytes]] = {
        "two sessions": everything,
        "no index": {pack_name: mine[pack_name]},
        "no pack": {f"{SESSION}.zip": index},
        "another's index": {"victim.zip": index, pack_name.replace(SESSION, "victim"): mine[pack_name]},
        "out of the folder": {f"../{SESSION}.zip": index},
        "absolute": {f"/{SESSION}.zip": index},
        "a device": {"con.zip": index},
        "backslashes": {f"..\\{SESSION}.zip": index},
        "an odd name": {"a b.zip": index},
        "nothing": {},
    }
    there = MemoryStore()
    for what, entries in harmful.items():
        with pytest.raises((SessionCorrupted, ConfigurationError)):
            await import_session(there, path=bundle(tmp_path / "harmful.zip", entries), session=None)
        assert await names(there) == [], what
    # A bomb is compressed, and what is compressed is none of ours.
    with pytest.raises(SessionCorrupted, match="compressed by method"):
        await import_session(there, path=bundle(tmp_path / "harmful.zip", mine, zipfile.ZIP_DEFLATED))
    # Numbers at the end of their range would leave none for the next backup.
    document = json.loads(zipfile.ZipFile(store.folder / f"{SESSION}.zip").read("wwauth-index.json"))
    document["generations"][0]["number"] = 10**10 - 1
    late = bundle(tmp_path / "index.zip", {"wwauth-index.json": json.dumps(document).encode()}).read_bytes()
    with pytest.raises(SessionCorrupted, match="no backup has that number"):
        await import_session(there, path=bundle(tmp_path / "harmful.zip", {**mine, f"{SESSION}.zip": late}))
    assert await names(there) == []
    assert (await import_session(there, path=bundle(tmp_path / "good.zip", mine))).generations == (1,)


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("verb", ["save", "extract", "delete"])
@pytest.mark.parametrize("point", range(6))
async def test_a_store_that_fails_during_an_import_keeps_what_it_had(
    store: FileSystemStore, profile: Path, tmp_path: Path, replace: bool, verb: str, point: int
) -> None:
    source = MemoryStore()
    await engine_on(source).save(profile)
    file = tmp_path / "moving.zip"
    await export_session(source, session=SESSION, path=file)
    imported = login(profile)
    before: dict[str, bytes] = {}
    if replace:
        change(profile, b"there")
        (profile / "wwauth-backup.json").unlink()
        await engine_on(store).save(profile)
        before = login(profile)
    faulty, calls = Faulty(store), 0

    def fault(when: str, called: str) -> None:
        nonlocal calls
        calls += (when, called) == ("before", verb)
        if called == verb and calls > point:
            raise OSError("down")

    faulty.fault = fault
    done = False
    with suppress(StoreUnavailable):
        await import_session(faulty, path=file, replace=replace)
        done = True
    try:
        found = await back(store, SESSION, tmp_path)
    except SessionNotFound:
        found = {}
    assert found in ([imported] if done else [before, imported])
    assert found == {} or (await engine_on(store).verify()).ok
    # What it left is named by the index, and goes with the next writer's sweep.
    await import_session(store, path=file, replace=True)
    await engine_on(store).prune(1)
    assert len(stored(store)) == 2


async def test_an_import_stops_when_another_writer_was_faster(store: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    engine = await save_some(store, profile, 1)
    file = tmp_path / "moving.zip"
    await export_session(store, session=SESSION, path=file)

    class Racing(Faulty):
        raced = False

        async def save(self, *, session: str, path: Path) -> None:
            await super().save(session=session, path=path)
            if session != SESSION and not self.raced:
                self.raced = True
                grow(profile, b"meanwhile")
                await engine.save(profile)

    with pytest.raises(LeaseLost, match="nothing was overwritten"):
        await import_session(Racing(store), path=file, replace=True)
    assert await back(store, SESSION, tmp_path) == login(profile)
    assert stored(store) == {SESSION} | packs_of(index_of(store), 2)


async def test_an_import_replaces_no_session_that_came_while_it_checked_its_file(
    store: FileSystemStore, profile: Path, tmp_path: Path
) -> None:
    class Racing(MemoryStore):
        racing = True

        async def session_exists(self, *, session: str) -> bool:
            there = await super().session_exists(session=session)
            if self.racing:
                self.racing = False
                await engine_on(self).save(other)
            return there

    await save_some(store, profile, 1)
    file = tmp_path / "moving.zip"
    await export_session(store, session=SESSION, path=file)
    other = make_profile(tmp_path / "other" / SESSION, log=[b"another login"])
    target = Racing()
    with pytest.raises(ConfigurationError, match="already"):
        await import_session(target, path=file)
    assert await back(target, SESSION, tmp_path) == login(other)


async def test_an_export_replaces_no_file_that_came_while_it_was_flushed(
    store: FileSystemStore, profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync_slowly(path: Path) -> None:
        sync_file(path)
        if path.parent == tmp_path:
            (tmp_path / "moving.zip").write_text("precious")

    await save_some(store, profile, 1)
    monkeypatch.setattr("wwauth._files.sync_file", sync_slowly)
    with pytest.raises(ConfigurationError, match="is there already"):
        await export_session(store, session=SESSION, path=tmp_path / "moving.zip")
    assert (tmp_path / "moving.zip").read_text() == "precious"


async def test_an_import_needs_no_room_beside_a_file_that_lies_in_a_folder_of_others(
    store: FileSystemStore, profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await save_some(store, profile, 1)
    folder = tmp_path / "read-only"
    folder.mkdir()
    await export_session(store, session=SESSION, path=folder / "moving.zip")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder)
    seen: list[Any] = []

    class Watching(Faulty):
        async def save(self, *, session: str, path: Path) -> None:
            seen.append(sorted(each.name for each in folder.iterdir()))
            await super().save(session=session, path=path)

    await import_session(Watching(MemoryStore()), path=folder / "moving.zip")
    assert seen
    assert all(each == ["moving.zip"] for each in seen)
    assert (profile / INDEXED_DB).is_dir()


@on_simulated_clock
async def test_an_import_is_refused_while_a_client_holds_the_session(
    store: FileSystemStore, profile: Path, tmp_path: Path
) -> None:
    await save_some(store, profile, 1)
    file = tmp_path / "moving.zip"
    await export_session(store, session=SESSION, path=file)
    before = archives(store)
    # Another host's holder is waited for as long as a crashed one's lease could last.
    async with store.lease(session=SESSION, holder="another host", ttl=3600):
        assert (await export_session(store, session=SESSION, path=tmp_path / "again.zip")).generations == (1,)
        with pytest.raises(SessionInUse, match="another host"):
            await import_session(store, path=file, replace=True)
    assert archives(store) == before
    assert (await import_session(store, path=file, replace=True)).generations == (2,)
    # The lease was given back, and its fence stands in the index.
    async with store.lease(session=SESSION, holder="the next", ttl=60) as lease:
        assert lease.fence > index_of(store)["fence"] > 0
