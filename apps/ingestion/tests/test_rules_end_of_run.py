"""rules.md "End of a run", sentence by sentence; what needs real processes is in tests/."""

from __future__ import annotations

import json
import os
import re
import socket
import uuid
from datetime import timedelta
from typing import Any

import psutil
import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.audit.models import AuditEvent, EventType
from apps.ingestion import pipeline, snapshot
from apps.ingestion.context import NoProgress, RunContext, RunOptions, StageResult, Stop
from apps.ingestion.errors import RunActiveError, TransientErpError, UsageError
from apps.ingestion.lease import Lease, is_stopped
from apps.ingestion.models import (
    ERPSnapshot,
    IngestionLease,
    IngestionRun,
    Mode,
    ReceiptSnapshot,
    RunStatus,
)
from apps.ingestion.tests.erp_table import (
    ErpTable,
    content,
    day,
    events_of,
    line_of,
    log_of,
    messages_of,
    run_of,
)

STAGES = ("snapshot", "apply", "xref", "diff", "batches", "custom_columns", "report")


@pytest.fixture
def a1(erp: ErpTable) -> ErpTable:
    """Night 1 has passed, and much happens on night 2."""
    erp.add("A1")
    erp.add("A2")
    erp.add_others(30)
    erp.night(1)
    erp.change("A1", delivered_quantity=10, status="P")
    erp.change("A2", status="C")
    erp.add("A3", item_code="NUT", supplier_code="BETA")
    return erp


class Watcher(NoProgress):
    """Does something when a stage begins."""

    def __init__(self, stage: str, act: Any) -> None:
        self.wanted = stage
        self.act = act

    def stage(self, name: str) -> None:
        if name == self.wanted:
            self.act()


def run_watched(erp: ErpTable, watcher: Watcher, stop: Stop | None = None) -> Any:
    with erp.connected():
        return pipeline.run(options=RunOptions(as_of=day(2)), progress=watcher, stop=stop)


def hold(run: IngestionRun | None = None, **values: Any) -> IngestionLease:
    """The lease as a run of this very process holds it, but for `values`."""
    held: dict[str, Any] = {
        "token": uuid.uuid4(),
        "run": run,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": psutil.Process().create_time(),
        "expires_at": timezone.now() + timedelta(hours=1),
    }
    return IngestionLease.objects.update_or_create(pk=1, defaults=held | values)[0]


def running_run() -> IngestionRun:
    """A run that was left where it was."""
    return IngestionRun.objects.create(
        mode=Mode.INCREMENTAL,
        status=RunStatus.RUNNING,
        run_date=day(1),
        effective_at=timezone.now(),
        started_at=timezone.now() - timedelta(minutes=5),
        stage="diff",
    )


# --- The applying transaction ---------------------------------------------------------------


def test_the_last_statements_are_the_runs_state_its_event_and_the_lease(a1: ErpTable) -> None:
    with CaptureQueriesContext(connection) as queries:
        a1.night(2)
    statements = [
        re.search(r'(?:INSERT INTO|UPDATE|DELETE FROM) ["[](\w+)', query["sql"])
        for query in queries.captured_queries
    ]
    tables = [statement[1] for statement in statements if statement]
    last = ["ingestion_ingestionrun", "audit_auditevent", "ingestion_ingestionlease"]
    if connection.vendor == "postgresql":
        del last[1]  # events are written by COPY there, which is not captured
    assert tables[-len(last) :] == last
    if connection.vendor != "microsoft":  # whose savepoints are not released
        assert queries.captured_queries[-1]["sql"].startswith("RELEASE SAVEPOINT")


def test_stages_are_applied_in_the_order_of_the_design() -> None:
    assert pipeline.STAGES == (
        "snapshot",
        "xref",
        "diff",
        "batches",
        "custom_columns",
        "report",
    )


def test_what_comes_after_the_commit_only_prints_and_logs(
    a1: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> str:
        raise BrokenPipeError

    monkeypatch.setattr("apps.ingestion.report.Report.as_json", broken)
    with pytest.raises(BrokenPipeError):
        a1.command("--json", "--as-of", str(day(2)))
    run = IngestionRun.objects.latest()
    assert run.status == RunStatus.SUCCESS
    assert line_of("A1").delivered_quantity == 10
    assert AuditEvent.objects.filter(event_type=EventType.INGESTION_FAILED).count() == 0


def test_an_error_while_committing_that_came_after_the_commit_leaves_the_run_applied(
    a1: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = pipeline._Night.apply

    def lose_the_link(night: pipeline._Night) -> None:
        apply(night)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(pipeline._Night, "apply", lose_the_link)
    report = a1.night(2)
    assert run_of(report).status == RunStatus.SUCCESS
    assert [event.event_type for event in events_of(report)][-1] == "ingestion_completed"


@pytest.mark.parametrize("status", [RunStatus.SUCCESS, RunStatus.PARTIAL])
def test_a_run_is_applied_exactly_when_it_is_success_or_partial(
    a1: ErpTable, status: RunStatus
) -> None:
    if status == RunStatus.PARTIAL:
        a1.change("Z0001", ordered_quantity="x")
    assert a1.night(2).status == status
    a1.table = "gone"
    a1.refused_night(3)
    a1.table = "orders"
    a1.change("A1", delivered_quantity=30, in_date=day(3))
    a1.night(4)
    batch = line_of("A1").batches.latest("pk")
    assert (batch.delivered_on, batch.date_uncertain) == (day(3), False)


def test_snapshot_rows_of_a_failed_run_are_removed_by_the_next(
    a1: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    a1.read_receipts()
    a1.receive("R1", "A1", 10, "2025-03-01")

    def fail(*_: Any) -> None:
        raise OperationalError("lost")

    with monkeypatch.context() as patch:
        patch.setattr(Lease, "release", fail)
        failed = run_of(a1.refused_night(2))
    assert ERPSnapshot.objects.filter(run=failed).count() == 33
    a1.night(3)
    assert not ERPSnapshot.objects.filter(run=failed).exists()
    assert not ReceiptSnapshot.objects.filter(run=failed).exists()


def test_progress_is_written_as_the_run_goes(a1: ErpTable, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, str]] = []
    look_up = snapshot._look_up

    def look(context: RunContext) -> None:
        run = IngestionRun.objects.latest()
        seen.append((run.stage, run.rows_read, run.status))
        look_up(context)

    monkeypatch.setattr(snapshot, "_look_up", look)
    a1.night(2)
    assert seen == [("snapshot", 32, "running")]


# --- The lease ------------------------------------------------------------------------------


def test_a_second_run_answers_exit_4_and_writes_no_run_and_no_event(a1: ErpTable) -> None:
    hold()
    runs, events = IngestionRun.objects.count(), AuditEvent.objects.count()
    lines_before = log_lines()
    code, out = a1.command("--json")
    answer = json.loads(out)
    assert code == 4
    assert list(answer) == ["status", "error"]
    assert answer["status"] == "active"
    assert f"process {os.getpid()} on {socket.gethostname()}" in answer["error"]
    assert "ingestion_history" in answer["error"]
    code, out = a1.command()
    assert (code, "Another ingestion run is active" in out) == (4, True)
    assert (IngestionRun.objects.count(), AuditEvent.objects.count()) == (runs, events)
    assert [line["levelname"] for line in log_lines()[len(lines_before) :]] == ["WARNING"] * 2


def log_lines() -> list[dict[str, Any]]:
    file = settings.LOG_DIR / "ingestion.log"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_run_started_within_a_run_is_refused_and_the_first_goes_on(a1: ErpTable) -> None:
    def start_another() -> None:
        with pytest.raises(RunActiveError):
            pipeline.run(options=RunOptions(as_of=day(2)))
        refused.add(stage)

    refused: set[str] = set()
    for stage in STAGES:
        assert run_watched(a1, Watcher(stage, start_another)).status == "success"
    assert refused == set(STAGES)


@pytest.mark.parametrize(
    "dead",
    [
        {"expires_at": timezone.now() - timedelta(seconds=1)},
        {"expires_at": timezone.now() - timedelta(seconds=1), "host": "elsewhere"},
        {"pid": 2**22 + 1},
        {"process_started": 12345.0},
        {"token": None},
    ],
    ids=["expired", "expired elsewhere", "no such process", "process number used again", "free"],
)
def test_the_lease_of_a_dead_run_is_taken_over_and_that_run_is_abandoned(
    a1: ErpTable, dead: dict[str, Any]
) -> None:
    abandoned = running_run()
    hold(abandoned, **dead)
    assert is_stopped(IngestionLease.objects.get(), abandoned)
    report = a1.night(2)
    abandoned.refresh_from_db()
    assert (abandoned.status, abandoned.stage) == (RunStatus.FAILED, "diff")
    assert "stopped unexpectedly" in abandoned.errors_encountered[0]["message"]
    assert abandoned.errors_encountered[0]["stage"] == "diff"
    (event,) = AuditEvent.objects.filter(correlation_id=abandoned.identifier)
    assert event.event_type == EventType.INGESTION_FAILED
    assert event.data["status"] == "failed"
    assert report.status == "success"
    assert IngestionLease.objects.get().token is None


@pytest.mark.parametrize("alive", [{}, {"host": "elsewhere", "pid": 1}, {"process_started": None}])
def test_liveness_is_host_process_and_start_time_together_and_never_a_signal(
    a1: ErpTable, alive: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: Any) -> None:
        pytest.fail("a process was signalled")

    monkeypatch.setattr(os, "kill", kill)
    run = running_run()
    hold(run, **alive)
    assert not is_stopped(IngestionLease.objects.get(), run)
    assert a1.command()[0] == 4
    run.refresh_from_db()
    assert run.status == RunStatus.RUNNING


def test_only_a_run_still_running_can_be_abandoned(a1: ErpTable) -> None:
    applied = IngestionRun.objects.get()
    hold(applied, expires_at=timezone.now() - timedelta(seconds=1))
    assert not is_stopped(IngestionLease.objects.get(), applied)
    a1.night(2)
    applied.refresh_from_db()
    assert applied.status == RunStatus.SUCCESS


def test_a_run_that_lost_its_lease_commits_nothing(a1: ErpTable) -> None:
    before = content()

    def steal() -> None:
        IngestionLease.objects.update(token=uuid.uuid4(), host="elsewhere")

    report = run_watched(a1, Watcher("apply", steal))
    assert report.status == "failed"
    assert "Another run took over" in messages_of(report)
    assert "INGESTION_LEASE_SECONDS" in messages_of(report)
    assert content() == before
    assert IngestionLease.objects.get().host == "elsewhere"


def test_a_run_that_was_abandoned_meanwhile_does_not_tell_of_itself_once_more(
    a1: ErpTable,
) -> None:
    def abandon() -> None:
        IngestionLease.objects.update(token=None)
        IngestionRun.objects.filter(status=RunStatus.RUNNING).update(status=RunStatus.FAILED)

    report = run_watched(a1, Watcher("apply", abandon))
    assert report.status == "failed"
    assert events_of(report) == []


def test_the_lease_is_renewed_while_the_run_lives(
    a1: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = snapshot._look_up
    seen: list[bool] = []

    def look(context: RunContext) -> None:
        context.lease._renew_at = timezone.now()  # a tenth of its time has passed
        expired_at = IngestionLease.objects.get().expires_at
        context.breathe()
        renewed_to = IngestionLease.objects.get().expires_at
        assert expired_at is not None
        assert renewed_to is not None
        seen.append(renewed_to > expired_at)
        look_up(context)

    monkeypatch.setattr(snapshot, "_look_up", look)
    a1.night(2)
    assert seen == [True]


def test_the_lease_is_renewed_once_more_within_the_applying_transaction(a1: ErpTable) -> None:
    soon = timezone.now() + timedelta(minutes=1)
    renewed: list[bool] = []

    class Noting(NoProgress):
        def stage(self, name: str) -> None:
            if name == "apply":
                IngestionLease.objects.update(expires_at=soon)
            elif name in ("xref", "report"):
                renewed.append(IngestionLease.objects.filter(expires_at__gt=soon).exists())

    with a1.connected():
        pipeline.run(options=RunOptions(as_of=day(2)), progress=Noting())
    assert renewed == [True, True]


# --- Stopping -------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_a_wish_to_stop_ends_the_run_failed_with_nothing_half_applied(
    a1: ErpTable, stage: str
) -> None:
    before = content()
    stop = Stop()
    report = run_watched(a1, Watcher(stage, stop.wish), stop)
    assert report.status == "failed"
    assert "ended cleanly; nothing was applied" in messages_of(report)
    assert "run_ingestion" in messages_of(report)
    assert content() == before
    assert [event.event_type for event in events_of(report)] == ["ingestion_failed"]
    assert IngestionLease.objects.get().token is None
    assert a1.night(2).status == "success"


def test_a_wish_to_stop_ends_a_pause_between_two_attempts(
    a1: ErpTable, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.INGESTION_RETRY_BACKOFF_SECONDS = 3600.0
    stop = Stop()

    def lose(context: RunContext) -> None:
        stop.wish()
        raise TransientErpError("The link was lost.", "Try again.")

    monkeypatch.setattr(snapshot, "_extract", lose)
    report = a1.run(as_of=day(2), stop=stop)
    assert (report.status, report.erp_attempts) == ("failed", 1)
    assert "asked to stop" in messages_of(report)


def test_a_wish_to_stop_that_comes_after_the_last_stage_is_too_late(
    a1: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Stop()
    finish = pipeline._Night._finish

    def wish_and_finish(night: pipeline._Night) -> None:
        stop.wish()
        finish(night)

    monkeypatch.setattr(pipeline._Night, "_finish", wish_and_finish)
    assert a1.run(as_of=day(2), stop=stop).status == "success"


# --- Exit codes -----------------------------------------------------------------------------


def test_exit_codes_are_0_for_success_and_partial_3_for_partial_under_strict_1_for_failed(
    a1: ErpTable,
) -> None:
    date = str(day(2))
    assert a1.command("--as-of", date)[0] == 0
    assert a1.command("--as-of", date, "--strict")[0] == 0
    a1.change("Z0001", ordered_quantity="x")
    assert a1.command("--as-of", date)[0] == 0
    code, out = a1.command("--as-of", date, "--strict", "--json")
    assert (code, json.loads(out)["status"]) == (3, "partial")
    a1.table = "gone"
    code, out = a1.command("--as-of", date, "--json")
    assert (code, json.loads(out)["status"]) == (1, "failed")
    code, out = a1.command("--as-of", date)
    assert (code, "gone" in out) == (1, True)


def test_a_baseline_once_an_applied_run_exists_is_wrong_usage(a1: ErpTable) -> None:
    runs, events = IngestionRun.objects.count(), AuditEvent.objects.count()
    before = content()
    code, out = a1.command("--baseline", "--json")
    assert code == 2
    assert json.loads(out)["status"] == "usage"
    assert f"{day(1)} was applied already" in json.loads(out)["error"]
    assert (IngestionRun.objects.count(), AuditEvent.objects.count()) == (runs, events)
    assert content() == before
    assert IngestionLease.objects.get().token is None


def test_a_baseline_flag_on_the_first_run_is_allowed(erp: ErpTable) -> None:
    erp.add("A1")
    assert erp.run(as_of=day(1), baseline=True).mode == "baseline"
    with pytest.raises(UsageError):
        erp.run(as_of=day(2), baseline=True)


def test_a_failed_baseline_leaves_the_next_run_a_baseline(
    erp: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    erp.add("A1", delivered_quantity=5)

    def fail(context: RunContext) -> StageResult:
        raise OperationalError("lost")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "APPLY_STAGES", (*pipeline.APPLY_STAGES[:-1], ("report", fail)))
        assert erp.refused_night(1).mode == "baseline"
    report = erp.night(2)
    assert (report.mode, report.new_lines_created) == ("baseline", 1)
    assert [batch.kind for batch in line_of("A1").batches.all()] == ["opening"]


# --- The event and the log ------------------------------------------------------------------


def test_a_completed_run_is_one_line_of_the_log_file_with_its_report(a1: ErpTable) -> None:
    report = a1.night(2)
    told = [line for line in log_of(report.run_identifier) if "report" in line]
    assert len(told) == 1
    assert told[0]["report"] == report.as_dict()
    assert told[0]["levelname"] == "INFO"


def test_a_failed_run_stores_its_event_and_one_line_of_the_log_file(a1: ErpTable) -> None:
    a1.table = "gone"
    report = a1.refused_night(2)
    (event,) = events_of(report)
    assert event.event_type == EventType.INGESTION_FAILED
    assert event.data == report.as_dict()
    told = [line for line in log_of(report.run_identifier) if "report" in line]
    assert [line["report"] for line in told] == [report.as_dict()]
    assert told[0]["levelname"] == "ERROR"


def test_if_the_failure_cannot_be_recorded_the_log_file_still_has_it(
    a1: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(pipeline, "_record_failed", gone)
    a1.table = "gone"
    code, out = a1.command("--as-of", str(day(2)), "--json")
    report = json.loads(out)
    assert (code, report["status"]) == (1, "failed")
    assert AuditEvent.objects.filter(event_type=EventType.INGESTION_FAILED).count() == 0
    told = log_of(report["run_identifier"])
    assert any("could not be recorded" in line["message"] for line in told)
    assert told[-1]["report"] == report
