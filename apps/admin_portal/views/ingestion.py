"""The ingestion monitor: the nights, one below the other, and each of them in detail."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from apps.admin_portal import chart, monitor
from apps.admin_portal.filters import RunFilter, chosen
from apps.audit.models import AuditEvent
from apps.core.clock import business_today
from apps.core.decorators import role_required
from apps.core.htmx import page_or_fragment, reload_whole_page, wants_fragment
from apps.core.roles import Role
from apps.ingestion import history
from apps.ingestion.models import IngestionRun, RejectedRow, XrefGap

PAGE_SIZE = 50
NIGHTS = 60


@role_required(Role.ADMIN)
@require_safe
def runs(request: HttpRequest) -> HttpResponse:
    """All runs, the newest first."""
    asked = RunFilter(request.GET)
    found = asked.narrow(
        IngestionRun.objects.for_user(request.user).newest_first().without_lists(),
        stopped=history.stopped_runs(),
    )
    page = Paginator(found, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "filter": asked,
        "page": page,
        "runs": history.seen(page),
        "counters": monitor.LISTED,
    }
    if not wants_fragment(request):
        nights = history.nights(business_today(), NIGHTS)
        context |= {"nights": nights, "chart": chart.draw(nights)}
    return page_or_fragment(request, "admin_portal/runs.html", "admin_portal/_runs.html", context)


@role_required(Role.ADMIN)
@require_safe
def run_row(request: HttpRequest, pk: int) -> HttpResponse:
    """One row of the list, which asks for itself while its run is at work."""
    _leave_the_session_alone(request)
    seen = history.seen([_run(request, pk)])[0]
    return render(request, "admin_portal/_run_row.html", {"seen": seen, "counters": monitor.LISTED})


@role_required(Role.ADMIN)
@require_safe
def run(request: HttpRequest, pk: int) -> HttpResponse:
    """One run. While it is at work its progress asks for itself, and the rest comes at its end."""
    asks_for_itself = wants_fragment(request)
    if asks_for_itself:
        _leave_the_session_alone(request)
    seen = history.seen([_run(request, pk)])[0]
    if asks_for_itself and not seen.is_running:
        return reload_whole_page()
    context = {
        "seen": seen,
        "run": seen.run,
        "expected": history.expected_rows() if seen.is_running else None,
        "counters": monitor.counters_of(seen.run),
        "stages": monitor.stage_times(seen.run),
    }
    return page_or_fragment(
        request, "admin_portal/run.html", "admin_portal/_run_progress.html", context
    )


@role_required(Role.ADMIN)
@require_safe
def changes(request: HttpRequest, pk: int) -> HttpResponse:
    """The lines that a run touched, and what changed about each."""
    run = _run(request, pk)
    events = AuditEvent.objects.for_user(request.user).of_act(run.identifier)
    kinds = events.counts_of(monitor.LINE_EVENTS)
    kind = chosen(request.GET.get("kind"), kinds)
    shown = events.filter(event_type__in=[kind] if kind else list(monitor.LINE_EVENTS))
    page = Paginator(
        shown.select_related("po_line", "supplier").order_by("pk"), PAGE_SIZE
    ).get_page(request.GET.get("page"))
    return _part(
        request,
        run,
        "changes",
        {
            "page": page,
            "kind": kind,
            "kinds": [(value, words, kinds[value]) for value, words in monitor.LINE_EVENTS.items()],
            "total": sum(kinds.values()),
            "lines": monitor.line_changes(page, custom_labels=monitor.custom_labels()),
        },
    )


@role_required(Role.ADMIN)
@require_safe
def rejected(request: HttpRequest, pk: int) -> HttpResponse:
    """The ERP rows that a run could not use, each with its reason and its raw values."""
    run = _run(request, pk)
    rows = RejectedRow.objects.for_user(request.user).filter(run=run)
    relations = rows.counts_by_relation()
    relation = chosen(request.GET.get("relation"), relations)
    shown = rows.filter(relation=relation) if relation else rows
    ordered = shown.order_by("po_number", "line_number", "pk")
    page = Paginator(ordered, PAGE_SIZE).get_page(request.GET.get("page"))
    return _part(
        request,
        run,
        "rejected",
        {
            "page": page,
            "relation": relation,
            "lines": relations["lines"],
            "receipts": relations["deliveries"],
            "total": sum(relations.values()),
        },
    )


@role_required(Role.ADMIN)
@require_safe
def gaps(request: HttpRequest, pk: int) -> HttpResponse:
    """The item codes that no cross-reference mapped in a run, or those that none maps now."""
    run = _run(request, pk)
    still_open = XrefGap.objects.for_user(request.user).still_open().select_related("supplier")
    which = chosen(request.GET.get("which"), ("open",))
    found: Any = still_open.most_lines_first() if which else run.unmapped_item_codes
    page = Paginator(found, PAGE_SIZE).get_page(request.GET.get("page"))
    return _part(
        request,
        run,
        "gaps",
        {
            "page": page,
            "which": which,
            "in_run": len(run.unmapped_item_codes),
            "open": page.paginator.count if which else still_open.count(),
        },
    )


def _part(
    request: HttpRequest, run: IngestionRun, name: str, context: dict[str, Any]
) -> HttpResponse:
    """A section of the run's page, or a page of its own with this section alone."""
    return page_or_fragment(
        request,
        "admin_portal/run_part.html",
        f"admin_portal/_run_{name}.html",
        {"run": run, "part": name, "part_template": f"admin_portal/_run_{name}.html", **context},
    )


def _run(request: HttpRequest, pk: int) -> IngestionRun:
    run: IngestionRun = get_object_or_404(IngestionRun.objects.for_user(request.user), pk=pk)
    return run


def _leave_the_session_alone(request: HttpRequest) -> None:
    """A page that asks for itself every two seconds is no person who does something: the session
    ends after 30 idle minutes like any other (apps.core.middleware.IdleSession)."""
    del request.session
