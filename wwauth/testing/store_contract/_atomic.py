"""The old archive or the new one, whatever becomes of a save and whoever looks."""

# ruff: noqa: S101 - tests assert

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ._base import MIB, Hooks, check_size, extracted, listed, new_archive, new_folder, same, some_bytes
from ._killed import Saver

if TYPE_CHECKING:
    from wwauth.abc import Store

# Stores that send an archive in pieces of a megabyte, as many do, have some of them to mix up.
_OLD, _NEW = 2 * MIB, 2 * MIB + MIB // 2


class AllOrNothing(Hooks):
    """A save that fails, is cancelled or killed, or is not alone."""

    @pytest.mark.parametrize("source", ["missing", "a folder", "unreadable"])
    async def test_a_failed_save_leaves_the_old_archive(self, store: Store, tmp_path: Path, source: str) -> None:
        """A `save` that fails raises, and leaves the old archive, or none when there was none."""
        path = _bad_source(source, tmp_path)
        with pytest.raises(Exception):  # noqa: B017, PT011 - plug-ins raise what their drivers raise
            await store.save(session="RemoteAuth-new", path=path)
        assert await store.session_exists(session="RemoteAuth-new") is False, "a failed first save left something"

        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path))
        with pytest.raises(Exception):  # noqa: B017, PT011 - as above
            await store.save(session="RemoteAuth-a", path=path)
        assert same(await extracted(store, "RemoteAuth-a", tmp_path), some_bytes()), "a failed save damaged the old archive"

    @pytest.mark.parametrize("moment", [0, 5, 50, 0.3, 0.7], ids=lambda moment: f"{moment} {_unit(moment)}")
    async def test_a_cancelled_save_leaves_old_or_new(self, store: Store, tmp_path: Path, moment: float) -> None:
        """`save` is all or nothing, also when it is cancelled; a later save works and wins."""
        clock = asyncio.get_running_loop().time
        began = clock()
        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path, _OLD))
        took = clock() - began
        task = asyncio.ensure_future(store.save(session="RemoteAuth-a", path=new_archive(tmp_path, _NEW, seed=2)))
        if isinstance(moment, float):
            await asyncio.sleep(moment * took)
        else:
            for _ in range(moment):
                await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        got = await extracted(store, "RemoteAuth-a", tmp_path)
        assert got in (some_bytes(_OLD), some_bytes(_NEW, seed=2)), "a cancelled save left neither the old nor the new archive"

        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path, seed=3))
        assert same(await extracted(store, "RemoteAuth-a", tmp_path), some_bytes(seed=3))

    async def test_a_killed_save_leaves_old_or_new(self, store: Store, tmp_path: Path) -> None:
        """`save` is all or nothing, also when its process is killed; a later save works and wins."""
        opening = self.open_elsewhere(store)
        sources = [new_archive(tmp_path, size, seed=seed) for seed, size in enumerate((_OLD, _NEW))]
        whole = [path.read_bytes() for path in sources]
        clock = asyncio.get_running_loop().time
        began = clock()
        await store.save(session="RemoteAuth-a", path=sources[0])
        took = clock() - began
        async with contextlib.AsyncExitStack() as stack:
            savers = [await stack.enter_async_context(Saver(opening, "RemoteAuth-a", sources)) for _ in range(self.kills)]
            for number, saver in enumerate(savers):
                await saver.begin()
                # It saves again and again, so that each moment is one of a save.
                await asyncio.sleep(took * 2 * (number + 0.5) / self.kills)
                await saver.kill()
                got = await extracted(store, "RemoteAuth-a", tmp_path)
                assert got in whole, f"a killed save left {len(got)} bytes that were never saved"

        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path, seed=3))
        assert same(await extracted(store, "RemoteAuth-a", tmp_path), some_bytes(seed=3))
        if store.features.listing:
            found = await listed(store)
            assert set(found) == {"RemoteAuth-a"}, "what a killed save left is listed"
            check_size(store, found["RemoteAuth-a"], 1000)

    async def test_a_reader_sees_the_old_or_the_new_archive(self, store: Store, tmp_path: Path) -> None:
        """A reader sees the old archive or the new one, never a mixture and never none."""
        sources = [new_archive(tmp_path, MIB + MIB // 4, seed=1), new_archive(tmp_path, MIB + MIB // 2, seed=2)]
        whole = [path.read_bytes() for path in sources]
        await store.save(session="RemoteAuth-a", path=sources[0])
        writing = True

        async def read() -> None:
            while writing:
                got = await extracted(store, "RemoteAuth-a", tmp_path)
                assert got in whole, f"a reader got {len(got)} bytes that were never saved"
                assert await store.session_exists(session="RemoteAuth-a") is True, "for a moment there was no archive"
                await asyncio.sleep(0)  # a store that never waits would keep the writer from its turn

        async def write() -> None:
            nonlocal writing
            try:
                for turn in range(8):
                    await store.save(session="RemoteAuth-a", path=sources[(turn + 1) % 2])
            finally:
                writing = False

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(read())
            group.create_task(write())

    async def test_of_many_savers_one_wins_whole(self, store: Store, tmp_path: Path) -> None:
        """`save` replaces all or nothing, also beside other saves of the same session."""
        # Of different sizes, so that those who write side by side into one place leave a mixture.
        sources = [new_archive(tmp_path, (3 * MIB if seed % 5 == 0 else MIB) // 2 - seed, seed=seed) for seed in range(20)]
        await asyncio.gather(*(store.save(session="RemoteAuth-a", path=path) for path in sources))
        assert await extracted(store, "RemoteAuth-a", tmp_path) in [path.read_bytes() for path in sources]


def _bad_source(kind: str, tmp_path: Path) -> Path:
    if kind == "missing":
        return new_folder(tmp_path) / "not there.zip"
    if kind == "a folder":
        return new_folder(tmp_path)
    # It opens, and its first page is never mapped: a read that fails, also for root.
    path = Path("/proc/self/mem")
    if not path.exists():
        pytest.skip("only Linux has a file that opens and cannot be read")
    return path


def _unit(moment: float) -> str:
    return "of its time" if isinstance(moment, float) else "steps"
