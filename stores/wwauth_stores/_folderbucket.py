"""A folder as a bucket: what obstore does not do there is done with files."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wwauth._disk import store_errors
from wwauth._files import PRIVATE_FILE, make_private_dir, replacing, sync_dir, sync_file
from wwauth._threads import Stop, in_thread
from wwauth.errors import ConfigurationError, StoreUnavailable

from ._bucket import Bucket, Object
from ._filelease import locked
from ._local import write_private

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class FolderBucket(Bucket):
    """
    Objects in a folder, where obstore replaces nothing on a condition, flushes nothing to the disk and leaves files to all.

    A lock file makes `replace` atomic; a small object's tag is what it holds, so no two of them may be alike.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        root = self._client.prefix
        if root is None:
            raise ConfigurationError("invalid LocalStore: give it the folder that it should use, as its prefix")
        self._root = Path(root).absolute()
        self._folder = self._root / self._prefix

    async def check(self, doing: str) -> None:
        """Raise `StoreUnavailable` unless the folder is there."""
        await self._run(doing, lambda _: self._look())

    async def prepare(self, doing: str) -> None:
        """Make the folders, for the owner alone; one that is gone is not made anew."""

        def make(_: Stop) -> None:
            self._look()
            for name in ("sessions", "archives"):
                make_private_dir(self._folder / name)

        await self._run(doing, make)

    async def read(self, key: str, doing: str) -> tuple[bytes, Any] | None:
        """Return a small object's bytes and its tag, for `replace`; None: there is none."""

        def load(_: Stop) -> tuple[bytes, Any] | None:
            data = self._bytes(key)
            return None if data is None else (data, data)

        return await self._run(doing, load)

    async def replace(self, key: str, data: bytes, tag: Any | None, doing: str) -> bool:
        """Write a small object in place of the one that has this tag, None: of none; False: somebody else was faster."""

        def write(stop: Stop) -> bool:
            with locked(self._folder / "sessions" / ".lock", stop, what=str(self._folder)):
                if self._bytes(key) != tag:
                    return False
                with replacing(self._folder / key) as temporary:
                    write_private(temporary, [data])
                return True

        await self.prepare(doing)
        return await self._run(doing, write)

    async def check_conditions(self, key: str, doing: str) -> None:
        """Do nothing: the conditions are kept here."""

    async def tidy(self, folder: str) -> None:
        """Delete an empty folder."""

        def remove(_: Stop) -> None:
            try:
                (self._folder / folder).rmdir()
            except OSError:
                return  # it is not empty, or gone

        await in_thread(remove)

    async def list_under(self, folder: str, doing: str) -> list[Object]:
        """Return what lies in a folder, also what a writer left that was killed, which obstore does not show."""

        def scan(_: Stop) -> list[Object]:
            self._look()
            found: list[Object] = []
            with suppress(FileNotFoundError), os.scandir(self._folder / folder) as entries:
                for entry in entries:
                    # One that goes meanwhile, as a writer's temporary file does, says nothing of those behind it.
                    with suppress(FileNotFoundError):
                        if entry.is_file():
                            info = entry.stat()
                            modified = datetime.fromtimestamp(info.st_mtime, UTC)
                            found.append(Object(f"{folder}/{entry.name}", info.st_size, modified))
            return found

        return await self._run(doing, scan)

    async def list_top(self, doing: str) -> list[Object]:
        """Return what lies right under the prefix."""
        await self.check(doing)
        return await super().list_top(doing)

    async def remove(self, key: str, doing: str) -> None:
        """Delete an object; one that is not there is no error."""

        def unlink(_: Stop) -> None:
            (self._folder / key).unlink(missing_ok=True)

        await self._run(doing, unlink)

    async def upload(self, key: str, path: str | os.PathLike[str], doing: str) -> tuple[int, str]:
        """Write the file at `path` to an object, which appears whole at the end, and return its size and SHA-256."""
        await self.prepare(doing)
        written = await super().upload(key, path, doing)

        def settle(_: Stop) -> None:
            target = self._folder / key
            target.chmod(PRIVATE_FILE)
            sync_file(target)
            sync_dir(target.parent)
            sync_dir(target.parent.parent)

        await self._run(doing, settle)
        return written

    async def _run(self, doing: str, work: Callable[[Stop], _T]) -> _T:
        def run(stop: Stop) -> _T:
            with store_errors(f"{doing} in {self._place}"):
                return work(stop)

        async with self._step(doing):
            return await in_thread(run)

    def _look(self) -> None:
        if not self._root.is_dir():
            raise StoreUnavailable(f"the folder {self._root} is gone: mount it or bring it back")

    def _bytes(self, key: str) -> bytes | None:
        try:
            return (self._folder / key).read_bytes()
        except FileNotFoundError:
            return None
