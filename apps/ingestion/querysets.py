"""Who may see the records of the nightly run: administrators, and nobody else.

A run and what it could not use are not one supplier's, so there is no part of them that an
expeditor could be shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.contrib.auth.models import AnonymousUser
from django.db import models

from apps.accounts.models import User
from apps.core.roles import Role, has_role

if TYPE_CHECKING:
    from apps.ingestion.models import (  # noqa: F401  # in the quoted types
        IngestionRun,
        RejectedRow,
        XrefGap,
    )


class IngestionRunQuerySet(models.QuerySet["IngestionRun"]):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """All runs for an administrator, none for others."""
        return self.all() if has_role(user, Role.ADMIN) else self.none()

    def newest_first(self) -> Self:
        return self.order_by("-pk")

    def without_lists(self) -> Self:
        """Leaves the long lists in the database: a night may name thousands of item codes."""
        return self.defer("unmapped_item_codes", "stage_seconds")


class RejectedRowQuerySet(models.QuerySet["RejectedRow"]):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """All rejected rows for an administrator, none for others."""
        return self.all() if has_role(user, Role.ADMIN) else self.none()

    def counts_by_relation(self) -> dict[str, int]:
        """How many there are of lines and of receipts (`deliveries`), zero included; one query."""
        counted = self.order_by().values_list("relation").annotate(models.Count("pk"))
        return {"lines": 0, "deliveries": 0} | dict(counted)


class XrefGapQuerySet(models.QuerySet["XrefGap"]):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """All gaps for an administrator, none for others."""
        return self.all() if has_role(user, Role.ADMIN) else self.none()

    def still_open(self) -> Self:
        """The gaps that no cross-reference has closed since."""
        return self.filter(resolved_at__isnull=True)

    def most_lines_first(self) -> Self:
        return self.order_by("-line_count", "supplier__code", "erp_item_code", "pk")
