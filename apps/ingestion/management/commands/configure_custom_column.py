"""Says what one of the 15 custom columns means and who fills it; without SLOT, shows them all.

A new column needs --label and --source; of an existing one, only what is given changes. If the ERP
and its mapping are configured, the ERP's column must exist. Values on lines are never touched.
Exit codes: 0 done, or nothing to change; 1 the ERP or the database could not be asked; 2 wrong
usage; 4 the database is being written by another process.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandParser
from rich import box
from rich.console import Console
from rich.table import Table

from apps.ingestion.erp.mapping import load_mapping
from apps.ingestion.erp.preflight import examine, has_erp
from apps.ingestion.erp.reader import ErpReader
from apps.ingestion.errors import UsageError
from apps.ingestion.management.output import actor, console_of, told
from apps.po.models import CUSTOM_SLOTS, CustomColumn
from apps.po.services import configure_custom_column


class Command(BaseCommand):
    help = "Configures a custom column; without SLOT, shows all of them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slot", nargs="?", metavar="SLOT", help="for instance custom_date_1")
        parser.add_argument("--label", help="what people read above the column")
        parser.add_argument("--source", choices=CustomColumn.Source.values, help="who fills it")
        parser.add_argument(
            "--erp-column", metavar="COL", help="the ERP's column, written as in the mapping file"
        )
        parser.add_argument(
            "--activate", dest="active", action="store_true", default=None, help="show it again"
        )
        parser.add_argument(
            "--deactivate", dest="active", action="store_false", default=None,
            help="hide it and stop reading it; its values stay",
        )  # fmt: skip

    def handle(self, *args: Any, slot: str | None, **options: Any) -> None:
        console = console_of(self)
        wanted = {name: options[name] for name in ("label", "source", "erp_column", "active")}
        with told(self, as_json=False):
            if slot is not None:
                console.print(self._configure(slot, wanted))
                console.print()
            elif any(value is not None for value in wanted.values()):
                raise UsageError("Which column?", f"Name a slot, for instance {CUSTOM_SLOTS[0]}.")
            _show_all(console)

    def _configure(self, slot: str, wanted: dict[str, Any]) -> str:
        if all(value is None for value in wanted.values()):
            raise UsageError(
                f"What shall change about {slot}?",
                "Give --label, --source, --erp-column, --activate or --deactivate.",
            )
        # Before the change: no transaction of ours waits for the ERP's server.
        looked_up = _look_up(slot, wanted)
        try:
            column, changed = configure_custom_column(slot=slot, actor=actor(), **wanted)
        except ValidationError as error:
            raise UsageError(" ".join(error.messages), "Nothing was changed.") from error
        return _in_words(column, changed=changed, looked_up=looked_up)


def _look_up(slot: str, wanted: dict[str, Any]) -> bool:
    """Whether the ERP's column was looked up; False where there is nothing to look up or no ERP.

    Raises UsageError when the ERP does not have it, ErpError when the ERP cannot be asked.
    """
    known = CustomColumn.objects.filter(slot=slot).first() or CustomColumn(slot=slot)
    source = wanted["source"] or known.source
    path = (wanted["erp_column"] or known.erp_column).strip()
    active = known.active if wanted["active"] is None else wanted["active"]
    if slot not in CUSTOM_SLOTS or not active or source != CustomColumn.Source.ERP or not path:
        return False
    if not has_erp() or not settings.ERP_MAPPING_FILE:
        return False
    mapping = load_mapping()
    reader = ErpReader(mapping, {slot: path})
    with reader.reading():
        found = examine(mapping, reader.custom_columns, reader.connection)
    if found.type_of(mapping.lines, reader.custom_columns[slot]) is None:
        raise UsageError("\n".join(found.problems), "Nothing was changed.")
    return True


def _in_words(column: CustomColumn, *, changed: bool, looked_up: bool) -> str:
    if not changed:
        return f"{column.slot} is set up like that already."
    if not column.active:
        return f"{column.slot} is hidden and not read any more; its values stay."
    if column.source == CustomColumn.Source.USER:
        return f"{column.slot} is filled by people; values that are there stay."
    said = f"{column.slot} is filled from the ERP's column {column.erp_column} by the next run."
    return said if looked_up else f"{said} No ERP is configured here, so it was not looked up."


def _show_all(console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    table.add_column("Slot", no_wrap=True)
    for header in ("Label", "Filled by", "ERP column", "Shown"):
        table.add_column(header, overflow="fold")
    configured = {column.slot: column for column in CustomColumn.objects.all()}
    for slot in CUSTOM_SLOTS:
        if slot in configured:
            column = configured[slot]
            table.add_row(
                slot,
                column.label,
                "the ERP" if column.source == CustomColumn.Source.ERP else "people",
                column.erp_column,
                "yes" if column.active else "no",
            )
    if configured:
        console.print(table)
        console.print()
    free = [slot for slot in CUSTOM_SLOTS if slot not in configured]
    console.print(f"Free: {', '.join(free) or 'none'}")
