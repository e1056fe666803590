"""What the stores over a database's driver share: their end, their time limits, and what a driver's errors mean."""

from __future__ import annotations

import asyncio
import importlib
import ipaddress
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from wwauth._closing import Closing
from wwauth.abc import Store
from wwauth.errors import (
    ConfigurationError,
    MissingDependency,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
    WWAuthError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Self

CURES: dict[type[StoreError], str] = {
    StoreUnavailable: "try again when it answers",
    StoreDenied: "mend its user's credentials or rights",
    StoreFull: "make room there",
    StoreError: "this error's cause tells more, and the server's log",
}

_NO_DATABASE = "make that database, or name another one"

# By what `named` makes of an error.
_CURES_OF = {"InvalidCatalogNameError": _NO_DATABASE, "OperationalError 1049": _NO_DATABASE}


class DriverBase(Closing):
    """
    The base of what stands over a database; a subclass says what its driver's errors mean and how its client is closed.

    Args:
        place: Where it keeps what it is given, for messages and the repr: no password is in it.
        timeout: For how many seconds one step (a query, a chunk) may take.
    """

    def __init__(self, place: str, *, timeout: float) -> None:
        check_timeout(timeout)
        self._place = place
        self._owned = False
        self._timeout = timeout
        self._closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._place!r})"

    async def close(self) -> None:
        """Close what the store itself opened, never what it was given; idempotent. It is not to be used afterwards."""
        if not self._closed:
            self._closed = True
            if self._owned:
                await self._close_client()

    def _owning(self) -> Self:
        """Return this store, whose client is its own from now on: `close()` closes it."""
        self._owned = True
        return self

    async def _close_client(self) -> None:
        raise NotImplementedError

    def _meaning(self, error: Exception) -> type[StoreError]:
        """Return which `StoreError` an error of the driver stands for."""
        raise NotImplementedError

    @asynccontextmanager
    async def _step(self, doing: str) -> AsyncIterator[None]:
        """
        Do what is within in the store's time, and know the driver's errors; `doing` completes "cannot".

        The driver's own text is not repeated, since it may hold an address with a password: it is the cause.
        """
        if self._closed:
            raise ConfigurationError(f"cannot {doing}: this {self!r} was closed; make a new one")
        try:
            async with asyncio.timeout(self._timeout) as bound:
                yield
        except WWAuthError:
            raise
        except Exception as error:
            if bound.expired():
                raise StoreUnavailable(
                    f"cannot {doing} in {self._place}: no answer within {self._timeout:g} s; {CURES[StoreUnavailable]}"
                ) from error
            kind, name = self._meaning(error), named(error)
            raise kind(f"cannot {doing} in {self._place}: {name}; {_CURES_OF.get(name, CURES[kind])}") from error


def named(error: BaseException) -> str:
    """Return what messages say of a driver's error: the class of the one that began it, and the server's number for it."""
    for _ in range(8):
        cause = getattr(error, "orig", None) or error.__cause__
        if not isinstance(cause, BaseException):
            break
        error = cause
    number = next((one for one in (getattr(error, "code", None), *error.args[:1]) if type(one) is int), None)
    return type(error).__name__ if number is None else f"{type(error).__name__} {number}"


class DriverStore(DriverBase, Store):
    """The base of the stores of archives over a database."""


def check_timeout(timeout: float) -> None:
    """Refuse what is no time limit, with a `ConfigurationError`."""
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or not math.isfinite(timeout) or timeout <= 0:
        raise ConfigurationError(f"invalid timeout {timeout!r}: use a number of seconds above 0")


def load(module: str, *, extra: str, needed_by: str) -> Any:
    """Import a driver; `MissingDependency` names the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingDependency(f"{needed_by} needs {package}: pip install 'wwauth[{extra}]'") from error


def is_loopback(host: str | None) -> bool:
    """Tell whether a host is this machine itself, by its name or number alone."""
    if host is None or host.lower() == "localhost":
        return host is not None
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
