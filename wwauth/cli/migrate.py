"""`wwauth migrate`: sessions from one store to another."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigurationError, WWAuthError
from ._console import megabytes
from ._session import (
    IdentityFiles,
    Json,
    Place,
    Recipients,
    WorkDir,
    WrongUse,
    as_dict,
    checked_name,
    held,
    opened,
    print_json,
    run,
    wrong_use,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..abc import Store
    from ..backup import MigrationReport


def migrate(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The URL of a store, or the folder of profiles (data path).")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The URL of a store, such as sqlite:///wwauth.db.")],
    session: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A session's name; may be repeated.")] = None,
    recipient: Recipients = None,
    identity_file: IdentityFiles = None,
    from_identity_file: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A file of secret keys that decrypts what FROM holds; may be repeated."),
    ] = None,
    as_: Annotated[str | None, typer.Option("--as", metavar="NAME", help="Its name in TO, for one session.")] = None,
    work_dir: WorkDir = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="All sessions that FROM holds.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be copied, and copy nothing.")] = False,
    delete_source: Annotated[
        bool, typer.Option("--delete-source", help="Delete each session from FROM once it was verified whole in TO.")
    ] = False,
    json: Json = False,
) -> None:
    """
    Copy sessions from one store to another, verified on both sides; called again, it goes on where it was interrupted.

    FROM may be a data path of whatsapp-web.js or of LocalAuth: its profiles go where RemoteAuth finds them. The keys of
    --recipient and --identity-file are for TO. What TO holds is never replaced by another login.
    """
    names = [checked_name(name) for name in session or []]
    if bool(names) == all_:
        raise WrongUse("name the sessions to migrate with --session, or all of them with --all")
    if as_ is not None and len(names) != 1:
        raise WrongUse("--as gives one session another name: name that one with --session")
    if source == target:
        raise WrongUse("FROM and TO are the same store")
    work = _Work(names, None if as_ is None else checked_name(as_), work_dir, dry_run=dry_run, delete_source=delete_source)
    to = Place(target, recipient, identity_file)
    run(_migrate(Place(source, None, from_identity_file), to, work, json=json), where=work_dir)


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done; `names` empty: with all sessions."""

    names: list[str]
    name: str | None
    work_dir: Path | None
    dry_run: bool
    delete_source: bool


async def _migrate(source: Place, target: Place, work: _Work, *, json: bool) -> bool:
    from ..backup._migration import PROBE  # noqa: PLC0415 - after a wrong call is known for one
    from ..backup.sessions import session_names  # noqa: PLC0415 - as above

    done: list[MigrationReport] = []
    failed: dict[str, str] = {}
    async with _opened_source(source) as from_, opened(target) as to:
        for session in work.names or [name for name in await session_names(from_) if name != PROBE]:
            try:
                report = await _one(from_, to, session, work)
            except WWAuthError as exc:
                failed[session] = str(exc)
                if not json:
                    typer.echo(f"wwauth: {session}: {exc}", err=True)
            else:
                done.append(report)
                if not json:
                    _tell(report)
    if json:
        print_json([*map(as_dict, done), *({"session": session, "problem": problem} for session, problem in failed.items())])
    elif not done and not failed:
        typer.echo("FROM holds no session")
    return not failed and not any(report.notes and not report.source_deleted and work.delete_source for report in done)


@asynccontextmanager
async def _opened_source(place: Place) -> AsyncIterator[Store]:
    from ..backup import DataPath  # noqa: PLC0415 - as above

    if not Path(place.url).is_dir():
        async with opened(place) as store:
            yield store
        return
    with wrong_use():
        if place.identity_files:
            raise ConfigurationError("--from-identity-file is for stores: a data path is not encrypted")
        store = DataPath(place.url)
    yield store


async def _one(source: Store, target: Store, session: str, work: _Work) -> MigrationReport:
    from ..backup import DataPath, migrate_session  # noqa: PLC0415 - as above

    name = work.name
    async with AsyncExitStack() as stack:
        if isinstance(source, DataPath):
            name = name or source.name_in_store(session)
            if source.profile(session) is not None and not work.dry_run:
                # A client of wwauth's holds this lock for as long as it works on the profile.
                await stack.enter_async_context(held(session, source.folder))
        return await migrate_session(
            source,
            target,
            session=session,
            name=name,
            delete_source=work.delete_source,
            dry_run=work.dry_run,
            work_dir=work.work_dir,
        )


def _tell(report: MigrationReport) -> None:
    name = report.session if report.name == report.session else f"{report.session} as {report.name}"
    numbers = ", ".join(map(str, report.generations))
    what = {"copied": "copied", "same": "all there already", "to copy": "to be copied"}[report.outcome]
    line = f"{name}: generations {numbers} ({report.archive}): {what}"
    if report.outcome != "same":
        line += f", {report.archives} archives, {megabytes(report.bytes)}"
        line += f"; {report.archives_there} were there" if report.archives_there else ""
    typer.echo(line + ("; deleted from the source" if report.source_deleted else ""))
    for note in report.notes:
        typer.echo(f"  {note}")
