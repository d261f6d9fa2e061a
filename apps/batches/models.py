"""Part deliveries of a line."""

from __future__ import annotations

from django.db import models

from apps.batches.querysets import BatchQuerySet, ReceiptDateNoteQuerySet
from apps.core.fields import KeyField
from apps.po.models import quantity_field


class Kind(models.TextChoices):
    """How a historical batch is known (rules.md "Batches")."""

    OPENING = "opening", "Delivered before the line was first seen"
    BETWEEN_RUNS = "between_runs", "Between two runs; may hold several receipts"
    EXACT = "exact", "One receipt"
    CORRECTION = "correction", "Correction"
    UNEXPLAINED = "unexplained", "Not explained by the receipts"


class Batch(models.Model):
    """A historical batch, rebuilt from the ERP; never edited, never deleted (FR4)."""

    po_line = models.ForeignKey(
        "po.POLine",
        on_delete=models.PROTECT,
        related_name="batches",
        db_index=False,  # it and the run begin an index below
    )
    # The supplier at the time of the delivery.
    supplier = models.ForeignKey("po.Supplier", on_delete=models.PROTECT, related_name="+")
    run = models.ForeignKey(
        "ingestion.IngestionRun", on_delete=models.PROTECT, related_name="batches", db_index=False
    )
    kind = models.CharField(max_length=12, choices=Kind.choices)
    quantity = quantity_field(help_text="Negative for a correction or a vanished receipt.")
    delivered_on = models.DateField(null=True, blank=True, help_text="Empty: the ERP gave no date.")
    date_uncertain = models.BooleanField(default=False)
    receipt_id = KeyField(max_length=64, blank=True, default="")
    over_delivery = models.BooleanField(
        default=False, help_text="With this batch more is delivered than was ordered."
    )
    negative_total = models.BooleanField(
        default=False, help_text="With this batch the delivered total is below zero."
    )
    note = models.CharField(max_length=255, blank=True, default="")

    objects = BatchQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["po_line", "delivered_on"], name="batch_line_delivered"),
            models.Index(fields=["run", "po_line"], name="batch_run_line"),
        ]
        verbose_name_plural = "batches"

    def __str__(self) -> str:
        return f"{self.quantity} on {self.delivered_on} ({self.kind})"


class ReceiptDateNote(models.Model):
    """The ERP moved the date of a receipt: a dated note on its batch, which stays as it is."""

    batch = models.ForeignKey(Batch, on_delete=models.PROTECT, related_name="date_notes")
    run = models.ForeignKey("ingestion.IngestionRun", on_delete=models.PROTECT, related_name="+")
    previous_date = models.DateField(null=True, blank=True)
    new_date = models.DateField(null=True, blank=True)
    effective_at = models.DateTimeField()

    objects = ReceiptDateNoteQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.previous_date} -> {self.new_date}"
