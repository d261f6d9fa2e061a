"""The registry of columns: whatever stands in it can be shown, sorted, filtered and exported."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.http import QueryDict
from django.utils.html import strip_tags
from openpyxl import load_workbook

from apps.accounts.models import Role, User
from apps.core.clock import business_today
from apps.exports.list_workbook import write_list
from apps.po import columns as registry
from apps.po.cells import _CELLS
from apps.po.columns import (
    Column,
    FilterKind,
    Kind,
    all_columns,
    chosen_columns,
    default_columns,
)
from apps.po.filters import filter_names
from apps.po.lifecycle import SourceQuality, Status
from apps.po.list_page import LineList, ListPage
from apps.po.models import (
    CUSTOM_SLOTS,
    ColumnChoice,
    CustomColumn,
    POLine,
    Presence,
    Supplier,
)
from apps.po.paging import part
from tests.factories import CustomColumnFactory, POLineFactory, SupplierFactory, UserFactory
from tests.sql_server import sql_server_sql

pytestmark = pytest.mark.django_db

BUILT_IN = [column.key for column in registry._BUILT_IN]
# Names that an address needs for something else.
RESERVED = {"preset", "sort", "size", "page", "columns", "query", "column", "reset", "shown"}


@pytest.fixture
def user() -> User:
    return UserFactory.create(role=Role.PLANNER)


@pytest.fixture
def slots() -> None:
    """All 15 of them, one of each kind fed by the ERP."""
    for number, slot in enumerate(CUSTOM_SLOTS):
        fed = {"source": "erp", "erp_column": slot} if number % 5 == 0 else {}
        CustomColumnFactory.create(slot=slot, label=f"Own {slot}", **fed)


@pytest.fixture
def lines(slots: None) -> None:
    """Three lines that differ in everything: "a" is late, "b" at risk, and "c" has as little as a
    line can have."""
    today = business_today()
    for n, (name, presence, status, source) in enumerate(
        (
            ("a", Presence.PRESENT, Status.PLANNED, SourceQuality.SUPPLIER_CONFIRMED),
            ("b", Presence.AGED_OUT, Status.IN_PRODUCTION, SourceQuality.NO_RESPONSE),
        )
    ):
        POLineFactory.create(
            po_number=f"PO-{name}",
            line_number=f"1{n}",
            supplier=SupplierFactory.create(code=f"S-{name}"),
            presence=presence,
            status=status,
            source_quality=source,
            ordered_quantity=100 + 100 * n,
            delivered_quantity=10 + n,
            ready_quantity=5 + n,
            promised_date=today + timedelta(days=n - 9),
            production_ready_date=today + timedelta(days=n - 5),
            ready_to_dispatch_date=today + timedelta(days=5 * n - 3),
            in_date=date(2026, 1, 1 + n),
            po_insert_date=date(2025, 1, 1 + n),
            first_seen_at=datetime(2026, 1, 5 + n, 9, tzinfo=UTC),
            last_expeditor_update=datetime(2026, 2, 5 + n, 9, tzinfo=UTC),
            custom_sources=dict.fromkeys(CUSTOM_SLOTS[::2], "user"),
            **{
                name_: f"{name_} {name}"
                for name_ in ("erp_item_code", "item", "sku", "erp_status", "final_customer")
            },
            **{f"custom_date_{i}": date(2026, i, 1 + n) for i in range(1, 6)},
            **{f"custom_text_{i}": f"own {i} {name}" for i in range(1, 6)},
            **{f"custom_decimal_{i}": Decimal(i) + n for i in range(1, 6)},
        )
    POLineFactory.create(
        po_number="PO-c",
        line_number="7",
        supplier=SupplierFactory.create(code="S-c", name=""),
        presence=Presence.CLOSED,
        status=Status.CLOSED,
        ordered_quantity=0,
        promised_date=None,
        erp_item_code="",
        erp_status="",
        unmapped=True,
        first_seen_at=datetime(2026, 1, 9, 9, tzinfo=UTC),
    )


def asked(user: User, **params: Any) -> LineList:
    data = QueryDict(mutable=True)
    data["preset"] = "all"
    for name, value in params.items():
        data.setlist(name, value if isinstance(value, list) else [str(value)])
    return LineList.asked_for(user, data)


def found(user: User, **params: Any) -> list[str]:
    """Which lines come, in their order: "a", "b", "c"."""
    list_ = asked(user, **params)
    return [line["po_number"][-1] for line in part(list_.values(), list_.order, 0, 100)]


def value_of(name: str, column: Column) -> Any:
    lines = POLine.objects.annotate(**registry.COMPUTED)
    return lines.values_list(column.name, flat=True).get(po_number=f"PO-{name}")


# --- each column ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("lines")
def test_each_column_can_be_narrowed_to_exactly_the_lines_that_are_meant(user: User) -> None:
    for key, column in all_columns().items():
        a, b = value_of("a", column), value_of("b", column)
        if column.filter == FilterKind.EXCEPTIONS:
            a, b = "late", "at_risk"
        if isinstance(a, datetime):
            a, b = a.date(), b.date()
        if len(filter_names(column)) == 2:
            low, high = filter_names(column)
            assert found(user, **{low: a, high: a}) == ["a"], key
            assert found(user, **{low: b, high: b}) == ["b"], key
            assert sorted(found(user, **{low: min(a, b), high: max(a, b)})) == ["a", "b"], key
            continue
        assert found(user, **{key: a}) == ["a"], key
        assert found(user, **{key: b}) == ["b"], key
        assert found(user, **{key: "nowhere to be found"}) == [], key
        if column.filter != FilterKind.TEXT:
            assert sorted(found(user, **{key: [a, b]})) == ["a", "b"], key


@pytest.mark.usefixtures("lines")
def test_each_column_sorts_both_ways(user: User) -> None:
    rank = {status.value: number for number, status in enumerate(Status)}
    for key, column in all_columns().items():
        if not column.sortable:
            assert column.kind == Kind.EXCEPTION
            continue
        values = {name: value_of(name, column) for name in "abc"}
        if key == "status":
            values = {name: rank[value] for name, value in values.items()}
        if key == "line_number":  # 7, 10, 11: as numbers, although they are texts
            values = {name: int(value) for name, value in values.items()}
        names = sorted((n for n in "abc" if values[n] is not None), key=values.__getitem__)
        without = [name for name in "abc" if values[name] is None]
        assert found(user, sort=key) == names + without, key
        assert found(user, sort=f"-{key}") == names[::-1] + without, key


@pytest.mark.usefixtures("lines")
@pytest.mark.parametrize("role", [Role.PLANNER, Role.EXPEDITOR])
def test_a_column_reads_all_that_its_cell_shows_on_the_page_and_in_excel(role: Role) -> None:
    person = UserFactory.create(role=role, suppliers=Supplier.objects.all())
    for key in all_columns():
        list_ = asked(person, columns=key, sort="po_number")
        rows = [strip_tags(row).strip() for row in ListPage(list_).rows]
        cells = in_excel(list_)
        assert len(rows) == 3, key
        # "a" and "b" have everything, and differ in it; "c" has nothing but what every line has.
        assert rows[0], key
        assert rows[0] != rows[1], key
        assert None not in cells[0], key
        assert cells[0] != cells[1], key


def in_excel(list_: LineList) -> list[tuple[Any, ...]]:
    with write_list(list_) as file:
        _head, *lines = load_workbook(file).worksheets[0].iter_rows(values_only=True)
    return lines


@pytest.mark.usefixtures("lines")
def test_each_sorting_and_filter_can_be_put_to_sql_server(user: User) -> None:
    sensible = {
        FilterKind.DATES: "2026-03-02",
        FilterKind.MOMENTS: "2026-03-02",
        FilterKind.NUMBERS: "1",
        FilterKind.EXCEPTIONS: "late",
    }
    for key, column in all_columns().items():
        value = sensible.get(column.filter, "x")
        params = dict.fromkeys(filter_names(column), value)
        list_ = asked(user, sort=key, columns=key, **params)
        assert list_.mistakes == [], key
        assert "NULLS" not in sql_server_sql(list_.order.sorted(list_.values())[50:100]), key


# --- the registry as a whole ----------------------------------------------------------------------


@pytest.mark.usefixtures("slots")
def test_no_two_columns_share_a_name_in_the_address() -> None:
    known = all_columns()
    assert list(known) == [*BUILT_IN, *sorted(CUSTOM_SLOTS)]
    names = [name for column in known.values() for name in filter_names(column)]
    assert len({*names}) == len(names)
    assert not RESERVED & {*names, *known}


@pytest.mark.parametrize("role", [*Role, "", "auditor"])
def test_each_role_begins_with_columns_that_there_are(role: str) -> None:
    known = all_columns()
    keys = default_columns(role, known)
    assert {"po_number", "line_number", "supplier", "status", "expected_date"} <= {*keys}
    assert {*keys} <= {*known}
    assert len({*keys}) == len(keys)


def test_planners_and_expeditors_begin_with_columns_of_their_own() -> None:
    known = all_columns()
    planners, expeditors = (default_columns(r, known) for r in (Role.PLANNER, Role.EXPEDITOR))
    assert {*planners} - {*expeditors} == {"item", "final_customer"}
    assert {*expeditors} - {*planners} == {"erp_item_code"}
    assert default_columns("", known) == planners


@pytest.mark.usefixtures("slots")
def test_columns_that_people_are_to_fill_are_seen_from_the_start_and_those_of_the_erp_are_not() -> (
    None
):
    known = all_columns()
    own = {key for key in default_columns(Role.EXPEDITOR, known) if key in CUSTOM_SLOTS}
    assert own == {slot for slot in CUSTOM_SLOTS if not slot.endswith("_1")}


def test_what_can_be_chosen_in_a_filter_is_all_that_a_line_can_be() -> None:
    known = all_columns()

    def choices(key: str) -> set[str]:
        return {value for value, _label in known[key].choices}

    assert choices("status") == {*Status.values}
    assert choices("source_quality") == {*SourceQuality.values}
    assert choices("presence") == {*Presence.values} - {Presence.RETIRED}  # never on the list
    assert choices("exception") == {"late", "at_risk"}


def test_every_kind_of_column_has_a_look() -> None:
    assert _CELLS.keys() == {*Kind}


# --- columns that an administrator configured -----------------------------------------------------


def test_a_configured_slot_is_a_column_under_its_own_label() -> None:
    CustomColumnFactory.create(slot="custom_decimal_2", label="Weight in kg")
    column = all_columns()["custom_decimal_2"]
    assert (column.label, column.kind) == ("Weight in kg", Kind.CUSTOM_DECIMAL)
    assert column.editable_by == {*Role}


@pytest.fixture
def remark() -> CustomColumn:
    return CustomColumnFactory.create(slot="custom_text_1", label="Remark")


def test_a_deactivated_column_disappears_everywhere_and_comes_back_where_it_was(
    user: User, remark: CustomColumn
) -> None:
    chosen = ["sku", "custom_text_1", "item"]
    ColumnChoice.objects.create(user=user, columns=chosen)
    POLineFactory.create(po_number="PO-a", custom_text_1="x")
    POLineFactory.create(po_number="PO-b")
    query = {"custom_text_1": "x", "sort": "-custom_text_1"}
    assert found(user, **query) == ["a"]

    remark.active = False
    remark.save()
    assert "custom_text_1" not in all_columns()
    assert chosen_columns(user, all_columns()) == ("sku", "item")
    assert found(user, **query) == ["a", "b"]
    assert asked(user, **query).state.sort == "expected_date"

    remark.active = True
    remark.save()
    assert chosen_columns(user, all_columns()) == tuple(chosen)
    assert found(user, **query) == ["a"]


def test_somebody_whose_chosen_columns_are_all_gone_sees_those_of_their_role(user: User) -> None:
    known = all_columns()
    ColumnChoice.objects.create(user=user, columns=["custom_text_1", 7, None])
    assert chosen_columns(user, known) == default_columns(Role.PLANNER, known)
