"""What a database holds, in numbers that can be compared, asked the same way of every engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from apps.audit.models import AuditEvent, ERPChangeEvent
from apps.ingestion.models import IngestionRun
from apps.po.models import POLine

# Runs one statement and returns its rows; a driver's own connection can do it as well as Django's.
Ask = Callable[[str], list[Any]]

COUNTED: Mapping[str, type[models.Model]] = {
    "lines": POLine,
    "runs": IngestionRun,
    "change_events": ERPChangeEvent,
    "audit_events": AuditEvent,
}
# Filled by `migrate`, so their rows are nobody's work.
_OF_DJANGO = frozenset({"django_migrations", "django_content_type", "auth_permission"})


@dataclass(frozen=True)
class Content:
    """What stands in a manifest, and what is looked for after a restore."""

    migrations: dict[str, str]  # app -> its last applied migration
    rows: dict[str, int]  # by the names in COUNTED

    def lacks(self, told: Content, *, more_is_fine: bool) -> str:
        """What is not as it was told, in words; empty if all is there."""
        wrong = [
            f"{name} {self.rows[name]:,} instead of {rows:,}"
            for name, rows in told.rows.items()
            if self.rows[name] < rows or (self.rows[name] > rows and not more_is_fine)
        ]
        if self.migrations != told.migrations:
            wrong.append("its migrations differ")
        return "; ".join(wrong)


def content_of(ask: Ask) -> Content:
    """Counts. Raises the engine's error where a table is not there."""
    applied = ask("SELECT app, name FROM django_migrations ORDER BY id")
    rows = {name: ask(count_sql(model))[0][0] for name, model in COUNTED.items()}
    return Content(migrations={app: name for app, name in applied}, rows=rows)  # noqa: C416  # rows are not always tuples


def count_sql(model: type[models.Model]) -> str:
    """The statement that counts the model's rows."""
    return f"SELECT COUNT(*) FROM {model._meta.db_table}"  # noqa: S608  # names come from the models


def asking(connection: BaseDatabaseWrapper) -> Ask:
    """Asks through Django's connection."""

    def ask(sql: str) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    return ask


def tables_of(connection: BaseDatabaseWrapper) -> list[str]:
    """All tables, ours or not."""
    with connection.cursor() as cursor:
        return sorted(connection.introspection.table_names(cursor))


def is_migrated(connection: BaseDatabaseWrapper) -> bool:
    """Whether the tables are there that every backup tells about."""
    needed = {MigrationRecorder.Migration._meta.db_table}
    needed |= {model._meta.db_table for model in COUNTED.values()}
    return needed <= {*tables_of(connection)}


def filled_tables(connection: BaseDatabaseWrapper) -> dict[str, int]:
    """Table -> number of rows, for each that holds something which would be missed, ours or not."""
    ask, quote = asking(connection), connection.ops.quote_name
    counted = {
        table: int(ask(f"SELECT COUNT(*) FROM {quote(table)}")[0][0])  # noqa: S608  # the database's own names, quoted
        for table in tables_of(connection)
        if table not in _OF_DJANGO
    }
    return {table: rows for table, rows in counted.items() if rows}


def unknown_migrations(migrations: Mapping[str, str]) -> list[str]:
    """Those that this version of the product does not have, because a newer one made them."""
    known = MigrationLoader(None).disk_migrations or {}
    return sorted(f"{app}.{name}" for app, name in migrations.items() if (app, name) not in known)
