"""`wwauth backup`: save a profile once, without a browser of wwauth's own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .._store import takes_packs
from ..errors import SessionCorrupted, SnapshotFailed
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
    checked_name,
    held,
    opened,
    print_saved,
    run,
    wrong_use,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ..abc import Store
    from ..backup import BackupEngine

Archive = Literal["packs", "whatsapp-web.js"]


def backup(
    session: Session,
    store: StoreUrl,
    data_path: DataPath = DATA_PATH,
    recipient: Recipients = None,
    identity_file: IdentityFiles = None,
    archive: Annotated[
        str | None, typer.Option(help="packs or whatsapp-web.js; when not given, as it is stored, else packs.")
    ] = None,
    generations: Annotated[
        int | None, typer.Option(help="How many to keep in packs; as many as there are, and at least 3, when not given.")
    ] = None,
    web_url: WebUrl = WEB_URL,
    *,
    any_profile: Annotated[
        bool,
        typer.Option("--any-profile", help="Save also a profile that wwauth never saw logged in."),
    ] = False,
    json: Json = False,
) -> None:
    """
    Save the profile DATA_PATH/SESSION, open in a browser or not, as RemoteAuth does; only what changed is uploaded.

    A client of wwauth that runs on the profile saves it by itself, and is not disturbed: the command then says who it is.
    """
    options: dict[str, object] = {"archive": archive, "generations": generations, "origin": web_url}
    name = checked_name(session)
    work = _backup(name, Place(store, recipient, identity_file), data_path, options, any_profile=any_profile, json=json)
    run(work, where=data_path)


async def _backup(
    session: str,
    place: Place,
    data_path: Path,
    options: dict[str, object],
    *,
    any_profile: bool,
    json: bool,
) -> bool:
    from ..backup._holding import holding  # noqa: PLC0415 - as below
    from ..strategies._marker import LoginMarker  # noqa: PLC0415 - after a wrong call is known for one

    if not (data_path.absolute() / session).is_dir():
        raise SnapshotFailed(f"there is no profile {data_path / session}: name its folder's parent with --data-path")
    async with opened(place) as store, held(session, data_path) as profile:
        if not any_profile and not await asyncio.to_thread(lambda: LoginMarker(profile).holds_login):
            raise SnapshotFailed(
                f"wwauth never saw {profile} logged in, so nothing was saved: start a client on it once, or say --any-profile"
            )
        engine = await _engine(store, session, options)
        async with holding(store, session) as engine.lease:
            report = await engine.save(profile)
    print_saved(report, json=json)
    return True


async def _engine(store: Store, session: str, options: dict[str, object]) -> BackupEngine:
    """Return an engine that goes on in the form that is there, and drops nothing that nobody asked to drop."""
    from ..backup import BackupEngine  # noqa: PLC0415 - as above

    def engine(archive: object, generations: object) -> BackupEngine:
        with wrong_use():
            return BackupEngine(
                store,
                session=session,
                archive=archive,  # type: ignore[arg-type]
                generations=generations,  # type: ignore[arg-type]
                origin=options["origin"],  # type: ignore[arg-type]
            )

    archive, generations = options["archive"], options["generations"]
    wanted = engine(archive or "whatsapp-web.js", 3 if generations is None else generations)
    if archive is not None and generations is not None:
        return wanted
    try:
        there = await wanted.generations()
    except SessionCorrupted:
        there = []  # what is damaged is replaced, what is only not readable here is refused when it is saved
    plain = (bool(there) and not there[0].writer) or not takes_packs(store)
    return engine(archive or ("whatsapp-web.js" if plain else "packs"), generations or max(3, len(there)))
