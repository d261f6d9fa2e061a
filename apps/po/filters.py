"""The filters of the list: what of an address narrows it, and how (FR11).

Names in the address: the column's key for texts and choices, `<key>_from` and `<key>_to` (both
inclusive) for dates and numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import django_filters
from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from apps.core.clock import start_of_business_day
from apps.po.columns import Column, FilterKind
from apps.po.models import POLine
from apps.po.presets import Measure
from apps.po.querysets import POLineQuerySet

RANGES = frozenset({FilterKind.DATES, FilterKind.MOMENTS, FilterKind.NUMBERS})
LONGEST_TEXT = 100


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A filter that could not be read, and so narrows nothing."""

    column: Column
    value: str
    message: str


def filter_names(column: Column) -> tuple[str, ...]:
    """The names in the address that belong to the column."""
    if column.filter in RANGES:
        return (f"{column.key}_from", f"{column.key}_to")
    return (column.key,)


def active_filters(data: QueryDict, columns: Iterable[Column]) -> dict[str, Column]:
    """The names in `data` that narrow something, and their columns."""
    return {
        name: column
        for column in columns
        for name in filter_names(column)
        if any(value.strip() for value in data.getlist(name))
    }


class LineFilters(django_filters.FilterSet):  # type: ignore[misc]  # has no types
    """The filters that an address names, and no others: building the rest would cost more than the
    page itself. `mistakes` are those that could not be read."""

    def __init__(
        self, data: QueryDict, lines: POLineQuerySet, columns: Iterable[Column], measure: Measure
    ) -> None:
        super().__init__(data, queryset=lines)
        self.measure = measure
        self.active = active_filters(data, columns)
        for name, column in self.active.items():
            made = _FILTERS[column.filter](name, column)
            made.model, made.parent = POLine, self
            self.filters[name] = made

    @property
    def mistakes(self) -> list[Mistake]:
        return [
            Mistake(
                column=self.active[name], value=self.data.get(name, ""), message=" ".join(messages)
            )
            for name, messages in self.errors.items()
        ]


# --- one filter per kind --------------------------------------------------------------------------


class _AnyOf(django_filters.MultipleChoiceFilter):  # type: ignore[misc]  # has no types
    """One of several values. A value that no line has finds no line."""

    class field_class(forms.MultipleChoiceField):  # noqa: N801  # django-filter's name for it
        # Django's own words repeat the value, which may be very long.
        default_error_messages = {"invalid_choice": _("There is no such choice.")}

        def valid_value(self, value: str) -> bool:
            # PostgreSQL refuses a text with a NUL in it.
            return len(value) <= LONGEST_TEXT and "\0" not in value

    def filter(self, lines: Any, value: list[str]) -> Any:
        return lines.filter(**{f"{self.field_name}__in": value}) if value else lines


class _Exceptions(_AnyOf):
    """Late, at risk, or both."""

    def filter(self, lines: Any, value: list[str]) -> Any:
        measure: Measure = self.parent.measure
        found = [
            narrow(lines) for key, narrow in
            (("late", measure.late), ("at_risk", measure.at_risk)) if key in value
        ]  # fmt: skip
        if not found:
            return lines.none() if value else lines
        return found[0] | found[1] if len(found) == 2 else found[0]


class _BusinessDate(django_filters.DateFilter):  # type: ignore[misc]  # has no types
    """A moment, narrowed by the business date on which it falls."""

    def filter(self, lines: Any, value: date | None) -> Any:
        if value is None:
            return lines
        if self.lookup_expr == "gte":
            return lines.filter(**{f"{self.field_name}__gte": start_of_business_day(value)})
        end = start_of_business_day(value + timedelta(days=1))
        return lines.filter(**{f"{self.field_name}__lt": end})


def _bound(name: str) -> str:
    return "gte" if name.endswith("_from") else "lte"


def _text(name: str, column: Column) -> django_filters.Filter:
    return django_filters.CharFilter(
        field_name=column.name, lookup_expr="icontains", max_length=LONGEST_TEXT
    )


def _any_of(name: str, column: Column) -> django_filters.Filter:
    return _AnyOf(field_name=column.name)


def _exceptions(name: str, column: Column) -> django_filters.Filter:
    return _Exceptions()


# Dates that every engine knows, with a day to spare on either side.
_DATES: dict[str, Any] = {
    "input_formats": ["%Y-%m-%d"],
    "validators": [MinValueValidator(date(1753, 1, 2)), MaxValueValidator(date(9999, 12, 30))],
}


def _dates(name: str, column: Column) -> django_filters.Filter:
    return django_filters.DateFilter(field_name=column.name, lookup_expr=_bound(name), **_DATES)


def _moments(name: str, column: Column) -> django_filters.Filter:
    return _BusinessDate(field_name=column.name, lookup_expr=_bound(name), **_DATES)


def _numbers(name: str, column: Column) -> django_filters.Filter:
    return django_filters.NumberFilter(
        field_name=column.name, lookup_expr=_bound(name), max_digits=18, decimal_places=3
    )


_FILTERS = {
    FilterKind.TEXT: _text,
    FilterKind.CHOICES: _any_of,
    FilterKind.SUPPLIERS: _any_of,
    FilterKind.EXCEPTIONS: _exceptions,
    FilterKind.DATES: _dates,
    FilterKind.MOMENTS: _moments,
    FilterKind.NUMBERS: _numbers,
}
