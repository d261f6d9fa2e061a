"""The machine: log folder, free disk, clock."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils import timezone

from apps.ingestion.history import Standing
from apps.operations.checks.database import sqlite_file
from apps.operations.checks.night import in_words
from apps.operations.finding import Finding, error, ok, warning

_MB = 1_000_000
_GB = 1_000 * _MB
_ROOM_TOO_LITTLE = 500 * _MB
_ROOM_SMALL = 2 * _GB
_SHARE_SMALL = 0.1
# A tenth of a large disk is plenty.
_ROOM_PLENTY = 20 * _GB

_CLOCK_WARNING_SECONDS = 60
_CLOCK_ERROR_SECONDS = 600

# An SQLite database has no clock but that of this machine.
_SERVER_TIME = {
    "postgresql": "SELECT clock_timestamp()",
    "microsoft": "SELECT SYSUTCDATETIME()",
}


def look_at_log_folder() -> Iterator[Finding]:
    """Really writes a file there, and removes it."""
    folder: Path = settings.LOG_DIR
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder, prefix="doctor-") as probe:
            probe.write(b"doctor")
    except OSError as trouble:
        yield error(
            f"The log folder {folder} cannot be written: {trouble.strerror or trouble}.",
            "Give the account that runs PO Tracking the right to write it, or correct LOG_DIR.",
        )
    else:
        yield ok(f"{folder} can be written")


def look_at_disk() -> Iterator[Finding]:
    """Each disk once, by the folder that is named first."""
    seen = set()
    for name, wanted in _folders():
        folder = _existing(wanted)
        if folder is None:
            yield error(
                f"There is no drive for {wanted} ({name}).",
                "Connect the drive, or correct the setting that names the folder.",
            )
            continue
        device = _device(folder)
        if device not in seen:
            seen.add(device)
            yield _room(name, folder)


def _folders() -> Iterator[tuple[str, Path]]:
    """What is written to, whether it is there yet or not."""
    database = sqlite_file(connections[DEFAULT_DB_ALIAS])
    if database is not None:
        yield "database", database.parent
    yield "log", settings.LOG_DIR
    yield "backups", Path(settings.BACKUP_DIR)
    yield "temporary files", Path(tempfile.gettempdir())


def _existing(folder: Path) -> Path | None:
    """The folder, or the nearest one above it that is there already; None on a missing drive."""
    folder = folder.absolute()
    return next((place for place in (folder, *folder.parents) if place.exists()), None)


def _device(folder: Path) -> int:
    return folder.stat().st_dev


def _room(name: str, folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    told = f"{usage.free / _GB:,.1f} GB of {usage.total / _GB:,.0f} GB are free ({name}: {folder})"
    cure = "Make room: remove old backups and log files, then run prune_snapshots."
    if usage.free < _ROOM_TOO_LITTLE:
        return error(f"The disk is nearly full: {told}.", cure)
    if usage.free < max(_ROOM_SMALL, min(_SHARE_SMALL * usage.total, _ROOM_PLENTY)):
        return warning(f"The disk is filling up: {told}.", cure)
    return ok(told)


def look_at_clock() -> Iterator[Finding]:
    """This machine's clock against that of the database's server, and against the last run."""
    connection = connections[DEFAULT_DB_ALIAS]
    applied = Standing.now().applied
    problems = []
    if applied is not None and applied.finished_at is not None:
        ahead = (applied.finished_at - timezone.now()).total_seconds()
        if ahead > _CLOCK_WARNING_SECONDS:
            problems.append(
                error(
                    f"The last applied run ended {in_words(applied.finished_at - timezone.now())} "
                    "in the future.",
                    "Correct the clock of this machine, or find out whose clock was wrong then.",
                )
            )
    if connection.vendor not in _SERVER_TIME:
        yield from problems or [ok(f"{timezone.now():%Y-%m-%d %H:%M} UTC")]
        return
    before = timezone.now()
    there = _server_time(_SERVER_TIME[connection.vendor])
    # Half of the way there and back is not the clock's fault.
    here = before + (timezone.now() - before) / 2
    apart = abs((there - here).total_seconds())
    if apart > _CLOCK_WARNING_SECONDS:
        tell = error if apart > _CLOCK_ERROR_SECONDS else warning
        problems.append(
            tell(
                f"This machine's clock and that of the database's server are {apart:,.0f} s apart.",
                "Let both take their time from the same time server.",
            )
        )
    yield from problems or [ok(f"{here:%Y-%m-%d %H:%M} UTC, as on the database's server")]


def _server_time(query: str) -> datetime:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(query)
        moment: datetime = cursor.fetchone()[0]
    return moment if timezone.is_aware(moment) else moment.replace(tzinfo=UTC)
