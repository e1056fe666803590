"""What a store holds under a session's name: nothing, a plain zip, an index, or something that is damaged."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .._threads import in_thread
from ..errors import (
    DecryptionFailed,
    LeaseLost,
    SessionCorrupted,
    SessionNotFound,
    SnapshotFailed,
    StoreError,
    StoreUnavailable,
)
from ._zipread import Limits
from .archive import file_digest, look_into_archive
from .index import Index, StoredGeneration, Unusable, referenced
from .indexfile import is_index, read_index, write_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ..abc import Store
    from ._remote import Remote
    from ._state import ProfileState
    from .archive import Contents
    from .index import Backend, Kind, PackName

# A plain zip may have no more bytes unpacked.
LARGEST = Limits().bytes_total

_log = logging.getLogger(__name__)

# How an archive begins that was encrypted, and is read without its keys.
_AGE = b"age-encryption.org/"


@dataclass(frozen=True, slots=True)
class Plain:
    """A plain zip that was downloaded to `path`, and what it says it holds."""

    contents: Contents
    path: Path


@dataclass(frozen=True, slots=True)
class Stored:
    """
    What lies under the session's name.

    Attributes:
        index: Of a session in packs.
        plain: A plain zip.
        damage: Why it is neither; None also when there is nothing.
        size: Its size in bytes.
        digest: The SHA-256 of an index's bytes, "" when they are not known.
    """

    index: Index | None = None
    plain: Plain | None = None
    damage: SessionCorrupted | None = None
    size: int = 0
    digest: str = ""

    @property
    def generation(self) -> int:
        """The newest number that is known from it; 0 when none is."""
        if self.index is not None:
            return self.index.newest.number if self.index.newest else 0
        return self.plain.contents.stamp.generation if self.plain is not None else 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What is noted with a snapshot, and who may still stop its commit."""

    backend: Backend
    chromium: int | None
    recipients: str | None
    before_commit: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Saved:
    """What a save did; `state` is what the profile is to tell from now on."""

    state: ProfileState
    kind: Kind | None
    uploaded: int = 0


async def look(remote: Remote, session: str, room: Path, *, known: Stored | None = None) -> Stored:
    """
    Download and recognise what is stored; a plain zip stays in the folder `room`.

    The bytes of an index that is `known` are not read through again.

    Raises:
        DecryptionFailed, SessionCorrupted: It is somebody's good archive that cannot be read here: one under another key, of a
            newer format, of another session. Nothing must replace it.
        StoreError: The store did not give it.
    """
    stored = await _look(remote, session, room, known or Stored())
    if stored.damage is not None:
        # Read once more: what came back wrong by chance must not be replaced as if it were lost.
        stored = await _look(remote, session, room, known or Stored())
    return stored


async def _look(remote: Remote, session: str, room: Path, known: Stored) -> Stored:
    if not await remote.exists(session):
        return Stored()
    path = room / f"{secrets.token_hex(4)}.zip"
    try:
        await remote.extract(session, path, most=LARGEST)
    except SessionNotFound:
        return Stored()  # deleted since it was asked for
    except DecryptionFailed:
        raise
    except SessionCorrupted as exc:
        return Stored(damage=exc)
    return await in_thread(lambda _: _recognise(path, session, known))


def is_encrypted(path: Path) -> bool:
    """Tell whether an archive is in the format of age."""
    with path.open("rb") as file:
        return file.read(len(_AGE)) == _AGE


def _recognise(path: Path, session: str, known: Stored) -> Stored:
    size = path.stat().st_size
    if is_encrypted(path):
        raise DecryptionFailed(f"the archive of {session} is encrypted: open the store with EncryptedStore and its keys")
    label = f"the archive of {session}"
    try:
        if known.index is not None and file_digest(path) == known.digest:
            path.unlink()
            return replace(known, size=size)
        if not is_index(path, label=label):
            return Stored(plain=Plain(look_into_archive(path, label=label), path), size=size)
        index, digest = read_index(path, session=session), file_digest(path)
    except Unusable:
        raise
    except SessionCorrupted as exc:
        path.unlink()
        return Stored(damage=exc)
    path.unlink()
    return Stored(index=index, size=size, digest=digest)


def is_newer(newest: StoredGeneration, state: ProfileState) -> bool:
    """Tell whether what is stored is newer than what the profile has seen, and not its own commit whose note was lost."""
    return newest.number > state.seen and not (state.writer and newest.writer == state.writer)


def refuse_foreign(index: Index, state: ProfileState, session: str) -> None:
    """Stop a writer whose profile is not of the newest generation any more; `LeaseLost` names what is known."""
    newest = index.newest
    if newest is None or state.generation == 0 or (state.writer and newest.writer == state.writer):
        return
    if is_newer(newest, state) or newest.lineage != state.lineage:
        raise lease_lost(newest, state, session)


def refuse_other_kind(index: Index, facts: Facts, session: str) -> None:
    """Stop a backup of an auth state under a browser login's name, and the reverse."""
    newest = index.newest
    if newest is not None and (newest.backend == "baileys") != (facts.backend == "baileys"):
        raise SessionCorrupted(f"{session} is the name of a login of another kind (browser or socket): use another name")


def lease_lost(newest: StoredGeneration, state: ProfileState, session: str) -> LeaseLost:
    """Say that another writer has gone on."""
    return LeaseLost(
        f"{session} was continued elsewhere: the store has generation {newest.number}, written at {newest.created} by writer "
        f"{newest.writer}, and this profile is of generation {state.generation}; nothing was overwritten. Run a session in "
        "one place at a time; a restore takes what is stored"
    )


async def sweep(remote: Remote, session: str, names: Iterable[PackName]) -> set[PackName]:
    """Delete packs that nothing needs; return those that could not be deleted."""
    left = set()
    for name in sorted(names):
        try:
            await remote.delete(name.of(session))
        except StoreError as exc:
            left.add(name)
            _log.warning("%s is not needed and could not be deleted: %s", name.of(session), exc)
    return left


async def delete_session(
    remote: Remote, session: str, room: Path, *, known: Iterable[PackName], keep: Callable[[StoredGeneration], bool]
) -> None:
    """
    Delete what a store holds of a session, but for the generations to `keep`.

    The index first loses its generations, then the packs go that it still names, and itself last: what is interrupted
    restores nothing, and is ended by the next call. `known` are packs that no index names.
    """
    names = set(known)
    try:
        index = (await look(remote, session, room)).index
    except SessionCorrupted:
        index = None
    if index is not None:
        kept = tuple(generation for generation in index.generations if keep(generation))
        names = (names | index.names()) - referenced(kept)
        await save_index(remote, replace(index, generations=kept, garbage=dict.fromkeys(names)), room)
        if kept:
            await sweep(remote, session, names)
            return
    for name in sorted(names):
        await remote.delete(name.of(session))
    await remote.delete(session)


async def save_index(remote: Remote, index: Index, room: Path) -> tuple[Stored, int]:
    """
    Save an index and read it back, the commit of what it tells; return what is stored now, and its size.

    Raises:
        SnapshotFailed: It would not be read as it is meant. Nothing was saved.
        StoreUnavailable: The store did not keep it as it was.
        StoreError: The store did not take it.
    """
    if remote.lease is not None:
        index = replace(index, fence=remote.lease.fence)
    path = room / "index.zip"
    try:
        written = await in_thread(lambda _: write_index(index, path))
        if await in_thread(lambda _: read_index(path, session=index.session)) != index:
            raise SnapshotFailed(f"the index of {index.session} would not be read as it was meant; nothing was committed")
        await remote.save(index.session, path)
        digest = hashlib.sha256(written).hexdigest()
        await read_back(remote, index.session, room, size=len(written), sha256=digest)
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)
    return Stored(index=index, digest=digest), len(written)


async def read_back(remote: Remote, name: str, room: Path, *, size: int, sha256: str) -> None:
    """
    Compare what a store gives under `name` with the size and the digest of the archive that was saved there.

    Raises:
        StoreUnavailable: It did not keep it as it was.
        StoreError: It did not give it.
    """
    back = room / "back.zip"
    try:
        await remote.extract(name, back, most=size)
        same = back.stat().st_size == size and await in_thread(lambda stop: file_digest(back, check=stop.check)) == sha256
    except (SessionCorrupted, SessionNotFound) as exc:
        raise StoreUnavailable(f"the store did not keep {name}: {exc}") from exc
    finally:
        await asyncio.to_thread(back.unlink, missing_ok=True)
    if not same:
        raise StoreUnavailable(f"the store did not keep {name}: other bytes came back")


def plain_generation(contents: Contents) -> StoredGeneration:
    """Return a plain zip as the one generation that it is."""
    return StoredGeneration(
        number=contents.stamp.generation,
        writer="",
        lineage="",
        created=None,
        kind="full",
        backend="leveldb",
        chromium=None,
        recipients=None,
        content=contents.stamp.content,
        files=(),
        bytes_total=contents.bytes_total,
    )


def recipients_digest(store: Store) -> str | None:
    """Return the digest of the keys that a store encrypts for, None for one that does not."""
    keys = getattr(store, "recipients", None)
    return hashlib.sha256("\n".join(map(str, keys)).encode()).hexdigest() if keys else None


def chromium_version(user_data_dir: Path) -> int | None:
    """Return the major version of the browser that used a profile last, from its `Last Version` file; None: not known."""
    try:
        with (user_data_dir / "Last Version").open("rb") as file:
            major = file.read(64).decode("ascii").partition(".")[0]
    except (OSError, ValueError):
        return None
    return int(major) if major.isdigit() and 0 < int(major) < 100_000 else None
