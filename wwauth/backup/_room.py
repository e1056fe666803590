"""Private folders for what is on its way."""

from __future__ import annotations

import logging
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import make_private_dir, remove_tree, sweep_temporaries, temporary_sibling
from .._threads import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .._threads import Stop

_log = logging.getLogger(__name__)

# No call takes so long.
_STALE_AFTER = 24 * 3600.0


@asynccontextmanager
async def room_for(session: str, parent: Path | None = None) -> AsyncIterator[Path]:
    """
    Make a hidden 0700 folder in `parent`, or where the system keeps temporary files; it is gone afterwards.

    What a crashed call left there for this session is deleted when it has grown old.
    """
    parent = parent or Path(tempfile.gettempdir())
    room = temporary_sibling(parent / session)
    try:
        await in_thread(lambda _: sweep_temporaries(parent, name=session, older_than=_STALE_AFTER))
        await in_thread(lambda _: make_private_dir(room))
        yield room
    finally:
        await removed(room)


async def removed(*paths: Path) -> None:
    """Delete the temporaries of a call, to the end even when the call is being cancelled."""

    def remove(_: Stop) -> None:
        for path in paths:
            try:
                remove_tree(path)
            except OSError as exc:
                # What the call did is done; `BackupEngine.recover` sweeps this.
                _log.warning("the temporary %s could not be deleted: %s", path, exc)

    await in_thread(remove)
