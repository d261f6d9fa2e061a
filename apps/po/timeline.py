"""What happened to a line, told as people read it: acts, newest first, a page at a time.

Everything that happens to a line has its audit event, and the event of a night carries all changes
of that night (rules.md "Events and counters"): so one table, read once per page, tells it all. The
events are narrowed by kind here and not by the database, because what an event holds is JSON.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import BadRequest
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from apps.accounts.models import User
from apps.audit.models import AuditEvent, EventType
from apps.core.templatetags.interface import moment, quantity
from apps.core.words import StrOrPromise
from apps.po.badges import PRESENCE_LABELS
from apps.po.history import first_known
from apps.po.labels import ERP_LABELS
from apps.po.lifecycle import Status
from apps.po.models import CustomColumn, POLine

# Acts on a page, and events looked through for them when only some kinds are wanted. A page that
# finds fewer acts than it could says so and goes on from there.
PAGE = 50
LOOKED_THROUGH = 500

INGESTION = "ingestion"  # the source of the nightly run's events


class Kind(models.TextChoices):
    """What a part of an act is about: its icon, and what the timeline can be narrowed to."""

    DATE = "date", gettext_lazy("Dates")
    STATUS = "status", gettext_lazy("Status")
    QUANTITY = "quantity", gettext_lazy("Quantities")
    BATCH = "batch", gettext_lazy("Deliveries")
    NOTE = "note", gettext_lazy("Entered by people")
    ERP = "erp", gettext_lazy("Other ERP data")

    @property
    def icon(self) -> str:
        return _ICONS[self]


_ICONS = {
    Kind.DATE: "calendar-event",
    Kind.STATUS: "flag",
    Kind.QUANTITY: "stack",
    Kind.BATCH: "truck",
    Kind.NOTE: "pencil",
    Kind.ERP: "database",
}

# What the fields of change events are about; all others are the ERP's.
_KINDS = {
    "promised_date": Kind.DATE,
    "in_date": Kind.DATE,
    "po_insert_date": Kind.DATE,
    "ordered_quantity": Kind.QUANTITY,
    "delivered_quantity": Kind.QUANTITY,
    "erp_status": Kind.STATUS,
}
_MOMENTS = ("erp_updated_at",)

# What a night's batch is called in one line; the batches' own section says more.
BATCHES: dict[str, StrOrPromise] = {
    "opening": gettext_lazy("Delivered before the line was first seen"),
    "between_runs": gettext_lazy("Delivery"),
    "exact": gettext_lazy("Receipt"),
    "correction": gettext_lazy("Correction"),
    "unexplained": gettext_lazy("Not explained by the receipts"),
}


@dataclass(frozen=True, kw_only=True)
class Detail:
    """One thing that an act changed, or said."""

    kind: Kind
    label: StrOrPromise
    # Old and new value in words; both None where there is nothing to compare.
    previous: str | None = None
    new: str | None = None
    more: str = ""  # by how much, when
    reason: str = ""

    @property
    def is_change(self) -> bool:
        return self.previous is not None


@dataclass(frozen=True, kw_only=True)
class Act:
    """What one run or one person did to the line at once."""

    effective_at: datetime
    tone: str  # "erp", "person" or "system": who it was, at a glance
    actor: str
    details: list[Detail]
    source_quality: str = ""
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which kinds (none: all) and from where on. Raises BadRequest for what no page asks for."""

    kinds: frozenset[Kind] = frozenset()
    before: tuple[datetime, int] | None = None

    @classmethod
    def of(cls, kinds: Iterable[str], before: str) -> Asked:
        try:
            return cls(
                kinds=frozenset(Kind(kind) for kind in kinds),
                before=_place(before) if before else None,
            )
        except (ValueError, OverflowError) as error:
            raise BadRequest("no such kind or place in a timeline") from error

    def older(self, last: AuditEvent) -> str:
        """The query of the page after this event."""
        place = f"{last.effective_at.isoformat()}~{last.pk}"
        chosen = [("kind", kind.value) for kind in Kind if kind in self.kinds]
        return urlencode([*chosen, ("before", place)])


def _place(text: str) -> tuple[datetime, int]:
    at, _tilde, pk = text.partition("~")
    moment_then = datetime.fromisoformat(at)
    if timezone.is_naive(moment_then):
        raise ValueError(f"{at!r} has no time zone")
    if not (pk.isascii() and pk.isdigit() and len(pk) <= 18):
        raise ValueError(f"{pk[:20]!r} is no number of an event")
    return moment_then.astimezone(UTC), int(pk)  # OverflowError outside of the calendar


@dataclass(frozen=True, kw_only=True)
class Page:
    acts: list[Act]
    older: str  # the query of the next page; "" where there is none
    # From when on the user sees the line, where the page reaches back to it.
    since: datetime | None

    @property
    def kinds(self) -> list[Kind]:
        """What can be chosen."""
        return list(Kind)

    @property
    def looked_through(self) -> int:
        return LOOKED_THROUGH


def page_of(line: POLine, user: User | AnonymousUser, asked: Asked) -> Page:
    """A page of what happened to the line while it was a supplier's the user may see."""
    size = LOOKED_THROUGH if asked.kinds else PAGE
    events = list(_events(line, user, asked)[: size + 1])
    following = events[size:]
    groups = [list(group) for _id, group in groupby(events[:size], lambda e: e.correlation_id)]
    if following and len(groups) > 1 and _act_of(groups[-1]) == following[0].correlation_id:
        groups.pop()  # an act stays together: all of it comes on the next page
    labels = _custom_labels()
    acts: list[Act] = []
    used = 0
    for group in groups:
        used += 1
        act = _act(group, labels, asked.kinds)
        if act.details:
            acts.append(act)
        if len(acts) == PAGE:
            break
    is_last = not following and used == len(groups)
    return Page(
        acts=acts,
        older="" if is_last else asked.older(groups[used - 1][-1]),
        since=first_known(line, user) if is_last else None,
    )


def _events(
    line: POLine, user: User | AnonymousUser, asked: Asked
) -> models.QuerySet[AuditEvent, AuditEvent]:
    events: models.QuerySet[AuditEvent, AuditEvent]
    events = AuditEvent.objects.for_user(user).filter(po_line=line)
    if asked.before is not None:
        at, pk = asked.before
        events = events.filter(Q(effective_at__lt=at) | Q(effective_at=at, pk__lt=pk))
    return events.order_by("-effective_at", "-pk")


def _act_of(group: list[AuditEvent]) -> uuid.UUID:
    return group[0].correlation_id


def _custom_labels() -> dict[str, str]:
    """What custom columns are called, switched-off ones included. One query."""
    return dict(CustomColumn.objects.values_list("slot", "label"))


def _act(events: list[AuditEvent], labels: Mapping[str, str], kinds: frozenset[Kind]) -> Act:
    """One act, of it only the kinds that are wanted."""
    order = list(Kind)
    details = [d for event in reversed(events) for d in _details(event, labels)]
    wanted = [d for d in details if not kinds or d.kind in kinds]
    first = events[0]
    tones = {_tone(event) for event in events}
    qualities = [event.data.get("source_quality") for event in events]
    return Act(
        effective_at=first.effective_at,
        tone="erp" if "erp" in tones else tones.pop(),
        actor=_("ERP ingestion") if first.source == INGESTION else first.actor_name,
        details=sorted(wanted, key=lambda detail: order.index(detail.kind)),
        source_quality=next((str(q) for q in qualities if q), ""),
        reasons=[event.reason for event in events if event.reason],
    )


def _tone(event: AuditEvent) -> str:
    if event.actor_id is not None:
        return "person"
    # What the cross-reference makes of a line is this system's doing, not the ERP's.
    told_by_erp = event.source == INGESTION and event.event_type != EventType.XREF_APPLIED
    return "erp" if told_by_erp else "system"


# --- what an event tells --------------------------------------------------------------------------


def _details(event: AuditEvent, labels: Mapping[str, str]) -> list[Detail]:
    data = event.data
    details = [*_comings_and_goings(event)]
    by_person = event.event_type == EventType.CUSTOM_COLUMN_UPDATED
    changes = data.get("changes", [])
    if by_person:
        changes = [{**data, "field": data["slot"]}]
    details += [_change(change, labels, by_person=by_person) for change in changes]
    if status := data.get("status"):
        details.append(
            Detail(
                kind=Kind.STATUS,
                label=_("Status"),
                previous=_status(status["previous"]),
                new=_status(status["new"]),
                reason=status["reason"],
            )
        )
    details += [_batch(batch) for batch in data.get("batches", [])]
    details += [_receipt_date(moved) for moved in data.get("receipt_dates", [])]
    if event.event_type == EventType.XREF_APPLIED:
        details += _derived(data["previous"], data["new"])
    if not details:
        # Nothing to compare: that it happened is what there is to tell.
        kind = Kind.NOTE if event.actor_id is not None else Kind.ERP
        details.append(Detail(kind=kind, label=event.get_event_type_display()))
    return details


def _comings_and_goings(event: AuditEvent) -> Iterator[Detail]:
    if event.event_type == EventType.PO_LINE_CREATED:
        label = _("New in the ERP")
        if event.data.get("generation"):
            label = _("New in the ERP, under a number that another order had before")
        yield Detail(kind=Kind.STATUS, label=label)
    elif event.event_type == EventType.PO_LINE_RETURNED:
        yield Detail(kind=Kind.STATUS, label=_("Active in the ERP again"))
    if presence := event.data.get("presence"):
        yield Detail(kind=Kind.STATUS, label=PRESENCE_LABELS.get(presence, presence))


def _change(change: Mapping[str, Any], labels: Mapping[str, str], *, by_person: bool) -> Detail:
    name = change["field"]
    kind = _KINDS.get(name, Kind.ERP)
    label = ERP_LABELS.get(name) or labels.get(name, name)
    more = _difference(name, change["previous"], change["new"])
    if by_person:
        kind = Kind.NOTE
        if change.get("value_from") == "erp":
            more = _("given back to the ERP")
    elif name.startswith("custom_date"):
        kind = Kind.DATE
    return Detail(
        kind=kind,
        label=label,
        previous=_value(name, change["previous"]),
        new=_value(name, change["new"]),
        more=more,
    )


def _batch(batch: Mapping[str, Any]) -> Detail:
    label = BATCHES.get(batch["kind"], batch["kind"])
    amount = _signed(Decimal(batch["quantity"]))
    words = amount
    if batch["delivered_on"]:
        words = _("%(amount)s on %(date)s") % {"amount": amount, "date": batch["delivered_on"]}
    if batch.get("date_uncertain"):  # events of earlier versions do not say
        words = f"{words}, {_('date uncertain')}"
    if batch["over_delivery"]:
        words = f"{words}, {_('more than ordered')}"
    return Detail(kind=Kind.BATCH, label=label, more=words)


def _receipt_date(moved: Mapping[str, Any]) -> Detail:
    return Detail(
        kind=Kind.BATCH,
        label=_("Date of receipt %(receipt)s") % {"receipt": moved["receipt"]},
        previous=moved["previous"] or "",
        new=moved["new"] or "",
        more=_days(moved["previous"], moved["new"]),
    )


def _derived(previous: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Detail]:
    for name, label in (("sku", _("SKU")), ("item", _("Item"))):
        if previous[name] != new[name]:
            yield Detail(kind=Kind.ERP, label=label, previous=previous[name], new=new[name])
    if previous["unmapped"] != new["unmapped"]:
        unmapped, mapped = _("not in the cross-reference"), _("in the cross-reference")
        yield Detail(
            kind=Kind.ERP,
            label=_("Item code"),
            previous=unmapped if previous["unmapped"] else mapped,
            new=unmapped if new["unmapped"] else mapped,
        )


# --- values in words ------------------------------------------------------------------------------


def _status(value: str) -> str:
    return str(Status(value).label) if value in Status else value


def _is_quantity(name: str) -> bool:
    return _KINDS.get(name) == Kind.QUANTITY or name.startswith("custom_decimal")


def _is_date(name: str) -> bool:
    return _KINDS.get(name) == Kind.DATE or name.startswith("custom_date")


def _value(name: str, canonical: str | None) -> str:
    """The canonical text of a value as people read it; "" for no value. Dates stay as they are."""
    if not canonical:
        return ""
    if _is_quantity(name):
        return quantity(Decimal(canonical))
    if name in _MOMENTS:
        return moment(datetime.fromisoformat(canonical))
    return canonical


def _difference(name: str, previous: str | None, new: str | None) -> str:
    if not previous or not new:
        return ""
    if _is_quantity(name):
        return _signed(Decimal(new) - Decimal(previous))
    return _days(previous, new) if _is_date(name) else ""


def _days(previous: str | None, new: str | None) -> str:
    if not previous or not new:
        return ""
    return days_in_words((date.fromisoformat(new) - date.fromisoformat(previous)).days)


def days_in_words(days: int) -> str:
    """By how much a date moved: "3 days later"."""
    if days < 0:
        words = ngettext("%(days)d day earlier", "%(days)d days earlier", -days)
    else:
        words = ngettext("%(days)d day later", "%(days)d days later", days)
    return words % {"days": abs(days)}


def _signed(amount: Decimal) -> str:
    return f"+{quantity(amount)}" if amount > 0 else quantity(amount)
