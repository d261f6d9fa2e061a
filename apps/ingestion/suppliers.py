"""Suppliers as the ERP tells them: new ones, and new names (rules.md "Comparing")."""

from __future__ import annotations

from collections import defaultdict

from apps.audit import services as audit
from apps.audit.models import EventType
from apps.ingestion.context import RunContext
from apps.ingestion.erp.fields import SUPPLIER_NAME
from apps.po.models import Supplier


def apply(context: RunContext) -> None:
    """Creates tonight's new suppliers and renames those whose name differs, one event each."""
    names = _names(context)
    known = {supplier.code: supplier for supplier in Supplier.objects.all()}
    codes = context.extract.supplier_codes | {code for code, _ in +context.extract.item_codes}
    Supplier.objects.bulk_create(
        Supplier(code=code, name=names.get(code, "")) for code in sorted(codes - known.keys())
    )
    events = []
    for code, name in sorted(names.items()):
        supplier = known.get(code)
        if supplier is None or supplier.name == name:
            continue
        Supplier.objects.filter(pk=supplier.pk).update(name=name)
        # A first name, or names that are read from another column now, are no renaming.
        if supplier.name and not _read_anew(context):
            events.append(
                audit.Event(
                    event_type=EventType.SUPPLIER_RENAMED,
                    supplier_id=supplier.pk,
                    data={"previous": supplier.name, "new": name},
                )
            )
    audit.record(
        events,
        actor=context.actor,
        correlation_id=context.run.identifier,
        effective_at=context.run.effective_at,
    )


def _read_anew(context: RunContext) -> bool:
    """Whether the last applied run read the names from elsewhere, or not at all."""
    previous = context.previous_run
    before = previous.field_set.fields if previous and previous.field_set else {}
    return before.get(SUPPLIER_NAME) != context.rows.field_set.get(SUPPLIER_NAME)


def _names(context: RunContext) -> dict[str, str]:
    """One name per code: of several the more frequent, then the alphabetically first."""
    counted: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for (code, name), count in (+context.extract.supplier_names).items():
        if name:
            counted[code].append((-count, name))
    return {code: min(candidates)[1] for code, candidates in counted.items()}
