"""rules.md "Comparing" (and that the pipeline applies "Status"), sentence by sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from apps.audit.models import AuditEvent, EventType
from apps.ingestion import suppliers
from apps.ingestion.context import RunContext
from apps.ingestion.erp.reader import ErpReader, RawRow
from apps.ingestion.erp.router import ERP_ALIAS
from apps.ingestion.models import RejectedRow, XrefEntry
from apps.ingestion.tests.erp_table import (
    ErpTable,
    batches_of,
    changes_of,
    day,
    events_of,
    feed_slot,
    line_events_of,
    line_of,
    messages_of,
    retired_line_of,
    run_of,
)
from apps.po.lifecycle import Status
from apps.po.models import POLine, Presence, StatusChange, Supplier


@pytest.fixture
def a1(erp: ErpTable) -> ErpTable:
    """Night 1 has passed over A1 (half delivered) and lines enough for the guard."""
    erp.add("A1", delivered_quantity=50, in_date="2025-02-20")
    erp.add_others(30)
    erp.night(1)
    return erp


def presence_of(po_number: str) -> tuple[str, str]:
    line = line_of(po_number)
    return line.presence, line.status


# --- Own last applied values ----------------------------------------------------------------


def test_a_night_that_failed_loses_nothing(a1: ErpTable) -> None:
    a1.change("A1", delivered_quantity=60, final_customer="Zenith")
    table, a1.table = a1.table, "gone"
    a1.refused_night(2)
    a1.table = table
    report = a1.night(3)
    assert changes_of(report) == [
        ("A1", "delivered_quantity", "50.000", "60.000"),
        ("A1", "final_customer", "", "Zenith"),
    ]


def test_a_value_that_changed_and_changed_back_while_nights_failed_is_no_change(
    a1: ErpTable,
) -> None:
    a1.change("A1", final_customer="Zenith")
    a1.table = "gone"
    a1.refused_night(2)
    a1.table = "orders"
    a1.change("A1", final_customer=None)
    assert a1.night(3).lines_changed == 0


def test_a_change_tells_previous_new_and_difference(a1: ErpTable) -> None:
    a1.change("A1", promised_date="2025-07-05", ordered_quantity=90, in_date=None)
    report = a1.night(2)
    changes = run_of(report).change_events.order_by("pk")
    assert [
        (
            c.field,
            c.previous_value,
            c.new_value,
            c.difference if c.difference is None else int(c.difference),
        )
        for c in changes
    ] == [
        ("ordered_quantity", "100.000", "90.000", -10),
        ("promised_date", "2025-06-30", "2025-07-05", 5),
        ("in_date", "2025-02-20", None, None),
    ]


# --- Left, absent, found again --------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "presence", "status"),
    [("C", Presence.CLOSED, Status.CLOSED), ("X", Presence.CANCELLED, Status.CANCELLED)],
)
def test_a_line_found_closed_gets_its_last_values_and_its_last_receipt_becomes_a_batch(
    a1: ErpTable, code: str, presence: str, status: str
) -> None:
    a1.change("A1", status=code, delivered_quantity=80, in_date=day(2))
    report = a1.night(2)
    assert presence_of("A1") == (presence, status)
    assert batches_of("A1")[1:] == [("between_runs", 30, day(2))]
    assert ("A1", "delivered_quantity", "50.000", "80.000") in changes_of(report)
    (event,) = events_of(report, EventType.PO_LINE_LEFT)
    assert event.data["presence"] == presence
    assert event.data["status"]["new"] == status
    assert (report.lines_left, report.lines_changed) == (1, 0)


def test_a_line_found_active_although_the_read_missed_it_is_an_ordinary_line(
    a1: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ErpReader.active_rows

    def missing_a1(reader: ErpReader) -> Iterator[list[RawRow]]:
        for chunk in read(reader):
            yield [row for row in chunk if "A1" not in row]

    monkeypatch.setattr(ErpReader, "active_rows", missing_a1)
    report = a1.night(2)
    assert (report.lines_left, report.lines_changed, line_events_of(report)) == (0, 0, [])
    a1.change("A1", delivered_quantity=60)
    report = a1.night(3)
    assert line_events_of(report) == [("A1", "ingestion_change")]
    assert report.po_lines_processed == 30


def test_a_line_found_unreadable_is_rejected_and_asked_again_next_night(a1: ErpTable) -> None:
    a1.change("A1", status="C", delivered_quantity="all")
    report = a1.night(2)
    assert (report.status, report.rejected_rows, report.lines_left) == ("partial", 1, 0)
    assert not RejectedRow.objects.get().extracted
    assert presence_of("A1") == (Presence.PRESENT, Status.PART_DELIVERED)
    a1.change("A1", delivered_quantity=100)
    report = a1.night(3)
    assert presence_of("A1") == (Presence.CLOSED, Status.CLOSED)
    assert batches_of("A1")[1:] == [("between_runs", 50, day(3))]


def test_a_line_not_found_is_absent_and_keeps_its_status(a1: ErpTable) -> None:
    a1.remove("A1")
    report = a1.night(2)
    assert presence_of("A1") == (Presence.ABSENT, Status.PART_DELIVERED)
    (event,) = events_of(report, EventType.PO_LINE_LEFT)
    assert (event.data["presence"], report.lines_left) == ("absent", 1)
    assert a1.night(3).lines_left == 0


def test_another_line_of_the_same_order_is_not_mistaken_for_the_missing_one(a1: ErpTable) -> None:
    a1.add("A1", line_number="20", status="C")
    a1.remove("A1")
    a1.night(2)
    assert presence_of("A1")[0] == Presence.ABSENT
    assert not POLine.objects.filter(line_number="20").exists()


def test_an_absent_line_that_returns_goes_on_where_it_was(a1: ErpTable) -> None:
    a1.remove("A1")
    a1.night(2)
    a1.night(3)
    a1.add("A1", delivered_quantity=70)
    report = a1.night(9)
    assert presence_of("A1") == (Presence.PRESENT, Status.PART_DELIVERED)
    assert (report.lines_returned, report.new_lines_created) == (1, 0)
    assert line_events_of(report) == [("A1", "po_line_returned")]
    assert batches_of("A1") == [
        ("opening", 50, line_of("A1").batches.order_by("pk")[0].delivered_on),
        ("between_runs", 20, day(9)),
    ]


def test_an_absent_line_that_returns_closed_is_closed_with_its_last_receipt(a1: ErpTable) -> None:
    a1.remove("A1")
    a1.night(2)
    a1.add("A1", delivered_quantity=100, status="C")
    report = a1.night(5)
    assert presence_of("A1") == (Presence.CLOSED, Status.CLOSED)
    assert batches_of("A1")[1:] == [("between_runs", 50, day(5))]
    assert line_events_of(report) == [("A1", "ingestion_change")]
    assert events_of(report, EventType.INGESTION_CHANGE)[0].data["presence"] == "closed"


def test_a_late_receipt_or_correction_after_closing_is_not_lost(a1: ErpTable) -> None:
    a1.change("A1", status="C")
    a1.night(2)
    a1.change("A1", delivered_quantity=65, in_date=day(20))
    report = a1.night(20)
    assert batches_of("A1")[1:] == [("between_runs", 15, day(20))]
    assert line_events_of(report) == [("A1", "ingestion_change")]
    assert presence_of("A1") == (Presence.CLOSED, Status.CLOSED)
    a1.change("A1", delivered_quantity=60)
    a1.night(21)
    assert batches_of("A1")[2:] == [("correction", -5, day(21))]


@pytest.mark.parametrize(("number", "looked_up"), [(4, True), (5, False)])
def test_lines_closed_less_than_recheck_days_ago_are_looked_up(
    a1: ErpTable, number: int, looked_up: bool
) -> None:
    a1.active["recheck_days"] = 3
    a1.change("A1", status="C")
    a1.night(2)
    a1.change("A1", delivered_quantity=60)
    assert a1.night(number).lines_changed == looked_up


def test_recheck_days_are_60_when_the_mapping_says_nothing(a1: ErpTable) -> None:
    a1.change("A1", status="X")
    a1.night(2)
    a1.change("A1", delivered_quantity=60)
    assert a1.night(62).lines_changed == 0
    a1.change("Z0001", status="X")
    a1.night(63)
    a1.change("Z0001", delivered_quantity=60)
    assert a1.night(122).lines_changed == 1


def test_a_closed_line_that_is_active_again_returns_however_long_ago_it_was_closed(
    a1: ErpTable,
) -> None:
    a1.change("A1", status="C")
    a1.night(2)
    a1.change("A1", status="O")
    report = a1.night(200)
    assert presence_of("A1") == (Presence.PRESENT, Status.PART_DELIVERED)
    assert line_events_of(report) == [("A1", "po_line_returned")]
    (event,) = events_of(report, EventType.PO_LINE_RETURNED)
    assert event.data["status"] == {
        "previous": "closed",
        "new": "part_delivered",
        "reason": "Active again in the ERP",
    }


def test_a_line_that_goes_from_closed_to_cancelled_has_not_left_twice(a1: ErpTable) -> None:
    a1.change("A1", status="C")
    a1.night(2)
    a1.change("A1", status="X")
    report = a1.night(3)
    assert presence_of("A1") == (Presence.CANCELLED, Status.CANCELLED)
    assert line_events_of(report) == [("A1", "ingestion_change")]
    assert report.lines_left == 0


def test_a_closed_line_that_the_erp_deletes_stays_closed(a1: ErpTable) -> None:
    a1.change("A1", status="C")
    a1.night(2)
    a1.remove("A1")
    report = a1.night(3)
    assert presence_of("A1") == (Presence.CLOSED, Status.CLOSED)
    assert line_events_of(report) == []


def test_all_reads_of_the_erp_end_before_the_applying_transaction_begins(
    a1: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    settle = suppliers.apply

    def note(context: RunContext) -> None:
        seen.append(connections[ERP_ALIAS].connection)
        settle(context)

    monkeypatch.setattr(suppliers, "apply", note)
    a1.read_receipts()
    a1.remove("A1")
    a1.night(2)
    assert seen == [None]


# --- A key that comes back ------------------------------------------------------------------


@pytest.mark.parametrize("leave", ["C", "X", None])
@pytest.mark.parametrize("other", [{"po_insert_date": "2025-03-05"}, {"supplier_code": "BETA"}])
def test_a_key_that_comes_back_with_another_insert_date_or_supplier_is_another_order(
    a1: ErpTable, leave: str | None, other: dict[str, str]
) -> None:
    if leave:
        a1.change("A1", status=leave)
        a1.night(2)
    a1.remove("A1")
    a1.night(3)
    a1.add("A1", **{"delivered_quantity": 5, "in_date": "2025-03-06", **other})
    report = a1.night(9)
    old, new = retired_line_of("A1"), line_of("A1")
    assert (old.generation, new.generation, new.presence) == (1, 2, Presence.PRESENT)
    assert new.status == Status.PART_DELIVERED
    assert batches_of("A1") == [("opening", 5, new.in_date)]
    assert [int(batch.quantity) for batch in old.batches.all()] == [50]
    assert old.delivered_quantity == 50
    assert changes_of(report) == []
    assert line_events_of(report) == [("A1", "ingestion_change"), ("A1", "po_line_created")]
    (retired,) = events_of(report, EventType.INGESTION_CHANGE)
    assert (retired.po_line_id, retired.data["presence"]) == (old.pk, "retired")
    assert (report.new_lines_created, report.lines_returned) == (1, 0)


def test_the_new_order_lives_on_and_the_retired_one_is_left_alone(a1: ErpTable) -> None:
    a1.remove("A1")
    a1.night(2)
    a1.add("A1", po_insert_date="2025-03-05")
    a1.night(3)
    a1.change("A1", delivered_quantity=7)
    report = a1.night(4)
    assert changes_of(report) == [("A1", "delivered_quantity", "0.000", "7.000")]
    a1.change("A1", status="C")
    a1.night(5)
    a1.remove("A1")
    a1.night(70)
    a1.add("A1", po_insert_date="2025-05-01")
    a1.night(71)
    assert line_of("A1").generation == 3
    assert POLine.objects.filter(po_number="A1", presence=Presence.RETIRED).count() == 2


def test_a_key_that_never_left_and_changes_its_supplier_or_date_is_the_same_order(
    a1: ErpTable,
) -> None:
    a1.change("A1", supplier_code="BETA", supplier_name="Beta", po_insert_date="2025-03-05")
    report = a1.night(2)
    assert line_of("A1").generation == 1
    assert line_of("A1").supplier.code == "BETA"
    assert changes_of(report) == [
        ("A1", "supplier_code", "ACME", "BETA"),
        ("A1", "po_insert_date", "2025-02-03", "2025-03-05"),
    ]


@pytest.mark.parametrize(("before", "after"), [(None, "2025-03-05"), ("2025-02-03", None)])
def test_an_insert_date_that_one_side_does_not_know_makes_no_other_order(
    erp: ErpTable, before: str | None, after: str | None
) -> None:
    erp.add_others(10)
    erp.add("A1", po_insert_date=before)
    erp.night(1)
    erp.remove("A1")
    erp.night(2)
    erp.add("A1", po_insert_date=after)
    report = erp.night(3)
    assert line_events_of(report) == [("A1", "po_line_returned")]


def test_a_correction_of_a_line_that_stays_closed_makes_no_other_order(a1: ErpTable) -> None:
    a1.change("A1", status="C")
    a1.night(2)
    a1.change("A1", po_insert_date="2025-02-04")
    report = a1.night(3)
    assert line_of("A1").generation == 1
    assert changes_of(report) == [("A1", "po_insert_date", "2025-02-03", "2025-02-04")]


def test_a_key_that_comes_back_while_its_insert_date_is_read_elsewhere_is_the_same_order(
    a1: ErpTable,
) -> None:
    a1.remove("A1")
    a1.night(2)
    a1.run_sql("UPDATE orders SET other_date = '2025-01-01'")
    a1.fields["po_insert_date"] = "other_date"
    a1.add("A1", other_date="2025-01-01")
    assert line_events_of(a1.night(3)) == [("A1", "po_line_returned")]


# --- Field set ------------------------------------------------------------------------------


def test_each_run_stores_which_fields_it_read_and_how_they_were_mapped(a1: ErpTable) -> None:
    a1.fields = {name: a1.fields[name] for name in a1.fields if name != "final_customer"}
    a1.fields["ordered_quantity"] = {"column": "ordered_quantity", "minus": "other_number"}
    a1.run_sql("UPDATE orders SET other_number = 0")
    fields = run_of(a1.night(2)).field_set
    assert fields is not None
    assert "final_customer" not in fields.fields
    assert fields.fields["ordered_quantity"] == {"column": "ordered_quantity - other_number"}
    assert fields.fields["promised_date"]["time_zone"] == "UTC"
    assert fields.fields["status_map"] == a1.status_map


def test_a_mapping_added_on_night_20_makes_no_change_events(erp: ErpTable) -> None:
    customer = erp.fields.pop("final_customer")
    erp.add("A1", final_customer="Zenith")
    erp.add("A2", final_customer="Zenith")
    erp.night(1)
    erp.night(19)
    erp.fields["final_customer"] = customer
    erp.change("A2", delivered_quantity=5)
    report = erp.night(20)
    assert line_of("A1").final_customer == line_of("A2").final_customer == "Zenith"
    assert changes_of(report) == [("A2", "delivered_quantity", "0.000", "5.000")]
    assert line_events_of(report) == [("A2", "ingestion_change")]
    assert messages_of(report).count("Configuration change") == 1
    assert "final_customer is read for the first time" in messages_of(report)
    report = erp.night(21)
    assert "Configuration change" not in messages_of(report)
    erp.change("A1", final_customer="Omega")
    assert changes_of(erp.night(22)) == [("A1", "final_customer", "Zenith", "Omega")]


def test_a_field_pointed_elsewhere_is_filled_without_change_events(a1: ErpTable) -> None:
    a1.run_sql("UPDATE orders SET other_date = '2025-09-09'")
    a1.fields["promised_date"] = "other_date"
    report = a1.night(2)
    assert str(line_of("A1").promised_date) == "2025-09-09"
    assert changes_of(report) == []
    assert "promised_date is read differently than before" in messages_of(report)


def test_a_time_zone_or_null_date_that_is_read_differently_makes_no_change_events(
    erp: ErpTable,
) -> None:
    erp.add("A1", promised_date="2025-06-30T20:00:00+00:00", in_date="2025-01-01")
    erp.night(1)
    erp.values = {"time_zone": "Asia/Shanghai", "null_dates": ["2025-01-01"]}
    report = erp.night(2)
    line = line_of("A1")
    assert (str(line.promised_date), line.in_date) == ("2025-07-01", None)
    assert changes_of(report) == []


def test_a_line_rejected_on_the_night_of_the_change_is_filled_silently_when_readable(
    a1: ErpTable,
) -> None:
    a1.run_sql("UPDATE orders SET other_text = 'Omega'")
    a1.fields["final_customer"] = "other_text"
    a1.change("A1", promised_date="soon")
    a1.night(2)
    a1.change("A1", promised_date="2025-08-01")
    report = a1.night(3)
    assert changes_of(report) == [("A1", "promised_date", "2025-06-30", "2025-08-01")]
    assert line_of("A1").final_customer == "Omega"
    assert "Configuration change" not in messages_of(report)


def test_a_line_absent_during_the_change_is_filled_silently_when_it_returns(a1: ErpTable) -> None:
    a1.remove("A1")
    a1.night(2)
    a1.run_sql("UPDATE orders SET other_text = 'Omega'")
    a1.fields["final_customer"] = "other_text"
    a1.night(3)
    a1.add("A1", other_text="Omega", delivered_quantity=50, in_date="2025-02-20")
    report = a1.night(4)
    assert changes_of(report) == []
    assert line_of("A1").final_customer == "Omega"


def test_a_removed_field_keeps_its_last_value_and_is_filled_silently_when_added_again(
    erp: ErpTable,
) -> None:
    erp.add("A1", final_customer="Zenith")
    erp.night(1)
    customer = erp.fields.pop("final_customer")
    report = erp.night(2)
    assert "final_customer is no longer read and keeps its last values" in messages_of(report)
    erp.change("A1", final_customer="Omega", delivered_quantity=5)
    report = erp.night(3)
    assert line_of("A1").final_customer == "Zenith"
    assert changes_of(report) == [("A1", "delivered_quantity", "0.000", "5.000")]
    erp.fields["final_customer"] = customer
    report = erp.night(4)
    assert line_of("A1").final_customer == "Omega"
    assert changes_of(report) == []


def test_a_field_changed_while_a_night_failed_is_reported_by_the_next_applied_one(
    a1: ErpTable,
) -> None:
    del a1.fields["final_customer"]
    a1.table = "gone"
    a1.refused_night(2)
    a1.table = "orders"
    assert "final_customer is no longer read" in messages_of(a1.night(3))


def test_a_table_renamed_or_replaced_by_a_view_is_no_configuration_change(a1: ErpTable) -> None:
    a1.run_sql("CREATE VIEW lines AS SELECT * FROM orders")
    a1.table = "lines"
    report = a1.night(2)
    assert (report.errors_encountered, report.lines_changed) == ([], 0)


def test_a_status_map_pointed_elsewhere_moves_no_code_twice(a1: ErpTable) -> None:
    a1.status_map["O"] = "ready_to_dispatch"
    report = a1.night(2)
    assert line_of("Z0001").status == Status.READY_TO_DISPATCH
    assert line_of("A1").status == Status.PART_DELIVERED
    assert (report.lines_changed, report.change_events_detected) == (30, 0)
    assert a1.night(3).lines_changed == 0


def test_a_code_that_becomes_a_closed_one_later_ends_its_lines(a1: ErpTable) -> None:
    a1.change("A1", status="F")
    a1.night(2)
    assert presence_of("A1") == (Presence.PRESENT, Status.PART_DELIVERED)
    a1.status_map["F"] = "closed"
    a1.active["closed_statuses"] = ["C", "X", "F"]
    report = a1.night(3)
    assert presence_of("A1") == (Presence.CLOSED, Status.CLOSED)
    assert line_events_of(report) == [("A1", "po_line_left")]
    assert changes_of(report) == []


# --- Derived fields -------------------------------------------------------------------------


def derived(po_number: str) -> tuple[str, str, bool]:
    line = line_of(po_number)
    return line.sku, line.item, line.unmapped


def entry(code: str, sku: str, item: str = "", supplier: str | None = None) -> XrefEntry:
    owner = Supplier.objects.get(code=supplier) if supplier else None
    return XrefEntry.objects.create(erp_item_code=code, sku=sku, item=item, supplier=owner)


def test_sku_and_item_come_from_the_supplier_and_code_then_the_code_then_the_erp(
    erp: ErpTable,
) -> None:
    Supplier.objects.create(code="ACME")
    entry("BOLT", "SKU-ACME", "Bolts of Acme", "ACME")
    entry("BOLT", "SKU-ANY", "Bolts")
    entry("NUT", "SKU-NUT")
    erp.add("A1", sku="erp-sku", item="erp-item")
    erp.add("A2", supplier_code="BETA")
    erp.add("A3", item_code="NUT", item="erp-item")
    erp.add("A4", item_code="PIN", sku="erp-sku", item="erp-item")
    erp.add("A5", item_code="GEAR")
    erp.night(1)
    assert derived("A1") == ("SKU-ACME", "Bolts of Acme", False)
    assert derived("A2") == ("SKU-ANY", "Bolts", False)
    assert derived("A3") == ("SKU-NUT", "erp-item", False)
    assert derived("A4") == ("erp-sku", "erp-item", True)
    assert derived("A5") == ("", "", True)


def test_item_code_and_item_come_from_the_erp_and_are_compared(a1: ErpTable) -> None:
    a1.change("A1", item_code="NUT", item="Nuts")
    assert changes_of(a1.night(2)) == [
        ("A1", "erp_item_code", "BOLT", "NUT"),
        ("A1", "erp_item", "", "Nuts"),
    ]


def test_a_changed_xref_refreshes_absent_and_closed_lines_too_with_one_event_each(
    a1: ErpTable,
) -> None:
    a1.change("Z0001", status="C")
    a1.remove("Z0002")
    a1.change("Z0003", ordered_quantity="x")
    a1.night(2)
    entry("BOLT", "SKU-1", "Bolts")
    report = a1.night(100)
    assert set(POLine.objects.values_list("sku", "item", "unmapped")) == {("SKU-1", "Bolts", False)}
    events = events_of(report, EventType.XREF_APPLIED)
    assert len(events) == len({event.po_line_id for event in events}) == 31
    assert events[0].data == {
        "previous": {"sku": "", "item": "", "unmapped": True},
        "new": {"sku": "SKU-1", "item": "Bolts", "unmapped": False},
    }
    assert (report.lines_changed, report.change_events_detected) == (0, 0)
    assert events_of(a1.night(101), EventType.XREF_APPLIED) == []


def test_an_xref_entry_that_is_changed_or_removed_is_applied_as_well(a1: ErpTable) -> None:
    bolt = entry("BOLT", "SKU-1")
    a1.night(2)
    bolt.sku = "SKU-2"
    bolt.save()
    assert len(events_of(a1.night(3), EventType.XREF_APPLIED)) == 31
    bolt.delete()
    a1.night(4)
    assert derived("A1") == ("", "", True)


def test_an_xref_changed_before_a_failed_night_is_applied_by_the_next(a1: ErpTable) -> None:
    entry("BOLT", "SKU-1")
    a1.table = "gone"
    a1.refused_night(2)
    a1.table = "orders"
    a1.night(3)
    assert derived("A1") == ("SKU-1", "", False)


def test_a_line_whose_code_and_xref_change_in_one_night_gets_one_event(a1: ErpTable) -> None:
    entry("NUT", "SKU-NUT")
    entry("BOLT", "SKU-BOLT")
    a1.change("A1", item_code="NUT")
    report = a1.night(2)
    events = AuditEvent.objects.filter(event_type=EventType.XREF_APPLIED, po_line__po_number="A1")
    assert [event.data["new"]["sku"] for event in events] == ["SKU-NUT"]
    assert changes_of(report) == [("A1", "erp_item_code", "BOLT", "NUT")]


def test_the_erps_own_sku_is_followed_while_the_code_is_unmapped(a1: ErpTable) -> None:
    a1.change("A1", sku="erp-sku")
    report = a1.night(2)
    assert derived("A1") == ("erp-sku", "", True)
    assert changes_of(report) == [("A1", "erp_sku", "", "erp-sku")]


# --- Suppliers ------------------------------------------------------------------------------


def test_a_rename_is_one_event_of_the_supplier(a1: ErpTable) -> None:
    a1.run_sql("UPDATE orders SET supplier_name = 'Acme Inc'")
    report = a1.night(2)
    assert Supplier.objects.get().name == "Acme Inc"
    (event,) = events_of(report, EventType.SUPPLIER_RENAMED)
    assert event.data == {"previous": "Acme Ltd", "new": "Acme Inc"}
    assert event.supplier_id == Supplier.objects.get().pk
    assert (report.lines_changed, report.change_events_detected) == (0, 0)


@pytest.mark.parametrize(
    ("names", "wins"),
    [
        (["Beta", "Alfa", "Beta"], "Beta"),
        (["Beta", "Alfa"], "Alfa"),
        (["", "", None, "Beta"], "Beta"),
        (["Beta ", "Beta", "Alfa", "Alfa"], "Alfa"),
    ],
)
def test_of_two_names_the_more_frequent_then_the_alphabetically_first_counts(
    erp: ErpTable, names: list[str | None], wins: str
) -> None:
    for number, name in enumerate(names):
        erp.add(f"A{number}", supplier_name=name)
    erp.night(1)
    assert Supplier.objects.get().name == wins
    report = erp.night(2)
    assert events_of(report, EventType.SUPPLIER_RENAMED) == []


def test_a_line_that_stands_three_times_has_one_voice(erp: ErpTable) -> None:
    for _ in range(3):
        erp.add("A1", supplier_name="Alfa")
    erp.add("A2", supplier_name="Beta")
    erp.add("A3", supplier_name="Beta")
    erp.night(1)
    assert Supplier.objects.get().name == "Beta"


def test_a_blank_name_renames_nobody(a1: ErpTable) -> None:
    a1.run_sql("UPDATE orders SET supplier_name = NULL")
    report = a1.night(2)
    assert Supplier.objects.get().name == "Acme Ltd"
    assert events_of(report, EventType.SUPPLIER_RENAMED) == []


def test_a_first_name_is_no_rename(erp: ErpTable) -> None:
    erp.add("A1", supplier_name=None)
    erp.night(1)
    erp.change("A1", supplier_name="Acme Ltd")
    report = erp.night(2)
    assert Supplier.objects.get().name == "Acme Ltd"
    assert events_of(report, EventType.SUPPLIER_RENAMED) == []


def test_a_supplier_name_pointed_elsewhere_renames_nobody(a1: ErpTable) -> None:
    a1.run_sql("UPDATE orders SET other_text = 'ACME GmbH & Co. KG'")
    a1.fields["supplier_name"] = "other_text"
    report = a1.night(2)
    assert Supplier.objects.get().name == "ACME GmbH & Co. KG"
    assert events_of(report, EventType.SUPPLIER_RENAMED) == []
    assert "supplier_name is read differently" in messages_of(report)


def test_a_line_that_moves_to_another_supplier_leaves_what_happened_with_the_old_one(
    a1: ErpTable,
) -> None:
    feed_slot("custom_text_1", "remark")
    a1.change("A1", remark="first")
    a1.night(2)
    acme = Supplier.objects.get()
    a1.change("A1", delivered_quantity=60, remark="second")
    a1.night(3)
    a1.change("A1", supplier_code="BETA", supplier_name="Beta", final_customer="Zenith")
    a1.night(4)
    a1.change("A1", delivered_quantity=70)
    a1.night(5)
    beta = Supplier.objects.get(code="BETA")
    line = line_of("A1")
    assert line.supplier == beta
    changes = line.erp_changes.order_by("pk").values_list("field", "supplier")
    assert list(changes) == [
        ("delivered_quantity", acme.pk),
        ("custom_text_1", acme.pk),
        ("supplier_code", acme.pk),
        ("final_customer", acme.pk),
        ("delivered_quantity", beta.pk),
    ]
    batches = line.batches.order_by("pk").values_list("quantity", "supplier")
    assert [(int(quantity), supplier) for quantity, supplier in batches] == [
        (50, acme.pk),
        (10, acme.pk),
        (10, beta.pk),
    ]
    events = line.audit_events.order_by("pk").values_list("supplier", flat=True)
    assert list(events) == [acme.pk, acme.pk, beta.pk]


def test_all_that_the_night_of_the_move_tells_stays_with_the_old_supplier(a1: ErpTable) -> None:
    feed_slot("custom_text_1", "remark")
    a1.change("A1", remark="first")
    a1.night(2)
    acme = Supplier.objects.get()
    a1.change("A1", supplier_code="BETA", remark="second", status="P")
    report = a1.night(3)
    told = run_of(report).change_events.values_list("field", "supplier")
    assert set(told) == {
        ("supplier_code", acme.pk),
        ("erp_status", acme.pk),
        ("custom_text_1", acme.pk),
    }
    (event,) = events_of(report, EventType.INGESTION_CHANGE)
    assert event.supplier_id == acme.pk


def test_a_supplier_code_pointed_elsewhere_is_no_move_and_no_other_order(a1: ErpTable) -> None:
    a1.change("Z0001", status="C")
    a1.remove("Z0002")
    a1.night(2)
    a1.run_sql("UPDATE orders SET other_text = 'V-' || supplier_code")
    a1.fields["supplier_code"] = "other_text"
    a1.change("Z0001", status="O")
    report = a1.night(3)
    assert line_of("A1").supplier.code == "V-ACME"
    assert changes_of(report) == [("Z0001", "erp_status", "C", "O")]
    assert line_events_of(report) == [("Z0001", "po_line_returned")]
    assert not POLine.objects.filter(presence=Presence.RETIRED).exists()


# --- Status: that the pipeline applies it ---------------------------------------------------


def test_a_code_and_quantities_move_the_status_and_the_move_is_audited(a1: ErpTable) -> None:
    a1.change("Z0001", status="R")
    a1.change("A1", delivered_quantity=100)
    report = a1.night(2)
    assert line_of("Z0001").status == Status.READY_TO_DISPATCH
    assert line_of("A1").status == Status.FULLY_DELIVERED
    moves = StatusChange.objects.filter(correlation_id=report.run_identifier)
    assert set(moves.values_list("po_line__po_number", "previous_status", "new_status")) == {
        ("Z0001", "planned", "ready_to_dispatch"),
        ("A1", "part_delivered", "fully_delivered"),
    }


def test_backward_moves_use_the_history_of_the_line(a1: ErpTable) -> None:
    a1.change("Z0001", status="R")
    a1.night(2)
    a1.change("Z0001", delivered_quantity=10)
    a1.night(3)
    a1.change("Z0001", delivered_quantity=0)
    a1.night(4)
    assert line_of("Z0001").status == Status.READY_TO_DISPATCH
    a1.change("Z0001", status="X")
    a1.night(5)
    a1.change("Z0001", status="O")
    a1.night(6)
    assert line_of("Z0001").status == Status.READY_TO_DISPATCH


def test_a_persons_status_stands_while_the_erp_says_nothing_new(a1: ErpTable) -> None:
    POLine.objects.filter(po_number="Z0001").update(status=Status.IN_PRODUCTION)
    a1.change("Z0001", final_customer="Zenith")
    a1.night(2)
    assert line_of("Z0001").status == Status.IN_PRODUCTION
