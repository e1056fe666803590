"""Any object with a store's four methods is a store, whatever it inherits from."""

from __future__ import annotations

import inspect

from .errors import ConfigurationError

_METHODS = ("session_exists", "save", "extract", "delete")


def check_store(store: object, *, needed_by: str) -> None:
    """Refuse an object that lacks one of the four methods, with a `ConfigurationError` that names them."""
    missing = [name for name in _METHODS if not callable(getattr(store, name, None))]
    if store is None or missing:
        raise ConfigurationError(
            f"invalid store {type(store).__name__}: {needed_by} needs a Store, such as FileSystemStore('backups'); missing: "
            + ", ".join(missing)
        )


def takes_fence(store: object) -> bool:
    """Tell whether `save` and `delete` know the word: a subclass of a store with leases may have its own, as older ones do."""
    methods = [inspect.signature(getattr(store, name)).parameters for name in ("save", "delete")]
    return all("fence" in names or any(p.kind is p.VAR_KEYWORD for p in names.values()) for names in methods)
