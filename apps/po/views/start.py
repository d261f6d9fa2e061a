"""Where signing in leads."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from apps.core.roles import Role


@require_safe
def start(request: HttpRequest) -> HttpResponse:
    """Administrators to the state of the nightly run, all others to the list."""
    user: Any = request.user
    return redirect("admin_dashboard" if user.role == Role.ADMIN else "po_list")
