"""Moving a session between stores, by way of one file."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .._files import replacing
from .._names import check_session_name
from .._store import check_archive, check_store, warn_of_readable_logins
from .._threads import in_thread
from ..errors import ConfigurationError, SessionCorrupted, SessionNotFound
from ._bundle import BundleWriter, open_file
from ._fetch import Fetcher
from ._holding import holding
from ._publish import Publisher
from ._remote import Remote
from ._room import room_for
from ._stored import look, recipients_digest
from .archive import Stamp, tree_digest, write_archive
from .engine import ARCHIVES, BackupEngine
from .index import Index
from .indexfile import write_index
from .packs import verify_pack
from .validate import cut_tails, validate_profile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._threads import Stop
    from ..abc import Store
    from ._bundle import SessionFile
    from .index import Pack, StoredGeneration

Form = Literal["packs", "whatsapp-web.js"]


@dataclass(frozen=True, slots=True)
class TransferReport:
    """
    A session was exported or imported.

    Attributes:
        session: Its name in the store.
        path: The file.
        archive: "packs": all generations that are whole; "whatsapp-web.js": one, as a plain zip.
        generations: Their numbers, newest first, as they stand where they went.
        bytes: The size of the file.
        duration_s: Seconds.
        notes: What was left out, and why.
    """

    session: str
    path: Path
    archive: Form
    generations: tuple[int, ...]
    bytes: int
    duration_s: float
    notes: tuple[str, ...] = ()


async def export_session(
    store: Store, *, session: str, path: str | os.PathLike[str], archive: str = "packs", overwrite: bool = False
) -> TransferReport:
    """
    Write a session to the new file `path` (0600), whole or not at all; the store is only read.

    The file is not encrypted, even when the store is: it is a login, in the clear. `archive="packs"` has all generations
    whose packs are what the index says (the notes name the others), as a zip of the store's archives; a session in a plain
    zip is that zip.
    `archive="whatsapp-web.js"` is the newest generation that is whole, as the plain zip that whatsapp-web.js restores.

    Raises:
        ConfigurationError: `path` exists and `overwrite` is not set, or an argument is wrong.
        SessionNotFound: The store has no such session.
        SessionCorrupted: None of its generations is whole.
        StoreError: The store did not give it.
        OSError: The file cannot be written.
    """
    check_store(store, needed_by="export_session")
    if archive not in ARCHIVES:
        raise ConfigurationError(f"invalid archive {archive!r}: use 'packs' or 'whatsapp-web.js'")
    began = time.monotonic()
    name, target = check_session_name(session), Path(path).absolute()
    remote = Remote(store, name)
    if not overwrite:
        _refuse_existing(target)
    async with room_for(name, target.parent) as room:
        stored = await look(remote, name, room)
        if stored.damage is not None:
            raise stored.damage
        out = room / "export.zip"
        form: Form = "packs" if archive == "packs" and stored.plain is None else "whatsapp-web.js"
        numbers: tuple[int, ...] = (stored.generation,)
        notes: tuple[str, ...] = ()
        if stored.plain is not None:
            out = stored.plain.path
        elif stored.index is None or not stored.index.generations:
            raise SessionNotFound(f"the store has no {name!r}")
        else:
            write = _write_bundle if archive == "packs" else _write_plain
            numbers, notes = await write(remote, stored.index, out, room)
        size = out.stat().st_size
        await in_thread(lambda _: _put(out, target, overwrite=overwrite))
    return TransferReport(name, target, form, numbers, size, time.monotonic() - began, notes)


async def import_session(
    store: Store,
    *,
    path: str | os.PathLike[str],
    session: str | None = None,
    replace: bool = False,
    origin: str | None = None,
) -> TransferReport:
    """
    Put the session of a file that `export_session` or whatsapp-web.js's RemoteAuth wrote into a store, whole or not at all.

    Each generation is unpacked and checked before the store is touched, and what was saved is read back before it is
    published. A session that is there is only replaced with `replace`: its generations go once the imported ones are in place,
    which are numbered as newer ones, so that a profile that is saved to the old ones stops with `LeaseLost`.

    Args:
        store: Where it goes; encrypted there when the store encrypts.
        path: The file.
        session: The name there; that of the export when None, and of a plain zip that of the file.
        replace: Replace a session of that name. Where the store has no leases, no client may work on it meanwhile.
        origin: Like "https://web.whatsapp.com/": a profile without its databases is refused.

    Raises:
        ConfigurationError: The session is there and `replace` is not set, or an argument is wrong.
        SessionCorrupted: A generation is damaged, or holds no login of this origin. The store is untouched.
        SessionInUse: A client holds the session's lease.
        LeaseLost: Another writer saved a generation meanwhile. What the store held stands.
        StoreError: The store did not take it; what it held stands.
        OSError: The disk has no room for a generation.
    """
    check_store(store, needed_by="import_session")
    warn_of_readable_logins(store)
    began = time.monotonic()
    file = Path(path).absolute()
    source = await open_file(file)
    if session is None and not source.named:
        raise ConfigurationError(f"{file} does not tell the name of its session: name one for it")
    name = check_session_name(source.session if session is None else session)
    remote, given = Remote(store, name), Remote(source, source.session)
    async with room_for(name, file.parent if os.access(file.parent, os.W_OK) else None) as room:
        if not replace:
            await _refuse_stored(remote, name)
        await _check_whole(source, file, room, origin)
        stored = await look(given, source.session, room)
        if stored.index is not None:
            check_archive(store, "packs")
        async with holding(store, name) as lease:
            remote.lease = lease
            if not replace:
                # Once more: the check of the file took its time.
                await _refuse_stored(remote, name)
            publisher = Publisher(remote, name, room)
            if stored.plain is not None:
                numbers = await publisher.plain(stored.plain.path)
            elif stored.index is not None:
                numbers = await publisher.packs(stored.index, given, recipients=recipients_digest(store))
            else:
                raise SessionCorrupted(f"{file} changed while it was read: try again")
        form: Form = "packs" if stored.index is not None else "whatsapp-web.js"
    return TransferReport(name, file, form, numbers, file.stat().st_size, time.monotonic() - began)


async def _refuse_stored(remote: Remote, name: str) -> None:
    if await remote.exists(name):
        raise ConfigurationError(
            f"the store has {name!r} already: import it under another name (--session), or replace that (replace=, --force)"
        )


async def _check_whole(source: SessionFile, file: Path, room: Path, origin: str | None) -> None:
    # Either form is verified alike; this one takes every name.
    engine = BackupEngine(source, session=source.session, archive="whatsapp-web.js", origin=origin, work_dir=room)
    report = await engine.verify()
    problems = [report.problem, *(f"generation {g.number}: {g.problem}" for g in report.generations if g.problem)]
    if not report.ok:
        raise SessionCorrupted(f"{file} was not imported, since it is damaged: {'; '.join(filter(None, problems))}")


async def _write_bundle(remote: Remote, index: Index, out: Path, room: Path) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Write all generations whose packs are whole, and the index of those."""
    bad: dict[Pack, str] = {}
    packs = sorted(index.packs(), key=lambda pack: pack.name)
    path = room / "pack.zip"
    writer = await asyncio.to_thread(BundleWriter, out)
    try:
        for pack in packs:
            name = pack.name.of(index.session)
            try:
                await remote.extract(name, path, most=pack.size)
                await in_thread(lambda stop, pack=pack: verify_pack(path, pack, check=stop.check))  # type: ignore[misc]
                await in_thread(lambda stop, name=name: writer.add(name, path, stop))  # type: ignore[misc]
            except (SessionCorrupted, SessionNotFound) as exc:
                bad[pack] = str(exc)
            finally:
                await asyncio.to_thread(path.unlink, missing_ok=True)
        kept = tuple(g for g in index.generations if bad.keys().isdisjoint(g.packs()))
        notes = tuple(_left_out(g, bad) for g in index.generations if g not in kept)
        if not kept:
            raise SessionCorrupted(f"{index.session}: none of its generations is whole: {'; '.join(notes)}")
        await in_thread(lambda _: write_index(Index(index.session, kept), path))
        await in_thread(lambda stop: writer.add(index.session, path, stop))
    finally:
        await asyncio.to_thread(writer.close)
    return tuple(g.number for g in kept), notes


async def _write_plain(remote: Remote, index: Index, out: Path, room: Path) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Write the newest generation that is whole as a plain zip."""
    profile = room / "profile"

    def validate(target: Path, _: StoredGeneration) -> tuple[str, ...]:
        notes = cut_tails(target)
        validate_profile(target)
        return notes

    got = await Fetcher(remote, index.session, room, validate=validate).fetch(index, profile, None)

    def pack(stop: Stop) -> None:
        stamp = Stamp(got.generation.number, tree_digest(profile, check=stop.check))
        write_archive(profile, out, stamp=stamp, check=stop.check)

    await in_thread(pack)
    return (got.generation.number,), got.notes


def _left_out(generation: StoredGeneration, bad: dict[Pack, str]) -> str:
    reasons = sorted(bad[pack] for pack in generation.packs() & bad.keys())
    return f"generation {generation.number} was left out: {'; '.join(reasons)}"


def _put(out: Path, target: Path, *, overwrite: bool) -> None:
    with replacing(target, guard=None if overwrite else _nothing_at(target)) as temporary:
        out.rename(temporary)


@contextmanager
def _nothing_at(target: Path) -> Iterator[None]:
    _refuse_existing(target)
    yield


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise ConfigurationError(f"{target} is there already: name a new file, or replace it (overwrite=True, --force)")
