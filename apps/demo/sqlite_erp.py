"""The file of the simulated ERP: how a legacy system on SQLite would store what the books say.

Codes are blank-padded to the width of their column. Nothing is NULL here, empty there and blanks
elsewhere; no date is NULL or a date far away. Dates have a time of day, in the ERP's own zone.
Quantities are exact to three decimals. No key is declared, as rows can be broken or stand twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path

from apps.demo.books import Books
from apps.demo.ledger import Fault, Line

_SCHEMA = """
DROP TABLE IF EXISTS PUR_LINE;
DROP TABLE IF EXISTS GR_POST;
CREATE TABLE PUR_LINE (
    REC_NO INTEGER PRIMARY KEY,
    ORD_NO CHAR(12),
    LN INTEGER,
    VEND_CD CHAR(8),
    VEND_NM VARCHAR(60),
    ITEM_CD CHAR(20),
    ITEM_FAM VARCHAR(30),
    ART_NO CHAR(16),
    CUST_NM CHAR(30),
    QTY_ORD NUMERIC(18, 3),
    QTY_DLV NUMERIC(18, 3),
    UOM CHAR(3),
    ST CHAR(3),
    DT_INS VARCHAR(19),
    DT_PROM VARCHAR(19),
    DT_IN VARCHAR(19),
    DT_UPD VARCHAR(19),
    USR_DT1 VARCHAR(19),
    USR_TX1 VARCHAR(40),
    USR_NR1 NUMERIC(18, 3)
);
CREATE TABLE GR_POST (
    GR_NO CHAR(12),
    ORD_NO CHAR(12),
    LN INTEGER,
    GR_QTY NUMERIC(18, 3),
    GR_DT VARCHAR(19)
);
CREATE INDEX PUR_LINE_KEY ON PUR_LINE (ORD_NO, LN);
CREATE INDEX GR_POST_KEY ON GR_POST (ORD_NO, LN);
"""
_INSERT_LINE = """
INSERT OR REPLACE INTO PUR_LINE
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_RECEIPT = "INSERT INTO GR_POST VALUES (?, ?, ?, ?, ?)"

# Which column is meant for which custom slot, with a label.
CUSTOM_COLUMNS = {
    "custom_date_1": ("Inspection date", "USR_DT1"),
    "custom_text_1": ("Container", "USR_TX1"),
    "custom_decimal_1": ("Freight weight", "USR_NR1"),
}

MAPPING_FILE = Path(__file__).with_name("erp_mapping.toml")
_RECEIPTS_MAPPING = """
[deliveries]
table = "GR_POST"

[deliveries.columns]
receipt_id = "GR_NO"
po_number = "ORD_NO"
line_number = "LN"
quantity = "GR_QTY"
receipt_date = "GR_DT"
"""

Cell = str | int | float | None
_BLANK: tuple[str | None, ...] = (None, "", "   ")
_NO_DATE = (None, "1900-01-01 00:00:00", "9999-12-31 00:00:00")
_NOT_NUMBERS = ("n/a", "1.2.3", "12 PCS", "NaN")
_NOT_DATES = ("2026-02-30 00:00:00", "31.31.2026", "soon")


def mapping_toml(*, receipts: bool) -> str:
    """The mapping of this ERP, with the receipts relation if asked."""
    mapping = MAPPING_FILE.read_text(encoding="utf-8")
    return mapping + _RECEIPTS_MAPPING if receipts else mapping


def write_file(path: Path, books: Books) -> None:
    """Writes the whole file."""
    with closing(_open(path)) as connection:
        write(connection, books)


def save_file(path: Path, books: Books) -> None:
    """Writes what the file lacks."""
    with closing(_open(path)) as connection:
        save(connection, books)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    # A world that loses its file to a power cut is written again.
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")
    return connection


def write(connection: sqlite3.Connection, books: Books) -> None:
    """Writes everything into a connection without an open transaction."""
    with connection:
        connection.executescript(f"BEGIN; {_SCHEMA}")
        lines = books.lines.values()
        connection.executemany(_INSERT_LINE, _rows(lines))
        connection.executemany(_INSERT_RECEIPT, _receipt_rows(lines))
        _mark(connection, books)


def save(connection: sqlite3.Connection, books: Books) -> None:
    """Writes what the file lacks into a connection without an open transaction."""
    stamp = connection.execute("PRAGMA user_version").fetchone()[0]
    since = books.stamps.get(stamp)
    if since is None:
        write(connection, books)
        return
    with connection:
        connection.execute("BEGIN")
        connection.executemany(
            "DELETE FROM PUR_LINE WHERE REC_NO = ?",
            ((row_id,) for revision, row_id in books.removed_rows if revision > since),
        )
        lines = [line for line in books.lines.values() if line.revision > since]
        connection.executemany(_INSERT_LINE, _rows(lines))
        connection.executemany(
            "DELETE FROM GR_POST WHERE ORD_NO = ? AND LN = ?",
            ((f"{line.po_number:<12}", line.number) for line in lines),
        )
        connection.executemany(_INSERT_RECEIPT, _receipt_rows(lines))
        _mark(connection, books)


def _mark(connection: sqlite3.Connection, books: Books) -> None:
    """Leaves the revision's stamp in SQLite's own place for an application's number."""
    stamp = next(reversed(books.stamps))
    connection.execute(f"PRAGMA user_version = {stamp}")


def _rows(lines: Iterable[Line]) -> Iterator[tuple[Cell, ...]]:
    for line in lines:
        if not line.in_table:
            continue
        row = _row(line)
        if line.fault:
            yield _spoilt(row, line)
            if line.twin_row_id:
                yield line.twin_row_id, *row[1:]
        else:
            yield row


_ROW_ID, _ORD_NO, _LN, _QTY_ORD, _QTY_DLV, _DT_PROM, _USR_NR1 = 0, 1, 2, 9, 10, 14, 19


def _spoilt(row: tuple[Cell, ...], line: Line) -> tuple[Cell, ...]:
    cells = list(row)
    if line.fault == Fault.BLANK_ORDER:
        cells[_ORD_NO] = _BLANK[line.style]
    elif line.fault == Fault.BLANK_LINE:
        cells[_LN] = None
    elif line.fault == Fault.TEXT_QUANTITY:
        cells[_QTY_ORD] = _NOT_NUMBERS[line.clock % len(_NOT_NUMBERS)]
    elif line.fault == Fault.MISSING_QUANTITY:
        cells[_QTY_DLV] = None
    elif line.fault == Fault.BROKEN_DATE:
        cells[_DT_PROM] = _NOT_DATES[line.clock % len(_NOT_DATES)]
    elif line.fault == Fault.CONFLICTING_DUPLICATE:
        cells[_QTY_ORD] = float(line.ordered + line.step)
    elif line.fault == Fault.UNREADABLE_CUSTOM:
        cells[_USR_NR1] = _NOT_NUMBERS[line.clock % len(_NOT_NUMBERS)]
    return tuple(cells)


def _row(line: Line) -> tuple[Cell, ...]:
    style = line.style
    clock = _clock(line.clock)
    # Late evening and midnight: a day is a day in the ERP's zone, whatever another zone calls it.
    promised_at = " 00:00:00" if line.clock % 2 else " 23:59:59"
    return (
        line.row_id,
        f"{line.po_number:<12}",
        line.number,
        f"{line.supplier_code:<8}",
        line.supplier_name or _BLANK[style],
        f"{line.item_code:<20}",
        line.family or _BLANK[style],
        f"{line.own_sku:<16}" if line.own_sku else _BLANK[style],
        f"{line.customer:<30}" if line.customer else _BLANK[style],
        float(line.ordered),
        float(line.delivered),
        "PCS" if line.step == 1 else "KG ",
        f"{line.code:<3}",
        _day(line.inserted_on, clock, style),
        _day(line.promised_on, promised_at, style),
        _day(line.in_date, clock, style),
        line.updated_on.isoformat() + _clock(line.updated_at),
        _day(line.custom_date, clock, style),
        line.custom_text or _BLANK[style],
        _number(line.custom_decimal),
    )


def _clock(minute: int) -> str:
    return f" {minute // 60:02d}:{minute % 60:02d}:00"


def _day(day: date | None, clock: str, style: int) -> str | None:
    return day.isoformat() + clock if day else _NO_DATE[style]


def _number(number: Decimal | None) -> float | None:
    return None if number is None else float(number)


def _receipt_rows(lines: Iterable[Line]) -> Iterator[tuple[Cell, ...]]:
    for line in lines:
        for receipt in line.receipts:
            yield (
                f"{receipt.receipt_id:<12}",
                f"{line.po_number:<12}",
                line.number,
                float(receipt.quantity),
                f"{receipt.received_on.isoformat()} 11:30:00",
            )
