"""What the simulated ERP consists of: lines, receipts, faults, and what happens to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

Key = tuple[str, str]  # PO number and line number, as the application knows them
Value = str | Decimal | date | datetime | None

NOTHING = Decimal(0)
LONG_AGO = date.min

# Status codes as the ERP has them; erp_mapping.toml says what they mean.
LADDER = ("10", "15", "20", "25", "30")
UNKNOWN_CODE = "H"
CLOSED_CODES = ("C", "F")
CANCELLED_CODE = "X"
FINAL_CODES = frozenset({*CLOSED_CODES, CANCELLED_CODE})


class Happening(StrEnum):
    """What can happen in a night. The values of the event say which field, from what, to what."""

    CREATED = "created"
    PROMISED = "promised date changed"
    RECEIPT = "receipt"
    UNEXPLAINED = "delivered without a receipt"
    CORRECTION = "delivered quantity corrected downward"
    REDATED = "receipt dated anew"
    QUANTITY = "ordered quantity changed"
    STATUS = "status code changed"
    ITEM = "item code changed"
    CUSTOM = "custom column changed"
    REWRITTEN = "stored another way, same values"
    MOVED = "moved to another supplier"
    RENAMED = "supplier renamed"
    CANCELLED = "cancelled"
    CLOSED = "closed"
    REOPENED = "reopened"
    VANISHED = "vanished"
    RETURNED = "returned"
    REUSED = "key used for another order"
    BROKEN = "row broken"
    DUPLICATED = "row duplicated"
    REPAIRED = "row repaired"


class Fault(StrEnum):
    """What is wrong with a line's row; the values are the names of the rates in Habits."""

    TEXT_QUANTITY = "text_quantity"
    MISSING_QUANTITY = "missing_quantity"
    BROKEN_DATE = "broken_date"
    BLANK_ORDER = "blank_order"
    BLANK_LINE = "blank_line"
    DUPLICATE = "duplicate"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"
    UNREADABLE_CUSTOM = "unreadable_custom"


# The field that is at fault, as the events name it.
FAULTY_FIELD = {
    Fault.TEXT_QUANTITY: "ordered_quantity",
    Fault.MISSING_QUANTITY: "delivered_quantity",
    Fault.BROKEN_DATE: "promised_date",
    Fault.BLANK_ORDER: "po_number",
    Fault.BLANK_LINE: "line_number",
    Fault.DUPLICATE: "",
    Fault.CONFLICTING_DUPLICATE: "ordered_quantity",
    Fault.UNREADABLE_CUSTOM: "custom_decimal",
}
KEYLESS = frozenset({Fault.BLANK_ORDER, Fault.BLANK_LINE})
TWINS = frozenset({Fault.DUPLICATE, Fault.CONFLICTING_DUPLICATE})

# How many rows of the line are to be rejected.
REJECTED_ROWS = {
    Fault.TEXT_QUANTITY: 1,
    Fault.MISSING_QUANTITY: 1,
    Fault.BROKEN_DATE: 1,
    Fault.BLANK_ORDER: 1,
    Fault.BLANK_LINE: 1,
    Fault.DUPLICATE: 0,
    Fault.CONFLICTING_DUPLICATE: 2,
    Fault.UNREADABLE_CUSTOM: 0,
}


class Receipt(NamedTuple):
    """Goods received: the quantity in the line's unit, dated as the ERP has it."""

    receipt_id: str
    received_on: date
    quantity: Decimal


class Event(NamedTuple):
    """One thing that happened. A renaming has a supplier and no line."""

    kind: Happening
    supplier_code: str
    key: Key | None = None
    generation: int = 0
    field: str = ""
    old: Value = None
    new: Value = None
    receipt: Receipt | None = None


class Night(NamedTuple):
    """What happened up to one date since the date before, in order."""

    date: date
    events: tuple[Event, ...]

    def of(self, *kinds: Happening) -> list[Event]:
        return [event for event in self.events if event.kind in kinds]


@dataclass(slots=True, kw_only=True, eq=False)
class Line:
    """One order line, as the ERP's people mean it; sqlite_erp.py says how it is stored."""

    po_number: str
    number: int
    generation: int
    supplier_code: str
    supplier_name: str
    item_code: str
    family: str
    own_sku: str  # what the ERP itself knows as SKU: mostly nothing
    customer: str
    step: Decimal  # smallest quantity: 1 for pieces, 0.001 for kilograms
    ordered: Decimal
    code: str
    inserted_on: date
    promised_on: date | None
    updated_on: date
    updated_at: int = 0  # minute of that day
    forgotten: bool = False  # nobody will ever close it
    in_date: date | None = None
    receipts: tuple[Receipt, ...] = ()
    unexplained: Decimal = NOTHING  # delivered quantity that no receipt explains; may be negative
    custom_date: date | None = None
    custom_text: str = ""
    custom_decimal: Decimal | None = None

    row_id: int = 0  # 0: the line has no row
    twin_row_id: int = 0  # of the duplicate
    fault: Fault | None = None
    closed_on: date = LONG_AGO
    # Since when it is what it is for anybody who looks: present or not, whole or faulty.
    settled_since: date = LONG_AGO
    clock: int = 0  # minute of the day that is written behind its dates
    style: int = 0  # how nothing is written: NULL, empty or blanks
    revision: int = 0  # of the books when the row was last written

    @property
    def key(self) -> Key:
        return self.po_number, str(self.number)

    @property
    def delivered(self) -> Decimal:
        return sum((receipt.quantity for receipt in self.receipts), self.unexplained)

    @property
    def outstanding(self) -> Decimal:
        return max(self.ordered - self.delivered, NOTHING)

    @property
    def is_final(self) -> bool:
        return self.code in FINAL_CODES

    @property
    def in_table(self) -> bool:
        return self.row_id != 0
