"""From when on a line is at risk, ageing or stale, and how long something is recent."""

from __future__ import annotations

from django.conf import settings

from apps.po.models import Thresholds


def current_thresholds() -> Thresholds:
    """What an administrator set, else the settings' values. One query."""
    return Thresholds.objects.filter(pk=1).first() or Thresholds(
        at_risk_days=settings.AT_RISK_DAYS,
        ageing_business_days=settings.AGEING_BUSINESS_DAYS,
        stale_business_days=settings.STALE_BUSINESS_DAYS,
        recent_hours=settings.RECENT_HOURS,
    )
