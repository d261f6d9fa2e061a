"""The address of the list: it says everything, and what makes no sense in it says nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import QueryDict
from hypothesis import given
from hypothesis import strategies as st

from apps.po import columns as registry
from apps.po.columns import Column
from apps.po.filters import filter_names
from apps.po.list_state import DEFAULT_SORT, PAGE_SIZES, ListState
from apps.po.models import CUSTOM_SLOTS, CustomColumn
from apps.po.presets import PRESETS

CHOSEN = ("po_number", "status")
CUSTOM = (
    registry._custom(CustomColumn(slot=slot, label=slot, source="user")) for slot in CUSTOM_SLOTS
)
KNOWN: dict[str, Column] = {column.key: column for column in (*registry._BUILT_IN, *CUSTOM)}
NAMES = [name for column in KNOWN.values() for name in filter_names(column)]
SORTS = [f"{sign}{key}" for key, column in KNOWN.items() if column.order for sign in ("", "-")]
UNSORTED = ListState(
    preset="all", filters=(), sort=DEFAULT_SORT, page=1, size=PAGE_SIZES[0], columns=CHOSEN
)


def parsed(query: str) -> ListState:
    return ListState.parsed(QueryDict(query), KNOWN, chosen=CHOSEN, preset="all")


def address(**params: Any) -> str:
    data = QueryDict(mutable=True)
    for name, value in params.items():
        data.setlist(name, value if isinstance(value, list) else [value])
    return data.urlencode()


anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
sensible = st.fixed_dictionaries(
    {},
    optional={
        "preset": st.sampled_from(list(PRESETS)),
        "sort": st.sampled_from(SORTS),
        "size": st.sampled_from([str(size) for size in PAGE_SIZES]),
        "page": st.integers(1, 1_000_000).map(str),
        "columns": st.lists(st.sampled_from(list(KNOWN)), min_size=1).map(",".join),
        **{name: st.lists(anything, max_size=3) for name in NAMES},
    },
)
odd = st.dictionaries(
    st.sampled_from(["preset", "sort", "size", "page", "columns", *NAMES]) | anything,
    anything | st.lists(anything, max_size=3),
)


@given(sensible | odd)
def test_an_address_means_the_same_when_it_is_written_down_and_read_again(
    params: dict[str, Any],
) -> None:
    state = parsed(address(**params))
    assert parsed(state.query()) == state


@given(sensible)
def test_an_address_means_the_same_to_somebody_with_other_habits(params: dict[str, Any]) -> None:
    state = parsed(address(**params))
    theirs = ListState.parsed(QueryDict(state.query()), KNOWN, chosen=("item",), preset="late")
    assert theirs == state


def test_an_address_that_says_nothing_is_the_person_s_own_list() -> None:
    assert parsed("") == UNSORTED


@pytest.mark.parametrize(
    "query",
    [
        "preset=",
        "preset=LATE",
        "preset=nothing",
        "sort=",
        "sort=-",
        "sort=--po_number",
        "sort=nothing",
        "sort=-nothing",
        "sort=pk",
        "sort=supplier__code",  # a field, but no column
        "sort=exception",  # a column, but not one to sort by
        "sort=-exception",
        "size=0",
        "size=51",
        "size=1000000",
        "size=-50",
        "size=50.0",
        "size=%D9%A5%D9%A0",  # 50 in Arabic digits
        "page=0",
        "page=-1",
        "page=one",
        "page=1e3",
        "page=%C2%B2",  # a superscript 2
        "page=99999999999999999999",
        "columns=",
        "columns=,",
        "columns=nothing",
        "columns=__class__,password",
        "po_number=",
        "po_number=+++",
        "nothing=1",
        "password=1",
        "supplier__code=S1",
        "po_number__regex=x",
        "promised_date=2026-01-01",  # a date has two bounds
        "%00=%00",
        "%FF%FE=%FF",
        "&&&===",
    ],
)
def test_what_makes_no_sense_is_as_if_it_were_not_said(query: str) -> None:
    assert parsed(query) == UNSORTED


def test_of_a_parameter_said_twice_the_last_one_counts() -> None:
    state = parsed("preset=late&preset=at_risk&sort=sku&sort=item&size=100&size=200&page=2&page=3")
    assert (state.preset, state.sort, state.size, state.page) == ("at_risk", "item", 200, 3)


def test_a_filter_said_twice_is_two_values() -> None:
    state = parsed("status=planned&status=closed&status=+")
    assert state.values("status") == ["planned", "closed"]
    assert state.filter_data().getlist("status") == ["planned", "closed"]


def test_unknown_columns_are_left_out_and_none_comes_twice() -> None:
    assert parsed("columns=sku,gone,item,sku").columns == ("sku", "item")


def test_a_page_far_beyond_every_list_is_a_number_that_every_database_knows() -> None:
    assert parsed("page=99999999").page == 1_000_000


def test_an_address_says_everything_columns_included() -> None:
    state = ListState(
        preset="at_risk",
        filters=(("po_number", "Ä & b=c,d+e"), ("status", "planned"), ("status", "closed")),
        sort="-sku",
        page=7,
        size=200,
        columns=("sku", "custom_date_1"),
    )
    said = QueryDict(state.query())
    assert dict(said.lists()) == {
        "preset": ["at_risk"],
        "po_number": ["Ä & b=c,d+e"],
        "status": ["planned", "closed"],
        "sort": ["-sku"],
        "page": ["7"],
        "size": ["200"],
        "columns": ["sku,custom_date_1"],
    }
    assert parsed(state.query()) == state


def test_a_part_of_the_address_may_be_changed() -> None:
    state = parsed("preset=late&po_number=A&page=4")
    assert parsed(state.query(preset="all", page=1)).preset == "all"
    assert parsed(state.query(preset="all", page=1)).values("po_number") == ["A"]
    assert state.preset == "late"


def test_a_head_sorts_up_then_down_then_as_usual() -> None:
    state = parsed("")
    seen = []
    for _click in range(3):
        state = parsed(state.query(sort=state.next_sort("sku")))
        seen.append((state.sort, state.direction("sku")))
    assert seen == [("sku", "ascending"), ("-sku", "descending"), (DEFAULT_SORT, "")]


def test_another_head_begins_with_up_whatever_was_sorted_before() -> None:
    assert parsed("sort=-sku").next_sort("item") == "item"
    assert parsed("sort=-sku").direction("item") == ""


def test_the_usual_sorting_is_turned_round_and_back_by_its_own_head() -> None:
    assert parsed("").direction(DEFAULT_SORT) == "ascending"
    assert parsed("").next_sort(DEFAULT_SORT) == f"-{DEFAULT_SORT}"
    assert parsed(f"sort=-{DEFAULT_SORT}").next_sort(DEFAULT_SORT) == DEFAULT_SORT


def test_a_filter_that_is_taken_away_takes_nothing_else_with_it_but_the_page() -> None:
    state = parsed(
        "preset=late&promised_date_from=2026-01-01&promised_date_to=2026-02-01&sku=x&sort=-sku&page=3"
    )
    rest = parsed(state.without("promised_date_from", "promised_date_to"))
    assert rest == parsed("preset=late&sku=x&sort=-sku")


def test_of_a_text_that_is_said_twice_the_last_one_counts_and_of_choices_every_one() -> None:
    params = QueryDict("po_number=a&po_number=b&status=planned&status=closed&status=")
    state = ListState.parsed(params, KNOWN, chosen=("po_number",), preset="all")
    assert state.values("po_number") == ["b"]
    assert state.values("status") == ["planned", "closed"]
