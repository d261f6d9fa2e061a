"""The ERP: the short form of check_erp, which reads no rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as AnyDatabaseError

from apps.ingestion.custom_columns import erp_fed_slots
from apps.ingestion.erp import preflight
from apps.ingestion.erp.mapping import MappingError, load_mapping
from apps.ingestion.erp.reader import ErpReader
from apps.ingestion.errors import ErpError
from apps.operations.checks.configuration import is_read_only_instance
from apps.operations.checks.database import is_missing
from apps.operations.finding import Finding, error, ok, warning


def look_at_mapping() -> Iterator[Finding]:
    """The file, without comparing it with the ERP."""
    if is_read_only_instance():
        yield ok("none, as it should be on the read-only instance")
        return
    try:
        mapping = load_mapping()
    except MappingError as wrong:
        for problem in wrong.problems:
            yield error(f"{Path(settings.ERP_MAPPING_FILE).name}: {problem}", wrong.remedy)
    except ErpError as wrong:
        yield error(wrong.message, wrong.remedy)
    else:
        yield ok(f"{mapping.source} reads {mapping.lines.table}")


def look_at_erp() -> Iterator[Finding]:
    """One connection, tried once; then tables, columns and what the login may do."""
    if not preflight.has_erp():
        yield _no_erp()
        return
    try:
        connection = preflight.connect()
        try:
            server = preflight.server_of(connection)
            mapping = load_mapping()
            moving = preflight.databases_with_moving_reads(connection, mapping)
        finally:
            connection.close()
        if moving:
            yield warning(
                "The ERP's database has no row versioning: rows may move while they are read.",
                f"Ask the ERP's administrator for ALLOW_SNAPSHOT_ISOLATION in {', '.join(moving)}.",
            )
        reader = ErpReader(mapping, _slots())
        with reader.reading():
            preflight.ensure_readable(reader)
    except MappingError as wrong:
        for problem in wrong.problems:
            yield error(problem, "Correct the mapping file, then look with check_erp.")
    except ErpError as wrong:
        yield error(wrong.message, wrong.remedy)
    else:
        yield ok(f"{server.product}, {server.address}; tables, columns and login are right")


def _no_erp() -> Finding:
    if is_read_only_instance():
        return ok("none, as it should be on the read-only instance")
    return error(
        "No ERP is configured.", "Set ERP_DATABASE_URL in .env; .env.example has one per engine."
    )


def _slots() -> dict[str, str]:
    """The custom columns that the ERP feeds, as far as the application's database can tell: that
    it cannot is the message of another line."""
    if is_missing(connections[DEFAULT_DB_ALIAS]):
        return {}
    try:
        return erp_fed_slots()
    except AnyDatabaseError:  # a missing driver is no DatabaseError
        return {}
