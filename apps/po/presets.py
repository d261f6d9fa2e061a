"""The presets of the list (FR14 to FR16): each one question that people ask every day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.core.clock import business_date
from apps.core.roles import Role
from apps.core.words import StrOrPromise
from apps.po.models import Thresholds
from apps.po.paging import COUNT_LIMIT, count_up_to_limit, keys_up_to_limit
from apps.po.querysets import POLineQuerySet
from apps.po.thresholds import current_thresholds


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What late, at risk, stale and recent are measured with: one clock and one set of thresholds
    for a whole page."""

    user: User
    now: datetime
    today: date
    thresholds: Thresholds

    @classmethod
    def of(cls, user: User) -> Measure:
        """As of now. One query."""
        now = timezone.now()
        return cls(user=user, now=now, today=business_date(now), thresholds=current_thresholds())

    def all(self, lines: POLineQuerySet) -> POLineQuerySet:
        return lines.current()

    def late(self, lines: POLineQuerySet) -> POLineQuerySet:
        return lines.late(self.today)

    def at_risk(self, lines: POLineQuerySet) -> POLineQuerySet:
        return lines.at_risk(self.today, self.thresholds.at_risk_days)

    def with_exception(self, lines: POLineQuerySet) -> POLineQuerySet:
        return lines.with_exception(self.today, self.thresholds.at_risk_days)

    def no_response(self, lines: POLineQuerySet) -> POLineQuerySet:
        return lines.no_response(self.today, self.thresholds.stale_business_days)

    def updated_recently(self, lines: POLineQuerySet) -> POLineQuerySet:
        return lines.current().updated_recently(self.user, self.now, self.thresholds.recent_hours)

    def no_response_parts(self, lines: POLineQuerySet) -> tuple[POLineQuerySet, ...]:
        return lines.no_response_in_parts(self.today, self.thresholds.stale_business_days)


@dataclass(frozen=True, kw_only=True)
class Preset:
    key: str
    label: StrOrPromise
    icon: str
    narrow: Callable[[Measure, POLineQuerySet], POLineQuerySet]
    # The same lines as several lists without a line in common, where that is quicker to count.
    in_parts: Callable[[Measure, POLineQuerySet], tuple[POLineQuerySet, ...]] | None = None

    def count(self, measure: Measure, lines: POLineQuerySet) -> int:
        """How many of the lines it shows; COUNT_LIMIT + 1 for more."""
        return min(
            sum(count_up_to_limit(part) for part in self._parts(measure, lines)), COUNT_LIMIT + 1
        )

    def keys(self, measure: Measure, lines: POLineQuerySet) -> list[int]:
        """The primary keys of the lines it shows, in no order; COUNT_LIMIT + 1 for more."""
        parts = self._parts(measure, lines)
        return [key for part in parts for key in keys_up_to_limit(part)][: COUNT_LIMIT + 1]

    def _parts(self, measure: Measure, lines: POLineQuerySet) -> tuple[POLineQuerySet, ...]:
        return self.in_parts(measure, lines) if self.in_parts else (self.narrow(measure, lines),)


PRESETS = {
    preset.key: preset
    for preset in (
        Preset(key="late", label=_("Late"), icon="exclamation-circle-fill", narrow=Measure.late),
        Preset(key="at_risk", label=_("At risk"), icon="clock-fill", narrow=Measure.at_risk),
        Preset(
            key="no_response",
            label=_("No response"),
            icon="x-circle",
            narrow=Measure.no_response,
            in_parts=Measure.no_response_parts,
        ),
        Preset(
            key="updated",
            label=_("Updated recently"),
            icon="arrow-repeat",
            narrow=Measure.updated_recently,
        ),
        Preset(key="all", label=_("All"), icon="list-ul", narrow=Measure.all),
    )
}


def landing_preset(role: str) -> str:
    """Where a role begins: expeditors with all their lines, the others with what is late."""
    return "all" if role == Role.EXPEDITOR else "late"
