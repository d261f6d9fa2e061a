"""Rules of the whole suite: how long hypothesis searches, and what a database server repeats."""

import os

import pytest
from django.test import TransactionTestCase
from hypothesis import HealthCheck, settings

# Emptying the append-only tables between tests, a database on SQL Server, and a Windows that Wine
# plays.
pytest_plugins = ["tests.append_only", "tests.sql_server_database", "tests.wine"]

# "ci", the default, is the same few examples every time; "thorough" searches anew, for longer.
_slow_is_fine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# A server repeats fewer: what it adds is its engine, the search was done on SQLite.
_on_server = any(os.environ.get(name) for name in ("TEST_POSTGRES_URL", "TEST_MSSQL_URL"))
_examples = 10 if _on_server else 25
settings.register_profile("ci", _slow_is_fine, derandomize=True, max_examples=_examples)
settings.register_profile("thorough", _slow_is_fine, max_examples=500, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

_DATABASE_FIXTURES = {"db", "transactional_db", "django_db_setup"}


def _uses_database(item: pytest.Item) -> bool:
    """By its mark, by a fixture of its own or of its fixtures, or as a Django test case."""
    if item.get_closest_marker("django_db"):
        return True
    if isinstance(item, pytest.Function):
        if item.cls is not None and issubclass(item.cls, TransactionTestCase):
            return True
        return not _DATABASE_FIXTURES.isdisjoint(item.fixturenames)
    return False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a server only what touches the database is worth repeating, and only in this process:
    child processes have SQLite files of their own."""
    if not _on_server:
        return
    left_out = {i for i in items if i.get_closest_marker("process") or not _uses_database(i)}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
