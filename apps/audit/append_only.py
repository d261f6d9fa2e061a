"""What makes the tables of history append-only in the database itself, engine by engine.

Migration 0002 installs it. The product has no switch to lift it: whoever changes history must
remove triggers by hand as the owner of the database.

SQLite loses a table's triggers when Django rebuilds the table, so a later migration that alters
one of these tables has to `remove` before and `install` after; the tests notice when it does not.
"""

from collections.abc import Callable

from django.db import NotSupportedError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

TABLES = ("audit_auditevent", "audit_erpchangeevent")

_GUARD_TABLE = "audit_append_only_guard"
_FUNCTION = "audit_refuse_change"


def refusal(table: str) -> str:
    """What the database answers to every attempt."""
    return (
        f"{table} is append-only: rows are neither changed nor deleted, because history has to "
        "stay as it was recorded. Record a new event instead."
    )


def install(schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Makes the tables append-only. Raises NotSupportedError on an engine it does not know."""
    _run(schema_editor, _INSTALL)


def remove(schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Takes back what `install` did. Raises NotSupportedError on an engine it does not know."""
    _run(schema_editor, _REMOVE)


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """What `install` makes and this database does not have, or has switched off; only reads.

    Raises NotSupportedError on an engine it does not know.
    """
    if connection.vendor not in _IN_PLACE:
        raise _unknown(connection.vendor)
    names, query = _IN_PLACE[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(query)
        found = {name for (name,) in cursor.fetchall()}
    return [
        name.format(table=table)
        for table in TABLES
        for name in names
        if name.format(table=table) not in found
    ]


def _unknown(vendor: str) -> NotSupportedError:
    return NotSupportedError(
        f"The audit tables cannot be made append-only on {vendor}. "
        "Use SQLite, PostgreSQL or SQL Server, see DATABASE_URL in .env.example."
    )


Statements = Callable[[], list[str]]


def _run(schema_editor: BaseDatabaseSchemaEditor, per_vendor: dict[str, Statements]) -> None:
    vendor = schema_editor.connection.vendor
    if vendor not in per_vendor:
        raise _unknown(vendor)
    for statement in per_vendor[vendor]():
        schema_editor.execute(statement, params=None)


def _sqlite_install() -> list[str]:
    """INSERT OR REPLACE deletes the old row, and tells a DELETE trigger only on connections with
    `recursive_triggers`; the INSERT trigger refuses it on all others too."""
    taken = "WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id)"
    return [
        f"CREATE TRIGGER {table}_{name} BEFORE {event} ON {table} {condition.format(table=table)} "
        f"BEGIN SELECT RAISE(ABORT, '{refusal(table)}'); END"
        for table in TABLES
        for name, event, condition in (
            ("no_update", "UPDATE", ""),
            ("no_delete", "DELETE", ""),
            ("no_replace", "INSERT", taken),
        )
    ]


def _sqlite_remove() -> list[str]:
    return [
        f"DROP TRIGGER IF EXISTS {table}_{name}"
        for table in TABLES
        for name in ("no_update", "no_delete", "no_replace")
    ]


def _postgresql_install() -> list[str]:
    """Per statement, not per row: that refuses TRUNCATE and ON CONFLICT DO UPDATE as well."""
    function = f"""
        CREATE FUNCTION {_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION USING
                ERRCODE = 'integrity_constraint_violation', MESSAGE = TG_ARGV[0];
        END $$
    """
    triggers = [
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {_FUNCTION}('{refusal(table)}')"
        for table in TABLES
    ]
    return [function, *triggers]


def _postgresql_remove() -> list[str]:
    triggers = [f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}" for table in TABLES]
    return [*triggers, f"DROP FUNCTION IF EXISTS {_FUNCTION}()"]


def _microsoft_install() -> list[str]:
    """No trigger sees TRUNCATE there, but a table with a foreign key pointing at it cannot be
    truncated: the guard table holds one to each, and by its check never a row."""
    triggers = [
        f"CREATE TRIGGER {table}_append_only ON {table} INSTEAD OF UPDATE, DELETE AS "
        f"BEGIN SET NOCOUNT ON; THROW 51000, N'{refusal(table)}', 1; END"
        for table in TABLES
    ]
    columns = ", ".join(
        f"{table}_id bigint NULL CONSTRAINT {table}_no_truncate REFERENCES {table} (id)"
        for table in TABLES
    )
    guard = (
        f"CREATE TABLE {_GUARD_TABLE} ({columns}, CONSTRAINT {_GUARD_TABLE}_empty CHECK (1 = 0))"
    )
    return [*triggers, guard]


def _microsoft_remove() -> list[str]:
    triggers = [f"DROP TRIGGER IF EXISTS {table}_append_only" for table in TABLES]
    return [*triggers, f"DROP TABLE IF EXISTS {_GUARD_TABLE}"]


_INSTALL: dict[str, Statements] = {
    "sqlite": _sqlite_install,
    "postgresql": _postgresql_install,
    "microsoft": _microsoft_install,
}
_REMOVE: dict[str, Statements] = {
    "sqlite": _sqlite_remove,
    "postgresql": _postgresql_remove,
    "microsoft": _microsoft_remove,
}

# Per engine: the names of what guards each table, and the query for those that are in force.
_IN_PLACE: dict[str, tuple[tuple[str, ...], str]] = {
    "sqlite": (
        ("{table}_no_update", "{table}_no_delete", "{table}_no_replace"),
        "SELECT name FROM sqlite_master WHERE type = 'trigger'",
    ),
    "postgresql": (
        ("{table}_append_only",),
        # Enabled for ordinary sessions: D is disabled, R fires on replicas only.
        "SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
        "WHERE tgenabled IN ('O', 'A') AND pg_table_is_visible(pg_class.oid) "
        "AND tgname = relname || '_append_only'",
    ),
    "microsoft": (
        ("{table}_append_only", "{table}_no_truncate"),
        "SELECT name FROM sys.triggers WHERE is_disabled = 0 AND is_instead_of_trigger = 1 "
        "UNION ALL SELECT name FROM sys.foreign_keys",
    ),
}
