"""Tells whether a run would work: tables, columns, and whether the ERP's login can write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.ingestion.erp import rights
from apps.ingestion.erp.mapping import (
    Column,
    ErpMapping,
    MappingError,
    Relation,
    load_mapping,
    nearest,
)
from apps.ingestion.erp.places import places_of, row_versions
from apps.ingestion.erp.reader import ErpReader, erp_connection, explained
from apps.ingestion.erp.router import ERP_ALIAS
from apps.ingestion.erp.tables import parse_table_name, quoted_name, quoted_table
from apps.ingestion.errors import ErpError, TransientErpError


@dataclass(frozen=True)
class Table:
    """A table or view of the ERP as it really is."""

    name: str
    columns: dict[str, str]  # name -> type as the ERP calls it, "" where it does not say

    def type_of(self, column: str, *, exact: bool) -> str | None:
        """The column's type, or None when there is no such column."""
        if column in self.columns or exact:
            return self.columns.get(column)
        return next(
            (kind for name, kind in self.columns.items() if name.lower() == column.lower()), None
        )


@dataclass(frozen=True)
class Use:
    """A column that the mapping needs, and the key of the mapping that asks for it."""

    relation: Relation
    key: str
    column: Column


@dataclass
class Examination:
    """How the mapping and the ERP's tables fit together."""

    tables: dict[tuple[str, str], Table] = field(default_factory=dict)  # by (section, join)
    problems: list[str] = field(default_factory=list)
    exact_names: bool = False

    def type_of(self, relation: Relation, column: Column) -> str | None:
        """The column's type, or None when it was not found."""
        table = self.tables.get((relation.section, column.join))
        return None if table is None else table.type_of(column.name, exact=self.exact_names)


@dataclass(frozen=True)
class Server:
    """Where the ERP is, as the server itself tells it."""

    product: str
    address: str
    login: str


def has_erp() -> bool:
    """Whether this installation has an ERP."""
    return ERP_ALIAS in connections.settings


def connect() -> BaseDatabaseWrapper:
    """A fresh connection to the ERP, tried once. Raises ErpError."""
    connection = erp_connection()
    connection.close()
    with explained():
        connection.ensure_connection()
    return connection


def load_compared_mapping() -> ErpMapping:
    """The mapping. Where it is wrong, the MappingError also names what the ERP does not have, so
    that one look is enough to correct all."""
    try:
        return load_mapping()
    except MappingError as error:
        if error.partial is None:
            raise
        try:
            connection = connect()
            found = examine(error.partial, {}, connection)
            connection.close()
        except ErpError:
            raise error from None  # what is wrong with the file is enough for now
        raise MappingError([*error.problems, *found.problems], error.partial.source) from error


def ensure_readable(reader: ErpReader) -> None:
    """The short form of check_erp, before each extraction; inside `reader.reading()`.

    Raises MappingError for what the ERP does not have, ErpError for a login that may write.
    """
    found = examine(reader.mapping, reader.custom_columns, reader.connection)
    if found.problems:
        raise MappingError(found.problems, reader.mapping.source)
    if settings.ERP_ALLOW_WRITABLE_LOGIN:
        return
    proof = rights.write_proof(reader.mapping, reader.connection)
    if proof.can_write is not False:
        raise rights.unproven_login(proof)


def examine(
    mapping: ErpMapping, custom_columns: Mapping[str, Column], connection: BaseDatabaseWrapper
) -> Examination:
    """Compares every table and column that the mapping names with the ERP's own.

    Raises TransientErpError when the ERP cannot be asked now; all else is a problem of the result.
    """
    # SQLite and, as a rule, SQL Server find a column whatever its case; PostgreSQL does not.
    found = Examination(exact_names=connection.vendor == "postgresql")
    for relation in mapping.relations:
        for join, name in relation.tables:
            if not name:
                continue  # the mapping lacks the table's name and has been told so
            where = f"{relation.section}.joins.{join}" if join else relation.section
            try:
                found.tables[relation.section, join] = table_of(name, connection)
            except TransientErpError:
                raise
            except ErpError as error:
                found.problems.append(f"[{where}] table: {error.message}")
    for use in _uses(mapping, custom_columns):
        table = found.tables.get((use.relation.section, use.column.join))
        if table is not None and found.type_of(use.relation, use.column) is None:
            found.problems.append(
                f"[{use.relation.section}] {use.key}: table {table.name} has no column "
                f'"{use.column.name}"{nearest(str(use.column), _writable_names(found, use))}'
            )
    return found


def table_of(name: str, connection: BaseDatabaseWrapper) -> Table:
    """The table's real columns and their types. Raises ErpError when it cannot be read.

    On PostgreSQL a statement that fails would end the reading transaction, so there the catalogue
    is asked, and only columns that the login may read count.
    """
    if connection.vendor == "postgresql":
        columns = _columns_on_postgresql(name, connection)
    else:
        columns = _columns_by_select(name, connection)
    if not columns:
        known = _known_tables(connection)
        raise ErpError(
            f'the ERP has no table or view "{name}" that this login may read{nearest(name, known)}',
            "Correct the table in the mapping file, or let the ERP's administrator grant the login "
            "SELECT on it.",
        )
    return Table(name, columns)


def server_of(connection: BaseDatabaseWrapper) -> Server:
    """Asks the server what it is. Raises ErpError."""
    given = connection.settings_dict
    with explained(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT sqlite_version()")
            file = unquote(re.sub(r"^file:(.*)\?mode=ro$", r"\1", str(given["NAME"])))
            return Server(f"SQLite {cursor.fetchone()[0]}", file, "")
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT current_setting('server_version'), current_database(), current_user"
            )
            version, database, login = cursor.fetchone()
            host = ":".join(filter(None, [given["HOST"], str(given["PORT"] or "")]))
            return Server(f"PostgreSQL {version}", f"{host}/{database}", login)
        cursor.execute(
            "SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(60)), @@SERVERNAME, "
            "DB_NAME(), SUSER_SNAME()"
        )
        version, host, database, login = cursor.fetchone()
        return Server(f"SQL Server {version}", f"{host}/{database}", login)


def databases_with_moving_reads(connection: BaseDatabaseWrapper, mapping: ErpMapping) -> list[str]:
    """Where SNAPSHOT is not allowed, if rows may move under a reading run because of that.

    That is on SQL Server only, and not where every database versions what is committed.
    """
    if connection.vendor != "microsoft":
        return []
    with explained():
        versions = row_versions(places_of(mapping.tables, connection), connection)
    if all(each.read_committed_snapshot for each in versions):
        return []
    return [each.database for each in versions if not each.allow_snapshot_isolation]


def _uses(mapping: ErpMapping, custom_columns: Mapping[str, Column]) -> Iterator[Use]:
    for relation in mapping.relations:
        for name, source in relation.fields.items():
            for column in source.columns:
                yield Use(relation, name, column)
        for name, join in relation.joins.items():
            for own, other in join.on:
                yield Use(relation, f"joins.{name}.on", Column(name, own))
                yield Use(relation, f"joins.{name}.on", other)
    for slot, column in custom_columns.items():
        yield Use(mapping.lines, f"custom column {slot}", column)


def _writable_names(found: Examination, use: Use) -> list[str]:
    """The columns that exist, as the mapping would write them."""
    if use.key.endswith(".on") and use.column.join:
        return list(found.tables[use.relation.section, use.column.join].columns)
    return [
        str(Column(join, name))
        for (section, join), table in found.tables.items()
        if section == use.relation.section
        for name in table.columns
    ]


def _columns_by_select(name: str, connection: BaseDatabaseWrapper) -> dict[str, str]:
    if not _exists(name, connection):
        return {}
    with explained(), connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {quoted_table(name, connection)} WHERE 1 = 0")  # noqa: S608  # quoted
        names = [column[0] for column in cursor.description]
        types: dict[str, str] = {}
        parts = parse_table_name(name)
        if connection.vendor == "sqlite":
            cursor.execute(f"PRAGMA table_info({quoted_table(parts[-1], connection)})")
            types = {row[1]: row[2] for row in cursor.fetchall()}
        else:
            schema = parts[-2] if len(parts) > 1 else None
            where = "".join(f"{quoted_name(part, connection)}." for part in parts[:-2])
            cursor.execute(
                # In capitals: where the collation tells case apart, the catalogue does too.
                f"SELECT COLUMN_NAME, DATA_TYPE FROM {where}INFORMATION_SCHEMA.COLUMNS "  # noqa: S608  # quoted
                "WHERE TABLE_NAME = %s AND (%s IS NULL OR TABLE_SCHEMA = %s)",
                [parts[-1], schema, schema],
            )
            types = dict(cursor.fetchall())
    return {column: types.get(column, "") for column in names}


def _exists(name: str, connection: BaseDatabaseWrapper) -> bool:
    parts = parse_table_name(name)
    if connection.vendor == "microsoft" and len(parts) > 3:
        return True  # on a linked server, whose catalogue is not ours to ask
    with explained(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                "SELECT MAX(name) FROM sqlite_master "
                "WHERE type IN ('table', 'view') AND lower(name) = lower(%s)",
                [parts[-1]],
            )
        else:
            cursor.execute("SELECT OBJECT_ID(%s)", [quoted_table(name, connection)])
        return cursor.fetchone()[0] is not None


def _columns_on_postgresql(name: str, connection: BaseDatabaseWrapper) -> dict[str, str]:
    with explained(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped "
            "AND has_column_privilege(attrelid, attnum, 'SELECT') ORDER BY attnum",
            [quoted_table(name, connection)],
        )
        return dict(cursor.fetchall())


_TABLE_LISTS = {
    "sqlite": "SELECT NULL, name FROM sqlite_master WHERE type IN ('table', 'view')",
    "postgresql": (
        "SELECT CASE WHEN pg_table_is_visible(pg_class.oid) THEN NULL ELSE nspname END, relname "
        "FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND nspname NOT IN ('pg_catalog', "
        "'information_schema', 'pg_toast') AND has_any_column_privilege(pg_class.oid, 'SELECT')"
    ),
    "microsoft": "SELECT TABLE_SCHEMA, TABLE_NAME FROM INFORMATION_SCHEMA.TABLES",
}


def _known_tables(connection: BaseDatabaseWrapper) -> list[str]:
    """The tables and views that the login sees, as the mapping would write them."""
    with explained(), connection.cursor() as cursor:
        cursor.execute(_TABLE_LISTS[connection.vendor])
        return sorted(
            ".".join(part if re.fullmatch(r"\w+", part) else f"[{part}]" for part in parts if part)
            for parts in cursor.fetchall()
        )
