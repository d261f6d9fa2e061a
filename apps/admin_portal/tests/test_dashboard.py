"""The dashboard: last night, what waits for somebody, and the health of the servers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client, override_settings
from django.utils import timezone

from apps.accounts.models import Role
from apps.admin_portal.dashboard import SUPPLIERS_SHOWN
from apps.admin_portal.tests.test_monitor import at_work
from apps.ingestion.models import RunStatus
from apps.operations import health
from apps.operations.doctor import Diagnosis, Line
from apps.operations.finding import Status
from apps.po.lifecycle import Status as LineStatus
from apps.po.models import Presence
from tests.factories import (
    IngestionRunFactory,
    POLineFactory,
    SupplierFactory,
    UserFactory,
    XrefGapFactory,
)
from tests.test_pages import HTMX, sign_in

pytestmark = pytest.mark.django_db

DASHBOARD = "/admin-portal/"
ERP = "/admin-portal/health/erp/"


@pytest.fixture
def admin(client: Client) -> Client:
    sign_in(client, UserFactory.create(role=Role.ADMIN))
    return client


def page_of(client: Client, path: str = DASHBOARD) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def ended(hours_ago: float, **fields: Any) -> Any:
    return IngestionRunFactory.create(
        finished_at=timezone.now() - timedelta(hours=hours_ago), **fields
    )


# --- the last run -------------------------------------------------------------------------------


def test_before_the_first_run_the_dashboard_says_how_to_begin(admin: Client) -> None:
    page = page_of(admin)
    assert "No ingestion has run yet." in page
    assert "check_erp" in page
    assert "run_ingestion --baseline" in page


def test_the_age_of_the_data_is_told_against_the_schedule(admin: Client) -> None:
    ended(3)
    with override_settings(INGESTION_EXPECTED_EVERY_HOURS=26):
        age = admin.get(DASHBOARD).context["age"]
        assert not age.is_too_old
        due = timezone.localtime(timezone.now() + timedelta(hours=23))
        assert "ended 3\xa0hours ago. The next is due before" in age.sentence
        assert f"{due:%Y-%m-%d %H}" in age.sentence
    with override_settings(INGESTION_EXPECTED_EVERY_HOURS=2):
        age = admin.get(DASHBOARD).context["age"]
        assert age.is_too_old
        assert "look whether the schedule still starts it" in age.sentence
        at_work()
        age = admin.get(DASHBOARD).context["age"]
        assert age.is_too_old
        assert "it is at work now" in age.sentence


def test_a_failed_night_is_told_with_its_cure_beside_what_was_applied_before(
    admin: Client,
) -> None:
    before = ended(30, lines_changed=151)
    error = {"stage": "snapshot", "message": "The ERP fell asleep.", "remedy": "Wake it up."}
    failed = ended(4, status=RunStatus.FAILED, errors_encountered=[error])
    page = page_of(admin)
    assert f"Run {failed.pk} of" in page
    assert "The ERP fell asleep." in page
    assert "Wake it up." in page
    assert f"Of run {before.pk} of 2026-03-02, the last one that was applied:" in page
    assert f'href="/admin-portal/ingestion/{before.pk}/changes/">151<' in page


def test_a_night_that_stopped_is_told_with_what_to_do(admin: Client) -> None:
    IngestionRunFactory.create(status=RunStatus.RUNNING, finished_at=None)
    page = page_of(admin)
    assert "started 2026-03-02 09:30</span>" in page  # and nothing of a time that nobody took
    assert "It stopped unexpectedly" in page
    assert "No run was applied yet" in page


def test_gaps_and_rejected_rows_lead_to_where_they_are_listed(admin: Client) -> None:
    run = ended(3, rejected_rows=5)
    XrefGapFactory.create_batch(2)
    XrefGapFactory.create(resolved_at=timezone.now())
    page = page_of(admin)
    assert "the last one that was applied" not in page
    assert f'href="/admin-portal/ingestion/{run.pk}/rejected/">5<' in page
    assert f'href="/admin-portal/ingestion/{run.pk}/gaps/?which=open">2<' in page


# --- lines and people ---------------------------------------------------------------------------


def test_lines_are_counted_by_presence_and_the_active_ones_by_status(admin: Client) -> None:
    supplier = SupplierFactory.create()
    for presence, status, count in (
        (Presence.PRESENT, LineStatus.PLANNED, 2),
        (Presence.PRESENT, LineStatus.PART_DELIVERED, 1),
        (Presence.AGED_OUT, LineStatus.FULLY_DELIVERED, 1),
        (Presence.CLOSED, LineStatus.CLOSED, 3),
        (Presence.RETIRED, LineStatus.CLOSED, 4),
    ):
        POLineFactory.create_batch(count, supplier=supplier, presence=presence, status=status)
    lines = admin.get(DASHBOARD).context["lines"]
    assert [(count.words, count.number) for count in lines.by_presence] == [
        ("Active in the ERP", 3),
        ("Delivered long ago, never closed", 1),
        ("Closed in the ERP", 3),
    ]
    assert [(count.words, count.number) for count in lines.by_status] == [
        ("Planned", 2),
        ("Part delivered", 1),
        ("Fully delivered", 1),
    ]


def test_each_number_of_lines_leads_to_a_list_of_so_many_lines(admin: Client) -> None:
    supplier = SupplierFactory.create()
    for count, presence in enumerate(Presence, start=1):
        for status in (LineStatus.PLANNED, LineStatus.CLOSED):
            POLineFactory.create_batch(count, supplier=supplier, presence=presence, status=status)
    page = page_of(admin)
    lines = admin.get(DASHBOARD).context["lines"]
    for count in (*lines.by_presence, *lines.by_status):
        address = f"/po/?{count.query}"
        assert f'<a href="{address.replace("&", "&amp;")}">{count.number}</a>' in page
        assert f" of {count.number} line" in page_of(admin, address)


def test_a_supplier_is_alone_if_no_active_expeditor_works_for_its_open_lines(
    admin: Client,
) -> None:
    looked_after, left, never, closed, planners = SupplierFactory.create_batch(5)
    for supplier, count in ((looked_after, 1), (left, 1), (never, 2), (planners, 1)):
        POLineFactory.create_batch(count, supplier=supplier)
    POLineFactory.create(supplier=closed, presence=Presence.CLOSED, status=LineStatus.CLOSED)
    UserFactory.create_batch(2, role=Role.EXPEDITOR, suppliers=[looked_after])
    UserFactory.create(role=Role.EXPEDITOR, suppliers=[left], is_active=False)
    UserFactory.create(role=Role.PLANNER, suppliers=[planners])
    alone = admin.get(DASHBOARD).context["alone"]
    assert alone.number == 3
    assert [(row["supplier__code"], row["lines"]) for row in alone.most] == [
        (never.code, 2),
        (left.code, 1),
        (planners.code, 1),
    ]
    page = page_of(admin)
    assert f'href="/po/?preset=all&amp;supplier={never.code}">{never.code}</a>' in page
    assert "and" not in page.split('id="alone"')[1].split("</table>")[1]


def test_of_many_lonely_suppliers_those_with_the_most_lines_are_named(admin: Client) -> None:
    POLineFactory.create_batch(SUPPLIERS_SHOWN + 2)
    assert "and 2 more" in page_of(admin)


def test_users_are_counted_by_role(admin: Client) -> None:
    UserFactory.create_batch(2, role=Role.PLANNER)
    UserFactory.create(role=Role.PLANNER, is_active=False)
    UserFactory.create(role="")
    people = admin.get(DASHBOARD).context["people"]
    assert people.by_role == [("Administrator", 1), ("Planner", 2), ("Expeditor", 0)]
    assert (people.without_role, people.deactivated) == (1, 1)


# --- the health of servers ----------------------------------------------------------------------


def test_the_page_asks_no_server_and_its_parts_load_by_themselves(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise AssertionError("the dashboard waited for a server")

    monkeypatch.setattr(health, "erp_health", refuse)
    monkeypatch.setattr(health, "server_health", refuse)
    page = page_of(admin)
    for part in ("erp", "server"):
        assert f'hx-get="/admin-portal/health/{part}/" hx-trigger="load"' in page


def test_the_server_is_told_by_what_doctor_finds(admin: Client) -> None:
    part = admin.get("/admin-portal/health/server/", headers=HTMX)
    names = [line.name for line in part.context["diagnosis"].checks]
    assert names == ["database", "migrations", "append-only", "size", "backups", "disk", "clock"]
    assert "migrations are applied" in part.content.decode()
    assert "<html" not in part.content.decode()


def test_a_finding_is_told_with_its_state_in_words_and_its_cure(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(
        name="ERP", status=Status.ERROR, message="It <sleeps>.", remedy="Wake it.", seconds=0.1
    )
    monkeypatch.setattr(health, "erp_health", lambda: Diagnosis([line]))
    page = page_of(admin, ERP)
    for told in (">error<", "It &lt;sleeps&gt;.", "Wake it.", "Check again"):
        assert told in page


def test_an_erp_that_does_not_answer_in_time_is_told_and_can_be_asked_again(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "erp_health", lambda: None)
    page = page_of(admin, ERP)
    assert "There was no answer within 10 seconds." in page
    assert "Check again" in page


# --- who gets there -----------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "there"), [(Role.ADMIN, True), (Role.PLANNER, False)])
def test_only_administrators_have_the_link(
    client: Client, role: Role, there: bool, db: Callable[..., Any]
) -> None:
    sign_in(client, UserFactory.create(role=role))
    assert (f'href="{DASHBOARD}"' in client.get("/po/").content.decode()) is there
