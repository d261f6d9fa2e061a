"""Valid objects for tests. A test names only what it is about."""

# factory-boy ships types for its factories, not for its declarations.
# mypy: allow-untyped-calls, allow-untyped-decorators

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from factory.declarations import LazyAttribute, LazyFunction, SelfAttribute, Sequence, SubFactory
from factory.django import DjangoModelFactory
from factory.helpers import post_generation

from apps.accounts.models import Role, User
from apps.audit.models import AuditEvent, ERPChangeEvent, EventType
from apps.batches.models import Batch, Kind, ReceiptDateNote
from apps.ingestion.models import (
    FieldSet,
    IngestionRun,
    Mode,
    RejectedRow,
    RunStatus,
    XrefEntry,
    XrefGap,
)
from apps.po.lifecycle import Status
from apps.po.models import CustomColumn, POLine, StatusChange, Supplier

# A fixed Monday: what "today" is in a test is the test's own business.
A_DAY = date(2026, 3, 2)
A_MOMENT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


class SupplierFactory(DjangoModelFactory[Supplier]):
    class Meta:
        model = Supplier

    code = Sequence(lambda n: f"S{n:04}")
    name = LazyAttribute(lambda supplier: f"Supplier {supplier.code}")


class UserFactory(DjangoModelFactory[User]):
    """A planner, unless told otherwise. `suppliers=[...]` assigns an expeditor's suppliers."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    username = Sequence(lambda n: f"user{n}")
    role = Role.PLANNER

    @post_generation
    def suppliers(self: Any, create: bool, extracted: Any, **kwargs: Any) -> None:
        if create and extracted:
            self.suppliers.set(extracted)


class FieldSetFactory(DjangoModelFactory[FieldSet]):
    class Meta:
        model = FieldSet

    digest = Sequence(lambda n: f"{n:032x}")
    fields = LazyFunction(dict)


class IngestionRunFactory(DjangoModelFactory[IngestionRun]):
    """An applied, incremental run."""

    class Meta:
        model = IngestionRun

    mode = Mode.INCREMENTAL
    status = RunStatus.SUCCESS
    run_date = A_DAY
    effective_at = A_MOMENT
    started_at = A_MOMENT
    finished_at = A_MOMENT


class POLineFactory(DjangoModelFactory[POLine]):
    """An open line, of which nothing was delivered and no milestone recorded."""

    class Meta:
        model = POLine

    po_number = Sequence(lambda n: f"PO{n:05}")
    line_number = "10"
    supplier = SubFactory(SupplierFactory)
    erp_item_code = "ITEM-1"
    ordered_quantity = Decimal(100)
    delivered_quantity = Decimal(0)
    erp_status = "O"
    promised_date = A_DAY
    status = Status.PLANNED
    presence_since = A_DAY
    first_seen_at = A_MOMENT
    first_run = 1
    presence_run = 1
    last_run = 1
    row_hash = "0" * 32
    field_set = "0" * 32


class StatusChangeFactory(DjangoModelFactory[StatusChange]):
    class Meta:
        model = StatusChange

    po_line = SubFactory(POLineFactory)
    supplier = SelfAttribute("po_line.supplier")
    previous_status = Status.PLANNED
    new_status = Status.IN_PRODUCTION
    reason = "The ERP reports the line as in production"
    effective_at = A_MOMENT
    correlation_id = LazyFunction(uuid.uuid4)


class AuditEventFactory(DjangoModelFactory[AuditEvent]):
    """Something that the ingestion found on a line."""

    class Meta:
        model = AuditEvent

    recorded_at = A_MOMENT
    effective_at = A_MOMENT
    event_type = EventType.INGESTION_CHANGE
    actor_name = "ingestion"
    source = "ingestion"
    correlation_id = LazyFunction(uuid.uuid4)
    po_line: Any = SubFactory(POLineFactory)
    supplier: Any = SelfAttribute("po_line.supplier")


class RunEventFactory(AuditEventFactory):
    """An event that belongs to no line and no supplier."""

    event_type = EventType.INGESTION_COMPLETED
    po_line = None
    supplier = None


class ERPChangeEventFactory(DjangoModelFactory[ERPChangeEvent]):
    """A promised date that moved by a week."""

    class Meta:
        model = ERPChangeEvent

    run = SubFactory(IngestionRunFactory)
    po_line = SubFactory(POLineFactory)
    supplier = SelfAttribute("po_line.supplier")
    field = "promised_date"
    previous_value = "2026-03-02"
    new_value = "2026-03-09"
    difference = Decimal(7)
    recorded_at = A_MOMENT
    effective_at = A_MOMENT


class BatchFactory(DjangoModelFactory[Batch]):
    class Meta:
        model = Batch

    po_line = SubFactory(POLineFactory)
    supplier = SelfAttribute("po_line.supplier")
    run = SubFactory(IngestionRunFactory)
    kind = Kind.BETWEEN_RUNS
    quantity = Decimal(10)
    delivered_on = A_DAY


class ReceiptDateNoteFactory(DjangoModelFactory[ReceiptDateNote]):
    class Meta:
        model = ReceiptDateNote

    batch = SubFactory(BatchFactory, kind=Kind.EXACT)
    run = SelfAttribute("batch.run")
    previous_date = A_DAY
    new_date = date(2026, 3, 3)
    effective_at = A_MOMENT


class RejectedRowFactory(DjangoModelFactory[RejectedRow]):
    """A row whose promised date is no date."""

    class Meta:
        model = RejectedRow

    run = SubFactory(IngestionRunFactory)
    relation = "lines"
    po_number = Sequence(lambda n: f"PO{n:05}")
    line_number = "10"
    reason = "promised_date (DUE): '2026-02-30' is not a date"
    raw_values = LazyAttribute(lambda row: {"PO": row.po_number, "DUE": "2026-02-30", "NOTE": None})


class XrefEntryFactory(DjangoModelFactory[XrefEntry]):
    """A mapping that holds for any supplier."""

    class Meta:
        model = XrefEntry

    erp_item_code = Sequence(lambda n: f"ITEM-{n}")
    sku = LazyAttribute(lambda entry: f"SKU-{entry.erp_item_code}")


class XrefGapFactory(DjangoModelFactory[XrefGap]):
    class Meta:
        model = XrefGap

    supplier = SubFactory(SupplierFactory)
    erp_item_code = Sequence(lambda n: f"ITEM-{n}")
    first_seen = A_MOMENT
    last_seen = A_MOMENT
    line_count = 1


class CustomColumnFactory(DjangoModelFactory[CustomColumn]):
    """A slot that people fill."""

    class Meta:
        model = CustomColumn

    slot = "custom_text_1"
    label = "Remark"
    source = CustomColumn.Source.USER
