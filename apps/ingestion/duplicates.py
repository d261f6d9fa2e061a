"""Rows of one key that stand in the ERP more than once (rules.md "Broken rows")."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from django.db import transaction
from django.db.models import Count, Exists

from apps.core.bulk import chunks
from apps.ingestion.context import RunContext
from apps.ingestion.erp.rows import Rejection
from apps.ingestion.models import ERPSnapshot, ReceiptSnapshot, RejectedRow
from apps.ingestion.snapshot_rows import PRESENT, insert_rejections, snapshot_of_line

_KEYS_AT_ONCE = 400


def settle_lines(context: RunContext, *, extracted: bool) -> None:
    """Rows of one key that are identical count once; if they differ, all of them are rejected.

    A row that could not be read differs from every other of its key. Settles the rows written
    since it was called last: the extract, then (`extracted` false) what was looked up.
    """
    rows = ERPSnapshot.objects.filter(run=context.run)
    if not extracted:
        rows = rows.filter(pk__gt=context.extract.last_settled)
    repeated = list(
        rows.order_by()
        .values_list("po_number", "line_number")
        .annotate(n=Count("pk"))
        .filter(n__gt=1)
    )
    with_unreadable = set(
        RejectedRow.objects.filter(
            Exists(snapshot_of_line(context.run)), run=context.run, relation="lines"
        ).values_list("po_number", "line_number")
    )
    keys = {(po, line) for po, line, _ in repeated} | with_unreadable
    for some in chunks(sorted(keys), _KEYS_AT_ONCE):
        found = [
            row
            for row in rows.filter(po_number__in={po for po, _ in some}).order_by(
                "po_number", "line_number", "pk"
            )
            if (row.po_number, row.line_number) in keys
        ]
        surplus: list[int] = []
        rejections: list[Rejection] = []
        for key, group in groupby(found, key=lambda row: (row.po_number, row.line_number)):
            same_key = list(group)
            identical = all(
                (row.row_hash, row.custom_hash, row.values)
                == (same_key[0].row_hash, same_key[0].custom_hash, same_key[0].values)
                for row in same_key
            )
            if identical and key not in with_unreadable:
                removed = same_key[1:]
                context.extract.duplicates += len(removed)
            else:
                removed = same_key
                rejections += [
                    Rejection(*key, "several rows have this key and differ", row.parsed())
                    for row in same_key
                ]
            surplus += [row.pk for row in removed]
            for row in removed:
                count_line(context, row.presence, row.parsed(), -1)
                if extracted and row.presence == PRESENT:
                    context.extract.accepted -= 1
        with transaction.atomic():
            for few in chunks(surplus, _KEYS_AT_ONCE):
                rows.filter(pk__in=few).delete()
            insert_rejections(context, rejections, "lines", extracted=extracted)
        context.breathe()
    last = ERPSnapshot.objects.order_by("-pk").values_list("pk", flat=True).first()
    context.extract.last_settled = last or 0


def settle_receipts(context: RunContext) -> None:
    """The same rule for receipts, by their id."""
    rows = ReceiptSnapshot.objects.filter(run=context.run)
    repeated = rows.order_by().values_list("receipt_id").annotate(n=Count("pk")).filter(n__gt=1)
    ids = {receipt_id for receipt_id, _ in repeated}
    for some in chunks(sorted(ids), _KEYS_AT_ONCE):
        found = rows.filter(receipt_id__in=some).order_by("receipt_id", "pk")
        surplus: list[int] = []
        rejections: list[Rejection] = []
        for receipt_id, group in groupby(found, key=lambda row: row.receipt_id):
            same = list(group)
            told = {(r.po_number, r.line_number, r.quantity, r.receipt_date) for r in same}
            if len(told) == 1:
                surplus += [row.pk for row in same[1:]]
                context.extract.duplicates += len(same) - 1
            else:
                surplus += [row.pk for row in same]
                rejections += [
                    Rejection(
                        row.po_number,
                        row.line_number,
                        "several receipts have this id and differ",
                        {"quantity": str(row.quantity), "receipt_date": str(row.receipt_date)},
                        receipt_id,
                    )
                    for row in same
                ]
        with transaction.atomic():
            for few in chunks(surplus, _KEYS_AT_ONCE):
                rows.filter(pk__in=few).delete()
            insert_rejections(context, rejections, "deliveries", extracted=True)


def count_line(context: RunContext, presence: str, values: dict[str, Any], one: int) -> None:
    """Adds a line to what is counted by line, or takes it out again."""
    extract, supplier = context.extract, values["supplier_code"]
    extract.supplier_codes.add(supplier)
    if presence != PRESENT:
        return
    extract.item_codes[supplier, values["erp_item_code"]] += one
    if values["erp_status"] not in context.mapping.status_map:
        extract.unknown_codes[values["erp_status"]] += one
    if "supplier_name" in values:
        extract.supplier_names[supplier, values["supplier_name"]] += one
