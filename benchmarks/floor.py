"""The floor: one night's work done as barely as Python can (docs/performance.md).

`python benchmarks/floor.py ERP.sqlite3 OWN.sqlite3` streams the ERP's lines, hashes each, inserts
each into a snapshot table, compares the hashes with those last applied, writes lines, events, field
changes and batches for the differing ones, and commits once. The first run is the baseline. It
prints its counts as one JSON object.

No framework, no checks, no mapping, no cross-reference, no lifecycle: what the product's run costs
beyond this is what those cost. Standard library only, and only what it needs of that, because the
start of the process is part of the measurement.
"""

import json
import sqlite3
import sys
from collections.abc import Iterator
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Any

FIELDS = (
    "po_number",
    "line_number",
    "supplier_code",
    "item_code",
    "item",
    "ordered_quantity",
    "delivered_quantity",
    "promised_date",
    "in_date",
    "status",
    "po_insert_date",
    "final_customer",
)
DELIVERED = FIELDS.index("delivered_quantity")
IN_DATE = FIELDS.index("in_date")
QUANTITIES = ("ordered_quantity", "delivered_quantity")
DATES = ("promised_date", "in_date", "po_insert_date")

# In the order of FIELDS.
SELECT = (
    "SELECT PURNBR, LINNBR, VNDCOD, ITMCOD, ITMDSC, QTYORD, QTYRCV, PRMDAT, RCVDAT, STSCOD, INSDAT,"
    " ENDCUS FROM PURLIN"
)
SCHEMA = f"""
    CREATE TABLE run (id INTEGER PRIMARY KEY, night TEXT, report TEXT);
    CREATE TABLE snapshot (run INTEGER, {", ".join(FIELDS)}, row_hash BLOB);
    CREATE TABLE line (
        id INTEGER PRIMARY KEY, {", ".join(FIELDS)}, row_hash BLOB, present INTEGER, run INTEGER,
        UNIQUE (po_number, line_number));
    CREATE TABLE event (id INTEGER PRIMARY KEY, run INTEGER, line INTEGER, type TEXT, data TEXT);
    CREATE TABLE change (
        id INTEGER PRIMARY KEY, run INTEGER, line INTEGER, field TEXT, previous, new, difference);
    CREATE TABLE batch (
        id INTEGER PRIMARY KEY, run INTEGER, line INTEGER, kind TEXT, quantity, delivered_on TEXT);
"""

Row = tuple[Any, ...]


def marks(count: int) -> str:
    return ", ".join("?" * count)


def take_snapshot(
    erp: sqlite3.Connection, own: sqlite3.Connection, run: int, applied: set[bytes]
) -> tuple[int, list[Row]]:
    """Stores every ERP row with its hash; returns how many, and those with a hash not yet applied.

    The hash is over the whole row with its key, so an equal hash means the same line unchanged.
    """
    differing: list[Row] = []

    def rows() -> Iterator[Row]:
        for row in erp.execute(SELECT):
            row_hash = blake2b(repr(row).encode(), digest_size=16).digest()
            stored = (run, *row, row_hash)
            if applied and row_hash not in applied:
                differing.append(stored)
            yield stored

    insert = f"INSERT INTO snapshot VALUES ({marks(len(FIELDS) + 2)})"
    return own.executemany(insert, rows()).rowcount, differing


def apply_baseline(own: sqlite3.Connection, run: int) -> dict[str, int]:
    """Every line is new: lines and opening batches come from the snapshot, one event tells it."""
    columns = ", ".join(FIELDS)
    created = own.execute(
        f"INSERT INTO line ({columns}, row_hash, present, run)"
        f" SELECT {columns}, row_hash, 1, run FROM snapshot WHERE run = ?",
        (run,),
    ).rowcount
    batches = own.execute(
        "INSERT INTO batch (run, line, kind, quantity, delivered_on)"
        " SELECT run, id, 'opening', delivered_quantity, in_date FROM line"
        " WHERE delivered_quantity <> 0"
    ).rowcount
    own.execute("INSERT INTO event (run, type) VALUES (?, 'ingestion_baseline')", (run,))
    return {
        "created": created,
        "changed": 0,
        "returned": 0,
        "left": 0,
        "change_events": 0,
        "batches": batches,
    }


def difference(field: str, previous: Any, new: Any) -> float | None:
    """The signed difference of a quantity, or of a date in days; None where there is none."""
    if previous is None or new is None:
        return None
    if field in QUANTITIES:
        return float(new - previous)
    if field in DATES:
        return (date.fromisoformat(new) - date.fromisoformat(previous)).days
    return None


def apply_differing(
    own: sqlite3.Connection, run: int, night: str, present: int, seen: int, differing: list[Row]
) -> dict[str, int]:
    """Writes what the differing rows tell, and which of the present lines were not seen."""
    next_id = own.execute("SELECT coalesce(max(id), 0) + 1 FROM line").fetchone()[0]
    new_lines: list[Row] = []
    known_lines: list[Row] = []
    events: list[Row] = []
    changes: list[Row] = []
    batches: list[Row] = []
    find = (
        f"SELECT {', '.join(FIELDS)}, present, id FROM line WHERE po_number = ? AND line_number = ?"
    )
    returned = 0
    for _, *row, row_hash in differing:
        known = own.execute(find, row[:2]).fetchone()
        if known is None:
            line, before = next_id, 0
            next_id += 1
            new_lines.append((line, *row, row_hash, run))
            events.append((run, line, "po_line_created", None))
        else:
            *_, was_present, line = known
            before = known[DELIVERED]
            told = {}
            for field, previous, new in zip(FIELDS, known, row, strict=False):
                if previous != new:
                    told[field] = [previous, new]
                    step = difference(field, previous, new)
                    changes.append((run, line, field, previous, new, step))
            known_lines.append((*row[2:], row_hash, run, line))
            returned += not was_present
            kind = "ingestion_change" if was_present else "po_line_returned"
            events.append((run, line, kind, json.dumps(told)))
        risen = row[DELIVERED] - before
        if risen:
            kind = "opening" if known is None else "between_runs" if risen > 0 else "correction"
            batches.append((run, line, kind, risen, (risen > 0 and row[IN_DATE]) or night))

    own.executemany(f"INSERT INTO line VALUES ({marks(len(FIELDS) + 2)}, 1, ?)", new_lines)
    # Without the key: it is the same, and setting it would write its index as well.
    assignments = ", ".join(f"{field} = ?" for field in FIELDS[2:])
    own.executemany(
        f"UPDATE line SET {assignments}, row_hash = ?, present = 1, run = ? WHERE id = ?",
        known_lines,
    )
    left: list[Row] = []
    if seen < present + len(new_lines) + returned:
        left = own.execute(
            "SELECT ?, id, 'po_line_left', NULL FROM line WHERE present"
            " AND (po_number, line_number) NOT IN"
            " (SELECT po_number, line_number FROM snapshot WHERE run = ?)",
            (run, run),
        ).fetchall()
        own.executemany("UPDATE line SET present = 0, run = ? WHERE id = ?", [r[:2] for r in left])
    own.executemany(
        "INSERT INTO event (run, line, type, data) VALUES (?, ?, ?, ?)", [*events, *left]
    )
    own.executemany(
        "INSERT INTO change (run, line, field, previous, new, difference)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        changes,
    )
    own.executemany(
        "INSERT INTO batch (run, line, kind, quantity, delivered_on) VALUES (?, ?, ?, ?, ?)",
        batches,
    )
    return {
        "created": len(new_lines),
        "changed": len(known_lines) - returned,
        "returned": returned,
        "left": len(left),
        "change_events": len(changes),
        "batches": len(batches),
    }


def run_night(erp_file: Path, own_file: Path) -> dict[str, int]:
    """One night; returns how many lines, field changes and batches it wrote, by kind."""
    first = not own_file.exists()
    erp = sqlite3.connect(f"{erp_file.absolute().as_uri()}?mode=ro", uri=True)
    own = sqlite3.connect(own_file)
    if first:
        own.executescript(SCHEMA)
    night = date.today().isoformat()  # noqa: DTZ011  # a bare date is all it needs
    run = own.execute("INSERT INTO run (night) VALUES (?)", (night,)).lastrowid
    assert run is not None
    applied = {h for (h,) in own.execute("SELECT row_hash FROM line WHERE present")}
    seen, differing = take_snapshot(erp, own, run, applied)
    if applied:
        report = apply_differing(own, run, night, len(applied), seen, differing)
    else:
        report = apply_baseline(own, run)
    own.execute("UPDATE run SET report = ? WHERE id = ?", (json.dumps(report), run))
    own.commit()
    own.close()
    erp.close()
    return report


if __name__ == "__main__":
    print(json.dumps(run_night(Path(sys.argv[1]), Path(sys.argv[2]))))
