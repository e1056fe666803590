"""`wwauth authstate export`, `import` and `migrate`: auth states from one place to another."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..abc import CREDS
from ..errors import LeaseLost, WWAuthError
from ._authstate import DryRun, Force, KeyFile, SessionName, Target, counted, opened_auth_state, session_of, sessions_of, shown
from ._console import megabytes
from ._session import Json, WrongUse, as_dict, checked_name, print_json, run, wrong_use

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..abc import AuthStateStore
    from ..authstate.transfer import MovedAuthState

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of Baileys' files.")]
FromKeyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The keys of FROM, where that is encrypted; --key-file has those of TO.")
]


def export_folder(
    target: Target,
    folder: Folder,
    session: SessionName = None,
    key_file: KeyFile = None,
    *,
    force: Force = False,
    json: Json = False,
) -> None:
    """
    Write an auth state into a new FOLDER, as Baileys itself would have; WHERE is only read.

    The folder is a login, in the clear, for its owner's eyes alone (0700). From then on there are two of it: use one.
    """
    run(_export(target, folder, session, key_file, force=force, json=json), where=folder.parent)


async def _export(target: str, folder: Path, session: str | None, key_file: Path | None, *, force: bool, json: bool) -> bool:
    from ..authstate.transfer import export_auth_state  # noqa: PLC0415 - after a wrong call is known for one

    async with opened_auth_state(target, key_file) as store:
        name = await session_of(store, target, session)
        with wrong_use():
            report = await export_auth_state(store, name, folder, replace=force)
    _tell(report, f"exported to {folder}", json=json)
    return True


def import_folder(
    folder: Folder,
    target: Target,
    session: SessionName = None,
    key_file: KeyFile = None,
    *,
    force: Force = False,
    json: Json = False,
) -> None:
    """
    Put a FOLDER of Baileys' files into WHERE, under --session ("default" when not given); the folder is only read.

    Everything is read back before it counts. Stop Baileys first, and use one of the two from then on.
    """
    run(_import(folder, target, session, key_file, force=force, json=json), where=folder)


async def _import(folder: Path, target: str, session: str | None, key_file: Path | None, *, force: bool, json: bool) -> bool:
    name = checked_name("default" if session is None else session)
    async with opened_auth_state(target, key_file) as store:
        report = await _put(folder, store, target, name, name, force=force)
    _tell(report, f"imported from {folder}", json=json)
    return True


def migrate(
    source: Annotated[str, typer.Argument(metavar="FROM", help="Baileys' folder, or the URL of a database.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The same.")],
    session: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A session's name; may be repeated.")] = None,
    as_: Annotated[str | None, typer.Option("--as", metavar="NAME", help="Its name in TO, for one session.")] = None,
    key_file: KeyFile = None,
    from_key_file: FromKeyFile = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="All sessions that FROM holds.")] = False,
    peer: Annotated[
        bool, typer.Option("--peer", help="FROM was written by another program; its layout is found out, and only read.")
    ] = False,
    delete_source: Annotated[
        bool, typer.Option("--delete-source", help="Delete each session from FROM once it was read back in TO.")
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """
    Copy auth states from one place to another; each is read back before it counts.

    Where FROM has one session, it need not be named. What TO holds stays, unless --force is given. Use one of the
    two afterwards: two programs with one login end each other's sessions.
    """
    names = [checked_name(name) for name in session or []]
    if names and all_:
        raise WrongUse("name sessions with --session, or all of them with --all")
    # Another program's tables lie beside wwauth's own.
    if source == target and not peer:
        raise WrongUse("FROM and TO are the same place")
    if peer and delete_source:
        raise WrongUse("--peer only reads what another program wrote: delete that yourself, once the login works in TO")
    name = None if as_ is None else checked_name(as_)
    work = _Migration(source, target, name, delete=delete_source, force=force, dry_run=dry_run, json=json, peer=peer)
    run(work.run(names, from_key_file, key_file, all_=all_))


@dataclass(frozen=True, slots=True)
class _Migration:
    source: str
    target: str
    name: str | None
    delete: bool
    force: bool
    dry_run: bool
    json: bool
    peer: bool

    async def run(self, names: list[str], from_key_file: Path | None, key_file: Path | None, *, all_: bool) -> bool:
        done: list[MovedAuthState] = []
        failed: dict[str, str] = {}
        async with AsyncExitStack() as stack:
            source = await stack.enter_async_context(opened_auth_state(self.source, from_key_file))
            if self.peer:
                source = await _of_peers(source, self.source)
            target = await stack.enter_async_context(opened_auth_state(self.target, key_file))
            if not names:
                names = await sessions_of(source, self.source, None) if all_ else [await session_of(source, self.source, None)]
            if self.name is not None and len(names) != 1:
                raise WrongUse("--as gives one session another name: name that one with --session")
            if len(names) > 1 and await _holds_one(target, self.target):
                # Each would replace the one before it.
                where = shown(self.target)
                raise WrongUse(f"{where} has room for one login, and {len(names)} are to be copied: name one (--session)")
            for session in names:
                try:
                    done.append(await self._one(source, target, session))
                except WWAuthError as error:
                    if len(names) == 1:
                        raise
                    failed[session] = str(error)
                    typer.echo(f"wwauth: {session}: {error}", err=True)
        if self.json:
            print_json([*map(as_dict, done), *({"session": name, "problem": text} for name, text in failed.items())])
        return not failed

    async def _one(self, source: AuthStateStore, target: AuthStateStore, session: str) -> MovedAuthState:
        from ..authstate.transfer import digests_of  # noqa: PLC0415 - as above

        name = self.name or session
        if self.dry_run:
            report = await _looked_at(source, session)
        else:
            if self.delete:
                async with source.hold(session=session):
                    before = await digests_of(source, session)
            report = await _put(source, target, self.target, session, name, force=self.force)
            if self.delete:
                async with source.hold(session=session):
                    if await digests_of(source, session) != before:
                        raise LeaseLost(
                            f"{session} was changed in FROM meanwhile, which was kept: stop who uses it, and migrate again "
                            "(--force)"
                        )
                    await source.delete(session=session)
        if not self.json:
            how = "to copy" if self.dry_run else "copied"
            tail = "; deleted from FROM" if self.delete and not self.dry_run else ""
            _tell(report, f"{how} to {shown(self.target)}{tail}", json=False)
        return report


async def _holds_one(store: AuthStateStore, target: str) -> bool:
    """Tell whether a place holds one login, under whatever name: a folder, or a collection in the layout of Baileys' guide."""
    from ..authstate.targets import folder_of  # noqa: PLC0415 - as above

    return folder_of(target) is not None or bool(await store.read(session="wwauth-no-session", names=[CREDS]))


async def _of_peers(store: AuthStateStore, source: str) -> AuthStateStore:
    """Return the logins in a place as other programs keep them, read into memory."""
    from ..authstate.memory import MemoryAuthStateStore  # noqa: PLC0415 - as above
    from ..authstate.transfer import PeerState, import_auth_state  # noqa: PLC0415 - as above

    find: Callable[[], Awaitable[list[PeerState]]] | None = getattr(store, "peers", None)
    if find is None:
        raise WrongUse(f"{shown(source)} is Baileys' folder, or encrypted: it is read without --peer")
    found = MemoryAuthStateStore()
    for state in await find():
        report = await import_auth_state(state, found, state.session)
        for note in report.notes:
            typer.echo(f"wwauth: {state.session}: {note}", err=True)
    return found


async def _looked_at(store: AuthStateStore, session: str) -> MovedAuthState:
    from ..authstate.transfer import MovedAuthState  # noqa: PLC0415 - as above
    from ..authstate.verify import verify  # noqa: PLC0415 - as above

    found = await verify(store, session)
    problems = tuple(f"{finding.record}: {finding.meaning}" for finding in found.findings if finding.severity == "error")
    return MovedAuthState(session, found.records, sum(found.bytes.values()), replaced=False, duration_s=0.0, notes=problems)


async def _put(
    source: Path | AuthStateStore, store: AuthStateStore, target: str, session: str, name: str, *, force: bool
) -> MovedAuthState:
    """Copy into a database, or into a folder, which appears whole."""
    from ..authstate.folder import FolderAuthStateStore  # noqa: PLC0415 - as above
    from ..authstate.targets import folder_of  # noqa: PLC0415 - as above
    from ..authstate.transfer import export_auth_state, import_auth_state  # noqa: PLC0415 - as above

    with wrong_use():
        if isinstance(store, FolderAuthStateStore) and (folder := folder_of(target)) is not None:
            given = FolderAuthStateStore(source) if isinstance(source, Path) else source
            return await export_auth_state(given, session, folder, replace=force)
        return await import_auth_state(source, store, name, source_session=session, replace=force)


def _tell(report: MovedAuthState, what: str, *, json: bool) -> None:
    if json:
        print_json(as_dict(report))
        return
    replaced = "; what was there was replaced" if report.replaced else ""
    typer.echo(f"{report.session}: {what}: {counted(report.records)}, {megabytes(report.bytes)}{replaced}")
    for note in report.notes:
        typer.echo(f"  {note}")
