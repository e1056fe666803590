"""
Offline checks of a profile's databases: what is checked before a copy is published and before a browser opens one.

Never with a browser: one that meets a damaged database deletes it. Everything here blocks; call it from a thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._files import sync_file
from ..errors import SessionCorrupted, SessionInUse
from .layout import CORRUPTION_NOTE, browser_lives, find_databases, find_sqlite, has_origin, origin_directory
from .leveldb import LOG_NAME, MANIFEST_NAME, DamagedDatabase, check_table, read_manifest, whole_end

if TYPE_CHECKING:
    from pathlib import Path

    from .layout import Database
    from .leveldb import Version

# Its one line is shorter by far.
_LONGEST_CURRENT = 1024

_SQLITE_MAGIC = b"SQLite format 3\0"


def validate_profile(user_data_dir: Path, *, origin: str | None = None, strict: bool = False) -> tuple[str, ...]:
    """
    Check that every database of a profile that no browser has open is whole; return their names.

    `origin` (like "https://web.whatsapp.com/") must be among them. `strict` is for wwauth's own copies: there, nothing
    beyond what the MANIFEST names may lie; in a profile that a browser used, LevelDB leaves files it no longer needs.

    Half a record at the end of a log is damage here: `cut_tails` first where a browser may have been killed.

    Raises:
        SessionCorrupted: Something is damaged or missing; the message names what and where. Nothing was changed.
        ConfigurationError: `origin` is no web address.
    """
    directory = None if origin is None else origin_directory(origin)
    names = check_databases(user_data_dir, strict=strict)
    if not any("/IndexedDB/" in name for name in names):
        raise SessionCorrupted(f"{user_data_dir}: no IndexedDB database, so this profile holds no login")
    if origin is not None and not has_origin(user_data_dir, origin):
        raise SessionCorrupted(f"{user_data_dir}: no database of {origin!r} ({directory}), so it holds no login there")
    return names


def check_databases(user_data_dir: Path, *, strict: bool = False) -> tuple[str, ...]:
    """
    Check that every database that a profile has is whole; return their names, none for a profile that was never used.

    Raises:
        SessionCorrupted: Something is damaged; the message names what and where. See `validate_profile`.
    """
    databases = find_databases(user_data_dir)
    sqlite = find_sqlite(user_data_dir)
    for database in databases:
        try:
            check_database(user_data_dir, database, strict=strict)
        except DamagedDatabase as exc:
            raise SessionCorrupted(f"{user_data_dir / database.name}: {exc}") from None
    for name in sqlite:
        try:
            check_sqlite(user_data_dir / name)
        except DamagedDatabase as exc:
            raise SessionCorrupted(f"{(user_data_dir / name).parent}: {exc}") from None
    return tuple(database.name for database in databases) + tuple(sqlite)


def check_database(user_data_dir: Path, database: Database, *, strict: bool) -> None:
    """Check one LevelDB directory; `DamagedDatabase` says what is wrong with it."""
    path = user_data_dir / database.name
    names = {entry.name for entry in path.iterdir()}
    if CORRUPTION_NOTE in names:
        raise DamagedDatabase(f"Chromium found this database corrupt and deleted it ({CORRUPTION_NOTE} is there)")
    manifest = read_current(path)
    version, end = read_manifest(path / manifest, checksums=True)
    if version.comparator != database.comparator:
        raise DamagedDatabase(f"{manifest}: the key order {version.comparator!r} is not {database.comparator!r}")
    _check_end(path / manifest, end)
    expected = {"CURRENT", manifest}
    for number, size in version.tables.items():
        table = f"{number:06d}.sst" if f"{number:06d}.sst" in names else f"{number:06d}.ldb"
        check_table(path / table, size)
        expected.add(table)
    expected |= _check_logs(path, names, version)
    if strict and (beyond := sorted(names - expected)):
        raise DamagedDatabase(f"{beyond[0]}: no part of this database")


def read_current(path: Path) -> str:
    """Return the name of the MANIFEST in use; `DamagedDatabase` when `CURRENT` or that MANIFEST is not as it should."""
    try:
        with (path / "CURRENT").open("rb") as file:
            text = file.read(_LONGEST_CURRENT)
    except FileNotFoundError:
        raise DamagedDatabase("CURRENT: missing") from None
    except IsADirectoryError:
        raise DamagedDatabase("CURRENT: it is a folder") from None
    name = text.decode("ascii", "replace").removesuffix("\n")
    if not text.endswith(b"\n") or MANIFEST_NAME.fullmatch(name) is None:
        raise DamagedDatabase(f"CURRENT: {text[:40]!r} names no MANIFEST")
    if not (path / name).is_file():
        raise DamagedDatabase(f"{name}: CURRENT names it, but it is missing")
    return name


def _check_logs(path: Path, names: set[str], version: Version) -> set[str]:
    logs = {int(match[1]): name for name in names if (match := LOG_NAME.fullmatch(name))}
    if version.log_number and version.log_number not in logs:
        raise DamagedDatabase(f"{version.log_number:06d}.log: the MANIFEST names this log, but it is missing")
    needed = {name for number, name in logs.items() if version.needs_log(number)}
    for name in needed:
        _check_end(path / name, whole_end(path / name, checksums=True))
    return needed


def _check_end(path: Path, end: int) -> None:
    if end != (size := path.stat().st_size):
        raise DamagedDatabase(f"{path.name}: {size - end} bytes of an unfinished record at the end")


def check_sqlite(path: Path) -> None:
    """Check that a file of a SQLite database begins as one; `DamagedDatabase` when not. Journals are not looked at."""
    if path.name.endswith(("-wal", "-shm", "-journal")):
        return
    with path.open("rb") as file:
        head = file.read(len(_SQLITE_MAGIC))
    # Empty: nothing was ever committed to it but through its journal.
    if head and head != _SQLITE_MAGIC:
        raise DamagedDatabase(f"{path.name}: not a SQLite file")


def cut_tails(user_data_dir: Path) -> tuple[str, ...]:
    """
    Cut half-written records off the logs and MANIFESTs of a profile that no browser has open; say what was cut.

    A browser that was killed may leave one. LevelDB ignores it once, then appends behind it, and the opening after that
    finds the database corrupt. A cut is one truncation, flushed to the disk: it is done or it is not.

    What is damaged otherwise is left as it is, for `validate_profile` to name.

    Raises:
        SessionInUse: A browser has the profile open.
    """
    if browser_lives(user_data_dir):
        raise SessionInUse(f"{user_data_dir}: a browser has this profile open; close it first")
    cuts = []
    for database in find_databases(user_data_dir):
        for path in sorted((user_data_dir / database.name).iterdir()):
            if LOG_NAME.fullmatch(path.name) is None and MANIFEST_NAME.fullmatch(path.name) is None:
                continue
            try:
                end = whole_end(path, checksums=False)
            except DamagedDatabase:
                continue
            if (surplus := path.stat().st_size - end) > 0:
                os.truncate(path, end)
                sync_file(path)
                cuts.append(f"{database.name}/{path.name}: {surplus} bytes of an unfinished record were cut off")
    return tuple(cuts)
