"""Forms for signing in and for a new password."""

from __future__ import annotations

from django.contrib.auth import forms
from django.utils.translation import gettext_lazy as _


class SignInForm(forms.AuthenticationForm):
    """One answer for a wrong name, a wrong password and a deactivated user: a stranger learns
    nothing from it."""

    error_messages = {
        "invalid_login": _(
            "Name or password is wrong. Check both, upper and lower case too; an administrator can "
            "give you a new password."
        ),
        # Not shown, because the backend lets nobody inactive in; Django wants the text.
        "inactive": _("Name or password is wrong."),
    }

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # handed on as they come
        self.fields["username"].label = _("User name")


class PasswordForm(forms.PasswordChangeForm):
    """The old password, and the new one twice."""
