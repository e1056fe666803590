"""RemoteAuth over each store, on its real server: the disk is lost, and the login comes back without another code."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from wwauth import LocalAuth, RemoteAuth
from wwauth.backup import BackupEngine, DataPath, migrate_session
from wwauth.errors import SessionInUse
from wwauth.stores import FileSystemStore, open_store

from ..soaking import most_in_soak
from .simulated import the_page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wwauth.backup import RestoreReport
    from wwauth.testing import Simulator

    from .conftest import Recorded

pytestmark = pytest.mark.browser

# The fixtures of tests/servers, each of which gives a URL that `open_store` takes.
SERVERS = ["postgresql", "mariadb", "redis", "mongodb", "s3", "azure", "gcs"]


# One each time of those that share most of their code.
@pytest.fixture(params=most_in_soak(["sqlite", *SERVERS], usual=["postgresql", "mongodb", "s3"]))
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'logins.db'}"
    address: str = request.getfixturevalue(request.param).url("end-to-end")
    return address


async def test_a_login_outlives_its_disk(
    url: str, make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    first, second = (open_store(url) for _ in range(2))
    try:
        it = make_client(auth_strategy=RemoteAuth(store=first, client_id="one", data_path=tmp_path / "auth"))
        await it.link(simulator)
        await simulator.phone.send_messages(10, 1_000)
        saved = await it.client.auth_strategy.backup_now()  # type: ignore[attr-defined]
        await it.client.destroy()
        shutil.rmtree(tmp_path / "auth")

        # As another host, which has nothing but the store.
        it = make_client(auth_strategy=RemoteAuth(store=second, client_id="one", data_path=tmp_path / "auth"))
        restored = await comes_back(it, simulator)
        assert restored.generation >= saved.generation
        await it.client.destroy()
    finally:
        await first.close()
        await second.close()


async def test_a_profile_of_local_auth_moves_to_a_store(
    make_client: Callable[..., Recorded], simulator: Simulator, tmp_path: Path
) -> None:
    data, store = tmp_path / "auth", FileSystemStore(tmp_path / "store")
    it = make_client(auth_strategy=LocalAuth(client_id="one", data_path=data))
    await it.link(simulator)
    with pytest.raises(SessionInUse):
        await migrate_session(DataPath(data), store, session="session-one")
    await it.client.destroy()
    report = await migrate_session(DataPath(data), store, session="session-one", name="RemoteAuth-one", delete_source=True)
    assert report.source_deleted
    assert not (data / "session-one").exists()
    it = make_client(auth_strategy=RemoteAuth(store=store, client_id="one", data_path=data))
    await comes_back(it, simulator)
    await it.client.destroy()
    # What was moved is one whole archive, which the next save replaces; a slow end has time for another one.
    numbers = [generation.number for generation in await BackupEngine(store, session="RemoteAuth-one").generations()]
    assert numbers[-1] == 2


async def comes_back(it: Recorded, simulator: Simulator) -> RestoreReport:
    """Start a client whose login comes from its store, and whose keys the server takes."""
    await it.client.initialize()
    await it.client.wait_for("ready", timeout=30)
    assert (it.names[0], "qr" in it.names) == ("restored", False)
    page = await the_page(simulator, stage="ready")
    assert (page["diagnosis"], page["damaged"]) == ("ok", 0)
    report: RestoreReport = it.events[0][1]
    return report
