"""The application's database: there, up to date, guarded, and set up as its engine needs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db import Error as AnyDatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from apps.accounts.models import Role, User
from apps.audit import append_only
from apps.core.redaction import first_line
from apps.ingestion.trouble import explain_unexpected
from apps.operations.finding import Finding, error, ok, warning

# A large database is looked through for so long, and then believed.
_QUICK_CHECK_SECONDS = 10
# SQLite's virtual machine asks whether to stop each time it has done so many steps.
_STEPS_BETWEEN_QUESTIONS = 100_000

_VERSIONS = {
    "sqlite": "SELECT sqlite_version()",
    "postgresql": "SELECT current_setting('server_version')",
    "microsoft": "SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(60))",
}
_SQL_SERVER_OPTIONS = (
    "SELECT name, is_read_committed_snapshot_on, snapshot_isolation_state "
    "FROM sys.databases WHERE database_id = DB_ID()"
)
# In bytes. On SQL Server a page has 8 kB.
_SIZES = {
    "postgresql": "SELECT pg_database_size(current_database())",
    "microsoft": "SELECT SUM(CAST(size AS bigint)) * 8192 FROM sys.database_files",
}
_PRODUCTS = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "microsoft": "SQL Server"}


def look_at_database() -> Iterator[Finding]:
    """A fresh connection, within the engine's connect time-out."""
    connection = connections[DEFAULT_DB_ALIAS]
    if is_missing(connection):
        yield error(
            f"There is no database file {sqlite_file(connection)}.",
            "On a new installation, run manage.py migrate, which makes it. Otherwise correct "
            "DATABASE_URL, or bring the file back: manage.py restore.",
        )
        return
    started = time.perf_counter()
    try:
        connection.ensure_connection()
        (version,) = _row(connection, _VERSIONS[connection.vendor])
    except AnyDatabaseError as trouble:  # a missing driver is no DatabaseError
        yield error(
            f"The application's database cannot be used: {first_line(trouble)}",
            explain_unexpected("application", trouble).remedy,
        )
        return
    milliseconds = round((time.perf_counter() - started) * 1000)
    product = f"{_PRODUCTS[connection.vendor]} {version}"
    yield ok(f"{product}, {_address(connection)}, answered in {milliseconds:,} ms")


def look_at_size() -> Iterator[Finding]:
    """How much room the database takes, with what its engine keeps beside the data."""
    connection = connections[DEFAULT_DB_ALIAS]
    size = _size(connection)
    yield ok("not known" if size is None else f"{size / 1_000_000:,.1f} MB")


def _size(connection: BaseDatabaseWrapper) -> int | None:
    """In bytes; None where nobody can tell, as for a database in memory."""
    if connection.vendor in _SIZES:
        (size,) = _row(connection, _SIZES[connection.vendor])
        return None if size is None else int(size)
    file = sqlite_file(connection)
    if file is None:
        return None
    beside = (file.with_name(f"{file.name}{suffix}") for suffix in ("-wal", "-shm"))
    return sum(part.stat().st_size for part in (file, *beside) if part.exists())


def look_at_migrations() -> Iterator[Finding]:
    """Tables as this version of the program expects them, neither older nor newer."""
    loader = (executor := MigrationExecutor(connections[DEFAULT_DB_ALIAS])).loader
    pending = executor.migration_plan(loader.graph.leaf_nodes())
    unknown = sorted(
        f"{app}.{name}"
        for app, name in set(loader.applied_migrations) - set(loader.disk_migrations)
        if app in loader.migrated_apps
    )
    if pending:
        yield error(
            f"{len(pending)} migration(s) of the application's database are not applied.",
            "Run manage.py migrate.",
        )
    if unknown:
        yield error(
            "The application's database was made by a newer version of PO Tracking; this version "
            f"does not know {', '.join(unknown)}.",
            "Install the newer version again, or restore the backup made before the update.",
        )
    if not pending and not unknown:
        yield ok(f"all {len(loader.disk_migrations)} migrations are applied")


def look_at_history() -> Iterator[Finding]:
    """The triggers that keep audit events and change events as they were written."""
    gone = append_only.missing(connections[DEFAULT_DB_ALIAS])
    if gone:
        yield error(
            f"History can be changed: the database lacks, or has switched off, {', '.join(gone)}.",
            "Find out who did it and why, then put it back: docs/operations.md, doctor.",
        )
    else:
        yield ok("audit events and change events are append-only in the database")


def look_at_engine() -> Iterator[Finding]:
    """What the engine needs so that pages and the nightly run do not wait for each other."""
    connection = connections[DEFAULT_DB_ALIAS]
    yield from _ENGINES[connection.vendor](connection)


def look_at_users() -> Iterator[Finding]:
    """Somebody must be able to sign in and look after the application."""
    admins = User.objects.filter(is_active=True, role=Role.ADMIN).count()
    if admins:
        yield ok(f"{admins:,} active administrator(s)")
    else:
        yield warning(
            "There is no active user with the role administrator.",
            "Make one: manage.py create_admin NAME.",
        )


# --- engines ------------------------------------------------------------------------------------


def _look_at_sqlite(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    (mode,) = _row(connection, "PRAGMA journal_mode")
    # A database in memory, as the tests have it, has one connection and needs no journal.
    if mode not in {"wal", "memory"}:
        yield warning(
            f"The SQLite file's journal mode is {mode}, not wal: pages wait while a night is "
            "applied.",
            "Put the file on a local disk: a network drive cannot do it.",
        )
    damage, seconds = _quick_check(connection)
    if damage:
        yield error(
            f"The SQLite file is damaged: {damage[0]}",
            "Stop the application and restore the last backup; keep the damaged file.",
        )
    elif seconds >= _QUICK_CHECK_SECONDS:
        yield ok(f"journal mode {mode}; no damage found in the first {seconds:.0f} s")
    else:
        yield ok(f"journal mode {mode}; no damage found")


def _quick_check(connection: BaseDatabaseWrapper) -> tuple[list[str], float]:
    """Messages about damage, and how long it took; it ends when its time is over."""
    started = time.monotonic()
    deadline = started + _QUICK_CHECK_SECONDS
    connection.ensure_connection()
    sqlite = connection.connection
    sqlite.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_QUESTIONS)
    try:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA quick_check(1)")
            found = [message for (message,) in cursor.fetchall() if message != "ok"]
    except OperationalError as trouble:
        if "interrupted" not in str(trouble):
            raise
        found = []
    finally:
        sqlite.set_progress_handler(None, 0)
    return found, time.monotonic() - started


def _look_at_postgresql(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    (encoding,) = _row(connection, "SELECT current_setting('server_encoding')")
    if encoding != "UTF8":
        yield error(
            f"The database's encoding is {encoding}, not UTF8: names from China cannot be stored.",
            "Make the database anew with ENCODING 'UTF8', and restore into it.",
        )
    else:
        yield ok("encoding UTF8")


def _look_at_sql_server(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    name, versioned, snapshot = _row(connection, _SQL_SERVER_OPTIONS)
    quoted = connection.ops.quote_name(name)
    problems = []
    if not versioned:
        problems.append(
            error(
                "READ_COMMITTED_SNAPSHOT is off: pages wait while a night is applied.",
                f"While nobody is connected: ALTER DATABASE {quoted} SET READ_COMMITTED_SNAPSHOT "
                "ON;",
            )
        )
    if snapshot != 1:
        problems.append(
            error(
                "ALLOW_SNAPSHOT_ISOLATION is off.",
                f"ALTER DATABASE {quoted} SET ALLOW_SNAPSHOT_ISOLATION ON;",
            )
        )
    yield from problems or [ok("row versioning is on")]


_ENGINES: dict[str, Callable[[BaseDatabaseWrapper], Iterator[Finding]]] = {
    "sqlite": _look_at_sqlite,
    "postgresql": _look_at_postgresql,
    "microsoft": _look_at_sql_server,
}


def sqlite_file(connection: BaseDatabaseWrapper) -> Path | None:
    """The file of an SQLite database, be it there or not; None for a server and one in memory."""
    if connection.vendor != "sqlite":
        return None
    if connection.is_in_memory_db():  # type: ignore[attr-defined]  # SQLite's alone has it
        return None
    name = str(connection.settings_dict["NAME"])
    if name.startswith("file:"):
        name = unquote(name.removeprefix("file:").partition("?")[0])
    return Path(name)


def is_missing(connection: BaseDatabaseWrapper) -> bool:
    """Whether it is an SQLite file that is not there. Whoever connects makes it, and a file that
    was only moved would have an empty one in its place."""
    file = sqlite_file(connection)
    return file is not None and not file.exists()


def _address(connection: BaseDatabaseWrapper) -> str:
    given = connection.settings_dict
    if connection.vendor == "sqlite":
        return str(sqlite_file(connection) or "in memory")
    host = ":".join(filter(None, [given["HOST"], str(given["PORT"] or "")]))
    return f"{host}/{given['NAME']}"


def _row(connection: BaseDatabaseWrapper, query: str) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        row: tuple[Any, ...] = cursor.fetchone()
    return row
