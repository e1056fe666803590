"""Backups of browser logins: consistent snapshots of a profile, archives of them, saving and restoring on a schedule."""

from __future__ import annotations

from .datapath import DataPath
from .engine import BackupEngine
from .index import StoredGeneration
from .migrate import migrate_session
from .reports import BackupReport, MigrationReport, PruneReport, RestoreReport, SnapshotReport, VerifiedGeneration, VerifyReport
from .schedule import BackupSchedule
from .sessions import StoredSession, list_backups
from .snapshot import take_snapshot
from .transfer import TransferReport, export_session, import_session
from .validate import check_databases, cut_tails, validate_profile

__all__ = [
    "BackupEngine",
    "BackupReport",
    "BackupSchedule",
    "DataPath",
    "MigrationReport",
    "PruneReport",
    "RestoreReport",
    "SnapshotReport",
    "StoredGeneration",
    "StoredSession",
    "TransferReport",
    "VerifiedGeneration",
    "VerifyReport",
    "check_databases",
    "cut_tails",
    "export_session",
    "import_session",
    "list_backups",
    "migrate_session",
    "take_snapshot",
    "validate_profile",
]
