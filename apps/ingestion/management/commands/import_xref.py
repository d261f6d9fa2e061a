"""Imports a cross-reference file (CSV or .xlsx): which ERP item code is which SKU and item.

The first row names the columns: supplier (the ERP's code; empty: any supplier), item_code, sku
and, optionally, item. Good rows are saved in one transaction with one audit event, even if other
rows are left out. Exit codes: 0 every row is in, 1 rows were left out or the file could not be
read, 2 wrong usage, 4 the database is being written by another process.

The keys of `--json`: file, read_as, dry_run, replace, ignored_columns, rows, imported (new
entries), updated (replaced ones), unchanged (in already, or repeated in the file), conflicting and
wrong (lists of {row, reason}), gaps_mapped and gaps_left (item codes that the last run found
unmapped). If nothing could be read: {status, error}.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.ingestion.management.output import EXIT_FAILED, actor, console_of, told
from apps.ingestion.xref_import import import_file


class Command(BaseCommand):
    help = "Imports cross-reference entries (supplier, item_code, sku, item) from CSV or .xlsx."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="a .csv or .xlsx file")
        parser.add_argument("--dry-run", action="store_true", help="only report, save nothing")
        parser.add_argument(
            "--replace", action="store_true",
            help="overwrite entries that say something else; otherwise they are conflicts",
        )  # fmt: skip
        parser.add_argument(
            "--encoding", help="of a CSV file that is not Unicode, for instance cp1252 or gb18030"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        with told(self, as_json=options["json"]):
            report = import_file(
                options["file"],
                actor=actor(),
                dry_run=options["dry_run"],
                replace=options["replace"],
                encoding=options["encoding"],
            )
        if options["json"]:
            self.stdout.write(report.as_json())
        else:
            report.print_to(console_of(self))
        if not report.is_complete:
            sys.exit(EXIT_FAILED)
