"""/healthz: for IIS, load balancers and monitors, without signing in."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from apps.operations.health import health


@login_not_required
@csrf_exempt  # it changes nothing, so a POST is answered 405 like any other method
@require_safe
@cache_control(no_store=True)
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while the application works, 503 while its database is unreachable or its data are too
    old."""
    # A browser of a person who is signed in must not keep the session alive by asking this.
    del request.session
    found = health()
    return JsonResponse(found.as_dict(), status=200 if found.is_up else 503)
