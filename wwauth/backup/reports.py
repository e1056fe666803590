"""What a snapshot, a backup, a restore, a verification, a pruning and a migration did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime


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
        backend: How the browser stores: "leveldb" or "sqlite"; "baileys": it is an auth state's folder.
        duration_s: Seconds, with the check of the copy.
    """

    databases: tuple[str, ...]
    files: int
    bytes_total: int
    attempts: int
    quiet: bool
    flushed: bool
    backend: Literal["leveldb", "sqlite", "baileys"]
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


@dataclass(frozen=True, slots=True)
class VerifiedGeneration:
    """
    A stored generation was looked at as a restore would.

    Attributes:
        number: Its number; 0 when another program wrote it.
        kind: "full" or "incremental".
        created: When it was committed, by the clock of its writer; None for a plain zip.
        files: How many files it has.
        bytes_total: Their size together.
        problem: What is wrong with it, and where; None: it is whole.
        notes: What a restore would mend, and what a closer look found, one sentence each.
    """

    number: int
    kind: Literal["full", "incremental"]
    created: datetime | None
    files: int
    bytes_total: int
    problem: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """
    What a store holds of a session was verified.

    Attributes:
        session: The name it is stored under.
        generations: Each of them, newest first.
        problem: Why none could be looked at: the index, or the archive itself, cannot be read; None when it can.
        bytes_downloaded: What came from the store.
        duration_s: Seconds.
    """

    session: str
    generations: tuple[VerifiedGeneration, ...]
    problem: str | None
    bytes_downloaded: int
    duration_s: float

    @property
    def ok(self) -> bool:
        """Whether everything is whole."""
        return self.problem is None and all(generation.problem is None for generation in self.generations)


@dataclass(frozen=True, slots=True)
class PruneReport:
    """
    Older generations were dropped.

    Attributes:
        session: The name it is stored under.
        kept: The numbers of the generations that are there, newest first.
        dropped: The numbers of those that are not, any more.
        packs_deleted: How many packs were deleted, or would be.
        bytes_freed: Their size together, as far as the index tells it.
        dry_run: Nothing was done: this is what would be.
    """

    session: str
    kept: tuple[int, ...]
    dropped: tuple[int, ...]
    packs_deleted: int
    bytes_freed: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """
    A session lies in another store, whole, or would.

    Attributes:
        session: Its name where it came from.
        name: Its name where it went.
        archive: "packs" or "whatsapp-web.js" (a plain zip); it stays what it was.
        generations: Their numbers, newest first, which stay what they were.
        outcome: "copied"; "same": all of it was there; "to copy": this was a dry run.
        archives: How many archives were copied (or would be): packs, and the index or the zip.
        archives_there: How many were there already, with the right digest; of a dry run: that are there.
        bytes: How many bytes were copied (or would be).
        source_deleted: It is gone from where it came from.
        duration_s: Seconds.
        notes: What was left out, and why.
    """

    session: str
    name: str
    archive: Literal["packs", "whatsapp-web.js"]
    generations: tuple[int, ...]
    outcome: Literal["copied", "same", "to copy"]
    archives: int = 0
    archives_there: int = 0
    bytes: int = 0
    source_deleted: bool = False
    duration_s: float = 0.0
    notes: tuple[str, ...] = ()
