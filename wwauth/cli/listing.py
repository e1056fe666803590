"""`wwauth list`: what a store holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._console import megabytes
from ._session import (
    IdentityFiles,
    Json,
    Place,
    Recipients,
    StoreUrl,
    WorkDir,
    age,
    checked_name,
    opened,
    print_json,
    run,
    table,
    wrong_use,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ..backup import StoredGeneration, StoredSession

_HEADING = ("no", "kind", "age", "stored", "total", "browser")


def listing(
    store: StoreUrl,
    sessions: Annotated[
        list[str] | None, typer.Argument(metavar="[SESSION]...", help="Only these; all when none is named.")
    ] = None,
    recipient: Recipients = None,
    identity_file: IdentityFiles = None,
    work_dir: WorkDir = None,
    *,
    json: Json = False,
) -> None:
    """List the sessions of a store, and what can be restored of each. The exit code is 1 when one cannot be read."""
    run(_list(Place(store, recipient, identity_file), sessions or None, work_dir, json=json), where=work_dir)


async def _list(
    place: Place,
    names: list[str] | None,
    work_dir: Path | None,
    *,
    json: bool,
) -> bool:
    from ..backup import list_backups  # noqa: PLC0415 - after a wrong call is known for one

    wanted = None if names is None else [checked_name(name) for name in names]
    async with opened(place) as store:
        with wrong_use():
            found = await list_backups(store, wanted, work_dir=work_dir)
    if json:
        print_json([_as_dict(session) for session in found])
    else:
        for session in found:
            _show(session)
        if not found:
            typer.echo("no sessions", err=True)
    return all(session.problem is None for session in found)


def _as_dict(session: StoredSession) -> dict[str, Any]:
    generations = [
        {
            "number": generation.number,
            "kind": generation.kind,
            "created": generation.created,
            "bytes_stored": _stored(session, generation),
            "bytes_total": generation.bytes_total,
            "backend": generation.backend,
            "chromium": generation.chromium,
        }
        for generation in session.generations
    ]
    fields = {
        name: getattr(session, name) for name in ("session", "archive", "bytes_stored", "encrypted", "modified", "problem")
    }
    return {**fields, "generations": generations}


def _show(session: StoredSession) -> None:
    encrypted = {True: "encrypted", False: "not encrypted", None: "unknown whether encrypted"}[session.encrypted]
    typer.echo(session.session)
    facts = [f"{megabytes(session.bytes_stored)} stored", encrypted]
    if session.archive is not None:
        facts.insert(0, session.archive)
    if session.problem is None and not session.generations:
        facts.append("no generations")
    typer.echo(f"  {', '.join(facts)}")
    if session.problem is not None:
        typer.echo(f"  DAMAGED OR NOT READABLE: {session.problem}")
    if session.generations:
        rows = [_HEADING, *(_row(session, generation) for generation in session.generations)]
        typer.echo("\n".join(table(rows, right=frozenset({0, 2, 3, 4}))))


def _row(session: StoredSession, generation: StoredGeneration) -> tuple[str, ...]:
    version = "-" if generation.chromium is None else f"Chromium {generation.chromium}"
    browser = "none: an auth state" if generation.backend == "baileys" else f"{version}, {generation.backend}"
    created = generation.created or session.modified
    stored, total = megabytes(_stored(session, generation)), megabytes(generation.bytes_total)
    return str(generation.number), generation.kind, age(created), stored, total, browser


def _stored(session: StoredSession, generation: StoredGeneration) -> int:
    """Return the size of the packs that a generation needs, some of which others need, too."""
    packs = generation.packs()
    return sum(pack.size for pack in packs) if packs else session.bytes_stored
