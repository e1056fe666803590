"""Bringing a stored generation back into a folder, whole or not at all."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._files import remove_tree
from .._threads import in_thread
from ..errors import ConfigurationError, DecryptionFailed, SessionCorrupted, SessionNotFound
from ._stored import look
from .packs import check_digests, places, prepare_files, take_out, unpack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .._threads import Stop
    from ._remote import Remote
    from .index import Backend, Index, Pack, StoredGeneration
    from .packs import Place

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched, and why newer generations were not."""

    index: Index
    generation: StoredGeneration
    damaged: frozenset[int]
    downloaded: int
    notes: tuple[str, ...]


class Fetcher:
    """
    Walks a session's generations, newest first, until one is whole.

    Args:
        remote: The store.
        session: The name there.
        room: Where packs lie on their way, one at a time.
        validate: Checks the unpacked folder in a thread, and returns notes; `SessionCorrupted` refuses it.
        backend: How the browser that will open it stores; None: not known, and not compared.
        chromium: Its major version; None: not known, and not compared.
    """

    def __init__(
        self,
        remote: Remote,
        session: str,
        room: Path,
        *,
        validate: Callable[[Path, StoredGeneration], tuple[str, ...]],
        backend: Backend | None = None,
        chromium: int | None = None,
    ) -> None:
        self._remote = remote
        self._session = session
        self._room = room
        self._validate = validate
        self._backend = backend
        self._chromium = chromium
        self._downloaded = 0

    async def fetch(self, index: Index, target: Path, wanted: int | None) -> Fetched:
        """
        Build the newest whole generation, or the `wanted` one, in the new folder `target`.

        Raises:
            SessionNotFound: There is none, or not the wanted one.
            SessionCorrupted: None of them is whole: the message says why, of each.
            ConfigurationError: Only an older browser, or one with another storage, keeps them from being used.
            StoreError: The store did not give them.
        """
        while True:
            try:
                return await self._walk(index, target, wanted)
            except (SessionCorrupted, SessionNotFound):
                # A writer elsewhere deletes packs that it needs no more: then the index has moved on, too.
                now = (await look(self._remote, self._session, self._room)).index
                if now is None or now.generations == index.generations:
                    raise
                index = now

    async def _walk(self, index: Index, target: Path, wanted: int | None) -> Fetched:
        chosen = [g for g in index.generations if wanted in {None, g.number}]
        if not chosen:
            there = ", ".join(str(g.number) for g in index.generations) or "none"
            what = f"generation {wanted} of {self._session}" if wanted is not None else f"backup of {self._session}"
            raise SessionNotFound(f"the store has no {what}: there are {there}")
        reasons: list[Exception] = []
        notes: list[str] = []
        damaged = set()
        for generation in chosen:
            try:
                self._refuse(generation)
                found = await self._build(generation, target)
            except (SessionCorrupted, SessionNotFound, ConfigurationError) as exc:
                reasons.append(exc)
                notes.append(f"generation {generation.number} was not used: {exc}")
                _log.warning("%s: %s", self._session, notes[-1])
                if not isinstance(exc, ConfigurationError):
                    damaged.add(generation.number)
                await asyncio.to_thread(remove_tree, target)
            else:
                return Fetched(index, generation, frozenset(damaged), self._downloaded, (*notes, *found))
        for kind in (ConfigurationError, DecryptionFailed):
            if all(isinstance(reason, kind) for reason in reasons):
                raise reasons[0]
        raise SessionCorrupted(f"{self._session}: none of its backups can be used: {'; '.join(notes)}") from reasons[0]

    def _refuse(self, generation: StoredGeneration) -> None:
        if self._backend not in {None, generation.backend} and "baileys" in {self._backend, generation.backend}:
            raise ConfigurationError("it is a login of another kind, a browser's or a socket client's: name another session")
        if self._backend not in {None, generation.backend}:
            raise ConfigurationError(
                f"a browser that stores in {generation.backend} wrote it, and one that stores in {self._backend} would "
                "delete it: use the other storage"
            )
        if self._chromium is not None and generation.chromium is not None and self._chromium < generation.chromium:
            raise ConfigurationError(
                f"it was written by Chromium {generation.chromium}, and this is {self._chromium}, which may not read it: "
                "update the browser"
            )

    async def _build(self, generation: StoredGeneration, target: Path) -> tuple[str, ...]:
        await in_thread(lambda _: prepare_files(target, generation.files))
        for pack, wanted in sorted(places(generation.files).items(), key=lambda item: item[0].name):
            await self._take(pack, wanted, target)
        await in_thread(lambda stop: check_digests(target, generation.files, check=stop.check))
        return await in_thread(lambda _: self._validate(target, generation))

    async def _take(self, pack: Pack, wanted: list[Place], target: Path) -> None:
        try:
            await self._take_once(pack, wanted, target)
        except SessionCorrupted as exc:
            # Once more: what came back wrong by chance must not cost a generation.
            _log.warning("%s: asked for once more, because: %s", pack.name.of(self._session), exc)
            await in_thread(lambda _: take_out(wanted, target))
            await self._take_once(pack, wanted, target)

    async def _take_once(self, pack: Pack, wanted: list[Place], target: Path) -> None:
        path = self._room / "pack.zip"
        try:
            await self._remote.extract(pack.name.of(self._session), path, most=pack.size)
            self._downloaded += pack.size

            def work(stop: Stop) -> None:
                unpack(path, pack, wanted, target, check=stop.check)

            await in_thread(work)
        finally:
            await asyncio.to_thread(lambda: path.unlink(missing_ok=True))
