"""One night, from top to bottom (design.md "One run").

1. The lease: one run at a time; a dead one is cleared away.
2. Preflight: mapping and ERP fit together.
3. Snapshot: the ERP is read, in short transactions of our own; all its reading ends here.
4. to 8. Xref, diff, batches, custom columns, report: one transaction, whose last statements are
   the run's state, its event and the lease. The night is all there or not at all.
9. A failed run is told about by its own event, and by the log whatever happens.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, transaction
from django.db import Error as AnyDatabaseError
from django.utils import timezone

from apps.audit import services as audit
from apps.audit.models import EventType
from apps.core.clock import business_today, start_of_business_day
from apps.core.database_errors import codes_of
from apps.core.logs import correlation
from apps.ingestion import (
    batch_reconstruction,
    custom_columns,
    diff_engine,
    line_events,
    snapshot,
    xref,
)
from apps.ingestion.context import (
    INGESTION,
    NoProgress,
    Progress,
    RunContext,
    RunOptions,
    StageResult,
    Stop,
)
from apps.ingestion.erp.preflight import load_compared_mapping
from apps.ingestion.erp.reader import ErpReader
from apps.ingestion.erp.rows import RowReader
from apps.ingestion.errors import IngestionError, Notice, RunActiveError, UsageError
from apps.ingestion.lease import Lease
from apps.ingestion.models import (
    APPLIED,
    ERPSnapshot,
    FieldSet,
    IngestionRun,
    Mode,
    ReceiptSnapshot,
    RejectedRow,
    RunStatus,
)
from apps.ingestion.report import Report
from apps.ingestion.snapshot_rows import remove_rows
from apps.ingestion.trouble import explain_unexpected, refusing_when_locked

logger = logging.getLogger(__name__)

# After the snapshot, in this order, in one transaction.
APPLY_STAGES: tuple[tuple[str, Callable[[RunContext], StageResult]], ...] = (
    (xref.STAGE, xref.run),
    (diff_engine.STAGE, diff_engine.run),
    (batch_reconstruction.STAGE, batch_reconstruction.run),
    (custom_columns.STAGE, custom_columns.run),
    (line_events.STAGE, line_events.run),
)
_APPLY_ATTEMPTS = 3
STAGES = (snapshot.STAGE, *(name for name, _ in APPLY_STAGES))

_RESULT_FIELDS = (
    "status",
    "finished_at",
    "stage",
    "extraction_finished_at",
    "xref_digest",
    "duration_seconds",
    "stage_seconds",
    "po_lines_processed",
    "new_lines_created",
    "lines_changed",
    "change_events_detected",
    "lines_left",
    "lines_returned",
    "batches_reconstructed",
    "custom_columns_populated",
    "xref_gaps_found",
    "unmapped_item_codes",
    "rejected_rows",
    "errors_encountered",
)


def run(
    *, options: RunOptions, progress: Progress | None = None, stop: Stop | None = None
) -> Report:
    """Runs one night and reports it, also when it failed.

    Raises UsageError or RunActiveError, having changed nothing, when there is nothing to run.
    """
    night = _Night(options, progress or NoProgress(), stop or Stop())
    with correlation(str(night.run.identifier)):
        try:
            night.begin()
            night.read()
            night.apply()
        except (UsageError, RunActiveError) as error:
            logger.warning("Ingestion not started: %s", error.message)
            raise
        except IngestionError as error:
            night.fail(Notice(night.stage, error.message, error.remedy))
        except Exception as error:
            # Whatever it is: the run must be marked, told about, and end with exit code 1.
            logger.exception("Ingestion failed in stage %s", night.stage)
            night.fail(explain_unexpected(night.stage, error))
        report = Report.of(night.run)
        failed = report.status == RunStatus.FAILED
        logger.log(
            logging.ERROR if failed else logging.INFO,
            report.log_line(),
            extra={"report": report.as_dict()},
        )
    return report


class _Night:
    """One run on its way."""

    def __init__(self, options: RunOptions, progress: Progress, stop: Stop) -> None:
        self.options = options
        self.progress = progress
        self.stop = stop
        self.stage = "start"
        self._clock = time.perf_counter()
        self._results: dict[str, StageResult] = {}
        self._lease: Lease | None = None
        now = timezone.now()
        run_date = options.as_of or business_today()
        self.run = IngestionRun(
            mode=Mode.BASELINE if options.baseline else Mode.INCREMENTAL,
            run_date=run_date,
            effective_at=start_of_business_day(run_date) if options.as_of else now,
            started_at=now,
        )

    # --- 1 the lease ------------------------------------------------------------------------

    def begin(self) -> None:
        """Takes the lease, clears away a dead run, and records this one."""
        Lease.ensure_free()
        with refusing_when_locked(), transaction.atomic():
            # The lease first: only its holder knows which run was the last applied one.
            self._lease = Lease.acquire()
            self.previous = (
                IngestionRun.objects.select_related("field_set", "custom_field_set")
                .filter(status__in=APPLIED)
                .order_by("-pk")
                .first()
            )
            self._check_usage()
            _abandon_dead_runs()
            if self.options.as_of and self.previous:
                # A second run of one day does not go back behind the first.
                self.run.effective_at = max(self.run.effective_at, self.previous.effective_at)
            self.run.mode = Mode.BASELINE if self.previous is None else Mode.INCREMENTAL
            self.run.save(force_insert=True)
            self._lease.assign(self.run)

    def _check_usage(self) -> None:
        if self.options.baseline and self.previous is not None:
            raise UsageError(
                f"A baseline is the first run only, and run {self.previous.pk} of "
                f"{self.previous.run_date} was applied already.",
                "Run without --baseline.",
            )
        as_of = self.options.as_of
        if as_of is None:
            return
        if as_of > business_today():
            raise UsageError(f"--as-of {as_of} is in the future.", "Give today or a past date.")
        if self.previous is not None and as_of < self.previous.run_date:
            raise UsageError(
                f"--as-of {as_of} is earlier than the last applied run, of "
                f"{self.previous.run_date}.",
                "Replay old ERP backups in the order of their dates, into an empty database.",
            )

    # --- 2 and 3 preflight, snapshot --------------------------------------------------------

    def read(self) -> None:
        """Everything that needs the ERP."""
        self._enter(snapshot.STAGE)
        assert self._lease is not None
        mapping = load_compared_mapping()
        reader = ErpReader(mapping, custom_columns.erp_fed_slots())
        rows = RowReader(reader)
        self.context = RunContext(
            run=self.run,
            options=self.options,
            mapping=mapping,
            reader=reader,
            rows=rows,
            lease=self._lease,
            previous_run=self.previous,
            progress=self.progress,
            stop=self.stop,
        )
        self.run.field_set = FieldSet.of(rows.field_set_digest, rows.field_set)
        self.run.custom_field_set = FieldSet.of(rows.custom_field_set_digest, rows.custom_field_set)
        self.run.save(update_fields=["field_set", "custom_field_set", "stage"])
        self._remove_failed_snapshots()
        self._run_stage(snapshot.STAGE, snapshot.run)

    def _remove_failed_snapshots(self) -> None:
        """Rows of failed runs; those before the last applied run are gone already."""
        failed = IngestionRun.objects.filter(status=RunStatus.FAILED)
        if self.previous is not None:
            failed = failed.filter(pk__gt=self.previous.pk)
        for pk in list(failed.values_list("pk", flat=True)):
            for model in (ERPSnapshot, ReceiptSnapshot):
                remove_rows(model._default_manager.filter(run=pk), self.context)

    # --- 4 to 8 apply -----------------------------------------------------------------------

    def apply(self) -> None:
        """The night in one transaction.

        Once more without custom columns if they doomed it, and once more if the engine chose it as
        the victim of a conflict with somebody's edit: all it reads is our own database by now.
        """
        self._enter("apply")
        self.run.save(update_fields=["stage"])
        read = dict(self._results)
        custom_failure: StageResult | None = None
        for attempt in range(1, _APPLY_ATTEMPTS + 1):
            self._results = dict(read)
            if custom_failure is not None:
                self._results[custom_columns.STAGE] = custom_failure
            try:
                self._apply_once(with_custom_columns=custom_failure is None)
            except DatabaseError as error:
                failed = self._results.get(custom_columns.STAGE)
                if custom_failure is None and failed is not None and failed.failed:
                    logger.exception("The custom columns ended the transaction; applying without")
                    custom_failure = failed
                elif codes_of(error).conflict and attempt < _APPLY_ATTEMPTS:
                    logger.warning("Applying again after a conflict: %s", error)
                else:
                    raise
            else:
                return

    def _apply_once(self, *, with_custom_columns: bool) -> None:
        lease = self.context.lease
        with transaction.atomic():
            lease.renew()
            for name, stage in APPLY_STAGES:
                if name != custom_columns.STAGE:
                    self._run_stage(name, stage)
                elif with_custom_columns:
                    self._run_in_savepoint(name, stage)
                self.stop.check()
            self.stage = "report"
            self._finish()
            self.run.save(update_fields=_RESULT_FIELDS)
            audit.record(
                [
                    audit.Event(
                        event_type=EventType.INGESTION_COMPLETED,
                        reason="; ".join(
                            f"--accept-drop: {why}" for why in self.context.extract.overridden
                        ),
                        data=Report.of(self.run).as_dict(),
                    )
                ],
                actor=INGESTION,
                correlation_id=self.run.identifier,
                effective_at=self.run.effective_at,
            )
            lease.release()

    def _run_stage(self, name: str, stage: Callable[[RunContext], StageResult]) -> None:
        self._enter(name)
        started = time.perf_counter()
        self._results[name] = stage(self.context)
        self.run.stage_seconds[name] = round(time.perf_counter() - started, 3)

    def _run_in_savepoint(self, name: str, stage: Callable[[RunContext], StageResult]) -> None:
        """If this stage fails, the night is partial, not lost."""
        try:
            with transaction.atomic():
                self._run_stage(name, stage)
        except IngestionError:
            raise
        except Exception as error:  # whatever it is, the deliveries matter more
            logger.exception("Stage %s failed; the run goes on without it", name)
            self._results[name] = StageResult(
                counts={"custom_columns_populated": 0},
                notices=[
                    Notice(
                        name,
                        f"The custom columns were not updated: {type(error).__name__}: {error}",
                        "Look into ingestion.log; the next run tries again with all values.",
                    )
                ],
                failed=True,
            )

    def _finish(self) -> None:
        """Puts the stages' results on the run."""
        run = self.run
        totals: dict[str, int] = {}
        notices: list[Notice] = []
        for result in self._results.values():
            for key, count in result.counts.items():
                totals[key] = totals.get(key, 0) + count
            notices += result.notices
        for key, count in totals.items():
            setattr(run, key, count)
        run.errors_encountered = [notice.as_dict() for notice in notices]
        incomplete = run.rejected_rows or any(result.failed for result in self._results.values())
        run.status = RunStatus.PARTIAL if incomplete else RunStatus.SUCCESS
        self._end()

    def _end(self) -> None:
        self.run.stage = ""
        self.run.finished_at = timezone.now()
        self.run.duration_seconds = round(time.perf_counter() - self._clock, 3)

    def _enter(self, stage: str) -> None:
        self.stage = stage
        self.run.stage = stage
        self.progress.stage(stage)
        self.stop.check()

    # --- 9 failure --------------------------------------------------------------------------

    def fail(self, notice: Notice) -> None:
        """Marks the run failed and tells it, unless it is applied already."""
        run = self.run
        connection = connections[DEFAULT_DB_ALIAS]
        try:
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            with transaction.atomic():
                if self._was_applied():
                    return
                self._put_failure(notice)
                self._record_failure()
        except AnyDatabaseError:  # a missing driver or a refused login is no DatabaseError
            # The database is gone, so only the log can tell.
            logger.exception("The failed run could not be recorded in the database")
            self._put_failure(notice)
            run.pk = None

    def _was_applied(self) -> bool:
        """Whether the commit went through although an error came back, for instance a link lost
        while committing; the run is then what the database says."""
        applied = IngestionRun.objects.filter(
            identifier=self.run.identifier, status__in=APPLIED
        ).first()
        if applied is not None:
            self.run = applied
        return applied is not None

    def _put_failure(self, notice: Notice) -> None:
        """What of this run is true although nothing was applied: what was read and rejected."""
        run = self.run
        context = getattr(self, "context", None)
        run.status = RunStatus.FAILED
        run.errors_encountered = [notice.as_dict()]
        run.unmapped_item_codes = []
        run.xref_digest = ""
        for key in _COUNTERS_OF_WHAT_WAS_APPLIED:
            setattr(run, key, 0)
        run.po_lines_processed = context.extract.accepted if context else 0
        self._end()
        run.stage = notice.stage

    def _record_failure(self) -> None:
        run = self.run
        recorded = IngestionRun.objects.filter(identifier=run.identifier)
        if recorded.exists():
            run.rejected_rows = RejectedRow.objects.filter(run__identifier=run.identifier).count()
            values = {name: getattr(run, name) for name in _RESULT_FIELDS}
            if not recorded.filter(status=RunStatus.RUNNING).update(**values):
                return  # another run found this one dead and has told so
        else:
            # Its beginning was rolled back; that it was tried and why it failed is kept anyway.
            run.pk = None
            run.save(force_insert=True)
        _record_failed(run)
        if self._lease is not None:
            self._lease.release_if_held()


_COUNTERS_OF_WHAT_WAS_APPLIED = (
    "new_lines_created",
    "lines_changed",
    "change_events_detected",
    "lines_left",
    "lines_returned",
    "batches_reconstructed",
    "custom_columns_populated",
    "xref_gaps_found",
    "rejected_rows",
)


def _abandon_dead_runs() -> None:
    """Runs that are still marked running although nobody holds the lease for them."""
    for dead in IngestionRun.objects.select_for_update().filter(status=RunStatus.RUNNING):
        dead.status = RunStatus.FAILED
        dead.finished_at = timezone.now()
        dead.duration_seconds = round((dead.finished_at - dead.started_at).total_seconds(), 3)
        dead.errors_encountered = [
            Notice(
                dead.stage or "start",
                "The run stopped unexpectedly (killed, or the machine went down); nothing of it "
                "was applied.",
                "Nothing to do: a later run does its work. If it happens again, look into the "
                "system's log for the reason.",
            ).as_dict()
        ]
        dead.save(update_fields=["status", "finished_at", "duration_seconds", "errors_encountered"])
        _record_failed(dead)
        logger.warning("Run %s was abandoned and is marked failed", dead.identifier)


def _record_failed(run: IngestionRun) -> None:
    audit.record(
        [audit.Event(event_type=EventType.INGESTION_FAILED, data=Report.of(run).as_dict())],
        actor=INGESTION,
        correlation_id=run.identifier,
        effective_at=run.effective_at,
    )
