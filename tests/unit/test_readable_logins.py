"""The warning of logins that leave this machine and are not encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pyrage import x25519

from wwauth import Client, RemoteAuth
from wwauth.abc import StoreFeatures
from wwauth.backup import BackupEngine, export_session, import_session
from wwauth.stores import EncryptedStore, FileSystemStore, MemoryStore

from .profiles import make_profile

if TYPE_CHECKING:
    from pathlib import Path

    from wwauth.abc import Store


class Elsewhere(MemoryStore):
    features = StoreFeatures(listing=True, leases=True, remote=True)


class Wrapper(Elsewhere):
    def __init__(self, **inner: Store) -> None:
        super().__init__()
        vars(self).update(inner)


@pytest.fixture(autouse=True)
def _nothing_was_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wwauth._store._warned", set())


def encrypted(inner: Store) -> EncryptedStore:
    key = x25519.Identity.generate()
    return EncryptedStore(inner, recipients=[key.to_public()], identities=[key])


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "not encrypted" in record.getMessage()]


def test_it_comes_once_and_names_the_kind_and_the_cure(caplog: pytest.LogCaptureFixture) -> None:
    for session in ("one", "two"):
        BackupEngine(Elsewhere(), session=session)
    (said,) = warnings(caplog)
    assert said.startswith("Elsewhere keeps logins outside this machine")
    assert "EncryptedStore(" in said
    BackupEngine(Wrapper(), session="one")
    assert len(warnings(caplog)) == 2


def test_remote_auth_says_it_before_anything_is_linked(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    Client(auth_strategy=RemoteAuth(store=Elsewhere(), data_path=tmp_path))
    assert len(warnings(caplog)) == 1


async def test_an_import_says_it(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    local = FileSystemStore(tmp_path / "store")
    await BackupEngine(local, session="one").save(make_profile(tmp_path / "data" / "one"))
    await export_session(local, session="one", path=tmp_path / "one.zip")
    assert warnings(caplog) == []
    await import_session(Elsewhere(), path=tmp_path / "one.zip")
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize(
    ("store", "kind"),
    [
        (MemoryStore(), None),
        (encrypted(Elsewhere()), None),
        (Wrapper(inner=encrypted(Elsewhere())), None),
        (Wrapper(inner=Elsewhere()), "Elsewhere"),
        (Wrapper(inner=Wrapper(inner=Elsewhere())), "Elsewhere"),
        (Wrapper(primary=MemoryStore(), secondary=Elsewhere()), "Elsewhere"),
        (Wrapper(primary=encrypted(Elsewhere()), secondary=MemoryStore()), None),
        (Wrapper(), "Wrapper"),
    ],
    ids=["local", "encrypted", "encrypted within", "within", "deep within", "one of two", "neither of two", "itself"],
)
def test_wrappers_are_looked_into(caplog: pytest.LogCaptureFixture, store: Store, kind: str | None) -> None:
    BackupEngine(store, session="one")
    assert [said.partition(" ")[0] for said in warnings(caplog)] == ([] if kind is None else [kind])


def test_a_plug_in_without_features_is_taken_for_a_local_one(caplog: pytest.LogCaptureFixture) -> None:
    class Plain:
        async def nothing(self, **_: Any) -> None: ...

        session_exists = save = extract = delete = nothing

    BackupEngine(Plain(), session="one")  # type: ignore[arg-type]
    assert warnings(caplog) == []
