"""What check_erp found: one object, as a screen for people and as JSON for monitors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from apps.ingestion.erp.values import Canonical
from apps.ingestion.errors import Notice

_CODES_SHOWN = 4
# Below this width the columns and the sample stand one below the other.
_WIDE = 110
_MOMENT = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d):[\d.]+\+00:00$")


@dataclass
class ApplicationFacts:
    """The application's own database. None: could not be found out."""

    reachable: bool = False
    migrated: bool | None = None
    writable: bool | None = None
    last_applied_run: str | None = None


@dataclass
class ConnectionFacts:
    """The one attempt to connect to the ERP."""

    ok: bool = False
    milliseconds: int = 0
    server: str = ""
    address: str = ""
    login: str = ""


@dataclass
class ReadOnlyFacts:
    """What the server says about writing through the ERP's login."""

    login_can_write: bool | None = None
    statement: str = ""


@dataclass
class MappedColumn:
    """A field and the ERP's column behind it; `type` is None where there is no such column."""

    section: str
    field: str
    column: str
    type: str | None


@dataclass
class StatusCode:
    """An ERP status code, how many lines have it, and what the mapping makes of it."""

    code: str
    lines: int
    meaning: str | None
    closed: bool


@dataclass
class LineFacts:
    """All lines, read once. The last two are None while the application cannot be asked."""

    active: int
    closed: int
    aged_out: int
    rejected: int
    duplicates: int
    suppliers: int
    item_codes: int
    seconds: float
    new_suppliers: int | None = None
    unmapped_item_codes: int | None = None


@dataclass
class RejectedExample:
    """A row that a run would reject."""

    po_number: str
    line_number: str
    reason: str


@dataclass
class UnmappedCode:
    """An item code without cross-reference."""

    supplier: str
    item_code: str
    lines: int


@dataclass
class ReceiptFacts:
    """The receipts relation, read once."""

    table: str
    receipts: int
    rejected: int


@dataclass
class SampleLine:
    """A line as it would be stored, by the mapping's names, and what is derived from it."""

    stored: dict[str, Canonical]
    derived: dict[str, str]


@dataclass
class CheckResult:
    """Everything that the check found; the fields are the JSON keys, None is "not found out"."""

    would_run: bool = False
    problems: list[Notice] = field(default_factory=list)
    warnings: list[Notice] = field(default_factory=list)
    application: ApplicationFacts = field(default_factory=ApplicationFacts)
    mapping_file: str | None = None
    connection: ConnectionFacts | None = None
    read_only: ReadOnlyFacts = field(default_factory=ReadOnlyFacts)
    columns: list[MappedColumn] = field(default_factory=list)
    status_codes: list[StatusCode] = field(default_factory=list)
    lines: LineFacts | None = None
    rejections: list[RejectedExample] = field(default_factory=list)
    unmapped_item_codes: list[UnmappedCode] = field(default_factory=list)
    receipts: ReceiptFacts | None = None
    sample: list[SampleLine] = field(default_factory=list)

    def as_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    def print_to(self, console: Console) -> None:
        """Facts, columns with the sample, codes, and last what is wrong and the verdict.

        `console` must not read markup: the ERP's values are printed as they are.
        """
        console.print(self._facts())
        if self.columns:
            console.print()
            self._print_columns(console)
        if self.status_codes:
            console.print()
            console.print(self._codes())
        if self.rejections:
            console.print()
            console.print(self._rejected())
        for title, style, notices in (
            ("Worth knowing", "yellow", self.warnings),
            ("To be cured", "red", self.problems),
        ):
            if notices:
                console.print()
                console.print(title, style=f"bold {style}")
                _print_notices(console, notices)
        console.print()
        if self.would_run:
            console.print("A run would work.", style="bold green")
        else:
            console.print(
                f"A run would not work: {len(self.problems)} problem(s) to be cured.",
                style="bold red",
            )

    # --- parts of the screen ----------------------------------------------------------------

    def _facts(self) -> Table:
        facts = Table.grid(padding=(0, 2))
        facts.add_column(style="bold", no_wrap=True)
        facts.add_column(overflow="fold")
        for name, said in self._fact_lines():
            facts.add_row(name, said)
        return facts

    def _fact_lines(self) -> Iterator[tuple[str, str]]:
        yield "Application", self._application_in_words()
        yield "Mapping", self.mapping_file or "none"
        yield "ERP", self._connection_in_words()
        if self.read_only.statement:
            yield "Read-only", self.read_only.statement
        lines = self.lines
        if lines is None:
            return
        aged = f", {lines.aged_out:,} delivered long ago" if lines.aged_out else ""
        yield "Lines", f"{lines.active:,} active, {lines.closed:,} closed{aged}"
        yield "Rejected", f"{lines.rejected:,} rows"
        if self.receipts is not None:
            bad = f", {self.receipts.rejected:,} rejected" if self.receipts.rejected else ""
            yield "Receipts", f"{self.receipts.receipts:,} in {self.receipts.table}{bad}"
        new = f", {lines.new_suppliers:,} of them new" if lines.new_suppliers else ""
        yield "Suppliers", f"{lines.suppliers:,}{new}"
        unmapped = lines.unmapped_item_codes
        known = "" if unmapped is None else f", {unmapped:,} of them without cross-reference"
        yield "Item codes", f"{lines.item_codes:,}{known}"
        if unmapped:
            yield "", self._unmapped()
        yield "Reading took", f"{lines.seconds:.2f} s"

    def _application_in_words(self) -> str:
        facts = self.application
        if not facts.reachable:
            return "its database cannot be reached"
        if not facts.migrated:
            return "its database is not up to date"
        if facts.writable is False:
            return "its database cannot be written"
        if facts.last_applied_run is None:
            return "ready; the first run will be the baseline"
        return f"ready; last applied run of {facts.last_applied_run}"

    def _connection_in_words(self) -> str:
        facts = self.connection
        if facts is None:
            return "not configured"
        if not facts.ok:
            return f"no connection, given up after {facts.milliseconds:,} ms"
        login = f" as {facts.login}" if facts.login else ""
        return f"{facts.server}, {facts.address}{login}, connected in {facts.milliseconds:,} ms"

    def _print_columns(self, console: Console) -> None:
        """Columns and sample side by side where there is room, else one below the other."""
        if console.width >= _WIDE or not self.sample:
            console.print(self._table_of_columns(self.sample))
        else:
            console.print(self._table_of_columns([]))
            console.print()
            console.print(self._table_of_sample())

    def _table_of_columns(self, sample: list[SampleLine]) -> Table:
        table = _table("Field", "ERP column", "ERP type", *_numbered(sample))
        of_lines = [column for column in self.columns if column.section == "lines"]
        for column in of_lines:
            shown = [_shown(line.stored[column.field]) for line in sample]
            table.add_row(column.field, column.column, _type(column), *shown)
        for name in sample[0].derived if sample else ():
            table.add_row(f"-> {name}", "", "", *(_shown(line.derived[name]) for line in sample))
        for column in self.columns[len(of_lines) :]:
            table.add_row(f"receipts: {column.field}", column.column, _type(column))
        return table

    def _table_of_sample(self) -> Table:
        table = _table("Stored as", *_numbered(self.sample))
        for name in self.sample[0].stored:
            table.add_row(name, *(_shown(line.stored[name]) for line in self.sample))
        for name in self.sample[0].derived:
            table.add_row(f"-> {name}", *(_shown(line.derived[name]) for line in self.sample))
        return table

    def _codes(self) -> Table:
        table = _table("Status code", "Lines", "Means", right=("Lines",))
        for code in self.status_codes:
            meaning: str | Text = Text("not in the mapping", style="yellow")
            if code.meaning is not None:
                meaning = code.meaning.replace("_", " ") + (
                    "" if not code.closed else ", not active"
                )
            table.add_row(code.code or "(empty)", f"{code.lines:,}", meaning)
        return table

    def _unmapped(self) -> str:
        """The most used codes without cross-reference, on a line of its own where there are any."""
        shown = [
            f"{entry.supplier}/{entry.item_code or '(empty)'} ({entry.lines:,} lines)"
            for entry in self.unmapped_item_codes[:_CODES_SHOWN]
        ]
        more = len(self.unmapped_item_codes) - len(shown)
        return ", ".join([*shown, *([f"and {more:,} more"] if more else [])])

    def _rejected(self) -> Table:
        table = _table("Rejected", "Why")
        for entry in self.rejections:
            table.add_row(f"{entry.po_number} / {entry.line_number}", entry.reason)
        return table


def _table(*headers: str, right: tuple[str, ...] = ()) -> Table:
    """A plain table; the names in its first columns are never broken."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    for header in headers:
        table.add_column(
            header,
            justify="right" if header in right else "left",
            overflow="fold",
            no_wrap=header in (headers[0], "ERP column"),
        )
    return table


def _type(column: MappedColumn) -> str | Text:
    return Text("missing", style="bold red") if column.type is None else column.type


def _numbered(sample: list[SampleLine]) -> list[str]:
    return [f"Sample {number}" for number in range(1, len(sample) + 1)]


def _shown(value: Canonical) -> str | Text:
    """A stored value; of a point in time only what people read."""
    if not value:
        return Text("-", style="dim")
    return _MOMENT.sub(r"\1 \2 UTC", value)


def _print_notices(console: Console, notices: list[Notice]) -> None:
    """Those with the same cure together, the cure once."""
    told = Table.grid(padding=(0, 1))
    for remedy, same in groupby(notices, key=lambda notice: notice.remedy):
        for notice in same:
            told.add_row("-", notice.message)
        told.add_row("", Text(f"-> {remedy}", style="dim"))
    console.print(told)
