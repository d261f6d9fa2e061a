"""SQLite: prepared statements, executed again and again inside the library."""

from itertools import chain

from apps.core.bulk.target import Row, Target

# Several rows a statement halve the time of an insert; more than this gains nothing.
_ROWS_A_STATEMENT = 50


def insert(target: Target, rows: list[Row]) -> None:
    """Several rows a statement, below the limit of parameters; what remains row by row."""
    width = len(target.columns)
    limit = target.connection.features.max_query_params or width
    size = min(_ROWS_A_STATEMENT, max(1, limit // width))
    whole = len(rows) - len(rows) % size
    into = f"INSERT INTO {target.table} ({', '.join(target.names)}) VALUES "  # noqa: S608  # names come from the models
    row = f"({', '.join(['%s'] * width)})"
    with target.connection.cursor() as cursor:
        if whole:
            groups = [list(chain.from_iterable(rows[i : i + size])) for i in range(0, whole, size)]
            cursor.executemany(into + ", ".join([row] * size), groups)
        if whole < len(rows):
            cursor.executemany(into + row, rows[whole:])


def update(target: Target, rows: list[Row]) -> None:
    """One prepared statement."""
    with target.connection.cursor() as cursor:
        cursor.executemany(target.update_one(), rows)


def refresh_statistics(target: Target) -> None:
    """Nothing to do: without statistics SQLite plans by the indexes alone, which is right here."""
