"""A real server for tests: on a free loopback port, in a folder of its own, gone with the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

_START, _STOP = 120.0, 30.0


class Server:
    """
    One server process; a subclass says how it is prepared, started and probed.

    `kill()` is SIGKILL, as a crash of the server is; `start()` starts it again on the same port and the same data.
    """

    name: ClassVar[str]
    install: ClassVar[str]
    """How to get it, for the message of a skipped test."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"server-{self.name}-"))
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        self._ports = contextlib.ExitStack()
        self.port = self.free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._ports.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    def found(cls) -> bool:
        """Tell whether it is installed."""
        raise NotImplementedError

    def url(self, name: str) -> str:
        """Return the URL of a store of its own there, for `open_store`; what `name` needs is made."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make what the first start needs."""

    def command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def ready(self) -> bool:
        """Tell whether it answers; an exception says no, too."""
        raise NotImplementedError

    def opened(self) -> None:
        """Do what is to be done after each start, such as making a bucket."""

    def popen_options(self) -> dict[str, Any]:
        return {}

    def start(self) -> None:
        assert self._process is None, f"{self.name} runs already"
        # Not marked as a process of a test: it outlives them, and is ended here.
        environment = {name: value for name, value in os.environ.items() if name != "WWAUTH_TEST_RUN"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in self.command()],
                cwd=self.data,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment,
                **self.popen_options(),
            )
        deadline = time.monotonic() + _START
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                status = self._process.poll()
                self.kill()
                tail = self._log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} does not start (status {status}):\n{tail}")
            time.sleep(0.02)
        self.opened()

    def stop(self) -> None:
        """End it as its administrator does."""
        self._end(lambda process: process.send_signal(self.stop_signal), first_only=True)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(psutil.Process.kill)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let it hang: it takes connections, and answers nothing."""
        stopped = self._stopped()
        _each(stopped, psutil.Process.suspend)
        try:
            yield
        finally:
            _each(stopped, psutil.Process.resume)

    def free_port(self) -> int:
        """Return a loopback port that nobody has, and on Linux nobody else is given until the end, also while it is down."""
        with contextlib.ExitStack() as until_now:
            kept = (self._ports if sys.platform == "linux" else until_now).enter_context(socket.socket())
            # The server may bind it beside this one, which listens to nobody; for whoever takes any port it is taken.
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            kept.bind(("127.0.0.1", 0))
            return int(kept.getsockname()[1])

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _answers(self) -> bool:
        with contextlib.suppress(Exception):
            return self.ready()
        return False

    def _end(self, how: Callable[[psutil.Process], object], *, first_only: bool = False) -> None:
        if self._process is None:
            return
        # A crash takes all of its processes at once; some of them have made themselves groups of their own.
        all_of_it = self._processes() if first_only else self._stopped()
        process, self._process = self._process, None
        _each(all_of_it[:1] if first_only else all_of_it, how)
        try:
            process.wait(_STOP)
        except subprocess.TimeoutExpired:
            _each(all_of_it, psutil.Process.kill)
            process.wait()
        while any(map(_runs, all_of_it)):
            time.sleep(0.005)

    def _stopped(self) -> list[psutil.Process]:
        """Stop the first process, so that it begins no other one any more, and return all there are."""
        for first in self._processes()[:1]:
            first.suspend()
            while first.status() not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}:
                time.sleep(0.001)
        return self._processes()

    def _processes(self) -> list[psutil.Process]:
        assert self._process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        return []


def _each(processes: list[psutil.Process], what: Callable[[psutil.Process], object]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            what(process)


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False
