"""The ERP that the benchmarks read: N active lines of 30 suppliers, and nights that change a share.

Names look as in an old ERP, rows are overwritten in place, and everything follows from the seed:
the same number of lines and nights gives the same file.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

SEED = 20250106
SUPPLIERS = 30
LINES_PER_ORDER = 10
# Every 50th item code has no cross-reference.
UNMAPPED_EVERY = 50
# "Today" of the data. The nights follow it day by day, whatever the clock says.
FIRST_DAY = date(2025, 1, 6)

TABLE = "PURLIN"


@dataclass(frozen=True)
class Column:
    """A column of the ERP: a "code", a "text", a "quantity" or a "date"."""

    name: str
    kind: str
    size: int = 0
    required: bool = False

    def definition(self, types: Mapping[str, str]) -> str:
        """Its type on an engine that calls the kinds so."""
        return types[self.kind].format(size=self.size) + " NOT NULL" * self.required


# Field of the mapping -> the ERP's column.
COLUMNS = {
    "po_number": Column("PURNBR", "code", 10, required=True),
    "line_number": Column("LINNBR", "code", 4, required=True),
    "supplier_code": Column("VNDCOD", "code", 6, required=True),
    "item_code": Column("ITMCOD", "code", 12, required=True),
    "item": Column("ITMDSC", "text", 60),
    "ordered_quantity": Column("QTYORD", "quantity", required=True),
    "delivered_quantity": Column("QTYRCV", "quantity", required=True),
    "promised_date": Column("PRMDAT", "date"),
    "in_date": Column("RCVDAT", "date"),
    "status": Column("STSCOD", "code", 1, required=True),
    "po_insert_date": Column("INSDAT", "date"),
    "final_customer": Column("ENDCUS", "text", 60),
}
KEY = ("po_number", "line_number")
SQLITE_TYPES = {
    "code": "CHAR({size})",
    "text": "VARCHAR({size})",
    "quantity": "DECIMAL(15, 3)",
    "date": "CHAR(10)",
}
STATUS_MAP = {
    "O": "planned",
    "P": "in_production",
    "R": "ready_to_dispatch",
    "C": "closed",
    "X": "cancelled",
}
CLOSED = ("C", "X")
NEXT_STATUS = {"O": "P", "P": "R", "R": "P"}

GOODS = (
    "Bearing housing",
    "Drive shaft",
    "Gasket set",
    "Valve body",
    "Mounting bracket",
    "Control board",
)

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Expected:
    """What a run that applies one night must report."""

    lines_created: int
    lines_changed: int
    change_events: int
    batches: int


def item_codes(lines: int) -> int:
    """How many item codes each supplier sells, so that a code is on a handful of lines."""
    return min(700, max(10, lines // (5 * SUPPLIERS)))


def goods(code: int) -> str:
    """What the supplier calls the goods with this item code."""
    return f"{GOODS[code % len(GOODS)]} {code:06d}"


def key(number: int) -> tuple[str, str]:
    """PO number and line number of the line with this number, counted from 0."""
    order, line = divmod(number, LINES_PER_ORDER)
    return f"PO{order:07d}", str(10 * line + 10)


def rows(lines: int) -> Iterator[Row]:
    """The lines of the first day, in the order of COLUMNS."""
    rng = Random(SEED)
    random = rng.random
    days = [(FIRST_DAY + timedelta(days)).isoformat() for days in range(-400, 200)]
    codes = item_codes(lines)
    items = [goods(code) for code in range(codes)]
    supplier, inserted = 0, days[0]
    for number in range(lines):
        if number % LINES_PER_ORDER == 0:
            supplier = int(random() * SUPPLIERS)
            inserted = days[int(random() * 400)]
        code = int(random() * codes)
        ordered: float = 10 + int(random() * 2000)
        if number % 10 == 3:
            ordered += 0.5  # some goods are counted in halves
        delivered: float = 0
        received = None
        progress = random()
        if progress > 0.8:
            delivered = ordered
        elif progress > 0.5:
            delivered = int(ordered * progress)
        if delivered:
            received = days[400 - int(random() * 90)]
        yield (
            *key(number),
            f"V{supplier:04d}",
            f"{supplier:02d}-{code:06d}",
            items[code],
            ordered,
            delivered,
            None if number % 100 == 7 else days[320 + int(random() * 280)],
            received,
            "OPR"[int(random() * 3)],
            inserted,
            f"Customer {int(random() * 200):03d}" if number % 3 else None,
        )


def overwritten(row: Row, night: int, choice: float) -> tuple[Row, int, bool]:
    """A line after one night: the row, how many of its fields changed, whether goods arrived.

    Of 100 changed lines 55 are promised for another day, 35 receive goods and 10 move on in status.
    """
    values = dict(zip(COLUMNS, row, strict=True))
    today = FIRST_DAY + timedelta(night)
    if choice < 0.55:
        promised = values["promised_date"]
        # Dates mostly slip; one in eleven comes forward.
        days = -5 if choice < 0.05 else 3 + int(choice * 50)
        moved = (date.fromisoformat(promised) if promised else today) + timedelta(days)
        values["promised_date"] = moved.isoformat()
        return tuple(values.values()), 1, False
    if choice < 0.9:
        # Half of what is outstanding arrives; a line that has everything gets one more.
        outstanding = values["ordered_quantity"] - values["delivered_quantity"]
        values["delivered_quantity"] += max(1, int(outstanding / 2))
        values["in_date"] = today.isoformat()
        return tuple(values.values()), 2, True
    values["status"] = NEXT_STATUS[values["status"]]
    return tuple(values.values()), 1, False


class SqliteErp:
    """The ERP in one SQLite file; benchmarks/servers.py copies it to other engines."""

    def __init__(self, file: Path, lines: int) -> None:
        self.file = file
        self.lines = lines
        # The rows that the last night left changed, in the order of COLUMNS.
        self.overwritten_rows: list[Row] = []

    @property
    def url(self) -> str:
        """The address for ERP_DATABASE_URL."""
        return f"sqlite:///{self.file.as_posix()}"

    def create(self) -> Expected:
        """Writes the file anew, as on the first day; says what the baseline must find."""
        self.file.unlink(missing_ok=True)
        columns = ", ".join(
            f"{column.name} {column.definition(SQLITE_TYPES)}" for column in COLUMNS.values()
        )
        marks = ", ".join("?" * len(COLUMNS))
        with closing(sqlite3.connect(self.file)) as erp, erp:
            erp.execute(f"CREATE TABLE {TABLE} ({columns}, PRIMARY KEY (PURNBR, LINNBR))")
            erp.executemany(f"INSERT INTO {TABLE} VALUES ({marks})", rows(self.lines))
            delivered = erp.execute(f"SELECT count(*) FROM {TABLE} WHERE QTYRCV > 0").fetchone()[0]
        return Expected(self.lines, 0, 0, delivered)

    def live_through(self, night: int, share: float) -> Expected:
        """Overwrites this share of the lines in place, at least one; says what a run must find."""
        rng = Random(f"{SEED}/{night}")
        numbers = sorted(rng.sample(range(self.lines), max(1, round(self.lines * share))))
        names = [column.name for column in COLUMNS.values()]
        select = f"SELECT {', '.join(names)} FROM {TABLE} WHERE PURNBR = ? AND LINNBR = ?"
        update = (
            f"UPDATE {TABLE} SET {', '.join(f'{name} = ?' for name in names)}"
            " WHERE PURNBR = ? AND LINNBR = ?"
        )
        change_events = batches = 0
        self.overwritten_rows = []
        with closing(sqlite3.connect(self.file)) as erp, erp:
            for number in numbers:
                before = erp.execute(select, key(number)).fetchone()
                row, fields, arrived = overwritten(before, night, rng.random())
                self.overwritten_rows.append(row)
                change_events += fields
                batches += arrived
            erp.executemany(update, [(*row, *row[:2]) for row in self.overwritten_rows])
        return Expected(0, len(numbers), change_events, batches)


def write_mapping(file: Path) -> None:
    """The TOML file for ERP_MAPPING_FILE."""
    text = [f'[lines]\ntable = "{TABLE}"\n', "[lines.columns]"]
    text += [f'{field} = "{column.name}"' for field, column in COLUMNS.items()]
    text += ["\n[lines.active]", f"closed_statuses = {list(CLOSED)!r}", "\n[lines.status_map]"]
    text += [f'"{code}" = "{status}"' for code, status in STATUS_MAP.items()]
    file.write_text("\n".join(text) + "\n", encoding="utf-8")


def write_xref(file: Path, lines: int) -> None:
    """A cross-reference for most item codes, of any supplier, as `manage.py loaddata` reads it."""
    names = (
        (f"{supplier:02d}-{code:06d}", goods(code))
        for supplier in range(SUPPLIERS)
        for code in range(item_codes(lines))
        if code % UNMAPPED_EVERY != UNMAPPED_EVERY - 1
    )
    entries = [
        {
            "model": "ingestion.xrefentry",
            "fields": {
                "erp_item_code": name,
                "sku": f"SKU-{name}",
                "item": item,
                "updated_at": f"{FIRST_DAY}T00:00:00Z",
            },
        }
        for name, item in names
    ]
    file.write_text(json.dumps(entries), encoding="utf-8")
