"""What happened in a run, as one object with three outputs: table, JSON, log line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from apps.ingestion.models import IngestionRun, RunStatus

# The longest list of item codes that the console shows; the JSON has all.
_CODES_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Report:
    """The report of one run; its fields are the JSON keys (docs/ingestion.md)."""

    run_identifier: str
    mode: str
    status: str
    started_at: str
    finished_at: str
    duration_seconds: float
    stage_seconds: dict[str, float]
    po_lines_processed: int
    new_lines_created: int
    lines_changed: int
    change_events_detected: int
    lines_left: int
    lines_returned: int
    batches_reconstructed: int
    custom_columns_populated: int
    xref_gaps_found: int
    unmapped_item_codes: list[dict[str, Any]]
    rejected_rows: int
    erp_attempts: int
    errors_encountered: list[dict[str, str]]
    # For the console only; the keys of the JSON object are fixed.
    erp_read: str = field(default="", metadata={"console_only": True})
    rows_read: int = field(default=0, metadata={"console_only": True})

    @classmethod
    def of(cls, run: IngestionRun) -> Report:
        """The report of a finished run."""
        assert run.finished_at is not None
        return cls(
            run_identifier=str(run.identifier),
            mode=run.mode,
            status=run.status,
            started_at=run.started_at.isoformat(),
            finished_at=run.finished_at.isoformat(),
            duration_seconds=run.duration_seconds or 0.0,
            stage_seconds=dict(run.stage_seconds),
            po_lines_processed=run.po_lines_processed,
            new_lines_created=run.new_lines_created,
            lines_changed=run.lines_changed,
            change_events_detected=run.change_events_detected,
            lines_left=run.lines_left,
            lines_returned=run.lines_returned,
            batches_reconstructed=run.batches_reconstructed,
            custom_columns_populated=run.custom_columns_populated,
            xref_gaps_found=run.xref_gaps_found,
            unmapped_item_codes=list(run.unmapped_item_codes),
            rejected_rows=run.rejected_rows,
            erp_attempts=run.erp_attempts,
            errors_encountered=list(run.errors_encountered),
            erp_read=_span(run.extraction_started_at, run.extraction_finished_at),
            rows_read=run.rows_read,
        )

    def as_dict(self) -> dict[str, Any]:
        """The JSON object, keys in their documented order."""
        return {
            key.name: getattr(self, key.name)
            for key in fields(self)
            if not key.metadata.get("console_only")
        }

    def as_json(self) -> str:
        return json.dumps(self.as_dict(), ensure_ascii=False)

    def print_to(self, console: Console) -> None:
        """The table for people, then what needs attention and what to do about it."""
        title = f"Ingestion {self.mode}: {self.status}"
        table = Table(title=title, title_justify="left", show_header=False)
        table.add_column()
        table.add_column(justify="right")
        stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.stage_seconds.items())
        for label, value in (
            ("Run", self.run_identifier),
            ("Started", _to_the_second(self.started_at)),
            ("Finished", _to_the_second(self.finished_at)),
            ("Seconds", f"{self.duration_seconds:.2f}"),
            ("of which", stages),
            ("ERP read", self.erp_read),
            ("Rows read", f"{self.rows_read:,}" if self.erp_read else ""),
            ("Lines processed", f"{self.po_lines_processed:,}"),
            ("New lines", f"{self.new_lines_created:,}"),
            ("Lines changed", f"{self.lines_changed:,}"),
            ("Change events", f"{self.change_events_detected:,}"),
            ("Lines left", f"{self.lines_left:,}"),
            ("Lines returned", f"{self.lines_returned:,}"),
            ("Batches", f"{self.batches_reconstructed:,}"),
            ("Custom values", f"{self.custom_columns_populated:,}"),
            ("Item codes without cross-reference", f"{self.xref_gaps_found:,}"),
            ("Rejected rows", f"{self.rejected_rows:,}"),
            ("ERP attempts", f"{self.erp_attempts:,}"),
        ):
            if not value:
                continue  # a report made from its JSON object does not know when the ERP was read
            table.add_row(label, Text(value))
        console.print(table)
        for entry in self.errors_encountered:
            console.print(f"{entry['stage']}: {entry['message']}")
            console.print(f"  -> {entry['remedy']}")
        if self.unmapped_item_codes:
            shown = [
                f"{entry['supplier']}/{entry['item_code']}"
                for entry in self.unmapped_item_codes[:_CODES_SHOWN]
            ]
            more = len(self.unmapped_item_codes) - len(shown)
            console.print(
                f"xref: no cross-reference for {', '.join(shown)}"
                + (f" and {more:,} more" if more else "")
            )
            console.print("  -> Map them with import_xref; the next run applies it.")

    def log_line(self) -> str:
        """One line for the log file; the counters ride along as fields."""
        what = "failed" if self.status == RunStatus.FAILED else "completed"
        return (
            f"Ingestion {what}: {self.status}, {self.po_lines_processed:,} lines, "
            f"{self.change_events_detected:,} changes, {self.batches_reconstructed:,} batches, "
            f"{self.duration_seconds:.2f} s"
        )


def _span(start: datetime | None, end: datetime | None) -> str:
    if start is None or end is None:
        return "not finished"
    return f"{start:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC"


def _to_the_second(moment: str) -> str:
    return moment[:19].replace("T", " ") + " UTC"
