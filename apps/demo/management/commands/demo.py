"""Shows PO Tracking at work on a simulated company: a baseline and some weeks of nights.

Steps: make the application's database, write the simulated ERP, run the baseline, map most item
codes, then let the ERP live and run the ingestion night by night, each as the real command in a
process of its own; print the nights and the last report; see to it that a person of each role can
sign in, print their names and passwords, and serve the pages until Ctrl+C. Development settings
only: others do not have this command.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from apps.core.clock import business_today
from apps.demo.market import XrefRow
from apps.demo.people import PEOPLE, PEOPLES_COLUMNS, settle_people
from apps.demo.sqlite_erp import CUSTOM_COLUMNS
from apps.demo.world import World
from apps.ingestion.management.output import actor, console_of
from apps.ingestion.report import Report
from apps.po.models import Supplier

# (heading, width, what of the report)
_COLUMNS: tuple[tuple[str, int, str], ...] = (
    ("lines", 8, "po_lines_processed"),
    ("changes", 9, "change_events_detected"),
    ("new", 7, "new_lines_created"),
    ("left", 6, "lines_left"),
    ("back", 5, "lines_returned"),
    ("batches", 9, "batches_reconstructed"),
    ("gaps", 7, "xref_gaps_found"),
    ("rejected", 9, "rejected_rows"),
    ("seconds", 8, "duration_seconds"),
)
# Now and then somebody maps the new item codes, as an administrator would.
_NIGHTS_BETWEEN_IMPORTS = 7


_DEFAULTS = {"nights": 30, "lines": 5_000, "seed": 1}


class Command(BaseCommand):
    help = (
        "Builds a simulated ERP, runs a baseline and many nights over it, and shows what came out."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--nights", type=int, help="nights after the baseline (30)")
        parser.add_argument("--lines", type=int, help="active lines (5000)")
        parser.add_argument("--seed", type=int, help="another seed, another history (1)")
        parser.add_argument(
            "--no-serve",
            action="store_true",
            help="end here, without serving the pages",
        )
        parser.add_argument("--fresh", action="store_true", help="throw away an earlier demo first")

    def handle(self, *args: Any, **options: Any) -> None:
        asked = {name: options[name] for name in _DEFAULTS if options[name] is not None}
        wanted = _DEFAULTS | asked
        if wanted["nights"] < 0 or wanted["lines"] < 1:
            raise CommandError("--nights must be 0 or more, --lines 1 or more.")
        self.console = console_of(self)
        demo = Demo(settings.BASE_DIR / "var")
        if options["fresh"]:
            demo.remove()
        built = demo.built_as()
        if built is None:
            demo.remove()
            self._build(demo, **wanted)
            demo.mark_built(wanted)
        elif built != built | asked:
            shown = ", ".join(f"--{name} {value}" for name, value in built.items())
            raise CommandError(
                f"There is a demo already, made with {shown}. Add --fresh to make it anew."
            )
        else:
            self.console.print("The demo is there already (--fresh makes it anew).")
            call_command("migrate", verbosity=0)  # an earlier version may have made it
            call_command("ingestion_history", stdout=self.stdout)
        settle_people(actor=actor())
        self._say_how_to_look()
        self._say_who_can_sign_in()
        if not options["no_serve"]:
            # The error pages that users see, and not Django's for developers.
            settings.DEBUG = False
            call_command("serve", stdout=self.stdout, stderr=self.stderr)

    def _build(self, demo: Demo, *, nights: int, lines: int, seed: int) -> None:
        self.console.print(
            f"Making a simulated ERP with {lines:,} active lines of 30 suppliers ..."
        )
        call_command("migrate", verbosity=0)
        first_day = business_today() - timedelta(days=nights)
        world = World(seed=seed, lines=lines, start=first_day)
        world.write(demo.erp)
        for slot, (label, column) in CUSTOM_COLUMNS.items():
            call_command(
                "configure_custom_column", slot, label=label, source="erp", erp_column=column,
                verbosity=0, stdout=io.StringIO(),
            )  # fmt: skip
        for slot, label in PEOPLES_COLUMNS.items():
            call_command(
                "configure_custom_column", slot, label=label, source="user",
                verbosity=0, stdout=io.StringIO(),
            )  # fmt: skip
        self.console.print(
            "night     " + "".join(f"{name:>{width}}" for name, width, _ in _COLUMNS)
        )
        report = self._night(first_day)
        demo.import_xref(world.xref_entries())
        for number in range(1, nights + 1):
            world.live_one_night()
            world.save(demo.erp)
            report = self._night(world.today)
            if number % _NIGHTS_BETWEEN_IMPORTS == 0:
                demo.import_xref(world.close_gaps(at_most=20))
        self.console.print()
        report.print_to(self.console)

    def _night(self, day: date) -> Report:
        """One run of the real command, as a scheduler would start it."""
        command = [sys.executable, "manage.py", "run_ingestion", "--json", "--as-of", str(day)]
        done = subprocess.run(  # noqa: S603  # our own command
            command,
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            check=False,
        )
        if done.returncode != 0:
            raise CommandError(
                f"The night of {day} failed with exit code {done.returncode}:\n"
                f"{done.stdout}{done.stderr}"
            )
        told = json.loads(done.stdout)
        report = Report(**told)
        cells = "".join(f"{_shown(told[key]):>{width}}" for _, width, key in _COLUMNS)
        night = "baseline" if report.mode == "baseline" else str(day)
        self.console.print(f"{night:<10}{cells}")
        return report

    def _say_how_to_look(self) -> None:
        python = Path(sys.executable)
        if python.is_relative_to(settings.BASE_DIR):
            python = python.relative_to(settings.BASE_DIR)
        self.console.print(
            "\nLook at it from the command line:\n"
            f"  {python} manage.py ingestion_history  the nights\n"
            f"  {python} manage.py check_erp          the ERP and its mapping\n"
            f"  {python} manage.py run_ingestion      once more: nothing is new\n"
            f"The application's database (SQLite): {connection.settings_dict['NAME']}"
        )

    def _say_who_can_sign_in(self) -> None:
        self.console.print("\nOr sign in with a browser (Ctrl+C ends the server), as")
        for person in PEOPLE:
            self.console.print(f"  {person.role.label:<14} {person.name:<8} {person.password}")
        self.console.print()


class Demo:
    """The demo's files."""

    def __init__(self, folder: Path) -> None:
        self.erp = folder / "demo_erp.sqlite3"
        self.application = folder / "po_tracking.sqlite3"
        self._mark = folder / "demo.json"
        self._xref = folder / "demo_xref.csv"
        configured = (connection.settings_dict["NAME"], settings.DATABASES["erp"]["NAME"])
        if str(configured[0]) != str(self.application) or str(self.erp.name) not in configured[1]:
            raise CommandError(
                "The demo only uses its own databases. Unset DATABASE_URL and ERP_DATABASE_URL "
                "(environment or .env) for it."
            )

    def built_as(self) -> dict[str, int] | None:
        """The options of a complete demo, or None if there is none or it was interrupted."""
        if not (self._mark.exists() and self.application.exists() and self.erp.exists()):
            return None
        built: dict[str, int] = json.loads(self._mark.read_text(encoding="utf-8"))
        return built

    def mark_built(self, options: dict[str, int]) -> None:
        self._mark.write_text(json.dumps(options), encoding="utf-8")

    def remove(self) -> None:
        """Deletes the demo's files. Raises CommandError where another program has one open."""
        connection.close()
        sidecars = [
            self.application.with_name(self.application.name + end) for end in ("-wal", "-shm")
        ]
        for file in (self._mark, self.application, *sidecars, self.erp, self._xref):
            try:
                file.unlink(missing_ok=True)
            except PermissionError as error:
                raise CommandError(
                    f"{file} is in use. Close the program that has it open, then start again."
                ) from error

    def import_xref(self, entries: Iterable[XrefRow]) -> None:
        """Maps item codes the way an administrator does before the pages exist: from a file."""
        with self._xref.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("supplier", "item_code", "sku", "item"))
            writer.writerows(
                (entry.supplier_code or "", entry.item_code, entry.sku, entry.item)
                for entry in of_known_suppliers(entries)
            )
        call_command("import_xref", str(self._xref), stdout=io.StringIO())


def of_known_suppliers(entries: Iterable[XrefRow]) -> list[XrefRow]:
    """Without those of suppliers that the application does not know yet: in a small world some have
    no line, and the import refuses a supplier that no night has brought."""
    known = {None, "", *Supplier.objects.values_list("code", flat=True)}
    return [entry for entry in entries if entry.supplier_code in known]


def _shown(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else f"{value:,}"
