"""The auth state of one login: its credentials in memory, its keys in a store, and when the one is written to the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from .._names import check_session_name
from .._threads import in_thread
from ..abc import CREDS
from ..errors import ConfigurationError, CredsCorrupted, SessionClosed
from ._binding import Binding
from ._streams import refuse_encrypted
from .bufferjson import BufferJSON
from .creds import AuthenticationCreds, check_creds, init_auth_creds
from .keys import SignalKeyStore
from .records import StoredRecords, plugin_errors
from .transactions import Transactions

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from ..abc import AuthStateStore, RecordName

    SaveCreds = Callable[..., Coroutine[Any, Any, None]]


class AuthenticationState:
    """
    One login of a socket client, as Baileys' `AuthenticationState` has it; given out by the `use_…_auth_state` functions.

    It is the session's one holder until `close()` or `logout()`, and belongs to the event loop in which it was made.

    Attributes:
        keys: The signal keys.
        session: The session's name.
    """

    def __init__(
        self, store: AuthStateStore, session: str, *, creds: AuthenticationCreds, saved: str | None, held: AsyncExitStack
    ) -> None:
        self.session = session
        self._creds = creds
        self._store = store
        self._saver = _Saver(store, session, creds, saved)
        self._transactions = Transactions()
        records = StoredRecords(store, session, self._saver.write)
        self.keys = SignalKeyStore(records, self._transactions, check=self._saver.check)
        self._held = held
        self._end_turn = asyncio.Lock()
        self._given_back = False
        self._logged_out = False
        self._bindings: list[Binding] = []

    def __repr__(self) -> str:
        return f"<AuthenticationState {self.session!r} in {self._store!r}{' (closed)' if self._saver.closed else ''}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def creds(self) -> AuthenticationCreds:
        """The credentials, a dict under Baileys' names; bytes are bytes. Change it in place, then `save_creds()`."""
        return self._creds

    async def save_creds(self, *_: object) -> None:
        """
        Make the credentials durable as they are now; a handler of `creds.update` by itself, whose arguments do not matter.

        Cheap to call with each message: calls that come while a write runs share the next one, and what is stored already
        is not written again. In a transaction of `keys` the credentials become part of its commit.

        Raises:
            CredsCorrupted: The credentials are not such as make a login; what is stored stays.
            SessionClosed: After `close()` or `logout()`.
            StoreError: The store failed; what is stored stays.
        """
        self._saver.check()
        transaction = self._transactions.current()
        if transaction is None:
            await self._saver.save()
        else:
            check_creds(self.creds)
            transaction.undo.append(self._saver.change())

    def bind(self, emitter: Any) -> Binding:
        """
        Save the credentials with each `creds.update` of a socket library's emitter, any object with `on(event, handler)`.

        What the event carries is merged into `creds` first, in the order of the events. A save that fails is emitted as
        `error`, or logged where nobody listens. `close()` and `logout()` end the binding.
        """
        binding = Binding(emitter, {"creds.update": self._on_creds_update})
        self._bindings.append(binding)
        return binding

    async def close(self) -> None:
        """Finish what is being written and give the session back; the login stays. Idempotent."""
        async with self._end_turn:
            try:
                await self._end()
            finally:
                await self._give_back()

    async def logout(self) -> None:
        """
        Delete the whole session, credentials and keys, at once, and give it back. Idempotent.

        What is being written ends first; whatever is saved later, by the handlers of a dead socket for one, raises
        `SessionClosed` and brings nothing back.

        Raises:
            SessionClosed: After `close()`: the session may be another state's by now.
            StoreError: The store failed: the session is still there, and `logout()` can be called again.
        """
        async with self._end_turn:
            if self._logged_out:
                return
            if self._given_back:
                raise SessionClosed(f"the state of {self.session!r} was closed: open it anew to log out")
            if not self._saver.closed:
                self._saver.check()
            await self._end()
            with plugin_errors(f"delete the session {self.session!r}"):
                await self._store.delete(session=self.session)
            self._logged_out = True
            await self._give_back()

    async def _give_back(self) -> None:
        self._given_back = True
        await self._held.aclose()

    async def _end(self) -> None:
        for binding in self._bindings:
            binding.unbind()
        for binding in self._bindings:
            await binding.drain()
        self._bindings.clear()
        await self._saver.close()

    def _on_creds_update(self, update: Mapping[str, Any] | None = None) -> Coroutine[Any, Any, None]:
        # At the moment of the event, so that events that follow each other quickly are merged in their order.
        if update is not None and update is not self.creds:
            self.creds.update(update)
        return self.save_creds()


async def use_auth_state(store: AuthStateStore, *, session: str = "default") -> tuple[AuthenticationState, SaveCreds]:
    """
    Open a session in any `AuthStateStore`, or make a new identity where there is none, and return `(state, save_creds)`.

    The store is borrowed: `state.close()` leaves it open. A new identity is stored with its first `save_creds()` or key.

    Raises:
        CredsCorrupted: The credentials cannot be read, or there are keys without credentials. Nothing was changed; such a
        session never becomes a new identity. DecryptionFailed: It is encrypted, and opened without its keys.
        SessionInUse: Another process, or another state of this one, has it.
        StoreError: The store failed.
    """
    missing = [name for name in ("read", "write", "records", "delete") if not callable(getattr(store, name, None))]
    if missing:
        raise ConfigurationError(f"invalid store {type(store).__name__}: it needs an AuthStateStore's {', '.join(missing)}")
    return await open_state(store, session, owned=False)


async def open_state(store: AuthStateStore, session: str, *, owned: bool) -> tuple[AuthenticationState, SaveCreds]:
    """Open a session; `owned`: the state closes the store at its end, and this function when it fails."""
    async with AsyncExitStack() as held:
        if owned:
            held.push_async_callback(store.close)
        check_session_name(session)
        with plugin_errors(f"open the session {session!r}"):
            await held.enter_async_context(store.hold(session=session))
            text = (await store.read(session=session, names=[CREDS])).get(CREDS)
            creds = await _new_creds(store, session) if text is None else _loaded(text, session)
        state = AuthenticationState(store, session, creds=creds, saved=text, held=held.pop_all())
    return state, state.save_creds


async def _new_creds(store: AuthStateStore, session: str) -> AuthenticationCreds:
    records = store.records(session=session)
    try:
        async for name, _ in records:
            raise CredsCorrupted(
                f"the session {session!r} has keys (type {name.type!r}, for one) but no credentials, and a new identity would "
                "end their login: bring the credentials back, or delete the session to link the device anew"
            )
    finally:
        # A generator may have a connection in its hands.
        if isinstance(records, AsyncGenerator):
            await records.aclose()
    return await in_thread(lambda _: init_auth_creds())


def _loaded(text: str, session: str) -> AuthenticationCreds:
    refuse_encrypted(CREDS, text, session)
    try:
        loaded = BufferJSON.loads(text)
    except ValueError:
        raise CredsCorrupted(
            f"the credentials of {session!r} are no JSON ({len(text)} characters), and left as they are: bring back a good copy"
        ) from None
    try:
        check_creds(loaded)
    except CredsCorrupted as error:
        raise CredsCorrupted(f"the session {session!r} cannot be opened: {error}") from error
    return AuthenticationCreds(loaded)


class _Saver:
    """What is written of one session: one write of the credentials at a time, and none after the end."""

    def __init__(self, store: AuthStateStore, session: str, creds: AuthenticationCreds, saved: str | None) -> None:
        self._store = store
        self._session = session
        self._creds = creds
        self._saved = saved
        # What is not stored yet is no change that a transaction made.
        self._new = BufferJSON.dumps(creds) if saved is None else ""
        # The credentials as somebody has asked to save them, until that is done.
        self._asked: dict[str, Any] | None = None
        # What each transaction that runs has changed in them.
        self._changes: list[_CredsChange] = []
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.closed = False

    def check(self) -> None:
        """Raise `SessionClosed` after the end."""
        if self._loop.is_closed():
            # The hold ended with its event loop: the session may be another state's by now.
            raise SessionClosed(
                f"the state of {self._session!r} was made in an event loop that has ended: open it anew in this one, and "
                "close() each state before the end of asyncio.run()"
            )
        if self.closed:
            raise SessionClosed(f"the state of {self._session!r} was closed or logged out: open it anew to go on")

    async def save(self) -> None:
        """Save the credentials, together with whoever else asks before the write begins."""
        self._asked = dict(self._creds)
        # Done: it was cancelled before its turn, by somebody who cancels all tasks.
        if self._next is None or self._next.done():
            self._next = asyncio.ensure_future(self._save())
            # Whoever asked may be cancelled; then nobody asks how it went.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._next)

    async def write(self, changes: dict[RecordName, str | None], creds: bool) -> None:  # noqa: FBT001 - a callback
        """
        Write records, with the credentials or without.

        The first keys of a new identity bring its credentials with them: keys without credentials would be nobody's.
        """
        self.check()
        with self._busy():
            if self._saved is not None and not creds:
                await self._write(changes)
                return
            async with self._turn:
                await self._write_creds(changes)

    async def close(self) -> None:
        """Refuse what comes from now on and wait for what has begun."""
        self.closed = True
        if self._next is not None:
            await asyncio.wait([self._next])
        await self._idle.wait()

    def change(self) -> _CredsChange:
        """Return what a transaction has changed in the credentials, but for what is stored or being saved, by others too."""
        base = self.base()
        changed = {key: value for key, value in self._creds.items() if key not in base or base[key] != value}
        change = _CredsChange(self, self._creds, changed, base.keys() - self._creds.keys())
        self._changes.append(change)
        return change

    def ended(self, change: _CredsChange, *, kept: bool) -> None:
        """Forget a change that was committed, or is being taken back."""
        self._changes.remove(change)
        if kept and self._asked is not None:
            # Whoever asked before did so for older ones.
            change.apply(self._asked)

    def base(self) -> dict[str, Any]:
        """Return the credentials that are stored, are being saved, or will be by the transactions that run."""
        base = dict(self._stored())
        for change in self._changes:
            change.apply(base)
        return base

    def _stored(self) -> dict[str, Any]:
        if self._asked is not None:
            return self._asked
        stored: dict[str, Any] = BufferJSON.loads(self._new if self._saved is None else self._saved)
        return stored

    async def _save(self) -> None:
        with self._busy():
            try:
                async with self._turn:
                    self._next = None
                    await self._write_creds({})
            finally:
                if self._next is None:
                    self._asked = None

    async def _write_creds(self, changes: dict[RecordName, str | None]) -> None:
        check_creds(self._creds)
        text = BufferJSON.dumps(self._creds)
        # Unchanged, and still there: another program may have deleted it.
        if changes or text != self._saved or not await self._is_stored(text):
            await self._write({**changes, CREDS: text})
        self._saved = text

    async def _is_stored(self, text: str) -> bool:
        with plugin_errors(f"read the credentials of {self._session!r}"):
            return (await self._store.read(session=self._session, names=[CREDS])).get(CREDS) == text

    async def _write(self, changes: dict[RecordName, str | None]) -> None:
        with plugin_errors(f"write to the session {self._session!r}"):
            await self._store.write(session=self._session, changes=changes)

    @contextmanager
    def _busy(self) -> Iterator[None]:
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()


class _CredsChange:
    """What a transaction has changed in the credentials, until it ends."""

    def __init__(self, saver: _Saver, creds: AuthenticationCreds, changed: dict[str, Any], removed: set[str]) -> None:
        self._saver, self._creds = saver, creds
        self.changed, self.removed = changed, removed

    def apply(self, creds: dict[str, Any]) -> None:
        """Change other credentials the same way."""
        creds.update(self.changed)
        for key in self.removed & creds.keys():
            del creds[key]

    def keep(self) -> None:
        """Take note that it was committed."""
        self._saver.ended(self, kept=True)

    def put_back(self) -> None:
        """Take it back, but for what was changed again or stored by somebody else meanwhile."""
        self._saver.ended(self, kept=False)
        base = self._saver.base()
        for key, value in self.changed.items():
            if key in self._creds and self._creds[key] == value:
                if key in base:
                    self._creds[key] = base[key]
                else:
                    del self._creds[key]
        for key in self.removed & (base.keys() - self._creds.keys()):
            self._creds[key] = base[key]
