"""Stage 1: the ERP's rows become this run's snapshot rows; nothing else of ours changes.

Steps: clean up after a broken attempt, read the active lines, settle duplicate keys, look at the
whole (the guard), look up by key what the active lines no longer show, read the receipts.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from tenacity import (
    Retrying,
    before_sleep_log,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from apps.core.bulk import insert_rows, refresh_statistics
from apps.ingestion.context import Extract, RunContext, StageResult
from apps.ingestion.duplicates import count_line, settle_lines, settle_receipts
from apps.ingestion.erp.mapping import DELIVERY_FIELDS
from apps.ingestion.erp.preflight import ensure_readable
from apps.ingestion.erp.rows import ReceiptReader, Rejection, Row
from apps.ingestion.errors import Notice, TransientErpError
from apps.ingestion.models import ERPSnapshot, ReceiptSnapshot, RejectedRow
from apps.ingestion.plausibility import check_lines, check_receipts
from apps.ingestion.snapshot_rows import (
    PRESENT,
    SNAPSHOT_FIELDS,
    aged_before,
    insert_looked_up,
    insert_rejections,
    is_aged,
    presence_of,
    rejection_of_line,
    remove_rows,
    snapshot_of_line,
)
from apps.po.models import ACTIVE, POLine, Presence

logger = logging.getLogger(__name__)

STAGE = "snapshot"


def run(context: RunContext) -> StageResult:
    """Reads the ERP, again after transient errors. Raises ErpError or RefusedError."""
    attempts = Retrying(
        retry=retry_if_exception_type(TransientErpError),
        stop=stop_after_attempt(max(1, settings.INGESTION_RETRY_ATTEMPTS)),
        wait=wait_exponential_jitter(
            multiplier=settings.INGESTION_RETRY_BACKOFF_SECONDS,
            jitter=settings.INGESTION_RETRY_BACKOFF_SECONDS,
            max=settings.INGESTION_LEASE_SECONDS / 10,  # the lease must outlive the pause
        ),
        sleep=context.pause,
        before_sleep=before_sleep_log(logger, logging.WARNING),
        reraise=True,
    )
    for attempt in attempts:
        with attempt:
            _read_everything(context)
    context.run.extraction_finished_at = timezone.now()
    return _result(context)


def _read_everything(context: RunContext) -> None:
    run = context.run
    run.erp_attempts += 1
    run.extraction_started_at = timezone.now()
    if context.options.as_of is None:
        run.effective_at = run.extraction_started_at
    run.rows_read = 0
    run.save(update_fields=["erp_attempts", "extraction_started_at", "effective_at", "rows_read"])
    context.extract = Extract()
    for model in (ERPSnapshot, ReceiptSnapshot, RejectedRow):
        remove_rows(model._default_manager.filter(run=run), context)
    # Earlier receipts live on as ERPReceipt and batches; their raw copies would only pile up.
    remove_rows(ReceiptSnapshot.objects.exclude(run=run), context)

    with context.reader.reading():
        ensure_readable(context.reader)
        _extract(context)
        refresh_statistics(ERPSnapshot, RejectedRow)  # before the first big join
        settle_lines(context, extracted=True)
        _drop_unknown_aged(context)
        check_lines(context)
        _look_up(context)
        settle_lines(context, extracted=False)
        _read_receipts(context)


def _extract(context: RunContext) -> None:
    """Reads the active lines in short chunks."""
    run, mapping, extract = context.run, context.mapping, context.extract
    closed, status_map = mapping.closed_statuses, mapping.status_map
    before = aged_before(mapping, run.run_date)
    expected = POLine.objects.filter(presence=Presence.PRESENT).count()
    read, item_codes = context.rows.read, extract.item_codes
    run_id = run.pk
    for raw_rows in context.reader.active_rows():
        snapshots: list[tuple[Any, ...]] = []
        aged: list[Row] = []
        rejections: list[Rejection] = []
        for raw in raw_rows:
            row = read(raw)
            if isinstance(row, Rejection):
                rejections.append(row)
                continue
            code = row.erp_status
            if code in closed:
                continue  # looked like an active one to the ERP's engine only
            if before and is_aged(row, before):
                aged.append(row)
                if row.unreadable_slots:
                    extract.aged_unreadable[row.po_number, row.line_number] = row.unreadable_slots
                continue
            if code not in status_map:
                extract.unknown_codes[code] += 1
            if row.unreadable_slots:
                extract.unreadable_custom.update(row.unreadable_slots)
            item_codes[row.supplier_code, row.erp_item_code] += 1
            if row.supplier_name is not None:
                extract.supplier_names[row.supplier_code, row.supplier_name] += 1
            snapshots.append(
                (
                    run_id,
                    row.po_number,
                    row.line_number,
                    PRESENT,
                    True,
                    row.values,
                    row.row_hash,
                    row.custom_hash,
                )
            )
        for row in aged:
            extract.supplier_codes.add(row.supplier_code)
        with transaction.atomic():
            context.lease.renew()  # who lost the lease does not write one chunk more
            insert_rows(ERPSnapshot, SNAPSHOT_FIELDS, snapshots)
            insert_looked_up(context, aged, extracted=True)
            insert_rejections(context, rejections, "lines", extracted=True)
            run.rows_read += len(raw_rows)
            extract.accepted += len(snapshots)
            run.save(update_fields=["rows_read"])
        context.progress.rows(run.rows_read, expected)
        context.breathe()


def _drop_unknown_aged(context: RunContext) -> None:
    """An aged line that we know is followed, but none begins aged."""
    if context.mapping.lookback_days is None:
        return
    known = POLine.objects.current().filter(
        po_number=OuterRef("po_number"), line_number=OuterRef("line_number")
    )
    remove_rows(
        ERPSnapshot.objects.filter(~Exists(known), run=context.run, presence=Presence.AGED_OUT),
        context,
    )
    if context.extract.aged_unreadable:
        kept = ERPSnapshot.objects.filter(run=context.run, presence=Presence.AGED_OUT)
        for key in kept.values_list("po_number", "line_number"):
            context.extract.unreadable_custom.update(context.extract.aged_unreadable.get(key, ()))


def _look_up(context: RunContext) -> None:
    """Asks by key for lines that left, are absent or aged out, or were closed not long ago, so that
    no late receipt, correction or return is lost (rules.md "Comparing")."""
    run = context.run
    closed_after = run.run_date - timedelta(days=context.mapping.recheck_days)
    asked = Q(presence__in=(Presence.PRESENT, Presence.AGED_OUT, Presence.ABSENT)) | Q(
        presence__in=(Presence.CLOSED, Presence.CANCELLED), presence_since__gt=closed_after
    )
    lines = POLine.objects.filter(
        asked, ~Exists(snapshot_of_line(run)), ~Exists(rejection_of_line(run))
    )
    wanted = {
        (po_number, line_number): (presence, pk)
        for po_number, line_number, presence, pk in lines.order_by().values_list(
            "po_number", "line_number", "presence", "pk"
        )
    }
    seen: set[tuple[str, str]] = set()
    before = aged_before(context.mapping, run.run_date)
    for raw_rows in context.reader.rows_of_orders(sorted({po for po, _ in wanted})):
        found: list[Row] = []
        rejections: list[Rejection] = []
        for raw in raw_rows:
            row = context.rows.read(raw)
            key = row.po_number, row.line_number
            if key not in wanted:
                continue
            seen.add(key)
            if isinstance(row, Rejection):
                rejections.append(row)
            else:
                found.append(row)
                context.extract.unreadable_custom.update(row.unreadable_slots)
                presence = presence_of(row, context, before)
                count_line(context, presence, row.parsed(), +1)
        with transaction.atomic():
            context.lease.renew()
            insert_looked_up(context, found, extracted=False)
            insert_rejections(context, rejections, "lines", extracted=False)
        context.breathe()
    context.extract.missing = sorted(
        line for key, line in wanted.items() if key not in seen and line[0] in ACTIVE
    )


def _read_receipts(context: RunContext) -> None:
    """Reads the receipts relation, if there is one, and refuses one that has emptied."""
    if context.mapping.deliveries is None:
        return
    run = context.run
    reader = ReceiptReader(context.mapping, context.reader.delivery_columns)
    for raw_rows in context.reader.receipts():
        receipts: list[tuple[Any, ...]] = []
        rejections: list[Rejection] = []
        for raw in raw_rows:
            receipt = reader.read(raw)
            if isinstance(receipt, Rejection):
                rejections.append(receipt)
            else:
                receipts.append((run.pk, *(receipt[name] for name in DELIVERY_FIELDS)))
        with transaction.atomic():
            context.lease.renew()
            insert_rows(ReceiptSnapshot, ("run_id", *DELIVERY_FIELDS), receipts)
            insert_rejections(context, rejections, "deliveries", extracted=True)
        context.breathe()
    refresh_statistics(ReceiptSnapshot, RejectedRow)
    settle_receipts(context)
    check_receipts(context)


def _result(context: RunContext) -> StageResult:
    extract = context.extract
    rejected = RejectedRow.objects.filter(run=context.run).count()
    result = StageResult(counts={"po_lines_processed": extract.accepted, "rejected_rows": rejected})
    if rejected:
        first = RejectedRow.objects.filter(run=context.run).order_by("pk").first()
        result.notices.append(
            Notice(
                STAGE,
                f"{rejected:,} row(s) cannot be used; their lines keep their state. The first: "
                f"{first}",
                "Let the ERP's users correct these rows; the next run reads them again.",
            )
        )
    for code, lines in sorted((+extract.unknown_codes).items()):
        result.notices.append(
            Notice(
                STAGE,
                f'The status code "{code}" of {lines:,} line(s) is not in the mapping; it moves '
                "nothing.",
                "Add the code to [lines.status_map] of the mapping file.",
            )
        )
    for slot, lines in sorted(extract.unreadable_custom.items()):
        result.notices.append(
            Notice(
                STAGE,
                f"{slot}: the value of {lines:,} line(s) cannot be read; the old values stay.",
                "Correct the values in the ERP, or feed a text slot from this column.",
            )
        )
    for why in extract.overridden:
        result.notices.append(
            Notice(
                STAGE,
                f"Applied because of --accept-drop although: {why}.",
                "Nothing to do if this was intended; do not schedule --accept-drop.",
            )
        )
    if extract.duplicates:
        result.notices.append(
            Notice(
                STAGE,
                f"{extract.duplicates:,} row(s) stand in the ERP more than once; each counted "
                "once.",
                "Tell the ERP's administrator, or correct a join in the mapped view.",
            )
        )
    return result
