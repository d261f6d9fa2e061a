"""Today is the date in BUSINESS_TIME_ZONE, whatever zone the moment or the machine is in."""

from datetime import UTC, date, datetime, timedelta, timezone
from unittest.mock import patch

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from apps.core.clock import business_date, business_today, start_of_business_day

JUST_BEFORE_MIDNIGHT = datetime(2026, 3, 2, 15, 59, tzinfo=UTC)  # in Shanghai


def test_today_begins_at_midnight_in_the_business_time_zone(settings: Settings) -> None:
    settings.BUSINESS_TIME_ZONE = "Asia/Shanghai"
    with patch("django.utils.timezone.now", return_value=JUST_BEFORE_MIDNIGHT):
        assert business_today() == date(2026, 3, 2)
    with patch(
        "django.utils.timezone.now", return_value=JUST_BEFORE_MIDNIGHT + timedelta(minutes=1)
    ):
        assert business_today() == date(2026, 3, 3)


def test_the_date_of_a_moment_does_not_depend_on_the_zone_it_is_written_in(
    settings: Settings,
) -> None:
    settings.BUSINESS_TIME_ZONE = "Asia/Shanghai"
    elsewhere = JUST_BEFORE_MIDNIGHT.astimezone(timezone(timedelta(hours=-10)))
    assert business_date(elsewhere) == business_date(JUST_BEFORE_MIDNIGHT) == date(2026, 3, 2)


def test_a_moment_without_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        business_date(datetime(2026, 3, 2, 12))  # noqa: DTZ001  # that is the point


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dates(min_value=date(1990, 1, 1), max_value=date(2040, 1, 1)),
    # The last three have put their clocks forward at midnight, so that there was no 00:00.
    st.sampled_from(
        ["UTC", "Europe/Berlin", "Asia/Shanghai", "Africa/Cairo", "Asia/Beirut", "America/Havana"]
    ),
)
def test_a_day_starts_with_its_first_moment_in_every_zone(
    settings: Settings, day: date, zone: str
) -> None:
    settings.BUSINESS_TIME_ZONE = zone
    start = start_of_business_day(day)
    assert business_date(start) == day
    assert business_date(start - timedelta(microseconds=1)) == day - timedelta(days=1)
    assert start.tzinfo is UTC


def test_a_day_without_midnight_starts_when_the_clocks_are_changed(
    settings: Settings,
) -> None:
    settings.BUSINESS_TIME_ZONE = "Asia/Beirut"
    assert start_of_business_day(date(2022, 3, 27)) == datetime(2022, 3, 26, 22, tzinfo=UTC)


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "Europe", "../etc", "CEST+2"])
def test_a_zone_that_does_not_exist_is_named_with_its_setting(
    settings: Settings, name: str
) -> None:
    settings.BUSINESS_TIME_ZONE = name
    with pytest.raises(ImproperlyConfigured, match=r"BUSINESS_TIME_ZONE is .* no known time zone"):
        business_today()
