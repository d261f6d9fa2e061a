"""The nightly run: its record, what it saw and could not use, the lease that keeps runs apart."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.db import models
from django.db.models import Q

from apps.core.fields import KeyField
from apps.ingestion.querysets import (
    IngestionRunQuerySet,
    RejectedRowQuerySet,
    XrefGapQuerySet,
)
from apps.po.models import Presence, quantity_field


class Mode(models.TextChoices):
    BASELINE = "baseline", "Baseline"
    INCREMENTAL = "incremental", "Incremental"


class RunStatus(models.TextChoices):
    RUNNING = "running", "Running"
    SUCCESS = "success", "Success"
    PARTIAL = "partial", "Partial"
    FAILED = "failed", "Failed"


APPLIED = (RunStatus.SUCCESS, RunStatus.PARTIAL)


class FieldSet(models.Model):
    """Which fields a run read and how they were mapped (rules.md "Field set")."""

    digest = models.CharField(max_length=32, unique=True)
    fields = models.JSONField(help_text="Object: field -> where it comes from.")

    def __str__(self) -> str:
        return self.digest

    @classmethod
    def of(cls, digest: str, fields: dict[str, Any]) -> FieldSet:
        """The row of this field set, made if it is new."""
        return cls.objects.get_or_create(digest=digest, defaults={"fields": fields})[0]


class IngestionRun(models.Model):
    """One execution of the ingestion, *applied* exactly when its status is success or partial."""

    identifier = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    mode = models.CharField(max_length=11, choices=Mode.choices)
    status = models.CharField(max_length=7, choices=RunStatus.choices, default=RunStatus.RUNNING)
    run_date = models.DateField(help_text="Business date of the run; with --as-of that date.")
    effective_at = models.DateTimeField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    stage = models.CharField(
        max_length=20, blank=True, default="", help_text="Progress: where it is."
    )
    rows_read = models.PositiveBigIntegerField(
        default=0, help_text="Progress: ERP rows read so far."
    )
    extraction_started_at = models.DateTimeField(null=True, blank=True)
    extraction_finished_at = models.DateTimeField(null=True, blank=True)
    field_set = models.ForeignKey(
        FieldSet, null=True, blank=True, on_delete=models.PROTECT, related_name="runs"
    )
    custom_field_set = models.ForeignKey(
        FieldSet, null=True, blank=True, on_delete=models.PROTECT, related_name="custom_runs"
    )
    xref_digest = models.CharField(max_length=32, blank=True, default="")

    # The counters of the report (docs/ingestion.md), under the report's own names.
    duration_seconds = models.FloatField(null=True, blank=True)
    stage_seconds = models.JSONField(default=dict)
    po_lines_processed = models.PositiveBigIntegerField(default=0)
    new_lines_created = models.PositiveBigIntegerField(default=0)
    lines_changed = models.PositiveBigIntegerField(default=0)
    change_events_detected = models.PositiveBigIntegerField(default=0)
    lines_left = models.PositiveBigIntegerField(default=0)
    lines_returned = models.PositiveBigIntegerField(default=0)
    batches_reconstructed = models.PositiveBigIntegerField(default=0)
    custom_columns_populated = models.PositiveBigIntegerField(default=0)
    xref_gaps_found = models.PositiveBigIntegerField(default=0)
    unmapped_item_codes = models.JSONField(default=list)
    rejected_rows = models.PositiveBigIntegerField(default=0)
    erp_attempts = models.PositiveIntegerField(default=0)
    errors_encountered = models.JSONField(
        default=list, help_text="Objects {stage, message, remedy}."
    )

    objects = IngestionRunQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["status", "id"], name="run_status")]
        get_latest_by = "id"

    def __str__(self) -> str:
        return f"run {self.pk} of {self.run_date} ({self.status})"

    @property
    def is_applied(self) -> bool:
        return self.status in APPLIED


class ERPSnapshot(models.Model):
    """One ERP line as one run saw it, in canonical values."""

    # Without a constraint: checking every row of a night for the same run, which is never deleted,
    # took PostgreSQL a fifth of the night.
    run = models.ForeignKey(
        IngestionRun,
        on_delete=models.CASCADE,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    po_number = KeyField(max_length=64)
    line_number = KeyField(max_length=32)
    presence = models.CharField(max_length=10, choices=Presence.choices)
    extracted = models.BooleanField(help_text="Read with the active lines; else looked up by key.")
    # The very text that was hashed; an engine's JSON type would order its keys anew.
    values = models.TextField(help_text="JSON object: field -> canonical value.")
    row_hash = models.CharField(max_length=32)
    custom_hash = models.CharField(max_length=32, blank=True, default="")

    class Meta:
        indexes = [
            models.Index(fields=["run", "po_number", "line_number"], name="snapshot_run_key")
        ]

    def __str__(self) -> str:
        return f"{self.po_number} / {self.line_number}"

    def parsed(self) -> dict[str, Any]:
        """The values as a dictionary."""
        values: dict[str, Any] = json.loads(self.values)
        return values


class ReceiptSnapshot(models.Model):
    """One row of the ERP's receipts relation as one run saw it."""

    run = models.ForeignKey(
        IngestionRun,
        on_delete=models.CASCADE,
        related_name="+",
        db_index=False,
        db_constraint=False,  # as above
    )
    receipt_id = KeyField(max_length=64)
    po_number = KeyField(max_length=64)
    line_number = KeyField(max_length=32)
    quantity = quantity_field()
    receipt_date = models.DateField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["run", "receipt_id"], name="receipt_snapshot_run_id"),
            models.Index(fields=["run", "po_number"], name="receipt_snapshot_run_order"),
        ]

    def __str__(self) -> str:
        return self.receipt_id


class ERPReceipt(models.Model):
    """A receipt as last applied: what tonight's receipts are compared with."""

    receipt_id = KeyField(max_length=64, unique=True)
    po_line = models.ForeignKey("po.POLine", on_delete=models.PROTECT, related_name="erp_receipts")
    quantity = quantity_field()
    receipt_date = models.DateField(null=True, blank=True)

    def __str__(self) -> str:
        return self.receipt_id


class RejectedRow(models.Model):
    """An ERP row that could not be used; its line keeps its state."""

    run = models.ForeignKey(IngestionRun, on_delete=models.CASCADE, related_name="rejected")
    relation = models.CharField(
        max_length=10, choices=[("lines", "Lines"), ("deliveries", "Receipts")]
    )
    # Empty where the key itself could not be read.
    po_number = KeyField(max_length=64, blank=True, default="")
    line_number = KeyField(max_length=32, blank=True, default="")
    receipt_id = KeyField(max_length=64, blank=True, default="")
    extracted = models.BooleanField(default=True)
    reason = models.TextField()
    raw_values = models.JSONField(help_text="Object: field -> the ERP's value as text.")

    objects = RejectedRowQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["run", "po_number", "line_number"], name="rejected_run_key")
        ]

    def __str__(self) -> str:
        return f"{self.po_number} / {self.line_number}: {self.reason}"


class XrefEntry(models.Model):
    """Maps an ERP item code, of one supplier or of any, to SKU and item."""

    supplier = models.ForeignKey(
        "po.Supplier",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="xref_entries",
        help_text="Empty: for any supplier that has no entry of its own.",
    )
    erp_item_code = KeyField(max_length=128)
    sku = KeyField(max_length=128)
    item = KeyField(max_length=255, blank=True, default="")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["supplier", "erp_item_code"],
                condition=Q(supplier__isnull=False),
                name="xref_per_supplier",
            ),
            models.UniqueConstraint(
                fields=["erp_item_code"],
                condition=Q(supplier__isnull=True),
                name="xref_any_supplier",
            ),
        ]
        verbose_name_plural = "xref entries"

    def __str__(self) -> str:
        return f"{self.erp_item_code} -> {self.sku}"


class XrefGap(models.Model):
    """An ERP item code with no mapping (FR7)."""

    supplier = models.ForeignKey("po.Supplier", on_delete=models.PROTECT, related_name="xref_gaps")
    erp_item_code = KeyField(max_length=128)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    line_count = models.PositiveIntegerField(
        help_text="Lines with this code in the run that saw it last."
    )
    resolved_at = models.DateTimeField(null=True, blank=True)

    objects = XrefGapQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["supplier", "erp_item_code"], name="xref_gap_once")
        ]

    def __str__(self) -> str:
        return f"{self.supplier.code} / {self.erp_item_code}"


class IngestionLease(models.Model):
    """One row: who may run the ingestion now. Taken by compare-and-set, see lease.py."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    token = models.UUIDField(null=True, blank=True, help_text="The holder; empty when free.")
    run = models.ForeignKey(
        IngestionRun, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    host = models.CharField(max_length=255, blank=True, default="")
    pid = models.BigIntegerField(null=True, blank=True)
    process_started = models.FloatField(
        null=True, blank=True, help_text="Tells a reused pid apart."
    )
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="ingestion_lease_single_row")]

    def __str__(self) -> str:
        return f"held by {self.host} pid {self.pid}" if self.token else "free"
