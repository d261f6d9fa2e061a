"""Every address of the application for every role: who gets in; and that looking writes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import URLPattern, URLResolver, get_resolver, path
from django_htmx.middleware import HtmxMiddleware

from apps.accounts.models import Role, User
from apps.core.decorators import role_required
from apps.core.htmx import page_or_fragment, wants_fragment
from apps.ingestion.lease import Lease
from apps.ingestion.models import RunStatus
from apps.po.models import CustomColumn, POLine, SavedView, Supplier
from po_tracking import urls
from tests.factories import (
    CustomColumnFactory,
    IngestionRunFactory,
    POLineFactory,
    SupplierFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
ANONYMOUS, NO_ROLE = "anonymous", "no role"
PEOPLE = (ANONYMOUS, NO_ROLE, *Role.values)

TO_SIGN_IN, HOME = "to sign-in", "elsewhere inside"
EVERYBODY_INSIDE: dict[str, int | str] = {
    ANONYMOUS: TO_SIGN_IN,
    **dict.fromkeys((NO_ROLE, *Role.values), 200),
}
ADMINS_ONLY: dict[str, int | str] = {
    **dict.fromkeys(PEOPLE, 403),
    ANONYMOUS: TO_SIGN_IN,
    Role.ADMIN.value: 200,
}
# Of a line that is within the scope of everybody who has one.
WHO_SEES_LINES: dict[str, int | str] = {**EVERYBODY_INSIDE, NO_ROLE: 404}
# What a GET of each named address answers to whom. A new address needs a line here.
EXPECTED: dict[str, dict[str, int | str]] = {
    "healthz": dict.fromkeys(PEOPLE, 200),
    "sign_in": {**dict.fromkeys(PEOPLE, HOME), ANONYMOUS: 200},
    "sign_out": {**dict.fromkeys(PEOPLE, 405), ANONYMOUS: TO_SIGN_IN},
    "change_password": EVERYBODY_INSIDE,
    "start": {**dict.fromkeys(PEOPLE, HOME), ANONYMOUS: TO_SIGN_IN},
    "po_list": EVERYBODY_INSIDE,
    "po_export": EVERYBODY_INSIDE,
    "po_columns": EVERYBODY_INSIDE,
    "save_columns": {**dict.fromkeys(PEOPLE, 405), ANONYMOUS: TO_SIGN_IN},
    "save_view": EVERYBODY_INSIDE,
    "shared_view": {**dict.fromkeys(PEOPLE, HOME), ANONYMOUS: TO_SIGN_IN},
    "delete_view": {**dict.fromkeys(PEOPLE, 405), ANONYMOUS: TO_SIGN_IN},
    "custom_value": WHO_SEES_LINES,
    "give_back": {**dict.fromkeys(PEOPLE, 405), ANONYMOUS: TO_SIGN_IN},
    "admin_dashboard": ADMINS_ONLY,
    "server_health": ADMINS_ONLY,
    "erp_health": ADMINS_ONLY,
    "ingestion_runs": ADMINS_ONLY,
    "ingestion_run": ADMINS_ONLY,
    "ingestion_run_row": ADMINS_ONLY,
    "ingestion_run_changes": ADMINS_ONLY,
    "ingestion_run_rejected": ADMINS_ONLY,
    "ingestion_run_gaps": ADMINS_ONLY,
    "po_detail": WHO_SEES_LINES,
    "po_timeline": WHO_SEES_LINES,
    "po_status_history": WHO_SEES_LINES,
    "po_batches": WHO_SEES_LINES,
    "po_movement": WHO_SEES_LINES,
}


def line_of_the_expeditor() -> POLine:
    return POLineFactory.create(supplier=expeditors_supplier())


# What the number in an address is one of: the name of the address begins with these words.
NUMBERED: dict[str, Callable[[], Any]] = {
    "po_": line_of_the_expeditor,
    "custom_value": line_of_the_expeditor,
    "give_back": line_of_the_expeditor,
    "ingestion_run": IngestionRunFactory.create,
}


def addresses(patterns: list[Any] | None = None, prefix: str = "/") -> Iterator[tuple[str, str]]:
    """Name and path of every pattern, nested ones included."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, route)
        else:
            assert isinstance(pattern, URLPattern)
            yield str(pattern.name), route


ADDRESSES = dict(addresses())


def filled(name: str) -> str:
    """The address, with the row that was made for it where it needs one."""
    route = ADDRESSES[name]
    if "<uuid:identifier>" in route:
        return route.replace("<uuid:identifier>", str(a_saved_view().identifier))
    if "<int:pk>" not in route:
        return route
    row = next(make() for words, make in NUMBERED.items() if name.startswith(words))
    return route.replace("<int:pk>", str(row.pk)).replace("<slug:slot>", a_column().slot)


def a_saved_view() -> SavedView:
    """Somebody else's, of which one was given the address."""
    return SavedView.objects.create(user=UserFactory.create(), name="Late", query="preset=late")


def a_column() -> CustomColumn:
    """One that people fill."""
    known = CustomColumn.objects.first()
    return known or CustomColumnFactory.create()


def expeditors_supplier() -> Supplier:
    """The supplier that the tested expeditor has."""
    known = Supplier.objects.filter(code="EXPEDITORS").first()
    return known or SupplierFactory.create(code="EXPEDITORS")


def person(who: str) -> Client:
    client = Client()
    if who != ANONYMOUS:
        role = "" if who == NO_ROLE else who
        suppliers = [expeditors_supplier()] if who == Role.EXPEDITOR else []
        sign_in(client, UserFactory.create(role=role, suppliers=suppliers))
    return client


def sign_in(client: Client, user: User) -> None:
    """Through the page, because a session alone is not awake."""
    user.set_password("a long and unusual one")
    user.save()
    data = {"username": user.username, "password": "a long and unusual one"}
    assert client.post("/sign-in/", data).status_code == 302


def read_to_its_end(answer: Any) -> None:
    """So that the test's client closes a file. Closing the answer oneself would end the connection
    to the database, in the middle of the test's transaction."""
    if answer.streaming:
        assert b"".join(answer.streaming_content)


def told(answer: Any) -> int | str:
    if answer.status_code == 302:
        return TO_SIGN_IN if answer["Location"].startswith("/sign-in/") else HOME
    status: int = answer.status_code
    return status


def test_every_address_has_a_name_and_stands_in_the_table() -> None:
    assert len(ADDRESSES) == len([*addresses()]), "two addresses have one name"
    assert EXPECTED.keys() == ADDRESSES.keys()
    assert all(answers.keys() == {*PEOPLE} for answers in EXPECTED.values())


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("name", EXPECTED)
def test_each_address_answers_each_role_as_the_table_says(name: str, who: str) -> None:
    answer = person(who).get(filled(name))
    read_to_its_end(answer)
    assert told(answer) == EXPECTED[name][who]


# The addresses of one line that take a POST; all others of them only show something.
CHANGED_BY_POST = {"custom_value", "give_back"}
OF_ONE_LINE = [name for name, route in ADDRESSES.items() if route.startswith("/po/<int:pk>/")]
SECRET_OF_THE_FORM = re.compile(rb'name="csrfmiddlewaretoken" value="\w+"')


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "part"])
@pytest.mark.parametrize("name", OF_ONE_LINE)
def test_a_line_of_another_supplier_answers_as_one_that_is_not_there(
    name: str, headers: dict[str, str], method: str
) -> None:
    """To the last byte, whatever the query or the body; and so does a number that no row could
    have."""
    client, slot = person(Role.EXPEDITOR), a_column().slot
    other = POLineFactory.create()
    nowhere = other.pk + 1000
    answers = []
    before = POLine.objects.filter(pk=other.pk).values()[0]
    body = {"value": "x", "seen": "", "pk": other.pk, "supplier": other.supplier.code}
    for pk, query in ((other.pk, ""), (nowhere, ""), (other.pk, "?kind=x&before=y"), (10**30, "")):
        address = ADDRESSES[name].replace("<int:pk>", str(pk)).replace("<slug:slot>", slot)
        answer = getattr(client, method)(f"{address}{query}", body, headers=headers)
        shown = SECRET_OF_THE_FORM.sub(b"", answer.content)
        answers.append((answer.status_code, shown, answer.get("HX-Trigger")))
    is_answered = name in CHANGED_BY_POST if method == "post" else EXPECTED[name]["admin"] != 405
    assert answers[0][0] == (404 if is_answered else 405)
    assert answers == [answers[0]] * 4
    assert POLine.objects.filter(pk=other.pk).values()[0] == before


def only_reads(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    assert sql.lstrip("( ").upper().startswith("SELECT"), f"a page wrote: {sql}"
    return execute(sql, params, many, context)


@pytest.mark.parametrize("method", ["get", "head", "options"])
@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "part"])
@pytest.mark.parametrize("who", PEOPLE)
def test_looking_writes_nothing(who: str, headers: dict[str, str], method: str) -> None:
    IngestionRunFactory.create()
    POLineFactory.create()
    client = person(who)
    paths = [filled(name) for name in ADDRESSES]
    with connection.execute_wrapper(only_reads):
        for address in paths:
            read_to_its_end(getattr(client, method)(address, headers=headers))
            getattr(client, method)("/nowhere/", headers=headers)


def test_every_page_forbids_whatever_is_inline_or_from_elsewhere() -> None:
    for who in (ANONYMOUS, Role.ADMIN):
        client = person(who)
        for address in (*map(filled, ADDRESSES), "/nowhere/"):
            answer = client.get(address)
            policy = answer["Content-Security-Policy"].split("; ")
            assert "default-src 'self'" in policy
            assert not [part for part in policy if "unsafe" in part or "http" in part]
            if answer.streaming:
                read_to_its_end(answer)
                continue
            page = answer.content.decode()
            assert "<style" not in page
            assert " style=" not in page
            assert "<script>" not in page
            assert not re.search(r"<[^>]+\son[a-z]+\s*=", page)


# --- where one lands ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "address"),
    [
        (Role.ADMIN, "/admin-portal/"),
        (Role.PLANNER, "/po/"),
        (Role.EXPEDITOR, "/po/"),
        (NO_ROLE, "/po/"),
    ],
)
def test_each_role_lands_where_its_day_begins(who: str, address: str) -> None:
    assert person(who).get("/")["Location"] == address


def test_every_page_tells_how_old_the_data_are_and_when_a_night_is_missing() -> None:
    run = IngestionRunFactory.create()
    client = person(Role.PLANNER)
    page = client.get("/password/").content.decode()
    assert f"ERP data of {run.effective_at:%Y-%m-%d %H:%M}" in page
    assert "The last ingestion is missing." in page  # the night is months ago
    with override_settings(INGESTION_EXPECTED_EVERY_HOURS=24 * 365 * 100):
        assert "banner-warning" not in client.get("/password/").content.decode()
        IngestionRunFactory.create(status=RunStatus.FAILED)
        assert "The last ingestion failed." in client.get("/password/").content.decode()


def test_a_run_that_is_late_and_at_work_is_not_called_missing() -> None:
    IngestionRunFactory.create()
    run = IngestionRunFactory.create(status=RunStatus.RUNNING, finished_at=None)
    Lease.acquire().assign(run)
    page = person(Role.PLANNER).get("/password/").content.decode()
    assert "The ingestion is late and at work now." in page
    assert "missing" not in page


def test_the_banner_leads_an_administrator_to_the_reason_and_others_to_the_administrator() -> None:
    IngestionRunFactory.create()
    banner = r'<p class="banner banner-warning".*</p>'
    admin, planner = person(Role.ADMIN), person(Role.PLANNER)
    (told,) = re.findall(banner, admin.get("/password/").content.decode())
    assert 'href="/admin-portal/"' in told
    (told,) = re.findall(banner, admin.get("/admin-portal/").content.decode())
    assert "href" not in told  # one is there
    (told,) = re.findall(banner, planner.get("/password/").content.decode())
    assert "Tell your administrator" in told
    assert "href" not in told


def test_before_the_first_night_the_pages_say_so_and_warn_of_nothing() -> None:
    page = person(Role.PLANNER).get("/password/").content.decode()
    assert "No ERP data yet" in page
    assert "banner-warning" not in page


# --- what is not allowed, not there, or broken ----------------------------------------------------


@role_required(Role.ADMIN)
def for_admins(request: HttpRequest) -> HttpResponse:
    return HttpResponse("inside")


def breaks(request: HttpRequest) -> HttpResponse:
    raise ValueError("a secret")


def is_suspicious(request: HttpRequest) -> HttpResponse:
    raise SuspiciousOperation("odd")


@login_not_required
@role_required(Role.PLANNER)
def carelessly_open(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


urlpatterns = [
    *urls.urlpatterns,
    path("for-admins/", for_admins),
    path("breaks/", breaks),
    path("suspicious/", is_suspicious),
    path("careless/", carelessly_open),
]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500


@pytest.fixture
def with_odd_pages() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__):
        yield


@pytest.mark.usefixtures("with_odd_pages")
@pytest.mark.parametrize(
    ("who", "status"),
    [(Role.ADMIN, 200), (Role.PLANNER, 403), (Role.EXPEDITOR, 403), (NO_ROLE, 403)],
)
def test_a_view_for_a_role_lets_only_this_role_in(who: str, status: int) -> None:
    assert person(who).get("/for-admins/").status_code == status


@pytest.mark.usefixtures("with_odd_pages")
def test_a_role_is_asked_for_even_where_signing_in_is_not() -> None:
    assert person(ANONYMOUS).get("/careless/").status_code == 403


@pytest.mark.usefixtures("with_odd_pages")
@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/for-admins/", 403, "Your role does not allow this"),
        ("/nowhere/", 404, "This is not"),
        ("/suspicious/", 400, "not understood"),
        ("/breaks/", 500, "This did not work"),
    ],
)
def test_what_went_wrong_is_a_page_in_the_frame_and_a_toast_for_a_part_of_a_page(
    address: str, status: int, said: str
) -> None:
    client = person(Role.PLANNER)
    client.raise_request_exception = False
    page = client.get(address)
    assert page.status_code == status
    assert said in page.content.decode()
    assert 'class="chrome"' in page.content.decode()
    assert "a secret" not in page.content.decode()

    part = client.get(address, headers=HTMX)
    assert part.status_code == status
    assert part.content == b""
    assert part["HX-Reswap"] == "none"
    assert said in part["HX-Trigger"]

    again = client.get(address, headers={**HTMX, "HX-History-Restore-Request": "true"})
    assert said in again.content.decode()


@pytest.mark.usefixtures("with_odd_pages")
def test_an_error_gives_the_number_under_which_the_log_has_it() -> None:
    client = person(Role.PLANNER)
    client.raise_request_exception = False
    answer = client.get("/breaks/")
    assert answer["X-Request-ID"] in answer.content.decode()


def test_a_form_with_the_secret_of_another_session_is_refused_in_words() -> None:
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/sign-in/", {"username": "x", "password": "y"})
    assert answer.status_code == 403
    assert "This page is too old" in answer.content.decode()


# --- pages and parts of them ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "part"),
    [
        ({}, False),
        (HTMX, True),
        ({**HTMX, "HX-Boosted": "true"}, False),
        ({**HTMX, "HX-History-Restore-Request": "true"}, False),
    ],
)
def test_only_a_request_for_a_part_gets_a_part(
    rf: RequestFactory, headers: dict[str, str], part: bool
) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        assert wants_fragment(request) is part
        return page_or_fragment(request, "400.html", "_partials/_to_start.html", {})

    answer = HtmxMiddleware(view)(rf.get("/", headers=headers))
    assert isinstance(answer, HttpResponse)
    assert (b"<html" not in answer.content) is part
    assert "HX-Request" in answer["Vary"]


# --- the read-only instance -----------------------------------------------------------------------


@override_settings(READ_ONLY=True)
def test_a_copy_that_cannot_write_refuses_and_says_so() -> None:
    client = person(Role.PLANNER)
    refused = client.post("/password/", {"old_password": "x"})
    assert refused.status_code == 403
    assert "Nothing was saved" in refused.content.decode()
    part = client.post("/password/", headers=HTMX)
    assert part.status_code == 403
    assert "read-only copy" in part["HX-Trigger"]
    page = client.get("/po/").content.decode()
    assert "This is the read-only copy." in page
    assert 'href="/password/"' not in page
    assert "<form" not in client.get("/password/").content.decode().split("<main")[1]
    assert client.post("/sign-out/").status_code == 302


def test_no_admin_site_of_django_is_installed() -> None:
    assert "django.contrib.admin" not in settings.INSTALLED_APPS
