"""SQL Server's dialect without a server: what would be sent there."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import sqlglot
from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet
from django.db.models.sql import compiler
from sqlglot import exp

from apps.core.bulk import sqlite, sqlserver
from apps.core.bulk.target import Target

# Statements whose grammar the parser does not know; their quotes and brackets it checks.
_UNPARSED = re.compile(
    r"CREATE TRIGGER|BACKUP DATABASE|RESTORE (DATABASE|FILELISTONLY|VERIFYONLY)|"
    r"(IF .* )?ALTER DATABASE|SET TRANSACTION ISOLATION LEVEL (SNAPSHOT|READ COMMITTED)$",
    re.IGNORECASE,
)


def offline_connection() -> BaseDatabaseWrapper:
    """SQL Server 2019 as mssql-django sees it. It compiles queries and never connects."""
    _stand_in_for_missing_driver()
    from mssql.base import DatabaseWrapper  # only importable once a driver is there

    settings: dict[str, Any] = connections.configure_settings(
        {"default": {"ENGINE": "mssql", "NAME": "offline"}}
    )["default"]
    wrapper: BaseDatabaseWrapper = DatabaseWrapper(settings, "offline")
    # These two would otherwise be asked of the server.
    wrapper.__dict__.update(sql_server_version=2019, to_azure_sql_db=False)
    # A row may be locked inside a transaction only, which is where ours are.
    wrapper.__dict__.update(get_autocommit=lambda: False)
    return wrapper


def sql_server_sql(queryset: QuerySet[Any]) -> str:
    """What the queryset sends to SQL Server. Raises where its dialect cannot express it."""
    sql, _parameters = queryset.query.get_compiler(connection=offline_connection()).as_sql()
    return str(sql)


# How SQL shows that it uses what mssql-django declares unsupported, by Django's name for it.
SHOWN_BY_SQL = {
    "can_distinct_on_fields": r"DISTINCT ON",
    "has_json_object_function": r"JSON_(OBJECT|ARRAY)",
    "has_json_operators": r"JSON_(VALUE|QUERY)|OPENJSON|->",
    "has_zoneinfo_database": r"AT TIME ZONE",
    "supports_aggregate_filter_clause": r"FILTER \(WHERE",
    "supports_frame_exclusion": r"\bEXCLUDE (CURRENT|GROUP|TIES)",
    "supports_frame_range_fixed_distance": r"\bRANGE BETWEEN",
    "supports_order_by_nulls_modifier": r"NULLS (FIRST|LAST)",
    "supports_paramstyle_pyformat": r"%\(",
    "supports_subqueries_in_group_by": r"GROUP BY [^)]*\(SELECT",
}


def parsed(sql: str) -> list[Any]:
    """The statements in SQL Server's grammar: one, or an INSERT and the question for its key."""
    for feature, pattern in SHOWN_BY_SQL.items():
        assert not re.search(pattern, sql), f"{feature} is used: {sql[:300]}"
    text = sql.replace("%s", "NULL").replace("%%", "%")
    if _UNPARSED.match(text):
        assert sqlglot.tokenize(text, dialect="tsql")
        return [exp.Command(this=text)]
    statements = []
    for statement in sqlglot.parse(text, dialect="tsql", error_level=sqlglot.ErrorLevel.RAISE):
        assert statement is not None
        assert not isinstance(statement, exp.Command), f"not T-SQL: {text[:300]}"
        statements.append(statement)
    return statements


@contextmanager
def known(offline: Any) -> Iterator[None]:
    """Django's router and some of its compilers look connections up by name."""
    connections.settings[offline.alias] = offline.settings_dict
    connections[offline.alias] = offline
    try:
        yield
    finally:
        del connections[offline.alias]
        del connections.settings[offline.alias]


@contextmanager
def compiled_for_sql_server() -> Iterator[set[str]]:
    """All that goes to the application's database inside is compiled for SQL Server as well."""
    offline = offline_connection()
    sent: set[str] = set()
    with known(offline), pytest.MonkeyPatch.context() as patch:
        for kind in (
            compiler.SQLCompiler, compiler.SQLInsertCompiler, compiler.SQLUpdateCompiler,
            compiler.SQLDeleteCompiler, compiler.SQLAggregateCompiler,
        ):  # fmt: skip
            if "execute_sql" in vars(kind):
                patch.setattr(kind, "execute_sql", _watched(kind.execute_sql, offline, sent))
        for way in ("insert", "update"):
            patch.setattr(sqlite, way, _doubled(getattr(sqlite, way), way, offline, sent))
        yield sent


def _watched(execute: Any, offline: Any, sent: set[str]) -> Any:
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.connection.alias == "default" and type(self).execute_sql is not None:
            try:
                statements = self.query.clone().get_compiler(using=offline.alias).as_sql()
            except EmptyResultSet:
                statements = []
            if isinstance(statements, tuple):
                statements = [statements]
            sent.update(sql for sql, _ in statements if sql)
        return execute(self, *args, **kwargs)

    return watched


def _doubled(write: Any, way: str, offline: Any, sent: set[str]) -> Any:
    class Cursor:
        def __enter__(self) -> Cursor:
            return self

        def __exit__(self, *error: object) -> None: ...

        def execute(self, sql: str, parameters: list[Any] | None = None) -> None:
            assert parameters is None or len(parameters) <= 2_100
            sent.add(sql)

    def doubled(target: Target, *rows: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(offline, "cursor", Cursor)
            getattr(sqlserver, way)(Target(offline, target.model, target.columns), *rows)
        write(target, *rows)

    return doubled


def is_babelfish(connection: BaseDatabaseWrapper) -> bool:
    """Whether this is Babelfish: TDS, with PostgreSQL's locks and without ALTER DATABASE."""
    if connection.vendor != "microsoft":
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT CAST(SERVERPROPERTY('Babelfish') AS int)")
        return bool(cursor.fetchone()[0])


def _stand_in_for_missing_driver() -> None:
    """pyodbc cannot be imported on a machine without ODBC, yet compiling needs none of it."""
    try:
        import pyodbc  # noqa: F401  # only whether it is there
    except ImportError:
        sys.modules["pyodbc"] = _StandIn("pyodbc")


class _StandIn(ModuleType):
    version = "5.0.0"
    pooling = False
    Binary = bytes
    _numbers = itertools.count(1)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("SQL_"):
            return next(self._numbers)
        if name == "Warning" or name.endswith("Error"):
            return Exception
        raise AttributeError(name)
