"""Backups of browser logins: consistent snapshots of a profile, archives of them, saving and restoring on a schedule."""

from __future__ import annotations

from .engine import BackupEngine
from .index import StoredGeneration
from .reports import BackupReport, RestoreReport, SnapshotReport
from .schedule import BackupSchedule
from .snapshot import take_snapshot
from .validate import check_databases, cut_tails, validate_profile

__all__ = [
    "BackupEngine",
    "BackupReport",
    "BackupSchedule",
    "RestoreReport",
    "SnapshotReport",
    "StoredGeneration",
    "check_databases",
    "cut_tails",
    "take_snapshot",
    "validate_profile",
]
