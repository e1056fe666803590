"""The four methods, one after the other."""

# ruff: noqa: S101 - tests assert

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from wwauth.errors import SessionNotFound

from ._base import MIB, Hooks, extracted, new_archive, new_folder, same, some_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from wwauth.abc import Store


class Archives(Hooks):
    """There and back again, and gone."""

    @pytest.mark.parametrize("size", [0, 1, 1000, None], ids=["empty", "one byte", "small", "largest"])
    async def test_an_archive_comes_back_byte_for_byte(self, store: Store, tmp_path: Path, size: int | None) -> None:
        """`save` stores the archive that lies at `path`, `extract` writes it to another `path`."""
        size = self.largest if size is None else size
        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path, size))
        assert same(await extracted(store, "RemoteAuth-a", tmp_path), some_bytes(size)), "other bytes came back"
        assert same(await extracted(store, "RemoteAuth-a", tmp_path), some_bytes(size)), "reading once used the archive up"

    async def test_session_exists_says_what_was_saved(self, store: Store, tmp_path: Path) -> None:
        """`session_exists` tells whether an archive is stored under this name."""
        assert await store.session_exists(session="RemoteAuth-a") is False
        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path))
        assert await store.session_exists(session="RemoteAuth-a") is True

    async def test_a_second_save_replaces_the_first(self, store: Store, tmp_path: Path) -> None:
        """A reader sees the old archive or the new one: after a save, the new one, larger or smaller."""
        for seed, size in enumerate((1000, 10, MIB, 2 * MIB + 1, 0, 1)):
            await store.save(session="RemoteAuth-a", path=new_archive(tmp_path, size, seed=seed))
            assert same(await extracted(store, "RemoteAuth-a", tmp_path), some_bytes(size, seed=seed))

    async def test_save_only_reads_the_source(self, store: Store, tmp_path: Path) -> None:
        """The file at `path` is only read, and is the caller's again when `save` returns."""
        path = new_archive(tmp_path)
        before = path.stat()
        await store.save(session="RemoteAuth-a", path=path)
        after = path.stat()
        assert path.read_bytes() == some_bytes()
        assert (after.st_mtime_ns, after.st_mode, after.st_nlink) == (before.st_mtime_ns, before.st_mode, before.st_nlink)
        assert list(path.parent.iterdir()) == [path], "save left something beside the source"

        path.write_bytes(b"written over")
        assert same(await extracted(store, "RemoteAuth-a", tmp_path), some_bytes()), (
            "the store kept the caller's file, not a copy"
        )
        path.unlink()
        assert same(await extracted(store, "RemoteAuth-a", tmp_path), some_bytes())

    async def test_what_is_not_there_is_session_not_found(self, store: Store, tmp_path: Path) -> None:
        """`extract` of a missing name is `SessionNotFound`, and nothing is left at `path`."""
        target = new_folder(tmp_path) / "out.zip"
        with pytest.raises(SessionNotFound):
            await store.extract(session="RemoteAuth-a", path=target)
        assert list(target.parent.iterdir()) == []

    async def test_a_failed_extract_leaves_no_file(self, store: Store, tmp_path: Path) -> None:
        """`extract` writes into an existing folder; where it cannot, it raises and leaves nothing."""
        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path))
        folder = new_folder(tmp_path)
        with pytest.raises(Exception):  # noqa: B017, PT011 - plug-ins raise what the system raises
            await store.extract(session="RemoteAuth-a", path=folder / "not there" / "out.zip")
        assert list(folder.iterdir()) == []
        assert same(await extracted(store, "RemoteAuth-a", tmp_path), some_bytes())

    @pytest.mark.skipif(os.name != "posix", reason="only POSIX systems have permission bits")
    async def test_an_extracted_archive_is_private(self, store: Store, tmp_path: Path) -> None:
        """An archive is a login: what `extract` writes is its owner's alone."""
        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path))
        target = new_folder(tmp_path) / "out.zip"
        await store.extract(session="RemoteAuth-a", path=target)
        assert list(target.parent.iterdir()) == [target], "extract left something beside the archive"
        assert target.stat().st_mode & 0o077 == 0, "others can read the extracted login: create it with mode 0600"

    async def test_delete_deletes_and_may_be_repeated(self, store: Store, tmp_path: Path) -> None:
        """A name that is not there is no error; when `delete` returns, `session_exists` is False."""
        await store.delete(session="RemoteAuth-a")
        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path))
        for _ in range(2):
            await store.delete(session="RemoteAuth-a")
            assert await store.session_exists(session="RemoteAuth-a") is False
            with pytest.raises(SessionNotFound):
                await store.extract(session="RemoteAuth-a", path=new_folder(tmp_path) / "out.zip")
        await store.save(session="RemoteAuth-a", path=new_archive(tmp_path, seed=2))
        assert same(await extracted(store, "RemoteAuth-a", tmp_path), some_bytes(seed=2))
