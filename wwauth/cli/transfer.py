"""`wwauth export` and `wwauth import`: a session from one store to another, by way of one file."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations when the command is made
from typing import Annotated

import typer

from ._console import megabytes
from ._session import (
    WEB_URL,
    IdentityFiles,
    Json,
    Place,
    Recipients,
    Session,
    StoreUrl,
    WebUrl,
    as_dict,
    checked_address,
    checked_name,
    opened,
    print_json,
    run,
    wrong_use,
)

Force = Annotated[bool, typer.Option("--force", "-f", help="Replace what is there.")]


def export_session(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file.")],
    store: StoreUrl,
    recipient: Recipients = None,
    identity_file: IdentityFiles = None,
    archive: Annotated[
        str, typer.Option(help="packs: all generations; whatsapp-web.js: the newest one as the plain zip that it restores.")
    ] = "packs",
    *,
    force: Force = False,
    json: Json = False,
) -> None:
    """
    Write a session to one FILE, which `wwauth import` puts into any store.

    The file is not encrypted, even when the store is: it is a login, in the clear, for its owner's eyes alone (0600).
    """
    run(
        _export(checked_name(session), file, Place(store, recipient, identity_file), archive, force=force, json=json),
        where=file.parent,
    )


async def _export(
    session: str,
    file: Path,
    place: Place,
    archive: str,
    *,
    force: bool,
    json: bool,
) -> bool:
    from ..backup import export_session as export  # noqa: PLC0415 - after a wrong call is known for one

    async with opened(place) as store:
        with wrong_use():
            report = await export(store, session=session, path=file, archive=archive, overwrite=force)
    if json:
        print_json(as_dict(report))
        return True
    numbers = ", ".join(map(str, report.generations))
    typer.echo(
        f"{session}: generations {numbers} exported to {file} ({report.archive}), {megabytes(report.bytes)}, not encrypted"
    )
    for note in report.notes:
        typer.echo(f"  {note}")
    return True


def import_session(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of `wwauth export`, or a zip of whatsapp-web.js.")],
    store: StoreUrl,
    session: Annotated[str | None, typer.Option(help="The name in the store; as the file says, when not given.")] = None,
    recipient: Recipients = None,
    identity_file: IdentityFiles = None,
    web_url: WebUrl = WEB_URL,
    *,
    force: Force = False,
    json: Json = False,
) -> None:
    """
    Put the session in FILE into a store, once every generation in it was verified.

    A session of that name that is there stays, unless --force is given and no client runs on it.
    """
    name = None if session is None else checked_name(session)
    run(_import(file, Place(store, recipient, identity_file), name, checked_address(web_url), force=force, json=json))


async def _import(
    file: Path,
    place: Place,
    session: str | None,
    web_url: str,
    *,
    force: bool,
    json: bool,
) -> bool:
    from ..backup import import_session as import_  # noqa: PLC0415 - after a wrong call is known for one

    async with opened(place) as store:
        with wrong_use():
            report = await import_(store, path=file, session=session, replace=force, origin=web_url)
        encrypted = store.features.encrypted
    if json:
        print_json(as_dict(report))
        return True
    numbers = ", ".join(map(str, report.generations))
    how = "encrypted" if encrypted else "not encrypted"
    typer.echo(f"{report.session}: generations {numbers} imported from {file} ({report.archive}), {how}")
    return True
