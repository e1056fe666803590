"""Any object with a store's four methods is a store, whatever it inherits from."""

from __future__ import annotations

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
