"""Saving and restoring: the old state or the new one, whatever fails."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from pyrage import x25519

from wwauth.abc import Store
from wwauth.backup import BackupEngine, validate_profile
from wwauth.backup import engine as engine_module
from wwauth.backup._room import removed
from wwauth.backup.archive import read_archive
from wwauth.errors import (
    ConfigurationError,
    DecryptionFailed,
    SessionClosed,
    SessionCorrupted,
    SessionNotFound,
    SnapshotFailed,
    StoreDenied,
    StoreUnavailable,
)
from wwauth.stores import EncryptedStore, FileSystemStore

from ..simulatedclock import on_simulated_clock
from ..soaking import SOAK
from .profiles import INDEXED_DB, ORIGIN, frame, make_profile, tree

SESSION = "RemoteAuth-one"
ARCHIVE = "WWAUTH_TEST_ARCHIVE"
LOG = f"{INDEXED_DB}/000006.log"


@pytest.fixture(autouse=True, params=["packs", "whatsapp-web.js"])
def archive(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run each test with both forms of a backup, also in the processes that it starts."""
    form: str = request.param
    monkeypatch.setenv(ARCHIVE, form)
    return form


@pytest.fixture
def store(tmp_path: Path) -> FileSystemStore:
    return FileSystemStore(tmp_path / "store")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return make_profile(tmp_path / "data" / SESSION)


def engine_on(store: Any, **options: Any) -> BackupEngine:
    return BackupEngine(store, session=SESSION, origin=ORIGIN, **{"archive": os.environ[ARCHIVE], **options})


def change(profile: Path, text: bytes) -> None:
    """Write what tells this state of the profile from others."""
    (profile / LOG).write_bytes(frame([text] * 3))


def login(profile: Path) -> dict[str, bytes]:
    """Return what of a profile is saved."""
    return {
        name: content
        for name, content in tree(profile).items()
        if name.startswith(("Default/IndexedDB", "Default/Local Storage")) and not name.endswith(("/LOCK", "/LOG"))
    }


def all_but_the_note(profile: Path) -> dict[str, bytes]:
    return {name: content for name, content in tree(profile).items() if name != "wwauth-backup.json"}


def beside(profile: Path) -> set[str]:
    return {path.name for path in profile.parent.iterdir()}


async def test_a_lost_profile_comes_back(tmp_path: Path, store: FileSystemStore, profile: Path) -> None:
    saved = login(profile)
    report = await engine_on(store).save(profile)
    assert (report.session, report.generation, report.kind, report.files) == (SESSION, 1, "full", len(saved))
    assert report.bytes_total == sum(map(len, saved.values()))
    assert report.bytes_uploaded == sum(path.stat().st_size for path in (tmp_path / "store").iterdir())
    shutil.rmtree(profile.parent)
    engine = engine_on(store)
    restored = await engine.restore(profile)
    assert login(profile) == saved
    assert (restored.generation, restored.source, restored.files, restored.notes) == (1, "remote", len(saved), ())
    assert restored.bytes_downloaded == report.bytes_uploaded
    assert beside(profile) == {SESSION}
    assert engine.generation == 1


async def test_generations_grow_by_one_over_restarts_and_restores(store: FileSystemStore, profile: Path) -> None:
    engine = engine_on(store)
    for number in (1, 2):
        change(profile, b"%d" % number)
        assert (await engine.save(profile)).generation == number
    change(profile, b"3")
    assert (await engine_on(store).save(profile)).generation == 3
    engine = engine_on(store)
    assert (await engine.restore(profile)).generation == 3
    assert (await engine.save(profile)).kind == "unchanged"
    change(profile, b"4")
    assert (await engine.save(profile)).generation == 4
    # A profile that tells nothing, such as one that was linked anew.
    (profile / "wwauth-backup.json").unlink()
    change(profile, b"5")
    assert (await engine_on(store).save(profile)).generation == 5


async def test_what_did_not_change_is_not_uploaded(store: FileSystemStore, profile: Path) -> None:
    engine = engine_on(store)
    first = await engine.save(profile)
    second = await engine.save(profile)
    assert (second.kind, second.generation, second.bytes_uploaded, second.sha256) == ("unchanged", 1, 0, first.sha256)
    restarted = engine_on(store)
    await restarted.recover(profile)
    assert restarted.generation == 1
    assert (await restarted.save(profile)).kind == "unchanged"
    await store.delete(session=SESSION)
    third = await engine.save(profile)
    assert (third.kind, third.generation) == ("full", 2)
    assert await store.session_exists(session=SESSION)


async def test_the_state_of_another_session_is_not_believed(store: FileSystemStore, profile: Path) -> None:
    await engine_on(store).save(profile)
    other = BackupEngine(store, session="RemoteAuth-two")
    await other.recover(profile)
    assert other.generation == 0
    assert (await other.save(profile)).kind == "full"
    (profile / "wwauth-backup.json").write_text("[]")
    assert (await engine_on(store).save(profile)).generation == 2


async def test_a_restore_keeps_the_replaced_profile_until_it_is_confirmed(store: FileSystemStore, profile: Path) -> None:
    engine = engine_on(store)
    change(profile, b"saved")
    await engine.save(profile)
    saved = login(profile)
    change(profile, b"local")
    local = login(profile)
    await engine.restore(profile)
    assert (login(profile), login(engine.previous(profile))) == (saved, local)
    # Not confirmed: what worked last stays, not the restored one that was never opened.
    await engine.restore(profile)
    assert (login(profile), login(engine.previous(profile))) == (saved, local)
    await engine.confirm(profile)
    assert beside(profile) == {SESSION}
    await engine.confirm(profile)


async def test_recover_ends_an_interrupted_restore_and_sweeps(tmp_path: Path, store: FileSystemStore, profile: Path) -> None:
    engine = engine_on(store, work_dir=tmp_path / "work")
    whole = login(profile)
    with (profile / LOG).open("ab") as file:
        file.write(b"half")
    profile.rename(engine.previous(profile))
    (tmp_path / "work").mkdir()
    for path in (
        profile.with_name(f".{SESSION}.{'a' * 12}.tmp"),
        tmp_path / "work" / f".{SESSION}.{'0' * 12}.tmp",
    ):
        path.mkdir()
    (engine.previous(profile) / f".wwauth-backup.json.{'b' * 12}.tmp").write_text("half a note")
    others = profile.with_name(f".{SESSION}-2.{'a' * 12}.tmp")
    others.mkdir()
    await engine.recover(profile)
    assert login(profile) == whole
    assert not list(profile.glob(".*"))
    assert beside(profile) == {SESSION, others.name}
    assert list((tmp_path / "work").iterdir()) == []
    await engine.recover(profile)
    await engine.recover(tmp_path / "nothing" / "here")


async def test_a_confirmation_that_is_interrupted_leaves_no_half_of_a_profile(
    store: FileSystemStore, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_on(store)
    await engine.save(profile)
    await engine.restore(profile)

    def interrupted(path: Path) -> None:
        (path / LOG).unlink()
        raise PermissionError("busy")

    with monkeypatch.context() as patch:
        patch.setattr("wwauth.backup._place.remove_tree", interrupted)
        with pytest.raises(PermissionError):
            await engine.confirm(profile)
    assert not engine.previous(profile).exists()
    await engine_on(store).recover(profile)
    assert beside(profile) == {SESSION}


async def test_a_call_without_a_profile_has_its_temporaries_where_they_are_swept(store: FileSystemStore, profile: Path) -> None:
    faulty = Faulty(store)
    engine = engine_on(faulty)
    await engine.save(profile)
    restarted = engine_on(faulty)
    await restarted.recover(profile)
    seen = []
    faulty.fault = lambda *_: seen.append(beside(profile))
    await restarted.is_behind()
    (room,) = set.union(*seen) - {SESSION}
    profile.with_name(room).mkdir()
    await restarted.recover(profile)
    assert beside(profile) == {SESSION}


async def test_a_killed_peers_archive_is_mended_and_said_so(tmp_path: Path, store: FileSystemStore, profile: Path) -> None:
    import zipfile

    whole = login(profile)
    with zipfile.ZipFile(tmp_path / "peer.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in tree(profile).items():
            archive.writestr(name, content + (b"half" if name == LOG else b""))
    await store.save(session=SESSION, path=tmp_path / "peer.zip")
    shutil.rmtree(profile)
    report = await engine_on(store).restore(profile)
    assert login(profile) == whole
    assert report.generation == 0
    assert [note.partition(": ")[2] for note in report.notes[:1]] == ["4 bytes of an unfinished record were cut off"]
    assert report.notes[1:] == ("1 files of the archive are no part of a login and were left out",)


class Faulty(Store):
    """Wraps a store; `fault` is called with each verb, before and after, and may raise."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.fault: Any = lambda when, verb: None

    async def _call(self, verb: str, **arguments: Any) -> Any:
        self.fault("before", verb)
        result = await getattr(self.inner, verb)(**arguments)
        self.fault("after", verb)
        return result

    async def session_exists(self, *, session: str) -> bool:
        return bool(await self._call("session_exists", session=session))

    async def save(self, *, session: str, path: Path) -> None:
        await self._call("save", session=session, path=path)

    async def extract(self, *, session: str, path: Path) -> None:
        await self._call("extract", session=session, path=path)

    async def delete(self, *, session: str) -> None:
        await self._call("delete", session=session)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb", ["session_exists", "save", "extract"])
async def test_a_store_that_fails_is_unavailable_and_changes_nothing(
    store: FileSystemStore, profile: Path, when: str, verb: str
) -> None:
    faulty = Faulty(store)
    engine = engine_on(faulty)
    await engine.save(profile)
    change(profile, b"local")
    before = all_but_the_note(profile)

    def fault(now: str, called: str) -> None:
        if (now, called) == (when, verb):
            raise ConnectionError("mongodb://user:password@host is down")

    faulty.fault = fault
    call = engine.save if verb == "save" else engine.restore
    with pytest.raises(StoreUnavailable, match=rf"Faulty\.{verb}\('{SESSION}[.0-9a-f]*'\) failed: ConnectionError") as failed:
        await call(profile)
    assert "password" not in str(failed.value)
    assert isinstance(failed.value.__cause__, ConnectionError)
    assert all_but_the_note(profile) == before
    assert beside(profile) == {SESSION}
    faulty.fault = lambda *_: None
    assert (await engine.save(profile)).generation == 2


async def test_a_stores_own_errors_are_passed_on(store: FileSystemStore, profile: Path) -> None:
    faulty = Faulty(store)

    def deny(*_: str) -> None:
        raise StoreDenied("no")

    faulty.fault = deny
    engine = engine_on(faulty)
    for call in (engine.exists(), engine.delete(), engine.save(profile), engine.restore(profile)):
        with pytest.raises(StoreDenied):
            await call


async def test_a_store_that_writes_nothing_is_found_out(store: FileSystemStore, profile: Path) -> None:
    class Lying(Faulty):
        async def extract(self, *, session: str, path: Path) -> None:
            pass

    await engine_on(store).save(profile)
    with pytest.raises(StoreUnavailable, match="without writing the archive"):
        await engine_on(Lying(store)).restore(profile)


async def test_what_is_not_there_is_not_found(store: FileSystemStore, profile: Path) -> None:
    engine = engine_on(store)
    assert not await engine.exists()
    with pytest.raises(SessionNotFound, match=SESSION):
        await engine.restore(profile)
    await engine.delete()
    assert beside(profile) == {SESSION}


async def test_a_deleted_session_begins_anew(store: FileSystemStore, profile: Path) -> None:
    engine = engine_on(store)
    await engine.save(profile)
    assert await engine.exists()
    await engine.delete()
    assert not await engine.exists()
    report = await engine.save(profile)
    assert (report.generation, report.kind) == (1, "full")


@pytest.mark.parametrize("kind", ["truncated", "garbage", "torn", "other origin"])
async def test_a_bad_backup_replaces_nothing(
    tmp_path: Path, store: FileSystemStore, profile: Path, kind: str, archive: str
) -> None:
    if kind == "torn" and archive == "packs":
        pytest.skip("what is torn in packs is in test_generations.py")
    engine = engine_on(store)
    await engine.save(profile)
    stored = tmp_path / "store" / f"{SESSION}.zip"
    origin = ORIGIN
    if kind == "truncated":
        stored.write_bytes(stored.read_bytes()[:-100])
    elif kind == "garbage":
        stored.write_bytes(b"<html>")
    elif kind == "torn":
        import zipfile

        read_archive(stored, tmp_path / "torn")
        (tmp_path / "torn" / INDEXED_DB / "000005.ldb").unlink()
        with zipfile.ZipFile(stored, "w") as file:
            for name, content in tree(tmp_path / "torn").items():
                file.writestr(name, content)
    else:
        origin = "https://example.org/"
    before = tree(profile)
    with pytest.raises(SessionCorrupted, match=rf"{SESSION}"):
        await BackupEngine(store, session=SESSION, origin=origin).restore(profile)
    assert tree(profile) == before
    assert beside(profile) == {SESSION}
    # A stored backup that cannot tell its generation does not keep a good one from being saved over it.
    (profile / "wwauth-backup.json").unlink()
    change(profile, b"new")
    await engine_on(store).save(profile)
    await engine_on(store).restore(profile)


async def test_a_backup_that_only_another_key_reads_is_not_overwritten(store: FileSystemStore, profile: Path) -> None:
    def encrypted() -> EncryptedStore:
        key = x25519.Identity.generate()
        return EncryptedStore(store, recipients=[key.to_public()], identities=[key])

    first, other = encrypted(), encrypted()
    await engine_on(first).save(profile)
    (profile / "wwauth-backup.json").unlink()
    change(profile, b"new")
    with pytest.raises(DecryptionFailed):
        await engine_on(other).save(profile)
    await engine_on(first).restore(profile)


async def test_a_profile_without_a_login_is_never_saved(store: FileSystemStore, profile: Path) -> None:
    engine = engine_on(store)
    await engine.save(profile)
    shutil.rmtree(profile / "Default" / "IndexedDB")
    with pytest.raises(SnapshotFailed, match="holds no login"):
        await engine.save(profile)
    await engine.restore(profile)
    validate_profile(profile, origin=ORIGIN)


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, store: FileSystemStore, profile: Path) -> None:
    (tmp_path / "work").write_text("a file where a folder should be")
    engine = engine_on(store, work_dir=tmp_path / "work")
    with pytest.raises(SnapshotFailed, match="work"):
        await engine.save(profile)
    assert beside(profile) == {SESSION}


async def test_a_backup_whose_number_cannot_be_noted_is_committed_all_the_same(
    store: FileSystemStore, profile: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = profile / "wwauth-backup.json"
    state.mkdir()
    engine = engine_on(store)
    assert (await engine.save(profile)).generation == 1
    assert "could not be written" in caplog.text
    state.rmdir()
    change(profile, b"2")
    assert (await engine_on(store).save(profile)).generation == 2


async def test_a_veto_before_the_commit_uploads_nothing(store: FileSystemStore, profile: Path) -> None:
    def veto() -> None:
        raise SessionClosed("logged out meanwhile")

    with pytest.raises(SessionClosed):
        await engine_on(store).save(profile, before_commit=veto)
    assert not await store.session_exists(session=SESSION)
    assert beside(profile) == {SESSION}


@pytest.mark.parametrize("verb", ["session_exists", "extract", "save", "delete"])
@on_simulated_clock
async def test_a_store_that_never_answers_is_unavailable(
    store: FileSystemStore, profile: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    # In which a download's size is looked at four times a second.
    monkeypatch.setattr("wwauth.backup._remote._TRANSFER_TIMEOUT", 60.0)
    await engine_on(store).save(profile)
    change(profile, b"local")
    before = all_but_the_note(profile)

    async def hang(**_: Any) -> None:
        await asyncio.Event().wait()

    faulty = Faulty(store)
    faulty.__dict__[verb] = hang
    engine = engine_on(faulty)
    calls: dict[str, Any] = {"save": lambda: engine.save(profile), "delete": engine.delete}
    call = calls.get(verb, lambda: engine.restore(profile))
    with pytest.raises(StoreUnavailable, match=rf"{verb}\(.*\) did not end within 60 s"):
        await call()
    assert all_but_the_note(profile) == before
    assert beside(profile) == {SESSION}


@pytest.mark.parametrize("step", ["make_private_dir", "write_state"])
async def test_a_cancelled_call_goes_on_when_its_thread_has_ended(
    store: FileSystemStore, profile: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    story: list[str] = []
    begun, go = threading.Event(), threading.Event()
    work = getattr(engine_module, step)

    def slow(*args: Any) -> None:
        begun.set()
        go.wait()
        work(*args)
        story.append(step)

    async def told(*paths: Path) -> None:
        story.append("removed")
        await removed(*paths)

    monkeypatch.setattr(engine_module, step, slow)
    monkeypatch.setattr(engine_module, "removed", told)
    saving = asyncio.create_task(engine_on(store).save(profile))
    await asyncio.to_thread(begun.wait)
    saving.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert story == [step, "removed"]
    assert [path.name for path in profile.parent.iterdir()] == [profile.name]


async def test_a_cancelled_call_leaves_nothing(tmp_path: Path, store: FileSystemStore, profile: Path) -> None:
    faulty = Faulty(store)
    engine = engine_on(faulty, work_dir=tmp_path / "work")
    await engine.save(profile)
    change(profile, b"local")
    before = all_but_the_note(profile)
    hanging = asyncio.Event()

    async def hang(**_: Any) -> None:
        hanging.set()
        await asyncio.Event().wait()

    for verb, call in (("save", engine.save), ("extract", engine.restore)):
        hanging.clear()
        faulty.__dict__[verb] = hang
        task = asyncio.create_task(call(profile))
        await hanging.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del faulty.__dict__[verb]
        assert all_but_the_note(profile) == before
        assert beside(profile) == {SESSION}
        assert list((tmp_path / "work").iterdir()) == []
    assert (await engine.save(profile)).generation == 2


@pytest.mark.parametrize(("name", "value"), [("session", "../x"), ("session", ""), ("archive", "tar"), ("origin", "x")])
def test_bad_arguments_are_named(store: FileSystemStore, name: str, value: str) -> None:
    arguments: dict[str, Any] = {"session": SESSION, name: value}
    with pytest.raises(ConfigurationError, match="invalid"):
        BackupEngine(store, **arguments)


_WORKER = """
import asyncio, json, sys
from pathlib import Path
from tests.unit.test_backup_engine import SESSION, change, engine_on
from wwauth.stores import FileSystemStore
root, verb, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
profile = root / "data" / SESSION
async def main():
    engine = engine_on(FileSystemStore(root / "store"))
    number = 0
    if limit:
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    print("ready", flush=True)
    while True:
        number += 1
        if verb == "save":
            change(profile, b"%09d" % number * 1000)
            report = await engine.save(profile)
            print(json.dumps([report.generation, number]), flush=True)
        else:
            await engine.restore(profile)
            if number % 2:
                await engine.confirm(profile)
asyncio.run(main())
"""


def worker(root: Path, verb: str, limit: int = 0) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(root), verb, str(limit)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def killed_at_random(process: subprocess.Popen[str], pause: float, *, begin: int = 0) -> list[str]:
    """Kill a worker a moment after it has said `begin` lines; return these and what it said until then."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    said = [process.stdout.readline() for _ in range(begin)]
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(pause)
    process.kill()
    # From where the lines come, which may have some more in hand than were asked for: communicate() would not look there.
    said += process.stdout.read().splitlines()
    process.communicate()
    return [line.strip() for line in said]


async def test_a_kill_during_a_save_leaves_a_committed_backup(tmp_path: Path, store: FileSystemStore, profile: Path) -> None:
    pauses = random.Random(5)
    committed = 0
    for number in range(8 if SOAK else 4):
        # In its first saves, and later.
        pause, begin = pauses.uniform(0.0, 0.2), number % 2
        lines = await asyncio.to_thread(killed_at_random, worker(tmp_path, "save"), pause, begin=begin)
        reports = [json.loads(line) for line in lines if line.endswith("]")]
        if reports:
            assert [generation for generation, _ in reports] == list(range(reports[0][0], reports[0][0] + len(reports)))
            committed = reports[-1][0]
        engine = engine_on(store)
        await engine.recover(profile)
        assert beside(profile) == {SESSION}
        if committed:
            restored = await engine.restore(profile)
            # The one that was told, or one that was committed between the telling and the kill.
            assert restored.generation >= committed
            committed = restored.generation
            records = (profile / LOG).read_bytes()[7:]
            assert len({records[at : at + 9] for at in range(0, 9000, 9)}) == 1
            await engine.confirm(profile)
    assert committed > 0


async def test_a_kill_during_a_restore_leaves_a_whole_profile(tmp_path: Path, store: FileSystemStore, profile: Path) -> None:
    change(profile, b"stored")
    await engine_on(store).save(profile)
    stored = login(profile)
    change(profile, b"local")
    local = login(profile)
    pauses = random.Random(6)
    for _ in range(8 if SOAK else 4):
        await asyncio.to_thread(killed_at_random, worker(tmp_path, "restore"), pauses.uniform(0.0, 0.1))
        engine = engine_on(store)
        await engine.recover(profile)
        validate_profile(profile, origin=ORIGIN)
        assert login(profile) in (stored, local)
        assert beside(profile) <= {SESSION, f"{SESSION}.previous"}


@pytest.mark.skipif(sys.platform == "win32", reason="the limit that stands in for a full disk is POSIX's")
@pytest.mark.parametrize(
    ("verb", "table", "error"),
    # Packing what does not compress, and unpacking what compressed well.
    [("save", os.urandom(60_000), "SnapshotFailed"), ("restore", bytes(60_000), "OSError")],
)
async def test_a_full_disk_changes_nothing(
    tmp_path: Path, store: FileSystemStore, archive: str, verb: str, table: bytes, error: str
) -> None:
    profile = make_profile(tmp_path / "data" / SESSION, table=table)
    await engine_on(store).save(profile)
    before = login(profile)
    process = worker(tmp_path, verb, 50_000)
    _, complaints = await asyncio.to_thread(process.communicate)
    assert process.returncode == 1
    assert error in complaints.splitlines()[-1]
    assert "File too large" in complaints
    after = login(profile)
    if verb == "save":  # the worker wrote to it before
        after[LOG] = before[LOG]
    assert after == before
    assert beside(profile) == {SESSION}
    # Small packs fitted before the one that did not.
    assert (await engine_on(store).restore(profile)).generation == (2 if archive == "packs" and verb == "save" else 1)
