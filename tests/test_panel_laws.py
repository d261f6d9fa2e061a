"""What a line's panel tells, over random nights of the simulated ERP: everything, once, and to each
expeditor only what happened while the line was their supplier's."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from unittest.mock import patch
from urllib.parse import parse_qs

import pytest
from hypothesis import given

from apps.accounts.models import Role, User
from apps.audit.models import ERPChangeEvent
from apps.batches.models import Batch, ReceiptDateNote
from apps.batches.totals import Delivered
from apps.po import timeline
from apps.po.models import CustomColumn, POLine, StatusChange
from apps.po.timeline import Asked, Detail, page_of
from tests.factories import UserFactory
from tests.nights import BY_A_PERSON, History, histories, lived
from tests.test_laws import _some

pytestmark = pytest.mark.django_db


def told(line: POLine, user: User) -> list[Detail]:
    """All that the timeline tells, page after page of three acts."""
    details: list[Detail] = []
    asked = Asked()
    while True:
        page = page_of(line, user, asked)
        assert len(page.acts) <= 3
        details += [detail for act in page.acts for detail in act.details]
        if not page.older:
            return details
        asked = Asked.of([], parse_qs(page.older)["before"][0])


@_some
@given(history=histories(quiet=True))
def test_the_timeline_tells_every_change_once_and_batches_add_up_for_everybody(
    history: History,
) -> None:
    moving = replace(history, often=("move", "slip", "receipt", "change_custom", "reuse"))
    with lived(moving), patch.object(timeline, "PAGE", 3):
        planner = UserFactory.create(role=Role.PLANNER)
        for line in POLine.objects.for_user(planner):
            _is_told(line, planner)
        # An expeditor sees less of a line only where it came from another supplier.
        came = POLine.objects.filter(erp_changes__field="supplier_code").distinct()
        for line in came.select_related("supplier"):
            expeditor = UserFactory.create(role=Role.EXPEDITOR, suppliers=[line.supplier])
            _is_told(line, expeditor)


def _is_told(line: POLine, user: User) -> None:
    labels = dict(CustomColumn.objects.values_list("slot", "label"))
    labels |= {field: str(label) for field, (_kind, label) in timeline.FIELDS.items()}
    changes = ERPChangeEvent.objects.for_user(user).filter(po_line=line)
    expected = Counter(labels[field] for field in changes.values_list("field", flat=True))
    moves = StatusChange.objects.for_user(user).filter(po_line=line)
    # Those of the tests' people have no event: the pages on which people move a line come later.
    expected["Status"] += moves.exclude(reason=BY_A_PERSON).count()
    known = {*labels.values(), "Status"}
    found = Counter(str(d.label) for d in told(line, user) if d.is_change)
    assert Counter({label: n for label, n in found.items() if label in known}) == +expected

    batches = Batch.objects.for_user(user).filter(po_line=line)
    notes = ReceiptDateNote.objects.for_user(user).filter(batch__po_line=line)
    delivered = Delivered.of(line, batches, notes)
    last = delivered.rows[-1].total if delivered.rows else delivered.other
    assert last == line.delivered_quantity
    if user.role == Role.PLANNER:
        assert delivered.other == 0
        assert len(delivered.rows) == batches.count()
        assert notes.count() == ReceiptDateNote.objects.filter(batch__po_line=line).count()
