"""What must be true of a profile and a store, whatever failed or was killed, and the checks of it."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wwauth.backup import validate_profile
from wwauth.backup.indexfile import read_index
from wwauth.errors import SessionNotFound

from ..unit.profiles import ORIGIN
from .killed import SESSION, change, contents, folders, new_engine

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(slots=True)
class Truth:
    """
    What must be true, from what the workers told: digests of contents; None: none.

    Attributes:
        committed: What was committed last.
        pending: What is being committed.
        profiles: What the profile may be; `anything` when the kill came while its browser wrote to it.
        asides: What may lie beside it as the one that a restore replaced.
    """

    committed: str | None = None
    pending: tuple[str | None, ...] = ()
    profiles: set[str | None] = field(default_factory=set)
    anything: bool = False
    asides: set[str | None] = field(default_factory=lambda: {None})


class Checks:
    """A profile and a store, and what must be true of them; `job` says with what options the engine worked last."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.moments = random.Random(seed)
        self.profile, self.store = folders(root)
        (root / "tmp").mkdir(parents=True)
        self.job: dict[str, Any] = {"keep": 3, "work_dir": False}
        self.outcomes: Counter[str] = Counter()
        change(self.profile, self.moments)
        self.truth = Truth(profiles={contents(self.profile)})

    def check_end(self) -> None:
        """Delete all, and look that it is gone."""
        asyncio.run(new_engine(self.root).delete(self.profile))
        assert self._stored() == set(), "a deletion left packs"

    def check_store(self) -> None:
        """Restore into an empty folder, by an engine that knows nothing: what is committed, or what was being committed."""
        asyncio.run(self._check_store())

    async def _check_store(self) -> None:
        truth = self.truth
        target = self.root / "elsewhere" / SESSION
        shutil.rmtree(target.parent, ignore_errors=True)
        target.parent.mkdir()
        found = None
        try:
            engine = new_engine(self.root)
            await engine.recover(target)
            report = await engine.restore(target)
        except SessionNotFound:
            pass
        else:
            assert report.notes == (), self._say(f"the newest generation is not whole: {report.notes}")
            validate_profile(target, origin=ORIGIN, strict=True)
            found = contents(target)
            assert {path.name for path in target.parent.iterdir()} == {SESSION}, self._say("a restore left something")
        if found == truth.committed:
            self.outcomes["old" if truth.pending else "committed"] += 1
        else:
            assert found in truth.pending, self._say(f"found {found}, which was never to be committed")
            self.outcomes["new"] += 1
            truth.committed = found
        needed = self._named(live=True)
        assert needed <= self._stored(), self._say(f"packs are missing: {needed - self._stored()}")

    def check_next_start(self) -> None:
        """Start as RemoteAuth does: the profile is old or new, and what the kills left is gone."""
        asyncio.run(self._check_next_start())

    async def _check_next_start(self) -> None:
        engine = new_engine(self.root, keep=self.job["keep"], work_dir=self.job["work_dir"])
        previous = engine.previous(self.profile)
        await engine.recover(self.profile)
        if self.profile.exists():
            validate_profile(self.profile, origin=ORIGIN)
        assert contents(previous) in self.truth.asides, self._say("what a restore replaced is a mix")
        now = contents(self.profile)
        assert self.truth.anything or now in self.truth.profiles, self._say(f"the profile is a mix: {now}")
        kept = {SESSION} if self.profile.exists() else set()
        kept |= {previous.name} if previous.exists() else set()
        self._check_clean(kept)
        if self.truth.committed is not None and (not self.profile.exists() or await engine.is_behind()):
            await engine.restore(self.profile)
            assert contents(self.profile) == self.truth.committed
        # What a writer that died left in a store's folder goes when it has rested for an hour.
        for path in self.store.glob(".*") if self.store.exists() else ():
            os.utime(path, (1, 1))
        change(self.profile, self.moments)
        saved = contents(self.profile)
        report = await engine.save(self.profile)
        assert report.kind != "unchanged"
        await engine.confirm(self.profile)
        self.truth = Truth(committed=saved, profiles={saved}, anything=False)
        assert self._stored() == self._named(live=True), self._say("packs are left that no generation needs")
        assert not list(self.store.glob(".*")), self._say("temporary files are left in the store")
        self._check_clean({SESSION})

    def _check_clean(self, kept: set[str]) -> None:
        """Look at all places where something temporary may lie."""
        for folder, expected in (("data", kept), ("work", set()), ("tmp", set())):
            path = self.root / folder
            found = {entry.name for entry in path.iterdir()} if path.exists() else set()
            assert found == expected, self._say(f"{folder} has {sorted(found)}")
        inside = [path.name for path in self.profile.glob("**/.*")] if self.profile.exists() else []
        assert not inside, self._say(f"the profile has {inside}")

    def _stored(self) -> set[str]:
        names = {path.name.removesuffix(".zip") for path in self.store.glob("[!.]*")} if self.store.exists() else set()
        return names - {SESSION}

    def _named(self, *, live: bool) -> set[str]:
        path = self.store / f"{SESSION}.zip"
        if not path.exists():
            return set()
        index = read_index(path, session=SESSION)
        return {name.of(SESSION) for name in (index.live() if live else index.names())}

    def _say(self, what: str) -> str:
        return f"{what}\n{self.job}; {self.truth}"
