"""Snapshots and checks of profiles at rest, whole and damaged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.backup import cut_tails, take_snapshot, validate_profile
from wwauth.backup.datapath import DataPath
from wwauth.backup.layout import browser_lives, find_databases, find_sqlite, origin_directory
from wwauth.errors import ConfigurationError, SessionCorrupted, SessionInUse, SnapshotFailed

from .profiles import BLOBS, FOOTER, INDEXED_DB, LOCAL_STORAGE, ORIGIN, edit, frame, make_profile, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


async def test_a_closed_profile_is_copied_without_what_is_no_login(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "profile")
    (profile / INDEXED_DB / "000099.ldb").write_bytes(b"left by a compaction")
    (profile / INDEXED_DB / "000003.log").write_bytes(frame([b"flushed into a table already"]))
    report = await take_snapshot(profile, tmp_path / "copy", origin=ORIGIN)
    expected = {
        name: content
        for name, content in tree(profile).items()
        if name.startswith(("Default/IndexedDB", "Default/Local Storage"))
        and name.rpartition("/")[2] not in {"LOCK", "LOG", "000099.ldb", "000003.log"}
    }
    assert tree(tmp_path / "copy") == expected
    assert report.files == len(expected)
    assert report.bytes_total == sum(map(len, expected.values()))
    assert (report.databases, report.quiet, report.attempts) == ((INDEXED_DB, LOCAL_STORAGE), True, 1)
    assert validate_profile(tmp_path / "copy", origin=ORIGIN, strict=True) == (INDEXED_DB, LOCAL_STORAGE)
    assert {path.name for path in tmp_path.iterdir()} == {"profile", "copy"}


@pytest.mark.skipif(sys.platform == "win32", reason="modes and free hard links are POSIX's")
async def test_what_never_changes_is_linked_and_all_else_is_private(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "profile")
    await take_snapshot(profile, tmp_path / "linked")
    await take_snapshot(profile, tmp_path / "copied", link=False)
    assert tree(tmp_path / "linked") == tree(tmp_path / "copied")
    for name in (f"{INDEXED_DB}/000005.ldb", f"{BLOBS}/1/00/2"):
        assert (tmp_path / "linked" / name).samefile(profile / name)
        assert not (tmp_path / "copied" / name).samefile(profile / name)
    for name in (f"{INDEXED_DB}/000006.log", f"{INDEXED_DB}/MANIFEST-000001"):
        assert not (tmp_path / "linked" / name).samefile(profile / name)
    for path in (tmp_path / "copied").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert (tmp_path / "linked").stat().st_mode & 0o777 == 0o700


async def test_half_a_record_is_cut_off(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "profile")
    whole = tree(profile)
    for name in (f"{INDEXED_DB}/000006.log", f"{INDEXED_DB}/MANIFEST-000001", f"{LOCAL_STORAGE}/000006.log"):
        with (profile / name).open("ab") as file:
            file.write(frame([b"z" * 50_000], offset=len(whole[name]))[:-1])
    await take_snapshot(profile, tmp_path / "copy", origin=ORIGIN)
    copy = tree(tmp_path / "copy")
    assert all(whole[name] == content for name, content in copy.items())
    with pytest.raises(SessionCorrupted, match="bytes of an unfinished record at the end"):
        validate_profile(profile, origin=ORIGIN)
    assert len(cut_tails(profile)) == 3
    validate_profile(profile, origin=ORIGIN)
    assert tree(profile) == whole


def _damage(name: str, change: Callable[[bytes], bytes | None]) -> Callable[[Path], None]:
    def apply(profile: Path) -> None:
        path = profile / INDEXED_DB / name
        content = change(path.read_bytes() if path.exists() else b"")
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)

    return apply


MANIFEST = "MANIFEST-000001"
DAMAGES = {
    "current missing": (_damage("CURRENT", lambda _: None), "CURRENT: missing"),
    "current without newline": (_damage("CURRENT", lambda b: b.rstrip()), "names no MANIFEST"),
    "current names another": (_damage("CURRENT", lambda _: b"MANIFEST-000009\n"), "MANIFEST-000009: CURRENT names it"),
    "manifest bit": (_damage(MANIFEST, lambda b: b[:9] + bytes([b[9] ^ 1]) + b[10:]), "MANIFEST-000001|key order"),
    "manifest order": (_damage(MANIFEST, lambda _: frame([edit(b"x", numbers={2: 6, 3: 7, 4: 9})])), "key order"),
    "manifest short": (_damage(MANIFEST, lambda _: frame([edit(b"idb_cmp1")])), "no log_number"),
    "table missing": (_damage("000005.ldb", lambda _: None), "000005|table 5"),
    "table short": (_damage("000005.ldb", lambda b: b[:-1]), "the MANIFEST says 5048"),
    "table without footer": (_damage("000005.ldb", lambda b: bytes(len(b))), "footer"),
    "log missing": (_damage("000006.log", lambda _: None), "log 6|000006.log"),
    "log bit": (_damage("000006.log", lambda b: b[:50] + bytes([b[50] ^ 4]) + b[51:]), "000006.log: checksum mismatch"),
    "destroyed": (_damage("corruption_info.json", lambda _: b"{}"), "found this database corrupt"),
}


@pytest.mark.parametrize("case", DAMAGES)
async def test_a_damaged_profile_is_named_and_never_copied(tmp_path: Path, case: str) -> None:
    damage, complaint = DAMAGES[case]
    profile = make_profile(tmp_path / "profile")
    validate_profile(profile, origin=ORIGIN)
    damage(profile)
    with pytest.raises(SessionCorrupted, match=complaint) as corrupted:
        validate_profile(profile, origin=ORIGIN)
    assert INDEXED_DB in str(corrupted.value).replace("\\", "/")
    with pytest.raises(SnapshotFailed, match=complaint):
        await take_snapshot(profile, tmp_path / "copy", quiet_for=0)
    assert {path.name for path in tmp_path.iterdir()} == {"profile"}


async def test_a_profile_without_a_login_is_named(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "profile")
    with pytest.raises(SnapshotFailed, match=r"no database of 'https://example\.org'"):
        await take_snapshot(profile, tmp_path / "copy", origin="https://example.org")
    with pytest.raises(SessionCorrupted, match=r"https_example\.org_0"):
        validate_profile(profile, origin="https://example.org")
    (tmp_path / "empty").mkdir()
    for missing in ("empty", "nowhere"):
        with pytest.raises(SnapshotFailed, match="holds no login"):
            await take_snapshot(tmp_path / missing, tmp_path / "copy")
        with pytest.raises(SessionCorrupted, match="holds no login"):
            validate_profile(tmp_path / missing)
    assert not (tmp_path / "copy").exists()


async def test_strictness_refuses_what_the_manifest_does_not_name(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "profile")
    validate_profile(profile)
    with pytest.raises(SessionCorrupted, match="LOCK: no part of this database"):
        validate_profile(profile, strict=True)


async def test_the_destination_is_never_overwritten(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "profile")
    (tmp_path / "copy").mkdir()
    with pytest.raises(ConfigurationError, match=r"must not exist: '.*copy' does"):
        await take_snapshot(profile, tmp_path / "copy")
    with pytest.raises(ConfigurationError, match=r"invalid origin 'web\.whatsapp\.com'"):
        await take_snapshot(profile, tmp_path / "other", origin="web.whatsapp.com")


async def test_a_failing_flush_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise OSError("the tab crashed")

    profile = make_profile(tmp_path / "profile")
    report = await take_snapshot(profile, tmp_path / "copy", flush=fail)
    assert not report.flushed
    assert "the tab crashed" in caplog.text


async def test_a_flush_that_never_ends_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wwauth.backup.snapshot._FLUSH_TIMEOUT", 0.05)
    closed = asyncio.Event()

    async def flush() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await closed.wait()  # as a tab that does not close

    report = await take_snapshot(make_profile(tmp_path / "profile"), tmp_path / "copy", flush=flush)
    assert not report.flushed
    closed.set()
    await asyncio.sleep(0)


@pytest.mark.parametrize("patience", [60.0, -1.0], ids=["in time", "although this process was stopped until it was over"])
async def test_a_flush_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
    monkeypatch.setattr("wwauth.backup.snapshot._FLUSH_SEEN", patience)
    profile = make_profile(tmp_path / "profile")
    log = profile / LOCAL_STORAGE / "000006.log"

    async def flush() -> None:
        with log.open("ab") as file:
            file.write(frame([b"flushed"], offset=log.stat().st_size))

    report = await take_snapshot(profile, tmp_path / "copy", flush=flush)
    assert report.flushed
    assert (tmp_path / "copy" / LOCAL_STORAGE / "000006.log").read_bytes() == log.read_bytes()


@pytest.fixture
def busy_profile(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Make a profile whose log grows all the time."""
    profile = make_profile(tmp_path / "profile", log=[])
    stop = threading.Event()

    def write() -> None:
        offset = 0
        with (profile / INDEXED_DB / "000006.log").open("ab", buffering=0) as file:
            while not stop.wait(0.001):
                record = frame([b"r" * 5000], offset=offset)
                file.write(record)
                offset += len(record)

    writer = threading.Thread(target=write)
    writer.start()
    yield profile
    stop.set()
    writer.join()


async def test_a_busy_profile_is_copied_without_waiting_for_ever(tmp_path: Path, busy_profile: Path) -> None:
    # Whether it meets a quiet moment is the machine's to say; that it ends, and whole, is not.
    await take_snapshot(busy_profile, tmp_path / "copy", quiet_for=0.1, timeout=3600)
    validate_profile(tmp_path / "copy", origin=ORIGIN, strict=True)


async def test_a_cancelled_snapshot_leaves_nothing(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "profile")
    next((profile / INDEXED_DB).glob("*.ldb")).unlink()  # so that it is tried again and again
    task = asyncio.create_task(take_snapshot(profile, tmp_path / "copy", quiet_for=60, timeout=60))
    while not any(path.suffix == ".tmp" for path in tmp_path.iterdir()):  # noqa: ASYNC110 - a folder sends no event
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {path.name for path in tmp_path.iterdir()} == {"profile"}


async def test_a_copy_in_which_a_table_came_and_went_is_tried_again_and_given_up(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "profile")
    manifest = profile / INDEXED_DB / MANIFEST
    begun, stop = threading.Event(), threading.Event()

    def rewrite() -> None:
        number = 10
        while not stop.wait(0.0005):
            # Names a table that is not there, another one each time, as a MANIFEST that is far ahead of its tables.
            with manifest.open("ab") as file:
                file.write(frame([edit(tables={number: 5048})], offset=manifest.stat().st_size))
            number += 1
            begun.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        await asyncio.to_thread(begun.wait)
        with pytest.raises(SnapshotFailed, match=r"no consistent copy in \d+ attempts"):
            await take_snapshot(profile, tmp_path / "copy", timeout=0.3)
    finally:
        stop.set()
        writer.join()
    assert {path.name for path in tmp_path.iterdir()} == {"profile"}


@pytest.mark.parametrize(
    ("origin", "directory"),
    [
        ("https://web.whatsapp.com/", "https_web.whatsapp.com_0"),
        ("https://web.whatsapp.com:443", "https_web.whatsapp.com_0"),
        ("http://127.0.0.1:8765/path?query", "http_127.0.0.1_8765"),
        ("http://localhost", "http_localhost_0"),
        ("http://[::1]:8080/", "http_[__1]_8080"),
        ("HTTPS://Bücher.example/", "https_xn--bcher-kva.example_0"),
    ],
)
def test_origins_are_named_as_chromium_names_them(origin: str, directory: str) -> None:
    assert origin_directory(origin) == directory


@pytest.mark.parametrize("origin", ["", "web.whatsapp.com", "file:///x", "https://", "http://a:99999/", "ftp://a/"])
def test_what_is_no_web_address_is_refused(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="invalid origin"):
        origin_directory(origin)


SQLITE = b"SQLite format 3\0" + bytes(84)


@contextlib.contextmanager
def held(*paths: Path) -> Iterator[None]:
    """Hold locks as a browser does, from another process."""
    hold = (
        "import fcntl, sys\nfiles = [open(path, 'r+b') for path in sys.argv[1:]]\n"
        "for file in files: fcntl.lockf(file, fcntl.LOCK_EX)\nprint(1)\nsys.stdin.read()"
    )
    command = [sys.executable, "-u", "-c", hold, *map(str, paths)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"1\n"
            yield
        finally:
            holder.kill()


@pytest.mark.skipif(sys.platform not in {"linux", "darwin"}, reason="asks the kernel for locks")
async def test_what_an_ended_sqlite_trial_left_stops_no_snapshot(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "profile")
    stale = profile / "Default" / "LocalStorage", profile / "Default/IndexedDB/https_web.whatsapp.com_0/ABC"
    stale[1].parent.mkdir()
    for path in stale:
        path.write_bytes(SQLITE)
    with held(profile / INDEXED_DB / "LOCK", profile / LOCAL_STORAGE / "LOCK"):
        report = await take_snapshot(profile, tmp_path / "live", origin=ORIGIN)
        assert (report.backend, report.databases) == ("leveldb", (INDEXED_DB, LOCAL_STORAGE))
    # At rest it cannot be told which of them the next browser reads, so that both are kept.
    report = await take_snapshot(profile, tmp_path / "closed", origin=ORIGIN)
    assert report.databases[2:] == ("Default/IndexedDB/https_web.whatsapp.com_0/ABC", "Default/LocalStorage")
    validate_profile(tmp_path / "closed", origin=ORIGIN)
    with held(profile / INDEXED_DB / "LOCK"), pytest.raises(SnapshotFailed, match=r"SQLite \(Default/LocalStorage\)"):
        await take_snapshot(profile, tmp_path / "trial", origin=ORIGIN)
    stale[1].write_bytes(b"no database")
    with pytest.raises(SnapshotFailed, match="ABC: not a SQLite file"):
        await take_snapshot(profile, tmp_path / "damaged", quiet_for=0)
    with pytest.raises(SessionCorrupted, match="ABC: not a SQLite file"):
        validate_profile(profile)


@pytest.mark.skipif(sys.platform not in {"linux", "darwin"}, reason="asks the kernel for locks")
def test_a_browser_lives_as_long_as_its_lock_on_the_database(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "profile")
    (profile / "SingletonLock").symlink_to(f"another-host-{os.getpid()}")
    assert not browser_lives(profile)
    with held(profile / INDEXED_DB / "LOCK"):
        assert browser_lives(profile)
        with pytest.raises(SessionInUse):
            cut_tails(profile)
    assert not browser_lives(profile)


@pytest.mark.parametrize(
    ("name", "look", "expected"),
    [
        ("Default/IndexedDB/https_a_0.indexeddb.leveldb", lambda profile: len(find_databases(profile)), 2),
        ("Default/IndexedDB/https_a_0", find_sqlite, []),
        ("Default/gone", browser_lives, False),
        ("Default/gone", lambda profile: len(DataPath(profile.parent)._scan("")), 1),
    ],
)
def test_what_a_browser_deletes_while_it_is_listed_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, look: Callable[[Path], object], expected: object
) -> None:
    profile = make_profile(tmp_path / "session")
    (profile / name / "below").mkdir(parents=True)
    going = os.fspath(profile / name)

    def late(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def listed(path: Any) -> Any:
            if str(path) == going and os.path.lexists(going):
                shutil.rmtree(going)
            return function(path)

        return listed

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", late(os.listdir))
        patch.setattr(os, "scandir", late(os.scandir))
        assert look(profile) == expected
    assert not os.path.lexists(going)


@pytest.mark.skipif(sys.platform == "win32", reason="Chromium has no SingletonLock there")
@pytest.mark.parametrize(("target", "lives"), [("{host}-{pid}", True), ("{host}-{dead}", False)])
def test_without_locks_to_ask_the_singleton_lock_tells(tmp_path: Path, target: str, *, lives: bool) -> None:
    import socket

    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    name = target.format(host=socket.gethostname(), pid=os.getpid(), dead=dead.pid)
    (tmp_path / "SingletonLock").symlink_to(name)
    assert browser_lives(tmp_path) is lives


@pytest.mark.skipif(sys.platform == "win32", reason="Chromium has no SingletonLock there")
def test_a_lock_of_another_host_counts_where_there_is_something_to_lose(tmp_path: Path) -> None:
    (tmp_path / "SingletonLock").symlink_to("elsewhere-1")
    assert not browser_lives(tmp_path)
    # With SQLite for storage, there may be no lock that could be asked.
    (tmp_path / "Default").mkdir()
    (tmp_path / "Default" / "LocalStorage").write_bytes(b"SQLite format 3\0")
    assert browser_lives(tmp_path)


async def test_the_event_loop_turns_while_a_big_profile_is_copied(tmp_path: Path) -> None:
    profile = make_profile(tmp_path / "profile", table=os.urandom(30_000_000))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counter = asyncio.create_task(count())
    await take_snapshot(profile, tmp_path / "copy", link=False)
    counter.cancel()
    assert turns > 10
    assert (tmp_path / "copy" / INDEXED_DB / "000005.ldb").read_bytes().endswith(FOOTER)
