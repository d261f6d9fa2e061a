"""Scope of suppliers, lines and their status history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.contrib.auth.models import AnonymousUser
from django.db import models

from apps.accounts.models import User
from apps.accounts.scope import supplier_scope

if TYPE_CHECKING:
    from apps.po.models import POLine, StatusChange, Supplier

    SupplierBase = models.QuerySet[Supplier]
    POLineBase = models.QuerySet[POLine]
    StatusChangeBase = models.QuerySet[StatusChange]
else:
    SupplierBase = POLineBase = StatusChangeBase = models.QuerySet


class SupplierQuerySet(SupplierBase):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The suppliers the user may see."""
        scope = supplier_scope(user, "")
        return self.none() if scope is None else self.filter(scope)


class POLineQuerySet(POLineBase):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The lines the user may see."""
        scope = supplier_scope(user, "supplier")
        return self.none() if scope is None else self.filter(scope)

    def current(self) -> Self:
        """One line per key: without the retired ones."""
        return self.exclude(presence="retired")


class StatusChangeQuerySet(StatusChangeBase):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The moves of lines while they were a supplier's the user may see."""
        scope = supplier_scope(user, "supplier")
        return self.none() if scope is None else self.filter(scope)
