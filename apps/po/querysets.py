"""Scope of suppliers, lines and their status history, and what late, at risk and stale mean.

Each word of the product (product.md "Words", rules.md "Status") is one method here and nowhere
else. Thresholds become dates and moments in Python; SQL only compares them.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Self

from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce

from apps.accounts.models import User
from apps.accounts.scope import supplier_scope
from apps.audit.models import AuditEvent
from apps.core.clock import start_of_business_day
from apps.po.business_days import subtract_business_days
from apps.po.lifecycle import Status

if TYPE_CHECKING:
    from apps.po.models import POLine, StatusChange, Supplier  # noqa: F401  # in the quoted types

# A line that aged out is not closed: its own quantities and status say that it is not open.
_OPEN_PRESENCES = ("present", "aged_out")
_NOT_OPEN_STATUSES = (Status.FULLY_DELIVERED, Status.CLOSED, Status.CANCELLED)


class SupplierQuerySet(models.QuerySet["Supplier"]):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The suppliers the user may see."""
        scope = supplier_scope(user, "")
        return self.none() if scope is None else self.filter(scope)


class POLineQuerySet(models.QuerySet["POLine"]):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The lines the user may see."""
        scope = supplier_scope(user, "supplier")
        return self.none() if scope is None else self.filter(scope)

    def current(self) -> Self:
        """One line per key: without the retired ones."""
        return self.exclude(presence="retired")

    def open_lines(self) -> Self:
        """The lines on which something is still to come.

        Not fully delivered, closed or cancelled, neither by status nor in the ERP; not retired,
        not absent; and more ordered than delivered.
        """
        return self.filter(
            presence__in=_OPEN_PRESENCES, ordered_quantity__gt=F("delivered_quantity")
        ).exclude(status__in=_NOT_OPEN_STATUSES)

    def with_expected_date(self) -> Self:
        """Annotates `expected_date`: the ready-to-dispatch milestone, else the production-ready
        one, else the ERP's promised date, else NULL."""
        return self.annotate(
            expected_date=Coalesce(
                "ready_to_dispatch_date", "production_ready_date", "promised_date"
            )
        )

    def late(self, today: date) -> Self:
        """The open lines expected before today."""
        return self.open_lines().with_expected_date().filter(expected_date__lt=today)

    def at_risk(self, today: date, days: int) -> Self:
        """The open lines that are not late, but expected within `days` days (today + `days`
        included) or after the promised date."""
        soon_or_slipped = Q(expected_date__lte=today + timedelta(days=days)) | Q(
            expected_date__gt=F("promised_date")
        )
        return (
            self.open_lines().with_expected_date().filter(soon_or_slipped, expected_date__gte=today)
        )

    def stale(self, today: date, business_days: int) -> Self:
        """The open lines without an expeditor's update within `business_days` business days.

        An update on the `business_days`th business day before today still counts; a line never
        updated counts from when it was first seen.
        """
        return self.open_lines().filter(_stale(today, business_days))

    def no_response(self, today: date, business_days: int) -> Self:
        """The open lines whose supplier is to be asked: stale, or the latest source is "no
        supplier response" (requirements FR14 to FR16)."""
        return self.open_lines().filter(
            _stale(today, business_days) | Q(source_quality="no_supplier_response")
        )

    def updated_recently(
        self, user: User | AnonymousUser | None, now: datetime, hours: int
    ) -> Self:
        """The lines of which an event that the user may see took effect within `hours` hours.

        The user is asked for because a line may have come from another supplier: what happened to
        it there does not count for an expeditor who did not work for that supplier.
        """
        events = AuditEvent.objects.for_user(user).filter(
            po_line__isnull=False, effective_at__gte=now - timedelta(hours=hours)
        )
        return self.filter(pk__in=events.values("po_line"))

    def by_expected_date(self, *, descending: bool = False) -> Self:
        """Sorted by expected date; lines without one last in both directions, ties by `pk`.

        The engines disagree on where NULL sorts and SQL Server has no NULLS LAST: hence the rank.
        """
        rank = Case(When(expected_date__isnull=True, then=Value(1)), default=Value(0))
        date_order = F("expected_date").desc() if descending else F("expected_date").asc()
        return self.with_expected_date().order_by(rank, date_order, "pk")


class StatusChangeQuerySet(models.QuerySet["StatusChange"]):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The moves of lines while they were a supplier's the user may see."""
        scope = supplier_scope(user, "supplier")
        return self.none() if scope is None else self.filter(scope)


def _stale(today: date, business_days: int) -> Q:
    """Last touched before the first moment of the earliest day that still counts."""
    limit = start_of_business_day(subtract_business_days(today, business_days))
    never_updated = Q(last_expeditor_update__isnull=True, first_seen_at__lt=limit)
    return Q(last_expeditor_update__lt=limit) | never_updated
