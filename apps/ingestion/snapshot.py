"""Stage 1: the ERP's rows become this run's snapshot rows; nothing else of ours changes.

Steps: clean up after a broken attempt, read the active lines, settle duplicate keys, look at the
whole (the guard), look up by key what the active lines no longer show, read the receipts.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import date, timedelta
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
from apps.ingestion.erp.mapping import DELIVERY_FIELDS, ErpMapping
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
# Of fewer receipts any share may vanish or be broken; of so many it is the relation that is wrong.
_RECEIPTS_THAT_PROVE = 20

_SNAPSHOT_FIELDS = (
    "run_id",
    "po_number",
    "line_number",
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


def remove_rows(rows: QuerySet[Any], context: RunContext | None = None) -> int:
    """Deletes snapshot rows in chunks, each a short transaction, so that nobody waits long."""
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
        _drop_unknown_aged(context)
        _check_plausible(context)
        _look_up(context)
        _settle_duplicates(context, extracted=False)
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
                    _PRESENT,
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
            insert_rows(ERPSnapshot, _SNAPSHOT_FIELDS, snapshots)
            _insert_looked_up(context, aged, extracted=True)
            _insert_rejections(context, rejections, "lines", extracted=True)
            run.rows_read += len(raw_rows)
            run.save(update_fields=["rows_read"])
        context.progress.rows(run.rows_read, expected)
        context.breathe()


def aged_before(mapping: ErpMapping, run_date: date) -> str | None:
    """The PO insert date before which a delivered line counts as aged, or None for never."""
    days = mapping.lookback_days
    return None if days is None else (run_date - timedelta(days=days)).isoformat()


def is_aged(row: Row, before: str) -> bool:
    """Fully delivered, never closed, and inserted before that date (rules.md "Active")."""
    values = row.parsed()
    inserted = values.get("po_insert_date")
    if inserted is None or inserted >= before:
        return False
    ordered, delivered = values["ordered_quantity"], values["delivered_quantity"]
    assert ordered is not None
    assert delivered is not None
    return Decimal(delivered) >= Decimal(ordered) > 0


def _drop_unknown_aged(context: RunContext) -> None:
    """An aged line that we know is followed, but none begins aged."""
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


def _insert_looked_up(context: RunContext, rows: Iterable[Row], *, extracted: bool) -> None:
    before = aged_before(context.mapping, context.run.run_date)
    insert_rows(
        ERPSnapshot,
        _SNAPSHOT_FIELDS,
        (
            (
                context.run.pk,
                row.po_number,
                row.line_number,
                _presence(row, context, before),
                extracted,
                row.values,
                row.row_hash,
                row.custom_hash,
            )
            for row in rows
        ),
    )


def _presence(row: Row, context: RunContext, before: str | None) -> str:
    """Where a row stands that is not simply one of the active ones."""
    code = row.erp_status
    if code in context.mapping.closed_statuses:
        cancelled = context.mapping.meaning(code) == Status.CANCELLED
        return Presence.CANCELLED.value if cancelled else Presence.CLOSED.value
    aged = before is not None and is_aged(row, before)
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
        rows.order_by()
        .values_list("po_number", "line_number")
        .annotate(n=Count("pk"))
        .filter(n__gt=1)
    )
    with_unreadable = set(
        RejectedRow.objects.filter(
            Exists(snapshot_of_line(context.run)), run=context.run, relation="lines"
        ).values_list("po_number", "line_number")
    )
    keys = {(po, line) for po, line, _ in repeated} | with_unreadable
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
            if identical and key not in with_unreadable:
                removed = same_key[1:]
                context.extract.duplicates += len(removed)
            else:
                removed = same_key
                rejections += [
                    Rejection(*key, "several rows have this key and differ", row.values)
                    for row in same_key
                ]
            surplus += [row.pk for row in removed]
            for row in removed:
                _count(context, row.presence, row.values, -1)
        with transaction.atomic():
            for few in chunks(surplus, _KEYS_AT_ONCE):
                rows.filter(pk__in=few).delete()
            _insert_rejections(context, rejections, "lines", extracted=extracted)
        context.breathe()


def _count(context: RunContext, presence: str, values: dict[str, Any], one: int) -> None:
    """Adds a line to what is counted by line, or takes it out again."""
    extract, supplier = context.extract, values["supplier_code"]
    extract.supplier_codes.add(supplier)
    if presence != _PRESENT:
        return
    extract.item_codes[supplier, values["erp_item_code"]] += one
    if values["erp_status"] not in context.mapping.status_map:
        extract.unknown_codes[values["erp_status"]] += one
    if "supplier_name" in values:
        extract.supplier_names[supplier, values["supplier_name"]] += one


def _check_plausible(context: RunContext) -> None:
    """The guard (rules.md "Guard"): refuses an extract that cannot be true."""
    run, extract = context.run, context.extract
    extract.accepted = ERPSnapshot.objects.filter(
        run=run, extracted=True, presence=_PRESENT
    ).count()
    extract.rejected = RejectedRow.objects.filter(run=run).count()
    before = POLine.objects.filter(presence=Presence.PRESENT).count() - _aged_tonight(run)
    if extract.accepted == 0 and extract.rejected == 0:
        _refuse(context, "The ERP shows no active line at all")
    read = extract.accepted + extract.rejected
    if extract.rejected > settings.INGESTION_MAX_REJECTED_SHARE * read:
        example = RejectedRow.objects.filter(run=run).order_by("pk").first()
        _refuse(
            context,
            f"{extract.rejected:,} of {read:,} rows cannot be used, more than the allowed share "
            f"of {settings.INGESTION_MAX_REJECTED_SHARE:.0%}; the first: {example}",
        )
    if before - extract.accepted > settings.INGESTION_MAX_DROP_SHARE * before:
        _refuse(
            context,
            f"The ERP shows {extract.accepted:,} active lines, but {before:,} were active before: "
            f"a fall of {1 - extract.accepted / before:.0%}, more than the allowed "
            f"{settings.INGESTION_MAX_DROP_SHARE:.0%}",
        )


def _aged_tonight(run: IngestionRun) -> int:
    """Lines that were active until now and age out tonight: they did not go missing."""
    was_present = POLine.objects.filter(
        presence=Presence.PRESENT,
        po_number=OuterRef("po_number"),
        line_number=OuterRef("line_number"),
    )
    aged = ERPSnapshot.objects.filter(run=run, presence=Presence.AGED_OUT)
    return aged.filter(Exists(was_present)).count()


def _refuse(context: RunContext, why: str) -> None:
    """Raises RefusedError, or remembers what --accept-drop let pass."""
    if not context.options.accept_drop:
        raise RefusedError(
            f"{why}. The run was refused; nothing was changed.",
            "Look at the ERP with check_erp and correct the rows or the mapping. If the ERP is "
            "right, run once with --accept-drop.",
        )
    context.extract.overridden.append(why)


def _look_up(context: RunContext) -> None:
    """Asks by key for lines that left, are absent or aged out, or were closed not long ago, so that
    no late receipt, correction or return is lost (rules.md "Comparing")."""
    run = context.run
    closed_after = run.run_date - timedelta(days=context.mapping.recheck_days)
    asked = Q(presence__in=(Presence.PRESENT, Presence.AGED_OUT, Presence.ABSENT)) | Q(
        presence__in=(Presence.CLOSED, Presence.CANCELLED), presence_since__gt=closed_after
    )
    wanted = set(
        POLine.objects.filter(
            asked, ~Exists(snapshot_of_line(run)), ~Exists(rejection_of_line(run))
        )
        .order_by()
        .values_list("po_number", "line_number")
    )
    before = aged_before(context.mapping, run.run_date)
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
                presence = _presence(row, context, before)
                _count(context, presence, row.parsed(), +1)
        with transaction.atomic():
            context.lease.renew()
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
            context.lease.renew()
            insert_rows(ReceiptSnapshot, ("run_id", *DELIVERY_FIELDS), receipts)
            _insert_rejections(context, rejections, "deliveries", extracted=True)
        context.breathe()
    _settle_receipt_duplicates(context)
    rejected = RejectedRow.objects.filter(run=run, relation="deliveries").count()
    read = ReceiptSnapshot.objects.filter(run=run).count() + rejected
    if read >= _RECEIPTS_THAT_PROVE and rejected > settings.INGESTION_MAX_REJECTED_SHARE * read:
        _refuse(context, f"{rejected:,} of {read:,} receipts cannot be used")
    known = receipts_of_tonights_lines(run)
    count, gone = known.count(), vanished(known, run).count()
    if count >= _RECEIPTS_THAT_PROVE and gone > settings.INGESTION_MAX_DROP_SHARE * count:
        _refuse(context, f"{gone:,} of {count:,} receipts known before are no longer in the ERP")


def receipts_of_tonights_lines(run: IngestionRun) -> QuerySet[ERPReceipt]:
    """Applied receipts that still stand, of the lines read tonight."""
    line_tonight = ERPSnapshot.objects.filter(
        run=run,
        po_number=OuterRef("po_line__po_number"),
        line_number=OuterRef("po_line__line_number"),
    )
    return (
        ERPReceipt.objects.filter(Exists(line_tonight))
        .exclude(quantity=0)
        .exclude(po_line__presence=Presence.RETIRED)
    )


def vanished(receipts: QuerySet[ERPReceipt], run: IngestionRun) -> QuerySet[ERPReceipt]:
    """Those whose id the ERP does not show tonight, not even in a row that cannot be used."""
    by_id = {"run": run, "receipt_id": OuterRef("receipt_id")}
    return receipts.filter(
        ~Exists(ReceiptSnapshot.objects.filter(**by_id)),
        ~Exists(RejectedRow.objects.filter(relation="deliveries", **by_id)),
    )


def _settle_receipt_duplicates(context: RunContext) -> None:
    """The same rule for receipts, by their id."""
    rows = ReceiptSnapshot.objects.filter(run=context.run)
    repeated = rows.order_by().values_list("receipt_id").annotate(n=Count("pk")).filter(n__gt=1)
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
