"""Business days: Monday to Friday less the configured holidays."""

from datetime import date, timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from apps.po.business_days import add_business_days, is_business_day, subtract_business_days

MONDAY = date(2026, 3, 2)
FRIDAY = date(2026, 3, 6)
SATURDAY = date(2026, 3, 7)
SUNDAY = date(2026, 3, 8)
NEXT_MONDAY = date(2026, 3, 9)

days = st.dates(min_value=date(2000, 1, 1), max_value=date(2100, 1, 1))
counts = st.integers(min_value=0, max_value=60)


@pytest.fixture(autouse=True)
def _no_holidays(settings: Settings) -> None:
    settings.BUSINESS_HOLIDAYS = []


def test_monday_to_friday_are_business_days() -> None:
    week = [is_business_day(MONDAY + timedelta(days=n)) for n in range(7)]
    assert week == [True, True, True, True, True, False, False]


def test_a_holiday_is_no_business_day(settings: Settings) -> None:
    assert is_business_day(MONDAY)
    settings.BUSINESS_HOLIDAYS = ["2026-03-02"]
    assert not is_business_day(MONDAY)


def test_counting_forward_jumps_over_weekends_and_holidays(settings: Settings) -> None:
    assert add_business_days(FRIDAY, 1) == NEXT_MONDAY
    assert add_business_days(SATURDAY, 1) == NEXT_MONDAY
    settings.BUSINESS_HOLIDAYS = ["2026-03-09"]
    assert add_business_days(FRIDAY, 1) == date(2026, 3, 10)
    assert add_business_days(FRIDAY, 6) == date(2026, 3, 17)


def test_counting_backward_jumps_over_weekends_and_holidays(settings: Settings) -> None:
    assert subtract_business_days(NEXT_MONDAY, 1) == FRIDAY
    assert subtract_business_days(SUNDAY, 1) == FRIDAY
    settings.BUSINESS_HOLIDAYS = ["2026-03-06"]
    assert subtract_business_days(NEXT_MONDAY, 1) == date(2026, 3, 5)
    assert subtract_business_days(NEXT_MONDAY, 5) == date(2026, 2, 27)


@given(days)
def test_no_business_days_away_is_the_day_itself(day: date) -> None:
    assert add_business_days(day, 0) == subtract_business_days(day, 0) == day


@given(days, counts)
def test_between_a_day_and_the_one_counted_from_it_lie_as_many_business_days(
    day: date, count: int
) -> None:
    later, earlier = add_business_days(day, count), subtract_business_days(day, count)
    after = [day + timedelta(days=n) for n in range(1, (later - day).days + 1)]
    before = [day - timedelta(days=n) for n in range(1, (day - earlier).days + 1)]
    assert sum(map(is_business_day, after)) == sum(map(is_business_day, before)) == count
    assert count == 0 or (is_business_day(later) and is_business_day(earlier))


@given(days, counts)
def test_from_a_business_day_there_and_back_is_the_same_day(day: date, count: int) -> None:
    start = add_business_days(day, 1)
    assert subtract_business_days(add_business_days(start, count), count) == start


@pytest.mark.parametrize("count", [add_business_days, subtract_business_days])
def test_a_negative_number_of_days_is_refused(count: object) -> None:
    assert callable(count)
    with pytest.raises(ValueError, match="0 or more, not -1"):
        count(MONDAY, -1)


@pytest.mark.parametrize("text", ["2026-13-01", "01.05.2026", "20260501", "2026-W18-5", "", "May"])
def test_a_holiday_that_is_no_date_is_named_with_its_setting(settings: Settings, text: str) -> None:
    settings.BUSINESS_HOLIDAYS = ["2026-01-01", text]
    with pytest.raises(ImproperlyConfigured) as raised:
        is_business_day(MONDAY)
    assert str(raised.value) == (
        f"BUSINESS_HOLIDAYS holds {text!r}, which is not a date. "
        "Write every holiday as YYYY-MM-DD, separated by commas."
    )
