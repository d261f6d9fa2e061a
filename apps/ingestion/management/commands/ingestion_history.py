"""Shows the last runs, the newest first, and the first error of each that has one.

`--json` prints a list of objects: number, run_identifier, run_date, mode, status, stage, rows_read,
started_at, finished_at, duration_seconds, po_lines_processed, new_lines_created, lines_changed,
lines_left, lines_returned, batches_reconstructed, xref_gaps_found, rejected_rows,
change_events_detected, errors_encountered. A run that is marked running although its process is
gone has the status "stopped unexpectedly". Exit codes: 0 shown; 1 the database could not be read;
2 wrong usage.
"""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.ingestion.errors import UsageError
from apps.ingestion.history import last_runs, print_runs
from apps.ingestion.management.output import console_of, told


class Command(BaseCommand):
    help = "Shows the last ingestion runs as a table."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, default=20, metavar="N", help="how many runs (20)")
        parser.add_argument("--json", action="store_true", help="print one JSON list")

    def handle(self, *args: Any, limit: int, **options: Any) -> None:
        with told(self, as_json=options["json"]):
            if limit < 1:
                raise UsageError(f"--limit {limit} shows nothing.", "Give 1 or more.")
            runs = last_runs(limit)
        if options["json"]:
            self.stdout.write(json.dumps(runs, ensure_ascii=False))
        else:
            print_runs(runs, console_of(self))
