"""A sorted list read in parts: no line missing, none twice, and those without a value last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any
from unittest import mock

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from apps.po import paging
from apps.po.models import POLine
from apps.po.paging import COUNT_LIMIT, Order, count_up_to_limit, in_chunks, part
from tests.factories import POLineFactory, SupplierFactory
from tests.sql_server import sql_server_sql

pytestmark = pytest.mark.django_db

SOONER, LATER = date(2026, 3, 1), date(2026, 4, 1)
BY_PROMISE = Order(fields=("promised_date",), nullable=True)
BY_PROMISE_DOWN = Order(fields=("promised_date",), nullable=True, descending=True)


def make(promises: Sequence[date | None]) -> list[POLine]:
    supplier = SupplierFactory.create()
    POLine.objects.bulk_create(
        POLineFactory.build(supplier=supplier, promised_date=promised) for promised in promises
    )
    return list(POLine.objects.order_by("pk"))


def parts(order: Order, size: int) -> list[Any]:
    """The whole list, read part by part until one is not full."""
    found: list[Any] = []
    while len(found) % size == 0:
        more = part(POLine.objects.all(), order, len(found), len(found) + size)
        found += more
        if not more:
            break
    return found


def sorted_by_promise(lines: list[POLine], descending: bool) -> list[POLine]:
    """What the database is to do, as Python does it."""
    with_value = [line for line in lines if line.promised_date]
    with_value.sort(key=lambda line: (line.promised_date, line.pk), reverse=descending)
    return with_value + [line for line in lines if not line.promised_date]


def test_lines_without_a_value_come_last_in_both_directions() -> None:
    none, later, sooner = make([None, LATER, SOONER])
    lines = POLine.objects.all()
    assert part(lines, BY_PROMISE, 0, 9) == [sooner, later, none]
    assert part(lines, BY_PROMISE_DOWN, 0, 9) == [later, sooner, none]


def test_lines_with_the_same_value_keep_one_order_from_part_to_part() -> None:
    same = make([SOONER] * 7)
    assert parts(BY_PROMISE, 2) == same
    assert parts(BY_PROMISE_DOWN, 2) == same[::-1]
    by_supplier = Order(fields=("supplier__code",))
    assert parts(by_supplier, 3) == same


def test_a_part_may_begin_among_the_lines_without_a_value() -> None:
    _sooner, first, second, third = make([SOONER, None, None, None])
    lines = POLine.objects.all()
    assert part(lines, BY_PROMISE, 1, 3) == [first, second]
    assert part(lines, BY_PROMISE, 2, 4) == [second, third]
    assert part(lines, BY_PROMISE, 0, 2)[1] == first


def test_a_part_beyond_the_end_is_empty() -> None:
    make([SOONER, None])
    assert part(POLine.objects.all(), BY_PROMISE, 2, 9) == []
    assert part(POLine.objects.all(), BY_PROMISE, 90, 99) == []
    assert part(POLine.objects.none(), BY_PROMISE, 0, 9) == []


def test_a_part_that_is_full_of_values_asks_for_nothing_else() -> None:
    make([SOONER] * 3)
    with CaptureQueriesContext(connection) as queries:
        part(POLine.objects.all(), BY_PROMISE, 0, 2)
    assert len(queries) == 1


@given(
    promises=st.lists(st.sampled_from([None, SOONER, LATER]), max_size=9),
    size=st.integers(1, 4),
    descending=st.booleans(),
)
def test_the_parts_put_together_are_the_list_as_python_sorts_it(
    promises: list[date | None], size: int, descending: bool
) -> None:
    POLine.objects.all().delete()
    lines = make(promises)
    order = BY_PROMISE_DOWN if descending else BY_PROMISE
    expected = sorted_by_promise(lines, descending)
    assert parts(order, size) == expected


def test_lines_read_in_chunks_keep_the_order_of_their_keys_and_lose_only_what_went() -> None:
    lines = make([None] * 5)
    keys = [lines[n].pk for n in (3, 0, 4, 1, 2)]
    POLine.objects.filter(pk=lines[4].pk).delete()
    found = in_chunks(POLine.objects.values("pk", "po_number"), keys, 2)
    assert [line["po_number"] for line in found] == [lines[n].po_number for n in (3, 0, 1, 2)]


@pytest.mark.parametrize(("there", "counted"), [(0, 0), (3, 3), (4, 4), (5, 5), (6, 5)])
def test_counting_stops_one_after_the_limit(there: int, counted: int) -> None:
    make([SOONER] * there)
    with mock.patch.object(paging, "COUNT_LIMIT", 4):
        assert count_up_to_limit(POLine.objects.order_by("promised_date")) == counted


def test_counting_sorts_nothing_and_tells_the_database_where_to_stop() -> None:
    with CaptureQueriesContext(connection) as queries:
        count_up_to_limit(POLine.objects.order_by("promised_date"))
    (query,) = queries.captured_queries
    assert "ORDER BY" not in query["sql"]
    assert str(COUNT_LIMIT + 1) in query["sql"]


def test_each_part_can_be_put_to_sql_server() -> None:
    with_value = POLine.objects.filter(promised_date__isnull=False)
    assert "NULLS" not in sql_server_sql(BY_PROMISE.sorted(with_value)[50:100])
