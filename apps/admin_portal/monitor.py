"""What the monitor tells of a run: its counters and stages in words, and what happened to lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.audit.models import AuditEvent, EventType
from apps.core.templatetags.interface import moment, quantity
from apps.core.words import StrOrPromise
from apps.ingestion.models import IngestionRun
from apps.ingestion.pipeline import STAGES
from apps.po.labels import ERP_LABELS
from apps.po.lifecycle import Status
from apps.po.models import CustomColumn, Presence


@dataclass(frozen=True, kw_only=True)
class Counter:
    """A number of the report, with the words for it; `short` is for the head of a table."""

    field: str
    short: StrOrPromise
    label: StrOrPromise
    meaning: StrOrPromise

    def of(self, run: IngestionRun) -> int:
        number: int = getattr(run, self.field)
        return number


LISTED = (
    Counter(
        field="po_lines_processed",
        short=gettext_lazy("Lines"),
        label=gettext_lazy("Lines processed"),
        meaning=gettext_lazy("Active lines of the ERP that were read and accepted."),
    ),
    Counter(
        field="new_lines_created",
        short=gettext_lazy("New"),
        label=gettext_lazy("New lines"),
        meaning=gettext_lazy("Lines seen for the first time."),
    ),
    Counter(
        field="lines_changed",
        short=gettext_lazy("Changed"),
        label=gettext_lazy("Lines changed"),
        meaning=gettext_lazy("Known lines of which at least one thing changed."),
    ),
    Counter(
        field="change_events_detected",
        short=gettext_lazy("Fields"),
        label=gettext_lazy("Changed fields"),
        meaning=gettext_lazy("Single fields that changed; one line can have several."),
    ),
    Counter(
        field="lines_left",
        short=gettext_lazy("Left"),
        label=gettext_lazy("Lines left"),
        meaning=gettext_lazy("Lines that were active and are closed, cancelled or gone now."),
    ),
    Counter(
        field="lines_returned",
        short=gettext_lazy("Returned"),
        label=gettext_lazy("Lines returned"),
        meaning=gettext_lazy("Lines that had left and are active again."),
    ),
    Counter(
        field="batches_reconstructed",
        short=gettext_lazy("Batches"),
        label=gettext_lazy("Batches"),
        meaning=gettext_lazy("Deliveries found in the ERP, corrections included."),
    ),
    Counter(
        field="xref_gaps_found",
        short=gettext_lazy("Gaps"),
        label=gettext_lazy("Gaps"),
        meaning=gettext_lazy("Item codes of a supplier that no cross-reference maps."),
    ),
    Counter(
        field="rejected_rows",
        short=gettext_lazy("Rejected"),
        label=gettext_lazy("Rejected rows"),
        meaning=gettext_lazy("ERP rows that could not be used; their lines keep their state."),
    ),
)
COUNTERS = (
    Counter(
        field="rows_read",
        short=gettext_lazy("Rows read"),
        label=gettext_lazy("Rows read"),
        meaning=gettext_lazy("Rows of active lines that the ERP showed, whatever became of them."),
    ),
    *LISTED,
    Counter(
        field="custom_columns_populated",
        short=gettext_lazy("Custom values"),
        label=gettext_lazy("Custom values"),
        meaning=gettext_lazy("Values of custom columns that came from the ERP and differ."),
    ),
    Counter(
        field="erp_attempts",
        short=gettext_lazy("ERP attempts"),
        label=gettext_lazy("ERP attempts"),
        meaning=gettext_lazy("How often the ERP was asked; more than 1 after a passing fault."),
    ),
)


_BEFORE_APPLYING = ("rows_read", "erp_attempts")


def counters_of(run: IngestionRun) -> list[tuple[Counter, int]]:
    """The counters that say something about this run: of one that was not applied, those of its
    reading. The others stand at 0 there, whatever it had found by then."""
    return [
        (counter, counter.of(run))
        for counter in COUNTERS
        if run.is_applied or counter.field in _BEFORE_APPLYING
    ]


# --- stages -------------------------------------------------------------------------------------

_STAGES: Mapping[str, StrOrPromise] = {
    "start": gettext_lazy("Starting"),
    "snapshot": gettext_lazy("Reading the ERP"),
    "apply": gettext_lazy("Applying the night"),
    "xref": gettext_lazy("Cross-reference"),
    "diff": gettext_lazy("Comparing"),
    "batches": gettext_lazy("Batches"),
    "custom_columns": gettext_lazy("Custom columns"),
    "report": gettext_lazy("Events and report"),
}


def stage_in_words(stage: str) -> StrOrPromise:
    """What a stage does; a name that is none of ours is shown as it is."""
    return _STAGES.get(stage or "start", stage)


@dataclass(frozen=True, kw_only=True)
class StageTime:
    """A stage and its share of the time that all stages took, as a length in a picture."""

    name: str
    seconds: float
    start: str
    width: str


def _position(stage: str) -> int:
    """A stage that this version does not know comes last."""
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def stage_times(run: IngestionRun) -> list[StageTime]:
    """The stages one after the other, each beginning where the one before ended."""
    whole = sum(run.stage_seconds.values()) or 1.0
    found = []
    passed = 0.0
    # In our own order: PostgreSQL keeps the keys of an object in an order of its own.
    for name in sorted(run.stage_seconds, key=_position):
        seconds = run.stage_seconds[name]
        found.append(
            StageTime(
                name=name,
                seconds=seconds,
                start=f"{100 * passed / whole:.2f}%",
                width=f"{100 * seconds / whole:.2f}%",
            )
        )
        passed += seconds
    return found


# --- lines --------------------------------------------------------------------------------------

# Each line that a run touched has exactly one of these (rules.md "Events and counters").
LINE_EVENTS: Mapping[str, StrOrPromise] = {
    EventType.INGESTION_CHANGE.value: gettext_lazy("Changed"),
    EventType.PO_LINE_CREATED.value: gettext_lazy("New"),
    EventType.PO_LINE_LEFT.value: gettext_lazy("Left"),
    EventType.PO_LINE_RETURNED.value: gettext_lazy("Returned"),
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing about a line that is different now; None is "no value"."""

    what: StrOrPromise
    previous: str | None
    new: str | None


@dataclass(frozen=True, kw_only=True)
class LineChange:
    """What a run did to one line."""

    event: AuditEvent
    kind: StrOrPromise
    changes: list[Change]


def custom_labels() -> dict[str, str]:
    """What the administrator calls the custom slots that are in use; one query."""
    return dict(CustomColumn.objects.values_list("slot", "label"))


def line_changes(
    events: Iterable[AuditEvent], *, custom_labels: Mapping[str, str]
) -> list[LineChange]:
    """The line events of a run, told field by field; `custom_labels` name the custom slots."""
    names = {**ERP_LABELS, **custom_labels}
    return [
        LineChange(
            event=event, kind=LINE_EVENTS[event.event_type], changes=_changes(event.data, names)
        )
        for event in events
    ]


def _changes(data: dict[str, Any], names: Mapping[str, StrOrPromise]) -> list[Change]:
    found = [
        Change(
            what=names.get(told["field"], told["field"]),
            previous=_shown(told["field"], told["previous"]),
            new=_shown(told["field"], told["new"]),
        )
        for told in data.get("changes", [])
    ]
    if move := data.get("status"):
        found.append(
            Change(
                what=_("Status"),
                previous=str(Status(move["previous"]).label),
                new=str(Status(move["new"]).label),
            )
        )
    if presence := data.get("presence"):
        found.append(Change(what=_("In the ERP"), previous=None, new=Presence(presence).label))
    found += [
        Change(what=_("Batch"), previous=None, new=_batch(batch))
        for batch in data.get("batches", [])
    ]
    found += [
        Change(
            what=_("Date of receipt %(id)s") % {"id": note["receipt"]},
            previous=note["previous"],
            new=note["new"],
        )
        for note in data.get("receipt_dates", [])
    ]
    return found


def _batch(told: dict[str, Any]) -> str:
    """Its quantity, and its date where it has one."""
    shown = quantity(Decimal(told["quantity"]))
    return f"{shown} ({told['delivered_on']})" if told["delivered_on"] else shown


def _shown(field: str, value: str | None) -> str | None:
    """Quantities and moments as people write them; everything else, texts that look like numbers
    included, as it is stored."""
    if not value:
        return value
    if field.endswith("_quantity") or field.startswith("custom_decimal_"):
        return quantity(Decimal(value))
    return moment(datetime.fromisoformat(value)) if field == "erp_updated_at" else value
