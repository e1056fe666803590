"""
Every error that wwauth raises, in one tree, split by what the caller can do about it.

::

    WWAuthError
     ├── ConfigurationError      (ValueError)    mend the call
     │    ├── MissingDependency  (ImportError)   install what the message names
     │    └── BrowserNotFound                    install a Chromium, or say where it is
     ├── BrowserClosed                           launch again
     ├── AuthTimeout             (TimeoutError)  look at .phase, .url and .last_state, try again
     ├── AuthenticationFailed                    log in again
     │    └── PairingRefused                     ask for another pairing code
     ├── SessionInUse                            wait for .holder, or stop it
     ├── LeaseLost                               another holder took over: stop here
     ├── StrategyError                           mend the strategy: its own exception is the cause
     ├── SessionClosed                           the client was destroyed or disconnected; initialize() again
     ├── TransactionConflict                     run the transaction once more: nothing of it was written
     ├── SessionNotFound         (LookupError)   link the device first
     ├── SessionCorrupted                        restore an older backup
     │    ├── DecryptionFailed                   bring the right key
     │    └── CredsCorrupted                     restore the credentials; never a new identity
     ├── WebVersionUnavailable                   name another version, or leave out `strict`
     ├── SnapshotFailed                          the previous backup stands; the next interval tries again
     └── StoreError
          ├── StoreUnavailable                   try again later
          ├── StoreDenied                        mend the permissions
          └── StoreFull                          make room

`retryable` says whether the same call, unchanged, can succeed later.
"""

from __future__ import annotations

from functools import partial

__all__ = [
    "AuthTimeout",
    "AuthenticationFailed",
    "BrowserClosed",
    "BrowserNotFound",
    "ConfigurationError",
    "CredsCorrupted",
    "DecryptionFailed",
    "LeaseLost",
    "MissingDependency",
    "PairingRefused",
    "SessionClosed",
    "SessionCorrupted",
    "SessionInUse",
    "SessionNotFound",
    "SnapshotFailed",
    "StoreDenied",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "StrategyError",
    "TransactionConflict",
    "WWAuthError",
    "WebVersionUnavailable",
]


class WWAuthError(Exception):
    """The root: `except WWAuthError` catches all that wwauth raises on purpose."""

    retryable: bool = False


class ConfigurationError(WWAuthError, ValueError):
    """An option or argument is wrong; the message names its value and the cure."""


class MissingDependency(ConfigurationError, ImportError):
    """An optional package is not installed; the message names the extra to install."""


class BrowserNotFound(ConfigurationError):
    """No Chromium was found, or it cannot be started as it is; the message says how to get one."""


class BrowserClosed(WWAuthError):
    """The browser ended, crashed or was killed while it was needed."""

    retryable = True


class AuthTimeout(WWAuthError, TimeoutError):
    """
    A bounded wait of a login ended.

    Attributes:
        phase: What was waited for, in words.
        url: Where the page stood, without query or fragment; None before there was a page.
        last_state: The last `Socket.state` the page told, or None.
    """

    retryable = True

    def __init__(self, message: str, *, phase: str, url: str | None = None, last_state: str | None = None) -> None:
        super().__init__(message)
        self.phase = phase
        self.url = url
        self.last_state = last_state

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are unpickled from their positional arguments alone, and this one needs its phase.
        return partial(type(self), phase=self.phase, url=self.url, last_state=self.last_state), self.args


class AuthenticationFailed(WWAuthError):
    """The login was refused; a new one is needed."""


class PairingRefused(AuthenticationFailed):
    """WhatsApp refused to give a pairing code."""

    retryable = True


class SessionInUse(WWAuthError):
    """
    Another process or client holds this session.

    Attributes:
        holder: Who holds it, as text (for a profile: host and pid), or None when that cannot be told.
        pid: The holder's process id when it runs on this host, else None.
    """

    retryable = True

    def __init__(self, message: str, *, holder: str | None = None, pid: int | None = None) -> None:
        super().__init__(message)
        self.holder = holder
        self.pid = pid


class LeaseLost(WWAuthError):
    """Another holder took the session's lease: this one must not write any more."""


class StrategyError(WWAuthError):
    """A hook of the auth strategy raised an exception of its own, which is the `__cause__`."""


class SessionClosed(WWAuthError):
    """
    The client was destroyed or disconnected, so what was asked or awaited cannot come any more.

    Attributes:
        reason: The payload of `disconnected`, or None after `destroy()`.
    """

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class TransactionConflict(WWAuthError):
    """Two transactions on signal keys waited for each other; this one was rolled back."""

    retryable = True


class SessionNotFound(WWAuthError, LookupError):
    """The store has no such session."""


class SessionCorrupted(WWAuthError):
    """A stored or local session is damaged; nothing was replaced by it."""


class DecryptionFailed(SessionCorrupted):
    """The stored session cannot be decrypted: no key, the wrong key, or damaged bytes."""


class CredsCorrupted(SessionCorrupted):
    """Stored credentials cannot be read; they never become a new identity."""


class WebVersionUnavailable(WWAuthError):
    """The build of WhatsApp Web that `web_version` asks for cannot be had from its cache, which is `strict`."""

    retryable = True


class SnapshotFailed(WWAuthError):
    """No consistent copy of the profile could be taken; the previous backup stands."""

    retryable = True


class StoreError(WWAuthError):
    """A store failed; what it held before is unchanged."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or does not answer. It is never read as "no such session"."""

    retryable = True


class StoreDenied(StoreError):
    """The store refuses access: credentials or permissions are wrong."""


class StoreFull(StoreError):
    """The store has no room for the archive."""
