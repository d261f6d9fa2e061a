"""PostgreSQL: COPY, its fastest way in; fires triggers and stays in the transaction."""

from apps.core.bulk.target import Row, Target


def insert(target: Target, rows: list[Row]) -> None:
    """One COPY."""
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
    """One prepared statement; the driver sends its executions without waiting for each answer."""
    with target.connection.cursor() as cursor:
        cursor.executemany(target.update_one(), rows)


def refresh_statistics(target: Target) -> None:
    """Until then PostgreSQL takes a value it has not met, such as tonight's run, for one row."""
    with target.connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {target.table}")
