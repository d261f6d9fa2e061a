"""Reads the ERP and brings the application up to date: the one command to schedule.

Exit codes: 0 success or partial; 1 failed; 2 wrong usage; 3 partial under --strict; 4 another run
is active. docs/ingestion.md explains the report, docs/operations.md what to do when.
"""

from __future__ import annotations

import gc
import json
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.ingestion import pipeline
from apps.ingestion.context import NoProgress, Progress, RunOptions, Stop
from apps.ingestion.errors import IngestionError, RunActiveError, UsageError
from apps.ingestion.management.output import EXIT_ACTIVE, EXIT_FAILED, EXIT_USAGE, console_of
from apps.ingestion.management.progress import ConsoleProgress
from apps.ingestion.models import RunStatus

logger = logging.getLogger(__name__)

EXIT_PARTIAL = 3


class Command(BaseCommand):
    help = "Reads the supplier ERP (read-only), keeps every difference, rebuilds deliveries."
    # A run must be able to report that the database is not there; Django's own check would not.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--baseline",
            action="store_true",
            help="first run: compare with nothing (it is by itself)",
        )
        parser.add_argument(
            "--accept-drop",
            action="store_true",
            help="apply even if far fewer lines came than before",
        )
        parser.add_argument(
            "--strict", action="store_true", help="exit with 3 instead of 0 when the run is partial"
        )
        parser.add_argument(
            "--json", action="store_true", help="print the report as one JSON object"
        )
        parser.add_argument(
            "--as-of", metavar="YYYY-MM-DD",
            help="stamp the run with a past date, to replay old backups of the ERP in order",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        gc.freeze()  # what is loaded by now stays; looking through it each time costs 5% of a night
        stop = Stop()
        console = console_of(self)
        progress: Progress = NoProgress()
        if console.is_terminal and not options["json"]:
            progress = ConsoleProgress(console)
        try:
            run_options = RunOptions(
                baseline=options["baseline"],
                accept_drop=options["accept_drop"],
                as_of=_as_of(options["as_of"]),
            )
            with progress, _ending_when_told(stop):
                report = pipeline.run(options=run_options, progress=progress, stop=stop)
        except (UsageError, RunActiveError) as error:
            self._refuse(error, as_json=options["json"])
        if options["json"]:
            self.stdout.write(report.as_json())
        else:
            report.print_to(console)
        if report.status == RunStatus.FAILED:
            sys.exit(EXIT_FAILED)
        if report.status == RunStatus.PARTIAL and options["strict"]:
            sys.exit(EXIT_PARTIAL)

    def _refuse(self, error: IngestionError, *, as_json: bool) -> None:
        active = isinstance(error, RunActiveError)
        if as_json:
            status = "active" if active else "usage"
            self.stdout.write(
                json.dumps({"status": status, "error": f"{error.message} {error.remedy}"})
            )
        else:
            self.stderr.write(f"{error.message}\n{error.remedy}")
        sys.exit(EXIT_ACTIVE if active else EXIT_USAGE)


def _as_of(text: str | date | None) -> date | None:
    """The date of --as-of. Raises UsageError, which the log and --json tell too."""
    if text is None or isinstance(text, date):
        return text
    try:
        return date.fromisoformat(text)
    except ValueError:
        error = UsageError(f'--as-of "{text}" is not a date.', "Give it as YYYY-MM-DD.")
        logger.warning("Ingestion not started: %s", error.message)
        raise error from None


@contextmanager
def _ending_when_told(stop: Stop) -> Iterator[None]:
    """SIGTERM, Ctrl+C and (Windows) Ctrl+Break end the run cleanly, between two chunks."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python hands signals to the main thread only
        return
    names = [name for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), lambda *_: stop.wish()) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
