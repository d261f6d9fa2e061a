"""Signing in and out, and a new password."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash, views
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from apps.accounts import services
from apps.accounts.forms import PasswordForm, SignInForm
from apps.accounts.models import User
from apps.core.htmx import own_path

SIGN_IN = "accounts/sign_in.html"


class SignIn(views.LoginView):
    """The page that everybody may see. `next` leads only to addresses of our own."""

    template_name = SIGN_IN
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def get_redirect_url(self) -> str:
        """Where to go on; never to this page, which would only lead here again."""
        name = self.redirect_field_name
        asked = self.request.POST.get(name, self.request.GET.get(name, ""))
        path = own_path(self.request, asked)
        return "" if urlsplit(path).path == self.request.path else path

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        # Nobody else removes the rows of sessions that ended by themselves.
        self.request.session.clear_expired()
        return response


class SignOut(views.LogoutView):
    """By POST only: a link on another site must not sign anybody out."""


def locked_out(
    request: HttpRequest, response: HttpResponse | None = None, credentials: Any = None
) -> HttpResponse:
    """Instead of the answer to a sign-in, after too many failures (AXES_LOCKOUT_CALLABLE)."""
    minutes = int(settings.AXES_COOLOFF_TIME.total_seconds() // 60)
    return render(
        request,
        SIGN_IN,
        {
            "form": SignInForm(request),
            "wait_minutes": minutes,
            "next": SignIn(request=request).get_redirect_url(),
        },
        status=429,
    )


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def change_password(request: HttpRequest) -> HttpResponse:
    """A person's own password; the session goes on, the person's others end."""
    user = request.user
    assert isinstance(user, User)  # nobody comes here without signing in
    form = PasswordForm(user, request.POST if request.method == "POST" else None)
    if form.is_valid():
        services.change_own_password(actor=user, password=form.cleaned_data["new_password1"])
        update_session_auth_hash(request, user)
        messages.success(request, _("Your password is changed."))
        return redirect("start")
    return render(request, "accounts/change_password.html", {"form": form})
