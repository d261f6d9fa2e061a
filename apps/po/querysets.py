"""Scope of suppliers, lines and their status history, and what late, at risk and stale mean.

Each word of the product (product.md "Words", rules.md "Status") is one method here and nowhere
else. Thresholds become dates and moments in Python; SQL only compares them.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Self

from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.db.models import Case, CharField, Exists, F, OuterRef, Q, Value, When

from apps.accounts.models import User
from apps.accounts.scope import supplier_scope
from apps.audit.models import AuditEvent
from apps.core.clock import start_of_business_day
from apps.core.roles import Role
from apps.po.business_days import subtract_business_days
from apps.po.lifecycle import SourceQuality

if TYPE_CHECKING:
    from apps.po.models import POLine, SavedView, StatusChange, Supplier  # noqa: F401  # in the quoted types


_NO_RESPONSE = SourceQuality.NO_RESPONSE
_OTHER_SOURCES = ("", *(source for source in SourceQuality if source != _NO_RESPONSE))


class SupplierQuerySet(models.QuerySet["Supplier"]):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The suppliers the user may see."""
        scope = supplier_scope(user, "")
        return self.none() if scope is None else self.filter(scope)

    def without_expeditor(self) -> Self:
        """The suppliers for whose lines no active expeditor works."""
        working = User.objects.filter(suppliers=OuterRef("pk"), role=Role.EXPEDITOR, is_active=True)
        return self.filter(~Exists(working))


class POLineQuerySet(models.QuerySet["POLine"]):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The lines the user may see."""
        scope = supplier_scope(user, "supplier")
        return self.none() if scope is None else self.filter(scope)

    def walked_for_user(self, user: User | AnonymousUser | None) -> Self:
        """The same lines as `for_user`, asked for so that no index of suppliers is used.

        With it SQLite would gather and sort all lines of an expeditor's suppliers, however few of
        them are read, instead of walking the index that has them in order.
        """
        scope = supplier_scope(user, "supplier_number")
        if scope is None:
            return self.none()
        return self.alias(supplier_number=F("supplier_id") + 0).filter(scope)

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
        return self.filter(is_late(today))

    def at_risk(self, today: date, days: int) -> Self:
        """The open lines that are not late, but expected within `days` days (today + `days`
        included) or after the promised date."""
        return self.filter(is_at_risk(today, days))

    def with_exception(self, today: date, days: int) -> Self:
        """Annotates `exception`: "late", "at_risk" or ""."""
        return self.annotate(
            exception=Case(
                When(is_late(today), then=Value("late")),
                When(is_at_risk(today, days), then=Value("at_risk")),
                default=Value(""),
                output_field=CharField(),
            )
        )

    def stale(self, today: date, business_days: int) -> Self:
        """The open lines without an expeditor's update within `business_days` business days.

        An update on the `business_days`th business day before today still counts; a line never
        updated counts from when it was first seen.
        """
        return self.open_lines().filter(last_touched_at__lt=untouched_since(today, business_days))

    def no_response(self, today: date, business_days: int) -> Self:
        """The open lines whose supplier is to be asked: stale, or the latest source is "no
        supplier response" (requirements FR14 to FR16)."""
        stale = Q(last_touched_at__lt=untouched_since(today, business_days))
        return self.open_lines().filter(stale | Q(source_quality=_NO_RESPONSE))

    def no_response_in_parts(self, today: date, business_days: int) -> tuple[Self, Self]:
        """The same lines as two lists without a line in common, each of which an index answers
        alone (po_line_open_answered); an "or" it does not."""
        open_lines = self.open_lines()
        return (
            open_lines.filter(source_quality=_NO_RESPONSE),
            open_lines.filter(
                source_quality__in=_OTHER_SOURCES,
                last_touched_at__lt=untouched_since(today, business_days),
            ),
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


def is_late(today: date) -> Q:
    """What makes a line late."""
    return Q(is_open=1, expected_date__lt=today)


def is_at_risk(today: date, days: int) -> Q:
    """What puts a line at risk: not late, but soon due or later than promised."""
    soon = Q(expected_date__lte=today + timedelta(days=days))
    slipped = Q(expected_date__gt=F("promised_date"))
    return Q(is_open=1, expected_date__gte=today) & (soon | slipped)


def untouched_since(today: date, business_days: int) -> datetime:
    """The first moment of the earliest day that still counts: what was last touched before it has
    gone without an update for `business_days` business days."""
    return start_of_business_day(subtract_business_days(today, business_days))
