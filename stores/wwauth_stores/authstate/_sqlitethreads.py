"""One SQLite database of this process: a thread that writes, a thread that reads, for all who use the file."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from wwauth._threads import in_thread
from wwauth.errors import ConfigurationError

from .._sqlite import sqlite_code
from ._sqlitefile import AuthDatabaseFile
from ._sqliteschema import NEWEST, upgrade, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Connection = sqlite3.Connection

_T = TypeVar("_T")

# So many writes go into one transaction at most, so that the first of them does not wait for all.
_GROUP = 256

# How many bytes of the log of a large transaction stay on the disk after it was worked off.
_LOG_KEPT = 16 * 1024 * 1024

_REFUSED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class _Job(Generic[_T]):
    """What a coroutine wants done in a thread; `future` is its loop's, and touched there alone."""

    __slots__ = ("abandoned", "create", "error", "future", "loop", "result", "settled", "timeout", "work")

    def __init__(self, work: Callable[[Connection], _T], timeout: float, *, create: bool) -> None:
        self.work, self.timeout, self.create = work, timeout, create
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()
        self.result: _T | None = None
        self.error: BaseException | None = None
        self.abandoned = self.settled = False

    async def ended(self) -> _T | None:
        """
        Return what the work returned, None where there is no database, or raise what it raised.

        A cancellation takes back work that did not begin, and waits for the end of what did: once the caller goes on, no
        thread touches the database behind its back.
        """
        try:
            await self.future
        except asyncio.CancelledError:
            self.abandoned = True
            while not self.settled:
                self.future = self.loop.create_future()
                with suppress(asyncio.CancelledError):
                    await self.future
            raise
        if self.error is not None:
            raise self.error
        return self.result


def _settle(jobs: Sequence[_Job[Any]]) -> None:
    for job in jobs:
        job.settled = True
        if not job.future.done():
            job.future.set_result(None)


class _Worker(threading.Thread):
    """A thread with a connection, which does what is queued, and what was queued meanwhile in one go."""

    def __init__(self, file: AuthDatabaseFile, name: str) -> None:
        super().__init__(name=f"wwauth-{name}", daemon=True)
        self._file = file
        self._queue: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._timeout = 0.0
        self._gate = threading.Lock()
        self._ending = False

    def put(self, job: _Job[Any] | None) -> None:
        """Queue a job; None: end after what is queued, and take no more."""
        with self._gate:
            if self._ending:
                raise ConfigurationError(f"the database {self._file.path} was closed: make a new store")
            self._ending = job is None
            self._queue.put(job)

    def run(self) -> None:
        going = True
        while going:
            jobs = [self._queue.get()]
            with suppress(queue.Empty):
                while len(jobs) < _GROUP and jobs[-1] is not None:
                    jobs.append(self._queue.get_nowait())
            going = jobs[-1] is not None
            # The same list for the work and the answers: what was abandoned is answered, too.
            group = [job for job in jobs if job is not None]
            self._do(group)
            self._answer(group)
        self._close()

    def _answer(self, jobs: Sequence[_Job[Any]]) -> None:
        for loop in {job.loop for job in jobs}:
            # A loop that was closed awaits nothing.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, [job for job in jobs if job.loop is loop])

    def _do(self, jobs: Sequence[_Job[Any]]) -> None:
        jobs = [job for job in jobs if not job.abandoned]
        if not jobs:
            return
        try:
            timeout = max(job.timeout for job in jobs)
            connection = self._open(timeout, create=any(job.create for job in jobs))
            if connection is not None:
                self._work(connection, jobs)
                # Afterwards: what was done to a file without a name is lost with it, and what it told is not the state.
                self._file.check()
        except Exception as error:  # noqa: BLE001 - it is the answer
            self._close()
            for job in jobs:
                job.error = error

    def _work(self, connection: Connection, jobs: Sequence[_Job[Any]]) -> None:
        raise NotImplementedError

    def _open(self, timeout: float, *, create: bool) -> Connection | None:
        """Return the connection, None where no auth state was ever kept; it waits for others for `timeout` seconds."""
        if self._connection is None:
            self._connection = self._connect(timeout, create=create)
        elif timeout != self._timeout:
            self._connection.execute(f"PRAGMA busy_timeout = {round(timeout * 1000)}")
        self._timeout = timeout
        return self._connection

    def _connect(self, timeout: float, *, create: bool) -> Connection | None:
        if not self._file.find(create=create):
            return None
        # Not to be made by SQLite: what is gone is not to come back empty.
        uri = f"{self._file.path.as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)
        try:
            version = version_of(connection)
            if not version and not create:
                connection.close()
                return None
            if version < NEWEST:
                upgrade(connection)
            self._prepare(connection, timeout)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: Connection, timeout: float) -> None:
        """Set up a new connection."""

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


class _Reader(_Worker):
    """Runs each job by itself; the work sees everything as it was at one moment where it begins a transaction."""

    def _work(self, connection: Connection, jobs: Sequence[_Job[Any]]) -> None:
        for job in jobs:
            try:
                job.result = job.work(connection)
            except Exception as error:  # noqa: BLE001 - it is the answer
                job.error = error
                if connection.in_transaction:
                    connection.execute("ROLLBACK")


class _Writer(_Worker):
    """Commits what waits together; where that fails each by itself, so that a write is all that its failure takes back."""

    def _prepare(self, connection: Connection, timeout: float) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: to the disk itself, not to its cache
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_KEPT}")
        deadline = time.monotonic() + timeout
        while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            # Several who do this at the same moment are not made to wait for each other: all but one are told to go away.
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if sqlite_code(error) not in _REFUSED or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _work(self, connection: Connection, jobs: Sequence[_Job[Any]]) -> None:
        try:
            self._commit(connection, jobs)
        except Exception as error:
            if len(jobs) == 1 or sqlite_code(error) in _REFUSED:
                raise
        else:
            return
        for job in jobs:
            try:
                self._commit(connection, [job])
            except Exception as error:  # noqa: BLE001 - it is the answer
                job.error = error

    def _commit(self, connection: Connection, jobs: Sequence[_Job[Any]]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for job in jobs:
                job.result = job.work(connection)
            connection.execute("COMMIT")
        except BaseException:
            # On a full disk SQLite may have done so itself.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


class SharedDatabase:
    """
    The database at a path, for all auth states of this process; made by `shared`, and closed by the last `release`.

    Its threads start with the first use. Coroutines of several event loops may use it.
    """

    _all: ClassVar[dict[Path, SharedDatabase]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()
    # How many forks lie between this process and the one that imported this: to ask for the process's id each time is dear.
    _forks: ClassVar[int] = 0

    def __init__(self, path: Path) -> None:
        self.file = AuthDatabaseFile(path)
        self._users = 0
        self._born = self._forks
        self._writer, self._reader = _Writer(self.file, "writer"), _Reader(self.file, "reader")

    @classmethod
    def shared(cls, path: Path) -> SharedDatabase:
        """Return the database at an absolute path; to be given back with `release`."""
        with cls._lock:
            found = cls._all.get(path)
            if found is None or found._born != cls._forks:
                found = cls._all[path] = cls(path)
                found._writer.start()
                found._reader.start()
            found._users += 1
            return found

    async def write(self, work: Callable[[Connection], _T], *, timeout: float, create: bool) -> _T | None:
        """Do `work` in a transaction and return what it returned once that is durable; None: there is no database."""
        self._same_process()
        job = _Job(work, timeout, create=create)
        self._writer.put(job)
        return await job.ended()

    async def read(self, work: Callable[[Connection], _T], *, timeout: float) -> _T | None:
        """Do `work`, which sees all that a `write` has returned of, and return what it returned; None: no database."""
        self._same_process()
        job = _Job(work, timeout, create=False)
        self._reader.put(job)
        return await job.ended()

    async def release(self) -> None:
        """Give it back; with the last user the threads end, after what is queued."""
        with self._lock:
            self._users -= 1
            last = not self._users
            if last and self._all.get(self.file.path) is self:
                del self._all[self.file.path]
        if last and self._born == self._forks:
            await in_thread(lambda _: self._end())

    def _end(self) -> None:
        # One after the other: of two connections that close at the same moment neither is the last one, which takes SQLite's
        # log away.
        for worker in (self._reader, self._writer):
            worker.put(None)
            worker.join()

    @classmethod
    def forked(cls) -> None:
        """Take note that this process is the child of a fork, in which no thread lives on."""
        cls._forks += 1
        # Whoever held it may have been left behind.
        cls._lock = threading.Lock()

    def _same_process(self) -> None:
        if self._born != self._forks:
            raise ConfigurationError(f"the database {self.file.path} was opened before a fork: make a new store in the child")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SharedDatabase.forked)
