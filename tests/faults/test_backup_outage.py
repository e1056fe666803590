"""A store that is down for an hour, hangs, or is slow, on the schedule of many sessions; the clock is simulated."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.backup import BackupEngine, BackupReport, BackupSchedule
from wwauth.errors import StoreUnavailable
from wwauth.stores import FileSystemStore, MemoryStore

from ..simulatedclock import simulated
from ..unit.profiles import INDEXED_DB, ORIGIN, frame, make_profile
from ..unit.test_backup_engine import Faulty
from .killed import contents

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wwauth.abc import Store

MINUTE, HOUR = 60.0, 3600.0


class Down(Faulty):
    """A store that refuses each call between two moments, after a while; notes when it was called."""

    def __init__(self, since: float, until: float, *, silent: float = 0.0) -> None:
        super().__init__(MemoryStore())
        self.since, self.until, self.silent = since, until, silent
        self.calls: list[float] = []

    async def _call(self, verb: str, **arguments: Any) -> Any:
        now = asyncio.get_running_loop().time()
        self.calls.append(now)
        if self.since <= now < self.until:
            await asyncio.sleep(self.silent)
            raise ConnectionError("connection refused")
        return await super()._call(verb, **arguments)


class Login:
    """One session, whose profile grows before each backup."""

    def __init__(self, root: Path, number: int, store: Store, interval: float) -> None:
        self.session = f"RemoteAuth-{number}"
        self.profile = make_profile(root / self.session, log=[b"begin"])
        self.engine = BackupEngine(store, session=self.session, origin=ORIGIN)
        self.saved: list[tuple[float, BackupReport]] = []
        self.failed: list[tuple[float, Exception]] = []
        self.schedule = BackupSchedule(
            self.save, interval=interval, on_saved=self._note(self.saved), on_failed=self._note(self.failed)
        )

    @staticmethod
    def _note(outcomes: list[Any]) -> Callable[[object], None]:
        return lambda outcome: outcomes.append((asyncio.get_running_loop().time(), outcome))

    async def save(self) -> BackupReport:
        with (self.profile / f"{INDEXED_DB}/000006.log").open("ab") as file:
            file.write(frame([b"more"], offset=file.tell()))
        return await self.engine.save(self.profile)


@pytest.mark.parametrize("interval", [10 * MINUTE, 30 * MINUTE])
@pytest.mark.parametrize("silent", [0.0, 30.0], ids=["refusing", "silent"])
def test_after_an_hour_without_the_store_all_backups_go_on_and_not_all_at_once(
    tmp_path: Path, interval: float, silent: float
) -> None:
    simulated(_outage(tmp_path, interval, silent))


async def _outage(root: Path, interval: float, silent: float) -> None:
    since, until = 1 * HOUR, 2 * HOUR
    store = Down(since, until, silent=silent)
    logins = [Login(root, number, store, interval) for number in range(6)]
    for login in logins:
        login.schedule.start()
        await asyncio.sleep(interval / len(logins))
    # Long enough for the retry that was due when the store came back, and no longer.
    await asyncio.sleep(until + 1.1 * interval - asyncio.get_running_loop().time())
    resumed = []
    for login in logins:
        assert all(isinstance(error, StoreUnavailable) for _, error in login.failed)
        times = [at for at, _ in login.failed]
        assert all(since <= at < until + silent + 1 for at in times)
        # Soon at first, and then ever later: an hour is no reason to knock all the time.
        pauses = [later - earlier - silent for earlier, later in itertools.pairwise(times)]
        assert pauses[0] < 6
        assert all(later > 1.5 * earlier or later > 0.9 * interval for earlier, later in itertools.pairwise(pauses))
        assert len(times) <= 10 + HOUR / interval
        resumed.append(min(at for at, _ in login.saved if at > until))
        assert [report.generation for _, report in login.saved] == list(range(1, len(login.saved) + 1)), "a number was lost"
        await login.schedule.stop()
    assert len({round(at, 3) for at in resumed}) == len(resumed)
    assert max(Counter(int(at // 5) for at in resumed).values()) < len(logins)
    for login in logins:
        await login.engine.save(login.profile)
        elsewhere = root / "elsewhere" / login.session
        await BackupEngine(store, session=login.session, origin=ORIGIN).restore(elsewhere)
        assert contents(elsewhere) == contents(login.profile)
    left = {path.name for path in root.iterdir()} - {login.session for login in logins}
    assert left == {"elsewhere"}


class Hanging(FileSystemStore):
    """Never answers a save, once it is told to."""

    hangs: asyncio.Event | None = None

    async def save(self, *, session: str, path: Any, fence: int | None = None) -> None:
        if self.hangs is not None:
            self.hangs.set()
            await asyncio.Event().wait()
        await super().save(session=session, path=path, fence=fence)


async def test_a_store_that_hangs_keeps_no_schedule_from_ending(tmp_path: Path) -> None:
    store = Hanging(tmp_path / "store")
    login = Login(tmp_path / "data", 1, store, HOUR)
    await login.schedule.run_now()
    committed = contents(login.profile)
    store.hangs = asyncio.Event()
    login.schedule.start()
    await store.hangs.wait()
    await login.schedule.stop(timeout=0.01)
    store.hangs = None
    assert len(login.saved) == 1
    assert {path.name for path in login.profile.parent.iterdir()} == {login.session}
    assert not list(store.folder.glob(".*"))
    elsewhere = tmp_path / "elsewhere" / login.session
    await BackupEngine(store, session=login.session, origin=ORIGIN).restore(elsewhere)
    assert contents(elsewhere) == committed


class Slow(Down):
    """Takes its time for each call, half of it before and half after."""

    async def _call(self, verb: str, **arguments: Any) -> Any:
        await asyncio.sleep(25)
        result = await super()._call(verb, **arguments)
        await asyncio.sleep(25)
        return result


def test_a_slow_store_is_waited_for_and_never_asked_for_two_backups_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        # Each backup takes longer than the interval, and a call takes nearly as long as is allowed.
        store = Slow(0, 0)
        login = Login(tmp_path, 1, store, MINUTE)
        login.schedule.start()
        await asyncio.sleep(HOUR)
        asked = await login.schedule.run_now()
        await login.schedule.stop(timeout=HOUR)
        assert login.failed == []
        assert [report.generation for _, report in login.saved] == list(range(1, len(login.saved) + 1))
        assert asked.generation >= len(login.saved) - 1
        assert len(login.saved) > 3
        elsewhere = tmp_path / "elsewhere" / login.session
        await BackupEngine(store.inner, session=login.session, origin=ORIGIN).restore(elsewhere)
        assert contents(elsewhere) == contents(login.profile)

    simulated(run())
