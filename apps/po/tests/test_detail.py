"""A line's panel, page and sections: what they show, to whom, and with how many queries."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import Role
from apps.core.clock import business_today
from apps.po.head import Head
from apps.po.lifecycle import SourceQuality
from apps.po.models import CUSTOM_SLOTS, POLine, Presence
from tests.factories import (
    AuditEventFactory,
    CustomColumnFactory,
    ERPChangeEventFactory,
    POLineFactory,
    StatusChangeFactory,
    SupplierFactory,
    UserFactory,
)
from tests.test_pages import HTMX, sign_in

pytestmark = pytest.mark.django_db

Budget = Callable[..., AbstractContextManager[Any]]


@pytest.fixture
def planner() -> Client:
    client = Client()
    sign_in(client, UserFactory.create(role=Role.PLANNER))
    return client


def shown(client: Client, path: str) -> str:
    answer = client.get(path, headers=HTMX)
    assert answer.status_code == 200
    return answer.content.decode()


def head_of(**values: Any) -> Head:
    line = POLineFactory.create(**values)
    return Head.of(POLine.objects.get(pk=line.pk), UserFactory.create(role=Role.PLANNER))


def days(count: int) -> Any:
    return business_today() + timedelta(days=count)


# --- the head -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "promised", "words"),
    [
        (-1, -1, "Late by 1 day<"),
        (-12, -12, "Late by 12 days"),
        (0, 0, "At risk: expected today"),
        (3, 3, "At risk: expected in 3 days"),
        (40, 30, "At risk: expected after the promised date"),
        (40, 40, ""),
    ],
)
def test_a_line_says_whether_and_why_it_is_late_or_at_risk(
    expected: int, promised: int, words: str
) -> None:
    head = head_of(promised_date=days(promised), ready_to_dispatch_date=days(expected))
    assert (words in head.exception) if words else head.exception == ""


def test_a_line_that_is_not_open_is_neither_late_nor_at_risk() -> None:
    head = head_of(promised_date=days(-9), presence=Presence.CLOSED)
    assert head.exception == ""
    assert "Closed in the ERP" in head.presence
    assert head_of(promised_date=None).exception == ""


@pytest.mark.parametrize(
    ("dates", "words"),
    [
        ({"promised_date": None}, ""),
        ({}, "promised in the ERP"),
        ({"production_ready_date": days(2)}, "production ready"),
        (
            {"production_ready_date": days(2), "ready_to_dispatch_date": days(1)},
            "ready to dispatch",
        ),
    ],
)
def test_a_line_says_which_of_its_dates_is_the_expected_one(
    dates: dict[str, Any], words: str
) -> None:
    assert head_of(**dates).expected_from == words


def test_every_presence_but_the_active_one_has_words() -> None:
    assert [p for p in Presence if not head_of(presence=p).presence] == [Presence.PRESENT]


def test_a_custom_value_says_who_gave_it() -> None:
    for slot, label in zip(CUSTOM_SLOTS[5:8], ("Container", "Vessel", "Port"), strict=True):
        CustomColumnFactory.create(slot=slot, label=label)
    CustomColumnFactory.create(slot="custom_date_1", label="Old", active=False)
    head = head_of(
        custom_text_1="C-1",
        custom_text_2="Ever Given",
        custom_sources={"custom_text_1": "user", "custom_text_2": "erp"},
    )
    told = [(value.label, value.value, value.owner) for value in head.custom]
    assert told == [
        ("Container", "C-1", "Entered by a person"),
        ("Vessel", "Ever Given", "From the ERP"),
        ("Port", "", ""),
    ]


def test_the_panel_and_the_page_show_the_same_line(planner: Client) -> None:
    CustomColumnFactory.create(slot="custom_text_1", label="Container")
    line = POLineFactory.create(
        po_number="45000",
        line_number="7",
        sku="SKU-1",
        unmapped=True,
        final_customer="Müller <GmbH>",
        ordered_quantity=Decimal(1500),
        delivered_quantity=Decimal("1600.5"),
        source_quality=SourceQuality.EXPEDITOR_ESTIMATE,
        custom_text_1="C-1",
    )
    path = f"/po/{line.pk}/"
    panel, page = shown(planner, path), planner.get(path).content.decode()
    assert "<html" not in panel
    assert "<html" in page
    assert "Open as page" in panel
    assert "data-close-panel" not in page
    for text in (
        "45000", "SKU-1", "unmapped", "Müller &lt;GmbH&gt;", "1,500", "+100.5", "Estimate",
        '>C-1<', f"{path}timeline/", f"{path}status/",
        f"{path}batches/", f"{path}movement/",
    ):  # fmt: skip
        assert text in panel
        assert text in page


# --- sections -------------------------------------------------------------------------------------


def test_a_section_is_a_page_of_its_own_where_there_are_no_scripts(planner: Client) -> None:
    line = POLineFactory.create()
    for section in ("timeline", "status", "batches", "movement"):
        page = planner.get(f"/po/{line.pk}/{section}/").content.decode()
        assert f'href="/po/{line.pk}/"' in page
        assert "<html" not in shown(planner, f"/po/{line.pk}/{section}/")


def test_the_timeline_escapes_what_people_and_the_erp_wrote(planner: Client) -> None:
    line = POLineFactory.create()
    data = {"changes": [{"field": "final_customer", "previous": "<i>", "new": "<script>"}]}
    AuditEventFactory.create(po_line=line, data=data, reason="a < b")
    told = shown(planner, f"/po/{line.pk}/timeline/")
    assert "<del>&lt;i&gt;</del>" in told
    assert "<ins>&lt;script&gt;</ins>" in told
    assert "<q>a &lt; b</q>" in told


def test_a_line_to_which_nothing_happened_says_since_when(planner: Client) -> None:
    line = POLineFactory.create()
    told = shown(planner, f"/po/{line.pk}/timeline/")
    assert f"Nothing has changed since {line.first_seen_at:%Y-%m-%d %H:%M}." in told
    kind = shown(planner, f"/po/{line.pk}/timeline/?kind=date&kind=note")
    assert "Nothing of this kind since" in kind
    assert kind.count(" checked") == 2


def test_the_way_to_older_entries_keeps_the_kinds(planner: Client) -> None:
    line = POLineFactory.create()
    data = {"changes": [{"field": "in_date", "previous": None, "new": "2026-03-01"}]}
    now = timezone.now()
    for number in range(51):
        AuditEventFactory.create(po_line=line, data=data, effective_at=now - timedelta(days=number))
    told = shown(planner, f"/po/{line.pk}/timeline/?kind=date")
    address = told.partition(f'hx-get="/po/{line.pk}/timeline/?')[2].partition('"')[0]
    assert address.startswith("kind=date&amp;before=")
    older = shown(planner, f"/po/{line.pk}/timeline/?{address.replace('&amp;', '&')}")
    assert older.count('class="act ') == 1
    assert "data-focus" in older
    assert "Show older" not in older


@pytest.mark.parametrize("query", ["kind=colour", "before=yesterday", "kind=date&before=1~2"])
def test_a_query_that_no_page_asks_is_not_understood(planner: Client, query: str) -> None:
    line = POLineFactory.create()
    assert planner.get(f"/po/{line.pk}/timeline/?{query}").status_code == 400


def test_moves_of_the_status_are_told_newest_first_and_only_the_users_own() -> None:
    before, now = SupplierFactory.create_batch(2)
    line = POLineFactory.create(supplier=now)
    moment = timezone.now()
    for number, (supplier, reason) in enumerate([(before, "first"), (now, "second"), (now, "3rd")]):
        StatusChangeFactory.create(
            po_line=line,
            supplier=supplier,
            reason=reason,
            effective_at=moment + timedelta(days=number),
        )
    client = Client()
    sign_in(client, UserFactory.create(role=Role.EXPEDITOR, suppliers=[now]))
    told = shown(client, f"/po/{line.pk}/status/")
    assert told.index("3rd") < told.index("second")
    assert "first" not in told


def test_the_timeline_of_a_line_that_moved_starts_with_its_supplier() -> None:
    before, now = SupplierFactory.create_batch(2)
    line = POLineFactory.create(supplier=now)
    data = {"changes": [{"field": "final_customer", "previous": "", "new": "a secret"}]}
    AuditEventFactory.create(po_line=line, supplier=before, data=data)
    client = Client()
    sign_in(client, UserFactory.create(role=Role.EXPEDITOR, suppliers=[now]))
    for query in ("", "?kind=erp", "?before=2999-01-01T00:00:00%2B00:00~9"):
        assert "a secret" not in shown(client, f"/po/{line.pk}/timeline/{query}")


# Session, user and line; then what the part is about. A whole page has the age of the data as well.
QUERIES = {"": 7, "timeline/": 6, "status/": 4}
FRAME = 3


@pytest.mark.parametrize("section", QUERIES)
def test_a_long_history_takes_no_more_queries(
    planner: Client, section: str, django_assert_max_num_queries: Budget
) -> None:
    line = POLineFactory.create()
    for each in range(60):
        at = timezone.now() - timedelta(days=each)
        data = {"changes": [{"field": "custom_text_1", "previous": "", "new": "x"}]}
        AuditEventFactory.create(po_line=line, data=data, effective_at=at)
        ERPChangeEventFactory.create(po_line=line, field="supplier_code")
        StatusChangeFactory.create(po_line=line)
    with django_assert_max_num_queries(QUERIES[section]):
        shown(planner, f"/po/{line.pk}/{section}")
    with django_assert_max_num_queries(QUERIES[section] + FRAME):
        assert planner.get(f"/po/{line.pk}/{section}").status_code == 200


@pytest.mark.parametrize(
    "place",
    [
        "0001-01-01T00:00:00+14:00~1",
        "9999-12-31T23:59:59-14:00~1",
        "2026-01-01T00:00:00+00:00~" + "9" * 40,
        "2026-01-01T00:00:00+00:00~-1",
        "2026-01-01~1",
        "~",
        "\0",
    ],
)
def test_a_place_in_the_timeline_that_nobody_made_is_refused(place: str) -> None:
    client = Client()
    sign_in(client, UserFactory.create(role=Role.PLANNER))
    answer = client.get(f"/po/{POLineFactory.create().pk}/timeline/", {"before": place})
    assert answer.status_code == 400
