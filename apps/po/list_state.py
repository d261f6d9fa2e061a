"""What the address of the list says: preset, filters, sorting, page and columns. Its only form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.http import QueryDict

from apps.po.columns import Column, usable
from apps.po.filters import active_filters
from apps.po.presets import PRESETS

PAGE_SIZES = (50, 100, 200)
DEFAULT_SORT = "expected_date"
# Far beyond every list; a number that every engine can count to.
_LAST_PAGE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ListState:
    """`sort` is a column's key, with "-" in front for descending."""

    preset: str
    filters: tuple[tuple[str, str], ...]
    sort: str
    page: int
    size: int
    columns: tuple[str, ...]

    @classmethod
    def parsed(
        cls,
        params: QueryDict,
        known: Mapping[str, Column],
        *,
        chosen: tuple[str, ...],
        preset: str,
    ) -> ListState:
        """From an address. What is unknown there is as if it were not said: `chosen` columns and
        `preset` are for an address that says nothing about them."""
        said = params.get("preset", "")
        sort = params.get("sort", "")
        column = known.get(sort.removeprefix("-"))
        columns = usable(params.get("columns", "").split(","), known)
        size = _number(params.get("size"), PAGE_SIZES[0])
        return cls(
            preset=said if said in PRESETS else preset,
            filters=tuple(
                (name, value)
                for name, of in active_filters(params, known.values()).items()
                for value in _meant(params.getlist(name), of)
            ),
            sort=sort if column is not None and column.order else DEFAULT_SORT,
            page=min(max(_number(params.get("page"), 1), 1), _LAST_PAGE),
            size=size if size in PAGE_SIZES else PAGE_SIZES[0],
            columns=columns or chosen,
        )

    def query(self, **changes: Any) -> str:
        """The address (after the "?") of this list, with changes; complete, so that it shows
        somebody else the same columns too."""
        state = replace(self, **changes)
        params = QueryDict(mutable=True)
        params["preset"] = state.preset
        for name, value in state.filters:
            params.appendlist(name, value)
        if state.sort != DEFAULT_SORT:
            params["sort"] = state.sort
        if state.size != PAGE_SIZES[0]:
            params["size"] = str(state.size)
        if state.page != 1:
            params["page"] = str(state.page)
        params["columns"] = ",".join(state.columns)
        return params.urlencode(safe=",")

    def values(self, name: str) -> list[str]:
        """What a filter is set to."""
        return [value for key, value in self.filters if key == name]

    def filter_data(self) -> QueryDict:
        data = QueryDict(mutable=True)
        for name, value in self.filters:
            data.appendlist(name, value)
        return data

    def without(self, *names: str) -> str:
        """The address without these filters."""
        kept = tuple((name, value) for name, value in self.filters if name not in names)
        return self.query(filters=kept, page=1)

    def direction(self, key: str) -> str:
        """ "ascending", "descending" or "" for how the column sorts now."""
        if self.sort.removeprefix("-") != key:
            return ""
        return "descending" if self.sort.startswith("-") else "ascending"

    def next_sort(self, key: str) -> str:
        """What a click on the column's head asks for: ascending, descending, then the default."""
        if self.sort == key:
            return f"-{key}"
        return DEFAULT_SORT if self.sort == f"-{key}" else key


def _meant(values: list[str], column: Column) -> list[str]:
    """What of a repeated parameter counts: every choice, but of a text or a bound the last one."""
    said = [value for value in values if value.strip()]
    return said if column.has_choices else said[-1:]


def _number(text: str | None, default: int) -> int:
    """A whole number of few digits, else the default."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else default
