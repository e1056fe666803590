"""wwauth's strategies, and those of the examples and documents, keep what a strategy promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from wwauth import LegacySessionAuth, LocalAuth, NoAuth, RemoteAuth
from wwauth.stores import FileSystemStore
from wwauth.testing import StrategyContract

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from wwauth import AuthStrategy

pytestmark = pytest.mark.browser


class TestNoAuth(StrategyContract):
    keeps_login = False

    @pytest.fixture
    def make_strategy(self) -> Callable[[str], AuthStrategy]:
        return lambda _login: NoAuth()


class TestLocalAuth(StrategyContract):
    @pytest.fixture
    def make_strategy(self, tmp_path: Path) -> Callable[[str], AuthStrategy]:
        return lambda login: LocalAuth(client_id=login, data_path=tmp_path)


class TestRemoteAuth(StrategyContract):
    @pytest.fixture
    def make_strategy(self, tmp_path: Path) -> Callable[[str], AuthStrategy]:
        return lambda login: RemoteAuth(
            store=FileSystemStore(tmp_path / "store"), client_id=login, data_path=tmp_path, backup_sync_interval_ms=600_000
        )


@pytest.mark.filterwarnings("ignore:LegacySessionAuth is deprecated:DeprecationWarning")
class TestLegacySessionAuth(StrategyContract):
    simulator_options: ClassVar[Mapping[str, Any]] = {"legacy": True}

    @pytest.fixture
    def make_strategy(self) -> Callable[[str], AuthStrategy]:
        self.sessions: dict[str, Any] = {}
        return lambda login: LegacySessionAuth(session=self.sessions.get(login))

    def keep_payload(self, login: str, payload: object) -> None:
        self.sessions[login] = payload
