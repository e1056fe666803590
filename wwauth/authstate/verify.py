"""Looking at an auth state: whether all of it is there, whole, and of one login."""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from .._names import check_session_name
from .._threads import in_thread
from ..abc import CREDS
from ..errors import SessionNotFound
from ._checkcreds import is_count, look_at_creds, pre_key_number
from ._checkrecords import open_entries, record_problem
from ._findings import MISSING, Finding, label, unusable
from ._streams import in_chunks, refuse_encrypted
from .bufferjson import BufferJSON
from .names import KNOWN_TYPES
from .records import check_store, plugin_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..abc import AuthStateStore, RecordName

__all__ = ["Finding", "VerifiedAuthState", "verify"]

_REVERSE = "_reverse"

# So many numbers of pre-keys are named before the rest is counted.
_NAMED = 8


@dataclass(frozen=True, slots=True)
class VerifiedAuthState:
    """
    An auth state was looked at.

    Attributes:
        session: Its name.
        records: How many records there are, by type; the credentials are "creds".
        bytes: The size of their texts, in UTF-8, by type.
        findings: What was found, errors first.
        me: The account's id ("user:device@s.whatsapp.net"), or None before a device is linked.
        platform: The phone's, or None.
        registered: As the credentials say; it stays false after a pairing with a QR code.
        duration_s: Seconds.
    """

    session: str
    records: dict[str, int]
    bytes: dict[str, int]
    findings: tuple[Finding, ...]
    me: str | None
    platform: str | None
    registered: bool
    duration_s: float

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged or lost: there may be warnings."""
        return all(finding.severity != "error" for finding in self.findings)


async def verify(store: AuthStateStore, session: str = "default") -> VerifiedAuthState:
    """
    Look at every record of a session: lengths, signatures, pairs, gaps, and whether it can be read at all.

    The store is only read, a few hundred records at a time, and not held: a program that works on the session may go on,
    and what it changes meanwhile may show as a finding that is gone the next time.

    Raises:
        SessionNotFound: The store has nothing of this session.
        DecryptionFailed: It is encrypted, and no key was given, or not the right one.
        StoreError: The store failed.
    """
    check_session_name(session)
    check_store(store)
    began = time.monotonic()
    look = _Look(session)
    with plugin_errors(f"read the session {session!r}"):
        creds = (await store.read(session=session, names=[CREDS])).get(CREDS)
        async with aclosing(in_chunks(store, session)) as chunks:
            async for chunk in chunks:
                await in_thread(lambda _, chunk=chunk: look.at(chunk))  # type: ignore[misc]
    if creds is None and not look.records:
        raise SessionNotFound(f"there is no session {session!r}: check its name")
    await in_thread(lambda _: look.at_creds(creds))
    return look.report(time.monotonic() - began)


@dataclass(slots=True)
class _Look:
    """What has been seen so far: counts, findings, and what only the whole can tell."""

    session: str
    findings: list[Finding] = field(default_factory=list)
    records: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    pre_keys: set[int] = field(default_factory=set)
    app_state_keys: set[str] = field(default_factory=set)
    mappings: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    creds: dict[str, Any] = field(default_factory=dict)

    def at(self, chunk: Sequence[tuple[RecordName, str]]) -> None:
        for name, text in chunk:
            refuse_encrypted(name, text, self.session)
            self.records[name.type] = self.records.get(name.type, 0) + 1
            self.bytes[name.type] = self.bytes.get(name.type, 0) + len(text.encode(errors="replace"))
            if name != CREDS:
                self._at_record(name, text)

    def _at_record(self, name: RecordName, text: str) -> None:
        try:
            value = BufferJSON.loads(text)
        except ValueError:
            self.findings.append(unusable(name, "it is empty" if not text else "it cannot be read (torn, or no JSON)"))
            return
        if name.type == "pre-key":
            if (number := pre_key_number(name.id)) is not None:
                self.pre_keys.add(number)
            else:
                self.findings.append(
                    Finding("warning", label(name), "no pre-key has such an id: nobody asks for it", "Delete it.")
                )
        elif name.type == "app-state-sync-key":
            self.app_state_keys.add(name.id)
        elif name.type not in KNOWN_TYPES:
            self.unknown[name.type] = self.unknown.get(name.type, 0) + 1
        if (problem := record_problem(name.type, value)) is not None:
            self.findings.append(unusable(name, problem))
        elif name.type == "lid-mapping":
            self.mappings[name.id] = value
        elif name.type == "session" and open_entries(value) > 1:
            self.findings.append(
                Finding("warning", label(name), "more than one session in it is open", "None needed: the newest is used.")
            )

    def at_creds(self, text: str | None) -> None:
        if text is None:
            meaning, cure = MISSING["creds"]
            self.findings.append(Finding("error", "creds", meaning, cure))
        else:
            self._at_creds(text)
        self.findings += self._mappings()
        self.findings += [
            Finding(
                "note", f"{kind}-*", f"{count} records of a type that this version does not know", "None needed: they are kept."
            )
            for kind, count in sorted(self.unknown.items())
        ]

    def _at_creds(self, text: str) -> None:
        try:
            creds = BufferJSON.loads(text)
        except ValueError:
            self.findings.append(unusable(CREDS, "it is empty" if not text else "it cannot be read (torn, or no JSON)"))
            return
        self.findings += look_at_creds(creds)
        if isinstance(creds, dict):
            self.creds = creds
            self.findings += self._numbers()
            self.findings += self._app_state()

    def _numbers(self) -> Iterator[Finding]:
        upcoming, unuploaded = self.creds.get("nextPreKeyId"), self.creds.get("firstUnuploadedPreKeyId")
        if not (is_count(upcoming) and is_count(unuploaded)):
            return
        there = self.pre_keys
        if lost := _missing(there, unuploaded, upcoming):
            yield Finding(
                "error",
                "pre-keys that wait for their upload",
                f"{lost} missing: Baileys is about to upload them, and fails",
                "Restore them from a backup, or set firstUnuploadedPreKeyId to nextPreKeyId, so that new ones are made.",
            )
        if upcoming > 1 and upcoming - 1 not in there and upcoming - 1 < unuploaded:
            yield Finding(
                "warning",
                f"pre-key-{upcoming - 1}",
                "Baileys looks for the newest pre-key at each start and misses it, so it uploads new ones each time",
                "None needed; a pre-key that was deleted by hand is the usual reason.",
            )
        if gaps := _gaps(there, min(unuploaded, upcoming - 1)):
            yield Finding(
                "note",
                "pre-keys",
                f"{gaps} not there: first messages used them, and Baileys deletes what was used",
                "None needed, unless files were deleted by hand: then senders are asked to send again.",
            )
        if beyond := sorted(number for number in there if number >= upcoming):
            yield Finding(
                "warning",
                "pre-keys",
                f"{_some(beyond[:_NAMED], len(beyond))} there, past nextPreKeyId {upcoming}: "
                "the credentials are older than the keys",
                "Look for newer credentials: with these, Baileys makes other keys under the same numbers.",
            )

    def _app_state(self) -> Iterator[Finding]:
        wanted = self.creds.get("myAppStateKeyId")
        if isinstance(wanted, str) and wanted and wanted not in self.app_state_keys:
            meaning, cure = MISSING["app-state-sync-key"]
            yield Finding("warning", "app-state-sync-key", f"the one that the credentials name is missing: {meaning}", cure)

    def _mappings(self) -> Iterator[Finding]:
        for id_, other in self.mappings.items():
            back = other if id_.endswith(_REVERSE) else other + _REVERSE
            wanted = id_.removesuffix(_REVERSE)
            if (found := self.mappings.get(back)) == wanted:
                continue
            what = "has no counterpart" if found is None else "and its counterpart name different users"
            yield Finding(
                "warning",
                f"lid-mapping-{id_}",
                f"this mapping {what} (lid-mapping-{back}): {MISSING['lid-mapping'][0]}",
                MISSING["lid-mapping"][1],
            )

    def report(self, duration: float) -> VerifiedAuthState:
        me = self.creds.get("me")
        id_ = me.get("id") if isinstance(me, dict) else None
        platform = self.creds.get("platform")
        order = ("error", "warning", "note")
        return VerifiedAuthState(
            session=self.session,
            records=dict(sorted(self.records.items())),
            bytes=dict(sorted(self.bytes.items())),
            findings=tuple(sorted(self.findings, key=lambda found: (order.index(found.severity), found.record))),
            me=id_ if isinstance(id_, str) else None,
            platform=platform if isinstance(platform, str) else None,
            registered=self.creds.get("registered") is True,
            duration_s=duration,
        )


def _gaps(there: set[int], end: int) -> str:
    """Tell which numbers before `end` are missing after the first one that is there; what came before was pruned."""
    return _missing(there, min((number for number in there if number < end), default=end), end)


def _missing(there: set[int], first: int, end: int) -> str:
    """Tell which numbers from `first` to before `end` are not there, "" for none; damaged counters may be any numbers."""
    named = list(islice((number for number in range(first, end) if number not in there), _NAMED))
    return _some(named, end - first - sum(first <= number < end for number in there)) if named else ""


def _some(named: Sequence[int], count: int) -> str:
    more = count - len(named)
    return f"{', '.join(map(str, named))}{f' and {more} more' if more else ''} {'is' if count == 1 else 'are'}"
