"""What a line's panel tells, over random nights of the simulated ERP: everything, once, and to each
expeditor only what happened while the line was their supplier's."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date
from itertools import pairwise
from unittest.mock import patch
from urllib.parse import parse_qs

import pytest
from hypothesis import given

from apps.accounts.models import Role, User
from apps.audit.models import ERPChangeEvent
from apps.batches.models import Batch, ReceiptDateNote
from apps.batches.totals import Delivered
from apps.core.clock import business_date, business_today
from apps.ingestion.models import IngestionRun, Mode
from apps.po import timeline
from apps.po.labels import ERP_LABELS
from apps.po.models import CustomColumn, POLine, StatusChange
from apps.po.movement import Movement
from apps.po.timeline import Act, Asked, Kind, page_of
from tests.factories import UserFactory
from tests.nights import BY_A_PERSON, History, histories, lived
from tests.test_laws import _some

pytestmark = pytest.mark.django_db

# Few lines to which a lot happens: what is told of a line is the more of it the longer its history.
LINES, NIGHTS = 25, 6
OFTEN = ("move", "slip", "receipt", "change_custom", "reuse")
PAGE, LOOKED_THROUGH = 3, 5


@_some
@given(history=histories(quiet=True))
def test_the_panel_tells_every_change_once_and_to_expeditors_only_what_was_their_suppliers(
    history: History,
) -> None:
    nights = (history.nights * NIGHTS)[:NIGHTS]
    moving = replace(history, lines=LINES, nights=nights, often=OFTEN)
    small_pages = patch.multiple(timeline, PAGE=PAGE, LOOKED_THROUGH=LOOKED_THROUGH)
    with lived(moving), small_pages:
        planner = UserFactory.create(role=Role.PLANNER)
        for line in POLine.objects.for_user(planner):
            _is_told(line, planner)
        # An expeditor sees less of a line only where it came from another supplier.
        came = POLine.objects.filter(erp_changes__field="supplier_code").distinct()
        for line in came.select_related("supplier"):
            expeditor = UserFactory.create(role=Role.EXPEDITOR, suppliers=[line.supplier])
            _is_told(line, expeditor)


def _is_told(line: POLine, user: User) -> None:
    changes = list(
        ERPChangeEvent.objects.for_user(user).filter(po_line=line).order_by("effective_at", "pk")
    )
    _timeline_is_right(line, user, changes)
    _batches_are_right(line, user)
    _movement_is_right(line, user, [c for c in changes if c.field == "promised_date"])


def _timeline_is_right(line: POLine, user: User, changes: list[ERPChangeEvent]) -> None:
    acts = _acts(line, user)
    assert all(newer.effective_at > older.effective_at for newer, older in pairwise(acts))
    details = [detail for act in acts for detail in act.details]
    labels = dict(CustomColumn.objects.values_list("slot", "label"))
    labels |= {field: str(label) for field, label in ERP_LABELS.items()}
    expected = Counter(labels[change.field] for change in changes)
    moves = StatusChange.objects.for_user(user).filter(po_line=line)
    # Those of the tests' people have no event: the pages on which people move a line come later.
    expected["Status"] += moves.exclude(reason=BY_A_PERSON).count()
    known = {*labels.values(), "Status"}
    found = Counter(str(detail.label) for detail in details if detail.is_change)
    assert Counter({label: n for label, n in found.items() if label in known}) == +expected

    kind = list(Kind)[line.pk % len(Kind)]
    of_kind = [detail for act in _acts(line, user, kind) for detail in act.details]
    assert of_kind == [detail for detail in details if detail.kind == kind]

    if user.role == Role.PLANNER:
        # What the first night of all found delivered has no event of its line.
        baseline = IngestionRun.objects.filter(mode=Mode.BASELINE)
        batches = Batch.objects.filter(po_line=line).exclude(run__in=baseline)
        notes = ReceiptDateNote.objects.filter(batch__po_line=line)
        told = [detail for detail in details if detail.kind == Kind.BATCH]
        assert len(told) == batches.count() + notes.count()


def _acts(line: POLine, user: User, *kinds: Kind) -> list[Act]:
    """All that the timeline tells, page after page."""
    acts: list[Act] = []
    before = ""
    while True:
        page = page_of(line, user, Asked.of(kinds, before))
        assert len(page.acts) <= PAGE
        acts += page.acts
        if not page.older:
            return acts
        (before,) = parse_qs(page.older)["before"]


def _batches_are_right(line: POLine, user: User) -> None:
    batches = Batch.objects.for_user(user).filter(po_line=line)
    notes = ReceiptDateNote.objects.for_user(user).filter(batch__po_line=line)
    delivered = Delivered.of(line, batches, notes)
    last = delivered.rows[-1].total if delivered.rows else delivered.other
    assert last == line.delivered_quantity
    if user.role == Role.PLANNER:
        assert delivered.other == 0
        assert len(delivered.rows) == batches.count()
        assert sum(len(row.notes) for row in delivered.rows) == (
            ReceiptDateNote.objects.filter(batch__po_line=line).count()
        )


def _movement_is_right(line: POLine, user: User, changes: list[ERPChangeEvent]) -> None:
    arrived = Batch.objects.for_user(user).filter(po_line=line).receipts()
    receipts = arrived.values_list("delivered_on", flat=True)
    movement = Movement.of(line, user, receipts=receipts, today=business_today())
    moves = [(move.previous, move.new) for move in movement.moves]
    told = [(_day(change.previous_value), _day(change.new_value)) for change in changes]
    assert moves == told[len(told) - len(moves) :]  # all, or those after a time elsewhere
    assert (len(moves) == len(told)) or user.role == Role.EXPEDITOR
    assert all(new == previous for (_p, new), (previous, _n) in pairwise(moves))
    days, levels = zip(*movement.promised_steps(), strict=True)
    assert list(days) == sorted(days)
    assert levels[-1] == line.promised_date
    moved = ERPChangeEvent.objects.filter(po_line=line, field="supplier_code")
    elsewhere = moved.exclude(pk__in=ERPChangeEvent.objects.for_user(user)).order_by("effective_at")
    came = elsewhere.last()
    assert movement.since == business_date(came.effective_at if came else line.first_seen_at)
    if picture := movement.picture:
        assert all(picture.top <= float(point.y) <= picture.bottom for point in picture.now)


def _day(canonical: str | None) -> date | None:
    return date.fromisoformat(canonical) if canonical else None
