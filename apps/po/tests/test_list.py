"""The list as it is answered: which lines, for whom, what a part of a page has in it, and what
people set up for themselves."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.http import QueryDict
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from apps.accounts.models import Role, User
from apps.core.clock import business_today
from apps.po import list_page, paging, presets
from apps.po.columns import all_columns, default_columns
from apps.po.lifecycle import SourceQuality, Status
from apps.po.list_page import ListPage
from apps.po.models import (
    ColumnChoice,
    POLine,
    Presence,
    SavedView,
    Supplier,
    Thresholds,
)
from tests.factories import (
    AuditEventFactory,
    CustomColumnFactory,
    IngestionRunFactory,
    POLineFactory,
    SupplierFactory,
    UserFactory,
)
from tests.test_pages import HTMX, sign_in

pytestmark = pytest.mark.django_db

ROWS = {**HTMX, "HX-Target": "rows"}
HOSTILE = "\"><script>alert('x')</script>&amp;{{ 123450|add:7 }}"


@pytest.fixture
def mine() -> Supplier:
    return SupplierFactory.create(code="MINE", name="Mine Ltd")


@pytest.fixture
def theirs() -> Supplier:
    return SupplierFactory.create(code="THEIRS", name="Theirs Ltd")


@pytest.fixture
def katrin() -> User:
    return UserFactory.create(username="katrin", role=Role.PLANNER)


@pytest.fixture
def wei(mine: Supplier) -> User:
    return UserFactory.create(username="wei", role=Role.EXPEDITOR, suppliers=[mine])


def browser(user: User) -> Client:
    client = Client()
    sign_in(client, user)
    return client


def line(name: str, **values: Any) -> POLine:
    return POLineFactory.create(po_number=name, **values)


def seen(client: Client, query: str = "", **headers: str) -> list[str]:
    """The PO numbers of the lines on the page, in their order."""
    return numbers(client.get(f"/po/?{query}", headers=headers).context["page"])


def numbers(page: ListPage) -> list[str]:
    return [each["po_number"] for each in page.lines]


def text_of(answer: Any) -> str:
    text: str = answer.content.decode()
    return text


def days(count: int) -> date:
    return business_today() + timedelta(days=count)


# --- presets --------------------------------------------------------------------------------------


SHOWN = {
    "late": {"late"},
    "at_risk": {"at risk"},
    "no_response": {"stale", "silent"},
    "updated": {"updated"},
    "all": {"late", "at risk", "stale", "silent", "closed", "updated"},
}


@pytest.mark.parametrize("role", Role)
def test_each_preset_shows_and_counts_its_lines_of_the_suppliers_one_has(
    mine: Supplier, theirs: Supplier, role: Role
) -> None:
    now = timezone.now()
    fresh: dict[str, Any] = {"promised_date": days(90), "last_expeditor_update": now}
    for whose, owner in (("mine", mine), ("theirs", theirs)):
        line(f"late {whose}", **{**fresh, "supplier": owner, "promised_date": days(-1)})
        line(f"at risk {whose}", **{**fresh, "supplier": owner, "promised_date": days(1)})
        line(f"stale {whose}", supplier=owner, promised_date=days(90))  # seen first years ago
        line(f"silent {whose}", supplier=owner, source_quality=SourceQuality.NO_RESPONSE, **fresh)
        line(f"closed {whose}", supplier=owner, status=Status.CLOSED, **fresh)
        line(f"gone {whose}", supplier=owner, presence=Presence.RETIRED, **fresh)
        updated = line(f"updated {whose}", supplier=owner, **fresh)
        AuditEventFactory.create(po_line=updated, effective_at=now - timedelta(hours=1))
    client = browser(UserFactory.create(role=role, suppliers=[mine]))
    visible = ["mine"] if role == Role.EXPEDITOR else ["mine", "theirs"]
    counts = {tab.preset.key: tab.count for tab in client.get("/po/").context["page"].tabs}
    for preset, kinds in SHOWN.items():
        expected = {f"{kind} {whose}" for kind in kinds for whose in visible}
        assert {*seen(client, f"preset={preset}")} == expected
        assert counts[preset] == len(expected)


def test_the_counts_on_the_tabs_are_of_the_preset_and_not_of_its_filters(katrin: User) -> None:
    line("A1", promised_date=days(-1))
    line("B1", promised_date=days(-1))
    page = browser(katrin).get("/po/?po_number=a").context["page"]
    assert [tab.count for tab in page.tabs if tab.preset.key == "late"] == [2]
    assert page.total == 1


def test_what_an_administrator_set_decides_what_is_at_risk(katrin: User) -> None:
    line("in ten days", promised_date=days(10))
    client = browser(katrin)
    assert seen(client, "preset=at_risk") == []
    Thresholds.objects.create(
        at_risk_days=10, ageing_business_days=3, stale_business_days=5, recent_hours=24
    )
    assert seen(client, "preset=at_risk") == ["in ten days"]


@pytest.mark.parametrize(
    ("role", "preset"),
    [(Role.PLANNER, "late"), (Role.ADMIN, "late"), (Role.EXPEDITOR, "all"), ("", "late")],
)
def test_each_role_begins_with_its_own_preset(role: Role | str, preset: str) -> None:
    client = browser(UserFactory.create(role=role))
    assert client.get("/po/").context["state"].preset == preset


def test_the_preset_looked_at_last_is_remembered_for_this_person_only(
    katrin: User, wei: User
) -> None:
    client = browser(katrin)
    client.get("/po/?preset=at_risk")
    assert client.get("/po/").context["state"].preset == "at_risk"
    cookie = client.cookies["preset"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")

    client.post("/sign-out/")
    sign_in(client, wei)
    assert client.cookies["preset"].value  # the same browser
    assert client.get("/po/").context["state"].preset == "all"


@pytest.mark.parametrize(
    "value", ["", "late", "x:late", "{pk}:nothing", "{pk}", ":::", "\xb2:late"]
)
def test_a_remembered_preset_that_makes_no_sense_is_none(wei: User, value: str) -> None:
    client = browser(wei)
    client.cookies["preset"] = value.format(pk=wei.pk)
    assert client.get("/po/").context["state"].preset == "all"


# --- sorting and pages ----------------------------------------------------------------------------


def test_without_a_word_lines_come_by_when_they_are_expected(katrin: User) -> None:
    line("never", promised_date=None)
    line("later", promised_date=days(5))
    line("sooner", promised_date=days(9), ready_to_dispatch_date=days(1))
    assert seen(browser(katrin), "preset=all") == ["sooner", "later", "never"]


@pytest.fixture
def sixty(mine: Supplier) -> None:
    POLine.objects.bulk_create(
        POLineFactory.build(po_number=f"PO{number:03}", supplier=mine) for number in range(60)
    )


@pytest.mark.usefixtures("sixty")
def test_a_page_has_as_many_lines_as_one_chose(katrin: User) -> None:
    client = browser(katrin)
    query = "preset=all&sort=po_number"
    assert seen(client, query) == [f"PO{number:03}" for number in range(50)]
    assert seen(client, f"{query}&page=2") == [f"PO{number:03}" for number in range(50, 60)]
    assert len(seen(client, f"{query}&size=100")) == 60


@pytest.mark.usefixtures("sixty")
def test_beyond_the_end_there_is_the_last_page(katrin: User) -> None:
    answer = browser(katrin).get("/po/?preset=all&sort=po_number&page=99", headers=ROWS)
    page = answer.context["page"]
    assert (page.state.page, page.first_number, page.last_number) == (2, 51, 60)
    assert "page=2" in answer["HX-Push-Url"]
    assert "Page 2 of 2" in text_of(answer)


@pytest.mark.usefixtures("sixty")
def test_of_very_many_lines_it_says_so_and_shows_the_same_ones(
    katrin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = browser(katrin)
    query = "preset=all&sort=-po_number&po_number=5"
    before = seen(client, query)
    for module in (list_page, paging, presets):
        monkeypatch.setattr(module, "COUNT_LIMIT", 55)
    cache.clear()
    assert seen(client, query) == before
    page = text_of(client.get("/po/?preset=all"))
    assert "Only the first 10,000 lines can be paged through" in page
    cache.clear()


# --- addresses ------------------------------------------------------------------------------------


def test_a_part_tells_the_browser_the_whole_address(katrin: User) -> None:
    answer = browser(katrin).get(
        "/po/?po_number=A&sort=&status=&nothing=1", headers={**ROWS, "HX-Current-URL": "x"}
    )
    columns = ",".join(default_columns(Role.PLANNER, all_columns()))
    assert answer["HX-Push-Url"] == f"/po/?preset=late&po_number=A&columns={columns}"


@pytest.mark.parametrize("filters", ["", "po_number=%C3%84+%26%2B&sku=x"])
def test_a_refresh_makes_no_further_step_for_the_back_button(katrin: User, filters: str) -> None:
    client = browser(katrin)
    address = client.get(f"/po/?{filters}", headers=ROWS)["HX-Push-Url"]
    here = {**ROWS, "HX-Current-URL": f"http://testserver{address}"}
    assert client.get(address, headers=here)["HX-Push-Url"] == "false"
    assert client.get(f"{address}&page=1&sort=sku", headers=here)["HX-Push-Url"] != "false"


def test_a_whole_page_pushes_nothing(katrin: User) -> None:
    assert "HX-Push-Url" not in browser(katrin).get("/po/")


def test_more_filters_than_any_address_has_are_refused_in_words(katrin: User) -> None:
    answer = browser(katrin).get("/po/?" + "&".join(f"supplier=S{n}" for n in range(1_001)))
    assert answer.status_code == 400
    assert "not understood" in text_of(answer)


# --- parts of the page ----------------------------------------------------------------------------

PARTS = ("rows", "heads", "tabs", "pager", "state", "list-tools", "chips")


def test_a_part_has_everything_that_changed_and_leaves_the_filters_alone(wei: User) -> None:
    part = text_of(browser(wei).get("/po/", headers=ROWS))
    for identifier in PARTS:
        assert f'id="{identifier}"' in part
    assert "<html" not in part
    assert 'class="filters"' not in part
    assert 'name="supplier"' not in part  # the choice in the toolbar is a filter as well


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {**HTMX, "HX-Target": "list"},
        {**ROWS, "HX-History-Restore-Request": "true"},
    ],
)
def test_whatever_is_more_than_the_rows_has_the_filters(wei: User, headers: dict[str, str]) -> None:
    part = text_of(browser(wei).get("/po/?po_number=A1", headers=headers))
    for identifier in PARTS:
        assert f'id="{identifier}"' in part
    assert 'class="filters"' in part
    assert 'name="po_number" value="A1"' in part
    assert 'name="supplier" value="MINE"' in part


def test_the_browser_s_back_button_gets_a_whole_page(katrin: User) -> None:
    headers = {**ROWS, "HX-History-Restore-Request": "true"}
    answer = browser(katrin).get("/po/", headers=headers)
    assert "<html" in text_of(answer)
    assert 'id="dialog"' in text_of(answer)


def test_a_page_costs_the_same_questions_for_few_and_for_many_lines(
    katrin: User, mine: Supplier
) -> None:
    client = browser(katrin)
    query = f"preset=all&size=200&columns={','.join(all_columns())}"

    def questions() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(f"/po/?{query}")
        return len(captured)

    POLineFactory.create_batch(2, supplier=mine)
    few = questions()
    POLineFactory.create_batch(100, supplier=mine)
    assert questions() == few


# --- rows -----------------------------------------------------------------------------------------


def row_of(client: Client, which: POLine) -> str:
    page = text_of(client.get("/po/?preset=all"))
    (row,) = re.findall(rf'<tr id="line-{which.pk}".*?</tr>', page)
    return str(row)


def test_what_is_late_or_at_risk_is_marked_by_colour_icon_and_words(katrin: User) -> None:
    late = line("late", promised_date=days(-3))
    at_risk = line("at risk", promised_date=days(3))
    fine = line("fine", promised_date=days(60))
    client = browser(katrin)
    assert 'class="late"' in row_of(client, late)
    assert "bi-exclamation-circle-fill" in row_of(client, late)
    assert "Late 3 d" in row_of(client, late)
    assert 'class="at-risk"' in row_of(client, at_risk)
    assert "bi-clock-fill" in row_of(client, at_risk)
    assert "At risk" in row_of(client, at_risk)
    assert 'class=""' in row_of(client, fine)
    assert not re.search("Late|At risk", row_of(client, fine))


def test_a_line_is_marked_also_where_the_column_of_exceptions_is_hidden(katrin: User) -> None:
    line("late", promised_date=days(-3))
    page = text_of(browser(katrin).get("/po/?columns=po_number"))
    assert re.search(r'<tr id="line-\d+" class="late"', page)
    assert "Late 3 d" not in page


def test_an_article_without_sku_is_marked(katrin: User) -> None:
    client = browser(katrin)
    assert "unmapped" in row_of(client, line("x", unmapped=True))
    assert "unmapped" not in row_of(client, line("y", sku="SKU-1"))


def test_a_row_leads_to_its_line(katrin: User) -> None:
    which = line("A1")
    row = row_of(browser(katrin), which)
    assert f'data-opens-panel="/po/{which.pk}/"' in row
    assert f'<a href="/po/{which.pk}/"' in row


def test_how_long_ago_somebody_spoke_is_told_in_days(katrin: User) -> None:
    client = browser(katrin)
    now = timezone.now()
    assert "updated today" in row_of(client, line("a", last_expeditor_update=now))
    row = row_of(client, line("b", last_expeditor_update=now - timedelta(days=30)))
    assert "30 days ago" in row
    assert "fresh-stale" in row
    assert "never updated" in row_of(client, line("c"))


def test_no_text_of_anybody_is_ever_taken_for_html(katrin: User) -> None:
    CustomColumnFactory.create(slot="custom_text_1", label=f"{HOSTILE} own"[:60])
    CustomColumnFactory.create(slot="custom_text_2", label="fed", source="erp", erp_column="x")
    supplier = SupplierFactory.create(code=f"{HOSTILE}", name=f"{HOSTILE} name")
    texts = {
        name: f"{HOSTILE} {name}"
        for name in ("erp_item_code", "item", "sku", "erp_status", "final_customer")
    }
    line(
        HOSTILE,
        line_number="\"'<b>",
        supplier=supplier,
        custom_text_1=f"{HOSTILE} text 1",
        custom_text_2=f"{HOSTILE} text 2",
        custom_sources={"custom_text_2": "user"},
        **texts,
    )
    SavedView.objects.create(user=katrin, name=HOSTILE, query=f"po_number={HOSTILE}")
    client = browser(katrin)
    data = QueryDict(mutable=True)
    data.update(
        {
            "preset": "all",
            "columns": ",".join(key for key in all_columns() if key != "sku"),
            "po_number": HOSTILE[:30],
            "supplier": supplier.code,
            "promised_date_to": HOSTILE,  # told as a mistake
            "sku": HOSTILE[:30],  # told as a filter of a hidden column
        }
    )
    for headers in ({}, ROWS):
        page = text_of(client.get(f"/po/?{data.urlencode()}", headers=headers))
        assert page.count('<tr id="line-') == 1
        for text in ("<script>alert", "<b>", '">&amp;{{', "123457"):
            assert text not in page.split("</head>")[-1], text
        for text in ({*texts.values()} - {texts["sku"]}) | {supplier.name}:
            assert f">{escape(text)}<" in page, text
    for path in ("/po/columns/", "/po/views/"):
        assert "<script>alert" not in text_of(client.get(f"{path}?{data.urlencode()}"))


def test_only_values_that_one_may_change_invite_to_it(katrin: User) -> None:
    CustomColumnFactory.create(slot="custom_text_1", label="own")
    CustomColumnFactory.create(slot="custom_text_2", label="fed", source="erp", erp_column="x")
    which = line("A1", custom_text_2="fragile", custom_sources={"custom_text_2": "erp"})
    client = browser(katrin)
    query = "preset=all&columns=custom_text_1,custom_text_2"

    def editable() -> list[str]:
        return re.findall(
            r'data-edits="/po/\d+/custom/(\w+)/"', text_of(client.get(f"/po/?{query}"))
        )

    assert editable() == ["custom_text_1"]
    POLine.objects.filter(pk=which.pk).update(custom_sources={"custom_text_2": "user"})
    assert editable() == ["custom_text_1", "custom_text_2"]
    assert "entered by a person" in text_of(client.get(f"/po/?{query}"))
    with override_settings(READ_ONLY=True):
        assert editable() == []


# --- nobody sees what is not theirs ---------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "",
        "preset=all",
        "preset=late",
        "preset=updated",
        "supplier=THEIRS",
        "supplier=THEIRS&supplier=MINE",
        "supplier=MINE&po_number=their",
        "po_number=their",
        "exception=late",
        "exception=late&exception=at_risk",
        "sort=supplier",
        "sort=-supplier&size=200&page=2",
        "columns=supplier,po_number,item,custom_text_1",
        "custom_text_1=their",
        "presence=present&status=planned",
    ],
)
def test_whatever_an_expeditor_asks_for_they_see_their_suppliers_lines(
    wei: User, mine: Supplier, theirs: Supplier, query: str
) -> None:
    CustomColumnFactory.create(slot="custom_text_1")
    for owner in (mine, theirs):
        whose = "my" if owner == mine else "their"
        made = line(
            f"{whose} line",
            supplier=owner,
            promised_date=days(-1),
            item=f"{whose} item",
            custom_text_1=f"{whose} text",
        )
        AuditEventFactory.create(po_line=made, effective_at=timezone.now())
    client = browser(wei)
    for headers in ({}, ROWS):
        answer = client.get(f"/po/?{query}", headers=headers)
        assert {*numbers(answer.context["page"])} <= {"my line"}
        page = text_of(answer).casefold()
        for secret in ("their line", "their item", "their text", "theirs ltd"):
            assert secret not in page
        assert [tab.count for tab in answer.context["page"].tabs] == [1, 0, 1, 1, 1]


def test_an_expeditor_chooses_among_their_own_suppliers(
    wei: User, mine: Supplier, theirs: Supplier
) -> None:
    wei.suppliers.add(SupplierFactory.create(code="ALSO MINE"))
    page = text_of(browser(wei).get("/po/"))
    assert 'name="supplier" value="MINE"' in page
    assert 'name="supplier" value="ALSO MINE"' in page
    assert "THEIRS" not in page


def test_somebody_without_a_role_sees_nothing(mine: Supplier) -> None:
    line("A1", supplier=mine)
    client = browser(UserFactory.create(role="", suppliers=[mine]))
    assert seen(client, "preset=all") == []
    assert [tab.count for tab in client.get("/po/").context["page"].tabs] == [0] * 5


def test_through_somebody_s_view_an_expeditor_sees_their_own_lines(
    katrin: User, wei: User, mine: Supplier, theirs: Supplier
) -> None:
    line("my line", supplier=mine)
    line("their line", supplier=theirs)
    query = "preset=all&supplier=MINE&supplier=THEIRS&columns=po_number,supplier"
    view = SavedView.objects.create(user=katrin, name="both", query=query)
    answer = browser(wei).get(f"/po/views/{view.identifier}/", follow=True)
    assert numbers(answer.context["page"]) == ["my line"]
    assert answer.context["state"].columns == ("po_number", "supplier")
    answer = browser(katrin).get(f"/po/views/{view.identifier}/", follow=True)
    assert {*numbers(answer.context["page"])} == {"my line", "their line"}


# --- nothing to show ------------------------------------------------------------------------------


def nothing_said(client: Client, query: str = "") -> str:
    page = text_of(client.get(f"/po/?{query}"))
    (said,) = re.findall(r'<div class="nothing">(.*?)</div>', page, re.DOTALL)
    return str(said)


def test_before_the_first_night_it_says_how_to_begin(katrin: User) -> None:
    assert "There are no ERP data yet." in nothing_said(browser(katrin))
    assert "run_ingestion --baseline" in nothing_said(browser(katrin))


def test_an_expeditor_without_suppliers_is_told_whom_to_ask() -> None:
    IngestionRunFactory.create()
    POLineFactory.create()
    client = browser(UserFactory.create(role=Role.EXPEDITOR))
    assert "no suppliers for you" in nothing_said(client)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("preset=late", "Nothing is late."),
        ("preset=at_risk", "There is no such line."),
        ("preset=late&po_number=x", "No line passes these filters."),
        ("preset=all&po_number=x", "No line passes these filters."),
    ],
)
def test_an_empty_list_says_why(katrin: User, query: str, said: str) -> None:
    IngestionRunFactory.create()
    line("A1", promised_date=days(60))
    client = browser(katrin)
    assert said in nothing_said(client, query)
    assert ("Clear filters" in text_of(client.get(f"/po/?{query}"))) is ("po_number" in query)


# --- filters that one should not overlook ---------------------------------------------------------


def test_a_filter_of_a_hidden_column_is_told_and_kept(katrin: User) -> None:
    line("A1", promised_date=days(-1), sku="x")
    query = "columns=po_number&sku=x&status=planned&promised_date_to=2100-01-01"
    page = text_of(browser(katrin).get(f"/po/?{query}"))
    assert "Hidden column SKU: x" in page
    assert "Hidden column Status: Planned" in page
    assert re.search(r"Hidden column Promised:\s+–\s2100-01-01", page)  # noqa: RUF001  # its own dash
    assert '<input type="hidden" name="sku" value="x">' in page
    assert '<input type="hidden" name="promised_date_to" value="2100-01-01">' in page
    assert "Hidden column PO number" not in page


def test_a_filter_that_cannot_be_read_is_told_and_the_list_is_there_all_the_same(
    katrin: User,
) -> None:
    line("A1", promised_date=days(-1))
    client = browser(katrin)
    answer = client.get(f"/po/?promised_date_from=soon&ordered_quantity_to={'9' * 2_000}")
    assert numbers(answer.context["page"]) == ["A1"]
    page = text_of(answer)
    assert "Promised: “soon” was left out." in page
    assert "Ordered: “9999" in page
    assert "9" * 100 not in re.sub(r'(href|hx-get|value|data-copies)="[^"]*"', "", page)


# --- columns --------------------------------------------------------------------------------------


def choose(client: Client, *columns: str, **data: str) -> Any:
    return client.post("/po/columns/save/", {"column": columns, **data}, headers=HTMX)


def test_chosen_columns_are_kept_in_their_order_until_they_are_reset(
    katrin: User, wei: User
) -> None:
    client = browser(katrin)
    assert choose(client, "sku", "po_number", "sku").status_code == 200
    assert client.get("/po/").context["state"].columns == ("sku", "po_number")
    known = all_columns()
    usual = default_columns(Role.EXPEDITOR, known)
    assert browser(wei).get("/po/").context["state"].columns == usual

    client = browser(katrin)  # somewhere else
    assert client.get("/po/").context["state"].columns == ("sku", "po_number")
    choose(client, "sku", reset="1")
    assert client.get("/po/").context["state"].columns == default_columns(Role.PLANNER, known)
    assert not ColumnChoice.objects.exists()


def test_after_choosing_one_is_back_at_the_same_list(katrin: User) -> None:
    client = browser(katrin)
    query = "preset=all&po_number=A&sort=-sku&columns=item&page=3"
    there = "/po/?preset=all&po_number=A&sort=-sku"
    assert choose(client, "sku", query=query)["HX-Redirect"] == there
    answer = client.post("/po/columns/save/", {"column": ["sku"], "query": query})
    assert (answer.status_code, answer["Location"]) == (302, there)
    assert choose(client, "sku")["HX-Redirect"] == "/po/"


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ((), "Choose at least one column."),
        (("sku", "gone"), "There is no column"),
        (("custom_text_1",), "There is no column"),
        ((HOSTILE,), "There is no column"),
    ],
)
def test_no_column_at_all_and_one_that_there_is_not_are_refused_in_words(
    katrin: User, columns: tuple[str, ...], said: str
) -> None:
    client = browser(katrin)
    choose(client, "item")
    answer = choose(client, *columns)
    assert answer.status_code == 422
    assert said in answer["HX-Trigger"]
    there = {"Referer": "http://testserver/po/columns/?columns=item"}
    answer = client.post("/po/columns/save/", {"column": columns}, headers=there)
    assert (answer.status_code, answer["Location"]) == (302, "/po/columns/?columns=item")
    assert said in text_of(client.get(answer["Location"]))
    assert client.get("/po/").context["state"].columns == ("item",)


def test_the_dialog_has_what_is_seen_first_and_in_its_order(katrin: User) -> None:
    CustomColumnFactory.create(slot="custom_text_1", label="Remark")
    client = browser(katrin)
    page = text_of(client.get("/po/columns/?columns=status,sku&po_number=x", headers=HTMX))
    offered = re.findall(r'name="column" value="(\w+)"( checked)?', page)
    assert offered[:2] == [("status", " checked"), ("sku", " checked")]
    assert {key for key, _checked in offered} == {*all_columns()}
    assert len(offered) == len(all_columns())
    assert all(not checked for _key, checked in offered[2:])
    assert 'name="query" value="po_number=x"' in page
    assert "Remark" in page


@override_settings(READ_ONLY=True)
def test_on_the_read_only_copy_columns_are_chosen_by_the_address(katrin: User) -> None:
    client = browser(katrin)
    page = text_of(client.get("/po/columns/"))
    assert '<form class="columns-form" method="get" action="/po/"' in page
    assert choose(client, "sku").status_code == 403
    assert client.get("/po/?columns=sku").context["state"].columns == ("sku",)
    assert "Save view" not in text_of(client.get("/po/"))


# --- saved views ----------------------------------------------------------------------------------


def save(client: Client, name: str, query: str = "", **data: str) -> Any:
    return client.post("/po/views/", {"name": name, "query": query, **data}, headers=HTMX)


def test_a_view_is_kept_as_a_whole_address(katrin: User) -> None:
    client = browser(katrin)
    answer = save(client, " My late ones ", "preset=late&sku=x&nothing=1&page=7&sort=--")
    view = SavedView.objects.get()
    assert (view.user, view.name) == (katrin, "My late ones")
    columns = ",".join(default_columns(Role.PLANNER, all_columns()))
    assert view.query == f"preset=late&sku=x&columns={columns}"
    assert answer["HX-Redirect"] == f"/po/?{view.query}"
    assert "My late ones" in text_of(client.get("/po/"))


def test_the_dialog_carries_what_is_on_the_screen(katrin: User) -> None:
    page = text_of(browser(katrin).get("/po/views/?preset=all&sku=x&page=3", headers=HTMX))
    assert 'value="preset=all&amp;sku=x&amp;columns=' in page
    assert "page=3" not in page


def test_a_name_that_is_taken_is_told_and_replaced_by_saving_again(katrin: User) -> None:
    client = browser(katrin)
    save(client, "late", "preset=late&columns=sku")
    page = text_of(save(client, "late", "preset=all&columns=sku"))
    assert "Save again to replace it" in page
    assert 'name="taken" value="late"' in page
    assert 'name="name" value="late"' in page
    assert SavedView.objects.get().query == "preset=late&columns=sku"

    save(client, "late", "preset=all&columns=sku", taken="late")
    assert SavedView.objects.get().query == "preset=all&columns=sku"


def test_whoever_was_told_of_one_name_does_not_replace_the_view_of_another(katrin: User) -> None:
    client = browser(katrin)
    for name in ("late", "all"):
        save(client, name, "preset=late&columns=sku")
    page = text_of(save(client, "all", "preset=all&columns=sku", taken="late"))
    assert "Save again to replace it" in page
    assert {view.query for view in SavedView.objects.all()} == {"preset=late&columns=sku"}


def test_two_people_may_give_the_same_name(katrin: User, wei: User) -> None:
    for user in (katrin, wei):
        assert "HX-Redirect" in save(browser(user), "mine")
    assert SavedView.objects.count() == 2


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("", ""),
        ("  ", ""),
        ("x" * 61, ""),
        ("a\nb", ""),
        ("a\0b", ""),
        ("long", "po_number=" + "x" * 4_000),
    ],
)
def test_a_view_that_cannot_be_kept_comes_back_with_the_reason(
    katrin: User, name: str, query: str
) -> None:
    answer = save(browser(katrin), name, query)
    assert answer.status_code == 200
    assert "errorlist" in text_of(answer)
    assert not SavedView.objects.exists()


def test_one_sees_and_deletes_one_s_own_views_only(katrin: User, wei: User) -> None:
    view = SavedView.objects.create(user=katrin, name="Katrin's own", query="preset=all")
    assert "Katrin&#x27;s own" not in text_of(browser(wei).get("/po/"))
    assert browser(wei).post(f"/po/views/{view.identifier}/delete/").status_code == 404
    assert SavedView.objects.exists()

    client = browser(katrin)
    answer = client.post(
        f"/po/views/{view.identifier}/delete/",
        headers={**HTMX, "HX-Current-URL": "http://testserver/po/?preset=late"},
    )
    assert answer["HX-Redirect"] == "/po/?preset=late"
    assert not SavedView.objects.exists()
    assert client.get(f"/po/views/{view.identifier}/").status_code == 404


def test_a_view_of_a_column_that_is_gone_shows_the_others(katrin: User) -> None:
    query = "preset=all&custom_text_1=x&sort=custom_text_1&columns=custom_text_1,sku"
    view = SavedView.objects.create(user=katrin, name="old", query=query)
    line("A1")
    answer = browser(katrin).get(f"/po/views/{view.identifier}/", follow=True)
    assert numbers(answer.context["page"]) == ["A1"]
    assert answer.context["state"].columns == ("sku",)


# --- freshness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("updated", [None, timezone.now() - timedelta(days=400)])
def test_only_a_line_on_which_something_is_to_come_looks_stale(
    katrin: User, status: Status, updated: Any
) -> None:
    shown = line("A1", status=status, last_expeditor_update=updated)
    page = text_of(browser(katrin).get("/po/?preset=all&columns=po_number,updated", headers=ROWS))
    shown.refresh_from_db()
    assert ("fresh-stale" in page) == bool(shown.is_open)


def test_all_without_a_single_line_says_that_there_are_none_yet(wei: User) -> None:
    IngestionRunFactory.create()
    assert "There are no lines yet." in nothing_said(browser(wei), "preset=all")
