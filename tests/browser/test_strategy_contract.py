"""wwauth's strategies, and those of the examples and documents, keep what a strategy promises."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from wwauth import AuthStrategy, LegacySessionAuth, LocalAuth, NoAuth, RemoteAuth
from wwauth.errors import WWAuthError
from wwauth.stores import FileSystemStore
from wwauth.testing import StrategyContract

from ..soaking import most_in_soak, soak

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wwauth import Client

pytestmark = pytest.mark.browser


@soak
class TestNoAuth(StrategyContract):
    keeps_login = False

    @pytest.fixture
    def make_strategy(self) -> Callable[[str], AuthStrategy]:
        return lambda _login: NoAuth()


@soak
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


@soak
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

TestFolderAuth = soak(program["TestFolderAuth"])


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


# The mistakes that the contract finds -------------------------------------------------------------------------------

if TYPE_CHECKING:

    class FolderAuth(AuthStrategy):
        _folder: Path

        def __init__(self, folder: Path) -> None: ...
        def _delete(self) -> None: ...
else:
    FolderAuth = program["FolderAuth"]


class ForgetsItsLock(FolderAuth):
    async def destroy(self) -> None:
        pass


class ForgetsItsLockAfterAFailure(FolderAuth):
    async def destroy(self) -> None:
        if self.client.holds_login:
            await super().destroy()


class ForgetsItsLockAtALogout(FolderAuth):
    async def logout(self) -> None:
        await asyncio.to_thread(self._delete)


class ForgetsItsClient(FolderAuth):
    def setup(self, client: Client) -> None:
        pass


class KeepsNothing(FolderAuth):
    async def before_browser_initialized(self) -> None:
        self.user_data_dir = None


class DeletesWhenTheConnectionIsLost(FolderAuth):
    """As whatsapp-web.js's RemoteAuth does."""

    lost = False

    async def disconnect(self) -> None:
        self.lost = True

    async def destroy(self) -> None:
        if self.lost:
            await asyncio.to_thread(self._delete)
        await super().destroy()


class DeletesTheNeighbours(FolderAuth):
    async def logout(self) -> None:
        for folder in self._folder.parent.glob("*/"):
            await asyncio.to_thread(shutil.rmtree, folder)
        await super().destroy()


class SharesOneFolder(FolderAuth):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder.parent / "shared")


class WritesIntoTheOptions(FolderAuth):
    """As whatsapp-web.js's strategies do."""

    def setup(self, client: Client) -> None:
        super().setup(client)
        client.options.launch_options["args"].append("--mute-audio")


class GivesNoAnswer(FolderAuth):
    async def on_authentication_needed(self) -> None:  # type: ignore[override]
        return None


GIVEN_UP = "test_a_launch_that_is_given_up_gives_back_what_it_took"
FAILED_START = "test_an_exception_before_the_login_ends_initialize"
FAILED_END = "test_an_exception_at_the_end_does_not_stop_it"
LIFE = "test_the_hooks_follow_the_life_of_a_login"
ENDS = "test_only_a_logout_ends_a_login"
TWO = "test_two_clients_side_by_side"
ONE = "test_a_strategy_serves_one_client"


MISTAKES: list[tuple[type[FolderAuth], str, str]] = [
    (ForgetsItsLock, GIVEN_UP, "is in use"),
    (ForgetsItsLockAfterAFailure, FAILED_START, "is in use"),
    (ForgetsItsLockAtALogout, FAILED_END, "is in use"),
    (ForgetsItsClient, ONE, "DID NOT RAISE"),
    (KeepsNothing, LIFE, "on_authentication_needed"),
    (DeletesWhenTheConnectionIsLost, ENDS, "on_authentication_needed"),
    (DeletesTheNeighbours, TWO, "on_authentication_needed"),
    (SharesOneFolder, TWO, "is in use"),
    (WritesIntoTheOptions, ONE, "options were changed"),
    (GivesNoAnswer, LIFE, r"GivesNoAnswer\.on_authentication_needed\(\) returned NoneType: return an AuthenticationNeeded"),
]

# Those whose clients only start are quick; and what the peer does.
USUAL = [each for each in MISTAKES if each[1] in {GIVEN_UP, FAILED_START, ONE} or each[0] is DeletesWhenTheConnectionIsLost]


@pytest.mark.parametrize(
    ("kind", "test", "complaint"),
    most_in_soak(MISTAKES, usual=USUAL),
)
async def test_a_mistake_is_found(kind: type[FolderAuth], test: str, complaint: str, tmp_path: Path) -> None:
    contract = StrategyContract()
    arguments = {"hook": "logout"} if test == FAILED_END else {}
    with pytest.raises((AssertionError, WWAuthError, pytest.fail.Exception), match=complaint):
        async with contract.staged(lambda login: kind(tmp_path / login)) as stage:
            await getattr(contract, test)(stage, **arguments)
