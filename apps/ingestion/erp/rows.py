"""Raw ERP rows -> canonical rows, or the reason why a row cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from operator import getitem, itemgetter
from typing import Any, NamedTuple

from apps.ingestion.erp.fields import (
    LINE_FIELDS,
    converter,
    custom_field_set,
    digest,
    line_field_set,
    slot_converter,
)
from apps.ingestion.erp.mapping import Column, ErpMapping, Source
from apps.ingestion.erp.reader import ErpReader, RawRow
from apps.ingestion.erp.values import Canonical, Memory, UnreadableError, json_text


class Row(NamedTuple):
    """One line as the ERP tells it, canonical.

    `values` is a JSON object: the ERP-owned fields, the custom slots, the supplier's name.
    """

    po_number: str
    line_number: str
    supplier_code: str
    erp_item_code: str
    erp_status: str
    supplier_name: str | None
    values: str
    row_hash: str
    custom_hash: str
    unreadable_slots: tuple[str, ...] = ()

    def parsed(self) -> dict[str, Canonical]:
        """The values as a dictionary, for the few rows that are looked into."""
        values: dict[str, Canonical] = json.loads(self.values)
        return values


@dataclass(slots=True)
class Rejection:
    """A row that cannot be used, and why. The key is empty where it could not be read."""

    po_number: str
    line_number: str
    reason: str
    raw_values: dict[str, str | None]
    receipt_id: str = ""


class RowReader:
    """Makes canonical rows of the reader's raw ones."""

    def __init__(self, reader: ErpReader) -> None:
        mapping = reader.mapping
        self.field_set = line_field_set(mapping)
        self.custom_field_set = custom_field_set(
            {slot: str(column) for slot, column in reader.custom_columns.items()}, mapping
        )
        self.field_set_digest = digest(self.field_set)
        self.custom_field_set_digest = digest(self.custom_field_set)

        position = {column: i for i, column in enumerate(reader.columns)}
        fields = mapping.lines.fields
        self._po = _Cell(
            "po_number", fields["po_number"], position, converter("po_number", mapping)
        )
        self._line = _Cell(
            "line_number", fields["line_number"], position, converter("line_number", mapping)
        )
        self._cells = [
            _Cell(LINE_FIELDS[name][0], fields[name], position, converter(name, mapping))
            for name in LINE_FIELDS
            if name in fields
        ]
        self._supplier_name = (
            _Cell(
                "supplier_name",
                fields["supplier_name"],
                position,
                converter("supplier_name", mapping),
            )
            if "supplier_name" in fields
            else None
        )
        self._slots = [
            _Cell(slot, Source(column), position, slot_converter(slot, mapping))
            for slot, column in reader.custom_columns.items()
        ]
        names = [cell.field for cell in self._cells]
        # The JSON object is put together from the remembered texts of its values.
        self._template = ",".join(f'"{name}":%s' for name in names)
        # The key, and what the guard and the counters need of every row beside its JSON text.
        needed = [
            self._cells[names.index(name)]
            for name in ("supplier_code", "erp_item_code", "erp_status")
        ]
        named = (self._po, self._line, *needed)
        # One look-up per cell, all in one call of C; for the JSON text where all columns are plain.
        self._pick_named = itemgetter(*(cell.position for cell in named))
        self._named_values = [cell.values for cell in named]
        self._pick = itemgetter(*(cell.position for cell in self._cells))
        self._texts = [cell.texts for cell in self._cells]
        self._plain = all(cell.minus is None for cell in self._cells)
        self._salt = self.field_set_digest.encode()
        self._custom_salt = self.custom_field_set_digest.encode()

    def read(self, raw: RawRow) -> Row | Rejection:
        """The canonical row. A custom value that cannot be read is left out and named instead."""
        try:
            # Any, because a key is read as a text or not at all.
            named: Iterator[Any] = map(getitem, self._named_values, self._pick_named(raw))
            po_number, line_number, supplier, item, status = named
            if self._plain:
                found = tuple(map(getitem, self._texts, self._pick(raw)))
            else:
                found = tuple([cell.text(raw) for cell in self._cells])
            name = self._supplier_name.value(raw) if self._supplier_name else None
        except (UnreadableError, TypeError):
            # A TypeError is a value that cannot be remembered (bytes), or a fault of ours.
            rejection = self._rejection(raw)
            if not rejection.reason:
                raise
            return rejection
        values = self._template % found
        # With the key, so that equal hashes mean the same line on engines that fold case, too.
        told = f"{po_number}\0{line_number}\0{values}".encode()
        row_hash = blake2b(told + self._salt, digest_size=16).hexdigest()
        unreadable: tuple[str, ...] = ()
        custom_hash = ""
        if self._slots:
            custom, unreadable = self._custom_values(raw)
            custom_hash = blake2b(custom.encode() + self._custom_salt, digest_size=16).hexdigest()
            values += custom
        if name is not None:
            values += f',"supplier_name":{json_text(name)}'
        return Row(
            po_number,
            line_number,
            supplier,
            item,
            status,
            name,
            f"{{{values}}}",
            row_hash,
            custom_hash,
            unreadable,
        )

    def _custom_values(self, raw: RawRow) -> tuple[str, tuple[str, ...]]:
        """The readable slots as further members of the JSON object, and the unreadable ones."""
        members, unreadable = [], []
        for cell in self._slots:
            try:
                members.append(f',"{cell.field}":{cell.text(raw)}')
            except (UnreadableError, TypeError):
                unreadable.append(cell.field)
        return "".join(members), tuple(unreadable)

    def _rejection(self, raw: RawRow) -> Rejection:
        """Reads the row once more, slowly, and says everything that is wrong with it."""
        reasons = []
        key = {"po_number": "", "line_number": ""}
        cells = [self._po, self._line, *self._cells]
        if self._supplier_name:
            cells.append(self._supplier_name)
        for cell in cells:
            try:
                value = cell.unremembered(raw)
            except UnreadableError as error:
                reasons.append(f"{cell.field} ({cell.source}): {error}")
            else:
                if cell.field in key:
                    key[cell.field] = value or ""
        return Rejection(
            key["po_number"],
            key["line_number"],
            "; ".join(reasons),
            {str(cell.source): _shown(cell, raw) for cell in [*cells, *self._slots]},
        )


class ReceiptReader:
    """Makes canonical receipts of the reader's raw ones."""

    def __init__(self, mapping: ErpMapping, columns: Sequence[Column]) -> None:
        assert mapping.deliveries is not None
        position = {column: i for i, column in enumerate(columns)}
        self._cells = [
            _Cell(name, source, position, converter(name, mapping))
            for name, source in mapping.deliveries.fields.items()
        ]

    def read(self, raw: RawRow) -> dict[str, Canonical] | Rejection:
        """receipt_id, po_number, line_number, quantity, receipt_date; or why not."""
        receipt: dict[str, Canonical] = {}
        reasons = []
        for cell in self._cells:
            try:
                receipt[cell.field] = cell.unremembered(raw)
            except UnreadableError as error:
                reasons.append(f"{cell.field} ({cell.source}): {error}")
        if not reasons:
            return receipt
        return Rejection(
            receipt.get("po_number") or "",
            receipt.get("line_number") or "",
            "; ".join(reasons),
            {str(cell.source): _shown(cell, raw) for cell in self._cells},
            receipt.get("receipt_id") or "",
        )


class _Cell:
    """Where a field stands in the raw row and how it is read."""

    __slots__ = ("convert", "field", "minus", "position", "source", "texts", "values")

    def __init__(
        self,
        field: str,
        source: Source,
        position: dict[Column, int],
        convert: Callable[[Any], Canonical],
    ) -> None:
        self.field = field
        self.source = source
        self.position = position[source.column]
        self.minus = None if source.minus is None else position[source.minus]
        self.convert = convert
        self.values = Memory(convert)
        self.texts = Memory(lambda raw: json_text(self.values[raw]))

    def value(self, raw: RawRow) -> Canonical:
        """The canonical value."""
        if self.minus is None:
            return self.values[raw[self.position]]
        return _difference(self.values[raw[self.position]], self.values[raw[self.minus]])

    def text(self, raw: RawRow) -> str:
        """The canonical value as JSON text."""
        if self.minus is None:
            return self.texts[raw[self.position]]
        return json_text(self.value(raw))

    def unremembered(self, raw: RawRow) -> Canonical:
        """The same without memory, for values that cannot be remembered."""
        if self.minus is None:
            return self.convert(raw[self.position])
        return _difference(self.convert(raw[self.position]), self.convert(raw[self.minus]))


def _difference(value: Canonical, minus: Canonical) -> Canonical:
    """Both are quantities, so exact to three decimals."""
    assert value is not None
    assert minus is not None
    return format(Decimal(value) - Decimal(minus), "f")


def _shown(cell: _Cell, raw: RawRow) -> str | None:
    """The raw value as text, for the administrator."""
    value = raw[cell.position] if cell.minus is None else (raw[cell.position], raw[cell.minus])
    if value is None:
        return None
    # Databases refuse NUL and half characters even inside JSON.
    shown = str(value)[:1_000].replace("\0", "\\0")
    return shown.encode("utf-8", "backslashreplace").decode()
