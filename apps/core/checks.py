"""What `manage.py check --deploy` looks at beside Django's own checks."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

_WHERE_FROM = (
    'Install "Microsoft ODBC Driver 18 for SQL Server" (docs/deployment.md says from where), or '
    "name an installed driver in the address."
)


@register(deploy=True)
def check_odbc_drivers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """That the ODBC driver of each SQL Server connection is there: nothing else would say so before
    the first connection fails."""
    needed = {
        str(database.get("OPTIONS", {}).get("driver"))
        for database in settings.DATABASES.values()
        if database.get("ENGINE") == "mssql"
        and database.get("OPTIONS", {}).get("python_driver", "pyodbc") == "pyodbc"
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
