"""Makes a backup of the application's database; may run at any time, also beside an ingestion.

Prints the folder of the new backup. Exit codes: 0 the backup is made and checked, also where an
older one could not be removed, which is told; 1 it is not made; 2 wrong usage.

The keys of `--json`: path (the folder), data (the file; on SQL Server's own disk there), bytes
(null where only the server can see it), sha256 (null there), seconds, made_at, engine, rows
(object: lines, runs, change_events, audit_events), removed and left (folders of older backups that
--keep removed, and that it could not remove). If it failed: {status, error}.

`--check` makes nothing: exit code 0 a backup could be made and restored; 1 it could not, and each
reason is told with its cure; 4 an ingestion is running. Its keys: status (ok or failed), missing
(list of {message, remedy}).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from apps.ingestion.management.output import EXIT_FAILED, told
from apps.operations.backups.checking import lacks
from apps.operations.backups.errors import BackupError
from apps.operations.backups.making import Made, back_up


class Command(BaseCommand):
    help = "Makes a consistent backup of the application's database, also while it is used."
    # It must be able to report that the database is not there; Django's own check would not.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--to", type=Path, metavar="FOLDER",
            help="where the backup goes, in a folder of its own (default: BACKUP_DIR)",
        )  # fmt: skip
        parser.add_argument(
            "--keep", type=int, metavar="N",
            help="then remove this database's older backups there, but for the newest N",
        )  # fmt: skip
        parser.add_argument(
            "--check", action="store_true",
            help="make nothing; tell whether a backup could be made now, and restored",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        folder = options["to"] or Path(settings.BACKUP_DIR)
        with told(self, as_json=options["json"]):
            if options["check"]:
                missing = lacks(folder)
            else:
                made = back_up(folder, keep=options["keep"])
        if options["check"]:
            self._tell_what_is_missing(folder, missing, as_json=options["json"])
            return
        if options["json"]:
            self.stdout.write(json.dumps(_as_dict(made), ensure_ascii=False))
        else:
            self._tell(made)

    def _tell_what_is_missing(
        self, folder: Path, missing: Sequence[BackupError], *, as_json: bool
    ) -> None:
        """Ends with exit code 1 if anything is."""
        if as_json:
            told = [{"message": error.message, "remedy": error.remedy} for error in missing]
            answer = {"status": "failed" if missing else "ok", "missing": told}
            self.stdout.write(json.dumps(answer, ensure_ascii=False))
        elif not missing:
            self.stdout.write(f"A backup could be made in {folder}, and restored.")
        else:
            for error in missing:
                self.stderr.write(f"{error.message}\n{error.remedy}")
        if missing:
            sys.exit(EXIT_FAILED)

    def _tell(self, made: Made) -> None:
        manifest = made.backup.manifest
        size = "" if manifest.bytes is None else f"{manifest.bytes / 1e6:,.1f} MB "
        held = ", ".join(
            f"{rows:,} {name.replace('_', ' ')}" for name, rows in manifest.rows.items()
        )
        self.stdout.write(str(made.backup.folder))
        self.stdout.write(f"{size}in {made.seconds:.1f} s, checked: {held}.")
        if manifest.data_is_on_server:
            self.stdout.write(f"The data are on the server's disk: {manifest.data}")
        if made.pruned.removed:
            self.stdout.write(f"Removed {len(made.pruned.removed):,} older backup(s).")
        for left, why in made.pruned.left.items():
            self.stderr.write(f"Not removed: {left}. {why}")


def _as_dict(made: Made) -> dict[str, Any]:
    backup, manifest = made.backup, made.backup.manifest
    return {
        "path": str(backup.folder),
        "data": manifest.data if manifest.data_is_on_server else str(backup.data),
        "bytes": manifest.bytes,
        "sha256": manifest.sha256,
        "seconds": made.seconds,
        "made_at": manifest.made_at,
        "engine": manifest.engine,
        "rows": manifest.rows,
        "removed": made.pruned.removed,
        "left": list(made.pruned.left),
    }
