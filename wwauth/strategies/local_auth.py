"""The login is a browser profile on this machine's disk."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from .._threads import in_thread
from ..backup import cut_tails
from ..events import Event
from ._profile import ProfileStrategy, warn_of_ephemeral

if TYPE_CHECKING:
    import os

    from ..errors import SessionCorrupted

__all__ = ["LocalAuth"]

_log = logging.getLogger(__name__)


class LocalAuth(ProfileStrategy):
    """
    Keep the login in a persistent browser profile, `<data_path>/session[-<client_id>]`, as whatsapp-web.js does.

    A folder that whatsapp-web.js wrote is opened as it is, and the reverse. One whose databases are damaged is set aside as
    `session[-<client_id>].damaged-<time>`: Chromium would delete them. The disk must outlive the process: on an
    ephemeral one a warning says so, and `RemoteAuth` is the strategy to use.

    Args:
        client_id: Tells several logins apart: ASCII letters, digits, `_` and `-`.
        data_path: The folder of the profiles; created 0700 when it is not there.
        rm_max_retries: How often deleting the profile is tried again while files are busy.
        delete_on_logout: False keeps the profile's folder after a logout.

    Raises:
        ConfigurationError: An argument is wrong; the message names its value.
    """

    _prefix = "session"

    def __init__(
        self,
        *,
        client_id: str | None = None,
        data_path: str | os.PathLike[str] = "./.wwebjs_auth",
        rm_max_retries: int = 4,
        delete_on_logout: bool = True,
    ) -> None:
        super().__init__(client_id, data_path, rm_max_retries)
        self._delete_on_logout = delete_on_logout

    async def before_browser_initialized(self) -> None:
        """
        Create the folder, take its lock, and bring in order what a killed browser left.

        A profile that is damaged beyond that is set aside, never deleted; `error(SessionCorrupted)` says where it is, and a
        code follows.

        Raises:
            SessionInUse: Another client or browser has the profile.
            ConfigurationError: The data path cannot be used.
        """
        await super().before_browser_initialized()
        with self._disk_errors():
            damage = await in_thread(lambda _: self._mend())
        if damage is not None:
            self.client.emit(Event.ERROR, damage)
        await asyncio.to_thread(warn_of_ephemeral, self.data_path)

    def _mend(self) -> SessionCorrupted | None:
        # Chromium appends behind the half record that a killed browser left, and deletes the database at the opening after.
        for cut in cut_tails(self._profile):
            _log.info("%s: %s", self._profile, cut)
        damage = self._damage()
        if damage is None:
            return None
        damage = self._set_aside(damage)
        self._prepare()
        return damage

    async def logout(self) -> None:
        """Delete the profile (its browser has ended), unless `delete_on_logout` is False; release the lock."""
        try:
            if self._delete_on_logout:
                await in_thread(lambda _: self._remove_locked())
        finally:
            self._release()

    def _remove_locked(self) -> None:
        if self.data_path.exists():
            self._hold()
            self._remove_profile()
