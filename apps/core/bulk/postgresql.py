"""PostgreSQL: COPY in, JSON for updates; both fire triggers and stay in the transaction."""

import json
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from apps.core.bulk.target import Row, Target


def insert(target: Target, rows: list[Row]) -> None:
    """One COPY, the fastest way in."""
    statement = f"COPY {target.table} ({', '.join(target.names)}) FROM STDIN"
    # Django wraps the errors of execute, not those of copy.
    with (
        target.connection.wrap_database_errors,
        target.connection.cursor() as cursor,
        cursor.copy(statement) as copy,
    ):
        for row in rows:
            copy.write_row(row)


def update(target: Target, rows: list[Row]) -> None:
    """One UPDATE joined with the rows, which travel as one JSON text.

    A prepared statement executed for each row takes four times as long. COPY into a temporary table
    would be a little faster for thousands of rows, but five times as slow for a few, and each such
    table leaves dead rows in the server's catalogue.
    """
    columns = [*target.columns, target.key]
    types = [str(column.db_type(target.connection)) for column in columns]
    # A value of JSON is given as its text, which must not be taken for a JSON string.
    shape = ", ".join(f"c{i} {'text' if t == 'jsonb' else t}" for i, t in enumerate(types))
    assignments = ", ".join(
        f"{name} = new_row.c{i}" + ("::jsonb" if types[i] == "jsonb" else "")
        for i, name in enumerate(target.names)
    )
    sql = (
        f"UPDATE {target.table} SET {assignments} "  # noqa: S608  # names come from the models
        f"FROM json_to_recordset(%s) AS new_row({shape}) "
        f"WHERE {target.table}.{target.key_name} = new_row.c{len(target.columns)}"
    )
    keys = [f"c{i}" for i in range(len(columns))]
    objects = [dict(zip(keys, row, strict=True)) for row in rows]
    text = json.dumps(objects, ensure_ascii=False, default=_as_text)
    with target.connection.cursor() as cursor:
        cursor.execute(sql, [text])


def refresh_statistics(target: Target) -> None:
    """Until then PostgreSQL takes a value it has not met, such as tonight's run, for one row."""
    with target.connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {target.table}")


def _as_text(value: Any) -> str:
    """What JSON has no form for, as the text that the server converts exactly."""
    if isinstance(value, date | Decimal | UUID):  # a datetime is a date, too
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written in bulk: {value!r}")
