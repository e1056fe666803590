"""The layers under a key store: records as they are kept, read from a store of texts or from somebody else's key store."""

from __future__ import annotations

import logging
import marshal
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from .._threads import in_thread
from ..abc import RecordName
from ..errors import ConfigurationError, StoreUnavailable, WWAuthError
from ._streams import refuse_encrypted
from .bufferjson import UNDEFINED, BufferJSON

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

    from ..abc import AuthStateStore
    from .transactions import Undo

    Changes = Mapping[RecordName, "Record | None"]

_log = logging.getLogger(__name__)

# From so many records on, to encode or decode them, and to copy them, takes milliseconds, which the event loop does not give.
_MANY, _MANY_COPIES = 200, 1_000


# What an AuthStateStore has.
_METHODS = ("read", "write", "records", "delete", "hold", "check_is_new", "close")


class Record:
    """
    A value that nobody can change: each `value()` is a copy of its own.

    Made from the text that a store keeps, or from the value that a caller sets. From the second time on, copies come from
    the interpreter's own serialisation, which is several times as fast as JSON and never leaves the process.
    """

    __slots__ = ("_asked", "_packed", "_text")

    def __init__(self, text: str) -> None:
        self._text: str | None = text
        self._packed: bytes | None = None
        self._asked = False

    def __repr__(self) -> str:
        return "Record(…)"

    @property
    def text(self) -> str:
        """The text to keep."""
        text = self._text
        return BufferJSON.dumps(self.value()) if text is None else text

    def value(self) -> Any:
        """Return the value; `NotBufferJSON`: the text is none."""
        if self._packed is not None:
            return marshal.loads(self._packed)  # noqa: S302 - what this object packed itself
        value = BufferJSON.loads(self.text)
        if self._asked:
            self._packed = marshal.dumps(value)
            self._text = None
        self._asked = True
        return value

    @property
    def is_quick(self) -> bool:
        """Tell whether `value()` takes microseconds."""
        return self._packed is not None


class Records(Protocol):
    """What a layer does: bulk reads and all-or-nothing writes of records."""

    async def read(self, names: Collection[RecordName]) -> dict[RecordName, Record]:
        """Return those that there are."""

    async def write(self, changes: Changes, *, creds: Collection[Undo] = ()) -> None:
        """Replace and delete, all or nothing, durable at return; `creds`: with the credentials, and these changes of them."""

    async def names(self, type: str | None = None) -> list[RecordName]:  # noqa: A002 - Baileys' word
        """Return the names of all records, or of those of one type, without the credentials."""

    def subscribe(self, written: Callable[[Changes], None], in_doubt: Callable[[Changes], None]) -> None:
        """Have `written` called with each write once it is durable, and `in_doubt` with each that failed or was cancelled."""


class StoredRecords:
    """
    The records of one session in an `AuthStateStore`.

    Args:
        write: How a state writes: it knows whether the credentials go with it.
    """

    def __init__(
        self,
        store: AuthStateStore,
        session: str,
        write: Callable[[dict[RecordName, str | None], Collection[Any]], Awaitable[None]],
    ) -> None:
        self._store = store
        self._session = session
        self._write = write
        self._subscribers: list[tuple[Callable[[Changes], None], Callable[[Changes], None]]] = []

    async def read(self, names: Collection[RecordName]) -> dict[RecordName, Record]:
        """Return those that there are."""
        with plugin_errors(f"read the keys of {self._session!r}"):
            found = await self._store.read(session=self._session, names=names)
        for name, text in found.items():
            refuse_encrypted(name, text, self._session)
        return {name: Record(text) for name, text in found.items()}

    async def write(self, changes: Changes, *, creds: Collection[Undo] = ()) -> None:
        """Replace and delete in one transaction of the store, and tell the subscribers."""
        try:
            await self._write(await _texts(changes), creds)
        except BaseException:
            for _, in_doubt in self._subscribers:
                in_doubt(changes)
            raise
        for written, _ in self._subscribers:
            written(changes)

    async def names(self, type: str | None = None) -> list[RecordName]:  # noqa: A002 - Baileys' word
        """Return the names of all records, or of those of one type, without the credentials."""
        with plugin_errors(f"list the keys of {self._session!r}"):
            found = [name async for name, _ in self._store.records(session=self._session, type=type)]
        return [name for name in found if name.type != "creds"]

    def subscribe(self, written: Callable[[Changes], None], in_doubt: Callable[[Changes], None]) -> None:
        """Have `written` called with each write once it is durable, and `in_doubt` with each that failed or was cancelled."""
        self._subscribers.append((written, in_doubt))


class ForeignRecords:
    """The records of a key store that somebody else wrote: any object with Baileys' `get` and `set`."""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def read(self, names: Collection[RecordName]) -> dict[RecordName, Record]:
        """Return those that there are: one `get` for each type."""
        wanted: dict[str, list[str]] = {}
        for name in names:
            wanted.setdefault(name.type, []).append(name.id)
        found: dict[RecordName, Record] = {}
        for kind, ids in wanted.items():
            values = await self._store.get(kind, ids)
            found.update({RecordName(kind, id_): Record(BufferJSON.dumps(v)) for id_, v in values.items() if v is not None})
        return found

    async def write(self, changes: Changes, *, creds: Collection[Undo] = ()) -> None:
        """Write with one `set`; the credentials are no business of such a store."""
        del creds
        data: dict[str, dict[str, Any]] = {}
        for name, record in changes.items():
            data.setdefault(name.type, {})[name.id] = None if record is None else record.value()
        await self._store.set(data)

    async def names(self, type: str | None = None) -> list[RecordName]:  # noqa: A002 - Baileys' word
        """Refuse: Baileys' interface has no listing."""
        del type
        raise ConfigurationError(f"cannot list the keys of this {_kind(self._store)}: Baileys' interface has no listing")

    def subscribe(self, written: Callable[[Changes], None], in_doubt: Callable[[Changes], None]) -> None:
        """Do nothing: such a store tells nobody what is written past this layer."""
        del written, in_doubt


def check_store(store: object) -> None:
    """Raise `ConfigurationError` for what is no `AuthStateStore`."""
    missing = [name for name in _METHODS if not callable(getattr(store, name, None))]
    if not missing:
        return
    if isinstance(store, str | os.PathLike):
        cure = "it is a path or a URL, of which open_auth_state_store() makes a store"
    else:
        cure = f"it lacks {', '.join(missing)}; subclass wwauth.abc.AuthStateStore"
    raise ConfigurationError(f"invalid store of type {type(store).__name__}: {cure}")


@contextmanager
def plugin_errors(doing: str) -> Iterator[None]:
    """Take what a plug-in raises, and is no error of wwauth, for `StoreUnavailable`; `doing` completes "cannot"."""
    try:
        yield
    except WWAuthError:
        raise
    except Exception as error:
        raise StoreUnavailable(f"cannot {doing}: the store failed with {type(error).__name__}") from error


async def encoded(values: Mapping[RecordName, Any]) -> dict[RecordName, Record | None]:
    """Return the records to write; what is false in JavaScript deletes, as in Baileys."""
    if len(values) < _MANY:
        return _encoded(values)
    return await in_thread(lambda _: _encoded(values))


async def decoded(records: Mapping[RecordName, Record]) -> dict[RecordName, Any]:
    """Return the values that can be read; what is torn counts as missing, as in Baileys, and a warning tells of it."""
    few = len(records) < _MANY or (
        len(records) < _MANY_COPIES and sum(not record.is_quick for record in records.values()) < _MANY
    )
    if few:
        return _decoded(records)
    return await in_thread(lambda _: _decoded(records))


async def _texts(changes: Changes) -> dict[RecordName, str | None]:
    """Return the texts to keep, which are made anew of what was read since it was set."""

    def texts() -> dict[RecordName, str | None]:
        return {name: None if record is None else record.text for name, record in changes.items()}

    if len(changes) < _MANY:
        return texts()
    return await in_thread(lambda _: texts())


def _encoded(values: Mapping[RecordName, Any]) -> dict[RecordName, Record | None]:
    return {name: None if _is_falsy(value) else Record(BufferJSON.dumps(value)) for name, value in values.items()}


def _decoded(records: Mapping[RecordName, Record]) -> dict[RecordName, Any]:
    values = {}
    for name, record in records.items():
        try:
            value = record.value()
        except ValueError:
            _log.warning("the record %s of %s cannot be read, and counts as missing: its bytes are kept", name.id, name.type)
            continue
        if value is not None:
            values[name] = value
    return values


def _is_falsy(value: object) -> bool:
    """Tell whether JavaScript takes a value for false, as Baileys' `set` does: empty arrays, objects and buffers are true."""
    if isinstance(value, int | float):
        return not value or value != value
    return value is None or value is UNDEFINED or value == ""


def _kind(store: object) -> str:
    return type(store).__name__
