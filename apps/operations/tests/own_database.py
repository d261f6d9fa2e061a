"""Databases of a test's own, beside the suite's: real ones that a test may destroy."""

from __future__ import annotations

import atexit
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.audit.models import EventType
from po_tracking.databases import application_database
from tests.factories import (
    AuditEventFactory,
    ERPChangeEventFactory,
    IngestionRunFactory,
    POLineFactory,
    UserFactory,
)

Rows = dict[str, list[tuple[Any, ...]]]


@contextmanager
def use_database(settings: dict[str, Any]) -> Iterator[BaseDatabaseWrapper]:
    """The application's database is this one; the caller has unblocked pytest-django."""
    own, own_settings = connections[DEFAULT_DB_ALIAS], connections.settings[DEFAULT_DB_ALIAS]
    configured = connections.configure_settings({DEFAULT_DB_ALIAS: settings})
    connections.settings[DEFAULT_DB_ALIAS] = configured[DEFAULT_DB_ALIAS]
    other = connections.create_connection(DEFAULT_DB_ALIAS)
    connections[DEFAULT_DB_ALIAS] = other
    try:
        yield other
    finally:
        other.close()
        connections[DEFAULT_DB_ALIAS] = own
        connections.settings[DEFAULT_DB_ALIAS] = own_settings


def sqlite_settings(file: Path) -> dict[str, Any]:
    return application_database(f"sqlite:///{file.as_posix()}")


def make_history() -> None:
    """A few lines and what happened to them, in names and values that a dump could get wrong."""
    run = IngestionRunFactory.create()
    for number, reason in enumerate(("深圳工厂", "it's \\. a\ttab\nand a line", "", "€ 100 %s")):
        line = POLineFactory.create(po_number=f"PO{number}")
        AuditEventFactory.create(po_line=line, supplier=line.supplier, reason=reason)
        ERPChangeEventFactory.create(
            run=run, po_line=line, supplier=line.supplier, previous_value=None, new_value=reason
        )
    UserFactory.create(username="wei")


@cache
def _folder() -> Path:
    """Gone when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="po_tracking_templates_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def migrated() -> Path:
    """A closed SQLite database of a new installation, to be copied; the caller has unblocked."""
    file = _folder() / "migrated.sqlite3"
    with use_database(sqlite_settings(file)):
        call_command("migrate", verbosity=0)
    return file


@cache
def with_history() -> Path:
    """The same after some work."""
    file = Path(shutil.copy(migrated(), _folder() / "with_history.sqlite3"))
    with use_database(sqlite_settings(file)):
        make_history()
    return file


def rows_of(file: Path) -> Rows:
    """Every row of every table of an SQLite database."""
    with closing(sqlite3.connect(file)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
        return {
            table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
            for (table,) in tables
        }


def without_restores(rows: Rows) -> Rows:
    """The same without the events of restores, and the counter that they moved."""
    kept = {
        table: [row for row in found if EventType.DATABASE_RESTORED.value not in row]
        for table, found in rows.items()
    }
    return {table: found for table, found in kept.items() if table != "sqlite_sequence"}
