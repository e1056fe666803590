"""Why a connection ended, what to do about it, and when to connect again."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from enum import IntEnum
from typing import TypeGuard

from .._clock import clock
from ..errors import ConfigurationError

# What a socket library hands over is a box in a box: connection.update has lastDisconnect, that has an error, that has an
# output (as Boom's errors do), and that has the number.
_BOXES = ("output", "error", "lastDisconnect", "last_disconnect")
_NUMBERS = ("statusCode", "status_code")
_DEEPEST = 6


class DisconnectReason(IntEnum):
    """
    Baileys' status codes of a connection that ended, under its names in snake_case and its own.

    What a socket library hands over is turned into one by `of`. WhatsApp also sends numbers that are none of these: the
    functions `should_reconnect`, `is_logged_out` and `advice` of this module know them, too.
    """

    logged_out = 401
    forbidden = 403
    connection_lost = 408
    timed_out = 408
    multidevice_mismatch = 411
    connection_closed = 428
    connection_replaced = 440
    bad_session = 500
    unavailable_service = 503
    restart_required = 515

    # As programs that follow Baileys' guide have them, in configuration files for one: other names of the same members.
    loggedOut = 401  # noqa: N815
    connectionLost = 408  # noqa: N815
    timedOut = 408  # noqa: N815
    multideviceMismatch = 411  # noqa: N815
    connectionClosed = 428  # noqa: N815
    connectionReplaced = 440  # noqa: N815
    badSession = 500  # noqa: N815
    unavailableService = 503  # noqa: N815
    restartRequired = 515  # noqa: N815

    @classmethod
    def of(cls, last_disconnect: object) -> DisconnectReason | None:
        """
        Return the reason in what a socket library hands over; None: there is none, or a number that has no name.

        It takes a number, an error with an `output`, `{"output": {"statusCode": 401}}`, `{"error": …}`, a whole
        `connection.update`, None, and never raises.
        """
        code = status_code(last_disconnect)
        return next((reason for reason in cls if reason == code), None)

    @property
    def should_reconnect(self) -> bool:
        """Whether connecting again with the same login can help."""
        return should_reconnect(self)

    @property
    def is_logged_out(self) -> bool:
        """Whether the login has ended for good: delete its session, and link the device anew."""
        return is_logged_out(self)

    @property
    def advice(self) -> str:
        """What to do, in one sentence."""
        return advice(self)


# The numbers without a name are those of a refused login, as whatsmeow (MPL-2.0) names them.
_ADVICE = {
    401: "stop: the device was unlinked; delete the session and link the device anew",
    402: "stop: the account is banned for a time; look at the phone, and connect again when the ban is over",
    403: "stop: WhatsApp refuses this account; look at the phone, and keep the session until that is settled",
    405: "stop: this client's version is too old for WhatsApp; update it, the session stays good",
    406: "stop: the account was banned or the device unlinked; look at the phone, then delete the session",
    408: "connect again with back-off: nothing came for too long; while pairing, show a new QR code",
    409: "stop: WhatsApp does not take this client's user agent; update the client, the session stays good",
    411: "stop: the account has no linked devices enabled; update WhatsApp on the phone, then link anew",
    415: "stop: WhatsApp does not know what was asked for; update the client, keep the session",
    418: "stop: WhatsApp does not know this client; update the client, keep the session",
    419: "stop: the login is not accepted; look at the linked devices on the phone, and keep the session until then",
    428: "connect again with back-off: the connection was closed",
    440: "stop: another client uses this session; find and end it first, or the two push each other out",
    500: "connect again with back-off, and keep the session: one such end says nothing against it",
    503: "connect again with back-off: WhatsApp's server is restarting",
    515: "connect again at once with the saved credentials: this is how every pairing ends",
}
_ELSE = "connect again with back-off, and keep the session: the reason is not known"
_STOPS = frozenset({401, 402, 403, 405, 406, 409, 411, 415, 418, 419, 440})
_LOGGED_OUT = frozenset({401, 406})


def status_code(last_disconnect: object) -> int | None:
    """Return the number in what a socket library hands over (see `DisconnectReason.of`), or None; it never raises."""
    found: object = last_disconnect
    for _ in range(_DEEPEST):
        if isinstance(found, int | float | str):
            return _number(found)
        for name in _NUMBERS:
            if (code := _number(_part(found, name))) is not None:
                return code
        found = next((inner for name in _BOXES if (inner := _part(found, name)) is not None), None)
    return None


def should_reconnect(last_disconnect: object) -> bool:
    """Tell whether connecting again with the same login can help; takes what `DisconnectReason.of` takes."""
    return status_code(last_disconnect) not in _STOPS


def is_logged_out(last_disconnect: object) -> bool:
    """Tell whether the login has ended for good; takes what `DisconnectReason.of` takes."""
    return status_code(last_disconnect) in _LOGGED_OUT


def advice(last_disconnect: object) -> str:
    """Return what to do, in one sentence; takes what `DisconnectReason.of` takes."""
    code = status_code(last_disconnect)
    return _ELSE if code is None else _ADVICE.get(code, _ELSE)


class ReconnectPolicy:
    """
    How long to wait before the next attempt to connect; made by `reconnect_policy`.

    `delay(reason)` when a connection ended or could not be made, `connected()` when one was made.
    """

    # So many restarts in a row are a pairing's end; more are a server that sends everybody away.
    _RESTARTS = 3

    def __init__(self, initial: float, maximum: float, attempts: int | None, stable_after: float, seed: object) -> None:
        self._initial = initial
        self._maximum = maximum
        self._most = attempts
        self._stable_after = stable_after
        self._random = random.Random(seed)  # type: ignore[arg-type]  # noqa: S311 - spreads clients, keeps no secret
        self._since: float | None = None
        self._next = 0.0
        self._reset()

    def __repr__(self) -> str:
        return f"ReconnectPolicy(attempts={self.attempts}, next within {self._next:g} s)"

    @property
    def attempts(self) -> int:
        """How many attempts were given a delay since the last stable connection."""
        return self._attempts

    def delay(self, last_disconnect: object = None) -> float | None:
        """
        Return for how many seconds to wait before connecting again; None: do not.

        `last_disconnect` is what `DisconnectReason.of` takes. A restart that was asked for is 0 seconds away. Otherwise each
        delay is between half and all of a span that doubles up to the maximum, so that many clients do not come back at one
        moment.
        """
        if self._since is not None and clock() - self._since >= self._stable_after:
            self._reset()
        self._since = None
        if not should_reconnect(last_disconnect):
            return None
        if status_code(last_disconnect) == DisconnectReason.restart_required and self._restarts < self._RESTARTS:
            self._restarts += 1
            return 0.0
        if self._most is not None and self._attempts >= self._most:
            return None
        self._attempts += 1
        span, self._next = self._next, min(self._maximum, 2 * self._next)
        return span / 2 + self._random.random() * span / 2

    def connected(self) -> None:
        """Take note that a connection was made: once it has lasted, the next delays are short again."""
        self._since = clock()

    def _reset(self) -> None:
        self._attempts = 0
        self._restarts = 0
        self._next = min(self._initial, self._maximum)


def reconnect_policy(
    *,
    initial: float = 1.0,
    maximum: float = 60.0,
    attempts: int | None = None,
    stable_after: float = 60.0,
    seed: int | str | None = None,
) -> ReconnectPolicy:
    """
    Return a new policy, for one connection.

    Args:
        initial: The first delay is at most so many seconds.
        maximum: No delay is longer than so many seconds.
        attempts: How many attempts without a stable connection between them; None: without end.
        stable_after: A connection that lasted so many seconds was stable; 0: every one.
        seed: For delays that can be repeated, in tests.

    Raises:
        ConfigurationError: An argument is wrong; the message names it.
    """
    for name, seconds in (("initial", initial), ("maximum", maximum)):
        if not _is_real(seconds) or not math.isfinite(seconds) or seconds <= 0:
            raise ConfigurationError(f"invalid {name} {seconds!r}: give a number of seconds above 0")
    if not _is_real(stable_after) or not stable_after >= 0:
        raise ConfigurationError(f"invalid stable_after {stable_after!r}: give a number of seconds, 0 or more")
    if attempts is not None and (not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 0):
        raise ConfigurationError(f"invalid attempts {attempts!r}: give a whole number, or None for no end")
    return ReconnectPolicy(float(initial), float(maximum), attempts, stable_after, seed)


def _number(value: object) -> int | None:
    """Return a status code as JSON, JavaScript or a header may write it."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len("999"):
        return int(value)
    # An integer may be too large for math.
    return int(value) if _is_real(value) and (isinstance(value, int) or math.isfinite(value)) else None


def _is_real(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _part(box: object, name: str) -> object:
    try:
        return box.get(name) if isinstance(box, Mapping) else getattr(box, name, None)
    except Exception:  # noqa: BLE001 - whatever somebody's property raises, there is no number in it
        return None
