"""Stage 5: the ERP's values of the custom columns; a person's value stays whatever the ERP says."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from django.db.models import Exists, OuterRef, Subquery

from apps.audit import services as audit
from apps.audit.models import ERPChangeEvent
from apps.core.bulk import chunks, update_rows
from apps.ingestion.context import RunContext, StageResult
from apps.ingestion.diff_engine import compare, silent_fields, to_event
from apps.ingestion.erp.values import Canonical
from apps.ingestion.models import ERPSnapshot, FieldSet
from apps.po.models import CustomColumn, POLine

STAGE = "custom_columns"
_LINES_AT_ONCE = 1_000
_KEYS_AT_ONCE = 500

BY_ERP = "erp"
BY_USER = "user"


def erp_fed_slots() -> dict[str, str]:
    """Slot -> ERP column, for the active slots that the ERP feeds."""
    return dict(
        CustomColumn.objects.filter(source=CustomColumn.Source.ERP, active=True)
        .order_by("slot")
        .values_list("slot", "erp_column")
    )


def run(context: RunContext) -> StageResult:
    """Writes what differs; the caller gives it a savepoint of its own."""
    if not context.rows.custom_field_set:
        _forget_slots(context)
        return StageResult(counts={"custom_columns_populated": 0})
    stage = _CustomColumns(context)
    for some in chunks(stage.differing(), _LINES_AT_ONCE):
        stage.apply(dict(some))
        context.stop.check()
    return StageResult(
        counts={
            "custom_columns_populated": stage.populated,
            "change_events_detected": stage.changes,
        }
    )


def _forget_slots(context: RunContext) -> None:
    """No slot is fed any more: one that is fed again later is read for the first time."""
    previous = context.previous_run
    if previous and previous.custom_field_set and previous.custom_field_set.fields:
        digest = context.rows.custom_field_set_digest
        POLine.objects.exclude(custom_field_set=digest).update(
            custom_field_set=digest, custom_hash=""
        )


class _CustomColumns:
    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.slots = list(context.rows.custom_field_set)
        self.populated = 0
        self.changes = 0
        self._silent: dict[str, frozenset[str]] = {}

    def differing(self) -> list[tuple[int, int]]:
        """The snapshot rows whose line has other custom values, with that line."""
        current = POLine.objects.current().filter(
            po_number=OuterRef("po_number"), line_number=OuterRef("line_number")
        )
        same = current.filter(custom_hash=OuterRef("custom_hash"))
        rows = ERPSnapshot.objects.filter(~Exists(same), run=self.context.run)
        rows = rows.annotate(line=Subquery(current.values("pk")[:1]))
        return list(rows.order_by("pk").values_list("pk", "line"))

    def apply(self, line_of: dict[int, int]) -> None:
        """Works one chunk, given as snapshot row -> line."""
        lines: dict[int, dict[str, Any]] = {}
        for pks in chunks(sorted(line_of.values()), _KEYS_AT_ONCE):
            known = POLine.objects.select_for_update().filter(pk__in=pks).order_by("pk")
            for row in known.values(
                "pk", "supplier_id", "custom_sources", "custom_erp_values", "custom_field_set"
            ):
                lines[row["pk"]] = {**row}
        supplier_then = self._suppliers_before(list(lines))
        # Grouped by what is written, because a person's columns are not even rewritten.
        updates: dict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
        changes: list[audit.Change] = []
        for snapshot in ERPSnapshot.objects.filter(pk__in=list(line_of)).order_by("pk"):
            line = lines[line_of[snapshot.pk]]
            values = snapshot.parsed()
            told: dict[str, Canonical] = {
                slot: values[slot] for slot in self.slots if slot in values
            }
            silent = self._silent_slots(line["custom_field_set"])
            changed = compare(line["custom_erp_values"], told, silent)
            supplier_id = supplier_then.get(line["pk"], line["supplier_id"])
            changes += [to_event(change, line["pk"], supplier_id) for change in changed]
            # An unreadable value that is read from elsewhere now: the old one is no predecessor.
            erp_values = {
                slot: value
                for slot, value in line["custom_erp_values"].items()
                if slot not in silent
            } | told
            sources = dict(line["custom_sources"])
            written = tuple(slot for slot in told if sources.get(slot) != BY_USER)
            for slot in written:
                if told[slot]:
                    sources[slot] = BY_ERP
                else:
                    sources.pop(slot, None)
                before = line["custom_erp_values"].get(slot)
                self.populated += (told[slot] or "") != (before or "")
            updates[written].append(
                (
                    *(told[slot] for slot in written),
                    json.dumps(sources),
                    json.dumps(erp_values, ensure_ascii=False),
                    snapshot.custom_hash,
                    self.context.rows.custom_field_set_digest,
                    self.context.run.pk,
                    line["pk"],
                )
            )
        marks = (
            "custom_sources",
            "custom_erp_values",
            "custom_hash",
            "custom_field_set",
            "last_run",
        )
        for slots, rows in updates.items():
            update_rows(POLine, (*slots, *marks), rows)
        self.changes += audit.record_changes(
            changes, run_id=self.context.run.pk, effective_at=self.context.run.effective_at
        )

    def _suppliers_before(self, pks: list[int]) -> dict[int, int]:
        """Of lines that moved tonight, the supplier they had: the change happened under it."""
        before: dict[int, int] = {}
        for some in chunks(pks, _KEYS_AT_ONCE):
            moved = ERPChangeEvent.objects.filter(
                run=self.context.run, field="supplier_code", po_line__in=some
            )
            before |= dict(moved.values_list("po_line_id", "supplier_id"))
        return before

    def _silent_slots(self, line_field_set: str) -> frozenset[str]:
        if line_field_set not in self._silent:
            known = FieldSet.objects.filter(digest=line_field_set).first()
            self._silent[line_field_set] = silent_fields(
                known.fields if known else {}, self.context.rows.custom_field_set
            )
        return self._silent[line_field_set]
