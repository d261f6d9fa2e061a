"""Makes a backup of the application's database, and removes older ones."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.ingestion.errors import UsageError
from apps.operations.backups import archive
from apps.operations.backups.archive import Backup, Pruned
from apps.operations.backups.content import is_migrated
from apps.operations.backups.engines import Engine, engine_of
from apps.operations.backups.errors import BackupError, logged

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """A new backup, and which older ones went for it."""

    backup: Backup
    pruned: Pruned
    seconds: float


def back_up(folder: Path, *, keep: int | None = None) -> Made:
    """Makes a backup in the folder, checks it, and keeps only the newest `keep` if told to.

    Changes nothing in the database, and may run while an ingestion applies its night. Raises
    UsageError, BackupError, or the engine's database error; then there is no new backup. An older
    one that cannot be removed is no such failure: it is told in what comes back.
    """
    started = time.perf_counter()
    with logged(logger, "No backup was made"):
        if keep is not None and keep < 1:
            raise UsageError(f"{keep} is too few backups to keep.", "Keep at least the new one.")
        backup = _made(folder)
    seconds = round(time.perf_counter() - started, 3)
    logger.info("Backup made: %s, %s bytes, %.1f s", backup.folder, backup.manifest.bytes, seconds)
    pruned = Pruned([], {})
    if keep is not None:
        pruned = archive.prune(backup.folder.parent, database=backup.manifest.database, keep=keep)
        logger.info("Older backups removed: %s", pruned.removed)
        for left, why in pruned.left.items():
            logger.warning("An older backup was not removed: %s. %s", left, why)
    return Made(backup, pruned, seconds)


def _made(folder: Path) -> Backup:
    connection = connections[DEFAULT_DB_ALIAS]
    engine = engine_of(connection)
    ensure_there_is_something(connection, engine)
    # As an absolute path, because whoever reads it later stands elsewhere.
    folder = folder.absolute()
    with archive.draft(folder) as draft:
        copy = engine.back_up(connection, draft)
        return draft.complete(
            archive.Manifest(
                product=archive.PRODUCT,
                format=archive.FORMAT,
                product_version=archive.product_version(),
                made_at=draft.made_at.isoformat(timespec="milliseconds"),
                engine=engine.ENGINE,
                server=copy.server,
                database=engine.identity(connection),
                migrations=copy.content.migrations,
                rows=copy.content.rows,
                rows_are_exact=copy.rows_are_exact,
                data=copy.data,
                data_is_on_server=copy.data_is_on_server,
                bytes=copy.bytes,
                sha256=copy.sha256,
            )
        )


def ensure_there_is_something(connection: BaseDatabaseWrapper, engine: Engine) -> None:
    """Raises BackupError where the database or its tables are missing."""
    if not engine.exists(connection) or not is_migrated(connection):
        raise BackupError(
            f"There is nothing to back up: {engine.identity(connection)} has no tables of PO "
            "Tracking.",
            "Check DATABASE_URL. In a new installation run manage.py migrate first.",
        )
