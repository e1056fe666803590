"""`wwauth authstate backup` and `restore`: a folder of Baileys' files into a store of backups, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import megabytes
from ._session import IdentityFiles, Json, Place, Recipients, StoreUrl, as_dict, opened, print_json, print_saved, run, wrong_use

if TYPE_CHECKING:
    from ..abc import Store
    from ..authstate.backup import AuthStateBackup

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of Baileys' files.")]
Name = Annotated[
    str | None, typer.Option("--session", metavar="NAME", help="The name in the store; the folder's own, when not given.")
]


def backup(
    folder: Folder,
    store: StoreUrl,
    session: Name = None,
    recipient: Recipients = None,
    identity_file: IdentityFiles = None,
    generations: Annotated[int, typer.Option(help="How many to keep.")] = 3,
    *,
    json: Json = False,
) -> None:
    """Back a folder up, while wwauth or Baileys works in it or not; only what changed is uploaded."""
    run(_backup(folder, Place(store, recipient, identity_file), session, generations, json=json), where=folder)


async def _backup(folder: Path, place: Place, session: str | None, generations: int, *, json: bool) -> bool:
    async with opened(place) as store:
        report = await _backup_of(folder, store, session, generations).save()
    print_saved(report, json=json)
    return True


def restore(
    folder: Folder,
    store: StoreUrl,
    session: Name = None,
    generation: Annotated[int | None, typer.Option(min=1, help="This one; the newest that is whole, when not given.")] = None,
    recipient: Recipients = None,
    identity_file: IdentityFiles = None,
    *,
    json: Json = False,
) -> None:
    """
    Put a backup in the place of FOLDER, once it was verified; what was there is kept as FOLDER.previous.

    Refused while wwauth has the folder. Baileys knows no lock: stop it first.
    """
    run(_restore(folder, Place(store, recipient, identity_file), session, generation, json=json), where=folder)


async def _restore(folder: Path, place: Place, session: str | None, generation: int | None, *, json: bool) -> bool:
    async with opened(place) as store:
        report = await _backup_of(folder, store, session, 3).restore(generation)
    if json:
        print_json(as_dict(report))
        return True
    typer.echo(
        f"{report.session}: generation {report.generation} restored to {folder}, {megabytes(report.bytes_total)} in "
        f"{report.files} files"
    )
    for note in report.notes:
        typer.echo(f"  {note}")
    return True


def _backup_of(folder: Path, store: Store, session: str | None, generations: int) -> AuthStateBackup:
    from ..authstate.backup import AuthStateBackup  # noqa: PLC0415 - after a wrong call is known for one

    with wrong_use():
        return AuthStateBackup(folder, store, session=session, generations=generations)
