"""Deleting what an auth state does not need any more, and never what the next connection needs."""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._names import check_session_name
from .._threads import in_thread
from ..abc import CREDS, RecordName
from ..errors import ConfigurationError, CredsCorrupted, SessionNotFound
from ._checkcreds import is_count, pre_key_number
from ._streams import in_chunks, refuse_encrypted
from .bufferjson import BufferJSON
from .creds import check_creds
from .records import check_store, plugin_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..abc import AuthStateStore

__all__ = ["PrunePolicy", "PrunedAuthState", "prune"]

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class PrunePolicy:
    """
    What may go; the defaults delete nothing that a message which can still arrive needs.

    Attributes:
        keep_pre_keys: How many pre-keys stay that were uploaded, the newest ones. Baileys makes them and deletes those alone
            that a message used, so that the rest piles up. 2,000 is more than twice what it uploads at once (812), and a
            message that was encrypted with one that went is sent again by itself. None: all stay.
        closed_sessions_days: Sessions that were closed (a newer one with the same device took their place) stay for so long
            in their record, for messages that come late: WhatsApp delivers none that is older than 30 days. None: all stay.
        unused_sessions_days: Records of sessions go that were used last so long ago. The next message of such a device cannot
            be read until it was asked to send it again, so the default is None: all stay.
        left_groups: The ids of groups that the account has left ("120363…@g.us"): their sender keys go, and the notes of who
            has one's own.
    """

    keep_pre_keys: int | None = 2_000
    closed_sessions_days: float | None = 30.0
    unused_sessions_days: float | None = None
    left_groups: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in ("keep_pre_keys", "closed_sessions_days", "unused_sessions_days"):
            value = getattr(self, name)
            kinds = int if name == "keep_pre_keys" else int | float
            if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or not value >= 0):
                raise ConfigurationError(f"invalid {name} {value!r}: use a number from 0, or None to keep all")
        if isinstance(self.left_groups, str) or not all(isinstance(group, str) for group in self.left_groups):
            raise ConfigurationError(f"invalid left_groups {self.left_groups!r}: use a list of ids, such as ['120363…@g.us']")
        object.__setattr__(self, "left_groups", frozenset(self.left_groups))


@dataclass(frozen=True, slots=True)
class PrunedAuthState:
    """
    An auth state was pruned.

    Attributes:
        session: Its name.
        deleted: How many records went, by type.
        sessions_trimmed: How many session records lost closed sessions and stay.
        closed_sessions: How many closed sessions went from them.
        pre_keys_kept: How many pre-keys are there.
        dry_run: Nothing was done: this is what would be.
    """

    session: str
    deleted: dict[str, int]
    sessions_trimmed: int
    closed_sessions: int
    pre_keys_kept: int
    dry_run: bool


async def prune(
    store: AuthStateStore, session: str = "default", policy: PrunePolicy | None = None, *, dry_run: bool = False
) -> PrunedAuthState:
    """
    Delete what the policy names, in one write; the session is held meanwhile, so that no program of wwauth's works on it.

    Never deleted, whatever the policy says: the credentials, the newest pre-key (`nextPreKeyId - 1`, which Baileys looks for
    at each start), pre-keys that wait for their upload (from `firstUnuploadedPreKeyId` on) or are newer than the
    credentials know, open sessions in use, app state keys, and types that this version does not know. A folder that
    Baileys itself has open must be left alone, since it knows no lock.

    Args:
        store: Where the session is.
        session: Its name.
        policy: What may go; the defaults when None.
        dry_run: Say what would be done, and do nothing.

    Raises:
        SessionNotFound: The store has no such session.
        CredsCorrupted: Its credentials cannot be read, so that nobody can tell what is needed. Nothing was deleted.
        SessionInUse: A program has it.
        StoreError: The store failed; nothing was deleted.
    """
    check_session_name(session)
    check_store(store)
    plan = _Plan(policy or PrunePolicy(), time.time() * 1000)
    with plugin_errors(f"prune the session {session!r}"):
        async with store.hold(session=session):
            text = (await store.read(session=session, names=[CREDS])).get(CREDS)
            await in_thread(lambda _: plan.learn(text, session))
            async with aclosing(in_chunks(store, session)) as chunks:
                async for chunk in chunks:
                    await in_thread(lambda _, chunk=chunk: plan.at(chunk))  # type: ignore[misc]
            plan.end()
            if plan.changes and not dry_run:
                await store.write(session=session, changes=plan.changes)
    return PrunedAuthState(session, plan.deleted(), plan.trimmed, plan.closed, plan.pre_keys_kept, dry_run)


@dataclass(slots=True)
class _Plan:
    policy: PrunePolicy
    now: float
    uploaded_before: int = 0
    changes: dict[RecordName, str | None] = field(default_factory=dict)
    pre_keys: list[RecordName] = field(default_factory=list)
    pre_keys_kept: int = 0
    trimmed: int = 0
    closed: int = 0

    def learn(self, text: str | None, session: str) -> None:
        """Read from the credentials which pre-keys Baileys has done with."""
        if text is None:
            raise SessionNotFound(
                f"there are no credentials of {session!r}, which tell what is needed: bring them back, or name another session"
            )
        refuse_encrypted(CREDS, text, session)
        try:
            creds = BufferJSON.loads(text)
        except ValueError:
            raise CredsCorrupted(f"the credentials of {session!r} are no JSON: bring back a good copy, then prune") from None
        check_creds(creds)
        upcoming, unuploaded = creds.get("nextPreKeyId"), creds.get("firstUnuploadedPreKeyId")
        if is_count(upcoming) and is_count(unuploaded):
            # The newest stays, uploaded or not.
            self.uploaded_before = min(unuploaded, upcoming - 1)

    def at(self, chunk: Sequence[tuple[RecordName, str]]) -> None:
        for name, text in chunk:
            if name.type == "pre-key":
                self.pre_keys.append(name)
            elif name.type == "session":
                self._at_session(name, text)
            elif name.type in {"sender-key", "sender-key-memory"} and name.id.partition("::")[0] in self.policy.left_groups:
                self.changes[name] = None

    def _at_session(self, name: RecordName, text: str) -> None:
        try:
            value = BufferJSON.loads(text)
            entries: dict[str, Any] = value["_sessions"]
            used = max((float(entry["indexInfo"]["used"]) for entry in entries.values()), default=0.0)
            old = [key for key, entry in entries.items() if self._is_old(entry["indexInfo"]["closed"])]
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # what cannot be read is for `verify`
        unused = self.policy.unused_sessions_days
        if 0 < len(entries) == len(old) or (unused is not None and used < self.now - unused * _DAY_MS):
            self.changes[name] = None
        elif old:
            for key in old:
                del entries[key]
            self.changes[name] = BufferJSON.dumps(value)
            self.trimmed += 1
            self.closed += len(old)

    def _is_old(self, closed: float) -> bool:
        days = self.policy.closed_sessions_days
        return days is not None and closed >= 0 and closed < self.now - days * _DAY_MS

    def end(self) -> None:
        """Decide on the pre-keys, now that all are known."""
        numbered = sorted(_numbered(self.pre_keys), reverse=True)
        candidates = [name for number, name in numbered if number < self.uploaded_before]
        if self.policy.keep_pre_keys is not None:
            self.changes.update(dict.fromkeys(candidates[self.policy.keep_pre_keys :]))
        self.pre_keys_kept = sum(name not in self.changes for name in self.pre_keys)

    def deleted(self) -> dict[str, int]:
        return _counted(self.changes)


def _numbered(names: Iterable[RecordName]) -> Iterable[tuple[int, RecordName]]:
    return ((number, name) for name in names if (number := pre_key_number(name.id)) is not None)


def _counted(changes: Mapping[RecordName, str | None]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, text in changes.items():
        if text is None:
            counts[name.type] = counts.get(name.type, 0) + 1
    return dict(sorted(counts.items()))
