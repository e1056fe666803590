"""One session on its way from one store to another: what stands where, what is copied, and what is deleted."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from .._store import takes_packs
from .._threads import in_thread
from ..errors import ConfigurationError, LeaseLost, SessionCorrupted, SessionNotFound
from ._stored import delete_session, look, read_back, recipients_digest, save_index, sweep
from .archive import file_digest
from .engine import BackupEngine
from .index import LONGEST_SESSION, Index, PackName
from .packs import verify_pack
from .reports import MigrationReport

if TYPE_CHECKING:
    from pathlib import Path

    from ._remote import Remote
    from ._stored import Stored
    from .index import Pack, StoredGeneration
    from .reports import VerifyReport

_log = logging.getLogger(__name__)

# What is saved for a moment, to see whether two stores are one. It is no session.
PROBE = "RemoteAuth-wwauth.probe"


class Migration:
    """One session on its way; archives lie in the folder `room` meanwhile."""

    def __init__(self, source: Remote, target: Remote, session: str, name: str, room: Path) -> None:
        self.source = source
        self.target = target
        self._session = session
        self._name = name
        self._room = room
        self._copied = self._there = self._bytes = 0
        self._bad: dict[Pack, str] = {}

    async def plan(self) -> MigrationReport:
        """Say what `run` would do."""
        stored, there = await self._look()
        report = self._report(stored, "to copy")
        if stored.index is None:
            same = there.plain is not None
            return replace(
                report, outcome="same" if same else "to copy", archives=int(not same), bytes=0 if same else stored.size
            )
        missing = [pack for pack in stored.index.packs() if not await self.target.exists(pack.name.of(self._name))]
        known = there.index is not None and _keys(there.index) == _keys(stored.index)
        count, size = len(missing) + int(not known), sum(pack.size for pack in missing) + (0 if known else stored.size)
        found = len(stored.index.packs()) - len(missing)
        return replace(report, outcome="to copy" if count else "same", archives=count, archives_there=found, bytes=size)

    async def run(self, *, delete_source: bool) -> MigrationReport:
        """Copy it, and delete it where it came from once it is whole in the target."""
        try:
            stored, there = await self._look()
        except SessionNotFound:
            done = await self._deleted_before() if delete_source else None
            if done is None:
                raise
            return done
        if stored.index is not None:
            changed = await self._copy_packs(stored.index, there)
        elif stored.plain is not None:
            changed = await self._copy_plain(stored.plain.path, stored, there)
        report = self._report(stored, "copied" if changed else "same")
        if not delete_source:
            return report
        if self._bad:
            return replace(report, notes=(*report.notes, "the source was kept, since not all of it could be migrated"))
        await self._delete_source(stored)
        return replace(report, source_deleted=True)

    def _report(self, stored: Stored, outcome: Literal["copied", "same", "to copy"]) -> MigrationReport:
        kept = _kept(stored.index, self._bad) if stored.index is not None else ()
        return MigrationReport(
            session=self._session,
            name=self._name,
            archive="whatsapp-web.js" if stored.index is None else "packs",
            generations=tuple(generation.number for generation in kept) or (stored.generation,),
            outcome=outcome,
            archives=self._copied,
            archives_there=self._there,
            bytes=self._bytes,
            notes=_left_out(stored.index, self._bad) if stored.index is not None else (),
        )

    async def _look(self) -> tuple[Stored, Stored]:
        """Look at both sides, and refuse what must not be done."""
        stored = await look(self.source, self._session, self._room)
        if stored.damage is not None:
            raise stored.damage
        if stored.plain is None and (stored.index is None or not stored.index.generations):
            raise SessionNotFound(f"the source has no {self._session!r}")
        there = await look(self.target, self._name, self._room)
        if there.damage is not None:
            raise SessionCorrupted(
                f"the target holds something damaged as {self._name!r} ({there.damage}): delete it there, or give another name"
            )
        if stored.index is not None and not takes_packs(self.target.store):
            raise ConfigurationError(
                f"the target takes no packs, and {self._session!r} lies in some: take its newest generation there with "
                "`wwauth export --archive whatsapp-web.js` and `wwauth import`"
            )
        if stored.index is not None and len(self._name) > LONGEST_SESSION:
            raise ConfigurationError(
                f"invalid name {self._name[:20]!r}…: packs need names of up to {LONGEST_SESSION} characters"
            )
        await self._refuse_other(stored, there)
        return stored, there

    async def _refuse_other(self, stored: Stored, there: Stored) -> None:
        if there.plain is None and (there.index is None or not there.index.generations):
            return
        if stored.plain is not None and there.plain is not None:
            if await in_thread(lambda _: _same_zip(stored, there)):
                return
        elif stored.index is not None and there.index is not None:
            if _grew_out_of(stored.index, there.index):
                return
            if _keys(stored.index)[0] in _keys(there.index):
                raise ConfigurationError(
                    f"the target has {self._name!r} with newer generations than the source ({there.generation} and "
                    f"{stored.generation}): it went on there, and there is nothing to migrate"
                )
        raise ConfigurationError(
            f"the target has {self._name!r} already, and not the same: it was not touched; give this one another name (--as), "
            "or delete that one first"
        )

    async def _copy_plain(self, path: Path, stored: Stored, there: Stored) -> bool:
        digest = await in_thread(lambda stop: file_digest(path, check=stop.check))
        if there.plain is not None and await self._is_whole(there.plain.path, digest):
            self._there = 1
            return False
        await self.target.save(self._name, path)
        await read_back(self.target, self._name, self._room, size=stored.size, sha256=digest)
        if there.index is not None:
            await sweep(self.target, self._name, there.index.names())
        self._copied, self._bytes = 1, stored.size
        return True

    async def _is_whole(self, path: Path, digest: str) -> bool:
        """Tell whether a zip of the target's, which says that it has the same content, has it."""
        if await in_thread(lambda stop: file_digest(path, check=stop.check)) == digest:
            return True
        # The files of a profile are packed anew each time: they may be the same, and the zip another one.
        report = await self._verify()
        if not report.ok:
            _log.warning("%s in the target is copied again: %s", self._name, _problems(report))
        return report.ok

    async def _verify(self) -> VerifyReport:
        """Check the target as a restore would."""
        engine = BackupEngine(self.target.store, session=self._name, archive="whatsapp-web.js", work_dir=self._room)
        return await engine.verify()

    async def _copy_packs(self, index: Index, there: Stored) -> bool:
        """Copy the packs that are not there, then the index; tell whether anything was to be done."""
        before = there.index or Index(self._name)
        packs = sorted(index.packs(), key=lambda pack: pack.name)
        if unnamed := {pack.name for pack in packs} - before.names():
            # As in a backup, names stand in the index before their packs are there: what is left behind can be found.
            garbage = {**before.garbage, **dict.fromkeys(unnamed)}
            await save_index(self.target, replace(before, garbage=garbage), self._room)
        for pack in packs:
            await self._copy_pack(pack)
        kept = _kept(index, self._bad)
        if not kept:
            if not before.generations:
                await delete_session(self.target, self._name, self._room, known=(), keep=lambda _: False)
            raise SessionCorrupted(
                f"{self._session}: none of its generations is whole: {'; '.join(_left_out(index, self._bad))}"
            )
        recipients = recipients_digest(self.target.store)
        generations = tuple(replace(generation, recipients=recipients) for generation in kept)
        now = (await look(self.target, self._name, self._room)).index or Index(self._name)
        if now.generations != before.generations:
            raise LeaseLost(
                f"{self._name} was saved in the target by another writer meanwhile; nothing was overwritten: stop it first"
            )
        if now.generations != generations:
            moved = Index(self._name, generations, fence=now.fence)
            since = datetime.now(UTC).replace(microsecond=0)
            moved = replace(moved, garbage=dict.fromkeys(now.names() - moved.live(), since))
            _, size = await save_index(self.target, moved, self._room)
            self._copied, self._bytes = self._copied + 1, self._bytes + size
        return self._copied > 0

    async def _copy_pack(self, pack: Pack) -> None:
        path = self._room / "pack.zip"
        theirs, ours = pack.name.of(self._name), pack.name.of(self._session)
        try:
            if await self.target.exists(theirs):
                try:
                    await self._read(self.target, theirs, pack, path)
                except (SessionCorrupted, SessionNotFound) as exc:
                    _log.warning("%s in the target is copied again: %s", theirs, exc)
                    await asyncio.to_thread(path.unlink, missing_ok=True)
                else:
                    self._there += 1
                    return
            try:
                await self._read(self.source, ours, pack, path)
            except (SessionCorrupted, SessionNotFound) as exc:
                self._bad[pack] = str(exc)
                return
            await self.target.save(theirs, path)
            await read_back(self.target, theirs, self._room, size=pack.size, sha256=pack.sha256)
            self._copied, self._bytes = self._copied + 1, self._bytes + pack.size
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _read(self, remote: Remote, name: str, pack: Pack, path: Path) -> None:
        await remote.extract(name, path, most=pack.size)
        await in_thread(lambda stop: verify_pack(path, pack, check=stop.check))

    async def _delete_source(self, stored: Stored) -> None:
        await self._refuse_one_place()
        report = await self._verify()
        if not report.ok:
            raise SessionCorrupted(
                f"{self._session} was kept in the source: what the target has is not whole: {_problems(report)}"
            )
        now = await look(self.source, self._session, self._room)
        same = now.damage is None and (now.index is None) == (stored.index is None)
        if same and now.index is not None and stored.index is not None:
            same = now.index.generations == stored.index.generations
        elif same:
            same = await in_thread(lambda _: _same_zip(stored, now))
        if not same:
            raise LeaseLost(
                f"{self._session} was saved in the source meanwhile, which was kept: stop who saves it, and migrate again"
            )
        await delete_session(self.source, self._session, self._room, known=(), keep=lambda _: False)

    async def _refuse_one_place(self) -> None:
        """
        See to it that the target does not read what the source keeps, nor the other way: then the copy would be deleted, too.

        One store may be named in two ways, and some show another program's archives beside their own.
        """
        path = self._room / "probe"
        await asyncio.to_thread(path.write_bytes, b"This may be deleted.")
        for one, other in ((self.target, self.source), (self.source, self.target)):
            for remote in (one, other):
                await remote.delete(PROBE)  # which a killed call may have left
            try:
                await one.save(PROBE, path)
                seen = await other.exists(PROBE)
            except ConfigurationError:
                continue  # one that nothing can be saved to, as a data path
            finally:
                await one.delete(PROBE)
            if seen:
                raise ConfigurationError("the source and the target are the same store, at least in part: nothing was deleted")

    async def _deleted_before(self) -> MigrationReport | None:
        """Complete a deletion that was interrupted; None: that is not how the source stands."""
        there = await look(self.target, self._name, self._room)
        if there.damage is not None or (there.plain is None and (there.index is None or not there.index.generations)):
            return None
        await self._refuse_one_place()
        await delete_session(self.source, self._session, self._room, known=(), keep=lambda _: False)
        return replace(self._report(there, "same"), source_deleted=True, notes=("the source had it no more",))


def _problems(report: VerifyReport) -> str:
    found = [report.problem, *(f"generation {g.number}: {g.problem}" for g in report.generations if g.problem)]
    return "; ".join(filter(None, found))


def _keys(index: Index) -> list[tuple[int, str, str, str]]:
    """Return what tells generations apart, newest first: all that does not change when they are moved."""
    return [(g.number, g.writer, g.lineage, g.content) for g in index.generations]


def _grew_out_of(index: Index, earlier: Index) -> bool:
    """Tell whether an index is of the same login as another one, and later, or the same."""
    newest = earlier.generations[0]
    if _keys(earlier)[0] in _keys(index):
        return True
    # That generation was dropped since; a pack that was written with it is still known.
    same_login = newest.lineage == index.generations[0].lineage and newest.number < index.generations[0].number
    return same_login and PackName(newest.number, newest.writer) in index.names()


def _kept(index: Index, bad: dict[Pack, str]) -> tuple[StoredGeneration, ...]:
    return tuple(generation for generation in index.generations if bad.keys().isdisjoint(generation.packs()))


def _left_out(index: Index, bad: dict[Pack, str]) -> tuple[str, ...]:
    def why(generation: StoredGeneration) -> str:
        return "; ".join(sorted(bad[pack] for pack in generation.packs() & bad.keys()))

    left = [generation for generation in index.generations if not bad.keys().isdisjoint(generation.packs())]
    return tuple(f"generation {generation.number} was left out: {why(generation)}" for generation in left)


def _same_zip(one: Stored, other: Stored) -> bool:
    if one.plain is None or other.plain is None:
        return False
    ours, theirs = one.plain.contents.stamp, other.plain.contents.stamp
    if ours.content or theirs.content:
        return ours == theirs
    return file_digest(one.plain.path) == file_digest(other.plain.path)
