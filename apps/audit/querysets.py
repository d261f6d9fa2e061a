"""Scoped, append-only access to the history."""

from __future__ import annotations

from typing import Any, NoReturn, Self

from django.contrib.auth.models import AnonymousUser
from django.db import models

from apps.accounts.models import User
from apps.accounts.scope import supplier_scope


class AppendOnlyError(TypeError):
    """Somebody tried to change or remove history."""

    def __init__(self, model: type[models.Model]) -> None:
        super().__init__(f"{model.__name__} is append-only: rows are neither changed nor deleted.")


class AppendOnlyQuerySet(models.QuerySet[Any]):
    """A queryset that adds and reads, nothing else; the database's triggers refuse the rest too."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError(self.model)

    def delete(self) -> NoReturn:
        raise AppendOnlyError(self.model)

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError(self.model)

    def bulk_create(self, objs: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("update_conflicts"):
            raise AppendOnlyError(self.model)
        return super().bulk_create(objs, *args, **kwargs)


class ERPChangeEventQuerySet(AppendOnlyQuerySet):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The changes of lines while they were a supplier's the user may see."""
        scope = supplier_scope(user, "supplier")
        return self.none() if scope is None else self.filter(scope)


class AuditEventQuerySet(AppendOnlyQuerySet):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The events of lines while they were a supplier's the user may see.

        Events without a supplier (runs, imports) fulfil only the condition of those who see all.
        """
        scope = supplier_scope(user, "supplier")
        return self.none() if scope is None else self.filter(scope)
