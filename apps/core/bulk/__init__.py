"""Writes many rows fast, inside the caller's transaction, each engine in its own way.

Values are given as the database takes them: canonical texts for dates and quantities, JSON as
text, aware datetimes, UUIDs, booleans, numbers, None. That spares the million conversions which a
model instance per row would cost. No way here skips a trigger.

One module per engine says how: `insert`, `update` and `refresh_statistics` of `Statement`s.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, cast

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.core.bulk import postgresql, sqlite, sqlserver
from apps.core.bulk.target import Row, Target

__all__ = ["Row", "chunks", "insert_rows", "refresh_statistics", "update_rows"]


class Engine(Protocol):
    """What the module of an engine offers. Rows are not empty; the caller is in a transaction."""

    insert: Callable[[Target, list[Row]], None]
    update: Callable[[Target, list[Row]], None]  # each row ends with its primary key
    refresh_statistics: Callable[[Target], None]


_ENGINES = {
    name: cast(Engine, module)
    for name, module in (("sqlite", sqlite), ("postgresql", postgresql), ("microsoft", sqlserver))
}


def insert_rows(
    model: type[models.Model],
    fields: Sequence[str],
    rows: Iterable[Row],
    using: str = DEFAULT_DB_ALIAS,
) -> int:
    """Inserts rows of values in the order of `fields` (attribute names, `run_id` style for keys).

    Returns how many there were. Primary keys are given in the order of the rows. Columns not named
    get no value: name every one without a database default. Raises the engine's IntegrityError or
    DataError for the whole call.
    """
    target = _target(model, fields, using)
    prepared = list(_prepared(target.columns, rows, target.connection))
    if prepared:
        _ENGINES[target.connection.vendor].insert(target, prepared)
    return len(prepared)


def update_rows(
    model: type[models.Model],
    fields: Sequence[str],
    rows: Iterable[Row],
    using: str = DEFAULT_DB_ALIAS,
) -> int:
    """Updates rows by primary key: each row holds the values of `fields`, then the primary key."""
    target = _target(model, fields, using)
    prepared = list(_prepared([*target.columns, target.key], rows, target.connection))
    if prepared:
        _ENGINES[target.connection.vendor].update(target, prepared)
    return len(prepared)


def refresh_statistics(*tables: type[models.Model], using: str = DEFAULT_DB_ALIAS) -> None:
    """Tells the engine's planner what a bulk write has changed, before it plans big joins."""
    for model in tables:
        target = _target(model, (), using)
        _ENGINES[target.connection.vendor].refresh_statistics(target)


def chunks(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """The rows in lists of at most `size`."""
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _target(model: type[models.Model], names: Sequence[str], using: str) -> Target:
    by_name = {column.attname: column for column in model._meta.concrete_fields}
    return Target(connections[using], model, [by_name[name] for name in names])


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
