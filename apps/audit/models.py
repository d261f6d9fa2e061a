"""What happened, kept for good: audit events and the ERP's changes, field by field.

Both tables are append-only: here, in the querysets, and in the database (migration 0002).
"""

from __future__ import annotations

import uuid
from typing import Any, NoReturn

from django.conf import settings
from django.db import models

from apps.audit.querysets import AppendOnlyError, AuditEventQuerySet, ERPChangeEventQuerySet


class EventType(models.TextChoices):
    """What an audit event tells. The values are fixed from outside (rules.md "Events")."""

    INGESTION_BASELINE = "ingestion_baseline", "First ingestion"
    INGESTION_COMPLETED = "ingestion_completed", "Ingestion completed"
    INGESTION_FAILED = "ingestion_failed", "Ingestion failed"
    PO_LINE_CREATED = "po_line_created", "Line created"
    PO_LINE_RETURNED = "po_line_returned", "Line returned"
    PO_LINE_LEFT = "po_line_left", "Line left"
    INGESTION_CHANGE = "ingestion_change", "Changed in the ERP"
    XREF_GAP = "xref_gap", "Item code without cross-reference"
    XREF_APPLIED = "xref_applied", "Cross-reference applied"
    XREF_IMPORTED = "xref_imported", "Cross-reference imported"
    SUPPLIER_RENAMED = "supplier_renamed", "Supplier renamed"
    CUSTOM_COLUMN_CONFIGURED = "custom_column_configured", "Custom column configured"
    CUSTOM_COLUMN_UPDATED = "custom_column_updated", "Custom value entered"
    SNAPSHOTS_PRUNED = "snapshots_pruned", "Snapshots pruned"
    DATABASE_RESTORED = "database_restored", "Database restored"
    USER_CREATED = "user_created", "User created"


class AppendOnlyModel(models.Model):
    """A row that is written once. The database refuses change as well."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError(type(self))
        kwargs["force_insert"] = True
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError(type(self))


class AuditEvent(AppendOnlyModel):
    """One thing that happened: by whom, from where, why, in which act."""

    recorded_at = models.DateTimeField(help_text="When this row was written.")
    effective_at = models.DateTimeField(
        help_text="When it took effect: a replayed night is in the past."
    )
    event_type = models.CharField(max_length=40, choices=EventType.choices)
    # A copied name beside the key: it stays true when the user is renamed.
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    actor_name = models.CharField(max_length=150)
    source = models.CharField(
        max_length=40, help_text="Where it came from: ingestion, command, inline, ..."
    )
    correlation_id = models.UUIDField(
        help_text="One act (a run, a request) has one id on all its rows."
    )
    po_line = models.ForeignKey(
        "po.POLine",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="audit_events",
        db_index=False,  # the first index below begins with it
    )
    # The supplier at the time: an expeditor sees an event only if it was their supplier's.
    supplier = models.ForeignKey(
        "po.Supplier", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    reason = models.TextField(blank=True, default="")
    data = models.JSONField(default=dict, help_text="An object; decimals as strings.")

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["po_line", "effective_at"], name="audit_line_effective"),
            models.Index(fields=["effective_at", "po_line"], name="audit_effective"),
            models.Index(fields=["recorded_at"], name="audit_recorded"),
            models.Index(fields=["event_type", "recorded_at"], name="audit_type_recorded"),
            # With the key: to show a run's events in their order, PostgreSQL would otherwise walk
            # through all keys from the oldest event on.
            models.Index(fields=["correlation_id", "id"], name="audit_act"),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} at {self.effective_at:%Y-%m-%d %H:%M}"

    @staticmethod
    def new_correlation_id() -> uuid.UUID:
        return uuid.uuid4()


class ERPChangeEvent(AppendOnlyModel):
    """One field of one line that the ERP reports differently than before (requirement FR3)."""

    run = models.ForeignKey(
        "ingestion.IngestionRun",
        on_delete=models.PROTECT,
        related_name="change_events",
        db_index=False,  # it and the next begin an index below
    )
    po_line = models.ForeignKey(
        "po.POLine", on_delete=models.PROTECT, related_name="erp_changes", db_index=False
    )
    supplier = models.ForeignKey("po.Supplier", on_delete=models.PROTECT, related_name="+")
    field = models.CharField(max_length=40)
    # Canonical texts: dates as YYYY-MM-DD, quantities with three decimals; NULL is "no value".
    previous_value = models.TextField(null=True, blank=True)
    new_value = models.TextField(null=True, blank=True)
    # For dates in days, for quantities in their unit; NULL where one side is empty or for texts.
    difference = models.DecimalField(max_digits=18, decimal_places=3, null=True, blank=True)
    recorded_at = models.DateTimeField()
    effective_at = models.DateTimeField()

    objects = ERPChangeEventQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["po_line", "effective_at"], name="erpchange_line_effective"),
            models.Index(fields=["run", "po_line"], name="erpchange_run_line"),
        ]

    def __str__(self) -> str:
        return f"{self.field}: {self.previous_value} -> {self.new_value}"
