"""How dates moved: in words, as a picture, and only as far as the user may know."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from apps.accounts.models import Role
from apps.po.models import POLine
from apps.po.movement import HEIGHT, WIDTH, Move, Movement
from tests.factories import ERPChangeEventFactory, POLineFactory, SupplierFactory, UserFactory

DAY = date(2026, 3, 2)
TODAY = DAY + timedelta(days=100)


def after(days: int) -> date:
    return DAY + timedelta(days=days)


def movement(*levels: date | None, **values: Any) -> Movement:
    """A line that was promised for each of these dates in turn, every ten days another."""
    moves = [
        Move(on=after(10 * number), previous=previous, new=new)
        for number, (previous, new) in enumerate(pairwise(levels), start=1)
    ]
    promised = levels[-1]
    known: dict[str, Any] = {
        "since": DAY,
        "today": TODAY,
        "promised": promised,
        "expected": promised,
        "expected_since": None,
        "moves": moves,
        "receipts": [],
    }
    return Movement(**(known | values))


def test_a_date_that_never_moved_has_no_picture() -> None:
    assert movement(after(50)).picture is None
    assert movement(None).picture is None


def test_moves_are_added_up() -> None:
    assert movement(after(50), after(60), after(57)).in_all == "7 days later"
    assert movement(after(50), after(40)).in_all == "10 days earlier"
    assert movement(after(50), after(60), after(50)).in_all == ""
    assert movement(None, after(60)).in_all == ""
    assert movement(after(50), None).in_all == ""


def test_the_promised_date_is_drawn_in_steps_up_to_today() -> None:
    picture = movement(after(50), after(60), after(40)).picture
    assert picture is not None
    steps = re.findall(r"([MHV])([\d.]+)(?: ([\d.]+))?", picture.promised)
    assert "".join(letter for letter, _x, _y in steps) == "MHVHVH"
    (_, x, level), (_, first, _), (_, up, _), (_, second, _), (_, down, _), (_, end, _) = steps
    assert picture.left == float(x) < float(first) < float(second) < float(end) == picture.right
    assert float(up) < float(level) < float(down)  # upward is smaller


def test_a_time_without_a_date_is_a_gap() -> None:
    picture = movement(after(50), None, after(60)).picture
    assert picture is not None
    assert picture.promised.count("M") == 2
    assert movement(after(50), None).picture is not None


def test_another_expected_date_is_a_line_of_its_own_from_when_it_was_entered() -> None:
    told = movement(after(50), expected=after(70), expected_since=after(90))
    picture = told.picture
    assert picture is not None
    x = float(picture.expected.split()[0][1:])
    assert (picture.left + picture.right) / 2 < x < picture.right
    unmoved = movement(after(50), after(60)).picture
    assert unmoved is not None
    assert unmoved.expected == ""


def test_today_is_drawn_among_the_dates_only_where_they_reach_it() -> None:
    far = movement(after(300), after(310)).picture
    near = movement(after(90), after(110)).picture
    assert far is not None
    assert near is not None
    assert far.today_level == ""
    assert near.top < float(near.today_level) < near.bottom


@pytest.mark.parametrize("moved_by", [1, 6, 40, 400, 4000, 65_000, 2_900_000])
def test_everything_lies_inside_the_picture_with_few_labels(moved_by: int) -> None:
    told = movement(after(50), after(50 + moved_by), receipts=[DAY, after(3), TODAY])
    picture = told.picture
    assert picture is not None
    labels = picture.date_labels
    assert 2 <= len(labels) <= 8
    assert all(picture.top <= float(label.at) <= picture.bottom for label in labels)
    assert len(picture.receipts) == 3
    heights = [float(part[1:]) for part in picture.promised.split() if part.startswith("V")]
    assert all(picture.top <= height <= picture.bottom for height in heights)
    assert picture.right < WIDTH
    assert picture.bottom < HEIGHT


@pytest.mark.parametrize("end", [date.min, date.max])
def test_a_date_at_an_end_of_the_calendar_can_be_drawn(end: date) -> None:
    picture = movement(after(50), end).picture
    assert picture is not None
    assert 2 <= len(picture.date_labels) <= 8
    assert picture.top <= float(picture.now[0].y) <= picture.bottom


def test_where_the_dates_stand_today_is_marked_also_on_the_day_they_came() -> None:
    told = movement(None, after(50), today=after(10), expected=after(60), expected_since=after(10))
    picture = told.picture
    assert picture is not None
    assert [(point.kind, float(point.x)) for point in picture.now] == [
        ("expected", picture.right),
        ("promised", picture.right),
    ]
    assert float(picture.now[0].y) < float(picture.now[1].y)
    cleared = movement(after(50), None).picture
    assert cleared is not None
    assert cleared.now == []


def test_a_date_that_is_read_from_elsewhere_now_ends_at_what_is_promised() -> None:
    # Filled without a change event (rules.md "Comparing"): since when is not known.
    told = movement(after(50), after(60), promised=after(400))
    picture = told.picture
    assert picture is not None
    assert told.promised_steps()[-1] == (TODAY, after(400))
    assert picture.top < float(picture.now[-1].y) < picture.bottom


def test_a_line_that_came_today_can_be_drawn() -> None:
    told = movement(after(120), after(130), since=TODAY)
    assert told.picture is not None
    assert [label.day for label in told.picture.time_labels] == [TODAY - timedelta(days=1), TODAY]


# --- from the database ----------------------------------------------------------------------------

AT = datetime(2026, 3, 2, 22, 0, tzinfo=UTC)


def night(number: int) -> datetime:
    return AT + timedelta(days=number)


def moved(line: POLine, number: int, **values: Any) -> None:
    ERPChangeEventFactory.create(po_line=line, effective_at=night(number), **values)


@pytest.mark.django_db
def test_moves_are_told_in_their_order_and_nothing_else_is_a_move() -> None:
    line = POLineFactory.create(first_seen_at=night(0), promised_date=date(2026, 3, 7))
    moved(line, 3, previous_value="2026-03-09", new_value="2026-03-07")
    moved(line, 1, previous_value="2026-03-02", new_value="2026-03-09")
    moved(line, 2, field="in_date", previous_value=None, new_value="2026-03-01")
    moved(POLineFactory.create(), 2)
    told = Movement.of(line, UserFactory.create(), receipts=[None, after(1), TODAY], today=after(9))
    assert [(move.on, move.words) for move in told.moves] == [
        (after(1), "7 days later"),
        (after(3), "2 days earlier"),
    ]
    assert told.first == date(2026, 3, 2)
    assert told.since == DAY
    assert told.receipts == [after(1)]  # not those without a date, nor later ones


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (datetime(2026, 3, 28, 22, 59, tzinfo=UTC), date(2026, 3, 28)),
        (datetime(2026, 3, 28, 23, 0, tzinfo=UTC), date(2026, 3, 29)),  # clocks go forward at 1:00
        (datetime(2026, 3, 29, 21, 59, tzinfo=UTC), date(2026, 3, 29)),
        (datetime(2026, 3, 29, 22, 0, tzinfo=UTC), date(2026, 3, 30)),
        (datetime(2026, 10, 25, 22, 59, tzinfo=UTC), date(2026, 10, 25)),  # and back
    ],
)
def test_a_move_is_on_the_business_day_also_where_clocks_change(
    moment: datetime, day: date, settings: Any
) -> None:
    settings.BUSINESS_TIME_ZONE = "Europe/Berlin"
    line = POLineFactory.create(first_seen_at=moment)
    ERPChangeEventFactory.create(po_line=line, effective_at=moment)
    told = Movement.of(line, UserFactory.create(), receipts=[], today=date(2026, 12, 1))
    assert (told.since, [move.on for move in told.moves]) == (day, [day])


@pytest.mark.django_db
def test_a_milestone_is_expected_from_when_it_was_entered() -> None:
    line = POLineFactory.create(
        first_seen_at=night(0),
        promised_date=after(10),
        ready_to_dispatch_date=after(20),
        last_expeditor_update=night(4),
    )
    line.refresh_from_db()
    told = Movement.of(line, UserFactory.create(), receipts=[], today=after(9))
    assert (told.expected, told.expected_since) == (after(20), after(4))


@pytest.mark.django_db
def test_how_dates_moved_under_another_supplier_is_told_to_nobody_who_does_not_have_it() -> None:
    before, now = SupplierFactory.create_batch(2)
    line = POLineFactory.create(supplier=now, first_seen_at=night(0), promised_date=DAY)
    moved(line, 1, supplier=before)
    moved(line, 5, supplier=before, field="supplier_code", previous_value="a", new_value="b")
    moved(line, 6, supplier=now)
    wei = UserFactory.create(role=Role.EXPEDITOR, suppliers=[now])
    told = Movement.of(line, wei, receipts=[after(2), after(6)], today=after(9))
    assert told.since == after(5)
    assert [move.on for move in told.moves] == [after(6)]
    assert told.receipts == [after(6)]
    all_of_it = Movement.of(line, UserFactory.create(), receipts=[], today=after(9))
    assert len(all_of_it.moves) == 2


@pytest.mark.django_db
def test_of_a_line_that_came_back_the_time_elsewhere_is_left_out() -> None:
    own, other = SupplierFactory.create_batch(2)
    line = POLineFactory.create(supplier=own, first_seen_at=night(0))
    moved(line, 2, supplier=own, field="supplier_code", previous_value="a", new_value="b")
    moved(line, 3, supplier=other)
    moved(line, 4, supplier=other, field="supplier_code", previous_value="b", new_value="a")
    moved(line, 5, supplier=own)
    wei = UserFactory.create(role=Role.EXPEDITOR, suppliers=[own])
    told = Movement.of(line, wei, receipts=[], today=after(9))
    assert (told.since, [move.on for move in told.moves]) == (after(4), [after(5)])
