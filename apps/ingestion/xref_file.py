"""Reads a cross-reference file, CSV or Excel, into rows of texts; knows nothing about suppliers."""

from __future__ import annotations

import csv
import io
import re
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from pathlib import Path
from typing import Any
from unicodedata import normalize
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from apps.ingestion.erp.fields import LENGTHS
from apps.ingestion.erp.mapping import nearest
from apps.ingestion.erp.values import UnreadableError, text
from apps.ingestion.errors import IngestionError

COLUMNS = ("supplier", "item_code", "sku", "item")
_REQUIRED = ("supplier", "item_code", "sku")
# What people call the columns; blanks, underscores, dots and case do not matter.
_NAMES = {
    **dict.fromkeys(("supplier", "suppliercode", "supplierno", "suppliernumber"), "supplier"),
    **dict.fromkeys(("vendor", "vendorcode", "vendorno", "vendornumber"), "supplier"),
    **dict.fromkeys(("itemcode", "erpitemcode", "itemno", "itemnumber"), "item_code"),
    **dict.fromkeys(("article", "articlecode", "articleno", "articlenumber"), "item_code"),
    **dict.fromkeys(("partno", "partnumber"), "item_code"),
    **dict.fromkeys(("sku", "skucode", "skuno", "skunumber"), "sku"),
    **dict.fromkeys(("item", "itemname", "itemfamily", "family", "productfamily"), "item"),
}
_READERS = {
    "supplier": text(LENGTHS["supplier_code"]),
    "item_code": text(LENGTHS["item_code"]),
    "sku": text(LENGTHS["sku"]),
    "item": text(LENGTHS["item"]),
}
_DELIMITERS = {";": "semicolons", ",": "commas", "\t": "tabs"}
_LARGEST_EXACT = 10**15  # Excel keeps 15 digits of a number


class UnreadableFileError(IngestionError):
    """Nothing could be read from the file."""


@dataclass(frozen=True)
class Row:
    """One row of the file in canonical texts; `wrong` says why it cannot be used, if so."""

    number: int
    supplier: str = ""
    item_code: str = ""
    sku: str = ""
    item: str = ""
    wrong: str = ""


@dataclass(frozen=True)
class File:
    """What was read, and how: "CSV, UTF-8, commas" or "Excel, sheet Codes"."""

    read_as: str
    ignored_columns: list[str]
    rows: list[Row]


_Cells = list[Any]


class _Unusable:
    """A cell that Excel itself cannot give a text for."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def read_file(path: Path, encoding: str | None = None) -> File:
    """Reads the file by its content, whatever its name ends with. `encoding` is for a CSV file that
    is neither UTF-8 nor UTF-16. Raises UnreadableFileError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(
            f"{path} cannot be read: {error.strerror}.", "Check the name and your rights."
        ) from error
    if content.startswith(b"PK\x03\x04"):
        return _read_excel(path)
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise UnreadableFileError(
            f"{path} is an Excel file of the old kind (.xls) or has a password.",
            "Open it in Excel and save it as .xlsx without a password, or as CSV UTF-8.",
        )
    return _read_csv(path, content, encoding)


# --- CSV --------------------------------------------------------------------------------------


def _read_csv(path: Path, content: bytes, encoding: str | None) -> File:
    decoded, name = _decode(path, content, encoding)
    delimiter = _delimiter(decoded)
    lines = csv.reader(io.StringIO(decoded, newline=""), delimiter=delimiter, strict=True)

    def numbered() -> Iterator[tuple[int, _Cells]]:
        try:
            for cells in lines:
                yield lines.line_num, list(cells)
        except csv.Error as error:
            raise UnreadableFileError(
                f"{path}, line {lines.line_num}: {error}.",
                "Look for a quotation mark that is not closed; nothing was imported.",
            ) from error

    return _take(path, numbered(), f"CSV, {name}, {_DELIMITERS[delimiter]}")


def _decode(path: Path, content: bytes, encoding: str | None) -> tuple[str, str]:
    """The text and the name of its encoding. Others than Unicode are not guessed: the same bytes
    are readable, and different, in several of them."""
    if encoding is None:
        marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        encoding = "UTF-16" if marked else "UTF-8"
    codec = "utf-8-sig" if encoding == "UTF-8" else encoding
    try:
        decoded = content.decode(codec)
    except LookupError as error:
        raise UnreadableFileError(
            f"There is no encoding {encoding}.", "Give one like cp1252, gb18030 or utf-8."
        ) from error
    except UnicodeDecodeError as error:
        raise UnreadableFileError(
            f"{path} is not {encoding} (byte {error.start}).",
            'Save it in Excel as "CSV UTF-8" or .xlsx, or name its encoding with --encoding, for '
            "instance cp1252 (Western Europe) or gb18030 (China).",
        ) from error
    return decoded, encoding


def _delimiter(decoded: str) -> str:
    """The one that makes most of the header row."""
    header = next((line for line in decoded.splitlines() if line.strip()), "")
    return max(
        _DELIMITERS, key=lambda mark: sum(_meaning(cell) is not None for cell in header.split(mark))
    )


# --- Excel ------------------------------------------------------------------------------------


def _read_excel(path: Path) -> File:
    """The first sheet. It is read again for the results if it has formulas."""
    try:
        title, rows, has_formulas = _sheet(path, results=False)
        if has_formulas:
            _, results, _ = _sheet(path, results=True)
            rows = [_with_results(*pair) for pair in zip(rows, results, strict=True)]
    except (
        InvalidFileException, BadZipFile, ParseError, KeyError, ValueError, IndexError, EOFError,
        OSError, zlib.error,
    ) as error:  # fmt: skip
        raise UnreadableFileError(
            f"{path} is no Excel file that can be read: {error}.",
            "Open it in Excel and save it again as .xlsx, or as CSV UTF-8.",
        ) from error
    return _take(path, enumerate(rows, start=1), f"Excel, sheet {title}")


def _sheet(path: Path, *, results: bool) -> tuple[str, list[_Cells], bool]:
    """Title, rows, and whether there are formulas; with `results` their last calculated values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about styles and drop-downs, not values
        workbook = openpyxl.load_workbook(path, read_only=True, data_only=results)
        try:
            sheet = workbook.worksheets[0]
            sheet.reset_dimensions()  # some programs write wrong ones
            rows = [[_cell(cell) for cell in row] for row in sheet.iter_rows()]
            return sheet.title, rows, any(_FORMULA in row for row in rows)
        finally:
            workbook.close()


_FORMULA = _Unusable("is a formula that was never calculated: open the file in Excel and save it")


def _cell(cell: Any) -> Any:
    """The text that the cell shows, as far as that is a code."""
    value = cell.value
    if value is None or isinstance(value, str):
        if cell.data_type == "f":
            return _FORMULA
        return _Unusable(f"is the Excel error {value}") if cell.data_type == "e" else value
    if cell.data_type == "f":
        return _FORMULA  # of an array
    if isinstance(value, bool):
        return _Unusable(f"is {str(value).upper()}, not a text")
    if isinstance(value, date | time | timedelta):
        return _Unusable("is a date in Excel: format the column as text and type the value again")
    if abs(value) >= _LARGEST_EXACT:
        return _Unusable("is a number of more than 15 digits, which Excel rounds: store it as text")
    if re.fullmatch(r"0{2,}", cell.number_format or "") and value == int(value):
        return str(int(value)).zfill(len(cell.number_format))
    return value


def _with_results(row: _Cells, results: _Cells) -> _Cells:
    return [
        cell if cell is not _FORMULA or result is None else result
        for cell, result in zip(row, results, strict=True)
    ]


# --- both -------------------------------------------------------------------------------------


def _take(path: Path, rows: Iterable[tuple[int, _Cells]], read_as: str) -> File:
    """The first row that is not blank is the header; the rest are entries."""
    filled = ((number, cells) for number, cells in rows if any(map(_is_filled, cells)))
    _, header = next(filled, (0, []))
    if not header:
        raise UnreadableFileError(
            f"{path} is empty.", f"The first row must name the columns: {', '.join(COLUMNS)}."
        )
    positions = _positions(path, header)
    ignored = [str(cell) for cell in header if _is_filled(cell) and _meaning(cell) is None]
    return File(read_as, ignored, [_row(n, cells, positions, len(header)) for n, cells in filled])


def _positions(path: Path, header: Sequence[Any]) -> dict[str, int]:
    positions: dict[str, int] = {}
    for position, cell in enumerate(header):
        column = _meaning(cell)
        if column in positions:
            raise UnreadableFileError(
                f'{path}: the columns "{header[positions[column]]}" and "{cell}" mean the same.',
                "Remove one of them.",
            )
        if column is not None:
            positions[column] = position
    missing = [column for column in _REQUIRED if column not in positions]
    if missing:
        unknown = [str(cell) for cell in header if _is_filled(cell) and _meaning(cell) is None]
        raise UnreadableFileError(
            f"{path} has no column "
            + " and no column ".join(f'"{name}"{nearest(name, unknown)}' for name in missing)
            + f" in its first row: {', '.join(str(cell) for cell in header if _is_filled(cell))}.",
            "Name the columns supplier, item_code, sku and, if you like, item. Leave the cells "
            "under supplier empty for codes that mean the same with every supplier.",
        )
    return positions


def _meaning(cell: Any) -> str | None:
    """Which column a header names."""
    return _NAMES.get(re.sub(r"[\W_]+", "", normalize("NFKC", str(cell))).lower())


def _row(number: int, cells: _Cells, positions: dict[str, int], width: int) -> Row:
    if any(map(_is_filled, cells[width:])):
        return Row(number, wrong="has more cells than the header: a value with a delimiter in it?")
    values: dict[str, str] = {}
    reasons = []
    for column, position in positions.items():
        cell = cells[position] if position < len(cells) else None
        if isinstance(cell, _Unusable):
            reasons.append(f"{column} {cell.reason}")
            continue
        try:
            values[column] = _READERS[column](cell) or ""
        except UnreadableError as error:
            reasons.append(f"{column}: {error}")
            continue
        if not values[column] and column in ("item_code", "sku"):
            reasons.append(f"{column} is empty")
    return Row(number, **values, wrong="; ".join(reasons))


def _is_filled(cell: Any) -> bool:
    return cell is not None and (not isinstance(cell, str) or bool(cell.strip()))
