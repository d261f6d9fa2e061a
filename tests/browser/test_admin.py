"""The admin pages in a browser: the nights, one night, a night at work, the health of servers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.accounts.models import Role
from apps.ingestion.lease import Lease
from apps.ingestion.models import IngestionRun, RunStatus
from apps.operations import health
from apps.operations.doctor import Diagnosis, Line
from apps.operations.finding import Status
from tests.browser.conftest import LANDED, Screen, make_user
from tests.factories import IngestionRunFactory, RejectedRowFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]

RUNS = "/admin-portal/ingestion/"


@pytest.fixture
def admin(screen: Screen) -> Screen:
    screen.open("/sign-in/")
    screen.sign_in(make_user(Role.ADMIN))
    screen.page.wait_for_url(LANDED)
    return screen


def make_nights(count: int) -> list[IngestionRun]:
    """Nights until today, a failed one among them, and what the last could not use."""
    now = timezone.now()
    runs = [
        IngestionRunFactory.create(
            run_date=now.date() - timedelta(days=ago),
            status=RunStatus.FAILED if ago == 3 else RunStatus.PARTIAL,
            effective_at=now,
            finished_at=now,
            lines_changed=40 + ago,
            duration_seconds=20 + ago,
            stage_seconds={"snapshot": 12.0, "diff": 8.0},
            unmapped_item_codes=[{"supplier": "V1", "item_code": "ITM-7", "lines": 3}],
            errors_encountered=[{"stage": "snapshot", "message": "Tired.", "remedy": "Rest."}],
        )
        for ago in reversed(range(count))
    ]
    values = {"ORDERED_QUANTITY": "<b>" + "long " * 200, "NOTE": None}
    RejectedRowFactory.create_batch(51, run=runs[-1], raw_values=values)
    return runs


@pytest.mark.parametrize("width", [768, 1280, 1920])
def test_no_admin_page_keeps_anybody_from_using_it_nor_is_wider_than_the_window(
    admin: Screen, width: int
) -> None:
    page = admin.page
    page.set_viewport_size({"width": width, "height": 900})
    newest = make_nights(8)[-1]
    stopped = IngestionRunFactory.create(status=RunStatus.RUNNING, finished_at=None)
    run = f"{RUNS}{newest.pk}/"
    for path in (
        "/admin-portal/",
        "/admin-portal/health/server/",
        RUNS,
        f"{RUNS}?status=failed&since=2999-01-01",
        run,
        f"{RUNS}{stopped.pk}/",
        f"{run}changes/",
        f"{run}rejected/",
        f"{run}gaps/?which=open",
    ):
        admin.open(path)
        page.wait_for_load_state("networkidle")
        assert admin.barriers() == [], path
        inside = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert inside, f"{path} is wider than {width}"


def test_an_administrator_gets_from_the_navbar_to_the_reason_of_a_rejected_row(
    admin: Screen,
) -> None:
    newest = make_nights(8)[-1]
    page = admin.page
    page.get_by_role("link", name="Admin", exact=True).click()
    page.get_by_role("link", name="All runs").click()
    page.get_by_role("link", name=str(newest.pk), exact=True).click()
    page.get_by_role("heading", name="Rejected rows").wait_for()
    rejected = page.locator("#rejected")
    rejected.get_by_text("1 to 50 of 51").wait_for()
    rejected.get_by_role("link", name="Next").press("Enter")
    rejected.get_by_text("51 to 51 of 51").wait_for()
    assert admin.path() == f"{RUNS}{newest.pk}/"
    rejected.locator("summary").press("Enter")
    rejected.get_by_text("no value").wait_for()
    assert rejected.locator("details p").is_visible()  # the reason, which its cell may cut short
    for label in rejected.locator("dt").all():
        box = label.bounding_box()
        assert box is not None
        assert box["height"] < 30, "a name is broken over lines"
    assert admin.barriers() == []
    page.get_by_role("navigation", name="Breadcrumb").get_by_role("link", name="Ingestion").click()
    page.wait_for_url(f"**{RUNS}")


def test_filtering_replaces_the_list_and_the_back_button_brings_it_back(admin: Screen) -> None:
    make_nights(8)
    page = admin.page
    admin.open(RUNS)
    rows = page.locator("#runs tbody tr")
    assert rows.count() == 8
    page.get_by_label("Status").select_option("failed")
    page.wait_for_url("**status=failed**")
    page.get_by_text("1 to 1 of 1").wait_for()
    assert rows.count() == 1
    page.go_back()
    page.get_by_text("1 to 8 of 8").wait_for()
    assert rows.count() == 8


def test_a_run_at_work_is_followed_in_its_row_until_it_has_ended(admin: Screen) -> None:
    page = admin.page
    run = IngestionRunFactory.create(
        status=RunStatus.RUNNING, finished_at=None, stage="snapshot", rows_read=1_000
    )
    Lease.acquire().assign(run)
    admin.open(RUNS)
    row = page.locator(f"#run-{run.pk}")
    row.get_by_text("1,000 rows read").wait_for()
    IngestionRun.objects.filter(pk=run.pk).update(rows_read=2_000)
    row.get_by_text("2,000 rows read").wait_for()
    IngestionRun.objects.filter(pk=run.pk).update(status=RunStatus.SUCCESS)
    row.get_by_text("Success").wait_for()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2_500)
    assert asked == []


def test_the_page_of_a_run_at_work_shows_everything_when_the_run_has_ended(admin: Screen) -> None:
    page = admin.page
    run = IngestionRunFactory.create(
        status=RunStatus.RUNNING, finished_at=None, stage="snapshot", rows_read=1_000
    )
    Lease.acquire().assign(run)
    admin.open(f"{RUNS}{run.pk}/")
    page.get_by_text("1,000 rows read").wait_for()
    assert admin.barriers() == []
    IngestionRun.objects.filter(pk=run.pk).update(status=RunStatus.SUCCESS)
    page.get_by_role("heading", name="Counters").wait_for()
    page.get_by_text("Every row that the ERP showed could be used.").wait_for()


def test_the_erp_is_looked_at_by_itself_and_again_when_asked(
    admin: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = admin.page
    admin.open("/admin-portal/")
    part = page.locator("#health-erp")
    part.get_by_text("No ERP is configured.").wait_for()
    page.wait_for_load_state("networkidle")
    assert admin.barriers() == []
    well = Line(name="ERP", status=Status.OK, message="It is well again.", remedy="", seconds=0.1)
    monkeypatch.setattr(health, "erp_health", lambda: Diagnosis([well]))
    part.get_by_role("button", name="Check again").press("Enter")
    part.get_by_text("It is well again.").wait_for()
    assert page.evaluate("document.activeElement.id") == "check-erp"


def test_a_server_that_went_away_is_told_once_however_often_a_page_asks(admin: Screen) -> None:
    page = admin.page
    page.evaluate(
        """() => { for (const _ of [1, 2, 3])
            document.body.dispatchEvent(new CustomEvent("htmx:sendError")); }"""
    )
    assert page.get_by_role("alert").count() == 1
    page.get_by_role("alert").get_by_role("button", name="Close").click()
    page.evaluate("document.body.dispatchEvent(new CustomEvent('htmx:sendError'))")
    assert page.get_by_role("alert").count() == 1
