"""
One file that holds a session: a zip of the archives that a store keeps for it, each under its name and `.zip`.

Unpacked, it is the folder of a `FileSystemStore`. Its entries are stored, not compressed: what is in them is.
"""

from __future__ import annotations

import asyncio
import zipfile
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from .._names import check_session_name
from .._threads import in_thread
from ..abc import Store
from ..errors import ConfigurationError, SessionCorrupted, SessionNotFound
from ._inflate import DEFLATED, STORED
from ._io import CHUNK, create_private, write_all
from ._paths import HostileArchive, shown
from ._zipread import Limits, read_directory, read_entry
from .index import split_pack_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .._threads import Stop
    from ._zipread import Entry

_SUFFIX = ".zip"

# What is stored unpacks to its own size: there is no limit but the file's own. A plain zip may be compressed, which its own
# reader looks at.
_LIMITS = Limits(bytes_total=1 << 62, methods=frozenset({STORED, DEFLATED}))


class SessionFile(Store):
    """
    Such a file, or a plain zip, as a store that is only read. Made by `open_file`.

    Attributes:
        session: The session that is in it; of a plain zip the name of the file.
        named: The name is one that a store takes.
    """

    def __init__(self, path: Path, session: str, entries: dict[str, Entry | None], *, named: bool = True) -> None:
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
                with self._path.open("rb", buffering=0) as file, create_private(path) as target:
                    for data in _whole(file) if entry is None else read_entry(file, entry):
                        stop.check()
                        write_all(target, data)
            except HostileArchive as exc:
                path.unlink(missing_ok=True)
                raise SessionCorrupted(f"{self._path.name} is damaged at {session}: {exc}") from exc
            except BaseException:
                path.unlink(missing_ok=True)
                raise

        await in_thread(copy)

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
    except HostileArchive as exc:
        raise SessionCorrupted(f"{path} is no whole export of a session: {exc}") from exc
    except OSError as exc:
        raise ConfigurationError(f"cannot read {path} ({exc.strerror}): name a file that `wwauth export` wrote") from exc


def _open(path: Path) -> SessionFile:
    with path.open("rb") as file:
        found = read_directory(file, _LIMITS).entries
    if not found or any("/" in entry.path or not entry.path.endswith(_SUFFIX) for entry in found):
        return _plain(path)
    if compressed := [entry for entry in found if entry.method != STORED]:
        raise HostileArchive(f"{shown(compressed[0].path)} is compressed by method {compressed[0].method}, which no export is")
    entries = {entry.path.removesuffix(_SUFFIX): entry for entry in found}
    splits = {name: split_pack_name(name) for name in entries}
    session = next((name for name, split in splits.items() if split is None), "")
    if any(split is None or split[0] != session for name, split in splits.items() if name != session):
        raise HostileArchive(f"its {len(entries)} archives are not those of one session")
    try:
        check_session_name(session)
    except ConfigurationError as exc:
        raise HostileArchive(str(exc)) from None
    return SessionFile(path, session, dict(entries))


def _whole(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(CHUNK):
        yield data


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
