"""The contract finds the mistakes that published stores have made."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.abc import Store
from wwauth.errors import SessionNotFound
from wwauth.stores import MemoryStore
from wwauth.testing.store_contract import StoreContract

if TYPE_CHECKING:
    from pathlib import Path


class PlainStore(Store):
    """The store that a reader of the guide writes first; here it does all that the contract asks for in one process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def file(self, session: str) -> Path:
        return self.folder / session

    async def session_exists(self, *, session: str) -> bool:
        return self.file(session).exists()

    async def save(self, *, session: str, path: Path) -> None:
        data = path.read_bytes()
        await asyncio.sleep(0)
        self.file(session).write_bytes(data)

    async def extract(self, *, session: str, path: Path) -> None:
        if not self.file(session).exists():
            raise SessionNotFound(session)
        path.touch(mode=0o600)
        path.write_bytes(self.file(session).read_bytes())

    async def delete(self, *, session: str) -> None:
        self.file(session).unlink(missing_ok=True)


class TestPlainStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> PlainStore:
        return PlainStore(tmp_path / "plain")

    async def reopen(self, store: Store) -> Store:
        return store


class DeletesBeforeItUploads(PlainStore):
    async def save(self, *, session: str, path: Path) -> None:
        await self.delete(session=session)
        await super().save(session=session, path=path)


class WritesInPlace(PlainStore):
    async def save(self, *, session: str, path: Path) -> None:
        with path.open("rb") as source, self.file(session).open("wb") as target:
            while chunk := source.read(64 * 1024):
                target.write(chunk)
                target.flush()
                await asyncio.sleep(0)


class SwallowsErrors(PlainStore):
    async def save(self, *, session: str, path: Path) -> None:
        try:
            await super().save(session=session, path=path)
        except OSError:
            return


class KeepsTheCallersFile(PlainStore):
    async def save(self, *, session: str, path: Path) -> None:
        await self.delete(session=session)
        self.file(session).hardlink_to(path)


class MovesTheCallersFile(PlainStore):
    async def save(self, *, session: str, path: Path) -> None:
        shutil.move(path, self.file(session))


class DeletesByPrefix(PlainStore):
    async def delete(self, *, session: str) -> None:
        for path in self.folder.glob(f"{session}*"):
            path.unlink()


class CutsNamesAtTheDot(PlainStore):
    def file(self, session: str) -> Path:
        return self.folder / session.partition(".")[0]


class IgnoresCase(PlainStore):
    def file(self, session: str) -> Path:
        return self.folder / session.lower()


class ForgetsToDelete(PlainStore):
    async def delete(self, *, session: str) -> None:
        pass


class DeletesOnlyOnce(PlainStore):
    async def delete(self, *, session: str) -> None:
        self.file(session).unlink()


class LeavesAnEmptyFile(PlainStore):
    async def extract(self, *, session: str, path: Path) -> None:
        path.touch(mode=0o600)
        await super().extract(session=session, path=path)


class ExtractsForEverybody(PlainStore):
    async def extract(self, *, session: str, path: Path) -> None:
        await super().extract(session=session, path=path)
        path.chmod(0o644)


class ExtractsOnce(PlainStore):
    async def extract(self, *, session: str, path: Path) -> None:
        await super().extract(session=session, path=path)
        await self.delete(session=session)


class CapsItsArchives(PlainStore):
    async def save(self, *, session: str, path: Path) -> None:
        self.file(session).write_bytes(path.read_bytes()[: 4 * 1024 * 1024])


@pytest.mark.parametrize(
    ("kind", "test", "arguments"),
    [
        (DeletesBeforeItUploads, "test_a_failed_save_leaves_the_old_archive", {"source": "missing"}),
        (DeletesBeforeItUploads, "test_a_reader_sees_the_old_or_the_new_archive", {}),
        (WritesInPlace, "test_a_reader_sees_the_old_or_the_new_archive", {}),
        (WritesInPlace, "test_a_cancelled_save_leaves_old_or_new", {"moment": 5}),
        (WritesInPlace, "test_of_many_savers_one_wins_whole", {}),
        (SwallowsErrors, "test_a_failed_save_leaves_the_old_archive", {"source": "a folder"}),
        (KeepsTheCallersFile, "test_save_only_reads_the_source", {}),
        (MovesTheCallersFile, "test_save_only_reads_the_source", {}),
        (DeletesByPrefix, "test_names_do_not_mix", {}),
        (CutsNamesAtTheDot, "test_names_do_not_mix", {}),
        (IgnoresCase, "test_names_that_differ_in_case_do_not_mix", {}),
        (ForgetsToDelete, "test_delete_deletes_and_may_be_repeated", {}),
        (DeletesOnlyOnce, "test_delete_deletes_and_may_be_repeated", {}),
        (LeavesAnEmptyFile, "test_what_is_not_there_is_session_not_found", {}),
        (ExtractsForEverybody, "test_an_extracted_archive_is_private", {}),
        (ExtractsOnce, "test_an_archive_comes_back_byte_for_byte", {"size": 1}),
        (CapsItsArchives, "test_an_archive_comes_back_byte_for_byte", {"size": 8 * 1024 * 1024 + 1}),
    ],
)
async def test_a_mistake_is_found(kind: type[PlainStore], test: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    mistaken = kind(tmp_path / "plain")
    with failing():
        await getattr(StoreContract(), test)(store=mistaken, tmp_path=tmp_path, **arguments)


def failing() -> Any:
    """Expect a test to fail: with an assertion, pytest's own "did not raise", or what the store itself ran into."""
    return pytest.raises((AssertionError, pytest.fail.Exception, OSError, SessionNotFound, ExceptionGroup))


class WritesSlowlyInPlace(PlainStore):
    pause = 0.01

    async def save(self, *, session: str, path: Path) -> None:
        data = path.read_bytes()
        with self.file(session).open("wb") as target:
            for begin in range(0, len(data), 256 * 1024):
                target.write(data[begin : begin + 256 * 1024])
                target.flush()
                await asyncio.sleep(self.pause)


async def test_what_a_killed_process_damages_is_found(tmp_path: Path) -> None:
    class Contract(StoreContract):
        def open_elsewhere(self, store: Store) -> str:
            return (
                f"import pathlib, runpy; kind = runpy.run_path({__file__!r})['WritesSlowlyInPlace']\n"
                f"store = kind(pathlib.Path({str(tmp_path / 'plain')!r}))\n"
                "store.pause = 3600"  # whenever it is killed, it has begun and not ended
            )

    with failing() as found:
        await Contract().test_a_killed_save_leaves_old_or_new(WritesSlowlyInPlace(tmp_path / "plain"), tmp_path)
    assert "that were never saved" in str(found.value)


async def test_a_process_that_fails_is_told_from_one_that_was_killed(tmp_path: Path) -> None:
    class Contract(StoreContract):
        def open_elsewhere(self, store: Store) -> str:
            return "store = 1 / 0"

    with failing() as found:
        await Contract().test_a_killed_save_leaves_old_or_new(PlainStore(tmp_path / "plain"), tmp_path)
    assert "ZeroDivisionError" in str(found.value)


async def test_what_a_paused_holder_overwrites_is_found(tmp_path: Path) -> None:
    class ChecksTheFenceTooEarly(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.first = True
            self.overtaken = asyncio.Event()

        async def save(self, *, session: str, path: Any, fence: int | None = None) -> None:
            self._leases.check(session, fence)
            if self.first:
                self.first = False
                await self.overtaken.wait()
            await super().save(session=session, path=path)
            self.overtaken.set()

    with failing() as found:
        await StoreContract().test_a_paused_holder_is_out(ChecksTheFenceTooEarly(), tmp_path)
    assert "wrote over its successor" in str(found.value)


async def test_a_store_that_takes_silence_for_emptiness_is_found(tmp_path: Path) -> None:
    class Contract(StoreContract):
        async def unreachable(self) -> Store:
            return MemoryStore()

    with failing() as found:
        await Contract().test_a_store_that_cannot_be_reached_says_so(MemoryStore(), tmp_path)
    assert "session_exists of a store that cannot be reached answers False" in str(found.value)


async def test_a_closed_store_that_seems_empty_is_found(tmp_path: Path) -> None:
    class ForgetsWhenItIsClosed(MemoryStore):
        async def close(self) -> None:
            self._archives.clear()

    with failing() as found:
        await StoreContract().test_a_closed_store_says_nothing_wrong(ForgetsWhenItIsClosed(), tmp_path)
    assert "session_exists of a closed store says False" in str(found.value)


async def test_connections_that_are_left_open_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaking(PlainStore):
        opened = 0

        async def save(self, *, session: str, path: Path) -> None:
            Leaking.opened += 1
            await super().save(session=session, path=path)
            Leaking.opened -= 1

    class Contract(StoreContract):
        async def reopen(self, store: Store) -> Store:
            return Leaking(tmp_path / "plain")

        async def connections(self, store: Store) -> int:
            return Leaking.opened

    monkeypatch.setattr("wwauth.testing.store_contract._ends._LOOKS", 1)
    with failing() as found:
        await Contract().test_no_connection_is_left_open(Leaking(tmp_path / "plain"), tmp_path)
    assert "connections are open that were not before" in str(found.value)


async def test_what_is_left_out_names_the_hook_that_is_missing(tmp_path: Path) -> None:
    contract, store = StoreContract(), PlainStore(tmp_path / "plain")
    for test, word in {
        "test_what_is_saved_outlives_the_store": "reopen()",
        "test_a_killed_save_leaves_old_or_new": "open_elsewhere()",
        "test_a_store_that_cannot_be_reached_says_so": "unreachable()",
        "test_no_connection_is_left_open": "connections()",
        "test_a_paused_holder_is_out": "features.leases is False",
        "test_packs_are_listed_when_they_are_asked_for": "features.listing is False",
    }.items():
        with pytest.raises(pytest.skip.Exception) as left_out:
            await getattr(contract, test)(store=store, tmp_path=tmp_path)
        assert word in str(left_out.value)
