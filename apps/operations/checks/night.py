"""The nightly run: how old the data are, and whether something went wrong since."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from apps.ingestion.history import Standing
from apps.ingestion.models import IngestionRun, RunStatus
from apps.operations.finding import Finding, error, ok, warning


def look_at_last_run() -> Iterator[Finding]:
    """The newest run that was applied, and a newer one that was not."""
    standing = Standing.now()
    if standing.newest is None:
        yield warning(
            "No run yet: there are no data.",
            "Run check_erp, then run_ingestion once by hand, then schedule it.",
        )
        return
    yield from _age(standing)
    yield from _newest(standing)


def _age(standing: Standing) -> Iterator[Finding]:
    applied = standing.applied
    if applied is None:
        yield error(
            "No run was applied yet: there are no data.",
            "Cure what the runs say (ingestion_history), then run_ingestion once by hand.",
        )
        return
    assert applied.finished_at is not None  # an applied run has ended
    age = timezone.now() - applied.finished_at
    if standing.is_overdue:
        yield error(
            f"The last applied run ended {in_words(age)} ago; one is expected every "
            f"{settings.INGESTION_EXPECTED_EVERY_HOURS} hours.",
            "Look whether the schedule still starts it, then run run_ingestion. If the schedule is "
            "another one, set INGESTION_EXPECTED_EVERY_HOURS and INGESTION_EXPECTED_WEEKDAYS.",
        )
    elif applied.status == RunStatus.PARTIAL:
        yield warning(
            f"The last applied run, {in_words(age)} ago, is partial: {_first_error(applied)}",
            "ingestion_history and the run's report say what was left out and what to do.",
        )
    else:
        lines = f"{applied.po_lines_processed:,} lines"
        yield ok(f"run {applied.pk} of {applied.run_date}, {in_words(age)} ago, {lines}")


def _newest(standing: Standing) -> Iterator[Finding]:
    newest = standing.newest
    assert newest is not None
    if standing.stopped:
        yield error(
            f"Run {newest.pk} stopped unexpectedly in stage {newest.stage or 'start'}: its process "
            "is gone. Nothing of it was applied.",
            "Run run_ingestion, or wait for the next night. If it happens again, look into the "
            "system's log for the reason.",
        )
    elif standing.has_failed_since:
        yield error(f"Run {newest.pk} failed: {_first_error(newest)}", _first_remedy(newest))
    elif newest.status == RunStatus.RUNNING:
        yield ok(f"run {newest.pk} is working, stage {newest.stage or 'start'}")


def _first_error(run: IngestionRun) -> str:
    told = run.errors_encountered
    return str(told[0]["message"]) if told else f"{run.rejected_rows:,} row(s) were rejected"


def _first_remedy(run: IngestionRun) -> str:
    told = run.errors_encountered
    return str(told[0]["remedy"]) if told else "Look into ingestion.log."


def in_words(span: timedelta) -> str:
    """For people: minutes below two hours, hours below two days, else days."""
    minutes = max(0, round(span.total_seconds() / 60))
    if minutes < 120:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"
