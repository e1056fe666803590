"""Moving a session from one store to another as it is: its packs and its index, or its plain zip."""

from __future__ import annotations

import logging
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from .._names import check_session_name
from .._store import check_store, warn_of_readable_logins
from ..abc import StoreFeatures
from ..errors import ConfigurationError, StoreDenied
from ._holding import holding
from ._migration import Migration
from ._remote import Remote
from ._room import room_for

if TYPE_CHECKING:
    from pathlib import Path

    from ..abc import Store
    from .reports import MigrationReport

_log = logging.getLogger(__name__)


async def migrate_session(
    source: Store,
    target: Store,
    *,
    session: str,
    name: str | None = None,
    delete_source: bool = False,
    dry_run: bool = False,
    work_dir: Path | None = None,
) -> MigrationReport:
    """
    Copy a session from one store to another, where a client finds it as it was: generations, their numbers, its lineage.

    Each archive is checked by its digest when it was read, and read back after it was saved. Packs go first, the index last,
    so that a restore sees all or nothing. What was interrupted goes on with the next call: an archive that is there, with
    the right digest, is not copied again. A session that the target has is never replaced, unless it is an earlier state of
    the same one.

    Both sides' leases are held meanwhile, where the stores have them. Generations whose packs are damaged are left out, and
    named in the notes.

    Args:
        source: Where it is; it is only read, unless `delete_source` is set.
        target: Where it goes; encrypted there when that store encrypts.
        session: Its name.
        name: Its name in the target; the same when None.
        delete_source: Delete it from the source once all of it was verified in the target as a restore would. When something
            had to be left out, nothing is deleted.
        dry_run: Only say what would be done; nothing is written on either side.
        work_dir: Where archives lie on their way; the system's folder for temporary files when None.

    Raises:
        ConfigurationError: The target holds another login under that name, or an argument is wrong.
        SessionNotFound: The source has no such session.
        SessionCorrupted: It is damaged there, or what the target holds is.
        SessionInUse: A client works on it, on one side.
        LeaseLost: Somebody saved to it meanwhile; the source stands.
        StoreError: A store did not do its part.
    """
    for store, what in ((source, "the source"), (target, "the target")):
        check_store(store, needed_by=f"migrate_session, as {what},")
    old, new = check_session_name(session), check_session_name(session if name is None else name)
    if source is target:
        raise ConfigurationError("a session cannot be migrated from a store to the same one")
    warn_of_readable_logins(target)
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        room = await stack.enter_async_context(room_for(old, work_dir))
        migration = Migration(Remote(source, old), Remote(target, new), old, new, room)
        if dry_run:
            report = await migration.plan()
        else:
            if getattr(source, "features", StoreFeatures()).leases:
                try:
                    migration.source.lease = await stack.enter_async_context(holding(source, old))
                except StoreDenied as exc:
                    if delete_source:
                        raise
                    _log.warning("%s is read without its lease, since its store may only be read: %s", old, exc)
            migration.target.lease = await stack.enter_async_context(holding(target, new))
            report = await migration.run(delete_source=delete_source)
    return replace(report, duration_s=time.monotonic() - began)
