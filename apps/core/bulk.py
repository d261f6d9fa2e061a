"""Writes many rows fast, inside the caller's transaction, each engine in its own way.

Values are given as the database takes them: canonical texts for dates and quantities, JSON as
text, aware datetimes, UUIDs, booleans, numbers, None. That spares the million conversions which a
model instance per row would cost. No way here skips a trigger.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

Row = Sequence[Any]

# SQL Server takes 2,100 parameters and 1,000 rows a statement; the rest is a margin.
_MAX_PARAMETERS = 2_000
_MAX_ROWS = 900


def insert_rows(
    model: type[models.Model],
    fields: Sequence[str],
    rows: Iterable[Row],
    using: str = DEFAULT_DB_ALIAS,
) -> int:
    """Inserts rows of values in the order of `fields` (attribute names, `run_id` style for keys).

    Returns how many there were. Columns not named get no value: name every one without a database
    default. Raises the engine's IntegrityError or DataError for the whole call.
    """
    connection = connections[using]
    columns = _columns(model, fields)
    prepared = list(_prepared(columns, rows, connection))
    if prepared:
        table = connection.ops.quote_name(model._meta.db_table)
        names = ", ".join(_column_name(column, connection) for column in columns)
        _INSERTERS.get(connection.vendor, _insert_values)(connection, table, names, prepared)
    return len(prepared)


def update_rows(
    model: type[models.Model],
    fields: Sequence[str],
    rows: Iterable[Row],
    using: str = DEFAULT_DB_ALIAS,
) -> int:
    """Updates rows by primary key: each row holds the values of `fields`, then the primary key."""
    connection = connections[using]
    columns = _columns(model, fields)
    key = model._meta.pk
    prepared = list(_prepared([*columns, key], rows, connection))
    if prepared:
        table = connection.ops.quote_name(model._meta.db_table)
        assignments = ", ".join(f"{_column_name(column, connection)} = %s" for column in columns)
        statement = f"UPDATE {table} SET {assignments} WHERE {_column_name(key, connection)} = %s"  # noqa: S608  # names come from the models
        with connection.cursor() as cursor:
            cursor.executemany(statement, prepared)
    return len(prepared)


def refresh_statistics(*tables: type[models.Model], using: str = DEFAULT_DB_ALIAS) -> None:
    """Tells the engine's planner what a bulk write has changed, before it plans big joins.

    Until then PostgreSQL and SQL Server take a value they have not met, such as tonight's run, for
    one row. SQLite plans by the indexes alone here.
    """
    connection = connections[using]
    command = {"postgresql": "ANALYZE", "microsoft": "UPDATE STATISTICS"}.get(connection.vendor)
    if command is None:
        return
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"{command} {connection.ops.quote_name(table._meta.db_table)}")


def chunks(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """The rows in lists of at most `size`."""
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _columns(model: type[models.Model], names: Sequence[str]) -> list[Any]:
    by_name = {column.attname: column for column in model._meta.concrete_fields}
    return [by_name[name] for name in names]


def _column_name(column: Any, connection: BaseDatabaseWrapper) -> str:
    return connection.ops.quote_name(column.column)


def _prepared(
    columns: Sequence[Any], rows: Iterable[Row], connection: BaseDatabaseWrapper
) -> Iterator[Row]:
    """The rows with datetimes and UUIDs in the engine's form; the rest is passed through."""
    converted = [
        (i, column)
        for i, column in enumerate(columns)
        if isinstance(column, models.DateTimeField | models.UUIDField)
    ]
    if not converted:
        yield from rows
        return
    # A chunk repeats few of them: the run's id, the moment of writing.
    known: dict[Any, Any] = {}
    for row in rows:
        values = list(row)
        for i, column in converted:
            value = values[i]
            if value not in known:
                known[value] = column.get_db_prep_value(value, connection)
            values[i] = known[value]
        yield values


def _insert_each(connection: BaseDatabaseWrapper, table: str, names: str, rows: list[Row]) -> None:
    """SQLite: one prepared statement, executed per row inside the library."""
    marks = ", ".join(["%s"] * len(rows[0]))
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)  # noqa: S608  # names come from the models


def _insert_copy(connection: BaseDatabaseWrapper, table: str, names: str, rows: list[Row]) -> None:
    """PostgreSQL: COPY, its fastest way in; fires triggers and stays in the transaction."""
    statement = f"COPY {table} ({names}) FROM STDIN"
    # Django wraps the errors of execute, not those of copy.
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(statement) as copy,
    ):
        for row in rows:
            copy.write_row(row)


def _insert_values(
    connection: BaseDatabaseWrapper, table: str, names: str, rows: list[Row]
) -> None:
    """Others: several rows a statement, below the limit of parameters."""
    width = len(rows[0])
    mark = f"({', '.join(['%s'] * width)})"
    with connection.cursor() as cursor:
        for chunk in chunks(rows, min(_MAX_ROWS, _MAX_PARAMETERS // width)):
            marks = ", ".join([mark] * len(chunk))
            parameters = [value for row in chunk for value in row]
            cursor.execute(f"INSERT INTO {table} ({names}) VALUES {marks}", parameters)  # noqa: S608  # names come from the models


_INSERTERS: dict[str, Callable[[BaseDatabaseWrapper, str, str, list[Row]], None]] = {
    "sqlite": _insert_each,
    "postgresql": _insert_copy,
}
