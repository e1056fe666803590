"""Transactions over records: what is read in one is its own until its end, and all its changes are one commit."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextvars import ContextVar
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol

from ..errors import TransactionConflict, WWAuthError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from types import TracebackType

    from ..abc import RecordName
    from .records import Changes, Record, Records

_log = logging.getLogger(__name__)

# Tasks that are started in a transaction inherit it, as Baileys' AsyncLocalStorage has it.
_entered: ContextVar[tuple[Transaction, ...]] = ContextVar("wwauth_authstate_transactions", default=())
_within: ContextVar[_Nested | None] = ContextVar("wwauth_authstate_nested_transactions", default=None)


class Transactions:
    """
    The transactions of one login: who works on which record, in all key stores that lead to it.

    Two transactions under one key run one after the other, as in Baileys. Two under different keys run at the same time,
    until the later one asks for a record that the earlier one has read or set: it waits for that one's end, so that neither
    overwrites the other's change, which Baileys lets happen.
    """

    def __init__(self) -> None:
        self._locks = _Locks()

    def current(self) -> Transaction | None:
        """Return the transaction that the running task is in."""
        for transaction in reversed(_entered.get()):
            if transaction.coordinator is self and transaction.open:
                return transaction
        return None

    async def write(self, records: Records, changes: Changes) -> None:
        """Write outside of any transaction, in turn with those that work on the same records."""
        owner = object()
        try:
            await self._locks.acquire(owner, changes)
            await records.write(changes)
        finally:
            self._locks.release(owner)

    def begin(self, records: Records, key: str, *, max_commit_retries: int, delay: float) -> TransactionContext:
        """Return the context of a transaction under a key, which joins the one that is current."""
        return TransactionContext(self, records, key, max_commit_retries, delay)

    async def acquire(self, owner: object, names: Iterable[tuple[str, ...]]) -> None:
        """Make names the owner's until `release`; in one order for all, so that few waits cross."""
        await self._locks.acquire(owner, names)

    def release(self, owner: object) -> None:
        """Give back all that an owner has."""
        self._locks.release(owner)


class Undo(Protocol):
    """A change of the credentials in memory, which is part of a transaction."""

    def keep(self) -> None:
        """Take note that it was committed."""

    def put_back(self) -> None:
        """Take it back."""


class _Nested:
    """A transaction in another one, which it joins; what is changed in it can be taken back alone."""

    def __init__(self, transaction: Transaction, outer: _Nested | None) -> None:
        self.transaction = transaction
        self.outer = outer
        self.open = True

    def has(self, one: _Nested | None) -> bool:
        """Tell whether `one` is this, or was begun in it."""
        while one is not None and one is not self:
            one = one.outer
        return one is self


class Transaction:
    """What one transaction has read and is going to write; made by `TransactionContext`."""

    def __init__(self, coordinator: Transactions) -> None:
        self.coordinator = coordinator
        self.open = True
        self.ended = False
        self.changes: dict[RecordName, Record | None] = {}
        # Each write in its turn, and each change of the credentials, with the nested transaction that it was made in: tasks
        # beside that one write, too.
        self._writes: list[tuple[_Nested | None, Changes]] = []
        self._undo: list[tuple[_Nested | None, Undo]] = []
        self._read: dict[RecordName, Record | None] = {}

    @property
    def undo(self) -> list[Undo]:
        """What it has changed in the credentials; not empty: they are part of its commit."""
        return [change for _, change in self._undo]

    def add(self, change: Undo) -> None:
        """Note a change of the credentials for the commit."""
        self._undo.append((self.nested(), change))

    def nested(self) -> _Nested | None:
        """Return the transaction within this one that the running task is in, if there is one."""
        nested = _within.get()
        while nested is not None and not (nested.transaction is self and nested.open):
            nested = nested.outer
        return nested

    def take_back(self, nested: _Nested | None) -> None:
        """Take back what was changed in a transaction within this one; None: all there is."""

        def is_gone(one: _Nested | None) -> bool:
            return nested is None or nested.has(one)

        gone = [change for one, change in self._undo if is_gone(one)]
        self._undo = [(one, change) for one, change in self._undo if not is_gone(one)]
        self._writes = [(one, changes) for one, changes in self._writes if not is_gone(one)]
        self.changes = {name: record for _, changes in self._writes for name, record in changes.items()}
        for change in reversed(gone):
            change.put_back()

    async def read(self, records: Records, names: Collection[RecordName]) -> dict[RecordName, Record]:
        """Return records as this transaction sees them; nobody else changes them before its end."""
        # Once more where a transaction within this one has taken its changes back meanwhile.
        while new := [name for name in names if name not in self.changes and name not in self._read]:
            if not await self._acquire(new):
                return await records.read(names)
            found = await records.read(new)
            self._read.update({name: found.get(name) for name in new})
        seen = {name: self.changes[name] if name in self.changes else self._read[name] for name in names}
        return {name: record for name, record in seen.items() if record is not None}

    async def write(self, records: Records, changes: Changes) -> None:
        """Note changes for the commit."""
        if await self._acquire(changes):
            self._writes.append((self.nested(), changes))
            self.changes.update(changes)
        else:
            await self.coordinator.write(records, changes)

    async def _acquire(self, names: Iterable[RecordName]) -> bool:
        """Make records this transaction's; False: it ended while a task of its own still waited, which is outside now."""
        try:
            await self.coordinator.acquire(self, names)
        finally:
            # Also when the task was cancelled, or refused: nobody else gives back what it was given after the end.
            if self.ended:
                self.coordinator.release(self)
        return self.open


class TransactionContext:
    """An `async with` around the work of a transaction."""

    def __init__(self, coordinator: Transactions, records: Records, key: str, max_commit_retries: int, delay: float) -> None:
        self._coordinator = coordinator
        self._records = records
        self._key = key
        self._retries = max_commit_retries
        self._delay = delay
        self._transaction: Transaction | None = None
        self._nested: _Nested | None = None

    async def __aenter__(self) -> None:
        outer = self._coordinator.current()
        if outer is not None:
            self._transaction, self._nested = outer, _Nested(outer, _within.get())
            _within.set(self._nested)
            return
        transaction = Transaction(self._coordinator)
        try:
            # Of one part, so that it is no record's name.
            await self._coordinator.acquire(transaction, [(self._key,)])
        except BaseException:
            self._coordinator.release(transaction)
            raise
        self._transaction = transaction
        _entered.set((*_entered.get(), transaction))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        transaction = self._transaction
        if transaction is None:
            return
        if (nested := self._nested) is not None:
            nested.open = False
            _within.set(nested.outer)
            # Not once the commit has begun: this one has outlived the outer one.
            if error is not None and transaction.open:
                transaction.take_back(nested)
            return
        # What its tasks do from now on is not part of it: the commit begins.
        transaction.open = False
        done = False
        try:
            if error is None:
                await self._commit(transaction)
                done = True
        finally:
            transaction.ended = True
            if done:
                for change in transaction.undo:
                    change.keep()
            else:
                transaction.take_back(None)
            self._coordinator.release(transaction)
            _entered.set(tuple(entered for entered in _entered.get() if entered is not transaction))

    async def _commit(self, transaction: Transaction) -> None:
        if not transaction.changes and not transaction.undo:
            return
        for left in range(self._retries, -1, -1):
            try:
                await self._records.write(transaction.changes, creds=transaction.undo)
            except WWAuthError as error:
                if not left or not error.retryable:
                    raise
                _log.warning("a commit failed (%s), %d more attempts", type(error).__name__, left)
                await asyncio.sleep(self._delay)
            else:
                return


class _Locks:
    """Exclusive locks by name, which vanish when nobody has or wants them; who would wait for ever is refused."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, ...], object] = {}
        self._waiting: dict[tuple[str, ...], deque[tuple[object, asyncio.Future[None]]]] = {}
        self._wanted: dict[object, list[tuple[str, ...]]] = {}
        self._held: dict[object, list[tuple[str, ...]]] = {}

    async def acquire(self, owner: object, names: Iterable[tuple[str, ...]]) -> None:
        """
        Make all names the owner's.

        Raises:
            TransactionConflict: One of them belongs to somebody who waits, over however many others, for this owner.
        """
        # The names of one call are in order, those of several calls need not be.
        missing = [name for name in names if self._owners.get(name) is not owner]
        for name in sorted(missing):
            if self._owners.get(name) is owner:
                continue  # a task of the same transaction took it meanwhile
            if name in self._owners:
                await self._wait(owner, name)
            else:
                self._owners[name] = owner
                self._held.setdefault(owner, []).append(name)

    def release(self, owner: object) -> None:
        """Hand on everything that the owner has."""
        for name in self._held.pop(owner, ()):
            self._hand_on(name)

    async def _wait(self, owner: object, name: tuple[str, ...]) -> None:
        if self._waits_for(self._ahead(name, owner), owner):
            raise TransactionConflict(
                "two transactions wait for each other's records, and this one was rolled back: run it once more, or give both "
                "the same key"
            )
        # Given to an owner whose task was cancelled meanwhile, it stays the owner's until that one's end.
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append((owner, turn))
        self._wanted.setdefault(owner, []).append(name)
        try:
            await turn
        finally:
            if turn.cancelled():
                self._waits_no_more(owner, name, turn)

    def _hand_on(self, name: tuple[str, ...]) -> None:
        # A turn whose task was cancelled just now is still in the queue.
        queue = [(owner, turn) for owner, turn in self._waiting.get(name, ()) if not turn.cancelled()]
        if not queue:
            del self._owners[name]
            return
        owner = queue[0][0]
        self._owners[name] = owner
        self._held.setdefault(owner, []).append(name)
        # To all tasks of that owner, wherever they queue: one that went on waiting would wait for its own end.
        for one, turn in queue:
            if one is owner:
                turn.set_result(None)
                self._waits_no_more(owner, name, turn)

    def _waits_no_more(self, owner: object, name: tuple[str, ...], turn: asyncio.Future[None]) -> None:
        self._waiting[name].remove((owner, turn))
        if not self._waiting[name]:
            del self._waiting[name]
        self._wanted[owner].remove(name)
        if not self._wanted[owner]:
            del self._wanted[owner]

    def _waits_for(self, ask: list[object], owner: object) -> bool:
        """Tell whether one of these is `owner`, or waits for it, or for somebody who does."""
        seen: set[int] = set()
        while ask:
            one = ask.pop()
            if one is owner:
                return True
            if id(one) in seen:
                continue
            seen.add(id(one))
            for name in self._wanted.get(one, ()):
                ask.extend(self._ahead(name, one))
        return False

    def _ahead(self, name: tuple[str, ...], owner: object) -> list[object]:
        """Return who has a name before `owner`, now and in turn."""
        # No owner: all who waited were cancelled just now.
        owned = [self._owners[name]] if name in self._owners else []
        queued = takewhile(lambda entry: entry[0] is not owner, self._waiting.get(name, ()))
        return owned + [one for one, _ in queued]
