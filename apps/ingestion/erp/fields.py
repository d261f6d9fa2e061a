"""The fields of a line: how the mapping's names become ours, which kind each is, and field sets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from apps.ingestion.erp import values
from apps.ingestion.erp.mapping import ErpMapping
from apps.ingestion.erp.values import Canonical

# Mapping name -> (field of POLine, kind). Keys and the supplier's name are no ERP-owned fields.
LINE_FIELDS = {
    "supplier_code": ("supplier_code", "key"),
    "item_code": ("erp_item_code", "text"),
    "ordered_quantity": ("ordered_quantity", "quantity"),
    "delivered_quantity": ("delivered_quantity", "quantity"),
    "status": ("erp_status", "text"),
    "promised_date": ("promised_date", "date"),
    "in_date": ("in_date", "date"),
    "item": ("erp_item", "text"),
    "po_insert_date": ("po_insert_date", "date"),
    "final_customer": ("final_customer", "text"),
    "sku": ("erp_sku", "text"),
    "updated_at": ("erp_updated_at", "moment"),
}
KINDS = dict(LINE_FIELDS.values())
# Longest text each field takes; the columns of POLine, RejectedRow and XrefEntry are as wide.
LENGTHS = {
    "po_number": 64,
    "line_number": 32,
    "supplier_code": 64,
    "item_code": 128,
    "status": 64,
    "item": 255,
    "final_customer": 255,
    "sku": 128,
    "supplier_name": 255,
    "receipt_id": 64,
}
STATUS_MAP = "status_map"
RECEIPTS = "deliveries"
SUPPLIER_NAME = "supplier_name"


def converter(name: str, mapping: ErpMapping) -> Callable[[Any], Canonical]:
    """How the raw value of a mapped field becomes canonical."""
    if name in ("po_number", "line_number", "supplier_code", "receipt_id"):
        return values.key(LENGTHS[name])
    kind = LINE_FIELDS[name][1] if name in LINE_FIELDS else ""
    if name == "receipt_date":
        kind = "date"
    if kind == "date":
        return values.date_reader(mapping.dates)
    if kind == "moment":
        return values.moment_reader(mapping.dates)
    if kind == "quantity" or name == "quantity":
        if name == "delivered_quantity" and mapping.empty_delivered_is_zero:
            return lambda raw: values.optional_quantity(raw) or "0.000"
        return values.quantity
    return values.text(LENGTHS[name])


def slot_converter(slot: str, mapping: ErpMapping) -> Callable[[Any], Canonical]:
    """How the raw value of a custom slot becomes canonical."""
    if slot.startswith("custom_date"):
        return values.date_reader(mapping.dates)
    if slot.startswith("custom_decimal"):
        return values.optional_quantity
    return values.text(255)


def line_field_set(mapping: ErpMapping) -> dict[str, Any]:
    """What tonight's lines are read from, field by field, with what decides their meaning.

    A field whose entry differs from the one a line was last read with is filled without change
    events (rules.md "Field set"). The table's name is no part of it: the same columns of another
    view are the same fields.
    """
    fields: dict[str, Any] = {}
    for name, source in mapping.lines.fields.items():
        if name in LINE_FIELDS:
            field, kind = LINE_FIELDS[name]
            fields[field] = _origin(str(source), kind, mapping)
    if SUPPLIER_NAME in mapping.lines.fields:
        fields[SUPPLIER_NAME] = _origin(str(mapping.lines.fields[SUPPLIER_NAME]), "text", mapping)
    fields[STATUS_MAP] = {code: str(status) for code, status in sorted(mapping.status_map.items())}
    if mapping.deliveries is not None:
        fields[RECEIPTS] = {name: str(source) for name, source in mapping.deliveries.fields.items()}
    return fields


def custom_field_set(custom_columns: Mapping[str, str], mapping: ErpMapping) -> dict[str, Any]:
    """The same for the ERP-fed custom slots."""
    return {
        slot: _origin(column, "date" if slot.startswith("custom_date") else "", mapping)
        for slot, column in sorted(custom_columns.items())
    }


def digest(content: Any) -> str:
    """32 hexadecimal digits that tell two JSON values apart."""
    encoded = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def _origin(column: str, kind: str, mapping: ErpMapping) -> dict[str, Any]:
    if kind not in ("date", "moment"):
        return {"column": column}
    return {
        "column": column,
        "time_zone": str(mapping.dates.zone),
        "null_dates": sorted(mapping.dates.null_dates),
        "date_formats": list(mapping.dates.formats),
    }
