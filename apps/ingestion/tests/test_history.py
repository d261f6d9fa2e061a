"""ingestion_history shows what became of the last runs."""

from __future__ import annotations

import io
import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from rich.console import Console

from apps.ingestion.history import Standing, last_runs, print_runs
from apps.ingestion.lease import Lease
from apps.ingestion.models import IngestionRun, Mode, RunStatus
from apps.ingestion.tests.erp_table import ErpTable, day
from tests.factories import IngestionRunFactory

pytestmark = pytest.mark.django_db

_ERROR = {"stage": "snapshot", "message": "The ERP could not be read.", "remedy": "Wake it up."}


def _screen(width: int) -> str:
    output = io.StringIO()
    console = Console(file=output, width=width, highlight=False, markup=False, emoji=False)
    print_runs(last_runs(20), console)
    return output.getvalue()


def _run_command(*arguments: str) -> str:
    output = io.StringIO()
    call_command("ingestion_history", *arguments, stdout=output)
    return output.getvalue()


def test_a_night_is_shown_with_its_counters(erp: ErpTable) -> None:
    erp.add("A1")
    erp.add("A2")
    erp.night(1)
    erp.change("A1", promised_date="2025-08-01")
    erp.remove("A2")
    erp.night(2, accept_drop=True)
    newest, oldest = json.loads(_run_command("--json"))
    assert (oldest["mode"], oldest["new_lines_created"]) == (Mode.BASELINE, 2)
    assert newest["run_date"] == day(2).isoformat()
    assert newest["status"] == "success"
    assert (newest["lines_changed"], newest["lines_left"]) == (1, 1)
    assert newest["po_lines_processed"] == 1
    assert newest["duration_seconds"] > 0


def test_only_as_many_as_asked_for_are_shown_the_newest_first() -> None:
    runs = [IngestionRunFactory.create() for _ in range(3)]
    shown = json.loads(_run_command("--limit", "2", "--json"))
    assert [run["number"] for run in shown] == [runs[2].pk, runs[1].pk]


def test_a_failed_run_is_shown_with_its_first_error_and_the_cure() -> None:
    IngestionRunFactory.create(status=RunStatus.FAILED, errors_encountered=[_ERROR, _ERROR])
    screen = _screen(120)
    assert "failed" in screen
    assert "snapshot: The ERP could not be read. (and 1 more)" in screen
    assert "-> Wake it up." in screen


def test_a_run_whose_process_is_gone_stopped_unexpectedly() -> None:
    IngestionRunFactory.create(status=RunStatus.RUNNING, finished_at=None, stage="diff")
    assert last_runs(1)[0]["status"] == "stopped unexpectedly"
    assert "diff: stopped unexpectedly" in _screen(120)


def test_a_run_that_lives_is_shown_running_and_how_far_it_is() -> None:
    run = IngestionRunFactory.create(
        status=RunStatus.RUNNING, finished_at=None, stage="snapshot", rows_read=12_000
    )
    Lease.acquire().assign(run)
    (shown,) = last_runs(1)
    assert shown["status"] == "running"
    assert shown["duration_seconds"] > 0
    assert "snapshot: 12,000 rows read" in _screen(120)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("lines", [5_000, 1_000_000])
def test_the_table_fits_the_console_and_cuts_no_number(width: int, lines: int) -> None:
    numbers: dict[str, Any] = {
        "po_lines_processed": lines,
        "new_lines_created": lines,
        "lines_changed": lines // 30,
        "batches_reconstructed": lines // 8,
        "xref_gaps_found": lines // 1_000,
    }
    IngestionRunFactory.create(
        status=RunStatus.PARTIAL,
        duration_seconds=123.4,
        errors_encountered=[{**_ERROR, "message": "[red]much[/red] to tell " * 20}],
        **numbers,
    )
    screen = _screen(width)
    assert max(map(len, screen.splitlines())) <= width
    assert "…" not in screen
    row = screen.splitlines()[2].replace(",", "").split()
    assert row[0] == str(IngestionRun.objects.latest().pk)
    assert all(str(number) in row for number in numbers.values())
    assert "[red]" in screen  # what a run says is no markup


def test_before_the_first_run_it_says_so() -> None:
    assert "No run yet" in _run_command()
    assert json.loads(_run_command("--json")) == []


def test_a_limit_below_one_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as end:
        call_command("ingestion_history", "--limit", "0", stderr=io.StringIO())
    assert end.value.code == 2


# --- when the next run is due -------------------------------------------------------------------

_WEEKDAYS_ONLY = ["mon", "tue", "wed", "thu", "fri"]
_TUESDAY_TO_SATURDAY = ["tue", "wed", "thu", "fri", "sat"]
_EVERY_DAY = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


@pytest.mark.parametrize(
    ("weekdays", "ended", "due"),
    [
        # 2026-03-06 is a Friday; 26 hours, in Berlin.
        (_EVERY_DAY, "2026-03-06 02:05", "2026-03-07 04:05"),
        (_WEEKDAYS_ONLY, "2026-03-05 02:05", "2026-03-06 04:05"),
        (_WEEKDAYS_ONLY, "2026-03-06 02:05", "2026-03-09 04:05"),
        (_WEEKDAYS_ONLY, "2026-03-06 22:05", "2026-03-10 00:05"),
        (_WEEKDAYS_ONLY, "2026-03-07 09:00", "2026-03-09 11:00"),  # by hand, on the day off
        (_TUESDAY_TO_SATURDAY, "2026-03-07 02:05", "2026-03-10 04:05"),
        (["mon"], "2026-03-02 02:05", "2026-03-09 04:05"),
        # Clocks go forward on the 29th: it is an hour later there, and no night is missed for it.
        (_EVERY_DAY, "2026-03-28 02:05", "2026-03-29 05:05"),
    ],
)
def test_the_next_run_is_due_after_the_hours_and_the_days_without_a_schedule(
    settings: Any, weekdays: list[str], ended: str, due: str
) -> None:
    settings.BUSINESS_TIME_ZONE = "Europe/Berlin"
    settings.INGESTION_EXPECTED_EVERY_HOURS = 26
    settings.INGESTION_EXPECTED_WEEKDAYS = weekdays
    berlin = ZoneInfo("Europe/Berlin")
    moment = datetime.fromisoformat(ended).replace(tzinfo=berlin)
    IngestionRunFactory.create(finished_at=moment)
    found = Standing.now().due
    assert found is not None
    assert f"{found.astimezone(berlin):%Y-%m-%d %H:%M}" == due


def test_nothing_is_overdue_before_the_first_applied_run() -> None:
    assert Standing.now().due is None
    assert not Standing.now().is_overdue
    IngestionRunFactory.create(status=RunStatus.FAILED)
    assert not Standing.now().is_overdue
