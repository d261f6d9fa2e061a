"""Scope of batches and of the notes on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.db.models import Exists, OuterRef, Q, Subquery, Sum

from apps.accounts.models import User
from apps.accounts.scope import supplier_scope
from apps.audit.models import AuditEvent

if TYPE_CHECKING:
    from apps.batches.models import Batch, ReceiptDateNote  # noqa: F401  # in the quoted types


class BatchQuerySet(models.QuerySet["Batch"]):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The batches delivered by a supplier the user may see."""
        scope = supplier_scope(user, "supplier")
        return self.none() if scope is None else self.filter(scope)

    def receipts(self) -> Self:
        """The batches that tell of an arrival: no corrections, nothing from before the line, and no
        receipt that the ERP took back."""
        same = self.model.objects.filter(
            po_line=OuterRef("po_line"), receipt_id=OuterRef("receipt_id")
        )
        left = same.order_by().values("receipt_id").annotate(left=Sum("quantity")).values("left")
        arrived = self.filter(kind__in=("between_runs", "exact"), quantity__gt=0)
        return arrived.alias(left=Subquery(left)).filter(Q(receipt_id="") | Q(left__gt=0))


class ReceiptDateNoteQuerySet(models.QuerySet["ReceiptDateNote"]):
    def for_user(self, user: User | AnonymousUser | None) -> Self:
        """The notes made while the line was a supplier's the user may see.

        A note has no supplier of its own; the event of its line and night, which tells of it, has
        (rules.md "Events and counters"). Its batch may be of an earlier supplier.
        """
        events = AuditEvent.objects.for_user(user).filter(
            po_line=OuterRef("batch__po_line"), correlation_id=OuterRef("run__identifier")
        )
        return self.filter(Exists(events))
