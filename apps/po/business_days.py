"""Business days: Monday to Friday, less the days of the setting BUSINESS_HOLIDAYS."""

from datetime import date, timedelta
from functools import lru_cache

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

_ONE_DAY = timedelta(days=1)
_SATURDAY = 5


def is_business_day(day: date) -> bool:
    """Raises ImproperlyConfigured when BUSINESS_HOLIDAYS holds something that is not a date."""
    return day.weekday() < _SATURDAY and day not in _holidays(tuple(settings.BUSINESS_HOLIDAYS))


def add_business_days(day: date, count: int) -> date:
    """The `count`th business day after the day; with 0 the day itself, whatever it is.

    Raises ValueError for a negative count.
    """
    return _step(day, count, _ONE_DAY)


def subtract_business_days(day: date, count: int) -> date:
    """The `count`th business day before the day; with 0 the day itself, whatever it is.

    Raises ValueError for a negative count.
    """
    return _step(day, count, -_ONE_DAY)


def _step(day: date, count: int, step: timedelta) -> date:
    if count < 0:
        raise ValueError(f"A number of business days is 0 or more, not {count}.")
    while count > 0:
        day += step
        if is_business_day(day):
            count -= 1
    return day


@lru_cache(maxsize=4)
def _holidays(texts: tuple[str, ...]) -> frozenset[date]:
    """The dates, read once per content of the setting."""
    return frozenset(_holiday(text) for text in texts)


def _holiday(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise _not_a_date(text) from error
    if day.isoformat() != text:
        # fromisoformat also reads 20260101 and 2026-W01-4: one way of writing is enough.
        raise _not_a_date(text)
    return day


def _not_a_date(text: object) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"BUSINESS_HOLIDAYS holds {text!r}, which is not a date. "
        "Write every holiday as YYYY-MM-DD, separated by commas."
    )
