"""`check --deploy` tells of a missing ODBC driver before anything connects."""

import _ctypes
import platform
import sys
from collections.abc import Callable
from pathlib import Path
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


@pytest.fixture
def brought_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The place of the driver that mssql-python brings along for this machine; nothing is there."""
    package = SimpleNamespace(get_libs_dir=lambda: str(tmp_path))
    monkeypatch.setitem(sys.modules, "mssql_python_odbc", package)
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    driver = tmp_path / "linux" / "debian_ubuntu" / machine / "lib" / "libmsodbcsql-18.6.so"
    driver.parent.mkdir(parents=True)
    return driver


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux it needs other libraries")
def test_a_driver_of_mssql_python_that_does_not_load_is_an_error_with_its_cure(
    connect: Callable[..., None], brought_along: Path
) -> None:
    brought_along.write_text("no library", encoding="ascii")
    connect(default=application_database(f"{SERVER}?python_driver=mssql-python"))
    (message,) = found()
    assert f"cannot be loaded: {brought_along}" in message.msg
    assert "apt-get install libodbc2 libltdl7" in str(message.hint)


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux it needs other libraries")
def test_one_driver_of_mssql_python_that_loads_is_enough(
    connect: Callable[..., None], drivers: list[str], brought_along: Path
) -> None:
    brought_along.symlink_to(_ctypes.__file__)  # a library that this machine can load
    other = Path(str(brought_along).replace("debian_ubuntu", "alpine"))
    other.parent.mkdir(parents=True)
    other.write_text("no library", encoding="ascii")
    connect(default=application_database(f"{SERVER}?python_driver=mssql-python"))
    assert found() == []


def test_an_mssql_python_that_is_not_installed_is_an_error(
    connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mssql_python_odbc", None)
    connect(default=application_database(f"{SERVER}?python_driver=mssql-python"))
    (message,) = found()
    assert message.msg.startswith("mssql-python cannot be loaded")


def test_without_sql_server_nothing_is_asked_for(
    connect: Callable[..., None], drivers: list[str], brought_along: Path
) -> None:
    brought_along.write_text("no library", encoding="ascii")
    connect(default=application_database("postgres://po_app@postgres.example.com/po_tracking"))
    assert found() == []
