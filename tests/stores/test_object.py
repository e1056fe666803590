"""The store in a bucket: the contract on each kind of it, and what is its own."""

from __future__ import annotations

import asyncio
import json
import os
import random
import stat
import sys
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from wwauth.backup import BackupEngine
from wwauth.errors import (
    ConfigurationError,
    LeaseLost,
    SessionCorrupted,
    SessionNotFound,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from wwauth.stores import ObjectStore
from wwauth.testing.store_contract import StoreContract

from ..servers.proxy import Proxy
from .test_filesystem_faults import small_disk  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.servers.azure import Azure
    from tests.servers.base import Server
    from tests.servers.gcs import GCS
    from tests.servers.s3 import S3
    from wwauth.abc import Store

obstore = pytest.importorskip("obstore")

MIB = 1024 * 1024

SAVE = """
import asyncio, sys
from wwauth.stores import ObjectStore
asyncio.run(ObjectStore.from_url(sys.argv[1]).save(session="one", path=sys.argv[2]))
"""

GROWTH = """
import asyncio, os, re, sys
from wwauth.stores import ObjectStore

def peak():  # not ru_maxrss, in which the parent's peak counts, too
    return int(re.search(r"VmHWM:\\s+([0-9]+) kB", open("/proc/self/status").read())[1])

async def main(url, source, out):
    async with ObjectStore.from_url(url) as store:
        await store.save(session="small", path=sys.executable)
        await store.extract(session="small", path=out)
        os.unlink(out)
        before = peak()
        await store.save(session="one", path=source)
        between = peak()
        await store.extract(session="one", path=out)
        print(between - before, peak() - between)

asyncio.run(main(*sys.argv[1:]))
"""

# obstore's threads would abort some of these.
ENDINGS = """
import asyncio, os, sys
import obstore
from wwauth.stores import ObjectStore
for _ in range(int(sys.argv[1])):
    sys.stdout.flush()
    if (pid := os.fork()) == 0:
        asyncio.run(ObjectStore.from_url("memory://").session_exists(session="one"))
        sys.exit()
    print(os.waitpid(pid, 0)[1], end=" ")
"""

SECRET = "hunter2"


class InBucket:
    """What the contract needs to know of a bucket that a URL names; a subclass has the fixture `url`."""

    kills = 2

    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[Store]:
        self.address = url
        async with ObjectStore.from_url(url) as store:
            yield store

    async def reopen(self, store: Store) -> Store:
        return ObjectStore.from_url(self.address)

    def open_elsewhere(self, store: Store) -> str:
        return f"from wwauth.stores import ObjectStore; store = ObjectStore.from_url({self.address!r})"


class OnServer(InBucket):
    server: Server
    kills = 1

    async def unreachable(self) -> Store:
        return hasty(self.address.replace(f"%3A{self.server.port}", "%3A9"))

    async def connections(self, store: Store) -> int:
        there = psutil.Process().net_connections("tcp")
        return sum(1 for each in there if each.raddr and each.raddr.port == self.server.port)


class TestS3(OnServer, StoreContract):
    @pytest.fixture
    def url(self, s3: S3, request: pytest.FixtureRequest) -> str:
        self.server = s3
        return s3.url(request.node.name)


class TestAzure(OnServer, StoreContract):
    @pytest.fixture
    def url(self, azure: Azure, request: pytest.FixtureRequest) -> str:
        self.server = azure
        return azure.url(request.node.name)


class TestGCS(OnServer, StoreContract):
    @pytest.fixture
    def url(self, gcs: GCS, request: pytest.FixtureRequest) -> str:
        self.server = gcs
        return gcs.url(request.node.name)


class TestFolder(InBucket, StoreContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        self.folder = tmp_path / "bucket"
        return self.folder.as_uri()

    async def unreachable(self) -> Store:
        store = ObjectStore.from_url(self.folder.as_uri())
        self.folder.rename(self.folder.with_name("elsewhere"))
        return store


class TestMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        self.client = obstore.store.MemoryStore()
        return ObjectStore(self.client)

    async def reopen(self, store: Store) -> Store:
        return ObjectStore(self.client)

    async def unreachable(self) -> Store:
        pytest.skip("a MemoryStore is always there, by design")


async def test_what_was_closed_is_refused(archive: Path, tmp_path: Path) -> None:
    for store in (ObjectStore.from_url("memory://"), ObjectStore.from_url(tmp_path.as_uri())):
        lease = store.lease(session="one", holder="me", ttl=60)
        await store.save(session="one", path=archive)
        await store.close()
        assert await every_verb(store, archive) == [ConfigurationError] * 6
        with pytest.raises(ConfigurationError, match="was closed"):
            await lease.__aenter__()


# Its own -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write(tmp_path / "source.zip")


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """Make a source without end, as far as a writer that is about to fail can tell; sparse, so that it costs no disk."""
    path = tmp_path / "endless.zip"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * MIB)
    return path


@pytest.fixture
def memory() -> Any:
    return obstore.store.MemoryStore()


@pytest.fixture(params=["s3", "azure", "gcs"])
def server(request: pytest.FixtureRequest) -> Server:
    running: Server = request.getfixturevalue(request.param)
    return running


def write(path: Path, seed: int = 1, size: int = 1000) -> Path:
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def hasty(url: str, **options: Any) -> ObjectStore:
    """Open a store that tries a second time, and no more."""
    retries = {"max_retries": 1, "retry_timeout": timedelta(minutes=1)}
    return ObjectStore.from_url(url, retry_config=retries, **options)


def keys(client: Any) -> list[str]:
    return sorted(meta["path"] for some in obstore.list(client) for meta in some)


async def holds(store: Store, archive: Path, session: str = "one") -> bool:
    out = archive.with_name("out.zip")
    await store.extract(session=session, path=out)
    same = out.read_bytes() == archive.read_bytes()
    out.unlink()
    return same


async def run(program: str, *arguments: str) -> str:
    """Run a program in another process, and return what it printed."""
    process = await start(program, *arguments)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def start(program: str, *arguments: str) -> asyncio.subprocess.Process:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *arguments, env=environment, stdout=asyncio.subprocess.PIPE
    )


async def growth(url: str, source: Path) -> list[int]:
    """Save and extract an archive in another process, and return by how many bytes its memory's peak grew with each."""
    said = await run(GROWTH, url, str(source), str(source.with_name("out.zip")))
    source.with_name("out.zip").unlink()
    return [int(word) * 1024 for word in said.split()]


async def every_verb(store: ObjectStore, archive: Path) -> list[type[object]]:
    """Use all verbs at the same time, and return what each raises."""

    async def look() -> None:
        await store.session_exists(session="one")

    async def list_all() -> None:
        async for _ in store.list_sessions():
            pass

    async def claim() -> None:
        await store.lease(session="one", holder="me", ttl=60).__aenter__()

    calls = [
        look(),
        store.save(session="one", path=archive),
        store.extract(session="one", path=archive.with_name("out.zip")),
        store.delete(session="one"),
        list_all(),
        claim(),
    ]
    raised = await asyncio.gather(*calls, return_exceptions=True)
    assert SECRET not in f"{raised} {store!r}"
    assert not archive.with_name("out.zip").exists()
    return [type(error) for error in raised]


async def test_what_lies_in_the_bucket(memory: Any, archive: Path) -> None:
    store = ObjectStore(memory, prefix="/some/logins/")
    assert repr(store) == "ObjectStore('memory://some/logins')"
    for name in ("RemoteAuth-a", "RemoteAuth-a.b"):
        await store.save(session=name, path=archive)
        await store.save(session=name, path=archive)
    heads = [key for key in keys(memory) if key.startswith("some/logins/sessions/")]
    assert heads == ["some/logins/sessions/RemoteAuth-a.b.json", "some/logins/sessions/RemoteAuth-a.json"]
    assert len(keys(memory)) == 4, "an archive that was replaced is still there"
    head = json.loads(bytes(obstore.get(memory, heads[1]).bytes()))
    assert (head["session"], head["revision"], head["archive"]["size"]) == ("RemoteAuth-a", 2, 1000)
    assert f"some/logins/archives/RemoteAuth-a/{head['archive']['key']}" in keys(memory)

    await store.delete(session="RemoteAuth-a")
    assert [key for key in keys(memory) if "RemoteAuth-a/" in key] == []
    await store.save(session="RemoteAuth-a", path=archive)
    revisions = {info.session: info.revision async for info in store.list_sessions()}
    assert revisions == {"RemoteAuth-a": 3, "RemoteAuth-a.b": 2}, "a counter began anew"


async def test_a_pack_that_was_deleted_leaves_nothing(memory: Any, archive: Path) -> None:
    store = ObjectStore(memory)
    await store.save(session="RemoteAuth-a.1.0123abcd", path=archive)
    await store.delete(session="RemoteAuth-a.1.0123abcd")
    assert keys(memory) == []


@pytest.mark.parametrize("verb", ["save", "delete"])
async def test_what_was_not_deleted_after_a_commit_is_deleted_by_the_next_one(memory: Any, archive: Path, verb: str) -> None:
    store = ObjectStore(memory)
    await store.save(session="one", path=archive)
    (kept,) = (key for key in keys(memory) if key.startswith("archives/"))
    login = bytes(obstore.get(memory, kept).bytes())
    if verb == "save":
        await store.save(session="one", path=archive)
    else:
        await store.delete(session="one")
    # As a process leaves it that ended in between.
    obstore.put(memory, kept, login)
    await store.delete(session="one")
    assert keys(memory) == ["sessions/one.json"]


async def test_borrowed_stores_are_not_closed(memory: Any, archive: Path) -> None:
    async with ObjectStore(memory) as store:
        await store.save(session="one", path=archive)
    with pytest.raises(ConfigurationError, match="was closed"):
        await store.session_exists(session="one")
    assert await holds(ObjectStore(memory), archive)


@pytest.mark.parametrize("prefix", ["a//b", "../a", "a\\b", "a\nb", 1])
def test_wrong_prefixes_are_refused(memory: Any, prefix: Any) -> None:
    with pytest.raises(ConfigurationError, match="invalid prefix"):
        ObjectStore(memory, prefix=prefix)


def test_what_is_no_store_of_obstore_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="invalid obstore_store of type str: give an obstore S3Store"):
        ObjectStore("s3://bucket")


# The layout of wwebjs-aws-s3 --------------------------------------------------------------------------------------------


async def test_a_login_of_the_peer_is_read_until_there_is_another_one(memory: Any, archive: Path, tmp_path: Path) -> None:
    peer, store = ObjectStore(memory, prefix="p", layout="wwebjs-aws-s3"), ObjectStore(memory, prefix="p")
    assert (peer.features.leases, peer.features.packs, peer.features.listing) == (False, False, True)
    await peer.save(session="one", path=archive)
    assert keys(memory) == ["p/one.zip"]
    assert await store.session_exists(session="one")
    assert await holds(store, archive)
    assert [(info.session, info.size, info.revision) async for info in store.list_sessions()] == [("one", 1000, 0)]

    other = write(tmp_path / "other.zip", seed=2)
    async with store.lease(session="one", holder="me", ttl=60):
        assert await holds(store, archive), "a lease hid it"
    await store.save(session="one", path=other)
    assert await holds(store, other)
    assert await holds(peer, archive), "what another program reads was changed"
    assert [(info.session, info.revision) async for info in store.list_sessions()] == [("one", 1)]
    await store.delete(session="one")
    for each in (store, peer):
        assert await each.session_exists(session="one") is False


async def test_the_peers_layout_has_no_leases_and_takes_no_packs(memory: Any, archive: Path, tmp_path: Path) -> None:
    store = ObjectStore(memory, layout="wwebjs-aws-s3")
    with pytest.raises(ConfigurationError, match="no leases"):
        store.lease(session="one", holder="me", ttl=60)
    with pytest.raises(ConfigurationError, match="no leases"):
        await store.save(session="one", path=archive, fence=1)
    with pytest.raises(ConfigurationError, match="packs"):
        BackupEngine(store, session="one")
    BackupEngine(store, session="one", archive="whatsapp-web.js")
    with pytest.raises(ConfigurationError, match="what FileSystemStore keeps: use that"):
        ObjectStore(obstore.store.LocalStore(tmp_path), layout="wwebjs-aws-s3")
    with pytest.raises(ConfigurationError, match="invalid layout 'x': use 'wwauth' or 'wwebjs-aws-s3'"):
        ObjectStore(memory, layout="x")


# What is damaged --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
async def test_a_damaged_archive_is_never_handed_out(memory: Any, archive: Path, tmp_path: Path, damage: str) -> None:
    store = ObjectStore(memory)
    await store.save(session="one", path=archive)
    (key,) = (key for key in keys(memory) if key.startswith("archives/"))
    if damage == "gone":
        obstore.delete(memory, key)
    else:
        data = archive.read_bytes()
        obstore.put(memory, key, data[:-1] if damage == "cut" else data[:-1] + b"x")
    with pytest.raises(SessionCorrupted, match="restore an older backup"):
        await store.extract(session="one", path=tmp_path / "out.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.zip"]
    await store.save(session="one", path=archive)
    assert await holds(store, archive)


@pytest.mark.parametrize(
    "head",
    [b"", b"{", b"[]", b'{"wwauth": 1}', b'{"wwauth": 2}', b"[" * 100_000, b'{"wwauth": 1, "session": "one", "revision": []}'],
)
async def test_a_damaged_head_is_never_taken_for_none(memory: Any, archive: Path, head: bytes) -> None:
    obstore.put(memory, "sessions/one.json", head)
    store = ObjectStore(memory)
    with pytest.raises(SessionCorrupted, match=r"sessions/one\.json in memory:"):
        await store.session_exists(session="one")
    with pytest.raises(SessionCorrupted):
        await store.save(session="one", path=archive)


async def test_a_head_names_no_key_but_an_archives(memory: Any, archive: Path, tmp_path: Path) -> None:
    store = ObjectStore(memory)
    await store.save(session="one", path=archive)
    await store.save(session="two", path=archive)
    head = json.loads(bytes(obstore.get(memory, "sessions/one.json").bytes()))
    head["archive"]["key"] = "../two/" + head["archive"]["key"]
    obstore.put(memory, "sessions/one.json", json.dumps(head).encode())
    with pytest.raises(SessionCorrupted):
        await store.extract(session="one", path=tmp_path / "out.zip")


# A folder ---------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="only POSIX systems have permission bits")
async def test_a_folder_is_for_its_owner_alone(tmp_path: Path, archive: Path) -> None:
    async with ObjectStore.from_url((tmp_path / "bucket").as_uri()) as store:
        await store.save(session="one", path=archive)
    for path in (tmp_path / "bucket").rglob("*"):
        private = path.is_file() or path.parent == tmp_path / "bucket"
        assert not private or stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


async def test_a_folder_that_is_gone_is_not_taken_for_an_empty_one(tmp_path: Path, archive: Path) -> None:
    store = ObjectStore(obstore.store.LocalStore(tmp_path / "bucket", mkdir=True))
    await store.save(session="one", path=archive)
    (tmp_path / "bucket").rename(tmp_path / "elsewhere")
    assert await every_verb(store, archive) == [StoreUnavailable] * 6
    assert not (tmp_path / "bucket").exists(), "it was made anew"


async def test_a_file_that_goes_meanwhile_hides_no_other_from_a_listing(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that is being replaced has a temporary file beside it, which may be gone when it is its turn."""
    async with ObjectStore.from_url(f"file://{tmp_path}/bucket") as store:
        for name in ("one", "two"):
            await store.save(session=name, path=archive)
        heads = tmp_path / "bucket" / "sessions"

        @contextmanager
        def scandir(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
            (heads / ".one.json.tmp").touch()
            entries = sorted(listed(folder), key=lambda entry: entry.name)
            (heads / ".one.json.tmp").unlink()
            yield iter(entries)

        listed = os.scandir
        monkeypatch.setattr(os, "scandir", scandir)
        assert [info.session async for info in store.list_sessions()] == ["one", "two"]


async def test_a_commit_of_which_the_answer_was_lost_is_not_done_once_more(memory: Any, archive: Path, tmp_path: Path) -> None:
    """A driver that has asked twice hears that somebody was faster, which was itself; and by then somebody else has come."""
    store, other = ObjectStore(memory), ObjectStore(memory)
    later = write(tmp_path / "later.zip", seed=2)
    replace = store._bucket.replace

    async def unheard(*arguments: Any) -> bool:
        assert await replace(*arguments)
        monkeypatch.undo()
        await other.save(session="one", path=later)
        return False

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(store._bucket, "replace", unheard)
        await store.save(session="one", path=archive)
    await store.extract(session="one", path=tmp_path / "out.zip")
    assert (tmp_path / "out.zip").read_bytes() == later.read_bytes()
    assert [info.revision async for info in store.list_sessions()] == [2]


async def test_a_writer_killed_in_the_middle_leaves_the_old_archive(tmp_path: Path, archive: Path, endless: Path) -> None:
    folder = tmp_path / "bucket"
    store = ObjectStore.from_url(folder.as_uri())
    await store.save(session="one", path=archive)

    def leftovers() -> list[Path]:
        return [path for path in (folder / "archives" / "one").iterdir() if "#" in path.name]

    writer = await start(SAVE, folder.as_uri(), str(endless))
    try:
        while not any(path.stat().st_size > MIB for path in leftovers()):
            assert writer.returncode is None, "the writer ended by itself"
            await asyncio.sleep(0.01)
    finally:
        writer.kill()
        await writer.communicate()
    (left,) = leftovers()
    assert await holds(store, archive)
    await store.save(session="one", path=archive)
    assert left.exists(), "what may belong to a live writer was swept"
    os.utime(left, (1, 1))
    await store.save(session="one", path=archive)
    assert not left.exists()
    assert await holds(store, archive)
    await store.delete(session="one")
    assert not left.parent.exists()


# Servers ----------------------------------------------------------------------------------------------------------------


async def test_a_bucket_that_is_not_there_is_named(server: Server, request: pytest.FixtureRequest, archive: Path) -> None:
    url = server.url(request.node.name)
    scheme, _, rest = url.partition("://")
    async with hasty(f"{scheme}://no-such-bucket/{rest.partition('/')[2]}") as store:
        assert await every_verb(store, archive) == [StoreUnavailable] * 6
        with pytest.raises(StoreUnavailable, match=f"{scheme}://no-such-bucket/logins: there is no such bucket"):
            await store.session_exists(session="one")
        plain = hasty(f"{scheme}://no-such-bucket/{rest.partition('/')[2]}", layout="wwebjs-aws-s3")
        with pytest.raises(StoreUnavailable, match="there is no such bucket"):
            await plain.session_exists(session="one")


async def test_a_wrong_key_is_denied_and_not_shown(azure: Azure, request: pytest.FixtureRequest, archive: Path) -> None:
    url = azure.url(request.node.name).partition("?")[0]
    key = "aHVudGVyMg=="
    options = {"endpoint": azure.endpoint, "account_name": "devstoreaccount1", "account_key": key, "allow_http": True}
    async with hasty(url, **options) as store:
        assert await every_verb(store, archive) == [StoreDenied] * 6
        with pytest.raises(StoreDenied) as caught:
            await store.session_exists(session="one")
    assert key not in f"{caught.value} {store!r} {store.__dict__}"


async def test_a_server_that_hangs_is_unavailable_in_time(
    server: Server, request: pytest.FixtureRequest, archive: Path
) -> None:
    url = server.url(request.node.name)
    async with ObjectStore.from_url(url, timeout=0.5) as store:
        with server.paused():
            assert await every_verb(store, archive) == [StoreUnavailable] * 6
    # It has first to answer what it was asked meanwhile.
    async with ObjectStore.from_url(url) as patient:
        await patient.save(session="one", path=archive)
        assert await holds(patient, archive)


async def test_a_server_that_dies_in_the_middle_is_unavailable(
    server: Server, request: pytest.FixtureRequest, archive: Path, endless: Path
) -> None:
    async with hasty(server.url(request.node.name)) as store:
        await store.save(session="one", path=archive)
        save = asyncio.create_task(store.save(session="one", path=endless))
        await asyncio.sleep(0.2)
        assert not save.done()
        await asyncio.to_thread(server.kill)
        try:
            with pytest.raises(StoreUnavailable):
                await save
        finally:
            await asyncio.to_thread(server.start)
        if server.name == "gcs":
            assert await holds(store, archive)
        # What the others held was in their memory.
        await store.save(session="one", path=archive)
        assert await holds(store, archive)


async def test_a_bucket_with_versions(s3: S3, request: pytest.FixtureRequest, archive: Path, tmp_path: Path) -> None:
    s3.bucket(request.node.name, versions=True)
    other = write(tmp_path / "other.zip", seed=2)
    async with ObjectStore.from_url(s3.url(request.node.name)) as store:
        for path in (archive, other):
            async with store.lease(session="one", holder="me", ttl=60) as lease:
                await store.save(session="one", path=path, fence=lease.fence)
        assert await holds(store, other)
        await store.delete(session="one")
        assert await store.session_exists(session="one") is False
        with pytest.raises(SessionNotFound):
            await store.extract(session="one", path=tmp_path / "out.zip")
        await store.save(session="one", path=archive)
        assert [info.session async for info in store.list_sessions()] == ["one"]


@pytest.fixture
def proxy(s3: S3) -> Iterator[Proxy]:
    with Proxy(s3.port) as running:
        yield running


@pytest.fixture
def by_proxy(s3: S3, proxy: Proxy, request: pytest.FixtureRequest) -> str:
    return s3.url(request.node.originalname).replace(f"%3A{s3.port}", f"%3A{proxy.port}")


@pytest.mark.parametrize(
    ("status", "words", "meaning"),
    [
        (401, "", StoreDenied),
        (403, f"<Error><Code>SignatureDoesNotMatch</Code><Given>{SECRET}</Given></Error>", StoreDenied),
        (400, "<Error><Code>ExpiredToken</Code></Error>", StoreDenied),
        (403, "<Error><Code>QuotaExceeded</Code></Error>", StoreFull),
        (507, "<Error><Code>XMinioStorageFull</Code></Error>", StoreFull),
        (400, "<Error><Code>InvalidRequest</Code></Error>", StoreError),
        (500, "<Error><Code>InternalError</Code></Error>", StoreUnavailable),
        (503, "<Error><Code>SlowDown</Code></Error>", StoreUnavailable),
        (429, "", StoreUnavailable),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
async def test_what_a_refusal_means(
    proxy: Proxy, by_proxy: str, archive: Path, tmp_path: Path, status: int, words: str, meaning: type[StoreError]
) -> None:
    large = write(tmp_path / "large.zip", size=6 * MIB)
    async with hasty(by_proxy) as store:
        proxy.refuse = status, words
        for source in (archive, large):
            with pytest.raises(StoreError) as caught:
                await store.save(session="one", path=source)
            assert (caught.type, SECRET in str(caught.value)) == (meaning, False)


async def test_a_full_disk_leaves_the_old_archive(small_disk: Path, archive: Path, endless: Path) -> None:  # noqa: F811
    store = ObjectStore.from_url(small_disk.as_uri())
    await store.save(session="one", path=archive)
    with pytest.raises(StoreFull, match="make room"):
        await store.save(session="one", path=endless)
    assert await holds(store, archive)
    await store.save(session="one", path=archive)
    assert len([path for path in small_disk.rglob("*") if path.is_file()]) == 3


async def test_an_answer_that_was_lost_is_no_failure(proxy: Proxy, by_proxy: str, archive: Path) -> None:
    async with hasty(by_proxy) as store:
        for _ in range(2):
            proxy.lose, proxy.losing = 1, "/sessions/"
            await store.save(session="one", path=archive)
            assert proxy.lose == 0
        proxy.lose = 1
        lease = await store.lease(session="one", holder="me", ttl=60).__aenter__()
        proxy.lose = 1
        await lease.renew()
        await store.save(session="one", path=archive, fence=lease.fence)
        assert await holds(store, archive)
        assert [info.revision async for info in store.list_sessions()] == [3]


@pytest.mark.parametrize("header", ["if-match", "if-none-match"])
async def test_a_server_without_conditions_keeps_no_leases(proxy: Proxy, by_proxy: str, archive: Path, header: str) -> None:
    proxy.strip = {header}
    async with hasty(by_proxy) as store:
        with pytest.raises(StoreError, match="does not regard the conditions of a write"):
            await store.lease(session="one", holder="me", ttl=60).__aenter__()


async def test_whoever_is_overtaken_in_the_middle_of_an_upload_leaves_nothing(
    memory: Any, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = ObjectStore(memory), ObjectStore(memory)
    old = await slow.lease(session="one", holder="old", ttl=0.01).__aenter__()
    begun, goes_on = asyncio.Event(), asyncio.Event()
    upload = slow._bucket.upload

    async def late(*arguments: Any) -> tuple[int, str]:
        begun.set()
        await goes_on.wait()
        return await upload(*arguments)

    monkeypatch.setattr(slow._bucket, "upload", late)
    save = asyncio.create_task(slow.save(session="one", path=write(tmp_path / "other.zip", seed=2), fence=old.fence))
    await begun.wait()
    # What one holder has not renewed for this long is another one's.
    await asyncio.sleep(0.02)
    async with quick.lease(session="one", holder="new", ttl=60) as new:
        await quick.save(session="one", path=archive, fence=new.fence)
        goes_on.set()
        with pytest.raises(LeaseLost, match="taken over by new"):
            await save
    assert await holds(quick, archive)
    assert len(keys(memory)) == 2


# Processes --------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of one process")
async def test_large_archives_are_streamed(s3: S3, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source = tmp_path / "source.zip"
    with source.open("wb") as file:
        file.truncate(50 * MIB)
    grown = await growth(s3.url(request.node.name), source)
    assert max(grown) < 40 * MIB, grown


@pytest.mark.skipif(not hasattr(os, "fork"), reason="its programs are forked")
async def test_a_program_may_end_right_after_its_last_call() -> None:
    assert await run(ENDINGS, "6") == "0 " * 6
