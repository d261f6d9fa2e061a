"""Lifts the append-only triggers, for tests only, and lets the suite empty its tables.

A pytest plugin: conftest.py names it in `pytest_plugins`. Between two transactional tests Django
deletes or truncates every row, history included, which the triggers would refuse; so they are
lifted around exactly that. The product itself has no such switch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connections
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
def _flush_between_tests() -> Iterator[None]:
    """Wraps the one method with which Django empties the tables after a transactional test."""
    empty_tables = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]  # not public

    def lift_and_empty(case: Any) -> None:
        with append_only_lifted():
            empty_tables(case)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lift_and_empty)
        yield
