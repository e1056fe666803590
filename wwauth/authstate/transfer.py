"""Moving an auth state: from a folder into a store, from a store into a folder, and from store to store."""

from __future__ import annotations

import os
import time
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .._disk import check_path, store_errors
from .._names import check_session_name
from .._threads import in_thread
from ..abc import CREDS, AuthStateStore
from ..errors import ConfigurationError, CredsCorrupted, SessionNotFound, StoreUnavailable
from ._findings import label
from ._foreign import check_holds_a_login_alone, place_of
from ._newfolder import NewFolder, is_wwauths
from ._streams import chunked, digest, in_chunks, refuse_encrypted
from .bufferjson import BufferJSON
from .creds import check_creds
from .folder import FolderAuthStateStore
from .records import check_store, plugin_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from ..abc import RecordName

__all__ = ["MovedAuthState", "export_auth_state", "import_auth_state"]

_AGAIN = "replace it (replace=True, --force), or use another name"


@dataclass(frozen=True, slots=True)
class MovedAuthState:
    """
    An auth state lies in another place, too, whole and read back.

    Attributes:
        session: Its name in the store.
        records: How many records were copied, by type.
        bytes: The size of their texts in UTF-8.
        replaced: Another login was there, and is not any more.
        duration_s: Seconds.
        notes: What was left out, and why.
    """

    session: str
    records: dict[str, int]
    bytes: int
    replaced: bool
    duration_s: float
    notes: tuple[str, ...] = ()


async def export_auth_state(
    store: AuthStateStore, session: str, folder: str | os.PathLike[str], *, replace: bool = False
) -> MovedAuthState:
    """
    Write a session into a folder, file by file as Baileys would have; the store is only read, and held meanwhile.

    The folder (0700, its files 0600) appears whole, when every file in it was flushed and read back, or not at all. It is a
    login in the clear, whatever the store does. From then on there are two of it: use one. A link to a folder stays one.

    Args:
        store: Where the session is.
        session: Its name.
        folder: The new folder; one that is there must be empty, or be replaced.
        replace: Put it in the place of a login's folder that is there, once it is whole.

    Raises:
        ConfigurationError: The folder is there and not empty, or holds something that is of no login, which would be
            deleted with it, or two records have one file name (in a folder the second would overwrite the first): nothing
            was written.
        SessionNotFound: The store has no such session.
        CredsCorrupted: Its credentials cannot be read.
        SessionInUse: A program has the session, or the folder that is to be replaced.
        StoreError: The store failed, or the disk.
    """
    check_session_name(session)
    check_store(store)
    began = time.monotonic()
    target = await in_thread(lambda _: place_of(check_path(folder, what="a folder").absolute()))
    async with AsyncExitStack() as stack:
        replaced = await in_thread(lambda _: _in_the_way(target))
        if replaced:
            if not replace:
                raise ConfigurationError(f"{target} is there already: {_AGAIN}")
            await in_thread(lambda _: check_holds_a_login_alone(target))
            await stack.enter_async_context(FolderAuthStateStore(target).hold(session=session))
            if os.name == "nt":
                # A folder in which a file is open cannot be renamed there: the lock is looked at, and given back.
                await stack.aclose()
        await _hold(stack, store, session)
        new = await stack.enter_async_context(NewFolder.beside(target))
        taken = _Taken(session)
        async with aclosing(in_chunks(store, session)) as chunks:
            with plugin_errors(f"read the session {session!r}"):
                async for chunk in chunks:
                    good = await in_thread(lambda _, chunk=chunk: taken.take(chunk))  # type: ignore[misc]
                    with store_errors(f"write beside {target}"):
                        await in_thread(lambda _, good=good: new.add(good))  # type: ignore[misc]
        taken.check()
        with store_errors(f"write {target}"):
            await in_thread(lambda _: new.finish(replace=replaced))
    return taken.report(session, replaced=replaced, began=began)


async def import_auth_state(
    source: str | os.PathLike[str] | AuthStateStore | PeerState,
    store: AuthStateStore,
    session: str,
    *,
    source_session: str | None = None,
    replace: bool = False,
) -> MovedAuthState:
    """
    Put an auth state into a store, under a session's name; the source is only read.

    A new session becomes one with its credentials, which are written last, after all keys were read back: until then, nothing
    takes it for a login. One that is replaced changes in a single write, and comes back when what was written is not what
    is read. Records that cannot be read are left out, and the notes name them. The session is in memory meanwhile.

    Args:
        source: Baileys' folder, another store, or what a reader of another program's layout gives.
        store: Where to.
        session: The name there.
        source_session: Its name in the source, where that is a store; the same when None.
        replace: Replace a session of that name.

    Raises:
        ConfigurationError: There is a session of that name already.
        SessionNotFound: There is no auth state in the source.
        CredsCorrupted: The credentials in the source cannot be read. Nothing was written.
        SessionInUse: A program of wwauth's has the source or the session. (Baileys knows no lock: stop it first.)
        StoreUnavailable: What came back is not what was written. StoreError: A store failed.
    """
    check_session_name(session)
    check_store(store)
    began = time.monotonic()
    is_path = isinstance(source, str | os.PathLike)
    # What is wrong with a source is told under its own name.
    taken = _Taken(str(source) if is_path else session if source_session is None else source_session)
    async with AsyncExitStack() as stack:
        await _hold(stack, store, session)
        records = await _records(stack, source, session if source_session is None else source_session)
        texts: dict[RecordName, str] = {}
        with plugin_errors("read the source"):
            async with aclosing(chunked(records)) as chunks:
                async for chunk in chunks:
                    texts.update(await in_thread(lambda _, chunk=chunk: taken.take(chunk)))  # type: ignore[misc]
        taken.check()
        taken.notes += getattr(source, "problems", ())
        with plugin_errors(f"write the session {session!r}"):
            before = {name: text async for name, text in store.records(session=session)}
            if before and not replace:
                what = "a login" if CREDS in before else "keys without credentials"
                raise ConfigurationError(f"the store has {what} named {session!r} already: {_AGAIN}")
            if before:
                await _replace(store, session, before, texts, taken)
            else:
                await _add(store, session, texts, taken)
    return taken.report(session, replaced=bool(before), began=began)


class PeerState(Protocol):
    """
    A login as another program keeps it, as the stores' `peers()` give it.

    Attributes:
        session: What it is called there, as a session's name.
        problems: What was left out, in sentences; known when `records()` has ended.
    """

    session: str
    problems: list[str]

    def records(self) -> AsyncIterator[tuple[RecordName, str]]:
        """Iterate over all records, with the text that Baileys would have written of each."""


class _Taken:
    """What was taken from a source so far."""

    def __init__(self, session: str) -> None:
        self._session = session
        self.records: dict[str, int] = {}
        self.digests: dict[RecordName, str] = {}
        self.bytes = 0
        self.notes: list[str] = []

    def take(self, chunk: Sequence[tuple[RecordName, str]]) -> dict[RecordName, str]:
        """Return those records of a chunk that can be read."""
        good = {}
        for name, text in chunk:
            refuse_encrypted(name, text, self._session)
            try:
                value = BufferJSON.loads(text)
            except ValueError:
                if name == CREDS:
                    raise CredsCorrupted(
                        f"the credentials of {self._session!r} cannot be read ({len(text)} characters): bring back a good copy"
                    ) from None
                self.notes.append(f"{label(name)} was left out: it cannot be read ({len(text)} characters)")
                continue
            if name == CREDS:
                check_creds(value)
            good[name] = text
            data = text.encode()
            self.digests[name] = digest(data)
            self.bytes += len(data)
            self.records[name.type] = self.records.get(name.type, 0) + 1
        return good

    def check(self) -> None:
        if CREDS in self.digests:
            return
        if self.digests:
            raise CredsCorrupted(
                f"{self._session!r} has keys but no credentials, which nobody can log in with: bring them back"
            )
        raise SessionNotFound(f"there is no auth state of {self._session!r} to copy: name one that is there")

    def differs(self, found: Mapping[RecordName, str], *, creds: bool) -> bool:
        expected = self.digests if creds else {name: digest for name, digest in self.digests.items() if name != CREDS}
        return found != expected

    def report(self, session: str, *, replaced: bool, began: float) -> MovedAuthState:
        return MovedAuthState(
            session, dict(sorted(self.records.items())), self.bytes, replaced, time.monotonic() - began, tuple(self.notes)
        )


async def _add(store: AuthStateStore, session: str, texts: dict[RecordName, str], taken: _Taken) -> None:
    creds = texts.pop(CREDS)
    if texts:
        await store.write(session=session, changes=texts)
    if taken.differs(await digests_of(store, session), creds=False):
        raise _not_kept(session)
    await store.write(session=session, changes={CREDS: creds})
    if taken.differs(await digests_of(store, session), creds=True):
        raise _not_kept(session)


async def _replace(
    store: AuthStateStore, session: str, before: dict[RecordName, str], texts: dict[RecordName, str], taken: _Taken
) -> None:
    await store.write(session=session, changes={**dict.fromkeys(before), **texts})
    if taken.differs(await digests_of(store, session), creds=True):
        await store.write(session=session, changes={**dict.fromkeys(texts), **before})
        raise _not_kept(session)


async def digests_of(store: AuthStateStore, session: str) -> dict[RecordName, str]:
    """Return the digests of a session's records, which tell whether one was changed."""
    found: dict[RecordName, str] = {}
    async with aclosing(in_chunks(store, session)) as chunks:
        async for chunk in chunks:
            found.update(await in_thread(lambda _, chunk=chunk: {n: digest(t.encode(errors="replace")) for n, t in chunk}))  # type: ignore[misc]
    return found


async def _records(
    stack: AsyncExitStack, source: str | os.PathLike[str] | AuthStateStore | PeerState, session: str
) -> AsyncIterator[tuple[RecordName, str]]:
    if isinstance(source, str | os.PathLike):
        folder: Path = check_path(source, what="a folder").absolute()
        with store_errors(f"look into {folder}"):
            there = await in_thread(lambda _: folder.is_dir())
        if not there:
            raise SessionNotFound(f"there is no folder {folder}: name Baileys' folder")
        source = FolderAuthStateStore(folder)
    if isinstance(source, AuthStateStore):
        await _hold(stack, source, session)
        return source.records(session=session)
    return source.records()


async def _hold(stack: AsyncExitStack, store: AuthStateStore, session: str) -> None:
    """Hold a session that is read; a folder that wwauth never opened is left as it is, without its files of locks."""
    if isinstance(store, FolderAuthStateStore) and not await in_thread(lambda _: is_wwauths(store)):
        return
    with plugin_errors(f"hold the session {session!r}"):
        await stack.enter_async_context(store.hold(session=session))


def _in_the_way(target: Path) -> bool:
    with store_errors(f"look into {target}"):
        try:
            with os.scandir(target) as entries:
                return next(entries, None) is not None
        except FileNotFoundError:
            return False


def _not_kept(session: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"the store did not keep {session!r} as it was written: other records came back; the source is untouched, try again"
    )
