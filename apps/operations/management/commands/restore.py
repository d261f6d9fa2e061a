"""Restores a backup into the application's database.

Refuses a database that holds anything, unless --force is given, and any while an ingestion runs.
Exit codes: 0 restored and checked; 1 not restored (the message says what the database holds now);
2 wrong usage, or the database is not empty; 4 an ingestion is running.

The keys of `--json`: path, made_at, engine, product_version, seconds, rows (object: lines, runs,
change_events, audit_events, as the backup tells them), replaced (object: table -> rows that were
there before), must_migrate (true: run `migrate` now), warnings. If it failed: {status, error}.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.ingestion.management.output import actor, told
from apps.operations.backups.restoring import Restored, restore


class Command(BaseCommand):
    help = "Restores a backup into the application's database, which must be empty unless told."
    # The database may be missing or broken, which is why somebody restores.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "path", type=Path, metavar="PATH", help="the folder that backup has printed"
        )
        parser.add_argument(
            "--force", action="store_true", help="replace a database that is not empty"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        with told(self, as_json=options["json"]):
            restored = restore(options["path"], force=options["force"], actor=actor())
        if options["json"]:
            self.stdout.write(json.dumps(_as_dict(restored), ensure_ascii=False))
        else:
            self._tell(restored)

    def _tell(self, restored: Restored) -> None:
        manifest = restored.backup.manifest
        held = ", ".join(
            f"{rows:,} {name.replace('_', ' ')}" for name, rows in manifest.rows.items()
        )
        self.stdout.write(
            f"Restored the backup of {manifest.made_at} in {restored.seconds:.1f} s: {held}."
        )
        for warning in restored.warnings:
            self.stderr.write(warning)
        if restored.must_migrate:
            self.stdout.write("The backup is older than this version: run manage.py migrate now.")
        self.stdout.write("Then run_ingestion brings the ERP's present state.")


def _as_dict(restored: Restored) -> dict[str, Any]:
    manifest = restored.backup.manifest
    return {
        "path": str(restored.backup.folder),
        "made_at": manifest.made_at,
        "engine": manifest.engine,
        "product_version": manifest.product_version,
        "seconds": restored.seconds,
        "rows": manifest.rows,
        "replaced": restored.replaced,
        "must_migrate": restored.must_migrate,
        "warnings": restored.warnings,
    }
