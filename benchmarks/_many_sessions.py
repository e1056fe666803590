"""
Many logins in one database: what opening one, updating it, reading it and listing all of them takes, the more there are.

Each login has its credentials and 5,000 keys: 4,000 pre-keys, 1,000 sessions of about a kilobyte. What is timed happens to
logins that are chosen at random among those that are there.

To run: python benchmarks/_many_sessions.py
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "stores")]  # what is measured is this checkout

from benchmarks._tables import table  # noqa: E402
from tests.servers.postgresql import PostgreSQL  # noqa: E402
from wwauth.abc import CREDS, RecordName  # noqa: E402
from wwauth.authstate import BufferJSON, init_auth_creds, use_sql_auth_state  # noqa: E402
from wwauth_stores.authstate.sql import sql_auth_state_store  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wwauth.abc import AuthStateStore

COUNTS = (1, 50, 200)
KEYS = 5000

_PRE_KEYS = 4000
_TIMES = 40


@dataclass(frozen=True, slots=True)
class Many:
    """
    What it takes with so many logins in the database: medians, in milliseconds.

    Attributes:
        sessions: How many logins there are.
        open: To open a login, and to close it.
        update: To save one session record, durably.
        read: To read 500 session records at once.
        listed: To list all logins.
        deleted: To delete one with all its keys (a mean, of a few).
    """

    sessions: int
    open: float
    update: float
    read: float
    listed: float
    deleted: float


async def in_sqlite(folder: Path, say: Callable[[str], None] = lambda _: None) -> list[Many]:
    """Measure it in an SQLite database, which is made in a folder."""
    return await _measured(f"sqlite:///{folder / 'many.db'}", say)


async def in_postgresql(say: Callable[[str], None] = lambda _: None) -> list[Many]:
    """Measure it on a PostgreSQL of its own, which syncs each commit, as it does by default."""
    server = PostgreSQL()
    await asyncio.to_thread(server.__enter__)
    try:
        # Once, as the server does by itself after a while: at its work it is not what is measured.
        url = server.url("many")
        return await _measured(url, say, settle=lambda: server.run("VACUUM ANALYZE", "CHECKPOINT", database="many"))
    finally:
        await asyncio.to_thread(server.__exit__)


def rows(results: Sequence[Many]) -> list[list[str]]:
    """Return the rows of a table, without its head."""
    return [
        [str(many.sessions), *(f"{took:.1f}" for took in (many.open, many.update, many.read, many.listed, many.deleted))]
        for many in results
    ]


HEAD = ("sessions", "open, close (ms)", "update one record", "read 500 records", "list the sessions", "delete a session")


async def _measured(url: str, say: Callable[[str], None], settle: Callable[[], object] = lambda: None) -> list[Many]:
    results, store, chosen = [], sql_auth_state_store(url), random.Random(7)
    creds = BufferJSON.dumps(init_auth_creds())
    made = 0
    async with store:
        for count in COUNTS:
            say(f"{count} sessions")
            for number in range(made, count):
                await _make(store, _name(number), creds)
            made = count
            # What was made is on the disk: its writing is not what is measured.
            await asyncio.to_thread(settle)
            if sys.platform != "win32":
                await asyncio.to_thread(os.sync)
            results.append(await _measure(url, store, count, chosen))
            # Those that were deleted.
            for number in range(count):
                await _make(store, _name(number), creds, only_missing=True)
    return results


async def _make(store: AuthStateStore, session: str, creds: str, *, only_missing: bool = False) -> None:
    if only_missing and await store.read(session=session, names=[CREDS]):
        return
    pair = BufferJSON.dumps({"private": bytes(range(32)), "public": bytes(32)})
    changes: dict[RecordName, str | None] = {RecordName("pre-key", str(number)): pair for number in range(_PRE_KEYS)}
    changes |= {_record(number): _session(number) for number in range(KEYS - _PRE_KEYS)}
    # As whoever makes a login does.
    async with store.hold(session=session):
        await store.write(session=session, changes={**changes, CREDS: creds})


def _name(number: int) -> str:
    return f"user-{number:04}"


def _record(number: int) -> RecordName:
    return RecordName("session", f"1555{number:07}.0")


def _session(number: int) -> str:
    return BufferJSON.dumps({"version": "v1", "_sessions": {"x": random.Random(number).randbytes(750)}})


async def _measure(url: str, store: AuthStateStore, count: int, chosen: random.Random) -> Many:
    async def opened() -> None:
        state, _ = await use_sql_auth_state(url, _name(chosen.randrange(count)))
        await state.close()

    async def updated() -> None:
        number = chosen.randrange(KEYS - _PRE_KEYS)
        await store.write(session=_name(chosen.randrange(count)), changes={_record(number): _session(chosen.randrange(10**6))})

    async def read() -> None:
        names = [_record(number) for number in chosen.sample(range(KEYS - _PRE_KEYS), 500)]
        assert len(await store.read(session=_name(chosen.randrange(count)), names=names)) == 500

    async def listed() -> None:
        assert len([name async for name in store.list_sessions()]) == count

    open_, update, read_, list_ = [await _median(what, _TIMES) for what in (opened, updated, read, listed)]
    gone = chosen.sample(range(count), min(count, 5))
    began = time.perf_counter()
    for number in gone:
        await store.delete(session=_name(number))
    return Many(count, open_, update, read_, list_, 1000 * (time.perf_counter() - began) / len(gone))


async def _median(work: Callable[[], Awaitable[None]], times: int) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await work()
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


async def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as folder:
        print("SQLite", *table(HEAD, rows(await in_sqlite(Path(folder)))), sep="\n")
    print("PostgreSQL", *table(HEAD, rows(await in_postgresql())), sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
