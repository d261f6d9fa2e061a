"""Signing in and out, the end of a session, and a new password."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import UserManager
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User
from apps.core.middleware import IdleSession
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

PASSWORD = "a long and unusual one"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def katrin() -> User:
    user = UserFactory.build(username="katrin")
    user.set_password(PASSWORD)
    user.save()
    return user


def sign_in(client: Client, name: str = "katrin", password: str = PASSWORD, **data: str) -> Any:
    return client.post("/sign-in/", {"username": name, "password": password, **data})


def is_signed_in(client: Client) -> bool:
    return client.get("/password/").status_code == 200


def test_name_and_password_lead_to_the_start_page(client: Client, katrin: User) -> None:
    answer = sign_in(client)
    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert is_signed_in(client)


@pytest.mark.parametrize(
    ("name", "password"),
    [("katrin", "wrong"), ("nobody", PASSWORD), ("left", PASSWORD), ("", ""), ("katrin", "")],
)
def test_whatever_is_wrong_is_answered_alike(
    client: Client, katrin: User, name: str, password: str
) -> None:
    left = UserFactory.build(username="left", is_active=False)
    left.set_password(PASSWORD)
    left.save()
    answer = sign_in(client, name, password)
    assert answer.status_code == 200
    assert not is_signed_in(client)
    if name and password:
        errors = answer.context["form"].errors
        assert errors == {"__all__": [answer.context["form"].error_messages["invalid_login"]]}


@pytest.mark.parametrize("typed", ["KATRIN", "kat\u200drin"])
def test_a_name_counts_only_as_it_is_written_whatever_the_database_takes_for_it(
    client: Client, katrin: User, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each way of writing it would have its own five guesses."""

    def as_sql_server_does(manager: UserManager[User], name: str) -> User:
        return katrin

    monkeypatch.setattr(UserManager, "get_by_natural_key", as_sql_server_does)
    assert sign_in(client, typed).status_code == 200
    assert not is_signed_in(client)
    assert sign_in(client).status_code == 302


@pytest.mark.parametrize("page", ["/password/", "/?late=1&sort=-due"])
def test_who_is_not_signed_in_signs_in_and_comes_back(
    client: Client, katrin: User, page: str
) -> None:
    first = client.get(page)
    assert first.status_code == 302
    assert first["Location"] == f"/sign-in/?next={quote(page, safe='')}"
    assert (
        f'name="next" value="{page}"'.replace("&", "&amp;")
        in client.get(first["Location"]).content.decode()
    )
    assert sign_in(client, next=page)["Location"] == page


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "part"])
def test_a_list_with_very_many_filters_is_come_back_to_as_well(
    client: Client, katrin: User, headers: dict[str, str]
) -> None:
    page = "/po/?" + "&".join(f"supplier=V{number:04}" for number in range(300))
    current = {"HX-Current-URL": f"http://testserver{page}"} if headers else {}
    first = client.get(page, headers={**headers, **current})
    there = first.get("HX-Redirect") or first["Location"]
    assert there == f"/sign-in/?next={quote(page, safe='')}"
    assert sign_in(client, next=page)["Location"] == page


def test_an_address_longer_than_any_of_ours_is_not_come_back_to(client: Client) -> None:
    assert client.get("/po/?item=" + "%E4" * 9_000)["Location"] == "/sign-in/"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "javascript:alert(1)",
        "http:///evil.example",
        "http://evil.example?/po/",
        "//evil.example?" + "a" * 3000,
        "/\t/evil.example?" + "a" * 3000,
        "https://testserver@evil.example/?" + "a" * 3000,
    ],
)
def test_next_never_leads_elsewhere(client: Client, katrin: User, elsewhere: str) -> None:
    assert sign_in(client, next=elsewhere)["Location"] == "/"


@pytest.mark.parametrize("itself", ["/sign-in/", "/sign-in/?next=/sign-in/", "/sign-in/#a"])
def test_next_never_leads_back_to_the_page_itself(
    client: Client, katrin: User, itself: str
) -> None:
    assert sign_in(client, next=itself)["Location"] == "/"
    assert client.get("/sign-in/", {"next": itself})["Location"] == "/"


def test_a_part_of_a_page_sends_the_whole_page_to_sign_in_and_back(client: Client) -> None:
    headers = {**HTMX, "HX-Current-URL": "http://testserver/password/?a=1"}
    for answer in (client.get("/", headers=headers), client.post("/password/", headers=headers)):
        assert answer.status_code == 200
        assert answer["HX-Redirect"] == "/sign-in/?next=%2Fpassword%2F%3Fa%3D1"
        assert answer.content == b""


@pytest.mark.parametrize(
    "url", ["https://evil.example/x", "http://testserver//evil.example/", "nonsense", ""]
)
def test_the_page_around_a_part_is_only_believed_if_it_is_our_own(client: Client, url: str) -> None:
    answer = client.get("/password/", headers={**HTMX, "HX-Current-URL": url})
    assert "evil" not in answer["HX-Redirect"]


def test_a_form_that_was_sent_too_late_leads_back_to_its_page(client: Client) -> None:
    answer = client.post("/password/", headers={"Referer": "http://testserver/?page=2"})
    assert answer["Location"] == "/sign-in/?next=%2F%3Fpage%3D2"
    elsewhere = client.post("/password/", headers={"Referer": "https://evil.example/"})
    assert elsewhere["Location"] == "/sign-in/"


def test_signing_out_ends_the_session_and_needs_a_post(client: Client, katrin: User) -> None:
    sign_in(client)
    assert client.get("/sign-out/").status_code == 405
    assert is_signed_in(client)
    assert client.post("/sign-out/")["Location"] == "/sign-in/"
    assert not is_signed_in(client)
    assert not Session.objects.exists()


def test_pages_of_people_are_kept_by_no_cache(client: Client, katrin: User) -> None:
    sign_in(client)
    assert client.get("/")["Cache-Control"] == "private, no-store"


# --- the end of a session -------------------------------------------------------------------------


class Clock:
    """What time it is for signatures and for Django's sessions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.minutes = 0.0

    def wait(self, minutes: float) -> None:
        self.minutes += minutes
        now = timezone.now
        start, later = time.time, timedelta(minutes=minutes)
        self.monkeypatch.setattr(time, "time", lambda: start() + later.total_seconds())
        self.monkeypatch.setattr(timezone, "now", lambda: now() + later)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_session_ends_after_30_idle_minutes_and_not_while_it_is_used(
    client: Client, katrin: User, clock: Clock
) -> None:
    sign_in(client)
    for _ in range(4):
        clock.wait(29)
        assert is_signed_in(client)
    clock.wait(31)
    # As a browser that keeps what it was told to forget.
    client.cookies[IdleSession.COOKIE]["max-age"] = ""
    assert not is_signed_in(client)


def test_a_session_ends_after_twelve_hours_in_any_case(
    client: Client, katrin: User, clock: Clock
) -> None:
    sign_in(client)
    while clock.minutes < 12 * 60 - 20:
        assert is_signed_in(client)
        clock.wait(20)
    clock.wait(25)
    assert not is_signed_in(client)


def test_a_session_without_its_second_cookie_or_with_that_of_another_counts_for_nothing(
    client: Client, katrin: User
) -> None:
    sign_in(client)
    mine = client.cookies[IdleSession.COOKIE].value
    other = Client()
    sign_in(other)
    client.cookies[IdleSession.COOKIE] = other.cookies[IdleSession.COOKIE].value
    assert not is_signed_in(client)

    sign_in(client)
    assert is_signed_in(client)
    client.cookies[IdleSession.COOKIE] = mine  # of a session before
    assert not is_signed_in(client)


def test_the_second_cookie_gives_the_session_away_to_nobody(client: Client, katrin: User) -> None:
    sign_in(client)
    cookie = client.cookies[IdleSession.COOKIE]
    assert client.cookies[settings.SESSION_COOKIE_NAME].value not in cookie.value
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == 1800


def test_a_page_writes_no_session(client: Client, katrin: User) -> None:
    sign_in(client)
    before = Session.objects.get().expire_date
    assert is_signed_in(client)
    assert Session.objects.get().expire_date == before


def test_signing_in_removes_the_rows_of_sessions_that_ended(client: Client, katrin: User) -> None:
    Session.objects.create(session_key="old", expire_date=timezone.now() - timedelta(days=1))
    sign_in(client)
    assert not Session.objects.filter(session_key="old").exists()


def test_who_is_deactivated_is_out_at_once(client: Client, katrin: User) -> None:
    sign_in(client)
    User.objects.filter(pk=katrin.pk).update(is_active=False)
    assert not is_signed_in(client)


# --- guessing -------------------------------------------------------------------------------------


def test_after_five_failures_the_right_password_has_to_wait_15_minutes(
    client: Client, katrin: User
) -> None:
    answers = [sign_in(client, password="wrong").status_code for _ in range(6)]
    assert answers == [200, 200, 200, 200, 429, 429]
    locked = sign_in(client)
    assert locked.status_code == 429
    assert "Wait 15 minutes" in locked.content.decode()
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))
    assert sign_in(client).status_code == 302


def test_a_success_forgets_the_failures_before_it(client: Client, katrin: User) -> None:
    for _ in range(2):
        for _ in range(4):
            sign_in(client, password="wrong")
        assert sign_in(client).status_code == 302
        client.post("/sign-out/")


def test_nobody_can_lock_out_somebody_elsewhere_nor_their_whole_office(
    client: Client, katrin: User
) -> None:
    for _ in range(6):
        sign_in(client, password="wrong")
    assert sign_in(Client(REMOTE_ADDR="10.0.0.9")).status_code == 302
    assert sign_in(client, "somebody else").status_code == 200


def test_a_name_that_does_not_exist_is_throttled_alike(client: Client) -> None:
    assert [sign_in(client, "nobody").status_code for _ in range(6)][-2:] == [429, 429]


def test_a_locked_page_keeps_where_to_go_next(client: Client) -> None:
    answers = [sign_in(client, "nobody", next="/password/") for _ in range(5)]
    assert 'value="/password/"' in answers[-1].content.decode()


# --- a new password -------------------------------------------------------------------------------

NEW = "an even longer and stranger one"


def new_password(client: Client, **fields: str) -> Any:
    data = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW, **fields}
    return client.post("/password/", data, follow=True)


def test_a_new_password_keeps_this_session_and_ends_the_others(
    client: Client, katrin: User
) -> None:
    other = Client()
    sign_in(client)
    sign_in(other)
    answer = new_password(client)
    assert "Your password is changed." in answer.content.decode()
    assert is_signed_in(client)
    assert not is_signed_in(other)
    assert sign_in(other).status_code == 200
    assert sign_in(other, password=NEW).status_code == 302


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"old_password": "wrong"}, "old_password"),
        ({"new_password2": "another"}, "new_password2"),
        ({"new_password1": "katrin12", "new_password2": "katrin12"}, "new_password2"),
        ({"new_password1": "1234567", "new_password2": "1234567"}, "new_password2"),
    ],
)
def test_a_new_password_that_will_not_do_changes_nothing_and_says_where(
    client: Client, katrin: User, fields: dict[str, str], where: str
) -> None:
    sign_in(client)
    answer = new_password(client, **fields)
    assert list(answer.context["form"].errors) == [where]
    katrin.refresh_from_db()
    assert katrin.check_password(PASSWORD)
    assert SESSION_KEY in client.session
