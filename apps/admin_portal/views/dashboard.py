"""The administrator's first page, and the parts of it that load by themselves."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.admin_portal.dashboard import facts
from apps.core.decorators import role_required
from apps.core.htmx import page_or_fragment
from apps.core.roles import Role
from apps.ingestion import history
from apps.ingestion.models import XrefGap
from apps.operations import health
from apps.po.models import POLine


@role_required(Role.ADMIN)
@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    """Whether last night went well, and what waits for somebody."""
    standing = history.Standing.now()
    gaps = XrefGap.objects.for_user(request.user).still_open()
    context = {
        **facts(standing, POLine.objects.for_user(request.user)),
        "newest": history.seen([standing.newest])[0] if standing.newest else None,
        "gaps": gaps.count(),
    }
    return render(request, "admin_portal/dashboard.html", context)


@role_required(Role.ADMIN)
@require_safe
def server_health(request: HttpRequest) -> HttpResponse:
    """The application's own database, its backups, the disk."""
    return _health(request, "server", health.server_health())


@role_required(Role.ADMIN)
@require_safe
def erp_health(request: HttpRequest) -> HttpResponse:
    """Whether the ERP answers and a run would work; waits for it a few seconds only."""
    return _health(request, "erp", health.erp_health())


def _health(request: HttpRequest, part: str, diagnosis: Any) -> HttpResponse:
    return page_or_fragment(
        request,
        "admin_portal/health.html",
        "admin_portal/_health.html",
        {"part": part, "diagnosis": diagnosis, "seconds": round(health.ERP_WITHIN_SECONDS)},
    )
