"""The list as one person sees it now: what the page shows, read in a constant number of queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.http import QueryDict
from django.utils.safestring import SafeString

from apps.accounts.models import User
from apps.core.roles import Role
from apps.po.badges import Freshness
from apps.po.cells import Look, row_html
from apps.po.columns import COMPUTED, Column, all_columns, chosen_columns
from apps.po.filters import LineFilters, Mistake, filter_names
from apps.po.list_state import PAGE_SIZES, ListState
from apps.po.models import POLine, SavedView, Supplier
from apps.po.paging import COUNT_LIMIT, Order, count_up_to_limit, keys_up_to_limit, part
from apps.po.presets import PRESETS, Measure, Preset, landing_preset
from apps.po.querysets import POLineQuerySet

# Where there are more than COUNT_LIMIT lines, the counts of the presets may be so old.
_COUNTS_HOLD_SECONDS = 60
# So many primary keys every engine takes in one question; so far an index is soon walked.
_FEW = 1_000
# What an index has in order.
_INDEXED = frozenset(index.fields[0] for index in POLine._meta.indexes)


@dataclass(frozen=True, kw_only=True)
class Tab:
    """A preset with how many lines it has, for this person and before any filter."""

    preset: Preset
    count: int
    current: bool
    query: str

    @property
    def is_more(self) -> bool:
        return self.count > COUNT_LIMIT


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A filter on a column that is not shown, so that nobody is narrowed without seeing it."""

    column: Column
    values: str
    query: str  # the list without it


@dataclass(frozen=True, kw_only=True)
class LineList:
    """The lines that somebody asked for, before any of them is read."""

    user: User
    measure: Measure
    known: Mapping[str, Column]
    state: ListState

    @classmethod
    def asked_for(cls, user: User, params: QueryDict, *, remembered: str = "") -> LineList:
        """What an address means for this person. `remembered` is the preset they looked at last."""
        known = all_columns()
        state = ListState.parsed(
            params,
            known,
            chosen=chosen_columns(user, known),
            preset=remembered if remembered in PRESETS else landing_preset(user.role),
        )
        return cls(user=user, measure=Measure.of(user), known=known, state=state)

    @property
    def lines(self) -> POLineQuerySet:
        """Those of the preset that pass the filters, unsorted."""
        lines: POLineQuerySet = self._filters.qs
        return lines

    @property
    def mistakes(self) -> Sequence[Mistake]:
        return self._filters.mistakes

    @cached_property
    def _filters(self) -> LineFilters:
        return self._narrowed(POLine.objects.for_user(self.user))

    def _narrowed(self, lines: POLineQuerySet) -> LineFilters:
        lines = PRESETS[self.state.preset].narrow(self.measure, lines)
        return LineFilters(
            self.state.filter_data(),
            _with_filtered(lines, self.state, self.known),
            self.known.values(),
            self.measure,
        )

    @property
    def columns(self) -> list[Column]:
        return [self.known[key] for key in self.state.columns]

    @property
    def order(self) -> Order:
        column = self.known[self.state.sort.removeprefix("-")]
        return Order(
            fields=column.order,
            descending=self.state.sort.startswith("-"),
            nullable=column.nullable,
        )

    def values(self, only: Sequence[int] | None = None) -> Any:
        """The lines, or `only` those with these keys, with what their cells show, unsorted."""
        if only is not None:
            return self._shown(POLine.objects.for_user(self.user).filter(pk__in=only))
        return self._shown(self.lines)

    def walked_values(self) -> Any:
        """The same as `values()`, quicker where the first few of very many are read in the order of
        an index."""
        return self._shown(self._narrowed(POLine.objects.walked_for_user(self.user)).qs)

    def _shown(self, lines: POLineQuerySet) -> Any:
        names = {"pk", "po_number", *(name for each in self.columns for name in each.fields)}
        lines = self._with_computed(lines, {*names, *self.order.fields})
        return self.measure.with_exception(lines).values(*sorted(names), "exception")

    def keys(self) -> Any:
        """The primary keys of the lines, unsorted."""
        lines = self._with_computed(self.lines, {*self.order.fields})
        return lines.values_list("pk", flat=True)

    def _with_computed(self, lines: POLineQuerySet, names: set[str]) -> POLineQuerySet:
        return lines.annotate(**{name: COMPUTED[name] for name in names & COMPUTED.keys()})


class ListPage:
    """One page of the list. Each property reads what it needs when the template asks for it."""

    def __init__(self, asked: LineList) -> None:
        self.asked = asked
        self.user, self.measure, self.known = asked.user, asked.measure, asked.known
        self.columns, self.mistakes = asked.columns, asked.mistakes
        self.state = asked.state
        if self.state.page > self.last_page:
            self.state = replace(self.state, page=self.last_page)

    # --- rows -------------------------------------------------------------------------------------

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        start = (self.state.page - 1) * self.state.size
        few = self._found
        if few is not None and len(few) <= min(_FEW, COUNT_LIMIT):
            lines = self.asked.values(few)
        elif self._is_walked(start + self.state.size):
            lines = self.asked.walked_values()
        else:
            lines = self.asked.values()
        return part(lines, self.asked.order, start, start + self.state.size)

    def _is_walked(self, stop: int) -> bool:
        """Whether the page is soon reached by walking an index: near its start, and there are so
        many lines that each stretch of it has some."""
        many = self._is_large and self.total > COUNT_LIMIT
        return many and stop <= _FEW and self.asked.order.fields[0] in _INDEXED

    @cached_property
    def rows(self) -> list[SafeString]:
        look = Look.of(
            role=self.user.role,
            freshness=Freshness.by(self.measure.thresholds, self.measure.today),
            may_write=not settings.READ_ONLY,
            columns=self.columns,
        )
        return [row_html(line, self.columns, look) for line in self.lines]

    # --- how many ---------------------------------------------------------------------------------

    @cached_property
    def tabs(self) -> list[Tab]:
        return [
            Tab(
                preset=preset,
                count=self._count(preset),
                current=key == self.state.preset,
                query=self.state.query(preset=key, page=1),
            )
            for key, preset in PRESETS.items()
        ]

    @cached_property
    def _all_count(self) -> int:
        return PRESETS["all"].count(self.measure, self._everything)

    @property
    def _is_large(self) -> bool:
        """Whether this person sees so many lines that counting each preset anew is too slow."""
        return self._all_count > COUNT_LIMIT

    @property
    def _everything(self) -> POLineQuerySet:
        return POLine.objects.for_user(self.user)

    def _count(self, preset: Preset) -> int:
        if preset.key == "all":
            return self._all_count
        if not self._is_large:
            return preset.count(self.measure, self._everything)
        key = f"preset-count:{self.user.pk}:{preset.key}:{self.measure.today}"
        count: int | None = cache.get(key)
        if count is None:
            count = preset.count(self.measure, self._everything)
            cache.set(key, count, _COUNTS_HOLD_SECONDS)
        return count

    @cached_property
    def _found(self) -> list[int] | None:
        """The keys of the lines that pass the filters, where they are few of very many: reading in
        order would walk through nearly all lines to fill a page. None where that is not so."""
        if not self._is_large:
            return None
        if self.state.filters:
            return keys_up_to_limit(self.asked.lines)
        preset = PRESETS[self.state.preset]
        if self._count(preset) > COUNT_LIMIT:
            return None
        return preset.keys(self.measure, self._everything)

    @cached_property
    def total(self) -> int:
        """How many lines there are; COUNT_LIMIT + 1 for more."""
        if self._found is not None:
            return len(self._found)
        if not self.state.filters:
            return next(tab.count for tab in self.tabs if tab.current)
        return count_up_to_limit(self.asked.lines)

    @property
    def is_more(self) -> bool:
        return self.total > COUNT_LIMIT

    @property
    def shown_total(self) -> int:
        return min(self.total, COUNT_LIMIT)

    @property
    def last_page(self) -> int:
        return max(-(-self.shown_total // self.asked.state.size), 1)

    @property
    def first_number(self) -> int:
        return (self.state.page - 1) * self.state.size + 1 if self.lines else 0

    @property
    def last_number(self) -> int:
        return (self.state.page - 1) * self.state.size + len(self.lines)

    # --- what surrounds the rows ------------------------------------------------------------------

    @cached_property
    def suppliers(self) -> list[Supplier]:
        return list(Supplier.objects.for_user(self.user))

    @cached_property
    def saved_views(self) -> list[SavedView]:
        return list(SavedView.objects.for_user(self.user).owned_by(self.user))

    @property
    def sizes(self) -> tuple[int, ...]:
        return PAGE_SIZES

    @property
    def cleared(self) -> str:
        """The address of the list without filters."""
        return self.state.query(filters=(), page=1)

    @property
    def hidden_filters(self) -> list[tuple[str, str]]:
        """The filters for which the page has no field, so that they are sent on all the same."""
        names = {name for chip in self.chips for name in filter_names(chip.column)}
        return [(name, value) for name, value in self.state.filters if name in names]

    @cached_property
    def chips(self) -> list[Chip]:
        shown = {column.key for column in self.columns}
        if self.user.role == Role.EXPEDITOR and self._only_own_suppliers:
            shown.add("supplier")  # chosen in the toolbar
        return [
            Chip(column=column, values=values, query=self.state.without(*filter_names(column)))
            for column in self.known.values()
            if column.key not in shown and (values := self._filter_words(column))
        ]

    @property
    def _only_own_suppliers(self) -> bool:
        """Whether the toolbar has a box for every supplier that is filtered by."""
        asked = set(self.state.values("supplier"))
        return not asked or asked <= {supplier.code for supplier in self.suppliers}

    def _filter_words(self, column: Column) -> str:
        labels = dict(column.choices)
        names = filter_names(column)
        if len(names) == 1:
            return ", ".join(str(labels.get(each, each)) for each in self.state.values(names[0]))
        bounds = [" ".join(self.state.values(name)) for name in names]
        return " – ".join(bounds) if any(bounds) else ""  # noqa: RUF001  # a range's own dash


def _with_filtered(
    lines: POLineQuerySet, state: ListState, known: Mapping[str, Column]
) -> POLineQuerySet:
    """With those of COMPUTED that are filtered by."""
    keys = {name.removesuffix("_from").removesuffix("_to") for name, _value in state.filters}
    needed = {known[key].name for key in keys & known.keys()} & COMPUTED.keys()
    return lines.annotate(**{name: COMPUTED[name] for name in needed})
