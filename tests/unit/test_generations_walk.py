"""Random walks over changes, saves, crashes and restores: the newest committed generation always comes back, whole."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wwauth.backup import BackupEngine
from wwauth.backup.archive import look_into_archive, tree_digest
from wwauth.backup.index import Index
from wwauth.backup.indexfile import is_index, read_index
from wwauth.errors import StoreUnavailable
from wwauth.stores import MemoryStore

from ..soaking import SOAK
from .profiles import BLOBS, ORIGIN, make_profile
from .test_backup_engine import SESSION, Faulty, change, login
from .test_generations import grow


class Crash(BaseException):
    """The process dies here: nothing that it would do afterwards is done."""


class Breaking(Faulty):
    """A store whose n-th call from now fails, before or after it had its effect, once or for good."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.left = -1
        self.when, self.how = "before", "error"
        self.hits = 0
        self.fault = self._count

    def _count(self, when: str, verb: str) -> None:
        if self.left == 0 and self.how == "crash":
            self.hits += 1
            raise Crash
        if when == "before" and self.left > 0:
            self.left -= 1
        if self.left == 0 and when == self.when:
            self.hits += 1
            if self.how == "crash":
                raise Crash
            self.left = -1
            raise {"error": OSError(verb), "cancelled": asyncio.CancelledError()}[self.how]


class Walk:
    """A profile, a store, and what must be in it."""

    def __init__(self, root: Path, keep: int) -> None:
        self.root = root
        self.keep = keep
        self.store = MemoryStore()
        self.profile = make_profile(root / "data" / SESSION, log=[b"begin"])
        self.broken = Breaking(self.store)
        self.engine = self.new_engine()
        self.committed: dict[str, bytes] | None = None
        self.blobs = 16
        self.orphans: set[str] = set()

    def new_engine(self, archive: str = "packs") -> BackupEngine:
        return BackupEngine(self.broken, session=SESSION, origin=ORIGIN, archive=archive, generations=self.keep, grace=0)

    def change(self, kind: str) -> None:
        if kind == "grow":
            grow(self.profile, b"%d" % self.blobs)
        elif kind == "rewrite":
            change(self.profile, b"rewritten %d" % self.blobs)
        elif kind == "blob":
            (self.profile / BLOBS / "1" / "00" / f"{self.blobs:x}").write_bytes(b"%d" % self.blobs * 2000)
        elif kind == "empty":
            (self.profile / BLOBS / "1" / "00" / f"{self.blobs:x}").touch()
        elif kind == "no blobs":
            for path in (self.profile / BLOBS / "1" / "00").glob("1*"):
                path.unlink()
        elif kind == "linked anew":
            # With the note goes the name of the first pack of a save that was interrupted: docs/format.md says so.
            self.orphans |= self.noted()
            (self.profile / "wwauth-backup.json").unlink(missing_ok=True)
            self.engine = self.new_engine()
        self.blobs += 1

    async def save(self, archive: str, fault: tuple[int, str, str] | None) -> None:
        if archive != "packs":
            self.engine = self.new_engine(archive)
        now = login(self.profile)
        if fault is not None:
            self.broken.left, self.broken.when, self.broken.how = fault
        try:
            report = await self.engine.save(self.profile)
        except (StoreUnavailable, asyncio.CancelledError, Crash) as exc:
            assert fault is not None, "a save failed without a reason"
            if isinstance(exc, Crash):
                self.engine = self.new_engine()
            self.broken.left = -1
            # Committed or not: whichever it is, it is one of the two.
            found = await self.restored()
            assert found in (self.committed, now)
            self.committed = found
        else:
            self.broken.left = -1
            assert report.sha256 == tree_digest_of(now, self.root)
            self.committed = now
            if fault is None and report.kind != "unchanged":
                # What earlier failures left goes as well. A pack whose name was lost may have been committed after all.
                assert await self.packs() - self.orphans == await self.needed() - self.orphans
        if archive != "packs":
            self.engine = self.new_engine()

    async def restored(self) -> dict[str, bytes] | None:
        """Restore into another place by an engine that knows nothing."""
        engine = BackupEngine(self.store, session=SESSION, origin=ORIGIN)
        if not await engine.exists():
            return None
        target = self.root / "restored" / SESSION
        shutil.rmtree(target.parent, ignore_errors=True)
        report = await engine.restore(target)
        assert report.notes == (), "the newest generation was not whole"
        assert report.generation == (await engine.generations())[0].number
        return login(target)

    async def check(self) -> None:
        assert await self.restored() == self.committed
        index = await self.index()
        named = {name.of(SESSION) for name in index.names()} | self.noted() | self.orphans
        kept = index.generations
        if len(kept) == self.keep > 1:
            assert any(kept[0].packs().isdisjoint(older.packs()) for older in kept[1:])
        there = await self.packs()
        assert await self.needed() <= there, "a pack that a generation needs is not there"
        assert there <= named, "a pack is there that nothing names"
        assert {path.name for path in self.profile.parent.iterdir()} <= {SESSION, f"{SESSION}.previous"}

    async def index(self) -> Index:
        """Read the index; without generations where there is none."""
        path = self.root / "look.zip"
        path.unlink(missing_ok=True)
        if not await self.store.session_exists(session=SESSION):
            return Index(SESSION)
        await self.store.extract(session=SESSION, path=path)
        if is_index(path):
            return read_index(path, session=SESSION)
        assert look_into_archive(path).files
        return Index(SESSION)

    async def packs(self) -> set[str]:
        """Return the names of the packs in the store."""
        return {info.session async for info in self.store.list_sessions(packs=True)} - {SESSION}

    async def needed(self) -> set[str]:
        """Return the names of the packs that a generation needs."""
        return {name.of(SESSION) for name in (await self.index()).live()}

    def noted(self) -> set[str]:
        """Return the packs that the profile's note names."""
        note = self.profile / "wwauth-backup.json"
        if not note.exists():
            return set()
        return {f"{SESSION}.{item['generation']}.{item['writer']}" for item in json.loads(note.read_text())["garbage"]}


def tree_digest_of(files: dict[str, bytes], root: Path) -> str:
    folder = root / "digest"
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return tree_digest(folder)


CHANGES = st.sampled_from(["grow", "grow", "grow", "rewrite", "blob", "empty", "no blobs", "linked anew", "nothing"])
FAULTS = st.none() | st.tuples(
    st.integers(1, 12), st.sampled_from(["before", "after"]), st.sampled_from(["error", "cancelled", "crash"])
)
STEPS = st.one_of(
    st.tuples(st.just("save"), CHANGES, st.sampled_from(["packs"] * 5 + ["whatsapp-web.js"]), FAULTS),
    st.tuples(st.sampled_from(["restore", "restart", "delete"]), FAULTS),
)


@pytest.mark.timeout(1800 if SOAK else 180)
@settings(max_examples=300 if SOAK else 6, deadline=None)
@given(keep=st.integers(1, 3), steps=st.lists(STEPS, min_size=3, max_size=10))
def test_the_newest_committed_generation_comes_back_and_nothing_unnamed_stays(keep: int, steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(walk(Path(folder), keep, steps))


async def walk(root: Path, keep: int, steps: list[Any]) -> None:
    it = Walk(root, keep)
    for verb, *rest in steps:
        if verb == "save":
            changed, archive, fault = rest
            it.change(changed)
            await it.save(archive, fault)
        elif verb == "restart":
            it.engine = it.new_engine()
            await it.engine.recover(it.profile)
        elif verb == "restore" and it.committed is not None:
            await it.engine.restore(it.profile)
            await it.engine.confirm(it.profile)
            assert login(it.profile) == it.committed
        elif verb == "delete":
            await delete(it, rest[0])
        await it.check()


async def delete(it: Walk, fault: tuple[int, str, str] | None) -> None:
    if fault is not None:
        it.broken.left, it.broken.when, it.broken.how = fault
    try:
        await it.engine.delete(it.profile)
    except (StoreUnavailable, asyncio.CancelledError, Crash):
        it.engine = it.new_engine()
        it.broken.left = -1
        it.committed = await it.restored()
    else:
        it.broken.left = -1
        it.committed = None
        assert {info.session async for info in it.store.list_sessions(packs=True)} <= it.orphans


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_each_call_of_a_save_that_drops_a_generation(tmp_path: Path, when: str) -> None:
    crashed = [asyncio.run(dropping_save(tmp_path / str(number), (number, when, "crash"))) for number in range(1, 20)]
    # From the first call to the last: beyond it, nothing fails any more.
    assert crashed == sorted(crashed, reverse=True)
    assert 10 <= sum(crashed) < len(crashed)


async def dropping_save(folder: Path, fault: tuple[int, str, str]) -> bool:
    it = Walk(folder, 1)
    it.change("grow")
    await it.save("packs", None)
    first = await it.packs()
    it.change("linked anew")
    it.change("rewrite")
    await it.save("packs", fault)
    happened = it.broken.hits > 0
    await it.check()
    it.change("linked anew")
    it.change("grow")
    await it.save("packs", None)
    await it.check()
    assert not await it.packs() & first
    return happened
