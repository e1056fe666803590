"""Moving sessions between stores: all of it or nothing, never over another login, and on from where it was interrupted."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from pyrage import x25519

from wwauth._holder import end, new_holder
from wwauth.abc import StoreFeatures
from wwauth.backup import BackupEngine, DataPath, migrate_session
from wwauth.backup._migration import PROBE
from wwauth.errors import (
    ConfigurationError,
    DecryptionFailed,
    LeaseLost,
    SessionCorrupted,
    SessionInUse,
    SessionNotFound,
    StoreDenied,
    StoreUnavailable,
)
from wwauth.stores import EncryptedStore, FileSystemStore, MemoryStore

from .profiles import INDEXED_DB, ORIGIN, make_profile
from .test_backup_engine import SESSION, Faulty, login
from .test_generations import engine_on, grow, index_of, packs_of
from .test_verify_prune import archives, save_some, stored

if TYPE_CHECKING:
    from pathlib import Path

    from wwauth.abc import Store


class Counting(MemoryStore):
    """Counts what is saved, and may fail at one of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: Counter[str] = Counter()
        self.calls = 0
        self.fails_at: int | None = None

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.fails_at:
            raise StoreUnavailable("interrupted")

    async def save(self, *, session: str, **more: Any) -> None:
        self._count()
        await super().save(session=session, **more)
        self.saved[session] += 1
        self._count()

    async def extract(self, *, session: str, **more: Any) -> None:
        self._count()
        await super().extract(session=session, **more)

    async def delete(self, *, session: str, **more: Any) -> None:
        self._count()
        await super().delete(session=session, **more)


@pytest.fixture
def source(tmp_path: Path) -> FileSystemStore:
    return FileSystemStore(tmp_path / "store")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return make_profile(tmp_path / "data" / SESSION, table=b"".join(b"%d." % n for n in range(20_000)), log=[b"x" * 100])


async def back(store: Store, tmp_path: Path, session: str = SESSION) -> dict[str, bytes]:
    """Restore a session; return its login."""
    profile = tmp_path / "back" / session
    await BackupEngine(store, session=session, origin=ORIGIN).restore(profile)
    found = login(profile)
    shutil.rmtree(tmp_path / "back")
    return found


async def numbers(store: Store, session: str = SESSION) -> list[int]:
    return [generation.number for generation in await BackupEngine(store, session=session).generations()]


async def names(store: Store) -> set[str]:
    return {info.session async for info in store.list_sessions(packs=True)}  # type: ignore[call-arg]


async def test_a_session_comes_whole_and_goes_on(source: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    engine = await save_some(source, profile, 3)
    before, target = archives(source), Counting()
    report = await migrate_session(source, target, session=SESSION, work_dir=tmp_path / "work")
    assert (report.outcome, report.archive, report.generations) == ("copied", "packs", (3, 2, 1))
    assert (report.archives, report.archives_there, report.source_deleted, report.notes) == (4, 0, False, ())
    assert report.bytes >= sum(len(archive) for name, archive in before.items() if name != SESSION)
    assert archives(source) == before
    assert await names(target) == set(before)
    assert await back(target, tmp_path) == login(profile)
    assert list((tmp_path / "work").iterdir()) == []

    # The client goes on there as if nothing had happened.
    grow(profile)
    assert (await engine_on(target, generations=10).save(profile)).kind == "incremental"
    assert await numbers(target) == [4, 3, 2, 1]
    grow(profile)
    await engine.save(profile)  # the same login, gone on in two places
    with pytest.raises(ConfigurationError, match="already, and not the same"):
        await migrate_session(source, target, session=SESSION)


async def test_a_second_run_copies_nothing(source: FileSystemStore, profile: Path) -> None:
    await save_some(source, profile, 2)
    target = Counting()
    await migrate_session(source, target, session=SESSION)
    target.saved.clear()
    assert (await migrate_session(source, target, session=SESSION, dry_run=True)).outcome == "same"
    report = await migrate_session(source, target, session=SESSION)
    assert (report.outcome, report.archives, report.archives_there, report.bytes) == ("same", 0, 2, 0)
    assert target.saved == {}


async def test_what_was_interrupted_at_any_call_goes_on(source: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    await save_some(source, profile, 3)
    for fails_at in range(1, 100):
        target = Counting()
        target.fails_at = fails_at
        try:
            await migrate_session(source, target, session=SESSION)
        except StoreUnavailable:
            assert await numbers(target) in ([], [3, 2, 1])
        else:
            break
        await migrate_session(source, target, session=SESSION)
        packs = {name: count for name, count in target.saved.items() if name != SESSION}
        assert set(packs.values()) == {1}, f"copied twice after call {fails_at}: {packs}"
        assert await names(target) == stored(source)
        assert await back(target, tmp_path) == login(profile)
    assert fails_at > 15


async def test_what_was_killed_goes_on(source: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    await save_some(source, profile, 6)
    program = (
        "import asyncio, sys\nfrom wwauth.backup import migrate_session\nfrom wwauth.stores import FileSystemStore\n"
        "source, target, session = sys.argv[1:]\nprint('begun', flush=True)\n"
        "asyncio.run(migrate_session(FileSystemStore(source), FileSystemStore(target), session=session, delete_source=True))"
    )
    target = FileSystemStore(tmp_path / "target")
    for moment in (0.0, 0.02, 0.05, 0.1, 0.2):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, source.folder, target.folder, SESSION),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        await process.stdout.readline()
        await asyncio.sleep(moment)
        if process.returncode is None:
            process.kill()
        await process.communicate()
    await migrate_session(source, target, session=SESSION, delete_source=True)
    assert stored(source) == set()
    assert await numbers(target) == [6, 5, 4, 3, 2, 1]
    assert await back(target, tmp_path) == login(profile)


async def test_a_dry_run_says_what_would_be_done_and_writes_nothing(source: FileSystemStore, profile: Path) -> None:
    await save_some(source, profile, 2)
    target = Counting()
    report = await migrate_session(source, target, session=SESSION, dry_run=True, delete_source=True)
    assert (report.outcome, report.archives, report.source_deleted) == ("to copy", 3, False)
    assert (target.saved, await names(target)) == ({}, set())
    assert len(stored(source)) == 3
    done = await migrate_session(source, target, session=SESSION)
    # The index that is written is not the one that is read: what was garbage stays behind.
    assert (done.archives, abs(done.bytes - report.bytes) < 1000) == (3, True)


async def test_another_login_is_never_replaced(source: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    await save_some(source, profile, 1)
    other = FileSystemStore(tmp_path / "other")
    await save_some(other, make_profile(tmp_path / "other data" / SESSION), 2)
    plain = MemoryStore()
    await BackupEngine(plain, session=SESSION, archive="whatsapp-web.js").save(profile)
    before = archives(other)
    for target in (other, plain):
        for dry_run in (True, False):
            with pytest.raises(ConfigurationError, match="already, and not the same"):
                await migrate_session(source, target, session=SESSION, dry_run=dry_run)
    with pytest.raises(ConfigurationError, match="already, and not the same"):
        await migrate_session(plain, other, session=SESSION)
    assert archives(other) == before
    report = await migrate_session(source, other, session=SESSION, name="RemoteAuth-two")
    assert report.name == "RemoteAuth-two"
    assert await back(other, tmp_path, "RemoteAuth-two") == login(profile)


async def test_an_earlier_state_of_the_same_login_is_brought_up_to_date(
    source: FileSystemStore, profile: Path, tmp_path: Path
) -> None:
    engine = await save_some(source, profile, 2)
    target = Counting()
    await migrate_session(source, target, session=SESSION)
    grow(profile)
    await engine.save(profile)
    report = await migrate_session(source, target, session=SESSION)
    assert (report.outcome, report.generations, report.archives) == ("copied", (3, 2, 1), 2)
    assert await numbers(target) == [3, 2, 1]
    assert await back(target, tmp_path) == login(profile)
    # The source has dropped the generation that the target has, and still has its pack.
    grow(profile)
    await engine_on(source, generations=1).save(profile)
    assert await numbers(source) == [4]
    await migrate_session(source, target, session=SESSION)
    assert await numbers(target) == [4]
    assert await back(target, tmp_path) == login(profile)
    # And never the other way.
    older = MemoryStore()
    await migrate_session(target, older, session=SESSION)
    grow(profile, b"again")
    await engine_on(target).save(profile)
    with pytest.raises(ConfigurationError, match="it went on there"):
        await migrate_session(older, target, session=SESSION)
    assert (await numbers(target))[0] == 5


async def test_the_source_goes_once_the_target_is_whole(source: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    await save_some(source, profile, 2)
    await BackupEngine(source, session="other").save(profile)
    before, target = archives(source), MemoryStore()

    class Damaging(MemoryStore):
        """Loses what it had said that it keeps, as a disk that fails does, or a bucket whose objects expire."""

        async def delete(self, *, session: str, **more: Any) -> None:
            if session == PROBE:
                for name in [name for name in self._archives if "." in name]:
                    del self._archives[name]
            await super().delete(session=session, **more)

    with pytest.raises(SessionCorrupted, match="was kept in the source"):
        await migrate_session(source, Damaging(), session=SESSION, delete_source=True)
    assert archives(source) == before
    report = await migrate_session(source, target, session=SESSION, delete_source=True)
    assert report.source_deleted
    assert {name for name in stored(source) if name.startswith(SESSION)} == set()
    assert "other" in stored(source)
    assert await back(target, tmp_path) == login(profile)
    # Whoever asks again is told that it is done; who asks for what never was is not.
    assert (await migrate_session(source, target, session=SESSION, delete_source=True)).outcome == "same"
    with pytest.raises(SessionNotFound):
        await migrate_session(source, target, session=SESSION)
    with pytest.raises(SessionNotFound):
        await migrate_session(source, target, session="nobody", delete_source=True)


async def test_a_deletion_that_was_interrupted_is_completed(source: FileSystemStore, profile: Path) -> None:
    await save_some(source, profile, 3)
    faulty, target = Faulty(source), MemoryStore()

    deletes: list[str] = []

    def fault(when: str, verb: str) -> None:
        if (when, verb) == ("before", "delete"):
            deletes.append(verb)
            if len(deletes) > 5:  # those of the probe, and of two packs
                raise StoreUnavailable("interrupted")

    faulty.fault = fault
    with pytest.raises(StoreUnavailable):
        await migrate_session(faulty, target, session=SESSION, delete_source=True)
    assert stored(source)
    report = await migrate_session(source, target, session=SESSION, delete_source=True)
    assert (report.outcome, report.source_deleted, stored(source)) == ("same", True, set())
    assert await numbers(target) == [3, 2, 1]


async def test_one_store_under_two_names_is_not_emptied(tmp_path: Path, profile: Path) -> None:
    class WithoutLeases(FileSystemStore):
        features = StoreFeatures(listing=True)

    one, two = WithoutLeases(tmp_path / "store"), WithoutLeases(tmp_path / "store")
    for archive in ("packs", "whatsapp-web.js"):
        await BackupEngine(one, session=archive, archive=archive).save(profile)
    before = archives(one)
    for session in ("packs", "whatsapp-web.js"):
        with pytest.raises(ConfigurationError, match="the same store"):
            await migrate_session(one, two, session=session, delete_source=True)
        with pytest.raises(ConfigurationError, match="to the same one"):
            await migrate_session(one, one, session=session, delete_source=True)
    assert archives(one) == before


async def test_a_store_that_shows_the_source_is_not_taken_for_a_copy(source: FileSystemStore, profile: Path) -> None:
    class Showing(MemoryStore):
        """Shows what another program keeps in the same database, until it has something of that name itself."""

        async def session_exists(self, *, session: str) -> bool:
            return await super().session_exists(session=session) or await source.session_exists(session=session)

        async def extract(self, *, session: str, path: Any) -> None:
            if await super().session_exists(session=session):
                await super().extract(session=session, path=path)
            else:
                await source.extract(session=session, path=path)

    await BackupEngine(source, session=SESSION, archive="whatsapp-web.js").save(profile)
    with pytest.raises(ConfigurationError, match="the same store, at least in part"):
        await migrate_session(source, Showing(), session=SESSION, delete_source=True)
    assert stored(source) == {SESSION}


async def test_packs_are_not_brought_where_another_program_reads(source: FileSystemStore, profile: Path) -> None:
    class Plain(MemoryStore):
        features = StoreFeatures(packs=False)

    await save_some(source, profile, 1)
    with pytest.raises(ConfigurationError, match="takes no packs"):
        await migrate_session(source, Plain(), session=SESSION)


async def test_leases_keep_clients_out_on_both_sides(source: FileSystemStore, profile: Path) -> None:
    await save_some(source, profile, 1)
    target, holder = MemoryStore(), new_holder()
    try:
        for store in (source, target):
            async with store.lease(session=SESSION, holder=holder, ttl=60):
                with pytest.raises(SessionInUse):
                    await migrate_session(source, target, session=SESSION)
    finally:
        end(holder)
    assert await names(target) == set()
    await migrate_session(source, target, session=SESSION)


async def test_who_saves_to_the_source_meanwhile_keeps_it(source: FileSystemStore, profile: Path) -> None:
    engine = await save_some(source, profile, 1)

    class Slow(MemoryStore):
        async def delete(self, *, session: str, **more: Any) -> None:
            if session == PROBE:
                grow(profile)
                await engine.save(profile)
            await super().delete(session=session, **more)

    with pytest.raises(LeaseLost, match="which was kept"):
        await migrate_session(source, Slow(), session=SESSION, delete_source=True)
    assert (await numbers(source))[0] > 1


async def test_a_damaged_generation_is_left_out_and_the_source_kept(
    source: FileSystemStore, profile: Path, tmp_path: Path
) -> None:
    await save_some(source, profile, 3)
    (newest,) = packs_of(index_of(source), 3) - packs_of(index_of(source), 2)
    (source.folder / f"{newest}.zip").write_bytes(b"damaged")
    target = MemoryStore()
    report = await migrate_session(source, target, session=SESSION, delete_source=True)
    assert (report.generations, report.source_deleted) == ((2, 1), False)
    assert [note.partition(":")[0] for note in report.notes] == [
        "generation 3 was left out",
        "the source was kept, since not all of it could be migrated",
    ]
    assert await numbers(target) == [2, 1]
    assert (await migrate_session(source, target, session=SESSION)).outcome == "same"
    for pack in stored(source) - {SESSION}:
        (source.folder / f"{pack}.zip").unlink()
    empty = MemoryStore()
    with pytest.raises(SessionCorrupted, match="none of its generations is whole"):
        await migrate_session(source, empty, session=SESSION)
    assert await names(empty) == set()


async def test_to_an_encrypted_store_and_back(source: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    engine = await save_some(source, profile, 2)
    key = x25519.Identity.generate()
    kept = MemoryStore()
    sealed = EncryptedStore(kept, recipients=[key.to_public()], identities=[key])
    await migrate_session(source, sealed, session=SESSION)
    assert await back(sealed, tmp_path) == login(profile)
    with pytest.raises(DecryptionFailed):
        await migrate_session(source, kept, session=SESSION)
    with pytest.raises(DecryptionFailed):
        await migrate_session(kept, MemoryStore(), session=SESSION)
    assert (await migrate_session(source, sealed, session=SESSION)).outcome == "same"
    plain = MemoryStore()
    await migrate_session(sealed, plain, session=SESSION)
    assert await back(plain, tmp_path) == login(profile)
    # Packs are known to be for these keys, so that only what changed goes.
    grow(profile)
    assert (await engine_on(sealed, generations=10).save(profile)).kind == "incremental"
    assert engine.generation == 2


async def test_a_plain_zip_stays_one(source: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    await BackupEngine(source, session=SESSION, archive="whatsapp-web.js").save(profile)
    target = Counting()
    report = await migrate_session(source, target, session=SESSION)
    assert (report.outcome, report.archive, report.generations) == ("copied", "whatsapp-web.js", (1,))
    assert await back(target, tmp_path) == login(profile)
    assert (await migrate_session(source, target, session=SESSION, dry_run=True)).outcome == "same"
    report = await migrate_session(source, target, session=SESSION, delete_source=True)
    assert (report.outcome, report.source_deleted) == ("same", True)
    assert target.saved[SESSION] == 1
    assert stored(source) == set()


async def test_a_plain_zip_that_was_damaged_in_the_target_is_copied_again(
    source: FileSystemStore, profile: Path, tmp_path: Path
) -> None:
    await BackupEngine(source, session=SESSION, archive="whatsapp-web.js").save(profile)
    target = FileSystemStore(tmp_path / "target")
    await migrate_session(source, target, session=SESSION)
    kept = target.folder / f"{SESSION}.zip"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    assert (await migrate_session(source, target, session=SESSION)).outcome == "copied"
    assert kept.read_bytes() == whole


async def test_a_source_that_may_only_be_read(source: FileSystemStore, profile: Path, tmp_path: Path) -> None:
    await save_some(source, profile, 1)

    class ReadOnly(FileSystemStore):
        async def save(self, **_: Any) -> None:
            raise StoreDenied("read only")

        delete = save

        def lease(self, **_: Any) -> Any:
            raise StoreDenied("read only")

    only_read = ReadOnly(source.folder)
    with pytest.raises(StoreDenied):
        await migrate_session(only_read, MemoryStore(), session=SESSION, delete_source=True)
    target = MemoryStore()
    await migrate_session(only_read, target, session=SESSION)
    assert await back(target, tmp_path) == login(profile)


async def test_what_is_no_session_is_refused(source: FileSystemStore, tmp_path: Path) -> None:
    target = MemoryStore()
    with pytest.raises(SessionNotFound, match="nobody"):
        await migrate_session(source, target, session="nobody")
    (tmp_path / "garbage").write_bytes(b"no zip")
    await source.save(session="damaged", path=tmp_path / "garbage")
    with pytest.raises(SessionCorrupted):
        await migrate_session(source, target, session="damaged")
    with pytest.raises(ConfigurationError, match="invalid session"):
        await migrate_session(source, target, session="../x")
    with pytest.raises(ConfigurationError, match="as the target"):
        await migrate_session(source, None, session="x")  # type: ignore[arg-type]
    assert await names(target) == set()


class TestDataPath:
    @pytest.fixture
    def data(self, tmp_path: Path, profile: Path) -> Path:
        """Make what programs leave: LocalAuth's profiles, RemoteAuth's, a zip, and what is none of these."""
        data = tmp_path / "data"
        make_profile(data / "session-local", log=[b"local"])
        make_profile(data / "session", log=[b"nameless"])
        for name in ("wwebjs_temp_session_x", "session-empty", "else"):
            (data / name).mkdir()
        make_profile(data / "another" / "Default")
        shutil.copytree(profile, data / "RemoteAuth-zipped")
        return data

    async def test_what_is_in_it(self, data: Path, profile: Path) -> None:
        source = DataPath(data)
        found = [info async for info in source.list_sessions()]
        assert [info.session for info in found] == [SESSION, "RemoteAuth-zipped", "session", "session-local"]
        assert all(info.size > 5000 for info in found)
        assert [info.session async for info in source.list_sessions(prefix="session-")] == ["session-local"]
        assert not await source.session_exists(session="session-empty")
        assert not await source.session_exists(session="wwebjs_temp_session_x")
        assert [DataPath.name_in_store(name) for name in ("session", "session-a_b-1", "RemoteAuth-x", "else")] == [
            *("RemoteAuth", "RemoteAuth-a_b-1", "RemoteAuth-x", "else"),
        ]
        assert repr(source) == f"DataPath({str(data)!r})"
        with pytest.raises(ConfigurationError, match="is no folder"):
            DataPath(data / "nowhere")
        with pytest.raises(ConfigurationError, match="only taken from a data path"):
            await source.save(session="x", path=data)
        with pytest.raises(SessionNotFound):
            await source.extract(session="session-empty", path=data / "x")

    async def test_a_profile_is_what_a_restore_gives(self, data: Path, tmp_path: Path) -> None:
        target = MemoryStore()
        before = login(data / "session-local")
        report = await migrate_session(DataPath(data), target, session="session-local", name="RemoteAuth-local")
        assert (report.archive, report.outcome) == ("whatsapp-web.js", "copied")
        assert await back(target, tmp_path, "RemoteAuth-local") == before
        again = await migrate_session(DataPath(data), target, session="session-local", name="RemoteAuth-local")
        assert again.outcome == "same"
        await migrate_session(DataPath(data), FileSystemStore(data), session="session-local", name="RemoteAuth-local")
        with pytest.raises(ConfigurationError, match="the same store"):
            await migrate_session(DataPath(data), FileSystemStore(data), session=SESSION, delete_source=True)
        assert (data / SESSION).is_dir()
        done = await migrate_session(
            DataPath(data), target, session="session-local", name="RemoteAuth-local", delete_source=True
        )
        assert (done.source_deleted, (data / "session-local").exists()) == (True, False)
        assert (data / "session").exists()

    async def test_zips_and_folders_of_stores_are_taken_as_they_are(self, data: Path, profile: Path, tmp_path: Path) -> None:
        kept = FileSystemStore(data)
        await BackupEngine(kept, session="RemoteAuth-zip", archive="whatsapp-web.js").save(profile)
        await BackupEngine(kept, session="RemoteAuth-packs").save(profile)
        target, source = MemoryStore(), DataPath(data)
        assert {"RemoteAuth-zip", "RemoteAuth-packs"} <= {info.session async for info in source.list_sessions()}
        for name, form in (("RemoteAuth-zip", "whatsapp-web.js"), ("RemoteAuth-packs", "packs")):
            report = await migrate_session(source, target, session=name, delete_source=True)
            assert (report.archive, report.source_deleted) == (form, True)
            assert await back(target, tmp_path, name) == login(profile)
        assert list(data.glob("*.zip")) == []

    @pytest.mark.skipif(sys.platform != "linux", reason="how a browser's lock is seen is another thing elsewhere")
    async def test_a_profile_that_a_browser_has_open_is_left_alone(self, data: Path) -> None:
        holder = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import fcntl, sys; file = open(sys.argv[1], 'r+'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); input()",
            data / "session" / INDEXED_DB / "LOCK",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert holder.stdout is not None
            await holder.stdout.readline()
            with pytest.raises(SessionInUse, match="end its program first"):
                await migrate_session(DataPath(data), MemoryStore(), session="session")
            with pytest.raises(SessionInUse):
                await DataPath(data).delete(session="session")
        finally:
            await holder.communicate(b"\n")
        assert (data / "session").exists()
