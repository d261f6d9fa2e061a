"""Restores a backup, after everything that speaks against it has been looked for.

1. The backup: its manifest, its checksum, its engine, and whether this version knows its tables.
2. The target: nothing is running on it, and nothing in it would be missed, or `force` was given.
3. The engine replaces the content; SQLite and PostgreSQL in one transaction.
4. What is there now is counted and compared, and history must be append-only again. There may be
   more by then: a service that was not stopped goes on as soon as the restore is committed.
   SQLite and PostgreSQL have counted exactly before that.
5. The restore itself becomes a part of the history that it has brought back.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from apps.audit import append_only
from apps.audit import services as audit
from apps.audit.models import AuditEvent, EventType
from apps.audit.services import Actor
from apps.ingestion.errors import UsageError
from apps.operations.backups import archive
from apps.operations.backups.archive import Backup, Manifest
from apps.operations.backups.checking import ensure_no_run
from apps.operations.backups.content import (
    asking,
    content_of,
    filled_tables,
    unknown_migrations,
)
from apps.operations.backups.engines import Engine, engine_of
from apps.operations.backups.errors import BackupError, logged

logger = logging.getLogger(__name__)

_TABLES_SHOWN = 4


@dataclass
class Restored:
    """What was restored, and what is left to do."""

    backup: Backup
    replaced: dict[str, int]  # table -> rows that were there before
    must_migrate: bool = False
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0


def restore(path: Path, *, force: bool, actor: Actor) -> Restored:
    """Puts the backup in the place of what the application's database holds.

    Raises UsageError where that would lose something and `force` was not given, RunActiveError
    while an ingestion runs, BackupError, or the engine's DatabaseError.
    """
    with logged(logger, f"Not restored: {path}"):
        return _restored(path.absolute(), force=force, actor=actor)


def _restored(path: Path, *, force: bool, actor: Actor) -> Restored:
    started = time.perf_counter()
    connection = connections[DEFAULT_DB_ALIAS]
    engine = engine_of(connection)
    backup = archive.read(path)
    _ensure_it_fits(backup.manifest, engine)
    backup.ensure_undamaged()
    replaced = _content_to_lose(connection, engine, force=force)
    if replaced and not force:
        raise _not_empty(replaced)

    logger.warning("Restoring %s for %s; it replaces %s", backup.folder, actor.name, replaced)
    engine.restore(connection, backup)
    connection.close()

    _ensure_it_arrived(connection, backup)
    restored = Restored(backup, replaced, must_migrate=_has_pending_migrations(connection))
    _ensure_append_only(connection, restored)
    if not restored.must_migrate:  # else the tables are not those that this version writes
        _record(restored, actor)
    restored.seconds = round(time.perf_counter() - started, 3)
    logger.warning("Restored %s in %.1f s", backup.folder, restored.seconds)
    return restored


def _ensure_it_fits(manifest: Manifest, engine: Engine) -> None:
    if manifest.engine != engine.ENGINE:
        raise BackupError(
            f"The backup is of {manifest.server}, but DATABASE_URL names a database of another "
            f"engine ({engine.ENGINE}).",
            "Restore it where DATABASE_URL names a database of the same engine.",
        )
    unknown = unknown_migrations(manifest.migrations)
    if unknown:
        raise BackupError(
            f"The backup was made by version {manifest.product_version}, which is newer than this "
            f"one ({archive.product_version()}): it has {', '.join(unknown)}.",
            "Install that version of PO Tracking or a newer one, then restore.",
        )


def _content_to_lose(
    connection: BaseDatabaseWrapper, engine: Engine, *, force: bool
) -> dict[str, int]:
    """Table -> rows, of what the restore would replace. Raises RunActiveError during a run."""
    if not engine.exists(connection):
        return {}
    try:
        ensure_no_run(connection)
        return filled_tables(connection)
    except DatabaseError as error:
        if not engine.is_damage(error):
            raise
        if not force:
            raise UsageError(
                f"{engine.identity(connection)} is damaged: {error}.",
                "With --force it is set aside, and the backup takes its place.",
            ) from error
        return {}


def _not_empty(replaced: dict[str, int]) -> UsageError:
    largest = sorted(replaced, key=lambda table: (-replaced[table], table))
    shown = ", ".join(f"{table} ({replaced[table]:,} rows)" for table in largest[:_TABLES_SHOWN])
    more = f" and {len(largest) - _TABLES_SHOWN} more" if len(largest) > _TABLES_SHOWN else ""
    return UsageError(
        f"The database is not empty; a restore would replace {shown}{more}.",
        "Check that DATABASE_URL names the database you mean, make a backup of it, then use "
        "--force.",
    )


def _ensure_it_arrived(connection: BaseDatabaseWrapper, backup: Backup) -> None:
    lacking = content_of(asking(connection)).lacks(backup.content, more_is_fine=True)
    if lacking:
        raise BackupError(
            f"The database does not hold what the backup holds: {lacking}.",
            "Do not work with it. Restore again with --force, or use an older backup.",
        )


def _has_pending_migrations(connection: BaseDatabaseWrapper) -> bool:
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _ensure_append_only(connection: BaseDatabaseWrapper, restored: Restored) -> None:
    """A backup of a database from which somebody had taken the triggers must be usable too."""
    missing = append_only.missing(connection)
    if not missing:
        return
    with connection.schema_editor() as schema_editor:
        append_only.remove(schema_editor)
        append_only.install(schema_editor)
    restored.warnings.append(
        f"History was not protected in the backed-up database ({', '.join(missing)}); it is again. "
        "Find out who removed that."
    )
    logger.error("Append-only triggers were missing in %s: %s", restored.backup.folder, missing)


def _record(restored: Restored, actor: Actor) -> None:
    manifest = restored.backup.manifest
    event = audit.Event(
        event_type=EventType.DATABASE_RESTORED,
        reason=f"Restored from the backup of {manifest.made_at}",
        data={
            "backup": restored.backup.folder.name,
            "made_at": manifest.made_at,
            "product_version": manifest.product_version,
            "rows": manifest.rows,
            "replaced": restored.replaced,
        },
    )
    with transaction.atomic():
        audit.record(
            [event],
            actor=actor,
            correlation_id=AuditEvent.new_correlation_id(),
            effective_at=timezone.now(),
        )
