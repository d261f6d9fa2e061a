"""Exactly one line event for each line a run touched (rules.md "Events and counters").

Which event it is, and all it tells, is read from what the stages wrote; so it cannot tell
anything that did not happen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from apps.audit import services as audit
from apps.audit.models import ERPChangeEvent, EventType
from apps.batches.models import Batch, ReceiptDateNote
from apps.core.bulk import chunks
from apps.ingestion.context import RunContext, StageResult
from apps.po.models import ACTIVE, POLine, Presence, StatusChange

STAGE = "report"
_LINES_AT_ONCE = 500

_COUNTERS = {
    EventType.PO_LINE_CREATED: "new_lines_created",
    EventType.PO_LINE_RETURNED: "lines_returned",
    EventType.PO_LINE_LEFT: "lines_left",
    EventType.INGESTION_CHANGE: "lines_changed",
}


def run(context: RunContext) -> StageResult:
    """Stage 6: writes the events and counts them. The baseline has one event for all its lines."""
    run = context.run
    counts: Counter[str] = Counter(dict.fromkeys(_COUNTERS.values(), 0))
    if context.is_baseline:
        lines = POLine.objects.count()
        audit.record(
            [audit.Event(event_type=EventType.INGESTION_BASELINE, data={"lines": lines})],
            actor=context.actor,
            correlation_id=run.identifier,
            effective_at=run.effective_at,
        )
        counts["new_lines_created"] = lines
        return StageResult(counts=dict(counts))
    touched = POLine.objects.filter(last_run=run.pk).order_by("pk").values_list("pk", flat=True)
    for pks in chunks(list(touched), _LINES_AT_ONCE):
        events = _events(context, pks)
        counts.update(_COUNTERS[event.event_type] for event in events)
        audit.record(
            events,
            actor=context.actor,
            correlation_id=run.identifier,
            effective_at=run.effective_at,
        )
        context.stop.check()
    return StageResult(counts=dict(counts))


def _events(context: RunContext, pks: list[int]) -> list[audit.Event]:
    run = context.run
    data: dict[int, dict[str, Any]] = defaultdict(dict)
    supplier_then: dict[int, int] = {}
    changes = ERPChangeEvent.objects.filter(run=run, po_line__in=pks).order_by("pk")
    for line_pk, supplier_pk, name, previous, new in changes.values_list(
        "po_line_id", "supplier_id", "field", "previous_value", "new_value"
    ):
        data[line_pk].setdefault("changes", []).append(
            {"field": name, "previous": previous, "new": new}
        )
        supplier_then[line_pk] = supplier_pk
    moves = StatusChange.objects.filter(correlation_id=run.identifier, po_line__in=pks)
    for line_pk, previous, new, reason in moves.values_list(
        "po_line_id", "previous_status", "new_status", "reason"
    ):
        data[line_pk]["status"] = {"previous": previous, "new": new, "reason": reason}
    batches = Batch.objects.filter(run=run, po_line__in=pks).order_by("pk")
    for line_pk, kind, quantity, delivered_on, date_uncertain, over_delivery in batches.values_list(
        "po_line_id", "kind", "quantity", "delivered_on", "date_uncertain", "over_delivery"
    ):
        data[line_pk].setdefault("batches", []).append(
            {
                "kind": kind,
                "quantity": str(quantity),
                "delivered_on": delivered_on.isoformat() if delivered_on else None,
                "date_uncertain": date_uncertain,
                "over_delivery": over_delivery,
            }
        )
    for note in ReceiptDateNote.objects.filter(run=run, batch__po_line__in=pks).select_related(
        "batch"
    ):
        data[note.batch.po_line_id].setdefault("receipt_dates", []).append(
            {
                "receipt": note.batch.receipt_id,
                "previous": note.previous_date.isoformat() if note.previous_date else None,
                "new": note.new_date.isoformat() if note.new_date else None,
            }
        )
    events = []
    for line in (
        POLine.objects.filter(pk__in=pks)
        .order_by("pk")
        .only(
            "pk",
            "supplier_id",
            "first_run",
            "presence",
            "previous_presence",
            "presence_run",
            "generation",
        )
    ):
        told = data.get(line.pk, {})
        event_type = _event_type(line, run.pk, told)
        if event_type is None:
            continue
        if line.presence_run == run.pk and line.presence not in ACTIVE:
            told = {"presence": line.presence, **told}
        if line.generation > 1 and event_type == EventType.PO_LINE_CREATED:
            told = {"generation": line.generation, **told}
        events.append(
            audit.Event(
                event_type=event_type,
                po_line_id=line.pk,
                supplier_id=supplier_then.get(line.pk, line.supplier_id),
                data=told,
            )
        )
    return events


def _event_type(line: POLine, run_pk: int, told: dict[str, Any]) -> EventType | None:
    """The first that applies of created, returned, left, changed; None for mere bookkeeping."""
    if line.first_run == run_pk:
        return EventType.PO_LINE_CREATED
    if line.presence_run == run_pk and line.presence != Presence.RETIRED:
        was_active = line.previous_presence in ACTIVE
        is_active = line.presence in ACTIVE
        if is_active and not was_active:
            return EventType.PO_LINE_RETURNED
        if was_active and not is_active:
            return EventType.PO_LINE_LEFT
        if was_active and is_active and not told:
            return None  # aged out, or active after having aged: not a thing that happened to it
        return EventType.INGESTION_CHANGE
    if line.presence_run == run_pk or told:
        return EventType.INGESTION_CHANGE
    return None
