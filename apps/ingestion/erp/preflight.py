"""Tells whether a run would work: columns, and whether the ERP's login can write."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.ingestion.erp.mapping import Column, MappingError, Relation, nearest
from apps.ingestion.erp.reader import ErpReader, explained
from apps.ingestion.erp.tables import parse_table_name, quoted_table
from apps.ingestion.errors import ErpError


@dataclass(frozen=True)
class Table:
    """A table or view of the ERP as it really is."""

    name: str
    columns: dict[str, str]  # name -> type as the ERP calls it, "" where it does not say


@dataclass(frozen=True)
class WriteProof:
    """What the server itself says about writing through this login."""

    can_write: bool
    statement: str


def ensure_readable(reader: ErpReader) -> None:
    """The short form of check_erp, before each extraction; inside `reader.reading()`.

    Raises MappingError for columns the ERP does not have, ErpError for a login that can write.
    """
    problems = missing_columns(reader)
    if problems:
        raise MappingError(problems, reader.mapping.source)
    proof = write_proof(reader)
    if proof.can_write and not settings.ERP_ALLOW_WRITABLE_LOGIN:
        raise ErpError(
            f"The ERP's login can write: {proof.statement}.",
            "Use a login that may only SELECT (docs/operations.md), or, if the ERP cannot "
            "restrict it, set ERP_ALLOW_WRITABLE_LOGIN=true.",
        )


def missing_columns(reader: ErpReader) -> list[str]:
    """Every mapped column that its table does not have, with the nearest name it does have."""
    problems = []
    wanted: list[tuple[Relation, str, Column]] = [
        (reader.mapping.lines, field, column)
        for field, source in reader.mapping.lines.fields.items()
        for column in source.columns
    ]
    wanted += [
        (reader.mapping.lines, f"custom column {slot}", column)
        for slot, column in reader.custom_columns.items()
    ]
    relations = [reader.mapping.lines]
    if reader.mapping.deliveries is not None:
        relations.append(reader.mapping.deliveries)
        wanted += [
            (reader.mapping.deliveries, field, column)
            for field, source in reader.mapping.deliveries.fields.items()
            for column in source.columns
        ]
    for relation in relations:
        for name, join in relation.joins.items():
            wanted += [(relation, f"joins.{name}.on", Column(name, own)) for own, _ in join.on]
            wanted += [(relation, f"joins.{name}.on", other) for _, other in join.on]
    tables: dict[tuple[str, str], Table] = {}
    for relation, key, column in wanted:
        name = relation.joins[column.join].table if column.join else relation.table
        if (relation.section, column.join) not in tables:
            tables[relation.section, column.join] = table_of(name, reader.connection)
        real = tables[relation.section, column.join].columns
        # Names are compared as the engines do: without case, where nothing else fits.
        if column.name not in real and column.name.lower() not in {n.lower() for n in real}:
            problems.append(
                f'[{relation.section}] {key}: table {name} has no column "{column.name}"'
                f"{nearest(column.name, real)}"
            )
    return problems


def table_of(name: str, connection: BaseDatabaseWrapper) -> Table:
    """The table's real columns and their types. Raises ErpError when it cannot be read."""
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
            cursor.execute(
                "SELECT column_name, data_type FROM information_schema.columns "
                "WHERE table_name = %s AND (%s IS NULL OR table_schema = %s)",
                [parts[-1], schema, schema],
            )
            types = dict(cursor.fetchall())
    return Table(name, {column: types.get(column, "") for column in names})


def write_proof(reader: ErpReader) -> WriteProof:
    """Asks the server whether the login could write to the mapped tables."""
    connection = reader.connection
    if connection.vendor == "sqlite":
        return WriteProof(False, "the file is opened with mode=ro, SQLite refuses every write")
    tables = [reader.mapping.lines.table, *(j.table for j in reader.mapping.lines.joins.values())]
    if reader.mapping.deliveries is not None:
        tables.append(reader.mapping.deliveries.table)
    ask = _ask_postgresql if connection.vendor == "postgresql" else _ask_sql_server
    writable = sorted({name for name in tables if ask(connection, name)})
    if writable:
        return WriteProof(True, f"the server grants it writing to {', '.join(writable)}")
    return WriteProof(False, "the server grants this login no writing to the mapped tables")


def _ask_postgresql(connection: BaseDatabaseWrapper, table: str) -> bool:
    with explained(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT has_table_privilege(%s, 'INSERT') OR has_table_privilege(%s, 'UPDATE') "
            "OR has_table_privilege(%s, 'DELETE') OR has_table_privilege(%s, 'TRUNCATE')",
            [quoted_table(table, connection)] * 4,
        )
        return bool(cursor.fetchone()[0])


def _ask_sql_server(connection: BaseDatabaseWrapper, table: str) -> bool:
    with explained(), connection.cursor() as cursor:
        name = quoted_table(table, connection)
        cursor.execute(
            "SELECT COALESCE(HAS_PERMS_BY_NAME(%s, 'OBJECT', 'INSERT'), 0) "
            "+ COALESCE(HAS_PERMS_BY_NAME(%s, 'OBJECT', 'UPDATE'), 0) "
            "+ COALESCE(HAS_PERMS_BY_NAME(%s, 'OBJECT', 'DELETE'), 0)",
            [name] * 3,
        )
        return bool(cursor.fetchone()[0])
