"""wwauth's strategies, and those of the examples and documents, keep what a strategy promises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from wwauth import AuthStrategy, LegacySessionAuth, LocalAuth, NoAuth, RemoteAuth
from wwauth.stores import FileSystemStore
from wwauth.testing import StrategyContract

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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


# The strategy of the document, and its test, as they stand there.
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "strategies.md"
STRATEGY, TEST = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)

program: dict[str, Any] = {"__name__": __name__}
exec(compile(STRATEGY, f"{DOCUMENT} (the strategy)", "exec"), program)
exec(compile(TEST, f"{DOCUMENT} (its test)", "exec"), program)

TestFolderAuth = program["TestFolderAuth"]


def test_the_test_of_the_document_is_as_short_as_it_says() -> None:
    assert len(TEST.splitlines()) <= 15


def test_the_document_names_every_hook() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    diagram = text.partition("```text")[2].partition("```")[0]
    hooks = [name for name in vars(AuthStrategy) if callable(getattr(AuthStrategy, name)) and not name.startswith("_")]
    assert len(hooks) == 9
    for hook in hooks:
        assert f"{hook}(" in diagram
        assert re.search(rf"^\| `{hook}(\(client\))?` \|", text, flags=re.MULTILINE), hook
