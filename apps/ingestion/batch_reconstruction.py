"""Stage 4: delivered quantities (and receipts, where the ERP has them) -> historical batches.

What the ERP calls delivered and what the batches add up to is brought together line by line:
`POLine.batched_quantity` is the sum so far, the difference is tonight's to explain. So whatever
happens, the batches of a line add up to its delivered quantity (law 2).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.db.models import DateField, Exists, F, OuterRef, Value
from django.db.models.functions import Coalesce

from apps.audit.models import ERPChangeEvent
from apps.batches.models import Batch, Kind, ReceiptDateNote
from apps.core.bulk import chunks, insert_rows, update_rows
from apps.ingestion.context import RunContext, StageResult
from apps.ingestion.erp.fields import RECEIPTS
from apps.ingestion.errors import Notice
from apps.ingestion.models import ERPReceipt, ReceiptSnapshot, RejectedRow
from apps.ingestion.snapshot_rows import receipts_of_tonights_lines, snapshot_of_line, vanished
from apps.po.lifecycle import Status
from apps.po.models import POLine, Presence

STAGE = "batches"
_LINES_AT_ONCE = 1_000
_IDS_AT_ONCE = 400
# A line that the ERP itself still has among its active ones.
_NOT_ENDED = (Presence.PRESENT, Presence.AGED_OUT)

_BATCH_FIELDS = (
    "po_line_id",
    "supplier_id",
    "run_id",
    "kind",
    "quantity",
    "delivered_on",
    "date_uncertain",
    "receipt_id",
    "over_delivery",
    "negative_total",
    "note",
)


@dataclass(slots=True)
class Line:
    """What the batches of one line are made from."""

    pk: int
    key: tuple[str, str]
    supplier_id: int
    ordered: Decimal
    delivered: Decimal
    batched: Decimal
    in_date: date | None
    is_new: bool
    is_retired: bool
    is_cancelled: bool
    delivered_changed: bool


@dataclass(slots=True)
class Part:
    """A batch to be."""

    kind: Kind
    quantity: Decimal
    delivered_on: date | None
    date_uncertain: bool = False
    receipt_id: str = ""
    note: str = ""


def between_runs(line: Line, *, previous_date: date | None, run_date: date) -> Part | None:
    """The one batch that explains what the delivered quantity gained or lost since the last run.

    `previous_date` is the date of the previous applied run (rules.md "Batches").
    """
    gained = line.delivered - line.batched
    if gained == 0:
        return None
    if line.is_new:
        return Part(Kind.OPENING, gained, line.in_date)
    if not line.delivered_changed:
        # No change of the ERP's: the delivered quantity is read from another column now.
        return Part(
            Kind.UNEXPLAINED, gained, run_date, date_uncertain=True,
            note="The delivered quantity is read differently since this run",
        )  # fmt: skip
    if gained < 0:
        return Part(Kind.CORRECTION, gained, run_date)
    if (
        line.in_date is not None
        and previous_date is not None
        and previous_date < line.in_date <= run_date
    ):
        return Part(Kind.BETWEEN_RUNS, gained, line.in_date)
    return Part(Kind.BETWEEN_RUNS, gained, run_date, date_uncertain=True)


def run(context: RunContext) -> StageResult:
    """Writes tonight's batches."""
    stage = _Batches(context)
    if _receipts_read_anew(context):
        POLine.objects.filter(receipts_known=True).update(receipts_known=False)
    if context.mapping.deliveries is not None:
        stage.adopt_receipts()
        stage.apply_receipts()
        stage.apply_vanished_receipts()
    stage.apply_quantities()
    return StageResult(counts={"batches_reconstructed": stage.written}, notices=stage.notices())


def _receipts_read_anew(context: RunContext) -> bool:
    """Whether the last applied run read receipts from elsewhere, or tonight reads none."""
    previous = context.previous_run
    before = previous.field_set.fields if previous and previous.field_set else {}
    return RECEIPTS in before and before[RECEIPTS] != context.rows.field_set.get(RECEIPTS)


class _Batches:
    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.run = context.run
        self.previous_date = context.previous_run.run_date if context.previous_run else None
        self.with_receipts = context.mapping.deliveries is not None
        self.written = 0
        self.received_though_cancelled: list[Line] = []

    def notices(self) -> list[Notice]:
        """Deliveries on lines that a person cancelled: somebody should know."""
        lines = self.received_though_cancelled
        if not lines:
            return []
        first = " / ".join(lines[0].key)
        return [
            Notice(
                STAGE,
                f"{len(lines):,} line(s) received goods although a person cancelled them; "
                f"the first: {first}.",
                "Ask the supplier and the ERP's users; the lines stay cancelled.",
            )
        ]

    def adopt_receipts(self) -> None:
        """Lines whose batches were made without receipts: tonight's receipts are what those
        batches already tell, so they are noted, not delivered once more."""
        lines = POLine.objects.current().filter(
            Exists(snapshot_of_line(self.run)), receipts_known=False
        )
        pks = list(lines.order_by("pk").values_list("pk", flat=True))
        for some in chunks(pks, _LINES_AT_ONCE):
            found = self._lines(some)
            by_key = {line.key: line for line in found}
            tonight = [
                receipt
                for receipt in self._tonight(sorted({line.key[0] for line in found}))
                if (receipt.po_number, receipt.line_number) in by_key
            ]
            self._note(
                [(by_key[r.po_number, r.line_number].pk, r) for r in tonight],
                self._known({r.receipt_id for r in tonight}),
            )
            # What vanished while receipts were not read is in those batches too.
            gone = vanished(receipts_of_tonights_lines(self.run).filter(po_line__in=some), self.run)
            for few in chunks(list(gone.values_list("pk", flat=True)), _IDS_AT_ONCE):
                update_rows(ERPReceipt, ("quantity",), [("0", pk) for pk in few])
            self._write([(line, self._between_runs(line)) for line in found])
            update_rows(POLine, ("receipts_known",), [(True, pk) for pk in some])
            self.context.stop.check()

    def apply_receipts(self) -> None:
        """New ids are exact batches; changed quantities corrections, changed dates notes."""
        no_date = Value(date.min, output_field=DateField())
        same = ERPReceipt.objects.alias(day=Coalesce("receipt_date", no_date)).filter(
            receipt_id=OuterRef("receipt_id"),
            quantity=OuterRef("quantity"),
            day=Coalesce(OuterRef("receipt_date"), no_date),
            po_line__po_number=OuterRef("po_number"),
            po_line__line_number=OuterRef("line_number"),
        )
        differing = ReceiptSnapshot.objects.filter(
            Exists(snapshot_of_line(self.run)), ~Exists(same), run=self.run
        )
        pks = list(differing.order_by("pk").values_list("pk", flat=True))
        for some in chunks(pks, _IDS_AT_ONCE):
            self._apply_receipts(list(ReceiptSnapshot.objects.filter(pk__in=some).order_by("pk")))
            self.context.stop.check()

    def apply_vanished_receipts(self) -> None:
        """An id that the ERP no longer has takes its quantity back."""
        gone = vanished(receipts_of_tonights_lines(self.run), self.run)
        for pks in chunks(list(gone.order_by("pk").values_list("pk", flat=True)), _IDS_AT_ONCE):
            some = list(ERPReceipt.objects.filter(pk__in=pks).order_by("pk"))
            lines = {line.pk: line for line in self._lines([r.po_line_id for r in some])}
            parts: dict[int, list[Part]] = defaultdict(list)
            for receipt in some:
                parts[receipt.po_line_id].append(
                    Part(
                        Kind.CORRECTION,
                        -receipt.quantity,
                        self.run.run_date,
                        receipt_id=receipt.receipt_id,
                        note="The receipt is no longer in the ERP",
                    )
                )
            self._write([(lines[pk], made) for pk, made in parts.items()])
            update_rows(ERPReceipt, ("quantity",), [("0", receipt.pk) for receipt in some])
            self.context.stop.check()

    def apply_quantities(self) -> None:
        """What no receipt explains: a batch between runs, or the unexplained rest."""
        unexplained = POLine.objects.filter(last_run=self.run.pk).exclude(
            batched_quantity=F("delivered_quantity")
        )
        pks = list(unexplained.order_by("pk").values_list("pk", flat=True))
        explain = self._unexplained if self.with_receipts else self._between_runs
        for some in chunks(pks, _LINES_AT_ONCE):
            self._write([(line, explain(line)) for line in self._lines(some)])
            self.context.stop.check()

    # --- deciding ---------------------------------------------------------------------------

    def _between_runs(self, line: Line) -> list[Part]:
        part = between_runs(line, previous_date=self.previous_date, run_date=self.run.run_date)
        return [] if part is None else [part]

    def _unexplained(self, line: Line) -> list[Part]:
        return [
            Part(
                Kind.UNEXPLAINED,
                line.delivered - line.batched,
                self.run.run_date,
                date_uncertain=True,
                note="The delivered quantity and the receipts differ",
            )
        ]

    def _apply_receipts(self, receipts: list[ReceiptSnapshot]) -> None:
        known = self._known({receipt.receipt_id for receipt in receipts})
        orders = sorted({receipt.po_number for receipt in receipts})
        pks = POLine.objects.current().filter(po_number__in=orders).values_list("pk", flat=True)
        moved_from = [old.po_line_id for old in known.values()]
        lines = {line.pk: line for line in self._lines({*pks, *moved_from})}
        by_key = {line.key: line for line in lines.values() if not line.is_retired}
        rejected = self._rejected_lines([lines[pk].key[0] for pk in moved_from])
        parts: dict[int, list[Part]] = defaultdict(list)
        noted: list[tuple[int, ReceiptSnapshot]] = []
        for receipt in receipts:
            line = by_key[receipt.po_number, receipt.line_number]
            old = known.get(receipt.receipt_id)
            if old is None:
                parts[line.pk].append(_exact(receipt))
            elif lines[old.po_line_id].key in rejected:
                continue  # tonight's row of the old line is broken, so it keeps its state
            elif lines[old.po_line_id].key != line.key:
                parts[old.po_line_id].append(
                    Part(
                        Kind.CORRECTION,
                        -old.quantity,
                        self.run.run_date,
                        receipt_id=receipt.receipt_id,
                        note=f"The receipt belongs to {line.key[0]} / {line.key[1]} now",
                    )
                )
                parts[line.pk].append(_exact(receipt))
            elif lines[old.po_line_id].is_retired:
                continue  # of the order that had this key before
            else:
                if receipt.quantity != old.quantity:
                    parts[line.pk].append(
                        Part(
                            Kind.CORRECTION,
                            receipt.quantity - old.quantity,
                            self.run.run_date,
                            receipt_id=receipt.receipt_id,
                            note="The quantity of the receipt was changed in the ERP",
                        )
                    )
                if receipt.receipt_date != old.receipt_date:
                    self._note_date(old, receipt)
            noted.append((line.pk, receipt))
        self._write([(lines[pk], made) for pk, made in parts.items()])
        self._note(noted, known)

    # --- reading ----------------------------------------------------------------------------

    def _lines(self, pks: Iterable[int]) -> list[Line]:
        wanted = sorted(set(pks))
        changed: set[int] = set()
        lines: list[Line] = []
        for some in chunks(wanted, _IDS_AT_ONCE):
            changed.update(
                ERPChangeEvent.objects.filter(
                    run=self.run, field="delivered_quantity", po_line__in=some
                ).values_list("po_line_id", flat=True)
            )
            rows = POLine.objects.filter(pk__in=some).order_by("pk").values(
                "pk", "po_number", "line_number", "supplier_id", "ordered_quantity",
                "delivered_quantity", "batched_quantity", "in_date", "first_run", "presence",
                "status",
            )  # fmt: skip
            lines += [
                Line(
                    pk=row["pk"],
                    key=(row["po_number"], row["line_number"]),
                    supplier_id=row["supplier_id"],
                    ordered=row["ordered_quantity"],
                    delivered=row["delivered_quantity"],
                    batched=row["batched_quantity"],
                    in_date=row["in_date"],
                    is_new=row["first_run"] == self.run.pk,
                    is_retired=row["presence"] == Presence.RETIRED,
                    is_cancelled=row["status"] == Status.CANCELLED
                    and row["presence"] in _NOT_ENDED,
                    delivered_changed=row["pk"] in changed,
                )
                for row in rows
            ]
        return lines

    def _rejected_lines(self, orders: list[str]) -> set[tuple[str, str]]:
        rows = RejectedRow.objects.filter(
            run=self.run, relation="lines", po_number__in=sorted(set(orders))
        )
        return set(rows.values_list("po_number", "line_number"))

    def _tonight(self, orders: list[str]) -> Iterator[ReceiptSnapshot]:
        for some in chunks(orders, _IDS_AT_ONCE):
            yield from ReceiptSnapshot.objects.filter(run=self.run, po_number__in=some)

    def _known(self, receipt_ids: set[str]) -> dict[str, ERPReceipt]:
        known: dict[str, ERPReceipt] = {}
        for some in chunks(sorted(receipt_ids), _IDS_AT_ONCE):
            known |= {r.receipt_id: r for r in ERPReceipt.objects.filter(receipt_id__in=some)}
        return known

    # --- writing ----------------------------------------------------------------------------

    def _write(self, made: list[tuple[Line, list[Part]]]) -> None:
        """Writes the batches, over-deliveries and negative remainders flagged, not trimmed."""
        rows: list[tuple[Any, ...]] = []
        totals: list[tuple[Any, ...]] = []
        for line, parts in made:
            if line.is_cancelled and any(part.quantity > 0 for part in parts):
                self.received_though_cancelled.append(line)
            for part in parts:
                line.batched += part.quantity
                over = part.quantity > 0 and line.batched > line.ordered
                rows.append(
                    (
                        line.pk,
                        line.supplier_id,
                        self.run.pk,
                        part.kind.value,
                        str(part.quantity),
                        part.delivered_on,
                        part.date_uncertain,
                        part.receipt_id,
                        over,
                        line.batched < 0,
                        part.note,
                    )
                )
            if parts:
                totals.append((str(line.batched), self.run.pk, line.pk))
        self.written += insert_rows(Batch, _BATCH_FIELDS, rows)
        update_rows(POLine, ("batched_quantity", "last_run"), totals)

    def _note(self, noted: list[tuple[int, ReceiptSnapshot]], known: dict[str, ERPReceipt]) -> None:
        """Remembers receipts as applied."""
        fields = ("po_line_id", "quantity", "receipt_date")
        insert_rows(
            ERPReceipt,
            (*fields, "receipt_id"),
            [
                (pk, str(r.quantity), r.receipt_date, r.receipt_id)
                for pk, r in noted
                if r.receipt_id not in known
            ],
        )
        update_rows(
            ERPReceipt,
            fields,
            [
                (pk, str(r.quantity), r.receipt_date, known[r.receipt_id].pk)
                for pk, r in noted
                if r.receipt_id in known
            ],
        )

    def _note_date(self, old: ERPReceipt, receipt: ReceiptSnapshot) -> None:
        """A dated note on the receipt's batch; an adopted receipt has none to note it on."""
        batch = (
            Batch.objects.filter(po_line=old.po_line_id, receipt_id=old.receipt_id)
            .order_by("pk")
            .first()
        )
        if batch is not None:
            ReceiptDateNote.objects.create(
                batch=batch,
                run=self.run,
                previous_date=old.receipt_date,
                new_date=receipt.receipt_date,
                effective_at=self.run.effective_at,
            )
            POLine.objects.filter(pk=old.po_line_id).update(last_run=self.run.pk)


def _exact(receipt: ReceiptSnapshot) -> Part:
    return Part(Kind.EXACT, receipt.quantity, receipt.receipt_date, receipt_id=receipt.receipt_id)
