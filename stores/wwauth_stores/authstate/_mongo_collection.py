"""The collection of MongoDB that a caller names."""

from __future__ import annotations

from typing import Any

from wwauth.errors import ConfigurationError

from .._mongoclient import is_client, open_client, safe_database, safe_options, take_option
from ..urls import redact_url
from ._shared import Shared


def collection_of(given: Any, *, name: str, timeout: float) -> tuple[Any, Shared | None]:
    """
    Return a collection whose writes are safe and whose reads are true, whatever it was set to; and the share in its client.

    Args:
        given: A collection of either driver, which is borrowed: there is no share; or a URL.
        name: The collection's name where a URL does not say `collection=`.
        timeout: That of a step, in seconds.

    Raises:
        ConfigurationError: It is neither; no password is in the message.
    """
    if isinstance(given, str):
        address, named = take_option(given, "collection")
        if not address.lower().startswith(("mongodb://", "mongodb+srv://")):
            raise ConfigurationError(
                f"invalid URL {redact_url(given)!r}: write mongodb://user:password@host:27017/database?collection={name}"
            )
        shared = Shared(address, lambda: open_client(address, timeout=timeout))
        return safe_database(shared.client, None)[named or name], shared
    client = getattr(getattr(given, "database", None), "client", None)
    if not is_client(client) or not isinstance(getattr(given, "name", None), str):
        raise ConfigurationError(
            f"invalid collection of type {type(given).__name__}: give a collection of pymongo's AsyncMongoClient or "
            f"motor's AsyncIOMotorClient, such as client['bot'][{name!r}], or a URL"
        )
    return given.with_options(**safe_options()), None
