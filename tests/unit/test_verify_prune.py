"""Verifying and pruning what a store holds."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from pyrage import x25519

from wwauth.backup import BackupEngine, StoredGeneration
from wwauth.errors import ConfigurationError, LeaseLost, SessionCorrupted, SessionNotFound, StoreUnavailable
from wwauth.stores import EncryptedStore, FileSystemStore, MemoryStore

from .profiles import INDEXED_DB, ORIGIN, make_profile
from .test_backup_engine import SESSION, Faulty, change
from .test_generations import engine_on, grow, index_of, packs_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> FileSystemStore:
    return FileSystemStore(tmp_path / "store")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return make_profile(tmp_path / "data" / SESSION, table=b"".join(b"%d." % n for n in range(50_000)), log=[b"x" * 100])


async def save_some(store: FileSystemStore, profile: Path, count: int, **options: int) -> BackupEngine:
    """Save a full generation, then incremental ones."""
    engine = engine_on(store, **{"generations": 10, **options})
    for number in range(count):
        grow(profile, b"%d" % number)
        await engine.save(profile)
    return engine


def archives(store: FileSystemStore) -> dict[str, bytes]:
    """Return what a store keeps, without the files of its leases."""
    return {path.stem: path.read_bytes() for path in store.folder.glob("*.zip")}


def stored(store: FileSystemStore) -> set[str]:
    return set(archives(store))


def problems(report: object) -> dict[int, str | None]:
    return {found.number: found.problem for found in report.generations}  # type: ignore[attr-defined]


async def test_whole_generations_are_called_so_and_nothing_is_changed(
    store: FileSystemStore, profile: Path, tmp_path: Path
) -> None:
    await save_some(store, profile, 3)
    before = archives(store)
    report = await engine_on(store, work_dir=tmp_path / "work").verify()
    assert report.ok
    assert problems(report) == {3: None, 2: None, 1: None}
    assert [found.kind for found in report.generations] == ["incremental", "incremental", "full"]
    assert report.generations[0].files == 9
    assert report.bytes_downloaded > report.generations[0].bytes_total // 100
    assert archives(store) == before
    assert list((tmp_path / "work").iterdir()) == []


async def test_a_damaged_and_a_missing_pack_condemn_the_generations_that_need_them(
    store: FileSystemStore, profile: Path
) -> None:
    await save_some(store, profile, 4)
    index = index_of(store)
    (third,) = packs_of(index, 3) - packs_of(index, 2)
    (fourth,) = packs_of(index, 4) - packs_of(index, 3)
    path = store.folder / f"{third}.zip"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    (store.folder / f"{fourth}.zip").unlink()
    report = await engine_on(store).verify()
    assert not report.ok
    found = problems(report)
    assert (found[2], found[1]) == (None, None)
    assert "3." in (found[3] or "")
    assert "is not what was stored" in (found[3] or "")
    assert found[4] is not None


async def test_databases_that_are_not_whole_are_found(store: FileSystemStore, profile: Path) -> None:
    # Saved by an engine that was told another origin, so that it could not see that this one is missing.
    await BackupEngine(store, session=SESSION).save(profile)
    report = await engine_on(store, origin="https://example.com/").verify()
    assert "https://example.com/" in (report.generations[0].problem or "")
    assert report.problem is None


async def test_a_plain_zip_is_verified_too(store: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    await engine_on(store, archive="whatsapp-web.js").save(profile)
    assert (await engine_on(store).verify()).ok
    # Every checksum of the zip is right, and its content is another one than its comment says.
    with zipfile.ZipFile(store.folder / f"{SESSION}.zip", "a") as archive:
        archive.writestr(f"{INDEXED_DB}/000099.ldb", b"")
    report = await engine_on(store).verify()
    assert "digest" in (report.generations[0].problem or "")
    assert report.generations[0].number == 1


async def test_what_cannot_be_read_at_all_is_told(store: FileSystemStore, profile: Path) -> None:
    with pytest.raises(SessionNotFound, match=SESSION):
        await engine_on(store).verify()
    await save_some(store, profile, 1)
    (store.folder / f"{SESSION}.zip").write_bytes(b"no zip")
    report = await engine_on(store).verify()
    assert (report.ok, report.generations) == (False, ())
    assert SESSION in (report.problem or "")


async def test_a_store_that_does_not_answer_is_no_damage(store: FileSystemStore, profile: Path) -> None:
    await save_some(store, profile, 1)
    faulty = Faulty(store)

    def fault(_: str, verb: str) -> None:
        if verb == "extract":
            raise OSError("down")

    faulty.fault = fault
    with pytest.raises(StoreUnavailable):
        await engine_on(faulty).verify()


async def test_a_closer_look_gets_each_whole_generation_and_may_refuse_it(store: FileSystemStore, profile: Path) -> None:
    await save_some(store, profile, 2)
    seen: list[tuple[int, bool]] = []

    async def look_into(target: Path, generation: StoredGeneration) -> tuple[str, ...]:
        seen.append((generation.number, (target / INDEXED_DB / "CURRENT").is_file()))
        (target / INDEXED_DB / "CURRENT").unlink()
        if generation.number == 1:
            raise SessionCorrupted("it does not open")
        return ("looked into",)

    report = await engine_on(store).verify(look_into=look_into)
    assert seen == [(2, True), (1, True)]
    assert problems(report) == {2: None, 1: "it does not open"}
    assert report.generations[0].notes == ("looked into",)


async def test_an_encrypted_store_without_its_key_is_neither_damaged_nor_overwritten(
    store: FileSystemStore, profile: Path
) -> None:
    key = x25519.Identity.generate()
    encrypted = EncryptedStore(store, recipients=[key.to_public()], identities=[key])
    await engine_on(encrypted).save(profile)
    assert (await engine_on(encrypted).verify()).ok
    report = await engine_on(store).verify()
    assert "encrypted" in (report.problem or "")
    before = archives(store)
    change(profile, b"new")
    with pytest.raises(SessionCorrupted, match="encrypted"):
        await engine_on(store).save(profile)
    assert archives(store) == before


async def test_prune_keeps_the_newest_and_deletes_what_nothing_needs(store: FileSystemStore, profile: Path) -> None:
    await save_some(store, profile, 3)
    rehearsal = await engine_on(store).prune(1, dry_run=True)
    assert (rehearsal.kept, rehearsal.dropped, rehearsal.dry_run) == ((3,), (2, 1), True)
    assert [g.number for g in await engine_on(store).generations()] == [3, 2, 1]
    report = await engine_on(store).prune(1)
    assert (report.kept, report.dropped, report.dry_run) == ((3,), (2, 1), False)
    assert stored(store) == {SESSION} | packs_of(index_of(store), 3)
    assert (await engine_on(store).verify()).ok
    again = await engine_on(store).prune(1)
    assert (again.kept, again.dropped, again.packs_deleted) == ((3,), (), 0)


async def test_prune_keeps_one_that_shares_no_pack_with_the_newest(store: FileSystemStore, profile: Path) -> None:
    await save_some(store, profile, 1)
    # Anew, so that it shares nothing with the first, and two more on top of it.
    (profile / "wwauth-backup.json").unlink()
    engine = engine_on(store, generations=10)
    for number in range(3):
        grow(profile, b"again %d" % number)
        await engine.save(profile)
    report = await engine_on(store).prune(2)
    assert report.kept == (4, 1)
    assert report.dropped == (3, 2)
    index = index_of(store)
    assert packs_of(index, 4).isdisjoint(packs_of(index, 1))
    assert (await engine_on(store).verify()).ok


async def test_nothing_is_dropped_when_the_newest_is_damaged(store: FileSystemStore, profile: Path) -> None:
    await save_some(store, profile, 3)
    index = index_of(store)
    (newest,) = packs_of(index, 3) - packs_of(index, 2)
    (store.folder / f"{newest}.zip").write_bytes(b"damaged")
    before = archives(store)
    with pytest.raises(SessionCorrupted, match="generation 3"):
        await engine_on(store).prune(1)
    assert archives(store) == before


async def test_prune_leaves_what_a_writer_is_about_to_commit(store: FileSystemStore, profile: Path) -> None:
    engine = await save_some(store, profile, 3)
    grow(profile, b"on its way")
    # The pack of generation 4 is in the store, and its index is not.
    upcoming = {(g["generation"], g["writer"]) for g in index_of(store)["garbage"] if g["generation"] == 4}
    ((number, writer),) = upcoming
    pack = store.folder / f"{SESSION}.{number}.{writer}.zip"
    pack.write_bytes(b"not committed yet")
    await engine_on(store).prune(1)
    assert pack.is_file()
    assert {(g["generation"], g["writer"]) for g in index_of(store)["garbage"]} >= upcoming
    report = await engine.save(profile)
    assert report.generation == 4
    assert (await engine_on(store).verify()).ok


async def test_prune_stops_when_another_writer_was_faster(store: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    engine = await save_some(store, profile, 3)

    class Racing(Faulty):
        raced = False

        async def extract(self, *, session: str, path: Path) -> None:
            if session != SESSION and not self.raced:
                self.raced = True
                grow(profile, b"meanwhile")
                await engine.save(profile)
            await super().extract(session=session, path=path)

    with pytest.raises(LeaseLost, match="nothing was dropped"):
        await engine_on(Racing(store)).prune(1)
    assert [g.number for g in await engine_on(store).generations()] == [4, 3, 2, 1]
    assert (await engine_on(store).verify()).ok


@pytest.mark.parametrize("point", range(8))
async def test_a_store_that_fails_while_it_prunes_keeps_the_newest(store: FileSystemStore, profile: Path, point: int) -> None:
    await save_some(store, profile, 3)
    calls = 0

    class Failing(Faulty):
        async def save(self, *, session: str, path: Path) -> None:
            self.count()
            await super().save(session=session, path=path)

        async def delete(self, *, session: str) -> None:
            self.count()
            await super().delete(session=session)

        async def extract(self, *, session: str, path: Path) -> None:
            self.count()
            await super().extract(session=session, path=path)

        def count(self) -> None:
            nonlocal calls
            calls += 1
            if calls > point:
                raise OSError("down")

    with suppress(StoreUnavailable):
        await engine_on(Failing(store)).prune(1)
    report = await engine_on(store).verify()
    assert problems(report)[3] is None
    assert report.ok, "what the index names is there"
    await engine_on(store).prune(1)
    assert stored(store) == {SESSION} | packs_of(index_of(store), 3)


async def test_prune_of_a_plain_zip_and_of_nothing(store: FileSystemStore, profile: Path) -> None:
    with pytest.raises(SessionNotFound, match=SESSION):
        await engine_on(store).prune(1)
    for wrong in (0, -1, True, 101):
        with pytest.raises(ConfigurationError, match="generations"):
            await engine_on(store).prune(wrong)
    await engine_on(store, archive="whatsapp-web.js").save(profile)
    report = await engine_on(store).prune(1)
    assert (report.kept, report.dropped, report.packs_deleted) == ((1,), (), 0)
    assert stored(store) == {SESSION}


async def test_an_engine_goes_on_after_its_session_was_pruned(profile: Path) -> None:
    store = MemoryStore()
    engine = BackupEngine(store, session=SESSION, origin=ORIGIN, generations=5)
    for number in range(3):
        grow(profile, b"%d" % number)
        await engine.save(profile)
    await engine_on(store).prune(1)
    assert (await engine.save(profile)).kind == "unchanged"
    grow(profile)
    assert (await engine.save(profile)).kind == "incremental"
    assert (await engine.verify()).ok
