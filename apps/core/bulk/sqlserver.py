"""SQL Server: several rows a statement, below its limits of 2,100 parameters and 1,000 rows.

Why this way, by Microsoft's documentation of each and by trial on Babelfish, which speaks TDS:
- A table value constructor (VALUES) is plain T-SQL: it fires triggers once a statement, stays in
  the transaction, and works alike with pyodbc, mssql-python and every ODBC driver. As a derived
  table it also serves the update, which would otherwise cost a round trip per row.
- One JSON text with all rows (OPENJSON) took a third of the time there, and has no limit of rows.
  But it needs compatibility level 130, and Babelfish 4.3 does not undo the escapes in its texts.
- pyodbc's array binding (`fast_executemany`) exists only there and needs Microsoft's driver.
- mssql-python's bulk copy runs on a second connection, outside our transaction, and skips triggers.

To exchange the way once another has been measured to be faster: `insert` and `update` are all.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from django.db.models import (
    CharField,
    DateField,
    DateTimeField,
    DecimalField,
    JSONField,
    TextField,
    UUIDField,
)

from apps.core.bulk.target import Row, Target

# The rest of the 2,100 is a margin: the drivers' own procedure calls need parameters, too.
_MAX_PARAMETERS = 2_000
# With more rows a statement takes longer to compile than their round trips would.
_MAX_ROWS = 50


def insert(target: Target, rows: list[Row]) -> None:
    """INSERT ... VALUES with several rows, in their order."""
    into = f"INSERT INTO {target.table} ({', '.join(target.names)}) VALUES "  # noqa: S608  # names come from the models
    # A moment's text is the one that not every server converts without being told to.
    marks = (
        _cast(column, target) if isinstance(column, DateTimeField) else "%s"
        for column in target.columns
    )
    row = f"({', '.join(marks)})"
    with target.connection.cursor() as cursor:
        for some in _statements(target, rows):
            cursor.execute(into + ", ".join([row] * len(some)), _parameters(target.columns, some))


def update(target: Target, rows: list[Row]) -> None:
    """UPDATE ... FROM the table joined with several rows by primary key.

    In a derived table a parameter has no column to take its type from, so each is cast.
    """
    columns = [*target.columns, target.key]
    aliases = [f"[c{i}]" for i in range(len(columns))]
    assignments = ", ".join(
        f"{name} = [new].{alias}" for name, alias in zip(target.names, aliases, strict=False)
    )
    row = f"({', '.join(_cast(column, target) for column in columns)})"
    with target.connection.cursor() as cursor:
        for some in _statements(target, rows):
            cursor.execute(
                f"UPDATE {target.table} SET {assignments} FROM {target.table} "  # noqa: S608  # names come from the models
                f"INNER JOIN (VALUES {', '.join([row] * len(some))}) AS [new] "
                f"({', '.join(aliases)}) ON {target.table}.{target.key_name} = [new].{aliases[-1]}",
                _parameters(columns, some),
            )


def refresh_statistics(target: Target) -> None:
    """Nothing to do: for a value that its statistics do not know yet, such as tonight's run, SQL
    Server (since 2014) assumes as many rows as the others have, and it refreshes them by itself.
    """


def _cast(column: Any, target: Target) -> str:
    """To the column's type; a text to one of any length, because CAST cuts a text that is too long,
    where the column itself refuses it."""
    kind = column.db_type(target.connection)
    return f"CAST(%s AS {'nvarchar(max)' if kind.startswith('nvarchar') else kind})"


def _statements(target: Target, rows: list[Row]) -> Iterator[list[Row]]:
    """The rows by the statement. Widths do not differ, so only the last one is shorter.

    Raises ValueError where not even one row makes a statement.
    """
    width = len(rows[0])
    if not target.columns:
        raise ValueError(f"No column of {target.table} is named, so nothing can be written.")
    if width > _MAX_PARAMETERS:
        raise ValueError(
            f"{target.table}: {width:,} values a row are more than the {_MAX_PARAMETERS:,} "
            "parameters of a statement. Write them in several calls."
        )
    size = min(_MAX_ROWS, _MAX_PARAMETERS // width)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _parameters(columns: Sequence[Any], rows: list[Row]) -> list[Any]:
    """The values, all of a column in one kind. In VALUES of several rows the strongest type counts:
    one int among the decimals, which travel as texts, and the server would make ints of all."""
    binders = [_binder(column) for column in columns]
    return [
        None if value is None else bind(value)
        for row in rows
        for bind, value in zip(binders, row, strict=True)
    ]


def _binder(column: Any) -> Callable[[Any], Any]:
    if isinstance(column, DecimalField):
        return _decimal_text
    if isinstance(column, CharField | TextField | JSONField | DateField | UUIDField):
        return _text
    return _as_it_is  # numbers and booleans, whose types mix without loss


def _decimal_text(value: Any) -> str:
    """To the last digit: what the drivers make of a decimal differs."""
    if isinstance(value, str):
        return value
    return format(Decimal(repr(value) if isinstance(value, float) else value), "f")


def _text(value: Any) -> Any:
    """Days and moments, too, which the server converts; pyodbc would drop the zone of a moment."""
    if isinstance(value, date):  # a datetime is one, too
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value) if isinstance(value, int | float) else value


def _as_it_is(value: Any) -> Any:
    return value
