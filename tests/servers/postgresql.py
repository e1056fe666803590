"""PostgreSQL, as Debian has it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .base import Server

if TYPE_CHECKING:
    from collections.abc import Sequence

# Refused without its password; everybody else, `postgres` for one, is taken at their word.
GUEST, GUEST_PASSWORD = "guest", "hunter2"

_RULES = f"""
host all {GUEST} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""


class PostgreSQL(Server):
    name = "postgresql"
    install = "make servers, or apt-get install postgresql"
    # Its SIGTERM waits for clients to leave.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    def __init__(self) -> None:
        super().__init__()
        self._shared: dict[str, str] = {}

    @classmethod
    def found(cls) -> bool:
        return bool(_folders())

    def url(self, name: str) -> str:
        self.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"')
        return self.address(name)

    def shared(self, name: str) -> str:
        """Return the URL of a database that is made with the first call and kept."""
        if name not in self._shared:
            self._shared[name] = self.url(name)
        return self._shared[name]

    def address(self, database: str, user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def run(self, *statements: str, database: str = "postgres") -> str:
        """Run each statement by itself, and return what they say."""
        words: list[str] = [word for statement in statements for word in ("-c", statement)]
        command = [_program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *words, self.address(database)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def prepare(self) -> None:
        if self._user:
            for folder in (self.folder, *self.folder.parents):
                if not folder.stat().st_mode & 0o001:
                    folder.chmod(folder.stat().st_mode | 0o011)
            subprocess.run(["chown", "postgres:postgres", self.data], check=True)
        how = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run(
            [_program("initdb"), "-D", str(self.data), *how], check=True, capture_output=True, cwd=self.data, **self._user
        )
        (self.data / "pg_hba.conf").write_text(_RULES)

    def command(self) -> Sequence[str | Path]:
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories="]
        if not self.durable:
            settings.append("fsync=off")
        return [_program("postgres"), "-D", self.data, "-p", str(self.port), *(f"--{setting}" for setting in settings)]

    def popen_options(self) -> dict[str, Any]:
        return self._user

    def ready(self) -> bool:
        probe = [_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(probe, check=False).returncode == 0

    def opened(self) -> None:
        exists = self.run(f"SELECT 1 FROM pg_roles WHERE rolname = '{GUEST}'")
        if not exists:
            self.run(f"CREATE ROLE {GUEST} LOGIN PASSWORD '{GUEST_PASSWORD}'")

    @property
    def _user(self) -> dict[str, Any]:
        # It refuses to be root.
        return (
            {"user": "postgres", "group": "postgres", "extra_groups": []}
            if sys.platform != "win32" and os.geteuid() == 0
            else {}
        )


def _folders() -> list[Path]:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))


def _program(name: str) -> str:
    return str(_folders()[-1] / name)
