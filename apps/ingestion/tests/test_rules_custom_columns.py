"""rules.md "Custom columns", sentence by sentence."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from django.db import DatabaseError

from apps.audit.models import EventType
from apps.ingestion import custom_columns, line_events, pipeline
from apps.ingestion.context import RunContext, StageResult
from apps.ingestion.tests.erp_table import (
    ErpTable,
    batches_of,
    changes_of,
    events_of,
    feed_slot,
    line_events_of,
    line_of,
    messages_of,
    run_of,
)
from apps.po.models import CUSTOM_SLOTS, CustomColumn, POLine

FED = ("custom_text_1", "custom_date_1", "custom_decimal_1")


@pytest.fixture
def fed(erp: ErpTable) -> ErpTable:
    """Night 1 has passed; remark, packed_on and weight feed a slot each."""
    for slot, column in zip(FED, ("remark", "packed_on", "weight"), strict=True):
        feed_slot(slot, column)
    erp.add("A1", remark="fragile", packed_on="2025-02-20", weight=2.5)
    erp.add("A2")
    erp.add_others(25)
    erp.night(1)
    return erp


def custom_of(po_number: str) -> tuple[str, date | None, Decimal | None]:
    line = line_of(po_number)
    return line.custom_text_1, line.custom_date_1, line.custom_decimal_1


def enter(po_number: str, slot: str, value: object) -> None:
    """A person enters a value."""
    line = line_of(po_number)
    setattr(line, slot, value)
    line.custom_sources = {**line.custom_sources, slot: "user"}
    line.save(update_fields=[slot, "custom_sources"])


def stop_feeding(slot: str) -> None:
    CustomColumn.objects.filter(slot=slot).update(active=False)


# --- Source per line and slot ---------------------------------------------------------------


def test_the_source_is_kept_per_line_and_slot(fed: ErpTable) -> None:
    assert custom_of("A1") == ("fragile", date(2025, 2, 20), Decimal("2.5"))
    assert line_of("A1").custom_sources == {
        "custom_text_1": "erp",
        "custom_date_1": "erp",
        "custom_decimal_1": "erp",
    }
    assert custom_of("A2") == ("", None, None)
    assert line_of("A2").custom_sources == {}


def test_all_15_slots_can_be_fed(erp: ErpTable) -> None:
    for slot in CUSTOM_SLOTS:
        kind = slot.split("_")[1]
        feed_slot(slot, {"text": "remark", "date": "packed_on", "decimal": "weight"}[kind])
    erp.add("A1", remark="x", packed_on="2025-02-20", weight=1)
    assert erp.night(1).custom_columns_populated == 15
    assert all(getattr(line_of("A1"), slot) for slot in CUSTOM_SLOTS)


def test_erp_values_follow_the_erp_emptiness_included(fed: ErpTable) -> None:
    fed.change("A1", remark="  ", packed_on="1900-01-01", weight=None)
    fed.change("A2", weight=3)
    report = fed.night(2)
    assert custom_of("A1") == ("", None, None)
    assert line_of("A1").custom_sources == {}
    assert line_of("A2").custom_sources == {"custom_decimal_1": "erp"}
    assert set(changes_of(report)) == {
        ("A1", "custom_text_1", "fragile", ""),
        ("A1", "custom_date_1", "2025-02-20", None),
        ("A1", "custom_decimal_1", "2.500", None),
        ("A2", "custom_decimal_1", None, "3.000"),
    }
    assert report.change_events_detected == 4
    assert line_events_of(report) == [("A1", "ingestion_change"), ("A2", "ingestion_change")]


def test_a_change_of_a_custom_date_or_decimal_tells_its_difference(fed: ErpTable) -> None:
    fed.change("A1", packed_on="2025-02-27", weight=1)
    changes = run_of(fed.night(2)).change_events.values_list("field", "difference")
    assert dict(changes) == {
        "custom_date_1": Decimal(7),
        "custom_decimal_1": Decimal("-1.5"),
    }


def test_a_custom_change_and_others_of_one_line_are_one_event(fed: ErpTable) -> None:
    fed.change("A1", remark="sturdy", delivered_quantity=5)
    report = fed.night(2)
    (event,) = events_of(report, EventType.INGESTION_CHANGE)
    assert {change["field"] for change in event.data["changes"]} == {
        "custom_text_1",
        "delivered_quantity",
    }
    assert report.change_events_detected == 2


def test_what_did_not_change_is_not_counted(fed: ErpTable) -> None:
    report = fed.night(2)
    assert (report.custom_columns_populated, report.lines_changed) == (0, 0)


def test_a_users_value_stays_whatever_the_erp_says(fed: ErpTable) -> None:
    enter("A1", "custom_text_1", "by hand")
    enter("A2", "custom_decimal_1", Decimal(7))
    for number, remark in enumerate(["other", None, "fragile"], start=2):
        fed.change("A1", remark=remark, weight=number)
        fed.change("A2", weight=number)
        fed.night(number)
        assert line_of("A1").custom_text_1 == "by hand"
        assert line_of("A1").custom_decimal_1 == number
        assert line_of("A1").custom_sources["custom_text_1"] == "user"
        assert line_of("A2").custom_decimal_1 == 7
    # What the ERP says meanwhile is kept, for "give back to ERP".
    assert line_of("A1").custom_erp_values["custom_text_1"] == "fragile"


def test_a_value_that_a_person_emptied_stays_empty(fed: ErpTable) -> None:
    enter("A1", "custom_text_1", "")
    fed.change("A1", remark="other")
    fed.night(2)
    assert line_of("A1").custom_text_1 == ""


def test_changing_a_slot_from_erp_to_user_keeps_the_values(fed: ErpTable) -> None:
    CustomColumn.objects.filter(slot="custom_text_1").update(source="user", erp_column="")
    fed.change("A1", remark="other", weight=9)
    report = fed.night(2)
    assert custom_of("A1") == ("fragile", date(2025, 2, 20), Decimal(9))
    assert changes_of(report) == [("A1", "custom_decimal_1", "2.500", "9.000")]
    assert "custom_text_1 is no longer read" in messages_of(report)


def test_a_deactivated_slot_keeps_its_data(fed: ErpTable) -> None:
    for slot in FED:
        stop_feeding(slot)
    fed.change("A1", remark="other", packed_on=None, weight=None)
    report = fed.night(2)
    assert custom_of("A1") == ("fragile", date(2025, 2, 20), Decimal("2.5"))
    assert (report.change_events_detected, report.custom_columns_populated) == (0, 0)


def test_a_new_order_under_an_old_key_begins_with_empty_slots(fed: ErpTable) -> None:
    enter("A1", "custom_text_1", "by hand")
    fed.remove("A1")
    fed.night(2)
    fed.add("A1", po_insert_date="2025-03-09", weight=4)
    fed.night(3)
    assert custom_of("A1") == ("", None, Decimal(4))
    assert line_of("A1").custom_sources == {"custom_decimal_1": "erp"}


def test_closed_and_absent_lines_keep_their_values(fed: ErpTable) -> None:
    fed.change("A1", status="C", remark="last words")
    fed.remove("A2")
    report = fed.night(2)
    assert line_of("A1").custom_text_1 == "last words"
    (event,) = (e for e in events_of(report, EventType.PO_LINE_LEFT) if "changes" in e.data)
    assert event.data["changes"] == [
        {"field": "erp_status", "previous": "O", "new": "C"},
        {"field": "custom_text_1", "previous": "fragile", "new": "last words"},
    ]


# --- Field set of the slots -----------------------------------------------------------------


def test_a_new_slot_is_filled_without_change_events_and_reported_once(fed: ErpTable) -> None:
    fed.change("A1", other_text="new")
    feed_slot("custom_text_2", "other_text")
    report = fed.night(2)
    assert line_of("A1").custom_text_2 == "new"
    assert (report.change_events_detected, line_events_of(report)) == (0, [])
    assert "custom_text_2 is read for the first time" in messages_of(report)
    assert report.custom_columns_populated == 1
    assert fed.night(3).errors_encountered == []


def test_a_slot_pointed_elsewhere_is_filled_without_change_events(fed: ErpTable) -> None:
    fed.change("A1", other_text="from elsewhere")
    feed_slot("custom_text_1", "other_text")
    report = fed.night(2)
    assert line_of("A1").custom_text_1 == "from elsewhere"
    assert (report.change_events_detected, line_events_of(report)) == (0, [])
    assert "custom_text_1 is read differently" in messages_of(report)


def test_a_slot_pointed_elsewhere_leaves_a_users_value_alone(fed: ErpTable) -> None:
    enter("A1", "custom_text_1", "by hand")
    fed.change("A1", other_text="from elsewhere")
    feed_slot("custom_text_1", "other_text")
    fed.night(2)
    assert line_of("A1").custom_text_1 == "by hand"


@pytest.mark.parametrize("others_stay", [False, True])
def test_a_slot_removed_and_added_again_is_filled_without_change_events(
    fed: ErpTable, others_stay: bool
) -> None:
    for slot in ("custom_text_1",) if others_stay else FED:
        stop_feeding(slot)
    fed.night(20)
    fed.change("A1", remark="changed meanwhile", delivered_quantity=5)
    fed.night(25)
    CustomColumn.objects.update(active=True)
    report = fed.night(30)
    assert line_of("A1").custom_text_1 == "changed meanwhile"
    assert (report.change_events_detected, line_events_of(report)) == (0, [])
    assert "custom_text_1 is read for the first time" in messages_of(report)


def test_a_line_rejected_when_the_slot_was_pointed_elsewhere_is_filled_silently_later(
    fed: ErpTable,
) -> None:
    fed.run_sql("UPDATE orders SET other_text = 'from elsewhere'")
    fed.change("A1", ordered_quantity="x")
    feed_slot("custom_text_1", "other_text")
    fed.night(2)
    fed.change("A1", ordered_quantity=100)
    report = fed.night(3)
    assert line_of("A1").custom_text_1 == "from elsewhere"
    assert changes_of(report) == []


def test_a_slot_pointed_elsewhere_while_its_value_is_unreadable_is_filled_silently_later(
    fed: ErpTable,
) -> None:
    fed.change("A1", other_number="heavy")
    feed_slot("custom_decimal_1", "other_number")
    fed.night(2)
    assert line_of("A1").custom_decimal_1 == Decimal("2.5")
    fed.change("A1", other_number=9)
    report = fed.night(3)
    assert line_of("A1").custom_decimal_1 == 9
    assert changes_of(report) == []
    fed.change("A1", other_number=10)
    assert changes_of(fed.night(4)) == [("A1", "custom_decimal_1", "9.000", "10.000")]


# --- Converted and checked before the transaction -------------------------------------------


@pytest.mark.parametrize(
    ("column", "slot", "value"),
    [
        ("weight", "custom_decimal_1", "heavy"),
        ("weight", "custom_decimal_1", 10**15),
        ("weight", "custom_decimal_1", "1.2345"),
        ("packed_on", "custom_date_1", "yesterday"),
        ("packed_on", "custom_date_1", "2025-02-30"),
        ("remark", "custom_text_1", "x" * 256),
        ("remark", "custom_text_1", b"\xff\x00"),
    ],
)
def test_an_unreadable_value_leaves_the_old_one_and_is_counted_and_reported(
    fed: ErpTable, column: str, slot: str, value: object
) -> None:
    before = custom_of("A1")
    fed.change("A1", **{column: value, "final_customer": "Zenith"})
    report = fed.night(2)
    assert custom_of("A1") == before
    assert changes_of(report) == [("A1", "final_customer", "", "Zenith")]
    assert f"{slot}: the value of 1 line(s) cannot be read; the old values stay" in (
        messages_of(report)
    )
    assert report.status == "success"
    # Readable again, it is an ordinary change from the last value that was read.
    fed.change("A1", **{column: None})
    (change,) = changes_of(fed.night(3))
    assert change[1] == slot


def test_unreadable_values_are_reported_also_for_lines_that_aged_out_or_are_looked_up(
    fed: ErpTable,
) -> None:
    fed.active["lookback_days"] = 1
    fed.change("A1", delivered_quantity=100, weight="heavy")
    fed.change("A2", status="C", weight="heavy")
    report = fed.night(2)
    assert (line_of("A1").presence, line_of("A2").presence) == ("aged_out", "closed")
    assert "custom_decimal_1: the value of 2 line(s)" in messages_of(report)


# --- If the stage fails all the same --------------------------------------------------------


def fail_with(error: Exception) -> object:
    def run(context: RunContext) -> StageResult:
        custom_columns.run(context)
        raise error

    return run


def replace_stage(monkeypatch: pytest.MonkeyPatch, name: str, stage: object) -> None:
    monkeypatch.setattr(
        pipeline,
        "APPLY_STAGES",
        tuple((n, stage if n == name else s) for n, s in pipeline.APPLY_STAGES),
    )


def test_if_the_stage_fails_the_night_is_partial_and_nothing_of_the_slots_is_kept(
    fed: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed.change("A1", remark="sturdy", delivered_quantity=5)
    with monkeypatch.context() as patch:
        replace_stage(patch, custom_columns.STAGE, fail_with(RuntimeError("no room")))
        report = fed.night(2)
    assert (report.status, report.custom_columns_populated) == ("partial", 0)
    assert changes_of(report) == [("A1", "delivered_quantity", "0.000", "5.000")]
    assert report.change_events_detected == 1
    assert line_of("A1").custom_text_1 == "fragile"
    assert batches_of("A1")[0][1] == 5
    (told,) = report.errors_encountered
    assert told["stage"] == "custom_columns"
    assert "RuntimeError: no room" in told["message"]
    assert "next run tries again" in told["remedy"]
    (event,) = events_of(report, EventType.INGESTION_COMPLETED)
    assert event.data["status"] == "partial"
    report = fed.night(3)
    assert report.status == "success"
    assert changes_of(report) == [("A1", "custom_text_1", "fragile", "sturdy")]


def test_if_the_engine_dooms_the_transaction_the_apply_is_done_once_more_without_them(
    fed: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQL Server dooms it after some errors: not even a savepoint can be gone back to, and every
    further statement is refused."""
    fed.change("A1", remark="sturdy", delivered_quantity=5)
    applied: list[str] = []

    def fail(context: RunContext) -> StageResult:
        applied.append("custom columns")
        raise DatabaseError("conversion failed")

    def refuse_at_first(context: RunContext) -> StageResult:
        applied.append("report")
        if applied == ["custom columns", "report"]:
            raise DatabaseError("The current transaction cannot be committed")
        return line_events.run(context)

    replace_stage(monkeypatch, custom_columns.STAGE, fail)
    replace_stage(monkeypatch, line_events.STAGE, refuse_at_first)
    report = fed.night(2)
    assert applied == ["custom columns", "report", "report"]
    assert report.status == "partial"
    assert changes_of(report) == [("A1", "delivered_quantity", "0.000", "5.000")]
    assert len(batches_of("A1")) == 1
    assert line_events_of(report) == [("A1", "ingestion_change")]
    assert line_of("A1").custom_text_1 == "fragile"
    assert len(events_of(report, EventType.INGESTION_COMPLETED)) == 1


def test_a_failure_of_another_stage_is_not_taken_for_one_of_the_custom_columns(
    fed: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed.change("A1", remark="sturdy", delivered_quantity=5)

    def fail(context: RunContext) -> StageResult:
        raise DatabaseError("something else")

    replace_stage(monkeypatch, line_events.STAGE, fail)
    report = fed.refused_night(2)
    assert "something else" in messages_of(report)
    assert line_of("A1").delivered_quantity == 0


def test_ingestion_never_writes_a_slot_that_people_fill(fed: ErpTable) -> None:
    CustomColumn.objects.create(slot="custom_text_5", label="Ours", source="user")
    POLine.objects.filter(po_number="A1").update(custom_text_5="by hand")
    fed.change("A1", remark="other", status="C")
    fed.night(2)
    assert line_of("A1").custom_text_5 == "by hand"
