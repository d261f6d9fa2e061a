"""The demo ends by serving the pages to a person of each role, and only where demos belong."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import authenticate
from django.http import HttpRequest

from apps.accounts.models import Role, User
from apps.audit.models import AuditEvent, EventType
from apps.audit.services import Actor
from apps.demo.management.commands import demo
from apps.demo.market import XrefRow
from apps.demo.people import PEOPLE, settle_people
from apps.po.models import Supplier
from tests.factories import SupplierFactory

ACTOR = Actor(name="tester", source="command")


@pytest.fixture
def suppliers() -> None:
    SupplierFactory.create_batch(7)


@pytest.mark.django_db
@pytest.mark.usefixtures("suppliers")
def test_one_person_of_each_role_can_sign_in_and_the_expeditor_has_some_suppliers() -> None:
    settle_people(actor=ACTOR)
    for person in PEOPLE:
        user = authenticate(HttpRequest(), username=person.name, password=person.password)
        assert isinstance(user, User)
        assert user.role == person.role
        has = 3 if person.role == Role.EXPEDITOR else 0
        assert user.suppliers.count() == has < Supplier.objects.count()
    assert {person.role for person in PEOPLE} == {*Role}
    assert AuditEvent.objects.filter(event_type=EventType.USER_CREATED).count() == len(PEOPLE)


@pytest.mark.django_db
def test_a_demo_that_is_started_again_takes_the_printed_passwords_again() -> None:
    settle_people(actor=ACTOR)
    changed = User.objects.get(username=PEOPLE[0].name)
    changed.set_password("forgotten")
    changed.is_active = False
    changed.save()
    settle_people(actor=ACTOR)
    assert authenticate(
        HttpRequest(), username=PEOPLE[0].name, password=PEOPLE[0].password
    ) == User.objects.get(pk=changed.pk)
    assert User.objects.count() == len(PEOPLE)


@pytest.mark.django_db
@pytest.mark.parametrize("serves", [True, False])
def test_the_demo_prints_names_and_passwords_and_then_serves_unless_told_not_to(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: Any,
    serves: bool,
) -> None:
    settings.DEBUG = True
    called: list[str] = []

    class Built:
        """A demo that is there already."""

        def __init__(self, _folder: Any) -> None: ...

        def built_as(self) -> dict[str, int]:
            return {"nights": 1, "lines": 2, "seed": 3}

    monkeypatch.setattr(demo, "Demo", Built)
    monkeypatch.setattr(demo, "call_command", lambda name, **_options: called.append(name))
    options = {"nights": None, "lines": None, "seed": None, "fresh": False}
    demo.Command().handle(**options, no_serve=not serves)
    said = capsys.readouterr().out
    for person in PEOPLE:
        assert person.name in said
        assert person.password in said
    assert ("serve" in called) is serves
    assert settings.DEBUG is not serves  # what is served has the error pages that users see
    assert called[0] == "migrate"


@pytest.mark.process
def test_production_has_no_demo() -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "demo", "--settings=po_tracking.settings.production"],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "SECRET_KEY": "k" * 60,
            "ALLOWED_HOSTS": "po.example.com",
            "DATABASE_URL": "postgres://po_app:password@postgres.example.com/po_tracking",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "Unknown command: 'demo'" in result.stderr


@pytest.mark.django_db
def test_in_a_small_world_only_suppliers_that_have_lines_get_a_cross_reference() -> None:
    SupplierFactory.create(code="V1")
    for_all, known, unknown = (XrefRow(code, "ITEM", "SKU", "") for code in (None, "V1", "V2"))
    assert demo.of_known_suppliers([for_all, known, unknown]) == [for_all, known]
