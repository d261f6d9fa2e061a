"""How many questions each page puts to the database: no more for 5,000 lines than for 50.

The numbers are kept in query_counts.json, so that one more question is seen in the review. When
they change for a good reason, take over what the failing test shows.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import resolve

from apps.accounts.models import Role
from apps.audit.models import AuditEvent, ERPChangeEvent
from apps.batches.models import Batch
from apps.ingestion.models import IngestionRun, RejectedRow, XrefGap
from apps.po.models import CustomColumn, POLine, SavedView, StatusChange, Supplier
from tests.factories import (
    A_DAY,
    AuditEventFactory,
    BatchFactory,
    CustomColumnFactory,
    ERPChangeEventFactory,
    IngestionRunFactory,
    POLineFactory,
    RejectedRowFactory,
    StatusChangeFactory,
    SupplierFactory,
    UserFactory,
    XrefGapFactory,
)
from tests.test_pages import EXPECTED, read_to_its_end, sign_in

pytestmark = pytest.mark.django_db

A_CHANGE = {"field": "promised_date", "previous": None, "new": "2026-03-09"}
KEPT = Path(__file__).with_name("query_counts.json")
PART = {"HX-Request": "true", "HX-Target": "rows"}
LINE, RUN = "{line}", "{run}"

# Left out: what reads neither lines nor runs, and (in the second row) what no GET answers.
NOT_COUNTED = {
    "healthz", "sign_in", "change_password", "server_health", "erp_health",
    "sign_out", "save_columns", "delete_view", "give_back",
}  # fmt: skip
LISTS = {
    "start": ("/", {}),
    "list": ("/po/?preset=all", {}),
    "list, late": ("/po/?preset=late", {}),
    "list, no response": ("/po/?preset=no_response", {}),
    "list, updated recently": ("/po/?preset=updated", {}),
    "list, part": ("/po/?preset=all", PART),
    "list, refreshed": ("/po/?preset=all", {**PART, "HX-Trigger": "refresh"}),
    "list, sorted": ("/po/?preset=all&sort=-po_number", PART),
    "list, filtered": ("/po/?preset=all&po_number=PO&promised_date_from=2020-01-01", PART),
    "list, every column": ("/po/?preset=all&columns={columns}", PART),
    "columns": ("/po/columns/", PART),
    "export": ("/po/export/?preset=all&po_number=PO0000", {}),
    "save view": ("/po/views/", PART),
    "shared view": ("/po/views/{view}/", {}),
    "value": (f"/po/{LINE}/custom/{{slot}}/", PART),
    "line": (f"/po/{LINE}/", PART),
    "line, page": (f"/po/{LINE}/", {}),
    "timeline": (f"/po/{LINE}/timeline/", PART),
    "status history": (f"/po/{LINE}/status/", PART),
    "batches": (f"/po/{LINE}/batches/", PART),
    "movement": (f"/po/{LINE}/movement/", PART),
}
ADMINS = {
    "dashboard": ("/admin-portal/", {}),
    "runs": ("/admin-portal/ingestion/", {}),
    "run": (f"/admin-portal/ingestion/{RUN}/", {}),
    "run, row": (f"/admin-portal/ingestion/{RUN}/row/", PART),
    "run, lines": (f"/admin-portal/ingestion/{RUN}/changes/", PART),
    "run, rejected rows": (f"/admin-portal/ingestion/{RUN}/rejected/", PART),
    "run, gaps": (f"/admin-portal/ingestion/{RUN}/gaps/", PART),
    "run, open gaps": (f"/admin-portal/ingestion/{RUN}/gaps/?which=open", PART),
}
PAGES = {Role.EXPEDITOR: LISTS, Role.PLANNER: LISTS, Role.ADMIN: LISTS | ADMINS}


@pytest.fixture(params=[50, 5_000])
def lines(request: Any) -> int:
    """A company of so many lines, all with a history."""
    count: int = request.param
    SupplierFactory.create_batch(3)
    codes = [{"supplier": "V", "item_code": f"I{number}", "lines": 1} for number in range(count)]
    run = IngestionRunFactory.create(unmapped_item_codes=codes)
    CustomColumnFactory.create()
    suppliers = list(Supplier.objects.all())
    made = [
        POLineFactory.build(
            po_number=f"PO{number // 10:05}",
            line_number=str(number % 10),
            supplier=suppliers[number % 3],
            promised_date=A_DAY + timedelta(days=number % 90),
        )
        for number in range(count)
    ]
    POLine.objects.bulk_create(made, batch_size=500)
    known = list(POLine.objects.order_by("pk"))
    # One line has a long history, the others have an event each.
    busy = known[0]
    histories: list[tuple[Any, Any]] = [
        (AuditEvent, AuditEventFactory),
        (ERPChangeEvent, ERPChangeEventFactory),
        (StatusChange, StatusChangeFactory),
        (Batch, BatchFactory),
    ]
    for model, factory in histories:
        more: dict[str, Any] = {}
        if model in (ERPChangeEvent, Batch):
            more = {"run": run}
        elif model is AuditEvent:
            more = {"correlation_id": run.identifier, "data": {"changes": [A_CHANGE]}}
        of_lines = [*known, *[busy] * max(count // 10, 120)]
        rows = [factory.build(po_line=line, supplier=line.supplier, **more) for line in of_lines]
        model.objects.bulk_create(rows, batch_size=50)
    RejectedRow.objects.bulk_create(
        [RejectedRowFactory.build(run=run) for _ in range(count)], batch_size=50
    )
    gaps = [XrefGapFactory.build(supplier=suppliers[number % 3]) for number in range(count)]
    XrefGap.objects.bulk_create(gaps, batch_size=50)
    IngestionRunFactory.create_batch(count // 50)
    return count


def counted(client: Client, path: str, headers: dict[str, str]) -> int:
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(path, headers=headers)
        read_to_its_end(answer)
    assert answer.status_code in (200, 302), path
    return len(queries)


def counts() -> dict[str, dict[str, int]]:
    busy = POLine.objects.order_by("pk")[0]
    view = SavedView.objects.create(user=UserFactory.create(), name="All", query="preset=all")
    filled = {
        "line": busy.pk,
        "run": IngestionRun.objects.earliest("pk").pk,  # the one with everything in it
        "view": view.identifier,
        "slot": CustomColumn.objects.get().slot,
        "columns": "presence,in_date,custom_text_1,supplier",
    }
    found: dict[str, dict[str, int]] = {}
    for role, pages in PAGES.items():
        client = Client()
        sign_in(client, UserFactory.create(role=role, suppliers=Supplier.objects.all()))
        found[role.value] = {
            name: counted(client, path.format(**filled), headers)
            for name, (path, headers) in pages.items()
        }
    return found


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the questions are the same everywhere")
def test_a_page_asks_as_much_for_5000_lines_as_for_50(lines: int) -> None:
    found = counts()
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    assert found == kept, json.dumps(found, indent=2)


def test_every_page_is_counted() -> None:
    """A new address is counted, or it stands among those that are not."""
    filled = {"line": 1, "run": 1, "view": uuid4(), "slot": "custom_text_1", "columns": ""}
    paths = [path.format(**filled).partition("?")[0] for path, _ in PAGES[Role.ADMIN].values()]
    counted_names = {resolve(path).url_name for path in paths}
    assert counted_names == EXPECTED.keys() - NOT_COUNTED
