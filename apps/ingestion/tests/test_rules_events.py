"""rules.md "Events and counters", sentence by sentence."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.test import override_settings
from django.utils import timezone

from apps.audit.models import AuditEvent, ERPChangeEvent, EventType
from apps.batches.models import Batch
from apps.core.clock import business_today
from apps.ingestion import snapshot
from apps.ingestion.context import RunContext
from apps.ingestion.errors import TransientErpError
from apps.ingestion.models import IngestionRun, RejectedRow, XrefEntry, XrefGap
from apps.ingestion.tests.erp_table import (
    ErpTable,
    changes_of,
    content,
    day,
    events_of,
    feed_slot,
    line_events_of,
    line_of,
    messages_of,
    run_of,
)
from apps.po.models import POLine, StatusChange


@pytest.fixture
def erp_with_lines(erp: ErpTable) -> ErpTable:
    """Night 1 has passed over A1 to A5 and lines enough for the guard."""
    for number in range(1, 6):
        erp.add(f"A{number}", supplier_name="Acme Ltd")
    erp.add_others(30)
    erp.night(1)
    return erp


# --- One line event per touched line --------------------------------------------------------


def test_the_baseline_has_one_event_for_the_run_and_none_for_its_lines(erp: ErpTable) -> None:
    XrefEntry.objects.create(erp_item_code="BOLT", sku="SKU-1")
    feed_slot("custom_text_1", "remark")
    erp.add("A1", delivered_quantity=5, remark="x")
    erp.add("A2")
    report = erp.night(1)
    assert [event.event_type for event in events_of(report)] == [
        "ingestion_baseline",
        "ingestion_completed",
    ]
    assert events_of(report, EventType.INGESTION_BASELINE)[0].data == {"lines": 2}
    assert (report.mode, report.new_lines_created, report.change_events_detected) == (
        "baseline",
        2,
        0,
    )
    assert (report.lines_changed, report.lines_left, report.lines_returned) == (0, 0, 0)
    assert not ERPChangeEvent.objects.exists()
    assert not StatusChange.objects.exists()


def test_each_touched_line_has_exactly_one_event_and_an_untouched_one_none(
    erp_with_lines: ErpTable,
) -> None:
    erp = erp_with_lines
    erp.remove("A2")
    erp.night(2)
    erp.add("A9", delivered_quantity=3)
    erp.add("A2", delivered_quantity=10, status="P")
    erp.change("A3", status="C", delivered_quantity=100, final_customer="Zenith")
    erp.change("A4", status="P", delivered_quantity=10, promised_date="2025-08-01")
    report = erp.night(3)
    assert line_events_of(report) == [
        ("A2", "po_line_returned"),
        ("A3", "po_line_left"),
        ("A4", "ingestion_change"),
        ("A9", "po_line_created"),
    ]
    assert (
        report.new_lines_created,
        report.lines_returned,
        report.lines_left,
        report.lines_changed,
    ) == (1, 1, 1, 1)


def test_the_one_event_carries_all_field_changes_and_the_status_move(
    erp_with_lines: ErpTable,
) -> None:
    erp = erp_with_lines
    erp.change("A4", status="P", delivered_quantity=10, promised_date="2025-08-01")
    report = erp.night(2)
    (event,) = events_of(report, EventType.INGESTION_CHANGE)
    assert event.po_line_id == line_of("A4").pk
    assert event.data["changes"] == [
        {"field": "delivered_quantity", "previous": "0.000", "new": "10.000"},
        {"field": "erp_status", "previous": "O", "new": "P"},
        {"field": "promised_date", "previous": "2025-06-30", "new": "2025-08-01"},
    ]
    assert event.data["status"] == {
        "previous": "planned",
        "new": "part_delivered",
        "reason": "Delivered according to the ERP",
    }
    assert [batch["quantity"] for batch in event.data["batches"]] == ["10.000"]


@pytest.mark.parametrize(
    ("code", "presence"), [("C", "closed"), ("X", "cancelled"), (None, "absent")]
)
def test_a_line_that_left_says_closed_cancelled_or_absent(
    erp_with_lines: ErpTable, code: str | None, presence: str
) -> None:
    erp = erp_with_lines
    if code:
        erp.change("A1", status=code)
    else:
        erp.remove("A1")
    (event,) = events_of(erp.night(2), EventType.PO_LINE_LEFT)
    assert event.data["presence"] == presence


def test_a_new_line_says_what_was_delivered_before(erp_with_lines: ErpTable) -> None:
    erp_with_lines.add("A9", delivered_quantity=3, in_date="2025-03-01")
    (event,) = events_of(erp_with_lines.night(2), EventType.PO_LINE_CREATED)
    assert event.data == {
        "batches": [
            {
                "kind": "opening",
                "quantity": "3.000",
                "delivered_on": "2025-03-01",
                "date_uncertain": False,
                "over_delivery": False,
            }
        ]
    }


def test_everything_of_a_run_carries_its_identifier_and_its_actor(
    erp_with_lines: ErpTable,
) -> None:
    erp_with_lines.change("A1", delivered_quantity=10)
    report = erp_with_lines.night(2)
    new = AuditEvent.objects.filter(recorded_at__gte=run_of(report).started_at)
    assert {str(event.correlation_id) for event in new} == {report.run_identifier}
    assert {(event.actor_name, event.source, event.actor_id) for event in new} == {
        ("ERP ingestion", "ingestion", None)
    }
    moves = StatusChange.objects.values_list("correlation_id", flat=True)
    assert {str(identifier) for identifier in moves} == {report.run_identifier}


def test_a_run_over_an_unchanged_erp_on_the_same_day_writes_no_event_but_its_own(
    erp: ErpTable,
) -> None:
    feed_slot("custom_text_1", "remark")
    erp.read_receipts()
    erp.active["lookback_days"] = 365
    erp.values = {"time_zone": "Asia/Shanghai"}
    erp.add_others(60)
    erp.add("A1", delivered_quantity=10, remark="x", in_date="2025-02-28 08:00:00")
    erp.add("A2", status="C")
    erp.add("A3", delivered_quantity=100, po_insert_date="2020-01-01")
    erp.add("A4", ordered_quantity="x")
    erp.add("A5")
    erp.add("A5", final_customer="differs")
    erp.receive("R1", "A1", 7, "2025-02-28")
    erp.night(1)
    erp.change("A1", delivered_quantity=20, status="??")
    erp.change("Z0001", status="X")
    erp.remove("Z0002")
    erp.night(2)
    before, events = content(), AuditEvent.objects.count()
    report = erp.night(2)
    assert content() == before
    assert [event.event_type for event in events_of(report)] == ["ingestion_completed"]
    assert AuditEvent.objects.count() == events + 1
    assert (report.change_events_detected, report.batches_reconstructed) == (0, 0)


# --- Xref gaps ------------------------------------------------------------------------------


def gap_events(report: Any) -> list[dict[str, Any]]:
    return [event.data for event in events_of(report, EventType.XREF_GAP)]


def test_a_gap_is_told_when_a_code_is_seen_unmapped_for_the_first_time(erp: ErpTable) -> None:
    erp.add("A1", item_code="NUT")
    erp.add("A2", item_code="NUT")
    erp.add("A3", item_code="NUT", supplier_code="BETA")
    report = erp.night(1)
    assert gap_events(report) == [
        {"supplier": "ACME", "item_code": "NUT", "lines": 2},
        {"supplier": "BETA", "item_code": "NUT", "lines": 1},
    ]
    erp.add("A4", item_code="NUT")
    report = erp.night(2)
    assert gap_events(report) == []
    assert report.xref_gaps_found == 2
    assert report.unmapped_item_codes == [
        {"supplier": "ACME", "item_code": "NUT", "lines": 3},
        {"supplier": "BETA", "item_code": "NUT", "lines": 1},
    ]


def test_gaps_never_fail_a_run_and_flag_their_lines(erp: ErpTable) -> None:
    XrefEntry.objects.create(erp_item_code="BOLT", sku="SKU-1")
    erp.add("A1")
    erp.add("A2", item_code="NUT")
    report = erp.night(1)
    assert (report.status, report.po_lines_processed) == ("success", 2)
    assert (line_of("A1").unmapped, line_of("A2").unmapped) == (False, True)


def test_a_mapped_gap_is_resolved_by_the_next_run_and_told_again_when_unmapped_again(
    erp: ErpTable,
) -> None:
    erp.add("A1", item_code="NUT")
    first = run_of(erp.night(1)).effective_at
    second = run_of(erp.night(2)).effective_at
    gap = XrefGap.objects.get()
    assert (gap.first_seen, gap.last_seen, gap.line_count, gap.resolved_at) == (
        first,
        second,
        1,
        None,
    )
    entry = XrefEntry.objects.create(erp_item_code="NUT", sku="SKU-NUT")
    report = erp.night(3)
    assert (report.xref_gaps_found, gap_events(report)) == (0, [])
    gap.refresh_from_db()
    assert (gap.resolved_at, gap.last_seen) == (run_of(report).effective_at, second)
    entry.delete()
    report = erp.night(4)
    assert gap_events(report) == [{"supplier": "ACME", "item_code": "NUT", "lines": 1}]
    gap.refresh_from_db()
    assert (gap.first_seen, gap.resolved_at) == (first, None)
    assert gap_events(erp.night(5)) == []


def test_a_code_that_loses_its_mapping_is_a_gap_for_the_first_time(erp: ErpTable) -> None:
    entry = XrefEntry.objects.create(erp_item_code="BOLT", sku="SKU-1")
    erp.add("A1")
    assert gap_events(erp.night(1)) == []
    entry.delete()
    assert len(gap_events(erp.night(2))) == 1


def test_a_gap_whose_lines_are_gone_is_neither_resolved_nor_told_again(erp: ErpTable) -> None:
    erp.add_others(10)
    erp.add("A1", item_code="NUT")
    erp.night(1)
    erp.remove("A1")
    report = erp.night(2)
    assert [entry["item_code"] for entry in report.unmapped_item_codes] == ["BOLT"]
    gap = XrefGap.objects.get(erp_item_code="NUT")
    assert (gap.line_count, gap.resolved_at) == (0, None)
    erp.add("A1", item_code="NUT")
    assert gap_events(erp.night(3)) == []


def test_lines_without_an_item_code_are_a_gap_that_nobody_can_map(erp: ErpTable) -> None:
    erp.add("A1", item_code=None)
    erp.add("A2", item_code="  ")
    report = erp.night(1)
    assert report.unmapped_item_codes == [{"supplier": "ACME", "item_code": "", "lines": 2}]
    assert "no item code" in messages_of(report)


# --- Times ----------------------------------------------------------------------------------


def test_recorded_at_is_now_and_effective_at_the_as_of_date(erp_with_lines: ErpTable) -> None:
    before = timezone.now()
    erp_with_lines.change("A1", delivered_quantity=10)
    erp_with_lines.add("A9")
    with override_settings(BUSINESS_TIME_ZONE="Asia/Shanghai"):
        report = erp_with_lines.night(2)
    effective_at = datetime(day(2).year, day(2).month, day(2).day, tzinfo=UTC) - timedelta(hours=8)
    rows = [*events_of(report), *run_of(report).change_events.all()]
    assert len(rows) == 4
    for row in rows:
        assert row.effective_at == effective_at
        assert before <= row.recorded_at <= timezone.now()
    assert StatusChange.objects.get().effective_at == effective_at
    assert line_of("A9").first_seen_at == effective_at


def test_without_as_of_effective_at_is_the_start_of_the_extraction_that_succeeded(
    erp: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    erp.add("A1")
    erp.run()
    erp.change("A1", delivered_quantity=10)
    starts: list[datetime] = []
    extract = snapshot._extract

    def lose_the_link_at_first(context: RunContext) -> None:
        started = context.run.extraction_started_at
        assert started is not None
        starts.append(started)
        if len(starts) == 1:
            raise TransientErpError("The link was lost.", "Try again.")
        extract(context)

    monkeypatch.setattr(snapshot, "_extract", lose_the_link_at_first)
    report = erp.run()
    assert report.erp_attempts == 2
    rows = [*events_of(report), *run_of(report).change_events.all()]
    assert {row.effective_at for row in rows} == {starts[1]}
    assert starts[0] < starts[1]


# --- Counters -------------------------------------------------------------------------------


def test_counters_equal_row_counts(erp: ErpTable) -> None:
    feed_slot("custom_decimal_1", "weight")
    erp.add_others(60)
    erp.add("A1")
    erp.add("A2")
    erp.add("A3")
    erp.night(1)
    erp.change("A1", delivered_quantity=10, weight=5, promised_date=None)
    erp.change("A2", status="X")
    erp.change("A3", ordered_quantity="x")
    erp.add("A4", item_code="NUT")
    report = erp.night(2)
    run = run_of(report)
    kinds = Counter(event.event_type for event in events_of(report))
    assert report.po_lines_processed == 62
    assert report.new_lines_created == kinds["po_line_created"] == 1
    assert report.lines_changed == kinds["ingestion_change"] == 1
    assert report.lines_left == kinds["po_line_left"] == 1
    assert report.lines_returned == kinds["po_line_returned"] == 0
    assert report.change_events_detected == len(changes_of(report)) == 4
    assert report.batches_reconstructed == Batch.objects.filter(run=run).count() == 1
    assert report.rejected_rows == RejectedRow.objects.filter(run=run).count() == 1
    assert report.custom_columns_populated == 1
    assert report.xref_gaps_found == len(report.unmapped_item_codes) == 2
    assert kinds["xref_gap"] == 1
    assert POLine.objects.filter(unmapped=True, presence="present").count() == 63
    for name in report.as_dict():
        if name not in ("run_identifier", "started_at", "finished_at"):
            assert getattr(run, name) == getattr(report, name)


def test_the_report_has_exactly_the_documented_keys(erp: ErpTable) -> None:
    erp.add("A1")
    code, out = erp.command("--json", "--as-of", str(day(1)))
    report = json.loads(out)
    assert code == 0
    assert list(report) == [
        "run_identifier",
        "mode",
        "status",
        "started_at",
        "finished_at",
        "duration_seconds",
        "stage_seconds",
        "po_lines_processed",
        "new_lines_created",
        "lines_changed",
        "change_events_detected",
        "lines_left",
        "lines_returned",
        "batches_reconstructed",
        "custom_columns_populated",
        "xref_gaps_found",
        "unmapped_item_codes",
        "rejected_rows",
        "erp_attempts",
        "errors_encountered",
    ]
    assert report["mode"] == "baseline"
    counters = list(report.values())[7:]
    assert all(type(value) is int or isinstance(value, list) for value in counters)
    (event,) = AuditEvent.objects.filter(event_type=EventType.INGESTION_COMPLETED)
    assert event.data == report


def test_errors_are_listed_with_stage_message_and_remedy(erp: ErpTable) -> None:
    erp.add_others(30)
    erp.add("A1", ordered_quantity="x")
    report = erp.night(1)
    (told,) = report.errors_encountered
    assert set(told) == {"stage", "message", "remedy"}
    assert told["stage"] == "snapshot"
    assert told["message"].startswith("1 row(s) cannot be used")


def test_the_run_carries_start_and_end_of_the_extraction_and_the_row_count(
    erp: ErpTable,
) -> None:
    erp.add_others(30)
    erp.add("A1", ordered_quantity="x")
    run = run_of(erp.night(1))
    assert run.rows_read == 31
    assert run.extraction_started_at is not None
    assert run.extraction_finished_at is not None
    assert run.finished_at is not None
    assert (
        run.started_at <= run.extraction_started_at <= run.extraction_finished_at <= run.finished_at
    )


def test_a_failed_run_counts_nothing_as_done(
    erp_with_lines: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    erp_with_lines.change("A1", delivered_quantity=10)

    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("lost")

    monkeypatch.setattr("apps.ingestion.lease.Lease.release", fail)
    report = erp_with_lines.refused_night(2)
    assert (report.lines_changed, report.change_events_detected, report.batches_reconstructed) == (
        0,
        0,
        0,
    )
    assert [event.event_type for event in events_of(report)] == ["ingestion_failed"]


# --- --as-of --------------------------------------------------------------------------------


def test_the_same_as_of_date_twice_is_allowed(erp: ErpTable) -> None:
    erp.add("A1")
    erp.night(1)
    erp.change("A1", delivered_quantity=10)
    assert erp.night(1).lines_changed == 1


@pytest.mark.parametrize("as_of", [str(day(0)), "future", "2025-02-30", "yesterday", ""])
def test_an_as_of_date_that_is_earlier_or_in_the_future_or_none_is_wrong_usage(
    erp: ErpTable, as_of: str
) -> None:
    erp.add("A1")
    erp.night(1)
    if as_of == "future":
        as_of = str(business_today() + timedelta(days=1))
    before = content()
    code, out = erp.command("--as-of", as_of, "--json")
    answer = json.loads(out)
    assert (code, answer["status"]) == (2, "usage")
    assert f"--as-of {as_of}" in answer["error"].replace('"', "")
    assert content() == before
    assert IngestionRun.objects.count() == 1


def test_an_as_of_date_counts_from_the_last_applied_run_not_from_a_failed_one(
    erp: ErpTable,
) -> None:
    erp.add("A1")
    erp.night(1)
    erp.table = "gone"
    erp.refused_night(5)
    erp.table = "orders"
    assert erp.night(2).status == "success"
