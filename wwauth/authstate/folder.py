"""Baileys' folder: one file for the credentials and one for each key, byte for byte, and never half of one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .._disk import check_path, store_errors
from .._files import (
    PRIVATE_FILE,
    make_private_dir,
    replacing,
    sweep_temporaries,
    sync_dir,
    temporary_name,
    unused_name,
    write_temporary,
)
from .._group import GroupCommit
from .._lock import LoginLock
from .._names import is_session_name
from .._threads import in_thread
from ..abc import CREDS, AuthStateStore
from ..errors import CredsCorrupted, SessionNotFound, StoreUnavailable
from ._foreign import foreign_entry
from ._journal import Journal
from ._streams import digest
from .bufferjson import BufferJSON
from .creds import check_creds
from .names import KNOWN_TYPES, file_name, record_of
from .state import open_state

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
    from typing import TypeVar

    from ..abc import RecordName
    from .state import AuthenticationState, SaveCreds

    _T = TypeVar("_T")

_log = logging.getLogger(__name__)

_CREDS_FILE = file_name(CREDS)

# The name that a coming Baileys gives the copy. It is never a second name of creds.json itself: Baileys writes into that in
# place, and would tear whatever shares its bytes.
_GOOD_COPY = _CREDS_FILE + ".bak"

# While it lies there, everything else is to be deleted.
_LOGGED_OUT = ".wwauth-logged-out"

LOCK = "wwauth"

_NOTES = ".wwauth-backup-*.json"

# So many files are read at a time while all are listed.
_CHUNK = 200


async def use_multi_file_auth_state(
    folder: str | os.PathLike[str], *, recover: bool = False
) -> tuple[AuthenticationState, SaveCreds]:
    """
    Open Baileys' folder, or make a new identity where there is none yet, and return `(state, save_creds)`.

    The files are the ones that Baileys' useMultiFileAuthState reads and writes, and its own can be used. The folder is 0700,
    the files 0600. `save_creds()` flushes creds.json to the disk; a `set` is durable by one flush of a journal
    (`.wwauth-journal`) that Baileys ignores, and its files follow by rename. `creds.json.bak` is a good copy of the
    credentials: while a state is open those before the last save, then the newest. One state at a time has the folder,
    among those that wwauth opens; Baileys knows of no lock.

    Args:
        folder: The folder; it is made when it is not there.
        recover: When creds.json cannot be read, put the newest good copy in its place, and its bytes aside.

    Raises:
        CredsCorrupted: creds.json cannot be read, or is gone and keys are there. Nothing was changed.
        SessionInUse: Another process, or another state of this one, has the folder.
        StoreDenied: Permissions forbid it. StoreFull, StoreUnavailable: The disk is full, or fails.
    """
    store = FolderAuthStateStore(folder)
    # As `list_sessions` calls it, where that can be a session's name.
    session = store._folder.name if is_session_name(store._folder.name) else "folder"
    try:
        await store.check_creds_are_not_lost()
        return await open_state(store, session, owned=True)
    except CredsCorrupted as error:
        good = await store.good_copy()
        if good is None:
            none = "; there is no good copy for recover=True" if recover else ""
            raise CredsCorrupted(f"{store._folder}: {error}{none}") from error
        if not recover:
            cure = "recover=True brings back the newest good copy of creds.json"
            raise CredsCorrupted(f"{store._folder}: {error}; {cure}") from error
    await store.recover()
    return await open_state(store, session, owned=True)


class FolderAuthStateStore(AuthStateStore):
    """
    One login in a folder of Baileys' files; the session's name is a label, since a folder holds one.

    Reading needs no hold; writing takes it for as long as it lasts, where nobody has it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        # Absolute from the start: a later chdir() must not move the login.
        self._folder = check_path(folder, what="a folder").absolute()
        self._path = str(self._folder) + os.sep
        self._lock: LoginLock | None = None
        self._journal: Journal | None = None
        self._unapplied = False
        self._deleted = False
        self._commits = GroupCommit(self._commit_all)
        # Calls that come without a hold take one for themselves, one after the other.
        self._passing = asyncio.Lock()
        # Threads read and write: a reader sees all files of a batch, or none.
        self._files = threading.Lock()

    def __repr__(self) -> str:
        return f"FolderAuthStateStore({str(self._folder)!r})"

    async def read(self, *, session: str, names: Collection[RecordName]) -> dict[RecordName, str]:
        """Return those of the records that there are, reading one file at a time."""
        del session
        return await self._in_thread("read", lambda: self._read(names))

    async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
        """Replace files, and delete those whose new text is None; what other calls write meanwhile shares one flush."""
        async with self._held(session):
            await self._commits.add({file_name(name): text for name, text in changes.items()})

    async def records(
        self,
        *,
        session: str,
        type: str | None = None,  # noqa: A002 - Baileys' word
    ) -> AsyncIterator[tuple[RecordName, str]]:
        """Iterate over all records, or those of one type; what cannot be one is passed over."""
        del session
        names = await self._in_thread("list", lambda: self._names(type))
        for start in range(0, len(names), _CHUNK):
            chunk = names[start : start + _CHUNK]
            for item in (await self._in_thread("read", partial(self._read, chunk))).items():
                yield item

    async def delete(self, *, session: str) -> None:
        """Delete the login's files, and the folder when nothing else is in it; a crash in between is finished later."""
        if not await self._in_thread("delete the login in", self._folder.exists):
            return
        async with self._held(session):
            await self._in_thread("delete the login in", self._log_out)

    async def list_sessions(self) -> AsyncIterator[str]:
        """Give the folder's own name, when it holds a login."""
        if await self._in_thread("read", (self._folder / _CREDS_FILE).exists):
            yield self._folder.name

    @asynccontextmanager
    async def hold(self, *, session: str) -> AsyncIterator[None]:
        """Have the folder alone among those who open it with wwauth: a lock in it that ends with its process."""
        del session
        lock = LoginLock(
            self._folder / LOCK,
            what=f"the auth state {self._folder}",
            cure="close() the state that has it, or give this one a folder of its own",
        )
        try:
            # In here: cancelled, it was taken all the same.
            await self._in_thread("open", lambda: self._take(lock))
            yield
        finally:
            await self._in_thread("close", lambda: self._give_back(lock))

    async def good_copy(self) -> str | None:
        """Return the newest good copy of the credentials, or None."""
        return await self._in_thread("read", self._good_copy)

    async def check_creds_are_not_lost(self) -> None:
        """
        Tell credentials that are gone from those that never were.

        Raises:
            CredsCorrupted: creds.json is gone, and a good copy of it is there.
            StoreUnavailable: creds.json is a link that leads nowhere, to a volume that is not mounted for one.
        """
        await self._in_thread("open", self._check_creds)

    async def recover(self) -> None:
        """
        Put the newest good copy of the credentials in creds.json's place, whose bytes are kept beside it.

        One that can be read stays: it may have been half written when somebody looked, and is whole by now.

        Raises:
            SessionNotFound: There is no good copy.
        """
        async with self.hold(session=""):
            await self._in_thread("recover", self._recover)

    @asynccontextmanager
    async def _held(self, session: str) -> AsyncIterator[None]:
        """Have the folder for one call, by the hold that somebody has for longer, or by one that ends with the call."""
        if self._journal is not None and not self._passing.locked():
            yield
            return
        # What is held now may be another call's, and given back before this one is done.
        async with self._passing, contextlib.AsyncExitStack() as stack:
            if self._journal is None:
                await stack.enter_async_context(self.hold(session=session))
            yield

    async def _commit_all(self, batches: list[dict[str, str | None]]) -> None:
        def commit() -> None:
            files: dict[str, bytes | None] = {}
            for batch in batches:
                files.update({name: None if text is None else text.encode() for name, text in batch.items()})
            self._commit(files)

        await self._in_thread("write to", commit)

    async def _in_thread(self, doing: str, work: Callable[[], _T]) -> _T:
        def locked() -> _T:
            with store_errors(f"{doing} {self._folder}"), self._files:
                return work()

        return await in_thread(lambda _: locked())

    # What follows runs in a thread.

    def _take(self, lock: LoginLock) -> None:
        if not self._folder.is_dir():
            make_private_dir(self._folder)
        lock.acquire()
        self._lock = lock
        try:
            self._journal = Journal(self._folder)
            self._deleted = False
            if self._was_logged_out():
                self._log_out()
            self._close_to_others()
            # And not all there are: a backup may be writing its note.
            for name in ("[!.]*", f".{LOCK}.holder", _LOGGED_OUT):
                sweep_temporaries(self._folder, name=name)
            mended = self._journal.open()
            if mended:
                _log.warning("%s: made good %d files that a crash had prevented", self._folder, len(mended))
            self._keep_good_copy()
        except BaseException:
            self._lock = self._journal = None
            lock.release()
            raise

    def _give_back(self, lock: LoginLock) -> None:
        if self._lock is not lock:
            return
        journal, self._lock, self._journal = self._journal, None, None
        try:
            if journal is not None:
                journal.close()
            if self._deleted:
                self._remove(lock)
            else:
                # From here on Baileys may come, and write in place.
                self._keep_good_copy()
        finally:
            lock.release()

    def _remove(self, lock: LoginLock) -> None:
        """Remove the folder, when the lock's files are all that is in it."""
        with contextlib.suppress(OSError):
            # The lock's own, and what backups note of the folder.
            ours = {*lock.files, *self._folder.glob(_NOTES)}
            if set(self._folder.iterdir()) <= ours:
                for path in ours:
                    path.unlink(missing_ok=True)
                self._folder.rmdir()

    def _close_to_others(self) -> None:
        if sys.platform == "win32":
            return
        make_private_dir(self._folder)
        with os.scandir(self._folder) as entries:
            for entry in entries:
                # A program of its owner's, in a folder that is not for the login alone, is none of our business.
                if ".json" not in entry.name and not entry.name.startswith(".wwauth"):
                    continue
                # Gone since: a backup's note has got its name, or Baileys has used a key up.
                with contextlib.suppress(FileNotFoundError):
                    info = entry.stat(follow_symlinks=False)
                    if entry.is_file(follow_symlinks=False) and info.st_mode & 0o077 and info.st_uid == os.geteuid():
                        os.chmod(entry.path, PRIVATE_FILE)  # noqa: PTH101 - there are thousands

    def _names(self, type_: str | None) -> list[RecordName]:
        try:
            found = os.listdir(self._folder)  # noqa: PTH208 - names alone
        except FileNotFoundError:
            return []
        names = [name for name in map(record_of, found) if name is not None]
        return [name for name in names if type_ is None or name.type == type_]

    def _read(self, names: Collection[RecordName]) -> dict[RecordName, str]:
        self._apply_again()
        found = {}
        for name in names:
            try:
                with open(self._path + file_name(name), "rb") as file:  # noqa: PTH123 - there are thousands
                    data = file.read()
            except FileNotFoundError:
                continue
            # What is no text is torn: whoever parses it says so.
            found[name] = data.decode(errors="replace")
        return found

    def _commit(self, files: dict[str, bytes | None]) -> None:
        """Write all files beside their places, make the batch durable, and put them into their places."""
        self._apply_again()
        journal = self._journal
        if journal is None:
            raise RuntimeError("the folder is not held")
        # The credentials need no journal: they are flushed themselves, and are one file. But what it has of them already is
        # not to be taken for newer.
        journaled = set(files) != {_CREDS_FILE} or journal.is_behind(_CREDS_FILE)
        with self._staged(files) as temporaries:
            if journaled:
                journal.append(files)
                self._unapplied = True
            for name in list(temporaries):
                os.replace(temporaries[name], self._path + name)  # noqa: PTH105 - there are thousands
                del temporaries[name]
        for name in [name for name, data in files.items() if data is None]:
            (self._folder / name).unlink(missing_ok=True)
        if journaled:
            journal.applied()
            self._unapplied = False
        else:
            journal.note(_CREDS_FILE, files[_CREDS_FILE])
            sync_dir(self._folder)

    @contextmanager
    def _staged(self, files: Mapping[str, bytes | None]) -> Iterator[dict[str, str]]:
        """Write all files beside their places and give their temporary names; those that are still in it go at the end."""
        temporaries: dict[str, str] = {}
        try:
            for name, data in files.items():
                if data is not None:
                    temporaries[name] = write_temporary(self._path + name, data, durable=name == _CREDS_FILE)
            creds = files.get(_CREDS_FILE)
            if creds is not None:
                temporaries[_GOOD_COPY] = self._copy_for_good(creds)
            yield temporaries
        finally:
            for temporary in temporaries.values():
                Path(temporary).unlink(missing_ok=True)

    def _copy_for_good(self, creds: bytes) -> str:
        """Make what is to be the good copy while the folder is held, and return its temporary name."""
        temporary = temporary_name(self._path + _GOOD_COPY)
        try:
            # The credentials that are replaced now: a second name costs no writing, and their bytes are flushed already.
            os.link(self._path + _CREDS_FILE, temporary)
        except OSError:
            # There are none yet, or this file system has no second names.
            return write_temporary(self._path + _GOOD_COPY, creds, durable=False)
        return temporary

    def _apply_again(self) -> None:
        """Put files into their places that a failing disk kept from there, after their batch had become durable."""
        if self._unapplied and self._journal is not None:
            self._journal.open()
            self._unapplied = False

    def _log_out(self) -> None:
        # From the mark on the login is gone; Baileys, which does not know it, sees that as soon as creds.json is.
        with replacing(self._folder / _LOGGED_OUT) as temporary:
            temporary.write_text(self._creds_digest(), "ascii")
        for path in (self._folder / _CREDS_FILE, self._folder / _GOOD_COPY):
            path.unlink(missing_ok=True)
        names = self._names(None)
        if (foreign := foreign_entry(self._folder)) is not None:
            # A file of any program's may look like a key of a type that is not known: package-lock.json for one.
            left = [file_name(name) for name in names if name.type not in KNOWN_TYPES]
            names = [name for name in names if name.type in KNOWN_TYPES]
            if left:
                _log.warning(
                    "%s holds something else (%s): %d files of unknown types were left, %s for one",
                    *(self._folder, foreign, len(left), left[0]),
                )
        for name in names:
            (self._folder / file_name(name)).unlink(missing_ok=True)
        if self._journal is not None:
            self._journal.discard()
        sync_dir(self._folder)
        (self._folder / _LOGGED_OUT).unlink()
        self._deleted = True

    def _was_logged_out(self) -> bool:
        """Tell whether a logout that a crash cut short is to be finished: the login of its mark is there, or none."""
        try:
            mark = (self._folder / _LOGGED_OUT).read_text("ascii")
        except FileNotFoundError:
            return False
        if self._creds_digest() in {"", mark}:
            return True
        # Baileys has linked the device anew since.
        (self._folder / _LOGGED_OUT).unlink()
        return False

    def _creds_digest(self) -> str:
        try:
            return digest((self._folder / _CREDS_FILE).read_bytes())
        except FileNotFoundError:
            return ""

    def _good_copy(self) -> str | None:
        return _good(self._folder / _GOOD_COPY)

    def _check_creds(self) -> None:
        creds = self._folder / _CREDS_FILE
        if creds.exists() or (self._folder / _LOGGED_OUT).exists():
            return
        if creds.is_symlink():
            raise StoreUnavailable(f"cannot open {creds}: it is a link that leads nowhere; mount what it leads to")
        if self._good_copy() is not None:
            raise CredsCorrupted(f"{creds.name} is gone, and a good copy of it is there")

    def _keep_good_copy(self) -> None:
        """See that the good copy is what creds.json holds, which Baileys may have written since."""
        creds = _good(self._folder / _CREDS_FILE)
        if creds is not None and creds != self._good_copy():
            with replacing(self._folder / _GOOD_COPY) as temporary:
                temporary.write_bytes(creds.encode())

    def _recover(self) -> None:
        good = self._good_copy()
        if good is None:
            raise SessionNotFound(f"{self._folder} has no good copy of its credentials: restore a backup")
        path = self._folder / _CREDS_FILE
        if _good(path) is not None:
            return
        if path.exists():
            aside = unused_name(path.with_name(path.name + ".corrupt"))
            with replacing(aside) as temporary:
                temporary.write_bytes(path.read_bytes())
            _log.warning("the credentials in %s could not be read: their bytes are kept in %s", self._folder, aside.name)
        with replacing(path) as temporary:
            temporary.write_bytes(good.encode())


def _good(path: Path) -> str | None:
    """Return the text of credentials that can be read; None: they cannot, or are not there."""
    with contextlib.suppress(FileNotFoundError, ValueError, CredsCorrupted):
        text = path.read_bytes().decode()
        check_creds(BufferJSON.loads(text))
        return text
    return None
