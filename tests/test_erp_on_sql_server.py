"""An ERP on SQL Server: its types, blanks, case and names, its logins, read as it really is.

Needs a server (TEST_MSSQL_ERP_URL, else TEST_MSSQL_URL; tests/README.md); the application may be on
any engine. Databases and logins are made for the tests and dropped.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import pytest
from django.db import DatabaseError, connections
from django.db.utils import ConnectionHandler
from pytest_django import DjangoDbBlocker
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from apps.batches.models import Batch
from apps.ingestion import pipeline
from apps.ingestion.context import RunOptions
from apps.ingestion.erp.mapping import parse_mapping
from apps.ingestion.erp.preflight import connect, examine
from apps.ingestion.erp.rights import write_proof
from apps.ingestion.erp.router import ERP_ALIAS, ErpWriteRefusedError
from apps.ingestion.errors import ErpError
from apps.ingestion.models import RunStatus
from apps.ingestion.report import Report
from apps.po.models import POLine, Presence
from po_tracking.databases import application_database
from tests.erp import use_erp

URL = os.environ.get("TEST_MSSQL_ERP_URL") or os.environ.get("TEST_MSSQL_URL") or ""

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not URL, reason="needs SQL Server (TEST_MSSQL_ERP_URL, TEST_MSSQL_URL)"),
]

PASSWORD = "Only-for-tests-1"
MAPPING = """
[lines]
table = "[erp side].[PO Lines]"
[lines.columns]
po_number = "PO No."
line_number = "Line"
supplier_code = "Vendor"
supplier_name = "Vendor Name"
item_code = "Item"
item = "Family"
ordered_quantity = "Ordered"
delivered_quantity = "Received"
status = "State"
promised_date = "Promised"
in_date = "In"
po_insert_date = "Inserted"
updated_at = "Touched"
[lines.active]
closed_statuses = ["C"]
[lines.status_map]
"O" = "planned"
"C" = "closed"
[values]
time_zone = "Europe/Berlin"
"""
TABLE = """
CREATE TABLE [erp side].[PO Lines] (
    [PO No.] nchar(12) NOT NULL, [Line] smallint NOT NULL, [Vendor] varchar(10) NOT NULL,
    [Vendor Name] nvarchar(60) NULL, [Item] nchar(20) NOT NULL, [Family] nvarchar(40) NULL,
    [Ordered] decimal(18, 3) NOT NULL, [Received] money NULL, [State] char(3) NOT NULL,
    [Promised] datetime NULL, [In] date NULL, [Inserted] datetime2(7) NULL,
    [Touched] datetimeoffset(7) NULL)
"""


class Erp:
    """A database on the server, and what its users do there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reader = ""
        settings = {"default": application_database(address(name))}
        self.connection = ConnectionHandler(settings)["default"]

    def run(self, sql: str, *parameters: Any) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, list(parameters) or None)

    def add(self, po_number: str, **values: Any) -> None:
        row = {
            "PO No.": po_number, "Line": 10, "Vendor": "V1", "Vendor Name": "丸善 Größe",
            "Item": "BOLT  ", "Family": "螺栓", "Ordered": Decimal("12.125"),
            "Received": Decimal("0.5"), "State": "O", "Promised": "2026-03-29T23:59:59.997",
            "In": "2026-02-28", "Inserted": "2026-01-02T00:00:00.1234567",
            "Touched": "2026-03-29T01:30:00.123456+01:00",
        } | values  # fmt: skip
        marks = ", ".join(["%s"] * len(row))
        columns = ", ".join(f"[{column}]" for column in row)
        self.run(f"INSERT INTO [erp side].[PO Lines] ({columns}) VALUES ({marks})", *row.values())


@contextmanager
def open_database(name: str) -> Iterator[Erp]:
    erp = Erp(name)
    try:
        yield erp
    finally:
        erp.connection.close()


def address(database: str, login: str = "", password: str = PASSWORD) -> str:
    """The address of a database on the tests' server, for this login or the one of the tests."""
    parts = urlsplit(URL)
    netloc = parts.netloc
    if login:
        netloc = f"{quote(login)}:{quote(password)}@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{database}"))


@pytest.fixture(scope="module")
def database(django_db_blocker: DjangoDbBlocker) -> Iterator[Erp]:
    """One for all tests here, with a login that may not even see the table yet."""
    name, login = f"test_erp_{secrets.token_hex(6)}", f"reader_{secrets.token_hex(6)}"
    with django_db_blocker.unblock(), open_database("master") as server:
        server.run(f"CREATE DATABASE [{name}]")
        server.run(f"CREATE LOGIN [{login}] WITH PASSWORD = '{PASSWORD}'")
        # Where the server can: one view of the data for all reads of a run.
        with suppress(DatabaseError):
            server.run(f"ALTER DATABASE [{name}] SET ALLOW_SNAPSHOT_ISOLATION ON")
        with open_database(name) as made:
            made.reader = login
            made.run("CREATE SCHEMA [erp side]")
            made.run(TABLE)
            made.run(f"CREATE USER [{login}] FOR LOGIN [{login}]")
            yield made
            made.run(f"DROP USER [{login}]")
        server.run(f"DROP LOGIN [{login}]")
        _drop(server, name)


@retry(
    retry=retry_if_exception_type(DatabaseError), stop=stop_after_delay(20), wait=wait_fixed(0.2)
)
def _drop(server: Erp, name: str) -> None:
    """A closed connection may be some moments in going."""
    with suppress(DatabaseError):
        server.run(f"ALTER DATABASE [{name}] SET SINGLE_USER WITH ROLLBACK IMMEDIATE")
    server.run(f"DROP DATABASE [{name}]")


@pytest.fixture(scope="module")
def other_database(database: Erp, django_db_blocker: DjangoDbBlocker) -> Iterator[Erp]:
    """A second one on the server, where the same login may read a table of the same name."""
    name = f"{database.name}_other"
    with django_db_blocker.unblock(), open_database("master") as server:
        server.run(f"CREATE DATABASE [{name}]")
        with open_database(name) as made:
            made.run("CREATE SCHEMA [erp side]")
            made.run(TABLE)
            made.run(f"CREATE USER [{database.reader}] FOR LOGIN [{database.reader}]")
            made.run(f"GRANT SELECT ON [erp side].[PO Lines] TO [{database.reader}]")
            yield made
            made.run("DROP TABLE [erp side].[PO Lines]")  # with what was granted on it
            made.run(f"DROP USER [{database.reader}]")
        _drop(server, name)


@pytest.fixture
def erp(database: Erp) -> Iterator[Erp]:
    """An empty table that the login may read."""
    database.run(f"GRANT SELECT ON [erp side].[PO Lines] TO [{database.reader}]")
    yield database
    database.run("DELETE FROM [erp side].[PO Lines]")
    for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
        database.run(f"REVOKE {right} ON [erp side].[PO Lines] FROM [{database.reader}]")


@contextmanager
def read(erp: Erp) -> Iterator[None]:
    with use_erp(address(erp.name, erp.reader), MAPPING):
        yield


def night(erp: Erp) -> Report:
    with read(erp):
        report = pipeline.run(options=RunOptions())
    assert report.status != RunStatus.FAILED, report.errors_encountered
    return report


def test_every_type_of_the_server_is_read_to_the_last_digit_and_day(erp: Erp) -> None:
    erp.add("PO1")
    report = night(erp)
    assert (report.status, report.new_lines_created) == (RunStatus.SUCCESS, 1)
    line = POLine.objects.select_related("supplier").get()
    assert (line.po_number, line.line_number, line.erp_item_code) == ("PO1", "10", "BOLT")
    assert (line.supplier.code, line.supplier.name) == ("V1", "丸善 Größe")
    assert line.erp_item == "螺栓"
    assert (line.ordered_quantity, line.delivered_quantity) == (Decimal("12.125"), Decimal("0.5"))
    # datetime counts in 1/300 s and would round up to the next day in other hands.
    assert line.promised_date == date(2026, 3, 29)
    assert (line.in_date, line.po_insert_date) == (date(2026, 2, 28), date(2026, 1, 2))
    # The moment's own offset counts, not the ERP's zone, whose clock is put forward that night.
    assert line.erp_updated_at == datetime(2026, 3, 29, 0, 30, 0, 123456, tzinfo=UTC)


def test_keys_that_differ_in_case_only_are_two_lines_although_the_erp_may_take_them_for_one(
    erp: Erp,
) -> None:
    for po_number in ("PO1", "po1", "Po1"):
        erp.add(po_number)
    assert night(erp).new_lines_created == 3
    erp.run(
        "UPDATE [erp side].[PO Lines] SET [Ordered] = 99"
        " WHERE CAST([PO No.] AS varbinary(24)) = CAST(CAST(N'po1' AS nchar(12)) AS varbinary(24))"
    )
    report = night(erp)
    assert (report.lines_changed, report.change_events_detected) == (1, 1)
    assert POLine.objects.get(po_number="po1").ordered_quantity == 99
    assert POLine.objects.get(po_number="PO1").ordered_quantity == Decimal("12.125")


def test_a_night_over_the_unchanged_erp_finds_nothing(erp: Erp) -> None:
    for n in range(30):
        erp.add(f"PO{n}")
    night(erp)
    report = night(erp)
    assert (report.po_lines_processed, report.change_events_detected) == (30, 0)
    assert (report.lines_left, report.batches_reconstructed) == (0, 0)


def test_a_line_that_left_is_looked_up_by_its_padded_key_and_its_last_receipt_kept(
    erp: Erp,
) -> None:
    for n in range(10):
        erp.add(f"PO{n}")
    night(erp)
    erp.run(
        "UPDATE [erp side].[PO Lines] SET [State] = 'C', [Received] = 12.125 WHERE [PO No.] = 'PO3'"
    )
    report = night(erp)
    assert (report.lines_left, report.batches_reconstructed) == (1, 1)
    line = POLine.objects.get(po_number="PO3")
    assert (line.presence, line.status) == (Presence.CLOSED, "closed")
    quantities = (
        Batch.objects.filter(po_line=line).order_by("pk").values_list("quantity", flat=True)
    )
    assert list(quantities) == [Decimal("0.5"), Decimal("11.625")]


def test_a_code_in_other_case_is_another_code_whatever_the_erp_compares(erp: Erp) -> None:
    erp.add("PO1")
    erp.add("PO2", State="c")
    report = night(erp)
    assert report.new_lines_created == 2
    assert any('"c"' in error["message"] for error in report.errors_encountered)


RIGHTS = [
    ("", False),
    ("GRANT INSERT ON [erp side].[PO Lines] TO [{login}]", True),
    ("GRANT DELETE ON [erp side].[PO Lines] TO [{login}]", True),
    ("GRANT UPDATE ON [erp side].[PO Lines] TO [{login}]", True),
    ("ALTER ROLE db_owner ADD MEMBER [{login}]", True),
    ("ALTER ROLE db_datawriter ADD MEMBER [{login}]", True),
    ("ALTER SERVER ROLE securityadmin ADD MEMBER [{login}]", True),
    ("ALTER SERVER ROLE sysadmin ADD MEMBER [{login}]", True),
]


@pytest.mark.parametrize(("statement", "can_write"), RIGHTS)
def test_the_server_itself_says_whether_the_login_can_write(
    erp: Erp, statement: str, can_write: bool
) -> None:
    if statement:
        try:
            erp.run(statement.format(login=erp.reader))
        except DatabaseError as error:
            pytest.skip(f"this server grants no such thing: {error}")
    with read(erp):
        proof = write_proof(parse_mapping(MAPPING, "mapping.toml"), connect())
        connections[ERP_ALIAS].close()
    if "ROLE" in statement:
        erp.run(statement.format(login=erp.reader).replace("ADD MEMBER", "DROP MEMBER"))
    assert proof.can_write == can_write, proof.statement


def test_a_login_that_rules_the_server_is_told_by_its_role(erp: Erp) -> None:
    with use_erp(address(erp.name), MAPPING):
        proof = write_proof(parse_mapping(MAPPING, "mapping.toml"), connect())
        connections[ERP_ALIAS].close()
    assert proof.can_write is True
    assert "the role sysadmin" in proof.statement


def test_a_table_of_another_database_is_asked_about_in_that_database(
    erp: Erp, other_database: Erp
) -> None:
    table = f"[{other_database.name}].[erp side].[PO Lines]"
    mapping = MAPPING.replace('"[erp side].[PO Lines]"', f'"{table}"')
    other_database.add("PO1")
    with use_erp(address(erp.name, erp.reader), mapping):
        report = pipeline.run(options=RunOptions())
        assert (report.status, report.new_lines_created) == (RunStatus.SUCCESS, 1)
        other_database.run(f"GRANT UPDATE ON [erp side].[PO Lines] TO [{erp.reader}]")
        proof = write_proof(parse_mapping(mapping, "mapping.toml"), connect())
        connections[ERP_ALIAS].close()
    assert proof.can_write is True
    assert other_database.name in proof.statement
    with read(erp):
        proof = write_proof(parse_mapping(MAPPING, "mapping.toml"), connect())
        connections[ERP_ALIAS].close()
    assert proof.can_write is False


def test_a_table_on_a_linked_server_is_proven_by_nobody(erp: Erp) -> None:
    mapping = MAPPING.replace('"[erp side].[PO Lines]"', '"far.erp.dbo.[PO Lines]"')
    with read(erp):
        proof = write_proof(parse_mapping(mapping, "mapping.toml"), connect())
        connections[ERP_ALIAS].close()
    assert proof.can_write is None
    assert "far.erp.dbo.PO Lines" in proof.statement


def test_a_run_refuses_a_login_that_can_write(erp: Erp) -> None:
    erp.add("PO1")
    erp.run(f"GRANT UPDATE ON [erp side].[PO Lines] TO [{erp.reader}]")
    started = time.monotonic()
    with read(erp):
        report = pipeline.run(options=RunOptions())
    assert time.monotonic() - started < 20
    assert report.status == RunStatus.FAILED
    [error] = report.errors_encountered
    assert "login can write" in error["message"]
    assert "may only SELECT" in error["remedy"]
    assert not POLine.objects.exists()


def test_the_connection_lets_only_reads_through(erp: Erp) -> None:
    from apps.ingestion.erp.guard import read_only

    with read(erp):
        connection = connect()
        with connection.execute_wrapper(read_only), connection.cursor() as cursor:
            with pytest.raises(ErpWriteRefusedError):
                cursor.execute("UPDATE [erp side].[PO Lines] SET [Ordered] = 0")
            with pytest.raises(ErpWriteRefusedError):
                cursor.execute("SELECT * INTO copy FROM [erp side].[PO Lines]")
        connection.close()


def test_what_the_mapping_names_and_the_server_lacks_is_told_in_time_with_the_nearest_name(
    erp: Erp,
) -> None:
    started = time.monotonic()
    mapping = MAPPING.replace('"Promised"', '"Promissed"')
    with use_erp(address(erp.name, erp.reader), mapping):
        found = examine(parse_mapping(mapping, "mapping.toml"), {}, connect())
        connections[ERP_ALIAS].close()
        report = pipeline.run(options=RunOptions())
    assert time.monotonic() - started < 20
    assert "Promissed" in report.errors_encountered[0]["message"]
    [problem] = found.problems
    assert 'no column "Promissed"' in problem
    assert '"Promised"' in problem


FAULTS = {
    "a wrong password": (
        lambda erp: address(erp.name, erp.reader, "wrong"),
        "Correct user and password",
    ),
    "a database that is not there": (
        lambda erp: address("no_such_database", erp.reader),
        "Correct the database name",
    ),
    "a server that is down": (
        lambda erp: "mssql://reader:secret@127.0.0.1:9/erp?encrypt=no",
        "up and reachable",
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_server_that_cannot_be_reached_is_told_with_its_cure_within_twenty_seconds(
    erp: Erp, fault: Any
) -> None:
    make_address, cure = fault
    started = time.monotonic()
    with use_erp(make_address(erp), MAPPING), pytest.raises(ErpError) as caught:
        connect()
    assert time.monotonic() - started < 20
    assert cure in caught.value.remedy
    for secret in (PASSWORD, "wrong", "secret"):
        assert secret not in caught.value.message
