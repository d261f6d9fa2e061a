"""SQL Server's dialect without a server: what would be sent there."""

import itertools
import sys
from types import ModuleType
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet


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
