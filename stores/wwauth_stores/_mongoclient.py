"""What stands over MongoDB shares: clients of either driver, databases that are safe to write, and what errors mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wwauth.errors import ConfigurationError, StoreDenied, StoreError, StoreFull, StoreUnavailable

from .urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterable

_DATABASE = "wwauth"

_CLIENTS = {"AsyncMongoClient", "AsyncIOMotorClient", "AgnosticClient"}

# The server's codes: Unauthorized, UserNotFound, AuthenticationFailed, AtlasError (which says so of users and of quotas).
_DENIED = {13, 11, 18, 8000}
# OutOfDiskSpace, ExceededMemoryLimit of a quota.
_FULL = {14031, 12501}

_DAY = 24 * 3600


def is_client(client: object) -> bool:
    """Tell whether it is a client of one of the two drivers: pymongo's asynchronous one, or motor's."""
    return any(kind.__name__ in _CLIENTS for kind in type(client).__mro__)


def open_client(url: str, *, timeout: float) -> Any:
    """
    Return a client of pymongo's for a URL; nothing is connected yet. `timeout` is that of a step, in seconds.

    Raises:
        ConfigurationError: The driver does not take it; no password is in the message.
    """
    import pymongo  # noqa: PLC0415 - a driver

    scheme, colon, rest = url.partition(":")
    options: dict[str, Any] = {}
    if "serverselectiontimeoutms" not in rest.lower() and isinstance(timeout, int | float) and 0 < timeout <= _DAY:
        # Within the time of a step, so that the driver can still say why it found none.
        options["serverSelectionTimeoutMS"] = int(timeout * 900)
    try:
        return pymongo.AsyncMongoClient(scheme.lower() + colon + rest, **options)
    except (pymongo.errors.PyMongoError, ValueError, TypeError) as error:
        # Not raised from it: what the driver cannot read may be a password.
        raise ConfigurationError(
            f"invalid store URL {redact_url(url)!r} ({type(error).__name__}): write mongodb://user:password@host:27017/"
            f"database?options; in user and password, a character such as / : @ is written with a percent sign"
        ) from None


def take_option(url: str, wanted: str) -> tuple[str, Any]:
    """Take an option out of a URL that the driver would not know; None where it is not among them."""
    address, mark, query = url.partition("?")
    options = [option.partition("=") for option in query.split("&")]
    found = next((value for name, _, value in options if name == wanted), None)
    query = "&".join("".join(option) for option in options if option[0] != wanted)
    return (f"{address}{mark}{query}" if query else address), found


def safe_database(client: Any, name: str | None) -> Any:
    """Return a database whose writes are safe and whose reads are true, whatever the client is set to."""
    from pymongo.errors import InvalidName  # noqa: PLC0415 - loads the driver

    if name is None:
        name = client.get_default_database(_DATABASE).name
    try:
        return client.get_database(name, **safe_options())
    except (InvalidName, TypeError) as error:
        raise ConfigurationError(f"invalid database {name!r}: give a name that MongoDB takes") from error


def safe_options() -> dict[str, Any]:
    """Return what makes a database or a collection so."""
    from bson.codec_options import CodecOptions  # noqa: PLC0415 - loads the driver
    from pymongo import ReadPreference, WriteConcern  # noqa: PLC0415 - as above
    from pymongo.read_concern import ReadConcern  # noqa: PLC0415 - as above

    return {
        "codec_options": CodecOptions(tz_aware=True),
        "read_preference": ReadPreference.PRIMARY,
        "read_concern": ReadConcern("majority"),
        "write_concern": WriteConcern("majority", j=True),
    }


def hosts_of(client: Any) -> dict[str, str]:
    """Return the hosts that the client was told of, each with how it is written."""
    addresses: Iterable[tuple[str, int | None]] = client.topology_description.server_descriptions()
    return {host: host if port is None else f"{host}:{port}" for host, port in sorted(addresses, key=str)}


def meaning(error: Exception, client: Any) -> type[StoreError]:
    """Return what an error of the driver stands for."""
    from pymongo.errors import ConfigurationError as WrongOption  # noqa: PLC0415 - loads the driver
    from pymongo.errors import (  # noqa: PLC0415 - as above
        ConnectionFailure,
        OperationFailure,
        PyMongoError,
        ServerSelectionTimeoutError,
    )

    if isinstance(error, OperationFailure):
        codes = set(_codes(error))
        if codes & _FULL or "quota" in str(error).lower():
            return StoreFull
        if codes & _DENIED:
            return StoreDenied
    # A server that refused a password is looked for again, in vain: the reason is with what is known of the servers.
    if isinstance(error, WrongOption) or (isinstance(error, ServerSelectionTimeoutError) and _refused(client)):
        return StoreDenied
    if isinstance(error, ConnectionFailure) or (isinstance(error, PyMongoError) and error.timeout):
        return StoreUnavailable
    return StoreError


def _refused(client: Any) -> bool:
    servers = client.topology_description.server_descriptions().values()
    return any(getattr(server.error, "code", None) in _DENIED for server in servers)


def _codes(error: Any) -> Iterable[int]:
    """Return the server's code, and those of the writes that failed in a batch."""
    details = error.details or {}
    for place in (details, *details.get("writeErrors", ()), *details.get("writeConcernErrors", ())):
        if isinstance(code := place.get("code"), int):
            yield code
    if error.code is not None:
        yield error.code
