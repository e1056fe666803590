"""The strategies of the examples keep what a strategy promises, and what they say of themselves."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wwauth import LocalAuth, Store
from wwauth.errors import ConfigurationError, SessionCorrupted, SessionInUse, StoreUnavailable
from wwauth.stores import FileSystemStore
from wwauth.testing import StrategyContract

from ..soaking import soak

if TYPE_CHECKING:
    from collections.abc import Callable

    from wwauth import AuthStrategy
    from wwauth.testing import Simulator

    from .conftest import Recorded

pytestmark = pytest.mark.browser

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LocalThenRemoteAuth = example("composed_strategy").LocalThenRemoteAuth
UserAuth = example("profile_per_user").UserAuth


# Composed -------------------------------------------------------------------------------------------------------------


def composed(folder: Path, store: Store | None = None, login: str = "one") -> Any:
    return LocalThenRemoteAuth(store=store or FileSystemStore(folder / "store"), client_id=login, data_path=folder / "auth")


# The contract's tests take most of a minute for each strategy: LocalAuth's, RemoteAuth's and the document's always run.
@soak
class TestComposedStrategy(StrategyContract):
    @pytest.fixture
    def make_strategy(self, tmp_path: Path) -> Callable[[str], AuthStrategy]:
        return lambda login: composed(tmp_path, login=login)


class Down(Store):
    """A store that cannot be reached."""

    async def session_exists(self, *, session: str) -> bool:
        raise StoreUnavailable(f"no answer about {session}")

    async def save(self, *, session: str, path: Path) -> None:
        raise StoreUnavailable(f"{path} of {session} was not taken")

    async def extract(self, *, session: str, path: Path) -> None:
        raise StoreUnavailable(f"{session} was not written to {path}")

    async def delete(self, *, session: str) -> None:
        raise StoreUnavailable(f"{session} was not deleted")


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


async def link_local_auth(make_client: Callable[..., Recorded], simulator: Simulator, folder: Path) -> None:
    it = make_client(auth_strategy=LocalAuth(client_id="one", data_path=folder / "auth"))
    await it.link(simulator)
    await it.client.destroy()


async def test_a_login_on_the_disk_needs_no_store_and_an_empty_disk_does(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    await link_local_auth(make_client, simulator, tmp_path)
    it = make_client(auth_strategy=composed(tmp_path, Down()))
    await it.client.initialize()
    assert await it.client.wait_for("authenticated", timeout=20) == "local"
    await it.client.wait_for("ready", timeout=20)
    with pytest.raises(SessionInUse):
        await make_client(auth_strategy=composed(tmp_path, Down())).client.initialize()
    await it.client.destroy()
    assert it.names[-2:] == ["authenticated", "ready"]

    shutil.rmtree(tmp_path / "auth")
    it.events.clear()
    for _ in range(2):  # the second time shows that the locks were given back
        with pytest.raises(StoreUnavailable):
            await make_client(auth_strategy=composed(tmp_path, Down())).client.initialize()
    with pytest.raises(StoreUnavailable):
        await it.client.initialize()
    assert it.events == []
    assert visible(tmp_path / "auth") == []


async def test_a_logout_leaves_nothing_of_either(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    await link_local_auth(make_client, simulator, tmp_path)
    (tmp_path / "auth" / "RemoteAuth-one").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "RemoteAuth-one.zip").write_bytes(b"of an earlier login")
    it = make_client(auth_strategy=composed(tmp_path))
    await it.client.initialize()
    await it.client.wait_for("ready", timeout=20)
    await it.client.logout()
    assert visible(tmp_path / "auth") == visible(tmp_path / "store") == []
    assert simulator.devices == {}


async def test_a_logout_deletes_the_profile_also_when_the_store_is_down(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    await link_local_auth(make_client, simulator, tmp_path)
    it = make_client(auth_strategy=composed(tmp_path, Down()))
    with pytest.raises(StoreUnavailable, match="no answer about"):
        await it.client.logout()
    assert visible(tmp_path / "auth") == []


async def test_a_damaged_profile_on_the_disk_is_the_stores_turn(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    it = make_client(auth_strategy=composed(tmp_path))
    await it.link(simulator)
    await it.client.destroy()
    profile = tmp_path / "auth" / "session-one"
    (tmp_path / "auth" / "RemoteAuth-one").rename(profile)
    next(profile.glob("Default/IndexedDB/*.leveldb/CURRENT")).write_bytes(b"nothing")
    it.events.clear()
    await it.client.initialize()
    assert await it.client.wait_for("authenticated", timeout=20) == "remote"
    await it.client.wait_for("ready", timeout=20)
    assert it.names == ["error", "auth_failure", "restored", "loading_screen", "authenticated", "ready"]
    assert isinstance(it.events[0][1], SessionCorrupted)
    assert len(simulator.devices) == 1


# A profile for each user ----------------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "users.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(example("profile_per_user").SCHEMA)
        rows = [("one", "a"), ("two", "b"), ("outside", "../../etc")]
        connection.executemany("INSERT INTO users VALUES (?, ?, NULL)", rows)
    return path


def number_of(database: Path, user: str) -> str | None:
    with closing(sqlite3.connect(database)) as connection:
        ((number,),) = connection.execute("SELECT number FROM users WHERE name = ?", (user,)).fetchall()
    return None if number is None else str(number)


@soak
class TestUserAuth(StrategyContract):
    @pytest.fixture
    def make_strategy(self, database: Path, tmp_path: Path) -> Callable[[str], AuthStrategy]:
        return lambda login: UserAuth(database=database, user=login, data_path=tmp_path / "profiles")


async def test_the_database_learns_the_number_and_forgets_it(
    make_client: Callable[..., Recorded], simulator: Simulator, database: Path, tmp_path: Path
) -> None:
    it = make_client(auth_strategy=UserAuth(database=database, user="one", data_path=tmp_path / "profiles"))
    await it.link(simulator)
    assert it.client.info is not None
    while number_of(database, "one") is None:  # noqa: ASYNC110 - it is written after `ready`
        await asyncio.sleep(0.01)
    assert number_of(database, "one") == it.client.info.wid
    assert ("authenticated", "one") in it.events
    assert visible(tmp_path / "profiles") == ["session-a"]
    await it.client.logout()
    assert number_of(database, "one") is None
    assert visible(tmp_path / "profiles") == []


async def test_a_database_that_fails_does_not_end_a_login_that_works(
    make_client: Callable[..., Recorded], simulator: Simulator, database: Path, tmp_path: Path
) -> None:
    it = make_client(auth_strategy=UserAuth(database=database, user="one", data_path=tmp_path / "profiles"))
    await it.client.initialize()
    qr = it.client.qr or await it.client.wait_for("qr", timeout=20)
    database.rename(tmp_path / "elsewhere.db")
    await simulator.phone.scan(qr)
    error = await it.client.wait_for("error", timeout=20)
    assert isinstance(error, StoreUnavailable)
    assert await it.client.get_state() == "CONNECTED"
    assert not database.exists()


@pytest.mark.parametrize(
    ("user", "error", "message"),
    [("Eve", ConfigurationError, "no user 'Eve' in .*users.db"), ("outside", ConfigurationError, r"'\.\./\.\./etc'")],
)
async def test_who_is_not_known_gets_no_browser(
    make_client: Callable[..., Recorded], database: Path, tmp_path: Path, user: str, error: type[Exception], message: str
) -> None:
    it = make_client(auth_strategy=UserAuth(database=database, user=user, data_path=tmp_path / "profiles"))
    with pytest.raises(error, match=message):
        await it.client.initialize()
    assert it.events == []
    assert not (tmp_path / "profiles").exists()


async def test_a_missing_database_is_named_and_not_created(make_client: Callable[..., Recorded], tmp_path: Path) -> None:
    it = make_client(auth_strategy=UserAuth(database=tmp_path / "users.db", user="one", data_path=tmp_path / "profiles"))
    with pytest.raises(StoreUnavailable, match=r"users\.db cannot be asked"):
        await it.client.initialize()
    assert list(tmp_path.iterdir()) == []
