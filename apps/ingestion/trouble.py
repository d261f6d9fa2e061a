"""Errors that no stage foresees, in words: the application's database, and faults of our own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, OperationalError

from apps.core.database_errors import LOADING_CURE, LOADING_FAILED
from apps.ingestion.errors import Notice, RunActiveError

_CURES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(LOADING_FAILED, re.IGNORECASE), LOADING_CURE),
    (
        re.compile(r"disk is full|no space left|could not extend|\b1105\b|\b9002\b", re.IGNORECASE),
        "The disk of the application's database is full: make room (prune_snapshots removes old "
        "snapshots), then run again.",
    ),
    (
        re.compile(r"readonly|read-only", re.IGNORECASE),
        "The application's database cannot be written: give the ingestion's user the right to "
        "write the file and its folder, or correct DATABASE_URL.",
    ),
    (
        re.compile(
            r"no such table|does not exist|invalid object name|no such column", re.IGNORECASE
        ),
        "The application's database is not up to date: run manage.py migrate, then run again.",
    ),
    (
        re.compile(
            r"unable to open|refused|could not connect|login|password|timeout", re.IGNORECASE
        ),
        "The application's database cannot be reached: check DATABASE_URL and that the server is "
        "up.",
    ),
)


def explain_unexpected(stage: str, error: Exception) -> Notice:
    """The notice of a run that ended in an error which no stage foresaw."""
    lines = str(error).strip().splitlines()
    shown = f"{type(error).__name__}: {lines[0] if lines else 'no details'}"
    if not isinstance(error, DatabaseError):
        return Notice(
            stage,
            f"Unexpected error: {shown}. Nothing was applied.",
            "This is a fault in PO Tracking. Send ingestion.log to its makers; the old data stay.",
        )
    cure = next((cure for pattern, cure in _CURES if pattern.search(str(error))), None)
    return Notice(
        stage,
        f"The application's database refused: {shown}. Nothing was applied.",
        cure or "Look into ingestion.log for the details, cure the database, then run again.",
    )


@contextmanager
def refusing_when_locked() -> Iterator[None]:
    """SQLite lets one process write. If it is still busy after the time-out, it is a run's apply:
    nothing else writes that long."""
    try:
        yield
    except OperationalError as error:
        if "locked" not in str(error):
            raise
        raise RunActiveError(
            "The application's database is being written by another process.",
            "Wait for it to end, then run again; this call changed nothing.",
        ) from error
