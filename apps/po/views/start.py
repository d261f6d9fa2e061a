"""The start page: how many lines there are for this user, and how many need somebody."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.core.clock import business_today
from apps.po.models import POLine, Supplier


@require_safe
def start(request: HttpRequest) -> HttpResponse:
    """Where signing in leads."""
    today = business_today()
    lines = POLine.objects.for_user(request.user).current()
    return render(
        request,
        "po/start.html",
        {
            "suppliers": Supplier.objects.for_user(request.user).count(),
            "open": lines.open_lines().count(),
            "late": lines.late(today).count(),
            "at_risk": lines.at_risk(today, settings.AT_RISK_DAYS).count(),
            "no_response": lines.no_response(today, settings.STALE_BUSINESS_DAYS).count(),
        },
    )
