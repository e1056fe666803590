"""
What a plug-in author implements: strategies, stores, and stores of auth states.

The first two mirror whatsapp-web.js: an `AuthStrategy` has the hooks of its `BaseAuthStrategy`, a `Store` the four methods
of the stores that `RemoteAuth` takes there, with an explicit `path` where the peer leaves the folder to guessing. An
`AuthStateStore` keeps what Baileys' auth state consists of: the credentials and the signal keys of a socket login.
"""

from __future__ import annotations

import abc
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from .errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from .client import Client

__all__ = [
    "CREDS",
    "AuthStateStore",
    "AuthStrategy",
    "AuthenticationNeeded",
    "Lease",
    "RecordName",
    "SessionInfo",
    "Store",
    "StoreFeatures",
]


@dataclass(frozen=True, slots=True)
class AuthenticationNeeded:
    """
    A strategy's answer when the page asks for a login.

    Attributes:
        failed: The strategy had a login to offer and the page refused it: `auth_failure` is emitted and the browser
        closed. restart: After a failure, initialize once more (the strategy then offers nothing, so a QR code follows).
        failure_event_payload: The payload of `auth_failure`.
        retry: The strategy has another login to offer: the browser is closed and initialized once more, and nothing is emitted.
    """

    failed: bool = False
    restart: bool = False
    failure_event_payload: object = None
    retry: bool = False


class AuthStrategy:
    """
    Where a login comes from and where it is kept; subclass it and override the hooks you need.

    All hooks have working defaults. The life of a login, in the order of the calls: `setup` (once, from the Client's
    constructor), then for each launch `before_browser_initialized`, `after_browser_initialized`,
    `on_authentication_needed` (only when the page asks for a login), `get_auth_event_payload`, `after_auth_ready`;
    `disconnect` when WhatsApp ends the connection and the login stays; last `destroy`, or `logout` in its place when the
    device was unlinked. Both run after the browser's end, so that the profile's files are at rest, and both give back
    whatever `before_browser_initialized` took.

    An exception in a hook up to `on_authentication_needed` ends `initialize()` with the browser closed; one in
    `get_auth_event_payload` or `after_auth_ready` ends the launch, with `error` and `disconnected('STRATEGY_FAILED')`; one in
    a hook of the end is emitted as `error`, and the end goes on. What is not a `WWAuthError` becomes the cause of a
    `StrategyError`. docs/strategies.md draws all of it.
    """

    user_data_dir: Path | None = None
    """The Chromium user-data folder to use, read after `before_browser_initialized`; None: a throw-away profile."""

    client: Client

    lease_remaining: float | None = None
    """
    For how many seconds from now this process may still use the login; None: without end.

    Asked again and again while a page is open. The page is told, too, and leaves WhatsApp when that time has passed without
    another word: a process that is frozen leaves no live login behind.
    """

    def setup(self, client: Client) -> None:
        """Bind this strategy to its client; a strategy serves one client."""
        if getattr(self, "client", client) is not client:
            raise ConfigurationError(
                f"this {type(self).__name__} already serves another Client: give each Client a strategy of its own"
            )
        self.client = client

    async def before_browser_initialized(self) -> None:
        """Prepare the profile: called before each launch of the browser."""

    async def after_browser_initialized(self) -> None:
        """
        Prepare the page: called with `client.page` at hand, before it goes to WhatsApp Web.

        Called again for the page that replaces a crashed one.
        """

    async def on_authentication_needed(self) -> AuthenticationNeeded:
        """Answer the page's request for a login; the default lets a QR code or a pairing code follow."""
        return AuthenticationNeeded()

    async def get_auth_event_payload(self) -> object | None:
        """Return the payload of `authenticated`."""
        return None

    async def after_auth_ready(self) -> None:
        """Take note that the login works: called once for each launch, after `ready` was emitted."""

    async def disconnect(self) -> None:
        """Take note that WhatsApp ended the connection: the browser is still open, the login is kept."""

    async def destroy(self) -> None:
        """Give back locks and tasks: called after the browser has ended, and after a launch that failed."""

    async def logout(self) -> None:
        """Delete what is kept of the login and give back locks and tasks: called after the browser has ended."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """
    One entry of `Store.list_sessions`.

    Attributes:
        session: Its name.
        size: The archive's size in bytes, as it is kept: an encrypted one is somewhat larger than what was saved.
        modified: When it was last saved, with a time zone.
        revision: The store's own write counter, or None where it keeps none.
    """

    session: str
    size: int
    modified: datetime
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class StoreFeatures:
    """
    What a store can do beyond the four methods, as data.

    Attributes:
        listing: `list_sessions` works.
        leases: `lease` works, and `save` and `delete` take `fence=`.
        encrypted: Archives are encrypted before they are kept.
        remote: Archives leave this machine: a login that is not encrypted can be read, and used, where it is kept.
        packs: It takes backups in packs. A store that another program reads, and that knows plain archives alone, does not.
    """

    listing: bool = False
    leases: bool = False
    encrypted: bool = False
    remote: bool = False
    packs: bool = True


class Lease(abc.ABC):
    """
    One holder's claim on a session's name, which ends by itself when it is not renewed; given out by `Store.lease`.

    `async with` takes it and gives it back. Nothing happens before; a lease is entered once.

    Attributes:
        fence: A number that grows with each new holder, from 1 on; set once the lease was taken. `save` and `delete` take
            it and refuse whoever was overtaken, so that safety does not hang on clocks.
    """

    fence: int

    @abc.abstractmethod
    async def __aenter__(self) -> Self:
        """
        Take the lease: at once when it is free or has run out, and from an earlier holder of the same name.

        Raises:
            SessionInUse: Somebody else holds it; `.holder` names whom.
            StoreError: The store cannot tell.
        """

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        await self.release()

    @abc.abstractmethod
    async def renew(self) -> None:
        """
        Keep it for another `ttl` from now; one that has run out, too, as long as nobody else took it.

        Raises:
            LeaseLost: Somebody else took it.
            StoreError: The store cannot tell.
        """

    @abc.abstractmethod
    async def release(self) -> None:
        """Give it back, so that the next holder need not wait; one that was lost or given back is no error."""


class Store(abc.ABC):
    """
    Keeps archives under names. Four coroutines are all that a plug-in must write.

    `session` is an opaque name that has passed wwauth's one gate for names (ASCII letters, digits, `_`, `-` and `.`).
    `path` is always explicit: a store never guesses where the archive lies.

    "The store cannot be reached" is `StoreUnavailable`, never `False` and never an empty answer. An exception that is
    not a `WWAuthError` is taken for `StoreUnavailable` and raised from it.

    A store with leases also takes `fence=` in `save` and `delete`: the number of the lease on that very name. In the same
    atomic step as the write it refuses a holder who was overtaken, with `LeaseLost`. Without `fence` it does not ask.
    """

    features: ClassVar[StoreFeatures] = StoreFeatures()

    @abc.abstractmethod
    async def session_exists(self, *, session: str) -> bool:
        """Tell whether an archive is stored under this name."""

    @abc.abstractmethod
    async def save(self, *, session: str, path: Path) -> None:
        """
        Store the archive that lies at `path`, all or nothing.

        A reader sees the old archive or the new one; a `save` that fails leaves the old one. The file at `path` is only
        read.
        """

    @abc.abstractmethod
    async def extract(self, *, session: str, path: Path) -> None:
        """
        Write the stored archive to the new file `path` in an existing folder, for its owner's eyes alone (0600).

        When it fails, nothing is left at `path`; `SessionNotFound`: there is no such archive.
        """

    @abc.abstractmethod
    async def delete(self, *, session: str) -> None:
        """Delete the archive; a name that is not there is no error. When it returns, `session_exists` is False."""

    def list_sessions(self, *, prefix: str = "") -> AsyncIterator[SessionInfo]:
        """
        Iterate over what is stored under names that begin with `prefix`; only where `features.listing` is true.

        wwauth's own stores leave out packs, the parts of a backup that lie beside their session (docs/format.md), unless
        they are asked with `packs=True`. A store that does not know the word tells all.
        """
        raise ConfigurationError(f"{type(self).__name__} cannot list its sessions (prefix {prefix!r})")

    def lease(self, *, session: str, holder: str, ttl: float) -> Lease:
        """
        Return a lease on a name, not taken yet; only where `features.leases` is true.

        `holder` names who wants it, `ttl` is for how many seconds a lease lasts that is not renewed.
        """
        raise ConfigurationError(f"{type(self).__name__} has no leases (session {session!r}, holder {holder!r}, ttl {ttl!r})")

    async def close(self) -> None:  # noqa: B027 - most stores open nothing
        """Close what the store itself opened, never what it was given; idempotent."""


class RecordName(NamedTuple):
    """
    The name of one record of an auth state, as Baileys has it in memory: nothing in it is escaped.

    Attributes:
        type: "pre-key", "session", "sender-key", …: any word, since Baileys adds to its list.
        id: Which one of that type, exactly: what Baileys' file names run together is kept apart.
    """

    type: str
    id: str


CREDS = RecordName("creds", "")
"""The record that holds a session's credentials."""


class AuthStateStore(abc.ABC):
    """
    Keeps the credentials and the signal keys of socket logins. Four methods are all that a plug-in must write.

    A session is a set of records. A record is a text, the one that Baileys would have written into a file, under a
    `RecordName`; the credentials are the record `CREDS`. Stores do not look into texts, which are valid Unicode without
    lone surrogates. `session` has passed wwauth's one gate for names, as a `Store`'s has.

    "The store cannot be reached" is `StoreUnavailable`, never an empty answer: an answer without credentials would make a
    new identity. An exception that is not a `WWAuthError` is taken for `StoreUnavailable` and raised from it.
    """

    @abc.abstractmethod
    async def read(self, *, session: str, names: Collection[RecordName]) -> dict[RecordName, str]:
        """Return those of the records that there are, in one round trip; what is not there is absent."""

    @abc.abstractmethod
    async def write(self, *, session: str, changes: Mapping[RecordName, str | None]) -> None:
        """
        Replace records, and delete those whose new text is None, in one transaction.

        When it returns, all of them are durable; when it raises, or the process dies, a reader sees all of them or none. To
        delete what is not there is no error. A store whose `hold` another one overtook refuses, with `LeaseLost`, in the
        same step.
        """

    @abc.abstractmethod
    def records(self, *, session: str, type: str | None = None) -> AsyncIterator[tuple[RecordName, str]]:  # noqa: A002 - Baileys' word
        """Iterate over all records of a session, or those of one type, in no particular order; none is no error."""

    @abc.abstractmethod
    async def delete(self, *, session: str) -> None:
        """Delete all records of a session at once; one that is not there is no error."""

    def list_sessions(self) -> AsyncIterator[str]:
        """Iterate over the names of all sessions, sorted."""
        raise ConfigurationError(f"{self!r} cannot list its sessions")

    def hold(self, *, session: str) -> AbstractAsyncContextManager[None]:
        """
        Return what makes the caller the session's one holder while it is entered.

        Entering raises `SessionInUse`, naming the holder, while another process or another state of this one holds the
        session. It ends with its process, however that ends. The default holds nothing: then nobody sees a second holder.
        """
        del session
        return nullcontext()

    async def check_is_new(self, *, session: str) -> None:  # noqa: B027 - most keep nobody else's
        """
        Raise `CredsCorrupted` where another program may keep this session in the same storage, in a form of its own.

        Asked before a new identity is made for a session without records, which would end that login. The default knows of
        none.
        """

    async def close(self) -> None:  # noqa: B027 - most have nothing open
        """Close what the store itself opened, never what it was given; idempotent."""
