"""Brings a file of cross-reference entries into the application (requirement FR7).

Good rows are taken even if others are not: what is left out comes back with its row number and the
reason. Importing the corrected file again is safe, for rows that are in already count as unchanged.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone
from rich import box
from rich.console import Console
from rich.table import Table

from apps.audit import services as audit
from apps.audit.models import AuditEvent, EventType
from apps.core.bulk import insert_rows, update_rows
from apps.ingestion.erp.mapping import nearest
from apps.ingestion.models import XrefEntry, XrefGap
from apps.ingestion.xref_file import Row, read_file
from apps.po.models import Supplier

_PROBLEMS_SHOWN = 20

_Key = tuple[str, str]  # supplier code, "" for any; ERP item code


@dataclass(frozen=True)
class RowProblem:
    """A row that was left out, and why."""

    row: int
    reason: str


@dataclass(kw_only=True)
class ImportReport:
    """What became of the rows; the fields are the JSON keys (see the command)."""

    file: str
    read_as: str
    dry_run: bool
    replace: bool
    ignored_columns: list[str]
    rows: int
    imported: int = 0
    updated: int = 0
    unchanged: int = 0
    conflicting: list[RowProblem] = field(default_factory=list)
    wrong: list[RowProblem] = field(default_factory=list)
    gaps_mapped: int = 0
    gaps_left: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether no row was left out."""
        return not self.conflicting and not self.wrong

    def as_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    def print_to(self, console: Console) -> None:
        """Counts, the rows left out, and what comes next. `console` must not read markup."""
        console.print(f"{self.file}: {self.read_as}", style="bold")
        if self.ignored_columns:
            console.print(f"Columns not used: {', '.join(self.ignored_columns)}")
        counts = Table.grid(padding=(0, 2))
        counts.add_column()
        counts.add_column(justify="right")
        for label, count in (
            ("Rows", self.rows),
            ("Imported", self.imported),
            ("Updated", self.updated),
            ("Unchanged", self.unchanged),
            ("Conflicting", len(self.conflicting)),
            ("Wrong", len(self.wrong)),
        ):
            counts.add_row(label, f"{count:,}")
        console.print(counts)
        for title, problems in (("Conflicting", self.conflicting), ("Wrong", self.wrong)):
            if problems:
                console.print()
                console.print(_table_of(title, problems))
        console.print()
        console.print(self._what_next())

    def _what_next(self) -> str:
        if self.dry_run:
            return "Dry run: nothing was saved. Import the file without --dry-run to save it."
        said = []
        if not self.is_complete:
            said.append(
                "Rows were left out, the others are saved. Correct these rows and import the file "
                "again."
            )
        if self.gaps_mapped:
            said.append(
                f"{self.gaps_mapped:,} item code(s) without cross-reference are mapped now, "
                f"{self.gaps_left:,} are left; the next run applies it."
            )
        elif self.imported or self.updated:
            said.append("The next run applies it.")
        else:
            said.append("No entry is new.")
        return "\n".join(said)


def import_file(
    path: Path,
    *,
    actor: audit.Actor,
    dry_run: bool = False,
    replace: bool = False,
    encoding: str | None = None,
) -> ImportReport:
    """Imports the file in one transaction, with one audit event; with `dry_run` only reports.

    An entry whose code is mapped to something else already is a conflict, or with `replace`
    overwritten. Raises UnreadableFileError when nothing can be read.
    """
    file = read_file(path, encoding)
    report = ImportReport(
        file=path.name,
        read_as=file.read_as,
        dry_run=dry_run,
        replace=replace,
        ignored_columns=file.ignored_columns,
        rows=len(file.rows),
    )
    with transaction.atomic():
        work = _Import(report, file.rows)
        if not dry_run:
            work.save(actor)
    return report


class _Import:
    """The rows of one file against the entries that exist."""

    def __init__(self, report: ImportReport, rows: Iterable[Row]) -> None:
        self.report = report
        self.suppliers = dict(Supplier.objects.values_list("code", "pk"))
        codes = {pk: code for code, pk in self.suppliers.items()}
        self.existing: dict[_Key, tuple[int, str, str]] = {
            (codes[supplier] if supplier else "", code): (pk, sku, item)
            for pk, supplier, code, sku, item in XrefEntry.objects.values_list(
                "pk", "supplier_id", "erp_item_code", "sku", "item"
            )
        }
        self.unknown: dict[str, str] = {}
        self.new: list[Row] = []
        self.changed: list[tuple[int, Row, str, str]] = []  # key of the entry, row, old SKU, item
        for row in self._agreeing(self._right(rows)):
            self._compare(row)
        report.conflicting.sort(key=lambda problem: problem.row)
        report.imported, report.updated = len(self.new), len(self.changed)
        self._count_gaps()

    def save(self, actor: audit.Actor) -> None:
        """Writes new and changed entries, and the event that tells of them."""
        now = timezone.now()
        insert_rows(
            XrefEntry,
            ("supplier_id", "erp_item_code", "sku", "item", "updated_at"),
            (
                (self.suppliers.get(row.supplier), row.item_code, row.sku, row.item, now)
                for row in self.new
            ),
        )
        update_rows(
            XrefEntry,
            ("sku", "item", "updated_at"),
            ((row.sku, row.item or item, now, pk) for pk, row, _, item in self.changed),
        )
        report = self.report
        data: dict[str, Any] = {
            "file": report.file,
            "rows": report.rows,
            "imported": report.imported,
            "updated": report.updated,
            "unchanged": report.unchanged,
            "conflicting": len(report.conflicting),
            "wrong": len(report.wrong),
            # The only place that still knows what a replaced entry said.
            "replaced": [
                {
                    "supplier": row.supplier,
                    "item_code": row.item_code,
                    "previous": {"sku": sku, "item": item},
                    "new": {"sku": row.sku, "item": row.item or item},
                }
                for _, row, sku, item in self.changed
            ],
        }
        audit.record(
            [audit.Event(event_type=EventType.XREF_IMPORTED, data=data)],
            actor=actor,
            correlation_id=AuditEvent.new_correlation_id(),
            effective_at=now,
        )

    def _right(self, rows: Iterable[Row]) -> Iterable[Row]:
        """The rows without fault; the others are reported."""
        for row in rows:
            reason = row.wrong
            if not reason and row.supplier and row.supplier not in self.suppliers:
                reason = self._unknown_supplier(row.supplier)
            if reason:
                self.report.wrong.append(RowProblem(row.number, reason))
            else:
                yield row

    def _unknown_supplier(self, code: str) -> str:
        if not self.suppliers:
            return (
                f'the supplier "{code}" is not known: suppliers come from the ERP with the first '
                "run_ingestion"
            )
        if code not in self.unknown:
            self.unknown[code] = nearest(code, self.suppliers)
        return f'the supplier "{code}" is not known{self.unknown[code]}'

    def _agreeing(self, rows: Iterable[Row]) -> Iterable[Row]:
        """One row per supplier and code; where rows of the file differ, none of them."""
        same_key: dict[_Key, list[Row]] = defaultdict(list)
        for row in rows:
            same_key[row.supplier, row.item_code].append(row)
        for group in same_key.values():
            if len({(row.sku, row.item) for row in group}) == 1:
                self.report.unchanged += len(group) - 1
                yield group[0]
                continue
            numbers = ", ".join(str(row.number) for row in group[:5])
            self.report.conflicting += [
                RowProblem(
                    row.number,
                    f"{_shown(row)} is mapped to {_target(row.sku, row.item)}, but rows {numbers} "
                    "do not agree",
                )
                for row in group
            ]

    def _compare(self, row: Row) -> None:
        """New, the same, or different from the entry there is. A row without item asks for none."""
        if (row.supplier, row.item_code) not in self.existing:
            self.new.append(row)
            return
        pk, sku, item = self.existing[row.supplier, row.item_code]
        if row.sku == sku and row.item in ("", item):
            self.report.unchanged += 1
        elif self.report.replace:
            self.changed.append((pk, row, sku, item))
        else:
            self.report.conflicting.append(
                RowProblem(
                    row.number,
                    f"{_shown(row)} is mapped to {_target(sku, item)} already, not to "
                    f"{_target(row.sku, row.item)}; --replace would overwrite it",
                )
            )

    def _count_gaps(self) -> None:
        """How many of the codes that the last run found unmapped this import maps."""
        new = {(row.supplier, row.item_code) for row in self.new}
        for supplier, code in XrefGap.objects.filter(resolved_at=None).values_list(
            "supplier__code", "erp_item_code"
        ):
            either = {(supplier, code), ("", code)}
            if not either.isdisjoint(self.existing):
                continue
            if either.isdisjoint(new):
                self.report.gaps_left += 1
            else:
                self.report.gaps_mapped += 1


def _shown(row: Row) -> str:
    return f"{row.supplier or 'any supplier'} / {row.item_code}"


def _target(sku: str, item: str) -> str:
    return f"{sku} ({item})" if item else sku


def _table_of(title: str, problems: list[RowProblem]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    table.add_column("Row", justify="right", no_wrap=True)
    table.add_column(title, overflow="fold")
    for problem in problems[:_PROBLEMS_SHOWN]:
        table.add_row(str(problem.row), problem.reason)
    if len(problems) > _PROBLEMS_SHOWN:
        table.add_row("", f"and {len(problems) - _PROBLEMS_SHOWN:,} more; --json lists them all")
    return table
