"""The two stores of a mirror together: what they hold of a session, and how one is made to hold what the other does."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from wwauth._threads import in_thread
from wwauth.errors import SessionCorrupted, SessionNotFound

from ._mirrorside import Look, Record, Side, digest_of, is_outage

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from wwauth.abc import Store

_log = logging.getLogger(__name__)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Found:
    """What the stores that answer hold of a session, and why another one did not."""

    looks: dict[Side, Look]
    error: Exception | None

    @property
    def newest(self) -> Look:
        # Of two that count the same, the primary's, which comes first.
        return max(self.looks.values(), key=lambda look: look.record.version)

    @property
    def gone(self) -> bool:
        """It was deleted, or both say that they hold no archive."""
        return self.newest.record.deleted or (self.error is None and not self.holders)

    @property
    def holders(self) -> list[Side]:
        """Those with an archive, the newest first."""
        there = [side for side, look in self.looks.items() if look.present]
        return sorted(there, key=lambda side: -self.looks[side].record.version)


@dataclass(frozen=True, slots=True)
class Got:
    """
    An archive that was read.

    Attributes:
        side: From which store.
        record: What is to be said of it.
        bad: The stores whose archive is gone, damaged, or not what they say.
        away: The stores that cannot be read, and so are not written to either.
    """

    side: Side
    record: Record
    bad: set[Side]
    away: set[Side]


class Pair:
    """Both stores; for what one of them fails to do as it should (`is_outage`) the other stands in, with a warning."""

    def __init__(self, primary: Store, secondary: Store, work_dir: Path | None) -> None:
        self.primary, self.secondary = Side(primary, "primary", work_dir), Side(secondary, "secondary", work_dir)
        self.sides = self.primary, self.secondary

    def __repr__(self) -> str:
        return f"MirroredStore({self.primary.store!r}, {self.secondary.store!r})"

    async def ask(self, questions: list[Coroutine[Any, Any, _T]]) -> tuple[dict[Side, _T], Exception | None]:
        """Ask both at once; return who answered what, and the error of the one that did not. None answers: its error."""
        answers: dict[Side, _T] = {}
        error: Exception | None = None
        for side, answer in zip(self.sides, await asyncio.gather(*questions, return_exceptions=True), strict=True):
            if not isinstance(answer, BaseException):
                side.works("reading")
                answers[side] = answer
            elif not isinstance(answer, Exception) or not is_outage(answer):
                raise answer
            else:
                error = error or side.fails("reading", answer)
        if not answers and error is not None:
            raise error
        return answers, error

    async def look(self, name: str, *, needed: Side | None = None) -> Found:
        """Ask both what they hold; an outage of `needed` is raised."""
        looks, error = await self.ask([side.look(name) for side in self.sides])
        if error is not None and needed is not None and needed not in looks:
            raise error
        return Found(looks, error)

    async def are_one(self, name: str, record: Record) -> bool:
        """Tell whether what was written to the primary just now is in the secondary, where nobody has put it."""
        there = await self.secondary.record(name)
        return there == record and there.role == self.primary.role

    async def read(self, name: str, found: Found, path: Path) -> Got:
        """
        Write the newest archive to `path`: the one with the newest record, and of two with the same the one that fits it.

        A record is written after its archive: one that does not fit is newer than its record says.
        """
        bad: set[Side] = set()
        away: set[Side] = set()
        errors = [] if found.error is None else [found.error]
        odd: Side | None = None
        last: Side | None = None
        sha256 = ""
        for side in found.holders:
            if odd is not None and found.looks[side].record.version < found.looks[odd].record.version:
                break
            fetched = await _try_fetch(side, name, path)
            if isinstance(fetched, Exception):
                errors.append(fetched)
                (away if is_outage(fetched) else bad).add(side)
                continue
            if fetched == found.looks[side].record.sha256:
                return Got(side, found.looks[side].record, bad, away)
            bad.add(side)
            odd, last, sha256 = odd or side, side, fetched
        if odd is None:
            raise _gravest(errors, SessionNotFound(f"{self!r} holds no session {name!r}"))
        if last is not odd:
            sha256 = await _fetch(odd, name, path)
        return Got(odd, Record(found.looks[odd].record.version + 1, sha256=sha256), bad, away)

    async def spread(self, name: str, found: Found, got: Got, path: Path, *, strict: bool = False) -> None:
        """Give the archive at `path` to the store that lacks it; `strict`: what goes wrong is raised, else a warning."""
        for side, look in found.looks.items():
            if side in got.away or (look.present and look.record == got.record and side not in got.bad):
                continue
            try:
                if side is not got.side:
                    _log.info("repairing session %s in the %s store", name, side.role)
                    await side.save(name, path, None)
                await side.tell(name, got.record)
                side.works("writing")
            except Exception as error:
                if strict:
                    raise
                side.fails("writing", error)

    async def bury(self, name: str, found: Found, *, strict: bool = False) -> bool:
        """Delete what a store holds of a session that was deleted, once both can be asked; tell whether there was anything."""
        there = [side for side, look in found.looks.items() if look.present or look.record.version]
        if found.error is not None or not there or (await self.look(name)).looks != found.looks:
            return False
        try:
            for side in there:
                await side.delete(name, None)
        except Exception as error:
            if strict:
                raise
            side.fails("writing", error)
            return False
        await self.forget(name, found)
        return True

    async def forget(self, name: str, found: Found) -> None:
        """Delete the records of a session of which no archive is left; one that stays says nothing that is not so."""
        for side, look in found.looks.items():
            if look.record.version:
                try:
                    await side.forget(name)
                except Exception as error:  # noqa: BLE001 - whatever it is, the session is deleted
                    side.fails("writing", error)


async def _fetch(side: Side, name: str, path: Path) -> str:
    """Extract an archive to `path`, where an earlier one may lie, and return its SHA-256."""
    await in_thread(lambda _: path.unlink(missing_ok=True))
    await side.store.extract(session=name, path=path)
    return await digest_of(path)


async def _try_fetch(side: Side, name: str, path: Path) -> str | Exception:
    """Do so, or return why that store's archive cannot be had."""
    try:
        return await _fetch(side, name, path)
    except Exception as error:
        if is_outage(error):
            return side.fails("reading", error)
        if isinstance(error, SessionNotFound | SessionCorrupted):
            return error
        raise


def _gravest(errors: list[Exception], nothing: SessionNotFound) -> Exception:
    """Return the error after which the most may still be there: a store that is away before one that is damaged."""
    corrupted = [error for error in errors if isinstance(error, SessionCorrupted)]
    return next((error for error in (*filter(is_outage, errors), *corrupted)), nothing)
