"""The mapping file: which relation and column of the ERP means what (docs/erp-mapping.md)."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings

from apps.ingestion.erp.tables import parse_column_name, parse_table_name
from apps.ingestion.erp.values import DateRules, UnreadableError, null_date, text
from apps.ingestion.errors import ErpError
from apps.po.lifecycle import FINAL, Status

REQUIRED = (
    "po_number",
    "line_number",
    "supplier_code",
    "item_code",
    "ordered_quantity",
    "delivered_quantity",
    "status",
)
OPTIONAL = (
    "promised_date",
    "in_date",
    "item",
    "po_insert_date",
    "final_customer",
    "supplier_name",
    "sku",
    "updated_at",
)
DELIVERY_FIELDS = ("receipt_id", "po_number", "line_number", "quantity", "receipt_date")
# Only these may be the difference of two columns.
QUANTITIES = ("ordered_quantity", "delivered_quantity", "quantity")
DEFAULT_NULL_DATES = ("1900-01-01", "1753-01-01", "9999-12-31", "0001-01-01")
DEFAULT_RECHECK_DAYS = 60

_read_code = text(64)


class MappingError(ErpError):
    """The mapping file cannot be used; all problems at once."""

    def __init__(self, problems: list[str], source: str, partial: ErpMapping | None = None) -> None:
        """`partial` is what could be read all the same, to compare with the ERP's columns."""
        super().__init__(
            f"The mapping file {source} has {len(problems)} problem(s):\n"
            + "\n".join(f"- {problem}" for problem in problems),
            "Correct the file (docs/erp-mapping.md explains each key) and run check_erp.",
        )
        self.problems = problems
        self.partial = partial


@dataclass(frozen=True)
class Column:
    """A column of the main table (join "") or of a joined one."""

    join: str
    name: str

    @classmethod
    def parse(cls, path: str, joins: Iterable[str]) -> Column:
        """`join.Column` where the first part names a join, else a column, dots and all; each name
        with or without brackets or quotes."""
        head, dot, rest = path.partition(".")
        if dot and parse_column_name(head) in joins:
            return cls(parse_column_name(head), parse_column_name(rest))
        return cls("", parse_column_name(path))

    def __str__(self) -> str:
        return f"{self.join}.{self.name}" if self.join else self.name


@dataclass(frozen=True)
class Source:
    """Where a field's value comes from: a column, or the difference of two."""

    column: Column
    minus: Column | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        return (self.column,) if self.minus is None else (self.column, self.minus)

    def __str__(self) -> str:
        return str(self.column) if self.minus is None else f"{self.column} - {self.minus}"


@dataclass(frozen=True)
class Join:
    """A further table, many-to-one: its columns on the left equal columns known before."""

    table: str
    on: tuple[tuple[str, Column], ...]


@dataclass(frozen=True)
class Relation:
    """A table or view with its joins and the fields read from it."""

    section: str
    table: str
    joins: dict[str, Join]
    fields: dict[str, Source]

    @property
    def tables(self) -> list[tuple[str, str]]:
        """(join, table) of the relation itself, whose join is "", and of its joins."""
        return [("", self.table), *((name, join.table) for name, join in self.joins.items())]


@dataclass(frozen=True)
class ErpMapping:
    """The whole file, checked as far as that is possible without the ERP."""

    source: str
    lines: Relation
    closed_statuses: frozenset[str]
    status_map: dict[str, Status]
    dates: DateRules
    lookback_days: int | None = None
    recheck_days: int = DEFAULT_RECHECK_DAYS
    empty_delivered_is_zero: bool = False
    deliveries: Relation | None = None
    raw: AnyMapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def relations(self) -> list[Relation]:
        """The lines, and the receipts if there are any."""
        return [self.lines] if self.deliveries is None else [self.lines, self.deliveries]

    @property
    def tables(self) -> list[str]:
        """The name of every table that is read, as the file writes it."""
        return sorted({name for relation in self.relations for _, name in relation.tables if name})

    def meaning(self, code: str) -> Status | None:
        """The lifecycle status of an ERP code, or None when the mapping does not know it."""
        return self.status_map.get(code)


def load_mapping() -> ErpMapping:
    """Reads the configured file. Raises ErpError where there is none, MappingError if wrong."""
    if not settings.ERP_MAPPING_FILE:
        raise ErpError(
            "No ERP mapping is configured.",
            "Set ERP_MAPPING_FILE in .env to your mapping file; docs/erp-mapping.md has two "
            "examples.",
        )
    path = Path(settings.ERP_MAPPING_FILE)
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ErpError(
            f"The mapping file {path} cannot be read: {error.strerror}.",
            "Correct ERP_MAPPING_FILE in .env, or give the ingestion's user the right to read the "
            "file.",
        ) from error
    except UnicodeDecodeError as error:
        raise MappingError([f"the file is not UTF-8 (byte {error.start})"], str(path)) from error
    return parse_mapping(content, str(path))


def parse_mapping(content: str, source: str) -> ErpMapping:
    """Checks and reads the text of a mapping file. Raises MappingError naming every problem."""
    try:
        raw = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise MappingError([f"not valid TOML: {error}"], source) from error
    return _Parser(raw, source).parse()


def nearest(name: str, candidates: Iterable[str]) -> str:
    """', did you mean "x"?' for a mistyped name, or nothing."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    match = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f', did you mean "{by_lower[match[0]]}"?' if match else ""


class _Parser:
    """Walks the file once and collects problems instead of stopping at the first."""

    def __init__(self, raw: dict[str, Any], source: str) -> None:
        self.raw = raw
        self.source = source
        self.problems: list[str] = []

    def parse(self) -> ErpMapping:
        self._known(self.raw, "", ("lines", "deliveries", "values"))
        raw_lines = self._table(self.raw, "lines", required=True)
        self._known(raw_lines, "lines", ("table", "joins", "columns", "active", "status_map"))
        lines = self._relation("lines", raw_lines, REQUIRED, OPTIONAL)
        raw_active = self._table(raw_lines, "lines.active")
        self._known(
            raw_active, "lines.active", ("closed_statuses", "lookback_days", "recheck_days")
        )
        closed = self._codes(raw_active.get("closed_statuses", []))
        status_map = self._status_map(self._table(raw_lines, "lines.status_map"))
        for code in sorted(closed):
            if status_map.get(code) not in FINAL:
                self.problems.append(
                    f'[lines.active] closed_statuses has "{code}", which [lines.status_map] must '
                    f'send to "closed" or "cancelled"'
                )
        deliveries = None
        if "deliveries" in self.raw:
            raw_deliveries = self._table(self.raw, "deliveries")
            self._known(raw_deliveries, "deliveries", ("table", "joins", "columns"))
            deliveries = self._relation("deliveries", raw_deliveries, DELIVERY_FIELDS, ())
        raw_values = self._table(self.raw, "values")
        self._known(
            raw_values,
            "values",
            ("null_dates", "time_zone", "date_formats", "empty_delivered_is_zero"),
        )
        mapping = ErpMapping(
            source=self.source,
            lines=lines,
            closed_statuses=closed,
            status_map=status_map,
            dates=self._dates(raw_values),
            lookback_days=self._days(raw_active, "lookback_days", None),
            recheck_days=self._days(raw_active, "recheck_days", DEFAULT_RECHECK_DAYS) or 0,
            empty_delivered_is_zero=self._flag(raw_values, "empty_delivered_is_zero"),
            deliveries=deliveries,
            raw=self.raw,
        )
        if self.problems:
            raise MappingError(self.problems, self.source, mapping)
        return mapping

    def _known(self, table: dict[str, Any], section: str, keys: Iterable[str]) -> None:
        known = tuple(keys)
        where = f"[{section}]" if section else "the file"
        for key in table:
            if key not in known:
                self.problems.append(f'{where} has an unknown key "{key}"{nearest(key, known)}')

    def _table(
        self, parent: dict[str, Any], section: str, *, required: bool = False
    ) -> dict[str, Any]:
        key = section.rpartition(".")[2]
        if key not in parent:
            if required:
                self.problems.append(f"[{section}] is missing")
            return {}
        value = parent[key]
        if not isinstance(value, dict):
            self.problems.append(f"[{section}] must be a table of keys, not a single value")
            return {}
        return value

    def _relation(
        self, section: str, raw: dict[str, Any], required: Iterable[str], optional: Iterable[str]
    ) -> Relation:
        table = self._table_name(raw, section)
        joins: dict[str, Join] = {}
        for name, raw_join in self._table(raw, f"{section}.joins").items():
            where = f"{section}.joins.{name}"
            if not isinstance(raw_join, dict):
                self.problems.append(f"[{where}] must be a table of keys, not a single value")
                continue
            self._known(raw_join, where, ("table", "on"))
            joins[name] = Join(
                self._table_name(raw_join, where), self._join_condition(raw_join, where, joins)
            )
        names = [*required, *optional]
        raw_columns = self._table(raw, f"{section}.columns", required=bool(raw))
        self._known(raw_columns, f"{section}.columns", names)
        fields = {}
        for name in names:
            if name in raw_columns:
                source = self._source(raw_columns[name], section, name, joins)
                if source is not None:
                    fields[name] = source
            elif name in required and raw:
                self.problems.append(f'[{section}.columns] lacks the required key "{name}"')
        return Relation(section, table, joins, fields)

    def _table_name(self, raw: dict[str, Any], where: str) -> str:
        table = raw.get("table")
        if isinstance(table, str):
            try:
                parse_table_name(table)
            except ValueError as error:
                self.problems.append(f"[{where}] table: {error}")
                return ""  # told here; nothing is asked about it later
            return table
        if raw:
            self.problems.append(f'[{where}] lacks "table", the name of a table or view')
        return ""

    def _join_condition(
        self, raw: dict[str, Any], where: str, earlier: dict[str, Join]
    ) -> tuple[tuple[str, Column], ...]:
        on = raw.get("on")
        if not isinstance(on, dict) or not on or not all(isinstance(v, str) for v in on.values()):
            self.problems.append(
                f'[{where}] on must say which columns meet, like {{ "Its column" = "Column" }}'
            )
            return ()
        pairs = tuple(
            (parse_column_name(own), Column.parse(other, earlier)) for own, other in on.items()
        )
        if len({column.join for _, column in pairs}) > 1:
            self.problems.append(f"[{where}] on must name columns of one table on the right")
        return pairs

    def _source(self, raw: Any, section: str, name: str, joins: dict[str, Join]) -> Source | None:
        if isinstance(raw, str) and raw:
            return Source(Column.parse(raw, joins))
        where = f'[{section}.columns] "{name}"'
        if isinstance(raw, dict) and isinstance(raw.get("column"), str):
            self._known(raw, f"{section}.columns.{name}", ("column", "minus"))
            minus = raw.get("minus")
            if minus is None:
                return Source(Column.parse(raw["column"], joins))
            if name in QUANTITIES and isinstance(minus, str):
                return Source(Column.parse(raw["column"], joins), Column.parse(minus, joins))
            self.problems.append(f'{where}: "minus" is for quantities and names one column')
            return None
        self.problems.append(
            f'{where} must name a column, like "Column", or {{ column = "A", minus = "B" }}'
        )
        return None

    def _codes(self, raw: Any) -> frozenset[str]:
        if not isinstance(raw, list) or not all(
            isinstance(code, str | int) and not isinstance(code, bool) for code in raw
        ):
            self.problems.append("[lines.active] closed_statuses must be a list of status codes")
            return frozenset()
        return frozenset(_canonical_code(code) for code in raw)

    def _status_map(self, raw: dict[str, Any]) -> dict[str, Status]:
        status_map = {}
        for code, name in raw.items():
            if name in Status.values:
                status_map[_canonical_code(code)] = Status(name)
            else:
                self.problems.append(
                    f'[lines.status_map] sends "{code}" to the unknown status "{name}"'
                    f"{nearest(str(name), Status.values)} (known: {', '.join(Status.values)})"
                )
        return status_map

    def _days(self, raw: dict[str, Any], key: str, default: int | None) -> int | None:
        value = raw.get(key, default)
        if value is not None and (
            not isinstance(value, int) or isinstance(value, bool) or value < 0
        ):
            self.problems.append(f"[lines.active] {key} must be a number of days, 0 or more")
            return default
        return value

    def _flag(self, raw: dict[str, Any], key: str) -> bool:
        value = raw.get(key, False)
        if not isinstance(value, bool):
            self.problems.append(f"[values] {key} must be true or false")
            return False
        return value

    def _dates(self, raw: dict[str, Any]) -> DateRules:
        zone_name = raw.get("time_zone", settings.BUSINESS_TIME_ZONE)
        try:
            zone = ZoneInfo(zone_name)
        except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
            self.problems.append(
                f'[values] time_zone "{zone_name}" is not a zone like "Asia/Shanghai"'
            )
            zone = ZoneInfo("UTC")
        null_dates = set()
        for value in self._texts(raw, "null_dates", DEFAULT_NULL_DATES):
            entry = null_date(value)
            if entry is None:
                self.problems.append(
                    f'[values] null_dates has "{value}", which is not YYYY-MM-DD, a number or zeros'
                )
            else:
                null_dates.add(entry)
        formats = self._texts(raw, "date_formats", ())
        return DateRules(zone, frozenset(null_dates), tuple(formats))

    def _texts(self, raw: dict[str, Any], key: str, default: Iterable[str]) -> list[str]:
        value = raw.get(key, list(default))
        if not isinstance(value, list):
            self.problems.append(f"[values] {key} must be a list")
            return []
        return [str(entry) for entry in value]


def _canonical_code(code: Any) -> str:
    try:
        return _read_code(code) or ""
    except UnreadableError:
        return str(code)
