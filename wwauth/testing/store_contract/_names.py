"""Names, and the listing of them."""

# ruff: noqa: S101 - tests assert

from __future__ import annotations

import asyncio
import inspect
import string
from typing import TYPE_CHECKING

import pytest

from wwauth.errors import ConfigurationError

from ._base import Hooks, check_size, extracted, listed, need, new_archive, same, some_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from wwauth.abc import SessionInfo, Store

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

# What client ids may look like: digits, signs alone, an option, a device of Windows, all characters; and the longest names.
_SHAPES = [
    *("a", "-", "_", "0", "007", "a.b.c", "--help", "RemoteAuth--", "RemoteAuth-_", "RemoteAuth-15551234567", "RemoteAuth-CON"),
    string.ascii_letters + string.digits + "_-",
    "RemoteAuth-" + "i" * 160,
    "n" * 200,
]


class Names(Hooks):
    """`session` is opaque."""

    async def test_names_do_not_mix(self, store: Store, tmp_path: Path) -> None:
        """`session` is an opaque name: what one name keeps has nothing to do with any other."""
        sources = {name: new_archive(tmp_path, seed=seed) for seed, name in enumerate(_NEIGHBOURS)}
        await asyncio.gather(*(store.save(session=name, path=path) for name, path in sources.items()))
        left = dict(sources)
        for gone in _NEIGHBOURS:
            for name, path in left.items():
                assert same(await extracted(store, name, tmp_path), path.read_bytes()), f"{name} is damaged"
            await store.delete(session=gone)
            del left[gone]
            assert await store.session_exists(session=gone) is False

    async def test_names_that_differ_in_case_do_not_mix(self, store: Store, tmp_path: Path) -> None:
        """Two names that differ in case are two sessions, or the second one is refused."""
        await store.save(session="RemoteAuth-Case", path=new_archive(tmp_path))
        try:
            await store.save(session="RemoteAuth-case", path=new_archive(tmp_path, seed=2))
        except ConfigurationError:
            pass
        else:
            assert same(await extracted(store, "RemoteAuth-case", tmp_path), some_bytes(seed=2))
            await store.delete(session="RemoteAuth-case")
        assert same(await extracted(store, "RemoteAuth-Case", tmp_path), some_bytes())

    async def test_every_allowed_name_works(self, store: Store, tmp_path: Path) -> None:
        """`session` consists of ASCII letters, digits, `_`, `-` and `.`, in up to 200 characters."""
        sources = {name: new_archive(tmp_path, seed=seed) for seed, name in enumerate(_SHAPES)}
        for name, path in sources.items():
            await store.save(session=name, path=path)
        if store.features.listing:
            assert set(await listed(store)) == set(_SHAPES)
        for name, path in sources.items():
            assert same(await extracted(store, name, tmp_path), path.read_bytes()), f"{name} is damaged"
            await store.delete(session=name)
            assert await store.session_exists(session=name) is False

    async def test_listing_says_what_is_stored(self, store: Store, tmp_path: Path) -> None:
        """`list_sessions` iterates over what is stored under names that begin with `prefix`, where it is supported."""
        if not store.features.listing:
            with pytest.raises(ConfigurationError):
                await listed(store)
            return
        assert await listed(store) == {}
        for size, name in enumerate(_NEIGHBOURS):
            await store.save(session=name, path=new_archive(tmp_path, size))
        before = await listed(store)
        assert set(before) == set(_NEIGHBOURS)
        for size, name in enumerate(_NEIGHBOURS):
            check_size(store, before[name], size)
        assert all(info.modified.tzinfo is not None for info in before.values()), "times need a time zone"
        for prefix in ("RemoteAuth-a.", "RemoteAuth-a_", "RemoteAuth-a.zip", "remoteauth-a", "nothing", "%", "*", ".", "/"):
            assert set(await listed(store, prefix)) == {name for name in _NEIGHBOURS if name.startswith(prefix)}, prefix

        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path, 99, seed=2))
        await store.delete(session="RemoteAuth-a.b")
        again = await listed(store)
        assert set(again) == set(_NEIGHBOURS) - {"RemoteAuth-a.b"}
        new, old = again["RemoteAuth-a"], before["RemoteAuth-a"]
        check_size(store, new, 99)
        assert new.modified >= old.modified
        if new.revision is not None:
            assert old.revision is not None, "a store counts its writes from the first one, or not at all"
            assert new.revision > old.revision, "the revision grows with every save"

    async def test_packs_are_listed_when_they_are_asked_for(self, store: Store, tmp_path: Path) -> None:
        """A listing tells sessions; the packs that lie beside them only with `packs=True`."""
        need("listing", store)
        listing: Callable[..., AsyncIterator[SessionInfo]] = store.list_sessions
        if "packs" not in inspect.signature(listing).parameters:
            pytest.skip(f"{type(store).__name__}.list_sessions() has no packs=: it lists all")
        pack = "RemoteAuth-a.1.0123abcd"
        for name in ("RemoteAuth-a", pack):
            await store.save(session=name, path=new_archive(tmp_path))
        assert set(await listed(store)) == {"RemoteAuth-a"}
        assert {info.session async for info in listing(packs=True)} == {"RemoteAuth-a", pack}
        assert {info.session async for info in listing(prefix="RemoteAuth-a.", packs=True)} == {pack}
