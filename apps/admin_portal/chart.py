"""The picture of the last nights: bars for changed lines, dots for durations, a mark for outcomes.

Drawn by the server as SVG. Positions across are percentages and heights are pixels, so the picture
is as wide as its place while its letters keep their size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.admin_portal.templatetags.admin_portal import duration
from apps.core.templatetags.interface import quantity
from apps.ingestion.history import Night

# Across, in percent: room for the numbers of the axis, then the nights.
_LEFT, _RIGHT = 4.5, 99.5
# Down, in pixels.
CHANGES_TOP, CHANGES_BOTTOM = 22, 112
OUTCOMES = 128
DURATION_TOP, DURATION_BOTTOM = 166, 236
DAYS = 252
HEIGHT = 260
_BAR_SHARE = 0.64
_LEAST_BAR = 2.0  # so that one changed line among thousands can be seen
_DAYS_BETWEEN_LABELS = 7

_COUNT_TOPS = (1, 2, 3, 4, 5, 6, 8)
_SECOND_TOPS = (
    0.1, 0.2, 0.4, 1, 2, 4, 10, 20, 40, 60, 120, 240, 600, 1200, 2400, 3600, 7200, 14400, 28800,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Bar:
    """The changed lines of a night."""

    x: str
    width: str
    y: str
    height: str


@dataclass(frozen=True, kw_only=True)
class Dot:
    """The duration of a night that was applied."""

    x: str
    y: str


@dataclass(frozen=True, kw_only=True)
class Segment:
    """From one dot to that of the next night that was applied."""

    x1: str
    y1: str
    x2: str
    y2: str


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A number of an axis, or a day below."""

    at: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Column:
    """All of a night: what stands there, and what is told when somebody points at it."""

    night: Night
    x: str
    left: str
    width: str
    title: str
    kind: str  # the shape of its mark: success, partial, failed, missing, running, or "" for none
    outcome: str
    bar: Bar | None
    dot: Dot | None


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What the template draws."""

    columns: list[Column]
    segments: list[Segment]
    change_ticks: list[Tick]
    duration_ticks: list[Tick]
    days: list[Tick]
    summary: str
    height: int = HEIGHT
    outcomes_at: int = OUTCOMES
    days_at: int = DAYS

    @property
    def newest_first(self) -> list[Column]:
        return self.columns[::-1]


def draw(nights: list[Night]) -> Chart | None:
    """None where there is nothing to look at yet: fewer than two nights with a run."""
    with_run = [night for night in nights if night.runs]
    if len(with_run) < 2:
        return None
    most = _top_of_counts(max(night.changed for night in nights))
    longest = _top_of_seconds(max((night.seconds or 0.0) for night in nights))
    slot = (_RIGHT - _LEFT) / len(nights)
    columns = []
    for position, night in enumerate(nights):
        middle = _LEFT + slot * (position + 0.5)
        columns.append(
            Column(
                night=night,
                x=_percent(middle),
                left=_percent(middle - slot / 2),
                width=_percent(slot),
                title=_title(night),
                kind=_kind(night),
                outcome=outcome_in_words(night),
                bar=_bar(night, middle, slot, most),
                dot=_dot(night, middle, longest),
            )
        )
    dots = [column.dot for column in columns if column.dot]
    return Chart(
        columns=columns,
        segments=[Segment(x1=a.x, y1=a.y, x2=b.x, y2=b.y) for a, b in pairwise(dots)],
        change_ticks=[
            Tick(at=_pixels(_down(value, most, CHANGES_TOP, CHANGES_BOTTOM)), text=quantity(value))
            for value in _whole(most)
        ],
        duration_ticks=[
            Tick(
                at=_pixels(_down(value, longest, DURATION_TOP, DURATION_BOTTOM)),
                text=_round_duration(value),
            )
            for value in (0, longest / 2, longest)
        ],
        days=list(_days(columns)),
        summary=_summary(nights),
    )


def _bar(night: Night, middle: float, slot: float, most: int) -> Bar | None:
    if not night.changed:
        return None
    top = min(_down(night.changed, most, CHANGES_TOP, CHANGES_BOTTOM), CHANGES_BOTTOM - _LEAST_BAR)
    return Bar(
        x=_percent(middle - slot * _BAR_SHARE / 2),
        width=_percent(slot * _BAR_SHARE),
        y=_pixels(top),
        height=_pixels(CHANGES_BOTTOM - top),
    )


def _dot(night: Night, middle: float, longest: float) -> Dot | None:
    if night.seconds is None:
        return None
    return Dot(
        x=_percent(middle),
        y=_pixels(_down(night.seconds, longest, DURATION_TOP, DURATION_BOTTOM)),
    )


def _days(columns: list[Column]) -> Iterator[Tick]:
    """Every seventh day, counted back from the newest."""
    for column in columns[::-1][::_DAYS_BETWEEN_LABELS]:
        yield Tick(at=column.x, text=f"{column.night.day:%m-%d}")


# --- scales -------------------------------------------------------------------------------------


def _down(value: float, top: float, first: int, last: int) -> float:
    return last - (last - first) * value / top


def _top_of_counts(most: int) -> int:
    """A round number that holds the greatest."""
    scale = 1
    while True:
        for top in _COUNT_TOPS:
            if top * scale >= most:
                return top * scale
        scale *= 10


def _whole(most: int) -> tuple[int, ...]:
    """There is no half of a line."""
    return (0, most) if most % 2 else (0, most // 2, most)


def _top_of_seconds(longest: float) -> float:
    """A round duration that holds the longest."""
    return next((top for top in _SECOND_TOPS if top >= longest), longest)


def _round_duration(seconds: float) -> str:
    """For the axis, whose numbers are round: 0, 30 s, 2 min, 1 h."""
    if not seconds:
        return "0"
    if seconds < 60:
        return _("%(n)s s") % {"n": f"{seconds:g}"}
    if seconds < 3600:
        return _("%(n)s min") % {"n": f"{seconds / 60:g}"}
    return _("%(n)s h") % {"n": f"{seconds / 3600:g}"}


def _percent(value: float) -> str:
    return f"{value:.3f}%"


def _pixels(value: float) -> str:
    return f"{value:.1f}"


# --- words --------------------------------------------------------------------------------------


def outcome_in_words(night: Night) -> str:
    """How a night ended."""
    if not night.runs and not night.is_scheduled:
        return _("none scheduled")
    if not night.runs:
        return _("no run") if night.is_missing else _("no run yet")
    if night.is_running:
        return _("running")
    if not night.applied:
        return _("failed")
    words = _("partial") if night.is_partial else _("success")
    if not night.failed:
        return words
    failed = night.failed
    beside = ngettext("beside %(n)d failed run", "beside %(n)d failed runs", failed) % {"n": failed}
    return f"{words}, {beside}"


def _kind(night: Night) -> str:
    if night.is_running:
        return "running"
    if night.applied:
        return "partial" if night.is_partial else "success"
    if night.has_failed:
        return "failed"
    return "missing" if night.is_missing else ""


def _title(night: Night) -> str:
    told = [f"{night.day:%Y-%m-%d}: {outcome_in_words(night)}"]
    if night.applied:
        told.append(_("%(n)s lines changed") % {"n": quantity(night.changed)})
    if night.seconds is not None:
        told.append(duration(night.seconds))
    return ", ".join(told)


def _summary(nights: list[Night]) -> str:
    """The picture in one sentence, for those who cannot see it."""
    return _(
        "%(days)d days from %(first)s to %(last)s: applied on %(applied)d, failed on %(failed)d, "
        "no run on %(none)d. At most %(changed)s changed lines; the longest run took %(longest)s."
    ) % {
        "days": len(nights),
        "first": f"{nights[0].day:%Y-%m-%d}",
        "last": f"{nights[-1].day:%Y-%m-%d}",
        "applied": _number(night.applied for night in nights),
        "failed": _number(night.has_failed for night in nights),
        "none": _number(night.is_missing for night in nights),
        "changed": quantity(max(night.changed for night in nights)),
        "longest": duration(max((night.seconds or 0.0) for night in nights)),
    }


def _number(of: Iterable[object]) -> int:
    return sum(1 for one in of if one)
