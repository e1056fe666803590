"""The servers as fixtures: each starts once in a run, with its first test, and ends with the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .redis import Redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..conftest import RequireOptional
    from .base import Server


def server_fixture(kind: type[Server]) -> Callable[..., Any]:
    """Make the fixture of a server; where it is not installed, its tests skip, and say how to get it."""

    @pytest.fixture(scope="session", name=kind.name)
    def running(require_optional: RequireOptional) -> Iterator[Server]:
        require_optional(kind.found(), f"{kind.name} is not installed: {kind.install}")
        with kind() as server:
            yield server

    return running


redis = server_fixture(Redis)
