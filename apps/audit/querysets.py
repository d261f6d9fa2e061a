"""Scoped, append-only access to the history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn, Self
from uuid import UUID

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
    def of_act(self, correlation_id: UUID) -> Self:
        """Everything that one run or one request did."""
        return self.filter(correlation_id=correlation_id)

    def counts_of(self, event_types: Iterable[str]) -> dict[str, int]:
        """How many there are of each of these types, those without any included; one query."""
        wanted = list(event_types)
        counted = self.filter(event_type__in=wanted).order_by().values_list("event_type")
        return dict.fromkeys(wanted, 0) | dict(counted.annotate(models.Count("pk")))

    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The events of lines while they were a supplier's the user may see.

        Events without a supplier (runs, imports) fulfil only the condition of those who see all.
        """
        scope = supplier_scope(user, "supplier")
        return self.none() if scope is None else self.filter(scope)
