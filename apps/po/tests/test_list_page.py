"""The list of very many lines: the same lines, found with fewer looks (paging.COUNT_LIMIT)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Role, User
from apps.core.clock import business_today
from apps.po import list_page, paging, presets
from apps.po.list_page import LineList, ListPage
from apps.po.models import Supplier
from tests.factories import POLineFactory, SupplierFactory, UserFactory

pytestmark = pytest.mark.django_db

LIMIT = 5


@pytest.fixture
def katrin() -> User:
    return UserFactory.create(role=Role.PLANNER)


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def lines() -> None:
    """Twelve lines, most of them late, two without a date."""
    supplier = SupplierFactory.create()
    for number in range(12):
        promised = business_today() + timedelta(days=number - 9)
        POLineFactory.create(
            po_number=f"PO{number:02}",
            supplier=supplier,
            promised_date=None if number in (3, 7) else promised,
            sku=f"SKU-{number % 4}",
        )


def very_many(patch: pytest.MonkeyPatch) -> None:
    """From here on, more than LIMIT lines are very many."""
    for module in (list_page, paging, presets):
        patch.setattr(module, "COUNT_LIMIT", LIMIT)


def page(user: User, query: str) -> ListPage:
    return ListPage(LineList.asked_for(user, QueryDict(query)))


QUERIES = [
    "preset=all",
    "preset=late",
    "preset=at_risk",
    "preset=no_response",
    "preset=updated",
    "preset=all&sort=-po_number",
    "preset=all&sku=sku-1",
    "preset=all&sku=sku-1&sort=-promised_date",
    "preset=late&po_number=1",
    "preset=all&po_number=nowhere",
    "preset=all&outstanding_from=1&sort=outstanding",
    "preset=all&exception=late&exception=at_risk&sort=status",
]


@pytest.mark.usefixtures("lines")
@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("role", [Role.PLANNER, Role.EXPEDITOR])
def test_very_many_lines_are_the_same_lines_in_the_same_order(
    query: str, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = UserFactory.create(role=role)
    if role == Role.EXPEDITOR:
        user.suppliers.set(Supplier.objects.all())
        POLineFactory.create(sku="SKU-1", promised_date=business_today())  # somebody else's
    few = page(user, query)
    shown, counts = few.lines, [tab.count for tab in few.tabs]
    very_many(monkeypatch)
    many = page(user, query)
    assert many.lines == shown
    assert many.total == min(few.total, LIMIT + 1)
    assert [tab.count for tab in many.tabs] == [min(count, LIMIT + 1) for count in counts]


@pytest.mark.usefixtures("lines")
@pytest.mark.parametrize(
    ("query", "walked"),
    [
        ("preset=all", True),
        ("preset=all&sort=-po_number", True),
        ("preset=all&po_number=PO", True),
        ("preset=all&sort=promised_date", False),  # no index has it in order
        ("preset=all&sku=sku-1", False),  # few: their keys are known
    ],
)
def test_very_many_lines_of_an_expeditor_are_walked_through_in_the_order_of_an_index(
    query: str, walked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wei = UserFactory.create(role=Role.EXPEDITOR)
    wei.suppliers.set(Supplier.objects.all())
    very_many(monkeypatch)
    with CaptureQueriesContext(connection) as queries:
        assert page(wei, query).lines
    assert any("supplier_id" in each["sql"] and " + 0" in each["sql"] for each in queries) == walked


@pytest.mark.usefixtures("lines")
def test_few_of_very_many_are_looked_for_once(
    katrin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    very_many(monkeypatch)
    with CaptureQueriesContext(connection) as queries:
        assert len(page(katrin, "preset=all&sku=sku-1").lines) == 3
    looks = [each["sql"] for each in queries if "LIKE" in each["sql"].upper()]
    assert len(looks) == 1


@pytest.mark.usefixtures("lines")
def test_the_counts_of_very_many_lines_hold_for_a_minute_and_are_each_persons_own(
    katrin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    very_many(monkeypatch)

    def at_risk(user: User) -> int:
        found: dict[str, Any] = {tab.preset.key: tab.count for tab in page(user, "").tabs}
        return int(found["at_risk"])

    before = at_risk(katrin)
    POLineFactory.create(promised_date=business_today())
    assert at_risk(katrin) == before
    assert at_risk(UserFactory.create(role=Role.PLANNER)) == before + 1
    cache.clear()
    assert at_risk(katrin) == before + 1


@pytest.mark.usefixtures("lines")
def test_counts_of_fewer_lines_are_always_new(katrin: User) -> None:
    before = [tab.count for tab in page(katrin, "").tabs]
    POLineFactory.create(promised_date=business_today())
    assert [tab.count for tab in page(katrin, "").tabs] != before
