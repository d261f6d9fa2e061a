"""rules.md "Reading", sentence by sentence, through whole nights over a small ERP."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import override_settings

from apps.audit.models import EventType
from apps.ingestion.models import RejectedRow
from apps.ingestion.tests.erp_table import (
    ErpTable,
    batches_of,
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
from apps.po.lifecycle import Status
from apps.po.models import POLine, Presence

LONG_AGO = "2022-01-01"


def keys() -> set[str]:
    """The PO numbers of all lines."""
    return set(POLine.objects.values_list("po_number", flat=True))


# --- Active ---------------------------------------------------------------------------------


def test_active_is_every_status_that_is_not_a_closed_one(erp: ErpTable) -> None:
    for number, status in enumerate(["O", "P", "", None, "whatever", "C", "X", "C   "]):
        erp.add(f"A{number}", status=status)
    report = erp.night(1)
    assert keys() == {"A0", "A1", "A2", "A3", "A4"}
    assert report.po_lines_processed == 5


def test_a_number_may_be_a_closed_status(erp: ErpTable) -> None:
    erp.active = {"closed_statuses": [4]}
    erp.status_map = {"4": "closed", "1": "planned"}
    erp.add("A1", status=1)
    erp.add("A2", status=4)
    erp.add("A3", status=4.0)
    erp.night(1)
    assert keys() == {"A1"}


@pytest.mark.parametrize(
    ("taken", "values"),
    [
        (False, {"delivered_quantity": 100}),
        (False, {"delivered_quantity": 101}),
        (False, {"delivered_quantity": 100, "status": "?"}),
        (True, {"delivered_quantity": 99.999}),
        (True, {"delivered_quantity": 100, "po_insert_date": None}),
        (True, {"delivered_quantity": 100, "po_insert_date": "1900-01-01"}),
        (True, {"delivered_quantity": 100, "po_insert_date": day(1) - timedelta(days=365)}),
        (True, {"delivered_quantity": 0, "ordered_quantity": 0}),
    ],
)
def test_lookback_drops_only_old_lines_that_are_delivered_but_never_closed(
    erp: ErpTable, taken: bool, values: dict[str, Any]
) -> None:
    erp.active["lookback_days"] = 365
    erp.add("A1", **{"po_insert_date": LONG_AGO, **values})
    erp.add("A2")
    erp.night(1)
    assert ("A1" in keys()) is taken


def test_without_lookback_no_line_is_too_old(erp: ErpTable) -> None:
    erp.add("A1", delivered_quantity=100, po_insert_date="1999-01-01")
    erp.night(1)
    assert keys() == {"A1"}


@pytest.fixture
def aged(erp: ErpTable) -> ErpTable:
    """A1 was present on night 1 and has been too old since night 2."""
    erp.active["lookback_days"] = 30
    erp.add("A1", delivered_quantity=100, po_insert_date=day(1) - timedelta(days=30))
    for number in range(2, 9):
        erp.add(f"A{number}", po_insert_date=day(0))
    erp.night(1)
    assert line_of("A1").presence == Presence.PRESENT
    report = erp.night(2)
    assert (report.lines_left, report.po_lines_processed) == (0, 7)
    assert line_events_of(report) == []
    return erp


def test_a_line_that_ages_out_is_neither_closed_nor_absent_and_nothing_is_told(
    aged: ErpTable,
) -> None:
    assert line_of("A1").presence == Presence.AGED_OUT
    assert line_of("A1").status == Status.FULLY_DELIVERED
    assert changes_of(aged.night(3)) == []
    assert line_of("A1").presence == Presence.AGED_OUT


def test_an_aged_line_is_still_looked_up_every_night(aged: ErpTable) -> None:
    aged.change("A1", delivered_quantity=105, final_customer="Zenith")
    report = aged.night(3)
    assert changes_of(report) == [
        ("A1", "delivered_quantity", "100.000", "105.000"),
        ("A1", "final_customer", "", "Zenith"),
    ]
    assert line_events_of(report) == [("A1", "ingestion_change")]
    assert batches_of("A1")[1:] == [("between_runs", 5, day(3))]
    assert line_of("A1").presence == Presence.AGED_OUT


def test_an_aged_line_that_is_reopened_by_a_raised_order_comes_back_as_an_ordinary_one(
    aged: ErpTable,
) -> None:
    aged.change("A1", ordered_quantity=200)
    report = aged.night(3)
    line = line_of("A1")
    assert (line.presence, line.status) == (Presence.PRESENT, Status.PART_DELIVERED)
    assert line_events_of(report) == [("A1", "ingestion_change")]
    assert report.lines_returned == 0


def test_an_aged_line_that_the_erp_closes_or_deletes_has_left(aged: ErpTable) -> None:
    aged.change("A1", status="C")
    report = aged.night(3)
    assert line_events_of(report) == [("A1", "po_line_left")]
    assert (line_of("A1").presence, line_of("A1").status) == (Presence.CLOSED, Status.CLOSED)


def test_an_aged_line_that_vanishes_is_absent(aged: ErpTable) -> None:
    aged.remove("A1")
    report = aged.night(3)
    assert line_events_of(report) == [("A1", "po_line_left")]
    assert line_of("A1").presence == Presence.ABSENT


def test_many_lines_that_age_out_at_once_are_no_fall(erp: ErpTable) -> None:
    for number in range(10):
        erp.add(f"A{number}", delivered_quantity=100, po_insert_date=LONG_AGO)
    erp.add("B1")
    erp.night(1)
    erp.active["lookback_days"] = 365
    report = erp.night(2)
    assert (report.status, report.po_lines_processed, report.lines_left) == ("success", 1, 0)


# --- Dates ----------------------------------------------------------------------------------


def test_null_dates_are_read_as_empty(erp: ErpTable) -> None:
    erp.add("A1", promised_date="1900-01-01", in_date="9999-12-31 00:00:00", po_insert_date="")
    erp.add("A2", promised_date="0001-01-01", in_date="1753-01-01", po_insert_date=None)
    erp.night(1)
    for line in POLine.objects.all():
        assert (line.promised_date, line.in_date, line.po_insert_date) == (None, None, None)


def test_a_date_is_its_calendar_day_in_the_erps_zone(erp: ErpTable) -> None:
    erp.values = {"time_zone": "Asia/Shanghai"}
    erp.add("A1", promised_date="2025-06-30 00:15:00", in_date="2025-06-30T23:45:00+00:00")
    erp.add("A2", promised_date="2025-06-30 23:59:59", in_date="2025-06-30T23:45:00-10:00")
    with override_settings(BUSINESS_TIME_ZONE="America/Los_Angeles"):
        erp.night(1)
    assert line_of("A1").promised_date == line_of("A2").promised_date == date(2025, 6, 30)
    assert line_of("A1").in_date == line_of("A2").in_date == date(2025, 7, 1)


def test_a_moment_is_kept_in_utc(erp: ErpTable) -> None:
    erp.fields["updated_at"] = "updated_at"
    erp.values = {"time_zone": "Asia/Shanghai"}
    erp.add("A1", updated_at="2025-03-01 08:30:00")
    erp.night(1)
    assert line_of("A1").erp_updated_at == datetime(2025, 3, 1, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12", "Asia/Shanghai"])
def test_today_is_the_date_in_the_business_time_zone(erp: ErpTable, zone: str) -> None:
    erp.add("A1")
    with override_settings(BUSINESS_TIME_ZONE=zone):
        before = datetime.now(ZoneInfo(zone)).date()
        report = erp.run()
        after = datetime.now(ZoneInfo(zone)).date()
    assert before <= run_of(report).run_date <= after


# --- Text and keys --------------------------------------------------------------------------


def test_texts_are_right_trimmed_and_null_is_empty(erp: ErpTable) -> None:
    erp.add(
        "A1        ",
        line_number="10  ",
        supplier_code="ACME    ",
        supplier_name="Acme Ltd  ",
        item_code="BOLT      ",
        status="O ",
        final_customer=None,
        item="   ",
    )
    erp.night(1)
    line = line_of("A1")
    assert (line.supplier.code, line.supplier.name) == ("ACME", "Acme Ltd")
    assert (line.erp_item_code, line.erp_status) == ("BOLT", "O")
    assert (line.final_customer, line.erp_item) == ("", "")


def test_padding_that_comes_and_goes_is_no_change(erp: ErpTable) -> None:
    erp.add("A1", final_customer="")
    erp.night(1)
    erp.run_sql(
        "UPDATE orders SET po_number = 'A1   ', item_code = 'BOLT  ', final_customer = NULL,"
        " ordered_quantity = '100.0', promised_date = '2025-06-30 00:00:00'"
    )
    report = erp.night(2)
    assert (report.lines_changed, report.new_lines_created, report.lines_left) == (0, 0, 0)
    assert line_events_of(report) == []


def test_numeric_keys_are_written_without_leading_zeros_or_decimals(erp: ErpTable) -> None:
    erp.add(4500001, line_number=10.0)
    erp.add(4500002.0, line_number=20)
    erp.add("0045", line_number="0010")
    erp.night(1)
    assert set(POLine.objects.values_list("po_number", "line_number")) == {
        ("4500001", "10"),
        ("4500002", "20"),
        ("0045", "0010"),
    }


def test_key_comparison_is_exact(erp: ErpTable) -> None:
    for po_number in ("a1", "A1", " A1", "Á1", "A-1"):
        erp.add(po_number)
    report = erp.night(1)
    assert (report.new_lines_created, report.rejected_rows) == (5, 0)
    report = erp.night(2)
    assert (report.new_lines_created, report.lines_left, report.lines_changed) == (0, 0, 0)


@pytest.mark.parametrize("number", [4500001, 4500001.0])
def test_a_numeric_key_is_found_by_look_up_also_beside_a_row_without_key(
    erp: ErpTable, number: float
) -> None:
    erp.add(None)  # the first row that is read has no number to tell the column's kind by
    erp.add_others(25)
    erp.run_sql("UPDATE orders SET po_number = 4600000.0 + rowid WHERE po_number IS NOT NULL")
    erp.add(number)
    erp.night(1)
    erp.change(number, status="C", delivered_quantity=100)
    erp.night(2)
    assert (line_of("4500001").presence, line_of("4500001").status) == ("closed", "closed")


@pytest.mark.parametrize("padding", ["  ", "\t", "\r\n", "\u3000", "\u00a0", " \t "])
def test_a_key_with_any_padding_is_found_by_look_up(erp: ErpTable, padding: str) -> None:
    erp.add_others(10)
    erp.add(f"A1{padding}", line_number=f"10{padding}")
    erp.night(1)
    erp.run_sql("UPDATE orders SET status = 'C', delivered_quantity = 100 WHERE rowid = 11")
    erp.night(2)
    line = POLine.objects.exclude(po_number__startswith="Z").get()
    assert (line.presence, line.status) == ("closed", "closed")


# --- Broken rows ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"po_number": None}, "po_number (po_number): is empty"),
        ({"po_number": "   "}, "po_number (po_number): is empty"),
        ({"line_number": ""}, "line_number (line_number): is empty"),
        ({"supplier_code": " "}, "supplier_code (supplier_code): is empty"),
        (
            {"ordered_quantity": "many"},
            "ordered_quantity (ordered_quantity): 'many' is not a number",
        ),
        ({"ordered_quantity": None}, "ordered_quantity (ordered_quantity): is empty"),
        ({"delivered_quantity": None}, "delivered_quantity (delivered_quantity): is empty"),
        ({"delivered_quantity": "1,5"}, "delivered_quantity (delivered_quantity): '1,5' is not a"),
        ({"promised_date": "soon"}, "promised_date (promised_date): 'soon' is not a date"),
        ({"status": "x" * 65}, "is longer than 64 characters"),
        ({"po_number": "x" * 65}, "is longer than 64 characters"),
    ],
)
def test_a_row_without_key_or_with_a_value_of_the_wrong_kind_is_rejected_with_its_reason(
    erp: ErpTable, values: dict[str, Any], reason: str
) -> None:
    erp.add_others(25)
    erp.add("A1", **{"final_customer": "Zenith", **values})
    report = erp.night(1)
    assert (report.status, report.rejected_rows, report.po_lines_processed) == ("partial", 1, 25)
    rejected = RejectedRow.objects.get()
    assert reason in rejected.reason
    assert rejected.raw_values["final_customer"] == "Zenith"
    for name, value in values.items():
        assert rejected.raw_values[name] == value
    assert reason in messages_of(report)


def test_everything_wrong_with_a_row_is_told_at_once(erp: ErpTable) -> None:
    erp.add_others(25)
    erp.add("A1", ordered_quantity="x", promised_date="y", in_date=5)
    erp.night(1)
    assert RejectedRow.objects.get().reason.count(";") == 2


def test_an_empty_delivered_quantity_is_zero_where_the_mapping_says_so(erp: ErpTable) -> None:
    erp.values = {"empty_delivered_is_zero": True}
    erp.add("A1", delivered_quantity=None)
    report = erp.night(1)
    assert report.status == "success"
    assert line_of("A1").delivered_quantity == 0


def test_a_rejected_line_keeps_its_state_and_counts_neither_as_changed_nor_as_left(
    erp: ErpTable,
) -> None:
    erp.add_others(25)
    erp.add("A1", delivered_quantity=10)
    erp.night(1)
    before = POLine.objects.filter(po_number="A1").values().get()
    erp.change("A1", delivered_quantity="ten", final_customer="Zenith")
    report = erp.night(2)
    assert POLine.objects.filter(po_number="A1").values().get() == before
    assert (report.rejected_rows, report.lines_changed, report.lines_left) == (1, 0, 0)
    assert line_events_of(report) == []
    # Nothing is lost: the next readable night tells all of it.
    erp.change("A1", delivered_quantity=30)
    report = erp.night(3)
    assert changes_of(report) == [
        ("A1", "delivered_quantity", "10.000", "30.000"),
        ("A1", "final_customer", "", "Zenith"),
    ]
    assert batches_of("A1")[1:] == [("between_runs", 20, day(3))]


def test_a_line_rejected_night_after_night_is_never_left(erp: ErpTable) -> None:
    erp.add_others(25)
    erp.add("A1")
    erp.night(1)
    erp.change("A1", promised_date="soon")
    for number in range(2, 6):
        assert erp.night(number).lines_left == 0
    assert line_of("A1").presence == Presence.PRESENT


def test_an_unreadable_custom_value_never_rejects_the_line(erp: ErpTable) -> None:
    feed_slot("custom_decimal_1", "weight")
    erp.add("A1", weight="2.5")
    erp.night(1)
    erp.change("A1", weight="heavy", final_customer="Zenith")
    report = erp.night(2)
    assert (report.status, report.rejected_rows) == ("success", 0)
    assert line_of("A1").custom_decimal_1 == Decimal("2.5")
    assert line_of("A1").final_customer == "Zenith"
    assert "custom_decimal_1: the value of 1 line(s) cannot be read" in messages_of(report)


# --- Duplicates -----------------------------------------------------------------------------


def test_identical_rows_of_one_key_count_once_with_a_warning(erp: ErpTable) -> None:
    erp.add_others(25)
    erp.add("A1", final_customer="Zenith")
    erp.add("A1  ", final_customer="Zenith ", ordered_quantity="100.0")
    erp.add("A1", final_customer="Zenith", remark="not mapped")
    report = erp.night(1)
    assert (report.status, report.po_lines_processed, report.rejected_rows) == ("success", 26, 0)
    assert "2 row(s) stand in the ERP more than once" in messages_of(report)


@pytest.mark.parametrize(
    "difference", [{"final_customer": "Other"}, {"supplier_name": "Other"}, {"status": "P"}]
)
def test_rows_of_one_key_that_differ_are_all_rejected(
    erp: ErpTable, difference: dict[str, str]
) -> None:
    erp.add_others(45)
    erp.add("A1")
    erp.night(1)
    erp.add("A1", **difference)
    report = erp.night(2)
    assert (report.status, report.rejected_rows, report.lines_left) == ("partial", 2, 0)
    assert set(RejectedRow.objects.values_list("po_number", "line_number")) == {("A1", "10")}
    assert line_of("A1").presence == Presence.PRESENT
    erp.run_sql("DELETE FROM orders WHERE rowid = (SELECT max(rowid) FROM orders)")
    assert erp.night(3).status == "success"


def test_a_custom_value_that_differs_makes_rows_differ(erp: ErpTable) -> None:
    feed_slot("custom_text_1", "remark")
    erp.add_others(45)
    erp.add("A1", remark="one")
    erp.add("A1", remark="other")
    assert erp.night(1).rejected_rows == 2


def test_a_row_beside_a_broken_one_of_its_key_is_rejected_too(erp: ErpTable) -> None:
    erp.add_others(45)
    erp.add("A1")
    erp.add("A1", ordered_quantity="many")
    report = erp.night(1)
    assert (report.rejected_rows, "A1" in keys()) == (2, False)


def test_identical_rows_beside_a_broken_one_of_their_key_are_all_rejected(erp: ErpTable) -> None:
    erp.add_others(65)
    erp.add("A1")
    erp.add("A1")
    erp.add("A1", promised_date="soon")
    report = erp.night(1)
    assert (report.rejected_rows, "A1" in keys()) == (3, False)


def test_rows_that_differ_are_rejected_also_where_one_of_them_is_an_aged_one(
    erp: ErpTable,
) -> None:
    erp.active["lookback_days"] = 365
    erp.add_others(45)
    erp.add("A1")
    erp.add("A1", delivered_quantity=100, po_insert_date=LONG_AGO)
    report = erp.night(1)
    assert (report.rejected_rows, "A1" in keys()) == (2, False)


def test_rows_that_differ_in_a_look_up_are_rejected_and_asked_again(erp: ErpTable) -> None:
    erp.add_others(25)
    erp.add("A1")
    erp.night(1)
    erp.change("A1", status="C")
    erp.add("A1", status="C", delivered_quantity=100)
    report = erp.night(2)
    assert (report.rejected_rows, report.lines_left) == (2, 0)
    assert line_of("A1").presence == Presence.PRESENT
    erp.run_sql("DELETE FROM orders WHERE po_number = 'A1' AND delivered_quantity = 0")
    assert line_events_of(erp.night(3)) == [("A1", "po_line_left")]
    assert line_of("A1").delivered_quantity == 100


# --- Guard ----------------------------------------------------------------------------------


def assert_refused(erp: ErpTable, number: int, message: str) -> None:
    before = content()
    report = erp.refused_night(number)
    assert message in messages_of(report)
    assert "nothing was changed" in messages_of(report)
    assert "--accept-drop" in messages_of(report)
    assert content() == before
    assert [event.event_type for event in events_of(report)] == ["ingestion_failed"]


def test_an_empty_extract_is_refused(erp: ErpTable) -> None:
    erp.add("A1")
    erp.night(1)
    erp.remove("A1")
    assert_refused(erp, 2, "The ERP shows no active line at all")


def test_an_empty_baseline_is_refused_and_the_next_run_is_a_baseline(erp: ErpTable) -> None:
    report = erp.refused_night(1)
    assert report.mode == "baseline"
    erp.add("A1")
    assert erp.night(2).mode == "baseline"


@pytest.mark.parametrize(("left", "refused"), [(3, False), (4, True)])
def test_a_fall_of_more_than_the_allowed_share_is_refused(
    erp: ErpTable, left: int, refused: bool
) -> None:
    erp.add_others(10)
    erp.night(1)
    for number in range(left):
        erp.remove(f"Z{number:04}")
    if refused:
        assert_refused(erp, 2, "The ERP shows 6 active lines, but 10 were active before")
    else:
        assert erp.night(2).lines_left == 3


def test_new_lines_make_up_for_lines_that_left(erp: ErpTable) -> None:
    erp.add_others(10)
    erp.night(1)
    for number in range(6):
        erp.remove(f"Z{number:04}")
        erp.add(f"B{number}")
    assert erp.night(2).lines_left == 6


def test_rejected_rows_count_as_not_accepted(erp: ErpTable) -> None:
    erp.add_others(10)
    erp.night(1)
    erp.run_sql("UPDATE orders SET ordered_quantity = 'x' WHERE po_number < 'Z0004'")
    with override_settings(INGESTION_MAX_REJECTED_SHARE=0.9):
        assert_refused(erp, 2, "a fall of 40%, more than the allowed 30%")


@pytest.mark.parametrize(("rejected", "refused"), [(2, False), (3, True)])
def test_more_than_the_allowed_share_of_rejected_rows_is_refused(
    erp: ErpTable, rejected: int, refused: bool
) -> None:
    erp.add_others(40)
    erp.night(1)
    erp.run_sql(f"UPDATE orders SET ordered_quantity = 'x' WHERE po_number < 'Z000{rejected}'")
    if refused:
        assert_refused(erp, 2, "3 of 40 rows cannot be used, more than the allowed share of 5%")
    else:
        assert erp.night(2).status == "partial"


@override_settings(INGESTION_MAX_DROP_SHARE=0.7, INGESTION_MAX_REJECTED_SHARE=0.5)
def test_the_shares_are_settings(erp: ErpTable) -> None:
    erp.add_others(10)
    erp.night(1)
    for number in range(4):
        erp.remove(f"Z{number:04}")
    erp.run_sql("UPDATE orders SET ordered_quantity = 'x' WHERE po_number < 'Z0007'")
    report = erp.night(2)
    assert (report.rejected_rows, report.lines_left) == (3, 4)


def test_accept_drop_applies_the_night_and_is_audited(erp: ErpTable) -> None:
    erp.add_others(10)
    erp.night(1)
    for number in range(8):
        erp.remove(f"Z{number:04}")
    erp.refused_night(2)
    report = erp.night(2, accept_drop=True)
    assert (report.status, report.lines_left) == ("success", 8)
    (event,) = events_of(report, EventType.INGESTION_COMPLETED)
    assert event.reason.startswith("--accept-drop: The ERP shows 2 active lines, but 10 were")
    assert "Applied because of --accept-drop" in messages_of(report)


def test_accept_drop_applies_even_an_empty_extract(erp: ErpTable) -> None:
    erp.add(4500001)
    erp.night(1)
    erp.change(4500001, status="C")
    report = erp.night(2, accept_drop=True)
    assert (report.lines_left, line_of("4500001").presence) == (1, Presence.CLOSED)


def test_accept_drop_that_was_not_needed_leaves_no_trace(erp: ErpTable) -> None:
    erp.add("A1")
    report = erp.night(1, accept_drop=True)
    (event,) = events_of(report, EventType.INGESTION_COMPLETED)
    assert (event.reason, report.errors_encountered) == ("", [])


# --- Unknown status code --------------------------------------------------------------------


def test_an_unknown_code_counts_as_active_moves_nothing_and_is_warned_about(
    erp: ErpTable,
) -> None:
    erp.add("A1", status="P")
    erp.add("A2", status="P")
    erp.night(1)
    erp.change("A1", status="??")
    erp.change("A2", status="??", delivered_quantity=10)
    report = erp.night(2)
    assert report.status == "success"
    assert (line_of("A1").status, line_of("A1").erp_status) == (Status.IN_PRODUCTION, "??")
    assert line_of("A1").presence == Presence.PRESENT
    assert line_of("A2").status == Status.PART_DELIVERED
    assert 'The status code "??" of 2 line(s) is not in the mapping' in messages_of(report)
    assert "[lines.status_map]" in messages_of(report)


def test_the_warning_about_an_unknown_code_counts_lines_not_rows(erp: ErpTable) -> None:
    erp.add_others(45)
    erp.add("A1", status="??")
    erp.add("A1", status="??")
    erp.add("A2", status="??")
    erp.add("A2", status="??", final_customer="differs")
    assert 'The status code "??" of 1 line(s)' in messages_of(erp.night(1))


def test_a_status_map_extended_later_moves_the_lines_without_change_events(
    erp: ErpTable,
) -> None:
    erp.add("A1", status="N")
    erp.add("A2", status="O")
    erp.night(1)
    assert line_of("A1").status == Status.PLANNED
    erp.status_map["N"] = "in_production"
    report = erp.night(2)
    assert line_of("A1").status == Status.IN_PRODUCTION
    assert changes_of(report) == []
    assert line_events_of(report) == [("A1", "ingestion_change")]
    assert messages_of(report).count("The mapping of status codes changed") == 1
    assert erp.night(3).lines_changed == 0


def test_a_closed_code_that_the_map_does_not_end_is_a_mapping_error(erp: ErpTable) -> None:
    erp.add("A1")
    erp.active["closed_statuses"] = ["C", "X", "F"]
    report = erp.refused_night(1)
    assert 'closed_statuses has "F"' in messages_of(report)
