"""A value that a person enters into a custom column: who may, what is kept, and what is told."""

from __future__ import annotations

import uuid
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client, override_settings
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import Role, User
from apps.audit.models import AuditEvent, EventType
from apps.ingestion.tests.erp_table import ErpTable, feed_slot, line_of
from apps.po import services
from apps.po.columns import all_columns
from apps.po.custom_values import as_text, form_field
from apps.po.models import CustomColumn, POLine, Presence, Supplier
from tests.factories import CustomColumnFactory, POLineFactory, SupplierFactory, UserFactory
from tests.test_pages import HTMX, sign_in

pytestmark = pytest.mark.django_db

TEXT, DATE, NUMBER = "custom_text_1", "custom_date_1", "custom_decimal_1"
MOST = Decimal(999_999_999_999_999)  # that a column of 18 digits takes


@pytest.fixture
def supplier() -> Supplier:
    return SupplierFactory.create(code="S1")


@pytest.fixture
def wei(supplier: Supplier) -> User:
    return UserFactory.create(username="wei", role=Role.EXPEDITOR, suppliers=[supplier])


@pytest.fixture
def client(wei: User) -> Client:
    """Wei's browser."""
    client = Client()
    sign_in(client, wei)
    return client


@pytest.fixture
def line(supplier: Supplier) -> POLine:
    """Its three slots are people's to fill."""
    for slot in (TEXT, DATE, NUMBER):
        CustomColumnFactory.create(slot=slot, label=f"Own {slot}")
    return POLineFactory.create(supplier=supplier)


@pytest.fixture
def fed(line: POLine) -> POLine:
    """The text is fed by the ERP, which says "fragile"."""
    CustomColumn.objects.filter(slot=TEXT).update(source="erp", erp_column="remark")
    POLine.objects.update(
        custom_text_1="fragile",
        custom_sources={TEXT: "erp"},
        custom_erp_values={TEXT: "fragile"},
    )
    return line


def address(line: POLine, slot: str = TEXT) -> str:
    return f"/po/{line.pk}/custom/{slot}/"


def enter(client: Client, line: POLine, value: str, *, seen: str = "", slot: str = TEXT) -> Any:
    """Saves a value in its cell."""
    return client.post(address(line, slot), {"value": value, "seen": seen}, headers=HTMX)


def events() -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(event_type=EventType.CUSTOM_COLUMN_UPDATED))


def stored(line: POLine, slot: str = TEXT) -> tuple[Any, str | None]:
    """The value and who it is from."""
    fresh = POLine.objects.get(pk=line.pk)
    return getattr(fresh, slot), fresh.custom_sources.get(slot)


# --- entering -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slot", "typed", "kept", "told"),
    [
        (
            TEXT,
            "  call <b>them</b> & 'ask' ",
            "call <b>them</b> & 'ask'",
            "call <b>them</b> & 'ask'",
        ),
        (DATE, "2026-12-31", date(2026, 12, 31), "2026-12-31"),
        (NUMBER, "1250.50", Decimal("1250.5"), "1250.5"),
        (NUMBER, "-0", Decimal(0), "0"),
    ],
)
def test_a_value_is_kept_with_its_source_and_told_in_one_event(
    client: Client, wei: User, line: POLine, slot: str, typed: str, kept: Any, told: str
) -> None:
    answer = enter(client, line, typed, slot=slot)
    assert answer.status_code == 200
    assert stored(line, slot) == (kept, "user")
    (event,) = events()
    assert (event.actor, event.actor_name, event.source) == (wei, "wei", "inline")
    assert (event.po_line_id, event.supplier_id) == (line.pk, line.supplier_id)
    assert str(event.correlation_id) == answer["X-Request-ID"]
    assert event.data == {
        "slot": slot,
        "label": f"Own {slot}",
        "previous": "",
        "new": told,
        "value_from": "user",
    }
    assert AuditEvent.objects.count() == 1


def test_the_cell_shows_the_value_and_every_other_cell_of_it_hears_of_it(
    client: Client, line: POLine
) -> None:
    answer = enter(client, line, "<i>")
    assert answer.content.decode() == "&lt;i&gt;"
    assert "custom-value-saved" in answer["HX-Trigger"]
    assert address(line) in answer["HX-Trigger"]
    assert client.get(f"{address(line)}?shown", headers=HTMX).content.decode() == "&lt;i&gt;"


def test_other_values_of_the_line_stay_as_they_are(client: Client, line: POLine) -> None:
    enter(client, line, "first", slot=TEXT)
    enter(client, line, "5", slot=NUMBER)
    assert stored(line, TEXT) == ("first", "user")
    assert stored(line, NUMBER) == (Decimal(5), "user")


@pytest.mark.parametrize(
    ("slot", "first", "nothing"), [(TEXT, "x", ""), (DATE, "2026-12-31", None), (NUMBER, "5", None)]
)
def test_a_value_can_be_taken_away(
    client: Client, line: POLine, slot: str, first: str, nothing: Any
) -> None:
    enter(client, line, first, slot=slot)
    enter(client, line, "", seen=first, slot=slot)
    assert stored(line, slot) == (nothing, "user")
    assert (events()[1].data["previous"], events()[1].data["new"]) == (first, "")


def test_the_same_value_again_is_no_change(client: Client, line: POLine) -> None:
    enter(client, line, "2.5", slot=NUMBER)
    assert enter(client, line, "2.500", seen="2.5", slot=NUMBER).status_code == 200
    assert len(events()) == 1


@pytest.mark.parametrize(
    ("slot", "typed"),
    [
        (DATE, "31.12.2026"),
        (DATE, "2026-02-30"),
        (DATE, "1600-01-01"),
        (DATE, "0000-00-00"),
        (NUMBER, "many"),
        (NUMBER, "1.2345"),
        (NUMBER, "9" * 16),
        (NUMBER, "NaN"),
        (NUMBER, "1e999"),
        (TEXT, "x" * 256),
        (TEXT, "a\0b"),
    ],
)
def test_a_wrong_value_comes_back_with_what_was_typed(
    client: Client, line: POLine, slot: str, typed: str
) -> None:
    page = enter(client, line, typed, slot=slot).content.decode()
    assert f'value="{typed}"' in page
    assert "errorlist" in page
    assert stored(line, slot)[1] is None
    assert events() == []


def test_the_form_shows_the_present_value_escaped(client: Client, line: POLine) -> None:
    enter(client, line, '"><script>')
    page = client.get(address(line), headers=HTMX).content.decode()
    assert page.count('value="&quot;&gt;&lt;script&gt;"') == 2  # to be changed, and as seen
    assert "<html" not in page
    assert "<html" in client.get(address(line)).content.decode()


# --- two people at once ---------------------------------------------------------------------------


def test_what_somebody_else_changed_meanwhile_is_told_and_replaced_only_by_saving_again(
    client: Client, line: POLine
) -> None:
    enter(client, line, "theirs")
    page = enter(client, line, "mine", seen="").content.decode()
    assert "“theirs” now" in page
    assert 'value="mine"' in page
    assert 'name="seen" value="theirs"' in page
    assert stored(line) == ("theirs", "user")
    assert len(events()) == 1

    enter(client, line, "mine", seen="theirs")
    assert stored(line) == ("mine", "user")
    assert events()[1].data["previous"] == "theirs"


def test_a_value_that_the_erp_changed_meanwhile_is_told_too(client: Client, fed: POLine) -> None:
    POLine.objects.update(custom_sources={TEXT: "user"}, custom_text_1="by the next night")
    assert "by the next night" in enter(client, fed, "mine", seen="fragile").content.decode()
    assert events() == []


def test_a_line_that_went_to_another_supplier_meanwhile_is_not_there_any_more(
    client: Client, line: POLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_it = services.enter_custom_value

    def moved_first(**values: Any) -> bool:
        POLine.objects.update(supplier=SupplierFactory.create())
        return enter_it(**values)

    monkeypatch.setattr(services, "enter_custom_value", moved_first)
    assert enter(client, line, "mine").status_code == 404
    assert stored(line) == ("", None)
    assert events() == []


@pytest.mark.usefixtures("fed")
@pytest.mark.parametrize("act", ["enter", "give back"])
def test_without_its_event_no_value_is_changed(
    client: Client, line: POLine, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    POLine.objects.update(custom_text_1="before", custom_sources={TEXT: "user"})

    def fails(*args: Any, **values: Any) -> int:
        raise DatabaseError("no history today")

    monkeypatch.setattr("apps.audit.services.record", fails)
    client.raise_request_exception = False
    if act == "enter":
        answer = enter(client, line, "mine", seen="before")
    else:
        answer = client.post(f"{address(line)}give-back/", headers=HTMX)
    assert answer.status_code == 500
    assert stored(line) == ("before", "user")


# --- who may --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("path", ["", "?shown", "give-back/"])
def test_a_line_of_another_supplier_is_not_there(
    client: Client, line: POLine, method: str, path: str
) -> None:
    theirs = POLineFactory.create(custom_text_1="a secret", custom_sources={TEXT: "user"})
    answer = getattr(client, method)(f"{address(theirs)}{path}", {"value": "x", "seen": "a secret"})
    assert answer.status_code == (405 if (method, path) == ("get", "give-back/") else 404)
    assert "a secret" not in answer.content.decode()
    assert stored(theirs) == ("a secret", "user")


def test_a_value_of_the_erp_is_not_a_person_s_to_change_but_may_be_read(
    client: Client, fed: POLine
) -> None:
    assert client.get(address(fed), headers=HTMX).status_code == 403
    answer = enter(client, fed, "mine", seen="fragile")
    assert answer.status_code == 403
    assert "toast" in answer["HX-Trigger"]
    assert client.get(f"{address(fed)}?shown").content.decode() == "fragile"
    assert stored(fed) == ("fragile", "erp")


@pytest.mark.parametrize("slot", ["custom_text_2", "sku", "po_number", "nothing"])
def test_a_column_that_is_not_configured_or_not_custom_is_not_there(
    client: Client, line: POLine, slot: str
) -> None:
    assert client.get(address(line, slot)).status_code == 404
    assert enter(client, line, "x", slot=slot).status_code == 404


def test_a_deactivated_column_cannot_be_filled_and_keeps_what_it_has(
    client: Client, line: POLine
) -> None:
    enter(client, line, "kept")
    CustomColumn.objects.update(active=False)
    assert enter(client, line, "new", seen="kept").status_code == 404
    assert stored(line) == ("kept", "user")


def test_a_line_whose_key_belongs_to_another_order_now_is_not_there(
    client: Client, line: POLine
) -> None:
    POLine.objects.update(presence=Presence.RETIRED)
    assert enter(client, line, "x").status_code == 404


@override_settings(READ_ONLY=True)
def test_the_read_only_copy_refuses_and_says_so(client: Client, line: POLine) -> None:
    answer = enter(client, line, "x")
    assert answer.status_code == 403
    assert "read-only copy" in answer["HX-Trigger"]
    assert stored(line) == ("", None)


# --- back to the ERP ------------------------------------------------------------------------------


def test_a_person_s_value_in_a_column_of_the_erp_can_be_changed_and_given_back(
    client: Client, fed: POLine
) -> None:
    POLine.objects.update(custom_text_1="mine", custom_sources={TEXT: "user"})
    assert "Give back" in client.get(address(fed), headers=HTMX).content.decode()
    enter(client, fed, "mine too", seen="mine")
    assert stored(fed) == ("mine too", "user")

    answer = client.post(f"{address(fed)}give-back/", headers=HTMX)
    assert (answer.status_code, answer.content.decode()) == (200, "fragile")
    assert stored(fed) == ("fragile", "erp")
    event = events()[-1]
    assert event.data == {
        "slot": TEXT,
        "label": f"Own {TEXT}",
        "previous": "mine too",
        "new": "fragile",
        "value_from": "erp",
    }
    assert str(event.correlation_id) == answer["X-Request-ID"]


def test_where_the_erp_says_nothing_a_value_given_back_is_nobody_s(
    client: Client, fed: POLine
) -> None:
    POLine.objects.update(custom_text_1="mine", custom_sources={TEXT: "user"}, custom_erp_values={})
    client.post(f"{address(fed)}give-back/", headers=HTMX)
    assert stored(fed) == ("", None)


def test_a_date_of_the_erp_comes_back_as_a_date(client: Client, line: POLine) -> None:
    CustomColumn.objects.filter(slot=DATE).update(source="erp", erp_column="packed_on")
    POLine.objects.update(custom_sources={DATE: "user"}, custom_erp_values={DATE: "2026-03-02"})
    client.post(f"{address(line, DATE)}give-back/", headers=HTMX)
    assert stored(line, DATE) == (date(2026, 3, 2), "erp")


def test_where_there_is_nothing_to_give_back_to_it_is_refused_in_words(
    client: Client, line: POLine
) -> None:
    enter(client, line, "mine")
    assert "Give back" not in client.get(address(line), headers=HTMX).content.decode()
    answer = client.post(f"{address(line)}give-back/", headers=HTMX)
    assert answer.status_code == 422
    assert "value stands here already" in answer["HX-Trigger"]
    assert stored(line) == ("mine", "user")


def test_a_value_of_the_erp_is_not_given_back_twice(client: Client, fed: POLine) -> None:
    assert client.post(f"{address(fed)}give-back/", headers=HTMX).status_code == 403
    assert events() == []


# --- the nights that follow -----------------------------------------------------------------------


def test_no_night_touches_a_person_s_value_until_it_is_given_back(tmp_path: Path) -> None:
    erp = ErpTable(tmp_path / "erp.sqlite3")
    feed_slot(TEXT, "remark")
    erp.add("A1", remark="fragile")
    erp.add_others(25)
    erp.night(1)
    katrin = UserFactory.create(role=Role.PLANNER)
    whose: dict[str, Any] = {
        "actor": services.acting(katrin, source="inline"),
        "act": uuid.uuid4(),
        "line": line_of("A1"),
        "column": all_columns()[TEXT],
    }
    services.enter_custom_value(value="handle with care", seen="fragile", **whose)
    erp.change("A1", remark="heavy", delivered_quantity=10)
    erp.night(2)
    assert stored(line_of("A1")) == ("handle with care", "user")
    services.give_back_to_erp(**whose)
    assert stored(line_of("A1")) == ("heavy", "erp")
    erp.change("A1", remark="light")
    erp.night(3)
    assert stored(line_of("A1")) == ("light", "erp")


# --- values as texts ------------------------------------------------------------------------------


@given(st.dates(date(1753, 1, 1)) | st.decimals(-MOST, MOST, places=3))
def test_a_value_written_down_and_read_again_is_the_same(value: date | Decimal) -> None:
    kind = DATE if isinstance(value, date) else NUMBER
    CustomColumn.objects.get_or_create(slot=kind, label=kind, source="user")
    field = form_field(all_columns()[kind])
    assert field.clean(as_text(value)) == value
    assert as_text(field.clean(as_text(value))) == as_text(value)
