"""Settings: what production refuses, what Europe cannot do, and that .env.example tells it all."""

import ast
import importlib
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
import pytest_django
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import ConnectionHandler, OperationalError

from po_tracking.databases import application_database, erp_database
from po_tracking.settings import base

ROOT = base.BASE_DIR
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
DOCUMENTED = re.findall(r"^#([A-Z_]+)=", EXAMPLE, re.MULTILINE)

GOOD = {
    "SECRET_KEY": "k" * 60,
    "ALLOWED_HOSTS": "po-tracking.example.com",
    "DATABASE_URL": "postgres://po_app:password@postgres.example.com/po_tracking",
}
ERP = {"ERP_DATABASE_URL": "sqlite:////srv/erp.sqlite3", "ERP_MAPPING_FILE": "/srv/erp.toml"}

Load = Callable[..., ModuleType]


@pytest.fixture
def load() -> Iterator[Load]:
    """Imports a settings module anew, in an environment of the given variables and no others."""
    others = {name: value for name, value in os.environ.items() if name not in DOCUMENTED}
    ours = {name: value for name, value in sys.modules.items() if "po_tracking.settings" in name}

    def load(name: str, **environment: str) -> ModuleType:
        os.environ.clear()
        os.environ.update({**others, "ENV_FILE": os.devnull, **environment})
        for module in ours:
            sys.modules.pop(module, None)
        return importlib.import_module(f"po_tracking.settings.{name}")

    with mock.patch.dict(os.environ), mock.patch.dict(sys.modules):
        yield load
    for name, module in ours.items():
        parent, _, attribute = name.rpartition(".")
        setattr(sys.modules[parent], attribute, module)


REASONS = {
    "secret": r"SECRET_KEY is missing or shorter than 50 characters",
    "debug": r"DEBUG is on",
    "hosts": r"ALLOWED_HOSTS is missing",
    "no database": r"DATABASE_URL is missing",
    "odd database": r"DATABASE_URL cannot be understood",
    "SQLite": r"DATABASE_URL names an SQLite file",
}


@pytest.mark.parametrize(
    ("wrong", "reasons"),
    [
        ({}, set()),
        ({"SECRET_KEY": ""}, {"secret"}),
        ({"SECRET_KEY": "k" * 49}, {"secret"}),
        ({"SECRET_KEY": "django-insecure-" + "k" * 60}, {"secret"}),
        ({"DEBUG": "true"}, {"debug"}),
        ({"DEBUG": "1"}, {"debug"}),
        ({"DEBUG": "false"}, set()),
        ({"ALLOWED_HOSTS": ""}, {"hosts"}),
        ({"DATABASE_URL": ""}, {"no database"}),
        ({"DATABASE_URL": "mysql://user@host/name"}, {"odd database"}),
        ({"DATABASE_URL": "postgres://user:pass/word@host/name"}, {"odd database"}),
        ({"DATABASE_URL": "sqlite:////srv/po.sqlite3"}, {"SQLite"}),
        ({"DATABASE_URL": "SQLite:////srv/po.sqlite3"}, {"SQLite"}),
        ({"DATABASE_URL": "sqlite:///:memory:"}, {"SQLite"}),
        (
            {"DATABASE_URL": "sqlite:////srv/po.sqlite3", "ALLOW_SQLITE_IN_PRODUCTION": "true"},
            set(),
        ),
        (
            {"SECRET_KEY": "", "DEBUG": "on", "ALLOWED_HOSTS": "", "DATABASE_URL": "sqlite:///x"},
            {"secret", "debug", "hosts", "SQLite"},
        ),
    ],
)
def test_production_refuses_for_all_reasons_at_once(
    load: Load, wrong: dict[str, str], reasons: set[str]
) -> None:
    said = ""
    try:
        load("production", **{**GOOD, **wrong})
    except ImproperlyConfigured as refusal:
        said = str(refusal)
    assert {name for name, text in REASONS.items() if re.search(text, said)} == reasons
    assert len(re.findall(r"^- ", said, re.MULTILINE)) == len(reasons)
    assert "pass/word" not in said


@pytest.mark.process
def test_a_command_under_production_settings_says_the_reasons_and_fails() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in DOCUMENTED}
    result = subprocess.run(
        [sys.executable, "manage.py", "check", "--settings=po_tracking.settings.production"],
        cwd=ROOT,
        env={**environment, "ENV_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    for reason in ("secret", "hosts", "no database"):
        assert re.search(REASONS[reason], result.stderr)


def test_production_is_hardened_and_knows_the_erp(load: Load) -> None:
    settings = load("production", **GOOD, **ERP)
    assert settings.DEBUG is False
    assert settings.SECURE_SSL_REDIRECT
    assert settings.SESSION_COOKIE_SECURE
    assert settings.CSRF_COOKIE_SECURE
    assert "apps.demo" not in settings.INSTALLED_APPS
    assert settings.DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql"
    assert settings.DATABASES["erp"]["NAME"] == "file:/srv/erp.sqlite3?mode=ro"


def test_a_probe_on_the_machine_itself_is_answered_over_http_by_its_address(load: Load) -> None:
    settings = load("production", **GOOD)
    assert {"127.0.0.1", "localhost", "[::1]"} < set(settings.ALLOWED_HOSTS)
    assert settings.SECURE_REDIRECT_EXEMPT == ["^healthz$"]


def test_without_an_erp_there_is_no_erp_connection(load: Load) -> None:
    assert list(load("production", **GOOD).DATABASES) == ["default"]


def test_lists_may_have_blanks_after_the_commas(load: Load) -> None:
    settings = load(
        "production",
        **GOOD | {"ALLOWED_HOSTS": "a.example, b.example"},
        BUSINESS_HOLIDAYS="2026-12-25, 2027-01-01",
    )
    assert settings.ALLOWED_HOSTS[:2] == ["a.example", "b.example"]
    assert settings.BUSINESS_HOLIDAYS == ["2026-12-25", "2027-01-01"]


def test_the_days_of_the_schedule_are_read_however_they_are_written(load: Load) -> None:
    settings = load("production", **GOOD, INGESTION_EXPECTED_WEEKDAYS="Mon, TUE")
    assert settings.INGESTION_EXPECTED_WEEKDAYS == ["mon", "tue"]


def test_a_run_is_expected_on_every_day_unless_told_otherwise(load: Load) -> None:
    assert len(load("production", **GOOD).INGESTION_EXPECTED_WEEKDAYS) == 7


@pytest.mark.parametrize("days", ["", "monday", "mon;tue"])
def test_days_of_the_schedule_that_are_none_are_refused(load: Load, days: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="Write the days on which a run is scheduled"):
        load("production", **GOOD, INGESTION_EXPECTED_WEEKDAYS=days)


def test_europe_has_no_erp_and_keeps_sessions_in_cookies(load: Load) -> None:
    settings = load("production_eu", **GOOD, **ERP)
    assert list(settings.DATABASES) == ["default"]
    assert (settings.ERP_DATABASE_URL, settings.ERP_MAPPING_FILE) == ("", "")
    assert settings.SESSION_ENGINE == "django.contrib.sessions.backends.signed_cookies"
    assert settings.SESSION_COOKIE_AGE == 30 * 60
    assert settings.READ_ONLY


def test_europe_does_not_even_read_the_address_of_an_erp(load: Load, tmp_path: Path) -> None:
    file = tmp_path / "environment"  # as it was copied from the first instance
    file.write_text("ERP_DATABASE_URL=oracle://erp.example.com\n", encoding="utf-8")
    with pytest.raises(ImproperlyConfigured, match="ERP_DATABASE_URL cannot be understood"):
        load("production", **GOOD | {"ENV_FILE": str(file)})
    assert load("production_eu", **GOOD | {"ENV_FILE": str(file)}).ERP_DATABASE_URL == ""


def test_a_session_is_idle_for_30_minutes_at_most_and_in_the_database(load: Load) -> None:
    settings = load("production", **GOOD)
    assert settings.SESSION_IDLE_SECONDS == 30 * 60
    assert not hasattr(settings, "SESSION_ENGINE")  # Django's default: the database
    assert not settings.READ_ONLY


def test_europe_starts_only_where_production_would(load: Load) -> None:
    with pytest.raises(ImproperlyConfigured, match=REASONS["secret"]):
        load("production_eu", **{**GOOD, "SECRET_KEY": "short"})


def test_europe_can_read_its_sqlite_database_and_not_write_it(
    load: Load, tmp_path: Path, django_db_blocker: pytest_django.DjangoDbBlocker
) -> None:
    file = tmp_path / "a replica.sqlite3"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE kept (value)")
    settings = load(
        "production_eu",
        **GOOD | {"DATABASE_URL": f"sqlite:///{quote(file.as_posix())}"},
        ALLOW_SQLITE_IN_PRODUCTION="true",
    )
    connection = ConnectionHandler({"default": settings.DATABASES["default"]})["default"]
    with django_db_blocker.unblock(), closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT * FROM kept")
        with pytest.raises(OperationalError, match="readonly database"):
            cursor.execute("INSERT INTO kept VALUES (1)")


@pytest.mark.parametrize(
    ("url", "option", "value"),
    [
        ("postgres://po@host/po", "options", "-c default_transaction_read_only=on"),
        (
            "mssql://po@host/po?python_driver=mssql-python",
            "extra_params",
            "Encrypt=yes;TrustServerCertificate=no;ApplicationIntent=ReadOnly",
        ),
    ],
)
def test_europe_asks_a_database_server_for_a_read_only_connection(
    load: Load, url: str, option: str, value: str
) -> None:
    settings = load("production_eu", **GOOD | {"DATABASE_URL": url})
    assert settings.DATABASES["default"]["OPTIONS"][option] == value


def test_the_file_of_a_windows_editor_is_read_and_the_real_environment_wins(
    load: Load, tmp_path: Path
) -> None:
    file = tmp_path / "environment"
    file.write_text("LOG_DIR=from the file\nAT_RISK_DAYS=9\n", encoding="utf-8-sig")
    settings = load("base", ENV_FILE=str(file), AT_RISK_DAYS="3")
    assert Path("from the file") == settings.LOG_DIR
    assert settings.AT_RISK_DAYS == 3


def test_development_needs_no_environment_and_reads_the_simulated_erp(load: Load) -> None:
    settings = load("development")
    assert settings.DATABASES["default"]["NAME"] == str(ROOT / "var" / "po_tracking.sqlite3")
    erp = settings.DATABASES["erp"]["NAME"]
    assert erp.startswith("file:")
    assert erp.endswith("/var/demo_erp.sqlite3?mode=ro")
    assert Path(settings.ERP_MAPPING_FILE).is_file()


def test_the_example_file_names_every_variable_that_settings_read_and_no_other() -> None:
    read = [
        node.args[0].value
        for file in (ROOT / "po_tracking").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "env"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]
    assert set(read) == set(DOCUMENTED)
    assert len(DOCUMENTED) == len(set(DOCUMENTED))


def test_every_default_that_the_example_file_shows_is_the_real_one(load: Load) -> None:
    for name, value in re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE):
        assert value == value.strip(), name
    shown = dict(re.findall(r"^#([A-Z_]+)=([\d.]+|true|false|UTC)$", EXAMPLE, re.MULTILINE))
    plain = load("production", **GOOD)
    spelled_out = load("production", **GOOD, **shown)
    for name in shown:
        assert getattr(plain, name, None) == getattr(spelled_out, name, None), name


@pytest.mark.parametrize("url", re.findall(r"(?:mssql|postgres|sqlite)://\S+", EXAMPLE))
def test_every_database_address_of_the_example_file_is_understood(url: str) -> None:
    database = application_database(url)
    assert database["NAME"]
    assert "://" not in database["NAME"]


@pytest.mark.parametrize(
    ("name", "value"), [("WEB_THREADS", "eight"), ("MSSQL_CONNECT_TIMEOUT", "long")]
)
def test_a_value_of_the_wrong_kind_is_refused_by_the_name_of_its_variable(
    load: Load, name: str, value: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=f'{name} is "{value}"'):
        load("production", **GOOD | {"DATABASE_URL": "mssql://po@host/po", name: value})


def test_a_wrong_setting_of_the_driver_is_told_as_that_and_not_as_a_wrong_password(
    load: Load,
) -> None:
    wrong = GOOD | {"DATABASE_URL": "mssql://po@host/po", "MSSQL_DRIVER": "odbc"}
    with pytest.raises(ImproperlyConfigured, match='understood: MSSQL_DRIVER is "odbc"'):
        load("production", **wrong)


def test_a_wrong_address_of_the_erp_is_told_by_its_name_without_its_password(load: Load) -> None:
    with pytest.raises(ImproperlyConfigured, match="ERP_DATABASE_URL cannot be") as caught:
        load("base", ERP_DATABASE_URL="postgres://reader:half/of/it@host/erp")
    assert "half" not in str(caught.value)


class TestSqlServer:
    """Which driver speaks to SQL Server, and what it is told."""

    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A machine with an old and a new driver of Microsoft's and FreeTDS."""
        for name in [name for name in os.environ if name.startswith("MSSQL_")]:
            monkeypatch.delenv(name)
        self.monkeypatch = monkeypatch
        self.has("FreeTDS", "ODBC Driver 17 for SQL Server", "ODBC Driver 18 for SQL Server")

    def has(self, *drivers: str) -> None:
        pyodbc = ModuleType("pyodbc")
        pyodbc.drivers = lambda: list(drivers)  # type: ignore[attr-defined]  # a stand-in
        self.monkeypatch.setitem(sys.modules, "pyodbc", pyodbc)

    def options(self, query: str = "", **environment: str) -> dict[str, Any]:
        for name, value in environment.items():
            self.monkeypatch.setenv(name, value)
        options: dict[str, Any] = application_database(f"mssql://po@host/po{query}")["OPTIONS"]
        return options

    def test_the_newest_driver_of_the_machine_is_used_encrypted_and_checked(self) -> None:
        options = self.options()
        assert options["driver"] == "ODBC Driver 18 for SQL Server"
        assert options["extra_params"] == "Encrypt=yes;TrustServerCertificate=no"
        assert "python_driver" not in options

    def test_freetds_is_told_the_same_in_its_own_words(self) -> None:
        self.has("FreeTDS")
        options = self.options()
        assert options["driver"] == "FreeTDS"
        assert options["extra_params"] == "TDS_Version=7.4;Encryption=require"
        assert options["host_is_server"] is True

    @pytest.mark.parametrize("name", ["mssql-python", "mssql_python", "MSSQL-Python"])
    def test_mssql_python_needs_no_driver_of_the_machine(self, name: str) -> None:
        options = self.options(MSSQL_DRIVER=name)
        assert options["python_driver"] == "mssql_python"
        assert "driver" not in options

    def test_without_any_driver_the_one_that_is_a_package_is_used(self) -> None:
        self.has("SQLite3")
        assert self.options()["python_driver"] == "mssql_python"
        assert self.options(MSSQL_DRIVER="pyodbc")["driver"] == "ODBC Driver 18 for SQL Server"

    def test_a_named_driver_is_used_whatever_else_is_there(self) -> None:
        assert self.options(MSSQL_ODBC_DRIVER="FreeTDS")["driver"] == "FreeTDS"
        assert self.options("?driver=Mine")["driver"] == "Mine"

    def test_encryption_trust_and_time_outs_come_from_the_environment(self) -> None:
        options = self.options(
            MSSQL_ENCRYPT="strict",
            MSSQL_TRUST_SERVER_CERTIFICATE="true",
            MSSQL_CONNECT_TIMEOUT="3",
            MSSQL_QUERY_TIMEOUT="600",
        )
        assert options["extra_params"] == "Encrypt=strict;TrustServerCertificate=yes"
        assert (options["connection_timeout"], options["query_timeout"]) == (3, 600)

    def test_an_address_has_the_last_word_about_its_own_server(self) -> None:
        query = "?encrypt=no&trust_server_certificate=true&connection_timeout=2"
        options = self.options(query, MSSQL_ENCRYPT="yes", MSSQL_CONNECT_TIMEOUT="30")
        assert options["extra_params"] == "Encrypt=no;TrustServerCertificate=yes"
        assert options["connection_timeout"] == 2

    def test_what_the_administrator_writes_for_the_driver_is_not_said_twice(self) -> None:
        options = self.options("?extra_params=encrypt%3Dno%3BServerSPN%3Dx")
        assert options["extra_params"] == "encrypt=no;ServerSPN=x;TrustServerCertificate=no"

    def test_the_erp_is_asked_for_a_read_only_connection_unless_its_address_says_otherwise(
        self,
    ) -> None:
        asked = erp_database("mssql://reader@host/erp")["OPTIONS"]["extra_params"]
        assert "ApplicationIntent=ReadOnly" in asked
        url = "mssql://reader@host/erp?application_intent=ReadWrite"
        told = erp_database(url)["OPTIONS"]["extra_params"]
        assert told.endswith("ApplicationIntent=ReadWrite")
        assert "ReadOnly" not in told

    def test_nothing_is_tried_again_behind_the_ingestions_back(self) -> None:
        assert self.options()["connection_retries"] == 0

    @pytest.mark.parametrize(
        ("name", "value"), [("MSSQL_DRIVER", "odbc"), ("MSSQL_ENCRYPT", "maybe")]
    )
    def test_a_word_that_means_nothing_is_refused_by_name(self, name: str, value: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=f'{name} is "{value}"'):
            self.options(**{name: value})
