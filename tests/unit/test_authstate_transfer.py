"""Auth states between folders and stores: whole, read back, never over another login."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from wwauth.abc import CREDS, RecordName
from wwauth.authstate import FolderAuthStateStore, MemoryAuthStateStore, use_multi_file_auth_state
from wwauth.authstate.databases import sql_auth_state_store
from wwauth.authstate.transfer import export_auth_state, import_auth_state
from wwauth.errors import ConfigurationError, CredsCorrupted, SessionInUse, SessionNotFound, StoreUnavailable

from .authfolders import FIXTURES, copied, files, in_memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path


def listed(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_mode) for path in [folder, *folder.iterdir()]}


@pytest.mark.parametrize("name", ["01-fresh", "03-full", "peer-bob"])
async def test_a_folder_into_sqlite_and_back_is_the_same_bytes(tmp_path: Path, name: str) -> None:
    folder = copied(name, tmp_path / "auth")
    before = listed(folder)
    store = sql_auth_state_store(f"sqlite:///{tmp_path}/wwauth.db")
    try:
        report = await import_auth_state(folder, store, "one")
        assert listed(folder) == before, "the source is untouched"
        assert sum(report.records.values()) == len(files(folder))
        assert not report.replaced
        await export_auth_state(store, "one", tmp_path / "back")
    finally:
        await store.close()
    assert {path.name: path.read_bytes() for path in (tmp_path / "back").iterdir()} == files(folder)
    if os.name == "posix":
        assert (tmp_path / "back").stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in (tmp_path / "back").iterdir()} == {0o600}


async def test_from_store_to_store_under_another_name() -> None:
    source, target = await in_memory("03-full"), MemoryAuthStateStore()
    await import_auth_state(source, target, "two", source_session="one")
    assert {n: t async for n, t in target.records(session="two")} == {n: t async for n, t in source.records(session="one")}


async def test_a_login_that_is_there_stays_unless_replaced(tmp_path: Path) -> None:
    store = await in_memory("peer-bob")
    before = {name: text async for name, text in store.records(session="one")}
    with pytest.raises(ConfigurationError, match="already"):
        await import_auth_state(FIXTURES / "03-full", store, "one")
    assert {name: text async for name, text in store.records(session="one")} == before
    report = await import_auth_state(FIXTURES / "03-full", store, "one", replace=True)
    assert report.replaced
    await export_auth_state(store, "one", tmp_path / "auth")
    assert files(tmp_path / "auth") == files(FIXTURES / "03-full"), "nothing of the replaced one is left"

    (tmp_path / "auth" / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(ConfigurationError, match="already"):
        await export_auth_state(await in_memory("peer-bob"), "one", tmp_path / "auth")
    with pytest.raises(ConfigurationError, match=r"something else .'mine\.txt'"):
        await export_auth_state(await in_memory("peer-bob"), "one", tmp_path / "auth", replace=True)
    assert (tmp_path / "auth" / "mine.txt").exists()
    (tmp_path / "auth" / "mine.txt").unlink()
    (state, _) = await use_multi_file_auth_state(tmp_path / "auth")
    await state.close()
    await export_auth_state(await in_memory("peer-bob"), "one", tmp_path / "auth", replace=True)
    assert files(tmp_path / "auth") == files(FIXTURES / "peer-bob")
    assert [path.name for path in tmp_path.iterdir()] == ["auth"], "no temporary folder is left"


async def test_keys_without_credentials_are_no_free_place() -> None:
    store = MemoryAuthStateStore()
    await store.write(session="one", changes={RecordName("pre-key", "1"): "{}"})
    with pytest.raises(ConfigurationError, match="keys without credentials"):
        await import_auth_state(FIXTURES / "03-full", store, "one")
    with pytest.raises(CredsCorrupted):
        await import_auth_state(store, MemoryAuthStateStore(), "one")


async def test_torn_files_are_left_out_and_named_and_torn_credentials_refused(tmp_path: Path) -> None:
    folder = copied("03-full", tmp_path / "auth")
    (folder / "pre-key-7.json").write_bytes(b"")
    store = MemoryAuthStateStore()
    report = await import_auth_state(folder, store, "one")
    assert report.records["pre-key"] == 28
    assert report.notes == ("pre-key-7 was left out: it cannot be read (0 characters)",)
    (folder / "creds.json").write_bytes(b"")
    with pytest.raises(CredsCorrupted):
        await import_auth_state(folder, store, "two")
    with pytest.raises(CredsCorrupted):
        await export_auth_state(FolderAuthStateStore(folder), "two", tmp_path / "out")
    assert [name async for name in store.list_sessions()] == ["one"]
    assert [path.name for path in tmp_path.iterdir()] == ["auth"]


async def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SessionNotFound):
        await import_auth_state(tmp_path / "nowhere", MemoryAuthStateStore(), "one")
    with pytest.raises(SessionNotFound):
        await export_auth_state(MemoryAuthStateStore(), "one", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_the_system_refuses_to_look_for_is_a_typed_error(tmp_path: Path) -> None:
    refused, store = tmp_path / ("x" * 300), await in_memory("01-fresh")
    with pytest.raises(StoreUnavailable, match="shorter"):
        await import_auth_state(refused, store, "two")
    for source in (FolderAuthStateStore(refused), FolderAuthStateStore(refused / "auth")):
        with pytest.raises(StoreUnavailable, match="shorter"):
            await export_auth_state(source, "auth", tmp_path / "auth")
        with pytest.raises(StoreUnavailable, match="shorter"):
            await source.delete(session="auth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="links are for administrators there")
@pytest.mark.parametrize("replace", [False, True])
async def test_a_link_to_a_folder_stays_one(tmp_path: Path, *, replace: bool) -> None:
    folder, link = tmp_path / "volume" / "auth", tmp_path / "auth"
    if replace:
        copied("peer-bob", folder)
    else:
        folder.mkdir(parents=True)
    link.symlink_to(folder)
    await export_auth_state(await in_memory("01-fresh"), "one", link, replace=replace)
    assert link.is_symlink()
    assert files(folder) == files(FIXTURES / "01-fresh")


async def test_two_records_of_one_file_name_are_refused(tmp_path: Path) -> None:
    store = await in_memory("01-fresh")
    await store.write(session="one", changes={RecordName("mine", "a:b"): "1", RecordName("mine", "a-b"): "2"})
    with pytest.raises(ConfigurationError, match="one file name"):
        await export_auth_state(store, "one", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    copy = MemoryAuthStateStore()
    await import_auth_state(store, copy, "one")
    assert len([name async for name, _ in copy.records(session="one", type="mine")]) == 2


async def test_not_while_a_program_has_either(tmp_path: Path) -> None:
    state, _ = await use_multi_file_auth_state(copied("03-full", tmp_path / "auth"))
    async with state:
        with pytest.raises(SessionInUse):
            await import_auth_state(tmp_path / "auth", MemoryAuthStateStore(), "one")
        with pytest.raises(SessionInUse):
            await export_auth_state(await in_memory("03-full"), "one", tmp_path / "auth", replace=True)
    store = await in_memory("03-full")
    async with store.hold(session="one"):
        with pytest.raises(SessionInUse):
            await export_auth_state(store, "one", tmp_path / "out")
    assert files(tmp_path / "auth") == files(FIXTURES / "03-full")


class Forgetful(MemoryAuthStateStore):
    """Keeps all but one key, from a moment on."""

    forgets = True

    async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
        lost = RecordName("pre-key", "7")
        kept = {name: text for name, text in changes.items() if name != lost or not self.forgets}
        await super().write(session=session, changes=kept)


async def test_a_login_that_came_into_the_folder_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    class Slow(MemoryAuthStateStore):
        async def records(self, *, session: str, type: str | None = None) -> AsyncIterator[tuple[RecordName, str]]:  # noqa: A002
            state, save_creds = await use_multi_file_auth_state(target)
            await save_creds()
            await state.close()
            async for record in super().records(session=session, type=type):
                yield record

    target = tmp_path / "auth"
    store = Slow()
    store._sessions = (await in_memory("01-fresh"))._sessions
    with pytest.raises(ConfigurationError, match="already"):
        await export_auth_state(store, "one", target)
    assert (target / "creds.json").read_bytes() != (FIXTURES / "01-fresh" / "creds.json").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["auth"]


async def test_a_store_that_does_not_keep_all_of_it() -> None:
    store = Forgetful()
    with pytest.raises(StoreUnavailable, match="did not keep"):
        await import_auth_state(FIXTURES / "03-full", store, "one")
    assert CREDS not in await store.read(session="one", names=[CREDS]), "the credentials come last"
    store.forgets = False
    await import_auth_state(FIXTURES / "peer-bob", store, "two")
    before = {name: text async for name, text in store.records(session="two")}
    store.forgets = True
    with pytest.raises(StoreUnavailable, match="did not keep"):
        await import_auth_state(FIXTURES / "03-full", store, "two", replace=True)
    assert {name: text async for name, text in store.records(session="two")} == before, "what was there is back"


async def test_what_a_reader_of_another_layout_gives() -> None:
    class Peer:
        def __init__(self) -> None:
            self.session = "theirs"
            self.problems = ["3 entries have names of no record, and were left out"]

        async def records(self) -> AsyncIterator[tuple[RecordName, str]]:
            yield CREDS, (FIXTURES / "01-fresh" / "creds.json").read_text("utf-8")

    peer, store = Peer(), MemoryAuthStateStore()
    report = await import_auth_state(peer, store, "one")
    assert report.records == {"creds": 1}
    assert report.notes == tuple(peer.problems)
