"""
MongoDB's protocol: a server from PyPI that speaks it, or a real mongod where WWAUTH_TEST_MONGO_URL names one.

That one is only used: it is neither killed nor paused, and the databases that tests made there are dropped at the end.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from .base import Server

if TYPE_CHECKING:
    from collections.abc import Sequence

VARIABLE = "WWAUTH_TEST_MONGO_URL"

_PROGRAM = Path(__file__).parents[2] / ".servers" / "bin" / "secantusd-py"


class MongoDB(Server):
    name = "mongodb"
    install = f"run make servers, or set {VARIABLE}"

    def __init__(self) -> None:
        super().__init__()
        self.external = os.environ.get(VARIABLE)
        self.options: list[str] = []
        self._databases: list[str] = []

    @classmethod
    def found(cls) -> bool:
        return VARIABLE in os.environ or _PROGRAM.exists()

    def url(self, name: str) -> str:
        # MongoDB's longest name has 63 bytes.
        database = f"{re.sub('[^a-z0-9]+', '_', name.lower())[:40]}_{secrets.token_hex(4)}"
        self._databases.append(database)
        if self.external is None:
            return f"mongodb://127.0.0.1:{self.port}/{database}?serverSelectionTimeoutMS=60000"
        return urlunsplit(urlsplit(self.external)._replace(path=f"/{database}"))

    def command(self) -> Sequence[str | Path]:
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--storage-path", str(self.data)]
        return [_PROGRAM, *where, "--cache-size", "2G", "--log-level", "WARNING", *self.options]

    def ready(self) -> bool:
        from pymongo import MongoClient

        where = self.external or f"mongodb://127.0.0.1:{self.port}/?serverSelectionTimeoutMS=500"
        with MongoClient[dict[str, object]](where) as client:
            # Answered to everybody, also where users are asked for their passwords.
            return bool(client.admin.command("hello")["ok"])

    def start(self) -> None:
        if self.external is None:
            super().start()
        elif not self._answers():
            raise RuntimeError(f"{VARIABLE} is set, and nothing answers there")

    def stop(self) -> None:
        if self.external is None:
            super().stop()
            return
        from pymongo import MongoClient

        with MongoClient[dict[str, object]](self.external) as client:
            for database in self._databases:
                client.drop_database(database)
