"""Baileys' folder: its bytes, its crashes, and what a disk can do to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wwauth._files import replacing
from wwauth.abc import CREDS, RecordName
from wwauth.authstate import BufferJSON, FolderAuthStateStore, open_auth_state_store, use_auth_state, use_multi_file_auth_state
from wwauth.authstate import _journal as journal_module
from wwauth.authstate.names import KNOWN_TYPES
from wwauth.errors import ConfigurationError, CredsCorrupted, SessionInUse, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

FIXTURES = Path(__file__).parents[1] / "fixtures" / "baileys"
PAIR = {"private": b"\1" * 32, "public": b"\2" * 32}
GOOD = ["01-fresh", "02-pairing-code", "03-full", "04-reloaded", "05-rewritten", "07-python-written", "peer-bob"]


def files(folder: Path) -> dict[str, bytes]:
    """Return what Baileys sees: its files, and nothing that wwauth keeps beside them."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.endswith(".json")}


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    def copy(name: str) -> Path:
        shutil.copytree(FIXTURES / name, tmp_path / name)
        return tmp_path / name

    return copy


@pytest.mark.parametrize("name", GOOD)
async def test_every_file_of_baileys_comes_back_as_it_was(name: str, copy: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copy(name)
    before = files(folder)
    state, _ = await use_multi_file_auth_state(folder)
    other, save_other = await use_multi_file_auth_state(tmp_path / "other")
    other.creds.clear()
    other.creds.update(state.creds)
    await save_other()
    for kind in KNOWN_TYPES:
        values = await state.keys.get(kind, await state.keys.list_ids(kind))
        await state.keys.set({kind: values})
        await other.keys.set({kind: values})
    state.creds["accountSyncCounter"] += 1
    await state.save_creds()
    state.creds["accountSyncCounter"] -= 1
    await state.save_creds()
    await state.close()
    await other.close()
    assert files(folder) == before
    assert files(tmp_path / "other") == before


async def test_what_torn_and_old_files_read_as(copy: Callable[[str], Path], caplog: pytest.LogCaptureFixture) -> None:
    folder = copy("06-legacy-encodings")
    with pytest.raises(CredsCorrupted, match=rf"{re.escape(str(folder))}: .*'{folder.name}' are no JSON"):
        await use_multi_file_auth_state(folder)
    assert (folder / "creds.json").read_bytes() == b""
    shutil.copy(FIXTURES / "01-fresh" / "creds.json", folder)
    before = files(folder)
    state, _ = await use_multi_file_auth_state(folder)
    # Every way in which a Buffer was ever written is read, those that Baileys 7 has forgotten, too.
    assert await state.keys.get("pre-key", ["1", "2", "3", "4"]) == dict.fromkeys("1234", PAIR)
    # A torn session counts as missing, as in Baileys; its bytes stay until another one is set.
    with caplog.at_level(logging.WARNING):
        assert await state.keys.get("session", ["1.0"]) == {}
    assert "1.0" in caplog.text
    await state.close()
    assert files(folder) == before


@pytest.mark.parametrize(
    "torn", [b"", b"null", b"{", b"[]", b'{"noiseKey":{"private":{"type":"Buffer","data":"AA=="}}}', b"\xff\xfe"]
)
async def test_credentials_that_cannot_be_read_are_never_a_new_identity(torn: bytes, copy: Callable[[str], Path]) -> None:
    folder = copy("03-full")
    creds = folder / "creds.json"
    creds.write_bytes(torn)
    with pytest.raises(CredsCorrupted) as caught:
        await use_multi_file_auth_state(folder, recover=True)
    assert creds.read_bytes() == torn
    assert "AA==" not in str(caught.value)


@pytest.mark.parametrize("torn", [b"", b'{"noiseKey":{"priv', None])
async def test_the_last_good_copy_is_brought_back_when_asked_for(torn: bytes | None, copy: Callable[[str], Path]) -> None:
    folder = copy("03-full")
    creds = folder / "creds.json"
    state, save_creds = await use_multi_file_auth_state(folder)
    state.creds["accountSyncCounter"] = 77
    await save_creds()
    await state.close()
    good = creds.read_bytes()
    # As Baileys writes: in place, so that whatever shares the file's bytes is torn with it.
    if torn is None:
        creds.unlink()
    else:
        with creds.open("r+b") as file:
            file.truncate(0)
            file.write(torn)
    with pytest.raises(CredsCorrupted, match=rf"{re.escape(str(folder))}: .*; recover=True"):
        await use_multi_file_auth_state(folder)
    state, _ = await use_multi_file_auth_state(folder, recover=True)
    assert state.creds["accountSyncCounter"] == 77
    await state.close()
    assert creds.read_bytes() == good
    aside = [path.read_bytes() for path in folder.glob("creds.json.corrupt*")]
    assert aside == ([] if torn is None else [torn])


async def test_credentials_that_are_whole_by_now_are_left_as_they_are(
    copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Baileys writes in place: what was read as torn was half of what it has finished since."""
    folder = copy("03-full")
    (folder / "creds.json.bak").write_bytes((folder / "creds.json").read_bytes())
    newer = (folder / "creds.json").read_bytes().replace(b'"accountSyncCounter":', b'"accountSyncCounter":9')
    (folder / "creds.json").write_bytes(newer[:100])

    async def finished(store: FolderAuthStateStore) -> str | None:
        good = await good_copy(store)
        (folder / "creds.json").write_bytes(newer)
        return good

    good_copy = FolderAuthStateStore.good_copy
    monkeypatch.setattr(FolderAuthStateStore, "good_copy", finished)
    state, _ = await use_multi_file_auth_state(folder, recover=True)
    await state.close()
    assert (folder / "creds.json").read_bytes() == newer
    assert not list(folder.glob("*.corrupt"))


async def test_a_good_copy_without_credentials_is_never_a_new_identity(tmp_path: Path) -> None:
    folder = tmp_path / "auth"
    state, save_creds = await use_multi_file_auth_state(folder)
    await save_creds()
    await state.close()
    (folder / "creds.json").unlink()
    with pytest.raises(CredsCorrupted, match="recover=True"):
        await use_multi_file_auth_state(folder)
    again, _ = await use_multi_file_auth_state(folder, recover=True)
    assert again.creds == state.creds
    await again.close()


async def test_a_link_that_leads_nowhere_is_never_a_new_identity(tmp_path: Path) -> None:
    (tmp_path / "auth").mkdir()
    (tmp_path / "auth" / "creds.json").symlink_to(tmp_path / "volume" / "creds.json")
    with pytest.raises(StoreUnavailable, match="mount"):
        await use_multi_file_auth_state(tmp_path / "auth")


async def test_what_baileys_wrote_last_is_the_good_copy(copy: Callable[[str], Path]) -> None:
    folder = copy("03-full")
    for counter in (5, 6):
        creds = BufferJSON.loads((folder / "creds.json").read_text("utf-8"))
        creds["accountSyncCounter"] = counter
        (folder / "creds.json").write_text(BufferJSON.dumps(creds), "utf-8")
        state, _ = await use_multi_file_auth_state(folder)
        await state.close()
    (folder / "creds.json").write_bytes(b"")
    state, _ = await use_multi_file_auth_state(folder, recover=True)
    assert state.creds["accountSyncCounter"] == 6
    await state.close()


async def test_keys_without_credentials_are_never_a_new_identity(copy: Callable[[str], Path]) -> None:
    folder = copy("03-full")
    (folder / "creds.json").unlink()
    before = files(folder)
    with pytest.raises(CredsCorrupted, match="no credentials"):
        await use_multi_file_auth_state(folder)
    assert files(folder) == before


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
async def test_everything_is_private(copy: Callable[[str], Path]) -> None:
    folder = copy("03-full")
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)
    state, save_creds = await use_multi_file_auth_state(folder)
    await state.keys.set({"session": {"new": {"a": 1}}})
    await save_creds()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    await state.close()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
async def test_programs_in_the_folder_stay_executable(tmp_path: Path) -> None:
    program = tmp_path / "bot.sh"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    state, _ = await use_multi_file_auth_state(tmp_path)
    await state.close()
    assert stat.S_IMODE(program.stat().st_mode) == 0o755


@pytest.mark.parametrize("url", ["sqlite:///logins.db", "postgresql+asyncpg://u:hunter2@host/logins", "file:///logins"])
async def test_a_url_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="a URL") as caught:
        await use_multi_file_auth_state(url)
    assert "hunter2" not in str(caught.value)
    assert not list(tmp_path.iterdir())


async def test_a_file_in_a_folders_place_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "auth"):
        with pytest.raises(StoreUnavailable, match="a file is where a folder should be"):
            await use_multi_file_auth_state(folder)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("given", [None, 5, b"auth"])
def test_what_names_no_store_is_refused(given: object) -> None:
    with pytest.raises(ConfigurationError, match="invalid path"):
        open_auth_state_store(given)  # type: ignore[arg-type]


async def test_a_long_id_is_refused_and_nothing_else_is_lost(tmp_path: Path) -> None:
    state, save_creds = await use_multi_file_auth_state(tmp_path / "auth")
    await save_creds()
    with pytest.raises(ConfigurationError, match="bytes"):
        await state.keys.set({"session": {"good": {"a": 1}, "x" * 300: {"a": 1}}})
    assert await state.keys.get("session", ["good"]) == {}
    # As long as a file's name can be: session-….json.
    await state.keys.set({"session": {"good": {"a": 2}, "x" * 242: {"a": 3}}})
    assert await state.keys.get("session", ["x" * 242]) == {"x" * 242: {"a": 3}}
    assert await state.keys.get("session", ["good"]) == {"good": {"a": 2}}
    await state.close()


async def test_a_journal_ends_with_its_state(tmp_path: Path) -> None:
    folder = tmp_path / "auth"
    state, save_creds = await use_multi_file_auth_state(folder)
    await save_creds()
    await state.keys.set({"pre-key": {"1": PAIR}})
    assert (folder / journal_module.NAME).stat().st_size
    await state.close()
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == [
        "creds.json",
        "creds.json.bak",
        "pre-key-1.json",
    ]
    assert not (folder / journal_module.NAME).exists()


# What a crash leaves: the journal of a state that was never closed, in a copy of its folder.


async def crashed(folder: Path, copy_to: Path) -> Path:
    """Write three batches, and copy the folder as it stands, without an end."""
    state, save_creds = await use_multi_file_auth_state(folder)
    await save_creds()
    await state.keys.set({"session": {"1": {"v": 1}, "2": {"v": 1}, "gone": {"v": 1}}})
    await state.keys.set({"session": {"1": {"v": 2}, "gone": None}})
    await state.keys.set({"session": {"2": {"v": 3}, "new": {"v": 3}}})
    shutil.copytree(folder, copy_to)
    await state.close()
    return copy_to


async def sessions(folder: Path) -> dict[str, Any]:
    state, _ = await use_multi_file_auth_state(folder)
    try:
        return await state.keys.get("session", ["1", "2", "gone", "new"])
    finally:
        await state.close()


WHOLE = {"1": {"v": 2}, "2": {"v": 3}, "new": {"v": 3}}


def undo(folder: Path, *, mark: bool) -> None:
    """Take the last batch's files back, and, with `mark`, the note that they had been there."""
    (folder / "session-new.json").unlink()
    (folder / "session-2.json").write_text('{"v":1}')
    if mark:
        path = folder / journal_module.NAME
        lines = path.read_bytes().split(b"\n")
        assert lines[-1] == b""
        assert lines[-2].startswith(b"+")
        lines[-2] = b"-" + lines[-2][1:]
        path.write_bytes(b"\n".join(lines))


async def test_a_batch_whose_files_were_not_there_yet_is_made_good(tmp_path: Path) -> None:
    folder = await crashed(tmp_path / "auth", tmp_path / "copy")
    undo(folder, mark=True)
    assert await sessions(folder) == WHOLE
    assert await sessions(folder) == WHOLE


async def test_after_a_crash_of_the_machine_every_batch_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = await crashed(tmp_path / "auth", tmp_path / "copy")
    undo(folder, mark=False)
    (folder / "session-1.json").write_bytes(b"")
    (folder / "session-gone.json").write_text('{"v":1}')
    monkeypatch.setattr(journal_module, "_boot", lambda: "another")
    assert await sessions(folder) == WHOLE


async def test_what_another_program_wrote_since_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = await crashed(tmp_path / "auth", tmp_path / "copy")
    (folder / "session-1.json").write_text('{"v":"of Baileys"}')
    (folder / "session-gone.json").write_text('{"v":"of Baileys"}')
    monkeypatch.setattr(journal_module, "_boot", lambda: "another")
    assert await sessions(folder) == {**WHOLE, "1": {"v": "of Baileys"}, "gone": {"v": "of Baileys"}}


async def test_a_key_that_baileys_used_up_since_a_kill_does_not_come_back(tmp_path: Path) -> None:
    folder = await crashed(tmp_path / "auth", tmp_path / "copy")
    (folder / "session-new.json").unlink()
    assert await sessions(folder) == {"1": {"v": 2}, "2": {"v": 3}}


async def test_nor_does_one_that_the_kill_had_kept_from_its_place(tmp_path: Path) -> None:
    folder = await crashed(tmp_path / "auth", tmp_path / "copy")
    undo(folder, mark=True)
    (folder / "session-2.json").unlink()
    assert await sessions(folder) == {"1": {"v": 2}, "new": {"v": 3}}


@pytest.mark.parametrize("cut", [2, 10, 40, 10_000])
async def test_a_batch_that_was_not_written_whole_did_not_happen(tmp_path: Path, cut: int) -> None:
    folder = await crashed(tmp_path / "auth", tmp_path / "copy")
    undo(folder, mark=True)
    path = folder / journal_module.NAME
    data = path.read_bytes()
    last = data.rstrip(b"\n").rfind(b"\n") + 1
    path.write_bytes(data[: max(last, len(data) - cut)])
    assert await sessions(folder) == {"1": {"v": 2}, "2": {"v": 1}}


@pytest.mark.parametrize("damage", [b"", b"\0" * 500, b"no journal\n", b'{"wwauth-journal":1,"boot":"x"}\ngarbage\n'])
async def test_a_damaged_journal_changes_nothing(tmp_path: Path, damage: bytes) -> None:
    folder = await crashed(tmp_path / "auth", tmp_path / "copy")
    (folder / journal_module.NAME).write_bytes(damage)
    assert await sessions(folder) == WHOLE


async def test_a_full_journal_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_FULL", 2000)
    folder = tmp_path / "auth"
    state, save_creds = await use_multi_file_auth_state(folder)
    await save_creds()
    sizes = []
    for number in range(40):
        await state.keys.set({"session": {str(number % 7): {"n": number, "pad": "x" * 100}}})
        sizes.append((folder / journal_module.NAME).stat().st_size)
    assert max(sizes) < 3000
    assert sizes.count(0) > 1
    shutil.copytree(folder, tmp_path / "copy")
    await state.close()
    again, _ = await use_multi_file_auth_state(tmp_path / "copy")
    found = await again.keys.get("session", [str(number) for number in range(7)])
    assert sorted(value["n"] for value in found.values()) == list(range(33, 40))
    await again.close()


async def test_the_leftovers_of_a_crash_are_swept(tmp_path: Path) -> None:
    folder = await crashed(tmp_path / "auth", tmp_path / "copy")
    (folder / ".session-1.json.0123456789ab.tmp").write_bytes(b"half")
    assert await sessions(folder) == WHOLE
    assert not list(folder.glob("*.tmp"))


async def test_a_logout_that_a_crash_cut_short_is_finished(tmp_path: Path) -> None:
    folder = await crashed(tmp_path / "auth", tmp_path / "copy")
    (folder / ".wwauth-logged-out").touch()
    (folder / "creds.json").unlink()
    (folder / "notes.txt").write_text("mine")
    state, save_creds = await use_multi_file_auth_state(folder)
    assert await state.keys.get("session", ["1", "2", "new"]) == {}
    await save_creds()
    await state.close()
    assert set(files(folder)) == {"creds.json"}
    assert (folder / "notes.txt").read_text() == "mine"


async def test_a_login_that_baileys_made_after_a_logout_was_cut_short_is_kept(copy: Callable[[str], Path]) -> None:
    folder = copy("03-full")
    (folder / ".wwauth-logged-out").write_text("the login before")
    before = files(folder)
    state, _ = await use_multi_file_auth_state(folder)
    await state.close()
    assert files(folder) == before
    assert not (folder / ".wwauth-logged-out").exists()


async def test_a_logout_whose_mark_alone_was_written_is_finished(
    copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy("03-full")
    state, _ = await use_multi_file_auth_state(folder)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "the disk fails")))
        with pytest.raises(StoreUnavailable):
            await state.logout()
    await state.close()
    assert (folder / "creds.json").exists()
    state, _ = await use_multi_file_auth_state(folder)
    assert await state.keys.get("pre-key", ["1"]) == {}
    await state.close()


async def test_logout_leaves_what_is_not_of_the_login(copy: Callable[[str], Path]) -> None:
    folder = copy("03-full")
    (folder / "baileys_store.json").write_text("{}")
    state, _ = await use_multi_file_auth_state(folder)
    await state.logout()
    assert [path.name for path in folder.iterdir() if not path.name.startswith(".")] == ["baileys_store.json"]


async def test_logout_in_a_programs_own_folder_leaves_what_may_be_the_programs(
    copy: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy("01-fresh")
    (folder / "package.json").write_text("{}")
    (folder / "package-lock.json").write_text("{}")
    state, _ = await use_multi_file_auth_state(folder)
    await state.keys.set({"pre-key": {"77": {"public": b"1", "private": b"2"}}})
    await state.logout()
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["package-lock.json", "package.json"]
    assert "package-lock.json" in caplog.text


async def test_logout_removes_an_empty_folder(copy: Callable[[str], Path]) -> None:
    folder = copy("03-full")
    (folder / ".wwauth-backup-0123.json").write_text("{}")
    state, _ = await use_multi_file_auth_state(folder)
    await state.logout()
    assert not folder.exists()


async def test_the_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    state, _ = await use_multi_file_auth_state(tmp_path / "auth")
    with pytest.raises(SessionInUse) as caught:
        await use_multi_file_auth_state(tmp_path / "auth")
    assert caught.value.pid == os.getpid()
    await state.close()


async def test_a_file_in_the_folders_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "auth").write_text("mine")
    with pytest.raises(Exception, match="auth"):
        await use_multi_file_auth_state(tmp_path / "auth")
    assert (tmp_path / "auth").read_text() == "mine"


async def test_without_a_hold_a_store_takes_it_for_each_write(tmp_path: Path) -> None:
    state, save_creds = await use_multi_file_auth_state(tmp_path / "auth")
    await save_creds()
    await state.close()
    store = FolderAuthStateStore(tmp_path / "auth")
    assert [name async for name in store.list_sessions()] == ["auth"]
    # Side by side, too: one call's hold neither refuses the others nor carries them.
    writes = [{RecordName("session", str(number)): "{}"} for number in range(4)]
    await asyncio.gather(*(store.write(session="auth", changes=changes) for changes in writes))
    records = {name async for name, _ in store.records(session="auth")}
    assert records == {CREDS, *(name for changes in writes for name in changes)}
    assert json.loads((tmp_path / "auth" / "creds.json").read_text())["registered"] is False
    async with store.hold(session="auth"):
        with pytest.raises(SessionInUse):
            await FolderAuthStateStore(tmp_path / "auth").write(session="auth", changes={})
    await asyncio.gather(*(store.delete(session="auth") for _ in range(3)))
    assert not (tmp_path / "auth").exists()


async def test_what_a_neighbour_writes_and_deletes_meanwhile_keeps_no_state_from_opening(
    copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup writes its note beside the files, and Baileys deletes its keys, also while the folder is opened."""
    folder = copy("01-fresh")
    note = folder / ".wwauth-backup-12345678.json"
    leaving = folder / "pre-key-77.json"
    leaving.write_text("{}")
    leaving.chmod(0o644)

    def scandir(path: Any) -> Any:
        entries = list(os_scandir(path))
        leaving.unlink(missing_ok=True)
        return contextlib.nullcontext(entries)

    os_scandir = os.scandir
    with replacing(note) as temporary:
        temporary.write_text("{}")
        with monkeypatch.context() as patch:
            patch.setattr("wwauth.authstate.folder.os.scandir", scandir)
            state, _ = await use_multi_file_auth_state(folder)
        await state.close()
    assert note.read_text() == "{}"


async def test_an_opening_that_is_cancelled_holds_nothing(tmp_path: Path) -> None:
    store = FolderAuthStateStore(tmp_path / "auth")
    for steps in range(12):
        opening = asyncio.create_task(use_auth_state(store))
        for _ in range(steps):
            await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        state, _ = await use_auth_state(store)
        with pytest.raises(SessionInUse):
            await use_auth_state(store)
        await state.close()


def test_the_end_of_the_event_loop_ends_what_still_writes(tmp_path: Path) -> None:
    async def main() -> list[asyncio.Task[None]]:
        state, save_creds = await use_multi_file_auth_state(tmp_path / "auth")
        await save_creds()
        tasks = [asyncio.create_task(state.keys.set({"session": {str(n): {"n": n}}})) for n in range(50)]
        await asyncio.sleep(0.002)
        return tasks

    async def again() -> None:
        state, _ = await use_multi_file_auth_state(tmp_path / "auth")
        await state.close()

    assert all(task.done() for task in asyncio.run(main()))
    asyncio.run(again())
