"""What mssql-django declares unsupported is not used, or cannot matter here: each flag, and why.

The flags are read from the backend, so that a release which declares more fails here first.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from django.apps import apps
from django.db import DatabaseError, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import DatabaseWrapper as Sqlite

from tests.sql_server import SHOWN_BY_SQL, offline_connection
from tests.walls import modules, product

_KINDS = ("supports_", "can_", "has_", "allow")

# How the code would show its use, and a line that does.
SHOWN_BY_CODE = {
    "can_distinct_on_fields": (r"\.distinct\([^)]", "lines.distinct('supplier')"),
    "can_rename_index": (r"RenameIndex", "migrations.RenameIndex('line', 'old', 'new')"),
    "can_return_rows_from_bulk_insert": (
        r"(=|in|\[) ?\w[\w.]*\.bulk_create\(",
        "made = Line.objects.bulk_create(lines)",
    ),
    "can_use_chunked_reads": (r"\.iterator\(", "lines.iterator()"),
    "has_json_object_function": (r"JSON(Object|Array)\(", "JSONObject(name='supplier__name')"),
    "has_select_for_no_key_update": (r"no_key=", "lines.select_for_update(no_key=True)"),
    "has_select_for_update_of": (
        r"select_for_update\(.*\bof=",
        "lines.select_for_update(of=('self',))",
    ),
    "has_zoneinfo_database": (
        r"\bTrunc\w*\(|\bExtract\w+\(|__(date|time|year|month|day|hour)\b",
        "runs.filter(started_at__date=today)",
    ),
    "supports_deferrable_unique_constraints": (
        r"\b[dD]eferrable\b",
        "UniqueConstraint(fields=['number'], deferrable=Deferrable.DEFERRED)",
    ),
    "supports_explaining_query_execution": (r"\.explain\(", "lines.explain()"),
    "supports_frame_exclusion": (r"\bWindow\(|exclusion=", "RowRange(exclusion=TIES)"),
    "supports_frame_range_fixed_distance": (r"\bWindow\(|ValueRange", "ValueRange(start=-1)"),
    "supports_ignore_conflicts": (
        r"ignore_conflicts=",
        "bulk_create(rows, ignore_conflicts=True)",
    ),
    "supports_json_field_contains": (
        r"__contain(s|ed_by)=",
        "events.filter(data__contains={'a': 1})",
    ),
    "supports_nulls_distinct_unique_constraints": (
        r"nulls_distinct=",
        "UniqueConstraint(fields=['number'], nulls_distinct=False)",
    ),
    "supports_order_by_nulls_modifier": (r"nulls_(first|last)=", "F('day').asc(nulls_last=True)"),
    "supports_sequence_reset": (
        r"sequence_reset|sqlsequencereset",
        "ops.sequence_reset_sql()",
    ),
    "supports_slicing_ordering_in_compound": (
        r"\.(union|intersection|difference)\(",
        "lines.union(others)",
    ),
    "supports_tuple_lookups": (
        r"CompositePrimaryKey|\bTuple\w*\(",
        "models.CompositePrimaryKey('number', 'line')",
    ),
    "supports_update_conflicts": (
        r"update_conflicts=",
        "bulk_create(rows, update_conflicts=True)",
    ),
    "supports_update_conflicts_with_target": (
        r"update_conflicts=",
        "bulk_create(lines, update_conflicts=True, unique_fields=['number'])",
    ),
}

# Why it makes no difference whether SQL Server has it.
HARMLESS = {
    "allow_sliced_subqueries_with_in": "the first rows of something are a TOP, which may stand in "
    "IN; a slice from the middle is nowhere in one",
    "allows_group_by_select_index": "Django writes the columns out instead of their numbers",
    "allows_group_by_selected_pks": "Django groups by every column instead of by the key",
    "can_clone_databases": "a matter of Django's own test runner",
    "can_defer_constraint_checks": "rows are written after those that they name; the suite runs so "
    "on a server that checks at once (docs/sqlserver.md)",
    "can_introspect_json_field": "inspectdb alone asks for it",
    "can_introspect_materialized_views": "inspectdb alone asks for it",
    "can_release_savepoints": "a savepoint then lives on to the end of its transaction, unseen",
    "has_native_json_field": "JSON is kept as text",
    "has_native_uuid_field": "a UUID is kept as its 32 digits",
    "supports_boolean_expr_in_select_clause": "mssql-django puts CASE WHEN around it",
    "supports_combined_alters": "a migration then sends one ALTER TABLE for each change",
    "supports_comparing_boolean_expr": "Django then compares with CASE WHEN",
    "supports_unspecified_pk": "keys are identity columns, or come with the row",
}


def _fields(kind: type[models.Field[Any, Any]]) -> Iterator[models.Field[Any, Any]]:
    for model in _models():
        yield from (field for field in model._meta.local_fields if type(field) is kind)


def _models() -> Iterator[type[models.Model]]:
    yield from (m for m in apps.get_models() if m.__module__.startswith("apps."))


def _durations() -> list[str]:
    return [str(field) for field in _fields(models.DurationField)]


def _unlimited_texts() -> list[str]:
    return [str(field) for field in _fields(models.CharField) if field.max_length is None]


def _expressions() -> list[str]:
    """Indexes and constraints over more than plain columns."""
    return [
        str(each)
        for model in _models()
        for each in (*model._meta.indexes, *model._meta.constraints)
        if getattr(each, "expressions", ())
    ]


def _indexed_texts() -> list[str]:
    """Of any length, and in an index."""
    long = set(_fields(models.TextField))
    found = [field for field in long if getattr(field, "db_index", False) or field.unique]
    for model in _models():
        for each in (*model._meta.indexes, *model._meta.constraints):
            names = getattr(each, "fields", ())
            found += [f for f in long if f.model is model and f.name in names]
    return [str(field) for field in found]


def _lookups_into_json() -> list[str]:
    names = "|".join({field.name for field in _fields(models.JSONField)})
    return _in_code(rf"\b({names})__\w+|KeyTransform|\bKT\(|__has_(key|any_keys|keys)")


def _json_of_single_values() -> list[str]:
    """Fields whose first value is neither an object nor a list."""
    return [
        str(field)
        for field in _fields(models.JSONField)
        if field.default not in (dict, list, models.NOT_PROVIDED)
    ]


SHOWN_BY_MODELS: dict[str, Callable[[], list[str]]] = {
    "has_json_operators": _lookups_into_json,
    "has_native_duration_field": _durations,
    "supports_expression_indexes": _expressions,
    "supports_index_on_text_field": _indexed_texts,
    "supports_json_field_contains": _lookups_into_json,
    "supports_primitives_in_json_field": _json_of_single_values,
    "supports_unlimited_charfield": _unlimited_texts,
}


def _in_code(pattern: str) -> list[str]:
    """Where the product's code, comments aside, or a migration matches."""
    return [f"{path}: {line}" for path, line in _code() if re.search(pattern, line)]


@cache
def _code() -> list[tuple[str, str]]:
    migrations = [m for m in modules("apps") if "/migrations/" in m.path]
    return [
        (module.path, line)
        for module in (*product(), *migrations)
        for line in ast.unparse(module.tree).splitlines()
    ]


def _other_engines() -> list[BaseDatabaseWrapper]:
    """Neither connects: what they would ask their databases is set."""
    from django.db.backends.postgresql.base import DatabaseWrapper as Postgresql

    def settings(engine: str) -> dict[str, Any]:
        given = {"default": {"ENGINE": f"django.db.backends.{engine}", "NAME": ":memory:"}}
        configured: dict[str, Any] = connections.configure_settings(given)["default"]
        return configured

    postgresql = Postgresql(settings("postgresql"), "postgresql")
    postgresql.__dict__.update(pg_version=150_000)
    sqlite = Sqlite(settings("sqlite3"), "sqlite")
    sqlite.features.__dict__.update(supports_json_field=True)
    return [sqlite, postgresql]


def _no_server() -> None:
    raise DatabaseError


def lacking() -> set[str]:
    """The features that the backend has not, or that only a server could tell, beside an engine
    that has them."""
    offline, others = offline_connection(), _other_engines()
    offline.__dict__.update(cursor=_no_server)
    sql_server = offline.features
    found = set()
    for name in dir(type(sql_server)):
        if name.startswith(_KINDS) and not callable(getattr(type(sql_server), name)):
            try:
                has_it = bool(getattr(sql_server, name))
            except DatabaseError:
                has_it = False  # would be asked of the server
            if not has_it and any(getattr(other.features, name, False) for other in others):
                found.add(name)
    return found


def test_every_feature_that_sql_server_lacks_is_accounted_for() -> None:
    told = {*SHOWN_BY_SQL, *SHOWN_BY_CODE, *SHOWN_BY_MODELS, *HARMLESS}
    assert lacking() == told
    assert not {*HARMLESS} & {*SHOWN_BY_SQL, *SHOWN_BY_CODE, *SHOWN_BY_MODELS}


@pytest.mark.parametrize("feature", SHOWN_BY_CODE)
def test_the_code_uses_no_feature_that_sql_server_lacks(feature: str) -> None:
    pattern, use = SHOWN_BY_CODE[feature]
    assert re.search(pattern, ast.unparse(ast.parse(use)))
    assert not _in_code(pattern)


@pytest.mark.parametrize("feature", SHOWN_BY_MODELS)
def test_the_models_use_no_feature_that_sql_server_lacks(feature: str) -> None:
    assert not SHOWN_BY_MODELS[feature]()
