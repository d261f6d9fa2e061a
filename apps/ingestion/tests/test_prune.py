"""prune_snapshots removes what is not needed, and nothing else."""

from __future__ import annotations

import io
import sqlite3
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection

from apps.audit.models import AuditEvent, ERPChangeEvent, EventType
from apps.audit.services import Actor
from apps.batches.models import Batch
from apps.ingestion import retention
from apps.ingestion.errors import RunActiveError, UsageError
from apps.ingestion.lease import Lease
from apps.ingestion.models import ERPSnapshot, IngestionRun, ReceiptSnapshot, RejectedRow, RunStatus
from apps.ingestion.retention import Pruned, prune_snapshots
from apps.ingestion.tests.erp_table import ErpTable
from tests.factories import IngestionRunFactory

pytestmark = pytest.mark.django_db

_ACTOR = Actor(name="the administrator", source="command")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_PAUSE_SECONDS", 0)


def _run_with_rows(rows: int = 3, status: RunStatus = RunStatus.SUCCESS) -> IngestionRun:
    run = IngestionRunFactory.create(status=status)
    ERPSnapshot.objects.bulk_create(
        ERPSnapshot(
            run=run,
            po_number=f"P{n}",
            line_number="10",
            presence="present",
            extracted=True,
            values="{}",
            row_hash="0" * 32,
        )
        for n in range(rows)
    )
    RejectedRow.objects.create(run=run, relation="lines", reason="is empty", raw_values={})
    return run


def _runs_with_rows() -> list[int]:
    return sorted(set(ERPSnapshot.objects.values_list("run_id", flat=True)))


def _prune(keep: int) -> Pruned:
    return prune_snapshots(keep=keep, actor=_ACTOR)


def test_the_rows_of_all_but_the_newest_applied_runs_go() -> None:
    runs = [_run_with_rows() for _ in range(4)]
    runs.append(_run_with_rows(status=RunStatus.PARTIAL))
    assert _prune(2) == Pruned(runs=3, rows=9)
    assert _runs_with_rows() == [run.pk for run in runs[3:]]


def test_the_last_applied_run_stays_even_if_newer_runs_failed() -> None:
    applied = _run_with_rows()
    _run_with_rows(status=RunStatus.FAILED)
    assert _prune(1) == Pruned(runs=1, rows=3)
    assert _runs_with_rows() == [applied.pk]


@pytest.mark.parametrize("keep", [0, -1])
def test_keeping_less_than_one_is_refused(keep: int) -> None:
    applied = _run_with_rows()
    with pytest.raises(UsageError):
        _prune(keep)
    assert _runs_with_rows() == [applied.pk]


def test_a_running_run_is_left_alone() -> None:
    old = _run_with_rows(status=RunStatus.RUNNING)
    new = _run_with_rows()
    assert _prune(1) == Pruned(runs=0, rows=0)
    assert _runs_with_rows() == [old.pk, new.pk]


def test_history_runs_and_rejected_rows_stay_and_the_next_night_is_as_ever(erp: ErpTable) -> None:
    erp.read_receipts()
    erp.add_others(20)
    erp.add("A1", delivered_quantity=0)
    for night in range(1, 5):
        erp.change("A1", delivered_quantity=night)
        erp.receive(f"R{night}", "A1", 1, "2025-03-03")
        erp.change("Z0001", ordered_quantity=f"{night} or so" if night == 2 else 100)
        erp.night(night)

    def record() -> list[int]:
        models: tuple[Any, ...] = (AuditEvent, ERPChangeEvent, Batch, IngestionRun, RejectedRow)
        return [model.objects.count() for model in models]

    before = record()
    assert _prune(1).rows > 0
    before[0] += 1  # the pruning's own event
    assert record() == before
    last = IngestionRun.objects.latest()
    assert _runs_with_rows() == [last.pk]
    assert set(ReceiptSnapshot.objects.values_list("run_id", flat=True)) <= {last.pk}
    report = erp.night(5)
    assert (report.change_events_detected, report.batches_reconstructed, report.lines_left) == (
        0,
        0,
        0,
    )


def test_one_event_tells_of_the_pruning_and_none_of_nothing() -> None:
    for _ in range(3):
        _run_with_rows()
    _prune(1)
    _prune(1)
    event = AuditEvent.objects.get()
    assert event.event_type == EventType.SNAPSHOTS_PRUNED
    assert event.actor_name == "the administrator"
    assert event.data == {"keep": 1, "runs": 2, "rows": 6}


def test_killed_in_the_middle_it_goes_on_when_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "_ROWS_AT_ONCE", 2)
    for _ in range(2):
        _run_with_rows(rows=5)
    last = _run_with_rows()

    def kill(removed: int, total: int) -> None:
        if removed >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune_snapshots(keep=1, actor=_ACTOR, watch=kill)
    told = AuditEvent.objects.get().data
    assert told["rows"] == 10  # no row is gone that the history does not tell of
    assert _prune(1).rows == 10 - 7  # two chunks and the rest of the first run, one of the second
    assert _runs_with_rows() == [last.pk]


def _locked(times: int) -> Any:
    """The database is locked the first times that somebody deletes."""
    left = [times]

    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "DELETE FROM" in sql and left[0]:
            left[0] -= 1
            said = sqlite3.OperationalError("database is locked")
            said.sqlite_errorname = "SQLITE_BUSY"
            raise OperationalError(*said.args) from said
        return execute(sql, params, many, context)

    return connection.execute_wrapper(refuse)


def test_it_waits_for_a_run_that_applies_its_night() -> None:
    _run_with_rows()
    _run_with_rows()
    Lease.acquire()
    with _locked(times=3):
        assert _prune(1) == Pruned(runs=1, rows=3)


def test_it_ends_when_something_else_keeps_the_database_locked() -> None:
    _run_with_rows()
    _run_with_rows()
    with _locked(times=1), pytest.raises(RunActiveError, match="another process"):
        _prune(1)


def test_the_command_keeps_what_the_setting_says_and_tells_what_it_did(settings: Any) -> None:
    settings.INGESTION_SNAPSHOTS_KEPT = 2
    for _ in range(5):
        _run_with_rows()
    output = io.StringIO()
    call_command("prune_snapshots", stdout=output)
    assert output.getvalue().strip() == "Removed 9 snapshot rows of 3 runs."
    errors = io.StringIO()
    with pytest.raises(SystemExit) as end:
        call_command("prune_snapshots", "--keep", "0", stderr=errors)
    assert end.value.code == 2
    assert "at least 1" in errors.getvalue()
