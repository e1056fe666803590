"""
Processes that write to an SQL store, to be killed; and what they write.

They are forked from one process that has everything imported, so that hundreds of them cost little.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import event

from wwauth.errors import StoreError
from wwauth.stores import SQLStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from typing import Self

    from ..servers.base import Server

SESSION = "RemoteAuth-one"
# SIGKILL, which Windows does not have, nor fork().
KILL = 9


def content(number: int) -> bytes:
    """Return the bytes of the archive of that number, each of another length, up to three chunks and a bit."""
    moments = random.Random(number)
    return moments.randbytes(moments.randrange(100, 3_300_000))


def write(path: Path, number: int) -> Path:
    path.write_bytes(content(number))
    return path


async def held(store: SQLStore, folder: Path) -> bytes:
    """Return what the store holds of the session."""
    path = folder / "held.zip"
    await store.extract(session=SESSION, path=path)
    data = path.read_bytes()
    path.unlink()
    return data


async def under_way(store: SQLStore, path: Path, fence: int | None = None) -> asyncio.Task[None]:
    """Begin a save and return when some of its chunks are in the database."""
    chunks = 0

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal chunks
        chunks += statement.startswith("INSERT INTO wwauth_chunks")

    engine = store._engine.sync_engine
    event.listen(engine, "after_cursor_execute", count)
    task = asyncio.create_task(store.save(session=SESSION, path=path, fence=fence))
    while chunks < 5:
        assert not task.done(), "the save ended by itself"
        await asyncio.sleep(0.001)
    event.remove(engine, "after_cursor_execute", count)
    return task


class Writers:
    """
    Writers, each a process of its own that saves one archive after the other, from a number on, and says so.

    `with Writers(url, folder) as writers`, then for each `start(number)`, `kill()`.
    """

    def __init__(self, url: str, folder: Path) -> None:
        path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.stores.sql_writers import serve; serve()", url, str(folder)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._saved: int | None = None
        self.last = ""
        """What a writer has said last."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def start(self, number: int, *, beside: int = 1) -> None:
        """Start `beside` writers at the same moment."""
        assert self._process.stdin is not None
        self._saved = None
        print(number, beside, file=self._process.stdin, flush=True)
        assert self._next()[0] == "born"

    def wait(self, *words: str) -> int:
        """Wait until a writer has said one of these words; return the number that it was about."""
        while (said := self._next())[0] not in words:
            assert said[0] != "failed", said
        return int(said[1])

    def kill(self) -> int | None:
        """Kill the writers; return the last number that one of them has saved, and said so; None: it has saved none."""
        assert self._process.stdin is not None
        print("kill", file=self._process.stdin, flush=True)
        while (said := self._next())[0] != "dead":
            assert said[0] != "failed", said
        return self._saved

    def _next(self) -> Sequence[str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that forks writers has ended"
        said = line.split(maxsplit=1)
        if said[0] == "saved":
            self._saved = int(said[1])
        if said[0] != "dead":
            self.last = said[0]
        return said


def serve() -> None:
    """Fork writers as the lines of the standard input say, and kill them."""
    if sys.platform == "win32":
        raise NotImplementedError
    url, folder = sys.argv[1], Path(sys.argv[2])
    # Loads what a writer needs, and opens nothing.
    SQLStore.from_url(url)
    pids: list[int] = []
    for line in sys.stdin:
        if line.strip() == "kill":
            for pid in pids:
                os.kill(pid, KILL)
                os.waitpid(pid, 0)
            pids = []
            _say("dead")
            continue
        number, beside = map(int, line.split())
        _say("born")
        for one in range(beside):
            pid = os.fork()
            if pid == 0:
                # Sooner than the one that forked it can, and without what it has to tidy up.
                os._exit(_write(url, folder / f"source-{one}.zip", number))
            pids.append(pid)
    for pid in pids:
        os.kill(pid, KILL)


def _write(url: str, path: Path, number: int) -> int:
    try:
        asyncio.run(_write_on(url, path, number))
    except BaseException as error:
        _say("failed", repr(error))
    return 1


async def _write_on(url: str, path: Path, number: int) -> None:
    store = SQLStore.from_url(url)
    while True:
        write(path, number)
        _say("saving", number)
        await store.save(session=SESSION, path=path)
        _say("saved", number)
        number += 1


def _say(*words: object) -> None:
    # One write each: what was said before a SIGKILL arrives, and whole.
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def kill_writers(url: str, folder: Path, kills: int, seed: int) -> dict[str, int]:
    """
    Kill a writer again and again, at any moment from its first connection on; return what was met.

    After each, a store that was opened before all of them finds the archive that was saved last, or the one that was on its
    way, whole; and saves one itself.
    """
    moments, number = random.Random(seed), 1
    met = {
        "kills": 0,
        "in_the_middle_of_a_save": 0,
        "before_a_first_save": 0,
        "came_back_as_it_was_saved_last": 0,
        "came_back_as_it_was_on_its_way": 0,
    }
    store = SQLStore.from_url(url)
    mine = folder / "mine.zip"
    async with store:
        lasts = await _timed(store.save(session=SESSION, path=write(mine, 0)))
        last = 0
        with Writers(url, folder) as writers:
            for _ in range(kills):
                await asyncio.to_thread(writers.start, number)
                # Some while they open the database, most of them while they save.
                for _ in range(moments.choice((0, 1, 1, 2, 3))):
                    await asyncio.to_thread(writers.wait, "saving")
                await asyncio.sleep(moments.uniform(0, lasts))
                saved = await asyncio.to_thread(writers.kill)
                last = last if saved is None else saved
                following = number if saved is None else saved + 1
                got = await held(store, folder)
                assert got in (content(last), content(following)), f"after {saved} was saved there are {len(got)} other bytes"
                met["kills"] += 1
                met["in_the_middle_of_a_save"] += writers.last == "saving"
                met["before_a_first_save"] += saved is None and writers.last != "saving"
                met["came_back_as_it_was_saved_last" if got == content(last) else "came_back_as_it_was_on_its_way"] += 1
                last = number = following + 1
                lasts = await _timed(store.save(session=SESSION, path=write(mine, last)))
                assert await held(store, folder) == content(last)
                number += 1
    return met


async def kill_server(server: Server, store: SQLStore, folder: Path, kills: int, seed: int) -> dict[str, int]:
    """
    Kill the server at any moment of a save, until `kills` of them came in its middle, and start it; return what was met.

    After each, the same client finds the archive that was saved last, or the one that was on its way, whole; and saves again.
    """
    moments, mine = random.Random(seed), folder / "mine.zip"
    met = {"kills": 0, "saves_that_failed": 0, "saves_that_were_done": 0, "new_after_a_failure": 0}
    lasts = await _timed(store.save(session=SESSION, path=write(mine, 0)))
    last = number = 0
    while met["saves_that_failed"] < kills:
        number += 1
        save = asyncio.ensure_future(store.save(session=SESSION, path=write(mine, number)))
        await asyncio.wait([save], timeout=moments.uniform(0, lasts))
        await asyncio.to_thread(server.kill)
        failed = False
        with contextlib.suppress(StoreError):
            failed = True
            await save
            failed = False
        await asyncio.to_thread(server.start)
        got = await held(store, folder)
        met["kills"] += 1
        met["saves_that_failed" if failed else "saves_that_were_done"] += 1
        if failed:
            assert got in (content(last), content(number)), f"{len(got)} bytes that were never saved"
            met["new_after_a_failure"] += got == content(number)
        else:
            assert got == content(number), "an archive that was saved is lost"
        # Twice, since the first one may have to connect.
        await store.save(session=SESSION, path=mine)
        lasts = await _timed(store.save(session=SESSION, path=mine))
        assert await held(store, folder) == content(number)
        last = number
    return met


async def _timed(work: Awaitable[None]) -> float:
    began = time.monotonic()
    await work
    return time.monotonic() - began
