"""Logins that whatsapp-web.js keeps in MongoDB and in S3 are moved to wwauth's stores, and back."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, NamedTuple

import pytest

from wwauth.backup import BackupEngine, migrate_session
from wwauth.errors import ConfigurationError
from wwauth.stores import FileSystemStore, open_store

from ..unit.profiles import make_profile
from ..unit.test_backup_engine import login

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from wwauth.abc import Store

SESSION = "RemoteAuth-one"

# The peers' layouts, by the fixtures of the servers.
LAYOUTS = {"mongodb": "wwebjs-mongo", "s3": "wwebjs-aws-s3"}


class Stores(NamedTuple):
    """One place, as the peer sees it and as wwauth does, and another one."""

    peers: Store
    own: Store
    elsewhere: Store


@pytest.fixture(params=LAYOUTS)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    url: str = request.getfixturevalue(request.param).url(request.node.name)
    option = f"layout={LAYOUTS[request.param]}"
    opened = Stores(
        open_store(f"{url}&{option}" if "?" in url else f"{url}?{option}"), open_store(url), FileSystemStore(tmp_path / "store")
    )
    yield opened
    for store in opened:
        await store.close()


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return make_profile(tmp_path / "data" / SESSION)


async def back(store: Store, tmp_path: Path) -> dict[str, bytes]:
    await BackupEngine(store, session=SESSION, archive="whatsapp-web.js").restore(tmp_path / "back" / SESSION)
    found = login(tmp_path / "back" / SESSION)
    shutil.rmtree(tmp_path / "back")
    return found


async def test_from_the_peers_layout_and_to_it(stores: Stores, profile: Path, tmp_path: Path) -> None:
    await BackupEngine(stores.peers, session=SESSION, archive="whatsapp-web.js").save(profile)
    for source, target in ((stores.peers, stores.elsewhere), (stores.elsewhere, stores.peers)):
        assert [info.session async for info in source.list_sessions()] == [SESSION]
        report = await migrate_session(source, target, session=SESSION, delete_source=True)
        assert (report.outcome, report.archive, report.source_deleted) == ("copied", "whatsapp-web.js", True)
        assert [info.session async for info in source.list_sessions()] == []
        assert await back(target, tmp_path) == login(profile)


async def test_what_wwauth_reads_of_the_peers_is_not_taken_for_a_copy(stores: Stores, profile: Path, tmp_path: Path) -> None:
    await BackupEngine(stores.peers, session=SESSION, archive="whatsapp-web.js").save(profile)
    with pytest.raises(ConfigurationError, match="at least in part: nothing was deleted"):
        await migrate_session(stores.peers, stores.own, session=SESSION, delete_source=True)
    assert await back(stores.peers, tmp_path) == login(profile)


async def test_packs_go_to_wwauths_layout_alone(stores: Stores, profile: Path, tmp_path: Path) -> None:
    await BackupEngine(stores.elsewhere, session=SESSION).save(profile)
    with pytest.raises(ConfigurationError, match="takes no packs"):
        await migrate_session(stores.elsewhere, stores.peers, session=SESSION)
    report = await migrate_session(stores.elsewhere, stores.own, session=SESSION, delete_source=True)
    assert (report.archives, report.source_deleted) == (2, True)
    assert await back(stores.own, tmp_path) == login(profile)


@pytest.mark.parametrize("url", ["mongodb://user:hunter2@host/db?layout=no&tls=true", "s3://bucket/logins?layout=no"])
def test_a_layout_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ConfigurationError, match="'no'") as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)
