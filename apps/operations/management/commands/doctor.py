"""Is everything in order? One screen for the administrator, one JSON object for monitors.

Changes nothing, but for a file in the log folder that is removed at once. Exit codes: 0 in order,
also with warnings; 1 at least one error; 2 wrong usage; 3 warnings under --strict.

The keys of `--json`: status (ok, warning or error: the worst of all), checks (list of {name,
status, message, remedy, seconds}; one check may have several entries).
"""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.ingestion.management.output import EXIT_FAILED, console_of
from apps.operations import doctor
from apps.operations.finding import Status

EXIT_WARNINGS = 3


class Command(BaseCommand):
    help = "Tells on one screen whether everything is in order, and how to cure what is not."
    # It must be able to report that the database is not there; Django's own check would not.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--strict", action="store_true", help="exit with 3 instead of 0 when there are warnings"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        found = doctor.examine()
        if options["json"]:
            self.stdout.write(found.as_json())
        else:
            found.print_to(console_of(self))
        if found.status is Status.ERROR:
            sys.exit(EXIT_FAILED)
        if found.status is Status.WARNING and options["strict"]:
            sys.exit(EXIT_WARNINGS)
