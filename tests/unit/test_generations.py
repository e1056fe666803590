"""Generations in packs: what is uploaded, what is kept, what is deleted, and what a restore falls back to."""

from __future__ import annotations

import json
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from pyrage import x25519

from wwauth.backup import BackupEngine, validate_profile
from wwauth.errors import ConfigurationError, DecryptionFailed, LeaseLost, SessionCorrupted, SessionNotFound, StoreUnavailable
from wwauth.stores import EncryptedStore, FileSystemStore

from .profiles import BLOBS, ORIGIN, frame, make_profile, tree
from .test_backup_engine import LOG, SESSION, Faulty, change, login

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> FileSystemStore:
    return FileSystemStore(tmp_path / "store")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    # One that is mostly tables, as real ones are.
    return make_profile(tmp_path / "data" / SESSION, table=b"".join(b"%d." % n for n in range(100_000)), log=[b"x" * 100])


def engine_on(store: Any, **options: Any) -> BackupEngine:
    return BackupEngine(store, **{"session": SESSION, "origin": ORIGIN, "grace": 0, **options})


def grow(profile: Path, text: bytes = b"more") -> None:
    """Append a record to a log, as a page that writes does."""
    with (profile / LOG).open("ab") as file:
        file.write(frame([text], offset=file.tell()))


def stored(store: FileSystemStore) -> set[str]:
    return {path.name.removesuffix(".zip") for path in store.folder.iterdir()}


def index_of(store: FileSystemStore) -> Any:
    with zipfile.ZipFile(store.folder / f"{SESSION}.zip") as archive:
        assert archive.namelist() == ["wwauth-index.json"]
        return json.loads(archive.read("wwauth-index.json"))


def packs_of(index: Any, number: int) -> set[str]:
    (generation,) = [g for g in index["generations"] if g["number"] == number]
    packs = {segment["pack"] for file in generation["files"] for segment in index["files"][file]["segments"]}
    return {f"{SESSION}.{index['packs'][pack]['generation']}.{index['packs'][pack]['writer']}" for pack in packs}


def all_packs(index: Any) -> set[str]:
    return set().union(*(packs_of(index, g["number"]) for g in index["generations"]))


async def test_only_what_changed_is_uploaded(store: FileSystemStore, profile: Path) -> None:
    engine = engine_on(store)
    first = await engine.save(profile)
    assert (first.kind, first.generation) == ("full", 1)
    grow(profile, b"a" * 1000)
    second = await engine.save(profile)
    assert (second.kind, second.generation) == ("incremental", 2)
    assert second.bytes_uploaded < first.bytes_uploaded / 10
    assert (await engine.save(profile)).kind == "unchanged"
    index = index_of(store)
    (log,) = [f for f in index["files"] if f["path"] == LOG and f["size"] == (profile / LOG).stat().st_size]
    assert [segment["size"] for segment in log["segments"]] == [107, 1007]
    before = login(profile)
    shutil.rmtree(profile)
    report = await engine_on(store).restore(profile)
    assert (report.generation, report.notes) == (2, ())
    assert login(profile) == before


async def test_a_log_that_was_rewritten_is_stored_whole(store: FileSystemStore, profile: Path) -> None:
    engine = engine_on(store)
    await engine.save(profile)
    change(profile, b"rewritten" * 100)
    await engine.save(profile)
    files = [f for f in index_of(store)["files"] if f["path"] == LOG]
    assert [len(file["segments"]) for file in files] == [1, 1]


async def test_an_empty_file_is_kept(store: FileSystemStore, profile: Path) -> None:
    (profile / BLOBS / "1" / "00" / "5").touch()
    engine = engine_on(store)
    await engine.save(profile)
    assert (await engine.save(profile)).kind == "unchanged"
    (profile / BLOBS / "1" / "00" / "5").write_bytes(b"now")
    (profile / BLOBS / "1" / "00" / "6").touch()
    await engine.save(profile)
    before = login(profile)
    await engine_on(store).restore(profile)
    assert login(profile) == before


async def test_a_restarted_engine_goes_on_where_the_last_one_ended(store: FileSystemStore, profile: Path) -> None:
    await engine_on(store).save(profile)
    assert (await engine_on(store).save(profile)).kind == "unchanged"
    grow(profile)
    report = await engine_on(store).save(profile)
    assert (report.kind, report.generation) == ("incremental", 2)


@pytest.mark.parametrize("keep", [1, 2, 3, 5])
async def test_so_many_generations_are_kept_and_one_shares_no_pack_with_the_newest(
    store: FileSystemStore, profile: Path, keep: int
) -> None:
    engine = engine_on(store, generations=keep)
    for number in range(1, 13):
        grow(profile, b"%d" % number)
        await engine.save(profile)
        there = [generation.number for generation in await engine.generations()]
        assert len(there) == min(keep, number)
        assert there[0] == number
        index = index_of(store)
        if keep > 1 and number >= keep:
            assert any(packs_of(index, other).isdisjoint(packs_of(index, number)) for other in there[1:])
        assert stored(store) == {SESSION} | all_packs(index)
    kinds = [generation.kind for generation in await engine.generations()]
    assert "incremental" in kinds


async def test_each_kept_generation_can_be_restored(store: FileSystemStore, profile: Path) -> None:
    engine = engine_on(store, generations=4)
    states = {}
    for number in range(1, 9):
        grow(profile, b"%d" % number)
        if number == 5:
            (profile / BLOBS / "1" / "00" / "3").write_bytes(b"new")
        await engine.save(profile)
        states[number] = login(profile)
    for generation in await engine.generations():
        report = await engine.restore(profile, generation.number)
        assert report.generation == generation.number
        assert login(profile) == states[generation.number]
        assert generation.bytes_total == sum(map(len, states[generation.number].values()))
    with pytest.raises(SessionNotFound, match=r"generation 1 .*there are 8, 7"):
        await engine.restore(profile, 1)


async def test_when_little_of_it_is_live_a_full_backup_follows(store: FileSystemStore, profile: Path) -> None:
    blobs = [profile / BLOBS / "1" / "00" / f"{number + 16:x}" for number in range(16)]
    for number, blob in enumerate(blobs):
        blob.write_bytes(b"%d" % number * 200_000)
    engine = engine_on(store, generations=1)
    kinds = [(await engine.save(profile)).kind]
    for blob in blobs:
        blob.unlink()
        kinds.append((await engine.save(profile)).kind)
        unpacked = sum(pack["unpacked"] for pack in index_of(store)["packs"])
        # What was live before the last blob went was at least half.
        assert unpacked <= 2 * (sum(map(len, login(profile).values())) + 400_000)
    assert kinds[:3] == ["full", "incremental", "incremental"]
    assert "full" in kinds[3:]


async def test_many_small_packs_are_joined(store: FileSystemStore, profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_MOST_SEGMENTS": 5, "_MOST_PACKS": 8, "_FEWER_PACKS": 4}.items():
        monkeypatch.setattr(f"wwauth.backup._plan.{name}", value)
    engine = engine_on(store, generations=2)
    kinds = set()
    for number in range(20):
        grow(profile, b"%d" % number)
        (profile / BLOBS / "1" / "00" / f"{number + 16:x}").write_bytes(b"%d" % number)
        kinds.add((await engine.save(profile)).kind)
        index = index_of(store)
        assert max(len(file["segments"]) for file in index["files"]) <= 6
        assert len(packs_of(index, number + 1)) <= 9
    assert kinds == {"full", "incremental"}
    before = login(profile)
    await engine.restore(profile)
    assert login(profile) == before


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone", "another pack"])
async def test_a_bad_pack_is_named_and_an_older_generation_used(store: FileSystemStore, profile: Path, harm: str) -> None:
    engine = engine_on(store)
    states = {}
    for number in range(1, 6):
        grow(profile, b"%d" % number)
        await engine.save(profile)
        states[number] = login(profile)
    index = index_of(store)
    # The one that all but the independent generation need.
    (bad,) = [name for name in packs_of(index, 5) & packs_of(index, 4) if ".3." in name]
    path = store.folder / f"{bad}.zip"
    data = path.read_bytes()
    if harm == "flipped":
        path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    elif harm == "cut":
        path.write_bytes(data[:-1])
    elif harm == "gone":
        path.unlink()
    else:
        shutil.copy(store.folder / f"{min(packs_of(index, 2))}.zip", path)
    before = tree(profile)
    other = engine_on(store)
    with pytest.raises(SessionCorrupted, match="generation 5 was not used: "):
        await other.restore(profile, 5)
    assert tree(profile) == before
    report = await other.restore(profile)
    assert report.generation == 2
    assert [note.split(":")[0] for note in report.notes] == [f"generation {number} was not used" for number in (5, 4)]
    assert login(profile) == states[2]
    # What is saved next builds on nothing that is damaged, and drops it.
    grow(profile, b"after")
    saved = await other.save(profile)
    assert saved.generation == 6
    assert [generation.number for generation in await other.generations()] == [6, 2]
    after = login(profile)
    shutil.rmtree(profile)
    assert (await engine_on(store).restore(profile)).notes == ()
    assert login(profile) == after


async def test_a_replaced_profile_that_comes_back_is_behind_what_was_saved_since(store: FileSystemStore, profile: Path) -> None:
    engine = engine_on(store)
    await engine.save(profile)
    await engine.restore(profile)
    grow(profile)
    await engine.save(profile)
    # Another restore, which a crash interrupted between its two renames.
    shutil.rmtree(profile)
    restarted = engine_on(store)
    await restarted.recover(profile)
    assert (restarted.generation, await restarted.is_behind()) == (1, True)
    with pytest.raises(LeaseLost):
        await restarted.save(profile)


@pytest.mark.parametrize("what", ["index", "pack"])
async def test_what_comes_back_wrong_by_chance_costs_no_generation(store: FileSystemStore, profile: Path, what: str) -> None:
    class Flickering(Faulty):
        wrong = 0

        async def extract(self, *, session: str, path: Path) -> None:
            await self.inner.extract(session=session, path=path)
            if (session == SESSION) == (what == "index") and not self.wrong:
                self.wrong += 1
                path.write_bytes(b"<html>")

    for number in range(2):
        grow(profile, b"%d" % number)
        await engine_on(store).save(profile)
    saved = login(profile)
    grow(profile)
    flickering = Flickering(store)
    report = await engine_on(flickering).restore(profile)
    assert (flickering.wrong, report.generation, report.notes, login(profile)) == (1, 2, (), saved)
    if what == "index":
        grow(profile)
        flickering.wrong = 0
        engine = engine_on(flickering)
        await engine.save(profile)
        assert flickering.wrong == 1
        assert [generation.number for generation in await engine.generations()] == [3, 2, 1]
        assert stored(store) == {SESSION} | all_packs(index_of(store))


async def test_when_all_is_bad_it_says_why_of_each(store: FileSystemStore, profile: Path) -> None:
    engine = engine_on(store)
    for number in range(3):
        grow(profile, b"%d" % number)
        await engine.save(profile)
    for name in stored(store) - {SESSION}:
        (store.folder / f"{name}.zip").write_bytes(b"")
    before = tree(profile)
    with pytest.raises(SessionCorrupted, match=r"generation 3 was not used.*generation 2 was not used.*generation 1"):
        await engine.restore(profile)
    assert tree(profile) == before


async def test_delete_leaves_nothing(store: FileSystemStore, profile: Path) -> None:
    engine = engine_on(store)
    for number in range(5):
        grow(profile, b"%d" % number)
        await engine.save(profile)
    await store.save(session=f"{SESSION}.other", path=store.folder / f"{SESSION}.zip")
    await engine_on(store).delete()
    assert stored(store) == {f"{SESSION}.other"}
    assert not await engine.exists()
    assert await engine.generations() == []
    with pytest.raises(SessionNotFound):
        await engine.restore(profile)


async def test_delete_heeds_and_forgets_what_the_profile_tells(store: FileSystemStore, profile: Path) -> None:
    faulty = Faulty(store)

    def fault(when: str, verb: str) -> None:
        if (when, verb) == ("before", "extract"):
            raise OSError("gone")

    faulty.fault = fault
    with pytest.raises(StoreUnavailable):
        await engine_on(faulty).save(profile)
    (pack,) = stored(store)
    assert pack.startswith(f"{SESSION}.1.")
    assert not await store.session_exists(session=SESSION)
    await engine_on(store).delete(profile)
    assert stored(store) == set()
    assert not (profile / "wwauth-backup.json").exists()


async def test_an_interrupted_delete_restores_nothing_and_is_ended_by_the_next(store: FileSystemStore, profile: Path) -> None:
    faulty = Faulty(store)
    engine = engine_on(faulty)
    await engine.save(profile)

    def fault(when: str, verb: str) -> None:
        if verb == "delete":
            raise OSError("gone")

    faulty.fault = fault
    with pytest.raises(StoreUnavailable):
        await engine.delete()
    assert not await engine_on(store).exists()
    with pytest.raises(SessionNotFound):
        await engine_on(store).restore(profile)
    await engine_on(store).delete()
    assert stored(store) == set()


@pytest.mark.parametrize("forms", [("packs", "whatsapp-web.js"), ("whatsapp-web.js", "packs")])
async def test_switching_the_form_leaves_no_orphans(store: FileSystemStore, profile: Path, forms: tuple[str, str]) -> None:
    number = 0
    for form in (*forms, *forms):
        engine = engine_on(store, archive=form)
        for _ in range(2):
            number += 1
            grow(profile, b"%d" % number)
            assert (await engine.save(profile)).generation == number
        expected = {SESSION} | (all_packs(index_of(store)) if form == "packs" else set())
        assert stored(store) == expected
        before = login(profile)
        assert (await engine_on(store, archive=forms[0]).restore(profile)).generation == number
        assert login(profile) == before


async def test_a_form_that_is_switched_without_a_change_is_saved(store: FileSystemStore, profile: Path) -> None:
    await engine_on(store).save(profile)
    assert (await engine_on(store, archive="whatsapp-web.js").save(profile)).kind == "full"
    assert stored(store) == {SESSION}
    assert (await engine_on(store).save(profile)).kind == "full"
    assert stored(store) == {SESSION} | all_packs(index_of(store))


async def test_a_foreign_newer_generation_stops_the_writer(tmp_path: Path, store: FileSystemStore, profile: Path) -> None:
    mine = engine_on(store)
    await mine.save(profile)
    elsewhere = tmp_path / "elsewhere" / SESSION
    theirs = engine_on(store)
    await theirs.restore(elsewhere)
    grow(elsewhere, b"theirs")
    await theirs.save(elsewhere)
    grow(profile, b"mine")
    for engine in (mine, mine, engine_on(store)):
        with pytest.raises(LeaseLost, match=r"generation 2, written at .* by writer [0-9a-f]{8}.* of generation 1"):
            await engine.save(profile)
        assert [generation.number for generation in await theirs.generations()] == [2, 1]
    assert stored(store) == {SESSION} | all_packs(index_of(store))
    await engine_on(store).restore(profile)
    assert login(profile) == login(elsewhere)
    grow(profile)
    assert (await engine_on(store).save(profile)).generation == 3


async def test_a_commit_in_the_middle_of_anothers_save_wins(tmp_path: Path, store: FileSystemStore, profile: Path) -> None:
    faulty = Faulty(store)
    mine = engine_on(faulty)
    await mine.save(profile)
    elsewhere = tmp_path / "elsewhere" / SESSION
    theirs = engine_on(store)
    await theirs.restore(elsewhere)
    grow(elsewhere, b"theirs")
    grow(profile, b"mine")

    class Between(Faulty):
        async def save(self, *, session: str, path: Path) -> None:
            await super().save(session=session, path=path)
            if session != SESSION:
                await theirs.save(elsewhere)

    mine._remote.store = Between(store)
    with pytest.raises(LeaseLost, match="generation 2"):
        await mine.save(profile)
    assert stored(store) == {SESSION} | all_packs(index_of(store))
    await theirs.restore(elsewhere)
    validate_profile(elsewhere, origin=ORIGIN)


async def test_an_older_generation_that_was_chosen_is_gone_on_with(store: FileSystemStore, profile: Path) -> None:
    engine = engine_on(store)
    for number in range(1, 4):
        grow(profile, b"%d" % number)
        await engine.save(profile)
    await engine_on(store).restore(profile, 2)
    grow(profile, b"again")
    # Also by an engine that knows only what the profile tells.
    assert (await engine_on(store).save(profile)).generation == 4


async def test_a_new_login_begins_a_lineage(store: FileSystemStore, profile: Path) -> None:
    await engine_on(store).save(profile)
    grow(profile)
    await engine_on(store).save(profile)
    (profile / "wwauth-backup.json").unlink()
    report = await engine_on(store).save(profile)
    assert (report.generation, report.kind) == (3, "full")
    lineages = [generation.lineage for generation in await engine_on(store).generations()]
    assert lineages[1] == lineages[2] != lineages[0]


async def test_a_logout_of_an_older_generation_deletes_nothing_newer(store: FileSystemStore, profile: Path) -> None:
    engine = engine_on(store)
    for number in range(1, 4):
        grow(profile, b"%d" % number)
        await engine.save(profile)
    newest = login(profile)
    older = engine_on(store)
    await older.restore(profile, 2)
    await older.delete(keep_newer=True)
    assert [generation.number for generation in await engine.generations()] == [3]
    assert stored(store) == {SESSION} | all_packs(index_of(store))
    await engine_on(store).restore(profile)
    assert login(profile) == newest
    last = engine_on(store)
    await last.recover(profile)
    await last.delete(keep_newer=True)
    assert stored(store) == set()


async def test_another_storage_and_an_older_browser_are_refused(store: FileSystemStore, profile: Path) -> None:
    (profile / "Last Version").write_text("156.0.7100.2")
    await engine_on(store).save(profile)
    (generation,) = await engine_on(store).generations()
    assert (generation.chromium, generation.backend) == (156, "leveldb")
    before = tree(profile)
    with pytest.raises(ConfigurationError, match=r"Chromium 156.*155"):
        await engine_on(store, chromium=155).restore(profile)
    with pytest.raises(ConfigurationError, match=r"leveldb.*sqlite"):
        await engine_on(store, backend="sqlite").restore(profile)
    assert tree(profile) == before
    await engine_on(store, chromium=156, backend="leveldb").restore(profile)


@pytest.mark.parametrize("change_of", ["session", "format"])
async def test_a_good_index_that_is_not_for_us_is_never_replaced(
    tmp_path: Path, store: FileSystemStore, profile: Path, change_of: str
) -> None:
    await engine_on(store).save(profile)
    index = index_of(store)
    index[change_of] = {"session": "RemoteAuth-two", "format": 2}[change_of]
    path = tmp_path / "index.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("wwauth-index.json", json.dumps(index))
    await store.save(session=SESSION, path=path)
    grow(profile)
    for call in (engine_on(store).save, engine_on(store).restore):
        with pytest.raises(SessionCorrupted, match={"session": "RemoteAuth-two", "format": "format 2"}[change_of]):
            await call(profile)
    assert (store.folder / f"{SESSION}.zip").read_bytes() == path.read_bytes()


async def test_a_store_that_keeps_other_bytes_commits_nothing(store: FileSystemStore, profile: Path) -> None:
    class Lying(Faulty):
        lie = ""

        async def save(self, *, session: str, path: Path) -> None:
            if self.lie == ("index" if session == SESSION else "pack"):
                path = path.with_name("other")
                path.write_bytes(b"other bytes")
            await super().save(session=session, path=path)

    lying = Lying(store)
    engine = engine_on(lying)
    await engine.save(profile)
    good = login(profile)
    grow(profile)
    lying.lie = "pack"
    with pytest.raises(StoreUnavailable, match="did not keep"):
        await engine.save(profile)
    shutil.rmtree(profile)
    await engine_on(store).restore(profile)
    assert login(profile) == good
    lying.lie = "index"
    grow(profile)
    with pytest.raises(StoreUnavailable, match="did not keep"):
        await engine.save(profile)
    # No pack was deleted, and the next save makes it good.
    lying.lie = ""
    await engine.save(profile)
    await engine_on(store).restore(profile)


async def test_keys_that_change_back_and_forth(store: FileSystemStore, profile: Path) -> None:
    one, two = x25519.Identity.generate(), x25519.Identity.generate()
    for number, key in enumerate((one, two, one, one, two, one), 1):
        both = EncryptedStore(store, recipients=[key.to_public()], identities=[one, two])
        grow(profile, b"%d" % number)
        assert (await engine_on(both, generations=4).save(profile)).generation == number
        numbers = [generation.number for generation in await engine_on(both).generations()]
        assert numbers == sorted(numbers, reverse=True)
        assert len(numbers) == min(number, 4)
        await engine_on(both).restore(profile)


async def test_other_keys_make_the_next_backup_a_full_one(store: FileSystemStore, profile: Path) -> None:
    old, new = x25519.Identity.generate(), x25519.Identity.generate()

    def encrypted(recipient: x25519.Identity, *identities: x25519.Identity) -> BackupEngine:
        return engine_on(EncryptedStore(store, recipients=[recipient.to_public()], identities=identities))

    first = encrypted(old, old)
    for number in range(2):
        grow(profile, b"%d" % number)
        await first.save(profile)
    rotated = encrypted(new, new, old)
    assert (await rotated.save(profile)).kind == "full"
    assert [generation.number for generation in await rotated.generations()] == [3, 2, 1]
    only_new = encrypted(new, new)
    await only_new.restore(profile)
    for kind in ("incremental", "full"):
        grow(profile, kind.encode())
        assert (await only_new.save(profile)).kind == kind
    # What was for the old key is gone.
    assert [generation.number for generation in await only_new.generations()] == [5, 4, 3]
    for generation in await only_new.generations():
        await only_new.restore(profile, generation.number)
    with pytest.raises(DecryptionFailed):
        await encrypted(old, old).restore(profile)


@pytest.mark.parametrize("value", [0, -1, True, "3", 101, 2.0])
def test_a_wrong_number_of_generations_is_named(store: FileSystemStore, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="generations"):
        engine_on(store, generations=value)


def test_a_session_whose_packs_had_too_long_names_is_refused(store: FileSystemStore) -> None:
    engine_on(store, session="n" * 180)
    with pytest.raises(ConfigurationError, match="181 characters"):
        engine_on(store, session="n" * 181)
