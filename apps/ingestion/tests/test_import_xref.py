"""import_xref takes every good row, leaves out the others with a reason, and guesses nothing."""

from __future__ import annotations

import io
import json
import re
import time
from datetime import date
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import openpyxl
import pytest
from django.core.management import call_command
from django.db import connection  # noqa: F401  # for conditions of skipif

from apps.audit.models import AuditEvent, EventType
from apps.audit.services import Actor
from apps.ingestion.models import XrefEntry
from apps.ingestion.tests.erp_table import ErpTable, line_of
from apps.ingestion.xref_file import UnreadableFileError
from apps.ingestion.xref_import import ImportReport, import_file
from tests.factories import SupplierFactory, XrefEntryFactory, XrefGapFactory

pytestmark = pytest.mark.django_db

_ACTOR = Actor(name="the administrator", source="command")
_HEADER = "supplier,item_code,sku,item\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "codes.csv"


def _import(file: Path, content: str | bytes | None = None, **options: Any) -> ImportReport:
    if isinstance(content, str):
        content = content.encode()
    if content is not None:
        file.write_bytes(content)
    return import_file(file, actor=_ACTOR, **options)


def _excel(file: Path, *rows: list[Any]) -> Path:
    workbook = openpyxl.Workbook()
    assert workbook.active is not None
    for row in rows:
        workbook.active.append(row)
    workbook.save(file)
    return file


def _entries() -> set[tuple[str | None, str, str, str]]:
    return set(XrefEntry.objects.values_list("supplier__code", "erp_item_code", "sku", "item"))


def _counts(report: ImportReport) -> dict[str, int]:
    """What is not zero."""
    counts = {
        "imported": report.imported,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "conflicting": len(report.conflicting),
        "wrong": len(report.wrong),
    }
    return {name: count for name, count in counts.items() if count}


# --- the rules --------------------------------------------------------------------------------


def test_new_entries_are_imported_for_one_supplier_or_for_any(file: Path) -> None:
    SupplierFactory.create(code="ACME")
    report = _import(file, _HEADER + "ACME,BOLT,SKU-1,Screws\n,NUT,SKU-2,\n")
    assert _counts(report) == {"imported": 2}
    assert _entries() == {("ACME", "BOLT", "SKU-1", "Screws"), (None, "NUT", "SKU-2", "")}


def test_importing_the_same_file_again_changes_nothing(file: Path) -> None:
    SupplierFactory.create(code="ACME")
    content = _HEADER + "ACME,BOLT,SKU-1,Screws\n,NUT,SKU-2,\n"
    _import(file, content)
    before = set(XrefEntry.objects.values_list("pk", "updated_at"))
    assert _counts(_import(file, content)) == {"unchanged": 2}
    assert set(XrefEntry.objects.values_list("pk", "updated_at")) == before


def test_a_code_that_is_mapped_to_something_else_is_a_conflict(file: Path) -> None:
    XrefEntryFactory.create(erp_item_code="BOLT", sku="OLD")
    report = _import(file, _HEADER + ",BOLT,NEW,\n,NUT,SKU-2,\n")
    assert _counts(report) == {"imported": 1, "conflicting": 1}
    assert report.conflicting[0].row == 2
    assert "mapped to OLD already, not to NEW; --replace" in report.conflicting[0].reason
    assert (None, "BOLT", "OLD", "") in _entries()


def test_replace_overwrites_and_the_event_keeps_what_was_there(file: Path) -> None:
    XrefEntryFactory.create(erp_item_code="BOLT", sku="OLD", item="Screws")
    report = _import(file, _HEADER + ",BOLT,NEW,\n", replace=True)
    assert _counts(report) == {"updated": 1}
    assert _entries() == {(None, "BOLT", "NEW", "Screws")}
    event = AuditEvent.objects.get(event_type=EventType.XREF_IMPORTED)
    assert event.data["replaced"] == [
        {
            "supplier": "",
            "item_code": "BOLT",
            "previous": {"sku": "OLD", "item": "Screws"},
            "new": {"sku": "NEW", "item": "Screws"},
        }
    ]


def test_rows_of_the_file_that_do_not_agree_are_all_left_out(file: Path) -> None:
    report = _import(file, _HEADER + ",BOLT,SKU-1,\n,NUT,SKU-3,\n,BOLT,SKU-2,\n,NUT,SKU-3,\n")
    assert _counts(report) == {"imported": 1, "unchanged": 1, "conflicting": 2}
    assert [problem.row for problem in report.conflicting] == [2, 4]
    assert "rows 2, 4 do not agree" in report.conflicting[0].reason
    assert _entries() == {(None, "NUT", "SKU-3", "")}


def test_a_wrong_row_is_named_and_keeps_no_other_out(file: Path) -> None:
    SupplierFactory.create(code="ACME")
    report = _import(
        file,
        _HEADER
        + ",,SKU-1,\n"  # 2
        + ",BOLT,,\n"
        + f",{'X' * 129},SKU-1,\n"
        + "ACMI,BOLT,SKU-1,\n"  # 5
        + ",BOLT,SKU-1,Screws, stainless\n"
        + "\n"
        + ",NUT,SKU-2,\n",
    )
    assert _counts(report) == {"imported": 1, "wrong": 5}
    reasons = {problem.row: problem.reason for problem in report.wrong}
    assert reasons[2] == "item_code is empty"
    assert reasons[3] == "sku is empty"
    assert "is longer than 128 characters" in reasons[4]
    assert reasons[5] == 'the supplier "ACMI" is not known, did you mean "ACME"?'
    assert "more cells than the header" in reasons[6]


def test_before_the_first_run_no_supplier_is_known_and_the_reason_says_so(file: Path) -> None:
    report = _import(file, _HEADER + "ACME,BOLT,SKU-1,\n")
    assert "come from the ERP with the first run_ingestion" in report.wrong[0].reason


def test_codes_are_right_trimmed_like_the_erps_and_otherwise_exact(file: Path) -> None:
    SupplierFactory.create(code="ACME")
    report = _import(file, _HEADER + "ACME  ,BOLT   ,SKU-1 ,\nACME,bolt,SKU-2,\nACME,0012,SKU-3,\n")
    assert _counts(report) == {"imported": 3}
    assert _entries() == {
        ("ACME", "BOLT", "SKU-1", ""),
        ("ACME", "bolt", "SKU-2", ""),
        ("ACME", "0012", "SKU-3", ""),
    }


def test_one_audit_event_tells_who_which_file_and_the_counts(file: Path) -> None:
    _import(file, _HEADER + ",BOLT,SKU-1,\n,NUT,,\n")
    event = AuditEvent.objects.get()
    assert (event.event_type, event.actor_name, event.source) == (
        EventType.XREF_IMPORTED,
        "the administrator",
        "command",
    )
    assert event.data == {
        "file": "codes.csv",
        "rows": 2,
        "imported": 1,
        "updated": 0,
        "unchanged": 0,
        "conflicting": 0,
        "wrong": 1,
        "replaced": [],
    }


def test_without_its_audit_event_nothing_is_imported(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("no history, no change")

    monkeypatch.setattr("apps.ingestion.xref_import.audit.record", fail)
    with pytest.raises(RuntimeError):
        _import(file, _HEADER + ",BOLT,SKU-1,\n")
    assert _entries() == set()


def test_a_dry_run_reports_the_same_and_saves_nothing(file: Path) -> None:
    report = _import(file, _HEADER + ",BOLT,SKU-1,\n,NUT,,\n", dry_run=True)
    assert _counts(report) == {"imported": 1, "wrong": 1}
    assert _entries() == set()
    assert not AuditEvent.objects.exists()


def test_it_tells_how_many_gaps_are_mapped_now(file: Path) -> None:
    acme = SupplierFactory.create(code="ACME")
    for code in ("BOLT", "NUT", "CLIP"):
        XrefGapFactory.create(supplier=acme, erp_item_code=code)
    report = _import(file, _HEADER + "ACME,BOLT,SKU-1,\n,NUT,SKU-2,\n,OTHER,SKU-3,\n")
    assert (report.gaps_mapped, report.gaps_left) == (2, 1)


def test_the_next_run_applies_what_was_imported(erp: ErpTable, file: Path) -> None:
    erp.add("A1", item_code="BOLT  ")
    erp.night(1)
    assert line_of("A1").unmapped
    _import(file, _HEADER + "ACME,BOLT,SKU-1,Screws\n")
    report = erp.night(2)
    assert report.xref_gaps_found == 0
    assert (line_of("A1").sku, line_of("A1").item) == ("SKU-1", "Screws")


# --- the file ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "Supplier;Item Code;SKU;Item",
        "\n;;;\nVENDOR_CODE;ERP item code;Sku No.;Product family",
        "supplier\titem_code\tsku\titem",
        '"Supplier","Article","SKU","Item"',
        "sku,ITEM-CODE,supplier,item",
    ],
)
def test_headers_and_delimiters_are_taken_as_people_write_them(file: Path, header: str) -> None:
    delimiter = next(mark for mark in ";\t," if mark in header)
    order = (
        ["SKU-1", "BOLT", "", "Fam"] if header.startswith("sku") else ["", "BOLT", "SKU-1", "Fam"]
    )
    report = _import(file, f"{header}\n{delimiter.join(order)}\n")
    assert _counts(report) == {"imported": 1}
    assert _entries() == {(None, "BOLT", "SKU-1", "Fam")}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_is_read_with_and_without_its_mark(file: Path, encoding: str) -> None:
    report = _import(file, (_HEADER + ",泵-1,SKU-1,Gehäuse\n").encode(encoding))
    assert _counts(report) == {"imported": 1}
    assert _entries() == {(None, "泵-1", "SKU-1", "Gehäuse")}


def test_another_encoding_is_not_guessed_but_asked_for(file: Path) -> None:
    content = (_HEADER + ",泵-1,SKU-1,\n").encode("gb18030")
    with pytest.raises(UnreadableFileError, match="not UTF-8") as caught:
        _import(file, content)
    assert "--encoding" in caught.value.remedy
    report = _import(file, content, encoding="gb18030")
    assert _entries() == {(None, "泵-1", "SKU-1", "")}
    assert "gb18030" in report.read_as


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"supplier,code_of_item,sku\n,BOLT,SKU-1\n", 'no column "item_code"'),
        (b"suplier,item_code,sku\n,BOLT,SKU-1\n", 'no column "supplier", did you mean "suplier"'),
        (b"supplier,item_code,article,sku\n", '"item_code" and "article" mean the same'),
        (b'supplier,item_code,sku\n,"BOLT,SKU-1\n,NUT,SKU-2\n', "unexpected end of data"),
        (b"PK\x03\x04 and then nothing", "no Excel file that can be read"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "of the old kind"),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_imports_nothing(
    file: Path, content: bytes, told: str
) -> None:
    with pytest.raises(UnreadableFileError) as caught:
        _import(file, content)
    assert told in caught.value.message
    assert _entries() == set()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="nowhere"):
        _import(tmp_path / "nowhere.csv")


def test_columns_that_are_not_used_are_named(file: Path) -> None:
    report = _import(file, "supplier,item_code,sku,price\n,BOLT,SKU-1,3.50\n")
    assert report.ignored_columns == ["price"]


def test_excel_numbers_are_codes_as_the_sheet_shows_them(tmp_path: Path) -> None:
    SupplierFactory.create(code="4711")
    file = tmp_path / "codes.xlsx"
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    assert sheet is not None
    for row in (["Supplier", "Item code", "SKU"], [4711.0, 815, 12.5], [None, 42, "SKU-2"]):
        sheet.append(row)
    sheet["B3"].number_format = "00000"
    workbook.save(file)
    assert _counts(_import(file)) == {"imported": 2}
    assert _entries() == {("4711", "815", "12.5", ""), (None, "00042", "SKU-2", "")}


def test_excel_cells_that_are_no_code_are_wrong_rows(tmp_path: Path) -> None:
    file = _excel(
        tmp_path / "codes.xlsx",
        ["supplier", "item_code", "sku"],
        [None, "#N/A", "SKU-1"],
        [None, date(2026, 2, 1), "SKU-1"],
        [None, True, "SKU-1"],
        [None, 12345678901234567, "SKU-1"],
        ['=IF(1,"","")', "BOLT", "SKU-1"],  # never calculated: this library does not
        [None, "NUT", "SKU-2"],
    )
    report = _import(file)
    assert _counts(report) == {"imported": 1, "wrong": 5}
    reasons = {problem.row: problem.reason for problem in report.wrong}
    assert reasons[2] == "item_code is the Excel error #N/A"
    assert "is a date in Excel" in reasons[3]
    assert "is TRUE" in reasons[4]
    assert "more than 15 digits" in reasons[5]
    assert "never calculated" in reasons[6]


def test_of_excel_formulas_the_calculated_values_are_taken(tmp_path: Path) -> None:
    file = _excel(
        tmp_path / "codes.xlsx", ["supplier", "item_code", "sku"], [None, '="BO"&"LT"', "SKU-1"]
    )
    _calculate(file, "B2", "BOLT")
    assert _counts(_import(file)) == {"imported": 1}
    assert _entries() == {(None, "BOLT", "SKU-1", "")}


def _calculate(file: Path, cell: str, result: str) -> None:
    """Puts a result behind the formula of a cell, as Excel does on saving."""
    with ZipFile(file) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"]
    sheet = sheet.replace(f'<c r="{cell}">', f'<c r="{cell}" t="str">')
    sheet, replaced = re.subn("(</f>)(?:<v ?/>|<v></v>)", rf"\1<v>{result}</v>", sheet)
    assert replaced == 1
    parts["xl/worksheets/sheet1.xml"] = sheet
    with ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.mark.skipif(
    "connection.vendor == 'microsoft'", reason="the speed of somebody else's server is not ours"
)
def test_a_hundred_thousand_rows_take_seconds(file: Path) -> None:
    content = _HEADER + "".join(f",CODE-{n},SKU-{n},Fam\n" for n in range(100_000))
    started = time.perf_counter()
    assert _counts(_import(file, content)) == {"imported": 100_000}
    assert time.perf_counter() - started < 20


# --- the command ------------------------------------------------------------------------------


def _run_command(*arguments: str) -> tuple[str, str, int]:
    output, errors = io.StringIO(), io.StringIO()
    try:
        call_command("import_xref", *arguments, stdout=output, stderr=errors)
    except SystemExit as end:
        return output.getvalue(), errors.getvalue(), int(str(end.code))
    return output.getvalue(), errors.getvalue(), 0


def test_the_command_ends_with_0_only_if_every_row_is_in(file: Path) -> None:
    file.write_text(_HEADER + ",BOLT,SKU-1,\n", encoding="utf-8")
    assert _run_command(str(file))[2] == 0
    file.write_text(_HEADER + ",BOLT,SKU-1,\n,NUT,,\n", encoding="utf-8")
    output, _, code = _run_command(str(file))
    assert code == 1
    assert "sku is empty" in output
    assert "the others are saved" in output


def test_the_command_tells_an_unreadable_file_to_people_and_to_programs(file: Path) -> None:
    file.write_bytes(b"")
    _, errors, code = _run_command(str(file))
    assert code == 1
    assert "is empty" in errors
    output, _, code = _run_command(str(file), "--json")
    assert code == 1
    assert json.loads(output)["status"] == "failed"


def test_the_json_lists_every_row_that_was_left_out(file: Path) -> None:
    file.write_text(_HEADER + ",BOLT,,\n" * 50, encoding="utf-8")
    output, _, _ = _run_command(str(file), "--json", "--dry-run")
    answer = json.loads(output)
    assert len(answer["wrong"]) == 50
    assert answer["wrong"][0] == {"row": 2, "reason": "sku is empty"}
