"""The monitor shows what the nights did, and what to do about those that did not end well."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import Role
from apps.admin_portal import monitor
from apps.admin_portal.filters import RunFilter
from apps.audit.models import AuditEvent, EventType
from apps.core.middleware import IdleSession
from apps.ingestion.lease import Lease
from apps.ingestion.models import IngestionLease, IngestionRun, Mode, RunStatus, XrefGap
from apps.ingestion.tests.erp_table import ErpTable, feed_slot, run_of
from tests.factories import (
    A_DAY,
    AuditEventFactory,
    IngestionRunFactory,
    POLineFactory,
    RejectedRowFactory,
    SupplierFactory,
    UserFactory,
    XrefGapFactory,
)
from tests.sql_server import sql_server_sql
from tests.test_pages import HTMX, sign_in

pytestmark = pytest.mark.django_db

RUNS = "/admin-portal/ingestion/"
_ERROR = {"stage": "snapshot", "message": "The ERP <fell> asleep.", "remedy": "Wake it up."}


@pytest.fixture
def admin(client: Client) -> Client:
    sign_in(client, UserFactory.create(role=Role.ADMIN))
    return client


@pytest.fixture
def erp(tmp_path: Path) -> ErpTable:
    return ErpTable(tmp_path / "erp.sqlite3")


def page_of(client: Client, path: str, **headers: str) -> str:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def numbers(client: Client, query: str = "") -> list[int]:
    """The runs that the list shows, in its order."""
    return [seen.run.pk for seen in client.get(f"{RUNS}{query}").context["runs"]]


def at_work(**fields: Any) -> IngestionRun:
    """A run that this process is working on."""
    run = IngestionRunFactory.create(
        status=RunStatus.RUNNING,
        started_at=timezone.now(),
        finished_at=None,
        **{"stage": "snapshot", "rows_read": 12_000, **fields},
    )
    Lease.acquire().assign(run)
    return run


def stopped() -> IngestionRun:
    """A run of which nobody knows any more."""
    return IngestionRunFactory.create(status=RunStatus.RUNNING, finished_at=None, stage="apply")


# --- the list -----------------------------------------------------------------------------------


def test_before_the_first_run_the_list_says_how_to_begin(admin: Client) -> None:
    assert "run_ingestion --baseline" in page_of(admin, RUNS)


def test_the_newest_run_stands_first_and_fifty_on_a_page(admin: Client) -> None:
    made = [run.pk for run in IngestionRunFactory.create_batch(53)]
    assert numbers(admin) == made[:2:-1]
    assert numbers(admin, "?page=2") == made[2::-1]
    assert "51 to 53 of 53" in page_of(admin, f"{RUNS}?page=2")


def test_a_night_is_told_with_its_status_in_words_and_its_counters(admin: Client) -> None:
    IngestionRunFactory.create(
        mode=Mode.INCREMENTAL,
        status=RunStatus.PARTIAL,
        duration_seconds=65,
        po_lines_processed=4979,
        lines_changed=151,
        rejected_rows=5,
    )
    page = page_of(admin, RUNS)
    for told in ("Partial", "Nightly", "2026-03-02", "1 min 05 s", "4,979", "151", ">5<"):
        assert told in page


def test_a_failed_night_is_told_with_its_first_error(admin: Client) -> None:
    IngestionRunFactory.create(status=RunStatus.FAILED, errors_encountered=[_ERROR])
    page = page_of(admin, RUNS)
    assert "The ERP &lt;fell&gt; asleep." in page
    assert "The ERP <fell>" not in page


def test_a_run_that_stopped_unexpectedly_says_what_to_do(admin: Client) -> None:
    stopped()
    page = page_of(admin, RUNS)
    assert "Stopped unexpectedly" in page
    assert "Start run_ingestion, or wait for the next night" in page
    assert "every 2s" not in page


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("", ["stopped", "failed", "partial", "success"]),
        ("success", ["success"]),
        ("partial", ["partial"]),
        ("failed", ["failed"]),
        ("running", []),
        ("stopped", ["stopped"]),
    ],
)
def test_the_list_can_be_narrowed_to_a_status(
    admin: Client, status: str, expected: list[str]
) -> None:
    made = {
        name: IngestionRunFactory.create(status=name) for name in ("success", "partial", "failed")
    }
    made["stopped"] = stopped()
    assert numbers(admin, f"?status={status}") == [made[name].pk for name in expected]


def test_a_run_on_another_machine_has_stopped_as_soon_as_its_lease_has_expired(
    admin: Client,
) -> None:
    """Nobody here can see its process: only the lease tells."""
    run = at_work()
    soon, past = timezone.now() + timedelta(minutes=1), timezone.now() - timedelta(seconds=1)
    lease = IngestionLease.objects.all()
    lease.update(host="elsewhere", expires_at=soon)
    assert "Stopped unexpectedly" not in page_of(admin, f"{RUNS}{run.pk}/")
    lease.update(expires_at=past)
    assert "Stopped unexpectedly" in page_of(admin, f"{RUNS}{run.pk}/")
    assert "Stopped unexpectedly" in page_of(admin, f"{RUNS}{run.pk}/row/", **HTMX)
    assert "stopped unexpectedly" in page_of(admin, "/admin-portal/")


def test_a_run_at_work_is_running_and_not_stopped(admin: Client) -> None:
    run = at_work()
    assert numbers(admin, "?status=running") == [run.pk]
    assert numbers(admin, "?status=stopped") == []


def test_the_list_can_be_narrowed_to_days_and_pages_keep_the_filter(admin: Client) -> None:
    runs = [IngestionRunFactory.create(run_date=A_DAY + timedelta(days=n)) for n in range(4)]
    query = f"?since={A_DAY + timedelta(days=1)}&until={A_DAY + timedelta(days=2)}"
    assert numbers(admin, query) == [runs[2].pk, runs[1].pk]
    IngestionRunFactory.create_batch(60, run_date=A_DAY + timedelta(days=9))
    page = page_of(admin, f"{RUNS}?since={A_DAY + timedelta(days=9)}")
    assert f"since={A_DAY + timedelta(days=9)}&amp;page=2" in page


def test_a_filter_that_fits_nothing_is_told_apart_from_an_empty_list(admin: Client) -> None:
    IngestionRunFactory.create()
    page = page_of(admin, f"{RUNS}?status=failed")
    assert "No run fits these filters." in page
    assert "run_ingestion --baseline" not in page


@pytest.mark.parametrize("query", ["?since=yesterday", "?status=odd", "?page=x"])
def test_a_filter_that_makes_no_sense_hides_nothing(admin: Client, query: str) -> None:
    run = IngestionRunFactory.create()
    assert numbers(admin, query) == [run.pk]
    assert ("The filter was not understood" in page_of(admin, RUNS + query)) is (
        "page" not in query
    )


def test_filtering_answers_with_the_list_alone(admin: Client) -> None:
    IngestionRunFactory.create()
    part = page_of(admin, f"{RUNS}?status=success", **HTMX)
    assert "<html" not in part
    assert "<table" in part
    assert "<figure" not in part  # the picture stays


# --- a run at work ------------------------------------------------------------------------------


def test_the_row_of_a_run_at_work_asks_for_itself_until_the_run_has_ended(admin: Client) -> None:
    run = at_work()
    address = f"{RUNS}{run.pk}/row/"
    assert f'hx-get="{address}" hx-trigger="every 2s"' in page_of(admin, RUNS)
    row = page_of(admin, address, **HTMX)
    assert "Reading the ERP" in row
    assert "12,000 rows read" in row
    assert 'hx-trigger="every 2s"' in row
    IngestionRun.objects.filter(pk=run.pk).update(status=RunStatus.SUCCESS, lines_changed=77)
    row = page_of(admin, address, **HTMX)
    assert "77" in row
    assert "hx-" not in row


def test_the_page_of_a_run_at_work_shows_how_far_it_is(admin: Client) -> None:
    IngestionRunFactory.create(rows_read=48_000)
    run = at_work()
    page = page_of(admin, f"{RUNS}{run.pk}/")
    assert "12,000 rows read of about 48,000" in page
    assert '<progress value="12000" max="48000"' in page
    assert 'hx-trigger="every 2s"' in page
    assert "Counters" not in page


def test_the_page_of_a_run_loads_again_as_a_whole_when_the_run_has_ended(admin: Client) -> None:
    run = at_work()
    address = f"{RUNS}{run.pk}/"
    part = admin.get(address, headers=HTMX)
    assert "HX-Refresh" not in part
    assert b"<html" not in part.content
    IngestionRun.objects.filter(pk=run.pk).update(status=RunStatus.SUCCESS)
    assert admin.get(address, headers=HTMX)["HX-Refresh"] == "true"
    assert "HX-Refresh" not in admin.get(address)


def test_a_page_that_asks_for_itself_does_not_keep_its_session_alive(admin: Client) -> None:
    run = at_work()
    assert IdleSession.COOKIE in admin.get(f"{RUNS}{run.pk}/").cookies
    for address in (f"{RUNS}{run.pk}/", f"{RUNS}{run.pk}/row/"):
        answer = admin.get(address, headers=HTMX)
        assert answer.status_code == 200
        assert not answer.cookies


# --- a run that has ended -----------------------------------------------------------------------


def test_the_page_of_a_run_tells_its_stages_its_counters_and_the_cure(admin: Client) -> None:
    run = IngestionRunFactory.create(
        status=RunStatus.PARTIAL,
        stage_seconds={"xref": 1.0, "snapshot": 3.0},  # as PostgreSQL hands it back
        batches_reconstructed=62,
        errors_encountered=[_ERROR],
    )
    page = page_of(admin, f"{RUNS}{run.pk}/")
    for told in (
        "Reading the ERP",
        'x="75.00%" width="25.00%"',  # the second stage: a quarter, after three quarters
        "Deliveries found in the ERP, corrections included.",
        ">62<",
        "The ERP &lt;fell&gt; asleep.",
        "Wake it up.",
        str(run.identifier),
    ):
        assert told in page


def test_a_failed_run_says_that_nothing_was_applied_and_where_it_failed(admin: Client) -> None:
    run = IngestionRunFactory.create(status=RunStatus.FAILED, stage="snapshot")
    page = page_of(admin, f"{RUNS}{run.pk}/")
    assert "Nothing of this run was applied" in page
    assert "It failed here: Reading the ERP." in page
    assert "No stage was finished." in page


def test_the_page_of_a_run_begins_with_what_somebody_has_to_act_on(admin: Client) -> None:
    run = IngestionRunFactory.create(status=RunStatus.FAILED, errors_encountered=[_ERROR])
    page = page_of(admin, f"{RUNS}{run.pk}/")
    assert page.index("Wake it up.") < page.index(">Counters<") < page.index(">Stages<")


def test_a_run_that_was_not_applied_shows_only_the_counters_of_its_reading(admin: Client) -> None:
    def shown(**fields: Any) -> list[str]:
        run = IngestionRunFactory.create(**fields)
        counters = admin.get(f"{RUNS}{run.pk}/").context["counters"]
        return [counter.field for counter, _number in counters]

    assert shown(status=RunStatus.FAILED) == ["rows_read", "erp_attempts"]
    assert shown(status=RunStatus.RUNNING, finished_at=None) == ["rows_read", "erp_attempts"]
    assert len(shown(status=RunStatus.PARTIAL)) == len(monitor.COUNTERS)


def test_a_stopped_run_says_on_its_page_what_to_do(admin: Client) -> None:
    page = page_of(admin, f"{RUNS}{stopped().pk}/")
    assert "The run stopped unexpectedly (Applying the night)" in page
    assert "it marks this run failed and does its work" in page


def test_a_run_that_was_not_applied_does_not_claim_that_all_is_well(admin: Client) -> None:
    address = f"{RUNS}{stopped().pk}/"
    assert "It stopped before it could say anything." in page_of(admin, address)
    assert "None was found before this run ended." in page_of(admin, f"{address}rejected/")
    assert "nothing is known of its gaps" in page_of(admin, f"{address}gaps/")
    applied = f"{RUNS}{IngestionRunFactory.create().pk}/"
    assert "could be used" in page_of(admin, f"{applied}rejected/")
    assert "every item code is mapped" in page_of(admin, f"{applied}gaps/")


@pytest.mark.parametrize("part", ["", "row/", "changes/", "rejected/", "gaps/"])
def test_a_run_that_is_not_there_is_not_found(admin: Client, part: str) -> None:
    assert admin.get(f"{RUNS}4711/{part}").status_code == 404


# --- its lines ----------------------------------------------------------------------------------


def test_what_a_night_changed_is_told_field_by_field(admin: Client, erp: ErpTable) -> None:
    feed_slot("custom_text_1", "remark")
    for name in ("A1", "A2", "A3"):
        erp.add(name, remark="1.000")
    first = run_of(erp.night(1))
    erp.change("A1", delivered_quantity=40, in_date="2025-03-04", remark="2.000")
    erp.change("A2", status="C")
    erp.add("A4")
    second = run_of(erp.night(2))

    page = page_of(admin, f"{RUNS}{second.pk}/changes/")
    lines = {
        line.event.po_line.po_number: (
            str(line.kind),
            [(str(c.what), c.previous, c.new) for c in line.changes],
        )
        for line in admin.get(f"{RUNS}{second.pk}/changes/").context["lines"]
    }
    kind, told = lines["A1"]
    assert kind == "Changed"
    assert ("Delivered", "0", "40") in told
    assert ("custom_text_1", "1.000", "2.000") in told  # a text that looks like a quantity
    assert ("Status", "Planned", "Part delivered") in told
    assert ("Batch", None, "40 (2025-03-04)") in told
    assert lines["A2"][0] == "Left"
    assert ("In the ERP", None, "Closed in the ERP") in lines["A2"][1]
    assert lines["A4"] == ("New", [])
    assert "ACME Acme Ltd" in page
    baseline = page_of(admin, f"{RUNS}{first.pk}/changes/")
    assert "there is nothing to compare them with" in baseline


def test_lines_can_be_narrowed_to_a_kind_of_change(admin: Client) -> None:
    run = IngestionRunFactory.create()
    for event_type, count in ((EventType.INGESTION_CHANGE, 2), (EventType.PO_LINE_LEFT, 3)):
        AuditEventFactory.create_batch(count, correlation_id=run.identifier, event_type=event_type)
    AuditEventFactory.create(correlation_id=run.identifier, event_type=EventType.XREF_APPLIED)
    AuditEventFactory.create()  # another night's
    address = f"{RUNS}{run.pk}/changes/"
    assert len(admin.get(address).context["lines"]) == 5
    left = admin.get(f"{address}?kind=po_line_left").context
    assert [line.event.event_type for line in left["lines"]] == ["po_line_left"] * 3
    assert {value: number for value, _, number in left["kinds"]} == {
        "ingestion_change": 2,
        "po_line_created": 0,
        "po_line_left": 3,
        "po_line_returned": 0,
    }
    assert len(admin.get(f"{address}?kind=odd").context["lines"]) == 5


# --- what it could not use ----------------------------------------------------------------------


def test_a_rejected_row_is_told_with_its_reason_and_the_values_of_the_erp(admin: Client) -> None:
    row = RejectedRowFactory.create(po_number="P<1>")
    page = page_of(admin, f"{RUNS}{row.run.pk}/rejected/")
    assert "promised_date (DUE): &#x27;2026-02-30&#x27; is not a date" in page
    assert "P&lt;1&gt; / 10" in page
    assert "DUE=2026-02-30" in page
    assert "no value" in page


def test_a_long_value_of_the_erp_is_shown_whole_once_only(admin: Client) -> None:
    long = "<b>" + "x" * 4000
    row = RejectedRowFactory.create(raw_values={"NOTE": long})
    page = page_of(admin, f"{RUNS}{row.run.pk}/rejected/")
    assert page.count("x" * 4000) == 1
    assert "<b>" not in page
    assert f"NOTE=&lt;b&gt;{'x' * 36}…" in page


def test_rejected_rows_can_be_narrowed_to_lines_or_receipts(admin: Client) -> None:
    run = IngestionRunFactory.create()
    lines = RejectedRowFactory.create_batch(2, run=run)
    receipt = RejectedRowFactory.create(run=run, relation="deliveries", receipt_id="R1")
    RejectedRowFactory.create()  # another night's
    address = f"{RUNS}{run.pk}/rejected/"
    assert list(admin.get(address).context["page"]) == [*lines, receipt]
    assert list(admin.get(f"{address}?relation=lines").context["page"]) == lines
    assert list(admin.get(f"{address}?relation=deliveries").context["page"]) == [receipt]


def test_rejected_rows_stand_in_the_order_of_their_purchase_orders(admin: Client) -> None:
    run = IngestionRunFactory.create()
    late, early = (RejectedRowFactory.create(run=run, po_number=name) for name in ("P2", "P1"))
    assert list(admin.get(f"{RUNS}{run.pk}/rejected/").context["page"]) == [early, late]


def test_rejected_rows_come_fifty_on_a_page_that_replaces_its_section_only(admin: Client) -> None:
    run = IngestionRunFactory.create()
    RejectedRowFactory.create_batch(51, run=run)
    address = f"{RUNS}{run.pk}/rejected/"
    part = page_of(admin, f"{address}?relation=lines&page=2", **HTMX)
    assert "51 to 51 of 51" in part
    assert "<html" not in part
    assert f'hx-get="{address}?relation=lines&amp;page=1"' in part


# --- its gaps -----------------------------------------------------------------------------------


def test_the_gaps_of_a_night_and_those_that_are_open_now_are_told_apart(admin: Client) -> None:
    code = {"supplier": "V1", "item_code": "ITM-7", "lines": 1_705}
    run = IngestionRunFactory.create(unmapped_item_codes=[code])
    few = XrefGapFactory.create(line_count=1)
    many = XrefGapFactory.create(line_count=9)
    XrefGapFactory.create(resolved_at=timezone.now())
    address = f"{RUNS}{run.pk}/gaps/"
    page = page_of(admin, address)
    for told in ("V1", "ITM-7", "1,705"):
        assert told in page
    shown = admin.get(f"{address}?which=open").context
    assert list(shown["page"]) == [many, few]
    assert (shown["in_run"], shown["open"]) == (1, 2)


# --- on SQL Server ------------------------------------------------------------------------------


def test_every_question_can_be_put_to_sql_server() -> None:
    admin = UserFactory.create(role=Role.ADMIN)
    runs = IngestionRun.objects.for_user(admin).newest_first().without_lists()
    asked = RunFilter({"status": "failed", "since": "2026-03-02", "until": "2026-03-09"})
    events = AuditEvent.objects.for_user(admin).select_related("po_line", "supplier")
    gaps = XrefGap.objects.for_user(admin).still_open().select_related("supplier")
    for question in (
        asked.narrow(runs, stopped={1, 2})[50:100],
        events.of_act(uuid4()).order_by("pk")[:50],
        gaps.most_lines_first()[:50],
    ):
        sql_server_sql(question)


# --- on PostgreSQL ------------------------------------------------------------------------------


@pytest.mark.skipif(connection.vendor != "postgresql", reason="others sort a run's events")
def test_the_lines_of_a_run_are_found_without_walking_through_all_history(admin: Client) -> None:
    """Its planner takes the order by key for the quicker way, and begins with the oldest event."""
    line = POLineFactory.create()
    run, other = IngestionRunFactory.create_batch(2)
    # Of each ten events one, so that the way by key is clearly the longer one.
    for of, count in ((other, 1_800), (run, 200)):
        built = AuditEventFactory.build_batch(count, po_line=line, correlation_id=of.identifier)
        for event in built:
            event.supplier = line.supplier
        AuditEvent.objects.bulk_create(built)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE audit_auditevent")
        cursor.execute("SET LOCAL enable_seqscan = off")
        # Whether the run's events seem to lie together depends on its random identifier.
        cursor.execute("SET LOCAL random_page_cost = 1")
    shown = AuditEvent.objects.of_act(run.identifier).filter(event_type__in=monitor.LINE_EVENTS)
    assert "audit_act" in shown.order_by("pk")[:50].explain()


# --- how much it costs --------------------------------------------------------------------------


def queries_of(client: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(path).status_code == 200
    return len(queries)


def fill(run: IngestionRun, count: int) -> None:
    """So many more of everything that the run's page and its parts show."""
    supplier = SupplierFactory.create()
    run.unmapped_item_codes += [{"supplier": "V", "item_code": "I", "lines": 1}] * count
    run.save()
    for line in POLineFactory.create_batch(count, supplier=supplier):
        change = {"field": "promised_date", "previous": None, "new": "2026-03-09"}
        AuditEventFactory.create(
            po_line=line,
            supplier=SupplierFactory.create(),
            correlation_id=run.identifier,
            data={"changes": [change, change]},
        )
    RejectedRowFactory.create_batch(count, run=run)
    XrefGapFactory.create_batch(count)
    IngestionRunFactory.create_batch(count, run_date=date(2026, 2, 1))


@pytest.mark.parametrize(
    ("path", "most"),
    [
        (RUNS, 13),
        ("{run}", 7),
        ("{run}row/", 4),
        ("{run}changes/", 10),
        ("{run}rejected/", 9),
        ("{run}gaps/", 8),
        ("{run}gaps/?which=open", 9),
        ("/admin-portal/", 14),
    ],
)
def test_a_page_asks_as_often_for_many_rows_as_for_a_few(
    admin: Client,
    django_assert_max_num_queries: Callable[..., Any],
    path: str,
    most: int,
) -> None:
    run = IngestionRunFactory.create()
    address = path.format(run=f"{RUNS}{run.pk}/")
    fill(run, 2)
    few = queries_of(admin, address)
    fill(run, 48)
    with django_assert_max_num_queries(few):
        admin.get(address)
    assert few <= most  # session, user and the age of the data included
