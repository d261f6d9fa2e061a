"""Lifts the append-only triggers, for tests only, and empties the tables between tests.

A pytest plugin: conftest.py names it in `pytest_plugins`. Between two transactional tests Django
would flush every table, history included, which the triggers refuse, and which not every server
does in an order that its foreign keys allow; so this does it instead, with the triggers lifted
around exactly that. The product itself has no such switch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.test import TransactionTestCase

from apps.audit import append_only


@contextmanager
def append_only_lifted(using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """Inside, the tables of history can be changed; after it, they are append-only again."""
    connection = connections[using]
    if connection.in_atomic_block:
        # PostgreSQL drops no trigger from a table with deferred checks still to come.
        connection.check_constraints()
    append_only.remove(connection.schema_editor())
    try:
        yield
    finally:
        append_only.install(connection.schema_editor())


@pytest.fixture(scope="session", autouse=True)
def _empty_tables_between_tests() -> Iterator[None]:
    """Takes the place of the one method with which Django empties the tables after a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: empty_tables())
        yield


def empty_tables(using: str = DEFAULT_DB_ALIAS) -> None:
    """Deletes every row but those that migrations made: Django's content types and permissions."""
    connection = connections[using]
    with append_only_lifted(using), transaction.atomic(using), connection.cursor() as cursor:
        for model in _children_first():
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(model._meta.db_table)}")


@cache
def _children_first() -> list[type[models.Model]]:
    """All tables, each before those that its foreign keys point to."""
    kept = {ContentType, Permission}
    left = {m for m in apps.get_models(include_auto_created=True) if m._meta.managed} - kept
    ordered: list[type[models.Model]] = []
    while left:
        pointed_at = {parent for model in left for parent in _parents(model)}
        free = sorted(left - pointed_at, key=lambda model: model._meta.db_table)
        assert free, f"foreign keys in a circle: {left}"
        ordered += free
        left -= {*free}
    return ordered


def _parents(model: type[models.Model]) -> set[Any]:
    keys = (f.related_model for f in model._meta.concrete_fields if f.is_relation)
    return {parent for parent in keys if parent is not model}
