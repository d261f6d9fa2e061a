"""The list as an Excel file: the same lines and columns, each value as what it is."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext
from openpyxl import load_workbook
from openpyxl.cell import Cell
from openpyxl.worksheet.worksheet import Worksheet
from pytest_django import Settings

from apps.accounts.models import Role, User
from apps.core.clock import business_today
from apps.exports import list_workbook
from apps.exports.list_workbook import TooManyLines, write_list
from apps.po.lifecycle import SourceQuality, Status
from apps.po.list_page import LineList, ListPage
from tests.factories import CustomColumnFactory, POLineFactory, SupplierFactory, UserFactory
from tests.test_pages import read_to_its_end, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return UserFactory.create(role=Role.PLANNER)


def asked(user: User, query: str) -> LineList:
    return LineList.asked_for(user, QueryDict(f"preset=all&{query}"))


def content(user: User, query: str) -> bytes:
    with write_list(asked(user, query)) as file:
        return file.read()


def sheet_of(file: bytes) -> Worksheet:
    return load_workbook(io.BytesIO(file)).worksheets[0]


def rows(user: User, query: str) -> list[tuple[Any, ...]]:
    """The lines of the sheet, without its head."""
    return list(sheet_of(content(user, query)).iter_rows(min_row=2, values_only=True))


# --- what is in it --------------------------------------------------------------------------------


def test_it_has_the_lines_and_columns_of_the_page_in_the_same_order(user: User) -> None:
    for number, promised in enumerate([None, 3, 1, 2, 2]):
        day = promised and date(2026, 3, promised)
        POLineFactory.create(po_number=f"A{number}", promised_date=day)
    POLineFactory.create(po_number="B")
    query = "po_number=a&sort=-promised_date&columns=promised_date,po_number,supplier"
    sheet = sheet_of(content(user, query))
    assert [cell.value for cell in sheet[1]] == ["Promised", "PO number", "Supplier"]
    in_file = [row[1] for row in sheet.iter_rows(min_row=2, values_only=True)]
    assert in_file == ["A1", "A4", "A3", "A2", "A0"]
    assert in_file == [line["po_number"] for line in ListPage(asked(user, query)).lines]


def test_it_has_every_page_of_the_list(user: User) -> None:
    POLineFactory.create_batch(60, supplier=SupplierFactory.create())
    query = "columns=po_number&sort=po_number"
    assert len(ListPage(asked(user, query)).lines) == 50
    assert [number for (number,) in rows(user, query)] == [
        line["po_number"]
        for page in (1, 2)
        for line in ListPage(asked(user, f"{query}&page={page}")).lines
    ]
    assert len(rows(user, f"{query}&page=2")) == 60


def test_dates_are_dates_and_moments_are_the_local_ones(user: User, settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    POLineFactory.create(
        promised_date=date(2026, 12, 31), first_seen_at=datetime(2026, 3, 1, 17, 30, tzinfo=UTC)
    )
    sheet = sheet_of(content(user, "columns=promised_date,first_seen_at,updated"))
    day, moment, never = (cell for cell in sheet[2] if isinstance(cell, Cell))
    assert (day.value, day.is_date, day.number_format) == (
        datetime(2026, 12, 31),  # noqa: DTZ001  # a date, as openpyxl reads it
        True,
        "yyyy-mm-dd",
    )
    assert moment.value == datetime(2026, 3, 2, 1, 30)  # noqa: DTZ001  # Excel knows no zones
    assert moment.number_format == "yyyy-mm-dd hh:mm"
    assert never.value is None


def test_a_date_before_excel_s_calendar_is_a_text_and_no_other_day(user: User) -> None:
    POLineFactory.create(promised_date=date(1900, 2, 28), in_date=date(1900, 3, 1))
    sheet = sheet_of(content(user, "columns=promised_date,in_date"))
    assert sheet["A2"].value == "1900-02-28"
    assert sheet["B2"].value == datetime(1900, 3, 1)  # noqa: DTZ001  # as openpyxl reads a date


def test_quantities_are_numbers_that_look_as_on_the_page(user: User) -> None:
    CustomColumnFactory.create(slot="custom_decimal_1")
    POLineFactory.create(
        ordered_quantity=Decimal(1250), delivered_quantity=Decimal("12.5"), custom_decimal_1=0
    )
    sheet = sheet_of(content(user, "columns=ordered_quantity,delivered_quantity,custom_decimal_1"))
    assert [cell.value for cell in sheet[2]] == [1250, 12.5, 0]
    assert [cell.data_type for cell in sheet[2]] == ["n", "n", "n"]
    assert [cell.number_format for cell in sheet[2]] == ["#,##0", "#,##0.###", "#,##0"]


def test_the_progress_of_a_line_is_two_columns_and_none_comes_twice(user: User) -> None:
    POLineFactory.create(ordered_quantity=100, ready_quantity=40)
    for query in ("progress", "progress,ordered_quantity", "ordered_quantity,progress"):
        sheet = sheet_of(content(user, f"columns={query}"))
        told = dict(zip(*sheet.iter_rows(values_only=True), strict=True))
        assert told == {"Ready": 40, "Ordered": 100}


def test_what_has_an_icon_on_the_page_has_its_words(user: User) -> None:
    POLineFactory.create(
        promised_date=business_today() - timedelta(days=3),
        status=Status.IN_PRODUCTION,
        source_quality=SourceQuality.NO_RESPONSE,
        unmapped=True,
        supplier=SupplierFactory.create(code="S1", name="Acme"),
    )
    query = "columns=exception,status,source_quality,sku,supplier,presence"
    assert rows(user, query) == [
        ("Late", "In production", "No response", "unmapped", "S1 Acme", "Active")
    ]


def test_what_is_empty_is_an_empty_cell(user: User) -> None:
    POLineFactory.create(promised_date=None, erp_item_code="", status=Status.CLOSED)
    query = (
        "columns=po_number,exception,sku,item,erp_item_code,promised_date,source_quality,updated"
    )
    assert rows(user, query)[0][1:] == (None,) * 7


def test_it_can_be_narrowed_in_excel_and_its_head_stays_in_sight(user: User) -> None:
    POLineFactory.create_batch(3)
    sheet = sheet_of(content(user, "columns=po_number,sku"))
    assert sheet.auto_filter.ref == "A1:B4"
    assert sheet.freeze_panes == "A2"


def test_of_nothing_it_has_the_head_alone(user: User) -> None:
    assert rows(user, "columns=po_number") == []


# --- what suppliers write is text -----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1+1",
        "\r=1+1",
        '=HYPERLINK("http://x")',
        "=cmd|' /C x'!A0",
    ],
)
def test_what_begins_like_a_formula_stays_the_text_that_it_is(user: User, text: str) -> None:
    CustomColumnFactory.create(slot="custom_text_1", label=text)
    supplier = SupplierFactory.create(code=text, name="x")
    POLineFactory.create(po_number=text, supplier=supplier, final_customer=text, custom_text_1=text)
    file = content(user, "columns=po_number,supplier,final_customer,custom_text_1")
    sheet = sheet_of(file)
    cells = [*sheet[2], sheet["D1"]]
    shown = text.replace("\r", "\n")  # as XML has it
    assert [cell.value for cell in cells] == [shown, f"{shown} x".strip(), shown, shown, shown]
    assert {cell.data_type for cell in cells} == {"s"}
    assert all(cell.quotePrefix for cell in cells)
    with zipfile.ZipFile(io.BytesIO(file)) as parts:
        page = parts.read("xl/worksheets/sheet1.xml")
    assert not re.search(rb"<f\b", page)  # no formula, whatever openpyxl makes of it


def test_an_ordinary_text_is_not_marked(user: User) -> None:
    POLineFactory.create(final_customer="Acme = Best")
    cell = sheet_of(content(user, "columns=final_customer"))["A2"]
    assert (cell.value, bool(cell.quotePrefix)) == ("Acme = Best", False)


@pytest.mark.parametrize("text", ["#N/A", "#REF!", "TRUE", "007", "1e5", "2026-01-01", "50%"])
def test_a_text_that_looks_like_something_else_stays_a_text(user: User, text: str) -> None:
    POLineFactory.create(final_customer=text)
    cell = sheet_of(content(user, "columns=final_customer"))["A2"]
    assert (cell.value, cell.data_type) == (text, "s")


def test_characters_that_no_file_of_excel_may_have_are_marked_as_such(user: User) -> None:
    POLineFactory.create(final_customer="a\x01b\x1fc <&> ä 采购 \N{SLIGHTLY SMILING FACE}")
    assert rows(user, "columns=final_customer") == [
        ("a\ufffdb\ufffdc <&> ä 采购 \N{SLIGHTLY SMILING FACE}",)
    ]


# --- how many -------------------------------------------------------------------------------------


def test_a_list_that_is_too_long_is_refused_in_words(
    client: Client, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    POLineFactory.create_batch(3, promised_date=date(2026, 1, 1))
    monkeypatch.setattr(list_workbook, "MOST_LINES", 2)
    with pytest.raises(TooManyLines):
        write_list(asked(user, ""))
    sign_in(client, user)
    answer = client.get("/po/export/?preset=all")
    assert answer.status_code == 413
    assert "too many lines for one file" in answer.content.decode()
    assert "Narrow the list by filters" in answer.content.decode()
    narrowed = client.get("/po/export/?preset=all&promised_date_from=2026-01-02")
    read_to_its_end(narrowed)
    assert narrowed.status_code == 200


def test_ten_times_the_lines_are_no_more_questions_to_the_database(user: User) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            content(user, "sort=promised_date")
        return len(captured)

    supplier = SupplierFactory.create()
    POLineFactory.create_batch(3, supplier=supplier)
    few = queries()
    POLineFactory.create_batch(30, supplier=supplier, promised_date=None)
    assert queries() == few


# --- the download ---------------------------------------------------------------------------------


def test_it_comes_as_a_file_with_the_time_in_its_name(client: Client, user: User) -> None:
    POLineFactory.create(po_number="A1")
    sign_in(client, user)
    answer: Any = client.get("/po/export/?preset=all&columns=po_number")
    file = b"".join(answer.streaming_content)
    assert answer["Content-Type"].endswith("spreadsheetml.sheet")
    assert re.search(
        r'filename="po-list-\d{4}-\d\d-\d\d-\d{4}\.xlsx"', answer["Content-Disposition"]
    )
    assert sheet_of(file)["A2"].value == "A1"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("mark=1764000000000", "1764000000000"),
        ("mark=a%3Bb", ""),
        ("mark=" + "1" * 21, ""),
        ("mark=٣", ""),
        ("", ""),
    ],
)
def test_a_file_says_by_a_cookie_that_it_is_there(
    client: Client, user: User, query: str, told: str
) -> None:
    sign_in(client, user)
    answer = client.get(f"/po/export/?preset=all&{query}")
    read_to_its_end(answer)
    assert ("file" in answer.cookies) == bool(told)
    assert not told or answer.cookies["file"].value == told


def test_an_expeditor_s_file_has_their_own_suppliers_lines_whatever_is_asked_for(
    client: Client,
) -> None:
    mine, theirs = SupplierFactory.create(code="MINE"), SupplierFactory.create(code="THEIRS")
    POLineFactory.create(po_number="my line", supplier=mine)
    POLineFactory.create(po_number="their line", supplier=theirs)
    wei = UserFactory.create(role=Role.EXPEDITOR, suppliers=[mine])
    for query in ("", "supplier=THEIRS", "supplier=THEIRS&supplier=MINE", "po_number=their"):
        told = str(rows(wei, f"columns=po_number,supplier&{query}"))
        assert "their" not in told.casefold()
    assert rows(wei, "columns=po_number") == [("my line",)]


def test_whoever_has_to_sign_in_first_comes_back_to_the_list_and_not_to_the_file() -> None:
    page = "/po/?preset=all&sku=x"
    answer = Client().get("/po/export/?sku=x", headers={"Referer": f"http://testserver{page}"})
    assert answer["Location"] == "/sign-in/?next=%2Fpo%2F%3Fpreset%3Dall%26sku%3Dx"
    assert Client().get("/po/export/?sku=x")["Location"] == "/sign-in/"
