"""Scope of suppliers, lines and their status history, and what late, at risk and stale mean.

Each word of the product (product.md "Words", rules.md "Status") is one method here and nowhere
else. Thresholds become dates and moments in Python; SQL only compares them.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Self

from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.db.models import F, Q

from apps.accounts.models import User
from apps.accounts.scope import supplier_scope
from apps.audit.models import AuditEvent
from apps.core.clock import start_of_business_day
from apps.po.business_days import subtract_business_days

if TYPE_CHECKING:
    from apps.po.models import POLine, SavedView, StatusChange, Supplier  # noqa: F401  # in the quoted types


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
        not absent; and more ordered than delivered (POLine.is_open).
        """
        return self.filter(is_open=1)

    def late(self, today: date) -> Self:
        """The open lines expected before today."""
        return self.open_lines().filter(expected_date__lt=today)

    def at_risk(self, today: date, days: int) -> Self:
        """The open lines that are not late, but expected within `days` days (today + `days`
        included) or after the promised date."""
        soon_or_slipped = Q(expected_date__lte=today + timedelta(days=days)) | Q(
            expected_date__gt=F("promised_date")
        )
        return self.open_lines().filter(soon_or_slipped, expected_date__gte=today)

    def stale(self, today: date, business_days: int) -> Self:
        """The open lines without an expeditor's update within `business_days` business days.

        An update on the `business_days`th business day before today still counts; a line never
        updated counts from when it was first seen.
        """
        return self.open_lines().filter(last_touched_at__lt=untouched_since(today, business_days))

    def unanswered(self, today: date, business_days: int) -> Self:
        """The open lines that are not stale, but whose latest source is "no supplier response"."""
        return self.open_lines().filter(
            last_touched_at__gte=untouched_since(today, business_days),
            source_quality="no_supplier_response",
        )

    def no_response(self, today: date, business_days: int) -> Self:
        """The open lines whose supplier is to be asked: stale, or the latest source is "no
        supplier response" (requirements FR14 to FR16)."""
        return self.open_lines().filter(
            Q(last_touched_at__lt=untouched_since(today, business_days))
            | Q(source_quality="no_supplier_response")
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


class StatusChangeQuerySet(models.QuerySet["StatusChange"]):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The moves of lines while they were a supplier's the user may see."""
        scope = supplier_scope(user, "supplier")
        return self.none() if scope is None else self.filter(scope)


class SavedViewQuerySet(models.QuerySet["SavedView"]):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The views that the user may look through: each one whose address they were given. What
        they see through it is theirs to see anyway."""
        return self.all() if isinstance(user, User) and user.is_active else self.none()

    def owned_by(self, user: User) -> Self:
        """The views that the user saved."""
        return self.filter(user=user)


def untouched_since(today: date, business_days: int) -> datetime:
    """The first moment of the earliest day that still counts: what was last touched before it has
    gone without an update for `business_days` business days."""
    return start_of_business_day(subtract_business_days(today, business_days))
