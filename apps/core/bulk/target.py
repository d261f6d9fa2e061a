"""Where rows go: a table and its columns, quoted for the engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

Row = Sequence[Any]


@dataclass(frozen=True)
class Target:
    """A model's table on one connection, and those of its columns that are written."""

    connection: BaseDatabaseWrapper
    model: type[models.Model]
    columns: list[Any]  # model fields

    @cached_property
    def table(self) -> str:
        return self.connection.ops.quote_name(self.model._meta.db_table)

    @cached_property
    def names(self) -> list[str]:
        return [self.connection.ops.quote_name(column.column) for column in self.columns]

    @property
    def key(self) -> Any:
        """The model field of the primary key."""
        return self.model._meta.pk

    @cached_property
    def key_name(self) -> str:
        return self.connection.ops.quote_name(self.key.column)

    def update_one(self) -> str:
        """The statement that updates one row, its key last."""
        assignments = ", ".join(f"{name} = %s" for name in self.names)
        return f"UPDATE {self.table} SET {assignments} WHERE {self.key_name} = %s"  # noqa: S608  # names come from the models
