"""create_admin makes an administrator who can sign in, and says why where it does not."""

from __future__ import annotations

import io

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command
from django.http import HttpRequest

from apps.accounts.models import Role, User
from apps.audit import services as audit
from apps.audit.models import AuditEvent, EventType
from apps.operations.management.commands import create_admin

pytestmark = pytest.mark.django_db

PASSWORD = "a long and unusual one"


class Typing(io.StringIO):
    """Standard input of somebody who sits there."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def nobody_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(create_admin.PASSWORD_VARIABLE, raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())


def types(monkeypatch: pytest.MonkeyPatch, *passwords: str) -> None:
    typed = iter(passwords)
    monkeypatch.setattr("sys.stdin", Typing())
    monkeypatch.setattr(create_admin, "getpass", lambda prompt: next(typed))


def create(*arguments: str) -> str:
    out = io.StringIO()
    call_command("create_admin", *arguments, stdout=out)
    return out.getvalue()


def test_the_new_administrator_can_sign_in_and_is_no_superuser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    types(monkeypatch, PASSWORD, PASSWORD)
    assert '"katrin" can sign in now' in create("katrin", "--email", "katrin@example.com")
    user = authenticate(HttpRequest(), username="katrin", password=PASSWORD)
    assert isinstance(user, User)
    assert (user.role, user.email) == (Role.ADMIN, "katrin@example.com")
    assert user.is_active
    assert not user.is_superuser


def test_the_act_is_audited_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    types(monkeypatch, PASSWORD, PASSWORD)
    create("katrin")
    event = AuditEvent.objects.get()
    assert event.event_type == EventType.USER_CREATED
    assert event.source == "command"
    assert event.data == {
        "user": User.objects.get().pk,
        "username": "katrin",
        "role": "admin",
    }


def test_without_its_audit_event_there_is_no_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> int:
        raise RuntimeError("the event cannot be written")

    monkeypatch.setenv(create_admin.PASSWORD_VARIABLE, PASSWORD)
    monkeypatch.setattr(audit, "record", broken)
    with pytest.raises(RuntimeError):
        create("katrin")
    assert not User.objects.exists()


def test_a_script_gives_the_password_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(create_admin.PASSWORD_VARIABLE, PASSWORD)
    create("katrin")
    assert authenticate(HttpRequest(), username="katrin", password=PASSWORD)


def test_a_script_gives_the_password_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\r\nand more\n"))
    create("katrin", "--password-stdin")
    assert authenticate(HttpRequest(), username="katrin", password=PASSWORD)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ((PASSWORD, "another one"), "The two passwords differ"),
        (("", ""), "The password is empty"),
        (("katrin1", "katrin1"), "too similar to the username"),
        (("12345678", "12345678"), "entirely numeric"),
    ],
)
def test_a_password_that_will_not_do_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, typed: tuple[str, str], said: str
) -> None:
    types(monkeypatch, *typed)
    with pytest.raises(CommandError, match=said):
        create("katrin1")
    assert not User.objects.exists()
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize("name", ["Katrin", "KATRIN"])
def test_a_name_that_somebody_has_is_refused_before_a_password_is_asked_for(name: str) -> None:
    User.objects.create_user("Katrin")
    with pytest.raises(CommandError, match="There is a user"):
        create(name)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["kat rin"], "valid username"), (["katrin", "--email", "nowhere"], "valid email")],
)
def test_a_name_or_an_address_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.setenv(create_admin.PASSWORD_VARIABLE, PASSWORD)
    with pytest.raises(CommandError, match=said):
        create(*arguments)
    assert not User.objects.exists()


def test_where_nobody_can_type_it_says_how_else_to_give_the_password() -> None:
    with pytest.raises(CommandError, match="--password-stdin, or in the variable"):
        create("katrin")


@pytest.mark.parametrize(
    ("role", "active", "needed"),
    [(Role.ADMIN, True, False), (Role.ADMIN, False, True), (Role.PLANNER, True, True)],
)
def test_unless_one_exists_asks_for_nothing_where_an_active_administrator_is(
    monkeypatch: pytest.MonkeyPatch, role: Role, active: bool, needed: bool
) -> None:
    User.objects.create_user("old", role=role, is_active=active)
    if needed:
        monkeypatch.setenv(create_admin.PASSWORD_VARIABLE, PASSWORD)
    said = create("katrin", "--unless-one-exists")
    assert ("There is an administrator already" in said) != needed
    assert User.objects.filter(username="katrin").exists() == needed
