"""An ERP on PostgreSQL, in a database of its own, through the real commands: names that need quotes
in any alphabet, codes filled up with blanks, moments with a time zone, receipts, and a login that
may only read.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.test import override_settings

from apps.ingestion import snapshot
from apps.ingestion.context import RunContext
from apps.ingestion.erp.router import ERP_ALIAS
from apps.ingestion.models import ERPSnapshot, IngestionRun, RejectedRow
from apps.ingestion.tests.erp_table import batches_of, day, feed_slot, line_of
from apps.po.models import POLine, Supplier
from tests.erp import use_erp

_PASSWORD = "only-for-tests"
_SCHEMA = """
CREATE SCHEMA dbo;
CREATE SCHEMA "仓库";
CREATE TABLE dbo."PO Lines" (
    "PO No" char(12), "Line" smallint, "Vendor" char(8) NOT NULL, "Artikel" char(20) NOT NULL,
    "品名" varchar(60), "Qty.Ordered" numeric(18, 4), "Qty.Received" numeric(18, 4),
    "State" char(2) NOT NULL, "Promised" timestamptz, "Received" timestamp, "Entered" date,
    "客户" varchar(60), "Changed" timestamptz, "Gewicht (kg)" numeric(10, 2), "备注" text,
    PRIMARY KEY ("PO No", "Line")
);
CREATE TABLE dbo."Vendors" ("Code" char(8) PRIMARY KEY, "名称" varchar(60));
CREATE TABLE "仓库"."Goods.Receipts" (
    "Id" bigint PRIMARY KEY, "PO" char(12), "Line" smallint, "Qty" numeric(18, 4), "At" timestamptz
);
INSERT INTO dbo."Vendors" VALUES ('V1', '丸善'), ('V2', 'Größe & Söhne');
"""
_MAPPING = """
[lines]
table = '"dbo"."PO Lines"'
[lines.joins.vendor]
table = "dbo.Vendors"
on = { Code = "Vendor" }
[lines.columns]
po_number = "PO No"
line_number = "Line"
supplier_code = "Vendor"
supplier_name = "vendor.名称"
item_code = "Artikel"
item = "品名"
ordered_quantity = "Qty.Ordered"
delivered_quantity = "Qty.Received"
status = "State"
promised_date = "Promised"
in_date = "Received"
po_insert_date = "Entered"
final_customer = "客户"
updated_at = "Changed"
[lines.active]
closed_statuses = ["C", "X"]
[lines.status_map]
O = "planned"
P = "in_production"
C = "closed"
X = "cancelled"
[deliveries]
table = "[仓库].[Goods.Receipts]"
[deliveries.columns]
receipt_id = "Id"
po_number = "PO"
line_number = "Line"
quantity = "Qty"
receipt_date = "At"
[values]
time_zone = "Asia/Shanghai"
"""


class PostgresErp:
    """The ERP: its database as its users see it, and the login that the product is given."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.login = f"reader_of_{name}"
        given = connection.settings_dict
        self._server: dict[str, Any] = {
            "host": given["HOST"] or None,
            "port": given["PORT"] or None,
            "user": given["USER"] or None,
            "password": given["PASSWORD"] or None,
        }

    @property
    def url(self) -> str:
        host = self._server["host"] or ""
        port = f":{self._server['port']}" if self._server["port"] else ""
        host = f"/{host}" if host.startswith("/") else host
        return f"postgres://{self.login}:{_PASSWORD}@{host}{port}/{self.name}"

    def create(self) -> None:
        self._administer(f"CREATE DATABASE {self.name} ENCODING 'UTF8' TEMPLATE template0")
        self._administer(f"CREATE ROLE {self.login} LOGIN PASSWORD '{_PASSWORD}'")
        self.do(_SCHEMA)
        self.do(
            f'GRANT USAGE ON SCHEMA dbo, "仓库" TO {self.login};'
            f'GRANT SELECT ON ALL TABLES IN SCHEMA dbo, "仓库" TO {self.login}'
        )

    def drop(self) -> None:
        self._administer(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")
        self._administer(f"DROP ROLE IF EXISTS {self.login}")

    def do(self, sql: str, *values: Any) -> None:
        """What the ERP's users do, committed at once."""
        with self._connected(self.name) as erp:
            erp.execute(sql, values or None)

    def add(self, po_number: str, line: int, vendor: str, **values: Any) -> None:
        """One more line, of which a test names only what it is about."""
        row = {
            "PO No": po_number, "Line": line, "Vendor": vendor, "Artikel": "螺栓-M8",
            "Qty.Ordered": 100, "Qty.Received": 0, "State": "O", "Entered": "2025-02-03",
        } | {_COLUMNS[name]: value for name, value in values.items()}  # fmt: skip
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join(["%s"] * len(row))
        self.do(f'INSERT INTO dbo."PO Lines" ({names}) VALUES ({marks})', *row.values())

    def change(self, po_number: str, line: int, **values: Any) -> None:
        """Overwrites columns of a line."""
        assignments = ", ".join(f'"{_COLUMNS[name]}" = %s' for name in values)
        self.do(
            f'UPDATE dbo."PO Lines" SET {assignments} WHERE "PO No" = %s AND "Line" = %s',
            *values.values(), po_number, line,
        )  # fmt: skip

    def receive(self, number: int, po_number: str, line: int, quantity: str, at: str) -> None:
        """One more receipt, which the line's own quantity knows as well."""
        self.do(
            'INSERT INTO "仓库"."Goods.Receipts" VALUES (%s, %s, %s, %s, %s)',
            number, po_number, line, quantity, at,
        )  # fmt: skip
        self.do(
            'UPDATE dbo."PO Lines" SET "Qty.Received" = "Qty.Received" + %s, "Received" = %s'
            ' WHERE "PO No" = %s AND "Line" = %s',
            Decimal(quantity), at, po_number, line,
        )  # fmt: skip

    def everything(self) -> list[Any]:
        """Every row with the transaction that wrote it."""
        tables = ('dbo."PO Lines"', 'dbo."Vendors"', '"仓库"."Goods.Receipts"')
        with self._connected(self.name) as erp:
            return [
                erp.execute(f"SELECT xmin, t.*::text FROM {table} t ORDER BY 2").fetchall()
                for table in tables
            ]

    def _administer(self, sql: str) -> None:
        with self._connected(connection.settings_dict["NAME"]) as server:
            server.execute(sql)

    @contextmanager
    def _connected(self, database: str) -> Iterator[psycopg.Connection]:
        with psycopg.connect(dbname=database, autocommit=True, **self._server) as link:
            yield link


_COLUMNS = {
    "item_code": "Artikel", "item": "品名", "ordered": "Qty.Ordered", "delivered": "Qty.Received",
    "status": "State", "promised": "Promised", "received": "Received", "entered": "Entered",
    "customer": "客户", "changed": "Changed", "weight": "Gewicht (kg)", "remark": "备注",
}  # fmt: skip


@pytest.fixture
def erp(db: None) -> Iterator[PostgresErp]:
    """An empty ERP that the product reads."""
    if connection.vendor != "postgresql":
        pytest.skip("makes an ERP on a PostgreSQL server (TEST_POSTGRES_URL)")
    erp = PostgresErp(f"erp_of_{connection.settings_dict['NAME']}")
    erp.drop()  # what a test run that was killed has left
    erp.create()
    try:
        with use_erp(erp.url, _MAPPING):
            yield erp
    finally:
        erp.drop()


@pytest.fixture
def orders(erp: PostgresErp, settings: Any) -> PostgresErp:
    """Two orders, and a closed one, before the first night."""
    # Of so few lines one is a large share.
    settings.INGESTION_MAX_REJECTED_SHARE = settings.INGESTION_MAX_DROP_SHARE = 1.0
    feed_slot("custom_text_1", "备注")
    feed_slot("custom_decimal_1", "Gewicht (kg)")
    # Midnight in Shanghai is still the day before in UTC.
    erp.add(
        "PO-7", 1, "V1", promised="2025-03-31 16:00+00", customer="北京客户", item="六角螺栓",
        changed="2025-03-01 08:00:00.123456+08", weight="12.50", remark="  缓慢 ",
    )  # fmt: skip
    erp.add("PO-7", 2, "V1", ordered="0.0010", promised="9999-12-31 00:00+08")
    erp.add("PO-8", 1, "V2", status="P")
    erp.add("PO-9", 1, "V2", status="C", delivered=100)
    erp.receive(1, "PO-7", 1, "40", "2025-02-28 17:00+00")
    return erp


def command(name: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code of a command, and the object it printed."""
    out = io.StringIO()
    code: int | str | None = 0
    try:
        call_command(name, "--json", *arguments, stdout=out)
    except SystemExit as end:
        code = end.code
    return int(code or 0), json.loads(out.getvalue())


def night(number: int) -> dict[str, Any]:
    """The report of a night that must be applied."""
    code, report = command("run_ingestion", "--as-of", str(day(number)))
    assert code == 0, report
    return report


def changes_of(report: dict[str, Any]) -> list[tuple[str, str, str | None, str | None]]:
    run = IngestionRun.objects.get(identifier=report["run_identifier"])
    return sorted(
        run.change_events.values_list("po_line__po_number", "field", "previous_value", "new_value")
    )


def test_check_erp_finds_everything_and_shows_the_lines_as_they_will_be_stored(
    orders: PostgresErp,
) -> None:
    code, result = command("check_erp")
    assert code == 0, result["problems"]
    assert result["connection"]["server"].startswith("PostgreSQL ")
    assert result["connection"]["login"] == orders.login
    assert result["read_only"]["login_can_write"] is False
    types = {column["field"]: column["type"] for column in result["columns"]}
    assert types["po_number"] == "character(12)"
    assert types["promised_date"] == "timestamp with time zone"
    assert types["supplier_name"] == "character varying(60)"
    assert types["custom_decimal_1"] == "numeric(10,2)"
    codes = {code["code"]: code["lines"] for code in result["status_codes"]}
    assert codes == {"O": 2, "P": 1, "C": 1, "X": 0}
    assert (result["lines"]["active"], result["lines"]["rejected"]) == (3, 0)
    assert result["receipts"] == {
        "table": "[仓库].[Goods.Receipts]", "receipts": 1, "rejected": 0,
    }  # fmt: skip
    stored = {(s["stored"]["po_number"], s["stored"]["line_number"]): s for s in result["sample"]}
    first = stored["PO-7", "1"]["stored"]
    assert first["supplier_code"] == "V1"
    assert (first["promised_date"], first["final_customer"]) == ("2025-04-01", "北京客户")


def test_a_baseline_stores_each_value_as_the_erp_means_it(orders: PostgresErp) -> None:
    report = night(1)
    assert (report["mode"], report["new_lines_created"]) == ("baseline", 3)
    line = line_of("PO-7", "1")
    assert line.supplier.name == "丸善"
    assert line.erp_item_code == "螺栓-M8"
    assert (line.erp_item, line.final_customer) == ("六角螺栓", "北京客户")
    assert line.ordered_quantity == 100
    assert line.delivered_quantity == 40
    assert (line.promised_date, line.po_insert_date) == (date(2025, 4, 1), date(2025, 2, 3))
    assert line.erp_updated_at is not None
    assert line.erp_updated_at.isoformat() == "2025-03-01T00:00:00.123456+00:00"
    assert (line.custom_text_1, line.custom_decimal_1) == ("  缓慢", Decimal("12.5"))
    assert batches_of("PO-7", "1") == [("exact", 40, date(2025, 3, 1))]
    other = line_of("PO-7", "2")
    assert other.ordered_quantity == Decimal("0.001")
    assert other.promised_date is None
    assert Supplier.objects.get(code="V2").name == "Größe & Söhne"
    assert not POLine.objects.filter(po_number="PO-9").exists()


def test_nights_tell_what_moved_arrived_left_and_came(orders: PostgresErp) -> None:
    night(1)
    orders.change("PO-7", 1, promised="2025-04-03 00:00+08", customer="上海客户", remark="快")
    orders.receive(2, "PO-7", 1, "60", "2025-03-03 09:00+08")
    orders.change("PO-8", 1, status="C", delivered=5)  # closed, so found by key only
    orders.add("PO-10", 1, "V2", customer="客户")
    before = orders.everything()
    report = night(2)
    assert orders.everything() == before
    assert (report["po_lines_processed"], report["new_lines_created"]) == (3, 1)
    assert (report["lines_changed"], report["lines_left"]) == (1, 1)
    assert changes_of(report) == [
        ("PO-7", "custom_text_1", "  缓慢", "快"),
        ("PO-7", "delivered_quantity", "40.000", "100.000"),
        ("PO-7", "final_customer", "北京客户", "上海客户"),
        ("PO-7", "in_date", "2025-02-28", "2025-03-03"),
        ("PO-7", "promised_date", "2025-04-01", "2025-04-03"),
        ("PO-8", "delivered_quantity", "0.000", "5.000"),
        ("PO-8", "erp_status", "P", "C"),
    ]
    assert batches_of("PO-7", "1")[1:] == [("exact", 60, date(2025, 3, 3))]
    assert batches_of("PO-8", "1") == [("unexplained", 5, day(2))]
    assert (line_of("PO-8", "1").presence, line_of("PO-8", "1").status) == ("closed", "closed")
    assert line_of("PO-10", "1").supplier.code == "V2"

    orders.do('DELETE FROM dbo."PO Lines" WHERE "PO No" = %s', "PO-10")
    orders.do('DELETE FROM "仓库"."Goods.Receipts" WHERE "Id" = 2')
    orders.change("PO-8", 1, delivered=8)  # a late receipt, after closing
    orders.change("PO-7", 2, ordered="NaN")
    report = night(3)
    assert report["status"] == "partial"
    assert line_of("PO-10", "1").presence == "absent"
    assert batches_of("PO-8", "1")[1:] == [("unexplained", 3, day(3))]
    assert batches_of("PO-7", "1")[2:] == [
        ("correction", -60, day(3)),
        ("unexplained", 60, day(3)),
    ]
    rejected = RejectedRow.objects.get()
    assert (rejected.po_number, rejected.line_number) == ("PO-7", "2")
    assert "NaN" in rejected.reason
    assert line_of("PO-7", "2").ordered_quantity == Decimal("0.001")

    report = night(4)
    assert (report["change_events_detected"], report["batches_reconstructed"]) == (0, 0)


def test_all_reads_of_a_run_see_the_erp_of_one_moment(
    orders: PostgresErp, monkeypatch: pytest.MonkeyPatch
) -> None:
    night(1)
    read_receipts = snapshot._read_receipts

    def read_after_something_has_arrived(context: RunContext) -> None:
        orders.receive(2, "PO-7", 1, "60", "2025-03-03 09:00+08")
        read_receipts(context)

    monkeypatch.setattr(snapshot, "_read_receipts", read_after_something_has_arrived)
    assert night(2)["batches_reconstructed"] == 0
    monkeypatch.undo()
    assert night(3)["batches_reconstructed"] == 1
    assert batches_of("PO-7", "1")[1:] == [("exact", 60, date(2025, 3, 3))]


# --- read-only ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "table"),
    [
        ('UPDATE ("State")', 'dbo."PO Lines"'),
        ("INSERT", 'dbo."Vendors"'),
        ("DELETE", '"仓库"."Goods.Receipts"'),
    ],
)
def test_a_login_that_can_write_to_a_mapped_table_is_refused(
    orders: PostgresErp, right: str, table: str
) -> None:
    orders.do(f"GRANT {right} ON {table} TO {orders.login}")
    code, result = command("check_erp")
    assert (code, result["read_only"]["login_can_write"]) == (1, True)
    code, report = command("run_ingestion", "--as-of", str(day(1)))
    assert (code, report["status"]) == (1, "failed")
    (notice,) = report["errors_encountered"]
    assert notice["message"].startswith("The ERP's login can write")
    (named,) = re.findall(r"[^ ]*(PO Lines|Vendors|Goods\.Receipts)", notice["message"])
    assert named in table
    assert "may only SELECT" in notice["remedy"]
    assert not ERPSnapshot.objects.exists()
    assert not POLine.objects.exists()

    orders.do(f"REVOKE {right} ON {table} FROM {orders.login}")
    assert night(1)["new_lines_created"] == 3


def test_the_connection_refuses_to_write_even_for_a_login_that_may(orders: PostgresErp) -> None:
    orders.do(f'GRANT ALL ON dbo."PO Lines" TO {orders.login}')
    with override_settings(ERP_ALLOW_WRITABLE_LOGIN=True):
        before = orders.everything()
        assert night(1)["new_lines_created"] == 3
        assert orders.everything() == before
    erp: Any = connections[ERP_ALIAS]
    erp.ensure_connection()
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        # Past the guard in the code, straight to the driver.
        erp.connection.execute('DELETE FROM dbo."PO Lines"')


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("promised", "infinity"),
        ("promised", "-infinity"),
        ("received", "0044-03-15 BC"),
        ("received", "infinity"),
        ("entered", "0044-03-15 BC"),
        ("entered", "294276-12-31"),
        ("changed", "12000-01-01 12:00+00"),
    ],
)
def test_a_date_outside_the_calendar_costs_its_row_and_not_the_night(
    orders: PostgresErp, field: str, value: str
) -> None:
    orders.change("PO-8", 1, **{field: value})
    report = night(1)
    assert (report["status"], report["new_lines_created"]) == ("partial", 2)
    rejected = RejectedRow.objects.get()
    assert rejected.po_number == "PO-8"
    year = value.removeprefix("-").partition("-")[0]
    assert re.search(rf"\({_COLUMNS[field]}\): '-?{year}.*' is not a date", rejected.reason)

    orders.change("PO-8", 1, **{field: "2025-03-02 10:00+00"})
    assert night(2)["new_lines_created"] == 1


def test_in_custom_columns_such_a_date_is_text_or_no_value_and_costs_no_row(
    orders: PostgresErp,
) -> None:
    orders.do("""ALTER TABLE dbo."PO Lines" ADD "Valid" date DEFAULT 'infinity'""")
    feed_slot("custom_text_2", "Valid")
    feed_slot("custom_date_1", "Valid")
    report = night(1)
    assert (report["new_lines_created"], RejectedRow.objects.count()) == (3, 0)
    line = line_of("PO-8", "1")
    assert (line.custom_text_2, line.custom_date_1) == ("infinity", None)
    assert any("custom_date_1" in notice["message"] for notice in report["errors_encountered"])
