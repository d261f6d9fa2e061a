"""Stage 3: this run against each line's own last applied values -> change events, PO lines.

`compare` is the pure heart. Around it: lines whose hash or presence differs are found by the
database, only those are looked into, in chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from django.db.models import Exists, OuterRef, Subquery

from apps.audit import services as audit
from apps.core.bulk import chunks, insert_rows, update_rows
from apps.ingestion.context import RunContext, StageResult
from apps.ingestion.erp.fields import KINDS, RECEIPTS, STATUS_MAP
from apps.ingestion.erp.values import Canonical
from apps.ingestion.errors import Notice
from apps.ingestion.models import ERPSnapshot, FieldSet
from apps.ingestion.xref import Derived, applied_event
from apps.po import lifecycle
from apps.po.lifecycle import Status
from apps.po.models import (
    ACTIVE,
    CUSTOM_SLOTS,
    ERP_OWNED_FIELDS,
    POLine,
    Presence,
    StatusChange,
    Supplier,
)

STAGE = "diff"
_LINES_AT_ONCE = 1_000
_KEYS_AT_ONCE = 500

_NEEDS_HISTORY = lifecycle.FINAL | lifecycle.DELIVERED


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field whose canonical value differs."""

    field: str
    previous: Canonical
    new: Canonical


def compare(
    previous: Mapping[str, Canonical], new: Mapping[str, Canonical], silent: frozenset[str]
) -> list[FieldChange]:
    """The differing fields of one line, in the order of `new`.

    A field that only one side knows is no difference: a removed field keeps its last value, a new
    one is filled. `silent` names the fields that are read differently than before: filled too.
    """
    return [
        FieldChange(name, previous[name], value)
        for name, value in new.items()
        if name in previous and name not in silent and previous[name] != value
    ]


def difference(change: FieldChange) -> Decimal | None:
    """New minus previous: days for dates, units for quantities, None where that means nothing."""
    if change.previous is None or change.new is None:
        return None
    kind = "decimal" if change.field.startswith("custom_decimal") else KINDS.get(change.field)
    if kind in ("quantity", "decimal"):
        return Decimal(change.new) - Decimal(change.previous)
    if kind == "date" or change.field.startswith("custom_date"):
        days = date.fromisoformat(change.new) - date.fromisoformat(change.previous)
        return Decimal(days.days)
    return None


def to_event(change: FieldChange, line_id: int, supplier_id: int) -> audit.Change:
    """The change as the audit app takes it."""
    return audit.Change(
        po_line_id=line_id,
        supplier_id=supplier_id,
        field=change.field,
        previous=change.previous,
        new=change.new,
        difference=difference(change),
    )


def silent_fields(previous: Mapping[str, Any], new: Mapping[str, Any]) -> frozenset[str]:
    """Fields of the new field set that the previous one lacks or read from elsewhere."""
    return frozenset(name for name, origin in new.items() if previous.get(name) != origin)


def run(context: RunContext) -> StageResult:
    """Applies what differs to the lines and writes the change events."""
    stage = _Diff(context)
    for some in chunks(stage.differing(), _LINES_AT_ONCE):
        stage.apply(dict(some))
        context.stop.check()
    stage.mark_absent()
    return StageResult(
        counts={"change_events_detected": stage.changes},
        notices=stage.configuration_changes(),
    )


# What a line's old values are read as; canonical, like the snapshot's.
_STORED = tuple(name for name in ERP_OWNED_FIELDS if name != "supplier_code")
_MARKS = (
    "pk", "generation", "supplier_id", "status", "presence", "field_set", "sku", "item", "unmapped",
)  # fmt: skip
_UPDATED = (*_STORED, "sku", "item", "unmapped", "status", "last_run", "row_hash", "field_set")
# Updated only where they differ, which is rare: an update touches each index that has a column of
# it, and these are in many.
_PRESENCE = ("presence", "previous_presence", "presence_since", "presence_run")
_EMPTY_SLOTS = {slot: "" if slot.startswith("custom_text") else None for slot in CUSTOM_SLOTS}
_INSERTED_DEFAULTS: dict[str, Any] = {
    "batched_quantity": "0",
    "production_ready_date": None,
    "ready_to_dispatch_date": None,
    "source_quality": "",
    "ready_quantity": "0",
    "last_expeditor_update": None,
    **_EMPTY_SLOTS,
    "custom_sources": "{}",
    "custom_erp_values": "{}",
    "custom_hash": "",
    "custom_field_set": "",
}
_INSERTED = (
    "po_number", "line_number", "generation", "first_seen_at", "first_run", "receipts_known",
    *_UPDATED, "supplier_id", *_PRESENCE, *_INSERTED_DEFAULTS,
)  # fmt: skip
# Where a field is not mapped: what its column holds.
_UNMAPPED: dict[str, Canonical] = {
    name: "" if KINDS[name] == "text" else None for name in ERP_OWNED_FIELDS
}


@dataclass
class _Writes:
    """What one chunk of lines leads to."""

    inserted: list[tuple[Any, ...]] = field(default_factory=list)
    updated: list[tuple[Any, ...]] = field(default_factory=list)
    presences: list[tuple[Any, ...]] = field(default_factory=list)
    suppliers: list[tuple[int, int]] = field(default_factory=list)
    retired: list[tuple[str, int]] = field(default_factory=list)
    changes: list[audit.Change] = field(default_factory=list)
    moves: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[audit.Event] = field(default_factory=list)


class _Diff:
    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.run = context.run
        assert context.xref is not None
        self.xref = context.xref
        self.suppliers = dict(Supplier.objects.values_list("code", "pk"))
        self.supplier_codes = {pk: code for code, pk in self.suppliers.items()}
        self.changes = 0
        self._silent: dict[str, frozenset[str]] = {}
        self._field_sets: dict[str, Mapping[str, Any]] = {}
        self._moves: dict[int, list[tuple[Status, Status]]] = {}

    def differing(self) -> list[tuple[int, int | None]]:
        """The snapshot rows whose line is new, or has another hash or presence; with that line."""
        same = POLine.objects.filter(
            po_number=OuterRef("po_number"),
            line_number=OuterRef("line_number"),
            presence=OuterRef("presence"),
            row_hash=OuterRef("row_hash"),
        )
        rows = ERPSnapshot.objects.filter(run=self.run).order_by("pk")
        if self.context.is_baseline:
            return [(pk, None) for pk in rows.values_list("pk", flat=True)]
        current = POLine.objects.current().filter(
            po_number=OuterRef("po_number"), line_number=OuterRef("line_number")
        )
        differing = rows.filter(~Exists(same)).annotate(line=Subquery(current.values("pk")[:1]))
        return list(differing.values_list("pk", "line"))

    def apply(self, line_of: dict[int, int | None]) -> None:
        """Works one chunk, given as snapshot row -> line: decides for each, then writes all."""
        writes = _Writes()
        lines = self._lines([pk for pk in line_of.values() if pk is not None])
        for snapshot in ERPSnapshot.objects.filter(pk__in=list(line_of)).order_by("pk"):
            values = snapshot.parsed()
            line_pk = line_of[snapshot.pk]
            line = None if line_pk is None else lines[line_pk]
            if line is None:
                writes.inserted.append(self._new_line(snapshot, values, generation=1))
            elif self._is_another_order(line, snapshot.presence, values):
                writes.retired.append((line["presence"], line["pk"]))
                writes.inserted.append(self._new_line(snapshot, values, line["generation"] + 1))
            else:
                self._known_line(line, snapshot, values, writes)
        self._write(writes)

    def mark_absent(self) -> None:
        """Lines marked active that neither the extract nor the look-ups showed."""
        run = self.run
        absent = Presence.ABSENT.value
        for some in chunks(self.context.extract.missing, _LINES_AT_ONCE):
            update_rows(
                POLine,
                (*_PRESENCE, "last_run"),
                [(absent, was, run.run_date, run.pk, run.pk, pk) for was, pk in some],
            )

    def configuration_changes(self) -> list[Notice]:
        """What the mapping reads differently than the last applied run, once."""
        previous = self.context.previous_run
        if previous is None:
            return []
        notices = []
        for was, now in (
            (previous.field_set, self.run.field_set),
            (previous.custom_field_set, self.run.custom_field_set),
        ):
            before, after = was.fields if was else {}, now.fields if now else {}
            notices += [
                _configuration_change(name, before, after)
                for name in sorted({*before, *after})
                if before.get(name) != after.get(name)
            ]
        return notices

    # --- deciding ---------------------------------------------------------------------------

    def _lines(self, pks: list[int]) -> dict[int, dict[str, Any]]:
        lines = {}
        for some in chunks(sorted(pks), _KEYS_AT_ONCE):
            # Locked, so that a person's move of the status meanwhile is not overwritten.
            known = POLine.objects.select_for_update().filter(pk__in=some).order_by("pk")
            for line in known.values(*_MARKS, *_STORED):
                line["supplier_code"] = self.supplier_codes[line["supplier_id"]]
                lines[line["pk"]] = line
        # Only a line that is or was delivered or at an end can be moved backward.
        moved = [line["pk"] for line in lines.values() if line["status"] in _NEEDS_HISTORY]
        self._moves = {}
        for ids in chunks(moved, _KEYS_AT_ONCE):
            history = StatusChange.objects.filter(po_line__in=ids).order_by("pk")
            for pk, previous, new in history.values_list(
                "po_line_id", "previous_status", "new_status"
            ):
                self._moves.setdefault(pk, []).append((Status(previous), Status(new)))
        return lines

    def _is_another_order(
        self, line: dict[str, Any], presence_tonight: str, values: dict[str, Any]
    ) -> bool:
        """A key that comes back for another order: another supplier or PO insert date after it was
        closed, cancelled or absent. A date that one side does not know proves nothing."""
        presence = line["presence"]
        if presence in ACTIVE:
            return False
        if presence != Presence.ABSENT and presence_tonight not in ACTIVE:
            return False
        silent = self._silent_fields(line["field_set"])
        other_supplier = (
            "supplier_code" not in silent and line["supplier_code"] != values["supplier_code"]
        )
        inserted = values.get("po_insert_date")
        other_date = (
            "po_insert_date" not in silent
            and None not in (inserted, line["po_insert_date"])
            and line["po_insert_date"].isoformat() != inserted
        )
        return other_supplier or other_date

    def _new_line(
        self, snapshot: ERPSnapshot, values: dict[str, Any], generation: int
    ) -> tuple[Any, ...]:
        run = self.run
        status = lifecycle.first_status(
            mapped=self.context.mapping.meaning(values["erp_status"]),
            ordered=Decimal(values["ordered_quantity"]),
            delivered=Decimal(values["delivered_quantity"]),
        )
        return (
            snapshot.po_number,
            snapshot.line_number,
            generation,
            run.effective_at,
            run.pk,
            RECEIPTS in self.context.rows.field_set,
            *self._erp_values(values, _UNMAPPED),
            *self._derived(values, _UNMAPPED),
            status.value,
            run.pk,
            snapshot.row_hash,
            self.context.rows.field_set_digest,
            self.suppliers[values["supplier_code"]],
            snapshot.presence,
            "",
            run.run_date,
            run.pk,
            *_INSERTED_DEFAULTS.values(),
        )

    def _known_line(
        self,
        line: dict[str, Any],
        snapshot: ERPSnapshot,
        values: dict[str, Any],
        writes: _Writes,
    ) -> None:
        run = self.run
        stored = _canonical(line)
        changes = compare(stored, values, self._silent_fields(line["field_set"]))
        # What happened while the line was another supplier's stays with that supplier.
        supplier_then = line["supplier_id"]
        writes.changes += [to_event(change, line["pk"], supplier_then) for change in changes]

        move = self._move(line, stored, values)
        if move is not None:
            writes.moves.append(
                (
                    line["pk"],
                    supplier_then,
                    line["status"],
                    move.status.value,
                    move.reason,
                    run.effective_at,
                    run.identifier,
                )
            )
        was_derived = Derived(line["sku"], line["item"], line["unmapped"])
        derived = Derived(*self._derived(values, stored))
        if derived != was_derived:
            writes.events.append(applied_event(line["pk"], supplier_then, was_derived, derived))
        writes.updated.append(
            (
                *self._erp_values(values, stored),
                derived.sku,
                derived.item,
                derived.unmapped,
                move.status.value if move else line["status"],
                run.pk,
                snapshot.row_hash,
                self.context.rows.field_set_digest,
                line["pk"],
            )
        )
        if snapshot.presence != line["presence"]:
            writes.presences.append(
                (snapshot.presence, line["presence"], run.run_date, run.pk, line["pk"])
            )
        if (supplier_now := self.suppliers[values["supplier_code"]]) != supplier_then:
            writes.suppliers.append((supplier_now, line["pk"]))

    def _move(
        self, line: dict[str, Any], stored: Mapping[str, Canonical], values: Mapping[str, Any]
    ) -> lifecycle.Move | None:
        """The ERP moves the status only when its code (or what the code means) or its quantities
        changed since the line's last applied values."""
        code = values["erp_status"]
        meaning = self.context.mapping.meaning(code)
        code_before = stored["erp_status"] or ""
        meaning_before = self._meaning_before(line["field_set"], code_before)
        told_anew = code != code_before or meaning != meaning_before
        quantities = ("ordered_quantity", "delivered_quantity")
        if not told_anew and all(values[name] == stored[name] for name in quantities):
            return None
        before_final, before_delivery = self._earlier_statuses(line["pk"])
        ordered, delivered = (Decimal(values[name]) for name in quantities)
        return lifecycle.erp_move(
            Status(line["status"]),
            mapped=meaning,
            previous_mapped=meaning_before,
            code_changed=code != code_before,
            ordered=ordered,
            delivered=delivered,
            previous_ordered=line["ordered_quantity"],
            previous_delivered=line["delivered_quantity"],
            before_final=before_final,
            before_delivery=before_delivery,
        )

    def _earlier_statuses(self, line_id: int) -> tuple[Status, Status]:
        """The last status that was not final, and the one before the first delivery."""
        before_final = before_delivery = Status.PLANNED
        for previous, new in self._moves.get(line_id, ()):
            if new in lifecycle.FINAL and previous not in lifecycle.FINAL:
                before_final = previous
            if new in lifecycle.DELIVERED and previous not in lifecycle.DELIVERED:
                # A first delivery may have come with the closing, and show when that is undone.
                came_from = before_final if previous in lifecycle.FINAL else previous
                if came_from not in lifecycle.DELIVERED:
                    before_delivery = came_from
        return before_final, before_delivery

    def _silent_fields(self, line_field_set: str) -> frozenset[str]:
        if line_field_set not in self._silent:
            self._silent[line_field_set] = silent_fields(
                self._fields(line_field_set), self.context.rows.field_set
            )
        return self._silent[line_field_set]

    def _meaning_before(self, line_field_set: str, code: str) -> Status | None:
        meaning = self._fields(line_field_set).get(STATUS_MAP, {}).get(code)
        return None if meaning is None else Status(meaning)

    def _fields(self, line_field_set: str) -> Mapping[str, Any]:
        """The field set a line was last read with."""
        if line_field_set not in self._field_sets:
            self._field_sets[line_field_set] = FieldSet.objects.get(digest=line_field_set).fields
        return self._field_sets[line_field_set]

    # --- writing ----------------------------------------------------------------------------

    def _erp_values(
        self, values: Mapping[str, Any], otherwise: Mapping[str, Canonical]
    ) -> Iterator[Any]:
        """The values of the columns in _STORED; `otherwise` where a field is not mapped."""
        for name in _STORED:
            value = values[name] if name in values else otherwise[name]
            if value is not None and KINDS[name] == "moment":
                yield datetime.fromisoformat(value)
            else:
                yield value

    def _derived(
        self, values: Mapping[str, Any], otherwise: Mapping[str, Canonical]
    ) -> tuple[str, str, bool]:
        derived = self.xref.derive(
            values["supplier_code"],
            values["erp_item_code"],
            values.get("erp_sku", otherwise["erp_sku"]),
            values.get("erp_item", otherwise["erp_item"]),
        )
        return derived.sku, derived.item, derived.unmapped

    def _write(self, writes: _Writes) -> None:
        run = self.run
        # Retired first: a key has one current line at any moment.
        update_rows(
            POLine,
            (*_PRESENCE, "last_run"),
            [
                (Presence.RETIRED.value, was, run.run_date, run.pk, run.pk, pk)
                for was, pk in writes.retired
            ],
        )
        insert_rows(POLine, _INSERTED, writes.inserted)
        update_rows(POLine, _UPDATED, writes.updated)
        update_rows(POLine, _PRESENCE, writes.presences)
        update_rows(POLine, ("supplier_id",), writes.suppliers)
        self.changes += audit.record_changes(
            writes.changes, run_id=run.pk, effective_at=run.effective_at
        )
        insert_rows(
            StatusChange,
            (
                "po_line_id",
                "supplier_id",
                "previous_status",
                "new_status",
                "reason",
                "effective_at",
                "correlation_id",
            ),
            writes.moves,
        )
        audit.record(
            writes.events,
            actor=self.context.actor,
            correlation_id=run.identifier,
            effective_at=run.effective_at,
        )


def _canonical(line: Mapping[str, Any]) -> dict[str, Canonical]:
    """A stored line's ERP-owned values in the snapshot's form."""
    stored: dict[str, Canonical] = {"supplier_code": line["supplier_code"]}
    for name in _STORED:
        value = line[name]
        if isinstance(value, Decimal):
            stored[name] = f"{value:.3f}"
        elif isinstance(value, datetime):
            stored[name] = value.astimezone(UTC).isoformat(timespec="microseconds")
        elif isinstance(value, date):
            stored[name] = value.isoformat()
        else:
            stored[name] = value
    return stored


def _configuration_change(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Notice:
    if name == STATUS_MAP:
        what = "The mapping of status codes changed; lines with such codes were looked at anew"
    elif name == RECEIPTS and RECEIPTS in after:
        what = "Receipts are read from now on; those of lines known already were taken over"
    elif name not in after:
        what = f"{name} is no longer read and keeps its last values"
    elif name in before:
        what = f"{name} is read differently than before and was filled without change events"
    else:
        what = f"{name} is read for the first time and was filled without change events"
    return Notice(STAGE, f"Configuration change: {what}.", "Nothing to do if this was intended.")
