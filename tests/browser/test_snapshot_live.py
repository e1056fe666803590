"""Snapshots of a Chromium that writes: each must be one moment of it, also at the second opening."""

from __future__ import annotations

import asyncio
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from wwauth.backup import cut_tails, take_snapshot, validate_profile
from wwauth.errors import SessionInUse, SnapshotFailed

from ..soak import live
from ..soaking import most_in_soak, soak

pytestmark = pytest.mark.browser


# In parts, so that they run beside each other.
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("load", "count", "pause"),
    most_in_soak([("heavy", 3, 0.05), ("bursty", 2, 0.25), ("heavy", 3, 0.1), ("gentle", 2, 0.1)], usual=2),
)
async def test_live_copies_are_whole_at_both_openings(
    load: str, count: int, pause: float, tmp_path: Path, launch_options: dict[str, Any]
) -> None:
    async with live.serve() as site:
        copies = []
        async with live.writing(site, tmp_path / "profile", launch_options, load=load, seed=7) as page:
            flush = functools.partial(live.flush, page.context)
            await live.keep_local_storage(page, tmp_path / "profile")
            for number in range(count):
                await asyncio.sleep(pause)
                before = await live.written(page)
                copy = tmp_path / f"copy-{number}"
                report = await take_snapshot(
                    tmp_path / "profile",
                    copy,
                    origin=site.url,
                    link=number % 2 == 0,
                    durable=number == 0,
                    quiet_for=0.5 if number % 3 == 0 else 0.0,
                    timeout=live.PATIENCE,
                    flush=flush if number % 4 == 0 else None,
                )
                assert report.backend == "leveldb"
                assert len(report.databases) == 2
                validate_profile(copy, origin=site.url, strict=True)
                copies.append((copy, before))
        turns = asyncio.Semaphore(2)

        async def check(copy: Path, before: int) -> str | None:
            async with turns:
                return await live.check_twice(site, copy, launch_options, at_least=before)

        assert await asyncio.gather(*(check(*each) for each in copies)) == [None] * count


async def test_a_closed_profile_is_copied_and_a_running_one_is_not_cut(tmp_path: Path, launch_options: dict[str, Any]) -> None:
    async with live.serve() as site:
        async with live.writing(site, tmp_path / "profile", launch_options, load="heavy", seed=8) as page:
            with pytest.raises(SessionInUse, match="a browser has this profile open"):
                cut_tails(tmp_path / "profile")
            await page.evaluate("() => { run = false }")
            await page.wait_for_function("async () => { const a = n; await sleep(200); return a === n }", timeout=0)
            before = await live.written(page)
        validate_profile(tmp_path / "profile", origin=site.url)
        report = await take_snapshot(tmp_path / "profile", tmp_path / "copy")
        assert (report.attempts, report.quiet) == (1, True)
        assert await live.check_twice(site, tmp_path / "copy", launch_options, at_least=before) is None


async def test_a_killed_browsers_profile_opens_twice_after_its_tails_are_cut(
    tmp_path: Path, launch_options: dict[str, Any]
) -> None:
    async with live.serve() as site:
        async with live.writing(site, tmp_path / "profile", launch_options, load="gentle", seed=9) as page:
            flush = functools.partial(live.flush, page.context)
            await live.keep_local_storage(page, tmp_path / "profile")
            await take_snapshot(tmp_path / "profile", tmp_path / "copy", link=False, flush=flush, timeout=live.PATIENCE)
        # What a kill in the middle of a write leaves: the beginning of a record, so short that it fits into its block.
        (log,) = (tmp_path / "copy/Default/IndexedDB").glob("*/*.log")
        log.write_bytes(log.read_bytes() + b"\x11\x22\x33\x44\x05\x00\x01half")
        (cut,) = cut_tails(tmp_path / "copy")
        assert cut.endswith(f"{log.name}: 11 bytes of an unfinished record were cut off")
        validate_profile(tmp_path / "copy", origin=site.url, strict=True)
        assert cut_tails(tmp_path / "copy") == ()
        assert await live.check_twice(site, tmp_path / "copy", launch_options, at_least=1) is None


async def test_the_check_sees_the_bad_tail_that_shows_only_at_the_second_opening(
    tmp_path: Path, launch_options: dict[str, Any]
) -> None:
    """Not of wwauth, but of the check that the tests above believe."""
    async with live.serve() as site:
        async with live.writing(site, tmp_path / "profile", launch_options, load="gentle", seed=12) as page:
            flush = functools.partial(live.flush, page.context)
            await live.keep_local_storage(page, tmp_path / "profile")
            await take_snapshot(tmp_path / "profile", tmp_path / "copy", link=False, flush=flush, timeout=live.PATIENCE)
        (log,) = (tmp_path / "copy/Default/IndexedDB").glob("*/*.log")
        log.write_bytes(log.read_bytes()[:-40])
        wrong = await live.check_twice(site, tmp_path / "copy", launch_options, at_least=0)
        assert wrong is not None
        assert wrong.startswith("opening 2: ")


@soak
async def test_another_file_system_takes_the_copy(tmp_path: Path, launch_options: dict[str, Any]) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm here")
    folder = Path(tempfile.mkdtemp(dir=other))
    try:
        async with live.serve() as site:
            async with live.writing(site, tmp_path / "profile", launch_options, load="heavy", seed=10) as page:
                await live.keep_local_storage(page, tmp_path / "profile")
                before = await live.written(page)
                flush = functools.partial(live.flush, page.context)
                await take_snapshot(tmp_path / "profile", folder / "copy", origin=site.url, flush=flush, timeout=live.PATIENCE)
            assert await live.check_twice(site, folder / "copy", launch_options, at_least=before) is None
    finally:
        shutil.rmtree(folder)


async def test_sqlite_storage_is_named_while_live_and_copied_when_closed(
    tmp_path: Path, launch_options: dict[str, Any]
) -> None:
    trial = {**launch_options, "args": ["--enable-features=IdbSqliteBackingStore,DomStorageSqlite"]}
    async with live.serve() as site:
        async with live.writing(site, tmp_path / "profile", trial, load="gentle", seed=11) as page:
            with pytest.raises(SnapshotFailed, match="keeps its storage in SQLite"):
                await take_snapshot(tmp_path / "profile", tmp_path / "live")
            await page.evaluate("() => { run = false }")
            await page.wait_for_function("async () => { const a = n; await sleep(300); return a === n }", timeout=0)
            before = await live.written(page)
        assert not (tmp_path / "live").exists()
        report = await take_snapshot(tmp_path / "profile", tmp_path / "copy", origin=site.url)
        assert report.backend == "sqlite"
        assert await live.check_twice(site, tmp_path / "copy", trial, at_least=before) is None
