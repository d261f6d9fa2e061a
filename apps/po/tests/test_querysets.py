"""What open, late, at risk, stale, no response and updated recently mean, on every engine."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from django.db.models import QuerySet
from pytest_django import Settings

from apps.accounts.models import Role
from apps.audit.models import AuditEvent
from apps.po.lifecycle import SourceQuality, Status
from apps.po.models import POLine, Presence, StatusChange, Supplier
from tests.factories import (
    AuditEventFactory,
    POLineFactory,
    RunEventFactory,
    SupplierFactory,
    UserFactory,
)
from tests.sql_server import sql_server_sql

pytestmark = pytest.mark.django_db

TODAY = date(2026, 3, 11)  # a Wednesday
NOW = datetime(2026, 3, 11, 8, 0, tzinfo=UTC)
NEVER = None


def days(count: int) -> date:
    return TODAY + timedelta(days=count)


def keys(lines: QuerySet[POLine]) -> list[str]:
    """The lines in the order they come, by the PO number that the test gave them."""
    return [line.po_number for line in lines]


def line(name: str, **values: Any) -> POLine:
    return POLineFactory.create(po_number=name, **values)


class TestOpenLines:
    def test_open_is_decided_by_status_presence_and_what_is_outstanding(self) -> None:
        supplier = SupplierFactory.create()
        pairs = [(10, 0), (10, 4), (10, 10), (10, 12), (0, 0), (0, -1)]
        quantities = [(Decimal(ordered), Decimal(delivered)) for ordered, delivered in pairs]
        cases = list(product(Status, Presence, quantities))
        POLine.objects.bulk_create(
            POLineFactory.build(
                supplier=supplier,
                status=status,
                presence=presence,
                ordered_quantity=ordered,
                delivered_quantity=delivered,
            )
            for status, presence, (ordered, delivered) in cases
        )
        found = POLine.objects.open_lines().values_list(
            "status", "presence", "ordered_quantity", "delivered_quantity"
        )
        expected = {
            (status.value, presence.value, ordered, delivered)
            for status, presence, (ordered, delivered) in cases
            if status not in (Status.FULLY_DELIVERED, Status.CLOSED, Status.CANCELLED)
            if presence in (Presence.PRESENT, Presence.AGED_OUT)
            if ordered > delivered
        }
        assert set(found) == expected
        assert len(found) == len(expected)

    def test_lines_that_are_not_open_are_neither_late_nor_at_risk_nor_stale(self) -> None:
        long_ago = {"promised_date": days(-30), "first_seen_at": NOW - timedelta(days=90)}
        line("closed", status=Status.CLOSED, **long_ago)
        line("absent", presence=Presence.ABSENT, **long_ago)
        line("all here", delivered_quantity=100, **long_ago)
        assert not POLine.objects.late(TODAY).exists()
        assert not POLine.objects.at_risk(TODAY, 1000).exists()
        assert not POLine.objects.stale(TODAY, 5).exists()
        assert not POLine.objects.no_response(TODAY, 5).exists()


class TestExpectedDate:
    @pytest.mark.parametrize(
        ("dispatch", "production", "promised", "expected"),
        [
            (days(1), days(2), days(3), days(1)),
            (days(9), days(2), days(3), days(9)),
            (NEVER, days(2), days(3), days(2)),
            (NEVER, NEVER, days(3), days(3)),
            (NEVER, NEVER, NEVER, NEVER),
        ],
    )
    def test_dispatch_comes_before_production_comes_before_promise(
        self, dispatch: date, production: date, promised: date, expected: date
    ) -> None:
        POLineFactory.create(
            ready_to_dispatch_date=dispatch,
            production_ready_date=production,
            promised_date=promised,
        )
        found: Any = POLine.objects.get()
        assert found.expected_date == expected


class TestLateAndAtRisk:
    @pytest.mark.parametrize(
        ("expected", "is_late", "is_at_risk"),
        [
            (days(-1), True, False),
            (days(0), False, True),
            (days(7), False, True),
            (days(8), False, False),
            (NEVER, False, False),
        ],
    )
    def test_late_is_before_today_and_at_risk_is_from_today_on(
        self, expected: date | None, is_late: bool, is_at_risk: bool
    ) -> None:
        POLineFactory.create(promised_date=expected)
        assert POLine.objects.late(TODAY).exists() == is_late
        assert POLine.objects.at_risk(TODAY, 7).exists() == is_at_risk

    @pytest.mark.parametrize(
        ("promised", "at_risk"),
        [(days(59), True), (days(60), False), (days(61), False), (NEVER, False)],
    )
    def test_a_milestone_after_the_promised_date_is_at_risk_however_far_away(
        self, promised: date | None, at_risk: bool
    ) -> None:
        POLineFactory.create(promised_date=promised, production_ready_date=days(60))
        assert POLine.objects.at_risk(TODAY, 7).exists() == at_risk

    def test_a_late_line_that_slipped_past_its_promise_is_late_and_not_at_risk(self) -> None:
        POLineFactory.create(promised_date=days(-9), ready_to_dispatch_date=days(-1))
        assert POLine.objects.late(TODAY).exists()
        assert not POLine.objects.at_risk(TODAY, 7).exists()

    def test_a_milestone_ahead_of_us_makes_a_line_past_its_promise_not_late(self) -> None:
        POLineFactory.create(promised_date=days(-9), ready_to_dispatch_date=days(30))
        assert not POLine.objects.late(TODAY).exists()
        assert POLine.objects.at_risk(TODAY, 7).exists()


class TestStale:
    """Five business days before Wednesday 11 March is Wednesday 4 March."""

    LAST_THAT_COUNTS = datetime(2026, 3, 4, tzinfo=UTC)
    TOO_OLD = LAST_THAT_COUNTS - timedelta(microseconds=1)

    @pytest.mark.parametrize(("update", "stale"), [(LAST_THAT_COUNTS, False), (TOO_OLD, True)])
    def test_an_update_counts_for_so_many_business_days(
        self, update: datetime, stale: bool
    ) -> None:
        POLineFactory.create(
            last_expeditor_update=update, first_seen_at=datetime(2020, 1, 1, tzinfo=UTC)
        )
        assert POLine.objects.stale(TODAY, 5).exists() == stale

    @pytest.mark.parametrize(("seen", "stale"), [(LAST_THAT_COUNTS, False), (TOO_OLD, True)])
    def test_a_line_never_updated_counts_from_when_it_was_first_seen(
        self, seen: datetime, stale: bool
    ) -> None:
        POLineFactory.create(last_expeditor_update=None, first_seen_at=seen)
        assert POLine.objects.stale(TODAY, 5).exists() == stale

    def test_weekends_and_holidays_do_not_make_a_line_stale(self, settings: Settings) -> None:
        POLineFactory.create(last_expeditor_update=datetime(2026, 3, 3, 9, tzinfo=UTC))
        assert POLine.objects.stale(TODAY, 5).exists()
        settings.BUSINESS_HOLIDAYS = ["2026-03-10"]
        assert not POLine.objects.stale(TODAY, 5).exists()

    def test_the_day_that_counts_begins_at_midnight_in_the_business_time_zone(
        self, settings: Settings
    ) -> None:
        settings.BUSINESS_TIME_ZONE = "Asia/Shanghai"
        POLineFactory.create(last_expeditor_update=datetime(2026, 3, 3, 16, tzinfo=UTC))
        assert not POLine.objects.stale(TODAY, 5).exists()
        POLineFactory.create(last_expeditor_update=datetime(2026, 3, 3, 15, 59, tzinfo=UTC))
        assert POLine.objects.stale(TODAY, 5).count() == 1


class TestNoResponse:
    def test_it_is_the_stale_lines_and_those_whose_supplier_did_not_answer(self) -> None:
        fresh, old = NOW - timedelta(days=1), NOW - timedelta(days=60)
        line("stale", last_expeditor_update=old, source_quality=SourceQuality.SUPPLIER_CONFIRMED)
        line("silent", last_expeditor_update=fresh, source_quality=SourceQuality.NO_RESPONSE)
        line("both", last_expeditor_update=old, source_quality=SourceQuality.NO_RESPONSE)
        line(
            "estimate", last_expeditor_update=fresh, source_quality=SourceQuality.EXPEDITOR_ESTIMATE
        )
        line(
            "confirmed",
            last_expeditor_update=fresh,
            source_quality=SourceQuality.SUPPLIER_CONFIRMED,
        )
        found = POLine.objects.no_response(TODAY, 5)
        assert sorted(keys(found)) == ["both", "silent", "stale"]

    def test_a_closed_line_is_nobody_s_to_chase(self) -> None:
        line("done", status=Status.CLOSED, source_quality=SourceQuality.NO_RESPONSE)
        assert not POLine.objects.no_response(TODAY, 5).exists()


class TestUpdatedRecently:
    def test_it_counts_when_an_event_took_effect_not_when_it_was_written(self) -> None:
        planner = UserFactory.create(role=Role.PLANNER)
        limit = NOW - timedelta(hours=24)
        just, too_early = line("just"), line("too early")
        AuditEventFactory.create(po_line=just, effective_at=limit, recorded_at=limit)
        AuditEventFactory.create(
            po_line=too_early, effective_at=limit - timedelta(seconds=1), recorded_at=NOW
        )
        line("nothing happened")
        RunEventFactory.create(effective_at=NOW)
        assert keys(POLine.objects.updated_recently(planner, NOW, 24)) == ["just"]

    def test_a_line_with_several_events_comes_once(self) -> None:
        planner, twice = UserFactory.create(role=Role.PLANNER), line("twice")
        AuditEventFactory.create_batch(2, po_line=twice, effective_at=NOW)
        assert keys(POLine.objects.updated_recently(planner, NOW, 24)) == ["twice"]

    def test_what_happened_while_a_line_was_another_supplier_s_does_not_show(self) -> None:
        former, present = SupplierFactory.create_batch(2)
        moved = line("moved", supplier=present)
        AuditEventFactory.create(po_line=moved, supplier=former, effective_at=NOW)
        wei = UserFactory.create(role=Role.EXPEDITOR, suppliers=[present])
        katrin = UserFactory.create(role=Role.PLANNER)
        assert not POLine.objects.updated_recently(wei, NOW, 24).exists()
        assert keys(POLine.objects.updated_recently(katrin, NOW, 24)) == ["moved"]


def test_current_leaves_out_retired_lines_only() -> None:
    for presence in Presence:
        line(presence.value, presence=presence)
    assert set(keys(POLine.objects.current())) == set(Presence) - {Presence.RETIRED}


def test_a_supplier_is_without_expeditor_if_no_active_one_is_assigned() -> None:
    looked_after, left, planners, nobodys = SupplierFactory.create_batch(4)
    UserFactory.create_batch(2, role=Role.EXPEDITOR, suppliers=[looked_after])
    UserFactory.create(role=Role.EXPEDITOR, suppliers=[left], is_active=False)
    UserFactory.create(role=Role.PLANNER, suppliers=[planners])
    assert list(Supplier.objects.without_expeditor()) == [left, planners, nobodys]


def test_walked_lines_are_those_that_the_user_may_see() -> None:
    own, other = SupplierFactory.create(), SupplierFactory.create()
    lines = [POLineFactory.create(supplier=supplier).pk for supplier in (own, other)]
    seen = {
        UserFactory.create(role=Role.EXPEDITOR, suppliers=[own]): lines[:1],
        UserFactory.create(role=Role.EXPEDITOR): [],
        UserFactory.create(role=Role.PLANNER): lines,
        UserFactory.create(role=Role.PLANNER, is_active=False): [],
        None: [],
    }
    for user, expected in seen.items():
        walked = POLine.objects.walked_for_user(user).order_by("pk")
        assert list(walked.values_list("pk", flat=True)) == expected


def test_a_question_about_many_lines_is_one_query(django_assert_num_queries: Any) -> None:
    wei = UserFactory.create(role=Role.EXPEDITOR, suppliers=[SupplierFactory.create()])
    with django_assert_num_queries(1):
        list(POLine.objects.for_user(wei).no_response(TODAY, 5).updated_recently(wei, NOW, 24))


def test_every_question_can_be_put_to_sql_server() -> None:
    wei = UserFactory.create(role=Role.EXPEDITOR)
    lines = POLine.objects.for_user(wei)
    questions: list[QuerySet[Any]] = [
        lines.open_lines(),
        lines.late(TODAY),
        lines.at_risk(TODAY, 7)[50:100],
        lines.stale(TODAY, 5).current(),
        lines.no_response(TODAY, 5),
        lines.updated_recently(wei, NOW, 24),
        POLine.objects.walked_for_user(wei),
        Supplier.objects.for_user(wei),
        Supplier.objects.without_expeditor(),
        StatusChange.objects.for_user(wei),
        AuditEvent.objects.for_user(wei),
    ]
    for question in questions:
        sql = sql_server_sql(question)
        assert "NULLS" not in sql
