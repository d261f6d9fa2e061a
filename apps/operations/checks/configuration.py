"""Settings: the right module, sane values, and what Django's own deployment check says."""

from __future__ import annotations

import os
from collections.abc import Iterator

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from apps.core.clock import business_today, business_zone
from apps.operations.finding import Finding, error, ok, warning
from apps.po.business_days import is_business_day

_SECRET_KEY_LENGTH = 50


def settings_module() -> str:
    """The settings that this process runs under."""
    return os.environ.get("DJANGO_SETTINGS_MODULE", "")


def is_read_only_instance() -> bool:
    """Whether this is the instance that serves a replica and has no ERP."""
    return settings_module().endswith(".production_eu")


def look_at_settings() -> Iterator[Finding]:
    """Production settings refuse to load with most of this; others do not."""
    name = settings_module()
    if ".production" not in name:
        yield warning(
            f"The settings are {name}, which are not those of production.",
            "On a server, add --settings=po_tracking.settings.production, or set "
            "DJANGO_SETTINGS_MODULE to it.",
        )
        return
    problems = []
    if settings.DEBUG:
        problems.append(
            error(
                "DEBUG is on: an error page shows settings and data to whoever causes it.",
                "Remove DEBUG from the environment and from .env.",
            )
        )
    if len(settings.SECRET_KEY) < _SECRET_KEY_LENGTH:
        problems.append(
            error(
                f"SECRET_KEY is shorter than {_SECRET_KEY_LENGTH} characters.",
                "Make a new one as .env.example says; everybody then signs in again.",
            )
        )
    if "*" in settings.ALLOWED_HOSTS:
        problems.append(
            warning(
                "ALLOWED_HOSTS has a *: the application answers to any host name.",
                "Name the host names that users type, comma separated.",
            )
        )
    yield from problems or [ok(name)]


def look_at_deployment() -> Iterator[Finding]:
    """`manage.py check --deploy`, which asks no database. Developers need not fulfil it."""
    if ".production" not in settings_module():
        return
    found = [
        message
        for message in checks.run_checks(include_deployment_checks=True)
        if message.level >= checks.WARNING and not message.is_silenced()
    ]
    for message in found:
        tell = error if message.level >= checks.ERROR else warning
        yield tell(
            f"{message.id}: {' '.join(str(message.msg).split())}",
            " ".join((message.hint or "See the Django documentation of this check.").split()),
        )
    if not found:
        yield ok("nothing to improve (manage.py check --deploy)")


def look_at_calendar() -> Iterator[Finding]:
    """Time zone and holidays; a wrong one would stop the run or a page at some moment."""
    cure = "Correct it in the environment or in .env; .env.example shows how it is written."
    try:
        zone = business_zone()
        is_business_day(business_today())
    except ImproperlyConfigured as wrong:
        yield error(str(wrong), cure)
        return
    holidays = len(settings.BUSINESS_HOLIDAYS)
    yield ok(f"today is {business_today()} in {zone.key}; {holidays} holiday(s) configured")
