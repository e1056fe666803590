"""The two sides of a mirror, and what lies beside each archive there."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wwauth._disk import store_errors
from wwauth._names import MAX_SESSION
from wwauth._store import list_stored, takes_fence
from wwauth._threads import Stop, in_thread
from wwauth.errors import DecryptionFailed, SessionCorrupted, SessionNotFound, StoreError, WWAuthError

from ._local import open_source, read_source, write_private
from ._transfer import private_folder

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from wwauth.abc import SessionInfo, Store

_log = logging.getLogger(__name__)

_ENDING = ".mirror"

_SCRATCH = "wwauth-mirror"
if sys.platform != "win32":
    # In a folder that all users share, what another one has left cannot be deleted.
    _SCRATCH += f"-{os.getuid()}"

_FORMAT = 1
_LONGEST_HEAD, _DIGITS = 120, 32


@dataclass(frozen=True, slots=True)
class Record:
    """
    What a side's sidecar says of its archive.

    Attributes:
        version: The mirror's write counter; 0: there is no sidecar.
        deleted: The session was deleted; the other side could not be told.
        sha256: Of the archive that was saved; None: not known.
        role: Which side it was written to.
    """

    version: int = 0
    deleted: bool = False
    sha256: str | None = None
    role: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Look:
    """What a side holds of a session: its record, and whether an archive is there."""

    record: Record
    present: bool


class Side:
    """
    One of the two stores.

    Attributes:
        store: It.
        role: "primary" or "secondary".
        fenced: Its `save` and `delete` take a fence.
    """

    def __init__(self, store: Store, role: str, work_dir: Path | None) -> None:
        self.store = store
        self.role = role
        self._work_dir = work_dir
        self.fenced = takes_fence(store)
        self._troubles: set[str] = set()

    async def look(self, session: str) -> Look:
        """Ask what is there; an archive is not read for it."""
        record = await self.record(session)
        return Look(record, bool(await self.store.session_exists(session=session)))

    async def record(self, session: str) -> Record:
        """Read the sidecar; one that is damaged says nothing, one that cannot be read now is an error."""
        return (await self._read(sidecar(session)))[0]

    async def session_of(self, name: str) -> str | None:
        """Return whose sidecar this is; None when it does not say."""
        return (await self._read(name))[1]

    async def save(self, session: str, path: Path, fence: int | None) -> None:
        """Save an archive; its record is `tell`'s, and comes afterwards."""
        given: dict[str, Any] = {} if fence is None or not self.fenced else {"fence": fence}
        await self.store.save(session=session, path=path, **given)

    async def delete(self, session: str, fence: int | None) -> None:
        """Delete an archive; its record stays."""
        given: dict[str, Any] = {} if fence is None or not self.fenced else {"fence": fence}
        await self.store.delete(session=session, **given)

    async def tell(self, session: str, record: Record) -> None:
        """Write the sidecar of an archive that is there, or of one that was deleted."""
        told = {
            "wwauth-mirror": _FORMAT,
            "session": session,
            "version": record.version,
            "deleted": record.deleted,
            "sha256": record.sha256,
            "store": self.role,
        }
        async with self.scratch() as folder:
            path = folder / "record"

            def write(_: Stop) -> None:
                with store_errors(f"write {path}"):
                    write_private(path, [json.dumps(told, indent=1).encode()])

            await in_thread(write)
            await self.store.save(session=sidecar(session), path=path)

    async def forget(self, session: str) -> None:
        """Delete the sidecar."""
        await self.store.delete(session=sidecar(session))

    async def list(self, prefix: str) -> dict[str, SessionInfo]:
        """Return all that lies there, packs and sidecars, too."""
        return {info.session: info async for info in list_stored(self.store, prefix=prefix, packs=True)}

    def scratch(self) -> AbstractAsyncContextManager[Path]:
        """Enter a private folder for what is on its way, which is deleted at the end."""
        parent = self._work_dir or Path(tempfile.gettempdir())
        return private_folder(parent, _SCRATCH, cure=" (work_dir= names another place)")

    def fails(self, doing: str, error: Exception) -> Exception:
        """Warn that it cannot be read, or written, once until it `works` again; returns the error."""
        if doing not in self._troubles:
            self._troubles.add(doing)
            # Of an error that is not ours the kind alone: its text may hold an address with a password.
            why = error if isinstance(error, WWAuthError) else type(error).__name__
            _log.warning(
                "the %s store of a mirror, %r, fails at %s; the other one goes on: %s", self.role, self.store, doing, why
            )
        return error

    def works(self, doing: str) -> None:
        """Take note that it was read, or written."""
        if doing in self._troubles:
            self._troubles.remove(doing)
            _log.info("the %s store of a mirror, %r, is back at %s", self.role, self.store, doing)

    async def _read(self, name: str) -> tuple[Record, str | None]:
        async with self.scratch() as folder:
            path = folder / "record"
            try:
                await self.store.extract(session=name, path=path)
                return _parse(await in_thread(lambda _: path.read_bytes()), name)
            except SessionNotFound:
                return Record(), None
            except DecryptionFailed:
                raise  # with the right keys it says something
            except SessionCorrupted as error:
                _log.warning("the %s store's record of a mirrored session is damaged: %s", self.role, error)
                return Record(), None


def sidecar(session: str) -> str:
    """Return the name under which a session's record lies; that of a long name has a digest in its place."""
    name = f"{session}{_ENDING}"
    if len(name) <= MAX_SESSION:
        return name
    digest = hashlib.sha256(session.encode()).hexdigest()[:_DIGITS]
    return f"{session[:_LONGEST_HEAD].rstrip('.')}.{digest}{_ENDING}"


def is_sidecar(name: str) -> bool:
    """Tell whether a name is one that `sidecar` returns."""
    return name.endswith(_ENDING)


def is_outage(error: BaseException) -> bool:
    """Tell whether a store that raised this is one that the other store stands in for."""
    if isinstance(error, WWAuthError):
        # Without its keys an encrypted archive is as good as away, and must not be taken for a damaged one.
        return isinstance(error, StoreError | DecryptionFailed)
    return isinstance(error, Exception)


async def digest_of(path: Path) -> str:
    """Return the SHA-256 of an archive; raises what `open_source` and `read_source` do."""

    def read(stop: Stop) -> str:
        digest = hashlib.sha256()
        with open_source(path) as source:
            for chunk in read_source(source, stop.check):
                digest.update(chunk)
        return digest.hexdigest()

    return await in_thread(read)


def _parse(data: bytes, name: str) -> tuple[Record, str | None]:
    try:
        told = json.loads(data)
        number = told["wwauth-mirror"]
        if number == _FORMAT:
            sha256 = told["sha256"]
            record = Record(int(told["version"]), bool(told["deleted"]), sha256 and str(sha256), str(told["store"]))
            return record, str(told["session"])
    except (ValueError, TypeError, KeyError) as error:
        raise SessionCorrupted(f"{name} is no record of a mirror") from error
    raise StoreError(f"{name} was written by a newer version of wwauth (format {number!r}): use that one")
