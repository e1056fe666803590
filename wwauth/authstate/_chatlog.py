"""Chats, contacts and messages in memory, and how the events of a socket change them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from ._binding import Binding
from ._messagekey import normalized_jid

# proto.HistorySync.HistorySyncType.ON_DEMAND: what a program asked for itself, and has its own use for.
_ON_DEMAND = {6, "ON_DEMAND"}

# proto.WebMessageInfo.Status, by number and, where JSON was between, by name.
_STATUSES = ("ERROR", "PENDING", "SERVER_ACK", "DELIVERY_ACK", "READ", "PLAYED")


class Entries(MutableMapping[str, Any]):
    """A map that tells its store when an entry comes, changes or goes; what is changed within an entry it does not see."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.data: dict[str, Any] = {}
        self._changed = changed

    def __repr__(self) -> str:
        return f"Entries({len(self.data)})"

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def __setitem__(self, key: str, item: Any) -> None:
        self.data[key] = item
        self._changed()

    def __delitem__(self, key: str) -> None:
        del self.data[key]
        self._changed()

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


class ChatLog:
    """
    Chats, contacts and messages of one login.

    Attributes:
        chats: Chats by their id.
        contacts: Contacts by their id.
        messages: For each chat's id the list of its messages, WAMessages as they came, oldest first.

    The three are maps, as in Baileys' guide: set and delete what you like. Who changes something within an entry calls
    `changed()`, so that it is saved. This object itself replaces entries and never changes what it was given.
    """

    def __init__(self, max_messages_per_chat: int | None) -> None:
        self._most = max_messages_per_chat
        self._revision = 0
        self.chats = Entries(self.changed)
        self.contacts = Entries(self.changed)
        self.messages = Entries(self.changed)
        self._bindings: list[Binding] = []

    def changed(self) -> None:
        """Take note that there is something to save."""
        self._revision += 1

    def load_messages(self, jid: str, count: int, cursor: Mapping[str, Any] | None = None) -> list[Any]:
        """
        Return up to `count` messages of a chat, oldest first: its newest ones.

        Args:
            jid: The chat.
            count: How many at most.
            cursor: `{"before": key}`: the newest before that message; `{"after": key}`: those that follow it. A message
                that is not there has none on either side.
        """
        found = self._of_chat(jid)
        if cursor:
            after = "before" not in cursor
            key = cursor["after" if after else "before"]
            at = _position(found, part_of(key, "id"))
            if at is None:
                return []
            if after:
                return found[at + 1 : at + 1 + max(count, 0)]
            found = found[:at]
        return found[-count:] if count > 0 else []

    def load_message(self, jid: str, id: str) -> Any:  # noqa: A002 - Baileys' word
        """Return the message of a chat that has this id, or None."""
        found = self._of_chat(jid)
        at = _position(found, id)
        return None if at is None else found[at]

    def most_recent_message(self, jid: str) -> Any:
        """Return the newest message of a chat, or None."""
        found = self._of_chat(jid)
        return found[-1] if found else None

    def bind(self, emitter: Any) -> Binding:
        """
        Follow a socket library's emitter, as Baileys' store did.

        `messaging-history.set` (the latest one clears chats and messages first; one that was asked for is passed over),
        `chats.upsert`, `chats.update` (an `unreadCount` above 0 is added), `chats.delete`, `contacts.upsert`,
        `contacts.update`, `messages.upsert` (a message that notifies makes the chat it belongs to), `messages.update` (a
        lower status does not replace a higher one), `messages.delete`. Each is done before `emit` returns.

        Returns:
            What `unbind()` ends; `close` does so, too.
        """
        binding = Binding(
            emitter,
            {
                "messaging-history.set": self._on_history,
                "chats.upsert": self._on_chats,
                "chats.update": self._on_chat_updates,
                "chats.delete": self._on_chats_gone,
                "contacts.upsert": self._on_contacts,
                "contacts.update": self._on_contact_updates,
                "messages.upsert": self._on_messages,
                "messages.update": self._on_message_updates,
                "messages.delete": self._on_messages_gone,
            },
        )
        self._bindings.append(binding)
        return binding

    def _of_chat(self, jid: object) -> list[Any]:
        found = self.messages.data.get(normalized_jid(jid))
        return found if isinstance(found, list) else []

    def _on_history(self, told: Any, *_: object) -> None:
        if part_of(told, "syncType") in _ON_DEMAND:
            return
        if part_of(told, "isLatest"):
            self.chats.clear()
            self.messages.clear()
        for chat in _items(part_of(told, "chats")):
            if (id_ := part_of(chat, "id")) and id_ not in self.chats:
                self.chats[id_] = chat
        self._on_contacts(part_of(told, "contacts"))
        # The newest come first.
        self._add(_items(part_of(told, "messages")), front=True)

    def _on_chats(self, chats: Any, *_: object) -> None:
        for chat in _items(chats):
            if id_ := part_of(chat, "id"):
                self.chats[id_] = chat

    def _on_chat_updates(self, updates: Any, *_: object) -> None:
        for update in _items(updates):
            chat = self.chats.get(part_of(update, "id"))
            if chat is None:
                continue
            change = dict(update)
            if (change.get("unreadCount") or 0) > 0:
                change["unreadCount"] += part_of(chat, "unreadCount") or 0
            self.chats[update["id"]] = {**chat, **change}

    def _on_chats_gone(self, ids: Any, *_: object) -> None:
        for id_ in _items(ids):
            self.chats.pop(id_, None)
            self.messages.pop(normalized_jid(id_), None)

    def _on_contacts(self, contacts: Any, *_: object) -> None:
        for contact in _items(contacts):
            if id_ := part_of(contact, "id"):
                self.contacts[id_] = {**self.contacts.get(id_, {}), **contact}

    def _on_contact_updates(self, updates: Any, *_: object) -> None:
        for update in _items(updates):
            known = self.contacts.get(part_of(update, "id"))
            if known is not None:
                contact = {**known, **update}
                if contact.get("imgUrl") == "removed":
                    del contact["imgUrl"]
                self.contacts[update["id"]] = contact

    def _on_messages(self, told: Any, *_: object) -> None:
        kind, messages = part_of(told, "type"), _items(part_of(told, "messages"))
        if kind not in {None, "append", "notify"}:
            return
        self._add(messages)
        for message in messages if kind == "notify" else ():
            jid = _chat_of(message)
            if jid and jid not in self.chats:
                since = part_of(message, "messageTimestamp")
                self.chats[jid] = {"id": jid, "conversationTimestamp": _seconds(since), "unreadCount": 1}

    def _on_message_updates(self, updates: Any, *_: object) -> None:
        for one in _items(updates):
            key, update = part_of(one, "key"), part_of(one, "update")
            found = self._of_chat(part_of(key, "remoteJid"))
            at = _position(found, part_of(key, "id"))
            if at is not None and isinstance(update, Mapping):
                found[at] = _with_status({**found[at], **update}, found[at])
                self.changed()

    def _on_messages_gone(self, told: Any, *_: object) -> None:
        if part_of(told, "all"):
            self.messages.pop(normalized_jid(part_of(told, "jid")), None)
            return
        for key in _items(part_of(told, "keys")):
            found = self._of_chat(part_of(key, "remoteJid"))
            at = _position(found, part_of(key, "id"))
            if at is not None:
                del found[at]
                self.changed()

    def _add(self, messages: Iterable[Any], *, front: bool = False) -> None:
        """Put messages to those of their chats, in place of what has the same id."""
        for jid, new in _by_chat(messages).items():
            kept = self.messages.data.get(jid)
            found = list(kept) if isinstance(kept, list) else []
            at = {part_of(part_of(message, "key"), "id"): number for number, message in enumerate(found)}
            added = {}
            for id_, message in new.items():
                if id_ in at:
                    found[at[id_]] = _with_status(message, found[at[id_]])
                else:
                    added[id_] = message
            found = [*reversed(added.values()), *found] if front else [*found, *added.values()]
            self.messages[jid] = found if self._most is None else found[-self._most :]


def _by_chat(messages: Iterable[Any]) -> dict[str, dict[Any, Any]]:
    """Return messages by their chat and id, the last one of each id."""
    chats: dict[str, dict[Any, Any]] = {}
    for message in messages:
        id_, jid = part_of(part_of(message, "key"), "id"), _chat_of(message)
        if id_ and jid:
            chats.setdefault(jid, {})[id_] = message
    return chats


def _chat_of(message: Any) -> str:
    return normalized_jid(part_of(part_of(message, "key"), "remoteJid"))


def _position(messages: list[Any], id_: object) -> int | None:
    """Return where a message is, looked for from the newest on: those are asked for."""
    if not id_:
        return None
    for at in range(len(messages) - 1, -1, -1):
        if part_of(part_of(messages[at], "key"), "id") == id_:
            return at
    return None


def _with_status(new: Any, old: Any) -> Any:
    """Return a message with the higher one of two statuses."""
    before = part_of(old, "status")
    return {**new, "status": before} if _rank(before) > _rank(part_of(new, "status")) else new


def _rank(status: Any) -> int:
    if isinstance(status, str):
        return _STATUSES.index(status) if status in _STATUSES else -1
    return status if isinstance(status, int) else -1


def _seconds(value: Any) -> Any:
    """Return a time of protobuf's: a number, digits, or a Long."""
    if isinstance(value, Mapping):
        return (part_of(value, "high") or 0) * 2**32 + ((part_of(value, "low") or 0) & 0xFFFFFFFF)
    return int(value) if isinstance(value, str) and value.isdigit() else value


def part_of(box: Any, name: str) -> Any:
    """Return a member of a mapping, None where there is none."""
    return box.get(name) if isinstance(box, Mapping) else None


def _items(told: Any) -> list[Any]:
    return list(told) if isinstance(told, list | tuple) else []
