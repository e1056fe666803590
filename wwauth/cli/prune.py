"""`wwauth prune`: drop older generations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ._console import megabytes
from ._session import (
    IdentityFiles,
    Json,
    Place,
    Recipients,
    Session,
    StoreUrl,
    WorkDir,
    as_dict,
    checked_name,
    opened,
    print_json,
    run,
    wrong_use,
)

if TYPE_CHECKING:
    from pathlib import Path


def prune(
    session: Session,
    store: StoreUrl,
    keep: Annotated[int, typer.Option(help="How many generations to keep.")],
    recipient: Recipients = None,
    identity_file: IdentityFiles = None,
    work_dir: WorkDir = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be dropped, and drop nothing.")] = False,
    json: Json = False,
) -> None:
    """
    Drop all but the newest KEEP generations of a session, and delete what nothing needs, once the newest was verified.

    Of two and more, one stays that shares no pack with the newest. Refused while a client runs on the session.
    """
    name = checked_name(session)
    run(_prune(name, Place(store, recipient, identity_file), keep, work_dir, dry_run=dry_run, json=json), where=work_dir)


async def _prune(
    session: str,
    place: Place,
    keep: int,
    work_dir: Path | None,
    *,
    dry_run: bool,
    json: bool,
) -> bool:
    from ..backup import BackupEngine  # noqa: PLC0415 - after a wrong call is known for one
    from ..backup._holding import holding  # noqa: PLC0415 - as above
    from ..backup.engine import check_generations  # noqa: PLC0415 - as above

    async with opened(place) as store:
        with wrong_use():
            check_generations(keep)
            engine = BackupEngine(store, session=session, archive="whatsapp-web.js", work_dir=work_dir)
        if dry_run:
            report = await engine.prune(keep, dry_run=True)
        else:
            async with holding(store, session) as engine.lease:
                report = await engine.prune(keep)
    if json:
        print_json(as_dict(report))
        return True
    dropped, kept = (", ".join(map(str, numbers)) or "none" for numbers in (report.dropped, report.kept))
    typer.echo(f"{session}: generations {'to drop' if dry_run else 'dropped'}: {dropped}; kept: {kept}")
    if report.packs_deleted:
        what = "to delete" if dry_run else "deleted"
        typer.echo(f"  packs {what}: {report.packs_deleted}, at least {megabytes(report.bytes_freed)}")
    return True
