"""The picture of the nights: what stands where, and what it says to those who cannot see it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import Role
from apps.admin_portal import chart
from apps.admin_portal.templatetags.admin_portal import duration
from apps.core.clock import business_today
from apps.ingestion.history import Night, nights
from apps.ingestion.models import RunStatus
from tests.factories import A_DAY, IngestionRunFactory, UserFactory
from tests.test_pages import sign_in


def night(number: int, **fields: Any) -> Night:
    return Night(day=A_DAY + timedelta(days=number), **fields)


def applied(number: int, changed: int, seconds: float = 10.0, **fields: Any) -> Night:
    return night(number, runs=1, applied=1, changed=changed, seconds=seconds, **fields)


# --- what the nights were -----------------------------------------------------------------------


@pytest.mark.django_db
def test_the_runs_of_a_day_are_one_night() -> None:
    def run(ago: int, status: RunStatus, **fields: Any) -> None:
        day = A_DAY - timedelta(days=ago)
        IngestionRunFactory.create(run_date=day, status=status, **fields)

    run(5, RunStatus.SUCCESS)  # before the days that are asked for
    run(3, RunStatus.FAILED, duration_seconds=90)
    run(2, RunStatus.FAILED, duration_seconds=90)
    run(2, RunStatus.SUCCESS, duration_seconds=20, lines_changed=5)
    run(2, RunStatus.PARTIAL, duration_seconds=30, lines_changed=6)
    run(0, RunStatus.RUNNING)  # nobody works on it: it stopped
    four = nights(A_DAY, 4)
    assert four == [
        night(-3, runs=1, failed=1),
        night(-2, runs=3, applied=2, failed=1, is_partial=True, changed=11, seconds=30.0),
        night(-1, is_missing=True),
        night(0, runs=1, failed=1),
    ]
    assert [n.has_failed for n in four] == [True, False, False, True]


@pytest.mark.django_db
def test_neither_a_day_before_the_first_run_nor_today_lacks_a_run() -> None:
    IngestionRunFactory.create(run_date=A_DAY - timedelta(days=2))
    assert [n.is_missing for n in nights(A_DAY, 4)] == [False, False, True, False]


@pytest.mark.django_db
def test_no_run_is_missing_on_a_day_on_which_none_is_scheduled(settings: Any) -> None:
    settings.INGESTION_EXPECTED_WEEKDAYS = ["mon", "tue", "wed", "thu", "fri"]
    friday = date(2026, 3, 6)
    IngestionRunFactory.create(run_date=friday - timedelta(days=2))
    found = nights(friday + timedelta(days=4), 6)  # from Thursday to Tuesday
    assert [n.is_missing for n in found] == [True, True, False, False, True, False]
    assert [n.is_scheduled for n in found] == [True, True, False, False, True, True]


# --- what is drawn ------------------------------------------------------------------------------


@pytest.mark.parametrize("few", [[], [night(0)], [night(0), applied(1, 5)]])
def test_there_is_no_picture_of_fewer_than_two_nights(few: list[Night]) -> None:
    assert chart.draw(few) is None


def test_a_bar_is_as_high_as_its_share_of_a_round_number() -> None:
    drawn = chart.draw([applied(0, 150), applied(1, 75), applied(2, 0)])
    assert drawn is not None
    assert [tick.text for tick in drawn.change_ticks] == ["0", "100", "200"]
    whole = chart.CHANGES_BOTTOM - chart.CHANGES_TOP
    high, low, none = (column.bar for column in drawn.columns)
    assert high is not None
    assert low is not None
    assert float(high.height) == pytest.approx(whole * 0.75, abs=0.1)
    assert float(low.height) == pytest.approx(whole * 0.375, abs=0.1)
    assert float(high.y) + float(high.height) == pytest.approx(chart.CHANGES_BOTTOM, abs=0.1)
    assert none is None


def test_one_changed_line_among_many_can_still_be_seen() -> None:
    drawn = chart.draw([applied(0, 1), applied(1, 100_000)])
    assert drawn is not None
    bar = drawn.columns[0].bar
    assert bar is not None
    assert float(bar.height) >= 2


def test_durations_are_joined_over_nights_that_were_not_applied() -> None:
    drawn = chart.draw(
        [
            applied(0, 1, 30),
            night(1, runs=1, failed=1),
            night(2, is_missing=True),
            applied(3, 1, 60),
        ]
    )
    assert drawn is not None
    assert [tick.text for tick in drawn.duration_ticks] == ["0", "30 s", "1 min"]
    assert [column.dot is not None for column in drawn.columns] == [True, False, False, True]
    (segment,) = drawn.segments
    assert (segment.x1, segment.x2) == (drawn.columns[0].x, drawn.columns[3].x)
    assert float(segment.y2) == chart.DURATION_TOP


@pytest.mark.parametrize(
    ("shown", "kind", "words"),
    [
        (applied(0, 1), "success", "success"),
        (applied(0, 1, is_partial=True), "partial", "partial"),
        (night(0, runs=2, applied=1, failed=1), "success", "success, beside 1 failed run"),
        (night(0, is_scheduled=False), "", "none scheduled"),
        (night(0, runs=2, failed=2), "failed", "failed"),
        (night(0, runs=1), "running", "running"),
        (night(0, is_missing=True), "missing", "no run"),
        (night(0), "", "no run yet"),
    ],
)
def test_an_outcome_has_a_shape_and_words(shown: Night, kind: str, words: str) -> None:
    drawn = chart.draw([shown, applied(1, 1), applied(2, 1)])
    assert drawn is not None
    column = drawn.columns[0]
    assert (column.kind, column.outcome) == (kind, words)
    assert column.title.startswith(f"2026-03-02: {words}")


def test_whoever_cannot_see_the_picture_is_told_what_it_shows() -> None:
    drawn = chart.draw(
        [
            applied(0, 1_500, 61),
            night(1, runs=1, failed=1),
            night(2, is_missing=True),
            applied(3, 1),
        ]
    )
    assert drawn is not None
    assert drawn.summary == (
        "4 days from 2026-03-02 to 2026-03-05: applied on 2, failed on 1, no run on 1. "
        "At most 1,500 changed lines; the longest run took 1 min 01 s."
    )


@pytest.mark.parametrize("most", [0, 1, 3, 7, 9, 10, 101, 399, 999_999])
def test_every_axis_holds_the_greatest_and_is_used_at_least_to_a_half(most: int) -> None:
    drawn = chart.draw([applied(0, most, most / 10), applied(1, 0, 0.0)])
    assert drawn is not None
    top = int(drawn.change_ticks[-1].text.replace(",", ""))
    assert most <= top <= max(2 * most, 1)
    dot = drawn.columns[0].dot
    assert dot is not None
    assert chart.DURATION_TOP <= float(dot.y) <= chart.DURATION_BOTTOM


def test_positions_are_the_same_in_every_language() -> None:
    """A decimal comma would be no number in SVG."""
    drawn = chart.draw([applied(0, 3, 0.7), applied(1, 2, 0.3)])
    assert drawn is not None
    assert "," not in "".join(f"{c.x}{c.left}{c.width}{c.dot}" for c in drawn.columns if not c.bar)
    assert all(column.x.endswith("%") and "," not in column.x for column in drawn.columns)


@pytest.mark.django_db
def test_the_monitor_shows_the_last_sixty_days_also_as_a_table(client: Client) -> None:
    today = business_today()
    for ago in (0, 1, 2, 59, 60):
        IngestionRunFactory.create(run_date=today - timedelta(days=ago), lines_changed=7)
    sign_in(client, UserFactory.create(role=Role.ADMIN))
    answer = client.get("/admin-portal/ingestion/")
    drawn = answer.context["chart"]
    assert len(drawn.columns) == 60
    page = answer.content.decode()
    assert page.count('class="night-bar" x="') == 4 + 1  # and the one of the legend
    assert "The last 60 nights" in page
    first = today - timedelta(days=59)
    assert f'?since={first}&amp;until={first}">{first}</a></th><td>success</td>' in page
    assert drawn.newest_first[0].night.day == date.fromisoformat(f"{today:%Y-%m-%d}")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.126, "0.13 s"),
        (4.24, "4.2 s"),
        (48.4, "48 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3_599.6, "1 h 00 min"),
        (3_725, "1 h 02 min"),
    ],
)
def test_a_duration_has_as_many_digits_as_people_need(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_duration_that_nobody_noted_is_an_em_dash() -> None:
    assert "—" in duration(None)
