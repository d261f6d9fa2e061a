"""The sections of a line's panel that tell of deliveries."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from apps.batches.models import Batch, ReceiptDateNote
from apps.batches.totals import Delivered
from apps.core.clock import business_today
from apps.core.htmx import page_or_fragment
from apps.po.models import POLine
from apps.po.movement import Movement


@require_safe
def batches(request: HttpRequest, pk: int) -> HttpResponse:
    """What was delivered when, and how that is known."""
    line = get_object_or_404(POLine.objects.for_user(request.user), pk=pk)
    delivered = Delivered.of(
        line,
        Batch.objects.for_user(request.user).filter(po_line=line),
        ReceiptDateNote.objects.for_user(request.user).filter(batch__po_line=line),
    )
    context = {"line": line, "delivered": delivered}
    return page_or_fragment(request, "batches/batches.html", "batches/_batches.html", context)


@require_safe
def date_movement(request: HttpRequest, pk: int) -> HttpResponse:
    """How the dates of the line moved. Served here because the picture shows receipts, too."""
    line = get_object_or_404(POLine.objects.for_user(request.user), pk=pk)
    receipts = Batch.objects.for_user(request.user).filter(po_line=line).receipts()
    movement = Movement.of(
        line,
        request.user,
        receipts=receipts.values_list("delivered_on", flat=True),
        today=business_today(),
    )
    context = {"line": line, "movement": movement}
    return page_or_fragment(request, "batches/movement.html", "batches/_movement.html", context)
