"""What a caller's path must be, and what the system's errors mean to whoever keeps logins in files."""

from __future__ import annotations

import errno
import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ConfigurationError, StoreDenied, StoreError, StoreFull, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_KINDS: dict[int | None, tuple[type[StoreError], str]] = {
    errno.ENOSPC: (StoreFull, "make room there"),
    errno.EDQUOT: (StoreFull, "make room there, or ask for a larger quota"),
    errno.EFBIG: (StoreFull, "allow larger files there"),
    errno.EACCES: (StoreDenied, "mend its permissions"),
    errno.EPERM: (StoreDenied, "mend its permissions"),
    errno.EROFS: (StoreDenied, "mount it writable"),
    errno.EMFILE: (StoreUnavailable, "raise the limit of open files (ulimit -n), or close some"),
    errno.ENOTDIR: (StoreUnavailable, "a file is where a folder should be, so move it or name another place"),
    errno.EEXIST: (StoreUnavailable, "a file is where a folder should be, so move it or name another place"),
    errno.EISDIR: (StoreUnavailable, "a folder is where a file should be, so move it or name another place"),
    errno.EBUSY: (StoreUnavailable, "if a volume is mounted there name a folder in it, else try again"),
    errno.ENAMETOOLONG: (StoreUnavailable, "use a shorter name"),
}


@contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Turn an `OSError` into the `StoreError` that says what the caller can do about it; `doing` completes "cannot"."""
    try:
        yield
    except OSError as error:
        kind, cure = _KINDS.get(error.errno, (StoreUnavailable, "try again when it answers"))
        raise kind(f"cannot {doing}: {error.strerror or error}; {cure}") from error


# A URL that was made a `Path` of has lost a slash; a drive of Windows has one letter.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):[/\\]")


def check_path(path: str | os.PathLike[str], *, what: str) -> Path:
    """Return a caller's path as a `Path`; `ConfigurationError`, naming `what` it should be, when it is none."""
    try:
        text = os.fspath(path)
        usable = isinstance(text, str) and text != "" and b"\0" not in os.fsencode(text)
    except (TypeError, UnicodeEncodeError):
        usable = False
    if not usable:
        raise ConfigurationError(f"invalid path {path!r}: name {what}, as text or a pathlib.Path")
    if (url := _URL.match(text)) is not None and not os.path.exists(text):  # noqa: PTH110 - Path would change it
        # No more of it: there may be a password in it.
        raise ConfigurationError(f"invalid path {url[1]}://…: that is a URL, and no path; name {what}")
    return Path(path)
