"""
The head of a session in a bucket: one small object that says which archive is the session's, and who has its lease.

It is only ever replaced on the condition that it is the one that was read, so whatever is decided by it (a commit, a fence, a
lease) is one atomic step.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import secrets
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from wwauth.errors import ConfigurationError, SessionCorrupted, StoreUnavailable

from ._lease import in_use, overtaken

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._bucket import Bucket

_VERSION = 1
_KEY = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

# Of those who want to replace a head at the same time one does, and the others read it again.
_TRIES = 100
_LONGEST_PAUSE = 0.1

# One, unless several writers in a row ended between their commit and what follows it.
_REMEMBERED = 4

# A lease whose end lies further ahead than this was taken by a clock that was wrong.
_CLOCKS_DIFFER = 3600.0


@dataclass(frozen=True, slots=True)
class Archive:
    """Which object holds a session's archive, and what must be in it."""

    key: str
    size: int
    sha256: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """Who has the lease; `expires` is seconds since the epoch, by the holder's clock."""

    holder: str | None = None
    fence: int = 0
    ttl: float = 0.0
    expires: float = 0.0


@dataclass(frozen=True, slots=True)
class Head:
    """
    What is known of a session; one without an archive remembers its fence and its revision.

    `last` are the keys of the archives before this one, which may still be there, since they are deleted after a commit.
    `mark` is another one with each write: so two heads are never alike, and a writer whose answer got lost knows its own.
    """

    session: str
    revision: int = 0
    archive: Archive | None = None
    last: tuple[str, ...] = ()
    claim: Claim = field(default_factory=Claim)
    mark: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The archives that are known to have been the session's, the newest one last."""
        return self.last if self.archive is None else (*self.last, self.archive.key)

    def with_archive(self, archive: Archive | None) -> Head:
        """Return the head that commits an archive, or the deletion of the one that is there."""
        last = self.keys[-_REMEMBERED:]
        return replace(self, archive=archive, revision=self.revision + (archive is not None), last=last)

    def check(self, fence: int | None) -> None:
        """Raise `LeaseLost` unless `fence` is the newest one, or None."""
        if fence is not None and self.claim.fence != fence:
            raise overtaken(self.session, self.claim.holder)


class Heads:
    """The heads in a bucket, and the leases in them."""

    def __init__(self, bucket: Bucket, place: str) -> None:
        self._bucket = bucket
        self._place = place
        self._checked = False

    async def read(self, session: str, doing: str) -> Head:
        """Return a session's head; an empty one stands for none."""
        return (await self._read(session, doing))[0]

    async def change(self, session: str, step: Callable[[Head], Head | None], doing: str) -> tuple[Head, Head]:
        """
        Replace a head by what `step` makes of it, and return both; None changes nothing.

        `step` is called again when somebody else was faster. What it raises is raised, and nothing is changed.
        """
        tried: dict[str, tuple[Head, Head]] = {}
        for _ in range(_TRIES):
            head, tag = await self._read(session, doing)
            if head.mark in tried:
                return tried[head.mark]
            made = step(head)
            if made is None:
                return head, head
            new = replace(made, mark=secrets.token_hex(8))
            tried[new.mark] = head, new
            try:
                done = await self._bucket.replace(head_key(session), _dump(new), tag, doing)
            except StoreUnavailable:
                # It may be the answer that was lost, and not the request.
                done = (await self._read(session, doing))[0].mark == new.mark
                if not done:
                    raise
            if done:
                return head, new
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311 - only so that they do not meet again
        raise StoreUnavailable(f"cannot {doing} in {self._place}: too many others do at the same time; try again")

    async def remove(self, session: str, doing: str) -> None:
        """Delete the head itself."""
        await self._bucket.remove(head_key(session), doing)

    async def claim(self, session: str, holder: str, ttl: float) -> int:
        """Take the lease and return its fence."""

        def step(head: Head) -> Head:
            before = head.claim
            if before.holder not in {None, holder} and 0 < before.expires - time.time() < before.ttl + _CLOCKS_DIFFER:
                raise in_use(session, str(before.holder))
            # Without a head: larger than any that a holder may have of one that somebody deleted.
            last = before.fence if head.mark else time.time_ns() // 1000
            return replace(head, claim=Claim(holder, last + 1, ttl, time.time() + ttl))

        doing = f"take the lease of {session!r}"
        _, head = await self.change(session, step, doing)
        if not self._checked:
            await self._bucket.check_conditions(head_key(session), doing)
            self._checked = True
        return head.claim.fence

    async def renew(self, session: str, fence: int, ttl: float) -> None:
        """Begin the `ttl` anew."""

        def step(head: Head) -> Head:
            head.check(fence)
            return replace(head, claim=replace(head.claim, ttl=ttl, expires=time.time() + ttl))

        await self.change(session, step, f"renew the lease of {session!r}")

    async def release(self, session: str, fence: int) -> None:
        """End it, where the fence is the newest one."""

        def step(head: Head) -> Head | None:
            mine = head.claim.fence == fence and head.claim.holder is not None
            return replace(head, claim=replace(head.claim, holder=None)) if mine else None

        await self.change(session, step, f"release the lease of {session!r}")

    async def _read(self, session: str, doing: str) -> tuple[Head, Any]:
        found = await self._bucket.read(head_key(session), doing)
        if found is None:
            return Head(session), None
        head = _load(found[0], f"{head_key(session)} in {self._place}")
        if head.session != session:
            raise ConfigurationError(
                f"session {session!r} cannot be told from {head.session!r} in {self._place}, which ignores case: use another "
                f"name"
            )
        return head, found[1]


def head_key(session: str) -> str:
    """Return the key of a session's head."""
    return f"sessions/{session}.json"


def head_session(key: str) -> str:
    """Return the name that is in the key of a head."""
    return key.removeprefix("sessions/").removesuffix(".json")


def archive_folder(session: str) -> str:
    """Return the folder of a session's archives: it ends the name, so that no other session's begins with it."""
    return f"archives/{session}"


def _dump(head: Head) -> bytes:
    fields = asdict(head)
    if head.archive is not None:
        fields["archive"]["modified"] = head.archive.modified.isoformat()
    return json.dumps({"wwauth": _VERSION, **fields}, indent=1).encode()


def _load(data: bytes, what: str) -> Head:
    try:
        fields = json.loads(data)
        version = fields.pop("wwauth")
        if version != _VERSION:
            raise SessionCorrupted(
                f"{what} has the form {version!r}, and this version of wwauth knows {_VERSION}: update wwauth"
            )
        archive, claim = fields["archive"], fields["claim"]
        return Head(
            session=str(fields["session"]),
            revision=int(fields["revision"]),
            archive=None if archive is None else _load_archive(archive),
            last=tuple(map(str, fields["last"])),
            claim=Claim(
                None if claim["holder"] is None else str(claim["holder"]),
                int(claim["fence"]),
                float(claim["ttl"]),
                float(claim["expires"]),
            ),
            mark=str(fields["mark"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise SessionCorrupted(f"{what} is damaged: restore an older version of it, or delete it to begin anew") from error


def _load_archive(fields: dict[str, Any]) -> Archive:
    key, sha256, modified = str(fields["key"]), str(fields["sha256"]), datetime.fromisoformat(fields["modified"])
    if not _KEY.fullmatch(key) or not _SHA256.fullmatch(sha256) or modified.tzinfo is None:
        raise ValueError(key)
    return Archive(key, int(fields["size"]), sha256, modified)
