"""The lifecycle of a line and how the ERP moves it (rules.md "Status"). Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.db import models
from django.utils.translation import gettext_lazy as _


class Status(models.TextChoices):
    PLANNED = "planned", _("Planned")
    IN_PRODUCTION = "in_production", _("In production")
    READY_TO_DISPATCH = "ready_to_dispatch", _("Ready to dispatch")
    PART_DELIVERED = "part_delivered", _("Part delivered")
    FULLY_DELIVERED = "fully_delivered", _("Fully delivered")
    CLOSED = "closed", _("Closed")
    CANCELLED = "cancelled", _("Cancelled")


class SourceQuality(models.TextChoices):
    """Who said what a milestone says; "" on a line where nobody recorded one."""

    SUPPLIER_CONFIRMED = "supplier_confirmed", _("Confirmed")
    EXPEDITOR_ESTIMATE = "expeditor_estimate", _("Estimate")
    NO_RESPONSE = "no_supplier_response", _("No response")


FINAL = frozenset({Status.CLOSED, Status.CANCELLED})
DELIVERED = frozenset({Status.PART_DELIVERED, Status.FULLY_DELIVERED})
_RANK = {status: rank for rank, status in enumerate(Status)}


def delivery_status(ordered: Decimal, delivered: Decimal) -> Status | None:
    """What the quantities alone imply, or None when nothing was delivered."""
    if ordered > 0 and delivered >= ordered:
        return Status.FULLY_DELIVERED
    if delivered > 0:
        return Status.PART_DELIVERED
    return None


def first_status(*, mapped: Status | None, ordered: Decimal, delivered: Decimal) -> Status:
    """The status of a line seen for the first time.

    `mapped` is what its ERP code means, None for a code that the mapping does not know.
    """
    if mapped in FINAL:
        return mapped
    return delivery_status(ordered, delivered) or mapped or Status.PLANNED


@dataclass(frozen=True, kw_only=True)
class Move:
    """A move the ERP makes, with the reason that is audited."""

    status: Status
    reason: str


def erp_move(
    current: Status,
    *,
    mapped: Status | None,
    previous_mapped: Status | None,
    code_changed: bool,
    ordered: Decimal,
    delivered: Decimal,
    previous_ordered: Decimal,
    previous_delivered: Decimal,
    before_final: Status,
    before_delivery: Status,
) -> Move | None:
    """The move that the ERP's new values ask for, or None.

    None in any case when neither code nor quantities changed, nor what the mapping makes of the
    code. `mapped` and `previous_mapped` are what the code means now and meant before, None for one
    that the mapping does not know. `before_final` is the last status that was not final,
    `before_delivery` the one before the first delivery (planned where there was none); both are
    only used for moves backward.
    """
    told_anew = code_changed or mapped != previous_mapped
    if not told_anew and (ordered, delivered) == (previous_ordered, previous_delivered):
        return None
    status, reason = current, ""
    implied = delivery_status(ordered, delivered)
    if mapped in FINAL:
        # Of closed and cancelled, what a person chose stands while the ERP says nothing new.
        if told_anew or current not in FINAL:
            status, reason = mapped, _reported(mapped)
    elif current in FINAL:
        # A person's cancellation stands while the code itself is the same, and an unknown code
        # moves nothing; but a line that the ERP had closed is active again whatever it says now.
        if previous_mapped in FINAL or (code_changed and mapped is not None):
            before = before_delivery if before_final in DELIVERED else before_final
            status, reason = implied or _further(before, mapped), "Active again in the ERP"
    elif implied is None and current in DELIVERED and previous_delivered > 0:
        # Quantities outrank the code: one that still tells of a delivery does not count here.
        status = _further(before_delivery, None if mapped in DELIVERED else mapped)
        reason = "Delivered quantity corrected to nothing"
    elif implied == Status.PART_DELIVERED and current == Status.FULLY_DELIVERED:
        if delivered < previous_delivered:
            status, reason = implied, "Delivered quantity corrected downward"
        elif ordered > previous_ordered:
            status, reason = implied, "Ordered quantity raised"
    elif implied is not None:
        status, reason = _further(current, implied), "Delivered according to the ERP"
    elif mapped is not None:
        status, reason = _further(current, mapped), _reported(mapped)
    return None if status == current else Move(status=status, reason=reason)


def _reported(status: Status) -> str:
    return f"The ERP reports the line as {status.label.lower()}"


def _further(status: Status, other: Status | None) -> Status:
    """The one further forward; nothing is moved backward by an active code."""
    return other if other is not None and _RANK[other] > _RANK[status] else status
