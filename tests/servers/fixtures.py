"""The servers as fixtures: each starts once in a run, with its first test, and ends with the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .azure import Azure
from .gcs import GCS
from .mariadb import MariaDB
from .mongodb import MongoDB
from .postgresql import PostgreSQL
from .redis import Redis
from .s3 import S3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..conftest import RequireOptional
    from .base import Server


def server_fixture(kind: type[Server]) -> Callable[..., Any]:
    """Make the fixture of a server; where it is not installed, its tests skip, and say how to get it."""

    @pytest.fixture(scope="session", name=kind.name)
    def running(require_optional: RequireOptional) -> Iterator[Server]:
        require_optional(kind.found(), f"{kind.name} is not installed: {kind.install}")
        server = kind()
        # It is killed, and the machine is not.
        server.durable = False
        with server:
            yield server

    return running


postgresql = server_fixture(PostgreSQL)
mariadb = server_fixture(MariaDB)
mongodb = server_fixture(MongoDB)
s3 = server_fixture(S3)
azure = server_fixture(Azure)
gcs = server_fixture(GCS)
redis = server_fixture(Redis)
