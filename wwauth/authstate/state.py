"""The auth state of one login: its credentials in memory, its keys in a store, and when the one is written to the other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

from .._closing import Closing
from .._names import check_session_name
from .._threads import in_thread
from ..abc import CREDS
from ..errors import ConfigurationError, CredsCorrupted, SessionClosed
from ._binding import Binding
from ._saver import Saver
from ._streams import in_chunks, refuse_encrypted
from .bufferjson import BufferJSON
from .creds import AuthenticationCreds, check_creds, init_auth_creds
from .keys import SignalKeyStore
from .records import StoredRecords, check_store, plugin_errors
from .transactions import Transactions

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..abc import AuthStateStore

    SaveCreds = Callable[..., Coroutine[Any, Any, None]]


class AuthenticationState(Closing):
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
        self._saver = Saver(store, session, creds, saved)
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
            transaction.add(self._saver.change())

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

    def _on_creds_update(self, update: Mapping[str, Any] | None = None, *_: object) -> Coroutine[Any, Any, None]:
        if update is not None and not isinstance(update, Mapping):
            raise ConfigurationError(
                f"creds.update came with a {type(update).__name__}: emit a mapping of what changed, or nothing"
            )
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
    check_store(store)
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
    async with aclosing(in_chunks(store, session)) as chunks:
        async for (name, _), *_ in chunks:
            raise CredsCorrupted(
                f"the session {session!r} has keys (type {name.type!r}, for one) but no credentials, and a new identity would "
                "end their login: bring the credentials back, or delete the session to link the device anew"
            )
    await store.check_is_new(session=session)
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
