"""Canonical values: what the ERP says, in one form whatever its engine (rules.md "Reading").

Texts are right-trimmed, quantities are texts with three decimals, dates are `YYYY-MM-DD`, points
in time are ISO texts in UTC; None is "no value" of a date, a time or a custom decimal. All of them
are ready for JSON, so that a row hash, a snapshot and a comparison mean the same thing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar
from zoneinfo import ZoneInfo

Canonical = str | None
T = TypeVar("T")

# 15 digits: what SQLite's numbers, and so all engines, store exactly.
MAX_QUANTITY = Decimal("999999999999.999")
_STEP = Decimal("0.001")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)
_ISO = re.compile(r"(\d{4}-\d{2}-\d{2})([T ]\d{2}:\d{2}.*)?", re.ASCII)
_MEMO_SIZE = 20_000

# The JSON text of one canonical value.
json_text = json.JSONEncoder(ensure_ascii=False).encode


class UnreadableError(ValueError):
    """A value is not of the kind its field needs; the message says why."""


@dataclass(frozen=True)
class DateRules:
    """How the ERP writes dates: its zone, its ways of saying "none", its formats beside ISO."""

    zone: ZoneInfo
    null_dates: frozenset[str]
    formats: tuple[str, ...] = ()


class Memory(dict[Any, T], Generic[T]):
    """What a function makes of raw values, remembered: the values of a column repeat themselves."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, raw: Any) -> T:
        if len(self) >= _MEMO_SIZE:
            self.clear()
        made = self[raw] = self._make(raw)
        return made


def text(max_length: int, blanks: str | None = None) -> Callable[[Any], Canonical]:
    """Reads a text of at most `max_length` UTF-16 units (as SQL Server counts); NULL is empty.

    `blanks` are what the right is trimmed of, by default all white space.
    """

    def convert(raw: Any) -> Canonical:
        value = _text(raw, blanks)
        if len(value) * 2 > max_length and len(value.encode("utf-16-le")) > 2 * max_length:
            raise UnreadableError(f"{_shown(raw)} is longer than {max_length} characters")
        return value

    return convert


def key(max_length: int) -> Callable[[Any], Canonical]:
    """Reads a text that must not be empty; numbers lose leading zeros and decimals.

    Trimmed of what SQL's RTRIM trims, because the look-up asks the ERP for keys by its RTRIM.
    """
    read = text(max_length, " ")

    def convert(raw: Any) -> Canonical:
        value = read(raw)
        if not value or value.isspace():
            raise UnreadableError("is empty")
        return value

    return convert


def quantity(raw: Any) -> Canonical:
    """Reads a quantity that must be there, exact to three decimals."""
    value = optional_quantity(raw)
    if value is None:
        raise UnreadableError("is empty")
    return value


def optional_quantity(raw: Any) -> Canonical:
    """Reads a quantity or nothing."""
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        return None
    value = _decimal(raw)
    exact = value.quantize(_STEP) if abs(value) <= MAX_QUANTITY else None
    if exact is None:
        raise UnreadableError(f"{_shown(raw)} is too large")
    # The last digits of a float are the engine's, not the ERP's.
    if exact != value and (not isinstance(raw, float) or abs(exact - value) > Decimal("1e-6")):
        raise UnreadableError(f"{_shown(raw)} has more than three decimals")
    return format(exact or abs(exact), "f")


def date_reader(rules: DateRules) -> Callable[[Any], Canonical]:
    """Reads the calendar day in the ERP's zone; the configured null dates are no date."""

    def convert(raw: Any) -> Canonical:
        day = _day(raw, rules)
        return None if day is None or day in rules.null_dates else day

    return convert


def moment_reader(rules: DateRules) -> Callable[[Any], Canonical]:
    """Reads a point in time, in the ERP's zone unless it names its own, as ISO text in UTC."""

    def convert(raw: Any) -> Canonical:
        value = raw
        if isinstance(raw, str):
            if not raw.strip():
                return None
            value = _parsed(raw, rules)
        if value is None:
            return None
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001  # gets its zone below
        if not isinstance(value, datetime):
            raise UnreadableError(f"{_shown(raw)} is not a date and time")
        if value.date().isoformat() in rules.null_dates:
            return None
        if value.tzinfo is None:
            value = value.replace(tzinfo=rules.zone)
        try:
            return value.astimezone(UTC).isoformat(timespec="microseconds")
        except OverflowError:
            raise UnreadableError(f"{_shown(raw)} is outside the calendar") from None

    return convert


def _text(raw: Any, blanks: str | None) -> str:
    if raw is None:
        return ""
    if isinstance(raw, str):
        value = raw.rstrip(blanks).rstrip("\0").rstrip(blanks)
        if "\0" in value:
            raise UnreadableError(f"{_shown(raw)} contains a NUL character")
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise UnreadableError(f"{_shown(raw)} contains half a character")
        return value
    if isinstance(raw, bool | int | float | Decimal):
        digits = format(_decimal(raw), "f")
        if "." in digits:
            digits = digits.rstrip("0").rstrip(".")
        return "0" if digits == "-0" else digits
    if isinstance(raw, datetime | date):
        return raw.isoformat()
    if hasattr(raw, "hex") and not isinstance(raw, bytes | bytearray | memoryview):
        return str(raw)  # uuid.UUID
    raise UnreadableError(f"{_shown(raw)} is not a text")


def _decimal(raw: Any) -> Decimal:
    if isinstance(raw, str):
        stripped = raw.strip()
        if not _NUMBER.fullmatch(stripped):
            raise UnreadableError(f"{_shown(raw)} is not a number")
        return Decimal(stripped)
    if isinstance(raw, bool | int):
        return Decimal(int(raw))
    if isinstance(raw, float):
        value = Decimal(repr(raw))
    elif isinstance(raw, Decimal):
        value = raw
    else:
        raise UnreadableError(f"{_shown(raw)} is not a number")
    if not value.is_finite():
        raise UnreadableError(f"{_shown(raw)} is not a number")
    return value


def _day(raw: Any, rules: DateRules) -> str | None:
    if raw is None:
        return None
    value = raw
    if isinstance(raw, str):
        if not raw.strip():
            return None
        value = _parsed(raw, rules)
    elif isinstance(raw, int) and not isinstance(raw, bool) and rules.formats:
        value = _parsed(str(raw), rules)
    if isinstance(value, datetime):
        if value.tzinfo is not None and value.date().isoformat() not in rules.null_dates:
            try:
                value = value.astimezone(rules.zone)
            except OverflowError:
                raise UnreadableError(f"{_shown(raw)} is outside the calendar") from None
        value = value.date()
    if not isinstance(value, date):
        raise UnreadableError(f"{_shown(raw)} is not a date")
    return value.isoformat()


def _parsed(raw: str, rules: DateRules) -> date | datetime:
    stripped = raw.strip()
    if _ISO.fullmatch(stripped):
        try:
            return datetime.fromisoformat(stripped)
        except ValueError:
            # SQL Server writes up to seven decimals of a second, Python reads six.
            shortened = re.sub(r"(\.\d{6})\d+", r"\1", stripped)
            try:
                return datetime.fromisoformat(shortened.replace(" +", "+").replace(" -", "-"))
            except ValueError:
                raise UnreadableError(f"{_shown(raw)} is not a date") from None
    for pattern in rules.formats:
        try:
            return datetime.strptime(stripped, pattern)  # noqa: DTZ007  # the ERP's zone is added by the caller
        except ValueError:
            continue
    raise UnreadableError(f"{_shown(raw)} is not a date")


def _shown(raw: Any) -> str:
    """The raw value for a message, cut to a readable length."""
    shown = repr(raw)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


__all__ = [
    "MAX_QUANTITY",
    "Canonical",
    "DateRules",
    "Memory",
    "UnreadableError",
    "date_reader",
    "json_text",
    "key",
    "moment_reader",
    "optional_quantity",
    "quantity",
    "text",
]
