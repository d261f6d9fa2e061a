"""The list in a browser: narrowing, sorting, going back, columns, views, cells, keys, the file."""

from __future__ import annotations

import re
import time
from datetime import date, timedelta
from pathlib import Path
from typing import IO

import pytest
from django.utils import timezone
from openpyxl import load_workbook
from playwright.sync_api import Locator, Route, expect

from apps.accounts.models import Role, User
from apps.audit.models import AuditEvent
from apps.core.clock import business_today
from apps.core.middleware import IdleSession
from apps.exports import list_workbook
from apps.exports import views as exports
from apps.po.lifecycle import Status
from apps.po.list_page import LineList
from apps.po.models import POLine, SavedView, Supplier
from tests.browser.conftest import Screen, make_user
from tests.factories import (
    CustomColumnFactory,
    IngestionRunFactory,
    POLineFactory,
    SupplierFactory,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]

# As many as the tests look at: what is left out is not on the screen.
COLUMNS = "exception,po_number,supplier,status,expected_date,custom_text_1,custom_text_2"


@pytest.fixture
def acme() -> Supplier:
    """With four lines: A1 and A2 late, A3 at risk, B1 neither."""
    now = timezone.now()
    IngestionRunFactory.create(finished_at=now, effective_at=now)
    CustomColumnFactory.create(slot="custom_text_1", label="Remark")
    CustomColumnFactory.create(
        slot="custom_text_2", label="Packing", source="erp", erp_column="packing"
    )
    acme = SupplierFactory.create(code="ACME", name="Acme Ltd")
    for name, days, status in (
        ("A1", -9, Status.PLANNED),
        ("A2", -5, Status.IN_PRODUCTION),
        ("A3", 3, Status.PLANNED),
        ("B1", 90, Status.IN_PRODUCTION),
    ):
        POLineFactory.create(
            po_number=name,
            supplier=acme,
            status=status,
            promised_date=business_today() + timedelta(days=days),
            last_expeditor_update=now,
        )
    return acme


def enter(screen: Screen, user: User, query: str = f"preset=all&columns={COLUMNS}") -> None:
    """Signs in and opens the list."""
    screen.open(f"/po/?{query}")
    screen.sign_in(user)
    screen.page.wait_for_url("**/po/**")
    expect(screen.page.locator("#rows")).to_be_visible()


def numbers(screen: Screen) -> Locator:
    """The PO numbers of the rows, in their order."""
    return screen.page.locator("#rows tr[data-opens-panel] td.key a")


def shows(screen: Screen, *names: str) -> None:
    expect(numbers(screen)).to_have_text([*names])


def row(screen: Screen, name: str) -> Locator:
    return screen.page.locator("#rows tr", has=screen.page.get_by_role("link", name=name))


def cell(screen: Screen, name: str, slot: str = "custom_text_1") -> Locator:
    return row(screen, name).locator(f"td[data-edits$='/{slot}/']")


def has_focus(locator: Locator) -> None:
    expect(locator).to_be_focused()


# --- narrowing, sorting, going back ---------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.PLANNER, Role.EXPEDITOR])
def test_a_person_narrows_the_list_sorts_it_goes_back_and_clears_it(
    screen: Screen, acme: Supplier, role: Role
) -> None:
    page = screen.page
    screen.open("/")
    screen.sign_in(make_user(role, suppliers=[acme]))
    page.wait_for_url("**/po/")
    begins = "Late 2" if role == Role.PLANNER else "All 4"
    expect(page.locator(".tab[aria-current]")).to_have_text(re.compile(rf"\s*{begins}\s*"))
    shows(screen, *(["A1", "A2"] if role == Role.PLANNER else ["A1", "A2", "A3", "B1"]))

    page.get_by_role("link", name="At risk 1").click()
    shows(screen, "A3")
    page.get_by_role("link", name="All 4").click()
    shows(screen, "A1", "A2", "A3", "B1")

    number = page.get_by_label("Filter PO number", exact=True)
    number.press_sequentially("a", delay=50)
    shows(screen, "A1", "A2", "A3")
    has_focus(number)

    page.get_by_label("Filter Status", exact=True).click()
    page.get_by_label("Planned").check()
    shows(screen, "A1", "A3")
    expect(page.get_by_label("Filter Status", exact=True)).to_have_text("Planned")
    page.keyboard.press("Escape")

    page.get_by_label("Filter Expected", exact=True).click()
    page.locator("[name=expected_date_from]").fill(business_today().isoformat())
    shows(screen, "A3")
    page.get_by_label("Clear: Filter Expected").click()
    shows(screen, "A1", "A3")

    page.get_by_role("columnheader", name="PO number").get_by_role("link").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("PO number")
    page.get_by_role("columnheader", name="PO number").get_by_role("link").click()
    shows(screen, "A3", "A1")
    expect(page.locator("th[aria-sort=descending]")).to_have_text("PO number")

    for _step in ("to ascending", "to the usual order"):
        page.go_back()
    shows(screen, "A1", "A3")
    expect(page.get_by_label("Filter PO number", exact=True)).to_have_value("a")
    page.get_by_label("Filter Status", exact=True).click()
    expect(page.get_by_label("Planned")).to_be_checked()
    page.keyboard.press("Escape")
    expect(page.locator("th[aria-sort]")).to_have_text("Expected")

    page.get_by_role("link", name="Clear filters").click()
    shows(screen, "A1", "A2", "A3", "B1")
    expect(page.get_by_label("Filter PO number", exact=True)).to_have_value("")
    expect(page.locator(".filter.is-active")).to_have_count(0)
    assert "po_number=" not in screen.path()


def test_whoever_types_on_while_answers_come_loses_no_letter(
    screen: Screen, acme: Supplier
) -> None:
    enter(screen, make_user(suppliers=[acme]))
    page = screen.page
    # Answers come late, so that the next letters are typed before them.

    def late(route: Route) -> None:
        page.wait_for_timeout(150)
        route.continue_()

    page.route("**/po/?**", late)
    number = page.get_by_label("Filter PO number", exact=True)
    number.click()
    for letter in "a  3xx":
        page.keyboard.type(letter)
        page.wait_for_timeout(120)
    page.keyboard.press("Backspace")
    page.keyboard.press("Backspace")
    page.wait_for_timeout(400)
    expect(number).to_have_value("a  3")
    has_focus(number)
    number.fill("a3")
    shows(screen, "A3")
    expect(number).to_have_value("a3")


def test_an_expeditor_chooses_suppliers_in_the_toolbar(screen: Screen, acme: Supplier) -> None:
    other = SupplierFactory.create(code="OTHER", name="Other Ltd")
    POLineFactory.create(po_number="C1", supplier=other, promised_date=date(2099, 1, 1))
    enter(screen, make_user(Role.EXPEDITOR, suppliers=[acme, other]))
    page = screen.page
    shows(screen, "A1", "A2", "A3", "B1", "C1")
    page.get_by_label("Filter Supplier", exact=True).click()
    page.get_by_label("OTHER Other Ltd").check()
    shows(screen, "C1")
    expect(page.get_by_label("Filter Supplier", exact=True)).to_have_text("OTHER Other Ltd")
    page.get_by_label("ACME Acme Ltd").check()
    shows(screen, "A1", "A2", "A3", "B1", "C1")
    page.keyboard.press("Escape")
    page.get_by_label("Clear: Filter Supplier").click()
    expect(page.get_by_label("Filter Supplier", exact=True)).to_have_text("Supplier")


def test_a_session_that_ends_in_the_middle_leads_to_sign_in_and_back_to_the_same_list(
    screen: Screen, acme: Supplier
) -> None:
    user = make_user()
    enter(screen, user, "preset=all&po_number=a&sort=-po_number&columns=po_number")
    shows(screen, "A3", "A2", "A1")
    screen.page.context.clear_cookies(name=IdleSession.COOKIE)
    screen.page.get_by_role("button", name="Refresh").click()
    screen.page.wait_for_url("**/sign-in/?next=**")
    screen.sign_in(user)
    screen.page.wait_for_url("**/po/**")
    shows(screen, "A3", "A2", "A1")
    expect(screen.page.get_by_label("Filter PO number", exact=True)).to_have_value("a")


def test_a_refresh_shows_what_is_new_and_keeps_the_rest(screen: Screen, acme: Supplier) -> None:
    enter(screen, make_user(), "preset=all&po_number=a&columns=po_number")
    shows(screen, "A1", "A2", "A3")
    POLineFactory.create(po_number="A0", supplier=acme, promised_date=date(2020, 1, 1))
    steps = screen.page.evaluate("history.length")
    screen.page.get_by_role("button", name="Refresh").click()
    shows(screen, "A0", "A1", "A2", "A3")
    screen.page.get_by_role("button", name="Refresh").click()
    expect(screen.page.get_by_label("Filter PO number", exact=True)).to_have_value("a")
    assert screen.page.evaluate("history.length") == steps


# --- columns and views ----------------------------------------------------------------------------


def heads(screen: Screen) -> Locator:
    return screen.page.locator("#heads th")


def test_columns_are_chosen_by_keyboard_and_by_drag_and_are_there_the_next_time(
    screen: Screen, acme: Supplier
) -> None:
    user = make_user()
    enter(screen, user, "preset=all&columns=po_number,supplier,status")
    page = screen.page
    page.get_by_role("link", name="Columns").press("Enter")
    dialog = page.get_by_role("dialog")
    right = dialog.get_by_role("button", name="PO number further to the right")
    right.press("Enter")
    has_focus(right)
    right.press("Enter")
    dialog.get_by_label("SKU", exact=True).press("Space")
    dialog.get_by_role("button", name="Save").press("Enter")
    expect(heads(screen)).to_have_text(["Supplier", "Status", "PO number", "SKU"])

    page.get_by_role("link", name="Columns").click()
    entries = dialog.locator("li")
    entries.nth(3).locator(".grip").drag_to(entries.nth(0), target_position={"x": 5, "y": 2})
    dialog.get_by_role("button", name="Save").click()
    expect(heads(screen)).to_have_text(["SKU", "Supplier", "Status", "PO number"])

    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in/**")
    enter(screen, user, "preset=all")
    expect(heads(screen)).to_have_text(["SKU", "Supplier", "Status", "PO number"])

    page.get_by_role("link", name="Columns").click()
    dialog.get_by_role("button", name="As usual for my role").click()
    expect(heads(screen).nth(0)).to_have_text("Exception")


def test_a_choice_without_columns_is_refused_and_can_be_mended(
    screen: Screen, acme: Supplier
) -> None:
    enter(screen, make_user(), "preset=all&columns=po_number,status")
    screen.page.get_by_role("link", name="Columns").click()
    dialog = screen.page.get_by_role("dialog")
    for name in ("PO number", "Status"):
        dialog.get_by_label(name, exact=True).uncheck()
    screen.expected = {422}
    dialog.get_by_role("button", name="Save").click()
    expect(screen.page.get_by_text("Choose at least one column.")).to_be_visible()
    dialog.get_by_label("SKU", exact=True).check()
    dialog.get_by_role("button", name="Save").click()
    expect(heads(screen)).to_have_text(["SKU"])


def test_a_view_is_saved_opened_shared_and_deleted(screen: Screen, acme: Supplier) -> None:
    user = make_user()
    enter(screen, user, "preset=all&po_number=a&columns=po_number")
    page = screen.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    dialog = page.get_by_role("dialog")
    page.get_by_role("link", name="Save view").click()
    dialog.get_by_label("Name").fill("Only A")
    dialog.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="My views").wait_for()  # the page came anew, with the view

    page.get_by_label("Filter PO number", exact=True).fill("b")
    shows(screen, "B1")
    page.get_by_role("link", name="Save view").click()
    dialog.get_by_label("Name").fill("Only A")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_text("Save again to replace it")).to_be_visible()
    dialog.get_by_label("Name").fill("Only B")
    dialog.get_by_role("button", name="Save").click()
    page.wait_for_url("**/po/?preset=all&po_number=b**")

    page.get_by_role("button", name="My views").click()
    page.get_by_role("link", name="Only A").click()
    shows(screen, "A1", "A2", "A3")

    page.get_by_role("button", name="My views").click()
    page.get_by_role("button", name="Copy the link of Only B").click()
    expect(page.get_by_text("Link copied.")).to_be_visible()
    page.goto(page.evaluate("navigator.clipboard.readText()"))
    shows(screen, "B1")

    page.on("dialog", lambda question: question.accept())
    page.get_by_role("button", name="My views").click()
    with page.expect_navigation():  # the page comes anew, without the view
        page.get_by_role("button", name="Delete Only A").click()
    shows(screen, "B1")
    assert [view.name for view in SavedView.objects.all()] == ["Only B"]


# --- values in cells ------------------------------------------------------------------------------


def test_a_value_is_changed_by_click_and_the_line_is_not_opened(
    screen: Screen, acme: Supplier
) -> None:
    enter(screen, make_user(username="katrin"))
    remark = cell(screen, "A1")
    remark.click()
    field = remark.get_by_label("Remark")
    has_focus(field)
    field.fill("call <them>")
    remark.get_by_role("button", name="Save").click()
    expect(remark).to_have_text("call <them>")
    expect(screen.page.locator("#panel")).to_be_hidden()
    remark.click()
    remark.get_by_label("Remark").fill("never mind")
    remark.get_by_role("button", name="Cancel").click()
    expect(remark).to_have_text("call <them>")
    (event,) = AuditEvent.objects.filter(event_type="custom_column_updated")
    assert (event.actor_name, event.data["new"]) == ("katrin", "call <them>")


def test_a_value_is_changed_by_keyboard_alone(screen: Screen, acme: Supplier) -> None:
    POLine.objects.update(custom_sources={"custom_text_2": "user"})
    enter(screen, make_user(Role.EXPEDITOR, suppliers=[acme]))
    keyboard = screen.page.keyboard
    row(screen, "A1").focus()
    keyboard.press("ArrowDown")
    has_focus(row(screen, "A2"))
    keyboard.press("ArrowRight")
    has_focus(cell(screen, "A2"))
    keyboard.press("F2")
    has_focus(cell(screen, "A2").get_by_label("Remark"))
    keyboard.type("by keyboard")
    keyboard.press("Enter")
    expect(cell(screen, "A2")).to_have_text("by keyboard")
    has_focus(cell(screen, "A2"))

    keyboard.press("ArrowRight")
    has_focus(cell(screen, "A2", "custom_text_2"))
    keyboard.press("Enter")
    has_focus(cell(screen, "A2", "custom_text_2").get_by_label("Packing"))
    keyboard.type("not this")
    keyboard.press("Escape")
    expect(cell(screen, "A2", "custom_text_2")).to_have_text(re.compile("^—"))
    has_focus(cell(screen, "A2", "custom_text_2"))
    for _step in range(2):
        keyboard.press("ArrowLeft")
    has_focus(row(screen, "A2"))
    assert POLine.objects.get(po_number="A2").custom_text_1 == "by keyboard"


def test_what_somebody_else_changed_meanwhile_is_shown_before_it_is_replaced(
    screen: Screen, acme: Supplier
) -> None:
    enter(screen, make_user())
    remark = cell(screen, "A1")
    remark.click()
    remark.get_by_label("Remark").fill("mine")
    POLine.objects.filter(po_number="A1").update(custom_text_1="theirs")
    screen.page.keyboard.press("Enter")
    expect(remark.get_by_text("“theirs” now")).to_be_visible()
    assert screen.barriers() == []
    field = remark.get_by_label("Remark")
    expect(field).to_have_value("mine")
    has_focus(field)
    screen.page.keyboard.press("Enter")
    expect(remark).to_have_text("mine")


def test_a_value_in_a_column_of_the_erp_is_given_back(screen: Screen, acme: Supplier) -> None:
    POLine.objects.update(
        custom_text_2="mine",
        custom_sources={"custom_text_2": "user"},
        custom_erp_values={"custom_text_2": "fragile"},
    )
    enter(screen, make_user())
    packing = cell(screen, "A1", "custom_text_2")
    packing.click()
    packing.get_by_role("button", name="Give back to the ERP").click()
    expect(packing).to_have_text("fragile")
    expect(screen.page.locator("#panel")).to_be_hidden()
    assert POLine.objects.get(po_number="A1").custom_sources == {"custom_text_2": "erp"}


# --- keys -----------------------------------------------------------------------------------------


def test_the_list_is_used_by_keys_alone(screen: Screen, acme: Supplier) -> None:
    enter(screen, make_user())
    page = screen.page
    page.keyboard.press("?")
    keys = page.get_by_role("dialog")
    expect(keys.get_by_role("heading", name="Keys")).to_be_visible()
    assert screen.barriers() == []
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()

    page.keyboard.press("/")
    expect(page.locator(".filters :focus")).to_have_count(1)
    page.get_by_label("Filter PO number", exact=True).focus()
    page.keyboard.type("/?")  # letters like any other
    expect(page.get_by_label("Filter PO number", exact=True)).to_have_value("/?")
    page.get_by_label("Filter PO number", exact=True).fill("")
    shows(screen, "A1", "A2", "A3", "B1")

    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowDown")
    has_focus(row(screen, "A1"))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    has_focus(row(screen, "A2"))
    page.keyboard.press("End")
    has_focus(row(screen, "B1"))
    page.keyboard.press("Home")
    has_focus(row(screen, "A1"))
    page.keyboard.press("Enter")
    panel = page.locator("#panel")
    expect(panel.get_by_role("heading", name="A1")).to_be_visible()
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    has_focus(row(screen, "A1"))


def test_tab_reaches_one_row_only_and_comes_out_behind_it(screen: Screen, acme: Supplier) -> None:
    enter(screen, make_user())
    expect(screen.page.locator("#rows [tabindex='0']")).to_have_count(1)
    row(screen, "A1").focus()
    screen.page.keyboard.press("ArrowDown")
    screen.page.keyboard.press("Tab")
    has_focus(screen.page.get_by_label("Lines per page"))
    screen.page.keyboard.press("Shift+Tab")
    has_focus(row(screen, "A2"))


# --- the file -------------------------------------------------------------------------------------


def test_what_is_on_the_screen_comes_as_an_excel_file(
    screen: Screen, acme: Supplier, tmp_path: Path
) -> None:
    enter(screen, make_user(), "preset=all&columns=po_number,expected_date")
    screen.page.get_by_label("Filter PO number", exact=True).fill("a")
    shows(screen, "A1", "A2", "A3")
    screen.page.get_by_role("columnheader", name="PO number").get_by_role("link").click()
    expect(screen.page.locator("th[aria-sort]")).to_have_text("PO number")
    with screen.page.expect_download() as download:
        screen.page.get_by_role("link", name="Excel").click()
    assert download.value.suggested_filename.endswith(".xlsx")
    download.value.save_as(tmp_path / "list.xlsx")
    sheet = load_workbook(tmp_path / "list.xlsx").worksheets[0]
    head, *lines = sheet.iter_rows(values_only=True)
    assert head == ("PO number", "Expected")
    assert [number for number, _day in lines] == ["A1", "A2", "A3"]


def test_a_file_that_takes_its_time_is_told_until_it_is_there(
    screen: Screen, acme: Supplier, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def slow(lines: LineList) -> IO[bytes]:
        asked.append(lines)
        time.sleep(1.5)
        return list_workbook.write_list(lines)

    monkeypatch.setattr(exports, "write_list", slow)
    enter(screen, make_user())
    link = screen.page.locator("[data-prepares]")
    with screen.page.expect_download():
        link.press("Enter")
        expect(link).to_have_text("Preparing the file: 1 s")
        link.press("Enter")  # impatient
    expect(link).to_have_text("Excel")
    assert len(asked) == 1


# --- for everybody --------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [768, 1280, 1920])
def test_the_list_keeps_nobody_from_using_it_nor_is_wider_than_the_window(
    screen: Screen, acme: Supplier, width: int
) -> None:
    page = screen.page
    page.set_viewport_size({"width": width, "height": 800})
    POLine.objects.update(unmapped=True, custom_sources={"custom_text_2": "user"})
    POLineFactory.create_batch(60, supplier=acme, final_customer="A customer of many words " * 5)
    enter(screen, make_user(), f"preset=all&sku=&columns={','.join(all_keys())}&page=2")

    def fits() -> bool:
        fits_: bool = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        return fits_

    assert fits()
    assert page.evaluate(
        "(box => box.scrollWidth > box.clientWidth)(document.querySelector('.grid-scroll'))"
    )
    assert screen.barriers() == []
    page.get_by_label("Filter Status", exact=True).click()
    expect(page.get_by_label("Planned")).to_be_visible()
    assert screen.barriers() == []
    assert fits()
    page.keyboard.press("Escape")
    for name in ("Columns", "Save view"):
        page.get_by_role("link", name=name).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert screen.barriers() == [], name
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_label("Filter PO number", exact=True).fill("nowhere")
    expect(page.get_by_text("No line passes these filters.")).to_be_visible()
    assert screen.barriers() == []
    assert fits()


def all_keys() -> list[str]:
    from apps.po.columns import all_columns

    return [*all_columns()]


def test_a_filter_at_the_right_edge_opens_inside_the_window(screen: Screen, acme: Supplier) -> None:
    columns = "po_number,supplier,sku,item,final_customer,updated,promised_date,status"
    enter(screen, make_user(), f"preset=all&columns={columns}")
    screen.page.get_by_label("Filter Status", exact=True).click()
    choice = screen.page.get_by_label("Planned")
    expect(choice).to_be_in_viewport()
    choice.check()
    shows(screen, "A1", "A3")


# --- what went wrong once -------------------------------------------------------------------------


def test_after_going_back_a_line_still_opens_beside_the_list(
    screen: Screen, acme: Supplier
) -> None:
    enter(screen, make_user())
    page = screen.page
    page.get_by_label("Filter PO number", exact=True).fill("a")
    shows(screen, "A1", "A2", "A3")
    cell(screen, "A1").click()
    cell(screen, "A1").get_by_label("Remark").fill("kept")
    page.keyboard.press("Enter")
    expect(cell(screen, "A1")).to_have_text("kept")
    row(screen, "A2").focus()
    page.keyboard.press("Enter")
    panel = page.locator("#panel")
    expect(panel.get_by_role("heading", name="A2")).to_be_visible()

    page.go_back()
    shows(screen, "A1", "A2", "A3", "B1")
    expect(cell(screen, "A1")).to_have_text("kept")
    row(screen, "B1").focus()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("heading", name="B1")).to_be_visible()
    page.keyboard.press("Escape")
    has_focus(row(screen, "B1"))


def test_what_to_do_in_an_empty_list_is_in_sight_however_wide_the_table_is(
    screen: Screen, acme: Supplier
) -> None:
    enter(screen, make_user(), f"preset=all&po_number=nowhere&columns={','.join(all_keys())}")
    words = screen.page.get_by_text("No line passes these filters.")
    expect(words).to_be_in_viewport(ratio=1)
    screen.page.locator(".grid-scroll").evaluate("box => { box.scrollLeft = 700; }")
    expect(words).to_be_in_viewport(ratio=1)


def test_a_file_asked_for_after_the_session_ended_leads_to_sign_in_and_back_to_the_list(
    screen: Screen, acme: Supplier
) -> None:
    user = make_user()
    enter(screen, user, "preset=all&po_number=a&columns=po_number")
    screen.page.context.clear_cookies(name=IdleSession.COOKIE)
    screen.page.get_by_role("link", name="Excel").click()
    screen.page.wait_for_url("**/sign-in/**")
    screen.sign_in(user)
    screen.page.wait_for_url("**/po/?**po_number=a**")
    shows(screen, "A1", "A2", "A3")


def test_a_list_too_long_for_a_file_is_told_on_a_page(
    screen: Screen, acme: Supplier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_workbook, "MOST_LINES", 2)
    enter(screen, make_user())
    screen.expected = {413}
    screen.page.get_by_role("link", name="Excel").click()
    expect(screen.page.get_by_text("too many lines for one file")).to_be_visible()


def test_whoever_loses_what_they_pressed_goes_on_at_the_lines(
    screen: Screen, acme: Supplier
) -> None:
    POLineFactory.create_batch(60, supplier=acme, promised_date=business_today())
    enter(screen, make_user(), "preset=all&po_number=a&columns=po_number")
    page = screen.page
    page.get_by_role("link", name="Clear filters").press("Enter")
    expect(page.locator("#rows tr")).to_have_count(50)
    has_focus(page.locator("#rows tr").first)
    page.get_by_role("link", name="Next").press("Enter")
    expect(page.get_by_text("Page 2 of 2")).to_be_visible()
    has_focus(page.locator("#rows tr").first)


def test_another_page_begins_at_its_top_and_a_refresh_stays_where_one_is(
    screen: Screen, acme: Supplier
) -> None:
    POLineFactory.create_batch(120, supplier=acme, promised_date=business_today())
    enter(screen, make_user(), "preset=all&columns=po_number,supplier")
    page, box = screen.page, screen.page.locator(".grid-scroll")
    box.evaluate("box => { box.scrollTop = 300; }")
    with page.expect_response("**/po/?**"):
        page.get_by_role("button", name="Refresh").click()
    expect(page.locator(".list.htmx-request")).to_have_count(0)
    assert box.evaluate("box => box.scrollTop") == 300
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("Page 2 of 3")).to_be_visible()
    assert box.evaluate("box => box.scrollTop") == 0


def test_a_date_that_is_typed_is_asked_for_once_it_is_whole(screen: Screen, acme: Supplier) -> None:
    enter(screen, make_user(), "preset=all&columns=po_number,expected_date")
    page = screen.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_label("Filter Expected", exact=True).click()
    page.locator("[name=expected_date_from]").focus()
    day = business_today()
    page.keyboard.type(f"{day:%m%d%Y}", delay=60)
    shows(screen, "A3", "B1")
    assert [f"expected_date_from={day}" in url for url in asked if "/po/?" in url] == [True]


def test_what_names_a_line_stays_in_sight_when_the_table_is_moved_sideways(
    screen: Screen, acme: Supplier
) -> None:
    order = ["exception", "po_number", "line_number", *all_keys()]
    enter(screen, make_user(), f"preset=all&columns={','.join(order)}")
    page = screen.page
    page.locator(".grid-scroll").evaluate("box => { box.scrollLeft = 900; }")
    number = row(screen, "A1").get_by_role("link").bounding_box()
    line = row(screen, "A1").locator("td").nth(2).bounding_box()
    head = page.get_by_role("columnheader", name="Line", exact=True).bounding_box()
    assert number is not None
    assert line is not None
    assert head is not None
    assert 0 <= number["x"] < 20
    assert number["x"] + number["width"] <= line["x"] < 200
    assert abs(head["x"] - line["x"]) < 1
    # Both can still be clicked: nothing that moves lies above them, nor they above a filter's menu.
    row(screen, "A1").locator("td").nth(2).click()
    expect(page.locator("#panel").get_by_role("heading", name="A1")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator(".grid-scroll").evaluate("box => { box.scrollLeft = 0; }")
    page.get_by_label("Filter Exception", exact=True).click()
    page.get_by_label("At risk", exact=True).check()
    shows(screen, "A3")


def test_the_table_is_moved_sideways_by_arrows_where_no_value_is_to_be_changed(
    screen: Screen, acme: Supplier
) -> None:
    keys = [key for key in all_keys() if not key.startswith("custom_")]
    enter(screen, make_user(), f"preset=all&columns={','.join(keys)}")
    last = screen.page.get_by_role("columnheader", name="First seen")
    row(screen, "A1").focus()
    expect(last).not_to_be_in_viewport()
    for _step in range(60):
        screen.page.keyboard.press("ArrowRight")
    expect(last).to_be_in_viewport()
    has_focus(row(screen, "A1"))


def test_a_refresh_brings_the_age_of_the_data_and_what_is_wrong_with_it(
    screen: Screen, acme: Supplier
) -> None:
    enter(screen, make_user())
    page = screen.page
    IngestionRunFactory.create(
        status="failed", finished_at=timezone.now(), effective_at=timezone.now()
    )
    page.get_by_label("Filter PO number", exact=True).fill("a")
    shows(screen, "A1", "A2", "A3")
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_text("The last ingestion failed.")).to_be_visible()
    expect(page.locator(".chrome-age.is-old")).to_be_visible()
    expect(page.get_by_label("Filter PO number", exact=True)).to_have_value("a")


def test_escape_that_ends_the_suggestions_of_an_input_method_leaves_the_value_as_typed(
    screen: Screen, acme: Supplier
) -> None:
    enter(screen, make_user())
    remark = cell(screen, "A1")
    remark.click()
    field = remark.get_by_label("Remark")
    field.fill("交货")
    field.evaluate(
        "field => field.dispatchEvent(new KeyboardEvent('keydown',"
        " {key: 'Escape', isComposing: true, bubbles: true, cancelable: true}))"
    )
    expect(field).to_have_value("交货")


def test_a_link_that_cannot_be_copied_is_shown_with_what_to_do(
    screen: Screen, acme: Supplier
) -> None:
    enter(screen, make_user(), "preset=all&columns=po_number")
    # As in a browser that reaches the server without https.
    screen.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    screen.page.get_by_role("button", name="Copy link").click()
    told = screen.page.get_by_role("alert")
    expect(told).to_contain_text("Copy it from here")
    expect(told).to_contain_text("/po/?preset=all&columns=po_number")


@pytest.mark.parametrize("width", [768, 1280])
def test_no_number_is_cut_and_no_preset_takes_two_lines(
    screen: Screen, acme: Supplier, width: int
) -> None:
    POLine.objects.update(
        unmapped=True,
        ordered_quantity="12345678.125",
        ready_quantity="1234567.875",
        delivered_quantity="-2.5",
    )
    screen.page.set_viewport_size({"width": width, "height": 800})
    enter(screen, make_user(), "preset=all&columns=po_number,progress,outstanding,sku,status")
    cut = screen.page.locator("#rows td.num").evaluate_all(
        "cells => cells.filter((each) => each.scrollWidth > each.clientWidth).length"
    )
    assert cut == 0
    heights = screen.page.locator(".tab").evaluate_all("tabs => tabs.map((t) => t.offsetHeight)")
    assert max(heights) < 40
    expect(screen.page.get_by_role("link", name="All 4")).to_be_in_viewport(ratio=1)
    rows = screen.page.locator("#rows tr").evaluate_all("rows => rows.map((r) => r.offsetHeight)")
    assert max(rows) <= 22  # ui.md: about 50 on a screen of 1,080 pixels
