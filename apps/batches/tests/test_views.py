"""The batches and the date picture of a line: what they show, to whom, with how many queries."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils.html import strip_tags

from apps.accounts.models import Role
from apps.batches.models import Batch, Kind, ReceiptDateNote
from apps.batches.totals import WORDS, Delivered
from apps.po.models import POLine
from tests.factories import (
    A_DAY,
    A_MOMENT,
    AuditEventFactory,
    BatchFactory,
    ERPChangeEventFactory,
    IngestionRunFactory,
    POLineFactory,
    ReceiptDateNoteFactory,
    SupplierFactory,
    UserFactory,
)
from tests.sql_server import sql_server_sql
from tests.test_pages import HTMX, sign_in

pytestmark = pytest.mark.django_db

Budget = Callable[..., AbstractContextManager[Any]]


def client_of(role: Role, **fields: Any) -> Client:
    client = Client()
    sign_in(client, UserFactory.create(role=role, **fields))
    return client


def shown(client: Client, path: str) -> str:
    answer = client.get(path, headers=HTMX)
    assert answer.status_code == 200
    return answer.content.decode()


def read(client: Client, line: POLine) -> str:
    """What the date picture of the line says in words."""
    return strip_tags(shown(client, f"/po/{line.pk}/movement/"))


def batch(line: POLine, quantity: int, day: date | None, **values: Any) -> Batch:
    return BatchFactory.create(po_line=line, quantity=Decimal(quantity), delivered_on=day, **values)


def told_note(line: POLine, **values: Any) -> ReceiptDateNote:
    """A note as a night makes it: with the event of its line."""
    note = ReceiptDateNoteFactory.create(
        batch=values.pop("batch", None) or batch(line, 10, A_DAY, kind=Kind.EXACT), **values
    )
    AuditEventFactory.create(
        po_line=line,
        supplier=values.get("supplier", line.supplier),
        correlation_id=note.run.identifier,
    )
    return note


# --- batches --------------------------------------------------------------------------------------


def test_batches_add_up_in_the_order_of_their_dates() -> None:
    line = POLineFactory.create(batched_quantity=Decimal(75))
    batch(line, 40, date(2026, 3, 5))
    batch(line, -5, date(2026, 3, 9), kind=Kind.CORRECTION)
    batch(line, 30, date(2026, 3, 2))
    batch(line, 10, None, kind=Kind.OPENING)
    delivered = Delivered.of(line, Batch.objects.all(), [])
    assert [(int(row.batch.quantity), int(row.total)) for row in delivered.rows] == [
        (10, 10), (30, 40), (40, 80), (-5, 75),
    ]  # fmt: skip
    assert delivered.other == 0


def test_what_came_under_another_supplier_is_only_a_sum() -> None:
    before, now = SupplierFactory.create_batch(2)
    line = POLineFactory.create(
        supplier=now, delivered_quantity=Decimal(70), batched_quantity=Decimal(70)
    )
    batch(line, 60, A_DAY, supplier=before, note="a secret")
    batch(line, 10, A_DAY + timedelta(days=1), supplier=now)
    told = shown(client_of(Role.EXPEDITOR, suppliers=[now]), f"/po/{line.pk}/batches/")
    assert "a secret" not in told
    assert "Other deliveries" in told
    assert told.count("<tr>") == 3  # the head, the sum, the batch
    everything = shown(client_of(Role.PLANNER), f"/po/{line.pk}/batches/")
    assert "a secret" in everything
    assert "Other deliveries" not in everything


def test_every_kind_of_batch_is_told_in_plain_words() -> None:
    assert {*WORDS} == {*Kind}
    assert not any("run" in str(words) for words in WORDS.values())


def test_a_batch_says_what_is_uncertain_or_odd_about_it() -> None:
    line = POLineFactory.create()
    told_note(
        line,
        batch=batch(
            line,
            1250,
            A_DAY,
            kind=Kind.EXACT,
            date_uncertain=True,
            over_delivery=True,
            negative_total=True,
            receipt_id="R-77",
            note="The quantity of the receipt was changed in the ERP",
        ),
    )
    told = shown(client_of(Role.PLANNER), f"/po/{line.pk}/batches/")
    for text in (
        "1,250", "Receipt", "R-77", "Date uncertain", "More delivered than ordered",
        "Total below zero", "The quantity of the receipt was changed in the ERP",
        "its date moved from 2026-03-02 to 2026-03-03",
    ):  # fmt: skip
        assert text in told


def test_a_line_without_deliveries_says_so() -> None:
    line = POLineFactory.create()
    assert "Nothing was delivered yet." in shown(client_of(Role.PLANNER), f"/po/{line.pk}/batches/")


def test_a_note_belongs_to_the_supplier_of_its_night_and_not_to_that_of_its_batch() -> None:
    own, other = SupplierFactory.create_batch(2)
    line = POLineFactory.create(supplier=own)
    made = batch(line, 10, A_DAY, supplier=own, kind=Kind.EXACT)
    mine = told_note(line, batch=made, run=IngestionRunFactory.create())
    theirs = ReceiptDateNoteFactory.create(batch=made, run=IngestionRunFactory.create())
    AuditEventFactory.create(po_line=line, supplier=other, correlation_id=theirs.run.identifier)
    # An event of another line in the same night shows nothing of this one.
    AuditEventFactory.create(
        po_line=POLineFactory.create(supplier=own), correlation_id=theirs.run.identifier
    )
    wei = UserFactory.create(role=Role.EXPEDITOR, suppliers=[own])
    assert list(ReceiptDateNote.objects.for_user(wei)) == [mine]
    assert ReceiptDateNote.objects.for_user(UserFactory.create()).count() == 2
    assert not ReceiptDateNote.objects.for_user(None).exists()


def test_the_notes_can_be_asked_of_sql_server() -> None:
    wei = UserFactory.create(role=Role.EXPEDITOR)
    assert "EXISTS" in sql_server_sql(ReceiptDateNote.objects.for_user(wei))


# --- the date picture -----------------------------------------------------------------------------


def test_a_date_that_moved_is_a_picture_with_its_words() -> None:
    line = POLineFactory.create(promised_date=date(2026, 3, 16))
    for number, (previous, new) in enumerate(
        [("2026-03-02", "2026-03-09"), ("2026-03-09", "2026-03-16")], start=1
    ):
        ERPChangeEventFactory.create(
            po_line=line,
            previous_value=previous,
            new_value=new,
            effective_at=A_MOMENT + timedelta(days=number),
        )
    batch(line, 10, A_DAY + timedelta(days=2))
    batch(line, 10, A_DAY + timedelta(days=2), kind=Kind.CORRECTION)
    told = shown(client_of(Role.PLANNER), f"/po/{line.pk}/movement/")
    words = "moved 2 times: from 2026-03-02 to 2026-03-16, 14 days later."
    assert words in strip_tags(told)
    assert "<svg" in told
    assert " style=" not in told
    assert "2026-03-03: 2026-03-02 → 2026-03-09" in told
    assert told.count('class="movement-receipt"') == 2  # the mark and its key


def test_a_date_that_never_moved_is_a_sentence() -> None:
    line = POLineFactory.create()
    told = shown(client_of(Role.PLANNER), f"/po/{line.pk}/movement/")
    assert "The promised date 2026-03-02 has not moved since 2026-03-02." in strip_tags(told)
    assert "<svg" not in told


def test_a_line_without_a_promised_date_says_so() -> None:
    line = POLineFactory.create(promised_date=None, ready_to_dispatch_date=date(2026, 4, 1))
    told = shown(client_of(Role.PLANNER), f"/po/{line.pk}/movement/")
    assert "The ERP has no promised date for this line." in told
    assert "it is expected on 2026-04-01." in strip_tags(told)
    assert "<svg" in told


@pytest.mark.parametrize(
    ("moves", "words"),
    [
        (
            [("2026-03-02", "2026-03-09")],
            "moved once: from 2026-03-02 to 2026-03-09, 7 days later.",
        ),
        ([(None, "2026-03-09")], "moved once: from no date to 2026-03-09."),
        ([("2026-03-02", None)], "moved once: from 2026-03-02 to no date."),
        (
            [("2026-03-02", "2026-03-09"), ("2026-03-09", "2026-03-02")],
            "moved 2 times and is 2026-03-02 again.",
        ),
        ([(None, "2026-03-09"), ("2026-03-09", None)], "moved 2 times and is empty again."),
    ],
)
def test_moves_are_a_sentence_that_can_be_read_aloud(
    moves: list[tuple[str | None, str | None]], words: str
) -> None:
    last = moves[-1][1]
    line = POLineFactory.create(promised_date=date.fromisoformat(last) if last else None)
    for number, (previous, new) in enumerate(moves, start=1):
        ERPChangeEventFactory.create(
            po_line=line,
            previous_value=previous,
            new_value=new,
            effective_at=A_MOMENT + timedelta(days=number),
        )
    assert f"The promised date {words}" in read(client_of(Role.PLANNER), line)


def test_what_arrived_is_in_the_words_of_the_picture_too() -> None:
    line = POLineFactory.create()
    ERPChangeEventFactory.create(po_line=line, effective_at=A_MOMENT + timedelta(days=1))
    client = client_of(Role.PLANNER)
    assert "arrived" not in read(client, line)
    batch(line, 10, A_DAY + timedelta(days=2))
    assert "Something arrived on 2026-03-04." in read(client, line)
    batch(line, 10, A_DAY + timedelta(days=2))
    batch(line, 10, A_DAY + timedelta(days=5))
    assert "Something arrived on 2 days, the last 2026-03-07." in read(client, line)


def test_a_receipt_that_the_erp_took_back_is_no_arrival() -> None:
    line = POLineFactory.create()
    for receipt, quantities in {"gone": (10, -10), "less": (10, -4), "": (10, -10)}.items():
        for quantity in quantities:
            kind = Kind.CORRECTION if quantity < 0 else Kind.EXACT if receipt else Kind.BETWEEN_RUNS
            batch(line, quantity, A_DAY, kind=kind, receipt_id=receipt)
    batch(POLineFactory.create(), 10, A_DAY, kind=Kind.CORRECTION, receipt_id="less")
    arrived = Batch.objects.filter(po_line=line).receipts()
    assert {one.receipt_id for one in arrived} == {"less", ""}
    assert "SUM" in sql_server_sql(arrived)


# Session, user and line; then what the section is about.
QUERIES = {"batches": 5, "movement": 6}


@pytest.mark.parametrize("section", QUERIES)
def test_a_long_history_takes_no_more_queries(
    section: str, django_assert_max_num_queries: Budget
) -> None:
    line = POLineFactory.create()
    client = client_of(Role.PLANNER)
    for each in range(30):
        told_note(line, batch=batch(line, 1, A_DAY + timedelta(days=each), kind=Kind.EXACT))
        ERPChangeEventFactory.create(po_line=line)
    with django_assert_max_num_queries(QUERIES[section]):
        shown(client, f"/po/{line.pk}/{section}/")
