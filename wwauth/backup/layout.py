"""Where a Chromium profile keeps what makes up a login, and who is using it. Everything here blocks, shortly."""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import ConfigurationError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path

# The same two trees that whatsapp-web.js's RemoteAuth saves.
INDEXED_DB = "Default/IndexedDB"
LOCAL_STORAGE = "Default/Local Storage"

# Newer Chromium can keep both in SQLite (feature flags IdbSqliteBackingStore and DomStorageSqlite, off at present).
SQLITE_LOCAL_STORAGE = "Default/LocalStorage"

_LEVELDB_SUFFIX = ".indexeddb.leveldb"
_BLOB_SUFFIX = ".indexeddb.blob"

# Chromium leaves this in place of a database that it found corrupt and deleted.
CORRUPTION_NOTE = "corruption_info.json"

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Database:
    """
    One LevelDB directory of a profile.

    Attributes:
        name: Its path under the user-data folder, with `/`.
        comparator: The key order its MANIFEST must name.
        blobs: The path of its blob folder under the user-data folder; None for localStorage, which has none.
    """

    name: str
    comparator: bytes
    blobs: str | None = None


def find_databases(user_data_dir: Path) -> list[Database]:
    """Return the LevelDB databases that hold a login, of all origins, in a fixed order."""
    found = []
    for path in _entries(user_data_dir / INDEXED_DB):
        if path.name.endswith(_LEVELDB_SUFFIX) and path.is_dir() and _has_data(path):
            blobs = path.name.removesuffix(_LEVELDB_SUFFIX) + _BLOB_SUFFIX
            found.append(Database(f"{INDEXED_DB}/{path.name}", b"idb_cmp1", f"{INDEXED_DB}/{blobs}"))
    storage = user_data_dir / LOCAL_STORAGE / "leveldb"
    if storage.is_dir() and _has_data(storage):
        found.append(Database(f"{LOCAL_STORAGE}/leveldb", b"leveldb.BytewiseComparator"))
    return found


def _entries(folder: Path) -> list[Path]:
    """Return what a folder has, sorted; nothing when it is not there. One that cannot be listed is no empty one: `OSError`."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _has_data(directory: Path) -> bool:
    # Text logs and the lock alone are no database.
    return any(entry.name not in {"LOCK", "LOG", "LOG.old"} for entry in _entries(directory))


def find_sqlite(user_data_dir: Path) -> list[str]:
    """Return the SQLite files (with their journals) that hold a login in place of LevelDB, as paths with `/`."""
    found = []
    for folder in _entries(user_data_dir / INDEXED_DB):
        if folder.is_dir() and not folder.name.endswith((_LEVELDB_SUFFIX, _BLOB_SUFFIX)):
            found += [f"{INDEXED_DB}/{folder.name}/{file.name}" for file in _entries(folder) if file.is_file()]
    for file in _entries(user_data_dir / "Default"):
        if file.name.startswith("LocalStorage") and file.is_file():
            found.append(f"Default/{file.name}")
    return found


def sqlite_in_use(user_data_dir: Path, origin: str | None) -> list[str]:
    """
    Return those of `find_sqlite` that a browser may be using: of `origin`, or of all origins when it is None.

    A trial that has ended leaves its files beside the LevelDB databases that took their place.
    """
    wanted = None if origin is None else origin_directory(origin)
    used = []
    for name in find_sqlite(user_data_dir):
        folder = name.rpartition("/")[0]
        if folder != INDEXED_DB.partition("/")[0]:
            replaced = (user_data_dir / f"{folder}{_LEVELDB_SUFFIX}").is_dir()
            replaced |= wanted is not None and folder != f"{INDEXED_DB}/{wanted}"
        else:
            replaced = _is_locked(user_data_dir / LOCAL_STORAGE / "leveldb" / "LOCK") is True
        if not replaced:
            used.append(name)
    return used


def origin_directory(origin: str) -> str:
    """
    Return the name Chromium gives to the databases of an origin: `https_web.whatsapp.com_0`, `http_127.0.0.1_8765`.

    Raises:
        ConfigurationError: `origin` is no http or https address.
    """
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname, parts.port
        host = host and host.encode("idna").decode("ascii") if host and not host.isascii() else host
    except ValueError as exc:
        raise ConfigurationError(f"invalid origin {origin!r}: {exc}") from exc
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise ConfigurationError(f"invalid origin {origin!r}: use an address like 'https://web.whatsapp.com/'")
    if port is None or port == _DEFAULT_PORTS[parts.scheme]:
        port = 0
    if ":" in host:
        host = "[" + host.replace(":", "_") + "]"
    return f"{parts.scheme}_{host}_{port}"


def has_origin(user_data_dir: Path, origin: str) -> bool:
    """Tell whether the profile has an IndexedDB of this origin, in whichever backend."""
    directory = f"{INDEXED_DB}/{origin_directory(origin)}"
    return any(database.name == directory + _LEVELDB_SUFFIX for database in find_databases(user_data_dir)) or any(
        name.startswith(directory + "/") for name in find_sqlite(user_data_dir)
    )


def browser_lives(user_data_dir: Path) -> bool:
    """
    Tell whether a browser has this profile open; when that cannot be told, say yes.

    The kernel's locks on LevelDB's `LOCK` files tell the truth where they can be asked: they die with their process,
    while a `SingletonLock` outlives it, under a pid or a host name that may be another's by now.
    """
    if sys.platform == "win32":
        # Deleted by the system when its holder ends; while it is held it cannot be opened.
        try:
            with (user_data_dir / "lockfile").open("r+b"):
                return False
        except FileNotFoundError:
            return False
        except OSError:
            return True
    answers = {_is_locked(path) for path in _locks(user_data_dir / "Default")}
    if True in answers:
        return True
    # With SQLite for storage, a browser might hold none of these locks.
    sqlite = bool(find_sqlite(user_data_dir))
    if answers == {False} and not sqlite:
        return False
    # Where there is no database at all, none is open: then only a process that can be seen counts.
    return _singleton_lives(user_data_dir / "SingletonLock", unknown=bool(answers) or sqlite)


def _locks(default: Path) -> list[Path]:
    """Return LevelDB's `LOCK` files, of IndexedDB and all else."""
    while True:
        try:
            return [path for pattern in ("*/LOCK", "*/*/LOCK") for path in default.glob(pattern)]
        except FileNotFoundError:
            continue  # a browser has deleted a folder that was being listed


def _singleton_lives(link: Path, *, unknown: bool) -> bool:
    """Tell whether the process that the lock names lives; `unknown` is the answer for one that cannot be seen from here."""
    try:
        match = re.fullmatch(r"(.+)-(\d+)", str(link.readlink()))
    except FileNotFoundError:
        return False
    except OSError:
        return unknown
    if match is None or match[1] != socket.gethostname():
        return unknown
    try:
        os.kill(int(match[2]), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_locked(path: Path) -> bool | None:
    """
    Tell whether a lock is held, None where that cannot be asked.

    It is asked for without being taken, so that a browser that starts right now does not fail over us.
    """
    if sys.platform != "win32":
        # struct flock, padded at its end as C does.
        if sys.platform == "linux" and sys.maxsize > 2**32:
            layout, request, kind = "hhqqi0q", (fcntl.F_WRLCK, 0, 0, 0, 0), 0
        elif sys.platform == "darwin":
            layout, request, kind = "qqihh", (0, 0, 0, fcntl.F_WRLCK, 0), 3
        else:
            return None
        unlocked: int = fcntl.F_UNLCK
        try:
            with path.open("rb") as file:
                answer = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(layout, *request))
        except OSError:
            return None
        return bool(struct.unpack(layout, answer)[kind] != unlocked)
    return None
