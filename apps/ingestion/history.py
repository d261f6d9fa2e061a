"""The last runs, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from apps.core.clock import business_date
from apps.ingestion.lease import is_stopped
from apps.ingestion.models import APPLIED, IngestionLease, IngestionRun, Mode, RunStatus

STOPPED = "stopped unexpectedly"
_A_DAY = timedelta(days=1)

_COUNTERS = (
    ("Lines", "po_lines_processed"),
    ("New", "new_lines_created"),
    ("Changed", "lines_changed"),
    ("Left", "lines_left"),
    ("Returned", "lines_returned"),
    ("Batches", "batches_reconstructed"),
    ("Gaps", "xref_gaps_found"),
    ("Rejected", "rejected_rows"),
)
_SHORT = {
    "Seconds": "Sec",
    "Changed": "Chg",
    "Returned": "Ret",
    "Batches": "Batch",
    "Rejected": "Rej",
}


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How much the table tells; no number is ever cut short, so a narrow console gets less."""

    short_headers: bool = True
    with_start: bool = True
    compact: bool = False  # no year, no thousands separators, whole seconds


_LAYOUTS = (
    _Layout(short_headers=False),
    _Layout(),
    _Layout(with_start=False),
    _Layout(with_start=False, compact=True),
)
_STYLES = {
    RunStatus.SUCCESS.value: "green",
    RunStatus.PARTIAL.value: "yellow",
    RunStatus.FAILED.value: "red",
    STOPPED: "red",
}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where the nightly run stands: the newest run, and the newest that was applied.

    `stopped` is whether the newest is marked running although nobody alive works on it.
    """

    newest: IngestionRun | None
    applied: IngestionRun | None
    stopped: bool

    @classmethod
    def now(cls) -> Standing:
        """Asks the database, in three queries whatever it holds."""
        newest = IngestionRun.objects.order_by("-pk").first()
        applied = IngestionRun.objects.filter(status__in=APPLIED).order_by("-pk").first()
        lease = current_lease()
        return cls(
            newest=newest,
            applied=applied,
            stopped=newest is not None and is_stopped(lease, newest),
        )

    @property
    def has_failed_since(self) -> bool:
        """Whether the newest run failed or stopped, so that the applied one is not the newest."""
        return self.newest is not None and (self.stopped or self.newest.status == RunStatus.FAILED)

    @property
    def is_at_work(self) -> bool:
        """Whether the newest run is not at its end yet."""
        return (
            self.newest is not None and self.newest.status == RunStatus.RUNNING and not self.stopped
        )

    @property
    def due(self) -> datetime | None:
        """Until when the next run should have been applied: INGESTION_EXPECTED_EVERY_HOURS after
        the last one that was, and a day later for each day between them on which none is scheduled
        (INGESTION_EXPECTED_WEEKDAYS). None before the first one: nobody knows when it is due."""
        if self.applied is None or self.applied.finished_at is None:
            return None
        due = self.applied.finished_at + timedelta(hours=settings.INGESTION_EXPECTED_EVERY_HOURS)
        day = business_date(self.applied.finished_at)
        while day < business_date(due):
            day += _A_DAY
            if not is_scheduled(day):
                due += _A_DAY
        return due

    @property
    def is_overdue(self) -> bool:
        """Whether a run should have been applied since the last one that was."""
        return self.due is not None and timezone.now() > self.due


def is_scheduled(day: date) -> bool:
    """Whether the schedule starts a run on this day."""
    return settings.WEEKDAYS[day.weekday()] in settings.INGESTION_EXPECTED_WEEKDAYS


def current_lease() -> IngestionLease | None:
    """Who may run now, which tells whether a run that is marked running lives."""
    return IngestionLease.objects.filter(pk=1).first()


@dataclass(frozen=True, kw_only=True)
class SeenRun:
    """A run as it is at this moment.

    `status` is the run's own, or "stopped unexpectedly" for one that is marked running although
    nobody alive works on it.
    """

    run: IngestionRun
    status: str

    @classmethod
    def of(cls, run: IngestionRun, lease: IngestionLease | None) -> SeenRun:
        """Without asking the database: the lease is asked for once for as many runs as there
        are."""
        return cls(run=run, status=STOPPED if is_stopped(lease, run) else run.status)

    @property
    def is_running(self) -> bool:
        return self.status == RunStatus.RUNNING

    @property
    def has_stopped(self) -> bool:
        return self.status == STOPPED

    @property
    def seconds(self) -> float | None:
        """How long it took, or has been at work until now; None where nobody noted its end."""
        if self.is_running:
            return round((timezone.now() - self.run.started_at).total_seconds(), 3)
        return self.run.duration_seconds


def seen(runs: Iterable[IngestionRun]) -> list[SeenRun]:
    """The runs as they are now, with one question to the database."""
    lease = current_lease()
    return [SeenRun.of(run, lease) for run in runs]


def stopped_runs() -> set[int]:
    """The numbers of the runs that stopped unexpectedly; the next run marks them failed."""
    marked = IngestionRun.objects.filter(status=RunStatus.RUNNING).without_lists()
    return {run.run.pk for run in seen(marked) if run.has_stopped}


@dataclass(frozen=True, kw_only=True)
class Night:
    """What the runs of one business day came to.

    `seconds` is how long the longest applied one took, None without any; `is_partial` is about the
    last applied one.
    """

    day: date
    runs: int = 0
    applied: int = 0
    failed: int = 0
    is_partial: bool = False
    is_scheduled: bool = True
    is_missing: bool = False  # scheduled, but without a run, after the first run and before today
    changed: int = 0
    seconds: float | None = None

    @property
    def is_running(self) -> bool:
        return self.runs > self.applied + self.failed

    @property
    def has_failed(self) -> bool:
        """Whether nothing was applied, although it was tried."""
        return self.failed > 0 and not self.applied and not self.is_running


def nights(today: date, days: int) -> list[Night]:
    """A night for each of the last days, the oldest first; in three queries."""
    first = today - timedelta(days=days - 1)
    runs = IngestionRun.objects.filter(run_date__gte=first, run_date__lte=today).order_by("pk")
    by_day: dict[date, list[SeenRun]] = {}
    for run in seen(
        runs.only("run_date", "status", "started_at", "duration_seconds", "lines_changed")
    ):
        by_day.setdefault(run.run.run_date, []).append(run)
    has_begun = IngestionRun.objects.filter(run_date__lt=first).exists()
    found = []
    for day in (first + timedelta(days=n) for n in range(days)):
        if day in by_day:
            has_begun = True
            found.append(_night(day, by_day[day]))
        else:
            scheduled = is_scheduled(day)
            is_missing = scheduled and has_begun and day < today
            found.append(Night(day=day, is_scheduled=scheduled, is_missing=is_missing))
    return found


def _night(day: date, runs: list[SeenRun]) -> Night:
    applied = [shown.run for shown in runs if shown.run.status in APPLIED]
    took = [run.duration_seconds for run in applied if run.duration_seconds is not None]
    return Night(
        day=day,
        runs=len(runs),
        applied=len(applied),
        failed=sum(shown.has_stopped or shown.status == RunStatus.FAILED for shown in runs),
        is_partial=bool(applied) and applied[-1].status == RunStatus.PARTIAL,
        changed=sum(run.lines_changed for run in applied),
        seconds=max(took, default=None),
    )


def expected_rows() -> int | None:
    """About how many rows a run that is at work will read: as many as the last applied one did.
    None before the first."""
    applied = IngestionRun.objects.filter(status__in=APPLIED).newest_first()
    return applied.values_list("rows_read", flat=True).first()


def last_runs(limit: int) -> list[dict[str, Any]]:
    """The newest runs first, each as an object of JSON values; `status` as SeenRun has it."""
    return [_told(run) for run in seen(IngestionRun.objects.newest_first()[:limit])]


def _told(shown: SeenRun) -> dict[str, Any]:
    run = shown.run
    return {
        "number": run.pk,
        "run_identifier": str(run.identifier),
        "run_date": run.run_date.isoformat(),
        "mode": run.mode,
        "status": shown.status,
        "stage": run.stage,
        "rows_read": run.rows_read,
        "started_at": run.started_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        "duration_seconds": shown.seconds,
        **{name: getattr(run, name) for _, name in _COUNTERS},
        "change_events_detected": run.change_events_detected,
        "errors_encountered": run.errors_encountered,
    }


def print_runs(runs: list[dict[str, Any]], console: Console) -> None:
    """A table, and below it the first error of each run that has one. `console` reads no markup."""
    if not runs:
        console.print("No run yet: run_ingestion makes the first one.")
        return
    tables = (_table(runs, layout) for layout in _LAYOUTS)
    table = next((table for table in tables if _fits(table, console)), _table(runs, _LAYOUTS[-1]))
    console.print(table)
    console.print(f"Newest first; times in {timezone.get_current_timezone_name()}.", style="dim")
    _print_first_errors(runs, console)


def _fits(table: Table, console: Console) -> bool:
    unbounded = console.options.update_width(10_000)
    return Measurement.get(console, unbounded, table).maximum <= console.width


def _table(runs: list[dict[str, Any]], layout: _Layout) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0), show_edge=False)
    names = ["Run", "Date", "Status", "Seconds", *(name for name, _ in _COUNTERS)]
    if layout.with_start:
        names[2:2] = ["Mode", "Started"]
    for name in names:
        table.add_column(
            _SHORT.get(name, name) if layout.short_headers else name,
            justify="left" if name in ("Date", "Mode", "Started", "Status") else "right",
            no_wrap=True,
        )
    for run in runs:
        table.add_row(*_cells(run, layout))
    return table


def _cells(run: dict[str, Any], layout: _Layout) -> list[str | Text]:
    cells: list[str | Text] = [str(run["number"])]
    cells.append(run["run_date"][5:] if layout.compact else run["run_date"])
    if layout.with_start:
        started = timezone.localtime(datetime.fromisoformat(run["started_at"]))
        cells.append("baseline" if run["mode"] == Mode.BASELINE else "nightly")
        cells.append(f"{started:%m-%d %H:%M}")
    status = run["status"]
    cells.append(Text(status.split()[0], style=_STYLES.get(status, "")))
    seconds = run["duration_seconds"]
    cells.append("" if seconds is None else f"{seconds:.{0 if layout.compact else 1}f}")
    cells += [str(run[name]) if layout.compact else f"{run[name]:,}" for _, name in _COUNTERS]
    return cells


def _print_first_errors(runs: list[dict[str, Any]], console: Console) -> None:
    told = Table.grid(padding=(0, 1))
    told.add_column(justify="right", no_wrap=True, style="bold")
    told.add_column(overflow="fold")
    for run in runs:
        errors = run["errors_encountered"]
        if run["status"] == STOPPED:
            told.add_row(
                str(run["number"]),
                f"{run['stage'] or 'start'}: {STOPPED}, its process is gone. The next run marks it "
                "failed and does its work.",
            )
        elif run["status"] == RunStatus.RUNNING:
            told.add_row(
                str(run["number"]), f"{run['stage'] or 'start'}: {run['rows_read']:,} rows read"
            )
        elif errors:
            more = f" (and {len(errors) - 1:,} more)" if len(errors) > 1 else ""
            told.add_row(str(run["number"]), f"{errors[0]['stage']}: {errors[0]['message']}{more}")
            told.add_row("", Text(f"-> {errors[0]['remedy']}", style="dim"))
    if told.row_count:
        console.print()
        console.print(told)
