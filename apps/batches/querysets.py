"""Scope of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.contrib.auth.models import AnonymousUser
from django.db import models

from apps.accounts.models import User
from apps.accounts.scope import supplier_scope

if TYPE_CHECKING:
    from apps.batches.models import Batch  # noqa: F401  # in the quoted type


class BatchQuerySet(models.QuerySet["Batch"]):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The batches delivered by a supplier the user may see."""
        scope = supplier_scope(user, "supplier")
        return self.none() if scope is None else self.filter(scope)
