"""The store that keeps everything twice."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from wwauth.abc import StoreFeatures
from wwauth.backup import BackupEngine
from wwauth.backup._stored import recipients_digest
from wwauth.errors import (
    ConfigurationError,
    DecryptionFailed,
    LeaseLost,
    SessionCorrupted,
    SessionNotFound,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from wwauth.stores import EncryptedStore, FileSystemStore, MemoryStore, MirroredStore, RetryingStore
from wwauth.testing.store_contract import StoreContract

from ..unit.profiles import INDEXED_DB, ORIGIN, make_profile
from ..unit.test_generations import grow
from .faulty import Crash, Faulty

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wwauth.abc import Store

LOG = f"{INDEXED_DB}/000006.log"


class TestMirroredStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> MirroredStore:
        self.folders = tmp_path / "first", tmp_path / "second"
        return self.mirror()

    def mirror(self, **options: Any) -> MirroredStore:
        first, second = (FileSystemStore(folder, **options) for folder in self.folders)
        return MirroredStore(first, second)

    async def reopen(self, store: Store) -> Store:
        return self.mirror()

    def open_elsewhere(self, store: Store) -> str:
        made = ", ".join(f"FileSystemStore({str(folder)!r})" for folder in self.folders)
        return f"from wwauth.stores import FileSystemStore, MirroredStore; store = MirroredStore({made})"

    async def unreachable(self) -> Store:
        self.folders = self.folders[0] / "not mounted", self.folders[1] / "not mounted"
        return self.mirror(create=False)


@pytest.fixture
def first() -> Faulty:
    return Faulty(MemoryStore())


@pytest.fixture
def second() -> Faulty:
    return Faulty(MemoryStore())


@pytest.fixture
def mirror(first: Faulty, second: Faulty, tmp_path: Path) -> MirroredStore:
    work = tmp_path / "work"
    work.mkdir()
    return MirroredStore(first, second, work_dir=work)


@pytest.fixture
def new(tmp_path: Path) -> Callable[[], Path]:
    """Make another archive with each call."""
    folder = tmp_path / "sources"
    folder.mkdir()

    def make() -> Path:
        data = secrets.token_bytes(1000)
        path = folder / data[:4].hex()
        path.write_bytes(data)
        return path

    return make


async def held(store: Store, path: Path, session: str = "one") -> bytes | None:
    """Return what a store holds; `path` is a file, beside which it is extracted."""
    out = path.with_name("out.zip")
    try:
        await store.extract(session=session, path=out)
    except SessionNotFound:
        return None
    data = out.read_bytes()
    out.unlink()
    return data


async def names(store: Faulty) -> list[str]:
    return [info.session async for info in store.store.list_sessions(packs=True)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_both_hold_the_archive_as_it_is(
    mirror: MirroredStore, first: Faulty, second: Faulty, new: Callable[[], Path]
) -> None:
    path = new()
    await mirror.save(session="one", path=path)
    records = []
    for side in (first, second):
        assert await held(side.store, path) == path.read_bytes()
        assert await names(side) == ["one", "one.mirror"]
        records.append(json.loads(await held(side.store, path, "one.mirror") or b""))
    assert [record.pop("store") for record in records] == ["primary", "secondary"]
    assert records[0] == records[1]
    assert {"wwauth-mirror": 1, "session": "one", "deleted": False}.items() <= records[0].items()
    await mirror.delete(session="one")
    assert await names(first) == await names(second) == []


@pytest.mark.parametrize("cured_by", ["save", "extract", "repair", "repair all"])
@pytest.mark.parametrize("down", [0, 1])
async def test_a_store_that_was_down_is_brought_up_to_date(
    mirror: MirroredStore,
    first: Faulty,
    second: Faulty,
    new: Callable[[], Path],
    caplog: pytest.LogCaptureFixture,
    down: int,
    cured_by: str,
) -> None:
    caplog.set_level(logging.INFO)
    away = (first, second)[down]
    await mirror.save(session="one", path=new())
    away.down = True
    for _ in range(3):
        path = new()
        await mirror.save(session="one", path=path)
    assert await held(mirror, path) == path.read_bytes()
    assert await mirror.session_exists(session="one") is True
    assert [info.session async for info in mirror.list_sessions()] == ["one"]
    (warning,) = warnings(caplog)
    assert f"the {('primary', 'secondary')[down]} store of a mirror, Faulty(), fails at reading" in warning

    away.down = False
    match cured_by:
        case "save":
            path = new()
            await mirror.save(session="one", path=path)
        case "extract":
            assert await held(mirror, path) == path.read_bytes()
        case "repair":
            assert await mirror.repair(session="one") == ["one"]
        case "repair all":
            assert await mirror.repair() == ["one"]
    assert await held(first.store, path) == await held(second.store, path) == path.read_bytes()
    assert await mirror.repair() == []
    assert warnings(caplog) == [warning]
    assert "is back at reading" in caplog.text


@pytest.mark.parametrize("error", [StoreFull("full"), StoreDenied("no"), StoreError("what"), OSError("hunter2")])
@pytest.mark.parametrize("which", [0, 1])
async def test_a_store_that_does_not_take_it_is_one_that_is_down(
    mirror: MirroredStore,
    first: Faulty,
    second: Faulty,
    new: Callable[[], Path],
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    which: int,
) -> None:
    path = new()
    await mirror.save(session="one", path=new())
    for _ in range(2):
        (first, second)[which].faults = [None, None, error]
        await mirror.save(session="one", path=path)
    assert len(warnings(caplog)) == 1, "once until it works again"
    assert "hunter2" not in caplog.text
    assert await held(mirror, path) == path.read_bytes()


async def test_when_neither_takes_it_the_save_fails(
    mirror: MirroredStore, first: Faulty, second: Faulty, new: Callable[[], Path]
) -> None:
    path = new()
    await mirror.save(session="one", path=path)
    first.faults, second.faults = [None, None, StoreFull("the first")], [None, None, StoreFull("the second")]
    with pytest.raises(StoreFull, match="the first"):
        await mirror.save(session="one", path=new())
    assert await held(mirror, path) == path.read_bytes()
    first.down = second.down = True
    first.error = StoreDenied("the first")
    for call in (
        mirror.session_exists(session="one"),
        mirror.save(session="one", path=path),
        mirror.extract(session="one", path=path.with_name("out.zip")),
        mirror.delete(session="one"),
        mirror.repair(session="one"),
        mirror.repair(),
        anext(mirror.list_sessions()),
    ):
        with pytest.raises(StoreDenied, match="the first"):
            await call
    assert not path.with_name("out.zip").exists()


async def test_a_mistake_of_the_caller_is_no_outage(
    mirror: MirroredStore, first: Faulty, second: Faulty, tmp_path: Path, new: Callable[[], Path]
) -> None:
    with pytest.raises(ConfigurationError):
        await mirror.save(session="one", path=tmp_path / "not there")
    with pytest.raises(ConfigurationError, match=r"names that end so are the mirror's own"):
        await mirror.save(session="one.mirror", path=new())
    await mirror.save(session="one", path=new())
    with pytest.raises(ConfigurationError):
        await mirror.extract(session="one", path=tmp_path / "not there" / "out.zip")
    first.faults = [None, None, ConfigurationError("wrong")]
    with pytest.raises(ConfigurationError, match="wrong"):
        await mirror.save(session="one", path=new())
    assert "delete one" not in first.calls + second.calls


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("damage", ["gone", "gone with its record", "damaged", "other bytes", "a record of nonsense"])
async def test_what_one_store_lost_comes_back_from_the_other(
    mirror: MirroredStore, first: Faulty, second: Faulty, new: Callable[[], Path], damage: str, which: int
) -> None:
    path, side = new(), (first, second)[which]
    await mirror.save(session="one", path=path)
    match damage:
        case "gone" | "gone with its record":
            await side.store.delete(session="one")
            if damage != "gone":
                await side.store.delete(session="one.mirror")
        case "damaged":
            side.faults = [None, None, SessionCorrupted("damaged")]
        case "other bytes":
            await side.store.save(session="one", path=new())
        case "a record of nonsense":
            await side.store.save(session="one.mirror", path=new())
    assert await held(mirror, path) == path.read_bytes()
    # A secondary whose archive is not what it says is not looked at while the primary's is.
    if damage not in {"damaged", "other bytes"} or which == 0:
        assert await mirror.repair() == []
        assert await held(first.store, path) == await held(second.store, path) == path.read_bytes()


@pytest.mark.parametrize("verb", ["session_exists", "extract", "list"])
async def test_what_may_be_in_a_store_that_is_down_is_not_nowhere(
    mirror: MirroredStore, first: Faulty, second: Faulty, new: Callable[[], Path], verb: str
) -> None:
    path = new()
    second.down = True
    await mirror.save(session="one", path=path)
    first.down, second.down = True, False
    calls: dict[str, Any] = {
        "session_exists": lambda: mirror.session_exists(session="one"),
        "extract": lambda: held(mirror, path),
        "list": lambda: anext(mirror.list_sessions(), None),
    }
    with pytest.raises(StoreUnavailable):
        await calls[verb]()


@pytest.mark.parametrize("cured_by", ["extract", "repair", "save"])
@pytest.mark.parametrize("down", [0, 1])
async def test_what_was_deleted_does_not_come_back(
    mirror: MirroredStore, first: Faulty, second: Faulty, new: Callable[[], Path], down: int, cured_by: str
) -> None:
    path, away = new(), (first, second)[down]
    await mirror.save(session="one", path=path)
    away.down = True
    await mirror.delete(session="one")
    await mirror.delete(session="one")
    assert await mirror.session_exists(session="one") is False
    assert await held(mirror, path) is None

    away.down = False
    assert await mirror.session_exists(session="one") is False
    assert [info.session async for info in mirror.list_sessions()] == []
    match cured_by:
        case "extract":
            assert await held(mirror, path) is None
        case "repair":
            assert await mirror.repair() == ["one"]
        case "save":
            path = new()
            await mirror.save(session="one", path=path)
            assert await held(mirror, path) == path.read_bytes()
            await mirror.delete(session="one")
    assert await names(first) == await names(second) == []


@pytest.mark.parametrize("down", [0, 1])
async def test_a_deletion_that_one_store_refuses_halfway(
    mirror: MirroredStore, first: Faulty, second: Faulty, new: Callable[[], Path], down: int
) -> None:
    path, away = new(), (first, second)[down]
    await mirror.save(session="one", path=path)
    away.faults = [None, None, StoreUnavailable("gone just now")]
    await mirror.delete(session="one")
    assert await mirror.session_exists(session="one") is False
    assert await mirror.repair() == ["one"]
    assert await names(first) == await names(second) == []

    await mirror.save(session="one", path=path)
    for side in (first, second):
        side.faults = [None, None, StoreUnavailable("gone just now")]
    with pytest.raises(StoreUnavailable):
        await mirror.delete(session="one")
    assert await held(mirror, path) == path.read_bytes()


async def test_the_primary_has_the_leases_and_takes_a_fenced_write_first(
    mirror: MirroredStore, first: Faulty, second: Faulty, new: Callable[[], Path]
) -> None:
    path = new()
    async with mirror.lease(session="one", holder="first", ttl=60) as old:
        await mirror.save(session="one", path=path, fence=old.fence)
    async with mirror.lease(session="one", holder="second", ttl=60) as lease:
        for call in (mirror.save(session="one", path=new(), fence=old.fence), mirror.delete(session="one", fence=old.fence)):
            with pytest.raises(LeaseLost):
                await call
        assert await held(first.store, path) == await held(second.store, path) == path.read_bytes()

        first.down = True
        second.calls.clear()
        for call in (
            mirror.save(session="one", path=new(), fence=lease.fence),
            mirror.delete(session="one", fence=lease.fence),
        ):
            with pytest.raises(StoreUnavailable):
                await call
        first.down = False
        first.faults = [None, None, StoreUnavailable("gone just now")]
        with pytest.raises(StoreUnavailable, match="just now"):
            await mirror.save(session="one", path=new(), fence=lease.fence)
        assert not {call.split()[0] for call in second.calls} & {"save", "delete"}

        # Its archive is there, so the lease was good; that it could not say so is no reason to stop.
        path = new()
        first.faults = [None, None, None, StoreUnavailable("gone just now")]
        await mirror.save(session="one", path=path, fence=lease.fence)
        assert await held(mirror, path) == path.read_bytes()

        second.down = True
        path = new()
        await mirror.save(session="one", path=path, fence=lease.fence)
        assert await held(mirror, path) == path.read_bytes()
        await mirror.delete(session="one", fence=lease.fence)
        assert await mirror.session_exists(session="one") is False


@pytest.mark.parametrize("where", ["primary", "secondary", "both"])
async def test_what_was_stored_before_the_mirror_is_read_and_taken_in(
    mirror: MirroredStore, first: Faulty, second: Faulty, new: Callable[[], Path], where: str
) -> None:
    path = new()
    if where != "primary":
        await second.store.save(session="one", path=path if where == "secondary" else new())
    if where != "secondary":
        await first.store.save(session="one", path=path)
    assert await mirror.session_exists(session="one") is True
    assert [info.session async for info in mirror.list_sessions()] == ["one"]
    assert await held(mirror, path) == path.read_bytes()
    assert await held(first.store, path) == await held(second.store, path) == path.read_bytes()
    assert await names(first) == await names(second) == ["one", "one.mirror"]
    assert await mirror.repair() == []
    path = new()
    await mirror.save(session="one", path=path)
    assert await held(mirror, path) == path.read_bytes()


async def test_the_listing_is_the_union_and_tells_the_newer_size(
    mirror: MirroredStore, first: Faulty, second: Faulty, new: Callable[[], Path]
) -> None:
    small = new()
    small.write_bytes(b"small")
    pack = "one.1.0123abcd"
    await mirror.save(session="one", path=small)
    await mirror.save(session=pack, path=small)
    second.down = True
    await mirror.save(session="one", path=new())
    await mirror.save(session="two", path=new())
    second.down = False
    await second.store.save(session="three", path=new())
    found = {info.session: info async for info in mirror.list_sessions()}
    assert {name: info.size for name, info in found.items()} == {"one": 1000, "three": 1000, "two": 1000}
    assert {info.revision for info in found.values()} == {None}
    assert [info.session async for info in mirror.list_sessions(prefix="one", packs=True)] == ["one", pack]
    assert await mirror.repair() == ["one", "three", "two"]
    assert await names(first) == await names(second)


async def test_repair_finds_what_only_a_record_tells_of(
    mirror: MirroredStore, first: Faulty, second: Faulty, new: Callable[[], Path]
) -> None:
    long = "n" * 200
    second.down = True
    for name in (long, "one"):
        await mirror.save(session=name, path=new())
        await mirror.delete(session=name)
    second.down = False
    assert len(await names(first)) == 2
    assert await mirror.repair() == [long, "one"]
    assert await names(first) == []


async def test_repair_says_what_is_wrong(mirror: MirroredStore, first: Faulty, second: Faulty, new: Callable[[], Path]) -> None:
    second.down = True
    await mirror.save(session="one", path=new())
    for call in (mirror.repair(), mirror.repair(session="one")):
        with pytest.raises(StoreUnavailable):
            await call
    second.down = False
    second.faults = [None, None, StoreFull("full")]
    with pytest.raises(StoreFull):
        await mirror.repair(session="one")
    assert await mirror.repair(session="never-saved") == []
    assert await mirror.repair() == ["one"]


def test_two_stores_are_two(tmp_path: Path) -> None:
    inner = MemoryStore()
    for other in (inner, RetryingStore(inner), RetryingStore(RetryingStore(inner))):
        with pytest.raises(ConfigurationError, match="the same"):
            MirroredStore(inner, other)
    with pytest.raises(ConfigurationError, match="invalid store"):
        MirroredStore(inner, None)  # type: ignore[arg-type]


async def test_one_place_is_found_out_by_a_save(tmp_path: Path, new: Callable[[], Path]) -> None:
    mirror = MirroredStore(FileSystemStore(tmp_path / "backups"), FileSystemStore(tmp_path / "backups"))
    path = new()
    with pytest.raises(ConfigurationError, match="are one place"):
        await mirror.save(session="one", path=path)
    assert await held(FileSystemStore(tmp_path / "backups"), path) == path.read_bytes()


async def test_what_cannot_be_decrypted_is_not_replaced(tmp_path: Path, new: Callable[[], Path]) -> None:
    from pyrage import x25519

    inner, second, path = MemoryStore(), MemoryStore(), new()
    right, wrong = (x25519.Identity.generate() for _ in range(2))
    await MirroredStore(EncryptedStore(inner, recipients=[right.to_public()], identities=[right]), second).save(
        session="one", path=path
    )
    before = await held(inner, path)
    mirror = MirroredStore(EncryptedStore(inner, recipients=[wrong.to_public()], identities=[wrong]), second)
    assert await held(mirror, path) == path.read_bytes()
    assert await held(inner, path) == before
    await second.delete(session="one")
    with pytest.raises(DecryptionFailed):
        await held(mirror, path)


async def test_a_record_of_a_newer_version_is_left_alone(
    mirror: MirroredStore, first: Faulty, second: Faulty, new: Callable[[], Path]
) -> None:
    path, record = new(), new()
    await mirror.save(session="one", path=path)
    record.write_text(json.dumps({"wwauth-mirror": 2}))
    await first.store.save(session="one.mirror", path=record)
    assert await held(mirror, path) == path.read_bytes()
    assert await held(first.store, path, "one.mirror") == record.read_bytes()
    second.down = True
    with pytest.raises(StoreError, match="newer version"):
        await mirror.session_exists(session="one")


async def test_a_crash_at_any_call_leaves_old_or_new_and_the_next_save_wins(new: Callable[[], Path]) -> None:
    for after in (False, True):
        for which in (0, 1):
            for calls in range(5):
                sides = Faulty(MemoryStore()), Faulty(MemoryStore())
                old, path = new(), new()
                await MirroredStore(*sides).save(session="one", path=old)
                sides[which].ends_in, sides[which].ends_after = calls, after
                crashed = False
                try:
                    await MirroredStore(*sides).save(session="one", path=path)
                except Crash:
                    crashed = True
                assert crashed or calls >= 4
                mirror = MirroredStore(*sides)
                sides[which].ends_in = -1
                got = await held(mirror, path)
                assert got in {old.read_bytes(), path.read_bytes()}
                assert await held(sides[0].store, path) == await held(sides[1].store, path) == got
                path = new()
                await mirror.save(session="one", path=path)
                assert await held(mirror, path) == path.read_bytes()


@pytest.mark.parametrize("lost", [0, 1])
async def test_a_login_outlives_the_loss_of_either_store(tmp_path: Path, lost: int) -> None:
    profile = make_profile(tmp_path / "profile")
    folders = [tmp_path / name for name in ("first", "second")]

    def engine() -> BackupEngine:
        first, second = (FileSystemStore(folder) for folder in folders)
        return BackupEngine(MirroredStore(first, second), session="RemoteAuth-one", origin=ORIGIN)

    await engine().save(profile)
    grow(profile, b"more")
    await engine().save(profile)
    before = (profile / LOG).read_bytes()
    shutil.rmtree(folders[lost])
    shutil.rmtree(profile)
    await engine().restore(profile)
    assert (profile / LOG).read_bytes() == before

    # Packs that the restore did not need are there again, too: the other store may be lost now.
    first, second = (FileSystemStore(folder) for folder in folders)
    await MirroredStore(first, second).repair()
    shutil.rmtree(folders[1 - lost])
    shutil.rmtree(profile)
    await engine().restore(profile)
    assert (profile / LOG).read_bytes() == before
    await engine().delete()
    assert [path for folder in folders if folder.exists() for path in folder.glob("*.zip")] == []


def test_its_features_are_those_of_both(tmp_path: Path) -> None:
    from pyrage import x25519

    class Elsewhere(MemoryStore):
        features = StoreFeatures(remote=True)

    key = x25519.Identity.generate()
    sealed, open_, remote = (
        EncryptedStore(MemoryStore(), recipients=[key.to_public()], identities=[key]),
        MemoryStore(),
        Elsewhere(),
    )
    assert MirroredStore(open_, sealed).features == StoreFeatures(listing=True, leases=True)
    assert MirroredStore(remote, open_).features == StoreFeatures(remote=True)
    assert MirroredStore(open_, remote).features == StoreFeatures(leases=True, remote=True)
    other = EncryptedStore(MemoryStore(), recipients=[key.to_public()], identities=[key])
    assert MirroredStore(sealed, other).features.encrypted
    assert recipients_digest(MirroredStore(sealed, other)) is not None
    assert recipients_digest(MirroredStore(sealed, open_)) is None
    without = MirroredStore(remote, open_)
    with pytest.raises(ConfigurationError, match="cannot list"):
        without.list_sessions()
    with pytest.raises(ConfigurationError, match="has no leases"):
        without.lease(session="one", holder="me", ttl=60)
    assert repr(without) == "MirroredStore(MemoryStore(<0 sessions>), MemoryStore(<0 sessions>))"
