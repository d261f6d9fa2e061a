"""The roles, and which of them a user has (requirements FR37 to FR40)."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    ADMIN = "admin", _("Administrator")
    PLANNER = "planner", _("Planner")
    EXPEDITOR = "expeditor", _("Expeditor")


def has_role(user: Any, *roles: Role) -> bool:
    """Whether the user is active and has one of the roles. Nobody, and a user without a role, has
    none."""
    return bool(getattr(user, "is_active", False)) and getattr(user, "role", "") in roles
