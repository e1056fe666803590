"""Backups of browser logins: consistent snapshots of a profile, archives of them, saving and restoring."""

from __future__ import annotations
