"""Parts of a sorted list: read by index, and counted no further than anybody reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

# Beyond this many, a list is "more than 10,000": nobody reads on, and counting on is slow.
COUNT_LIMIT = 10_000


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


def in_chunks(lines: QuerySet[Any, Any], keys: list[int], size: int) -> Iterator[dict[str, Any]]:
    """The lines of these primary keys in the order of the keys, never more of them in memory than
    `size`: not every driver can hand out a long result piece by piece. `lines` are dictionaries
    with "pk"; a line that went meanwhile is left out."""
    for start in range(0, len(keys), size):
        some = keys[start : start + size]
        found = {line["pk"]: line for line in lines.filter(pk__in=some)}
        yield from (found[key] for key in some if key in found)


def keys_up_to_limit(lines: QuerySet[Any, Any]) -> list[int]:
    """The primary keys of the lines, in no order; COUNT_LIMIT + 1 of them for more."""
    return list(lines.order_by().values_list("pk", flat=True)[: COUNT_LIMIT + 1])


def count_up_to_limit(lines: QuerySet[Any, Any]) -> int:
    """How many lines there are; COUNT_LIMIT + 1 for more than COUNT_LIMIT."""
    return lines.order_by()[: COUNT_LIMIT + 1].count()
