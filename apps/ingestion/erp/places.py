"""Where the mapping's names lead on SQL Server: into which database, and to which tables behind a
synonym or a view.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from apps.ingestion.erp.tables import parse_table_name, quoted_name


@dataclass(frozen=True)
class Place:
    """A table, view or synonym. Its schema is "" where the name leaves that to the server."""

    server: str  # a linked server; "" is the one that the connection is to
    database: str
    schema: str
    name: str
    known: bool = False  # the server has it and shows it to this login

    def __str__(self) -> str:
        parts = [self.server, self.database, self.schema, self.name]
        return ".".join(part for part in parts if part)

    def quoted(self, connection: BaseDatabaseWrapper) -> str:
        """Its name inside its own database."""
        parts = [self.schema, self.name] if self.schema else [self.name]
        return ".".join(quoted_name(part, connection) for part in parts)


@dataclass(frozen=True)
class RowVersions:
    """What a database does for readers while others write (ALTER DATABASE ... SET ...)."""

    database: str
    allow_snapshot_isolation: bool
    read_committed_snapshot: bool


def places_of(tables: Iterable[str], connection: BaseDatabaseWrapper) -> list[Place]:
    """The tables and what stands behind them, each once, under the names that the server gives.

    What a view reads is seen in its own database only, and only as far as the login sees it. Wrap
    it in `explained()`.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT DB_NAME()")
        (here,) = cursor.fetchone()
        waiting = [_named(table, here) for table in tables]
        found: dict[Place, None] = {}
        while waiting:
            place, behind = _looked_up(waiting.pop(0), cursor, connection)
            if place not in found:
                found[place] = None
                waiting += behind
    return list(found)


def row_versions(places: Iterable[Place], connection: BaseDatabaseWrapper) -> list[RowVersions]:
    """How each database of the places keeps rows. Wrap it in `explained()`."""
    databases = sorted({place.database for place in places if not place.server})
    if not databases:
        return []
    marks = ", ".join(["%s"] * len(databases))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, snapshot_isolation_state, is_read_committed_snapshot_on "  # noqa: S608  # marks
            f"FROM sys.databases WHERE name IN ({marks})",
            databases,
        )
        told = {name: (state == 1, bool(on)) for name, state, on in cursor.fetchall()}
    # A database that the login does not see promises nothing.
    return [RowVersions(name, *told.get(name, (False, False))) for name in databases]


def allows_snapshot(places: Iterable[Place], connection: BaseDatabaseWrapper) -> bool:
    """Whether one SNAPSHOT transaction may read all of it: no linked server takes part in one."""
    places = list(places)
    return all(not place.server for place in places) and all(
        each.allow_snapshot_isolation for each in row_versions(places, connection)
    )


def _named(table: str, here: str) -> Place:
    """As the mapping writes it, whether it is there or not."""
    *where, name = parse_table_name(table)
    server, database, schema = ([""] * 3 + where)[-3:]
    return Place(server, database or here, schema, name)


def _looked_up(
    place: Place, cursor: Any, connection: BaseDatabaseWrapper
) -> tuple[Place, list[Place]]:
    """The place as the server knows it, and what it stands for or reads."""
    if place.server:
        return place, []  # its catalogue is not ours to ask
    cursor.execute("SELECT DB_NAME(DB_ID(%s)), HAS_DBACCESS(%s)", [place.database] * 2)
    database, accessible = cursor.fetchone()
    if database is None or accessible != 1:
        return place, []
    catalogue = quoted_name(database, connection)
    # Without a schema (two dots) the server looks where it would for a statement of this login.
    schema = quoted_name(place.schema, connection) if place.schema else ""
    cursor.execute(
        "SELECT s.name, o.name, o.type, PARSENAME(y.base_object_name, 4), "  # noqa: S608  # quoted
        "PARSENAME(y.base_object_name, 3), PARSENAME(y.base_object_name, 2), "
        "PARSENAME(y.base_object_name, 1) "
        f"FROM {catalogue}.sys.objects AS o "
        f"JOIN {catalogue}.sys.schemas AS s ON s.schema_id = o.schema_id "
        f"LEFT JOIN {catalogue}.sys.synonyms AS y ON y.object_id = o.object_id "
        "WHERE o.object_id = OBJECT_ID(%s)",
        [f"{catalogue}.{schema}.{quoted_name(place.name, connection)}"],
    )
    row = cursor.fetchone()
    if row is None:
        return replace(place, database=database), []
    own_schema, name, kind, *base = row
    known = Place("", database, own_schema, name, known=True)
    if kind.strip() == "SN":
        server, other, its_schema, its_name = (part or "" for part in base)
        return known, [Place(server, other or database, its_schema, its_name)]
    if kind.strip() == "V":
        return known, _read_by(known, cursor, connection)
    return known, []


def _read_by(view: Place, cursor: Any, connection: BaseDatabaseWrapper) -> list[Place]:
    """The tables and views that a view reads. In capitals: where the collation tells case apart,
    the catalogue does too."""
    usage = f"{quoted_name(view.database, connection)}.INFORMATION_SCHEMA.VIEW_TABLE_USAGE"
    cursor.execute("SELECT OBJECT_ID(%s)", [usage])
    if cursor.fetchone()[0] is None:
        return []  # Babelfish has no such catalogue
    cursor.execute(
        f"SELECT TABLE_SCHEMA, TABLE_NAME FROM {usage} "  # noqa: S608  # quoted
        "WHERE VIEW_SCHEMA = %s AND VIEW_NAME = %s",
        [view.schema, view.name],
    )
    return [Place("", view.database, schema, name) for schema, name in cursor.fetchall()]
