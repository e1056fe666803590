"""
One file that holds a session: a zip of the archives that a store keeps for it, each under its name and `.zip`.

Unpacked, it is the folder of a `FileSystemStore`. Its entries are stored, not compressed: what is in them is.
"""

from __future__ import annotations

import asyncio
import zipfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NoReturn

from .._names import check_session_name
from .._threads import in_thread
from ..abc import Store
from ..errors import ConfigurationError, SessionCorrupted, SessionNotFound
from ._io import CHUNK, create_private, write_all
from ._zipread import HostileArchive, Limits, look_through
from .archive import DAMAGE
from .index import split_pack_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .._threads import Stop

_SUFFIX = ".zip"

# What is stored unpacks to its own size: there is no bomb in it, and no limit but the file's own.
_LIMITS = Limits(bytes_total=1 << 62, methods=frozenset({zipfile.ZIP_STORED}))


class SessionFile(Store):
    """
    Such a file, or a plain zip, as a store that is only read. Made by `open_file`.

    Attributes:
        session: The session that is in it; of a plain zip the name of the file.
        named: The name is one that a store takes.
    """

    def __init__(self, path: Path, session: str, entries: dict[str, zipfile.ZipInfo | None], *, named: bool = True) -> None:
        self._path = path
        self._entries = entries
        self.session = session
        self.named = named

    async def session_exists(self, *, session: str) -> bool:
        """Tell whether the file has this archive."""
        return session in self._entries

    async def extract(self, *, session: str, path: Path) -> None:
        """Write an archive to the new file `path`; `SessionNotFound`, `SessionCorrupted`."""
        if session not in self._entries:
            raise SessionNotFound(f"{self._path.name} has no {session!r}")
        entry = self._entries[session]

        def copy(stop: Stop) -> None:
            try:
                with self._open(entry) as source, create_private(path) as target:
                    while data := source.read(CHUNK):
                        stop.check()
                        write_all(target, data)
            except DAMAGE as exc:
                path.unlink(missing_ok=True)
                raise SessionCorrupted(f"{self._path.name} is damaged at {session}: {exc}") from exc
            except BaseException:
                path.unlink(missing_ok=True)
                raise

        await in_thread(copy)

    @contextmanager
    def _open(self, entry: zipfile.ZipInfo | None) -> Iterator[IO[bytes]]:
        if entry is None:
            with self._path.open("rb") as file:
                yield file
        else:
            with zipfile.ZipFile(self._path) as bundle, bundle.open(entry) as file:
                yield file

    async def save(self, *, session: str, path: Path) -> NoReturn:  # noqa: ARG002 - the name is the interface's
        """Refuse."""
        raise ConfigurationError(f"{self._path.name} is only read: {session} cannot be saved to it")

    async def delete(self, *, session: str) -> NoReturn:
        """Refuse."""
        raise ConfigurationError(f"{self._path.name} is only read: {session} cannot be deleted from it")


async def open_file(path: Path) -> SessionFile:
    """
    Open a file that holds a session, or a plain zip.

    Raises:
        ConfigurationError: It cannot be read.
        SessionCorrupted: It is no zip, or a damaged one, or one of archives that are no single session's.
    """
    try:
        return await asyncio.to_thread(_open, path)
    except DAMAGE as exc:
        raise SessionCorrupted(f"{path} is no whole export of a session: {exc}") from exc
    except OSError as exc:
        raise ConfigurationError(f"cannot read {path} ({exc.strerror}): name a file that `wwauth export` wrote") from exc


def _open(path: Path) -> SessionFile:
    with zipfile.ZipFile(path) as bundle:
        names = bundle.namelist()
        if not names or any("/" in name or not name.endswith(_SUFFIX) for name in names):
            return _plain(path)
        entries = {entry.path.removesuffix(_SUFFIX): entry.info for entry in look_through(bundle, path, _LIMITS)}
    splits = {name: split_pack_name(name) for name in entries}
    owners = {split[0] for split in splits.values() if split is not None}
    session = next((name for name, split in splits.items() if split is None or name in owners), "")
    if any(split is None or split[0] != session for name, split in splits.items() if name != session):
        raise HostileArchive(f"its {len(entries)} archives are not those of one session")
    try:
        check_session_name(session)
    except ConfigurationError as exc:
        raise HostileArchive(str(exc)) from None
    return SessionFile(path, session, dict(entries))


def _plain(path: Path) -> SessionFile:
    try:
        name, named = check_session_name(path.stem), True
    except ConfigurationError:
        name, named = "unnamed", False
    return SessionFile(path, name, {name: None}, named=named)


class BundleWriter:
    """Writes the new file `path` (0600); to be used in one thread at a time, and closed."""

    def __init__(self, path: Path) -> None:
        self._file = create_private(path)
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)

    def add(self, name: str, path: Path, stop: Stop) -> None:
        """Add the archive at `path` under its name in the store."""
        entry = zipfile.ZipInfo(f"{name}{_SUFFIX}", (1980, 1, 1, 0, 0, 0))
        entry.external_attr = 0o100600 << 16
        entry.file_size = path.stat().st_size
        with path.open("rb", buffering=0) as source, self._zip.open(entry, "w") as target:
            while data := source.read(CHUNK):
                stop.check()
                target.write(data)

    def close(self) -> None:
        """Write the directory, and close the file; again is no error."""
        try:
            self._zip.close()
        finally:
            self._file.close()
