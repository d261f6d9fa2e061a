"""One line: its panel and page, and the sections that load by themselves."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from apps.core.htmx import page_or_fragment
from apps.po import timeline
from apps.po.head import Head
from apps.po.models import POLine, StatusChange


@require_safe
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """The head of the line; a page of its own, or what the list shows beside itself."""
    line = get_object_or_404(
        POLine.objects.for_user(request.user).select_related("supplier"), pk=pk
    )
    user: Any = request.user
    context = {"line": line, "head": Head.of(line, user)}
    return page_or_fragment(request, "po/detail.html", "po/_detail.html", context)


@require_safe
def show_timeline(request: HttpRequest, pk: int) -> HttpResponse:
    """What happened to the line: 50 acts, newest first, from a place in the past on."""
    line = get_object_or_404(POLine.objects.for_user(request.user), pk=pk)
    asked = timeline.Asked.of(request.GET.getlist("kind"), request.GET.get("before", ""))
    context = {"line": line, "asked": asked, "page": timeline.page_of(line, request.user, asked)}
    return page_or_fragment(request, "po/timeline.html", "po/_timeline.html", context)


@require_safe
def status_history(request: HttpRequest, pk: int) -> HttpResponse:
    """The moves of the line's status, newest first."""
    line = get_object_or_404(POLine.objects.for_user(request.user), pk=pk)
    moves = StatusChange.objects.for_user(request.user).filter(po_line=line)
    context = {"line": line, "moves": moves.order_by("-effective_at", "-pk")}
    return page_or_fragment(request, "po/status_history.html", "po/_status_history.html", context)
