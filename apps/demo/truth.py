"""What is true of the simulated ERP, told from its books and not from the file it writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from apps.demo.books import Books
from apps.demo.ledger import (
    CANCELLED_CODE,
    KEYLESS,
    REJECTED_ROWS,
    Event,
    Fault,
    Key,
    Line,
    Receipt,
    Value,
)
from apps.demo.opening import LOOKBACK_DAYS

ZONE = ZoneInfo("Asia/Shanghai")
_THOUSANDTH = Decimal("0.001")


class Rejected(NamedTuple):
    """A row that cannot be used. What of the key cannot be read is empty. Inactive rows are met
    only by who looks them up by key."""

    po_number: str
    line_number: str
    fault: Fault
    active: bool


@dataclass(frozen=True, kw_only=True)
class LineTruth:
    """One line as it is.

    `presence` is as the application names it: present, aged_out, closed, cancelled or absent.
    `values` has the mapping's field names, in the form in which they are to be stored: keys
    stripped, dates as dates, times in UTC, quantities with three decimals, no text as "".
    `custom` has the columns meant for custom slots; of an unreadable one, the value before.
    `sku`, `item` and `unmapped` follow the cross-reference of `World.xref_entries`.
    """

    key: Key
    generation: int
    presence: str
    fault: Fault | None
    values: dict[str, Value]
    custom: dict[str, Value]
    sku: str
    item: str
    unmapped: bool
    receipts: tuple[Receipt, ...]
    unexplained: Decimal  # delivered quantity without a receipt; with the receipts it makes all

    @property
    def accepted(self) -> bool:
        """Whether an extract of the active lines yields the line."""
        return self.presence == "present" and not (self.fault and REJECTED_ROWS[self.fault])


class Truth:
    """What is so at this moment."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def lines(self) -> Iterator[LineTruth]:
        """Every line, closed and vanished ones included; of a key used again, the order it has."""
        return map(self._tell, self._books.lines.values())

    def line(self, key: Key) -> LineTruth:
        """The line that has the key now. Raises KeyError if none ever had it."""
        return self._tell(self._books.lines[key])

    def former(self) -> list[LineTruth]:
        """The orders whose key another one has now, as they were in the end."""
        return [self._tell(line) for line in self._books.former]

    def accepted(self) -> dict[Key, LineTruth]:
        """What an extract of the active lines must yield tonight."""
        return {line.key: line for line in self.lines() if line.accepted}

    def rejected(self) -> list[Rejected]:
        """The rows that must be rejected, one entry per row."""
        found = []
        for line in self._books.lines.values():
            if line.fault and line.in_table:
                po_number = "" if line.fault == Fault.BLANK_ORDER else line.po_number
                number = "" if line.fault == Fault.BLANK_LINE else str(line.number)
                row = Rejected(po_number, number, line.fault, not line.is_final)
                found += [row] * REJECTED_ROWS[line.fault]
        return found

    def faulty(self, fault: Fault) -> list[Key]:
        """The lines with that fault, for instance those that stand twice but count once."""
        return [line.key for line in self._books.lines.values() if line.fault == fault]

    def unmapped(self) -> set[tuple[str, str]]:
        """Supplier and item code of the accepted lines that no cross-reference entry explains."""
        return {
            (str(line.values["supplier_code"]), str(line.values["item_code"]))
            for line in self.lines()
            if line.accepted and line.unmapped
        }

    def supplier_names(self) -> dict[str, str]:
        """The name of every supplier that has an accepted line."""
        return {
            str(line.values["supplier_code"]): str(line.values["supplier_name"])
            for line in self.accepted().values()
        }

    def events(self, key: Key) -> list[tuple[date, Event]]:
        """What happened to the lines that had the key, and when."""
        return [
            (night.date, event)
            for night in self._books.nights
            for event in night.events
            if event.key == key
        ]

    def _tell(self, line: Line) -> LineTruth:
        xref = self._books.market.lookup(line.supplier_code, line.item_code)
        minute = time(*divmod(line.updated_at, 60))
        updated_at = datetime.combine(line.updated_on, minute, ZONE)
        return LineTruth(
            key=line.key,
            generation=line.generation,
            presence=self._presence(line),
            fault=line.fault,
            values={
                "po_number": line.po_number,
                "line_number": str(line.number),
                "supplier_code": line.supplier_code,
                "item_code": line.item_code,
                "ordered_quantity": line.ordered.quantize(_THOUSANDTH),
                "delivered_quantity": line.delivered.quantize(_THOUSANDTH),
                "status": line.code,
                "promised_date": line.promised_on,
                "in_date": line.in_date,
                "item": line.family,
                "po_insert_date": line.inserted_on,
                "final_customer": line.customer,
                "supplier_name": line.supplier_name,
                "sku": line.own_sku,
                "updated_at": updated_at.astimezone(UTC),
            },
            custom={
                "custom_date": line.custom_date,
                "custom_text": line.custom_text,
                "custom_decimal": line.custom_decimal and line.custom_decimal.quantize(_THOUSANDTH),
            },
            sku=xref.sku if xref else line.own_sku,
            item=xref.item if xref else line.family,
            unmapped=xref is None,
            receipts=line.receipts,
            unexplained=line.unexplained,
        )

    def _presence(self, line: Line) -> str:
        if not line.in_table or line.fault in KEYLESS:
            return "absent"
        if line.is_final:
            return "cancelled" if line.code == CANCELLED_CODE else "closed"
        old = line.inserted_on < self._books.today - timedelta(days=LOOKBACK_DAYS)
        return "aged_out" if old and not line.outstanding else "present"
