"""Any object with a store's four methods is a store, whatever it inherits from."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from .errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .abc import SessionInfo, Store

_METHODS = ("session_exists", "save", "extract", "delete")


def check_store(store: object, *, needed_by: str) -> None:
    """Refuse an object that lacks one of the four methods, with a `ConfigurationError` that names them."""
    missing = [name for name in _METHODS if not callable(getattr(store, name, None))]
    if store is None or missing:
        raise ConfigurationError(
            f"invalid store {type(store).__name__}: {needed_by} needs a Store, such as FileSystemStore('backups'); missing: "
            + ", ".join(missing)
        )


def takes_fence(store: Store) -> bool:
    """Tell whether `save` and `delete` know the word: a subclass of a store with leases may have its own, as older ones do."""
    return _knows(store.save, "fence") and _knows(store.delete, "fence")


def list_stored(store: Store, *, prefix: str, packs: bool) -> AsyncIterator[SessionInfo]:
    """Return the listing of a store that has one; a plug-in's may know nothing of packs, and tells all then."""
    listing: Callable[..., AsyncIterator[SessionInfo]] = store.list_sessions
    return listing(prefix=prefix, packs=packs) if _knows(listing, "packs") else listing(prefix=prefix)


def _knows(method: Callable[..., object], word: str) -> bool:
    names = inspect.signature(method).parameters
    return word in names or any(p.kind is p.VAR_KEYWORD for p in names.values())
