"""What a snapshot, a backup and a restore did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class SnapshotReport:
    """
    A consistent copy was taken.

    Attributes:
        databases: The databases in it, as paths under the user-data folder.
        files: How many files it has.
        bytes_total: Their size together.
        attempts: How many attempts it took.
        quiet: Nothing was written meanwhile, so all databases are of one moment; else each is of a moment of its own,
        milliseconds apart.
        flushed: localStorage was seen to reach the disk before; False too when no flush was asked for.
        backend: How the browser stores: "leveldb" or "sqlite".
        duration_s: Seconds, with the check of the copy.
    """

    databases: tuple[str, ...]
    files: int
    bytes_total: int
    attempts: int
    quiet: bool
    flushed: bool
    backend: Literal["leveldb", "sqlite"]
    duration_s: float


@dataclass(frozen=True, slots=True)
class BackupReport:
    """
    A backup is committed: a restore gives at least this.

    Attributes:
        session: The name it is stored under.
        generation: Its number, one more than that of the backup before.
        kind: "full", "incremental", or "unchanged": the content is that of the last one, nothing was uploaded.
        files: How many files it has.
        bytes_total: Their size together.
        bytes_uploaded: What was handed to the store.
        duration_s: Seconds, from the snapshot to the commit.
        sha256: Digest of the content (names, sizes and bytes of all files), the same for the same content.
    """

    session: str
    generation: int
    kind: Literal["full", "incremental", "unchanged"]
    files: int
    bytes_total: int
    bytes_uploaded: int
    duration_s: float
    sha256: str


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """
    A profile is in place.

    Attributes:
        session: The name it is stored under.
        generation: The number of the backup it comes from; 0 when another program wrote it.
        source: "remote": from the store; "local": the profile that was there is used.
        files: How many files it has.
        bytes_total: Their size together.
        bytes_downloaded: What came from the store.
        duration_s: Seconds.
        notes: What was skipped or mended on the way, one sentence each.
    """

    session: str
    generation: int
    source: Literal["remote", "local"]
    files: int
    bytes_total: int
    bytes_downloaded: int
    duration_s: float
    notes: tuple[str, ...] = ()
