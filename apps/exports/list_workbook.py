"""The list as an Excel workbook: what is on the screen, with dates and numbers as such.

Rows go from the database into the file without ever being in memory together.
"""

from __future__ import annotations

import tempfile
from datetime import date, datetime
from decimal import Decimal
from typing import IO, Any

from django.utils import timezone
from django.utils.translation import gettext as _
from openpyxl import Workbook
from openpyxl.cell import Cell, WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Font, PatternFill
from openpyxl.utils import get_column_letter

from apps.po.columns import Column, Kind
from apps.po.list_page import LineList
from apps.po.paging import in_chunks, part

# A file of this size takes about half a minute, and nobody reads more in Excel.
MOST_LINES = 100_000
_AT_ONCE = 1_000
_WIDTHS = {Kind.TEXT: 28, Kind.SUPPLIER: 32, Kind.CUSTOM_TEXT: 28, Kind.STATUS: 18, Kind.MOMENT: 17}
_DATE_FORMAT, _MOMENT_FORMAT = "yyyy-mm-dd", "yyyy-mm-dd hh:mm"
# One format for both would leave a whole number with a point behind it.
_WHOLE_FORMAT, _QUANTITY_FORMAT = "#,##0", "#,##0.###"
_IN_MEMORY = 5_000_000  # bytes
_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r")


class TooManyLines(Exception):  # noqa: N818  # what is so, not what went wrong
    """The list is longer than a file of it may be."""


def write_list(asked: LineList) -> IO[bytes]:
    """The workbook, open at its beginning; the caller closes it. Raises TooManyLines."""
    keys = part(asked.keys(), asked.order, 0, MOST_LINES + 1)
    if len(keys) > MOST_LINES:
        raise TooManyLines
    book = Workbook(write_only=True)
    sheet = book.create_sheet(_("PO lines"))
    sheet.freeze_panes = "A2"
    columns = _flat(asked.columns)
    for number, column in enumerate(columns, start=1):
        sheet.column_dimensions[get_column_letter(number)].width = _WIDTHS.get(column.kind, 14)
    sheet.append([_head(sheet, str(column.label)) for column in columns])
    rows = 1
    for line in in_chunks(asked.values(), keys, _AT_ONCE):
        sheet.append([_cell(sheet, column, line) for column in columns])
        rows += 1
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(columns))}{rows}"
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  # the caller closes it
    book.save(file)
    file.seek(0)
    return file


def _flat(columns: list[Column]) -> list[Column]:
    """Two numbers in one cell of the page are two columns in Excel."""
    flat: dict[str, Column] = {}
    for column in columns:
        if column.kind != Kind.PROGRESS:
            flat[column.key] = column
            continue
        for key, label in (("ready_quantity", _("Ready")), ("ordered_quantity", _("Ordered"))):
            flat[key] = Column(key=key, label=label, kind=Kind.QUANTITY)
    return list(flat.values())


def _head(sheet: Any, label: str) -> Cell:
    cell = _text(sheet, label)
    cell.font, cell.fill = Font(bold=True, color="FFFFFF"), PatternFill("solid", fgColor="283D56")
    return cell


def _cell(sheet: Any, column: Column, line: dict[str, Any]) -> Any:
    if column.kind == Kind.SUPPLIER:
        return _text(sheet, f"{line['supplier__code']} {line['supplier__name']}".strip())
    if column.kind == Kind.SKU and line["unmapped"]:
        return _text(sheet, _("unmapped"))
    value = line[column.key if column.kind == Kind.EXCEPTION else column.name]
    if column.choices:
        value = str(dict(column.choices).get(value, value))
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        return _formatted(sheet, timezone.localtime(value).replace(tzinfo=None), _MOMENT_FORMAT)
    if isinstance(value, date):
        # Excel's calendar begins in 1900, and has a wrong day in it.
        if value < date(1900, 3, 1):
            return _text(sheet, value.isoformat())
        return _formatted(sheet, value, _DATE_FORMAT)
    if isinstance(value, Decimal):
        is_whole = value == value.to_integral_value()
        return _formatted(sheet, value, _WHOLE_FORMAT if is_whole else _QUANTITY_FORMAT)
    return _text(sheet, str(value))


def _formatted(sheet: Any, value: Any, number_format: str) -> Cell:
    cell: Cell = WriteOnlyCell(sheet, value)
    cell.number_format = number_format
    return cell


def _text(sheet: Any, text: str) -> Cell:
    """A text that stays one: what begins like a formula is marked as Excel marks it after an
    apostrophe, so that nothing a supplier writes is ever computed."""
    cell: Cell = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("\ufffd", text))
    cell.data_type = "s"
    if text[:1] in _FORMULA_BEGINS:
        cell.quotePrefix = True
    return cell
