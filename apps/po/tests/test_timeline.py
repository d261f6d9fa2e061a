"""What happened to a line, as people read it: order, acts, words, kinds, pages and scope."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.core.exceptions import BadRequest

from apps.accounts.models import Role
from apps.audit.models import EventType
from apps.batches.models import Kind as BatchKind
from apps.ingestion.erp.fields import LINE_FIELDS
from apps.po import timeline
from apps.po.labels import ERP_LABELS
from apps.po.models import POLine, Presence
from apps.po.timeline import Act, Asked, Detail, Kind, Page, page_of
from tests.factories import (
    AuditEventFactory,
    CustomColumnFactory,
    ERPChangeEventFactory,
    POLineFactory,
    SupplierFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

START = datetime(2026, 3, 2, 22, 0, tzinfo=UTC)


@pytest.fixture
def line() -> POLine:
    return POLineFactory.create()


def night(number: int) -> datetime:
    return START + timedelta(days=number)


def changed(line: POLine, field: str, previous: str | None, new: str | None, **more: Any) -> Any:
    """The event of a night in which one field differed."""
    data = {"changes": [{"field": field, "previous": previous, "new": new}]}
    return AuditEventFactory.create(
        po_line=line, data=data, **{"actor_name": "ERP ingestion", "source": "ingestion", **more}
    )


def page(line: POLine, query: str = "", kinds: tuple[str, ...] = (), **user: Any) -> Page:
    (before,) = parse_qs(query).get("before", [""])
    return page_of(line, user.get("user") or UserFactory.create(), Asked.of(kinds, before))


def only_act(line: POLine) -> Act:
    (act,) = page(line).acts
    return act


def only_detail(line: POLine) -> Detail:
    (detail,) = only_act(line).details
    return detail


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "previous", "new", "told"),
    [
        (
            "promised_date",
            "2026-03-02",
            "2026-03-12",
            ("2026-03-02", "2026-03-12", "10 days later"),
        ),
        (
            "promised_date",
            "2026-03-02",
            "2026-03-01",
            ("2026-03-02", "2026-03-01", "1 day earlier"),
        ),
        ("promised_date", None, "2026-03-02", ("", "2026-03-02", "")),
        ("ordered_quantity", "1500.000", "1250.500", ("1,500", "1,250.5", "-249.5")),
        ("delivered_quantity", "0.000", "40.000", ("0", "40", "+40")),
        ("final_customer", "", "Müller 100%", ("", "Müller 100%", "")),
        (
            "erp_updated_at",
            "2026-03-01T08:00:00.000000+00:00",
            "2026-03-02T09:05:00.000000+00:00",
            ("2026-03-01 08:00", "2026-03-02 09:05", ""),
        ),
        ("custom_date_1", "2026-03-02", "2026-03-09", ("2026-03-02", "2026-03-09", "7 days later")),
        ("custom_decimal_1", "2.500", "12.000", ("2.5", "12", "+9.5")),
    ],
)
def test_values_are_told_as_people_read_them(
    line: POLine, field: str, previous: str | None, new: str | None, told: tuple[str, str, str]
) -> None:
    changed(line, field, previous, new)
    detail = only_detail(line)
    assert (detail.previous, detail.new, detail.more) == told


def test_every_field_of_the_erp_has_a_name_in_plain_words() -> None:
    assert {field for field, _kind in LINE_FIELDS.values()} == {*ERP_LABELS}


def test_every_kind_of_batch_and_every_way_to_leave_has_words() -> None:
    assert {*timeline.BATCHES} == {*BatchKind.values}
    line = POLineFactory.create()
    for number, presence in enumerate(Presence):
        if presence in (Presence.PRESENT, Presence.AGED_OUT):
            continue
        AuditEventFactory.create(
            po_line=line,
            event_type=EventType.PO_LINE_LEFT,
            data={"presence": presence.value},
            effective_at=night(number),
        )
    words = {str(act.details[0].label) for act in page(line).acts}
    assert not words & {*Presence.values}


def test_a_custom_column_is_told_under_its_label_and_what_is_unknown_under_its_name(
    line: POLine,
) -> None:
    CustomColumnFactory.create(slot="custom_text_1", label="Container", active=False)
    changed(line, "custom_text_1", "A", "B", effective_at=night(1))
    changed(line, "custom_text_2", "A", "B", effective_at=night(0))
    assert [str(act.details[0].label) for act in page(line).acts] == ["Container", "custom_text_2"]


def test_a_night_tells_all_that_it_brought_ordered_by_kind(line: POLine) -> None:
    AuditEventFactory.create(
        po_line=line,
        source="ingestion",
        data={
            "changes": [
                {"field": "erp_status", "previous": "10", "new": "20"},
                {"field": "delivered_quantity", "previous": "0.000", "new": "40.000"},
                {"field": "in_date", "previous": None, "new": "2026-03-01"},
            ],
            "status": {
                "previous": "planned",
                "new": "part_delivered",
                "reason": "Delivered according to the ERP",
            },
            "batches": [
                {
                    "kind": "between_runs",
                    "quantity": "40.000",
                    "delivered_on": "2026-03-01",
                    "over_delivery": True,
                },
                {
                    "kind": "between_runs",
                    "quantity": "5.000",
                    "delivered_on": "2026-03-02",
                    "date_uncertain": True,
                    "over_delivery": False,
                },
            ],
            "receipt_dates": [{"receipt": "R7", "previous": "2026-02-01", "new": "2026-02-03"}],
        },
    )
    act = only_act(line)
    assert (act.tone, act.actor) == ("erp", "ERP ingestion")
    assert [detail.kind for detail in act.details] == [
        Kind.DATE, Kind.STATUS, Kind.STATUS, Kind.QUANTITY, *[Kind.BATCH] * 3,
    ]  # fmt: skip
    status, (batch, uncertain, receipt) = act.details[2], act.details[4:]
    assert (status.previous, status.new) == ("Planned", "Part delivered")
    assert status.reason == "Delivered according to the ERP"
    assert batch.more == "+40 on 2026-03-01, more than ordered"
    assert uncertain.more == "+5 on 2026-03-02, date uncertain"
    assert str(receipt.label) == "Date of receipt R7"
    assert (receipt.previous, receipt.new, receipt.more) == (
        "2026-02-01", "2026-02-03", "2 days later",
    )  # fmt: skip


def test_what_the_cross_reference_does_stands_with_the_night_that_it_belongs_to(
    line: POLine,
) -> None:
    act_id = uuid.uuid4()
    AuditEventFactory.create(
        po_line=line,
        event_type=EventType.XREF_APPLIED,
        correlation_id=act_id,
        data={
            "previous": {"sku": "", "item": "Pumps", "unmapped": True},
            "new": {"sku": "SKU-1", "item": "Pumps", "unmapped": False},
        },
    )
    changed(line, "promised_date", "2026-03-02", "2026-03-03", correlation_id=act_id)
    act = only_act(line)
    assert act.tone == "erp"
    assert [str(detail.label) for detail in act.details] == ["Promised", "SKU", "Item code"]


def test_the_cross_reference_alone_looks_like_the_system_and_not_like_the_erp(
    line: POLine,
) -> None:
    AuditEventFactory.create(
        po_line=line,
        event_type=EventType.XREF_APPLIED,
        data={
            "previous": {"sku": "", "item": "", "unmapped": True},
            "new": {"sku": "SKU-1", "item": "", "unmapped": True},
        },
    )
    assert only_act(line).tone == "system"


def test_a_person_is_told_by_name_with_the_reason(line: POLine) -> None:
    wei = UserFactory.create(username="wei")
    AuditEventFactory.create(
        po_line=line,
        event_type=EventType.CUSTOM_COLUMN_UPDATED,
        actor=wei,
        actor_name="wei",
        source="inline",
        reason="Told by phone",
        data={"slot": "custom_text_1", "previous": "", "new": "<b>C-1</b>"},
    )
    act = only_act(line)
    assert (act.tone, act.actor, act.reasons) == ("person", "wei", ["Told by phone"])
    assert (act.details[0].kind, act.details[0].new) == (Kind.NOTE, "<b>C-1</b>")


def test_a_value_that_was_given_back_to_the_erp_says_so(line: POLine) -> None:
    AuditEventFactory.create(
        po_line=line,
        event_type=EventType.CUSTOM_COLUMN_UPDATED,
        data={"slot": "custom_text_1", "previous": "C-1", "new": "C-2", "value_from": "erp"},
    )
    assert only_detail(line).more == "given back to the ERP"


def test_an_event_with_nothing_to_compare_is_told_by_its_name(line: POLine) -> None:
    AuditEventFactory.create(po_line=line, event_type=EventType.INGESTION_CHANGE, data={})
    assert str(only_detail(line).label) == "Changed in the ERP"
    AuditEventFactory.create(po_line=line, event_type=EventType.PO_LINE_RETURNED, data={})
    assert "Active in the ERP again" in {str(a.details[0].label) for a in page(line).acts}


# --- order, pages, kinds --------------------------------------------------------------------------


def test_the_newest_comes_first_and_older_ones_fifty_at_a_time(line: POLine) -> None:
    for number in range(120):
        changed(line, "promised_date", "2026-03-02", "2026-03-03", effective_at=night(number))
    seen: list[datetime] = []
    query, pages = "", 0
    while pages == 0 or query:
        told = page(line, query)
        assert len(told.acts) <= 50
        seen += [act.effective_at for act in told.acts]
        # Only the page that reaches the beginning says when that was.
        assert (told.since is None) is bool(told.older)
        query, pages = told.older, pages + 1
    assert pages == 3
    assert seen == [night(number) for number in reversed(range(120))]


def test_an_act_stays_together_where_a_page_ends(line: POLine) -> None:
    last_act = uuid.uuid4()
    for number in range(49):
        changed(line, "promised_date", "2026-03-02", "2026-03-03", effective_at=night(9 + number))
    for field in ("promised_date", "in_date"):
        changed(line, field, "2026-03-02", "2026-03-03", correlation_id=last_act)
    first = page(line)
    assert len(first.acts) == 49
    (act,) = page(line, first.older).acts
    assert len(act.details) == 2


def test_only_the_kinds_that_are_wanted_are_told_also_on_the_next_page(line: POLine) -> None:
    for number in range(60):
        AuditEventFactory.create(
            po_line=line,
            effective_at=night(number),
            data={
                "changes": [
                    {"field": "promised_date", "previous": "2026-03-02", "new": "2026-03-03"},
                    {"field": "erp_status", "previous": "10", "new": "20"},
                ]
            },
        )
    changed(line, "final_customer", "A", "B", effective_at=night(99))
    first = page(line, kinds=("date",))
    assert len(first.acts) == 50
    assert {d.kind for act in first.acts for d in act.details} == {Kind.DATE}
    assert first.older.startswith("kind=date&before=")
    assert len(page(line, first.older, kinds=("date",)).acts) == 10
    assert page(line, kinds=("note",)).acts == []


def test_what_is_rare_is_looked_for_in_steps_and_says_so(
    line: POLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "LOOKED_THROUGH", 4)
    changed(line, "promised_date", "2026-03-02", "2026-03-03", effective_at=night(0))
    for number in range(1, 7):
        changed(line, "erp_status", "10", "20", effective_at=night(number))
    first = page(line, kinds=("date",))
    assert first.acts == []
    assert first.older
    assert len(page(line, first.older, kinds=("date",)).acts) == 1


@pytest.mark.parametrize(
    "before",
    ["yesterday", "2026-03-02~1", "2026-03-02T10:00:00+00:00", "2026-03-02T10:00:00+00:00~x", "~"],
)
def test_a_place_that_no_page_names_is_refused(before: str) -> None:
    with pytest.raises(BadRequest):
        Asked.of([], before)


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(BadRequest):
        Asked.of(["colour"], "")


# --- scope ----------------------------------------------------------------------------------------


def test_what_happened_under_another_supplier_is_not_told_to_its_successors_expeditor() -> None:
    before, now = SupplierFactory.create_batch(2)
    line = POLineFactory.create(supplier=now, first_seen_at=night(0))
    changed(line, "promised_date", "2026-03-02", "2026-03-03", supplier=before)
    moved = {"effective_at": night(5), "supplier": before, "po_line": line}
    changed(line, "supplier_code", before.code, now.code, effective_at=night(5), supplier=before)
    ERPChangeEventFactory.create(field="supplier_code", **moved)
    changed(line, "promised_date", "2026-03-03", "2026-03-04", effective_at=night(6), supplier=now)

    wei = UserFactory.create(role=Role.EXPEDITOR, suppliers=[now])
    told = page(line, user=wei)
    assert [act.effective_at for act in told.acts] == [night(6)]
    assert told.since == night(5)

    katrin = UserFactory.create(role=Role.PLANNER)
    assert len(page(line, user=katrin).acts) == 3
    assert page(line, user=katrin).since == night(0)
    both = UserFactory.create(role=Role.EXPEDITOR, suppliers=[before, now])
    assert len(page(line, user=both).acts) == 3


def test_of_a_line_that_came_back_the_beginning_is_told_from_when_it_was_first_the_users() -> None:
    own, other = SupplierFactory.create_batch(2)
    line = POLineFactory.create(supplier=own, first_seen_at=night(0))
    for number, supplier in enumerate([own, other, own], start=1):
        changed(line, "promised_date", None, "2026-03-03", effective_at=night(number))
        ERPChangeEventFactory.create(
            po_line=line, field="supplier_code", supplier=supplier, effective_at=night(number)
        )
    line.supplier = other
    line.save()
    mine = UserFactory.create(role=Role.EXPEDITOR, suppliers=[own])
    theirs = UserFactory.create(role=Role.EXPEDITOR, suppliers=[other])
    assert page(line, user=mine).since == night(0)
    assert page(line, user=theirs).since == night(1)
    assert page(line, user=UserFactory.create(role=Role.PLANNER)).since == night(0)


@pytest.mark.parametrize(("by_a_person", "kind"), [(True, Kind.NOTE), (False, Kind.ERP)])
def test_what_has_nothing_to_compare_is_a_persons_or_not(
    line: POLine, by_a_person: bool, kind: Kind
) -> None:
    actor = UserFactory.create() if by_a_person else None
    AuditEventFactory.create(po_line=line, actor=actor, data={})
    assert only_detail(line).kind == kind


def test_nobody_is_told_nothing(line: POLine) -> None:
    changed(line, "promised_date", "2026-03-02", "2026-03-03")
    assert page(line, user=UserFactory.create(role="")).acts == []
