"""Runs, readers and people at once, each on a database connection of its own.

Threads, so that it runs on any server the suite is put on (TEST_POSTGRES_URL, TEST_MSSQL_URL);
tests/test_crash.py has what needs processes that die, on SQLite files.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from threading import Barrier, Event, Semaphore
from typing import Any, TypeVar

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, connections, transaction
from django.utils import timezone

from apps.audit.models import AuditEvent, ERPChangeEvent, EventType
from apps.batches.models import Batch
from apps.core.database_errors import codes_of
from apps.ingestion import lease, pipeline
from apps.ingestion.context import NoProgress, RunOptions, Stop
from apps.ingestion.lease import Lease
from apps.ingestion.models import ERPSnapshot, IngestionLease, IngestionRun, RunStatus
from apps.ingestion.report import Report
from apps.ingestion.tests.erp_table import (
    ErpTable,
    content,
    day,
    events_of,
    line_of,
    messages_of,
    run_of,
)
from apps.po.lifecycle import Status
from apps.po.models import POLine
from tests.chunks import chunks_of
from tests.erp import _allow_connecting
from tests.sql_server import is_babelfish

T = TypeVar("T")

# What a thread waits for another one at most; only a test that fails waits so long.
PATIENCE = 15
# How soon a second run, a reader or a person must be answered (rules.md "End of a run").
SOON = 5


@pytest.fixture(autouse=True)
def server(transactional_db: None) -> None:
    if connection.vendor == "sqlite":
        pytest.skip(
            "SQLite in memory has one connection; run on a server, see TEST_POSTGRES_URL. "
            "tests/test_crash.py has SQLite files and processes."
        )


class Elsewhere:
    """Threads, each with database connections of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=4)

    def start(self, act: Callable[[], T]) -> Future[T]:
        return self._threads.submit(self._act, act)

    def do(self, act: Callable[[], T]) -> T:
        """Its result, which must come soon."""
        return self.start(act).result(SOON)

    def end(self) -> None:
        self._threads.shutdown()

    @staticmethod
    def _act(act: Callable[[], T]) -> T:
        try:
            _allow_connecting()
            return act()
        finally:
            connections.close_all()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    threads = Elsewhere()
    yield threads
    threads.end()


class Held(NoProgress):
    """Keeps a run at the beginning of a stage until it may go on."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self.reached = Event()
        self.may_go_on = Event()

    def stage(self, name: str) -> None:
        if name == self._stage and not self.reached.is_set():
            self.reached.set()
            assert self.may_go_on.wait(PATIENCE), "nobody let the run go on"


class Stages(NoProgress):
    """Knows where a run is."""

    now = ""

    def stage(self, name: str) -> None:
        self.now = name


@pytest.fixture
def erp(tmp_path: Path) -> Iterator[ErpTable]:
    """Night 1 has passed, much happens on night 2, and the product reads this ERP."""
    erp = ErpTable(tmp_path / "erp.sqlite3")
    erp.add("A1")
    erp.add("A2")
    erp.add("A3")
    erp.add_others(30)
    erp.night(1)
    erp.change("A1", delivered_quantity=10, status="P")
    erp.change("A2", delivered_quantity=10)
    erp.change("A3", status="C")
    erp.add("A4", item_code="NUT", supplier_code="BETA")
    with erp.connected():
        yield erp


def run(progress: NoProgress | None = None, stop: Stop | None = None, night: int = 2) -> Report:
    return pipeline.run(options=RunOptions(as_of=day(night)), progress=progress, stop=stop)


def command() -> tuple[int, dict[str, Any]]:
    """The exit code of the command, and the object it printed."""
    out = io.StringIO()
    try:
        call_command("run_ingestion", "--json", "--as-of", str(day(2)), stdout=out)
    except SystemExit as end:
        return int(end.code or 0), json.loads(out.getvalue())
    return 0, json.loads(out.getvalue())


def quantities() -> list[int]:
    """What A1 and A2 have received, by one statement."""
    lines = POLine.objects.filter(po_number__in=("A1", "A2")).order_by("po_number")
    return [int(quantity) for quantity in lines.values_list("delivered_quantity", flat=True)]


# --- two runs -----------------------------------------------------------------------------------


class TestTwoRuns:
    @pytest.mark.parametrize("lease", ["free", "never taken"])
    def test_of_two_started_at_once_exactly_one_runs(
        self, erp: ErpTable, elsewhere: Elsewhere, lease: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if lease == "never taken":
            IngestionLease.objects.all().delete()
        runs, events = IngestionRun.objects.count(), AuditEvent.objects.count()
        both_found_it_free = Barrier(2)
        ensure_free = Lease.ensure_free

        def ensure_free_together() -> None:
            ensure_free()
            both_found_it_free.wait(PATIENCE)

        monkeypatch.setattr(Lease, "ensure_free", staticmethod(ensure_free_together))
        ended = [each.result(PATIENCE) for each in [elsewhere.start(command) for _ in range(2)]]
        (code, report), (other_code, refusal) = sorted(ended, key=lambda each: each[0])
        assert (code, report["status"]) == (0, "success")
        assert (other_code, refusal["status"]) == (4, "active")
        assert IngestionRun.objects.count() == runs + 1
        told = AuditEvent.objects.exclude(correlation_id=report["run_identifier"])
        assert told.count() == events
        assert IngestionLease.objects.get().token is None

    @pytest.mark.parametrize("stage", ["snapshot", "xref", "report"])
    def test_a_second_one_is_answered_at_once_whatever_the_first_is_doing(
        self, erp: ErpTable, elsewhere: Elsewhere, stage: str
    ) -> None:
        held = Held(stage)
        first = elsewhere.start(lambda: run(held))
        assert held.reached.wait(PATIENCE)
        runs = IngestionRun.objects.count()
        started = time.monotonic()
        code, refusal = elsewhere.do(command)
        assert time.monotonic() - started < SOON
        assert (code, refusal["status"]) == (4, "active")
        assert f"process {os.getpid()} on" in refusal["error"]
        assert IngestionRun.objects.count() == runs
        held.may_go_on.set()
        assert first.result(PATIENCE).status == "success"


# --- a page while a night is applied ------------------------------------------------------------


def test_a_page_sees_the_old_night_until_the_new_one_is_there_whole(
    erp: ErpTable, elsewhere: Elsewhere
) -> None:
    seen: dict[str, Any] = {}

    class Reading(NoProgress):
        def stage(self, name: str) -> None:
            if name != "snapshot":
                seen[name] = elsewhere.do(page)

    def page() -> Any:
        return quantities(), content(), AuditEvent.objects.count()

    before = page()
    report = run(Reading())
    assert report.status == "success"
    assert list(seen) == ["apply", "xref", "diff", "batches", "custom_columns", "report"]
    assert all(told == before for told in seen.values())
    assert before[0] == [0, 0]
    assert quantities() == [10, 10]
    assert (
        ERPChangeEvent.objects.filter(run=run_of(report)).count() == report.change_events_detected
    )
    assert Batch.objects.filter(run=run_of(report)).count() == 2


def test_statements_that_run_all_the_time_never_see_half_a_night(
    erp: ErpTable, elsewhere: Elsewhere
) -> None:
    ended = Event()

    def read_on() -> list[list[int]]:
        seen = [quantities()]
        while not ended.is_set():
            seen.append(quantities())
        return [*seen, quantities()]

    reader = elsewhere.start(read_on)
    with chunks_of(1):  # each of the two lines is written by a statement of its own
        assert run().status == "success"
    ended.set()
    seen = reader.result(PATIENCE)
    assert [now for now, then in zip(seen, [None, *seen], strict=False) if now != then] == [
        [0, 0],
        [10, 10],
    ]


# --- a person who writes while a night is applied -----------------------------------------------

READY = date(2025, 5, 5)


def write(*po_numbers: str) -> None:
    """A person enters a date that the application owns, as a page does."""
    for po_number in po_numbers:
        line = POLine.objects.select_for_update().get(po_number=po_number)
        line.production_ready_date = READY
        line.save(update_fields=["production_ready_date"])


def assert_both_are_kept(report: Report, *po_numbers: str) -> None:
    assert report.status == "success"
    for po_number in po_numbers:
        line = line_of(po_number)
        assert line.production_ready_date == READY
        assert line.delivered_quantity == 10
        assert line.batches.count() == 1
        changes = line.erp_changes.filter(field="delivered_quantity")
        assert list(changes.values_list("previous_value", "new_value")) == [("0.000", "10.000")]
    told = AuditEvent.objects.filter(event_type=EventType.INGESTION_COMPLETED)
    assert told.filter(correlation_id=report.run_identifier).count() == 1


class TestAPersonWrites:
    def test_who_began_before_the_apply_reached_the_line_is_waited_for(
        self, erp: ErpTable, elsewhere: Elsewhere
    ) -> None:
        held = Held("diff")
        night = elsewhere.start(lambda: run(held))
        assert held.reached.wait(PATIENCE)
        with transaction.atomic():
            write("A1")
            held.may_go_on.set()
            time.sleep(0.1)  # by now the apply most likely waits for the line
            assert not night.done()
        assert_both_are_kept(night.result(PATIENCE), "A1")

    def test_a_status_that_a_person_moves_meanwhile_is_not_overwritten(
        self, erp: ErpTable, elsewhere: Elsewhere
    ) -> None:
        if is_babelfish(connection):
            pytest.skip("Babelfish ignores UPDLOCK, with which SQL Server holds the line")
        held = Held("diff")
        night = elsewhere.start(lambda: run(held))
        assert held.reached.wait(PATIENCE)
        with transaction.atomic():
            line = line_of("A2")
            line.status = Status.CANCELLED
            line.save(update_fields=["status"])
            held.may_go_on.set()
            time.sleep(0.2)  # by now the apply has most likely found the line
        report = night.result(PATIENCE)
        assert report.status == "success"
        assert "although a person cancelled them" in messages_of(report)
        assert line_of("A2").status == Status.CANCELLED
        assert quantities() == [10, 10]

    def test_who_comes_after_the_apply_wrote_the_line_gets_through_when_it_is_committed(
        self, erp: ErpTable, elsewhere: Elsewhere
    ) -> None:
        held = Held("report")
        night = elsewhere.start(lambda: run(held))
        assert held.reached.wait(PATIENCE)

        def write_in_a_transaction() -> None:
            with transaction.atomic():
                write("A1")

        person = elsewhere.start(write_in_a_transaction)
        time.sleep(0.1)  # by now the person most likely waits for the line
        held.may_go_on.set()
        person.result(SOON)
        assert_both_are_kept(night.result(PATIENCE), "A1")

    def test_a_line_that_the_night_does_not_change_is_written_without_waiting(
        self, erp: ErpTable, elsewhere: Elsewhere
    ) -> None:
        held = Held("report")
        night = elsewhere.start(lambda: run(held))
        assert held.reached.wait(PATIENCE)

        def write_in_a_transaction() -> None:
            with transaction.atomic():
                write("Z0001")

        elsewhere.do(write_in_a_transaction)
        held.may_go_on.set()
        assert night.result(PATIENCE).status == "success"
        assert line_of("Z0001").production_ready_date == READY

    def test_after_a_deadlock_the_apply_is_repeated_and_both_keep_what_they_wrote(
        self, erp: ErpTable, elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture
    ) -> None:
        person_has_a2, apply_has_a1 = Event(), Event()
        stage = Stages()
        asked: list[str] = []
        person_repeated: list[DatabaseError] = []

        class Watching(Stop):
            """Is asked when a stage begins and after each chunk of lines."""

            def check(self) -> None:
                asked.append(stage.now)
                if asked.count("diff") == 2:
                    apply_has_a1.set()

        def write_crosswise() -> None:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute(SPARE_ME[connection.vendor])
                write("A2")
                person_has_a2.set()
                assert apply_has_a1.wait(PATIENCE)
                write("A1")

        def write_until_it_is_done() -> None:
            try:
                write_crosswise()
            except DatabaseError as error:
                if not codes_of(error).conflict:
                    raise
                person_repeated.append(error)
                write_crosswise()

        person = elsewhere.start(write_until_it_is_done)
        assert person_has_a2.wait(PATIENCE)
        with chunks_of(1):  # A1 is locked and written before A2 is asked for
            report = run(stage, Watching())
        person.result(PATIENCE)
        assert_both_are_kept(report, "A1", "A2")
        repeated = [m for m in caplog.messages if m.startswith("Applying again after a conflict")]
        assert len(repeated) + len(person_repeated) == 1
        if connection.vendor == "postgresql":  # elsewhere the wish may not be heard
            assert repeated


# Who is not to be the victim of a deadlock: PostgreSQL ends the one who first finds it, SQL Server
# the one of lower priority.
SPARE_ME = {
    "postgresql": "SET LOCAL deadlock_timeout = '1min'",
    "microsoft": "SET DEADLOCK_PRIORITY HIGH",
}


# --- the lease is taken over --------------------------------------------------------------------


class KilledError(BaseException):
    """Ends a run as a kill does: nothing of it can catch this."""


class Killed(NoProgress):
    """Kills the run at the beginning of a stage, however deep in a transaction it is."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def stage(self, name: str) -> None:
        if name == self._stage:
            connection.close()  # the server rolls back what was not committed
            raise KilledError


def expire() -> None:
    """Nobody has heard of the holder for too long."""
    IngestionLease.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def ended_process() -> int:
    """The number of a process that was there and is gone."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    process.wait()
    return process.pid


class TestTakeover:
    @pytest.mark.parametrize("stage", ["xref", "report"])
    @pytest.mark.parametrize("sign", ["its process is gone", "it was not heard of for too long"])
    def test_a_killed_run_is_marked_failed_and_told_and_the_next_one_does_the_work(
        self, erp: ErpTable, elsewhere: Elsewhere, stage: str, sign: str
    ) -> None:
        before = content()
        with pytest.raises(KilledError):
            elsewhere.start(lambda: run(Killed(stage))).result(PATIENCE)
        assert content() == before
        dead = IngestionRun.objects.latest()
        assert dead.status == RunStatus.RUNNING
        assert ERPSnapshot.objects.filter(run=dead).exists()
        assert command()[0] == 4  # it could still live

        if sign == "its process is gone":
            IngestionLease.objects.update(pid=ended_process())
        else:
            expire()
        code, report = command()
        assert (code, report["status"]) == (0, "success")
        dead.refresh_from_db()
        assert (dead.status, dead.stage) == (RunStatus.FAILED, "apply")
        assert "stopped unexpectedly" in dead.errors_encountered[0]["message"]
        (event,) = AuditEvent.objects.filter(correlation_id=dead.identifier)
        assert event.event_type == EventType.INGESTION_FAILED
        assert not ERPSnapshot.objects.filter(run=dead).exists()
        assert quantities() == [10, 10]

    @pytest.mark.parametrize("stage", ["snapshot", "apply"])
    def test_a_holder_that_lost_its_lease_commits_nothing_and_tells_nothing(
        self, erp: ErpTable, elsewhere: Elsewhere, stage: str
    ) -> None:
        held = Held(stage)
        first = elsewhere.start(lambda: run(held))
        assert held.reached.wait(PATIENCE)
        expire()
        second = run(night=3)
        assert second.status == "success"
        after, events = content(), AuditEvent.objects.count()

        held.may_go_on.set()
        report = first.result(PATIENCE)
        assert report.status == "failed"
        assert "Another run took over" in messages_of(report)
        assert content() == after
        assert AuditEvent.objects.count() == events
        assert [event.event_type for event in events_of(report)] == ["ingestion_failed"]
        assert run_of(report).status == RunStatus.FAILED
        assert IngestionLease.objects.get().token is None

    def test_a_holder_that_is_committing_cannot_lose_its_lease(
        self, erp: ErpTable, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its lease seems expired, but it has renewed it in the transaction that it will commit."""
        at_apply, at_report = Held("apply"), Held("report")

        class Both(NoProgress):
            def stage(self, name: str) -> None:
                at_apply.stage(name)
                at_report.stage(name)

        first = elsewhere.start(lambda: run(Both()))
        assert at_apply.reached.wait(PATIENCE)
        expire()
        at_apply.may_go_on.set()
        assert at_report.reached.wait(PATIENCE)
        looked, judge = Semaphore(0), lease._is_alive

        def judge_and_tell(row: IngestionLease) -> bool:
            alive = judge(row)
            looked.release()
            return alive

        monkeypatch.setattr(lease, "_is_alive", judge_and_tell)
        second = elsewhere.start(command)
        for _ in range(2):  # once before its transaction, once in it: next it takes the lease
            assert looked.acquire(timeout=PATIENCE)
        at_report.may_go_on.set()
        assert first.result(PATIENCE).status == "success"
        code, answer = second.result(SOON)
        assert (code, answer["status"]) == (4, "active")
        assert not IngestionRun.objects.filter(status=RunStatus.FAILED).exists()
        assert quantities() == [10, 10]
