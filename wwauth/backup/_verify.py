"""Checking what a store holds of a session, generation by generation, as a restore would use it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from .._files import remove_tree
from .._threads import in_thread
from ..errors import SessionCorrupted, SessionNotFound, WWAuthError
from ._fetch import Fetcher
from ._stored import look, plain_generation
from .archive import content_digest, read_archive, tree_digest
from .reports import VerifiedGeneration, VerifyReport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from .._threads import Stop
    from ._remote import Remote
    from ._stored import Plain
    from .index import Index, StoredGeneration


class Verifier:
    """
    Unpacks a session's generations, one at a time, into `room`, and says of each what is wrong with it.

    Args:
        remote: The store.
        session: The name there.
        room: Where archives lie on their way, and one unpacked generation.
        validate: Checks an unpacked profile in a thread, and returns notes; `SessionCorrupted` refuses it.
        look_into: Looks further into one that is whole, and returns notes; `SessionCorrupted` refuses it. It may change it.
    """

    def __init__(
        self,
        remote: Remote,
        session: str,
        room: Path,
        *,
        validate: Callable[[Path], tuple[str, ...]],
        look_into: Callable[[Path, StoredGeneration], Awaitable[tuple[str, ...]]] | None = None,
    ) -> None:
        self._remote = remote
        self._session = session
        self._room = room
        self._validate = validate
        self._look_into = look_into
        self._downloaded = 0

    async def run(self) -> VerifyReport:
        """
        Verify all generations, newest first.

        Raises:
            SessionNotFound: The store has no such session.
            StoreError: The store did not give it.
        """
        began = time.monotonic()
        problem: str | None = None
        checked: list[VerifiedGeneration] = []
        try:
            stored = await look(self._remote, self._session, self._room)
            if stored.damage is not None:
                raise stored.damage
        except SessionCorrupted as exc:
            problem = str(exc)
        else:
            self._downloaded = stored.size
            if stored.plain is not None:
                checked.append(await self._plain(stored.plain))
            else:
                checked += await self._packs(stored.index)
        return VerifyReport(self._session, tuple(checked), problem, self._downloaded, time.monotonic() - began)

    async def _packs(self, index: Index | None) -> list[VerifiedGeneration]:
        if index is None or not index.generations:
            raise SessionNotFound(f"the store has no {self._session!r}")
        checked = [await self.generation(index, generation) for generation in index.generations]
        return [found for found in checked if found is not None]

    async def generation(self, index: Index, generation: StoredGeneration) -> VerifiedGeneration | None:
        """Verify one generation in packs; None: its writer has dropped it meanwhile, for newer ones."""

        def validate(target: Path, found: StoredGeneration) -> tuple[str, ...]:
            if content_digest((file.path, file.size, file.sha256) for file in found.files) != found.content:
                raise SessionCorrupted(
                    f"the index does not give the files of generation {found.number} the digest of its content"
                )
            return self._validate(target)

        target = self._room / "profile"
        # Any storage, any browser: whether one at hand could open it is another question.
        fetcher = Fetcher(self._remote, self._session, self._room, validate=validate)
        problem: WWAuthError | None = None
        notes: tuple[str, ...] = ()
        try:
            got = await fetcher.fetch(index, target, generation.number)
            self._downloaded += got.downloaded
            notes = got.notes + await self._opened(target, generation)
        except SessionNotFound:
            return None
        except SessionCorrupted as exc:
            # The walk over one generation says in its own words what the cause says shortly.
            problem = exc.__cause__ if isinstance(exc.__cause__, WWAuthError) else exc
        finally:
            await asyncio.to_thread(remove_tree, target)
        return _verified(generation, len(generation.files), problem, notes)

    async def _plain(self, stored: Plain) -> VerifiedGeneration:
        generation = plain_generation(stored.contents)
        target = self._room / "profile"
        problem: WWAuthError | None = None
        notes: tuple[str, ...] = ()

        def unpack(stop: Stop) -> tuple[str, ...]:
            read_archive(stored.path, target, check=stop.check)
            if generation.content and tree_digest(target, check=stop.check) != generation.content:
                raise SessionCorrupted("its files do not have the digest of the content that its comment says")
            return self._validate(target)

        try:
            notes = await in_thread(unpack)
            notes += await self._opened(target, generation)
        except SessionCorrupted as exc:
            problem = exc
        finally:
            await asyncio.to_thread(remove_tree, target)
        return _verified(generation, stored.contents.files, problem, notes)

    async def _opened(self, target: Path, generation: StoredGeneration) -> tuple[str, ...]:
        return () if self._look_into is None else await self._look_into(target, generation)


def _verified(
    generation: StoredGeneration, files: int, problem: WWAuthError | None, notes: tuple[str, ...]
) -> VerifiedGeneration:
    return VerifiedGeneration(
        number=generation.number,
        kind=generation.kind,
        created=generation.created,
        files=files,
        bytes_total=generation.bytes_total,
        problem=None if problem is None else str(problem),
        notes=notes,
    )
