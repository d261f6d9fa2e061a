"""How the promised and the expected date of a line moved, in words and as a picture.

The picture is worked out here as plain numbers; templates/batches/_movement.html draws it. To the
right goes the time at which a date was known, upward the date itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from django.contrib.auth.models import AnonymousUser
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.accounts.models import User
from apps.audit.models import ERPChangeEvent
from apps.core.clock import business_date
from apps.po.history import known_since
from apps.po.models import POLine
from apps.po.timeline import days_in_words

# In the units of the picture, which at the panel's usual width are pixels.
WIDTH, HEIGHT = 408, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, WIDTH - 8, 10, HEIGHT - 30
# Days between two labels, whichever leaves few enough of them; where none does, more.
_STEPS = (1, 2, 7, 14, 28, 91, 182, 364, 728)
_MOST_LABELS = 6


@dataclass(frozen=True, kw_only=True)
class Move:
    """The ERP promised another date."""

    on: date
    previous: date | None
    new: date | None

    @property
    def words(self) -> str:
        """By how much, as far as both dates are known."""
        if self.previous is None or self.new is None:
            return ""
        return days_in_words((self.new - self.previous).days)


@dataclass(frozen=True, kw_only=True)
class Movement:
    """What is known of the dates of a line from `since` until today."""

    since: date
    today: date
    promised: date | None
    expected: date | None
    expected_since: date | None  # since when another date than the promised one is expected
    moves: list[Move]
    receipts: list[date]

    @classmethod
    def of(
        cls,
        line: POLine,
        user: User | AnonymousUser,
        *,
        receipts: Iterable[date | None],
        today: date,
    ) -> Movement:
        """What the user may know; `receipts` are the days on which something arrived, None where
        nobody knows the day."""
        since = known_since(line, user)
        changes = ERPChangeEvent.objects.for_user(user).filter(
            po_line=line, field="promised_date", effective_at__gte=since
        )
        rows = changes.order_by("effective_at", "pk").values_list(
            "effective_at", "previous_value", "new_value"
        )
        moves = [
            Move(on=business_date(at), previous=_date(previous), new=_date(new))
            for at, previous, new in rows
        ]
        start = business_date(since)
        return cls(
            since=start,
            today=today,
            promised=line.promised_date,
            expected=line.expected_date,
            expected_since=_expected_since(line, start),
            moves=moves,
            receipts=sorted(day for day in receipts if day and start <= day <= today),
        )

    @property
    def first(self) -> date | None:
        """The date that was promised to begin with."""
        return self.moves[0].previous if self.moves else self.promised

    @property
    def in_all(self) -> str:
        """By how much the promised date moved in all, as far as both ends are dates."""
        if self.first is None or self.promised is None or self.first == self.promised:
            return ""
        return days_in_words((self.promised - self.first).days)

    @property
    def picture(self) -> Picture | None:
        """None where nothing ever moved: a level line says less than a sentence."""
        steps = [*self.promised_steps(), *self.expected_steps()]
        days = {level for _day, level in steps if level is not None}
        if not days or (not self.moves and self.expected_since is None):
            return None
        return Picture(self, min(days), max(days))

    @property
    def sentences(self) -> list[SafeString]:
        """All that the picture shows, for who reads or hears."""
        told = [self._promise_in_words()]
        if self.expected_since is not None and self.expected is not None:
            told.append(
                _sentence(
                    _("Since {since} it is expected on {expected}."),
                    since=self.expected_since,
                    expected=self.expected,
                )
            )
        if days := self.arrivals:
            told.append(
                _sentence(
                    ngettext(
                        "Something arrived on {last}.",
                        "Something arrived on {n} days, the last {last}.",
                        len(days),
                    ),
                    n=len(days),
                    last=days[-1],
                )
            )
        return told

    def _promise_in_words(self) -> SafeString:
        no_date = _("no date")
        known = {
            "n": len(self.moves),
            "first": self.first or no_date,
            "promised": self.promised or no_date,
            "since": self.since,
            "by": self.in_all,
        }
        if self.moves and self.first is None and self.promised is None:
            words = ngettext(
                "The promised date moved once and is empty again.",
                "The promised date moved {n} times and is empty again.",
                len(self.moves),
            )
        elif self.moves and self.first == self.promised:
            words = ngettext(
                "The promised date moved once and is {promised} again.",
                "The promised date moved {n} times and is {promised} again.",
                len(self.moves),
            )
        elif self.moves and self.in_all:
            words = ngettext(
                "The promised date moved once: from {first} to {promised}, {by}.",
                "The promised date moved {n} times: from {first} to {promised}, {by}.",
                len(self.moves),
            )
        elif self.moves:
            words = ngettext(
                "The promised date moved once: from {first} to {promised}.",
                "The promised date moved {n} times: from {first} to {promised}.",
                len(self.moves),
            )
        elif self.promised:
            words = _("The promised date {promised} has not moved since {since}.")
        else:
            words = _("The ERP has no promised date for this line.")
        return _sentence(words, **known)

    @property
    def arrivals(self) -> list[date]:
        """The days on which something arrived, each once."""
        return list(dict.fromkeys(self.receipts))

    def promised_steps(self) -> list[tuple[date, date | None]]:
        """From which day on which date was promised."""
        steps = [(self.since, self.first), *((move.on, move.new) for move in self.moves)]
        if steps[-1][1] != self.promised:
            # Read from another column since, without a change event: nobody knows the day.
            steps.append((self.today, self.promised))
        return steps

    def expected_steps(self) -> list[tuple[date, date | None]]:
        """The same for what is expected beside the promise; none where that is the promise."""
        if self.expected_since is None:
            return []
        return [(self.expected_since, self.expected)]


def _sentence(words: str, **values: date | str | int) -> SafeString:
    """The words with their values, dates so that no line ends within one."""
    shown = {
        name: format_html('<span class="date">{}</span>', value)
        if isinstance(value, date)
        else value
        for name, value in values.items()
    }
    return format_html(words, **shown)


def _date(canonical: str | None) -> date | None:
    return date.fromisoformat(canonical) if canonical else None


def _expected_since(line: POLine, start: date) -> date | None:
    if line.ready_to_dispatch_date is None and line.production_ready_date is None:
        return None
    updated = line.last_expeditor_update
    return start if updated is None else max(start, business_date(updated))


@dataclass(frozen=True)
class Label:
    """A date beside an axis, and where; as text, because a template would write 1,5 for 1.5."""

    at: str
    day: date
    anchor: str = ""


@dataclass(frozen=True)
class Point:
    """Where a date stands today; "promised" or "expected"."""

    kind: str
    x: str
    y: str


class Picture:
    """The lines, marks and labels of the picture, in its own units."""

    width, height = WIDTH, HEIGHT
    left, right, top, bottom = _LEFT, _RIGHT, _TOP, _BOTTOM
    label_right, label_bottom = _LEFT - 8, HEIGHT - 6

    def __init__(self, movement: Movement, lowest: date, highest: date) -> None:
        self._movement = movement
        self._start = min(movement.since, movement.today - timedelta(days=1))
        self._days = (movement.today - self._start).days
        # As numbers of days, because beyond the ends of the calendar there are no dates.
        margin = max((highest - lowest).days // 8, 1)
        self._low = max(lowest.toordinal() - margin, date.min.toordinal())
        self._span = min(highest.toordinal() + margin, date.max.toordinal()) - self._low

    @property
    def promised(self) -> str:
        """The path of the promised date."""
        return self._path(self._movement.promised_steps())

    @property
    def expected(self) -> str:
        """The path of the expected date; "" where it is the promised one."""
        return self._path(self._movement.expected_steps())

    @property
    def today_level(self) -> str:
        """How high today is among the dates: what is below is past. "" where it is off."""
        above = self._movement.today.toordinal() - self._low
        return self._y(self._movement.today) if 0 <= above <= self._span else ""

    @property
    def now(self) -> list[Point]:
        """Where the lines end: a move of last night has no length yet, and would not be seen."""
        ends = {
            "expected": self._movement.expected_steps(),
            "promised": self._movement.promised_steps(),
        }
        return [
            Point(kind, f"{_RIGHT}", self._y(steps[-1][1]))
            for kind, steps in ends.items()
            if steps and steps[-1][1] is not None
        ]

    @property
    def receipts(self) -> list[str]:
        """Paths of small triangles on the time axis, where something arrived."""
        return [f"M{self._x(day)} {_BOTTOM - 5}l4 9h-8z" for day in self._movement.arrivals]

    @property
    def date_labels(self) -> list[Label]:
        return [Label(self._y(day), day) for day in self._labelled()]

    @property
    def time_labels(self) -> list[Label]:
        return [
            Label(self._x(self._start), self._start, "start"),
            Label(self._x(self._movement.today), self._movement.today, "end"),
        ]

    def _labelled(self) -> Iterator[date]:
        wide_enough = (step for step in _STEPS if self._span / step <= _MOST_LABELS)
        step = next(wide_enough, self._span // _MOST_LABELS)
        for above in range((self._span % step) // 2, self._span + 1, step):
            yield date.fromordinal(self._low + above)

    def _x(self, day: date) -> str:
        share = min(max((day - self._start).days / self._days, 0), 1)
        return f"{_LEFT + share * (_RIGHT - _LEFT):.1f}"

    def _y(self, day: date) -> str:
        share = (day.toordinal() - self._low) / self._span
        return f"{_BOTTOM - share * (_BOTTOM - _TOP):.1f}"

    def _path(self, steps: list[tuple[date, date | None]]) -> str:
        """Steps to the right and up or down; a gap while there is no date."""
        drawn: list[str] = []
        level: date | None = None
        for day, new in steps:
            if level is not None:
                drawn.append(f"H{self._x(day)}")
            if new is not None:
                drawn.append(
                    f"M{self._x(day)} {self._y(new)}" if level is None else f"V{self._y(new)}"
                )
            level = new
        if level is not None:
            drawn.append(f"H{_RIGHT}")
        return " ".join(drawn)
