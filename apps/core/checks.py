"""What `manage.py check --deploy` looks at beside Django's own checks."""

from __future__ import annotations

import ctypes
import platform
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from apps.core.database_errors import LOADING_CURE

_WHERE_FROM = (
    'Install "Microsoft ODBC Driver 18 for SQL Server" (docs/deployment.md says from where), or '
    "name an installed driver in the address."
)


def _options_on_sql_server() -> list[dict[str, Any]]:
    return [
        database.get("OPTIONS", {})
        for database in settings.DATABASES.values()
        if database.get("ENGINE") == "mssql"
    ]


def _is_pyodbc(options: dict[str, Any]) -> bool:
    return bool(options.get("python_driver", "pyodbc") == "pyodbc")


@register(deploy=True)
def check_odbc_drivers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """That the ODBC driver of each SQL Server connection is there: nothing else would say so before
    the first connection fails."""
    needed = {
        str(options.get("driver")) for options in _options_on_sql_server() if _is_pyodbc(options)
    }
    if not needed:
        return []
    try:
        import pyodbc
    except ImportError as error:
        return [
            Error(
                f"pyodbc cannot be loaded: {error}.",
                hint="Install requirements/production.txt; on Linux also the package unixodbc.",
                id="po_tracking.E001",
            )
        ]
    installed = sorted(pyodbc.drivers())
    return [
        Error(
            f'The ODBC driver "{name}" is not installed on this machine. Installed: '
            f"{', '.join(installed) or 'none'}.",
            hint=_WHERE_FROM,
            id="po_tracking.E002",
        )
        for name in sorted(needed - {*installed})
    ]


@register(deploy=True)
def check_mssql_python(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """That the driver which mssql-python brings along can be loaded, where it is used: on Linux it
    needs libraries of the system, which no installation by pip brings."""
    if all(_is_pyodbc(options) for options in _options_on_sql_server()):
        return []
    try:
        import mssql_python_odbc  # type: ignore[import-untyped]  # it tells no types
    except ImportError as error:
        return [
            Error(
                f"mssql-python cannot be loaded: {error}.",
                hint="Install requirements/production.txt.",
                id="po_tracking.E003",
            )
        ]
    reason = _why_not_loaded(Path(mssql_python_odbc.get_libs_dir()))
    if not reason:
        return []
    message = f"The driver that mssql-python brings along cannot be loaded: {reason}."
    return [Error(message, hint=LOADING_CURE, id="po_tracking.E004")]


def _why_not_loaded(folder: Path) -> str:
    """Why none of the drivers for this kind of machine can be loaded; "" if one can.

    There is one per family of Linux. Which of them mssql-python takes is its own business; they
    need the same libraries.
    """
    if sys.platform != "linux":
        return ""
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    reason = ""
    for driver in sorted(folder.glob(f"linux/*/{machine}/lib/libmsodbcsql*")):
        try:
            ctypes.CDLL(str(driver))
        except OSError as error:
            reason = str(error)
        else:
            return ""
    return reason
