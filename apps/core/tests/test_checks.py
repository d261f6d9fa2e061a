"""`check --deploy` tells of a missing ODBC driver before anything connects."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import CheckMessage, run_checks

from po_tracking.databases import application_database, erp_database

SERVER = "mssql://po_app:password@sqlserver.example.com/po_tracking"
URL = f"{SERVER}?driver=ODBC+Driver+18+for+SQL+Server"


def found() -> list[CheckMessage]:
    messages = run_checks(include_deployment_checks=True)
    return [message for message in messages if str(message.id).startswith("po_tracking.")]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Configures connections without opening any."""

    def connect(**databases: dict[str, Any]) -> None:
        monkeypatch.setattr(settings, "DATABASES", databases)

    return connect


@pytest.fixture
def drivers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ODBC drivers of this machine, which a test may change."""
    installed: list[str] = []
    monkeypatch.setitem(sys.modules, "pyodbc", SimpleNamespace(drivers=lambda: installed))
    return installed


def test_a_missing_driver_is_an_error_with_its_cure(
    connect: Callable[..., None], drivers: list[str]
) -> None:
    drivers.append("SQL Server")
    connect(default=application_database(URL), erp=erp_database(URL))
    (message,) = found()
    assert 'The ODBC driver "ODBC Driver 18 for SQL Server" is not installed' in message.msg
    assert "Installed: SQL Server." in message.msg
    assert "docs/deployment.md" in str(message.hint)


def test_an_installed_driver_is_no_error(connect: Callable[..., None], drivers: list[str]) -> None:
    drivers.append("ODBC Driver 18 for SQL Server")
    connect(default=application_database(URL))
    assert found() == []


def test_the_driver_that_the_address_names_counts(
    connect: Callable[..., None], drivers: list[str]
) -> None:
    drivers.append("ODBC Driver 18 for SQL Server")
    connect(default=application_database(f"{SERVER}?driver=FreeTDS"))
    assert '"FreeTDS" is not installed' in found()[0].msg


def test_a_pyodbc_that_cannot_be_loaded_is_an_error_with_its_cure(
    connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyodbc", None)
    connect(default=application_database(URL))
    (message,) = found()
    assert message.msg.startswith("pyodbc cannot be loaded")
    assert "unixodbc" in str(message.hint)


@pytest.mark.parametrize(
    "url",
    ["postgres://po_app@postgres.example.com/po_tracking", f"{SERVER}?python_driver=mssql_python"],
)
def test_without_pyodbc_in_use_nothing_is_asked_for(
    connect: Callable[..., None], drivers: list[str], url: str
) -> None:
    connect(default=application_database(url))
    assert found() == []
