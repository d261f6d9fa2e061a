"""The historical batches of a line as they add up, in the order of their dates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import accumulate

from django.utils.translation import gettext_lazy as _

from apps.batches.models import Batch, Kind, ReceiptDateNote
from apps.core.words import StrOrPromise
from apps.po.models import POLine

# How a batch is known, for people who do not know what a run is.
WORDS: dict[str, StrOrPromise] = {
    Kind.OPENING: _("Delivered before the line was first seen"),
    Kind.BETWEEN_RUNS: _("Between two nights; may hold several receipts"),
    Kind.EXACT: _("Receipt"),
    Kind.CORRECTION: _("Correction"),
    Kind.UNEXPLAINED: _("Not explained by the receipts"),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    batch: Batch
    words: StrOrPromise
    total: Decimal  # with this batch
    notes: list[ReceiptDateNote]


@dataclass(frozen=True, kw_only=True)
class Delivered:
    rows: list[Row]
    # What the ERP calls delivered and no batch shown tells: it came while the line was a supplier's
    # that the user does not have. Totals begin with it; that it came first is not said, because the
    # line may have been the user's before.
    other: Decimal

    @classmethod
    def of(
        cls, line: POLine, batches: Iterable[Batch], notes: Iterable[ReceiptDateNote]
    ) -> Delivered:
        """From the batches and notes of the line that the user may see. Two queries."""
        by_batch: dict[int, list[ReceiptDateNote]] = defaultdict(list)
        for note in sorted(notes, key=lambda note: (note.effective_at, note.pk)):
            by_batch[note.batch_id].append(note)
        # In Python, because engines differ in where a missing date comes; here it comes first.
        ordered = sorted(batches, key=lambda batch: (batch.delivered_on or date.min, batch.pk))
        other = line.batched_quantity - sum((b.quantity for b in ordered), Decimal(0))
        totals = list(accumulate((b.quantity for b in ordered), initial=other))[1:]
        rows = [
            Row(
                batch=batch,
                words=WORDS.get(batch.kind, batch.get_kind_display()),
                total=total,
                notes=by_batch[batch.pk],
            )
            for batch, total in zip(ordered, totals, strict=True)
        ]
        return cls(rows=rows, other=other)
