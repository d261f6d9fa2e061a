"""A tiny ERP made by hand: one table of lines and one of receipts, in an SQLite file.

Its columns are called like the fields of the mapping, so that a test reads like the rule it is
about. A test does to the ERP what its users would do, and lets a night pass:

    erp.add("A1", delivered_quantity=40)
    erp.night(1)
    erp.change("A1", delivered_quantity=60)
    report = erp.night(2)
"""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command

from apps.audit.models import AuditEvent, ERPChangeEvent, EventType
from apps.batches.models import Batch, ReceiptDateNote
from apps.ingestion import pipeline
from apps.ingestion.context import RunOptions, Stop
from apps.ingestion.erp.mapping import DELIVERY_FIELDS, OPTIONAL, REQUIRED
from apps.ingestion.models import ERPReceipt, IngestionRun, XrefGap
from apps.ingestion.report import Report
from apps.po.models import CustomColumn, POLine, Presence, StatusChange, Supplier
from tests.erp import use_erp

# Columns that no field of the mapping has by itself: to feed custom slots, to point fields at.
SPARE = ("remark", "packed_on", "weight", "other_text", "other_date", "other_number")
COLUMNS = (*REQUIRED, *OPTIONAL, *SPARE)

_FIRST_DAY = date(2025, 3, 2)
_AN_ORDER: dict[str, Any] = {
    "line_number": "10",
    "supplier_code": "ACME",
    "supplier_name": "Acme Ltd",
    "item_code": "BOLT",
    "ordered_quantity": 100,
    "delivered_quantity": 0,
    "status": "O",
    "promised_date": "2025-06-30",
    "po_insert_date": "2025-02-03",
}
_LINE_EVENTS = (
    EventType.PO_LINE_CREATED,
    EventType.PO_LINE_RETURNED,
    EventType.PO_LINE_LEFT,
    EventType.INGESTION_CHANGE,
)


def day(night: int) -> date:
    """The business date of a night."""
    return _FIRST_DAY + timedelta(days=night)


class ErpTable:
    """The ERP and its mapping; change the mapping's parts and the next night reads by them."""

    def __init__(self, file: Path) -> None:
        self.file = file
        # Where the product looks for the ERP: the file, or the address of a server.
        self.address: Path | str = file
        self.table = "orders"
        # Field -> column, or {column, minus}.
        self.fields: dict[str, Any] = {
            name: name for name in (*REQUIRED, *OPTIONAL) if name != "updated_at"
        }
        self.active: dict[str, Any] = {"closed_statuses": ["C", "X"]}
        self.status_map = {
            "O": "planned",
            "P": "in_production",
            "R": "ready_to_dispatch",
            "C": "closed",
            "X": "cancelled",
        }
        self.values: dict[str, Any] = {}
        # Receipt field -> column; empty while the mapping names no receipts relation.
        self.receipts: dict[str, str] = {}
        # Columns without a type, so that SQLite keeps whatever a test puts in.
        self._execute(f"CREATE TABLE orders ({', '.join(COLUMNS)})")
        self._execute(f"CREATE TABLE receipts ({', '.join(DELIVERY_FIELDS)}, net_quantity)")

    # --- what the ERP's users do ------------------------------------------------------------

    def add(self, po_number: Any, /, **values: Any) -> None:
        """One more row, of which a test names only what it is about."""
        row = {**_AN_ORDER, "po_number": po_number, **values}
        self._insert("orders", row)

    def add_others(self, count: int) -> None:
        """So many ordinary lines that nothing happens to."""
        rows = [{**_AN_ORDER, "po_number": f"Z{n:04}"} for n in range(count)]
        columns = list(rows[0])
        marks = ", ".join("?" * len(columns))
        with closing(self._open()) as connection, connection:
            connection.executemany(
                f"INSERT INTO orders ({', '.join(columns)}) VALUES ({marks})",
                [list(row.values()) for row in rows],
            )

    def change(self, po_number: Any, line_number: Any = "10", **values: Any) -> None:
        """Overwrites columns of the rows with this key."""
        assignments = ", ".join(f"{column} = ?" for column in values)
        changed = self._execute(
            f"UPDATE orders SET {assignments} WHERE po_number = ? AND line_number = ?",
            *values.values(),
            po_number,
            line_number,
        )
        assert changed, f"no row {po_number} / {line_number}"

    def remove(self, po_number: Any, line_number: Any = "10") -> None:
        """Deletes the rows with this key."""
        removed = self._execute(
            "DELETE FROM orders WHERE po_number = ? AND line_number = ?", po_number, line_number
        )
        assert removed, f"no row {po_number} / {line_number}"

    def run_sql(self, sql: str) -> None:
        """Anything else, for instance the same for all rows."""
        self._execute(sql)

    def receive(self, receipt_id: Any, po_number: Any, quantity: Any, on: Any) -> None:
        """One more receipt; the delivered quantity of the line is the test's own business."""
        row = {"line_number": "10", "po_number": po_number, "receipt_id": receipt_id}
        self._insert("receipts", {**row, "quantity": quantity, "receipt_date": on})

    def change_receipt(self, receipt_id: Any, **values: Any) -> None:
        assignments = ", ".join(f"{column} = ?" for column in values)
        assert self._execute(
            f"UPDATE receipts SET {assignments} WHERE receipt_id = ?", *values.values(), receipt_id
        )

    def remove_receipt(self, receipt_id: Any) -> None:
        assert self._execute("DELETE FROM receipts WHERE receipt_id = ?", receipt_id)

    # --- how it is read ---------------------------------------------------------------------

    def read_receipts(self) -> None:
        """From now on the mapping names the receipts relation."""
        self.receipts = {name: name for name in DELIVERY_FIELDS}

    def ignore_receipts(self) -> None:
        self.receipts = {}

    def mapping(self) -> str:
        """The text of the mapping file."""
        lines = ["[lines]", f"table = {json.dumps(self.table)}"]
        lines += _section("lines.columns", self.fields)
        lines += _section("lines.active", self.active)
        lines += _section("lines.status_map", self.status_map)
        if self.receipts:
            lines += ["[deliveries]", 'table = "receipts"']
            lines += _section("deliveries.columns", self.receipts)
        lines += _section("values", self.values)
        return "\n".join(lines) + "\n"

    @contextmanager
    def connected(self) -> Iterator[None]:
        """The product reads this ERP, by the mapping as it is now."""
        with use_erp(self.address, self.mapping()):
            yield

    def run(
        self,
        *,
        as_of: date | None = None,
        baseline: bool = False,
        accept_drop: bool = False,
        stop: Stop | None = None,
    ) -> Report:
        """One run of the pipeline, without `as_of` as of today."""
        options = RunOptions(as_of=as_of, baseline=baseline, accept_drop=accept_drop)
        with self.connected():
            return pipeline.run(options=options, stop=stop)

    def command(self, *arguments: str) -> tuple[int, str]:
        """The exit code of `run_ingestion` with these arguments, and what it printed."""
        out = io.StringIO()
        code: int | str | None = 0
        with self.connected():
            try:
                call_command("run_ingestion", *arguments, stdout=out, stderr=out)
            except SystemExit as end:
                code = end.code
        return int(code or 0), out.getvalue()

    def night(self, number: int, *, accept_drop: bool = False) -> Report:
        """The run of one night, which must be applied."""
        report = self.run(as_of=day(number), accept_drop=accept_drop)
        assert report.status in ("success", "partial"), report.errors_encountered
        return report

    def refused_night(self, number: int) -> Report:
        """The run of one night, which must fail."""
        report = self.run(as_of=day(number))
        assert report.status == "failed"
        return report

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        marks = ", ".join("?" * len(row))
        self._execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())

    def _execute(self, sql: str, *parameters: Any) -> int:
        with closing(self._open()) as connection, connection:
            return connection.execute(sql, [_stored(value) for value in parameters]).rowcount

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file)
        connection.execute("PRAGMA synchronous = OFF")  # fast; a test needs no power cut
        return connection


def feed_slot(slot: str, column: str) -> None:
    """The ERP's column feeds this custom slot from now on."""
    CustomColumn.objects.update_or_create(
        slot=slot,
        defaults={"label": slot, "source": "erp", "erp_column": column, "active": True},
    )


# --- what came of it ------------------------------------------------------------------------


def line_of(po_number: str, line_number: str = "10") -> POLine:
    """The current line of this key."""
    return POLine.objects.current().get(po_number=po_number, line_number=line_number)


def retired_line_of(po_number: str) -> POLine:
    return POLine.objects.get(po_number=po_number, presence=Presence.RETIRED)


def run_of(report: Report) -> IngestionRun:
    return IngestionRun.objects.get(identifier=report.run_identifier)


def changes_of(report: Report) -> list[tuple[str, str, str | None, str | None]]:
    """The run's change events as (PO number, field, previous, new)."""
    changes = ERPChangeEvent.objects.filter(run__identifier=report.run_identifier)
    return list(
        changes.order_by("pk").values_list(
            "po_line__po_number", "field", "previous_value", "new_value"
        )
    )


def events_of(report: Report, event_type: EventType | None = None) -> list[AuditEvent]:
    """The run's audit events, of one type or of all."""
    events = AuditEvent.objects.filter(correlation_id=report.run_identifier).order_by("pk")
    return list(events if event_type is None else events.filter(event_type=event_type))


def line_events_of(report: Report) -> list[tuple[str, str]]:
    """The run's line events as (PO number, event type), sorted."""
    events = AuditEvent.objects.filter(
        correlation_id=report.run_identifier, event_type__in=_LINE_EVENTS
    )
    return sorted(events.values_list("po_line__po_number", "event_type"))


def batches_of(po_number: str, line_number: str = "10") -> list[tuple[str, int, date | None]]:
    """The current line's batches as (kind, quantity, date), oldest first."""
    batches = Batch.objects.filter(po_line=line_of(po_number, line_number)).order_by("pk")
    return [(batch.kind, int(batch.quantity), batch.delivered_on) for batch in batches]


def content() -> dict[str, list[dict[str, Any]]]:
    """All that a run may change beside its own record and the 'last seen' marks."""
    return {
        model.__name__: list(model._default_manager.order_by("pk").values())
        for model in (Supplier, POLine, StatusChange, Batch, ReceiptDateNote, ERPReceipt)
    } | {
        "ERPChangeEvent": list(ERPChangeEvent.objects.order_by("pk").values()),
        "XrefGap": list(XrefGap.objects.order_by("pk").values("pk", "first_seen", "resolved_at")),
    }


def log_of(identifier: str) -> list[dict[str, Any]]:
    """The lines of the log file that carry the id of this run."""
    file = settings.LOG_DIR / "ingestion.log"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["correlation_id"] == identifier]


def messages_of(report: Report) -> str:
    """Everything the report warns about, and what to do, as one text."""
    return "\n".join(f"{e['message']} {e['remedy']}" for e in report.errors_encountered)


def _section(name: str, content: dict[str, Any]) -> list[str]:
    if not content:
        return []
    return ["", f"[{name}]", *(f"{json.dumps(key)} = {_toml(v)}" for key, v in content.items())]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + " }"
    return json.dumps(value)


def _stored(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
