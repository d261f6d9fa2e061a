"""What each filter of the list finds, and what becomes of one that cannot be read."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.http import QueryDict
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from apps.accounts.models import Role, User
from apps.core.clock import business_today
from apps.po.columns import FilterKind, all_columns
from apps.po.filters import filter_names
from apps.po.lifecycle import Status
from apps.po.list_page import LineList
from tests.factories import CustomColumnFactory, POLineFactory, SupplierFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return UserFactory.create(role=Role.PLANNER)


def line(name: str, **values: Any) -> None:
    POLineFactory.create(po_number=name, **values)


def asked(user: User, **params: Any) -> LineList:
    data = QueryDict(mutable=True)
    data["preset"] = "all"
    for name, value in params.items():
        data.setlist(name, value if isinstance(value, list) else [str(value)])
    return LineList.asked_for(user, data)


def found(user: User, **params: Any) -> set[str]:
    """The lines by their PO number; every filter must have been understood."""
    list_ = asked(user, **params)
    assert list_.mistakes == []
    return {each["po_number"] for each in list_.values()}


# --- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["po_number", "erp_item_code", "final_customer", "custom_text_1"])
def test_a_text_is_found_by_any_part_of_it_in_large_or_small_letters(
    user: User, field: str
) -> None:
    CustomColumnFactory.create(slot="custom_text_1")
    POLineFactory.create(**{field: "xBolt-7Ax"})
    POLineFactory.create(**{field: "Nut-7B"})
    for typed in ("bolt", "BOLT", "olt-", "-7a", "  Bolt-7A  "):
        assert len(found(user, **{field: typed})) == 1, typed


def test_what_a_database_takes_for_a_pattern_is_a_letter_like_any_other(user: User) -> None:
    names = {"50%", "50_", "500", "50\\", "50["}
    for name in names:
        line(name)
    assert found(user, po_number="50") == names
    for sign in "%_\\[":
        assert found(user, po_number=sign) == {f"50{sign}"}
        assert found(user, po_number=f"0{sign}") == {f"50{sign}"}
    for nothing in ("[0-9]", "5_0", "5%0", "'", '"', "*", "?", "^"):
        assert found(user, po_number=nothing) == set(), nothing


def test_an_article_without_sku_is_found_by_no_sku(user: User) -> None:
    line("mapped", sku="A-1")
    line("unmapped", unmapped=True)
    assert found(user, sku="a") == {"mapped"}


# --- dates, moments, numbers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"from": "2026-03-02"}, {"second", "third"}),
        ({"to": "2026-03-02"}, {"first", "second"}),
        ({"from": "2026-03-02", "to": "2026-03-02"}, {"second"}),
        ({"from": "2026-03-03", "to": "2026-03-01"}, set()),
        ({"from": "1753-01-02", "to": "9999-12-30"}, {"first", "second", "third"}),
    ],
)
def test_both_ends_of_a_range_of_dates_belong_to_it_and_lines_without_a_date_do_not(
    user: User, bounds: dict[str, str], expected: set[str]
) -> None:
    for day, name in enumerate(("first", "second", "third"), start=1):
        line(name, promised_date=date(2026, 3, day))
    line("none", promised_date=None)
    assert found(user, **{f"promised_date_{k}": v for k, v in bounds.items()}) == expected


def test_a_moment_is_found_by_the_business_date_on_which_it_falls(
    user: User, settings: Settings
) -> None:
    settings.BUSINESS_TIME_ZONE = "Asia/Shanghai"  # eight hours ahead
    line("before", first_seen_at=datetime(2026, 3, 1, 15, 59, 59, 999999, tzinfo=UTC))
    line("at midnight", first_seen_at=datetime(2026, 3, 1, 16, tzinfo=UTC))
    line("late at night", first_seen_at=datetime(2026, 3, 2, 15, 59, 59, 999999, tzinfo=UTC))
    line("after", first_seen_at=datetime(2026, 3, 2, 16, tzinfo=UTC))
    day = {"first_seen_at_from": "2026-03-02", "first_seen_at_to": "2026-03-02"}
    assert found(user, **day) == {"at midnight", "late at night"}
    assert found(user, first_seen_at_from="2026-03-03") == {"after"}
    assert found(user, first_seen_at_to="2026-03-01") == {"before"}


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"from": "1.5"}, {"1.5", "1.501"}),
        ({"to": "1.5"}, {"-2", "0", "1.5"}),
        ({"from": "0", "to": "1.500"}, {"0", "1.5"}),
        ({"from": "-2", "to": "-2"}, {"-2"}),
        ({"from": "1.501"}, {"1.501"}),
    ],
)
def test_both_ends_of_a_range_of_numbers_belong_to_it(
    user: User, bounds: dict[str, str], expected: set[str]
) -> None:
    for number in ("-2", "0", "1.5", "1.501"):
        line(number, delivered_quantity=number)
    params = {f"delivered_quantity_{end}": value for end, value in bounds.items()}
    assert found(user, **params) == expected


def test_what_is_outstanding_is_never_less_than_nothing(user: User) -> None:
    line("over", ordered_quantity=10, delivered_quantity=12)
    line("half", ordered_quantity=10, delivered_quantity=5)
    assert found(user, outstanding_to=0) == {"over"}
    assert found(user, outstanding_from=5, outstanding_to=5) == {"half"}


# --- choices --------------------------------------------------------------------------------------


def test_of_several_values_each_one_is_enough(user: User) -> None:
    for status in (Status.PLANNED, Status.IN_PRODUCTION, Status.CLOSED):
        line(status, status=status)
    assert found(user, status=["planned", "closed"]) == {"planned", "closed"}
    assert found(user, status=["planned", "nothing"]) == {"planned"}
    assert found(user, status="nothing") == set()


def test_suppliers_are_found_by_their_whole_code(user: User) -> None:
    for code in ("S1", "S10", "S2"):
        line(code, supplier=SupplierFactory.create(code=code))
    assert found(user, supplier="S1") == {"S1"}
    assert found(user, supplier=["S1", "S2"]) == {"S1", "S2"}


def test_filters_narrow_together(user: User) -> None:
    line("A1", status=Status.PLANNED)
    line("A2", status=Status.CLOSED)
    line("B1", status=Status.PLANNED)
    assert found(user, po_number="a", status="planned") == {"A1"}


@pytest.mark.parametrize(
    ("exceptions", "expected"),
    [
        ("late", {"late"}),
        ("at_risk", {"today", "soon"}),
        (["late", "at_risk"], {"late", "today", "soon"}),
        ("nothing", set()),
        (["late", "nothing"], {"late"}),
    ],
)
@pytest.mark.parametrize("preset", ["all", "no_response"])
def test_exceptions_are_late_or_at_risk_or_both_whatever_the_preset(
    user: User, preset: str, exceptions: str | list[str], expected: set[str]
) -> None:
    today = business_today()
    for name, days in (("late", -1), ("today", 0), ("soon", 7), ("far", 60)):
        line(name, promised_date=today + timedelta(days=days))
    line("closed", promised_date=today - timedelta(days=9), status=Status.CLOSED)
    assert found(user, preset=preset, exception=exceptions) == expected


# --- what cannot be read --------------------------------------------------------------------------

MANY_DIGITS = "9" * 40
WRONG = {
    FilterKind.DATES: [
        "soon",
        "2026-02-30",
        "0000-01-01",
        "1000-01-01",
        "10000-01-01",
        "02.03.2026",
    ],
    FilterKind.NUMBERS: ["many", "1e999", "1e99999999", "NaN", "-Infinity", MANY_DIGITS, "1.0001"],
    FilterKind.TEXT: ["a\0b", "x" * 2_000],
    FilterKind.CHOICES: ["a\0b", "x" * 2_000],
}
WRONG[FilterKind.MOMENTS] = WRONG[FilterKind.DATES]
WRONG[FilterKind.SUPPLIERS] = WRONG[FilterKind.EXCEPTIONS] = WRONG[FilterKind.CHOICES]


def test_a_filter_that_cannot_be_read_is_told_and_narrows_nothing(user: User) -> None:
    CustomColumnFactory.create(slot="custom_date_1", label="Own date")
    CustomColumnFactory.create(slot="custom_decimal_1", label="Own number")
    line("one")
    for column in all_columns().values():
        for value in WRONG[column.filter]:
            for name in filter_names(column):
                list_ = asked(user, **{name: value})
                assert list_.lines.count() == 1, (name, value)
                (mistake,) = list_.mistakes
                assert (mistake.column, mistake.value) == (column, value)
                assert mistake.message, (name, value)


def test_the_filters_beside_it_narrow_all_the_same(user: User) -> None:
    line("A")
    line("B")
    list_ = asked(user, po_number="a", promised_date_from="soon")
    assert [each.po_number for each in list_.lines] == ["A"]
    assert len(list_.mistakes) == 1


def test_a_thousand_suppliers_may_be_chosen(user: User) -> None:
    codes = [f"S{number:04}" for number in range(990)]
    line("wanted", supplier=SupplierFactory.create(code=codes[-1]))
    line("other", supplier=SupplierFactory.create(code="other"))
    assert found(user, supplier=codes) == {"wanted"}


@given(
    st.dictionaries(
        st.sampled_from(
            [
                *("po_number", "sku", "status", "supplier", "exception", "promised_date_from"),
                *("promised_date_to", "updated_from", "first_seen_at_to", "outstanding_from"),
                "progress_to",
            ]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
        | st.decimals().map(str)
        | st.dates().map(str),
        min_size=1,
    )
)
def test_nothing_that_anybody_puts_into_an_address_breaks_the_list(params: dict[str, str]) -> None:
    planner, _made = User.objects.get_or_create(username="katrin", role=Role.PLANNER)
    list_ = asked(planner, **params)
    assert not list_.lines.exists()
    assert all(mistake.message for mistake in list_.mistakes)
