"""A folder of profiles, as whatsapp-web.js and wwauth keep them, as a store that logins are taken from."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from .._files import private_opener, remove_tree, replacing
from .._names import check_session_name, pack_name_parts
from .._threads import in_thread
from ..abc import SessionInfo, Store, StoreFeatures
from ..errors import ConfigurationError, SessionInUse, SessionNotFound, StoreUnavailable
from ._room import room_for
from ._state import STATE_FILE, read_state
from .archive import Stamp, tree_digest, write_archive
from .layout import browser_lives, find_databases, find_sqlite
from .snapshot import take_snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .._threads import Stop

_PROFILE = re.compile(r"(session|RemoteAuth)(-[-_A-Za-z0-9]+)?")


class DataPath(Store):
    """
    The logins in a `data_path`, to be read: profiles `session-<id>` (LocalAuth), `RemoteAuth-<id>`, and `RemoteAuth-<id>.zip`.

    A profile is given as the plain zip that RemoteAuth, here and in whatsapp-web.js, restores. Where a session has a profile
    and a zip, the profile counts. `delete` deletes both; nothing new can be saved.

    Raises:
        ConfigurationError: There is no such folder.
    """

    features: ClassVar[StoreFeatures] = StoreFeatures(listing=True)

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder).absolute()
        if not self._folder.is_dir():
            raise ConfigurationError(f"{self._folder} is no folder: name the data path, such as .wwebjs_auth")

    def __repr__(self) -> str:
        return f"DataPath({str(self._folder)!r})"

    @property
    def folder(self) -> Path:
        """The folder, absolute."""
        return self._folder

    @staticmethod
    def name_in_store(session: str) -> str:
        """Return the name under which RemoteAuth looks for the login of a profile: that of LocalAuth has another one."""
        match = _PROFILE.fullmatch(session)
        return f"RemoteAuth{match[2] or ''}" if match is not None else session

    def profile(self, session: str) -> Path | None:
        """Return the profile of a session, when there is one with a login's databases; this blocks."""
        path = self._folder / session
        if _PROFILE.fullmatch(session) is None or path.is_symlink() or not path.is_dir():
            return None
        return path if find_databases(path) or find_sqlite(path) else None

    async def session_exists(self, *, session: str) -> bool:
        """Tell whether there is a profile or a zip of this name."""
        return await asyncio.to_thread(self._find, check_session_name(session)) is not None

    async def save(self, *, session: str, path: Path) -> None:
        """Replace a zip that is there, as the deletion of a session in packs does; nothing new can be saved."""
        archive = self._archive(check_session_name(session))
        if not archive.is_file():
            raise ConfigurationError(f"logins are only taken from a data path: {session} cannot be saved to {self._folder}")

        def write(_: Stop) -> None:
            with replacing(archive) as temporary:
                _copy(path, temporary)

        await in_thread(write)

    async def extract(self, *, session: str, path: Path) -> None:
        """
        Write a session's login as a zip to the new file `path`.

        Raises:
            SessionNotFound: There is none.
            SessionInUse: A browser has the profile open.
            SnapshotFailed: It holds no whole login.
        """
        found = await asyncio.to_thread(self._find, check_session_name(session))
        if found is None:
            raise SessionNotFound(f"{self._folder} has no {session!r}")
        if not found.is_dir():
            await in_thread(lambda _: _copy(found, path))
            return
        await self._refuse_open(found)
        async with room_for(session, path.parent) as room:
            await take_snapshot(found, room / "profile", durable=False)

            def pack(stop: Stop) -> None:
                state = read_state(found / STATE_FILE, session)
                number = max(1, state.generation) if state is not None else 1
                stamp = Stamp(number, tree_digest(room / "profile", check=stop.check))
                write_archive(room / "profile", path, stamp=stamp, check=stop.check)

            await in_thread(pack)

    async def delete(self, *, session: str) -> None:
        """Delete the profile and the zip; `SessionInUse`: a browser has the profile open."""
        profile = await asyncio.to_thread(self.profile, check_session_name(session))
        if profile is not None:
            await self._refuse_open(profile)

        def remove(_: Stop) -> None:
            try:
                if profile is not None:
                    remove_tree(profile)
                self._archive(session).unlink(missing_ok=True)
            except OSError as exc:
                raise StoreUnavailable(f"{session} could not be deleted from {self._folder}: {exc.strerror}") from exc

        await in_thread(remove)

    async def list_sessions(self, *, prefix: str = "", packs: bool = False) -> AsyncIterator[SessionInfo]:
        """Iterate over the names, sorted; the size of a profile is that of its folder."""
        for info in await in_thread(lambda _: self._scan(prefix)):
            if packs or pack_name_parts(info.session) is None:
                yield info

    def _archive(self, session: str) -> Path:
        return self._folder / f"{session}.zip"

    def _find(self, session: str) -> Path | None:
        if (profile := self.profile(session)) is not None:
            return profile
        archive = self._archive(session)
        return archive if session.startswith("RemoteAuth") and archive.is_file() else None

    def _scan(self, prefix: str) -> list[SessionInfo]:
        found: list[SessionInfo] = []
        for name in sorted({entry.name.removesuffix(".zip") for entry in self._folder.iterdir()}):
            try:
                path = self._find(check_session_name(name)) if name.startswith(prefix) else None
            except ConfigurationError:
                continue
            if path is not None:
                # A browser may delete files meanwhile, and a program the whole of it.
                with suppress(FileNotFoundError):
                    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                    size = sum(_sizes(path)) if path.is_dir() else path.stat().st_size
                    found.append(SessionInfo(name, size, modified))
        return found

    async def _refuse_open(self, profile: Path) -> None:
        if await asyncio.to_thread(browser_lives, profile):
            raise SessionInUse(f"{profile}: a browser has this profile open; end its program first")


def _sizes(folder: Path) -> Iterator[int]:
    for parent, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):
                yield Path(parent, name).stat().st_size


def _copy(source: Path, target: Path) -> None:
    with open(target, "xb", opener=private_opener) as out, source.open("rb") as file:
        shutil.copyfileobj(file, out, 1 << 20)
