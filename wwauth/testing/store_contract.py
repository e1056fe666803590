"""
What every store promises, as tests: each is a sentence of `wwauth.abc.Store`.

Subclass `StoreContract` in a test module of yours and give it one fixture::

    class TestMyStore(StoreContract):
        @pytest_asyncio.fixture
        async def store(self):
            store = MyStore(...)
            yield store
            await store.close()

        async def reopen(self, store):
            return MyStore(...)  # the same data

It needs pytest and pytest-asyncio, in either of its modes. What does not apply to a store is an override that skips and
says why.
"""

# ruff: noqa: S101 - tests assert

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import random
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wwauth.errors import ConfigurationError, LeaseLost, MissingDependency, SessionInUse, SessionNotFound

try:
    import pytest
    import pytest_asyncio  # noqa: F401 - runs the tests
except ImportError as error:
    raise MissingDependency("StoreContract needs pytest: pip install pytest pytest-asyncio") from error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from wwauth.abc import Lease, SessionInfo, Store

__all__ = ["StoreContract"]

MIB = 1024 * 1024

# Each is the beginning of another one, or differs from it in what a query language or a file system may take for a
# pattern, a suffix or a separator.
_NEIGHBOURS = [
    "RemoteAuth",
    "RemoteAuth-a",
    "RemoteAuth-a-b",
    "RemoteAuth-a_b",
    "RemoteAuth-a.b",
    "RemoteAuth-a.1.w",
    "RemoteAuth-a.1.wx",
    "RemoteAuth-a.zip",
    "RemoteAuth-a.zip.tmp",
]


class StoreContract:
    """The tests of a store; the module's docstring says how to use them."""

    pytestmark = [pytest.mark.asyncio]  # noqa: RUF012 - pytest wants a list

    @pytest.fixture
    def store(self) -> Store:
        """Give an empty store; what it opened must be closed afterwards."""
        raise NotImplementedError("a subclass of StoreContract has a fixture `store` that gives an empty store")

    async def reopen(self, store: Store) -> Store:
        """Return another store on the same data, as the next run of a program opens it."""
        pytest.skip(f"{type(self).__name__} has no reopen(): what {type(store).__name__} holds ends with it")

    @pytest.mark.parametrize("size", [0, 1, 1000, 8 * MIB + 1])
    async def test_an_archive_comes_back_byte_for_byte(self, store: Store, tmp_path: Path, size: int) -> None:
        """`save` stores the archive that lies at `path`, `extract` writes it to another `path`."""
        await store.save(session="RemoteAuth-a", path=_archive(tmp_path, size))
        assert await _extract(store, "RemoteAuth-a", tmp_path) == _bytes(size), "other bytes came back"
        assert await _extract(store, "RemoteAuth-a", tmp_path) == _bytes(size), "reading once used the archive up"

    async def test_session_exists_says_what_was_saved(self, store: Store, tmp_path: Path) -> None:
        """`session_exists` tells whether an archive is stored under this name."""
        assert await store.session_exists(session="RemoteAuth-a") is False
        await store.save(session="RemoteAuth-a", path=_archive(tmp_path))
        assert await store.session_exists(session="RemoteAuth-a") is True

    @pytest.mark.parametrize("size", [10, MIB])
    async def test_a_second_save_replaces_the_first(self, store: Store, tmp_path: Path, size: int) -> None:
        """A reader sees the old archive or the new one: after a save, the new one, larger or smaller."""
        await store.save(session="RemoteAuth-a", path=_archive(tmp_path, 1000))
        await store.save(session="RemoteAuth-a", path=_archive(tmp_path, size, seed=2))
        assert await _extract(store, "RemoteAuth-a", tmp_path) == _bytes(size, seed=2)

    @pytest.mark.parametrize("source", ["missing", "a folder", "unreadable"])
    async def test_a_failed_save_leaves_the_old_archive(self, store: Store, tmp_path: Path, source: str) -> None:
        """A `save` that fails raises, and leaves the old archive, or none when there was none."""
        path = _bad_source(source, tmp_path)
        with pytest.raises(Exception):  # noqa: B017, PT011 - plug-ins raise what their drivers raise
            await store.save(session="RemoteAuth-new", path=path)
        assert await store.session_exists(session="RemoteAuth-new") is False, "a failed first save left something"

        await store.save(session="RemoteAuth-a", path=_archive(tmp_path))
        with pytest.raises(Exception):  # noqa: B017, PT011 - as above
            await store.save(session="RemoteAuth-a", path=path)
        assert await _extract(store, "RemoteAuth-a", tmp_path) == _bytes(), "a failed save damaged the old archive"

    @pytest.mark.parametrize("steps", [0, 1, 2, 5, 20, 100])
    async def test_a_cancelled_save_leaves_old_or_new(self, store: Store, tmp_path: Path, steps: int) -> None:
        """`save` is all or nothing, also when it is cancelled; a later save works and wins."""
        await store.save(session="RemoteAuth-a", path=_archive(tmp_path, MIB))
        task = asyncio.ensure_future(store.save(session="RemoteAuth-a", path=_archive(tmp_path, 8 * MIB, seed=2)))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        got = await _extract(store, "RemoteAuth-a", tmp_path)
        assert got in (_bytes(MIB), _bytes(8 * MIB, seed=2)), "a cancelled save left neither the old nor the new archive"

        await store.save(session="RemoteAuth-a", path=_archive(tmp_path, 2 * MIB, seed=3))
        assert await _extract(store, "RemoteAuth-a", tmp_path) == _bytes(2 * MIB, seed=3)

    async def test_save_only_reads_the_source(self, store: Store, tmp_path: Path) -> None:
        """The file at `path` is only read, and is the caller's again when `save` returns."""
        path = _archive(tmp_path)
        before = path.stat()
        await store.save(session="RemoteAuth-a", path=path)
        after = path.stat()
        assert path.read_bytes() == _bytes()
        assert (after.st_mtime_ns, after.st_mode, after.st_nlink) == (before.st_mtime_ns, before.st_mode, before.st_nlink)
        assert list(path.parent.iterdir()) == [path], "save left something beside the source"

        path.write_bytes(b"written over")
        assert await _extract(store, "RemoteAuth-a", tmp_path) == _bytes(), "the store kept the caller's file, not a copy"
        path.unlink()
        assert await _extract(store, "RemoteAuth-a", tmp_path) == _bytes()

    async def test_what_is_not_there_is_session_not_found(self, store: Store, tmp_path: Path) -> None:
        """`extract` of a missing name is `SessionNotFound`, and nothing is left at `path`."""
        target = _folder(tmp_path) / "out.zip"
        with pytest.raises(SessionNotFound):
            await store.extract(session="RemoteAuth-a", path=target)
        assert list(target.parent.iterdir()) == []

    async def test_a_failed_extract_leaves_no_file(self, store: Store, tmp_path: Path) -> None:
        """`extract` writes into an existing folder; where it cannot, it raises and leaves nothing."""
        await store.save(session="RemoteAuth-a", path=_archive(tmp_path))
        folder = _folder(tmp_path)
        with pytest.raises(Exception):  # noqa: B017, PT011 - plug-ins raise what the system raises
            await store.extract(session="RemoteAuth-a", path=folder / "not there" / "out.zip")
        assert list(folder.iterdir()) == []
        assert await _extract(store, "RemoteAuth-a", tmp_path) == _bytes()

    @pytest.mark.skipif(os.name != "posix", reason="only POSIX systems have permission bits")
    async def test_an_extracted_archive_is_private(self, store: Store, tmp_path: Path) -> None:
        """An archive is a login: what `extract` writes is its owner's alone."""
        await store.save(session="RemoteAuth-a", path=_archive(tmp_path))
        target = _folder(tmp_path) / "out.zip"
        await store.extract(session="RemoteAuth-a", path=target)
        assert list(target.parent.iterdir()) == [target], "extract left something beside the archive"
        assert target.stat().st_mode & 0o077 == 0, "others can read the extracted login: create it with mode 0600"

    async def test_delete_deletes_and_may_be_repeated(self, store: Store, tmp_path: Path) -> None:
        """A name that is not there is no error; when `delete` returns, `session_exists` is False."""
        await store.delete(session="RemoteAuth-a")
        await store.save(session="RemoteAuth-a", path=_archive(tmp_path))
        for _ in range(2):
            await store.delete(session="RemoteAuth-a")
            assert await store.session_exists(session="RemoteAuth-a") is False
            with pytest.raises(SessionNotFound):
                await store.extract(session="RemoteAuth-a", path=_folder(tmp_path) / "out.zip")
        await store.save(session="RemoteAuth-a", path=_archive(tmp_path, seed=2))
        assert await _extract(store, "RemoteAuth-a", tmp_path) == _bytes(seed=2)

    async def test_a_reader_sees_the_old_or_the_new_archive(self, store: Store, tmp_path: Path) -> None:
        """A reader sees the old archive or the new one, never a mixture and never none."""
        sources = [_archive(tmp_path, MIB, seed=1), _archive(tmp_path, 3 * MIB // 2, seed=2)]
        whole = [path.read_bytes() for path in sources]
        await store.save(session="RemoteAuth-a", path=sources[0])
        writing = True

        async def read() -> None:
            while writing:
                got = await _extract(store, "RemoteAuth-a", tmp_path)
                assert got in whole, f"a reader got {len(got)} bytes that were never saved"
                await asyncio.sleep(0)  # a store that never waits would keep the writer from its turn

        async def write() -> None:
            nonlocal writing
            try:
                for turn in range(12):
                    await store.save(session="RemoteAuth-a", path=sources[(turn + 1) % 2])
            finally:
                writing = False

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(read())
            group.create_task(write())

    async def test_of_many_savers_one_wins_whole(self, store: Store, tmp_path: Path) -> None:
        """`save` replaces all or nothing, also beside other saves of the same session."""
        # Of different sizes, so that those who write side by side into one file leave a mixture.
        sources = [_archive(tmp_path, (20 - seed) * 50_000, seed=seed) for seed in range(20)]
        await asyncio.gather(*(store.save(session="RemoteAuth-a", path=path) for path in sources))
        assert await _extract(store, "RemoteAuth-a", tmp_path) in [path.read_bytes() for path in sources]

    async def test_names_do_not_mix(self, store: Store, tmp_path: Path) -> None:
        """`session` is an opaque name: what one name keeps has nothing to do with any other."""
        sources = {name: _archive(tmp_path, seed=seed) for seed, name in enumerate(_NEIGHBOURS)}
        await asyncio.gather(*(store.save(session=name, path=path) for name, path in sources.items()))
        left = dict(sources)
        for gone in _NEIGHBOURS:
            for name, path in left.items():
                assert await _extract(store, name, tmp_path) == path.read_bytes(), f"{name} is damaged"
            await store.delete(session=gone)
            del left[gone]
            assert await store.session_exists(session=gone) is False

    async def test_names_that_differ_in_case_do_not_mix(self, store: Store, tmp_path: Path) -> None:
        """Two names that differ in case are two sessions, or the second one is refused."""
        await store.save(session="RemoteAuth-Case", path=_archive(tmp_path))
        try:
            await store.save(session="RemoteAuth-case", path=_archive(tmp_path, seed=2))
        except ConfigurationError:
            pass
        else:
            assert await _extract(store, "RemoteAuth-case", tmp_path) == _bytes(seed=2)
            await store.delete(session="RemoteAuth-case")
        assert await _extract(store, "RemoteAuth-Case", tmp_path) == _bytes()

    @pytest.mark.parametrize(
        "name",
        ["a", "-", "_", "0", string.ascii_letters + string.digits + "_-", "a.b.c", "--help", "n" * 200],
        ids=["a", "dash", "underscore", "0", "every character", "dots", "option", "longest"],
    )
    async def test_every_allowed_name_works(self, store: Store, tmp_path: Path, name: str) -> None:
        """`session` consists of ASCII letters, digits, `_`, `-` and `.`, in up to 200 characters."""
        await store.save(session=name, path=_archive(tmp_path))
        assert await _extract(store, name, tmp_path) == _bytes()
        await store.delete(session=name)
        assert await store.session_exists(session=name) is False

    async def test_listing_says_what_is_stored(self, store: Store, tmp_path: Path) -> None:
        """`list_sessions` iterates over what is stored under names that begin with `prefix`, where it is supported."""
        if not store.features.listing:
            with pytest.raises(ConfigurationError):
                await _list(store)
            return
        assert await _list(store) == {}
        for size, name in enumerate(_NEIGHBOURS):
            await store.save(session=name, path=_archive(tmp_path, size))
        listed = await _list(store)
        assert set(listed) == set(_NEIGHBOURS)
        for size, name in enumerate(_NEIGHBOURS):
            _check_size(store, listed[name], size)
        assert all(info.modified.tzinfo is not None for info in listed.values()), "times need a time zone"
        for prefix in ("RemoteAuth-a.", "RemoteAuth-a_", "RemoteAuth-a.zip", "remoteauth-a", "nothing", "%", "*", ".", "/"):
            assert set(await _list(store, prefix)) == {name for name in _NEIGHBOURS if name.startswith(prefix)}, prefix

        await store.save(session="RemoteAuth-a", path=_archive(tmp_path, 99, seed=2))
        await store.delete(session="RemoteAuth-a.b")
        again = await _list(store)
        assert set(again) == set(_NEIGHBOURS) - {"RemoteAuth-a.b"}
        new, old = again["RemoteAuth-a"], listed["RemoteAuth-a"]
        _check_size(store, new, 99)
        assert new.modified >= old.modified
        if new.revision is not None:
            assert old.revision is not None, "a store counts its writes from the first one, or not at all"
            assert new.revision > old.revision, "the revision grows with every save"

    async def test_packs_are_listed_when_they_are_asked_for(self, store: Store, tmp_path: Path) -> None:
        """A listing tells sessions; the packs that lie beside them only with `packs=True`."""
        listing: Callable[..., AsyncIterator[SessionInfo]] = store.list_sessions
        if not store.features.listing or "packs" not in inspect.signature(listing).parameters:
            pytest.skip(f"{type(store).__name__} lists no packs apart")
        pack = "RemoteAuth-a.1.0123abcd"
        for name in ("RemoteAuth-a", pack):
            await store.save(session=name, path=_archive(tmp_path))
        assert set(await _list(store)) == {"RemoteAuth-a"}
        assert {info.session async for info in listing(packs=True)} == {"RemoteAuth-a", pack}
        assert {info.session async for info in listing(prefix="RemoteAuth-a.", packs=True)} == {pack}

    async def test_what_is_saved_outlives_the_store(self, store: Store, tmp_path: Path) -> None:
        """A store opened anew on the same data holds what the earlier one saved, and deletes it for both."""
        await store.save(session="RemoteAuth-a", path=_archive(tmp_path, MIB))
        other = await self.reopen(store)
        try:
            assert await _extract(other, "RemoteAuth-a", tmp_path) == _bytes(MIB)
            await other.delete(session="RemoteAuth-a")
            assert await store.session_exists(session="RemoteAuth-a") is False
        finally:
            await other.close()

    async def test_close_may_be_repeated(self, store: Store, tmp_path: Path) -> None:
        """`close` is idempotent, whether the store was used or not."""
        await store.save(session="RemoteAuth-a", path=_archive(tmp_path))
        await store.close()
        await store.close()

    # Leases: only for stores that have them ---------------------------------------------------------------------------

    async def test_a_lease_has_one_holder(self, store: Store) -> None:
        """Entering raises `SessionInUse`, naming the holder, at once; after the release it is free."""
        _need_leases(store)
        async with store.lease(session="RemoteAuth-a", holder="first", ttl=60) as lease:
            with pytest.raises(SessionInUse) as caught:
                await store.lease(session="RemoteAuth-a", holder="second", ttl=60).__aenter__()
            assert caught.value.holder == "first"
            async with store.lease(session="RemoteAuth-b", holder="second", ttl=60):
                pass  # another session's is another one
            await lease.renew()
        async with store.lease(session="RemoteAuth-a", holder="second", ttl=60) as later:
            assert later.fence > lease.fence, "the fence does not grow"
        await later.release()

    async def test_a_lease_that_is_not_renewed_ends(self, store: Store) -> None:
        """A lease ends `ttl` after it was taken or renewed; whoever was overtaken is told."""
        _need_leases(store)
        first = await store.lease(session="RemoteAuth-a", holder="first", ttl=0.3).__aenter__()
        await asyncio.sleep(0.5)
        await first.renew()  # it has run out, and nobody else took it
        await asyncio.sleep(0.5)
        second = await store.lease(session="RemoteAuth-a", holder="second", ttl=60).__aenter__()
        assert second.fence > first.fence
        with pytest.raises(LeaseLost):
            await first.renew()
        await first.release()
        await second.renew()  # that release was not its own

    async def test_the_same_holder_takes_its_lease_again(self, store: Store) -> None:
        """A holder of the same name takes it at once, as after a restart; the fence grows all the same."""
        _need_leases(store)
        before = await store.lease(session="RemoteAuth-a", holder="same", ttl=60).__aenter__()
        after = await store.lease(session="RemoteAuth-a", holder="same", ttl=60).__aenter__()
        assert after.fence > before.fence
        with pytest.raises(LeaseLost):
            await before.renew()

    async def test_the_fence_keeps_overtaken_writers_out(self, store: Store, tmp_path: Path) -> None:
        """`save` and `delete` refuse a holder who was overtaken, and change nothing."""
        _need_leases(store)
        old = await store.lease(session="RemoteAuth-a", holder="old", ttl=60).__aenter__()
        await _fenced(store).save(session="RemoteAuth-a", path=_archive(tmp_path), fence=old.fence)
        await old.release()
        new = await store.lease(session="RemoteAuth-a", holder="new", ttl=60).__aenter__()
        with pytest.raises(LeaseLost):
            await _fenced(store).save(session="RemoteAuth-a", path=_archive(tmp_path, seed=2), fence=old.fence)
        with pytest.raises(LeaseLost):
            await _fenced(store).delete(session="RemoteAuth-a", fence=old.fence)
        assert await _extract(store, "RemoteAuth-a", tmp_path) == _bytes(), "a writer who was overtaken changed the archive"
        await _fenced(store).save(session="RemoteAuth-a", path=_archive(tmp_path, seed=3), fence=new.fence)
        await _fenced(store).delete(session="RemoteAuth-a", fence=new.fence)
        assert await store.session_exists(session="RemoteAuth-a") is False

    async def test_of_many_who_want_a_lease_one_has_it(self, store: Store) -> None:
        """Taking a lease is atomic: of several who ask at the same time, one gets it."""
        _need_leases(store)

        async def ask(number: int) -> Lease | None:
            try:
                return await store.lease(session="RemoteAuth-a", holder=f"holder {number}", ttl=60).__aenter__()
            except SessionInUse:
                return None

        for _ in range(3):
            got = [lease for lease in await asyncio.gather(*map(ask, range(8))) if lease is not None]
            assert len(got) == 1, f"{len(got)} hold it"
            await got[0].release()

    async def test_fences_outlive_what_they_guard(self, store: Store, tmp_path: Path) -> None:
        """The fence goes on growing after the session was deleted and after the store was opened anew; no listing shows it."""
        _need_leases(store)
        async with store.lease(session="RemoteAuth-a", holder="first", ttl=60) as first:
            await _fenced(store).save(session="RemoteAuth-a", path=_archive(tmp_path), fence=first.fence)
            await _fenced(store).delete(session="RemoteAuth-a", fence=first.fence)
        if store.features.listing:
            assert await _list(store) == {}
        async with store.lease(session="RemoteAuth-a", holder="second", ttl=60) as second:
            assert second.fence > first.fence
        again = await self.reopen(store)
        try:
            async with again.lease(session="RemoteAuth-a", holder="third", ttl=60) as third:
                assert third.fence > second.fence
        finally:
            await again.close()

    @pytest.mark.parametrize("wrong", [{"holder": ""}, {"holder": "two\nlines"}, {"ttl": 0}, {"ttl": -1}, {"session": "../a"}])
    async def test_wrong_words_for_a_lease_are_refused(self, store: Store, wrong: dict[str, object]) -> None:
        """A name that is none, a holder that cannot be shown, a time that is none: `ConfigurationError`."""
        _need_leases(store)
        words: dict[str, Any] = {"session": "RemoteAuth-a", "holder": "me", "ttl": 60, **wrong}
        with pytest.raises(ConfigurationError):
            await store.lease(**words).__aenter__()


def _need_leases(store: Store) -> None:
    if not store.features.leases:
        pytest.skip(f"{type(store).__name__} has no leases, and says so")


def _fenced(store: Store) -> Any:
    # Only stores with leases know the word.
    return store


def _bytes(size: int = 1000, *, seed: int = 1) -> bytes:
    return random.Random(f"{seed}/{size}").randbytes(size)  # noqa: S311 - the same bytes each time


def _folder(tmp_path: Path) -> Path:
    """Make a new empty folder."""
    number = len(list(tmp_path.glob("contract-*")))
    folder = tmp_path / f"contract-{number}"
    folder.mkdir()
    return folder


def _archive(tmp_path: Path, size: int = 1000, *, seed: int = 1) -> Path:
    """Write an archive, alone in a folder, under a name that has nothing to do with the session's."""
    path = _folder(tmp_path) / "source.bin"
    path.write_bytes(_bytes(size, seed=seed))
    return path


def _bad_source(kind: str, tmp_path: Path) -> Path:
    if kind == "missing":
        return _folder(tmp_path) / "not there.zip"
    if kind == "a folder":
        return _folder(tmp_path)
    # It opens, and its first page is never mapped: a read that fails, also for root.
    path = Path("/proc/self/mem")
    if not path.exists():
        pytest.skip("only Linux has a file that opens and cannot be read")
    return path


async def _extract(store: Store, session: str, tmp_path: Path) -> bytes:
    path = _folder(tmp_path) / "out.zip"
    await store.extract(session=session, path=path)
    got = path.read_bytes()
    path.unlink()
    return got


def _check_size(store: Store, info: SessionInfo, size: int) -> None:
    # How much encryption adds is not fixed, but it always adds something.
    right = info.size > size if store.features.encrypted else info.size == size
    assert right, f"{info.session} is listed with {info.size} bytes, {size} were saved"


async def _list(store: Store, prefix: str = "") -> dict[str, SessionInfo]:
    found: dict[str, SessionInfo] = {}
    async for info in store.list_sessions(prefix=prefix):
        assert info.session not in found, f"{info.session} is listed twice"
        found[info.session] = info
    return found
