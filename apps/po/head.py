"""What the head of a line's panel says beside the line's own fields."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.conf import settings
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.accounts.models import User
from apps.core.clock import business_today
from apps.po.badges import PRESENCE_LABELS, Freshness, badge, progress_bar
from apps.po.cells import may_edit
from apps.po.columns import Column, all_columns
from apps.po.models import POLine, Presence, Thresholds
from apps.po.quantities import Progress
from apps.po.thresholds import current_thresholds

# Who owns a custom value (POLine.custom_sources).
_BY_USER, _BY_ERP = "user", "erp"


@dataclass(frozen=True, kw_only=True)
class CustomValue:
    """The line's value in one custom column, and in words who gave it; "" where nobody did."""

    slot: str
    label: str
    value: str | date | Decimal | None
    owner: str
    owner_icon: str
    address: str  # where it is changed; "" for what this person may not change

    @property
    def kind(self) -> str:
        return self.slot.split("_")[1]


@dataclass(frozen=True, kw_only=True)
class Head:
    exception: SafeString | str  # late or at risk, and why; "" for neither
    presence: SafeString | str  # where the ERP has the line, unless it is active there
    expected_from: str
    freshness: SafeString
    progress: Progress
    bar: SafeString
    custom: list[CustomValue]

    @classmethod
    def of(cls, line: POLine, user: User) -> Head:
        """As this person sees it now. Four queries."""
        today = business_today()
        thresholds = current_thresholds()
        progress = Progress.of(
            ordered=line.ordered_quantity,
            delivered=line.delivered_quantity,
            ready=line.ready_quantity,
        )
        return cls(
            exception=_exception(line, thresholds, today),
            presence=_presence(line),
            expected_from=_expected_from(line),
            freshness=Freshness.by(thresholds, today).badge(
                line.last_expeditor_update, is_open=bool(line.is_open)
            ),
            progress=progress,
            bar=progress_bar(progress),
            custom=[
                _custom(line, column, user) for column in all_columns().values() if column.is_custom
            ],
        )


def _exception(line: POLine, thresholds: Thresholds, today: date) -> SafeString | str:
    """The database is asked, because what late and at risk mean stands in the queryset alone."""
    this = POLine.objects.filter(pk=line.pk)
    expected = line.expected_date
    if expected is None:
        return ""
    if this.late(today).exists():
        days = (today - expected).days
        words = ngettext("Late by %(days)d day", "Late by %(days)d days", days)
        return badge("red", "exclamation-circle-fill", words % {"days": days})
    if not this.at_risk(today, thresholds.at_risk_days).exists():
        return ""
    if line.promised_date is not None and expected > line.promised_date:
        words = _("At risk: expected after the promised date")
    elif expected == today:
        words = _("At risk: expected today")
    else:
        days = (expected - today).days
        words = ngettext(
            "At risk: expected in %(days)d day", "At risk: expected in %(days)d days", days
        ) % {"days": days}
    return badge("amber", "clock-fill", words)


def _presence(line: POLine) -> SafeString | str:
    words = PRESENCE_LABELS.get(line.presence)
    return badge("grey", "database-dash", words) if words else ""


def _expected_from(line: POLine) -> str:
    """Which of the three dates is the expected one (product.md "Words")."""
    if line.ready_to_dispatch_date is not None:
        return _("ready to dispatch")
    if line.production_ready_date is not None:
        return _("production ready")
    if line.promised_date is not None:
        return _("promised in the ERP")
    return ""


def _custom(line: POLine, column: Column, user: User) -> CustomValue:
    owners = {
        _BY_USER: (_("Entered by a person"), "person-fill"),
        _BY_ERP: (_("From the ERP"), "database-fill"),
    }
    owner, icon = owners.get(line.custom_sources.get(column.key), ("", ""))
    editable = (
        not settings.READ_ONLY
        and line.presence != Presence.RETIRED
        and may_edit({"custom_sources": line.custom_sources}, column, user.role)
    )
    return CustomValue(
        slot=column.key,
        label=str(column.label),
        value=getattr(line, column.key),
        owner=owner,
        owner_icon=icon,
        address=reverse("custom_value", args=[line.pk, column.key]) if editable else "",
    )
