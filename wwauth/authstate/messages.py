"""The messages of a socket login, for `get_message`: what it is asked for is sent once more, or decrypts votes."""

from __future__ import annotations

import asyncio
import importlib
import logging
import math
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

from .._clock import clock
from .._closing import Closing
from .._messages import MemoryMessageBackend, MessageBackend, MessageRow, RowKey
from .._names import check_session_name
from ..errors import ConfigurationError, SessionClosed, StoreError
from ._binding import Binding
from ._messagebody import packed, secret_bytes, unpacked
from ._messagekey import MessageKey, Pairs, part
from ._underway import UnderWay

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MessageStore"]

_log = logging.getLogger(__name__)

_DAY = 24 * 3600

# So many rows go to the backend at a time, and are deleted at a time.
_BATCH = 500

# What a backend that fails did not take is kept for the next attempt, up to so many messages.
_MOST_UNSAVED = 10_000

# For so many seconds the event loop is held at most when many messages are put at once.
_SLICE = 0.005

# How often, in seconds, it is looked for messages that are too old; they are not found before that either.
_TIDY = 60.0

# With a large cap more than what is too much is deleted, one part in so many, so that it is seldom counted.
_SLACK, _LARGE = 64, 1000


class MessageStore(Closing):
    """
    Keeps the messages of a login by their keys; `get_message` is what a socket's option of that name wants.

    `bind(emitter)` fills it. A message is found under its chat (`remoteJid`) and id, and whether this login sent it
    (`fromMe`; a key that does not say means False, as in Baileys' guide). A chat is the same by its phone number and its LID,
    where `remoteJidAlt`, `participantAlt` or the event `lid-mapping.update` told of both.

    What comes back is the inner message. One that was stored as bytes (an encoded proto.Message, or an object that has
    `SerializeToString`) comes back as these bytes. A mapping comes back as a new `dict`, as BufferJSON keeps it, in which the
    fields that hold bytes hold `bytes`, also where protobuf's toJSON had made base64 text of them (`messageSecret`, `mediaKey`,
    …). A message without content is not stored, and what is not there is None, never a blank.

    Messages are durable when `put` returns. Those that a failing backend did not take are tried again with the next ones,
    and are found meanwhile. Coroutines of one event loop may use a store; several processes may use one database.

    Args:
        target: Where they are kept. None: in this object's memory. A folder (of `use_multi_file_auth_state`, say): the
            SQLite file `<folder>.messages.db` beside it. A path that ends with .db, .sqlite or .sqlite3, or a file: that
            SQLite database. A URL: sqlite, postgresql, mysql, mariadb, mongodb, redis. Or what stays the caller's: an
            SQLAlchemy `AsyncEngine`, a collection of MongoDB (pymongo's or motor's asynchronous ones), a `redis.asyncio.Redis`.
        session: Whose messages, in a database of many logins.
        max_age: Messages that were stored so many seconds ago are gone; None: none is too old.
        max_messages: Of more messages than these of one session, the ones stored first are deleted; None: no end.

    Raises:
        ConfigurationError: An argument is wrong; the message names it.
        MissingDependency: The driver for `target` is not installed.
    """

    def __init__(
        self,
        target: object = None,
        *,
        session: str = "default",
        max_age: float | None = 30 * _DAY,
        max_messages: int | None = 100_000,
    ) -> None:
        self._session = check_session_name(session)
        _check_caps(max_age, max_messages)
        self._max_age = max_age
        self._most = math.inf if max_messages is None else max_messages
        self._backend = _backend(target)
        self._pairs = Pairs()
        self._bindings: list[Binding] = []
        self._unsaved: dict[RowKey, MessageRow] = {}
        self._saving = asyncio.Lock()
        self._end_turn = asyncio.Lock()
        self._under_way = UnderWay()
        self._newest = 0
        # At most so many rows are there; not known before they were counted.
        self._bound = math.inf
        self._tidied: float | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"MessageStore({self._backend!r}, session={self._session!r})"

    async def get_message(self, key: object) -> Any:
        """
        Return the message that a WAMessageKey names, as bytes or a `dict` (see the class), or None.

        Raises:
            StoreUnavailable, StoreDenied: It cannot be told; never a None.
        """
        row = await self._find(key)
        return None if row is None else unpacked(row.form, row.body)

    async def get_message_secret(self, key: object) -> bytes | None:
        """
        Return the 32 bytes with which votes on a message, and responses to it, are decrypted; None: it has none.

        Raises:
            StoreUnavailable, StoreDenied: It cannot be told.
        """
        row = await self._find(key)
        return None if row is None else row.secret

    async def put(self, *messages: object) -> None:
        """
        Store messages: each a WAMessage, with its `key` and `message`. They are durable when it returns.

        One that is there already is replaced; one without content, as a message that could not be decrypted, is passed over.

        Raises:
            ConfigurationError: A message has no key, or content that cannot be stored; the others are stored.
            StoreError: The backend did not take them; they are tried again with the next ones.
        """
        self._check_open()
        unfit: ConfigurationError | None = None
        until = clock() + _SLICE
        with self._under_way:
            for message in messages:
                try:
                    self._take(message)
                except ConfigurationError as error:
                    unfit = unfit or error
                if len(self._unsaved) >= _BATCH:
                    await self.flush()
                if clock() > until:
                    await asyncio.sleep(0)
                    until = clock() + _SLICE
            await self.flush()
        if unfit is not None:
            raise unfit

    async def flush(self) -> None:
        """
        Wait until all that was put is durable.

        Raises:
            StoreError: The backend does not take it; it stays, and is tried again.
        """
        async with self._saving:
            saved = 0
            while rows := dict(islice(self._unsaved.items(), _BATCH)):
                await self._backend.put_many(session=self._session, rows=list(rows.values()))
                saved += len(rows)
                for key, row in rows.items():
                    # It may have been put once more meanwhile.
                    if self._unsaved.get(key) is row:
                        del self._unsaved[key]
            if saved:
                self._bound += saved
                await self._tidy()

    def bind(self, emitter: Any) -> Binding:
        """
        Store what a socket library's emitter tells of: `messages.upsert`, and `messaging-history.set`.

        `messages.update` counts where it brings a message's content; an edit does not, since whoever asks for the message
        once more wants it as it was sent. What fails is emitted as `error`, or logged where nobody listens to that.

        Returns:
            What `unbind()` ends; `close` does so, too.
        """
        self._check_open()
        binding = Binding(
            emitter,
            {
                "messages.upsert": self._on_messages,
                "messaging-history.set": self._on_messages,
                "messages.update": self._on_updates,
                "lid-mapping.update": self._on_pairs,
            },
        )
        self._bindings.append(binding)
        return binding

    async def clear(self) -> None:
        """
        Delete all messages of this session.

        Raises:
            StoreUnavailable, StoreDenied: They could not be deleted.
        """
        self._check_open()
        with self._under_way:
            async with self._saving:
                self._unsaved.clear()
                await self._backend.delete_session(session=self._session)

    async def close(self) -> None:
        """
        End the bindings, save what is not saved yet, and close what this store opened; idempotent.

        Raises:
            StoreError: The last messages could not be saved.
        """
        async with self._end_turn:
            if self._closed:
                return
            for binding in self._bindings:
                binding.unbind()
                await binding.drain()
            self._closed = True
            # What went on would open what is closed here once more.
            await self._under_way.ended()
            try:
                await self.flush()
            finally:
                await self._backend.close()

    async def _on_messages(self, told: object, *_: object) -> None:
        await self.put(*_list(part(told, "messages") if not isinstance(told, list | tuple) else told))

    async def _on_updates(self, updates: object, *_: object) -> None:
        changed = []
        for update in _list(updates):
            message = part(part(update, "update"), "message")
            if message is not None and part(message, "editedMessage") is None:
                changed.append({"key": part(update, "key"), "message": message})
        await self.put(*changed)

    def _on_pairs(self, told: object, *_: object) -> None:
        for pair in told if isinstance(told, list | tuple) else [told]:
            self._pairs.note(part(pair, "lid"), part(pair, "pn"))

    def _check_open(self) -> None:
        if self._closed:
            raise SessionClosed(f"this {self!r} was closed: make a new one")

    def _take(self, message: object) -> None:
        """Make a row of a message, and put it to those that are to be saved."""
        key = MessageKey.of(part(message, "key"), self._pairs)
        if key is None:
            raise ConfigurationError(
                f"a message of type {type(message).__name__} without a key cannot be stored: give WAMessages, whose key has "
                f"remoteJid and id"
            )
        content = packed(part(message, "message"))
        if content is None:
            return
        form, body, secret = content
        # A clock that was set back must not give an older message a newer place.
        self._newest = max(time.time_ns() // 1000, self._newest + 1)
        row = MessageRow(
            key.row_key,
            _second(key.chats),
            _second(key.senders),
            form,
            body,
            secret or secret_bytes(part(message, "messageSecret")),
            self._newest,
        )
        self._unsaved.pop(row.key, None)
        self._unsaved[row.key] = row
        if len(self._unsaved) > _MOST_UNSAVED:
            del self._unsaved[next(iter(self._unsaved))]
            _log.error("%r does not take messages, and %d are waiting: the oldest one is given up", self, _MOST_UNSAVED)

    async def _find(self, key: object) -> MessageRow | None:
        self._check_open()
        wanted = MessageKey.of(key, self._pairs)
        if wanted is None:
            return None
        # First of all: what is saved while the backend is asked is in one of both.
        unsaved = {row.key: row for row in self._unsaved.values() if row.key.id == wanted.id}
        with self._under_way:
            found = await self._backend.get(session=self._session, id=wanted.id)
        rows = {row.key: row for row in found} | unsaved
        oldest = self._oldest()
        return wanted.chosen([row for row in rows.values() if row.stored >= oldest])

    def _oldest(self) -> float:
        """Return since when messages count, in microseconds since 1970."""
        return -math.inf if self._max_age is None else (time.time() - self._max_age) * 1e6

    async def _tidy(self) -> None:
        """Delete what is too old, and what is too much; what fails here is done the next time."""
        now = clock()
        try:
            if self._tidied is None or now - self._tidied >= _TIDY:
                self._tidied = now
                if (oldest := self._oldest()) > 0:
                    await self._drop(math.inf, before=int(oldest))
            if self._bound > self._most:
                count = await self._backend.count(session=self._session)
                if count > self._most:
                    slack = self._most // _SLACK if self._most > _LARGE else 0
                    await self._drop(count - (self._most - slack))
                    count = int(self._most - slack)
                self._bound = count
        except StoreError as error:
            _log.warning("old messages of %r are not deleted yet: %s", self, error)

    async def _drop(self, number: float, before: int | None = None) -> None:
        while number > 0:
            step = int(min(number, _BATCH))
            dropped = await self._backend.drop_oldest(session=self._session, limit=step, before=before)
            if dropped < step:
                return
            number -= dropped


def _check_caps(max_age: object, max_messages: object) -> None:
    whole = isinstance(max_messages, int) and not isinstance(max_messages, bool)
    if max_messages is not None and (not whole or max_messages < 1):  # type: ignore[operator]
        raise ConfigurationError(f"invalid max_messages {max_messages!r}: give a whole number above 0, or None for no end")
    number = isinstance(max_age, int | float) and not isinstance(max_age, bool)
    if max_age is not None and (not number or not max_age > 0):  # type: ignore[operator]
        raise ConfigurationError(f"invalid max_age {max_age!r}: give a number of seconds above 0, or None for no end")


def _backend(target: object) -> MessageBackend:
    if target is None:
        return MemoryMessageBackend()
    if isinstance(target, MessageBackend):
        return target
    opened: MessageBackend = importlib.import_module("wwauth_stores.authstate.messages").open_messages(target)
    return opened


def _second(addresses: tuple[str, ...]) -> str:
    return addresses[1] if len(addresses) > 1 else ""


def _list(told: object) -> Iterable[object]:
    return told if isinstance(told, list | tuple) else []
