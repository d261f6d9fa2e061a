"""Signing in and out, and the frame around every page, in a browser."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone
from playwright.sync_api import Locator, Route

from apps.accounts.models import Role, User
from apps.core.middleware import IdleSession
from apps.po.models import SavedView
from tests.browser.conftest import LANDED, Screen, make_user
from tests.factories import IngestionRunFactory, POLineFactory, SupplierFactory
from tests.test_pages import EXPECTED, filled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]


@pytest.fixture
def lines() -> None:
    now = timezone.now()
    IngestionRunFactory.create(finished_at=now, effective_at=now)
    POLineFactory.create_batch(3, supplier=SupplierFactory.create())


@pytest.mark.usefixtures("lines")
@pytest.mark.parametrize("role", [*Role, ""])
def test_each_role_signs_in_and_out_by_keyboard(screen: Screen, role: Role | str) -> None:
    user = make_user(role)
    screen.open("/")
    assert screen.path().startswith("/sign-in/")
    screen.sign_in(user)
    screen.page.wait_for_url(LANDED)
    header = screen.page.get_by_role("banner")
    assert user.username in header.inner_text()
    assert user.get_role_display() in header.inner_text()
    screen.page.get_by_role("button", name="Sign out").press("Enter")
    screen.page.wait_for_url("**/sign-in/")
    screen.page.go_back()
    assert screen.path().startswith("/sign-in/")


def test_a_wrong_password_keeps_the_name_and_shows_what_to_do(screen: Screen) -> None:
    user = make_user()
    screen.open("/sign-in/")
    screen.sign_in(user, "wrong")
    screen.page.get_by_role("alert").wait_for()
    assert "Name or password is wrong" in screen.page.get_by_role("alert").inner_text()
    assert screen.page.get_by_label("User name").input_value() == user.username
    assert screen.barriers() == []


def test_a_session_that_ended_leads_back_to_the_same_page(screen: Screen) -> None:
    user = make_user()
    screen.open("/sign-in/")
    screen.sign_in(user)
    screen.page.wait_for_url(LANDED)
    screen.open("/password/")
    screen.page.context.clear_cookies(name=IdleSession.COOKIE)
    # A part of the page is asked for, as a table does when it is sorted.
    screen.page.evaluate("htmx.ajax('GET', '/', '#main')")
    screen.page.wait_for_url("**/sign-in/?next=%2Fpassword%2F")
    assert "You come back to where you were" in screen.page.inner_text("main")
    screen.sign_in(user)
    screen.page.wait_for_url(f"{screen.address}/password/")


@pytest.mark.usefixtures("lines")
def is_sorted(screen: Screen, column: str, direction: str) -> Locator:
    return screen.page.locator(f"th[aria-sort={direction}]", has_text=column)


def sort_twice(screen: Screen) -> tuple[str, str]:
    """Signs in and sorts the list, up and then down. Gives the addresses before and between."""
    screen.open("/sign-in/?next=/po/%3Fpreset%3Dall")
    screen.sign_in(make_user())
    by_number = screen.page.get_by_role("columnheader", name="PO number").get_by_role("link")
    is_sorted(screen, "Expected", "ascending").wait_for()
    before = screen.path()
    by_number.click()
    is_sorted(screen, "PO number", "ascending").wait_for()
    between = screen.path()
    by_number.click()
    is_sorted(screen, "PO number", "descending").wait_for()
    return before, between


@pytest.mark.usefixtures("lines")
def test_whoever_goes_back_twice_sees_the_page_of_the_address_whichever_answer_is_last(
    screen: Screen,
) -> None:
    before, between = sort_twice(screen)
    page = screen.page

    def late(route: Route) -> None:
        if route.request.url.endswith(between):
            page.wait_for_timeout(500)
        route.fallback()

    page.route("**/po/?**", late)
    page.evaluate("history.back()")
    page.evaluate("history.back()")
    is_sorted(screen, "Expected", "ascending").wait_for()
    page.wait_for_timeout(700)  # until the other answer would have come
    assert is_sorted(screen, "Expected", "ascending").is_visible()
    assert screen.path() == before


@pytest.mark.usefixtures("lines")
def test_whoever_goes_back_after_the_session_ended_signs_in_and_is_where_they_went(
    screen: Screen,
) -> None:
    _before, between = sort_twice(screen)
    screen.page.context.clear_cookies()
    screen.page.go_back()
    screen.page.wait_for_url("**/sign-in/**")
    screen.sign_in(User.objects.get())
    is_sorted(screen, "PO number", "ascending").wait_for()
    assert screen.path() == between


@pytest.mark.usefixtures("lines")
@pytest.mark.parametrize("trouble", ["an error", "no answer"])
def test_going_back_to_a_page_that_does_not_come_never_shows_another_under_its_address(
    screen: Screen, trouble: str
) -> None:
    _before, between = sort_twice(screen)

    def trip(route: Route) -> None:
        if trouble == "no answer":
            route.abort("connectionreset")
        else:
            route.fulfill(status=500, body="broken")

    screen.expected.add(500)
    screen.page.route("**/po/?**", trip, times=1)
    screen.page.evaluate("history.back()")
    is_sorted(screen, "PO number", "ascending").wait_for()
    assert screen.path() == between
    # What the browser and htmx say of it is expected.
    wanted = re.compile("ERR_CONNECTION_RESET|htmx:historyCacheMissLoadError")
    screen.complaints = [each for each in screen.complaints if not wanted.search(each)]


def test_a_part_that_is_refused_is_told_at_the_top_right_until_it_is_dismissed(
    screen: Screen,
) -> None:
    user = make_user()
    screen.open("/sign-in/")
    screen.sign_in(user)
    screen.page.wait_for_url(LANDED)
    screen.expected = {404}
    screen.page.evaluate("htmx.ajax('GET', '/nowhere/', '#main')")
    toast = screen.page.get_by_role("alert")
    toast.wait_for()
    assert "This is not there, or not for you" in toast.inner_text()
    assert screen.page.get_by_role("heading", name="Purchase-order lines").is_visible()
    assert screen.barriers() == []
    toast.get_by_role("button", name="Close").click()
    assert toast.count() == 0


def test_a_form_sent_by_htmx_carries_the_secret_that_django_wants(screen: Screen) -> None:
    screen.open("/sign-in/")
    screen.sign_in(make_user())
    screen.page.wait_for_url(LANDED)
    screen.page.evaluate("htmx.ajax('POST', '/password/', {target: '#main', select: 'main'})")
    screen.page.get_by_text("This field is required.").first.wait_for()


def test_a_form_that_stood_open_while_somebody_signed_in_in_another_window_is_still_sent(
    screen: Screen,
) -> None:
    user = make_user()
    screen.open("/po/views/")
    screen.sign_in(user)
    screen.page.get_by_label("Name").fill("Of this morning")
    other = Screen(screen.page.context.new_page(), screen.address)
    other.open("/po/")
    other.page.get_by_role("button", name="Sign out").click()
    other.page.wait_for_url("**/sign-in/")
    other.sign_in(user)
    other.page.wait_for_url(LANDED)
    screen.page.get_by_role("button", name="Save").click()
    screen.page.wait_for_url("**/po/?**")
    assert [view.name for view in SavedView.objects.all()] == ["Of this morning"]


def test_a_text_that_runs_to_the_left_leaves_what_stands_around_it_in_its_order(
    screen: Screen,
) -> None:
    screen.open("/sign-in/")
    for before, now in (("\u05d0\u05d1", "\u05d2\u05d3"), ("\u202eold", "new")):
        values = [before, now]
        screen.page.evaluate(
            """([before, now]) => {
              const line = document.createElement("p");
              const [was, is] = [document.createElement("del"), document.createElement("ins")];
              [was.textContent, is.textContent] = [before, now];
              line.append(was, " \u2192 ", is);
              document.getElementById("main").replaceChildren(line);
            }""",
            values,
        )
        was, now_box = (screen.page.locator(f"main {tag}").bounding_box() for tag in ("del", "ins"))
        assert was is not None
        assert now_box is not None
        assert was["x"] + was["width"] <= now_box["x"]


def test_the_first_key_leads_past_the_navbar(screen: Screen) -> None:
    screen.open("/sign-in/")
    screen.sign_in(make_user())
    screen.page.wait_for_url(LANDED)
    screen.page.keyboard.press("Tab")
    link = screen.page.get_by_role("link", name="Skip to the content")
    assert link.evaluate("element => element === document.activeElement")
    box = link.bounding_box()
    assert box is not None
    assert box["y"] >= 0  # it can be seen
    screen.page.keyboard.press("Enter")
    assert screen.page.evaluate("document.activeElement.id") == "main"


def test_a_new_password_is_told_and_the_message_goes_by_itself(screen: Screen) -> None:
    screen.open("/password/")
    screen.sign_in(make_user())
    page = screen.page
    page.wait_for_url(f"{screen.address}/password/")
    assert screen.barriers() == []
    page.get_by_label("Old password").fill("a long and unusual one")
    page.get_by_label("New password", exact=False).first.fill("an even longer and stranger one")
    page.get_by_label("New password confirmation").fill("something else")
    page.get_by_role("button", name="Change password").click()
    page.locator(".errorlist").wait_for()
    assert screen.barriers() == []
    focused = page.evaluate("document.activeElement.name")
    assert focused == "new_password2"  # a person goes on where it is wrong
    page.get_by_label("Old password").fill("a long and unusual one")
    page.get_by_label("New password", exact=False).first.fill("an even longer and stranger one")
    page.get_by_label("New password confirmation").fill("an even longer and stranger one")
    page.get_by_role("button", name="Change password").click()
    told = page.get_by_text("Your password is changed.")
    told.wait_for()
    assert screen.barriers() == []
    told.wait_for(state="detached")


@pytest.mark.usefixtures("lines")
@pytest.mark.parametrize("width", [768, 1280, 1920])
def test_no_page_keeps_anybody_from_using_it_nor_is_wider_than_the_window(
    screen: Screen, width: int, settings: Any
) -> None:
    page = screen.page
    page.set_viewport_size({"width": width, "height": 900})
    screen.open("/sign-in/")
    assert screen.barriers() == []
    screen.sign_in(make_user(Role.ADMIN, first_name="Katharina", last_name="von Hohenstein-Berg"))
    page.wait_for_url(LANDED)
    settings.INGESTION_EXPECTED_EVERY_HOURS = -1  # so that there is a banner
    screen.expected = {403, 404, 405}
    for path in ("/po/", "/password/", "/nowhere/"):
        screen.open(path)
        assert screen.barriers() == [], path
        inside = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert inside, f"{path} is wider than {width}"


# Answers that are no page: a file, an object for monitors, one row for the table of the runs.
NO_PAGE = {"po_export", "healthz", "ingestion_run_row"}
PAGES = [name for name, answers in EXPECTED.items() if answers["admin"] == 200]


@pytest.mark.usefixtures("lines")
def test_every_address_that_shows_a_page_can_be_used_by_everybody(screen: Screen) -> None:
    """Also as a page of its own, where a part of another page is usual."""
    addresses = {name: filled(name) for name in PAGES if name not in NO_PAGE}
    screen.open("/sign-in/")
    screen.sign_in(make_user(Role.ADMIN))
    screen.page.wait_for_url(LANDED)
    for name, address in addresses.items():
        screen.open(address)
        screen.page.wait_for_load_state("networkidle")
        assert screen.barriers() == [], name
        inside = screen.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert inside, f"{name} is wider than the window"


def test_the_cookies_are_for_http_only_and_for_this_site(screen: Screen) -> None:
    screen.open("/sign-in/")
    screen.sign_in(make_user())
    screen.page.wait_for_url(LANDED)
    cookies: dict[str, Any] = {c["name"]: c for c in screen.page.context.cookies()}
    for name in (settings.SESSION_COOKIE_NAME, IdleSession.COOKIE):
        assert cookies[name]["httpOnly"]
        assert cookies[name]["sameSite"] == "Lax"
    lasts = cookies[IdleSession.COOKIE]["expires"] - timezone.now().timestamp()
    assert abs(lasts - timedelta(minutes=30).total_seconds()) < 60
