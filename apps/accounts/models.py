"""Users, their role, and the suppliers an expeditor works for."""

from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import AbstractUser
from django.db import models

from apps.core.roles import Role as Role  # a user's role; `core` has it for whoever asks for one


class User(AbstractUser):
    """A person who signs in. Without a role a user sees nothing."""

    role = models.CharField(max_length=20, choices=Role.choices, blank=True, default="")
    suppliers = models.ManyToManyField(
        "po.Supplier",
        blank=True,
        related_name="expeditors",
        help_text="The suppliers an expeditor sees; without meaning for the other roles.",
    )

    def check_password(self, raw_password: str) -> bool:
        """Whether it is the user's password. As Django does, but for the read-only instance, which
        cannot store a password anew when hashing has become stronger since."""
        if settings.READ_ONLY:
            return check_password(raw_password, self.password)
        return super().check_password(raw_password)
