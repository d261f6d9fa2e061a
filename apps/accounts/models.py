"""Users, their role, and the suppliers an expeditor works for."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class Role(models.TextChoices):
    ADMIN = "admin", "Administrator"
    PLANNER = "planner", "Planner"
    EXPEDITOR = "expeditor", "Expeditor"


class User(AbstractUser):
    """A person who signs in. Without a role a user sees nothing."""

    role = models.CharField(max_length=20, choices=Role.choices, blank=True, default="")
    suppliers = models.ManyToManyField(
        "po.Supplier",
        blank=True,
        related_name="expeditors",
        help_text="The suppliers an expeditor sees; without meaning for the other roles.",
    )
