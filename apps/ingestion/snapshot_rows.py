"""The rows a run keeps of what it saw: writing them, and asking for them.

Beside the stages, because the snapshot writes them and all that follows asks for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from apps.core.bulk import insert_rows
from apps.ingestion.context import RunContext
from apps.ingestion.erp.mapping import ErpMapping
from apps.ingestion.erp.rows import Rejection, Row
from apps.ingestion.models import (
    ERPReceipt,
    ERPSnapshot,
    IngestionRun,
    ReceiptSnapshot,
    RejectedRow,
)
from apps.po.lifecycle import Status
from apps.po.models import Presence

PRESENT = Presence.PRESENT.value
_DELETE_AT_ONCE = 10_000

SNAPSHOT_FIELDS = (
    "run_id",
    "po_number",
    "line_number",
    "presence",
    "extracted",
    "values",
    "row_hash",
    "custom_hash",
)
_REJECTED_FIELDS = (
    "run_id",
    "relation",
    "po_number",
    "line_number",
    "receipt_id",
    "extracted",
    "reason",
    "raw_values",
)


def aged_before(mapping: ErpMapping, run_date: date) -> str | None:
    """The PO insert date before which a delivered line counts as aged, or None for never."""
    days = mapping.lookback_days
    return None if days is None else (run_date - timedelta(days=days)).isoformat()


def is_aged(row: Row, before: str) -> bool:
    """Fully delivered, never closed, and inserted before that date (rules.md "Active")."""
    values = row.parsed()
    inserted = values.get("po_insert_date")
    if inserted is None or inserted >= before:
        return False
    ordered, delivered = values["ordered_quantity"], values["delivered_quantity"]
    assert ordered is not None
    assert delivered is not None
    return Decimal(delivered) >= Decimal(ordered) > 0


def presence_of(row: Row, context: RunContext, before: str | None) -> str:
    """Where a row stands that is not simply one of the active ones."""
    code = row.erp_status
    if code in context.mapping.closed_statuses:
        cancelled = context.mapping.meaning(code) == Status.CANCELLED
        return Presence.CANCELLED.value if cancelled else Presence.CLOSED.value
    aged = before is not None and is_aged(row, before)
    return Presence.AGED_OUT.value if aged else PRESENT


def insert_looked_up(context: RunContext, rows: Iterable[Row], *, extracted: bool) -> None:
    """Writes snapshot rows of lines that need not be active ones."""
    before = aged_before(context.mapping, context.run.run_date)
    insert_rows(
        ERPSnapshot,
        SNAPSHOT_FIELDS,
        (
            (
                context.run.pk,
                row.po_number,
                row.line_number,
                presence_of(row, context, before),
                extracted,
                row.values,
                row.row_hash,
                row.custom_hash,
            )
            for row in rows
        ),
    )


def insert_rejections(
    context: RunContext, rejections: Iterable[Rejection], relation: str, *, extracted: bool
) -> int:
    """Keeps rows that cannot be used, with the reason; returns how many."""
    return insert_rows(
        RejectedRow,
        _REJECTED_FIELDS,
        (
            (
                context.run.pk,
                relation,
                rejection.po_number,
                rejection.line_number,
                rejection.receipt_id,
                extracted,
                rejection.reason,
                json.dumps(rejection.raw_values, ensure_ascii=False),
            )
            for rejection in rejections
        ),
    )


def remove_rows(rows: QuerySet[Any], context: RunContext | None = None) -> int:
    """Deletes snapshot rows in chunks, each a short transaction, so that nobody waits long."""
    removed = 0
    while True:
        # Up to a primary key, which every engine finds faster than a list of keys.
        last = rows.order_by("pk").values_list("pk", flat=True)[_DELETE_AT_ONCE - 1 :][:1]
        chunk = rows.filter(pk__lte=last[0]) if last else rows
        removed += chunk.delete()[0]
        if not last:
            return removed
        if context is not None:
            context.breathe()


def snapshot_of_line(run: IngestionRun) -> QuerySet[ERPSnapshot]:
    """The snapshot row of the outer query's line tonight."""
    return ERPSnapshot.objects.filter(
        run=run, po_number=OuterRef("po_number"), line_number=OuterRef("line_number")
    )


def rejection_of_line(run: IngestionRun) -> QuerySet[RejectedRow]:
    """The rejected rows of the outer query's line tonight."""
    return RejectedRow.objects.filter(
        run=run,
        relation="lines",
        po_number=OuterRef("po_number"),
        line_number=OuterRef("line_number"),
    )


def receipts_of_tonights_lines(run: IngestionRun) -> QuerySet[ERPReceipt]:
    """Applied receipts that still stand, of the lines read tonight."""
    line_tonight = ERPSnapshot.objects.filter(
        run=run,
        po_number=OuterRef("po_line__po_number"),
        line_number=OuterRef("po_line__line_number"),
    )
    return (
        ERPReceipt.objects.filter(Exists(line_tonight))
        .exclude(quantity=0)
        .exclude(po_line__presence=Presence.RETIRED)
    )


def vanished(receipts: QuerySet[ERPReceipt], run: IngestionRun) -> QuerySet[ERPReceipt]:
    """Those whose id the ERP does not show tonight, not even in a row that cannot be used."""
    by_id = {"run": run, "receipt_id": OuterRef("receipt_id")}
    return receipts.filter(
        ~Exists(ReceiptSnapshot.objects.filter(**by_id)),
        ~Exists(RejectedRow.objects.filter(relation="deliveries", **by_id)),
    )
