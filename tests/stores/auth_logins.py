"""Logins for the tests of auth states in databases: a real one's records, a holder that has died, writers to be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wwauth.abc import CREDS, RecordName
from wwauth.authstate.names import record_of

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL = Path(__file__).parents[1] / "fixtures" / "baileys" / "03-full"

KEY = RecordName("session", "15551234567.0")
SENDER = RecordName("sender-key", "120363000000000001@g.us::99000000000002_1::0")

_WRITE = """
import asyncio, sys
from wwauth.abc import CREDS, RecordName
from wwauth.authstate.databases import mongo_auth_state_store, redis_auth_state_store

async def main():
    url = sys.argv[1]
    store = (redis_auth_state_store if url.startswith("redis") else mongo_auth_state_store)(url)
    names = [CREDS, *(RecordName("session", str(number)) for number in range(30))]
    async with store.hold(session="one"):
        count = int((await store.read(session="one", names=[CREDS])).get(CREDS, "0"))
        while True:
            count += 1
            await store.write(session="one", changes=dict.fromkeys(names, str(count)))
            print(count, flush=True)

asyncio.run(main())
"""


def full_login() -> dict[RecordName, str]:
    """Return what Baileys wrote of a paired device, by the names that it has in memory."""
    found = {record_of(path.name): path.read_text("utf-8") for path in FULL.glob("*.json")}
    return {name: text for name, text in found.items() if name is not None}


def dead_holder() -> str:
    """Return the name of a holder on this machine whose process has ended."""
    code = "from wwauth._holder import new_holder; print(new_holder())"
    return subprocess.run(
        [sys.executable, "-c", code], env=_environment(), capture_output=True, text=True, check=True
    ).stdout.strip()


def killed_writers(url: str, kills: int) -> Iterator[int]:
    """Have processes write batches of equal texts, kill each in the middle, and yield the last one that returned."""
    for number in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITE, url], env=_environment(), stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(5 + 7 * number):
                returned = int(writer.stdout.readline())
            writer.kill()
            rest = writer.stdout.read().splitlines()
        yield int(rest[-1]) if rest else returned


BATCH = [CREDS, *(RecordName("session", str(number)) for number in range(30))]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
