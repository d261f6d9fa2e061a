"""The backups: whether there is a fresh one in BACKUP_DIR."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils import timezone

from apps.operations.backups import archive
from apps.operations.backups.engines import engine_of
from apps.operations.checks.night import in_words
from apps.operations.finding import Finding, ok, warning

# A nightly backup may be late, but not left out twice.
_TOO_OLD = timedelta(hours=50)
_CURE = "Look whether the schedule still starts manage.py backup, and what application.log says."


def look_at_backups() -> Iterator[Finding]:
    """Only what `manage.py backup` made counts: of others nothing is known here."""
    if not settings.ERP_DATABASE_URL:
        yield ok("this installation has no ERP; its database is another one's copy")
        return
    connection = connections[DEFAULT_DB_ALIAS]
    folder = Path(settings.BACKUP_DIR)
    newest = archive.newest(folder, database=engine_of(connection).identity(connection))
    if newest is None:
        yield warning(
            f"There is no backup of this database in {folder}.",
            "Run manage.py backup, then schedule it; correct BACKUP_DIR if they are elsewhere. If "
            "somebody else makes backups, this line says nothing about them.",
        )
        return
    age = timezone.now() - datetime.fromisoformat(newest.manifest.made_at)
    if age > _TOO_OLD:
        yield warning(f"The last backup was made {in_words(age)} ago: {newest.folder}.", _CURE)
    else:
        yield ok(f"{newest.folder}, made {in_words(age)} ago")
