"""The encrypting store: the contract over two stores, what it lets pass, and what it leaves behind."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pyrage import x25519

from wwauth.errors import (
    ConfigurationError,
    DecryptionFailed,
    LeaseLost,
    SessionInUse,
    SessionNotFound,
    StoreUnavailable,
)
from wwauth.stores import EncryptedStore, FileSystemStore, MemoryStore
from wwauth.testing.store_contract import StoreContract

if TYPE_CHECKING:
    from pathlib import Path

    from wwauth.abc import Store

KEY = x25519.Identity.generate()
SECRET, PUBLIC = str(KEY), str(KEY.to_public())

posix = pytest.mark.skipif(sys.platform == "win32", reason="only POSIX systems have permission bits")


def encrypted(inner: Any, **options: Any) -> EncryptedStore:
    return EncryptedStore(inner, **{"recipients": [PUBLIC], "identities": [SECRET], **options})


class OverAnyStore(StoreContract):
    async def reopen(self, store: Store) -> Store:
        assert isinstance(store, EncryptedStore)
        return encrypted(store.inner)


class TestOverMemory(OverAnyStore):
    @pytest.fixture
    def store(self) -> EncryptedStore:
        return encrypted(MemoryStore())


class TestOverFileSystem(OverAnyStore):
    @pytest.fixture
    def store(self, tmp_path: Path) -> EncryptedStore:
        self.folder = tmp_path / "backups"
        return encrypted(FileSystemStore(self.folder))

    def open_elsewhere(self, store: Store) -> str:
        return (
            "from wwauth.stores import EncryptedStore, FileSystemStore\n"
            f"store = EncryptedStore(FileSystemStore({str(self.folder)!r}), recipients=[{PUBLIC!r}], identities=[{SECRET!r}])"
        )

    async def unreachable(self) -> Store:
        return encrypted(FileSystemStore(self.folder / "not mounted", create=False))


class TestWithFolderOfItsOwn(OverAnyStore):
    @pytest.fixture
    def store(self, tmp_path: Path) -> EncryptedStore:
        (tmp_path / "on their way").mkdir()
        return encrypted(MemoryStore(), work_dir=tmp_path / "on their way")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "source.zip"
    path.parent.mkdir()
    path.write_bytes(b"PK\3\4 a login, a login, a login" * 100_000)
    return path


class Watching(MemoryStore):
    """A store that looks around while it is called."""

    def __init__(self, *folders: Path) -> None:
        super().__init__()
        self.folders = folders
        self.modes: set[int] = set()
        self.fault: BaseException | None = None
        self.fence: object = None

    def _look(self, path: Path) -> None:
        self.modes |= {path.parent.stat().st_mode & 0o777}
        for folder in self.folders:
            for file in folder.rglob("*"):
                if file.is_file() and file.name != "source.zip":
                    assert b"a login" not in file.read_bytes()
                    self.modes.add(file.stat().st_mode & 0o777)
        if self.fault is not None:
            raise self.fault

    async def save(self, *, session: str, path: Any, fence: object = None) -> None:
        self.fence = fence
        self._look(path)
        await super().save(session=session, path=path)

    async def extract(self, *, session: str, path: Any) -> None:
        await super().extract(session=session, path=path)
        self._look(path)

    async def delete(self, *, session: str, fence: object = None) -> None:
        self.fence = fence
        await super().delete(session=session)


async def test_what_is_stored_is_encrypted(tmp_path: Path, archive: Path) -> None:
    store = encrypted(FileSystemStore(tmp_path / "backups"))
    await store.save(session="one", path=archive)
    kept = (tmp_path / "backups" / "one.zip").read_bytes()
    assert kept.startswith(b"age-encryption.org/v1\n")
    assert b"a login" not in kept
    assert len(kept) > archive.stat().st_size


@posix
async def test_what_lies_around_meanwhile_is_encrypted_and_private(tmp_path: Path, archive: Path) -> None:
    inner = Watching(tmp_path)
    store = encrypted(inner)
    before = os.umask(0)
    try:
        await store.save(session="one", path=archive)
        await store.extract(session="one", path=tmp_path / "out.zip")
    finally:
        os.umask(before)
    assert inner.modes == {0o700, 0o600}
    assert (tmp_path / "out.zip").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("verb", ["save", "extract"])
@pytest.mark.parametrize("fault", [StoreUnavailable("down"), OSError("driver"), asyncio.CancelledError()])
async def test_a_failure_of_the_inner_store_passes_and_leaves_nothing(
    tmp_path: Path, archive: Path, verb: str, fault: BaseException
) -> None:
    inner = Watching()
    store = encrypted(inner)
    await store.save(session="one", path=archive)
    inner.fault = fault
    with pytest.raises(type(fault)) as raised:
        await getattr(store, verb)(session="one", path=archive if verb == "save" else tmp_path / "out.zip")
    assert raised.value is fault
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "source.zip"]


async def test_a_cancelled_extract_leaves_nothing_or_all(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "source.zip"
    source.write_bytes(bytes(16 << 20))
    store = encrypted(MemoryStore())
    await store.save(session="one", path=source)
    for steps in (1, 3, 10, 30, 100, 300):
        task = asyncio.ensure_future(store.extract(session="one", path=tmp_path / "out.zip"))
        for _ in range(steps):
            await asyncio.sleep(0.0005)
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        left = sorted(path.name for path in tmp_path.iterdir())
        # A cancellation may come when the file has its name already: then it is whole.
        assert left == ["in", "out.zip"] or (left == ["in"] and isinstance(outcome, asyncio.CancelledError))
        if "out.zip" in left:
            assert (tmp_path / "out.zip").read_bytes() == source.read_bytes()
            (tmp_path / "out.zip").unlink()


LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from wwauth.errors import StoreError
from wwauth.stores import EncryptedStore, MemoryStore
folder, secret, public, limit = Path(sys.argv[1]), *sys.argv[2:]
inner = MemoryStore()
store = EncryptedStore(inner, recipients=[public], identities=[secret])
async def main():
    await store.save(session="old", path=folder / "source.zip")
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    for call in (store.save(session="new", path=folder / "source.zip"), store.extract(session="old", path=folder / "out.zip")):
        try:
            await call
        except StoreError as error:
            print(error)
    print(sorted(path.name for path in folder.iterdir()), await inner.session_exists(session="new"))
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the limit that stands in for a full disk is POSIX's")
@pytest.mark.parametrize("size", [1_000, 1_000_000])
async def test_a_disk_that_is_full_is_told(archive: Path, size: int) -> None:
    # All of a small archive goes with pyrage's last write, whose failure it does not tell.
    archive.write_bytes(bytes(size))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LIMITED, archive.parent, SECRET, PUBLIC, str(size // 2)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    first, second, left = out.decode().splitlines()
    assert (first.startswith("cannot write "), "File too large" in first) == (True, True)
    assert (second.startswith("cannot write "), "File too large" in second) == (True, True)
    assert left == "['source.zip'] False"


async def test_what_a_crash_left_is_swept_after_a_day(archive: Path) -> None:
    old, young = (archive.parent / f".one.age.{digit * 12}.tmp" for digit in "12")
    others = archive.parent / f".two.age.{'1' * 12}.tmp"
    for folder in (old, young, others):
        folder.mkdir()
        (folder / "archive.age").write_bytes(b"half")
    for folder in (old, others):
        os.utime(folder, (0, 0))
    await encrypted(MemoryStore()).save(session="one", path=archive)
    assert {path.name for path in archive.parent.iterdir()} == {"source.zip", young.name, others.name}


async def test_a_store_that_writes_nothing_is_found_out(tmp_path: Path) -> None:
    class Lying(MemoryStore):
        async def extract(self, *, session: str, path: Any) -> None:
            pass

    with pytest.raises(StoreUnavailable, match=r"Lying\.extract\('one'\) wrote no archive"):
        await encrypted(Lying()).extract(session="one", path=tmp_path / "out.zip")


class TestPassesThrough:
    def test_features(self) -> None:
        features = encrypted(MemoryStore()).features
        assert (features.listing, features.leases, features.encrypted) == (True, True, True)
        assert not MemoryStore.features.encrypted

    async def test_listing_and_delete(self, archive: Path) -> None:
        inner = Watching()
        store = encrypted(inner)
        await store.save(session="one", path=archive, fence=3)
        assert inner.fence == 3
        await store.save(session="one", path=archive)
        assert inner.fence is None
        assert [info.session async for info in store.list_sessions(prefix="o")] == ["one"]
        assert [info async for info in store.list_sessions(prefix="t")] == []
        await store.delete(session="one", fence=4)
        assert inner.fence == 4
        assert not await inner.session_exists(session="one")

    async def test_a_store_that_knows_no_fences_gets_none(self, archive: Path) -> None:
        class Older(MemoryStore):
            async def save(self, *, session: str, path: Any) -> None:  # type: ignore[override]
                await super().save(session=session, path=path)

        store = encrypted(inner := Older())
        await store.save(session="one", path=archive, fence=3)
        assert await inner.session_exists(session="one")

    async def test_any_object_with_the_four_methods(self, tmp_path: Path, archive: Path) -> None:
        class Plain:
            def __init__(self) -> None:
                kept = MemoryStore()
                self.session_exists, self.save, self.extract, self.delete = (
                    kept.session_exists,
                    kept.save,
                    kept.extract,
                    kept.delete,
                )

        store = encrypted(Plain())
        await store.save(session="one", path=archive)
        await store.extract(session="one", path=tmp_path / "out.zip")
        assert (tmp_path / "out.zip").read_bytes() == archive.read_bytes()
        with pytest.raises(ConfigurationError, match="Plain cannot list"):
            store.list_sessions()
        with pytest.raises(ConfigurationError, match="Plain has no leases"):
            store.lease(session="one", holder="me", ttl=1)
        await store.close()

    async def test_leases_are_the_inner_store_s(self, archive: Path) -> None:
        store = encrypted(inner := MemoryStore())
        async with store.lease(session="one", holder="me", ttl=60) as lease:
            await store.save(session="one", path=archive, fence=lease.fence)
            with pytest.raises(SessionInUse, match="me"):
                await inner.lease(session="one", holder="you", ttl=60).__aenter__()
            async with inner.lease(session="one", holder="me", ttl=60):
                with pytest.raises(LeaseLost):
                    await store.save(session="one", path=archive, fence=lease.fence)
                with pytest.raises(LeaseLost):
                    await store.delete(session="one", fence=lease.fence)
        assert await store.session_exists(session="one")

    async def test_the_inner_store_stays_open(self) -> None:
        class Closing(MemoryStore):
            closed = False

            async def close(self) -> None:
                self.closed = True

        inner = Closing()
        store = encrypted(inner)
        await store.close()
        assert not inner.closed
        assert store.inner is inner

    async def test_names_pass_the_gate_first(self, archive: Path) -> None:
        store = encrypted(MemoryStore())
        for call in (store.session_exists(session="../x"), store.save(session="../x", path=archive), store.delete(session="/")):
            with pytest.raises(ConfigurationError, match="invalid session"):
                await call
        with pytest.raises(SessionNotFound):
            await store.extract(session="x", path=archive.parent / "out.zip")


def test_it_is_neither_shown_nor_pickled_nor_copied(caplog: pytest.LogCaptureFixture) -> None:
    store = encrypted(MemoryStore())
    assert repr(store) == "EncryptedStore(MemoryStore(<0 sessions>), <1 recipients, 1 identities>)"
    assert SECRET not in repr(vars(store))
    assert store.recipients == (PUBLIC,)
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="holds secret keys"):
            way(store)
    assert caplog.records == []


async def test_rotation(tmp_path: Path, archive: Path) -> None:
    inner = MemoryStore()
    new = x25519.Identity.generate()
    await encrypted(inner).save(session="old", path=archive)
    rotated = EncryptedStore(inner, recipients=[str(new.to_public())], identities=[str(new), SECRET])
    await rotated.save(session="new", path=archive)
    for session in ("old", "new"):
        await rotated.extract(session=session, path=tmp_path / session)
        assert (tmp_path / session).read_bytes() == archive.read_bytes()
    with pytest.raises(DecryptionFailed, match="for other keys than the 1 given"):
        await encrypted(inner).extract(session="new", path=tmp_path / "out.zip")
    assert rotated.recipients != encrypted(inner).recipients


def test_a_missing_pyrage_names_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pyrage'] = None\n"
        "from wwauth.errors import MissingDependency\n"
        "try: from wwauth.stores import EncryptedStore\n"
        "except MissingDependency as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "pip install 'wwauth[encrypted]'" in done.stdout


MEMORY = """
import asyncio, sys
from pathlib import Path
from wwauth.stores import EncryptedStore, FileSystemStore
folder, secret, public = Path(sys.argv[1]), *sys.argv[2:]
store = EncryptedStore(FileSystemStore(folder / "backups"), recipients=[public], identities=[secret])
async def there_and_back(size):
    source = folder / "source"
    with source.open("wb") as file:
        file.truncate(size)
    await store.save(session="one", path=source)
    await store.extract(session="one", path=folder / "out")
    assert (folder / "out").stat().st_size == size
    # Not ru_maxrss: there the peak of the parent counts, too.
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
async def main():
    small = await there_and_back(5_000_000)
    print(await there_and_back(100_000_000) - small)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other units")
async def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MEMORY, tmp_path, SECRET, PUBLIC, env=environment, stdout=asyncio.subprocess.PIPE
    )
    grown, _ = await process.communicate()
    assert process.returncode == 0
    assert int(grown) < 10_000, "kB more for 100 MB than for 5 MB"


async def test_nothing_is_logged(tmp_path: Path, archive: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="wwauth_stores")
    store = encrypted(MemoryStore())
    await store.save(session="one", path=archive)
    await store.extract(session="one", path=tmp_path / "out.zip")
    assert [record for record in caplog.records if record.name.startswith("wwauth")] == []
