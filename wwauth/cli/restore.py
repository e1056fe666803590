"""`wwauth restore`: bring a profile back from a store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import megabytes
from ._session import (
    DATA_PATH,
    WEB_URL,
    DataPath,
    IdentityFiles,
    Json,
    Place,
    Recipients,
    Session,
    StoreUrl,
    WebUrl,
    as_dict,
    checked_name,
    held,
    opened,
    print_json,
    run,
    wrong_use,
)

if TYPE_CHECKING:
    from pathlib import Path


def restore(
    session: Session,
    store: StoreUrl,
    generation: Annotated[int | None, typer.Option(min=0, help="This one; the newest that is whole, when not given.")] = None,
    data_path: DataPath = DATA_PATH,
    recipient: Recipients = None,
    identity_file: IdentityFiles = None,
    web_url: WebUrl = WEB_URL,
    *,
    json: Json = False,
) -> None:
    """
    Put a stored generation in the place of the profile DATA_PATH/SESSION.

    It is verified before anything is replaced; what was there is kept as DATA_PATH/SESSION.previous until the login works.
    """
    name = checked_name(session)
    run(_restore(name, Place(store, recipient, identity_file), generation, data_path, web_url, json=json), where=data_path)


async def _restore(
    session: str,
    place: Place,
    generation: int | None,
    data_path: Path,
    web_url: str,
    *,
    json: bool,
) -> bool:
    from ..backup import BackupEngine  # noqa: PLC0415 - after a wrong call is known for one
    from ..strategies._marker import LoginMarker  # noqa: PLC0415 - as above

    async with opened(place) as store:
        with wrong_use():
            # A restore reads either form; this one takes every name.
            engine = BackupEngine(store, session=session, archive="whatsapp-web.js", origin=web_url)
        async with held(session, data_path) as profile:
            await engine.recover(profile)
            report = await engine.restore(profile, generation)
            await asyncio.to_thread(LoginMarker(profile).write, generation=report.generation)
            previous = engine.previous(profile)
            kept = previous if await asyncio.to_thread(previous.is_dir) else None
    if json:
        print_json(as_dict(report, path=str(profile), previous=None if kept is None else str(kept)))
        return True
    number = f"generation {report.generation}" if report.generation else "the archive of another program"
    typer.echo(
        f"{session}: {number} restored to {data_path / session}, {megabytes(report.bytes_total)} in {report.files} files"
    )
    for note in report.notes:
        typer.echo(f"  {note}")
    if kept is not None:
        typer.echo(f"  the profile before it is kept as {kept.name}")
    return True
