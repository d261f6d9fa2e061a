"""Stage 2: tonight's item codes and the cross-reference: gaps, and SKU and item derived anew.

Lines whose ERP values differ tonight are left to the diff, which derives them with the same rule,
so that a line gets one `xref_applied` at most.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, NullIf

from apps.audit import services as audit
from apps.audit.models import EventType
from apps.core.bulk import chunks, insert_rows, update_rows
from apps.ingestion import suppliers
from apps.ingestion.context import RunContext, StageResult
from apps.ingestion.erp.fields import digest
from apps.ingestion.errors import Notice
from apps.ingestion.models import ERPSnapshot, XrefEntry, XrefGap
from apps.po.models import POLine, Supplier

STAGE = "xref"
_LINES_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Derived:
    """What the cross-reference makes of a line's item code."""

    sku: str
    item: str
    unmapped: bool


class Xref:
    """The cross-reference as it stands: by supplier and code, then by code for any supplier."""

    def __init__(self, entries: Iterable[tuple[str | None, str, str, str]]) -> None:
        """Entries are (supplier code or None for any, ERP item code, SKU, item)."""
        self._entries = {(supplier, code): (sku, item) for supplier, code, sku, item in entries}

    @classmethod
    def load(cls) -> Xref:
        return cls(XrefEntry.objects.values_list("supplier__code", "erp_item_code", "sku", "item"))

    @property
    def digest(self) -> str:
        """Tells whether the cross-reference changed between two runs."""
        entries = [(s or "", c, *to) for (s, c), to in self._entries.items()]
        return digest(sorted(entries))

    def is_mapped(self, supplier_code: str, erp_item_code: str) -> bool:
        return (supplier_code, erp_item_code) in self._entries or (
            None,
            erp_item_code,
        ) in self._entries

    def derive(
        self, supplier_code: str, erp_item_code: str, erp_sku: str, erp_item: str
    ) -> Derived:
        """The cross-reference, else what the ERP says, else empty (rules.md "Derived fields")."""
        entry = self._entries.get((supplier_code, erp_item_code)) or self._entries.get(
            (None, erp_item_code)
        )
        if entry is None:
            return Derived(erp_sku, erp_item, unmapped=True)
        return Derived(entry[0] or erp_sku, entry[1] or erp_item, unmapped=False)


def run(context: RunContext) -> StageResult:
    """Settles suppliers and gaps, and refreshes what a changed cross-reference changes."""
    suppliers.apply(context)
    xref = context.xref = Xref.load()
    context.run.xref_digest = xref.digest
    gaps = _settle_gaps(context, xref)
    previous = context.previous_run
    if previous is not None and previous.xref_digest != context.run.xref_digest:
        _refresh(context, xref)
    context.run.unmapped_item_codes = [
        {"supplier": supplier, "item_code": code, "lines": lines} for supplier, code, lines in gaps
    ]
    result = StageResult(counts={"xref_gaps_found": len(gaps)})
    unassigned = sum(code == "" for _, code, _ in gaps)
    if unassigned:
        result.notices.append(
            Notice(
                STAGE,
                f"Lines of {unassigned} supplier(s) have no item code in the ERP.",
                "Let the ERP's users fill it in; no cross-reference can map an empty code.",
            )
        )
    return result


def applied_event(line_id: int, supplier_id: int, old: Derived, new: Derived) -> audit.Event:
    """The event of a line whose derived fields changed."""
    return audit.Event(
        event_type=EventType.XREF_APPLIED,
        po_line_id=line_id,
        supplier_id=supplier_id,
        data={
            "previous": {"sku": old.sku, "item": old.item, "unmapped": old.unmapped},
            "new": {"sku": new.sku, "item": new.item, "unmapped": new.unmapped},
        },
    )


def _settle_gaps(context: RunContext, xref: Xref) -> list[tuple[str, str, int]]:
    """Keeps the table of gaps; returns tonight's as (supplier, code, lines)."""
    now = context.run.effective_at
    gaps = sorted(
        (supplier, code, lines)
        for (supplier, code), lines in (+context.extract.item_codes).items()
        if not xref.is_mapped(supplier, code)
    )
    supplier_ids = dict(Supplier.objects.values_list("code", "pk"))
    stored = XrefGap.objects.values_list(
        "pk", "supplier_id", "erp_item_code", "last_seen", "line_count", "resolved_at"
    )
    known = {
        (supplier_id, code): (pk, last_seen, line_count, resolved_at)
        for pk, supplier_id, code, last_seen, line_count, resolved_at in stored
    }
    new: list[tuple[Any, ...]] = []
    changed: list[tuple[Any, ...]] = []
    opened: list[tuple[str, str, int]] = []
    seen = set()
    for supplier_code, code, lines in gaps:
        key = supplier_ids[supplier_code], code
        seen.add(key)
        if key not in known:
            new.append((*key, now, now, lines, None))
        else:
            changed.append((now, lines, None, known[key][0]))
        if key not in known or known[key][3] is not None:
            opened.append((supplier_code, code, lines))
    codes = {pk: code for code, pk in supplier_ids.items()}
    for key, (pk, last_seen, line_count, resolved_at) in known.items():
        if key in seen or resolved_at is not None:
            continue
        mapped = xref.is_mapped(codes[key[0]], key[1])
        if mapped or line_count:
            changed.append((last_seen, 0, now if mapped else None, pk))
    insert_rows(
        XrefGap,
        ("supplier_id", "erp_item_code", "first_seen", "last_seen", "line_count", "resolved_at"),
        new,
    )
    update_rows(XrefGap, ("last_seen", "line_count", "resolved_at"), changed)
    for some in chunks(opened, _LINES_AT_ONCE):
        audit.record(
            (
                audit.Event(
                    event_type=EventType.XREF_GAP,
                    supplier_id=supplier_ids[supplier_code],
                    data={"supplier": supplier_code, "item_code": code, "lines": lines},
                )
                for supplier_code, code, lines in some
            ),
            actor=context.actor,
            correlation_id=context.run.identifier,
            effective_at=now,
        )
    return gaps


def _refresh(context: RunContext, xref: Xref) -> None:
    """Derives anew every line whose stored result differs, whatever its presence."""
    differing = list(_stale_lines(context).values_list("pk", flat=True))
    for some in chunks(differing, _LINES_AT_ONCE):
        updates, events = [], []
        lines = POLine.objects.filter(pk__in=some).values_list(
            "pk",
            "supplier_id",
            "supplier__code",
            "erp_item_code",
            "erp_sku",
            "erp_item",
            "sku",
            "item",
            "unmapped",
        )
        for pk, supplier_id, supplier, code, erp_sku, erp_item, sku, item, unmapped in lines:
            new = xref.derive(supplier, code, erp_sku, erp_item)
            updates.append((new.sku, new.item, new.unmapped, pk))
            events.append(applied_event(pk, supplier_id, Derived(sku, item, unmapped), new))
        update_rows(POLine, ("sku", "item", "unmapped"), updates)
        audit.record(
            events,
            actor=context.actor,
            correlation_id=context.run.identifier,
            effective_at=context.run.effective_at,
        )
        context.stop.check()


def _stale_lines(context: RunContext) -> QuerySet[POLine]:
    """The same rule as `Xref.derive`, asked of the database so that only the few are fetched."""
    entries = XrefEntry.objects.filter(erp_item_code=OuterRef("erp_item_code"))
    own = entries.filter(supplier=OuterRef("supplier"))
    general = entries.filter(supplier=None)
    empty = Value("")
    tonight_differs = ERPSnapshot.objects.filter(
        run=context.run, po_number=OuterRef("po_number"), line_number=OuterRef("line_number")
    ).exclude(row_hash=OuterRef("row_hash"))
    return (
        POLine.objects.current()
        .filter(~Exists(tonight_differs))
        .alias(
            mapped_sku=Coalesce(
                Subquery(own.values("sku")[:1]), Subquery(general.values("sku")[:1])
            ),
            mapped_item=Coalesce(
                Subquery(own.values("item")[:1]), Subquery(general.values("item")[:1])
            ),
            right_sku=Coalesce(NullIf("mapped_sku", empty), F("erp_sku")),
            right_item=Coalesce(NullIf("mapped_item", empty), F("erp_item")),
        )
        .filter(
            ~Q(sku=F("right_sku"))
            | ~Q(item=F("right_item"))
            | Q(mapped_sku__isnull=True, unmapped=False)
            | Q(mapped_sku__isnull=False, unmapped=True)
        )
        .order_by("pk")
    )
