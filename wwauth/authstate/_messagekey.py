"""Which message a key names: chats and senders have two addresses, a phone number's and a LID."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._messages import LONGEST_NAME, RowKey

if TYPE_CHECKING:
    from .._messages import MessageRow

_PHONES = {"s.whatsapp.net", "c.us", "hosted"}
_LIDS = {"lid", "hosted.lid"}

_PLAIN = re.compile(rf"[!-~]{{1,{LONGEST_NAME}}}")
_CAPITAL = re.compile("(?=[A-Z])")

# The pairs of addresses that a store remembers, the newest ones.
_MOST_PAIRS = 20_000


def part(box: object, name: str) -> object:
    """Return a member of what a socket library hands over, under Baileys' name or that in snake_case; None: it has none."""
    for known in (name, _CAPITAL.sub("_", name).lower()):
        found = box.get(known) if isinstance(box, Mapping) else getattr(box, known, None)
        if found is not None:
            return found
    return None


def normalized_jid(jid: object) -> str:
    """Return an address as chats have it: without the device, as Baileys' jidNormalizedUser gives it; "" for none."""
    if not isinstance(jid, str):
        return ""
    user, at, server = jid.rpartition("@")
    if server in _PHONES | _LIDS:
        user = user.partition(":")[0].partition("_")[0]
    return f"{user}{at}{'s.whatsapp.net' if server == 'c.us' else server}"


def plain_jid(jid: object) -> str:
    """Return a normalized address as databases take it."""
    return _fitting(normalized_jid(jid))


def _fitting(name: str) -> str:
    """Return a name as databases take it: what is longer or other than usual has a digest in its place."""
    if not name or _PLAIN.fullmatch(name):
        return name
    return f"sha256:{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"


class Pairs:
    """Which addresses are the same chat's or person's, as far as it was heard of."""

    def __init__(self) -> None:
        self._other: dict[str, str] = {}

    def note(self, one: object, other: object) -> None:
        """Take note that two addresses are the same person's."""
        first, second = plain_jid(one), plain_jid(other)
        if not first or not second or first == second:
            return
        for key, value in ((first, second), (second, first)):
            self._other.pop(key, None)
            self._other[key] = value
        while len(self._other) > 2 * _MOST_PAIRS:
            del self._other[next(iter(self._other))]

    def addresses(self, *told: object) -> tuple[str, ...]:
        """Return what was told of one chat or person, and what is known beside; all plain."""
        jids = [plain for jid in told if (plain := plain_jid(jid))]
        jids += [other for jid in jids if (other := self._other.get(jid))]
        return tuple(dict.fromkeys(jids))


@dataclass(frozen=True, slots=True)
class MessageKey:
    """
    A message's key, as far as it says which message.

    Attributes:
        id: The message's id.
        chats: The addresses of the chat; the first is what the message is kept under.
        senders: The addresses of who sent it, in a group and when it was not this login.
        from_me: Whether this login sent it; a key that does not say means False, as in Baileys' guide.
    """

    id: str
    chats: tuple[str, ...]
    senders: tuple[str, ...]
    from_me: bool

    @classmethod
    def of(cls, key: object, pairs: Pairs) -> MessageKey | None:
        """Return what a WAMessageKey says; None: it names no message."""
        id_, chat = part(key, "id"), part(key, "remoteJid")
        if not isinstance(id_, str) or not id_ or not plain_jid(chat):
            return None
        chat_alt = part(key, "remoteJidAlt")
        sender, sender_alt = part(key, "participant"), part(key, "participantAlt")
        pairs.note(chat, chat_alt)
        pairs.note(sender, sender_alt)
        from_me = bool(part(key, "fromMe"))
        # The participant of a message that this login sent is whoever asks for it once more.
        senders = () if from_me else pairs.addresses(sender, sender_alt)
        return cls(_fitting(id_), pairs.addresses(chat, chat_alt), senders, from_me)

    @property
    def row_key(self) -> RowKey:
        """The name under which the message is stored."""
        return RowKey(self.id, self.chats[0], self.from_me, self.senders[0] if self.senders else "")

    def chosen(self, rows: list[MessageRow]) -> MessageRow | None:
        """Return the message that this key means, of those with its id; None: it is not among them."""
        fitting = [(rank, row.stored, row) for row in rows if (rank := self._rank(row)) is not None]
        return max(fitting, key=lambda one: one[:2])[2] if fitting else None

    def _rank(self, row: MessageRow) -> int | None:
        """Return how well a row fits, None when it is another message."""
        if row.key.from_me is not self.from_me or not {row.key.chat, row.chat_alt} & set(self.chats):
            return None
        senders = {row.key.sender, row.sender_alt} - {""}
        if not senders or not self.senders:
            return 0
        if senders & set(self.senders):
            return 1
        # One of them may be the other's LID; two of a kind are two people.
        return 0 if {_kind(one) for one in senders}.isdisjoint(_kind(one) for one in self.senders) else None


def _kind(jid: str) -> str:
    server = jid.rpartition("@")[2]
    return "phone" if server in _PHONES else "lid" if server in _LIDS else server
