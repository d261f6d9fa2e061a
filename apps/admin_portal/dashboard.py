"""What the administrator's first page tells: is last night fine, and is anybody left alone?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import Count
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from apps.accounts.models import Role, User
from apps.ingestion.history import Standing
from apps.po.lifecycle import Status
from apps.po.models import ACTIVE, Presence, Supplier
from apps.po.querysets import POLineQuerySet

SUPPLIERS_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Age:
    """How old the data are against the schedule, as a sentence."""

    is_too_old: bool
    sentence: str


def age_of(standing: Standing) -> Age | None:
    """None before the first applied run."""
    applied, due = standing.applied, standing.due
    if applied is None or applied.finished_at is None or due is None:
        return None
    told = _("The last applied run ended %(age)s ago.") % {"age": timesince(applied.finished_at)}
    if not standing.is_overdue:
        then = _("The next is due before %(due)s.")
    elif standing.is_at_work:
        then = _("The next was due before %(due)s; it is at work now.")
    else:
        then = _(
            "The next was due before %(due)s: look whether the schedule still starts it, and run "
            "run_ingestion."
        )
    then %= {"due": f"{timezone.localtime(due):%Y-%m-%d %H:%M}"}
    return Age(is_too_old=standing.is_overdue, sentence=f"{told} {then}")


@dataclass(frozen=True, kw_only=True)
class LineCount:
    """How many lines there are of a kind, and the query by which the list shows these and no
    others."""

    words: str
    number: int
    query: str


@dataclass(frozen=True, kw_only=True)
class LineCounts:
    """The lines by where they stand in the ERP, and those that are active there by status."""

    by_presence: list[LineCount]
    by_status: list[LineCount]


def count_lines(lines: POLineQuerySet) -> LineCounts:
    """One query whatever there is; retired lines, whose key belongs to another order, left out."""
    counted = lines.current().order_by().values_list("presence", "status").annotate(n=Count("pk"))
    presences: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    for presence, status, number in counted:
        presences[presence] += number
        if presence in ACTIVE:
            statuses[status] += number
    return LineCounts(
        by_presence=[
            LineCount(
                words=str(Presence(value).label),
                number=presences[value],
                query=_query(presence=[value]),
            )
            for value in Presence.values
            if presences[value]
        ],
        by_status=[
            LineCount(
                words=str(Status(value).label),
                number=statuses[value],
                query=_query(status=[value], presence=sorted(ACTIVE)),
            )
            for value in Status.values
            if statuses[value]
        ],
    )


def _query(**filters: list[str]) -> str:
    return urlencode({"preset": "all", **filters}, doseq=True)


@dataclass(frozen=True, kw_only=True)
class People:
    """Who can sign in, by role; and who cannot any more."""

    by_role: list[tuple[str, int]]
    without_role: int
    deactivated: int


def count_people() -> People:
    """One query."""
    found: Counter[tuple[str, bool]] = Counter()
    counted = User.objects.order_by().values_list("role", "is_active").annotate(n=Count("pk"))
    for role, is_active, number in counted:
        found[role, is_active] += number
    return People(
        by_role=[(str(role.label), found[role.value, True]) for role in Role],
        without_role=found["", True],
        deactivated=sum(number for (_role, active), number in found.items() if not active),
    )


@dataclass(frozen=True, kw_only=True)
class Alone:
    """Suppliers with open lines for whom no expeditor works: how many, and those with the most."""

    number: int
    most: list[dict[str, Any]]

    @property
    def more(self) -> int:
        return self.number - len(self.most)


def suppliers_alone(lines: POLineQuerySet) -> Alone:
    """One query: the suppliers of a company are hundreds, not millions."""
    alone = Supplier.objects.without_expeditor()
    found = list(
        lines.open_lines()
        .filter(supplier__in=alone)
        .order_by()
        .values("supplier__code", "supplier__name")
        .annotate(lines=Count("pk"))
        .order_by("-lines", "supplier__code")
    )
    return Alone(number=len(found), most=found[:SUPPLIERS_SHOWN])


def facts(standing: Standing, lines: POLineQuerySet) -> dict[str, Any]:
    """Everything that the page shows beside the health of servers, which loads by itself."""
    return {
        "standing": standing,
        "age": age_of(standing),
        "lines": count_lines(lines),
        "people": count_people(),
        "alone": suppliers_alone(lines),
    }
