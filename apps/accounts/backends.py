"""Who a name and a password belong to."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from apps.accounts.models import User


class ExactName(ModelBackend):
    """As Django's own, but a name counts only as it is written.

    SQL Server takes KATRIN for katrin, and a name with an invisible character in it for the one
    without. Failures are counted per name that was typed, so that each way of writing it would have
    had its own five guesses.
    """

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        user = super().authenticate(request, username=username, password=password, **kwargs)
        return user if isinstance(user, User) and user.get_username() == username else None
