"""Answers when something is wrong: a whole page in the frame, or a toast for a part of a page."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.views.decorators.csrf import requires_csrf_token

from apps.core.htmx import toast_only, wants_fragment


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Without the request in the template: it may be the request that cannot be read."""
    if wants_fragment(request):
        return toast_only(
            "error", _("The request was not understood. Reload the page."), status=400
        )
    return HttpResponse(render_to_string("400.html"), status=400)


@requires_csrf_token
def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Within what the user may see, but not theirs to do."""
    if wants_fragment(request):
        return toast_only(
            "error",
            _("Your role does not allow this. Ask an administrator if you need it."),
            status=403,
        )
    return render(request, "403.html", status=403)


@requires_csrf_token
def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """There is no such thing, or not for this user: nobody can tell which."""
    if wants_fragment(request):
        return toast_only(
            "error", _("This is not there, or not for you. Reload the page."), status=404
        )
    return render(request, "404.html", status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Without the request in the template: user and data come from a database that may be down."""
    number = str(getattr(request, "correlation_id", ""))
    if wants_fragment(request):
        text = _(
            "This did not work. Try again; if it goes on, give your administrator this number:"
        )
        return toast_only("error", f"{text} {number}", status=500)
    return HttpResponse(render_to_string("500.html", {"number": number}), status=500)


@login_not_required
@requires_csrf_token
def page_too_old(request: HttpRequest, reason: str = "", **kwargs: Any) -> HttpResponse:
    """The form's secret is not that of the session: somebody signed in or out since, in another
    tab, or the form is somebody else's."""
    if wants_fragment(request):
        return toast_only(
            "error", _("This page is too old: reload it, then do it again."), status=403
        )
    return render(request, "page_too_old.html", status=403)
