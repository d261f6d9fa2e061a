"""Canonical values: what the ERP says, in one form whatever its engine (rules.md "Reading").

Texts are right-trimmed, quantities are texts with three decimals, dates are `YYYY-MM-DD`, points
in time are ISO texts in UTC; None is "no value" of a date, a time or a custom decimal. All of them
are ready for JSON, so that a row hash, a snapshot and a comparison mean the same thing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
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
_DIGITS = re.compile(r"\d+", re.ASCII)
_IS_NO_DAY = re.compile(r"\d+|0+([./-]0+)+", re.ASCII)
# 17 digits are a date and a time to the millisecond.
_LARGEST_DATE = 10**17
_FULL = datetime(2000, 12, 31, 23, 59, 59)  # noqa: DTZ001  # as wide as a date can be in any format
_MEMO_SIZE = 20_000

# The JSON text of one canonical value.
json_text = json.JSONEncoder(ensure_ascii=False).encode


class UnreadableError(ValueError):
    """A value is not of the kind its field needs; the message says why."""


@dataclass(frozen=True)
class DateRules:
    """How the ERP writes dates: its zone, its ways of saying "none", its formats beside ISO.

    Each of `null_dates` is in the form that `null_date` gives it.
    """

    zone: ZoneInfo
    null_dates: frozenset[str]
    formats: tuple[str, ...] = ()


class Memory(dict[Any, T], Generic[T]):
    """What a function makes of raw values, remembered: the values of a column repeat themselves.

    Not so of times with an offset. One moment in two zones is equal to Python, and may still be two
    values, of which only one is a null date: what is made of one must not depend on the other.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, raw: Any) -> T:
        if isinstance(raw, datetime) and raw.tzinfo is not None:
            return self._make(raw)
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
        value = _point(raw, rules)
        if value is None:
            return None
        if not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001  # gets its zone below
        if value.date().isoformat() in rules.null_dates:
            return None
        if value.tzinfo is None:
            value = value.replace(tzinfo=rules.zone)
        return _in_zone(value, UTC, raw).isoformat(timespec="microseconds")

    return convert


def null_date(entry: str) -> str | None:
    """The form in which raw values are compared with an entry of `null_dates`; None if it is none.

    An entry is a day, or what no calendar has: a number, or zeros written like a date.
    """
    if _IS_NO_DAY.fullmatch(entry):
        return _without_zeros(entry)
    try:
        return date.fromisoformat(entry).isoformat()
    except ValueError:
        return None


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
    if isinstance(raw, datetime) and raw.tzinfo is not None:
        # Drivers and sessions choose the offset; UTC is the same text whoever reads it.
        return _in_zone(raw, UTC, raw).isoformat()
    if isinstance(raw, date):  # a datetime is one, too
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
    value = _point(raw, rules)
    if isinstance(value, datetime):
        if value.tzinfo is not None and value.date().isoformat() not in rules.null_dates:
            value = _in_zone(value, rules.zone, raw)
        value = value.date()
    return None if value is None else value.isoformat()


def _in_zone(moment: datetime, zone: tzinfo, raw: Any) -> datetime:
    try:
        return moment.astimezone(zone)
    except OverflowError:
        raise UnreadableError(f"{_shown(raw)} is outside the calendar") from None


def _point(raw: Any, rules: DateRules) -> date | datetime | None:
    """The date or time that a raw value says; None where it says nothing, in whatever way."""
    if raw is None or isinstance(raw, date):  # a datetime is one, too
        return raw
    said = raw.strip() if isinstance(raw, str) else _digits(raw)
    if not said or _without_zeros(said) in rules.null_dates:
        return None
    value = _parsed(said, rules)
    if value is None:
        raise UnreadableError(f"{_shown(raw)} is not a date")
    return value


def _digits(raw: Any) -> str:
    """A whole number. ERPs without a type for dates store them as int, decimal or float, too."""
    if isinstance(raw, int | float | Decimal) and not isinstance(raw, bool):
        with suppress(UnreadableError):  # not finite
            number = _decimal(raw)
            if 0 <= number <= _LARGEST_DATE and number % 1 == 0:
                return str(int(number))
    raise UnreadableError(f"{_shown(raw)} is not a date")


def _without_zeros(said: str) -> str:
    """A number without its leading zeros, so that 0, "0" and "00000000" are one; else as it is."""
    return (said.lstrip("0") or "0") if _DIGITS.fullmatch(said) else said


def _parsed(said: str, rules: DateRules) -> date | datetime | None:
    """By ISO, then by the configured formats; None if none of them fits."""
    if _ISO.fullmatch(said):
        # SQL Server writes up to seven decimals of a second, Python reads six.
        shortened = re.sub(r"(\.\d{6})\d+", r"\1", said)
        for form in (said, shortened.replace(" +", "+").replace(" -", "-")):
            with suppress(ValueError):
                return datetime.fromisoformat(form)
        return None
    read = _parsed_number if _DIGITS.fullmatch(said) else datetime.strptime
    for pattern in rules.formats:
        with suppress(ValueError):
            return read(said, pattern)
    return None


def _parsed_number(digits: str, pattern: str) -> datetime:
    """Digits by a format of fixed width. Raises ValueError where they do not fill it exactly:
    strptime alone would take 2026111 for some day of 2026, and 1022026 for 10 February.
    """
    filled = digits.zfill(len(_FULL.strftime(pattern)))
    value = datetime.strptime(filled, pattern)  # noqa: DTZ007  # the ERP's zone is added by the caller
    # strftime writes years below 1000 differently on each platform.
    written = value.strftime(pattern.replace("%Y", f"{value.year:04}"))
    if written != filled or 1 < value.year < 1000:  # a year of three digits lacks one
        raise ValueError(digits)
    return value


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
    "null_date",
    "optional_quantity",
    "quantity",
    "text",
]
