"""The schedule of backups: one at a time, told of every outcome, ended by nothing but stop()."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from wwauth.backup import BackupReport, BackupSchedule
from wwauth.errors import SessionClosed, SessionCorrupted, StoreUnavailable

from ..simulatedclock import on_simulated_clock


class Runs:
    """Backups that end when they are let; records what became of them."""

    def __init__(self, interval: float) -> None:
        self.begun = 0
        self.under_way = 0
        self.most = 0
        self.let = asyncio.Semaphore(0)
        self.fault: BaseException | None = None
        self.outcomes: list[object] = []
        self.schedule = BackupSchedule(
            self.run, interval=interval, on_saved=self.outcomes.append, on_failed=self.outcomes.append
        )

    async def run(self) -> BackupReport:
        self.begun += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        number = self.begun
        try:
            await self.let.acquire()
            if self.fault is not None:
                raise self.fault
            return BackupReport("s", number, "full", 1, 1, 1, 0.0, "")
        finally:
            self.under_way -= 1

    async def until(self, count: int) -> None:
        while len(self.outcomes) < count:  # noqa: ASYNC110 - the callbacks are plain functions
            await asyncio.sleep(0.001)

    async def next_run(self) -> datetime:
        """Return when the next run is due, once the one that is under way has ended."""
        while (due := self.schedule.next_run) is None:  # noqa: ASYNC110 - a turn or two of the loop
            await asyncio.sleep(0)
        return due


def generations(outcomes: list[object]) -> list[int]:
    return [outcome.generation for outcome in outcomes if isinstance(outcome, BackupReport)]


async def test_it_runs_at_once_and_then_at_each_interval() -> None:
    runs = Runs(0.01)
    runs.let = asyncio.Semaphore(3)
    assert runs.schedule.next_run is None
    runs.schedule.start()
    runs.schedule.start()
    await runs.until(3)
    assert generations(runs.outcomes) == [1, 2, 3]
    assert runs.most == 1
    await runs.schedule.stop(timeout=0)
    assert runs.schedule.next_run is None


async def test_the_next_run_is_told() -> None:
    runs = Runs(3600)
    runs.let.release()
    began = datetime.now(UTC)
    runs.schedule.start()
    next_run = await runs.next_run()
    assert next_run - began > timedelta(seconds=3400)
    assert next_run - datetime.now(UTC) < timedelta(seconds=3800)
    await runs.schedule.stop()


@pytest.mark.parametrize(
    ("fault", "soonest", "latest"),
    [(StoreUnavailable("down"), 4, 6), (SessionCorrupted("bad"), 3400, 3800), (ZeroDivisionError(), 3400, 3800)],
)
@on_simulated_clock
async def test_a_failure_ends_nothing_and_only_a_retryable_one_is_tried_sooner(
    fault: Exception, soonest: float, latest: float
) -> None:
    runs = Runs(3600)
    runs.fault = fault
    runs.let.release()
    began = datetime.now(UTC)
    runs.schedule.start()
    next_run = await runs.next_run()
    assert runs.outcomes == [fault]
    assert (next_run - began).total_seconds() > soonest
    assert (next_run - datetime.now(UTC)).total_seconds() < latest
    runs.fault = None
    runs.let.release()
    assert (await runs.schedule.run_now()).generation == 2
    await runs.schedule.stop()


async def test_retries_never_wait_longer_than_the_interval() -> None:
    runs = Runs(0.01)
    runs.fault = StoreUnavailable("down")
    runs.let = asyncio.Semaphore(4)
    runs.schedule.start()
    await runs.until(4)
    assert runs.outcomes == [runs.fault] * 4
    await runs.schedule.stop(timeout=0)


async def test_a_run_that_is_cancelled_from_within_is_a_failure_like_others() -> None:
    runs = Runs(0.01)
    runs.fault = asyncio.CancelledError()
    runs.let = asyncio.Semaphore(2)
    runs.schedule.start()
    await runs.until(2)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in runs.outcomes)
    await runs.schedule.stop(timeout=0)


async def test_a_call_during_a_run_is_given_the_one_that_follows() -> None:
    runs = Runs(3600)
    runs.schedule.start()
    await asyncio.sleep(0)
    calls = [asyncio.create_task(runs.schedule.run_now()) for _ in range(3)]
    await asyncio.sleep(0)
    runs.let.release()
    runs.let.release()
    # The one under way may have copied the profile before the call.
    assert [report.generation for report in await asyncio.gather(*calls)] == [2, 2, 2]
    assert (runs.begun, runs.most) == (2, 1)
    runs.let.release()
    assert (await runs.schedule.run_now()).generation == 3
    await runs.schedule.stop()


async def test_a_call_works_before_the_start_and_raises_what_the_run_raised() -> None:
    runs = Runs(3600)
    runs.fault = StoreUnavailable("down")
    runs.let.release()
    with pytest.raises(StoreUnavailable, match="down"):
        await runs.schedule.run_now()
    assert runs.outcomes == [runs.fault]


async def test_a_cancelled_call_leaves_the_run_alone() -> None:
    runs = Runs(3600)
    call = asyncio.create_task(runs.schedule.run_now())
    while not runs.begun:  # noqa: ASYNC110 - a turn or two of the loop
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    runs.let.release()
    await runs.until(1)
    assert generations(runs.outcomes) == [1]


async def test_stop_waits_for_a_run() -> None:
    runs = Runs(3600)
    runs.schedule.start()
    await asyncio.sleep(0)
    stopping = asyncio.create_task(runs.schedule.stop(timeout=3600))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not stopping.done()
    runs.let.release()
    await stopping
    assert generations(runs.outcomes) == [1]
    with pytest.raises(SessionClosed):
        await runs.schedule.run_now()


async def test_stop_cancels_a_run_that_does_not_end_and_tells_who_waits() -> None:
    runs = Runs(3600)
    runs.schedule.start()
    await asyncio.sleep(0)
    call = asyncio.create_task(runs.schedule.run_now())
    await asyncio.sleep(0)
    await runs.schedule.stop(timeout=0.01)
    with pytest.raises(SessionClosed):
        await call
    assert (runs.under_way, runs.outcomes, runs.begun) == (0, [], 1)
    await runs.schedule.stop()
    runs.let.release()
    runs.schedule.start()
    await runs.until(1)
    await runs.schedule.stop()


async def test_a_callback_that_raises_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    runs = Runs(0.01)

    def raising(_: object) -> None:
        runs.outcomes.append(None)
        raise ZeroDivisionError

    schedule = BackupSchedule(runs.run, interval=0.01, on_saved=raising, on_failed=raising)
    runs.let = asyncio.Semaphore(2)
    schedule.start()
    await runs.until(2)
    await schedule.stop(timeout=0)
    assert "a callback of the backup schedule failed" in caplog.text


async def test_an_overdue_run_is_caught_up_at_once() -> None:
    runs = Runs(3600)
    runs.let = asyncio.Semaphore(100)
    runs.fault = StoreUnavailable("down")
    runs.schedule.start()
    await runs.until(1)
    runs.fault = None
    runs.schedule.catch_up()
    await runs.until(2)
    assert generations(runs.outcomes) == [2]
    # One has just worked: nothing is overdue.
    runs.schedule.catch_up()
    await asyncio.sleep(0.05)
    assert runs.begun == 2
    await runs.schedule.stop(timeout=0)


async def test_what_is_overdue_when_a_run_has_just_failed_is_not_forgotten() -> None:
    runs = Runs(3600)
    runs.let = asyncio.Semaphore(100)
    runs.fault = SessionCorrupted("bad")

    def failed(exc: Exception) -> None:
        runs.outcomes.append(exc)
        runs.fault = None
        schedule.catch_up()

    schedule = BackupSchedule(runs.run, interval=3600, on_saved=runs.outcomes.append, on_failed=failed)
    schedule.start()
    await runs.until(2)
    assert generations(runs.outcomes) == [2]
    await schedule.stop(timeout=0)


async def test_what_a_run_has_caught_up_is_not_run_once_more() -> None:
    runs = Runs(3600)
    runs.schedule.start()
    await asyncio.sleep(0)
    runs.schedule.catch_up()
    runs.let.release()
    await runs.until(1)
    await runs.next_run()
    for _ in range(5):
        await asyncio.sleep(0)
    assert runs.begun == 1
    await runs.schedule.stop(timeout=0)


async def test_what_the_clock_missed_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("wwauth.backup.schedule.clock", lambda: now)
    runs = Runs(60)
    runs.let = asyncio.Semaphore(100)
    runs.schedule.start()
    await runs.until(1)
    now += 59
    runs.schedule.catch_up()
    await asyncio.sleep(0.05)
    assert runs.begun == 1
    now += 2  # the machine slept, and the loop's own clock with it
    runs.schedule.catch_up()
    await runs.until(2)
    await runs.schedule.stop(timeout=0)
