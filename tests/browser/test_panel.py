"""A line beside a list and on its own page, in a browser: by mouse, by keyboard, and when it fails.

The list is one of the tests' own: any element that names a line's address opens its panel.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.test import override_settings
from django.urls import path
from django.utils import timezone
from playwright.sync_api import Locator, Route, expect

from apps.audit.models import EventType
from apps.po.lifecycle import SourceQuality, Status
from apps.po.models import POLine
from po_tracking import urls
from tests.browser.conftest import Screen, make_user
from tests.factories import (
    AuditEventFactory,
    BatchFactory,
    CustomColumnFactory,
    ERPChangeEventFactory,
    IngestionRunFactory,
    POLineFactory,
    StatusChangeFactory,
    SupplierFactory,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]

SECTIONS = 4

_LIST = """{% extends "base.html" %}{% load static %}
{% block title %}A list{% endblock %}
{% block head %}
<link rel="stylesheet" href="{% static 'css/table.css' %}">
<link rel="stylesheet" href="{% static 'css/lines.css' %}">
<link rel="stylesheet" href="{% static 'css/panel.css' %}">
<script src="{% static 'js/panel.js' %}" defer></script>
{% endblock %}
{% block content %}
<h1>A list</h1>
<button type="button" hx-get="/a-list/" hx-target="#rows" hx-select="#rows" hx-swap="outerHTML">
Refresh</button>
<table class="grid"><tbody id="rows">
{% for line in lines %}
<tr data-opens-panel="/po/{{ line.pk }}/" tabindex="0">
<td><a href="/po/{{ line.pk }}/">{{ line.po_number }}</a></td><td>a text of some length</td>
<td><input type="checkbox" aria-label="Choose {{ line.po_number }}"></td></tr>
{% endfor %}
</tbody></table>
<button type="button" data-opens-panel="/po/999999/">Not there</button>
<aside id="panel" class="panel" hidden aria-label="The line"></aside>
{% endblock %}"""


def a_list(request: HttpRequest) -> HttpResponse:
    lines = POLine.objects.order_by("pk")
    return HttpResponse(engines["django"].from_string(_LIST).render({"lines": lines}, request))


urlpatterns = [*urls.urlpatterns, path("a-list/", a_list)]
handler404 = urls.handler404


@pytest.fixture
def lines() -> Iterator[list[POLine]]:
    """Two lines; to the first a lot has happened."""
    now = timezone.now()
    run = IngestionRunFactory.create(finished_at=now, effective_at=now)
    supplier = SupplierFactory.create()
    CustomColumnFactory.create(slot="custom_text_1", label="Container")
    busy = POLineFactory.create(
        supplier=supplier,
        unmapped=True,
        delivered_quantity=Decimal(130),
        batched_quantity=Decimal(130),
        ready_to_dispatch_date=now.date() + timedelta(days=90),
        promised_date=now.date() + timedelta(days=60),
        source_quality=SourceQuality.EXPEDITOR_ESTIMATE,
        last_expeditor_update=now,
        first_seen_at=now - timedelta(days=120),
        custom_text_1="MSKU 1",
        custom_sources={"custom_text_1": "user"},
    )
    for each in range(70):
        AuditEventFactory.create(
            po_line=busy,
            source="ingestion",
            effective_at=now - timedelta(days=each),
            data={"changes": [{"field": "promised_date", "previous": None, "new": "2026-03-01"}]},
        )
    AuditEventFactory.create(
        po_line=busy,
        event_type=EventType.CUSTOM_COLUMN_UPDATED,
        actor=make_user(username="wei"),
        actor_name="wei",
        source="inline",
        reason="Told by phone",
        effective_at=now,
        data={"slot": "custom_text_1", "previous": "", "new": "MSKU 1"},
    )
    for each in range(3):
        at = now - timedelta(days=30 * each)
        ERPChangeEventFactory.create(po_line=busy, run=run, effective_at=at)
        BatchFactory.create(po_line=busy, run=run, delivered_on=at.date(), over_delivery=True)
        StatusChangeFactory.create(
            po_line=busy,
            effective_at=at,
            previous_status=Status.FULLY_DELIVERED,
            new_status=Status.READY_TO_DISPATCH,
        )
    with override_settings(ROOT_URLCONF=__name__):
        yield [busy, POLineFactory.create(supplier=supplier)]


def enter(screen: Screen, path: str) -> None:
    screen.open(path)
    screen.sign_in(make_user())
    screen.page.wait_for_url(f"{screen.address}{path}")


def row(screen: Screen, line: POLine) -> Locator:
    return screen.page.locator(f"tr[data-opens-panel='/po/{line.pk}/']")


def panel(screen: Screen) -> Locator:
    return screen.page.get_by_role("complementary", name="The line")


def title(screen: Screen, line: POLine) -> Locator:
    return panel(screen).get_by_role("heading", level=2, name=line.po_number)


def loaded(screen: Screen) -> None:
    """All sections have come."""
    expect(screen.page.locator("[data-section]")).to_have_count(SECTIONS)
    expect(screen.page.locator("[data-section] .skeleton")).to_have_count(0)


def test_a_click_on_a_row_opens_its_line_and_escape_leads_back_to_it(
    screen: Screen, lines: list[POLine]
) -> None:
    first, second = lines
    enter(screen, "/a-list/")
    row(screen, first).get_by_text("a text").click()
    expect(title(screen, first)).to_be_focused()
    loaded(screen)
    expect(row(screen, first)).to_have_attribute("aria-current", "true")
    assert screen.path() == "/a-list/"
    assert screen.barriers() == []

    # It stays open while another row is opened.
    row(screen, second).get_by_text("a text").click()
    expect(title(screen, second)).to_be_focused()
    loaded(screen)
    expect(row(screen, second)).to_have_attribute("aria-current", "true")
    expect(row(screen, first)).not_to_have_attribute("aria-current", "true")

    screen.page.keyboard.press("Escape")
    expect(panel(screen)).to_be_hidden()
    expect(row(screen, second)).to_be_focused()
    expect(screen.page.locator(".is-open")).to_have_count(0)


def test_rows_that_were_replaced_keep_their_mark_and_get_the_focus_back(
    screen: Screen, lines: list[POLine]
) -> None:
    first, _second = lines
    enter(screen, "/a-list/")
    row(screen, first).focus()
    screen.page.keyboard.press("Enter")
    expect(title(screen, first)).to_be_focused()
    row(screen, first).evaluate("element => { element.old = true; }")
    screen.page.get_by_role("button", name="Refresh").click()
    screen.page.wait_for_function("() => !document.querySelector('#rows tr').old")
    expect(row(screen, first)).to_have_attribute("aria-current", "true")
    expect(title(screen, first)).to_be_visible()
    panel(screen).get_by_role("button", name="Close").click()
    expect(panel(screen)).to_be_hidden()
    expect(row(screen, first)).to_be_focused()


def test_the_way_back_in_the_list_leaves_the_open_line_alone_and_others_can_be_opened(
    screen: Screen, lines: list[POLine]
) -> None:
    first, second = lines
    enter(screen, "/po/?preset=all")
    row(screen, first).press("Enter")
    loaded(screen)
    by_number = screen.page.get_by_role("columnheader").get_by_role("link", name="PO number")
    by_number.press("Enter")
    screen.page.wait_for_url("**sort=po_number**")
    row(screen, first).evaluate("element => { element.old = true; }")
    screen.page.go_back()
    screen.page.wait_for_function("() => !document.querySelector('#rows tr').old")
    expect(screen.page.locator("#panel")).to_have_count(1)
    expect(row(screen, first)).to_have_attribute("aria-current", "true")
    # What is in it still does what it did.
    screen.page.get_by_role("checkbox", name="Entered by people").press("Space")
    expect(screen.page.locator(".act")).to_have_count(1)
    screen.page.keyboard.press("Escape")
    expect(screen.page.locator("#panel")).to_be_hidden()
    expect(row(screen, first)).to_be_focused()
    row(screen, second).press("Enter")
    expect(screen.page.locator("#panel-title")).to_contain_text(second.po_number)
    loaded(screen)


def test_what_is_in_a_row_keeps_its_own_meaning(screen: Screen, lines: list[POLine]) -> None:
    first, second = lines
    enter(screen, "/a-list/")
    box = row(screen, first).get_by_role("checkbox")
    box.click()
    expect(box).to_be_checked()
    row(screen, first).get_by_text("a text").click(modifiers=["Shift"])
    link = row(screen, second).get_by_role("link")
    with screen.page.context.expect_page() as opened:
        link.click(modifiers=["ControlOrMeta"])
    opened.value.wait_for_url(f"**/po/{second.pk}/")
    opened.value.close()
    expect(panel(screen)).to_be_hidden()
    link.click()
    expect(title(screen, second)).to_be_focused()
    assert screen.path() == "/a-list/"


def test_text_that_is_selected_in_a_row_opens_nothing(screen: Screen, lines: list[POLine]) -> None:
    enter(screen, "/a-list/")
    box = row(screen, lines[0]).get_by_text("a text").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    screen.page.mouse.move(box["x"] + 10, middle)
    screen.page.mouse.down()
    screen.page.mouse.move(box["x"] + 90, middle, steps=4)
    screen.page.mouse.up()
    assert screen.page.evaluate("getSelection().toString()")
    screen.page.wait_for_timeout(300)
    expect(panel(screen)).to_be_hidden()


def test_a_line_that_cannot_be_loaded_leaves_the_panel_as_it_was(
    screen: Screen, lines: list[POLine]
) -> None:
    first, _second = lines
    enter(screen, "/a-list/")
    screen.expected = {404}
    screen.page.get_by_role("button", name="Not there").click()
    screen.page.get_by_role("alert").wait_for()
    expect(panel(screen)).to_be_hidden()
    row(screen, first).get_by_role("link").click()
    loaded(screen)
    # By keyboard, because the button may lie behind the panel.
    screen.page.get_by_role("button", name="Not there").press("Enter")
    expect(screen.page.locator("#toasts").get_by_role("alert")).to_have_count(1)
    expect(title(screen, first)).to_be_visible()
    expect(row(screen, first)).to_have_attribute("aria-current", "true")


def test_of_two_lines_asked_for_in_a_row_the_later_is_shown(
    screen: Screen, lines: list[POLine]
) -> None:
    first, second = lines
    enter(screen, "/a-list/")
    screen.page.evaluate(
        "keys => keys.forEach(key => document.querySelector(`[data-opens-panel='/po/${key}/']`)"
        ".click())",
        [first.pk, second.pk],
    )
    expect(title(screen, second)).to_be_focused()
    loaded(screen)
    expect(title(screen, second)).to_be_visible()


def test_a_section_that_does_not_come_says_so_and_can_be_asked_for_again(
    screen: Screen, lines: list[POLine]
) -> None:
    first, _second = lines
    enter(screen, "/a-list/")
    failing = {"now": True}

    def answer(route: Route) -> None:
        if failing["now"]:
            route.fulfill(status=500, body="")
        else:
            route.continue_()

    screen.page.route("**/batches/", answer)
    screen.expected = {500}
    row(screen, first).get_by_role("link").click()
    batches = panel(screen).locator(".section-batches")
    expect(batches.get_by_text("This part could not be loaded.")).to_be_visible()
    expect(batches.locator(".skeleton")).to_be_hidden()
    expect(panel(screen).locator(".section-timeline .act").first).to_be_visible()
    assert screen.page.locator("#toasts").get_by_role("alert").count() == 0
    assert screen.barriers() == []
    failing["now"] = False
    batches.get_by_role("button", name="Try again").press("Enter")
    expect(batches.get_by_role("region", name="Batches")).to_be_visible()


def test_the_timeline_is_narrowed_and_goes_back_in_time_by_keyboard(
    screen: Screen, lines: list[POLine]
) -> None:
    first, _second = lines
    enter(screen, f"/po/{first.pk}/")
    loaded(screen)
    acts = screen.page.locator(".act")
    expect(acts).to_have_count(50)
    dates = screen.page.get_by_role("checkbox", name="Dates")
    dates.press("Space")
    expect(acts.locator(".bi-pencil")).to_have_count(0)
    expect(dates).to_be_focused()
    expect(dates).to_be_checked()
    screen.page.get_by_role("link", name="Show older").press("Enter")
    expect(acts).to_have_count(70)
    expect(acts.nth(50)).to_be_focused()
    dates.press("Space")
    screen.page.get_by_role("checkbox", name="Entered by people").press("Space")
    expect(acts).to_have_count(1)
    assert "Told by phone" in acts.inner_text()
    assert screen.path() == f"/po/{first.pk}/"


@pytest.mark.parametrize("address", ["/po/{}/", "/po/?preset=all"])
def test_what_a_person_enters_is_in_the_timeline_at_once(
    screen: Screen, lines: list[POLine], address: str
) -> None:
    first, _second = lines
    enter(screen, address.format(first.pk))
    if "preset" in address:
        row(screen, first).press("Enter")
    loaded(screen)
    value = screen.page.locator(".facts-custom [data-edits]")
    value.press("Enter")
    field = screen.page.get_by_role("textbox", name="Container", exact=True)
    expect(field).to_be_focused()
    field.fill("MSKU 2")
    field.press("Enter")
    expect(screen.page.locator(".act").first).to_contain_text("MSKU 2")
    expect(value).to_be_focused()
    if "preset" in address:
        expect(row(screen, first)).to_contain_text("MSKU 2")


@pytest.mark.parametrize("width", [768, 1280, 1920])
def test_panel_and_page_keep_nobody_from_using_them(
    screen: Screen, lines: list[POLine], width: int
) -> None:
    page = screen.page
    page.set_viewport_size({"width": width, "height": 900})
    enter(screen, f"/po/{lines[0].pk}/")
    widths: dict[int, int] = {768: 768, 1280: 440, 1920: 520}
    for address in [f"/po/{line.pk}/" for line in lines]:
        screen.open(address)
        loaded(screen)
        assert screen.barriers() == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    screen.open("/a-list/")
    for line in lines:
        row(screen, line).press("Enter")
        loaded(screen)
        assert screen.barriers() == []
        box: Any = panel(screen).bounding_box()
        assert box["width"] == widths[width]
        inside = panel(screen).evaluate("element => element.scrollWidth <= element.clientWidth")
        assert inside, "the panel scrolls sideways"
        cut = "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth).length"
        assert panel(screen).locator(".grid-scroll").evaluate_all(cut) == 0, "a table is cut off"
    for part in ("timeline", "status", "batches", "movement"):
        screen.open(f"/po/{lines[0].pk}/{part}/")
        assert screen.barriers() == []


def test_tab_goes_through_the_panel_from_its_top(screen: Screen, lines: list[POLine]) -> None:
    enter(screen, "/a-list/")
    row(screen, lines[0]).press("Enter")
    loaded(screen)
    page, names = screen.page, []
    for _each in range(3):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate(
                "document.activeElement.getAttribute('aria-label')"
                " || document.activeElement.textContent.trim()"
            )
        )
    assert names[:2] == ["Open as page", "Close"]
    page.keyboard.press("Escape")
    expect(row(screen, lines[0])).to_be_focused()
