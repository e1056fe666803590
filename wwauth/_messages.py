"""What keeps the messages of socket logins: rows, and the five things that a database does with them."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# No text of a row's name is longer, and all of them are printable ASCII: `wwauth.authstate` sees to that.
LONGEST_NAME = 128


class RowKey(NamedTuple):
    """
    The name of a message within its session: the same id may come from several chats, and from several people in one.

    Attributes:
        id: The message's id.
        chat: The chat's address.
        from_me: Whether this login sent it.
        sender: Who sent it, in a group and when it was not this login; else "".
    """

    id: str
    chat: str
    from_me: bool
    sender: str


class MessageRow(NamedTuple):
    """
    A message as it is kept.

    Attributes:
        key: Its name.
        chat_alt: The chat's other address (LID or phone number) as far as it is known, else "".
        sender_alt: The sender's other address, else "".
        form: What the body is: an encoded proto.Message, or BufferJSON's text as UTF-8.
        body: The message.
        secret: Its 32 bytes for decrypting votes and responses, where it has them.
        stored: When it was stored, in microseconds since 1970; of one session no two rows of a writer have the same.
    """

    key: RowKey
    chat_alt: str
    sender_alt: str
    form: Literal["protobuf", "json"]
    body: bytes
    secret: bytes | None
    stored: int


class MessageBackend(abc.ABC):
    """Keeps rows for any number of sessions; nothing is opened before the first use. Errors are `StoreError`s."""

    @abc.abstractmethod
    async def put_many(self, *, session: str, rows: Sequence[MessageRow]) -> None:
        """Store rows, each in place of one of the same key; all of them are durable when it returns."""

    @abc.abstractmethod
    async def get(self, *, session: str, id: str) -> list[MessageRow]:  # noqa: A002 - Baileys' word
        """Return the rows whose key has this id, from whichever chat, in no particular order."""

    @abc.abstractmethod
    async def count(self, *, session: str) -> int:
        """Return how many rows a session has."""

    @abc.abstractmethod
    async def drop_oldest(self, *, session: str, limit: int, before: int | None = None) -> int:
        """Delete at most `limit` rows, the oldest ones, of those stored before `before`; return how many were deleted."""

    @abc.abstractmethod
    async def delete_session(self, *, session: str) -> None:
        """Delete all rows of a session; none is no error."""

    async def close(self) -> None:  # noqa: B027 - memory has nothing open
        """Close what the backend itself opened, never what it was given; idempotent."""


class MemoryMessageBackend(MessageBackend):
    """Keeps rows for as long as this object lives."""

    def __init__(self) -> None:
        # In the order in which they were stored.
        self._sessions: dict[str, dict[RowKey, MessageRow]] = {}
        self._ids: dict[tuple[str, str], set[RowKey]] = {}

    def __repr__(self) -> str:
        return "memory"

    async def put_many(self, *, session: str, rows: Sequence[MessageRow]) -> None:
        """Store rows."""
        kept = self._sessions.setdefault(session, {})
        for row in rows:
            kept.pop(row.key, None)
            kept[row.key] = row
            self._ids.setdefault((session, row.key.id), set()).add(row.key)

    async def get(self, *, session: str, id: str) -> list[MessageRow]:  # noqa: A002 - Baileys' word
        """Return the rows whose key has this id."""
        return [self._sessions[session][key] for key in self._ids.get((session, id), ())]

    async def count(self, *, session: str) -> int:
        """Return how many rows a session has."""
        return len(self._sessions.get(session, ()))

    async def drop_oldest(self, *, session: str, limit: int, before: int | None = None) -> int:
        """Delete at most `limit` rows, the oldest ones."""
        kept = self._sessions.get(session, {})
        old: list[RowKey] = []
        for key, row in kept.items():
            if len(old) == limit or (before is not None and row.stored >= before):
                break
            old.append(key)
        for key in old:
            del kept[key]
            same = self._ids[session, key.id]
            same.discard(key)
            if not same:
                del self._ids[session, key.id]
        return len(old)

    async def delete_session(self, *, session: str) -> None:
        """Delete all rows of a session."""
        for key in self._sessions.pop(session, {}):
            self._ids.pop((session, key.id), None)
