"""check_erp tells the truth about what a run would do, and what to cure."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, connections
from django.db.migrations.recorder import MigrationRecorder
from django.test import override_settings
from rich.console import Console

from apps.audit.models import AuditEvent
from apps.ingestion import erp_check
from apps.ingestion.erp import rights
from apps.ingestion.erp.router import ERP_ALIAS
from apps.ingestion.erp_check_result import CheckResult
from apps.ingestion.lease import Lease
from apps.ingestion.models import ERPSnapshot, FieldSet, IngestionRun, XrefEntry
from apps.ingestion.tests.erp_table import ErpTable, feed_slot, line_of
from tests.erp import use_erp


def _check(erp: ErpTable) -> CheckResult:
    with erp.connected():
        return erp_check.check()


def _told(result: CheckResult) -> str:
    return "\n".join(f"{n.message} {n.remedy}" for n in (*result.problems, *result.warnings))


def _screen(result: CheckResult, width: int) -> str:
    output = io.StringIO()
    result.print_to(Console(file=output, width=width, highlight=False, markup=False, emoji=False))
    return output.getvalue()


def _run_command(*arguments: str) -> tuple[str, int]:
    """What the command prints, and its exit code."""
    output = io.StringIO()
    try:
        call_command("check_erp", *arguments, stdout=output)
    except SystemExit as end:
        return output.getvalue(), int(str(end.code))
    return output.getvalue(), 0


# --- ERPs about which check and run must agree --------------------------------------------------


def an_ordinary_erp(erp: ErpTable) -> None:
    erp.add_others(10)


def an_empty_erp(erp: ErpTable) -> None:
    pass


def everything_closed(erp: ErpTable) -> None:
    erp.add("A1", status="C")


def few_broken_rows(erp: ErpTable) -> None:
    erp.add_others(40)
    erp.add("A1", ordered_quantity="many")


def too_many_broken_rows(erp: ErpTable) -> None:
    erp.add_others(40)
    for n in range(5):
        erp.add(f"A{n}", ordered_quantity="many")


def too_many_rows_that_differ_under_one_key(erp: ErpTable) -> None:
    erp.add_others(40)
    for quantity in range(5):
        erp.add("A1", ordered_quantity=quantity)


def many_rows_that_are_alike(erp: ErpTable) -> None:
    for _ in range(5):
        erp.add("A1")


def an_unknown_status_code(erp: ErpTable) -> None:
    erp.add("A1", status="??")


def a_missing_column(erp: ErpTable) -> None:
    erp.add("A1")
    erp.fields["item"] = "famly"


def a_missing_table(erp: ErpTable) -> None:
    erp.table = "order"


def a_missing_column_of_a_custom_slot(erp: ErpTable) -> None:
    erp.add("A1")
    feed_slot("custom_text_1", "remrk")


@pytest.mark.parametrize(
    "situation",
    [
        an_ordinary_erp,
        an_empty_erp,
        everything_closed,
        few_broken_rows,
        too_many_broken_rows,
        too_many_rows_that_differ_under_one_key,
        many_rows_that_are_alike,
        an_unknown_status_code,
        a_missing_column,
        a_missing_table,
        a_missing_column_of_a_custom_slot,
    ],
)
def test_the_verdict_is_what_a_run_then_does(
    erp: ErpTable, situation: Callable[[ErpTable], None]
) -> None:
    situation(erp)
    result = _check(erp)
    report = erp.run()
    assert result.would_run == (report.status != "failed"), (_told(result), report)


@pytest.mark.parametrize("left", [8, 6])
def test_the_verdict_on_lines_that_vanished_is_that_of_the_run(erp: ErpTable, left: int) -> None:
    erp.add_others(10)
    erp.night(1)
    for n in range(left, 10):
        erp.remove(f"Z{n:04}")
    result = _check(erp)
    assert result.would_run == (erp.run().status != "failed")
    assert result.would_run == (left == 8)


def test_a_receipts_relation_that_has_emptied_would_be_refused(erp: ErpTable) -> None:
    erp.read_receipts()
    for n in range(25):
        erp.add(f"A{n}", delivered_quantity=5)
        erp.receive(f"R{n}", f"A{n}", 5, "2025-02-20")
    erp.night(1)
    erp.run_sql("DELETE FROM receipts")
    result = _check(erp)
    assert "no receipt" in _told(result)
    assert erp.run().status == "failed"


def test_it_counts_lines_codes_suppliers_and_gaps(erp: ErpTable) -> None:
    erp.values["null_dates"] = ["1900-01-01"]
    erp.active["lookback_days"] = 30
    erp.add("A1")
    erp.add("A2", supplier_code="BETA", item_code="NUT")
    erp.add("A3", status="?")
    erp.add("A4", status="C")
    erp.add("A5", status="X")
    erp.add("A6", delivered_quantity=100)
    XrefEntry.objects.create(erp_item_code="BOLT", sku="SKU-1")
    result = _check(erp)
    assert result.would_run
    lines = result.lines
    assert lines is not None
    assert (lines.active, lines.closed, lines.aged_out) == (3, 2, 1)
    assert (lines.suppliers, lines.new_suppliers) == (2, 2)
    assert [(c.supplier, c.item_code, c.lines) for c in result.unmapped_item_codes] == [
        ("BETA", "NUT", 1)
    ]
    assert {code.code: (code.lines, code.meaning) for code in result.status_codes} == {
        "?": (1, None),
        "C": (1, "closed"),
        "O": (3, "planned"),
        "P": (0, "in_production"),
        "R": (0, "ready_to_dispatch"),
        "X": (1, "cancelled"),
    }
    assert [notice.message for notice in result.warnings] == [
        'The status code "?" of 1 line(s) is not in the mapping: they count as active, and the '
        "code moves nothing."
    ]


def test_the_sample_is_what_a_run_stores(erp: ErpTable) -> None:
    feed_slot("custom_text_1", "remark")
    XrefEntry.objects.create(erp_item_code="BOLT", sku="SKU-1", item="Screws")
    erp.add("A1  ", delivered_quantity="40", promised_date="2025-07-01 10:30:00", remark="fragile ")
    (sample,) = _check(erp).sample
    erp.night(1)
    line = line_of("A1")
    assert sample.stored["po_number"] == line.po_number
    assert sample.stored["delivered_quantity"] == str(line.delivered_quantity)
    assert sample.stored["promised_date"] == str(line.promised_date)
    assert sample.stored["supplier_name"] == line.supplier.name
    assert sample.stored["custom_text_1"] == line.custom_text_1
    assert sample.derived == {"sku": line.sku, "item": line.item, "status": line.status}


def test_rejected_rows_come_with_the_first_reasons(erp: ErpTable) -> None:
    erp.add_others(200)
    erp.add("A1", ordered_quantity="ten")
    erp.add("A2", ordered_quantity=1)
    erp.add("A2", ordered_quantity=2)
    result = _check(erp)
    assert result.lines is not None
    assert result.lines.rejected == 3
    reasons = {(entry.po_number, entry.reason) for entry in result.rejections}
    assert ("A1", "ordered_quantity (ordered_quantity): 'ten' is not a number") in reasons
    assert ("A2", "several rows have this key and differ") in reasons


def test_what_is_wrong_in_the_file_and_what_the_erp_lacks_is_told_at_once(erp: ErpTable) -> None:
    erp.add("A1")
    erp.fields |= {"item_code": "item_cod", "itemm": "item"}
    erp.status_map["O"] = "planed"
    erp.read_receipts()
    erp.receipts["quantity"] = "quantty"
    feed_slot("custom_date_1", "packd_on")
    told = _told(_check(erp))
    for expected in (
        'unknown key "itemm", did you mean "item"?',
        'unknown status "planed", did you mean "planned"?',
        '[lines] item_code: table orders has no column "item_cod", did you mean "item_code"?',
        '[deliveries] quantity: table receipts has no column "quantty", did you mean "quantity"?',
        'custom_date_1: table orders has no column "packd_on", did you mean "packed_on"?',
    ):
        assert expected in told


def test_a_missing_table_is_named_with_the_nearest_that_exists(erp: ErpTable) -> None:
    erp.table = "ordres"
    assert 'no table or view "ordres" that this login may read, did you mean "orders"?' in _told(
        _check(erp)
    )


def test_without_erp_and_mapping_it_says_what_to_set(db: None) -> None:
    with override_settings(ERP_MAPPING_FILE=""):
        output, code = _run_command()
    assert code == 1
    assert "ERP_DATABASE_URL" in output
    assert "ERP_MAPPING_FILE" in output


def test_a_mapping_file_that_is_not_there_is_named(erp: ErpTable, tmp_path: Path) -> None:
    with use_erp(erp.file, tmp_path / "nowhere.toml"):
        output, code = _run_command()
    assert code == 1
    assert "nowhere.toml" in output


def test_a_dead_server_is_asked_once_and_no_output_has_the_password(
    erp: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    url = f"postgres://reader:very-s3cret@127.0.0.1:{port}/erp"
    with use_erp(url, erp.mapping()):
        connect = Mock(wraps=connections[ERP_ALIAS].connect)
        monkeypatch.setattr(connections[ERP_ALIAS], "connect", connect)
        screen, code = _run_command()
        assert (connect.call_count, code) == (1, 1)
        as_json, _ = _run_command("--json")
    assert "ERP's server is up" in screen
    assert json.loads(as_json)["connection"]["ok"] is False
    assert "s3cret" not in screen + as_json


@pytest.mark.parametrize(("allowed", "would_run"), [(False, False), (True, True)])
@pytest.mark.parametrize(
    ("can_write", "message"),
    [
        (True, "The ERP's login can write: granted on orders."),
        (None, "Nothing proves that the ERP's login cannot write: granted on orders."),
    ],
)
def test_a_login_that_can_write_or_might_is_refused_unless_the_setting_allows_it(
    erp: ErpTable,
    monkeypatch: pytest.MonkeyPatch,
    can_write: bool | None,
    message: str,
    allowed: bool,
    would_run: bool,
) -> None:
    erp.add("A1")
    monkeypatch.setattr(
        rights, "write_proof", lambda *_: rights.WriteProof(can_write, "granted on orders")
    )
    with override_settings(ERP_ALLOW_WRITABLE_LOGIN=allowed):
        result = _check(erp)
        assert result.would_run == would_run == (erp.run().status != "failed")
    assert message in _told(result)


def test_migrations_that_are_missing_are_a_problem(erp: ErpTable) -> None:
    erp.add("A1")
    MigrationRecorder.Migration.objects.filter(app="ingestion").delete()
    result = _check(erp)
    assert not result.would_run
    assert result.application.migrated is False
    assert "manage.py migrate" in _told(result)


def test_an_application_database_that_cannot_be_written_is_a_problem(erp: ErpTable) -> None:
    erp.add("A1")

    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "INSERT INTO" in sql:
            raise OperationalError("attempt to write a readonly database")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        result = _check(erp)
    assert not result.would_run
    assert result.application.writable is False
    assert "the right to write" in _told(result)
    assert result.lines is not None  # the rest is looked at all the same


def test_a_run_that_is_active_is_worth_knowing_but_no_problem(erp: ErpTable) -> None:
    erp.add("A1")
    Lease.acquire()
    result = _check(erp)
    assert result.would_run
    assert "Another ingestion run is active" in _told(result)


def test_it_changes_nothing_on_either_side(erp: ErpTable) -> None:
    erp.read_receipts()
    erp.add("A1")
    before = erp.file.read_bytes()
    _check(erp)
    assert erp.file.read_bytes() == before
    for model in (AuditEvent, ERPSnapshot, FieldSet, IngestionRun):
        assert not model._default_manager.exists()


def test_the_json_has_the_documented_keys(erp: ErpTable) -> None:
    erp.add("A1")
    with erp.connected():
        output, code = _run_command("--json")
    answer = json.loads(output)
    assert code == 0
    assert answer["would_run"] is True
    assert set(answer) == {
        "would_run", "problems", "warnings", "application", "mapping_file", "connection",
        "read_only", "columns", "status_codes", "lines", "rejections", "unmapped_item_codes",
        "receipts", "sample",
    }  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
def test_the_screen_keeps_to_its_width_and_ends_with_the_verdict(erp: ErpTable, width: int) -> None:
    erp.read_receipts()
    erp.add("A1", supplier_name="[bold]Müller & Söhne[/bold] " * 8, status="??")
    erp.add("A2", ordered_quantity="?")
    screen = _screen(_check(erp), width)
    assert max(map(len, screen.splitlines())) <= width
    assert screen.rstrip().endswith("A run would not work: 1 problem(s) to be cured.")
    assert "delivered_quantity" in screen
    assert "[bold]" in screen  # the ERP's text is no markup
