"""How a status, a source, an age and a progress look: icon and words, colour third (ui.md)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from apps.core.clock import business_date
from apps.core.templatetags.interface import EMPTY
from apps.po.lifecycle import SourceQuality, Status
from apps.po.models import Presence, Thresholds
from apps.po.quantities import Progress
from apps.po.querysets import untouched_since

_STATUS = {
    Status.PLANNED: ("grey", "calendar3"),
    Status.IN_PRODUCTION: ("blue", "gear-fill"),
    Status.READY_TO_DISPATCH: ("teal", "box-seam"),
    Status.PART_DELIVERED: ("amber", "truck"),
    Status.FULLY_DELIVERED: ("green", "check-lg"),
    Status.CLOSED: ("grey", "x-lg"),
    Status.CANCELLED: ("grey", "x-lg"),
}
_SOURCE = {
    SourceQuality.SUPPLIER_CONFIRMED: ("green", "circle-fill"),
    SourceQuality.EXPEDITOR_ESTIMATE: ("amber", "circle"),
    SourceQuality.NO_RESPONSE: ("red", "x-circle"),
}
# Where the ERP has a line that is not active there as usual.
PRESENCE_LABELS = {
    Presence.AGED_OUT.value: gettext_lazy("Delivered long ago, never closed in the ERP"),
    Presence.CLOSED.value: gettext_lazy("Closed in the ERP"),
    Presence.CANCELLED.value: gettext_lazy("Cancelled in the ERP"),
    Presence.ABSENT.value: gettext_lazy("No longer in the ERP"),
    Presence.RETIRED.value: gettext_lazy("Its number belongs to another order now"),
}


def badge(colour: str, icon: str, words: object) -> SafeString:
    """An icon and words in a colour. `words` may be a translation that is still to be made."""
    return _badge(colour, icon, str(words))


@lru_cache(maxsize=512)  # a page has hundreds of the same few
def _badge(colour: str, icon: str, words: str) -> SafeString:
    return format_html(
        '<span class="badge badge-{}"><i class="bi bi-{}" aria-hidden="true"></i>{}</span>',
        colour,
        icon,
        words,
    )


def status_badge(status: str) -> SafeString:
    known = Status(status)
    return badge(*_STATUS[known], known.label)


def source_badge(source: str) -> SafeString:
    """An em dash for a line on which nobody recorded a milestone."""
    if not source:
        return EMPTY
    quality = SourceQuality(source)
    return badge(*_SOURCE[quality], quality.label)


def unmapped_badge() -> SafeString:
    return badge("unmapped", "exclamation-triangle", _("unmapped"))


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """How long ago an expeditor last spoke, judged by the thresholds as of today."""

    today: date
    ageing_since: datetime
    stale_since: datetime

    @classmethod
    def by(cls, thresholds: Thresholds, today: date) -> Freshness:
        return cls(
            today=today,
            # On the nth business day before today it is ageing already; stale is what lies before
            # the last day that counts (POLineQuerySet.stale).
            ageing_since=untouched_since(today, max(thresholds.ageing_business_days - 1, 0)),
            stale_since=untouched_since(today, thresholds.stale_business_days),
        )

    def badge(self, updated: datetime | None, *, is_open: bool) -> SafeString:
        """Muted where nothing is still to come: nobody is to be asked about such a line."""
        words = _("never updated") if updated is None else self.words(updated)
        kind = self._kind(updated) if is_open else "fresh"
        return format_html('<span class="{}">{}</span>', kind, words)

    def _kind(self, updated: datetime | None) -> str:
        if updated is None or updated < self.stale_since:
            return "fresh fresh-stale"
        return "fresh fresh-ageing" if updated < self.ageing_since else "fresh"

    def words(self, updated: datetime) -> str:
        days = (self.today - business_date(updated)).days
        if days <= 0:
            return _("updated today")
        return ngettext("%(days)d day ago", "%(days)d days ago", days) % {"days": days}


def progress_bar(progress: Progress) -> SafeString:
    """The compact bar of the table: a picture beside the numbers, so readers skip it."""
    if progress.ordered <= 0:
        return SafeString("")
    x = Decimal(0)
    parts = []
    for kind in ("delivered", "dispatched", "ready"):
        share: Decimal = getattr(progress, kind) * 100 / progress.ordered
        if share:
            parts.append(f'<rect class="part-{kind}" x="{x:.2f}" width="{share:.2f}" height="4"/>')
        x += share
    return mark_safe(  # noqa: S308  # numbers of our own only
        '<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="part-rest" width="100" height="4"/>{"".join(parts)}</svg>'
    )
