"""Suppliers, purchase-order lines, their status history and the configured custom columns."""

from __future__ import annotations

import uuid
from decimal import Decimal

from django.conf import settings
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce

from apps.core.fields import KeyField
from apps.po.lifecycle import SourceQuality, Status
from apps.po.querysets import (
    POLineQuerySet,
    SavedViewQuerySet,
    StatusChangeQuerySet,
    SupplierQuerySet,
)


def quantity_field(**kwargs: object) -> models.DecimalField[Decimal, Decimal]:
    """A quantity: three decimals, exact (design.md "Data")."""
    return models.DecimalField(max_digits=18, decimal_places=3, **kwargs)  # type: ignore[arg-type]  # passed on as they come


class Supplier(models.Model):
    code = KeyField(max_length=64, unique=True, help_text="The ERP's code for the supplier.")
    name = models.CharField(max_length=255, blank=True, default="")

    objects = SupplierQuerySet.as_manager()

    class Meta:
        ordering = ["code"]

    def __str__(self) -> str:
        return f"{self.code} {self.name}".rstrip()


class Presence(models.TextChoices):
    """Where a line stands in the ERP's active set, as far as the last applied run knows."""

    PRESENT = "present", "Active in the ERP"
    AGED_OUT = "aged_out", "Delivered long ago, never closed"
    CLOSED = "closed", "Closed in the ERP"
    CANCELLED = "cancelled", "Cancelled in the ERP"
    ABSENT = "absent", "No longer in the ERP"
    RETIRED = "retired", "Its key belongs to another order now"


# Presences of a line that the ERP still has among its active ones.
ACTIVE = frozenset({Presence.PRESENT.value, Presence.AGED_OUT.value})


# Statuses of a line on which something may still come.
_OPEN_STATUSES = (
    Status.PLANNED,
    Status.IN_PRODUCTION,
    Status.READY_TO_DISPATCH,
    Status.PART_DELIVERED,
)


# Who owns which field: the diff, the forms and the tests read it from here.
ERP_OWNED_FIELDS = (
    "supplier_code",
    "erp_item_code",
    "ordered_quantity",
    "delivered_quantity",
    "erp_status",
    "promised_date",
    "in_date",
    "erp_item",
    "po_insert_date",
    "final_customer",
    "erp_sku",
    "erp_updated_at",
)
DERIVED_FIELDS = ("sku", "item", "unmapped", "batched_quantity")
APPLICATION_OWNED_FIELDS = (
    "production_ready_date",
    "ready_to_dispatch_date",
    "source_quality",
    "ready_quantity",
    "last_expeditor_update",
)

# What the database itself works out, so that lists can be sorted and counted by index.
COMPUTED_FIELDS = ("expected_date", "is_open", "last_touched_at")

CUSTOM_KINDS = ("date", "text", "decimal")
CUSTOM_SLOTS = tuple(f"custom_{kind}_{n}" for kind in CUSTOM_KINDS for n in range(1, 6))


class POLine(models.Model):
    """One line of a purchase order. Its key is (PO number, line number); a key the ERP uses again
    for another order begins a new generation."""

    po_number = KeyField(max_length=64)
    line_number = KeyField(max_length=32)
    generation = models.PositiveIntegerField(default=1)

    # ERP-owned: only ingestion writes these (ERP_OWNED_FIELDS).
    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, related_name="lines")
    erp_item_code = KeyField(max_length=128, blank=True)
    ordered_quantity = quantity_field()
    delivered_quantity = quantity_field()
    erp_status = KeyField(max_length=64, blank=True)
    promised_date = models.DateField(null=True, blank=True)
    in_date = models.DateField(null=True, blank=True)
    erp_item = KeyField(max_length=255, blank=True, default="")
    po_insert_date = models.DateField(null=True, blank=True)
    final_customer = models.CharField(max_length=255, blank=True, default="")
    erp_sku = KeyField(max_length=128, blank=True, default="")
    erp_updated_at = models.DateTimeField(null=True, blank=True)

    # Derived from the cross-reference and the batches.
    sku = KeyField(max_length=128, blank=True, default="")
    item = KeyField(max_length=255, blank=True, default="")
    unmapped = models.BooleanField(default=False)
    batched_quantity = quantity_field(
        default=Decimal(0),
        help_text="Sum of the ERP batches: what the next change of DeliveredQty is measured "
        "against.",
    )

    # Moved by the ERP and by people, by the rules of apps/po/lifecycle.py.
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.PLANNED)

    # Application-owned: ingestion never writes these (APPLICATION_OWNED_FIELDS).
    production_ready_date = models.DateField(null=True, blank=True)
    ready_to_dispatch_date = models.DateField(null=True, blank=True)
    source_quality = models.CharField(
        max_length=24, choices=SourceQuality.choices, blank=True, default=""
    )
    ready_quantity = quantity_field(default=Decimal(0))
    last_expeditor_update = models.DateTimeField(null=True, blank=True)

    # 15 slots; who owns a value is kept per line and slot in custom_sources ("user" or "erp").
    custom_date_1 = models.DateField(null=True, blank=True)
    custom_date_2 = models.DateField(null=True, blank=True)
    custom_date_3 = models.DateField(null=True, blank=True)
    custom_date_4 = models.DateField(null=True, blank=True)
    custom_date_5 = models.DateField(null=True, blank=True)
    custom_text_1 = models.CharField(max_length=255, blank=True, default="")
    custom_text_2 = models.CharField(max_length=255, blank=True, default="")
    custom_text_3 = models.CharField(max_length=255, blank=True, default="")
    custom_text_4 = models.CharField(max_length=255, blank=True, default="")
    custom_text_5 = models.CharField(max_length=255, blank=True, default="")
    custom_decimal_1 = quantity_field(null=True, blank=True)
    custom_decimal_2 = quantity_field(null=True, blank=True)
    custom_decimal_3 = quantity_field(null=True, blank=True)
    custom_decimal_4 = quantity_field(null=True, blank=True)
    custom_decimal_5 = quantity_field(null=True, blank=True)
    custom_sources = models.JSONField(default=dict, blank=True)
    # The ERP's last value per slot, kept also where a person's value stands in the column.
    custom_erp_values = models.JSONField(default=dict, blank=True)

    # Ingestion's own marks. Runs are named by number: this app does not know ingestion's tables.
    presence = models.CharField(max_length=10, choices=Presence.choices, default=Presence.PRESENT)
    previous_presence = models.CharField(
        max_length=10, choices=Presence.choices, blank=True, default=""
    )
    presence_since = models.DateField(help_text="Date of the run that last changed the presence.")
    first_seen_at = models.DateTimeField(help_text="When the line took effect here.")
    first_run = models.BigIntegerField()
    presence_run = models.BigIntegerField()
    last_run = models.BigIntegerField(help_text="The run that last wrote this line.")
    receipts_known = models.BooleanField(
        default=False, help_text="Its batches follow the ERP's receipts, not only the quantity."
    )
    row_hash = models.CharField(max_length=32, help_text="Of the last applied ERP values.")
    custom_hash = models.CharField(max_length=32, blank=True, default="")
    field_set = models.CharField(
        max_length=32, help_text="How the last applied ERP values were read."
    )
    custom_field_set = models.CharField(max_length=32, blank=True, default="")

    # Worked out by the database (COMPUTED_FIELDS).
    expected_date = models.GeneratedField(
        expression=Coalesce("ready_to_dispatch_date", "production_ready_date", "promised_date"),
        output_field=models.DateField(null=True),
        db_persist=True,
    )
    # rules.md "Status": what is late, at risk or stale is an open line. A line that aged out is not
    # closed: its own quantities and status say that nothing more is to come.
    # A number, 1 or 0, because mssql-django writes a computed boolean that SQL Server refuses.
    is_open = models.GeneratedField(
        expression=Case(
            When(
                presence__in=sorted(ACTIVE),
                status__in=_OPEN_STATUSES,
                ordered_quantity__gt=F("delivered_quantity"),
                then=Value(1),
            ),
            default=Value(0),
        ),
        output_field=models.SmallIntegerField(),
        db_persist=True,
    )
    # When an expeditor last spoke, else when the line was first seen: what staleness counts from.
    last_touched_at = models.GeneratedField(
        expression=Coalesce("last_expeditor_update", "first_seen_at"),
        output_field=models.DateTimeField(),
        db_persist=True,
    )

    objects = POLineQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["po_number", "line_number", "generation"], name="po_line_key"
            ),
            models.UniqueConstraint(
                fields=["po_number", "line_number"],
                # Spelled out, because SQL Server's filtered indexes know no NOT.
                condition=Q(presence__in=[p.value for p in Presence if p.value != "retired"]),
                name="po_line_one_current",
            ),
        ]
        indexes = [
            # Each night asks for lines without this hash, and for active keys not seen: both are
            # answered from the index alone.
            models.Index(
                fields=["po_number", "line_number", "presence", "row_hash"],
                name="po_line_unchanged",
            ),
            models.Index(fields=["presence", "po_number", "line_number"], name="po_line_presence"),
            models.Index(fields=["last_run"], name="po_line_last_run"),
            models.Index(fields=["presence_run"], name="po_line_presence_run"),
            # The list: late and at risk, all by expected date, no response. What only narrows is in
            # the index too, so that counting reads nothing else.
            models.Index(
                fields=["is_open", "expected_date", "promised_date", "supplier"],
                name="po_line_open_expected",
            ),
            models.Index(
                fields=["expected_date", "promised_date", "supplier"], name="po_line_expected"
            ),
            models.Index(
                fields=["is_open", "source_quality", "last_touched_at", "supplier"],
                name="po_line_open_answered",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.po_number} / {self.line_number}"

    @property
    def outstanding(self) -> Decimal:
        """Ordered minus delivered, at least 0."""
        return max(self.ordered_quantity - self.delivered_quantity, Decimal(0))

    @property
    def over_delivered(self) -> Decimal:
        """What was delivered beyond the order, at least 0."""
        return max(self.delivered_quantity - self.ordered_quantity, Decimal(0))


class StatusChange(models.Model):
    """One move of a line's lifecycle status, the ERP's or a person's."""

    po_line = models.ForeignKey(
        POLine,
        on_delete=models.PROTECT,
        related_name="status_changes",
        db_index=False,  # the first index below begins with it
    )
    # The supplier at the time, as on the audit event.
    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, related_name="+")
    previous_status = models.CharField(max_length=20, choices=Status.choices)
    new_status = models.CharField(max_length=20, choices=Status.choices)
    reason = models.CharField(max_length=255)
    effective_at = models.DateTimeField()
    correlation_id = models.UUIDField()

    objects = StatusChangeQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["po_line", "effective_at"], name="status_line_effective"),
            models.Index(fields=["correlation_id", "po_line"], name="status_correlation_line"),
        ]

    def __str__(self) -> str:
        return f"{self.previous_status} -> {self.new_status}"


class CustomColumn(models.Model):
    """What one of the 15 slots means, and whether the ERP or people fill it (FR8b, FR8c)."""

    class Source(models.TextChoices):
        ERP = "erp", "ERP column"
        USER = "user", "Entered by people"

    slot = models.CharField(max_length=20, unique=True, choices=[(s, s) for s in CUSTOM_SLOTS])
    label = models.CharField(max_length=60)
    source = models.CharField(max_length=4, choices=Source.choices)
    erp_column = models.CharField(max_length=255, blank=True, default="")
    active = models.BooleanField(default=True)

    class Meta:
        ordering = ["slot"]
        constraints = [
            models.CheckConstraint(
                condition=Q(source="user", erp_column="") | (Q(source="erp") & ~Q(erp_column="")),
                name="custom_column_erp_column_iff_erp",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.slot}: {self.label}"


class Thresholds(models.Model):
    """One row, made when an administrator first changes one: from when on a line is at risk, ageing
    or stale, and what counts as recent. Until then the settings' values hold
    (apps/po/thresholds.py)."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    at_risk_days = models.PositiveSmallIntegerField(help_text="Days, from today.")
    ageing_business_days = models.PositiveSmallIntegerField(
        help_text="Business days without an expeditor's update."
    )
    stale_business_days = models.PositiveSmallIntegerField(
        help_text="Business days without an expeditor's update."
    )
    recent_hours = models.PositiveSmallIntegerField(help_text="Hours, up to now.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="thresholds_single_row"),
            models.CheckConstraint(
                condition=Q(ageing_business_days__lte=F("stale_business_days")),
                name="thresholds_ageing_before_stale",
            ),
        ]

    def __str__(self) -> str:
        return f"at risk {self.at_risk_days}, stale {self.stale_business_days}"


class ColumnChoice(models.Model):
    """The columns of the list that a person chose, in their order (FR17c)."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="column_choice"
    )
    columns = models.JSONField(help_text="Array of column keys (apps/po/columns.py).")

    def __str__(self) -> str:
        return f"{self.user_id}: {len(self.columns)} columns"


class SavedView(models.Model):
    """Preset, filters, sorting and columns of the list under a name. Whoever has its address may
    look through it: it narrows what the looking person may see, and shows nothing by itself."""

    identifier = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_views"
    )
    name = models.CharField(max_length=60)
    query = models.TextField(blank=True, default="", help_text="The list's address after the ?.")

    objects = SavedViewQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="saved_view_name")]

    def __str__(self) -> str:
        return self.name
