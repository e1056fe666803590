"""MariaDB, as Debian has it."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

from .base import Server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GUEST, GUEST_PASSWORD = "guest", "hunter2"


class MariaDB(Server):
    name = "mariadb"
    install = "make servers, or apt-get install mariadb-server-core mariadb-client-core"

    def __init__(self) -> None:
        super().__init__()
        self._shared: dict[str, str] = {}

    @classmethod
    def found(cls) -> bool:
        return all(map(shutil.which, ("mariadbd", "mariadb-install-db", "mariadb")))

    def url(self, name: str) -> str:
        self.run(f"DROP DATABASE IF EXISTS `{name}`; CREATE DATABASE `{name}`")
        return self.address(name)

    def shared(self, name: str) -> str:
        """Return the URL of a database that is made with the first call and kept."""
        if name not in self._shared:
            self._shared[name] = self.url(name)
        return self._shared[name]

    def address(self, database: str, user: str = "root", scheme: str = "mariadb") -> str:
        return f"{scheme}://{user}@127.0.0.1:{self.port}/{database}"

    def run(self, statements: str, *, database: str = "mysql") -> str:
        """Run statements, and return what they say."""
        to = ["--no-defaults", "-h127.0.0.1", f"-P{self.port}", "-uroot", "-N", "-B", "-e", statements, database]
        return subprocess.run(["mariadb", *to], check=True, capture_output=True, text=True).stdout.strip()

    def prepare(self) -> None:
        how = [f"--user={getpass.getuser()}", "--auth-root-authentication-method=normal", "--skip-test-db"]
        command = ["mariadb-install-db", "--no-defaults", f"--datadir={self.data}", *how]
        subprocess.run(command, check=True, capture_output=True)

    def command(self) -> Sequence[str | Path]:
        return [
            "mariadbd",
            "--no-defaults",
            f"--datadir={self.data}",
            f"--user={getpass.getuser()}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--socket={self.folder / 's'}",
            f"--pid-file={self.folder / 'pid'}",
            # Its data goes with it: nothing is tidied up first.
            "--innodb-fast-shutdown=2",
            f"--innodb-flush-log-at-trx-commit={1 if self.durable else 2}",
        ]

    def ready(self) -> bool:
        # Its greeting; what it says while it cannot serve yet is an error.
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
            return probe.recv(5)[4:] == b"\x0a"

    def opened(self) -> None:
        self.run(f"CREATE USER IF NOT EXISTS {GUEST}@'127.0.0.1' IDENTIFIED BY '{GUEST_PASSWORD}'")
