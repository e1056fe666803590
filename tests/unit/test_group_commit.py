"""Group commit, where all tasks are cancelled at any moment."""

from __future__ import annotations

import asyncio

import pytest

from wwauth._group import GroupCommit


async def test_a_commit_that_is_cancelled_before_it_begins_holds_nobody_up() -> None:
    """At the end of asyncio.run() for one, where what is cleaned up may write once more."""
    committed: list[list[int]] = []

    async def commit(items: list[int]) -> None:
        committed.append(items)

    group = GroupCommit(commit)

    async def work() -> None:
        try:
            await group.add(1)
        finally:
            # While the commit's end is not known yet, and then after it.
            with pytest.raises(asyncio.CancelledError):
                await group.add(2)
            await group.add(3)

    working = asyncio.create_task(work())
    others = asyncio.all_tasks()
    await asyncio.sleep(0)
    for task in (working, *(asyncio.all_tasks() - others)):
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert committed == [[3]]
