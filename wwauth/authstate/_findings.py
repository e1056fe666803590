"""What a look at an auth state finds, and what it means when a record is missing or cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from ..abc import CREDS

if TYPE_CHECKING:
    from ..abc import RecordName

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that a look at an auth state found.

    Attributes:
        severity: "error": something is damaged or lost; "warning": something is not as it should be, and heals by itself or
            costs little; "note": worth knowing, and in order.
        record: The record it is about, as its file is named without ".json", or a type with what is meant of it.
        meaning: What it is, and what follows from it; never a secret.
        cure: What to do about it, in one sentence.
    """

    severity: Severity
    record: str
    meaning: str
    cure: str


MISSING: Final = {
    "creds": (
        "without its credentials the login is lost: a program that finds none links a new device",
        "Restore a backup of the credentials before any program starts on this session.",
    ),
    "pre-key": (
        "a first message that somebody encrypted with it cannot be read at once",
        "Nothing needs to be done: the sender is asked to send again, with another key.",
    ),
    "session": (
        "messages of this device cannot be read until it has sent one anew, and the next one to it begins a new session",
        "Nothing needs to be done: a new session is made with the next message.",
    ),
    "sender-key": (
        "messages of this member of the group cannot be read until the member's key comes again; one's own is made anew",
        "Nothing needs to be done: the key is asked for with the next message that cannot be read.",
    ),
    "sender-key-memory": (
        "who has one's own group key is forgotten, so that it is sent to everybody once more",
        "Nothing needs to be done.",
    ),
    "app-state-sync-key": (
        "changes of chats, contacts and settings that the phone encrypted with it cannot be read",
        "Restore it from a backup, or link the device anew: the phone does not offer an old key by itself.",
    ),
    "app-state-sync-version": (
        "this part of chats, contacts and settings is read from the beginning again",
        "Nothing needs to be done.",
    ),
    "lid-mapping": (
        "which phone number a hidden one belongs to is not known here, and a second session may be begun",
        "Nothing needs to be done: it is asked for again.",
    ),
    "device-list": ("this user's devices are not known here", "Nothing needs to be done: they are asked for again."),
    "tctoken": (
        "this user may not accept a first message without it",
        "Nothing needs to be done: it comes again with the user's next message.",
    ),
    "identity-key": (
        "a change of this user's identity is not noticed the next time",
        "Nothing needs to be done: the next message brings it.",
    ),
}
"""By type: what it means that a record of it is missing, and what to do. A record that cannot be read counts as missing."""

_UNKNOWN = ("what that means only the program knows that wrote it", "Ask the program that wrote it.")


def label(name: RecordName) -> str:
    """Return how a record is called in a finding."""
    return "creds" if name == CREDS else f"{name.type}-{name.id}"


def unusable(name: RecordName, problem: str) -> Finding:
    """Return what it means that a record is there and cannot be used."""
    means, cure = MISSING.get(name.type, _UNKNOWN)
    return Finding("error", label(name), f"{problem}, so it counts as missing: {means}", cure)
