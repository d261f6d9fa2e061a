"""Would a run work? One screen for the administrator, one JSON object for monitors.

Connects once, without retries, reads every active line once, and writes nothing. Exit codes: 0 a
run would work, 1 it would not, 2 wrong usage.

The keys of `--json` (null is "could not be found out"):

- `would_run`: true exactly when the exit code is 0
- `problems`, `warnings`: lists of {stage, message, remedy}; only problems keep a run from working
- `application`: {reachable, migrated, writable, last_applied_run}
- `mapping_file`: the path, null when none is configured
- `connection`: {ok, milliseconds, server, address, login}, null when no ERP is configured
- `read_only`: {login_can_write, statement}
- `columns`: list of {section, field, column, type}; type null: the ERP has no such column
- `status_codes`: list of {code, lines, meaning, closed}; meaning null: not in the mapping
- `lines`: {active, closed, aged_out, rejected, duplicates, suppliers, item_codes, seconds,
  new_suppliers, unmapped_item_codes}, null when the lines were not read
- `rejections`: the first rows that a run would reject, {po_number, line_number, reason}
- `unmapped_item_codes`: all of them, {supplier, item_code, lines}, the most used first
- `receipts`: {table, receipts, rejected}, null without a receipts relation
- `sample`: up to three lines, {stored: {field: value}, derived: {sku, item, status}}
"""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.ingestion import erp_check
from apps.ingestion.context import NoProgress
from apps.ingestion.management.output import EXIT_FAILED, console_of
from apps.ingestion.management.progress import ConsoleProgress


class Command(BaseCommand):
    help = "Tells in one screen whether a run would work, and what to cure if not. Changes nothing."
    # It must be able to report that the database is not there; Django's own check would not.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        console = console_of(self)
        watched = console.is_terminal and not options["json"]
        progress = ConsoleProgress(console) if watched else NoProgress()
        with progress:
            result = erp_check.check(progress)
        if options["json"]:
            self.stdout.write(result.as_json())
        else:
            result.print_to(console)
        if not result.would_run:
            sys.exit(EXIT_FAILED)
