"""`wwauth verify`: look at every backup as a restore would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import SessionNotFound
from ._console import megabytes
from ._session import (
    WEB_URL,
    IdentityFiles,
    Json,
    Place,
    Recipients,
    StoreUrl,
    WebUrl,
    WorkDir,
    age,
    as_dict,
    checked_address,
    checked_name,
    opened,
    print_json,
    run,
    wrong_use,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from ..abc import Store
    from ..backup import StoredGeneration, VerifyReport

    LookInto = Callable[[Path, StoredGeneration], Awaitable[tuple[str, ...]]]


def verify(
    store: StoreUrl,
    sessions: Annotated[
        list[str] | None, typer.Argument(metavar="[SESSION]...", help="Only these; all when none is named.")
    ] = None,
    recipient: Recipients = None,
    identity_file: IdentityFiles = None,
    web_url: WebUrl = WEB_URL,
    work_dir: WorkDir = None,
    *,
    deep: Annotated[bool, typer.Option("--deep", help="Open each generation in Chromium, twice, without any network.")] = False,
    no_sandbox: Annotated[bool, typer.Option("--no-sandbox", help="Start Chromium without its sandbox.")] = False,
    json: Json = False,
) -> None:
    """
    Check every generation: that all of it is there, every checksum, and the databases in it. The store is only read.

    The exit code is 1 when a generation is damaged or a session is not there. One generation at a time lies on the disk.
    """
    look_into = None
    checked_address(web_url)
    if deep:
        from ..web.deep import deep_look  # noqa: PLC0415 - only with --deep

        with wrong_use():
            look_into = deep_look(web_url, launch_options={"chromium_sandbox": False} if no_sandbox else {})
    names = None if not sessions else [checked_name(name) for name in dict.fromkeys(sessions)]
    run(_verify(Place(store, recipient, identity_file), names, web_url, work_dir, look_into, json=json), where=work_dir)


async def _verify(
    place: Place,
    names: list[str] | None,
    web_url: str,
    work_dir: Path | None,
    look_into: LookInto | None,
    *,
    json: bool,
) -> bool:
    from ..backup.sessions import session_names  # noqa: PLC0415 - after a wrong call is known for one

    answers: list[dict[str, Any]] = []
    async with opened(place) as store:
        with wrong_use():
            wanted = names if names is not None else await session_names(store)
        for session in wanted:
            report = await _one(store, session, web_url, work_dir, look_into)
            answers.append(_as_dict(session, report))
            if not json:
                _show(session, report)
    if json:
        print_json(answers)
    elif not wanted:
        typer.echo("no sessions", err=True)
    return all(answer["ok"] for answer in answers)


async def _one(
    store: Store, session: str, web_url: str, work_dir: Path | None, look_into: LookInto | None
) -> VerifyReport | None:
    from ..backup import BackupEngine  # noqa: PLC0415 - as above

    with wrong_use():
        engine = BackupEngine(store, session=session, archive="whatsapp-web.js", origin=web_url, work_dir=work_dir)
    try:
        return await engine.verify(look_into=look_into)
    except SessionNotFound:
        return None


def _as_dict(session: str, report: VerifyReport | None) -> dict[str, Any]:
    if report is None:
        return {"session": session, "ok": False, "problem": "not in the store", "generations": []}
    return as_dict(report, ok=report.ok)


def _show(session: str, report: VerifyReport | None) -> None:
    if report is None:
        typer.echo(f"{session}\n  NOT IN THE STORE")
        return
    typer.echo(session)
    if report.problem is not None:
        typer.echo(f"  DAMAGED OR NOT READABLE: {report.problem}")
    for found in report.generations:
        verdict = "ok" if found.problem is None else f"DAMAGED: {found.problem}"
        when = "" if found.created is None else f", {age(found.created)} old"
        typer.echo(f"  generation {found.number} ({found.kind}, {megabytes(found.bytes_total)}{when}): {verdict}")
        for note in found.notes:
            typer.echo(f"    {note}")
