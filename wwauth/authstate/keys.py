"""Signal keys: Baileys' `SignalKeyStore`, with transactions and a cache that keep what they promise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..abc import CREDS, RecordName
from ..errors import ConfigurationError
from .cache import CachedRecords
from .names import canonical
from .records import ForeignRecords, decoded, encoded
from .transactions import Transactions

if TYPE_CHECKING:
    from collections.abc import Callable

    from .records import Records
    from .transactions import TransactionContext

# makeCacheableSignalKeyStore has no limit; a session record is about 1.5 kB.
_CACHED = 10_000

_SURROGATE = re.compile("[\ud800-\udfff]")


class SignalKeyStore:
    """
    The signal keys of one login, by type and id, as Baileys' `SignalKeyStore` has them.

    Values are what BufferJSON makes of the stored text: dicts, lists, strings, numbers and bytes. Each `get` gives objects of
    its own: to change one changes nothing until it is `set`. An id may be written as in a file's name ("a--b" for "a::b").

    Made by an auth state, `make_cacheable_signal_key_store` and `add_transaction_capability`.
    """

    def __init__(
        self,
        records: Records,
        transactions: Transactions,
        *,
        check: Callable[[], None] = lambda: None,
        max_commit_retries: int = 0,
        delay_between_tries_ms: int = 3_000,
    ) -> None:
        self._records = records
        self._transactions = transactions
        self._check = check
        self._retries = max_commit_retries
        self._delay = delay_between_tries_ms / 1000

    def __repr__(self) -> str:
        return f"<SignalKeyStore over {type(self._records).__name__}>"

    async def get(self, type: str, ids: Iterable[str]) -> dict[str, Any]:  # noqa: A002 - Baileys' word
        """
        Return the values of those ids that there are, under the ids as they were asked for, in one round trip.

        Raises:
            SessionClosed: The state was closed or logged out.
            StoreError: The store failed; a value that is not returned is not there.
        """
        self._check()
        listed = _ids(type, ids)
        names = [RecordName(type, canonical(type, id_)) for id_ in listed]
        transaction = self._transactions.current()
        if transaction is not None:
            records = await transaction.read(self._records, names)
        else:
            records = await self._records.read(names)
        values = await decoded(records)
        return {id_: values[name] for id_, name in zip(listed, names, strict=True) if name in values}

    async def set(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        """
        Store `{type: {id: value}}`, all of it in one transaction; None, False, 0 and "" delete, as in Baileys.

        Durable when it returns, but in a transaction, where it is at that one's end.

        Raises:
            ConfigurationError: A value cannot be written as JSON, or a name is wrong; nothing was written.
            SessionClosed: The state was closed or logged out.
            StoreError: The store failed; nothing was written.
        """
        self._check()
        changes = await encoded(dict(_named(data)))
        transaction = self._transactions.current()
        if transaction is not None:
            await transaction.write(self._records, changes)
        elif changes:
            await self._transactions.write(self._records, changes)

    async def clear(self) -> None:
        """Delete all keys, and not the credentials, in one transaction."""
        self._check()
        changes = dict.fromkeys(await self._records.names())
        transaction = self._transactions.current()
        if transaction is not None:
            # What it has set itself lies in no store yet.
            await transaction.write(self._records, changes | dict.fromkeys(transaction.changes))
        elif changes:
            await self._transactions.write(self._records, changes)

    async def list_ids(self, type: str) -> list[str]:  # noqa: A002 - Baileys' word
        """Return the ids of all stored values of a type; what a transaction has not committed yet is not among them."""
        self._check()
        return [name.id for name in await self._records.names(type)]

    def transaction(self, key: str) -> TransactionContext:
        """
        Return an `async with` whose reads stay as they are and whose changes are one commit at its end.

        Transactions under the same key run one after the other; under different keys they run together until one asks for
        a record that another has read or set, and then it waits. A transaction in another one joins it, whatever its key;
        when it raises, only its own changes are taken back. Tasks that are started inside belong to it. `save_creds` inside
        makes the credentials part of the commit. An exception takes everything back, in the credentials, too.

        Raises:
            TransactionConflict: Two waited for each other; this one was rolled back, and can be run once more.
            SessionClosed: The state was closed or logged out.
            StoreError: The commit failed; nothing was written.
        """
        self._check()
        if not isinstance(key, str):
            raise ConfigurationError(f"invalid transaction key of type {type(key).__name__}: use a text, such as a chat's jid")
        return self._transactions.begin(self._records, key, max_commit_retries=self._retries, delay=self._delay)

    def is_in_transaction(self) -> bool:
        """Tell whether the running task is in a transaction of this login."""
        return self._transactions.current() is not None

    def _cached(self, max_records: int) -> SignalKeyStore:
        # The same transactions: both stores lead to the same records.
        return SignalKeyStore(CachedRecords(self._records, max_records=max_records), self._transactions, check=self._check)

    def _retrying(self, max_commit_retries: int, delay_between_tries_ms: int) -> SignalKeyStore:
        return SignalKeyStore(
            self._records,
            self._transactions,
            check=self._check,
            max_commit_retries=max_commit_retries,
            delay_between_tries_ms=delay_between_tries_ms,
        )


def make_cacheable_signal_key_store(store: Any, logger: object = None, *, max_records: int = _CACHED) -> SignalKeyStore:
    """
    Return a key store that keeps the `max_records` records used last, and knows which ones there are not.

    It is filled after a write has become durable, never before; a write past it, through `state.keys`, is seen; several who
    miss one record share one read. Nothing expires: a state is the one holder of its session.

    Args:
        store: `state.keys`, or any object with Baileys' `get(type, ids)` and `set(data)`.
        logger: Taken, and not used, so that Baileys' call can be written as it stands there.
        max_records: How many records are kept, misses included.

    Raises:
        ConfigurationError: It is no key store, or `max_records` is no number from 1.
    """
    del logger
    return _key_store(store)._cached(max_records)


def add_transaction_capability(
    store: Any, logger: object = None, *, max_commit_retries: int = 0, delay_between_tries_ms: int = 3_000
) -> SignalKeyStore:
    """
    Return a key store with `transaction(key)` over any object with Baileys' `get(type, ids)` and `set(data)`.

    `state.keys` has it already. One commit is one `set`; whether that is all or nothing is up to the store below.

    Args:
        store: The key store.
        logger: Taken, and not used, so that Baileys' call can be written as it stands there.
        max_commit_retries: How often a commit that failed in a way that may pass is tried again, as often as not at all.
        delay_between_tries_ms: How long to wait before.
    """
    del logger
    return _key_store(store)._retrying(max_commit_retries, delay_between_tries_ms)


def _key_store(store: Any) -> SignalKeyStore:
    if isinstance(store, SignalKeyStore):
        return store
    missing = [name for name in ("get", "set") if not callable(getattr(store, name, None))]
    if missing:
        raise ConfigurationError(
            f"invalid key store {type(store).__name__}: it needs Baileys' get(type, ids) and set(data), and lacks "
            + ", ".join(missing)
        )
    return SignalKeyStore(ForeignRecords(store), Transactions())


def _ids(type_: str, ids: Iterable[str]) -> list[str]:
    # What is in the wrong place may be a key: no message shows it.
    if not isinstance(type_, str) or not type_:
        what = "''" if type_ == "" else f"of type {type(type_).__name__}"
        raise ConfigurationError(f"invalid type {what}: use one of Baileys' words, such as 'pre-key'")
    if type_ == CREDS.type:
        raise ConfigurationError("invalid type 'creds': they are state.creds, and save_creds() stores them")
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise ConfigurationError(f"invalid ids of type {type(ids).__name__}: use a list of texts, such as ['1']")
    listed = list(ids)
    for id_ in listed:
        if not isinstance(id_, str):
            raise ConfigurationError(f"invalid id ({type(id_).__name__}) of {type_!r:.40}: ids are texts, '1' for a number")
        if not id_.isascii() and _SURROGATE.search(id_):
            raise ConfigurationError(f"invalid id {id_!r} of type {type_!r}: half a character (a lone surrogate) has no bytes")
    return listed


def _shown(type_: object) -> str:
    return f"{type_!r:.40}" if isinstance(type_, str) else f"a type that is no text ({type(type_).__name__})"


def _named(data: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[RecordName, Any]]:
    if not isinstance(data, Mapping):
        raise ConfigurationError(f"invalid data of type {type(data).__name__}: use a mapping, {{type: {{id: value}}}}")
    for type_, values in data.items():
        if not isinstance(values, Mapping):
            what = f"{_shown(type_)} ({type(values).__name__})"
            raise ConfigurationError(f"invalid values of {what}: use a mapping, {{id: value}}")
        for id_ in _ids(type_, values):
            yield RecordName(type_, canonical(type_, id_)), values[id_]
