"""Redis, with every write on its disk before it is acknowledged."""

from __future__ import annotations

import contextlib
import shutil
import socket
from typing import TYPE_CHECKING, Any

from .base import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO


class Redis(Server):
    name = "redis"
    install = "apt install redis-server"
    settings: Sequence[str] = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")

    @classmethod
    def found(cls) -> bool:
        return shutil.which("redis-server") is not None

    def url(self, name: str) -> str:
        return f"redis://127.0.0.1:{self.port}/0?key_prefix={name}:"

    def command(self) -> Sequence[str]:
        where = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.data), "--daemonize", "no")
        return ("redis-server", *where, *self.settings)

    def ready(self) -> bool:
        return bool(self.ask("PING") == "PONG")

    def ask(self, *command: str) -> Any:
        """Send one command, without a driver; an error is an answer, too."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            words = "".join(f"${len(word)}\r\n{word}\r\n" for word in command)
            connection.sendall(f"*{len(command)}\r\n{words}".encode())
            with connection.makefile("rb") as answer:
                return _read(answer)

    def clients(self) -> int:
        """Count the connections that are open, but for the one that asks."""
        return len(self.ask("CLIENT", "LIST").splitlines()) - 1

    @contextlib.contextmanager
    def set_to(self, **settings: str) -> Iterator[None]:
        """Change settings for a while; a dash in their names is an underscore here."""
        names = {name.replace("_", "-"): value for name, value in settings.items()}
        before = {name: self.ask("CONFIG", "GET", name)[1] for name in names}
        try:
            self._set(names)
            yield
        finally:
            self._set(before)

    @contextlib.contextmanager
    def user(self, *rights: str) -> Iterator[str]:
        """Make a user with these rights, whose password is `hunter2`, and yield the beginning of its URLs."""
        assert self.ask("ACL", "SETUSER", "somebody", "on", ">hunter2", "~*", *rights) == "OK"
        try:
            yield f"redis://somebody:hunter2@127.0.0.1:{self.port}/0"
        finally:
            self.ask("ACL", "DELUSER", "somebody")

    def _set(self, settings: dict[str, str]) -> None:
        for name, value in settings.items():
            assert self.ask("CONFIG", "SET", name, value) == "OK"


class ForgetfulRedis(Redis):
    """A server that writes nothing to a disk."""

    name = "forgetful_redis"
    settings = ("--appendonly", "no", "--save", "")


class RedisCluster(Redis):
    """A cluster of one node, which refuses scripts over keys of several slots as every cluster does."""

    name = "redis_cluster"
    settings = ("--cluster-enabled", "yes", "--appendonly", "no", "--save", "")

    def __init__(self) -> None:
        super().__init__()
        # Its own choice is 10,000 above the other port, which need not be one.
        self._bus = self.free_port()

    def command(self) -> Sequence[str]:
        return (*super().command(), "--cluster-port", str(self._bus))

    def ready(self) -> bool:
        if not self.ask("CLUSTER", "SLOTS"):
            self.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        return "cluster_state:ok" in self.ask("CLUSTER", "INFO")


def _read(answer: BinaryIO) -> Any:
    line = answer.readline().decode().strip()
    kind, rest = line[:1], line[1:]
    if kind == "*":
        return [_read(answer) for _ in range(int(rest))]
    if kind == "$":
        return answer.read(int(rest) + 2)[:-2].decode()
    return rest
