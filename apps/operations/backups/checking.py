"""Could a backup be made now, and restored? An update asks before it changes anything."""

from __future__ import annotations

from pathlib import Path

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.ingestion.lease import Lease
from apps.ingestion.models import IngestionLease
from apps.operations.backups.archive import ensure_writable
from apps.operations.backups.content import tables_of
from apps.operations.backups.engines import engine_of
from apps.operations.backups.errors import BackupError, refusals
from apps.operations.backups.making import ensure_there_is_something


def lacks(folder: Path) -> list[BackupError]:
    """Everything that a backup into the folder, or its restore, would lack; makes nothing.

    Raises RunActiveError while an ingestion runs, under which nothing could be restored, or the
    engine's database error.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    engine = engine_of(connection)
    try:
        ensure_there_is_something(connection, engine)
    except BackupError as error:
        return [error]
    ensure_no_run(connection)
    return [*refusals(lambda: ensure_writable(folder)), *engine.lacks(connection, folder)]


def ensure_no_run(connection: BaseDatabaseWrapper) -> None:
    """Raises RunActiveError while an ingestion runs; an old version's tables may know none."""
    if IngestionLease._meta.db_table in tables_of(connection):
        Lease.ensure_free()
