"""A folder of Baileys' files that appears whole or not at all, and what is known of folders that are there."""

from __future__ import annotations

import errno
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .._disk import store_errors
from .._files import make_private_dir, private_opener, remove_tree, sync_dir, temporary_sibling
from .._threads import in_thread
from ..abc import CREDS
from ..errors import ConfigurationError, StoreUnavailable
from ._findings import label
from ._streams import digest
from .folder import LOCK
from .names import file_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path
    from typing import Self

    from ..abc import RecordName
    from .folder import FolderAuthStateStore


class NewFolder:
    """
    Writes records beside the place of a folder, in the order of their coming, and the credentials last.

    Methods block, and are called from a thread, one at a time.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._building = temporary_sibling(target)
        self._names: dict[str, RecordName] = {}
        self._digests: dict[str, str] = {}
        self._creds: str | None = None

    @classmethod
    @asynccontextmanager
    async def beside(cls, target: Path) -> AsyncIterator[Self]:
        """Make one; what is not finished is gone at the end."""
        new = cls(target)
        try:
            with store_errors(f"write beside {target}"):
                await in_thread(lambda _: make_private_dir(new._building))
            yield new
        finally:
            await in_thread(lambda _: remove_tree(new._building))

    def add(self, records: Mapping[RecordName, str]) -> None:
        """Write records; `ConfigurationError`: two of them have one file."""
        for name, text in records.items():
            file = file_name(name)
            other = self._names.setdefault(file, name)
            if other != name:
                raise self._collision(file, other, name)
            if name == CREDS:
                self._creds = text
            else:
                self._write(file, name, text)

    def finish(self, *, replace: bool) -> None:
        """
        Write the credentials, flush and read back everything, and put the folder into its place.

        Without `replace`, what lies there by now, in a folder that was empty, stays: `ConfigurationError`.
        """
        if self._creds is not None:
            self._write(file_name(CREDS), CREDS, self._creds)
        from ..backup._io import sync_tree  # noqa: PLC0415 - whoever exports nothing needs none of it

        sync_tree(self._building)
        for file, written in self._digests.items():
            if digest((self._building / file).read_bytes()) != written:
                raise StoreUnavailable(f"the disk did not keep {file} as it was written: look after the disk")
        self._swap(replace=replace)
        sync_dir(self._target.parent)

    def _write(self, file: str, name: RecordName, text: str) -> None:
        data = text.encode()
        try:
            with open(self._building / file, "xb", opener=private_opener) as opened:
                opened.write(data)
        except FileExistsError:
            # A file system that does not tell cases apart.
            other = next(known for known in self._names if known != file and known.lower() == file.lower())
            raise self._collision(file, self._names[other], name) from None
        self._digests[file] = digest(data)

    def _swap(self, *, replace: bool) -> None:
        aside = temporary_sibling(self._target)
        if not replace:
            self._remove_empty()
        # A link to an empty folder is replaced, too, and nothing with it.
        there = self._target.exists() if replace else self._target.is_symlink()
        if there:
            self._target.rename(aside)
        try:
            self._building.rename(self._target)
        except OSError:
            if there:
                aside.rename(self._target)
            raise
        remove_tree(aside)

    def _remove_empty(self) -> None:
        try:
            self._target.rmdir()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            raise ConfigurationError(
                f"{self._target} is there already, with something that came into it just now: use another name"
            ) from error

    def _collision(self, file: str, one: RecordName, other: RecordName) -> ConfigurationError:
        return ConfigurationError(
            f"{label(one)!r:.80} and {label(other)!r:.80} have one file name, {file!r:.80}: a folder would keep the last one "
            f"alone, so nothing was written to {self._target}; keep this session in a database"
        )


def is_wwauths(store: FolderAuthStateStore) -> bool:
    """Tell whether wwauth has ever opened this folder, so that there is a lock, and perhaps a journal to be made good."""
    with store_errors(f"look into {store._folder}"):
        return (store._folder / f".{LOCK}.lock").exists()
