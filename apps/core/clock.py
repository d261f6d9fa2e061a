"""What day it is: the date in BUSINESS_TIME_ZONE, the same for everybody (rules.md "Reading")."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone


def business_zone() -> ZoneInfo:
    """The zone of BUSINESS_TIME_ZONE. Raises ImproperlyConfigured when there is no such zone."""
    name: str = settings.BUSINESS_TIME_ZONE
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        # OSError: zoneinfo opens a file of that name, and "" or "Europe" is a folder.
        raise ImproperlyConfigured(
            f"BUSINESS_TIME_ZONE is {name!r}, which is no known time zone. "
            'Set it to a name such as "Europe/Berlin" or "Asia/Shanghai".'
        ) from error


def business_today() -> date:
    """Today."""
    return business_date(timezone.now())


def business_date(moment: datetime) -> date:
    """The date on which the moment falls. Raises ValueError for a moment without time zone."""
    if timezone.is_naive(moment):
        raise ValueError(f"{moment!r} has no time zone, so its business date is unknown.")
    return moment.astimezone(business_zone()).date()


def start_of_business_day(day: date) -> datetime:
    """The first moment of the day, in UTC; also where clocks are changed at midnight."""
    return datetime.combine(day, time.min, tzinfo=business_zone()).astimezone(UTC)
