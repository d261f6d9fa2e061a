"""Parts of a sorted list: read by index, and counted no further than anybody reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

# Beyond this many, a list is "more than 10,000": nobody reads on, and counting on is slow.
COUNT_LIMIT = 10_000
_AT_ONCE = 2_000


@dataclass(frozen=True, kw_only=True)
class Order:
    """Fields to sort by, all in one direction, ties by primary key. Where the first may be NULL,
    lines without it come last in both directions."""

    fields: tuple[str, ...]
    descending: bool = False
    nullable: bool = False

    def sorted(self, lines: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
        sign = "-" if self.descending else ""
        return lines.order_by(*(f"{sign}{name}" for name in (*self.fields, "pk")))


def part(lines: QuerySet[Any, Any], order: Order, start: int, stop: int) -> list[Any]:
    """The lines from `start` up to and without `stop`, in this order.

    Engines disagree on where NULL sorts, and sorting by "is it NULL" first uses no index: so the
    lines with a value are read first, and those without it only where they are reached.
    """
    if not order.nullable:
        return list(order.sorted(lines)[start:stop])
    name = order.fields[0]
    with_value = lines.filter(**{f"{name}__isnull": False})
    found = list(order.sorted(with_value)[start:stop])
    missing = stop - start - len(found)
    if not missing:
        return found
    before = start + len(found) if found or not start else with_value.order_by().count()
    skipped = max(start - before, 0)
    without = lines.filter(**{f"{name}__isnull": True}).order_by("pk")
    return found + list(without[skipped : skipped + missing])


def stream(lines: QuerySet[Any, Any], order: Order) -> Iterator[Any]:
    """All lines in this order, not in memory together."""
    if not order.nullable:
        yield from order.sorted(lines).iterator(_AT_ONCE)
        return
    name = order.fields[0]
    yield from order.sorted(lines.filter(**{f"{name}__isnull": False})).iterator(_AT_ONCE)
    yield from lines.filter(**{f"{name}__isnull": True}).order_by("pk").iterator(_AT_ONCE)


def count_up_to_limit(lines: QuerySet[Any, Any]) -> int:
    """How many lines there are; COUNT_LIMIT + 1 for more than COUNT_LIMIT."""
    return lines.order_by()[: COUNT_LIMIT + 1].count()
