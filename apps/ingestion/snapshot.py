"""Stage 1: the ERP's rows become this run's snapshot rows; nothing else of ours changes.

Steps: clean up after a broken attempt, read the active lines, settle duplicate keys, look at the
whole (the guard), look up by key what the active lines no longer show, read the receipts.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from tenacity import (
    Retrying,
    before_sleep_log,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from apps.core.bulk import chunks, insert_rows
from apps.ingestion.context import Extract, RunContext, StageResult
from apps.ingestion.erp.mapping import DELIVERY_FIELDS
from apps.ingestion.erp.preflight import ensure_readable
from apps.ingestion.erp.rows import ReceiptReader, Rejection, Row
from apps.ingestion.errors import Notice, RefusedError, TransientErpError
from apps.ingestion.models import (
    ERPReceipt,
    ERPSnapshot,
    IngestionRun,
    ReceiptSnapshot,
    RejectedRow,
)
from apps.po.lifecycle import Status
from apps.po.models import POLine, Presence

logger = logging.getLogger(__name__)

STAGE = "snapshot"
_PRESENT = Presence.PRESENT.value
_DELETE_AT_ONCE = 10_000
_KEYS_AT_ONCE = 400

_SNAPSHOT_FIELDS = (
    "run_id",
    "po_number",
    "line_number",
    "supplier_code",
    "erp_item_code",
    "presence",
    "extracted",
    "values",
    "row_hash",
    "custom_hash",
)
_REJECTED_FIELDS = (
    "run_id",
    "relation",
    "po_number",
    "line_number",
    "receipt_id",
    "extracted",
    "reason",
    "raw_values",
)


def run(context: RunContext) -> StageResult:
    """Reads the ERP, again after transient errors. Raises ErpError or RefusedError."""
    attempts = Retrying(
        retry=retry_if_exception_type(TransientErpError),
        stop=stop_after_attempt(max(1, settings.INGESTION_RETRY_ATTEMPTS)),
        wait=wait_exponential_jitter(
            initial=settings.INGESTION_RETRY_BACKOFF_SECONDS,
            jitter=settings.INGESTION_RETRY_BACKOFF_SECONDS,
        ),
        sleep=context.stop.pause,
        before_sleep=before_sleep_log(logger, logging.WARNING),
        reraise=True,
    )
    for attempt in attempts:
        with attempt:
            _read_everything(context)
    context.run.extraction_finished_at = timezone.now()
    return _result(context)


def remove_rows(rows: QuerySet[Any], context: RunContext | None = None) -> int:
    """Deletes snapshot rows in chunks, each its own short transaction, so that nobody waits long."""
    removed = 0
    while count := rows.model._default_manager.filter(
        pk__in=rows.order_by().values("pk")[:_DELETE_AT_ONCE]
    ).delete()[0]:
        removed += count
        if context is not None:
            context.breathe()
    return removed


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
        _settle_duplicates(context, extracted=True)
        _check_plausible(context)
        _look_up(context)
        _settle_duplicates(context, extracted=False)
        _read_receipts(context)


def _extract(context: RunContext) -> None:
    """Reads the active lines in short chunks."""
    run, mapping, extract = context.run, context.mapping, context.extract
    closed, status_map = mapping.closed_statuses, mapping.status_map
    aged_before = _aged_before(context)
    expected = POLine.objects.filter(presence=Presence.PRESENT).count()
    read, encode = context.rows.read, context.rows.encode
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
            values = row.values
            code = values["erp_status"]
            if code in closed:
                continue  # looked like an active one to the ERP's engine only
            if aged_before and _is_aged(row, aged_before):
                aged.append(row)
                continue
            if code not in status_map:
                extract.unknown_codes[code or ""] += 1
            if row.unreadable_slots:
                extract.unreadable_custom.update(row.unreadable_slots)
            if "supplier_name" in values:
                extract.supplier_names[values["supplier_code"], values["supplier_name"]] += 1
            snapshots.append(
                (
                    run_id,
                    row.po_number,
                    row.line_number,
                    values["supplier_code"],
                    values["erp_item_code"],
                    _PRESENT,
                    True,
                    encode(row),
                    row.row_hash,
                    row.custom_hash,
                )
            )
        with transaction.atomic():
            insert_rows(ERPSnapshot, _SNAPSHOT_FIELDS, snapshots)
            _insert_looked_up(context, _known(aged), extracted=True)
            _insert_rejections(context, rejections, "lines", extracted=True)
            run.rows_read += len(raw_rows)
            run.save(update_fields=["rows_read"])
        context.progress.rows(run.rows_read, expected)
        context.breathe()


def _aged_before(context: RunContext) -> str | None:
    days = context.mapping.lookback_days
    return None if days is None else (context.run.run_date - timedelta(days=days)).isoformat()


def _is_aged(row: Row, aged_before: str) -> bool:
    """Fully delivered, never closed, and inserted before that date (rules.md "Active")."""
    inserted = row.values.get("po_insert_date")
    if inserted is None or inserted >= aged_before:
        return False
    ordered, delivered = row.values["ordered_quantity"], row.values["delivered_quantity"]
    assert ordered is not None
    assert delivered is not None
    return Decimal(delivered) >= Decimal(ordered) > 0


def _known(rows: list[Row]) -> list[Row]:
    """Those of the rows whose line we know: an aged line is followed, but none begins aged."""
    known: set[tuple[str, str]] = set()
    for some in chunks(rows, _KEYS_AT_ONCE):
        known.update(
            POLine.objects.current()
            .filter(po_number__in={row.po_number for row in some})
            .values_list("po_number", "line_number")
        )
    return [row for row in rows if (row.po_number, row.line_number) in known]


def _insert_looked_up(context: RunContext, rows: Iterable[Row], *, extracted: bool) -> None:
    aged_before = _aged_before(context)
    insert_rows(
        ERPSnapshot,
        _SNAPSHOT_FIELDS,
        (
            (
                context.run.pk,
                row.po_number,
                row.line_number,
                row.values["supplier_code"],
                row.values["erp_item_code"],
                _presence(row, context, aged_before),
                extracted,
                context.rows.encode(row),
                row.row_hash,
                row.custom_hash,
            )
            for row in rows
        ),
    )


def _presence(row: Row, context: RunContext, aged_before: str | None) -> str:
    """Where a row stands that is not simply one of the active ones."""
    code = row.values["erp_status"] or ""
    if code in context.mapping.closed_statuses:
        cancelled = context.mapping.meaning(code) == Status.CANCELLED
        return Presence.CANCELLED.value if cancelled else Presence.CLOSED.value
    aged = aged_before is not None and _is_aged(row, aged_before)
    return Presence.AGED_OUT.value if aged else _PRESENT


def _insert_rejections(
    context: RunContext, rejections: Iterable[Rejection], relation: str, *, extracted: bool
) -> int:
    return insert_rows(
        RejectedRow,
        _REJECTED_FIELDS,
        (
            (
                context.run.pk,
                relation,
                rejection.po_number,
                rejection.line_number,
                rejection.receipt_id,
                extracted,
                rejection.reason,
                json.dumps(rejection.raw_values, ensure_ascii=False),
            )
            for rejection in rejections
        ),
    )


def _settle_duplicates(context: RunContext, *, extracted: bool) -> None:
    """Rows of one key that are identical count once; if they differ, all of them are rejected.

    A row that could not be read differs from every other of its key.
    """
    rows = ERPSnapshot.objects.filter(run=context.run, extracted=extracted)
    repeated = list(
        rows.order_by().values_list("po_number", "line_number").annotate(n=Count("pk")).filter(n__gt=1)
    )
    unreadable = RejectedRow.objects.filter(
        run=context.run,
        relation="lines",
        po_number=OuterRef("po_number"),
        line_number=OuterRef("line_number"),
    )
    beside_unreadable = rows.filter(Exists(unreadable)).values_list("po_number", "line_number")
    keys = {(po, line) for po, line, _ in repeated} | set(beside_unreadable)
    for some in chunks(sorted(keys), _KEYS_AT_ONCE):
        found = [
            row
            for row in rows.filter(po_number__in={po for po, _ in some}).order_by(
                "po_number", "line_number", "pk"
            )
            if (row.po_number, row.line_number) in keys
        ]
        surplus: list[int] = []
        rejections: list[Rejection] = []
        for key, group in groupby(found, key=lambda row: (row.po_number, row.line_number)):
            same_key = list(group)
            identical = all(
                (row.row_hash, row.custom_hash, row.values)
                == (same_key[0].row_hash, same_key[0].custom_hash, same_key[0].values)
                for row in same_key
            )
            if identical and len(same_key) > 1:
                surplus += [row.pk for row in same_key[1:]]
                context.extract.duplicates += len(same_key) - 1
            else:
                surplus += [row.pk for row in same_key]
                rejections += [
                    Rejection(*key, "several rows have this key and differ", row.values)
                    for row in same_key
                ]
        with transaction.atomic():
            for few in chunks(surplus, _KEYS_AT_ONCE):
                rows.filter(pk__in=few).delete()
            _insert_rejections(context, rejections, "lines", extracted=extracted)
        context.breathe()


def _check_plausible(context: RunContext) -> None:
    """The guard (rules.md "Guard"): an extract that cannot be true is refused before it does harm."""
    run, extract = context.run, context.extract
    extract.accepted = ERPSnapshot.objects.filter(run=run, extracted=True, presence=_PRESENT).count()
    extract.rejected = RejectedRow.objects.filter(run=run).count()
    present = POLine.objects.filter(presence=Presence.PRESENT)
    aged_tonight = present.filter(
        Exists(snapshot_of_line(run).filter(presence=Presence.AGED_OUT))
    ).count()
    before = present.count() - aged_tonight
    if context.options.accept_drop:
        return
    remedy = (
        "Look at the ERP with check_erp. If the ERP is right, run once with --accept-drop. "
        "Nothing was changed."
    )
    if extract.accepted == 0 and extract.rejected == 0:
        raise RefusedError("The ERP shows no active line at all.", remedy)
    read = extract.accepted + extract.rejected
    if extract.rejected > settings.INGESTION_MAX_REJECTED_SHARE * read:
        example = RejectedRow.objects.filter(run=run).order_by("pk").first()
        assert example is not None
        raise RefusedError(
            f"{extract.rejected:,} of {read:,} rows cannot be used, more than the allowed share "
            f"of {settings.INGESTION_MAX_REJECTED_SHARE:.0%}. The first: {example}.",
            "Correct the rows or the mapping; if the ERP is right, run once with --accept-drop. "
            "Nothing was changed.",
        )
    if before - extract.accepted > settings.INGESTION_MAX_DROP_SHARE * before:
        raise RefusedError(
            f"The ERP shows {extract.accepted:,} active lines, but {before:,} were active before: "
            f"a fall of {1 - extract.accepted / before:.0%}, more than the allowed "
            f"{settings.INGESTION_MAX_DROP_SHARE:.0%}.",
            remedy,
        )


def _look_up(context: RunContext) -> None:
    """Asks by key for lines that left, are absent or aged out, or were closed not long ago, so that
    no late receipt, correction or return is lost (rules.md "Comparing")."""
    run = context.run
    closed_after = run.run_date - timedelta(days=context.mapping.recheck_days)
    asked = Q(presence__in=(Presence.PRESENT, Presence.AGED_OUT, Presence.ABSENT)) | Q(
        presence__in=(Presence.CLOSED, Presence.CANCELLED), presence_since__gt=closed_after
    )
    wanted = set(
        POLine.objects.filter(asked, ~Exists(snapshot_of_line(run)), ~Exists(rejection_of_line(run)))
        .order_by()
        .values_list("po_number", "line_number")
    )
    for raw_rows in context.reader.rows_of_orders(sorted({po for po, _ in wanted})):
        found: list[Row] = []
        rejections: list[Rejection] = []
        for raw in raw_rows:
            row = context.rows.read(raw)
            if (row.po_number, row.line_number) not in wanted:
                continue
            if isinstance(row, Rejection):
                rejections.append(row)
            else:
                found.append(row)
                context.extract.unreadable_custom.update(row.unreadable_slots)
        with transaction.atomic():
            _insert_looked_up(context, found, extracted=False)
            _insert_rejections(context, rejections, "lines", extracted=False)
        context.breathe()


def snapshot_of_line(run: IngestionRun) -> QuerySet[ERPSnapshot]:
    """The snapshot row of the outer query's line tonight."""
    return ERPSnapshot.objects.filter(
        run=run, po_number=OuterRef("po_number"), line_number=OuterRef("line_number")
    )


def rejection_of_line(run: IngestionRun) -> QuerySet[RejectedRow]:
    """The rejected rows of the outer query's line tonight."""
    return RejectedRow.objects.filter(
        run=run,
        relation="lines",
        po_number=OuterRef("po_number"),
        line_number=OuterRef("line_number"),
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
            insert_rows(ReceiptSnapshot, ("run_id", *DELIVERY_FIELDS), receipts)
            _insert_rejections(context, rejections, "deliveries", extracted=True)
        context.breathe()
    _settle_receipt_duplicates(context)
    read = ReceiptSnapshot.objects.filter(run=run).count()
    known = ERPReceipt.objects.exclude(quantity=0).count()
    if known - read > settings.INGESTION_MAX_DROP_SHARE * known and not context.options.accept_drop:
        raise RefusedError(
            f"The ERP shows {read:,} receipts, but {known:,} were known before.",
            "Look at the receipts relation with check_erp. If the ERP is right, run once with "
            "--accept-drop. Nothing was changed.",
        )


def _settle_receipt_duplicates(context: RunContext) -> None:
    """The same rule for receipts, by their id."""
    rows = ReceiptSnapshot.objects.filter(run=context.run)
    repeated = (
        rows.order_by().values_list("receipt_id").annotate(n=Count("pk")).filter(n__gt=1)
    )
    ids = {receipt_id for receipt_id, _ in repeated}
    for some in chunks(sorted(ids), _KEYS_AT_ONCE):
        found = rows.filter(receipt_id__in=some).order_by("receipt_id", "pk")
        surplus: list[int] = []
        rejections: list[Rejection] = []
        for receipt_id, group in groupby(found, key=lambda row: row.receipt_id):
            same = list(group)
            told = {(r.po_number, r.line_number, r.quantity, r.receipt_date) for r in same}
            if len(told) == 1:
                surplus += [row.pk for row in same[1:]]
                context.extract.duplicates += len(same) - 1
            else:
                surplus += [row.pk for row in same]
                rejections += [
                    Rejection(
                        row.po_number,
                        row.line_number,
                        "several receipts have this id and differ",
                        {"quantity": str(row.quantity), "receipt_date": str(row.receipt_date)},
                        receipt_id,
                    )
                    for row in same
                ]
        with transaction.atomic():
            for few in chunks(surplus, _KEYS_AT_ONCE):
                rows.filter(pk__in=few).delete()
            _insert_rejections(context, rejections, "deliveries", extracted=True)


def _result(context: RunContext) -> StageResult:
    extract = context.extract
    rejected = RejectedRow.objects.filter(run=context.run).count()
    result = StageResult(
        counts={"po_lines_processed": extract.accepted, "rejected_rows": rejected}
    )
    if rejected:
        first = RejectedRow.objects.filter(run=context.run).order_by("pk").first()
        result.notices.append(
            Notice(
                STAGE,
                f"{rejected:,} row(s) cannot be used; their lines keep their state. The first: {first}",
                "Let the ERP's users correct these rows; the next run reads them again.",
            )
        )
    for code, lines in sorted(extract.unknown_codes.items()):
        result.notices.append(
            Notice(
                STAGE,
                f'The status code "{code}" of {lines:,} line(s) is not in the mapping; it moves nothing.',
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
    if extract.duplicates:
        result.notices.append(
            Notice(
                STAGE,
                f"{extract.duplicates:,} row(s) stand in the ERP more than once; each counted once.",
                "Tell the ERP's administrator, or correct a join in the mapped view.",
            )
        )
    return result
