"""rules.md "Batches", sentence by sentence."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from apps.audit.models import EventType
from apps.batches.models import Batch, ReceiptDateNote
from apps.ingestion.models import ERPReceipt, RejectedRow
from apps.ingestion.tests.erp_table import (
    ErpTable,
    batches_of,
    changes_of,
    content,
    day,
    events_of,
    line_events_of,
    line_of,
    messages_of,
    retired_line_of,
    run_of,
)
from apps.po.lifecycle import Status
from apps.po.models import POLine


@pytest.fixture
def a1(erp: ErpTable) -> ErpTable:
    """Night 1 has passed over A1, of which 40 of 100 were delivered, and lines for the guard."""
    erp.add("A1", delivered_quantity=40, in_date="2025-02-20")
    erp.add_others(30)
    erp.night(1)
    return erp


@pytest.fixture
def received(erp: ErpTable) -> ErpTable:
    """The same with receipts: R1 of 10 and R2 of 30."""
    erp.read_receipts()
    erp.add("A1", delivered_quantity=40, in_date="2025-02-20")
    erp.receive("R1", "A1", 10, "2025-02-10")
    erp.receive("R2", "A1", 30, "2025-02-20")
    erp.add_others(30)
    erp.night(1)
    return erp


@pytest.fixture(autouse=True)
def batches_add_up(db: None) -> Iterator[None]:
    """Law 2, after every test here: the batches of a line add up to its delivered quantity."""
    yield
    for line in POLine.objects.all():
        total = sum((batch.quantity for batch in line.batches.all()), Decimal(0))
        assert line.batched_quantity == total, line
        assert line.delivered_quantity == total, line


def flags_of(po_number: str) -> list[tuple[int, bool, bool, bool]]:
    """(quantity, date uncertain, over-delivery, negative total) of the line's batches."""
    return [
        (int(batch.quantity), batch.date_uncertain, batch.over_delivery, batch.negative_total)
        for batch in Batch.objects.filter(po_line=line_of(po_number)).order_by("pk")
    ]


# --- Without a receipts relation ------------------------------------------------------------


def test_a_rise_is_one_batch_between_runs(a1: ErpTable) -> None:
    a1.change("A1", delivered_quantity=75.5, in_date=day(2))
    report = a1.night(2)
    batch = Batch.objects.get(run=run_of(report))
    assert (batch.kind, batch.quantity) == ("between_runs", Decimal("35.5"))
    assert report.batches_reconstructed == 1
    (event,) = events_of(report, EventType.INGESTION_CHANGE)
    assert event.data["batches"] == [
        {
            "kind": "between_runs",
            "quantity": "35.500",
            "delivered_on": str(day(2)),
            "date_uncertain": False,
            "over_delivery": False,
        }
    ]


@pytest.mark.parametrize(
    ("in_date", "delivered_on", "uncertain"),
    [
        (day(1), day(4), True),
        (day(2), day(2), False),
        (day(4), day(4), False),
        (day(5), day(4), True),
        ("2025-02-20", day(4), True),
        (None, day(4), True),
    ],
)
def test_a_rise_is_dated_by_in_date_if_that_lies_between_the_runs_else_by_the_run_uncertain(
    a1: ErpTable, in_date: Any, delivered_on: date, uncertain: bool
) -> None:
    a1.table = "gone"
    a1.refused_night(3)  # not an applied run, so it is none to count from
    a1.table = "orders"
    a1.change("A1", delivered_quantity=60, in_date=in_date)
    report = a1.night(4)
    batch = Batch.objects.get(run=run_of(report))
    assert (batch.delivered_on, batch.date_uncertain) == (delivered_on, uncertain)


def test_a_rise_in_a_second_run_of_the_same_day_is_uncertain(a1: ErpTable) -> None:
    a1.change("A1", delivered_quantity=60, in_date=day(1))
    a1.night(1)
    assert batches_of("A1")[1:] == [("between_runs", 20, day(1))]
    assert flags_of("A1")[1:] == [(20, True, False, False)]


def test_a_fall_is_a_negative_correction_dated_by_the_run(a1: ErpTable) -> None:
    a1.change("A1", delivered_quantity=25, in_date="2025-02-25")
    a1.night(2)
    assert batches_of("A1")[1:] == [("correction", -15, day(2))]
    assert flags_of("A1")[1:] == [(-15, False, False, False)]


def test_in_date_changing_alone_is_a_change_event_and_no_batch(a1: ErpTable) -> None:
    a1.change("A1", in_date=day(2))
    report = a1.night(2)
    assert changes_of(report) == [("A1", "in_date", "2025-02-20", str(day(2)))]
    assert (report.batches_reconstructed, len(batches_of("A1"))) == (0, 1)


@pytest.mark.parametrize(
    ("in_date", "delivered_on"), [("2025-02-20", date(2025, 2, 20)), (None, None)]
)
def test_what_is_delivered_when_a_line_is_first_seen_is_one_opening_batch_dated_by_in_date(
    a1: ErpTable, in_date: str | None, delivered_on: date | None
) -> None:
    a1.add("A2", delivered_quantity=7, in_date=in_date)
    a1.add("A3")
    a1.night(2)
    assert batches_of("A1") == [("opening", 40, date(2025, 2, 20))]
    assert batches_of("A2") == [("opening", 7, delivered_on)]
    assert batches_of("A3") == []


def test_over_delivery_and_negative_remainders_are_flagged_not_trimmed(a1: ErpTable) -> None:
    a1.add("A2", delivered_quantity=-5)
    a1.change("A1", delivered_quantity=130)
    a1.night(2)
    a1.change("A1", delivered_quantity=120)
    a1.change("A2", delivered_quantity=110)
    a1.night(3)
    a1.change("A1", delivered_quantity=125)
    a1.night(4)
    assert flags_of("A1") == [
        (40, False, False, False),
        (90, True, True, False),
        (-10, False, False, False),
        (5, True, True, False),
    ]
    assert flags_of("A2") == [(-5, False, False, True), (115, True, True, False)]
    assert line_of("A1").delivered_quantity == 125
    assert line_of("A1").over_delivered == 25
    assert line_of("A1").outstanding == 0


def test_an_order_lowered_below_what_is_delivered_makes_no_batch(a1: ErpTable) -> None:
    a1.change("A1", ordered_quantity=30)
    assert a1.night(2).batches_reconstructed == 0


def test_a_delivered_quantity_read_from_another_column_is_one_flagged_batch_not_a_delivery(
    a1: ErpTable,
) -> None:
    a1.run_sql("UPDATE orders SET other_number = delivered_quantity")
    a1.change("A1", other_number=55)
    a1.fields["delivered_quantity"] = "other_number"
    report = a1.night(2)
    assert batches_of("A1")[1:] == [("unexplained", 15, day(2))]
    assert changes_of(report) == []
    assert report.batches_reconstructed == 1


def test_batches_are_never_edited_or_deleted(a1: ErpTable) -> None:
    kept: list[Any] = []
    for number, delivered in enumerate([60, 30, 30, 130, 0, 100], start=2):
        a1.change("A1", delivered_quantity=delivered, in_date=day(number))
        a1.night(number)
        batches = list(Batch.objects.order_by("pk").values())
        assert batches[: len(kept)] == kept
        kept = [*batches]
    assert [int(batch["quantity"]) for batch in kept] == [40, 20, -30, 100, -130, 100]


def test_a_receipt_on_a_line_a_person_cancelled_is_a_batch_and_a_warning(a1: ErpTable) -> None:
    POLine.objects.filter(po_number="A1").update(status=Status.CANCELLED)
    a1.change("A1", delivered_quantity=60, in_date=day(2))
    report = a1.night(2)
    assert batches_of("A1")[1:] == [("between_runs", 20, day(2))]
    assert line_of("A1").status == Status.CANCELLED
    assert "1 line(s) received goods although a person cancelled them" in messages_of(report)
    assert "A1 / 10" in messages_of(report)
    assert report.status == "success"


def test_a_last_receipt_of_a_line_the_erp_cancels_is_no_such_warning(a1: ErpTable) -> None:
    a1.change("A1", status="X", delivered_quantity=60)
    report = a1.night(2)
    assert line_of("A1").status == Status.CANCELLED
    assert "although" not in messages_of(report)
    a1.change("A1", delivered_quantity=65)
    assert "although" not in messages_of(a1.night(3))


# --- With a receipts relation ---------------------------------------------------------------


def test_receipts_of_the_baseline_are_exact_batches_with_their_own_dates(
    received: ErpTable,
) -> None:
    assert batches_of("A1") == [
        ("exact", 10, date(2025, 2, 10)),
        ("exact", 30, date(2025, 2, 20)),
    ]
    assert set(line_of("A1").batches.values_list("receipt_id", flat=True)) == {"R1", "R2"}


def test_receipts_a_new_id_is_an_exact_batch_whatever_its_date(received: ErpTable) -> None:
    received.change("A1", delivered_quantity=55)
    received.receive("R3", "A1", 10, "2024-12-24")
    received.receive("R4", "A1", 5, None)
    report = received.night(2)
    assert batches_of("A1")[2:] == [("exact", 10, date(2024, 12, 24)), ("exact", 5, None)]
    assert report.batches_reconstructed == 2
    assert line_events_of(report) == [("A1", "ingestion_change")]


def test_receipts_a_changed_quantity_is_a_correction_of_the_difference(received: ErpTable) -> None:
    received.change("A1", delivered_quantity=43)
    received.change_receipt("R1", quantity=13)
    received.night(2)
    assert batches_of("A1")[2:] == [("correction", 3, day(2))]
    received.change("A1", delivered_quantity=38)
    received.change_receipt("R1", quantity=8)
    received.night(3)
    assert batches_of("A1")[3:] == [("correction", -5, day(3))]


def test_receipts_a_vanished_id_is_a_negative_batch(received: ErpTable) -> None:
    received.change("A1", delivered_quantity=30)
    received.remove_receipt("R1")
    received.night(2)
    assert batches_of("A1")[2:] == [("correction", -10, day(2))]
    assert received.night(3).batches_reconstructed == 0


def test_receipts_an_id_that_vanished_and_comes_back_counts_again(received: ErpTable) -> None:
    received.remove_receipt("R1")
    received.change("A1", delivered_quantity=30)
    received.night(2)
    received.receive("R1", "A1", 10, "2025-02-10")
    received.change("A1", delivered_quantity=40)
    received.night(3)
    assert [quantity for _, quantity, _ in batches_of("A1")] == [10, 30, -10, 10]


def test_receipts_a_changed_date_is_a_dated_note_on_the_batch(received: ErpTable) -> None:
    before = list(Batch.objects.values())
    received.change_receipt("R1", receipt_date="2025-02-12")
    report = received.night(2)
    note = ReceiptDateNote.objects.get()
    assert (note.batch.receipt_id, note.previous_date, note.new_date) == (
        "R1",
        date(2025, 2, 10),
        date(2025, 2, 12),
    )
    assert list(Batch.objects.values()) == before
    assert line_events_of(report) == [("A1", "ingestion_change")]
    (event,) = events_of(report, EventType.INGESTION_CHANGE)
    assert event.data["receipt_dates"] == [
        {"receipt": "R1", "previous": "2025-02-10", "new": "2025-02-12"}
    ]
    received.change_receipt("R1", receipt_date=None)
    received.night(3)
    received.night(4)
    assert ReceiptDateNote.objects.count() == 2


def test_receipts_what_they_do_not_explain_is_one_flagged_adjustment_per_run_and_line(
    received: ErpTable,
) -> None:
    received.change("A1", delivered_quantity=60)
    received.receive("R3", "A1", 12, day(2))
    received.receive("R4", "A1", 3, day(2))
    received.night(2)
    assert batches_of("A1")[2:] == [
        ("exact", 12, day(2)),
        ("exact", 3, day(2)),
        ("unexplained", 5, day(2)),
    ]
    assert flags_of("A1")[-1][1]
    # The receipt that was missing comes: the adjustment is taken back, nothing is edited.
    received.receive("R5", "A1", 5, day(2))
    received.night(3)
    assert batches_of("A1")[5:] == [("exact", 5, day(2)), ("unexplained", -5, day(3))]


def test_receipts_are_compared_even_when_the_lines_hash_is_unchanged(received: ErpTable) -> None:
    received.receive("R3", "A1", 5, day(2))
    report = received.night(2)
    assert changes_of(report) == []
    assert batches_of("A1")[2:] == [("exact", 5, day(2)), ("unexplained", -5, day(2))]
    assert line_events_of(report) == [("A1", "ingestion_change")]


def test_receipts_that_stay_as_they_are_make_nothing(received: ErpTable) -> None:
    before = content()
    report = received.night(2)
    assert (report.batches_reconstructed, line_events_of(report)) == (0, [])
    assert content() == before


def test_receipts_over_delivery_is_flagged_on_the_receipt_that_passes_the_order(
    received: ErpTable,
) -> None:
    received.change("A1", delivered_quantity=120)
    received.receive("R3", "A1", 60, day(2))
    received.receive("R4", "A1", 20, day(2))
    received.night(2)
    assert [over for _, _, over, _ in flags_of("A1")] == [False, False, False, True]


@pytest.mark.parametrize(
    "broken", [{"quantity": "ten"}, {"receipt_date": "soon"}, {"po_number": " "}]
)
def test_receipts_a_row_that_is_broken_for_one_night_changes_nothing(
    received: ErpTable, broken: dict[str, str]
) -> None:
    before = content()
    received.change_receipt("R1", **broken)
    report = received.night(2)
    assert (report.status, report.rejected_rows) == ("partial", 1)
    rejected = RejectedRow.objects.get()
    assert (rejected.relation, rejected.receipt_id) == ("deliveries", "R1")
    assert content() == before
    received.change_receipt("R1", quantity=10, receipt_date="2025-02-10", po_number="A1")
    assert received.night(3).batches_reconstructed == 0
    assert content() == before


def test_receipts_identical_rows_of_one_id_count_once_and_differing_ones_are_held(
    received: ErpTable,
) -> None:
    before = content()
    received.receive("R1", "A1", 10, "2025-02-10")
    report = received.night(2)
    assert "1 row(s) stand in the ERP more than once" in messages_of(report)
    assert (report.status, content()) == ("success", before)
    received.receive("R1", "A1", 11, "2025-02-10")
    report = received.night(3)
    assert (report.rejected_rows, content()) == (3, before)


def test_receipts_of_a_rejected_line_wait_until_it_is_readable(received: ErpTable) -> None:
    received.change("A1", delivered_quantity="x")
    received.receive("R3", "A1", 10, day(2))
    received.change_receipt("R1", quantity=12)
    before = content()
    received.night(2)
    assert content() == before
    received.change("A1", delivered_quantity=52)
    received.night(3)
    assert sorted(batches_of("A1")[2:]) == [("correction", 2, day(3)), ("exact", 10, day(2))]


def test_receipts_of_a_line_that_nobody_knows_yet_count_when_it_appears(received: ErpTable) -> None:
    received.receive("R9", "A9", 10, day(1))
    assert received.night(2).batches_reconstructed == 0
    received.add("A9", delivered_quantity=10)
    received.night(3)
    assert batches_of("A9") == [("exact", 10, day(1))]


def test_receipts_one_that_moves_to_another_line_is_taken_from_the_one_and_given_to_the_other(
    received: ErpTable,
) -> None:
    received.add("A2")
    received.night(2)
    received.change_receipt("R1", po_number="A2")
    received.change("A1", delivered_quantity=30)
    received.change("A2", delivered_quantity=10)
    report = received.night(3)
    assert batches_of("A1")[2:] == [("correction", -10, day(3))]
    assert batches_of("A2") == [("exact", 10, date(2025, 2, 10))]
    assert report.batches_reconstructed == 2
    assert received.night(4).batches_reconstructed == 0


def test_receipts_one_that_moves_away_from_a_rejected_line_waits(received: ErpTable) -> None:
    """The line that gives it keeps its state, so the move is applied when both can be read."""
    received.add("A2")
    received.night(2)
    received.change_receipt("R1", po_number="A2")
    received.change("A1", delivered_quantity="x")
    received.change("A2", delivered_quantity=10)
    a1_before = list(line_of("A1").batches.values())
    report = received.night(3)
    assert list(line_of("A1").batches.values()) == a1_before
    assert ("A1", "ingestion_change") not in line_events_of(report)
    received.change("A1", delivered_quantity=30)
    received.night(4)
    assert sum(quantity for _, quantity, _ in batches_of("A1")) == 30
    assert sum(quantity for _, quantity, _ in batches_of("A2")) == 10


def test_receipts_one_that_moves_to_a_rejected_line_waits(received: ErpTable) -> None:
    received.add("A2")
    received.night(2)
    received.change_receipt("R1", po_number="A2")
    received.change("A2", delivered_quantity="x")
    received.change("A1", delivered_quantity=30)
    received.night(3)
    assert batches_of("A2") == []
    received.change("A2", delivered_quantity=10)
    received.night(4)
    assert batches_of("A2") == [("exact", 10, date(2025, 2, 10))]
    assert sum(quantity for _, quantity, _ in batches_of("A1")) == 30


def test_receipts_of_the_night_a_line_closes_and_late_ones_are_exact(received: ErpTable) -> None:
    received.change("A1", status="C", delivered_quantity=90)
    received.receive("R3", "A1", 50, day(2))
    received.night(2)
    received.receive("R4", "A1", 10, day(9))
    received.change("A1", delivered_quantity=100)
    report = received.night(10)
    assert batches_of("A1")[2:] == [("exact", 50, day(2)), ("exact", 10, day(9))]
    assert line_events_of(report) == [("A1", "ingestion_change")]


def test_receipts_of_a_line_closed_long_ago_wait_until_it_returns(received: ErpTable) -> None:
    received.change("A1", status="C")
    received.night(2)
    received.receive("R3", "A1", 10, day(99))
    received.change("A1", delivered_quantity=50)
    assert received.night(100).batches_reconstructed == 0
    received.change("A1", status="O")
    received.night(101)
    assert batches_of("A1")[2:] == [("exact", 10, day(99))]


def test_receipts_of_a_line_that_is_absent_stay_until_it_is_seen_again(received: ErpTable) -> None:
    received.remove("A1")
    received.remove_receipt("R1")
    received.night(2)
    assert [quantity for _, quantity, _ in batches_of("A1")] == [10, 30]
    received.add("A1", delivered_quantity=30)
    received.night(3)
    assert batches_of("A1")[2:] == [("correction", -10, day(3))]


# --- A key that is used again ---------------------------------------------------------------


@pytest.fixture
def reused(received: ErpTable) -> ErpTable:
    """A1 was closed, and its key is another order's since night 9; its receipts are still there."""
    received.change("A1", status="C")
    received.night(2)
    received.remove("A1")
    received.add("A1", po_insert_date="2025-03-10", delivered_quantity=0)
    received.night(9)
    return received


def test_receipts_of_the_old_order_do_not_count_for_the_new_one(reused: ErpTable) -> None:
    assert batches_of("A1") == []
    assert retired_line_of("A1").batched_quantity == 40
    assert reused.night(10).batches_reconstructed == 0


def test_receipts_of_the_old_order_that_change_or_vanish_late_touch_nobody(
    reused: ErpTable,
) -> None:
    reused.change_receipt("R1", quantity=15, receipt_date="2025-02-11")
    reused.remove_receipt("R2")
    assert reused.night(10).batches_reconstructed == 0
    assert reused.night(11).batches_reconstructed == 0
    assert retired_line_of("A1").batched_quantity == 40


def test_receipts_of_the_new_order_are_exact(reused: ErpTable) -> None:
    reused.change("A1", delivered_quantity=25)
    reused.receive("R8", "A1", 25, day(10))
    reused.night(10)
    assert batches_of("A1") == [("exact", 25, day(10))]


def test_receipts_a_late_one_of_the_old_order_is_seen_as_unexplained_on_the_new_one(
    reused: ErpTable,
) -> None:
    reused.receive("R8", "A1", 25, "2025-03-01")
    reused.night(10)
    assert batches_of("A1") == [("exact", 25, date(2025, 3, 1)), ("unexplained", -25, day(10))]


def test_receipts_one_of_the_old_order_that_moves_to_another_line_keeps_both_sums_right(
    reused: ErpTable,
) -> None:
    reused.change_receipt("R1", po_number="Z0001")
    reused.change("Z0001", delivered_quantity=10)
    reused.night(10)
    assert batches_of("Z0001") == [("exact", 10, date(2025, 2, 10))]
    assert reused.night(11).batches_reconstructed == 0


# --- The relation is added, removed, added again, pointed elsewhere -------------------------


@pytest.fixture
def adopted(a1: ErpTable) -> ErpTable:
    """The mapping names the receipts relation since night 20; A1's 40 stand in it as well."""
    a1.receive("R1", "A1", 10, "2025-02-10")
    a1.receive("R2", "A1", 30, "2025-02-20")
    a1.read_receipts()
    report = a1.night(20)
    assert report.batches_reconstructed == 0
    assert "Receipts are read from now on" in messages_of(report)
    return a1


def test_receipts_added_on_night_20_are_not_delivered_once_more(adopted: ErpTable) -> None:
    assert batches_of("A1") == [("opening", 40, date(2025, 2, 20))]
    adopted.change("A1", delivered_quantity=55)
    adopted.receive("R3", "A1", 15, day(21))
    report = adopted.night(21)
    assert batches_of("A1")[1:] == [("exact", 15, day(21))]
    assert "Configuration change" not in messages_of(report)


def test_receipts_adopted_are_corrected_and_vanish_like_any_others(adopted: ErpTable) -> None:
    adopted.change_receipt("R1", quantity=12)
    adopted.change("A1", delivered_quantity=42)
    adopted.night(21)
    adopted.remove_receipt("R2")
    adopted.change("A1", delivered_quantity=12)
    adopted.night(22)
    assert batches_of("A1")[1:] == [("correction", 2, day(21)), ("correction", -30, day(22))]


def test_receipts_adopted_whose_date_changes_have_no_batch_to_note_it_on(adopted: ErpTable) -> None:
    adopted.change_receipt("R1", receipt_date="2025-02-11")
    assert adopted.night(21).status == "success"
    assert ERPReceipt.objects.get(receipt_id="R1").receipt_date == date(2025, 2, 11)


def test_receipts_of_a_line_rejected_on_night_20_are_adopted_on_night_21(a1: ErpTable) -> None:
    a1.receive("R1", "A1", 40, "2025-02-10")
    a1.read_receipts()
    a1.change("A1", ordered_quantity="x")
    a1.night(20)
    a1.change("A1", ordered_quantity=100, delivered_quantity=45)
    a1.receive("R2", "A1", 5, day(21))
    a1.night(21)
    assert batches_of("A1")[1:] == [("between_runs", 5, day(21))]
    a1.change("A1", delivered_quantity=50)
    a1.receive("R3", "A1", 5, day(22))
    a1.night(22)
    assert batches_of("A1")[2:] == [("exact", 5, day(22))]


def test_receipts_removed_on_night_25_leave_batches_between_runs(adopted: ErpTable) -> None:
    adopted.ignore_receipts()
    adopted.change("A1", delivered_quantity=50, in_date=day(25))
    report = adopted.night(25)
    assert batches_of("A1")[1:] == [("between_runs", 10, day(25))]
    assert "deliveries is no longer read" in messages_of(report)


def test_receipts_added_again_on_night_30_count_nothing_double(adopted: ErpTable) -> None:
    adopted.ignore_receipts()
    adopted.change("A1", delivered_quantity=50, in_date=day(25))
    adopted.receive("R3", "A1", 10, day(25))
    adopted.night(25)
    adopted.change("A1", delivered_quantity=43)
    adopted.remove_receipt("R1")
    adopted.change_receipt("R2", quantity=33)
    adopted.night(28)
    adopted.read_receipts()
    before = list(Batch.objects.values())
    assert adopted.night(30).batches_reconstructed == 0
    assert list(Batch.objects.values()) == before
    adopted.change("A1", delivered_quantity=48)
    adopted.receive("R4", "A1", 5, day(31))
    adopted.night(31)
    assert batches_of("A1")[-1:] == [("exact", 5, day(31))]
    assert adopted.night(32).batches_reconstructed == 0


def test_receipts_of_a_line_first_seen_while_they_were_not_read_are_adopted_later(
    adopted: ErpTable,
) -> None:
    adopted.ignore_receipts()
    adopted.add("A2", delivered_quantity=20)
    adopted.receive("R7", "A2", 20, day(24))
    adopted.night(25)
    adopted.read_receipts()
    assert adopted.night(30).batches_reconstructed == 0
    assert batches_of("A2") == [("opening", 20, None)]


def test_receipts_pointed_elsewhere_are_taken_over_not_corrected(received: ErpTable) -> None:
    received.run_sql("UPDATE receipts SET net_quantity = quantity - 1")
    received.receipts["quantity"] = "net_quantity"
    before = list(Batch.objects.values())
    report = received.night(2)
    assert list(Batch.objects.values()) == before
    assert line_events_of(report) == []
    assert messages_of(report).count("Configuration change") == 1
    received.change("A1", delivered_quantity=45)
    received.receive("R3", "A1", 5, day(3))
    received.change_receipt("R3", net_quantity=5)
    received.night(3)
    assert batches_of("A1")[2:] == [("exact", 5, day(3))]


def test_receipts_a_night_on_which_many_vanish_at_once_is_refused(erp: ErpTable) -> None:
    erp.read_receipts()
    for number in range(30):
        erp.add(f"A{number}", delivered_quantity=10)
        erp.receive(f"R{number}", f"A{number}", 10, "2025-02-10")
    erp.night(1)
    erp.run_sql("DELETE FROM receipts WHERE rowid > 5")
    before = content()
    report = erp.refused_night(2)
    assert "25 of 30 receipts known before are no longer in the ERP" in messages_of(report)
    assert content() == before
    erp.run_sql("UPDATE orders SET delivered_quantity = 0 WHERE rowid > 5")
    assert erp.night(2, accept_drop=True).batches_reconstructed == 25


def test_receipts_of_which_many_are_broken_are_refused(erp: ErpTable) -> None:
    erp.read_receipts()
    for number in range(30):
        erp.add(f"A{number}", delivered_quantity=10)
        erp.receive(f"R{number}", f"A{number}", 10, "2025-02-10")
    erp.night(1)
    erp.run_sql("UPDATE receipts SET receipt_date = '10/02/2025'")
    before = content()
    report = erp.refused_night(2)
    assert "30 of 30 receipts cannot be used" in messages_of(report)
    assert content() == before


def test_receipts_whose_id_is_read_elsewhere_are_taken_over_not_delivered_again(
    received: ErpTable,
) -> None:
    received.run_sql("UPDATE receipts SET net_quantity = 'new ' || receipt_id")
    received.receipts["receipt_id"] = "net_quantity"
    before = list(Batch.objects.values())
    received.night(2)
    assert list(Batch.objects.values()) == before
    received.change_receipt("R1", quantity=15)
    received.change("A1", delivered_quantity=45)
    received.night(3)
    assert batches_of("A1")[2:] == [("correction", 5, day(3))]


def test_receipts_of_lines_closed_long_ago_may_be_archived(received: ErpTable) -> None:
    for number in range(30):
        received.add(f"B{number}", delivered_quantity=10)
        received.receive(f"S{number}", f"B{number}", 10, "2025-02-10")
    received.night(2)
    received.run_sql("UPDATE orders SET status = 'C' WHERE po_number LIKE 'B%'")
    received.night(3, accept_drop=True)
    received.run_sql("DELETE FROM receipts WHERE po_number LIKE 'B%'")
    assert received.night(100).status == "success"


def test_receipts_one_that_moves_away_from_a_line_closed_long_ago_keeps_both_sums_right(
    received: ErpTable,
) -> None:
    received.change("A1", status="C")
    received.night(2)
    received.change_receipt("R1", po_number="Z0001")
    received.change("Z0001", delivered_quantity=10)
    received.night(100)
    assert batches_of("Z0001") == [("exact", 10, date(2025, 2, 10))]
    assert received.night(101).batches_reconstructed == 0
