"""Removes old snapshot rows; what the nights found stays for good in change events and batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db import OperationalError, models, transaction
from django.db.models import Q
from django.utils import timezone

from apps.audit import services as audit
from apps.audit.models import AuditEvent, EventType
from apps.ingestion.errors import RunActiveError, UsageError
from apps.ingestion.lease import Lease
from apps.ingestion.models import APPLIED, ERPSnapshot, IngestionRun, ReceiptSnapshot, RunStatus
from apps.ingestion.trouble import is_locked

_ROWS_AT_ONCE = 10_000
# A process that waits for SQLite's write lock looks again after 0.1 s at the latest.
_PAUSE_SECONDS = 0.11
_MODELS: tuple[type[models.Model], ...] = (ERPSnapshot, ReceiptSnapshot)


@dataclass(frozen=True)
class Pruned:
    """What was removed."""

    runs: int
    rows: int


def prune_snapshots(
    *, keep: int, actor: audit.Actor, watch: Callable[[int, int], None] | None = None
) -> Pruned:
    """Removes the snapshot rows of all but the newest `keep` applied runs.

    Never those of a running run, and no rejected rows, runs or events. Rows go in short
    transactions with pauses between, so that an ingestion may run beside it; it may be killed and
    started again. `watch` is told how many rows are gone, of how many.

    Raises UsageError for `keep` below 1, as the last applied run's rows always stay, and
    RunActiveError when the database stays locked by something else than an ingestion.
    """
    if keep < 1:
        raise UsageError(
            f"{keep} is too few snapshots to keep.",
            "Keep at least 1: the last applied run's rows are needed to explain the last night.",
        )
    rows_of_run = _rows_to_remove(keep)
    total = sum(rows_of_run.values())
    if not total:
        return Pruned(0, 0)
    # Told first: if this is killed, no row is gone that the history does not tell of.
    audit.record(
        [
            audit.Event(
                event_type=EventType.SNAPSHOTS_PRUNED,
                data={"keep": keep, "runs": len(rows_of_run), "rows": total},
            )
        ],
        actor=actor,
        correlation_id=AuditEvent.new_correlation_id(),
        effective_at=timezone.now(),
    )
    removed = 0
    for run in sorted(rows_of_run):
        for model in _MODELS:
            while count := _remove_some(model, run):
                removed += count
                if watch is not None:
                    watch(removed, total)
                time.sleep(_PAUSE_SECONDS)
    return Pruned(len(rows_of_run), removed)


def _rows_to_remove(keep: int) -> dict[int, int]:
    """Run -> number of its snapshot rows, for the runs whose rows are not needed."""
    applied = IngestionRun.objects.filter(status__in=APPLIED).order_by("-pk")
    old = Q(status=RunStatus.FAILED)
    for oldest_kept in applied.values_list("pk", flat=True)[keep - 1 : keep]:
        old |= Q(status__in=APPLIED, pk__lt=oldest_kept)
    found: dict[int, int] = {}
    for run in IngestionRun.objects.filter(old).values_list("pk", flat=True):
        rows = sum(model._default_manager.filter(run=run).count() for model in _MODELS)
        if rows:
            found[run] = rows
    return found


def _remove_some(model: type[models.Model], run: int) -> int:
    """One chunk, in a transaction of its own; waits for an ingestion that applies its night."""
    rows = model._default_manager.filter(run=run).order_by().values("pk")[:_ROWS_AT_ONCE]
    while True:
        try:
            with transaction.atomic():
                return model._default_manager.filter(pk__in=rows).delete()[0]
        except OperationalError as error:
            # SQLite gives up after its time-out, and a large night takes longer to apply.
            if not is_locked(error):
                raise
            if not _run_is_active():
                raise RunActiveError(
                    "The application's database is being written by another process.",
                    "Run prune_snapshots again later; it goes on where it stopped.",
                ) from error


def _run_is_active() -> bool:
    try:
        Lease.ensure_free()
    except RunActiveError:
        return True
    return False
