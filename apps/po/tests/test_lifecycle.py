"""How the ERP moves a line's status: the rules sentence by sentence, then as properties."""

from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from apps.po.lifecycle import (
    DELIVERED,
    FINAL,
    Move,
    Status,
    delivery_status,
    erp_move,
    first_status,
)

PLANNED, IN_PRODUCTION, READY, PART, FULLY, CLOSED, CANCELLED = Status
ACTIVE_CODES = [None, PLANNED, IN_PRODUCTION, READY, PART, FULLY]
OPEN = [PLANNED, IN_PRODUCTION, READY, PART]


@dataclass(frozen=True)
class Erp:
    """What the ERP says of a line; `means` is what the mapping makes of its code."""

    code: str = "O"
    means: Status | None = PLANNED
    ordered: int = 100
    delivered: int = 0


def moved(
    current: Status,
    before: Erp,
    now: Erp,
    *,
    before_final: Status = PLANNED,
    before_delivery: Status = PLANNED,
) -> Move | None:
    return erp_move(
        current,
        mapped=now.means,
        previous_mapped=before.means,
        code_changed=now.code != before.code,
        ordered=Decimal(now.ordered),
        delivered=Decimal(now.delivered),
        previous_ordered=Decimal(before.ordered),
        previous_delivered=Decimal(before.delivered),
        before_final=before_final,
        before_delivery=before_delivery,
    )


def status_after(
    current: Status,
    before: Erp,
    now: Erp,
    *,
    before_final: Status = PLANNED,
    before_delivery: Status = PLANNED,
) -> Status:
    move = moved(current, before, now, before_final=before_final, before_delivery=before_delivery)
    return move.status if move else current


# A new line


@pytest.mark.parametrize("mapped", [*Status, None])
@pytest.mark.parametrize(
    ("ordered", "delivered", "implied"),
    [
        (100, 0, None),
        (100, -5, None),
        (100, Decimal("0.001"), PART),
        (100, Decimal("99.999"), PART),
        (100, 100, FULLY),
        (100, 120, FULLY),
        (0, 0, None),
        (0, 5, PART),
    ],
)
def test_a_new_line_follows_a_final_code_then_its_quantities_then_its_code(
    mapped: Status | None, ordered: Decimal, delivered: Decimal, implied: Status | None
) -> None:
    assert delivery_status(Decimal(ordered), Decimal(delivered)) == implied
    expected = mapped if mapped in FINAL else implied or mapped or PLANNED
    assert first_status(mapped=mapped, ordered=ordered, delivered=delivered) == expected


# When the ERP moves a status at all


@pytest.mark.parametrize("current", Status)
@pytest.mark.parametrize("means", [*Status, None])
@pytest.mark.parametrize("delivered", [0, 40, 100])
def test_nothing_moves_while_neither_code_nor_quantities_change(
    current: Status, means: Status | None, delivered: int
) -> None:
    same = Erp(means=means, delivered=delivered)
    assert moved(current, same, same) is None


def test_a_code_that_the_mapping_comes_to_know_moves_the_line_at_once() -> None:
    unknown = Erp(code="P", means=None)
    assert status_after(PLANNED, unknown, replace(unknown, means=IN_PRODUCTION)) == IN_PRODUCTION


def test_a_line_behind_its_code_catches_up_with_its_next_quantity() -> None:
    erp = Erp(code="P", means=IN_PRODUCTION)
    assert status_after(PLANNED, erp, replace(erp, ordered=120)) == IN_PRODUCTION


# Priority


@pytest.mark.parametrize("current", Status)
@pytest.mark.parametrize("final", [CLOSED, CANCELLED])
@pytest.mark.parametrize("delivered", [0, 40, 100])
def test_a_closed_or_cancelled_code_outranks_the_quantities(
    current: Status, final: Status, delivered: int
) -> None:
    now = Erp(code="C", means=final, delivered=delivered)
    assert status_after(current, Erp(), now) == final


@pytest.mark.parametrize("current", [*OPEN, FULLY])
def test_a_code_that_the_mapping_comes_to_close_closes_at_once(current: Status) -> None:
    erp = Erp(code="H", means=None)
    assert status_after(current, erp, replace(erp, means=CLOSED)) == CLOSED


@pytest.mark.parametrize("current", [*OPEN, FULLY])
def test_a_line_left_open_under_a_closed_code_closes_with_its_next_quantity(
    current: Status,
) -> None:
    erp = Erp(code="H", means=CLOSED)
    assert status_after(current, erp, replace(erp, ordered=120)) == CLOSED


@pytest.mark.parametrize("means", ACTIVE_CODES)
@pytest.mark.parametrize("current", OPEN)
@pytest.mark.parametrize(("delivered", "expected"), [(40, PART), (100, FULLY), (130, FULLY)])
def test_quantities_outrank_an_active_code(
    current: Status, means: Status | None, delivered: int, expected: Status
) -> None:
    now = Erp(code="new", means=means, delivered=delivered)
    move = moved(current, Erp(), now)
    assert (move.status if move else current) == expected
    assert move is None or move.reason == "Delivered according to the ERP"


@pytest.mark.parametrize("current", [*OPEN, FULLY])
@pytest.mark.parametrize("means", [PLANNED, IN_PRODUCTION, READY, PART, FULLY])
def test_an_active_code_moves_forward_only(current: Status, means: Status) -> None:
    after = status_after(current, Erp(code="old", means=None), Erp(code="new", means=means))
    order = list(Status)
    assert order.index(after) == max(order.index(current), order.index(means))


@pytest.mark.parametrize("current", [*OPEN, FULLY])
def test_an_unknown_code_moves_nothing(current: Status) -> None:
    assert moved(current, Erp(), Erp(code="?", means=None)) is None


def test_quantities_still_move_a_line_with_an_unknown_code() -> None:
    assert status_after(READY, Erp(), Erp(code="?", means=None, delivered=40)) == PART


# Backward: re-opening


@pytest.mark.parametrize("current", [CLOSED, CANCELLED])
@pytest.mark.parametrize("means", ACTIVE_CODES)
@pytest.mark.parametrize(("delivered", "expected"), [(40, PART), (100, FULLY)])
def test_a_line_that_turns_active_reopens_to_what_its_quantities_imply(
    current: Status, means: Status | None, delivered: int, expected: Status
) -> None:
    before = Erp(code="C", means=current, delivered=delivered)
    move = moved(
        current, before, replace(before, code="O", means=means), before_final=IN_PRODUCTION
    )
    assert move == Move(status=expected, reason="Active again in the ERP")


@pytest.mark.parametrize("current", [CLOSED, CANCELLED])
@pytest.mark.parametrize("before_final", [PLANNED, IN_PRODUCTION, READY])
@pytest.mark.parametrize("means", [None, PLANNED])
def test_a_line_that_turns_active_undelivered_reopens_to_its_last_status_that_was_not_final(
    current: Status, before_final: Status, means: Status | None
) -> None:
    before, now = Erp(code="C", means=current), Erp(code="O", means=means)
    assert status_after(current, before, now, before_final=before_final) == before_final


def test_a_line_reopens_when_the_mapping_no_longer_closes_its_code() -> None:
    before = Erp(code="H", means=CLOSED)
    now = replace(before, means=None)
    assert status_after(CLOSED, before, now, before_final=READY) == READY


def test_a_line_that_turns_active_under_a_code_further_forward_reopens_there() -> None:
    before, now = Erp(code="C", means=CLOSED), Erp(code="R", means=READY)
    assert status_after(CLOSED, before, now, before_final=PLANNED) == READY


def test_a_line_whose_deliveries_were_taken_back_while_closed_reopens_to_before_them() -> None:
    before, now = Erp(code="C", means=CLOSED), Erp(code="O", means=PLANNED)
    after = status_after(CLOSED, before, now, before_final=PART, before_delivery=READY)
    assert after == READY


def test_a_closed_line_stays_closed_whatever_its_quantities_do() -> None:
    before = Erp(code="C", means=CLOSED, delivered=40)
    for delivered in (0, 30, 50, 100):
        assert moved(CLOSED, before, replace(before, delivered=delivered)) is None


# Backward: corrections


@pytest.mark.parametrize("code", ["O", "new"])
def test_a_correction_takes_fully_to_part_delivered(code: str) -> None:
    move = moved(FULLY, Erp(delivered=100), Erp(code=code, delivered=60))
    assert move == Move(status=PART, reason="Delivered quantity corrected downward")


def test_a_raised_order_takes_fully_to_part_delivered() -> None:
    move = moved(FULLY, Erp(delivered=100), Erp(ordered=150, delivered=100))
    assert move == Move(status=PART, reason="Ordered quantity raised")


def test_a_raised_order_that_is_delivered_all_the_same_stays_fully_delivered() -> None:
    assert moved(FULLY, Erp(delivered=100), Erp(ordered=150, delivered=150)) is None


def test_a_correction_of_an_over_delivery_stays_fully_delivered() -> None:
    assert moved(FULLY, Erp(delivered=130), Erp(delivered=100)) is None


def test_a_line_that_a_person_called_fully_delivered_stays_so_while_more_arrives() -> None:
    assert moved(FULLY, Erp(delivered=40), Erp(delivered=60)) is None


@pytest.mark.parametrize("current", [PART, FULLY])
@pytest.mark.parametrize("before_delivery", [PLANNED, IN_PRODUCTION, READY])
@pytest.mark.parametrize("delivered", [0, -10])
def test_delivered_back_to_nothing_takes_a_line_to_the_status_before_the_first_delivery(
    current: Status, before_delivery: Status, delivered: int
) -> None:
    move = moved(
        current, Erp(delivered=100), Erp(delivered=delivered), before_delivery=before_delivery
    )
    assert move == Move(status=before_delivery, reason="Delivered quantity corrected to nothing")


def test_delivered_back_to_nothing_keeps_what_the_code_says_of_production() -> None:
    before = Erp(code="P", means=IN_PRODUCTION, delivered=40)
    after = status_after(PART, before, replace(before, delivered=0), before_delivery=PLANNED)
    assert after == IN_PRODUCTION


@pytest.mark.parametrize("means", [PART, FULLY])
def test_delivered_back_to_nothing_outranks_a_code_that_still_tells_of_a_delivery(
    means: Status,
) -> None:
    before = Erp(code="D", means=means, delivered=40)
    after = status_after(PART, before, replace(before, delivered=0), before_delivery=READY)
    assert after == READY


def test_a_person_s_part_delivery_of_which_the_erp_knows_nothing_yet_stays() -> None:
    assert moved(PART, Erp(), Erp(ordered=120)) is None


# A person's cancellation


@pytest.mark.parametrize("means", ACTIVE_CODES)
@pytest.mark.parametrize(("ordered", "delivered"), [(100, 40), (100, 100), (100, 0), (500, 10)])
def test_a_person_s_cancellation_stands_while_the_code_is_the_same(
    means: Status | None, ordered: int, delivered: int
) -> None:
    before = Erp(means=means, delivered=10)
    now = replace(before, ordered=ordered, delivered=delivered)
    assert moved(CANCELLED, before, now, before_final=READY) is None


def test_a_person_s_cancellation_yields_to_a_new_active_code() -> None:
    now = Erp(code="P", means=IN_PRODUCTION)
    assert status_after(CANCELLED, Erp(), now, before_final=READY) == READY


def test_a_person_s_cancellation_does_not_yield_to_a_new_meaning_of_the_same_code() -> None:
    now = Erp(means=IN_PRODUCTION)
    assert moved(CANCELLED, Erp(), now, before_final=READY) is None


def test_a_person_s_cancellation_does_not_yield_to_an_unknown_code() -> None:
    assert moved(CANCELLED, Erp(), Erp(code="?", means=None), before_final=READY) is None


def test_what_a_person_closed_after_the_erp_cancelled_it_stays_closed() -> None:
    cancelled = Erp(code="X", means=CANCELLED)
    assert moved(CLOSED, cancelled, replace(cancelled, delivered=5)) is None


# Properties over many nights

codes = st.sampled_from([*Status, None])
quantities = st.integers(min_value=-5, max_value=20)
states = st.builds(
    lambda means, ordered, delivered: Erp(f"code for {means}", means, ordered, delivered),
    codes,
    quantities,
    quantities,
)
forward = st.sampled_from([PLANNED, IN_PRODUCTION, READY])


@given(st.lists(states, min_size=2, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_the_rules_hold_over_any_nights_and_cancellations(
    nights: list[Erp], cancels: list[bool]
) -> None:
    """Keeps the books as the ingestion does: what the line was before it was final or delivered."""
    status = first_status(
        mapped=nights[0].means,
        ordered=Decimal(nights[0].ordered),
        delivered=Decimal(nights[0].delivered),
    )
    before_final = before_delivery = PLANNED
    for (before, now), person_cancels in zip(pairwise(nights), cancels, strict=False):
        if status not in FINAL:
            before_final = status
            if status not in DELIVERED:
                before_delivery = status
        by_person = person_cancels and status not in FINAL and status != FULLY
        current = CANCELLED if by_person else status
        books = {"before_final": before_final, "before_delivery": before_delivery}
        move = moved(current, before, now, **books)
        status = move.status if move else current
        same_code = now.code == before.code
        implied = delivery_status(Decimal(now.ordered), Decimal(now.delivered))

        assert moved(status, now, now, **books) is None
        if move:
            assert move.status != current
            assert move.reason
        if now.means in FINAL and not same_code:
            assert status == now.means
        if by_person and same_code and now.means not in FINAL:
            assert status == CANCELLED
        if now.means not in FINAL and status not in FINAL and before != now:
            if implied == FULLY:
                assert status == FULLY
            if implied == PART:
                assert status in DELIVERED
            if implied is None and before.delivered > 0 and current in DELIVERED:
                assert status not in DELIVERED


@given(st.sampled_from([*OPEN, FULLY]), states, states, forward, forward)
def test_an_active_code_never_moves_a_line_backward(
    current: Status, before: Erp, now: Erp, before_final: Status, before_delivery: Status
) -> None:
    assume(now.means not in FINAL)
    now = replace(now, ordered=before.ordered, delivered=before.delivered)
    after = status_after(
        current, before, now, before_final=before_final, before_delivery=before_delivery
    )
    assert list(Status).index(after) >= list(Status).index(current)


@given(st.sampled_from([*OPEN, FULLY]), states, states)
def test_every_move_backward_of_an_open_line_has_a_quantity_as_its_reason(
    current: Status, before: Erp, now: Erp
) -> None:
    move = moved(current, before, now)
    if move and list(Status).index(move.status) < list(Status).index(current):
        assert now.delivered < before.delivered or now.ordered > before.ordered
        assert move.reason.startswith(("Delivered quantity corrected", "Ordered quantity raised"))
