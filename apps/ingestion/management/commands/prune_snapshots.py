"""Removes the snapshot rows of old runs, never those of the last applied run, never history.

May run beside an ingestion, may be killed and started again. Exit codes: 0 done, or nothing to
remove; 1 the database refused; 2 wrong usage; 4 another process keeps the database locked.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from apps.ingestion.context import NoProgress
from apps.ingestion.management.output import actor, console_of, told
from apps.ingestion.management.progress import ConsoleProgress
from apps.ingestion.retention import prune_snapshots


class Command(BaseCommand):
    help = "Removes the snapshot rows of all but the newest runs; change events and audit stay."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--keep", type=int, metavar="N",
            help="applied runs whose rows stay, at least 1 (default: INGESTION_SNAPSHOTS_KEPT)",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        keep = settings.INGESTION_SNAPSHOTS_KEPT if options["keep"] is None else options["keep"]
        console = console_of(self)
        progress = ConsoleProgress(console) if console.is_terminal else NoProgress()
        with told(self, as_json=False), progress:
            progress.stage("removing")
            pruned = prune_snapshots(keep=keep, actor=actor(), watch=progress.rows)
        if pruned.rows:
            console.print(f"Removed {pruned.rows:,} snapshot rows of {pruned.runs:,} runs.")
        else:
            console.print(f"Nothing to remove: no run but the newest {keep:,} has snapshot rows.")
