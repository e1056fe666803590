"""Chats, contacts and messages in memory, kept in a file now and then: the makeInMemoryStore that Baileys 7 dropped."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._closing import Closing
from .._disk import check_path
from .._threads import in_thread
from ..errors import ConfigurationError, SessionCorrupted, StoreUnavailable, WWAuthError
from ._chatlog import ChatLog, Entries, part_of
from ._storefile import StoreFile

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from ._storefile import Content

__all__ = ["Autosave", "InMemoryStore", "make_in_memory_store"]

_log = logging.getLogger(__name__)

_NAMES = ("chats", "contacts", "messages")

# What changes under the encoder's hands is encoded once more.
_ATTEMPTS = 5


class InMemoryStore(Closing, ChatLog):
    """Chats, contacts and messages of one login, and the files they are kept in; made by `make_in_memory_store`."""

    def __init__(self, max_messages_per_chat: int | None) -> None:
        super().__init__(max_messages_per_chat)
        # What else the file has, to be written back.
        self._more: dict[str, Any] = {}
        self._files: dict[Path, StoreFile] = {}
        self._saved: dict[Path, int] = {}
        self._saving = asyncio.Lock()
        self._autosaves: list[Autosave] = []

    def __repr__(self) -> str:
        return f"InMemoryStore({len(self.chats)} chats, {len(self.contacts)} contacts)"

    async def read_from_file(self, path: str | os.PathLike[str]) -> None:
        """
        Take the content of a `baileys_store.json` in place of what is here; where there is no file, there is nothing.

        One that is torn is kept aside as `<file>.torn`, a warning is logged, and `<file>.bak`, the last good copy, is read.

        Raises:
            StoreDenied, StoreUnavailable: The file is there and cannot be read; what is here stays.
            SessionCorrupted: It is JSON, and no such store.
        """
        file = self._file(path)
        async with self._saving:
            content = dict(await in_thread(lambda _: file.read()))
            maps = {name: _entries(content.pop(name, []), f"{name} of {file.path}") for name in _NAMES}
            for name, entries in maps.items():
                kept: Entries = getattr(self, name)
                kept.data = entries
            self._more = content
            self.changed()
            self._saved[file.path] = self._revision

    async def write_to_file(self, path: str | os.PathLike[str]) -> None:
        """
        Replace a file with what is here, at once and durably; it is 0600, and the good one before it is `<file>.bak`.

        It is encoded and written in a thread. Bytes are written as `JSON.stringify` does, `{"type":"Buffer","data":[1,2,3]}`.

        Raises:
            StoreFull, StoreDenied, StoreUnavailable: The old file stands.
            ConfigurationError: Something here has no JSON form; the message names where it is, and the old file stands.
        """
        file = self._file(path)
        async with self._saving:
            for attempt in range(_ATTEMPTS):
                revision, content, more = self._revision, self._snapshot(), dict(self._more)
                try:
                    await in_thread(partial(file.write, content, more))
                except RuntimeError as error:
                    # A map or a list, of those that came with events, was changed while it was encoded.
                    if attempt == _ATTEMPTS - 1:
                        raise StoreUnavailable(
                            f"cannot save {file.path}: what is to be saved changes all the time; try again"
                        ) from error
                else:
                    self._saved[file.path] = revision
                    return

    def autosave(self, path: str | os.PathLike[str], interval: float = 10.0) -> Autosave:
        """Return what writes this to a file every `interval` seconds when it changed; `async with` it, or `start()` it."""
        saving = Autosave(self, _place(path), interval)
        self._autosaves.append(saving)
        return saving

    async def close(self) -> None:
        """
        End the bindings, and the autosaves with what is not saved yet; idempotent.

        Raises:
            StoreError: The last changes could not be saved.
        """
        for binding in self._bindings:
            binding.unbind()
            await binding.drain()
        self._bindings.clear()
        # All of them, also when one of them cannot save.
        async with AsyncExitStack() as ends:
            while self._autosaves:
                ends.push_async_callback(self._autosaves.pop().close)

    def is_saved(self, path: Path) -> bool:
        """Tell whether a file has all that is here, as far as this store wrote or read it."""
        return self._saved.get(path, 0) == self._revision

    def _file(self, path: str | os.PathLike[str]) -> StoreFile:
        place = _place(path)
        return self._files.setdefault(place, StoreFile(place))

    def _snapshot(self) -> Content:
        """Return what is to be saved; entries are replaced and not changed, so that those of this moment can be shared."""
        messages = [(jid, list(found) if isinstance(found, list) else found) for jid, found in self.messages.data.items()]
        chats, contacts = list(self.chats.data.items()), list(self.contacts.data.items())
        return {"chats": chats, "contacts": contacts, "messages": messages}


class Autosave:
    """
    Writes a store to a file every `interval` seconds when something changed, and a last time at its end.

    A save that fails is logged, and tried again with the next interval.
    """

    def __init__(self, store: InMemoryStore, path: Path, interval: float) -> None:
        if isinstance(interval, bool) or not isinstance(interval, int | float) or not interval > 0:
            raise ConfigurationError(f"invalid interval {interval!r}: give a number of seconds above 0")
        self._store = store
        self._path = path
        self._interval = interval
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Autosave({str(self._path)!r}, every {self._interval:g} s)"

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begin, in the running event loop; a second call does nothing."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"save {self._path.name}")

    async def close(self) -> None:
        """
        Save what is not saved yet, and end; idempotent.

        Raises:
            StoreError: The last changes could not be saved.
        """
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        await self._save()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self._save()
            except WWAuthError as error:
                _log.error("%s is not saved, and will be tried again: %s", self._path, error)
            except Exception as error:  # noqa: BLE001 - the next save may go well, and this one is told of
                # Without its text, which may be a message's.
                _log.error("%s is not saved, and will be tried again: %s", self._path, type(error).__name__)

    async def _save(self) -> None:
        if not self._store.is_saved(self._path):
            await self._store.write_to_file(self._path)


def make_in_memory_store(*, max_messages_per_chat: int | None = 1000) -> InMemoryStore:
    """
    Return a new store, empty.

    Args:
        max_messages_per_chat: Of more messages than these in a chat, the oldest go; None: no end.

    Raises:
        ConfigurationError: The argument is wrong.
    """
    whole = isinstance(max_messages_per_chat, int) and not isinstance(max_messages_per_chat, bool)
    if max_messages_per_chat is not None and (not whole or max_messages_per_chat < 1):
        raise ConfigurationError(
            f"invalid max_messages_per_chat {max_messages_per_chat!r}: give a whole number above 0, or None for no end"
        )
    return InMemoryStore(max_messages_per_chat)


def _place(path: str | os.PathLike[str]) -> Path:
    # Absolute from the start: a later chdir() must not move it.
    return Path(os.path.abspath(check_path(path, what="a file")))  # noqa: PTH100 - resolves no links, as a file's name stands


def _entries(told: Any, what: str) -> dict[str, Any]:
    """Return what is in a list of pairs, in an object, or in a list of things that have an id, as older stores wrote it."""
    entries = told.items() if isinstance(told, Mapping) else told if isinstance(told, list) else [None]
    found = dict[str, Any]()
    for entry in entries:
        match entry:
            case [key, item]:
                pass
            case item:
                key = part_of(item, "id")
        if not isinstance(key, str):
            raise SessionCorrupted(f"the {what} are no entries with ids: is it the file of another program?")
        found[key] = item
    return found
