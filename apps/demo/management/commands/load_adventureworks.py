"""Writes Microsoft's AdventureWorks sample as an ERP database on SQLite (docs/erp-mapping.md)."""

from __future__ import annotations

import sqlite3
from argparse import ArgumentParser, ArgumentTypeError
from datetime import date
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.demo.adventureworks import Replay


class Command(BaseCommand):
    help = (
        "Writes the purchasing part of AdventureWorks as an SQLite ERP. Run it again with a later "
        "--on to bring the file forward, as if time had passed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="where the sample's tab-separated files are")
        parser.add_argument("file", type=Path, help="the SQLite file to write")
        parser.add_argument(
            "--on",
            type=_date,
            default=date.max,
            metavar="YYYY-MM-DD",
            help="write the ERP as it stood after this day (default: as it ends)",
        )

    def handle(self, *, folder: Path, file: Path, on: date, **options: Any) -> None:
        try:
            replay = Replay(folder)
        except FileNotFoundError as error:
            raise CommandError(
                f"{error.filename} is missing. Give the folder that holds the .csv files."
            ) from error
        try:
            replay.write(file, on)
        except ValueError as error:
            raise CommandError(str(error)) from error
        except sqlite3.Error as error:
            raise CommandError(
                f"{file} could not be written: {error}. Name a new file in a folder that exists."
            ) from error
        first, *_, last = replay.dates
        self.stdout.write(
            f"{file} holds AdventureWorks as of {min(on, last)}; it lives from {first} to {last}."
        )


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text} is not a date. Write it as YYYY-MM-DD.") from None
