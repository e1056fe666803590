"""Any object with a store's four methods is a store, whatever it inherits from."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING

from .abc import StoreFeatures
from .errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .abc import SessionInfo, Store

_log = logging.getLogger(__name__)

_METHODS = ("session_exists", "save", "extract", "delete")


# Under which names wrappers tell of the stores that they wrap.
_WRAPPED = ("inner", "primary", "secondary")

_warned: set[str] = set()


def check_store(store: object, *, needed_by: str) -> None:
    """Refuse an object that lacks one of the four methods, with a `ConfigurationError` that names them."""
    missing = [name for name in _METHODS if not callable(getattr(store, name, None))]
    if store is None or missing:
        raise ConfigurationError(
            f"invalid store {type(store).__name__}: {needed_by} needs a Store, such as FileSystemStore('backups'); missing: "
            + ", ".join(missing)
        )


def takes_packs(store: Store) -> bool:
    """Tell whether backups in packs may be kept there; where they may not, another program reads what is stored."""
    return getattr(getattr(store, "features", StoreFeatures()), "packs", True)


def check_archive(store: Store, archive: str) -> None:
    """Refuse packs in a store that does not take them, with a `ConfigurationError`."""
    if archive == "packs" and not takes_packs(store):
        raise ConfigurationError(
            f'{store!r} takes no packs, which would destroy what another program reads there: say archive="whatsapp-web.js"'
        )


def takes_fence(store: Store) -> bool:
    """Tell whether `save` and `delete` know the word: a subclass of a store with leases may have its own, as older ones do."""
    return _knows(store.save, "fence") and _knows(store.delete, "fence")


def list_stored(store: Store, *, prefix: str, packs: bool) -> AsyncIterator[SessionInfo]:
    """Return the listing of a store that has one; a plug-in's may know nothing of packs, and tells all then."""
    listing: Callable[..., AsyncIterator[SessionInfo]] = store.list_sessions
    return listing(prefix=prefix, packs=packs) if _knows(listing, "packs") else listing(prefix=prefix)


def warn_of_readable_logins(store: Store) -> None:
    """Log a warning, once for each kind of store, when what is saved leaves this machine and is not encrypted."""
    kind = _readable_outside(store)
    if kind is not None and kind not in _warned:
        _warned.add(kind)
        _log.warning(
            "%s keeps logins outside this machine, and they are not encrypted: who can read them there can use them. Wrap the "
            "store, as EncryptedStore(store, recipients=[...], identities=[...]); docs/encryption.md tells how to make a key",
            kind,
        )


def _readable_outside(store: object) -> str | None:
    """Return the kind of the store, in however many wrappers, that keeps logins elsewhere as they are; None: none does."""
    features = getattr(store, "features", StoreFeatures())
    if features.encrypted or not features.remote:
        return None
    wrapped = [getattr(store, name) for name in _WRAPPED if hasattr(store, name)]
    if not wrapped:
        return type(store).__name__
    return next((kind for kind in map(_readable_outside, wrapped) if kind is not None), None)


def _knows(method: Callable[..., object], word: str) -> bool:
    names = inspect.signature(method).parameters
    return word in names or any(p.kind is p.VAR_KEYWORD for p in names.values())
