"""Redis, with every write on its disk before it is acknowledged."""

from __future__ import annotations

import shutil
import socket
from typing import TYPE_CHECKING

from .base import Server

if TYPE_CHECKING:
    from collections.abc import Sequence


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
        return self.ask("PING") == "+PONG"

    def ask(self, *command: str) -> str:
        """Send one command, without a driver, and return the first line of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            words = "".join(f"${len(word)}\r\n{word}\r\n" for word in command)
            connection.sendall(f"*{len(command)}\r\n{words}".encode())
            with connection.makefile("rb") as answer:
                return answer.readline().decode().strip()


class RedisCluster(Redis):
    """A cluster of one node, which refuses scripts over keys of several slots as every cluster does."""

    name = "redis_cluster"
    settings = ("--cluster-enabled", "yes", "--appendonly", "no", "--save", "")

    def opened(self) -> None:
        self.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
