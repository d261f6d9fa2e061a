"""SQL Server: rows travel as one JSON text and become rows again in the server (OPENJSON).

Why this way (Microsoft's documentation of each):
- A statement has at most 2,100 parameters and VALUES at most 1,000 rows, so multi-row inserts stay
  small, and an update would still cost a round trip per row. OPENJSON takes any number of rows in
  one parameter, for inserts and updates alike, with one plan whatever the number of rows.
- pyodbc's array binding (`fast_executemany`) exists only there and needs Microsoft's driver;
  mssql-python's bulk copy runs on a second connection, outside our transaction, and skips triggers.
- `INSERT ... SELECT ... ORDER BY` gives identity values in that order, and fires triggers once a
  statement.

Needs database compatibility level 130 (SQL Server 2016); `doctor` checks it. To exchange the way
once another has been measured to be faster: `insert` and `update` are all there is.
"""

import json
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from apps.core.bulk.target import Row, Target

# A few MB of text a statement: enough to outweigh its cost, and not much to undo or to log.
_ROWS_A_STATEMENT = 5_000


def insert(target: Target, rows: list[Row]) -> None:
    """INSERT ... SELECT from the rows' JSON, in their order."""
    names = ", ".join(target.names)
    sql = (
        f"INSERT INTO {target.table} ({names}) SELECT {_values(target)} "  # noqa: S608  # names come from the models
        f"FROM {_rows_of_json(target, target.columns)} ORDER BY [row].[number]"
    )
    _execute(target, sql, rows)


def update(target: Target, rows: list[Row]) -> None:
    """UPDATE ... FROM the table joined with the rows' JSON by primary key."""
    assignments = ", ".join(f"{name} = [row].[c{i}]" for i, name in enumerate(target.names))
    columns = [*target.columns, target.key]
    sql = (
        f"UPDATE {target.table} SET {assignments} FROM {target.table} "  # noqa: S608  # names come from the models
        f"INNER JOIN {_rows_of_json(target, columns)} "
        f"ON {target.table}.{target.key_name} = [row].[c{len(target.columns)}]"
    )
    _execute(target, sql, rows)


def refresh_statistics(target: Target) -> None:
    """Until then SQL Server takes a value it has not met, such as tonight's run, for one row."""
    with target.connection.cursor() as cursor:
        cursor.execute(f"UPDATE STATISTICS {target.table}")


def _values(target: Target) -> str:
    return ", ".join(f"[row].[c{i}]" for i in range(len(target.columns)))


def _rows_of_json(target: Target, columns: list[Any]) -> str:
    """The rows as a relation: their number, then each column in the type of the table's own."""
    shape = ", ".join(
        f"[c{i}] {column.db_type(target.connection)} '$[{i + 1}]'"
        for i, column in enumerate(columns)
    )
    return f"OPENJSON(%s) WITH ([number] int '$[0]', {shape}) AS [row]"


def _execute(target: Target, sql: str, rows: list[Row]) -> None:
    with target.connection.cursor() as cursor:
        for text in _json_texts(rows):
            cursor.execute(sql, [text])


def _json_texts(rows: list[Row]) -> Iterator[str]:
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        numbered = [
            [number, *row] for number, row in enumerate(rows[start : start + _ROWS_A_STATEMENT])
        ]
        yield json.dumps(numbered, ensure_ascii=False, separators=(",", ":"), default=_as_text)


def _as_text(value: Any) -> str:
    """What JSON has no form for, as the text that the server converts exactly."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} cannot be written in bulk: {value!r}")
